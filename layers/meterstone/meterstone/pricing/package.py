"""PACKAGE: an amount for each package of units, whole packages only."""

from decimal import Decimal
from typing import assert_never

from meterstone.pricing.lines import Cost, Line
from meterstone.pricing.money import CONTEXT, ZERO, add, multiply
from meterstone.pricing.price import Price, RoundType, TransformQuantity


def package(price: Price, quantity: Decimal) -> Cost:
    """Return amount times number of packages. Packages of size 0 or less cost 0, as in Flexprice."""
    transform = price.transform_quantity
    if quantity <= 0 or transform is None or transform.divide_by <= 0:
        return Cost(quantity, ())
    packages = _packages(quantity, transform)
    if not packages:
        return Cost(quantity, ())
    return Cost(quantity, (Line(ZERO, None, packages, price.amount, ZERO, multiply(price.amount, packages)),))


def _packages(quantity: Decimal, transform: TransformQuantity) -> Decimal:
    # Divided with a rest: a quotient, rounded to 16 decimals, would lose a very small rest.
    whole, rest = CONTEXT.divmod(quantity, transform.divide_by)
    match transform.round:
        case RoundType.UP:
            return add(whole, 1) if rest else whole
        case RoundType.DOWN:
            return whole
        case _:
            assert_never(transform.round)

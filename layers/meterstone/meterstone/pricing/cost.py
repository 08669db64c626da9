"""The cost of a quantity under a price."""

from collections.abc import Iterable
from decimal import Decimal
from typing import assert_never

from meterstone.pricing.flat_fee import flat_fee
from meterstone.pricing.lines import Cost, merge_all
from meterstone.pricing.package import package
from meterstone.pricing.price import BillingModel, Price
from meterstone.pricing.tiered import tiered


def cost(price: Price, quantity: Decimal) -> Cost:
    """Return the cost of a quantity: exact, unrounded, with the lines that explain it.

    Quantity 0 costs 0 under every model. A quantity below zero has a negative cost under FLAT_FEE, and costs 0
    under the other models.

    >>> price = Price("p", "usd", BillingModel.FLAT_FEE, amount=Decimal("0.1"))
    >>> cost(price, Decimal(300)).amount
    Decimal('30.0')
    """
    match price.billing_model:
        case BillingModel.FLAT_FEE:
            return flat_fee(price, quantity)
        case BillingModel.PACKAGE:
            return package(price, quantity)
        case BillingModel.TIERED:
            return tiered(price, quantity)
        case _:
            assert_never(price.billing_model)


def cost_buckets(price: Price, quantities: Iterable[Decimal]) -> Cost:
    """Return the sum of the costs of buckets, each priced by itself, with at most one line for each tier."""
    return merge_all(cost(price, quantity) for quantity in quantities)

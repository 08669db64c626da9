"""Costs as lines: an amount is never a bare number, so that every amount can be explained."""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from meterstone.pricing.money import ZERO, add


class Line(msgspec.Struct, frozen=True):
    """A part of a cost: what one tier, the packages, or the flat fee charge.

    `subtotal` is always quantity * unit_amount + flat_amount, unrounded, in the price's currency.
    """

    #: The line is for the units above `from_`, up to and including `to`. None is unbounded.
    from_: Decimal
    to: Decimal | None
    #: Units in this line; packages, for a PACKAGE price.
    quantity: Decimal
    #: The amount for each unit; for each package, for a PACKAGE price.
    unit_amount: Decimal
    #: The amount due for entering the tier, summed over all costs that were merged.
    flat_amount: Decimal
    subtotal: Decimal


class Cost(msgspec.Struct, frozen=True):
    """The cost of a quantity. The quantity is the measured one, even if nothing is charged for it."""

    quantity: Decimal
    #: In order of `from_`, at most one for each tier; none where nothing is charged, such as at quantity 0.
    lines: tuple[Line, ...]

    @property
    def amount(self) -> Decimal:
        """The sum of the lines, unrounded."""
        amount = ZERO
        for line in self.lines:
            amount = add(amount, line.subtotal)
        return amount


_NOTHING = (ZERO, ZERO, ZERO)


def merge(a: Cost, b: Cost) -> Cost:
    """Add two costs, line by line."""
    return merge_all((a, b))


def merge_all(costs: Iterable[Cost]) -> Cost:
    """Add costs: lines of the same tier and unit amount become one. Neither order nor grouping matters."""
    quantity = ZERO
    tiers: dict[tuple[Decimal, Decimal | None, Decimal], tuple[Decimal, Decimal, Decimal]] = {}
    for cost in costs:
        quantity = add(quantity, cost.quantity)
        for line in cost.lines:
            tier = (line.from_, line.to, line.unit_amount)
            units, flat, subtotal = tiers.get(tier, _NOTHING)
            tiers[tier] = (
                add(units, line.quantity),
                add(flat, line.flat_amount),
                add(subtotal, line.subtotal),
            )
    lines = [
        Line(from_, to, units, unit_amount, flat, subtotal)
        for (from_, to, unit_amount), (units, flat, subtotal) in tiers.items()
    ]
    return Cost(quantity, tuple(sorted(lines, key=_position)))


def _position(line: Line) -> tuple[Decimal, bool, Decimal, Decimal]:
    return (line.from_, line.to is None, line.to or ZERO, line.unit_amount)

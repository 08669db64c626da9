"""TIERED: unit amounts and flat amounts that depend on the quantity.

A catalogue refuses unsorted tiers and a bounded last tier. Here they are priced as Flexprice prices them.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import assert_never

from meterstone.pricing.lines import Cost, Line
from meterstone.pricing.money import add, multiply, subtract
from meterstone.pricing.price import Price, Tier, TierMode


def tiered(price: Price, quantity: Decimal) -> Cost:
    """Price a quantity by the tier mode. It costs 0 without a mode or tiers, which a catalogue refuses."""
    mode = price.tier_mode
    if quantity <= 0 or mode is None or not price.tiers:
        return Cost(quantity, ())
    tiers = price.tiers if _ascending(price.tiers) else sorted(price.tiers, key=_bound)
    match mode:
        case TierMode.VOLUME:
            return volume(tiers, quantity)
        case TierMode.SLAB:
            return slab(tiers, quantity)
        case _:
            assert_never(mode)


def volume(tiers: Sequence[Tier], quantity: Decimal) -> Cost:
    """Price the whole quantity by the tier that holds it, or by the last tier if it is beyond all bounds.

    There is at least one tier, and the tiers are in order. `quantity` is above 0.
    """
    start = 0
    for tier in tiers[:-1]:
        if tier.up_to is None or quantity <= tier.up_to:
            return Cost(quantity, (_line(start, tier, quantity),))
        start = tier.up_to
    return Cost(quantity, (_line(start, tiers[-1], quantity),))


def slab(tiers: Sequence[Tier], quantity: Decimal) -> Cost:
    """Price the part of the quantity within each tier; every tier that is entered adds its flat amount.

    The tiers are in order, and `quantity` is above 0. Nothing is charged beyond a bounded last tier.

    >>> tiers = [Tier(10, Decimal(2)), Tier(None, Decimal(1), flat_amount=Decimal(5))]
    >>> [str(line.subtotal) for line in slab(tiers, Decimal(12)).lines]
    ['20', '7']
    """
    lines = []
    start = 0
    for tier in tiers:
        if quantity <= start:
            break
        end = tier.up_to
        if end is None or quantity <= end:
            lines.append(_line(start, tier, subtract(quantity, start)))
            break
        if end > start:
            lines.append(_line(start, tier, Decimal(end - start)))
            start = end
    return Cost(quantity, tuple(lines))


def _line(start: int, tier: Tier, quantity: Decimal) -> Line:
    unit_amount, flat_amount = tier.unit_amount, tier.flat_amount
    subtotal = multiply(unit_amount, quantity)
    return Line(
        Decimal(start),
        None if tier.up_to is None else Decimal(tier.up_to),
        quantity,
        unit_amount,
        flat_amount,
        add(subtotal, flat_amount),
    )


def _ascending(tiers: Sequence[Tier]) -> bool:
    # Checked before sorting, since the tiers of every catalogue are in order, and this runs for every amount.
    before = 0
    for tier in tiers[:-1]:
        if tier.up_to is None or tier.up_to < before:
            return False
        before = tier.up_to
    last = tiers[-1].up_to
    return last is None or last >= before


def _bound(tier: Tier) -> tuple[bool, int]:
    return (tier.up_to is None, tier.up_to or 0)

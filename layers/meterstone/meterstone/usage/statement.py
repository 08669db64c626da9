"""A subscription's statement: every usage line item measured and priced over a window, commitment applied."""

from collections.abc import Mapping
from dataclasses import dataclass

from meterstone.pricing.commitment import Charge, Settlement, apply
from meterstone.pricing.lines import Cost
from meterstone.pricing.money import round_money
from meterstone.pricing.price import PriceType
from meterstone.usage.subscription import LineItem, Subscription
from meterstone.usage.window import Window


@dataclass(frozen=True, slots=True)
class Statement:
    """What a subscription used in a window, and what it owes for it.

    The settlement's rows are in the reply's order, the source of each a charge whose key is its line item.
    ``lines`` has, by line item id, the cost behind each row: the lines that its amount is the sum of.
    """

    subscription: Subscription
    window: Window
    settlement: Settlement[LineItem]
    lines: Mapping[str, Cost]


def rated_items(subscription: Subscription, window: Window) -> list[LineItem]:
    """List the usage line items that have a row in a window, in the order of the rows."""
    items = [
        item
        for item in subscription.line_items
        if item.meter is not None
        and item.price.type is PriceType.USAGE
        and subscription.shown(item).meets(window.start, window.end)
    ]
    return sorted(items, key=lambda item: (item.meter.name if item.meter is not None else "", item.id))


def rate(subscription: Subscription, window: Window, usage: Mapping[str, Cost]) -> Statement:
    """Price what was measured: each amount rounded once, then the commitment applied to all of them."""
    charges = []
    for item in rated_items(subscription, window):
        measured = usage[item.id]
        amount = round_money(measured.amount, subscription.currency)
        charges.append(Charge(item, measured.quantity, amount, item.price))
    settlement = apply(subscription.commitment, charges, subscription.currency)
    return Statement(subscription, window, settlement, usage)

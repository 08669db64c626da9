"""A subscription's statement: what was measured over a window, priced, commitment applied."""

from collections.abc import Mapping
from dataclasses import dataclass

from meterstone.pricing.commitment import Charge, Settlement, apply
from meterstone.pricing.cost import cost, cost_buckets
from meterstone.pricing.lines import Cost, merge_all
from meterstone.pricing.money import round_money
from meterstone.pricing.price import Price
from meterstone.usage.measure import Buckets, Measured, WindowUsage
from meterstone.usage.subscription import LineItem, Subscription
from meterstone.usage.window import Window


@dataclass(frozen=True, slots=True)
class Statement:
    """What a subscription used in a window, and what it owes for it.

    The settlement's rows are in the reply's order, the source of each a charge whose key is its line item.
    ``lines`` has, by line item id, the cost behind each row: the lines that its amount is the sum of.
    ``counted_until`` is when the newest event came in that is counted, in microseconds; 0 if that is not known.
    """

    subscription: Subscription
    window: Window
    settlement: Settlement[LineItem]
    lines: Mapping[str, Cost]
    counted_until: int


def rate(usage: WindowUsage) -> Statement:
    """Price what was measured: each amount rounded once, then the commitment applied to all of them."""
    subscription = usage.subscription
    charges: list[Charge[LineItem]] = []
    lines: dict[str, Cost] = {}
    for item, measured in usage.measured:
        priced = lines[item.id] = price_measured(item.price, measured)
        amount = round_money(priced.amount, subscription.currency)
        charges.append(Charge(item, priced.quantity, amount, item.price))
    settlement = apply(subscription.commitment, charges, subscription.currency)
    return Statement(subscription, usage.window, settlement, lines, usage.counted_until)


def price_measured(price: Price, measured: Measured) -> Cost:
    """Price what one line item measured: exact, unrounded, with its lines."""
    if isinstance(measured, Buckets):
        return merge_all((*measured.costs, cost_buckets(price, measured.quantities)))
    return cost(price, measured)

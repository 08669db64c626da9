"""A subscription's statement: what was measured over a window, priced, commitment applied."""

from collections.abc import Mapping

import msgspec

from meterstone.pricing.commitment import Charge, Settlement, apply
from meterstone.pricing.cost import cost, cost_buckets
from meterstone.pricing.lines import Cost, merge_all
from meterstone.pricing.money import round_money
from meterstone.pricing.price import Price
from meterstone.usage.measure import Buckets, Measured, WindowUsage
from meterstone.usage.subscription import LineItem, Subscription
from meterstone.usage.window import Window


class Statement(msgspec.Struct, frozen=True):
    """What a subscription used in a window, and what it owes for it.

    The settlement's rows are in the order of the reply. The source of each row is a charge whose key is a line
    item. ``lines`` has the cost behind each row by line item id: the row's amount is the sum of its lines.
    ``counted_until`` is when the newest counted event came in, in microseconds; 0 if that is not known.
    """

    subscription: Subscription
    window: Window
    settlement: Settlement[LineItem]
    lines: Mapping[str, Cost]
    counted_until: int


def rate(usage: WindowUsage) -> Statement:
    """Price the measured usage: round each amount once, then apply the commitment to all amounts."""
    subscription = usage.subscription
    lines = {item.id: price_measured(item.price, measured) for item, measured in usage.measured}
    charges = [charge_of(item, lines[item.id], subscription.currency) for item, _ in usage.measured]
    settlement = apply(subscription.commitment, charges, subscription.currency)
    return Statement(subscription, usage.window, settlement, lines, usage.counted_until)


def charge_of(item: LineItem, priced: Cost, currency: str) -> Charge[LineItem]:
    """Return what a line item charges before the commitment: its cost, rounded once."""
    return Charge(item, priced.quantity, round_money(priced.amount, currency), item.price)


def price_measured(price: Price, measured: Measured) -> Cost:
    """Return the cost of what one line item measured: exact, unrounded, with its lines."""
    if isinstance(measured, Buckets):
        return merge_all((*measured.costs, cost_buckets(price, measured.quantities)))
    return cost(price, measured)

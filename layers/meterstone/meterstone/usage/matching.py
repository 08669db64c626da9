"""Which charges an event belongs to. The line items found of a subscription are remembered between batches."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from meterstone.usage.aggregation import observe
from meterstone.usage.charge import ChargePeriod
from meterstone.usage.meter import Event, Meter, Observation, Uncounted, passes
from meterstone.usage.subscription import LineItem, Subscription
from meterstone.usage.tally import TallyKey, tally_key

#: A remembered subscription takes 1 to 3 KB of memory.
_MOST_SUBSCRIPTIONS = 10_000


class Match(NamedTuple):
    """A charge that an event belongs to, its tally, and what the event means to the charge's meter."""

    charge: ChargePeriod
    key: TallyKey
    seen: Observation | Uncounted


class Matching:
    """Finds the charges of subscriptions that events belong to."""

    def __init__(self) -> None:
        """Start with no subscription remembered."""
        self._known: dict[tuple[str, int | None], _Metered] = {}

    def expects(self, event: Event, subscriptions: Iterable[Subscription]) -> bool:
        """Return whether a line item is for an event, even if its meter cannot read the event."""
        for subscription in subscriptions:
            for each in self._metered(subscription).items(event.name):
                if each.counted.holds(event.at) and passes(each.meter.filters, event.properties):
                    return True
        return False

    def matches(self, event: Event, subscription: Subscription) -> Iterator[Match]:
        """Yield the charges of a subscription whose meters an event concerns, whether or not they can count it."""
        for each in self._metered(subscription).items(event.name):
            if each.counted.holds(event.at) and (seen := observe(each.meter, event)) is not None:
                charge = each.charge
                if charge is None or not charge.counted_span.holds(event.at):
                    charge = each.turn_to(event.at)
                yield Match(charge, each.key, seen)

    def _metered(self, subscription: Subscription) -> "_Metered":
        which = subscription.id, subscription.editions.filling
        known = self._known.get(which)
        if known is not None and known.subscription is subscription:
            return known
        if known is None or known.subscription != subscription:
            if len(self._known) >= _MOST_SUBSCRIPTIONS:
                self._known.clear()
            known = self._known[which] = _Metered(subscription)
        return known


class _Metered:
    """The line items of a subscription that have a meter, by the name of its events."""

    __slots__ = ("_items", "subscription")

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self._items: dict[str, list[_MeteredItem]] = {}

    def items(self, name: str) -> "list[_MeteredItem]":
        found = self._items.get(name)
        if found is None:
            found = [
                _MeteredItem(self.subscription, item, item.meter)
                for item in self.subscription.line_items
                if item.meter is not None and name in item.meter.names
            ]
            # Names without a meter are not remembered: clients may send any number of them.
            if found:
                self._items[name] = found
        return found


class _MeteredItem:
    """A line item with a meter, and the charge that was found last."""

    __slots__ = ("_cadence", "_item", "_subscription", "charge", "counted", "key", "meter")

    def __init__(self, subscription: Subscription, item: LineItem, meter: Meter) -> None:
        self.meter = meter
        self.counted = subscription.counted(item)
        self.charge: ChargePeriod | None = None
        self.key = TallyKey("", "", None, 0)
        self._subscription = subscription
        self._item = item
        self._cadence = subscription.cadence(item)

    def turn_to(self, at: int) -> ChargePeriod:
        charge = self.charge = ChargePeriod(self._subscription, self._item, self._cadence.period_at(at))
        self.key = tally_key(charge)
        return charge

"""How many events one transaction can count, and how their details are packed."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, assert_never

import msgspec

from meterstone.store.dynamodb.keys import CHUNK_DAYS
from meterstone.store.dynamodb.packing import add_beside, pack_hours, unpack_beside
from meterstone.store.dynamodb.table import Item
from meterstone.store.dynamodb.transaction import ACTIONS_FOR_EVENTS, item_bytes
from meterstone.usage.calendar import Zone
from meterstone.usage.charge import ChargePeriod
from meterstone.usage.meter import Meter, Observation
from meterstone.usage.period import BillingPeriod
from meterstone.usage.state import DetailKeeps, FineParts, fine_parts, keeps_hours, traits
from meterstone.usage.subscription import Subscription
from meterstone.usage.tally import Batch, Counted, FineState, Position, Tally, identity

#: The most items that one event can need: a detail, a counter's chunk, and three of a value.
_ITEMS_OF_AN_EVENT = 5
#: How many of the largest events fit in the bytes of a transaction and of an item (see `dynamodb.transaction`).
#: The largest are a LATEST's: only they keep ids, of up to 255 characters.
_EVENTS, _EVENTS_IN_A_DETAIL = 4000, 1500
_EVENTS_WITH_IDS, _EVENTS_WITH_IDS_IN_A_DETAIL = 1500, 250
#: A COUNT_UNIQUE's events keep texts of up to 64 characters. JSON writes a control character as six.
_EVENTS_WITH_TEXTS_IN_A_DETAIL = 800
_SHORT_PERIODS = (BillingPeriod.DAILY, BillingPeriod.WEEKLY, BillingPeriod.MONTHLY)
_HOURS_APART = 4
#: Bytes of a day's hours with the events beside them: with its key, the item then costs one write unit, for 1 KB.
_BESIDE_HOURS = 760
_EVENTS_OF_A_DAY = 200
#: The fewest characters that an event beside the hours has, with the comma after it: `[0,"1",""],`.
_SHORTEST = 11

type DetailKey = tuple[str, int, str]
#: A line item as keys name it, its billing period's start, and a day.
type HoursKey = tuple[str, int, int]
#: A line item and its billing period's start (None if the tally has only one charge), and the day.
type _DayOfCharge = tuple[tuple[str, int] | None, int]


class Details(NamedTuple):
    """Events to be packed together, under the position of the first of them in the batch."""

    position: Position
    events: list[Observation]


class PackedFineState(NamedTuple):
    """The hours of the days that a batch touches, packed as items, and the details beside them."""

    hours: dict[HoursKey, Item]
    #: Two billing periods may share a day, and so a key: the positions tell their details apart.
    details: list[tuple[DetailKey, Details]]


def events_in_a_detail(meter: Meter) -> int:
    """Return how many of a meter's events one item may hold."""
    match traits(meter).detail_keeps:
        case DetailKeeps.NOTHING:
            return _EVENTS_IN_A_DETAIL
        case DetailKeeps.ID:
            return _EVENTS_WITH_IDS_IN_A_DETAIL
        case DetailKeeps.TEXT:
            return _EVENTS_WITH_TEXTS_IN_A_DETAIL
        case never:
            assert_never(never)


def events_in_a_transaction(meter: Meter) -> int:
    """Return how many of a meter's events one transaction may count at most."""
    match traits(meter).detail_keeps:
        case DetailKeeps.NOTHING | DetailKeeps.TEXT:
            return _EVENTS
        case DetailKeeps.ID:
            return _EVENTS_WITH_IDS
        case never:
            assert_never(never)


def events_that_fit(charge: ChargePeriod, events: Sequence[Counted]) -> list[Counted]:
    """Return the first events, as many as one transaction can count; ``charge`` is any charge of the tally."""
    if len(events) * _ITEMS_OF_AN_EVENT <= ACTIONS_FOR_EVENTS:
        return list(events)
    meter = charge.meter
    keeps_values = fine_parts(meter) is FineParts.VALUES
    most = events_in_a_transaction(meter)
    in_a_detail = events_in_a_detail(meter)
    # If a value was first seen later than in the batch, the day on which it was first seen loses it.
    items_of_a_value = 3 if _has_many_chunks(charge.subscription, meter) else 2
    charge_at = _charges_of_a_chain(charge.subscription, meter)
    days: dict[_DayOfCharge, _Day] = defaultdict(_Day)
    parts: set[_DayOfCharge] = set()
    values: set[tuple[_DayOfCharge, str]] = set()
    stretches: set[int] = set()
    details = 0
    for number, counted in enumerate(events[:most]):
        seen, day = counted.observation, counted.day
        part = (charge_at(seen.at), day) if meter.recurring else (None, day)
        parts.add(part)
        # Billing periods that share a day also share the details of a COUNT_UNIQUE.
        details += days[(None, day) if keeps_values else part].grow(counted.hour, in_a_detail)
        if keeps_values:
            values.add((part, identity(seen.text)))
        # Wherever the chunks of a period begin, the days of one stretch lie in two chunks at most.
        stretches.add(day // CHUNK_DAYS)
        chunks = len(parts) if meter.recurring else min(2 * len(stretches), len(parts))
        needed = details + chunks + (items_of_a_value * len(values) if values else len(parts))
        if needed > ACTIONS_FOR_EVENTS and number:
            return list(events[:number])
    return list(events[:most])


class _Day(msgspec.Struct):
    """How many events a day has, in which hours, and how many detail items they need."""

    events: int = 0
    hours: set[int] = msgspec.field(default_factory=set)
    items: int = 0

    def grow(self, hour: int, in_a_detail: int) -> int:
        """Take one more event. Return by how many detail items that is more, or fewer (negative)."""
        before = self.items
        self.events += 1
        self.hours.add(hour)
        self.items = _items_of_a_day(self.events, len(self.hours), in_a_detail)
        return self.items - before


def pack_fine_state(
    tally: Tally, parts: FineState, beside: Mapping[HoursKey, str], batch: Sequence[Counted], days: Batch
) -> PackedFineState:
    """Pack the hours of the days, with a few events beside them. Return them, and the events for details.

    A few events lie beside the hours, since the hours' item is written anyway. When that item is full, its events
    and the new ones are packed into a detail together. ``beside`` has those that lie there, as they are stored.
    """
    if not keeps_hours(tally.meter):
        return PackedFineState({}, list(by_detail(tally, batch).items()))
    clock = tally.charges[0].zone
    found = PackedFineState({}, [])
    for (index, day), events in days.items():
        charge = tally.charges[index]
        where = charge.stored_as, charge.period.start, day
        hours = parts.hours[where]
        there = beside.get(where, "")
        if len(events) + len(there) // _SHORTEST > _EVENTS_OF_A_DAY:
            found.hours[where] = pack_hours(tally.meter, hours, there)
            found.details.extend(by_detail(tally, events).items())
            continue
        seen = [counted.observation for counted in events]
        packed = pack_hours(tally.meter, hours, add_beside(tally.meter, day, there, seen))
        if item_bytes(packed) > _BESIDE_HOURS:
            packed = pack_hours(tally.meter, hours)
            together = unpack_beside(tally.meter, day, there) + seen
            key = _stretch(clock, charge, day, together)
            found.details.append((key, Details(events[0].position, together)))
        found.hours[where] = packed
    return found


def _stretch(clock: Zone, charge: ChargePeriod, day: int, events: Iterable[Observation]) -> DetailKey:
    """Return the stretch of a detail: the hour that holds the events, or the day if they are of several hours."""
    hours = {clock.hour_of(seen.at)[1] for seen in events}
    if len(hours) == 1:
        return charge.stored_as, clock.hour_bounds(day, hours.pop())[0], "hour"
    return charge.stored_as, clock.day_start(day), "day"


def by_detail(tally: Tally, batch: Iterable[Counted]) -> dict[DetailKey, Details]:
    """Group events by the detail item that will hold them: line item, start, and length of the stretch of time.

    Events that come as they happen are packed by the hour, so that a part of an hour is quick to read. An import
    brings whole days at once. If a day then has few events over many hours, one item holds all of them.
    """
    days: dict[tuple[str, int], list[Counted]] = {}
    for counted in batch:
        charge = tally.charges[tally.index_at(counted.observation.at)]
        days.setdefault((charge.stored_as, counted.day), []).append(counted)
    clock = tally.charges[0].zone
    found: dict[DetailKey, Details] = {}
    for (item_id, day), events in days.items():
        hours: dict[int, Details] = {}
        for counted in events:
            details = hours.get(counted.hour)
            if details is None:
                details = hours[counted.hour] = Details(counted.position, [])
            details.events.append(counted.observation)
        if _is_sparse(len(events), len(hours)):
            together = Details(events[0].position, [counted.observation for counted in events])
            found[item_id, clock.day_start(day), "day"] = together
        else:
            found |= {
                (item_id, clock.hour_bounds(day, hour)[0], "hour"): details for hour, details in hours.items()
            }
    return found


def _is_sparse(events: int, hours: int) -> bool:
    return hours >= _HOURS_APART and events <= _EVENTS_OF_A_DAY


def _items_of_a_day(events: int, hours: int, in_a_detail: int) -> int:
    return 1 if _is_sparse(events, hours) else hours + events // in_a_detail


def _has_many_chunks(subscription: Subscription, meter: Meter) -> bool:
    """Return whether a tally of the meter may have several counters, or one of several chunks."""
    cadences = [
        subscription.cadence(item)
        for item in subscription.line_items
        if item.meter is not None and item.meter.id == meter.id
    ]
    return meter.recurring or any(
        cadence.count > 1 or cadence.period not in _SHORT_PERIODS for cadence in cadences
    )


def _charges_of_a_chain(subscription: Subscription, meter: Meter) -> Callable[[int], tuple[str, int] | None]:
    """Return a function that finds a chain's charge by an instant: charges of one day have separate items."""
    items = [
        (item.id, subscription.counted(item), subscription.cadence(item))
        for item in subscription.line_items
        if item.meter is not None and item.meter.id == meter.id
    ]

    def find(at: int) -> tuple[str, int] | None:
        return next(
            ((name, cadence.period_at(at).start) for name, counted, cadence in items if counted.holds(at)),
            None,
        )

    return find

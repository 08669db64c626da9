"""How many events one transaction can count, and how their details are packed."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from meterstone.store.counters import item_bytes, pack_hours
from meterstone.store.keys import CHUNK_DAYS
from meterstone.usage.calendar import zone
from meterstone.usage.ledger import Counted, Ledger, Parts, Position, identity
from meterstone.usage.meter import Aggregation, Meter, Observation
from meterstone.usage.period import BillingPeriod
from meterstone.usage.state import keeps_hours
from meterstone.usage.subscription import Subscription

#: Of the 100 actions of a transaction; the rest is for the head and at least one month of rollups.
_ACTIONS = 66
#: An item has at most 400 KB, a transaction 4 MB. Only a LATEST keeps ids, of up to 255 characters.
_EVENTS, _EVENTS_IN_A_DETAIL = 4000, 1500
_EVENTS_WITH_IDS, _EVENTS_WITH_IDS_IN_A_DETAIL = 1500, 250
#: A COUNT_UNIQUE keeps texts of up to 64 characters, of which JSON writes a control character as six.
_EVENTS_WITH_TEXTS_IN_A_DETAIL = 800
_SHORT_PERIODS = (BillingPeriod.DAILY, BillingPeriod.WEEKLY, BillingPeriod.MONTHLY)
_HOURS_APART = 4
#: Bytes of a day's hours and the events beside them: with its key, the item is one write unit, of 1 KB.
_BESIDE_HOURS = 760
_EVENTS_OF_A_DAY = 200

type DetailKey = tuple[str, int, str]
#: A line item and its billing period's start, or None where there is but one charge; and the day.
type _DayOfCharge = tuple[tuple[str, int] | None, int]


class Details(NamedTuple):
    """Events to be packed together, under the position of the first that came with this batch."""

    position: Position
    events: list[Observation]


def events_in_a_detail(meter: Meter) -> int:
    """Give how many of a meter's events one item may hold."""
    match meter.aggregation:
        case Aggregation.LATEST:
            return _EVENTS_WITH_IDS_IN_A_DETAIL
        case Aggregation.COUNT_UNIQUE:
            return _EVENTS_WITH_TEXTS_IN_A_DETAIL
        case _:
            return _EVENTS_IN_A_DETAIL


def slice_of(subscription: Subscription, meter: Meter, events: Sequence[Counted]) -> list[Counted]:
    """Give as many of a ledger's first events as one transaction can count."""
    clock = zone(subscription.timezone)
    most = _EVENTS_WITH_IDS if meter.aggregation is Aggregation.LATEST else _EVENTS
    in_a_detail = events_in_a_detail(meter)
    # A value that was seen before, but later, is taken from the day that it was first seen on.
    items_of_a_value = 3 if _has_many_chunks(subscription, meter) else 2
    unique = meter.aggregation is Aggregation.COUNT_UNIQUE
    charge_at = _charges_of_a_chain(subscription, meter)
    days: dict[_DayOfCharge, tuple[int, set[int]]] = {}
    parts: set[_DayOfCharge] = set()
    values: set[tuple[_DayOfCharge, str]] = set()
    stretches: set[int] = set()
    taken: list[Counted] = []
    details = 0
    for counted in events[:most]:
        seen = counted[1]
        day, hour = clock.hour_of(seen.at)
        part = (charge_at(seen.at), day) if meter.recurring else (None, day)
        parts.add(part)
        # The details of a COUNT_UNIQUE do not tell apart the billing periods that share a day.
        packed = (None, day) if unique else part
        number, hours = days.get(packed, (0, set()))
        grown = hours if hour in hours else hours | {hour}
        details += _items_of_a_day(number + 1, len(grown), in_a_detail) - (
            _items_of_a_day(number, len(hours), in_a_detail) if number else 0
        )
        days[packed] = number + 1, grown
        if unique:
            values.add((part, identity(seen.text)))
        # Wherever a period's chunks begin, the days of one stretch fall into two of them at most.
        stretches.add(day // CHUNK_DAYS)
        chunks = len(parts) if meter.recurring else min(2 * len(stretches), len(parts))
        needed = details + chunks + (items_of_a_value * len(values) if values else len(parts))
        if needed > _ACTIONS and taken:
            break
        taken.append(counted)
    return taken


def put_by(ledger: Ledger, parts: Parts, batch: Iterable[Counted]) -> list[tuple[DetailKey, Details]]:
    """Say what is to be put into details; few events stay beside their day's hours, in ``parts.recent``.

    That item is written anyway. When it is full, what it has is put away together with what comes.
    """
    if not keeps_hours(ledger.meter):
        return list(by_detail(ledger, batch).items())
    days: dict[tuple[str, int, int], list[Counted]] = {}
    for counted in batch:
        charge = ledger.charges[ledger.index_at(counted.observation.at)]
        day = charge.zone.day_of(counted.observation.at)
        days.setdefault((charge.item.id, charge.period.start, day), []).append(counted)
    clock = ledger.charges[0].zone
    found: list[tuple[DetailKey, Details]] = []
    for where, events in days.items():
        item_id, _, day = where
        recent = parts.recent.get(where, [])
        together = recent + [counted.observation for counted in events]
        start = clock.day_start(day)
        if (
            len(together) <= _EVENTS_OF_A_DAY
            and item_bytes(pack_hours(ledger.meter, day, parts.hours[where], together)) <= _BESIDE_HOURS
        ):
            parts.recent[where] = together
        elif len(together) <= _EVENTS_OF_A_DAY:
            parts.recent[where] = []
            hours = {clock.hour_of(seen.at)[1] for seen in together}
            key = item_id, start, "day"
            if len(hours) == 1:
                key = item_id, clock.hour_bounds(day, hours.pop())[0], "hour"
            found.append((key, Details(events[0].position, together)))
        else:
            found += by_detail(ledger, events).items()
    return found


def by_detail(ledger: Ledger, batch: Iterable[Counted]) -> dict[DetailKey, Details]:
    """Sort events to the detail items that hold them: by line item, start, and length of the time they span.

    Events that come as they happen are packed by the hour, so that the part of an hour is quick to read. A
    loader brings days at once: where a day has few events over many hours, one item holds them all.
    """
    days: dict[tuple[str, int], list[tuple[int, Counted]]] = {}
    for counted in batch:
        charge = ledger.charges[ledger.index_at(counted[1].at)]
        day, hour = charge.zone.hour_of(counted[1].at)
        days.setdefault((charge.item.id, day), []).append((hour, counted))
    clock = ledger.charges[0].zone
    found: dict[DetailKey, Details] = {}
    for (item_id, day), events in days.items():
        if _is_sparse(len(events), len({hour for hour, _ in events})):
            found[item_id, clock.day_start(day), "day"] = Details(
                events[0][1].position, [counted.observation for _, counted in events]
            )
            continue
        for hour, counted in events:
            start, _ = clock.hour_bounds(day, hour)
            details = found.setdefault((item_id, start, "hour"), Details(counted.position, []))
            details.events.append(counted.observation)
    return found


def _is_sparse(events: int, hours: int) -> bool:
    return hours >= _HOURS_APART and events <= _EVENTS_OF_A_DAY


def _items_of_a_day(events: int, hours: int, in_a_detail: int) -> int:
    return 1 if _is_sparse(events, hours) else hours + events // in_a_detail


def _has_many_chunks(subscription: Subscription, meter: Meter) -> bool:
    """Tell whether a ledger of the meter may have several counters, or one of several chunks."""
    cadences = [
        subscription.cadence(item)
        for item in subscription.line_items
        if item.meter is not None and item.meter.id == meter.id
    ]
    return meter.recurring or any(
        cadence.count > 1 or cadence.period not in _SHORT_PERIODS for cadence in cadences
    )


def _charges_of_a_chain(subscription: Subscription, meter: Meter) -> Callable[[int], tuple[str, int] | None]:
    """Find charges of a recurring meter by an instant: of a day that they share, each has items of its own."""
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

"""How many events one transaction can count, and how their details are packed."""

from collections.abc import Iterable, Sequence

from meterstone.store.keys import CHUNK_DAYS
from meterstone.usage.calendar import zone
from meterstone.usage.ledger import Counted, Ledger, identity
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.subscription import Subscription

EVENTS_IN_A_DETAIL = 1500

#: Of the 100 actions of a transaction; the rest is for the head and at least one month of rollups.
_ACTIONS = 66
_EVENTS = 4000
_HOURS_APART = 4
_EVENTS_OF_A_DAY = 200


def slice_of(subscription: Subscription, meter: Meter, events: Sequence[Counted]) -> list[Counted]:
    """Give as many of a ledger's first events as one transaction can count."""
    clock = zone(subscription.timezone)
    days: dict[int, tuple[int, set[int]]] = {}
    values: set[tuple[int, str]] = set()
    taken: list[Counted] = []
    details = 0
    for counted in events[:_EVENTS]:
        seen = counted[1]
        day, hour = clock.hour_of(seen.at)
        number, hours = days.get(day, (0, set()))
        grown = hours | {hour}
        details += _items_of_a_day(number + 1, len(grown)) - (
            _items_of_a_day(number, len(hours)) if number else 0
        )
        days[day] = number + 1, grown
        if meter.aggregation is Aggregation.COUNT_UNIQUE:
            values.add((day, identity(seen.text)))
        chunks = len(days) if meter.recurring else len(days) // CHUNK_DAYS + 2
        needed = details + chunks + (2 * len(values) if values else len(days))
        if needed > _ACTIONS and taken:
            break
        taken.append(counted)
    return taken


def by_detail(ledger: Ledger, batch: Iterable[Counted]) -> dict[tuple[str, int, str], list[Counted]]:
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
    found: dict[tuple[str, int, str], list[Counted]] = {}
    for (item_id, day), events in days.items():
        if _is_sparse(len(events), len({hour for hour, _ in events})):
            found[item_id, clock.day_start(day), "day"] = [counted for _, counted in events]
            continue
        for hour, counted in events:
            start, _ = clock.hour_bounds(day, hour)
            found.setdefault((item_id, start, "hour"), []).append(counted)
    return found


def _is_sparse(events: int, hours: int) -> bool:
    return hours >= _HOURS_APART and events <= _EVENTS_OF_A_DAY


def _items_of_a_day(events: int, hours: int) -> int:
    return 1 if _is_sparse(events, hours) else hours + events // EVENTS_IN_A_DETAIL

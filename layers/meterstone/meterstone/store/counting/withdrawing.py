"""Finding withdrawn events: where they lie, and which others are in their hours, as far as that is needed."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import batched
from typing import NamedTuple

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.packing import kept_of, repack_detail, unpack_detail
from meterstone.store.dynamodb.table import Item, Table, integer
from meterstone.store.dynamodb.transaction import READ_TOGETHER
from meterstone.usage.calendar import bucket_bounds
from meterstone.usage.charge import ChargePeriod
from meterstone.usage.meter import Observation
from meterstone.usage.state import FineParts, fine_parts
from meterstone.usage.tally import Counted, identity


class StoredDetail(NamedTuple):
    """An item with events of an hour or a day: its sort key, the stretch's start, and the events."""

    sk: str
    start: int
    events: list[Observation]

    def item(self) -> Item:
        """Return what is stored of it; nothing if it has no event left."""
        return repack_detail(self.start, self.events) if self.events else {}


class StoredEvents:
    """The events that a line item has counted between two instants of a day, as far as they lie in details."""

    def __init__(self, table: Table, pk: str, charge: ChargePeriod, bounds: tuple[int, int]) -> None:
        """Prepare to read from the partition of a subscription's usage. Nothing is read yet."""
        self._charge = charge
        self._bounds = bounds
        self._read: list[StoredDetail] = []
        self._unread = _details(table, pk, charge, bounds)

    def take(self, wanted: Observation) -> StoredDetail | None:
        """Find the detail that has an event, and remove the event from it; None if none has.

        Events that are equal in all that is kept of them are the same: any of them is removed.
        """
        for detail in self._all():
            if wanted in detail.events:
                detail.events.remove(wanted)
                return detail
        return None

    def remaining(self) -> Iterator[Observation]:
        """Yield the events of the charge that lie between the instants, without those that were taken."""
        (start, end), span = self._bounds, self._charge.counted_span
        for detail in self._all():
            yield from (seen for seen in detail.events if start <= seen.at < end and span.holds(seen.at))

    def _all(self) -> Iterator[StoredDetail]:
        yield from list(self._read)
        for detail in self._unread:
            self._read.append(detail)
            yield detail


def _details(table: Table, pk: str, charge: ChargePeriod, bounds: tuple[int, int]) -> Iterator[StoredDetail]:
    """Read the details of some hours of a day, page by page, and then those of the whole day."""
    clock, item_id = charge.zone, charge.stored_as
    day, first = clock.hour_of(bounds[0])
    last = clock.hour_of(bounds[1] - 1)[1]
    stretches = [(clock.hour_bounds(day, hour)[0], "hour") for hour in range(first, last + 1)]
    for start, length in (*stretches, (clock.day_start(day), "day")):
        for row in table.query_prefix(pk, keys.details(item_id, start, length), consistent=True):
            sk = row["sk"].S or ""
            yield StoredDetail(sk, start, unpack_detail(charge.meter, start, row))


def stretch_of(charge: ChargePeriod, counted: Counted) -> tuple[int, int]:
    """Return the bounds of the hour or the bucket whose state an event is in."""
    size = charge.meter.bucket_size
    if fine_parts(charge.meter) is FineParts.BUCKETS and size is not None:
        return bucket_bounds(size, counted.observation.at, charge.zone)
    return charge.zone.hour_bounds(counted.day, counted.hour)


class Sighting(NamedTuple):
    """An event of a COUNT_UNIQUE that is to be taken out: its detail without it, and what else has its value.

    ``remaining`` are the other events of the value in its hour. ``next_seen`` is when the value is seen first
    without it; None if never, or if the event was not the first.
    """

    detail: StoredDetail
    remaining: tuple[Observation, ...]
    next_seen: int | None


def find_sighting(
    table: Table, pk: str, charges: Sequence[ChargePeriod], counted: Counted, first: int | None, until: int
) -> Sighting | None:
    """Find an event of a COUNT_UNIQUE, and when its value is seen next, up to ``until``.

    ``charges`` are the tally's, in order of time; the first one holds the event. Return None if the tally does not
    have the event. Cost: the details of the event's hour. If the event was the ``first`` of its value, also 1 key
    for each later day, in batches, and the details of the hour in which the value is seen next.
    """
    charge, at = charges[0], counted.observation.at
    stored = StoredEvents(table, pk, charge, stretch_of(charge, counted))
    wanted = kept_of(charge.meter, counted.observation)
    detail = stored.take(wanted)
    if detail is None:
        return None
    remaining = tuple(seen for seen in stored.remaining() if seen.text == wanted.text)
    if first != at or any(seen.at == at for seen in remaining):
        return Sighting(detail, remaining, None)
    here = min((seen.at for seen in remaining), default=None)
    return Sighting(
        detail, remaining, _seen_next(table, pk, charges, counted, until) if here is None else here
    )


def _seen_next(
    table: Table, pk: str, charges: Sequence[ChargePeriod], counted: Counted, until: int
) -> int | None:
    """Return when a value is seen first in the hours after an event's."""
    at, text = counted.observation.at, identity(counted.observation.text)
    for some in batched(_days(charges, at, until), READ_TOGETHER, strict=False):
        found = {
            (number, day): Key(pk, keys.value(charge.stored_as, charge.period.start, day, text))
            for number, (charge, day) in enumerate(some)
        }
        rows = table.batch_get(found.values(), consistent=True)
        for (number, day), key in found.items():
            bits = integer(rows[key], "h") if key in rows else 0
            charge = some[number][0]
            if charge is charges[0] and day == counted.day:
                bits &= -1 << (counted.hour + 1)
            for hour in _hours_of(bits):
                stored = StoredEvents(table, pk, charge, charge.zone.hour_bounds(day, hour))
                wanted = keys.part(text)
                times = [seen.at for seen in stored.remaining() if seen.text == wanted]
                if times:
                    return min(times)
    return None


def _days(charges: Iterable[ChargePeriod], at: int, until: int) -> Iterator[tuple[ChargePeriod, int]]:
    """Yield the days of charges, from the one that holds an instant on."""
    for charge in charges:
        span, day_of = charge.counted_span, charge.zone.day_of
        last = until if span.end is None else min(until, span.end - 1)
        yield from ((charge, day) for day in range(day_of(max(at, span.start)), day_of(last) + 1))


def _hours_of(bits: int) -> Iterator[int]:
    return (hour for hour in range(bits.bit_length()) if bits >> hour & 1)

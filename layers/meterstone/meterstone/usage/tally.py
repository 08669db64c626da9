"""Tallies: the counters that change together, and how events change them.

A tally is the unit of concurrency: each change of any part of it checks the tally's version and raises it.
A plain meter has one tally for each line item and billing period. A recurring meter has one tally for each
subscription, since its value carries from period to period and across line items. Such a tally is a chain of
charges, without a gap from the first event to now.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from decimal import Decimal
from hashlib import sha256
from typing import NamedTuple, assert_never

import msgspec

from meterstone.pricing.cost import cost_buckets
from meterstone.pricing.money import ZERO, add
from meterstone.usage.calendar import bucket_bounds
from meterstone.usage.charge import ChargePeriod, Counter, DayAmount, day_series
from meterstone.usage.edition import stored_as
from meterstone.usage.instant import END_OF_TIME, HOUR
from meterstone.usage.meter import Meter, Observation
from meterstone.usage.state import FineParts, State, fine_parts, merge_into, quantity, state_of
from meterstone.usage.subscription import NOWHERE, Placed, Subscription

_LONGEST_TEXT = 64
_RETENTION = 48 * HOUR
_ONE = Decimal(1)


class Position(NamedTuple):
    """Where an event stands in the shard that delivered it. Positions compare within one shard only."""

    shard: str
    number: int


class Counted(NamedTuple):
    """An event as one line item counts it.

    ``accepted`` is the instant at which the event came in, 0 if it was imported. ``day`` and ``hour`` hold the
    event by the clock of the subscription's time zone. ``withdrawn``: the event is to be taken out, under a
    position that comes after its own.
    """

    position: Position
    observation: Observation
    accepted: int
    day: int
    hour: int
    withdrawn: bool = False


#: Events by the charge that holds them (its index in the tally) and by day. The events of a day keep their order.
type Batch = dict[tuple[int, int], list[Counted]]


class TallyKey(NamedTuple):
    """The name of a tally: a line item and the start of a billing period.

    For the chain of a recurring meter, ``item_id`` is None and ``period_start`` is 0. ``edition`` is the counting
    that the tally belongs to (see `usage.edition`).
    """

    subscription_id: str
    meter_id: str
    item_id: str | None
    period_start: int
    edition: int = 0

    @property
    def stored_as(self) -> str:
        """The text by which keys name the line item, or of a chain the meter, in the tally's edition."""
        return stored_as(self.meter_id if self.item_id is None else self.item_id, self.edition)


class Head(msgspec.Struct):
    """A tally's version, and how far it has counted and published. All times are microseconds since the epoch.

    ``positions`` has the number of the last event counted, by shard. ``moved`` has the time at which that number
    last grew, of shards that end by themselves. A position that has rested for 48 hours can be dropped: the
    table's stream keeps a record for 24 hours, so that nothing below the position is delivered again.

    ``through`` is the latest time at which the tally was published. ``stale_from`` is set while a change is
    published only in part: the start of the first charge that is not published. ``first`` and ``last`` are the
    starts of a chain's first and last charge. ``accepted`` is when the newest counted event came in.
    """

    version: int = 0
    positions: dict[str, int] = msgspec.field(default_factory=dict)
    moved: dict[str, int] = msgspec.field(default_factory=dict)
    through: int = 0
    stale_from: int | None = None
    first: int | None = None
    last: int | None = None
    accepted: int = 0
    #: Of an edition that is not read yet: it counts, and is not in the rollups.
    quiet: bool = False
    #: Of an edition that is not read any more: it counts nothing, and leaves the rollups.
    retired: bool = False
    #: The moves that all of it has followed in the rollups.
    placed: Placed = NOWHERE
    #: Those that it has followed in part; none if there is no such.
    following: Placed = NOWHERE

    def forget(self, shards: frozenset[str], now: int) -> None:
        """Drop the positions of ``shards``, which deliver nothing any more, and of shards at rest for 48 hours."""
        for shard in shards.union([shard for shard, moved in self.moved.items() if moved < now - _RETENTION]):
            self.positions.pop(shard, None)
            self.moved.pop(shard, None)

    def unseen(self, batch: Iterable[Counted]) -> list[Counted]:
        """Return the events of a batch that the tally has not counted yet."""
        return [each for each in batch if each.position.number > self.positions.get(each.position.shard, -1)]

    def pass_by(self, batch: Iterable[Counted]) -> None:
        """Move past the positions of a batch: no event up to them is counted any more."""
        for each in batch:
            shard, number = each.position
            if number > self.positions.get(shard, -1):
                self.positions[shard] = number

    def take(self, batch: Iterable[Counted]) -> None:
        """Remember when the newest of the events came in that are counted."""
        for each in batch:
            self.accepted = max(self.accepted, each.accepted)


class FineState(msgspec.Struct):
    """The finer parts of a tally that a batch of events touches, beside its counters.

    - ``hours``: the state of each hour, by line item, billing period's start and day.
    - ``buckets``: the value of each bucket, by billing period's start and day. A meter with buckets shorter than
      a day has these in place of hours.
    - ``firsts``: when each value of a COUNT_UNIQUE was first seen; None if never before.
    - ``values``: a bit for each hour of the day in which a value was seen, by line item, billing period's start,
      day and value.
    """

    hours: dict[tuple[str, int, int], dict[int, State]] = msgspec.field(default_factory=dict)
    buckets: dict[tuple[int, int], dict[int, Decimal]] = msgspec.field(default_factory=dict)
    firsts: dict[str, int | None] = msgspec.field(default_factory=dict)
    values: dict[tuple[str, int, int, str], int] = msgspec.field(default_factory=dict)


class Tally(msgspec.Struct):
    """A tally in memory: its head, and the charges that a change can reach, by time, with their counters."""

    key: TallyKey
    meter: Meter
    head: Head
    charges: list[ChargePeriod]
    counters: list[Counter]

    def index_at(self, instant: int) -> int:
        """Return the index of the charge that holds an instant."""
        if len(self.charges) == 1:
            return 0
        return bisect_right(self.charges, instant, key=lambda charge: charge.counted_span.start) - 1

    def by_day(self, events: Iterable[Counted]) -> Batch:
        """Sort events by the charge and the day that hold them."""
        batch: Batch = {}
        for counted in events:
            batch.setdefault((self.index_at(counted.observation.at), counted.day), []).append(counted)
        return batch


def tally_key(charge: ChargePeriod) -> TallyKey:
    """Return the key of the tally that a charge belongs to."""
    meter = charge.meter
    if meter.recurring:
        return TallyKey(charge.subscription.id, meter.id, None, 0, charge.edition)
    return TallyKey(charge.subscription.id, meter.id, charge.item.id, charge.period.start, charge.edition)


def charge_of(subscription: Subscription, key: TallyKey) -> ChargePeriod | None:
    """Return the charge of a plain tally; of a chain, the first charge of one of its line items.

    None if the subscription has no such line item or billing period, or its tally is of another edition.
    """
    of_chain = key.item_id is None
    for item in subscription.line_items:
        if item.meter is None or (item.meter.id != key.meter_id if of_chain else item.id != key.item_id):
            continue
        begin = subscription.start if of_chain else key.period_start
        charge = ChargePeriod(subscription, item, subscription.cadence(item).period_at(begin))
        # An instant at which the subscription has ended lies in none of its periods: the last one is given for it.
        is_its_own = of_chain or charge.period.start == key.period_start
        return charge if is_its_own and charge.edition == key.edition else None
    return None


def chain(subscription: Subscription, meter_id: str, since: int, until: int) -> list[ChargePeriod]:
    """List the charges of a recurring meter whose billing periods meet ``[since, until]``, in order of time."""
    charges = []
    for item in subscription.line_items:
        if item.meter is None or item.meter.id != meter_id:
            continue
        counted = subscription.counted(item)
        if counted.end is not None and counted.end <= counted.start:
            continue
        start = max(since, counted.start)
        end = until + 1 if counted.end is None else min(until + 1, counted.end)
        charges += [
            ChargePeriod(subscription, item, p) for p in subscription.cadence(item).periods(start, end)
        ]
    return sorted(charges, key=lambda charge: charge.counted_span.start)


def identity(text: str) -> str:
    """Return the text under which a value of a COUNT_UNIQUE is stored.

    It has at most 65 characters, and no two values share it: a long value is replaced by its SHA-256.

    >>> identity("user 7"), len(identity("user " * 20))
    ('user 7', 65)
    """
    if len(text) <= _LONGEST_TEXT and text.isascii():
        return text
    return "~" + sha256(text.encode()).hexdigest()  # 65 characters: no short text is mistaken for it


def touched(tally: Tally, batch: Batch) -> FineState:
    """Return the finer parts that a batch touches, all empty: the caller fills in what is stored."""
    parts = FineState()
    kept = fine_parts(tally.meter)
    for (index, day), events in batch.items():
        charge = tally.charges[index]
        match kept:
            case FineParts.HOURS:
                parts.hours[charge.stored_as, charge.period.start, day] = {}
            case FineParts.BUCKETS:
                parts.buckets[charge.period.start, day] = {}
            case FineParts.VALUES:
                for text in (identity(counted.observation.text) for counted in events):
                    parts.firsts[text] = None
                    parts.values[charge.stored_as, charge.period.start, day, text] = 0
            case _:
                assert_never(kept)
    return parts


def count(tally: Tally, parts: FineState, batch: Batch) -> None:
    """Count a batch of events into a tally's counters and finer parts.

    The caller has left out the events that the tally has counted before.
    """
    meter, kept = tally.meter, fine_parts(tally.meter)
    for (index, day), events in batch.items():
        charge, counter = tally.charges[index], tally.counters[index]
        tally.head.take(events)
        match kept:
            case FineParts.HOURS:
                hours = parts.hours[charge.stored_as, charge.period.start, day]
                for hour, state in _by_hour(meter, events).items():
                    hours[hour] = merge_into(meter, hours.get(hour), state)
                    counter.days[day] = merge_into(meter, counter.days.get(day), state)
            case FineParts.BUCKETS:
                buckets = parts.buckets[charge.period.start, day]
                for counted in events:
                    _count_bucket(meter, buckets, charge, counted.observation)
                # Costed anew from all buckets of the day, since a late event may change a bucket that was over.
                counter.days[day] = cost_buckets(charge.item.price, (buckets[at] for at in sorted(buckets)))
            case FineParts.VALUES:
                for counted in events:
                    _count_unique(tally, parts, counted, charge)
            case _:
                assert_never(kept)


def _by_hour(meter: Meter, events: Iterable[Counted]) -> dict[int, State]:
    """Return the state that some events of one day come to in each hour of the day."""
    hours: dict[int, State] = {}
    for _, seen, _, _, hour, _ in events:
        hours[hour] = merge_into(meter, hours.get(hour), state_of(meter, seen))
    return hours


def _count_bucket(meter: Meter, buckets: dict[int, Decimal], charge: ChargePeriod, seen: Observation) -> None:
    if meter.bucket_size is None:
        raise TypeError(f"meter {meter.id} has no buckets")
    start, _ = bucket_bounds(meter.bucket_size, seen.at, charge.zone)
    merged = merge_into(meter, buckets.get(start), state_of(meter, seen))
    if isinstance(merged, Decimal):
        buckets[start] = merged


def _count_unique(tally: Tally, parts: FineState, counted: Counted, charge: ChargePeriod) -> None:
    seen = counted.observation
    text = identity(seen.text)
    parts.values[charge.stored_as, charge.period.start, counted.day, text] |= 1 << counted.hour
    first = parts.firsts[text]
    if first is not None and first <= seen.at:
        return
    # A late event may be earlier than the one that was first so far. Then its day counts the value.
    parts.firsts[text] = seen.at
    add_first(tally, seen.at, _ONE)
    if first is not None:
        add_first(tally, first, -_ONE)


def add_first(tally: Tally, at: int, step: Decimal) -> None:
    """Add to the number of values that a COUNT_UNIQUE has seen first on the day of an instant."""
    index = tally.index_at(at)
    days = tally.counters[index].days
    day = tally.charges[index].zone.day_of(at)
    total = add(quantity(tally.meter, days.get(day)), step)
    if total:
        days[day] = total
    else:
        days.pop(day, None)


class Restated(NamedTuple):
    """What each charge's days are worth now, and when the clock alone changes that; None if never."""

    series: list[Mapping[int, DayAmount]]
    due: int | None


def restate(tally: Tally, now: int) -> Restated:
    """Calculate what each charge's days are worth at ``now``, carrying a recurring value along the chain.

    This sets the counters' ``carry`` and the head's ``through``. Publishing the result is left to the caller.
    """
    now = tally.head.through = max(now, tally.head.through)
    series: list[Mapping[int, DayAmount]] = []
    due: int | None = None
    for index, (charge, counter) in enumerate(zip(tally.charges, tally.counters, strict=True)):
        if tally.meter.recurring and index:
            counter.carry = tally.counters[index - 1].closing(tally.meter)
        days, next_due = day_series(charge, counter, now)
        series.append(days)
        due = _earlier(due, next_due)
    if tally.meter.recurring:
        due = _earlier(due, _restatement(tally))
    return Restated(series, due)


def _earlier(one: int | None, other: int | None) -> int | None:
    """Return the earlier of two instants, each of which is None if it never comes."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _restatement(tally: Tally) -> int | None:
    """Return the instant at which the next charge of a chain begins and restates the carried value.

    None if there is nothing to restate, or no charge follows.
    """
    last, counter = tally.charges[-1], tally.counters[-1]
    if quantity(tally.meter, counter.closing(tally.meter)) == ZERO:
        return None
    after = last.counted_span.end
    if after is None or after == END_OF_TIME:
        return None
    subscription = last.subscription
    spans = [
        subscription.counted(item)
        for item in subscription.line_items
        if item.meter is not None and item.meter.id == tally.meter.id
    ]
    return min((max(after, span.start) for span in spans if span.meets(after, None)), default=None)

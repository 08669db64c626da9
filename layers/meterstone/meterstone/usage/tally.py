"""Tallies: what is changed together, and how events change it.

A tally is the unit of concurrency: whoever changes any part of it checks and raises its version. A plain meter
has one tally for each line item and billing period. A recurring meter, whose value carries from period to
period and across line items, has one for each subscription and meter: a chain of charges, without a gap from
its first event to now.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from typing import NamedTuple, assert_never

from meterstone.pricing.cost import cost_buckets
from meterstone.pricing.money import ZERO, add
from meterstone.usage.calendar import bucket_bounds
from meterstone.usage.charge import ChargePeriod, Counter, DayAmount, day_series
from meterstone.usage.instant import END_OF_TIME, HOUR
from meterstone.usage.meter import Meter, Observation
from meterstone.usage.state import FineParts, State, fine_parts, merge_into, quantity, state_of
from meterstone.usage.subscription import Subscription

_LONGEST_TEXT = 64
_RETENTION = 48 * HOUR
_ONE = Decimal(1)


class Position(NamedTuple):
    """Where an event stands in the stream that delivered it: they compare within a shard only."""

    shard: str
    number: int


class Counted(NamedTuple):
    """An event as one line item counts it; ``accepted`` is when it came in, 0 if it was imported.

    ``day`` and ``hour`` are those that hold it by the subscription's clock.
    """

    position: Position
    observation: Observation
    accepted: int
    day: int
    hour: int


#: Events by the number of the charge that holds them, within its tally, and by day; each day's in their order.
type Batch = dict[tuple[int, int], list[Counted]]


class TallyKey(NamedTuple):
    """Names a tally: by line item and billing period, or, with no line item, the chain of a recurring meter."""

    subscription_id: str
    meter_id: str
    item_id: str | None
    period_start: int


@dataclass(slots=True)
class Head:
    """A tally's version and what it remembers of its writers.

    ``positions`` has, by shard, the last event counted, and ``moved`` when that last moved, of shards that end by
    themselves: what lies below a position that rested for 48 hours is not delivered again, for the table's stream
    keeps it for 24. ``through`` is the latest time at which the tally was
    published. ``stale_from`` is set while a change is only partly published: the start of the first charge in
    question. ``first`` and ``last`` are the starts of a chain's first and last charge. ``accepted`` is when the
    newest event that it counted came in.
    """

    version: int = 0
    positions: dict[str, int] = field(default_factory=dict)
    moved: dict[str, int] = field(default_factory=dict)
    through: int = 0
    stale_from: int | None = None
    first: int | None = None
    last: int | None = None
    accepted: int = 0

    def forget(self, shards: frozenset[str], now: int) -> None:
        """Drop the positions of shards that will deliver nothing any more, those at rest for 48 hours too."""
        gone = shards | {shard for shard, moved in self.moved.items() if moved < now - _RETENTION}
        self.positions = {shard: at for shard, at in self.positions.items() if shard not in gone}
        self.moved = {shard: at for shard, at in self.moved.items() if shard not in gone}

    def unseen(self, batch: Iterable[Counted]) -> list[Counted]:
        """Leave out what the tally has counted already."""
        return [each for each in batch if each.position.number > self.positions.get(each.position.shard, -1)]

    def take(self, batch: Sequence[Counted]) -> None:
        """Remember the positions of a batch that is counted now, and when the newest of its events came in."""
        for (shard, number), _, accepted, _, _ in batch:
            if number > self.positions.get(shard, -1):
                self.positions[shard] = number
            self.accepted = max(self.accepted, accepted)


@dataclass(slots=True)
class FineState:
    """The finer parts of a tally that a batch of events touches, beside its counters.

    ``hours``: by line item, billing period's start and day, the state of each hour. ``buckets``: by billing
    period's start and day, the value of each bucket (of meters with buckets shorter than a day, in place of
    hours). ``firsts``: when each value of a COUNT_UNIQUE was first seen. ``values``: by line item, billing
    period's start, day and value, a bit for each hour of the day in which the value was seen. ``recent``: by the
    keys of ``hours``, events of the day that stand beside them, not yet put away with others.
    """

    hours: dict[tuple[str, int, int], dict[int, State]] = field(default_factory=dict)
    buckets: dict[tuple[int, int], dict[int, Decimal]] = field(default_factory=dict)
    firsts: dict[str, int | None] = field(default_factory=dict)
    values: dict[tuple[str, int, int, str], int] = field(default_factory=dict)
    recent: dict[tuple[str, int, int], list[Observation]] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """A tally in hand: its head, and the charges of it that matter, in order of time, with their counters."""

    key: TallyKey
    meter: Meter
    head: Head
    charges: list[ChargePeriod]
    counters: list[Counter]

    def index_at(self, instant: int) -> int:
        """Find the charge that holds an instant."""
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
        return TallyKey(charge.subscription.id, meter.id, None, 0)
    return TallyKey(charge.subscription.id, meter.id, charge.item.id, charge.period.start)


def charge_of(subscription: Subscription, key: TallyKey) -> ChargePeriod:
    """Return the charge of a plain tally; of a chain the first one of a line item."""
    if key.item_id is None:
        item = next(
            item
            for item in subscription.line_items
            if item.meter is not None and item.meter.id == key.meter_id
        )
        return ChargePeriod(subscription, item, subscription.cadence(item).period_at(subscription.start))
    item = next(item for item in subscription.line_items if item.id == key.item_id)
    return ChargePeriod(subscription, item, subscription.cadence(item).period_at(key.period_start))


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
    """Return a value of a COUNT_UNIQUE in a bounded form that stands for it alone."""
    if len(text) <= _LONGEST_TEXT and text.isascii():
        return text
    return "~" + sha256(text.encode()).hexdigest()  # 65 characters: no short text is mistaken for it


def touched(tally: Tally, batch: Batch) -> FineState:
    """Return the finer parts that a batch touches, empty, to be filled with what is stored of them."""
    parts = FineState()
    kept = fine_parts(tally.meter)
    for (index, day), events in batch.items():
        charge = tally.charges[index]
        match kept:
            case FineParts.HOURS:
                parts.hours[charge.item.id, charge.period.start, day] = {}
            case FineParts.BUCKETS:
                parts.buckets[charge.period.start, day] = {}
            case FineParts.VALUES:
                for text in (identity(counted.observation.text) for counted in events):
                    parts.firsts[text] = None
                    parts.values[charge.item.id, charge.period.start, day, text] = 0
            case _:
                assert_never(kept)
    return parts


def count(tally: Tally, parts: FineState, batch: Batch) -> None:
    """Count a batch of events that the tally has not seen into its counters and their finer parts."""
    meter, kept = tally.meter, fine_parts(tally.meter)
    for (index, day), events in batch.items():
        charge, counter = tally.charges[index], tally.counters[index]
        tally.head.take(events)
        match kept:
            case FineParts.HOURS:
                hours = parts.hours[charge.item.id, charge.period.start, day]
                for hour, state in _by_hour(meter, events).items():
                    hours[hour] = merge_into(meter, hours.get(hour), state)
                    counter.days[day] = merge_into(meter, counter.days.get(day), state)
            case FineParts.BUCKETS:
                buckets = parts.buckets[charge.period.start, day]
                for counted in events:
                    _count_bucket(meter, buckets, charge, counted.observation)
                # Costed anew from all the day's buckets: a late event may change one that was closed.
                counter.days[day] = cost_buckets(charge.item.price, (buckets[at] for at in sorted(buckets)))
            case FineParts.VALUES:
                for counted in events:
                    _count_unique(tally, parts, counted, charge)
            case _:
                assert_never(kept)


def _by_hour(meter: Meter, events: Iterable[Counted]) -> dict[int, State]:
    """Return what some events of one day come to, by its hours."""
    hours: dict[int, State] = {}
    for _, seen, _, _, hour in events:
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
    parts.values[charge.item.id, charge.period.start, counted.day, text] |= 1 << counted.hour
    first = parts.firsts[text]
    if first is not None and first <= seen.at:
        return
    # An event that comes late may be the first after all: the value then moves to its day.
    parts.firsts[text] = seen.at
    _add_first(tally, seen.at, _ONE)
    if first is not None:
        _add_first(tally, first, -_ONE)


def _add_first(tally: Tally, at: int, step: Decimal) -> None:
    index = tally.index_at(at)
    days = tally.counters[index].days
    day = tally.charges[index].zone.day_of(at)
    total = add(quantity(tally.meter, days.get(day)), step)
    if total:
        days[day] = total
    else:
        days.pop(day, None)


class Restated(NamedTuple):
    """What each charge's days are worth now, and when the clock alone will change that."""

    series: list[Mapping[int, DayAmount]]
    due: int | None


def restate(tally: Tally, now: int) -> Restated:
    """Work out what each charge's days are worth at ``now``, carrying a recurring value along the chain.

    The counters' ``carry`` is brought up to date; what is published is left to the caller.
    """
    now = tally.head.through = max(now, tally.head.through)
    series: list[Mapping[int, DayAmount]] = []
    due: int | None = None
    for index, (charge, counter) in enumerate(zip(tally.charges, tally.counters, strict=True)):
        if tally.meter.recurring and index:
            counter.carry = tally.counters[index - 1].closing(tally.meter)
        days, next_due = day_series(charge, counter, now)
        series.append(days)
        due = min((each for each in (due, next_due) if each is not None), default=None)
    if tally.meter.recurring:
        following = _restatement(tally)
        due = min((each for each in (due, following) if each is not None), default=None)
    return Restated(series, due)


def _restatement(tally: Tally) -> int | None:
    """Return the instant at which the chain grows by a billing period, if its value is to be restated then."""
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

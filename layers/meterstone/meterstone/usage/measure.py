"""Measuring a subscription over a window: putting stored parts together into quantities. Nothing is priced here.

`measure` decides what is read, asks a `UsageReader` for it, and returns values; `usage.statement` prices them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol, assert_never

import msgspec

from meterstone.pricing.lines import Cost
from meterstone.pricing.money import ZERO, add
from meterstone.pricing.price import PriceType
from meterstone.usage.calendar import BucketSize, bucket_bounds
from meterstone.usage.charge import ChargePeriod, Counter
from meterstone.usage.meter import Meter, Observation
from meterstone.usage.state import (
    FineParts,
    State,
    accrued,
    fine_parts,
    merge_all_states,
    merge_states,
    quantity,
    state_of,
    traits,
)
from meterstone.usage.subscription import LineItem, Subscription
from meterstone.usage.tally import TallyKey, tally_key
from meterstone.usage.window import Days, PartialDay, Window, WindowPlan, hours_and_partial_hours, plan_window


class UsageReader(Protocol):
    """Reads the stored parts of one subscription, for one request."""

    @property
    def counted_until(self) -> int:
        """When the newest event in the parts read so far came in, in microseconds; 0 if that is not known."""

    def read_ahead(self, plans: Sequence[WindowPlan]) -> None:
        """Read, in few requests, the parts that most of the plans need."""

    def counter(self, charge: ChargePeriod) -> Counter | None:
        """Read a charge's counter, at least as far as the window reaches; None if nothing is stored."""

    def read_again(self, charge: ChargePeriod, times: int) -> None:
        """Have the next `counter` of a charge read from the table anew, not from what was read before.

        ``times`` says how many times in a row that is asked for by now. A reader gives up if a counter keeps
        changing.
        """

    def carried(self, charge: ChargePeriod) -> State | None:
        """Read the state that a recurring meter carries into a charge."""

    def hours(self, charge: ChargePeriod, day: int) -> Mapping[int, State]:
        """Read the hours of a day."""

    def buckets(self, charge: ChargePeriod, day: int) -> Mapping[int, Decimal]:
        """Read the buckets of a day, by their starts."""

    def events(self, charge: ChargePeriod, day: int, start: int, end: int) -> Iterable[Observation]:
        """Read a charge's events in the part `[start, end)` of a day; texts of a COUNT_UNIQUE as in `values`."""

    def values(self, item: LineItem, first: int, last: int) -> Mapping[int, Mapping[str, int]]:
        """Read the values seen on the days `first` to `last`: by day, each with a bit for every hour."""

    def firsts(self, key: TallyKey, values: Iterable[str]) -> Mapping[str, int]:
        """Read when values were first seen, from the table and not from what was read before."""


class Buckets(NamedTuple):
    """What a bucketed meter measured: each bucket of time is priced by itself.

    `quantities` has the quantity of each bucket that is still to be priced. `costs` has one cost for each whole
    day, for buckets shorter than a day: a counter keeps what the day's buckets cost, not the buckets.
    """

    quantities: tuple[Decimal, ...]
    costs: tuple[Cost, ...] = ()


#: What a line item measured in a window, not priced yet: one quantity, or the quantities of buckets.
type Measured = Decimal | Buckets


class WindowUsage(msgspec.Struct, frozen=True):
    """What a subscription used in a window, not priced yet.

    `measured` has the usage line items that have a row in the window, in the order of the rows, each with what it
    measured. `counted_until` is when the newest counted event came in, in microseconds. It is 0 if that is not
    known: imported events have no such time.
    """

    subscription: Subscription
    window: Window
    measured: tuple[tuple[LineItem, Measured], ...]
    counted_until: int


def measure(subscription: Subscription, window: Window, reader: UsageReader, now: int) -> WindowUsage:
    """Measure every usage line item that has a row in a window."""
    (usage,) = measure_all(subscription, [window], reader, now)
    return usage


def measure_all(
    subscription: Subscription, windows: Iterable[Window], reader: UsageReader, now: int
) -> list[WindowUsage]:
    """Measure several windows of a subscription, each for itself. What they need is read together."""
    plans = [
        (window, [plan_window(subscription, item, window, now) for item in rated_items(subscription, window)])
        for window in windows
    ]
    reader.read_ahead([plan for _, several in plans for plan in several])
    measured = [
        (window, tuple((plan.item, measure_line_item(reader, plan, window, now)) for plan in several))
        for window, several in plans
    ]
    return [WindowUsage(subscription, window, each, reader.counted_until) for window, each in measured]


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


def measure_line_item(reader: UsageReader, plan: WindowPlan, window: Window, now: int) -> Measured:
    """Return what a line item measured in a window, put together from the stored parts."""
    meter = _meter(plan.item)
    if meter.recurring and not traits(meter).accrues:
        return quantity(meter, _restated(reader, plan, window, now))
    if plan.empty:
        return ZERO
    match fine_parts(meter):
        case FineParts.BUCKETS:
            return _short_buckets(reader, plan)
        case FineParts.VALUES:
            return _distinct(reader, plan)
        case FineParts.HOURS:
            if meter.bucket_size is not None:
                return Buckets(_coarse_buckets(reader, plan, meter.bucket_size))
            if traits(meter).accrues:
                return _weighted(reader, plan, window, now)
            return quantity(meter, merge_all_states(meter, _states(reader, plan)))
        case never:
            assert_never(never)


def _meter(item: LineItem) -> Meter:
    if item.meter is None:
        raise TypeError(f"line item {item.id} has no meter")
    return item.meter


def _states(reader: UsageReader, plan: WindowPlan) -> list[State | None]:
    """List the states of all parts of a window plan."""
    found: list[State | None] = []
    for days in plan.days:
        found += _whole_days(reader, days).values()
    found += [_part_of_day(reader, plan, cut) for cut in plan.cut]
    return found


def _daily(reader: UsageReader, plan: WindowPlan) -> list[tuple[int, State | None]]:
    """List the states of all parts of a window plan, each with its day."""
    found: list[tuple[int, State | None]] = []
    for days in plan.days:
        found += _whole_days(reader, days).items()
    found += [(cut.day, _part_of_day(reader, plan, cut)) for cut in plan.cut]
    return found


def _whole_days(reader: UsageReader, days: Days) -> Mapping[int, State]:
    """Return the states of whole days that have any."""
    counter = reader.counter(days.charge)
    if counter is None or not counter.days:
        return {}
    if days.first <= min(counter.days) and max(counter.days) <= days.last:
        # Most windows want all days of a counter, which takes longer to find out day by day.
        return counter.days
    return {day: state for day, state in counter.days.items() if days.first <= day <= days.last}


def _part_of_day(reader: UsageReader, plan: WindowPlan, cut: PartialDay) -> State | None:
    meter = _meter(plan.item)
    hours, partial_hours = hours_and_partial_hours(plan, cut)
    known = reader.hours(cut.charge, cut.day)
    state = merge_all_states(meter, (known.get(hour) for hour in hours))
    for partial_hour in partial_hours:
        # An hour in which nothing was counted has no events to look for.
        if cut.charge.zone.hour_of(partial_hour.start)[1] in known:
            for seen in reader.events(cut.charge, partial_hour.day, partial_hour.start, partial_hour.end):
                state = merge_states(meter, state, state_of(meter, seen))
    return state


def _coarse_buckets(reader: UsageReader, plan: WindowPlan, size: BucketSize) -> tuple[Decimal, ...]:
    """Return the quantity of each bucket of a day or longer, as far as the bucket lies in the window."""
    meter = _meter(plan.item)
    buckets: dict[int, State | None] = {}
    for day, state in _daily(reader, plan):
        clock = plan.days[0].charge.zone if plan.days else plan.cut[0].charge.zone
        start, _ = bucket_bounds(size, clock.day_start(day), clock)
        buckets[start] = merge_states(meter, buckets.get(start), state)
    return tuple(quantity(meter, buckets[start]) for start in sorted(buckets))


def _short_buckets(reader: UsageReader, plan: WindowPlan) -> Buckets:
    """Return the buckets of a meter whose buckets are shorter than a day; whole days are costed already."""
    meter = _meter(plan.item)
    whole: list[Cost] = []
    buckets: dict[int, State | None] = {}
    for days in plan.days:
        shared = _shared_days(plan, days)
        counter = reader.counter(days.charge)
        for day, state in (counter.days if counter is not None else {}).items():
            if days.first <= day <= days.last and day not in shared and isinstance(state, Cost):
                whole.append(state)
        for day in shared:
            for start, value in reader.buckets(days.charge, day).items():
                buckets[start] = merge_states(meter, buckets.get(start), value)
    for cut in plan.cut:
        for start, state in _cut_buckets(reader, plan, cut):
            buckets[start] = merge_states(meter, buckets.get(start), state)
    return Buckets(tuple(quantity(meter, buckets[start]) for start in sorted(buckets)), tuple(whole))


def _shared_days(plan: WindowPlan, days: Days) -> set[int]:
    """List the days with a bucket that a billing period's bound cuts while the window holds both sides of it.

    Such a bucket is one bucket in the window, but two in the counters.
    """
    size, counted_span = _meter(plan.item).bucket_size, days.charge.counted_span
    if size is None:
        return set()
    clock = days.charge.zone
    shared = set()
    if (
        plan.start < counted_span.start
        and bucket_bounds(size, counted_span.start, clock)[0] < counted_span.start
    ):
        shared.add(days.first)
    end = counted_span.end
    if end is not None and end < plan.end and bucket_bounds(size, end, clock)[0] < end:
        shared.add(days.last)
    return shared


def _cut_buckets(reader: UsageReader, plan: WindowPlan, cut: PartialDay) -> Iterator[tuple[int, State]]:
    meter, counted_span, clock = _meter(plan.item), cut.charge.counted_span, cut.charge.zone
    for start, value in reader.buckets(cut.charge, cut.day).items():
        size = meter.bucket_size
        if size is None:
            return
        _, end = bucket_bounds(size, start, clock)
        counted_start = max(start, counted_span.start)
        counted_end = end if counted_span.end is None else min(end, counted_span.end)
        if counted_end <= cut.start or cut.end <= counted_start:
            continue
        if cut.start <= counted_start and counted_end <= cut.end:
            yield start, value
            continue
        begin, until = max(counted_start, cut.start), min(counted_end, cut.end)
        for seen in reader.events(cut.charge, cut.day, begin, until):
            yield start, state_of(meter, seen)


def _weighted(reader: UsageReader, plan: WindowPlan, window: Window, now: int) -> Decimal:
    carried = ZERO
    meter = _meter(plan.item)
    if meter.recurring:
        carried = quantity(meter, _value_at(reader, plan, plan.start, now))
    state = merge_all_states(meter, _states(reader, plan))
    length = window.divisor(plan.subscription.cadence(plan.item))
    return accrued(state, carried, plan.start, plan.end, length)


def _restated(reader: UsageReader, plan: WindowPlan, window: Window, now: int) -> State | None:
    """Return the state of a recurring meter at the end of the line item's part of a window.

    As in the analytics, a value is restated when a billing period begins. Before that, the period has no value.
    """
    subscription, item = plan.subscription, plan.item
    counted = subscription.counted(item)
    start = max(window.start, counted.start)
    end = window.end if counted.end is None else min(window.end, counted.end)
    begun = subscription.cadence(item).period_at(max(min(end - 1, now), counted.start))
    counted_span = ChargePeriod(subscription, item, begun).counted_span
    end = end if counted_span.end is None else min(end, counted_span.end)
    if end <= start or now < counted_span.start:
        return None
    return _value_at(reader, plan, end, now)


def _value_at(reader: UsageReader, plan: WindowPlan, at: int, now: int) -> State | None:
    """Return the state of a recurring meter over all events before an instant."""
    subscription, item = plan.subscription, plan.item
    charge = ChargePeriod(subscription, item, subscription.cadence(item).period_at(max(at - 1, plan.start)))
    if at <= charge.counted_span.start:
        return reader.carried(charge)
    inside = plan_window(subscription, item, Window(charge.counted_span.start, at), now)
    meter = _meter(item)
    match fine_parts(meter):
        case FineParts.VALUES:
            return _ever_seen(reader, inside, charge)
        case FineParts.HOURS | FineParts.BUCKETS:
            return merge_states(
                meter, reader.carried(charge), merge_all_states(meter, _states(reader, inside))
            )
        case never:
            assert_never(never)


def _ever_seen(reader: UsageReader, inside: WindowPlan, charge: ChargePeriod) -> State | None:
    """Count the values that were first seen before the end of a part of a charge, over all time.

    A late event moves a value to an earlier day. If it moved a value from the partial day to a whole day between
    the two reads, the value would be missing on both. So the whole days are read again, until they do not change.
    """
    meter = charge.meter

    def before() -> State | None:
        return merge_states(meter, reader.carried(charge), _on_whole_days(reader, inside))

    found, times = before(), 0
    while inside.cut:
        cut = _on_cut_days(reader, inside)
        times += 1
        reader.read_again(charge, times)
        if (again := before()) == found:
            return merge_states(meter, found, cut)
        found = again
    return found


def _distinct(reader: UsageReader, plan: WindowPlan) -> Decimal:
    """Count the distinct values in the window."""
    charges = {days.charge.period.start for days in plan.days} | {cut.charge.period.start for cut in plan.cut}
    charge = plan.days[0].charge if plan.days else None
    if len(charges) == 1 and charge is not None and plan.start == charge.counted_span.start and not plan.cut:
        return _on_whole_days(reader, plan)
    seen: set[str] = set()
    for days in plan.days:
        seen.update(*_days_values(reader, plan, days))
    for cut in plan.cut:
        seen |= _part_values(reader, plan, cut)
    return Decimal(len(seen))


def _on_whole_days(reader: UsageReader, plan: WindowPlan) -> Decimal:
    """Count the values first seen on the whole days of a plan that begins where its only charge begins."""
    total = ZERO
    for days in plan.days:
        counter = reader.counter(days.charge)
        if counter is not None:
            for day, state in counter.days.items():
                if days.first <= day <= days.last and isinstance(state, Decimal):
                    total = add(total, state)
    return total


def _on_cut_days(reader: UsageReader, plan: WindowPlan) -> Decimal:
    """Count the values first seen within the partial days of a plan."""
    total = ZERO
    for cut in plan.cut:
        values = reader.values(plan.item, cut.day, cut.day).get(cut.day, {})
        firsts = reader.firsts(tally_key(cut.charge), values)
        total = add(total, Decimal(sum(cut.start <= first < cut.end for first in firsts.values())))
    return total


def _days_values(reader: UsageReader, plan: WindowPlan, days: Days) -> Iterator[set[str]]:
    """Yield the values of whole days; a day that two billing periods share is read by the hour."""
    clock, counted_span = days.charge.zone, days.charge.counted_span
    first, last = days.first, days.last
    if counted_span.start > clock.day_start(first):
        end = min(clock.day_start(first + 1), plan.end)
        yield _part_values(reader, plan, PartialDay(days.charge, first, counted_span.start, end))
        first += 1
    if first <= last and counted_span.end is not None and counted_span.end < clock.day_start(last + 1):
        yield _part_values(
            reader, plan, PartialDay(days.charge, last, clock.day_start(last), counted_span.end)
        )
        last -= 1
    if first <= last:
        for values in reader.values(plan.item, first, last).values():
            yield set(values)


def _part_values(reader: UsageReader, plan: WindowPlan, cut: PartialDay) -> set[str]:
    hours, partial_hours = hours_and_partial_hours(plan, cut)
    values = reader.values(plan.item, cut.day, cut.day).get(cut.day, {})
    mask = sum(1 << hour for hour in hours)
    found = {value for value, bits in values.items() if bits & mask}
    for partial_hour in partial_hours:
        bit = 1 << cut.charge.zone.hour_of(partial_hour.start)[1]
        if any(bits & bit for bits in values.values()):
            events = reader.events(cut.charge, partial_hour.day, partial_hour.start, partial_hour.end)
            found.update(seen.text for seen in events)
    return found

"""Measuring a subscription over a window: the stored parts put together to quantities. Nothing is priced here.

`measure` decides what is read, asks a `UsageReader` for it, and returns values; `usage.statement` prices them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple, Protocol, assert_never

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
    """Where the stored parts of one subscription are read, for one request."""

    @property
    def counted_until(self) -> int:
        """When the newest event came in that is counted in what was read so far; 0 if that is not known."""

    def read_ahead(self, plans: Sequence[WindowPlan]) -> None:
        """Read at once what most of the plans will need."""

    def counter(self, charge: ChargePeriod) -> Counter | None:
        """Read a charge's counter, at least as far as the window reaches; None if nothing is stored."""

    def read_again(self, charge: ChargePeriod) -> None:
        """Have a charge's counter read anew, as it is now."""

    def carried(self, charge: ChargePeriod) -> State | None:
        """Read the state of a recurring meter before a charge begins."""

    def hours(self, charge: ChargePeriod, day: int) -> Mapping[int, State]:
        """Read the hours of a day."""

    def buckets(self, charge: ChargePeriod, day: int) -> Mapping[int, Decimal]:
        """Read the buckets of a day, by their starts."""

    def events(self, charge: ChargePeriod, day: int, start: int, end: int) -> Iterable[Observation]:
        """Read a charge's events of a part of a day; a COUNT_UNIQUE's texts as `values` names them."""

    def values(self, item: LineItem, first: int, last: int) -> Mapping[int, Mapping[str, int]]:
        """Read the values seen on days, both included: by day, each with a bit for every hour."""

    def firsts(self, key: TallyKey, values: Iterable[str]) -> Mapping[str, int]:
        """Read when values were first seen, as it is now."""


class Buckets(NamedTuple):
    """What a bucketed meter measured: each bucket of time is priced by itself.

    `quantities` are those of buckets that are still to be priced. `costs` are those of whole days of buckets
    shorter than a day: their counters keep what the day's buckets cost, not the buckets.
    """

    quantities: tuple[Decimal, ...]
    costs: tuple[Cost, ...] = ()


#: What a line item measured in a window, not priced yet: one quantity, or those of buckets.
type Measured = Decimal | Buckets


@dataclass(frozen=True, slots=True)
class WindowUsage:
    """What a subscription used in a window, not priced yet.

    `measured` has the usage line items that have a row in the window, in the order of the rows, each with what it
    measured. `counted_until` is when the newest event came in that is counted in it, in microseconds; 0 if that is
    not known, as where nothing was counted but what was imported.
    """

    subscription: Subscription
    window: Window
    measured: tuple[tuple[LineItem, Measured], ...]
    counted_until: int


def measure(subscription: Subscription, window: Window, parts: UsageReader, now: int) -> WindowUsage:
    """Measure every usage line item that has a row in a window."""
    plans = [plan_window(subscription, item, window, now) for item in rated_items(subscription, window)]
    parts.read_ahead(plans)
    measured = tuple((plan.item, measure_line_item(parts, plan, window, now)) for plan in plans)
    return WindowUsage(subscription, window, measured, parts.counted_until)


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


def measure_line_item(parts: UsageReader, covered: WindowPlan, window: Window, now: int) -> Measured:
    """Put together what a line item measured in a window."""
    meter = _meter(covered.item)
    if meter.recurring and not traits(meter).accrues:
        return quantity(meter, _restated(parts, covered, window, now))
    if covered.empty:
        return ZERO
    match fine_parts(meter):
        case FineParts.BUCKETS:
            return _short_buckets(parts, covered)
        case FineParts.VALUES:
            return _distinct(parts, covered)
        case FineParts.HOURS:
            if meter.bucket_size is not None:
                return Buckets(_coarse_buckets(parts, covered, meter.bucket_size))
            if traits(meter).accrues:
                return _weighted(parts, covered, window, now)
            return quantity(meter, merge_all_states(meter, _states(parts, covered)))
        case never:
            assert_never(never)


def _meter(item: LineItem) -> Meter:
    if item.meter is None:
        raise TypeError(f"line item {item.id} has no meter")
    return item.meter


def _states(parts: UsageReader, covered: WindowPlan) -> Iterator[State | None]:
    """Return the states of all parts of a cover."""
    for _, state in _daily(parts, covered):
        yield state


def _daily(parts: UsageReader, covered: WindowPlan) -> Iterator[tuple[int, State | None]]:
    """Return the states of all parts of a cover, each with its day."""
    for days in covered.days:
        counter = parts.counter(days.charge)
        if counter is not None:
            yield from ((day, state) for day, state in counter.days.items() if days.first <= day <= days.last)
    for cut in covered.cut:
        yield cut.day, _part_of_day(parts, covered, cut)


def _part_of_day(parts: UsageReader, covered: WindowPlan, cut: PartialDay) -> State | None:
    meter = _meter(covered.item)
    hours, edges = hours_and_partial_hours(covered, cut)
    known = parts.hours(cut.charge, cut.day)
    state = merge_all_states(meter, (known.get(hour) for hour in hours))
    for edge in edges:
        # An hour in which nothing was counted has no events to look for.
        if cut.charge.zone.hour_of(edge.start)[1] in known:
            for seen in parts.events(cut.charge, edge.day, edge.start, edge.end):
                state = merge_states(meter, state, state_of(meter, seen))
    return state


def _coarse_buckets(parts: UsageReader, covered: WindowPlan, size: BucketSize) -> tuple[Decimal, ...]:
    """Return the quantity of each bucket of a day or more, as far as it lies in the window."""
    meter = _meter(covered.item)
    buckets: dict[int, State | None] = {}
    for day, state in _daily(parts, covered):
        clock = covered.days[0].charge.zone if covered.days else covered.cut[0].charge.zone
        start, _ = bucket_bounds(size, clock.day_start(day), clock)
        buckets[start] = merge_states(meter, buckets.get(start), state)
    return tuple(quantity(meter, buckets[start]) for start in sorted(buckets))


def _short_buckets(parts: UsageReader, covered: WindowPlan) -> Buckets:
    """Put together the buckets of which a day holds several: whole days as their counters have them already."""
    meter = _meter(covered.item)
    whole: list[Cost] = []
    buckets: dict[int, State | None] = {}
    for days in covered.days:
        shared = _shared_days(covered, days)
        counter = parts.counter(days.charge)
        for day, state in (counter.days if counter is not None else {}).items():
            if days.first <= day <= days.last and day not in shared and isinstance(state, Cost):
                whole.append(state)
        for day in shared:
            for start, value in parts.buckets(days.charge, day).items():
                buckets[start] = merge_states(meter, buckets.get(start), value)
    for cut in covered.cut:
        for start, state in _cut_buckets(parts, covered, cut):
            buckets[start] = merge_states(meter, buckets.get(start), state)
    return Buckets(tuple(quantity(meter, buckets[start]) for start in sorted(buckets)), tuple(whole))


def _shared_days(covered: WindowPlan, days: Days) -> set[int]:
    """List the days with a bucket that a billing period's bound cuts, while the window holds both its sides."""
    size, counted_span = _meter(covered.item).bucket_size, days.charge.counted_span
    if size is None:
        return set()
    clock = days.charge.zone
    shared = set()
    if (
        covered.start < counted_span.start
        and bucket_bounds(size, counted_span.start, clock)[0] < counted_span.start
    ):
        shared.add(days.first)
    end = counted_span.end
    if end is not None and end < covered.end and bucket_bounds(size, end, clock)[0] < end:
        shared.add(days.last)
    return shared


def _cut_buckets(parts: UsageReader, covered: WindowPlan, cut: PartialDay) -> Iterator[tuple[int, State]]:
    meter, counted_span, clock = _meter(covered.item), cut.charge.counted_span, cut.charge.zone
    for start, value in parts.buckets(cut.charge, cut.day).items():
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
        for seen in parts.events(cut.charge, cut.day, begin, until):
            yield start, state_of(meter, seen)


def _weighted(parts: UsageReader, covered: WindowPlan, window: Window, now: int) -> Decimal:
    carried = ZERO
    meter = _meter(covered.item)
    if meter.recurring:
        carried = quantity(meter, _value_at(parts, covered, covered.start, now))
    state = merge_all_states(meter, _states(parts, covered))
    length = window.divisor(covered.subscription.cadence(covered.item))
    return accrued(state, carried, covered.start, covered.end, length)


def _restated(parts: UsageReader, covered: WindowPlan, window: Window, now: int) -> State | None:
    """Return the state of a recurring meter at the end of the line item's part of a window.

    As in the analytics, a value is restated when a billing period begins: in those that have not begun there is
    none yet.
    """
    subscription, item = covered.subscription, covered.item
    counted = subscription.counted(item)
    start = max(window.start, counted.start)
    end = window.end if counted.end is None else min(window.end, counted.end)
    begun = subscription.cadence(item).period_at(max(min(end - 1, now), counted.start))
    counted_span = ChargePeriod(subscription, item, begun).counted_span
    end = end if counted_span.end is None else min(end, counted_span.end)
    if end <= start or now < counted_span.start:
        return None
    return _value_at(parts, covered, end, now)


def _value_at(parts: UsageReader, covered: WindowPlan, at: int, now: int) -> State | None:
    """Return the state of a recurring meter over all that it counted before an instant."""
    subscription, item = covered.subscription, covered.item
    charge = ChargePeriod(
        subscription, item, subscription.cadence(item).period_at(max(at - 1, covered.start))
    )
    if at <= charge.counted_span.start:
        return parts.carried(charge)
    inside = plan_window(subscription, item, Window(charge.counted_span.start, at), now)
    meter = _meter(item)
    match fine_parts(meter):
        case FineParts.VALUES:
            return _ever_seen(parts, inside, charge)
        case FineParts.HOURS | FineParts.BUCKETS:
            return merge_states(meter, parts.carried(charge), merge_all_states(meter, _states(parts, inside)))
        case never:
            assert_never(never)


def _ever_seen(parts: UsageReader, inside: WindowPlan, charge: ChargePeriod) -> State | None:
    """Count the values that were seen for the first time ever up to the end of a part of a charge.

    A late event moves a value to an earlier day. One that moved away from the day that is cut, after the days
    before were read, would be on neither: these are read again then.
    """
    meter = charge.meter

    def before() -> State | None:
        return merge_states(meter, parts.carried(charge), _on_whole_days(parts, inside))

    found = before()
    while inside.cut:
        cut = _on_cut_days(parts, inside)
        parts.read_again(charge)
        if (again := before()) == found:
            return merge_states(meter, found, cut)
        found = again
    return found


def _distinct(parts: UsageReader, covered: WindowPlan) -> Decimal:
    """Count the distinct values in the window."""
    charges = {days.charge.period.start for days in covered.days} | {
        cut.charge.period.start for cut in covered.cut
    }
    charge = covered.days[0].charge if covered.days else None
    if (
        len(charges) == 1
        and charge is not None
        and covered.start == charge.counted_span.start
        and not covered.cut
    ):
        return _on_whole_days(parts, covered)
    seen: set[str] = set()
    for days in covered.days:
        seen.update(*_days_values(parts, covered, days))
    for cut in covered.cut:
        seen |= _part_values(parts, covered, cut)
    return Decimal(len(seen))


def _on_whole_days(parts: UsageReader, covered: WindowPlan) -> Decimal:
    """Count the values first seen on the whole days of a cover that begins where its only charge does."""
    total = ZERO
    for days in covered.days:
        counter = parts.counter(days.charge)
        if counter is not None:
            for day, state in counter.days.items():
                if days.first <= day <= days.last and isinstance(state, Decimal):
                    total = add(total, state)
    return total


def _on_cut_days(parts: UsageReader, covered: WindowPlan) -> Decimal:
    """Count the values first seen on the days of a cover that are cut."""
    total = ZERO
    for cut in covered.cut:
        values = parts.values(covered.item, cut.day, cut.day).get(cut.day, {})
        firsts = parts.firsts(tally_key(cut.charge), values)
        total = add(total, Decimal(sum(cut.start <= first < cut.end for first in firsts.values())))
    return total


def _days_values(parts: UsageReader, covered: WindowPlan, days: Days) -> Iterator[set[str]]:
    """Return the values of whole days; a day that two billing periods share is looked at by the hour."""
    clock, counted_span = days.charge.zone, days.charge.counted_span
    first, last = days.first, days.last
    if counted_span.start > clock.day_start(first):
        end = min(clock.day_start(first + 1), covered.end)
        yield _part_values(parts, covered, PartialDay(days.charge, first, counted_span.start, end))
        first += 1
    if first <= last and counted_span.end is not None and counted_span.end < clock.day_start(last + 1):
        yield _part_values(
            parts, covered, PartialDay(days.charge, last, clock.day_start(last), counted_span.end)
        )
        last -= 1
    if first <= last:
        for values in parts.values(covered.item, first, last).values():
            yield set(values)


def _part_values(parts: UsageReader, covered: WindowPlan, cut: PartialDay) -> set[str]:
    hours, edges = hours_and_partial_hours(covered, cut)
    values = parts.values(covered.item, cut.day, cut.day).get(cut.day, {})
    mask = sum(1 << hour for hour in hours)
    found = {value for value, bits in values.items() if bits & mask}
    for edge in edges:
        bit = 1 << cut.charge.zone.hour_of(edge.start)[1]
        if any(bits & bit for bits in values.values()):
            events = parts.events(cut.charge, edge.day, edge.start, edge.end)
            found.update(seen.text for seen in events)
    return found

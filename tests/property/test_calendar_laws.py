"""Laws of the calendar: whatever clocks do, instants, days, buckets and periods leave no gap nor overlap."""

from datetime import date
from itertools import pairwise

from hypothesis import assume, example, given
from hypothesis import strategies as st

from meterstone.usage.calendar import (
    EPOCH_DAY,
    FIRST_DAY,
    LAST_DAY,
    BucketSize,
    Granularity,
    Zone,
    bucket_bounds,
    granularity_bounds,
    zone,
)
from meterstone.usage.instant import (
    DAY,
    END_OF_TIME,
    HOUR,
    ZERO_TIME,
    format_instant,
    key_instant,
    parse_instant,
    parse_key_instant,
)
from meterstone.usage.period import BillingCycle, BillingPeriod, Cadence

# A change of clocks in each of the ways that they are changed.
CHANGES = {
    "UTC": "2024-03-13T00:00:00Z",
    "America/New_York": "2024-11-03T06:00:00Z",
    "Europe/Berlin": "2024-03-31T01:00:00Z",
    "Australia/Lord_Howe": "2024-04-06T15:00:00Z",
    "America/Sao_Paulo": "2018-11-04T03:00:00Z",
    "Pacific/Apia": "2011-12-30T10:00:00Z",
    "Asia/Beirut": "2022-03-26T22:00:00Z",
    "Africa/Cairo": "2023-10-26T21:00:00Z",
    "Asia/Kathmandu": "1985-12-31T18:30:00Z",
    "Pacific/Chatham": "2024-09-28T14:00:00Z",
    "America/St_Johns": "1999-10-31T02:31:00Z",
    "America/Toronto": "1919-03-31T04:30:00Z",
    "America/Juneau": "1867-10-19T00:00:00Z",
    "Africa/Monrovia": "1972-01-07T00:44:30Z",
}

instants = st.integers(ZERO_TIME, END_OF_TIME - 1)


@st.composite
def moments(draw: st.DrawFn) -> tuple[Zone, int]:
    """Draw a zone and an instant: often near a change of its clock, or near the ends of time."""
    name = draw(st.sampled_from(sorted(CHANGES)))
    change = parse_instant(CHANGES[name])
    near = st.one_of(
        st.integers(change - 3 * DAY, change + 3 * DAY),
        st.integers(-80, 80).map(lambda quarters: change + quarters * HOUR // 4),
        st.integers(change - HOUR // 30, change + HOUR // 30),
    )
    at = draw(st.one_of(near, near, instants, st.sampled_from([ZERO_TIME, END_OF_TIME - 1])))
    return zone(name), at


sizes = st.sampled_from(BucketSize)


@given(instants)
@example(ZERO_TIME)
@example(END_OF_TIME - 1)
def test_text_is_read_back(instant: int) -> None:
    assert parse_instant(format_instant(instant)) == instant
    assert parse_key_instant(key_instant(instant)) == instant


@given(instants, instants)
def test_keys_sort_as_instants(one: int, other: int) -> None:
    assert (key_instant(one) < key_instant(other)) == (one < other)


@given(moments())
def test_days_partition_time(moment: tuple[Zone, int]) -> None:
    clock, at = moment
    day = clock.day_of(at)
    start, end = clock.day_bounds(day)
    assert start <= at < end
    assert FIRST_DAY <= day <= LAST_DAY
    assert start == ZERO_TIME or clock.day_of(start - 1) < day
    assert end == END_OF_TIME or clock.day_of(end) > day


@given(moments(), st.integers(-3, 3))
def test_a_day_begins_when_the_clock_first_shows_it(moment: tuple[Zone, int], away: int) -> None:
    clock, at = moment
    day = clock.day_of(at) + away
    start, midnight = clock.day_start(day), (day - EPOCH_DAY) * DAY
    assume(ZERO_TIME < start < END_OF_TIME)
    # No clock is more than a day off UTC, and none is changed twice in three days: what it showed on the eve,
    # hour by hour, is all that it showed before.
    assert clock.wall(start) >= midnight
    assert all(clock.wall(start - 1 - HOUR * hour) < midnight for hour in range(48))


@given(moments(), st.integers(0, 3 * DAY))
def test_days_follow_time(moment: tuple[Zone, int], later: int) -> None:
    clock, at = moment
    assume(at + later < END_OF_TIME)
    assert clock.day_of(at) <= clock.day_of(at + later)


@given(moments())
def test_hours_partition_the_day(moment: tuple[Zone, int]) -> None:
    clock, at = moment
    day, hour = clock.hour_of(at)
    start, end = clock.hour_bounds(day, hour)
    assert day == clock.day_of(at)
    assert start <= at < end <= start + HOUR
    bounds = [clock.hour_bounds(day, number) for number in range(clock.hours(day))]
    assert (bounds[0][0], bounds[-1][1]) == clock.day_bounds(day)
    assert all(one[1] == other[0] for one, other in pairwise(bounds))


@given(moments(), st.lists(st.integers(-2 * DAY, 2 * DAY), max_size=5), sizes)
def test_what_was_asked_before_changes_nothing(
    moment: tuple[Zone, int], before: list[int], size: BucketSize
) -> None:
    clock, at = moment
    expected = (clock.day_of(at), clock.hour_of(at), bucket_bounds(size, at, clock))
    for away in before:
        other = min(max(at + away, ZERO_TIME), END_OF_TIME - 1)
        clock.day_of(other)
        bucket_bounds(size, other, clock)
    assert (clock.day_of(at), clock.hour_of(at), bucket_bounds(size, at, clock)) == expected


@given(moments())
def test_the_clock_is_read_back_unless_it_shows_a_time_twice(moment: tuple[Zone, int]) -> None:
    clock, at = moment
    assume(ZERO_TIME + DAY < at < END_OF_TIME - DAY)
    first = clock.instant(clock.local(at))
    assert first <= at
    assert clock.local(first) == clock.local(at)


@given(moments(), sizes)
def test_buckets_partition_time(moment: tuple[Zone, int], size: BucketSize) -> None:
    clock, at = moment
    start, end = bucket_bounds(size, at, clock)
    assert start <= at < end
    assert bucket_bounds(size, start, clock) == bucket_bounds(size, end - 1, clock) == (start, end)
    assert end == END_OF_TIME or bucket_bounds(size, end, clock)[0] == end
    assert start == ZERO_TIME or bucket_bounds(size, start - 1, clock)[1] == start


@given(moments(), sizes)
def test_buckets_nest_in_days_and_days_in_buckets(moment: tuple[Zone, int], size: BucketSize) -> None:
    clock, at = moment
    start, end = bucket_bounds(size, at, clock)
    first, last = clock.day_bounds(clock.day_of(at))
    if size in {BucketSize.DAY, BucketSize.WEEK, BucketSize.MONTH}:
        assert start <= first < last <= end
    else:
        assert first <= start < end <= last


@given(st.integers(FIRST_DAY, LAST_DAY), st.sampled_from(Granularity))
def test_calendar_buckets_partition_the_days(day: int, granularity: Granularity) -> None:
    first, last = granularity_bounds(granularity, day)
    assert FIRST_DAY <= first <= day <= last <= LAST_DAY
    assert granularity_bounds(granularity, first) == granularity_bounds(granularity, last) == (first, last)
    assert last == LAST_DAY or granularity_bounds(granularity, last + 1)[0] == last + 1


cycles = st.sampled_from(BillingCycle)
units = st.sampled_from(BillingPeriod)


@st.composite
def cadences(
    draw: st.DrawFn,
    cycles: st.SearchStrategy[BillingCycle] = cycles,
    units: st.SearchStrategy[BillingPeriod] = units,
) -> Cadence:
    """Draw a cadence whose span and anchor lie near a change of the clock, or anywhere in time."""
    clock, start = draw(moments())
    anchor = draw(st.one_of(st.just(start), st.integers(start - 800 * DAY, start + 800 * DAY), instants))
    span = draw(st.one_of(st.none(), st.integers(0, 10 * DAY), st.integers(0, 3000 * DAY)))
    return Cadence(
        period=draw(units),
        count=draw(st.one_of(st.integers(1, 3), st.integers(1, 9999))),
        cycle=draw(cycles),
        anchor=min(max(anchor, ZERO_TIME), END_OF_TIME - 1),
        zone=clock.name,
        start=start,
        end=None if span is None else min(start + span, END_OF_TIME),
    )


def end_of(cadence: Cadence) -> int:
    return END_OF_TIME if cadence.end is None else cadence.end


@given(cadences(), instants, st.integers(0, 4000 * DAY))
def test_a_period_is_found_from_every_instant_of_it(cadence: Cadence, anywhere: int, later: int) -> None:
    assume(cadence.start < end_of(cadence))
    for at in (anywhere, cadence.start + later, cadence.start, end_of(cadence) - 1):
        inside = min(max(at, cadence.start), end_of(cadence) - 1)
        period = cadence.period_at(at)
        last = (end_of(cadence) if period.end is None else period.end) - 1
        assert inside in period
        assert cadence.start <= period.start <= last < end_of(cadence)
        assert cadence.period_at(period.start) == cadence.period_at(last) == period


@given(cadences(), st.integers(0, 4000 * DAY), st.integers(1, 30 * DAY))
def test_periods_partition_the_span(cadence: Cadence, later: int, length: int) -> None:
    from_ = cadence.start + later
    to = min(from_ + length, end_of(cadence))
    periods = list(cadence.periods(from_, from_ + length))
    assume(from_ < to)
    assert periods == sorted(periods)
    assert periods[0].start <= from_
    assert periods[-1].end is None or periods[-1].end >= to
    for one, other in pairwise(periods):
        assert one.end == other.start
        assert cadence.next(one) == other
    assert all(cadence.period_at(period.start) == period for period in periods)


@given(cadences(), st.integers(0, 4000 * DAY), st.integers(1, 9))
def test_periods_are_numbered_in_their_order(cadence: Cadence, later: int, several: int) -> None:
    """A day that a zone leaves out has a number, and no period."""
    period = cadence.period_at(cadence.start + later)
    number = cadence.number_of(period.start)
    assert cadence.number_of(ZERO_TIME) == 0
    assert cadence.numbered(0) == cadence.period_at(ZERO_TIME)
    assert cadence.numbered(number) == period
    assert period.end is None or cadence.number_of(period.end - 1) == number
    for _ in range(several):
        after = cadence.next(period)
        if after is None:
            assert cadence.number_of(END_OF_TIME - 1) == number
            break
        passed = list(range(number + 1, cadence.number_of(after.start)))
        assert [cadence.numbered(each) for each in passed] == [None] * len(passed)
        assert len(passed) <= 1
        number += 1 + len(passed)
        assert cadence.numbered(number) == after
        period = after


@given(cadences())
def test_the_first_period_begins_and_the_last_ends_with_the_span(cadence: Cadence) -> None:
    assert cadence.period_at(ZERO_TIME).start == cadence.start
    last = cadence.period_at(END_OF_TIME - 1)
    assert last.end in {cadence.end, end_of(cadence)}
    assert cadence.next(last) is None


@given(
    cadences(
        cycles=st.just(BillingCycle.ANNIVERSARY),
        units=units.filter(lambda unit: unit is not BillingPeriod.ONETIME),
    ),
    st.integers(0, 4000 * DAY),
)
def test_a_boundary_is_an_anniversary_by_the_clock(cadence: Cadence, later: int) -> None:
    clock = zone(cadence.zone)
    period = cadence.next(cadence.period_at(cadence.start + later))
    assume(period is not None and ZERO_TIME + DAY < cadence.anchor < END_OF_TIME - DAY)
    assert period is not None
    at = period.start
    assume(ZERO_TIME + DAY < at < END_OF_TIME - DAY)  # nearer, the clock shows no year that can be printed
    # Where a zone skips a whole day, an anniversary on it moves by as much: the same time of the next day.
    assume(clock.offset(at) - clock.offset(at - DAY) < DAY)
    anchor, shown = clock.local(cadence.anchor), clock.local(at)
    if shown.time() == anchor.time():
        days = shown.toordinal() - anchor.toordinal()
        months = shown.year * 12 + shown.month - anchor.year * 12 - anchor.month
        match cadence.period:
            case BillingPeriod.DAILY:
                assert days % cadence.count == 0
            case BillingPeriod.WEEKLY:
                assert days % (7 * cadence.count) == 0
            case _:
                unit = {"MONTHLY": 1, "QUARTERLY": 3, "HALF_YEARLY": 6, "ANNUAL": 12}[cadence.period]
                month_ends = shown.month != date.fromordinal(shown.toordinal() + 1).month
                assert months % (unit * cadence.count) == 0
                assert shown.day == anchor.day or (shown.day < anchor.day and month_ends)
    else:
        # Only a time that the clock skips is moved, and then forward: a gap lies within the day before.
        assert clock.offset(at) > clock.offset(at - DAY)

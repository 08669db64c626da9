"""What a line item measures in a window, to the microsecond."""

from collections.abc import Iterable
from decimal import Decimal
from itertools import combinations

import pytest

from meterstone.pricing.lines import Cost
from meterstone.pricing.money import plain, round_money
from meterstone.pricing.price import Price
from meterstone.usage.calendar import BucketSize
from meterstone.usage.charge import ChargePeriod, Counter
from meterstone.usage.measure import measure_line_item, rated_items
from meterstone.usage.meter import Aggregation, Event, Meter
from meterstone.usage.statement import price_measured
from meterstone.usage.subscription import Subscription
from meterstone.usage.window import Window, plan_window
from support.one_subscription import (
    FALLING,
    FLAT,
    CountedUsage,
    at,
    calls,
    item_of,
    meter_of,
    subscription_of,
)
from support.oracle import Measured, Oracle

COUNT, SUM, MAX, LATEST = Aggregation.COUNT, Aggregation.SUM, Aggregation.MAX, Aggregation.LATEST
AVG, UNIQUE, WEIGHTED_SUM = Aggregation.AVG, Aggregation.COUNT_UNIQUE, Aggregation.WEIGHTED_SUM
HOUR = BucketSize.HOUR
LATER = "06-01"


def monthly(meter: Meter, price: Price = FLAT, start: str = "01-01", end: str | None = None) -> Subscription:
    """Make a subscription whose periods begin on the 3rd of each month at 09:30, with one line item."""
    return subscription_of(item_of(meter, price, start, end), start="01-03T09:30")


def measured_in(subscription: Subscription, events: Iterable[Event], window: str, now: str = LATER) -> Cost:
    """Measure the first line item, and price it."""
    start, end = (at(bound) for bound in window.split())
    asked = Window(start, end)
    covered = plan_window(subscription, subscription.line_items[0], asked, at(now))
    measured = measure_line_item(CountedUsage(subscription, events, at(now)), covered, asked, at(now))
    return price_measured(covered.item.price, measured)


def shown(cost: Cost) -> str:
    return f"{plain(cost.quantity)} for {plain(cost.amount)}"


EVENTS = calls(
    ("02-10T07:00", 4), ("2024-02-10T07:59:59.999999", 2), ("02-10T08:00", 7), ("02-12T12:00", -3), ("03-10", 1)
)  # fmt: skip


@pytest.mark.parametrize(
    ("window", "total"),
    [
        pytest.param("02-03T09:30 03-03T09:30", "10 for 10", id="a billing period"),
        pytest.param("01-01 05-01", "11 for 11", id="all of them"),
        pytest.param("02-10 02-11", "13 for 13", id="a day"),
        pytest.param("02-10T07:00 02-10T08:00", "6 for 6", id="an hour: its start, not its end"),
        pytest.param("02-10T07:00 2024-02-10T08:00:00.000001", "13 for 13", id="a microsecond more"),
        pytest.param("02-10T07:00 2024-02-10T07:59:59.999999", "4 for 4", id="a microsecond less"),
        pytest.param("2024-02-10T07:00:00.000001 02-10T08:00", "2 for 2", id="a microsecond later"),
        pytest.param("02-10T07:30 02-10T07:40", "0 for 0", id="ten minutes of an hour that has events"),
        pytest.param("02-10T05:15 02-10T06:15", "0 for 0", id="hours that have none"),
        pytest.param("02-10T08:00 02-12T12:00", "7 for 7", id="from an hour to another"),
        pytest.param("02-10T08:00 02-12T13:00", "4 for 4", id="over days"),
        pytest.param("02-10 02-10", "0 for 0", id="an empty window"),
        pytest.param("2023-01-01 01-02", "0 for 0", id="before the subscription"),
    ],
)
def test_measure_a_sum(window: str, total: str) -> None:
    assert shown(measured_in(monthly(meter_of(SUM)), EVENTS, window)) == total


@pytest.mark.parametrize(
    ("aggregation", "total"),
    [
        (COUNT, "4 for 4"),
        (SUM, "10 for 10"),
        (MAX, "7 for 7"),
        (LATEST, "-3 for -3"),
        (AVG, "2.5 for 2.5"),
    ],
)
def test_measure_whole_days_and_hours_of_cut_days(aggregation: Aggregation, total: str) -> None:
    assert shown(measured_in(monthly(meter_of(aggregation)), EVENTS, "02-10T07:00 02-12T12:30")) == total


def test_measure_prices_the_window_as_one_period() -> None:
    events = calls(("02-10", 8), ("03-10", 8))

    assert shown(measured_in(monthly(meter_of(SUM), FALLING), events, "02-10 03-11")) == "16 for 16"
    assert shown(measured_in(monthly(meter_of(SUM), FALLING), events, "02-10 03-10")) == "8 for 16"


# Periods begin on the 3rd at 09:30: 3 March is the last day of one and the first of the next.
VALUES = calls(
    ("02-20", "before"),
    ("03-02", "both"),
    ("03-03T09:00", "last"),
    ("2024-03-03T09:29:59.999999", "both"),
    ("03-03T09:30", "first"),
    ("03-03T11:00", "both"),
    ("04-03T09:29", "last of the next"),
    ("04-03T10:00", "before"),
)


@pytest.mark.parametrize(
    ("window", "values"),
    [
        pytest.param("02-03T09:30 03-03T09:30", 3, id="a period: before, both, last"),
        pytest.param("03-03T09:30 04-03T09:30", 3, id="the next: first, both, last of the next"),
        pytest.param("02-03T09:30 04-03T09:30", 5, id="two periods"),
        pytest.param("02-03T09:30 05-03T09:30", 5, id="three periods"),
        pytest.param("02-21 04-03T09:30", 4, id="a value before the window is none of it"),
        pytest.param("02-21 05-03T09:30", 5, id="unless it comes again"),
        pytest.param("03-03 03-04", 3, id="the day that two periods share"),
        pytest.param("03-03T09:01 03-03T09:30", 1, id="the end of a period's last day: both"),
        pytest.param("03-03T09:30 03-04", 2, id="all of a period's first day: first, both"),
        pytest.param("03-03T09:30 03-03T10:00", 1, id="the beginning of a period's first day: first"),
        pytest.param("2024-03-03T09:30:00.000001 03-04", 1, id="a microsecond later: both"),
        pytest.param("03-02 03-03T09:30", 2, id="to the bound: both, last"),
        pytest.param("03-02 2024-03-03T09:30:00.000001", 3, id="a microsecond beyond it"),
        pytest.param("03-02 03-03T09:10", 2, id="cut on the shared day, before the bound: both, last"),
        pytest.param("03-02 03-03T10:00", 3, id="cut on the shared day, after the bound"),
        pytest.param("03-04 04-03T09:29", 0, id="without both shared days"),
        pytest.param("03-04 04-03T10:00", 1, id="to the next bound's hour: last of the next"),
        pytest.param("03-04 04-04", 2, id="the next shared day"),
    ],
)
def test_measure_distinct_values_over_periods_that_begin_within_a_day(window: str, values: int) -> None:
    assert measured_in(monthly(meter_of(UNIQUE)), VALUES, window).quantity == values


@pytest.mark.parametrize(
    ("window", "now", "value"),
    [
        # 5 on 10 February, 2 at the bound, 1 a microsecond after it.
        pytest.param("02-03T09:30 02-10", LATER, 0, id="before the first event"),
        pytest.param("02-03T09:30 2024-02-10T00:00:00.000001", LATER, 5, id="a microsecond after it"),
        pytest.param("02-20 02-21", LATER, 5, id="days after it: the value stays"),
        pytest.param("02-03T09:30 03-03T09:30", LATER, 5, id="to the bound"),
        pytest.param("02-03T09:30 2024-03-03T09:30:00.000001", LATER, 7, id="a microsecond beyond the bound"),
        pytest.param("02-03T09:30 2024-03-03T09:30:00.000002", LATER, 8, id="two microseconds beyond it"),
        pytest.param("03-03T09:30 04-03T09:30", LATER, 8, id="the next period restates it"),
        pytest.param("04-03T09:30 2024-04-03T09:30:00.000001", LATER, 8, id="a third"),
        pytest.param("04-03T09:30 05-03T09:30", "04-03T09:30", 8, id="a period that begins now"),
        pytest.param("04-03T09:30 05-03T09:30", "2024-04-03T09:29:59.999999", 0, id="one that has not begun"),
        pytest.param("03-10 05-03T09:30", "03-20", 8, id="up to one that has not begun"),
        pytest.param("02-10 02-10", LATER, 0, id="an empty window"),
        pytest.param("2023-12-01 01-02", LATER, 0, id="before the subscription"),
    ],
)
@pytest.mark.parametrize("aggregation", [SUM, UNIQUE])
def test_measure_a_recurring_value_at_the_window_s_end(
    aggregation: Aggregation, window: str, now: str, value: int
) -> None:
    steps = [("02-10T00:00", 5), ("03-03T09:30", 2), ("2024-03-03T09:30:00.000001", 1)]
    given: list[tuple[str, object]] = [*steps]
    if aggregation is UNIQUE:
        given = [(when, f"{when} {number}") for when, step in steps for number in range(step)]
        given.append(("03-20T00:00", "02-10T00:00 0"))

    found = measured_in(monthly(meter_of(aggregation, recurring=True)), calls(*given), window, now)

    assert found.quantity == found.amount == value


@pytest.mark.parametrize(("now", "value"), [("01-03T09:29", 0), ("01-03T09:30", 5)])
def test_measure_no_recurring_value_before_the_subscription_has_begun(now: str, value: int) -> None:
    """An event may lie a little ahead of the clock."""
    subscription = monthly(meter_of(SUM, recurring=True))

    found = measured_in(subscription, calls(("01-03T09:31", 5)), "01-01 02-03T09:30", now)

    assert found.quantity == value


class Overtaken(CountedUsage):
    """Reads a charge's counter as it was before a late event, until it is asked to read it again."""

    def __init__(self, subscription: Subscription, early: list[Event], late: list[Event], now: int) -> None:
        super().__init__(subscription, early + late, now)
        self._before: CountedUsage | None = CountedUsage(subscription, early, now)

    def counter(self, charge: ChargePeriod) -> Counter | None:
        return super().counter(charge) if self._before is None else self._before.counter(charge)

    def read_again(self, charge: ChargePeriod, times: int) -> None:
        self._before = None


@pytest.mark.parametrize(
    ("late", "values"),
    [
        pytest.param([], 2, id="nothing is late"),
        pytest.param([("02-05", "a")], 2, id="a value moves to a day before"),
        pytest.param([("02-05", "a"), ("02-10T07:00", "b")], 2, id="two values move"),
        pytest.param([("02-05", "c")], 3, id="a value is new"),
        pytest.param([("02-10T08:30", "c")], 3, id="a value is new on the day that is cut"),
        pytest.param([("02-10T08:45", "a")], 2, id="a value comes again"),
    ],
)
def test_measure_counts_a_recurring_value_that_moves_while_it_is_read(
    late: list[tuple[str, object]], values: int
) -> None:
    subscription = monthly(meter_of(UNIQUE, recurring=True))
    early = calls(("02-10T08:00", "a"), ("02-10T08:10", "b"), ("02-10T09:00", "d"))
    reader = Overtaken(subscription, early, calls(*late), at(LATER))
    window = Window(at("02-03T09:30"), at("02-10T09:00"))

    covered = plan_window(subscription, subscription.line_items[0], window, at(LATER))

    assert measure_line_item(reader, covered, window, at(LATER)) == values


class Restless(CountedUsage):
    """Has one more value of a day before each time it is read again, and gives up at the fourth time in a row."""

    def read_again(self, charge: ChargePeriod, times: int) -> None:
        if times > 3:
            raise TimeoutError
        counter = self.counter(charge)
        assert counter is not None
        counter.days[charge.zone.day_of(at("02-05"))] = Decimal(times)


def test_measure_does_not_read_for_ever_what_keeps_changing() -> None:
    subscription = monthly(meter_of(UNIQUE, recurring=True))
    reader = Restless(subscription, calls(("02-10T08:00", "a")), at(LATER))
    window = Window(at("02-03T09:30"), at("02-10T09:00"))
    covered = plan_window(subscription, subscription.line_items[0], window, at(LATER))

    with pytest.raises(TimeoutError):
        measure_line_item(reader, covered, window, at(LATER))


def test_measure_a_recurring_value_until_its_line_item_ends() -> None:
    subscription = monthly(meter_of(SUM, recurring=True), end="03-10T12:00")
    events = calls(("02-10", 5), ("2024-03-10T11:59:59.999999", 2), ("03-10T12:00", 1))

    assert measured_in(subscription, events, "03-03T09:30 04-03T09:30").quantity == 7
    assert measured_in(subscription, events, "03-10T12:00 04-03T09:30").quantity == 0


@pytest.mark.parametrize(
    ("price", "values", "window", "total"),
    [
        pytest.param(FALLING, [("07:00", 5), ("08:00", -5)], "02-10 02-11", "0 for 10", id="units cancel out"),
        pytest.param(FALLING, [("07:00", 6), ("07:30", 6)], "02-10 02-11", "12 for 12", id="one bucket"),
        pytest.param(FALLING, [("07:00", 6), ("08:00", 6)], "02-10 02-11", "12 for 24", id="two buckets"),
        pytest.param(
            FALLING, [("07:00", 6), ("08:00", 6)], "02-10 02-10T10:00", "12 for 24", id="two of a part of a day"
        ),
        pytest.param(FALLING, [("07:00", 6), ("07:30", 6)], "02-10 02-10T07:30", "6 for 12", id="a bucket is cut"),
        pytest.param(FALLING, [("07:00", 6), ("07:30", 6)], "02-10T07:30 02-11", "6 for 12", id="at its start"),
        pytest.param(FALLING, [("07:00", 6), ("07:30", 6)], "02-10T07:00 02-10T08:00", "12 for 12", id="itself"),
        pytest.param(FALLING, [("07:00", 6)], "02-10T08:00 02-11", "0 for 0", id="ends where the window begins"),
        pytest.param(FALLING, [("07:00", 6)], "02-10 02-10T07:00", "0 for 0", id="begins where the window ends"),
    ],
)  # fmt: skip
def test_measure_buckets_of_an_hour(
    price: Price, values: list[tuple[str, int]], window: str, total: str
) -> None:
    events = calls(*((f"02-10T{when}", value) for when, value in values))

    assert shown(measured_in(monthly(meter_of(SUM, bucket_size=HOUR), price), events, window)) == total


@pytest.mark.parametrize(
    ("window", "total"),
    [
        # In the hour that the bound at 09:30 cuts: 4 before it, 6 at it; in the hour before, 1.
        pytest.param("02-03T09:30 03-03T09:30", "5 for 5", id="the first period: 1 and 4"),
        pytest.param("03-03T09:30 04-03T09:30", "6 for 6", id="the second"),
        pytest.param("02-03T09:30 04-03T09:30", "7 for 7", id="both: one bucket of 6, and 1"),
        pytest.param("03-03T09:00 03-03T10:00", "6 for 6", id="the bucket itself"),
        pytest.param("03-03 03-04", "7 for 7", id="the day"),
        pytest.param("03-03T09:00 04-03T09:30", "6 for 6", id="from the bucket on"),
        pytest.param("02-03T09:30 03-03T10:00", "7 for 7", id="up to the bucket"),
        pytest.param("02-03T09:30 03-03T09:45", "7 for 7", id="into the bucket"),
        pytest.param("03-03T09:15 04-03T09:30", "6 for 6", id="from within the bucket on"),
    ],
)
def test_measure_a_bucket_that_a_period_s_bound_cuts(window: str, total: str) -> None:
    events = calls(("03-03T08:00", 1), ("03-03T09:10", 4), ("03-03T09:30", 6))

    assert shown(measured_in(monthly(meter_of(MAX, bucket_size=HOUR)), events, window)) == total


@pytest.mark.parametrize(
    ("size", "window", "total"),
    [
        # 3 on Friday 1 March, 8 and 5 on Sunday, 4 on Monday.
        pytest.param(BucketSize.DAY, "03-01 03-05", "15 for 15", id="days"),
        pytest.param(BucketSize.DAY, "03-01 03-03T12:00", "11 for 11", id="a day is cut at its end"),
        pytest.param(BucketSize.DAY, "03-03T12:00 03-05", "9 for 9", id="a day is cut at its start"),
        pytest.param(BucketSize.DAY, "03-03T08:00 03-03T20:00", "8 for 8", id="a day over a period's bound"),
        pytest.param(BucketSize.WEEK, "03-01 03-05", "12 for 12", id="weeks"),
        pytest.param(BucketSize.WEEK, "03-01 03-02", "3 for 3", id="a part of a week"),
        pytest.param(BucketSize.MONTH, "02-10 03-05", "8 for 8", id="a month over two periods"),
        pytest.param(BucketSize.MONTH, "03-04 04-05", "4 for 4", id="a part of a month"),
    ],
)
def test_measure_the_maximum_of_each_bucket_of_days(size: BucketSize, window: str, total: str) -> None:
    events = calls(("03-01T07:00", 3), ("03-03T09:00", 8), ("03-03T12:00", 5), ("03-04T07:00", 4))

    assert shown(measured_in(monthly(meter_of(MAX, bucket_size=size)), events, window)) == total


@pytest.mark.parametrize(
    ("recurring", "window", "now", "units"),
    [
        # A level of 6 from 10 February, 10 from noon on 4 March.
        pytest.param(False, "02-10 02-11", LATER, "6", id="a day"),
        pytest.param(False, "02-09 02-11", LATER, "3", id="half the time"),
        pytest.param(False, "02-09 02-10", LATER, "0", id="before it"),
        pytest.param(False, "02-11 02-12", LATER, "0", id="what came before the window is no level of it"),
        pytest.param(False, "02-10 02-12", "02-11", "3", id="until now, of the window's length"),
        pytest.param(False, "02-10T06:00 02-11", LATER, "0", id="from within a day, after the step"),
        pytest.param(False, "02-09T12:00 02-10T12:00", LATER, "3", id="over two days that are cut"),
        pytest.param(True, "02-11 02-12", LATER, "6", id="recurring: carried into the window"),
        pytest.param(True, "03-04 03-05", LATER, "8", id="recurring: a step in the window"),
        pytest.param(True, "03-03T09:30 03-04T09:30", LATER, "6", id="recurring: into the next period"),
        pytest.param(True, "02-09 02-10", LATER, "0", id="recurring: before it"),
        pytest.param(True, "04-10 04-11", LATER, "10", id="recurring: months later"),
    ],
)  # fmt: skip
def test_measure_level_by_time(recurring: bool, window: str, now: str, units: str) -> None:  # noqa: FBT001
    events = calls(("02-10", 6), ("03-04T12:00", 4))
    subscription = monthly(meter_of(WEIGHTED_SUM, recurring=recurring))

    assert plain(measured_in(subscription, events, window, now).quantity) == units


BOUNDS = [
    "02-03T09:30",
    "02-10T07:20",
    "2024-02-10T07:20:00.000001",
    "02-11",
    "02-20T12:34",
    "03-03T09:15",
    "03-03T09:30",
    "2024-03-03T09:30:00.000001",
    "03-04",
    "03-20T18:15",
    "04-10",
]
KINDS = [
    *(pytest.param(meter_of(each), id=each.lower()) for each in Aggregation),
    *(
        pytest.param(meter_of(each, recurring=True), id=f"recurring {each.lower()}")
        for each in (SUM, UNIQUE, WEIGHTED_SUM)
    ),
    *(
        pytest.param(meter_of(each, bucket_size=size), id=f"{each.lower()} by {size.lower()}")
        for each in (SUM, MAX)
        for size in (HOUR, BucketSize.SIX_HOURS, BucketSize.DAY, BucketSize.WEEK, BucketSize.MONTH)
    ),
]


@pytest.mark.parametrize("now", ["05-01", "03-03T09:20"])
@pytest.mark.parametrize("meter", KINDS)
def test_measure_any_window_as_from_the_events_themselves(meter: Meter, now: str) -> None:
    """A price that changes within a period, an event at each bound, and windows from each bound to each other."""
    times = [time for time in BOUNDS if at(time) <= at(now)]
    given = [
        Event(
            f"e{number}",
            "call",
            at(when) + step,
            {"value": Decimal(number % 5 - 1), "text": f"t{number % 7}"},
        )
        for number, (when, step) in enumerate((when, step) for when in times for step in (-1, 0, 10**9))
    ]
    subscription = subscription_of(
        item_of(meter, FALLING, end="02-20T12:34", name="old"),
        item_of(meter, FLAT, start="02-20T12:34", name="new"),
        start="01-03T09:30",
        end="03-20T18:15",
    )
    counted = CountedUsage(subscription, given, at(now))
    oracle = Oracle(subscription, given)
    for start, end in combinations(map(at, BOUNDS), 2):
        window = Window(start, end)
        found = {}
        for item in rated_items(subscription, window):
            plan = plan_window(subscription, item, window, at(now))
            cost = price_measured(item.price, measure_line_item(counted, plan, window, at(now)))
            found[item.id] = Measured(cost.quantity, round_money(cost.amount, "usd"))
        assert found == oracle.measured(start, end, at(now)), window

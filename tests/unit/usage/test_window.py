"""The window that a request asks for, and the stored parts that make up a line item's share of it."""

import pytest

from meterstone.usage.instant import DAY, format_instant
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.subscription import Subscription
from meterstone.usage.window import (
    Window,
    WindowPlan,
    hours_and_partial_hours,
    latest_countable,
    plan_window,
    window_for,
)
from support.one_subscription import at, item_of, meter_of, subscription_of

NOW = "03-15T12:00"
MONTHLY = subscription_of(start="01-10T09:00", cycle=BillingCycle.CALENDAR)
ENDED = subscription_of(start="01-10T09:00", end="02-20", cycle=BillingCycle.CALENDAR)
ONETIME = subscription_of(start="01-10T09:00", period=BillingPeriod.ONETIME)
ONETIME_ENDED = subscription_of(start="01-10T09:00", end="02-20", period=BillingPeriod.ONETIME)


def asked(
    subscription: Subscription, start: str | None, end: str | None, *, lifetime: bool = False, now: str = NOW
) -> str:
    window = window_for(
        subscription,
        None if start is None else at(start),
        None if end is None else at(end),
        lifetime=lifetime,
        now=at(now),
    )
    assert window.length == window.end - window.start >= 0
    return shown(window.start, window.end)


def shown(start: int, end: int) -> str:
    """Print bounds without the year 2024, `Z`, and seconds or a time of 0."""
    return " ".join(
        format_instant(bound)
        .removeprefix("2024-")
        .removesuffix("Z")
        .removesuffix(":00")
        .removesuffix("T00:00")
        for bound in (start, end)
    )


@pytest.mark.parametrize(
    ("subscription", "now", "window"),
    [
        pytest.param(MONTHLY, NOW, "03-01 04-01", id="the current period"),
        pytest.param(MONTHLY, "03-01", "03-01 04-01", id="it begins now"),
        pytest.param(MONTHLY, "01-20", "01-10T09:00 02-01", id="the first period is cut"),
        pytest.param(MONTHLY, "01-01", "01-10T09:00 02-01", id="before the subscription: its first period"),
        pytest.param(ENDED, NOW, "02-01 02-20", id="after its end: its last period"),
        pytest.param(ONETIME, NOW, "01-10T09:00 03-15T12:00", id="without an end: until now"),
        pytest.param(ONETIME, "01-01", "01-10T09:00 01-10T09:00", id="without an end, not begun: empty"),
        pytest.param(ONETIME_ENDED, NOW, "01-10T09:00 02-20", id="once, with an end"),
    ],
)
def test_window_for_no_bounds(subscription: Subscription, now: str, window: str) -> None:
    assert asked(subscription, None, None, now=now) == window


@pytest.mark.parametrize(
    ("subscription", "start", "window"),
    [
        pytest.param(MONTHLY, "03-10T09:30", "03-10T09:30 04-01", id="inside the current period"),
        pytest.param(MONTHLY, "03-20", "03-20 04-01", id="ahead of the clock"),
        pytest.param(MONTHLY, "02-10", "02-10 04-01", id="in the period before"),
        pytest.param(MONTHLY, "2023-12-01", "2023-12-01 04-01", id="before the subscription"),
        pytest.param(
            MONTHLY,
            "2024-03-31T23:59:59.999999",
            "03-31T23:59:59.999999 04-01",
            id="the current period's last microsecond",
        ),
        pytest.param(MONTHLY, "04-01", "04-01 05-01", id="on the current period's end"),
        pytest.param(MONTHLY, "05-10", "05-10 06-01", id="after the current period"),
        pytest.param(ENDED, "02-10", "02-10 02-20", id="before the subscription's end"),
        pytest.param(ENDED, "02-20", "02-20 02-20", id="on the subscription's end: empty"),
        pytest.param(ENDED, "02-21", "02-21 02-21", id="after the subscription's end: empty"),
        pytest.param(ONETIME, "02-10", "02-10 03-15T12:00", id="once, without an end: until now"),
        pytest.param(ONETIME, "2023-12-01", "2023-12-01 03-15T12:00", id="once, before the subscription"),
        pytest.param(ONETIME, "03-16", "03-16 03-16", id="once, without an end, ahead of the clock: empty"),
        pytest.param(ONETIME_ENDED, "02-10", "02-10 02-20", id="once, with an end"),
        pytest.param(ONETIME_ENDED, "02-21", "02-21 02-21", id="once, after its end: empty"),
    ],
)
def test_window_for_a_start_alone(subscription: Subscription, start: str, window: str) -> None:
    assert asked(subscription, start, None) == window


@pytest.mark.parametrize(
    ("subscription", "end", "window"),
    [
        pytest.param(MONTHLY, "03-10T09:30", "03-01 03-10T09:30", id="inside the current period"),
        pytest.param(MONTHLY, "03-20", "03-01 03-20", id="ahead of the clock"),
        pytest.param(MONTHLY, "04-01", "03-01 04-01", id="on the current period's end"),
        pytest.param(MONTHLY, "04-10", "03-01 04-10", id="after the current period"),
        pytest.param(MONTHLY, "02-10", "02-01 02-10", id="in the period before"),
        pytest.param(MONTHLY, "03-01", "02-01 03-01", id="on the current period's start: the one before"),
        pytest.param(
            MONTHLY,
            "2024-03-01T00:00:00.000001",
            "03-01 03-01T00:00:00.000001",
            id="a microsecond of the current period",
        ),
        pytest.param(
            MONTHLY, "02-01", "01-10T09:00 02-01", id="on the end of the first period, which is cut"
        ),
        pytest.param(MONTHLY, "01-20", "01-10T09:00 01-20", id="in the first period, which is cut"),
        pytest.param(
            MONTHLY,
            "2024-01-10T09:00:00.000001",
            "01-10T09:00 01-10T09:00:00.000001",
            id="a microsecond of the subscription",
        ),
        pytest.param(
            MONTHLY, "01-10T09:00", "01-10T09:00 01-10T09:00", id="on the subscription's start: empty"
        ),
        pytest.param(MONTHLY, "2023-12-01", "2023-12-01 2023-12-01", id="before the subscription: empty"),
        pytest.param(ENDED, "02-10", "02-01 02-10", id="in the last period"),
        pytest.param(ENDED, "02-01", "01-10T09:00 02-01", id="on the last period's start: the one before"),
        pytest.param(ENDED, "02-20", "02-01 02-20", id="on the subscription's end"),
        pytest.param(ENDED, "03-10", "02-01 03-10", id="after the subscription's end"),
        pytest.param(ONETIME, "02-10", "01-10T09:00 02-10", id="once"),
        pytest.param(
            ONETIME, "2023-12-01", "2023-12-01 2023-12-01", id="once, before the subscription: empty"
        ),
    ],
)
def test_window_for_an_end_alone(subscription: Subscription, end: str, window: str) -> None:
    assert asked(subscription, None, end) == window


@pytest.mark.parametrize("subscription", [MONTHLY, ENDED, ONETIME], ids=["monthly", "ended", "once"])
@pytest.mark.parametrize(
    "window", ["02-10 03-20T08:00", "2023-12-01 2023-12-05", "2025-01-01 2025-02-01", "02-10 02-10"]
)
def test_window_for_both_bounds_is_theirs(subscription: Subscription, window: str) -> None:
    assert asked(subscription, *window.split()) == window


@pytest.mark.parametrize(
    ("subscription", "now", "window"),
    [
        pytest.param(MONTHLY, NOW, "01-10T09:00 03-15T12:00", id="until now"),
        pytest.param(MONTHLY, "01-01", "01-10T09:00 01-10T09:00", id="not begun: empty"),
        pytest.param(ENDED, "02-10", "01-10T09:00 02-10", id="that is to end: until now"),
        pytest.param(ENDED, NOW, "01-10T09:00 02-20", id="that has ended: until its end"),
        pytest.param(ENDED, "01-01", "01-10T09:00 01-10T09:00", id="that is to end, not begun: empty"),
        pytest.param(ONETIME, NOW, "01-10T09:00 03-15T12:00", id="once: until now"),
    ],
)
@pytest.mark.parametrize("bounds", [(None, None), ("02-01", "02-10"), ("02-01", None), (None, "02-10")])
def test_window_for_a_lifetime_overrides_the_bounds(
    bounds: tuple[str | None, str | None], subscription: Subscription, now: str, window: str
) -> None:
    assert asked(subscription, *bounds, lifetime=True, now=now) == window


@pytest.mark.parametrize(
    ("subscription", "window", "length"),
    [
        pytest.param(MONTHLY, "02-01 03-01", "29d", id="a billing period"),
        pytest.param(MONTHLY, "02-01 04-01", "60d", id="two billing periods"),
        pytest.param(MONTHLY, "02-01 02-20", "19d", id="a part of one: its own"),
        pytest.param(MONTHLY, "01-01 02-01", "31d", id="the month in which the subscription begins"),
        pytest.param(MONTHLY, "01-10T09:00 02-01", "31d", id="the first period, cut: uncut"),
        pytest.param(MONTHLY, "01-10T09:00 03-01", "60d", id="the first two, cut: uncut"),
        pytest.param(MONTHLY, "01-10T09:00 01-20T09:00", "10d", id="a part of the first: its own"),
        pytest.param(MONTHLY, "01-11T09:00 02-01", "20.625d", id="from within the first: its own"),
        pytest.param(ENDED, "02-01 02-20", "29d", id="the last period, cut: uncut"),
        pytest.param(ENDED, "01-10T09:00 02-20", "60d", id="the whole span: all periods uncut"),
        pytest.param(ENDED, "02-01 02-19", "18d", id="a part of the last: its own"),
        pytest.param(ENDED, "02-01 03-01", "29d", id="the month in which the subscription ends"),
        pytest.param(
            ENDED, "01-01 02-20", "60d", id="from a month's start to where the last one is cut: uncut"
        ),
        pytest.param(
            ENDED, "01-10T09:00 03-01", "60d", id="from where the first is cut to a month's end: uncut"
        ),
        pytest.param(ENDED, "02-20 03-01", "10d", id="after the end: its own"),
        pytest.param(ONETIME, "01-10T09:00 03-01", "50.625d", id="once, without an end: its own"),
        pytest.param(ONETIME_ENDED, "01-10T09:00 02-20", "40.625d", id="once: the subscription's span"),
        pytest.param(MONTHLY, "02-10 02-10", "0d", id="an empty window"),
    ],
)
def test_what_a_weighted_sum_is_divided_by(subscription: Subscription, window: str, length: str) -> None:
    start, end = (at(bound) for bound in window.split())

    found = Window(start, end).divisor(subscription.cadence())

    assert f"{found / DAY:g}d" == length


def test_a_lifetime_is_divided_by_its_own_length() -> None:
    window = window_for(ENDED, None, None, lifetime=True, now=at(NOW))

    assert window == Window(at("01-10T09:00"), at("02-20"), lifetime=True)
    assert window.divisor(ENDED.cadence()) == at("02-20") - at("01-10T09:00")


# A line item from 3 January 09:30 to 20 March 18:15; billing periods from the 3rd of each month at 09:30.
COUNTED = subscription_of(item_of(meter_of(Aggregation.SUM), end="03-20T18:15"), start="01-03T09:30")


def parts(covered: WindowPlan) -> list[str]:
    """Print whole days, and days that are cut."""
    for cut in covered.cut:
        assert cut.charge.counted_span.holds(cut.start)
        assert cut.day == cut.charge.zone.day_of(cut.start)
    return sorted(
        [shown((days.first - 719163) * DAY, (days.last - 719163) * DAY) for days in covered.days]
        + [f"{shown(cut.start, cut.end)} cut" for cut in covered.cut]
    )


@pytest.mark.parametrize(
    ("window", "divided"),
    [
        pytest.param("02-03T09:30 03-03T09:30", ["02-03 03-03"], id="a billing period"),
        pytest.param("01-01 03-03T09:30", ["01-03 02-03", "02-03 03-03"], id="before the subscription, too"),
        pytest.param("03-03T09:30 03-31", ["03-03 03-20"], id="until the line item's end"),
        pytest.param("03-03T09:30 03-20T18:15", ["03-03 03-20"], id="to the line item's end"),
        pytest.param(
            "02-03T09:30 03-01", ["02-03 02-29"], id="whole days from the period's start, which cuts none"
        ),
        pytest.param("02-10 02-12", ["02-10 02-11"], id="whole days"),
        pytest.param("02-10 02-11", ["02-10 02-10"], id="one whole day"),
        pytest.param(
            "02-10 2024-02-11T00:00:00.000001",
            ["02-10 02-10", "02-11 02-11T00:00:00.000001 cut"],
            id="a whole day and a microsecond",
        ),
        pytest.param(
            "2024-02-10T23:59:59.999999 02-12",
            ["02-10T23:59:59.999999 02-11 cut", "02-11 02-11"],
            id="a microsecond and a whole day",
        ),
        pytest.param("02-10T01:00 02-11", ["02-10T01:00 02-11 cut"], id="a day's end"),
        pytest.param("02-10 02-10T23:00", ["02-10 02-10T23:00 cut"], id="a day's beginning"),
        pytest.param("02-10T01:00 02-10T02:00", ["02-10T01:00 02-10T02:00 cut"], id="an hour"),
        pytest.param(
            "02-10T01:00 02-12",
            ["02-10T01:00 02-11 cut", "02-11 02-11"],
            id="the first day is cut",
        ),
        pytest.param(
            "02-10 02-12T01:00",
            ["02-10 02-11", "02-12 02-12T01:00 cut"],
            id="the last day is cut",
        ),
        pytest.param(
            "02-10T01:00 02-11T01:00",
            ["02-10T01:00 02-11 cut", "02-11 02-11T01:00 cut"],
            id="two days, both cut",
        ),
        pytest.param(
            "02-10T01:00 02-13T01:00",
            ["02-10T01:00 02-11 cut", "02-11 02-12", "02-13 02-13T01:00 cut"],
            id="days between two that are cut",
        ),
        pytest.param(
            "02-28 03-05",
            ["02-28 03-03", "03-03 03-04"],
            id="a bound within a day: the day is whole in both periods",
        ),
        pytest.param(
            "03-03 03-03T10:00",
            ["03-03 03-03", "03-03T09:30 03-03T10:00 cut"],
            id="around a bound: all that the first period has of the day",
        ),
        pytest.param(
            "03-03T09:00 03-04",
            ["03-03 03-03", "03-03T09:00 03-03T09:30 cut"],
            id="around a bound: all that the second period has of the day",
        ),
        pytest.param("01-01 01-03T09:30", [], id="before the line item"),
        pytest.param("03-20T18:15 04-01", [], id="after the line item"),
        pytest.param("02-10 02-10", [], id="an empty window"),
    ],
)
def test_cover_divides_a_window(window: str, divided: list[str]) -> None:
    start, end = (at(bound) for bound in window.split())
    covered = plan_window(COUNTED, COUNTED.line_items[0], Window(start, end), at("12-01"))

    assert parts(covered) == divided
    assert covered.empty is (not divided)


@pytest.mark.parametrize(
    ("aggregation", "now", "end"),
    [
        pytest.param(Aggregation.SUM, "02-10T12:00", "02-11T12:00", id="nothing is counted a day ahead"),
        pytest.param(Aggregation.WEIGHTED_SUM, "02-10T12:00", "02-10T12:00", id="a level accrues until now"),
        pytest.param(Aggregation.SUM, "03-19", "03-20", id="up to a day ahead"),
        pytest.param(Aggregation.SUM, "12-01", "03-20T18:15", id="until the line item's end"),
        pytest.param(Aggregation.WEIGHTED_SUM, "12-01", "03-20T18:15", id="a WEIGHTED_SUM, too"),
        pytest.param(Aggregation.SUM, "01-01", "01-03T09:30", id="the line item begins later: empty"),
    ],
)
def test_a_cover_ends_where_nothing_more_is_counted(aggregation: Aggregation, now: str, end: str) -> None:
    subscription = subscription_of(item_of(meter_of(aggregation), end="03-20T18:15"), start="01-03T09:30")
    covered = plan_window(
        subscription, subscription.line_items[0], Window(at("01-01"), at("2025-01-01")), at(now)
    )

    assert shown(covered.start, covered.end) == f"01-03T09:30 {end}"


def test_horizon_is_a_day_ahead() -> None:
    assert latest_countable(at("02-10T12:00")) == at("02-11T12:00")


@pytest.mark.parametrize(
    ("window", "whole", "edges"),
    [
        pytest.param("02-10T01:00 02-10T03:00", [1, 2], [], id="whole hours"),
        pytest.param(
            "02-10T01:00 02-10T01:30", [], ["02-10T01:00 02-10T01:30"], id="the first half of an hour"
        ),
        pytest.param("02-10T01:30 02-10T02:00", [], ["02-10T01:30 02-10T02:00"], id="the second half"),
        pytest.param(
            "02-10T01:30 02-10T04:15",
            [2, 3],
            ["02-10T01:30 02-10T02:00", "02-10T04:00 02-10T04:15"],
            id="two hours are cut",
        ),
        pytest.param("02-10T01:10 02-10T01:50", [], ["02-10T01:10 02-10T01:50"], id="within an hour"),
        pytest.param("02-10T22:00 02-11", [22, 23], [], id="until midnight"),
        pytest.param("02-10 02-10T02:00", [0, 1], [], id="from midnight"),
        pytest.param(
            "02-10T01:00 2024-02-10T02:59:59.999999",
            [1],
            ["02-10T02:00 02-10T02:59:59.999999"],
            id="a microsecond is missing",
        ),
        pytest.param("01-03T09:00 01-03T12:00", [9, 10, 11], [], id="the line item begins within the hour"),
        pytest.param("03-20T17:00 03-20T18:15", [17, 18], [], id="the line item ends within the hour"),
        pytest.param("03-20T17:00 03-20T18:10", [17], ["03-20T18:00 03-20T18:10"], id="cut before it ends"),
    ],
)
def test_hours_and_edges_of_a_day_that_is_cut(window: str, whole: list[int], edges: list[str]) -> None:
    start, end = (at(bound) for bound in window.split())
    covered = plan_window(COUNTED, COUNTED.line_items[0], Window(start, end), at("12-01"))
    (cut,) = covered.cut
    hours, found = hours_and_partial_hours(covered, cut)

    assert hours == whole
    assert [shown(edge.start, edge.end) for edge in found] == edges
    assert all(edge.day == cut.day for edge in found)

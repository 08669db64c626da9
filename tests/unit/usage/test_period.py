"""Billing periods."""

import copy
import pickle
from copy import replace

import pytest

from meterstone.usage.calendar import UnknownZoneError
from meterstone.usage.instant import DAY, END_OF_TIME, ZERO_TIME, format_instant, parse_instant
from meterstone.usage.period import BillingCycle, BillingPeriod, Cadence, Period


def instant(text: str) -> int:
    """Read an instant of UTC, whose seconds may be left out."""
    return parse_instant(f"{text}:00Z" if len(text) == len("2024-01-31T09:30") else text)


def cadence(
    period: str,
    count: int,
    cycle: str,
    start: str,
    *,
    end: str | None = None,
    anchor: str | None = None,
    zone: str = "UTC",
) -> Cadence:
    return Cadence(
        period=BillingPeriod(period),
        count=count,
        cycle=BillingCycle(cycle),
        anchor=instant(anchor or start),
        zone=zone,
        start=instant(start),
        end=None if end is None else instant(end),
    )


def starts(of: Cadence, number: int) -> list[str]:
    """Print the starts of the first so many periods, without `Z` and seconds of 0."""
    found = []
    for period in of.periods(ZERO_TIME, END_OF_TIME):
        found.append(format_instant(period.start).removesuffix("Z").removesuffix(":00"))
        if len(found) == number:
            break
    return found


@pytest.mark.parametrize(
    ("period", "count", "start", "expected"),
    [
        pytest.param("DAILY", 1, "2024-02-28T09:30", "02-28T09:30 02-29T00:00 03-01T00:00", id="days"),
        pytest.param("DAILY", 10, "2024-02-20T09:30", "02-20T09:30 03-01T00:00 03-11T00:00", id="10 days"),
        pytest.param("WEEKLY", 1, "2024-01-11T09:30", "01-11T09:30 01-15T00:00 01-22T00:00", id="weeks"),
        pytest.param("WEEKLY", 2, "2024-01-14T09:30", "01-14T09:30 01-22T00:00 02-05T00:00", id="2 weeks"),
        pytest.param("MONTHLY", 1, "2024-01-31T09:30", "01-31T09:30 02-01T00:00 03-01T00:00", id="months"),
        pytest.param("MONTHLY", 2, "2024-02-10T09:30", "02-10T09:30 04-01T00:00 06-01T00:00", id="2 months"),
        pytest.param(
            "QUARTERLY", 1, "2024-02-10T09:30", "02-10T09:30 04-01T00:00 07-01T00:00", id="quarters"
        ),
        pytest.param(
            "QUARTERLY",
            3,
            "2024-02-10T09:30",
            "2024-02-10T09:30 2024-10-01T00:00 2025-07-01T00:00",
            id="3 quarters",
        ),
        pytest.param(
            "HALF_YEARLY",
            1,
            "2024-06-30T09:30",
            "2024-06-30T09:30 2024-07-01T00:00 2025-01-01T00:00",
            id="half years",
        ),
        pytest.param(
            "ANNUAL", 1, "2024-02-29T09:30", "2024-02-29T09:30 2025-01-01T00:00 2026-01-01T00:00", id="years"
        ),
        pytest.param(
            "ANNUAL", 5000, "2024-02-29T09:30", "2024-02-29T09:30 7024-01-01T00:00", id="5000 years"
        ),
        pytest.param("ONETIME", 1, "2024-02-29T09:30", "2024-02-29T09:30", id="once"),
        pytest.param("MONTHLY", 1, "2024-02-01T00:00", "02-01T00:00 03-01T00:00", id="from a boundary"),
    ],
)
def test_calendar_periods(period: str, count: int, start: str, expected: str) -> None:
    found = starts(cadence(period, count, "calendar", start), len(expected.split()))
    assert [
        text[-len(wanted) :] for text, wanted in zip(found, expected.split(), strict=True)
    ] == expected.split()


@pytest.mark.parametrize(
    ("zone", "period", "start", "expected"),
    [
        pytest.param(
            "America/New_York", "MONTHLY", "2024-03-05T12:00", "2024-03-05T12:00 2024-04-01T04:00", id="DST"
        ),
        pytest.param(
            "America/New_York",
            "MONTHLY",
            "2024-03-01T02:00",
            "2024-03-01T02:00 2024-03-01T05:00",
            id="still February there",
        ),
        pytest.param(
            "America/Sao_Paulo",
            "DAILY",
            "2018-11-03T12:00",
            "2018-11-03T12:00 2018-11-04T03:00 2018-11-05T02:00",
            id="midnight skipped",
        ),
        pytest.param(
            "Pacific/Apia",
            "DAILY",
            "2011-12-29T12:00",
            "2011-12-29T12:00 2011-12-30T10:00 2011-12-31T10:00",
            id="a day skipped",
        ),
        pytest.param(
            "America/St_Johns",
            "DAILY",
            "1999-10-30T12:00",
            "1999-10-30T12:00 1999-10-31T02:30 1999-11-01T03:30",
            id="set back over midnight",
        ),
    ],
)
def test_calendar_periods_begin_with_the_zones_days(
    zone: str, period: str, start: str, expected: str
) -> None:
    assert starts(cadence(period, 1, "calendar", start, zone=zone), len(expected.split())) == expected.split()


@pytest.mark.parametrize(
    ("period", "count", "start", "expected"),
    [
        pytest.param("DAILY", 3, "2024-02-28", "02-28 03-02 03-05", id="3 days"),
        pytest.param("WEEKLY", 1, "2024-02-28", "02-28 03-06 03-13", id="weeks"),
        pytest.param("MONTHLY", 1, "2023-01-31", "01-31 02-28 03-31 04-30", id="31st"),
        pytest.param("MONTHLY", 1, "2024-01-30", "01-30 02-29 03-30 04-30", id="30th"),
        pytest.param("QUARTERLY", 1, "2023-11-30", "11-30 02-29 05-30", id="quarters"),
        pytest.param("HALF_YEARLY", 1, "2023-08-31", "08-31 02-29 08-31", id="half years"),
        pytest.param(
            "ANNUAL",
            1,
            "2024-02-29",
            "2024-02-29 2025-02-28 2026-02-28 2027-02-28 2028-02-29",
            id="from a leap day",
        ),
        pytest.param("ANNUAL", 5000, "2024-02-29", "2024-02-29 7024-02-29", id="5000 years"),
        pytest.param("MONTHLY", 90000, "2024-02-29", "2024-02-29 9524-02-29", id="90000 months"),
    ],
)
def test_anniversaries(period: str, count: int, start: str, expected: str) -> None:
    found = starts(cadence(period, count, "anniversary", f"{start}T09:27:43.123456Z"), len(expected.split()))
    assert [text[10 - len(wanted) :] for text, wanted in zip(found, expected.split(), strict=True)] == [
        f"{wanted}T09:27:43.123456" for wanted in expected.split()
    ]


@pytest.mark.parametrize(
    ("zone", "period", "start", "expected"),
    [
        pytest.param(
            "America/New_York",
            "MONTHLY",
            "2024-02-05T14:27:43Z",
            "02-05T14:27:43 03-05T14:27:43 04-05T13:27:43",
            id="the clock's time stays",
        ),
        pytest.param(
            "America/New_York",
            "DAILY",
            "2024-03-09T07:30",
            "03-09T07:30 03-10T07:30 03-11T06:30",
            id="02:30 skipped: 03:30 that day",
        ),
        pytest.param(
            "America/New_York",
            "DAILY",
            "2024-11-02T05:30",
            "11-02T05:30 11-03T05:30 11-04T06:30",
            id="01:30 doubled: the first",
        ),
        pytest.param(
            "America/New_York",
            "DAILY",
            "2024-11-03T06:30",
            "11-03T06:30 11-04T06:30 11-05T06:30",
            id="from the second 01:30",
        ),
        pytest.param(
            "Pacific/Apia",
            "DAILY",
            "2011-12-28T19:00",
            "12-28T19:00 12-29T19:00 12-30T19:00 12-31T19:00",
            id="a skipped day is no period",
        ),
        pytest.param(
            "Asia/Tokyo",
            "MONTHLY",
            "2024-01-30T15:00",
            "01-30T15:00 02-28T15:00 03-30T15:00",
            id="31st there, 30th in UTC",
        ),
    ],
)
def test_anniversaries_are_local(zone: str, period: str, start: str, expected: str) -> None:
    found = starts(cadence(period, 1, "anniversary", start, zone=zone), len(expected.split()))
    assert [text[5:] for text in found] == expected.split()


@pytest.mark.parametrize(
    ("anchor", "expected"),
    [
        pytest.param("2024-01-15T12:00", "02-05T00:00 02-15T12:00 03-15T12:00", id="before the start"),
        pytest.param("1999-12-31T12:00", "02-05T00:00 02-29T12:00 03-31T12:00", id="long before"),
        pytest.param("2024-02-15T12:00", "02-05T00:00 02-15T12:00 03-15T12:00", id="soon after"),
        pytest.param("2090-08-31T12:00", "02-05T00:00 02-29T12:00 03-31T12:00", id="long after"),
        pytest.param("2024-01-05T00:00", "02-05T00:00 03-05T00:00 04-05T00:00", id="on an anniversary"),
    ],
)
def test_anchor_apart_from_the_start(anchor: str, expected: str) -> None:
    found = starts(
        cadence("MONTHLY", 1, "anniversary", "2024-02-05T00:00", anchor=anchor), len(expected.split())
    )
    assert [text[5:] for text in found] == expected.split()


@pytest.mark.parametrize(
    ("cycle", "at", "start", "end"),
    [
        pytest.param(
            "calendar", "1999-01-01T00:00", "2024-01-31T09:30", "2024-02-01T00:00", id="before the start"
        ),
        pytest.param("calendar", "2024-01-31T09:30", "2024-01-31T09:30", "2024-02-01T00:00", id="the start"),
        pytest.param(
            "calendar",
            "2024-01-31T23:59:59.999999Z",
            "2024-01-31T09:30",
            "2024-02-01T00:00",
            id="the last of it",
        ),
        pytest.param("calendar", "2024-02-01T00:00", "2024-02-01T00:00", "2024-03-01T00:00", id="a boundary"),
        pytest.param("calendar", "2024-04-10T12:00", "2024-04-01T00:00", "2024-04-10T12:00", id="the end"),
        pytest.param(
            "calendar", "2099-01-01T00:00", "2024-04-01T00:00", "2024-04-10T12:00", id="after the end"
        ),
        pytest.param(
            "anniversary", "1999-01-01T00:00", "2024-01-31T09:30", "2024-02-29T09:30", id="before, by anchor"
        ),
        pytest.param(
            "anniversary",
            "2024-03-31T09:29:59.999999Z",
            "2024-02-29T09:30",
            "2024-03-31T09:30",
            id="just short",
        ),
        pytest.param(
            "anniversary",
            "2024-03-31T09:30",
            "2024-03-31T09:30",
            "2024-04-10T12:00",
            id="the last, by anchor",
        ),
        pytest.param(
            "anniversary", "2099-01-01T00:00", "2024-03-31T09:30", "2024-04-10T12:00", id="after, by anchor"
        ),
    ],
)
def test_period_at(cycle: str, at: str, start: str, end: str) -> None:
    span = cadence("MONTHLY", 1, cycle, "2024-01-31T09:30:00Z", end="2024-04-10T12:00:00Z")
    found = span.period_at(instant(at))
    assert found == Period(instant(start), instant(end))


@pytest.mark.parametrize(
    ("period", "cycle", "at", "start", "end"),
    [
        pytest.param("MONTHLY", "calendar", "2024-05-25", "2024-05-01", "2024-06-01", id="the first month"),
        pytest.param(
            "MONTHLY", "calendar", "2024-06-25", "2024-06-01", "2024-07-01", id="one that is not cut"
        ),
        pytest.param("MONTHLY", "calendar", "2025-02-01", "2025-02-01", "2025-03-01", id="the last month"),
        pytest.param(
            "QUARTERLY", "calendar", "2024-05-25", "2024-04-01", "2024-07-01", id="the first quarter"
        ),
        pytest.param("ANNUAL", "calendar", "2024-05-25", "2024-01-01", "2025-01-01", id="the first year"),
        pytest.param("WEEKLY", "calendar", "2024-05-25", "2024-05-20", "2024-05-27", id="a week from Monday"),
        pytest.param("DAILY", "calendar", "2024-05-25", "2024-05-25", "2024-05-26", id="a day"),
        pytest.param("DAILY", "calendar", "2024-05-22", "2024-05-22", "2024-05-23", id="the first day"),
        pytest.param(
            "MONTHLY", "anniversary", "2024-05-25", "2024-05-15", "2024-06-15", id="by anchor, first"
        ),
        pytest.param(
            "MONTHLY", "anniversary", "2025-02-01", "2025-01-15", "2025-02-15", id="by anchor, last"
        ),
        pytest.param(
            "ANNUAL", "anniversary", "2024-05-25", "2024-01-15", "2025-01-15", id="a year by anchor"
        ),
    ],
)
def test_a_period_that_the_span_cuts_knows_its_whole(
    period: str, cycle: str, at: str, start: str, end: str
) -> None:
    span = cadence(
        period, 1, cycle, "2024-05-22T09:30", end="2025-02-10T12:00:00Z", anchor="2024-01-15T00:00"
    )
    found = span.period_at(instant(f"{at}T10:00"))

    assert (found.whole_start, found.whole_end) == (instant(f"{start}T00:00"), instant(f"{end}T00:00"))
    assert found.whole_length == instant(f"{end}T00:00") - instant(f"{start}T00:00")
    assert (found.start, found.end) == (
        max(instant(f"{start}T00:00"), span.start),
        min(instant(f"{end}T00:00"), span.end or 0),
    )


@pytest.mark.parametrize(
    ("end", "length"), [("2024-02-10T09:30:00Z", 10 * DAY), (None, 0)], ids=["ends", "never ends"]
)
def test_a_onetime_period_is_its_own_whole(end: str | None, length: int) -> None:
    once = cadence("ONETIME", 1, "calendar", "2024-01-31T09:30:00Z", end=end).period_at(0)

    assert (once.whole_start, once.whole_end, once.whole_length) == (once.start, once.end, length)


def test_a_boundary_that_the_clock_shows_twice_has_passed() -> None:
    # It is 01:15 for the second time: earlier by the clock than the boundary at the first 01:30, yet past it.
    daily = cadence("DAILY", 1, "anniversary", "2024-11-01T05:30", zone="America/New_York")
    assert daily.period_at(instant("2024-11-03T06:15")).start == instant("2024-11-03T05:30")


@pytest.mark.parametrize("end", [None, "2025-01-01T00:00:00Z"], ids=["never ends", "ends"])
@pytest.mark.parametrize("cycle", ["calendar", "anniversary"])
def test_onetime_is_the_whole_span(cycle: str, end: str | None) -> None:
    once = cadence("ONETIME", 3, cycle, "2024-01-31T09:30:00Z", end=end)
    whole = Period(once.start, once.end)
    assert [once.period_at(at) for at in (ZERO_TIME, once.start, END_OF_TIME - 1)] == [whole] * 3
    assert once.next(whole) is None
    assert list(once.periods(ZERO_TIME, END_OF_TIME)) == [whole]


def test_next_ends_with_the_span() -> None:
    span = cadence("MONTHLY", 1, "calendar", "2024-01-31T09:30:00Z", end="2024-03-01T00:00:00Z")
    january = span.period_at(span.start)
    february = span.next(january)
    assert february == Period(parse_instant("2024-02-01T00:00:00Z"), parse_instant("2024-03-01T00:00:00Z"))
    assert span.next(february) is None


@pytest.mark.parametrize(
    ("from_", "to", "months"),
    [
        pytest.param("2024-02-10T00:00:00Z", "2024-04-01T00:00:00Z", [2, 3], id="half open"),
        pytest.param(
            "2024-02-10T00:00:00Z", "2024-04-01T00:00:00.000001Z", [2, 3, 4], id="a microsecond of April"
        ),
        pytest.param("2024-02-10T00:00:00Z", "2024-02-10T00:00:00Z", [], id="empty window"),
        pytest.param("2024-03-10T00:00:00Z", "2024-02-10T00:00:00Z", [], id="window backwards"),
        pytest.param("2023-01-01T00:00:00Z", "2024-01-15T00:00:00Z", [], id="up to the start"),
        pytest.param("2024-05-15T00:00:00Z", "2029-01-01T00:00:00Z", [], id="from the end"),
        pytest.param("2023-01-01T00:00:00Z", "2029-01-01T00:00:00Z", [1, 2, 3, 4, 5], id="all"),
    ],
)
def test_periods_that_meet_a_window(from_: str, to: str, months: list[int]) -> None:
    span = cadence("MONTHLY", 1, "calendar", "2024-01-15T00:00:00Z", end="2024-05-15T00:00:00Z")
    found = span.periods(instant(from_), instant(to))
    assert [int(format_instant(period.start)[5:7]) for period in found] == months


@pytest.mark.parametrize("cycle", ["calendar", "anniversary"])
@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("period", list(BillingPeriod))
def test_the_ends_of_time(period: str, cycle: str, zone: str) -> None:
    ever = cadence(period, 1, cycle, "0001-01-01T00:00:00Z", zone=zone)
    first, last = ever.period_at(ZERO_TIME), ever.period_at(END_OF_TIME - 1)
    assert first.start == ZERO_TIME
    assert last.end == (None if period == "ONETIME" else END_OF_TIME)
    assert ever.next(last) is None
    middle = ever.period_at(0)
    assert 0 in middle


def test_empty_span_has_no_periods() -> None:
    nothing = cadence("MONTHLY", 1, "calendar", "2024-01-15T00:00:00Z", end="2024-01-15T00:00:00Z")
    assert nothing.period_at(0) == Period(nothing.start, nothing.start)
    assert nothing.next(nothing.period_at(0)) is None
    assert list(nothing.periods(ZERO_TIME, END_OF_TIME)) == []


def test_code() -> None:
    assert cadence("HALF_YEARLY", 3, "calendar", "2024-01-15T00:00:00Z").code == "HALF_YEARLY.3"


def test_what_was_found_before_is_no_part_of_the_value() -> None:
    used, fresh = (cadence("MONTHLY", 1, "calendar", "2024-01-15T00:00:00Z") for _ in range(2))
    march = used.period_at(parse_instant("2024-03-15T00:00:00Z"))
    assert used == fresh
    assert hash(used) == hash(fresh)
    for other in (copy.deepcopy(used), pickle.loads(pickle.dumps(used)), replace(used)):  # noqa: S301 - our own bytes
        assert other == used
        assert other.period_at(march.start) == march


@pytest.mark.parametrize("count", [0, -1])
def test_a_period_has_a_length(count: int) -> None:
    with pytest.raises(ValueError, match="at least one unit"):
        cadence("MONTHLY", count, "calendar", "2024-01-15T00:00:00Z")


def test_a_span_ends_after_its_start() -> None:
    with pytest.raises(ValueError, match="before the start"):
        cadence("MONTHLY", 1, "calendar", "2024-01-15T00:00:00Z", end="2024-01-14T00:00:00Z")


def test_a_cadence_knows_its_zone() -> None:
    with pytest.raises(UnknownZoneError):
        cadence("MONTHLY", 1, "calendar", "2024-01-15T00:00:00Z", zone="Mars/Olympus")


def test_periods_are_ordered() -> None:
    periods = [Period(DAY, None), Period(0, None), Period(0, DAY), Period(0, 1)]
    assert sorted(periods) == periods[::-1]
    assert Period(0, 1) <= Period(0, 1) < Period(0, 2) < Period(0, None) < Period(1, 2)
    assert max(periods) > min(periods)


def test_period_holds_its_start_and_not_its_end() -> None:
    assert [at in Period(10, 20) for at in (9, 10, 19, 20)] == [False, True, True, False]
    assert [at in Period(10, None) for at in (9, 10, END_OF_TIME)] == [False, True, True]

"""Days, hours and buckets of time zones whose clocks misbehave."""

import zoneinfo
from datetime import date, datetime

import pytest

from meterstone.usage.calendar import (
    FIRST_DAY,
    LAST_DAY,
    BucketSize,
    Granularity,
    UnknownZoneError,
    Zone,
    bucket_bounds,
    granularity_bounds,
    zone,
)
from meterstone.usage.instant import DAY, END_OF_TIME, HOUR, MINUTE, ZERO_TIME, format_instant, parse_instant


def day(text: str) -> int:
    return date.fromisoformat(text).toordinal()


@pytest.mark.parametrize(
    ("name", "on", "start", "end"),
    [
        pytest.param("UTC", "2024-03-13", "2024-03-13T00:00:00Z", "2024-03-14T00:00:00Z", id="UTC"),
        pytest.param(
            "America/New_York", "2024-03-10", "2024-03-10T05:00:00Z", "2024-03-11T04:00:00Z", id="23 hours"
        ),
        pytest.param(
            "America/New_York", "2024-11-03", "2024-11-03T04:00:00Z", "2024-11-04T05:00:00Z", id="25 hours"
        ),
        pytest.param(
            "Australia/Lord_Howe",
            "2024-04-07",
            "2024-04-06T13:00:00Z",
            "2024-04-07T13:30:00Z",
            id="24.5 hours",
        ),
        pytest.param(
            "Australia/Lord_Howe",
            "2024-10-06",
            "2024-10-05T13:30:00Z",
            "2024-10-06T13:00:00Z",
            id="23.5 hours",
        ),
        pytest.param(
            "Asia/Kathmandu",
            "1986-01-01",
            "1985-12-31T18:30:00Z",
            "1986-01-01T18:15:00Z",
            id="15 minutes skipped",
        ),
        pytest.param(
            "America/Sao_Paulo",
            "2018-11-04",
            "2018-11-04T03:00:00Z",
            "2018-11-05T02:00:00Z",
            id="midnight skipped",
        ),
        pytest.param(
            "America/Sao_Paulo",
            "2018-02-17",
            "2018-02-17T02:00:00Z",
            "2018-02-18T03:00:00Z",
            id="23:00 doubled",
        ),
        pytest.param(
            "Africa/Cairo", "2023-04-28", "2023-04-27T22:00:00Z", "2023-04-28T21:00:00Z", id="Cairo"
        ),
        pytest.param(
            "Asia/Beirut", "2022-03-27", "2022-03-26T22:00:00Z", "2022-03-27T21:00:00Z", id="Beirut"
        ),
        pytest.param(
            "America/St_Johns",
            "1999-10-30",
            "1999-10-30T02:30:00Z",
            "1999-10-31T02:30:00Z",
            id="before 00:01",
        ),
        pytest.param(
            "America/St_Johns",
            "1999-10-31",
            "1999-10-31T02:30:00Z",
            "1999-11-01T03:30:00Z",
            id="set back at 00:01",
        ),
        pytest.param(
            "America/Toronto",
            "1919-03-31",
            "1919-03-31T04:30:00Z",
            "1919-04-01T04:00:00Z",
            id="gap over midnight",
        ),
        pytest.param(
            "Pacific/Apia", "2011-12-29", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", id="the 29th"
        ),
        pytest.param(
            "Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", id="no 30th"
        ),
        pytest.param(
            "Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z", id="the 31st"
        ),
        pytest.param(
            "America/Juneau", "1867-10-19", "1867-10-18T08:57:41Z", "1867-10-20T08:57:41Z", id="a date twice"
        ),
        pytest.param(
            "America/New_York",
            "0001-01-01",
            "0001-01-01T00:00:00Z",
            "0001-01-02T04:56:02Z",
            id="first day, west",
        ),
        pytest.param(
            "Asia/Tokyo", "0001-01-01", "0001-01-01T00:00:00Z", "0001-01-01T14:41:01Z", id="first day, east"
        ),
        pytest.param(
            "America/New_York",
            "9999-12-31",
            "9999-12-31T05:00:00Z",
            "9999-12-31T23:59:59.999999Z",
            id="last, west",
        ),
        pytest.param(
            "Asia/Tokyo",
            "9999-12-31",
            "9999-12-30T15:00:00Z",
            "9999-12-31T23:59:59.999999Z",
            id="last day, east",
        ),
    ],
)
def test_day_bounds(name: str, on: str, start: str, end: str) -> None:
    bounds = zone(name).day_bounds(day(on))
    assert tuple(map(format_instant, bounds)) == (start, end)
    if start != end:
        assert zone(name).day_of(bounds[0]) == zone(name).day_of(bounds[1] - 1) == day(on)


def test_clock_set_back_over_midnight_does_not_go_back_a_day() -> None:
    # At 00:01 on 31 October the clock shows 23:01 of the 30th again: that hour belongs to the 31st.
    st_johns = zone("America/St_Johns")
    again = parse_instant("1999-10-31T02:31:00Z")
    assert st_johns.local(again).isoformat() == "1999-10-30T23:01:00"
    assert st_johns.day_of(again) == day("1999-10-31")
    assert st_johns.day_of(again - HOUR) == day("1999-10-30")


@pytest.mark.parametrize(
    ("name", "at", "expected"),
    [
        pytest.param("UTC", "2024-03-13T13:59:59.999999Z", ("2024-03-13", 13), id="UTC"),
        pytest.param(
            "America/New_York", "2024-03-10T06:59:00Z", ("2024-03-10", 1), id="01:59 before the gap"
        ),
        pytest.param("America/New_York", "2024-03-10T07:00:00Z", ("2024-03-10", 2), id="03:00 after the gap"),
        pytest.param("America/New_York", "2024-11-03T05:30:00Z", ("2024-11-03", 1), id="01:30 first"),
        pytest.param("America/New_York", "2024-11-03T06:30:00Z", ("2024-11-03", 2), id="01:30 second"),
        pytest.param("America/New_York", "2024-11-04T04:59:59Z", ("2024-11-03", 24), id="the 25th hour"),
        pytest.param(
            "Australia/Lord_Howe", "2024-04-07T13:29:00Z", ("2024-04-07", 24), id="a half 25th hour"
        ),
        pytest.param("America/Juneau", "1867-10-20T08:57:40Z", ("1867-10-19", 47), id="a day of 48 hours"),
    ],
)
def test_hour_of(name: str, at: str, expected: tuple[str, int]) -> None:
    assert zone(name).hour_of(parse_instant(at)) == (day(expected[0]), expected[1])


@pytest.mark.parametrize(
    ("name", "on", "hours", "last"),
    [
        pytest.param("UTC", "2024-03-13", 24, HOUR, id="24"),
        pytest.param("Europe/Berlin", "2024-03-31", 23, HOUR, id="23"),
        pytest.param("Europe/Berlin", "2024-10-27", 25, HOUR, id="25"),
        pytest.param("Australia/Lord_Howe", "2024-10-06", 24, HOUR // 2, id="the last is half"),
        pytest.param("Asia/Kathmandu", "1986-01-01", 24, 45 * MINUTE, id="the last is three quarters"),
    ],
)
def test_hours_of_a_day(name: str, on: str, hours: int, last: int) -> None:
    clock = zone(name)
    assert clock.hours(day(on)) == hours
    start, end = clock.hour_bounds(day(on), hours - 1)
    assert (end - start, end) == (last, clock.day_start(day(on) + 1))


@pytest.mark.parametrize(
    ("on", "hour"),
    [("2011-12-31", 24), ("2011-12-31", -1), ("2011-12-30", 0)],
    ids=["after the last", "before the first", "of a day that was skipped"],
)
def test_no_such_hour(on: str, hour: int) -> None:
    with pytest.raises(ValueError, match="has no hour"):
        zone("Pacific/Apia").hour_bounds(day(on), hour)
    assert zone("Pacific/Apia").hours(day("2011-12-30")) == 0


@pytest.mark.parametrize(
    ("name", "local", "instant"),
    [
        pytest.param("UTC", "2024-03-13T09:27:43.123456", "2024-03-13T09:27:43.123456Z", id="UTC"),
        pytest.param(
            "America/New_York", "2024-03-10T02:30:00", "2024-03-10T07:30:00Z", id="skipped: forward"
        ),
        pytest.param(
            "America/New_York", "2024-03-10T03:00:00", "2024-03-10T07:00:00Z", id="just after the gap"
        ),
        pytest.param(
            "America/New_York", "2024-11-03T01:30:00", "2024-11-03T05:30:00Z", id="doubled: the first"
        ),
        pytest.param(
            "America/New_York", "2024-11-03T02:00:00", "2024-11-03T07:00:00Z", id="after the doubled"
        ),
        pytest.param("Australia/Lord_Howe", "2024-10-06T02:15:00", "2024-10-05T15:45:00Z", id="half an hour"),
        pytest.param("Pacific/Apia", "2011-12-30T09:27:43", "2011-12-30T19:27:43Z", id="a skipped day"),
        pytest.param("Pacific/Apia", "2011-12-31T09:27:43", "2011-12-30T19:27:43Z", id="the day after it"),
        pytest.param("Asia/Tokyo", "0001-01-01T00:00:00", "0001-01-01T00:00:00Z", id="before time"),
        pytest.param(
            "America/New_York", "9999-12-31T23:00:00", "9999-12-31T23:59:59.999999Z", id="after time"
        ),
    ],
)
def test_local_time_is_an_instant(name: str, local: str, instant: str) -> None:
    assert format_instant(zone(name).instant(datetime.fromisoformat(local))) == instant
    assert format_instant(zone(name).instant(datetime.fromisoformat(local).replace(fold=1))) == instant


@pytest.mark.parametrize(
    ("name", "instant", "local"),
    [
        pytest.param(
            "Asia/Kathmandu", "2024-03-13T09:27:43.123456Z", "2024-03-13T15:12:43.123456", id="+05:45"
        ),
        pytest.param("America/New_York", "2024-11-03T06:30:00Z", "2024-11-03T01:30:00", id="doubled"),
        pytest.param(
            "America/New_York", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00", id="before the years"
        ),
        pytest.param(
            "Asia/Tokyo", "9999-12-31T23:00:00Z", "9999-12-31T23:59:59.999999", id="after the years"
        ),
    ],
)
def test_instant_as_local_time(name: str, instant: str, local: str) -> None:
    assert zone(name).local(parse_instant(instant)) == datetime.fromisoformat(local)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Mars/Olympus",
        "America",
        "america/new_york/",
        "../../etc/passwd",
        "/usr/share/zoneinfo/UTC",
        "UTC\x00",
        "Europe/Berlin\n",
        "zone1970.tab",
        "__init__",
        "\ud800",
        "Åland",
        "A" * 10_000,
    ],
)
def test_unknown_zone(name: str) -> None:
    with pytest.raises(UnknownZoneError):
        zone(name)


def test_zones_come_from_the_pinned_database() -> None:
    assert zoneinfo.TZPATH == ()
    assert zone("Europe/Berlin") is zone("Europe/Berlin")


B = BucketSize


@pytest.mark.parametrize(
    ("size", "name", "at", "start", "end"),
    [
        pytest.param(B.MINUTE, "UTC", "2024-01-10T12:30:31Z", "12:30", "12:31", id="minute"),
        pytest.param(B.FIFTEEN_MINUTES, "UTC", "2024-01-10T12:44:59Z", "12:30", "12:45", id="15 minutes"),
        pytest.param(B.THIRTY_MINUTES, "UTC", "2024-01-10T12:44:59Z", "12:30", "13:00", id="30 minutes"),
        pytest.param(B.HOUR, "UTC", "2024-01-10T12:44:59Z", "12:00", "13:00", id="hour"),
        pytest.param(B.THREE_HOURS, "UTC", "2024-01-10T14:44:59Z", "12:00", "15:00", id="3 hours"),
        pytest.param(B.SIX_HOURS, "UTC", "2024-01-10T14:44:59Z", "12:00", "18:00", id="6 hours"),
        pytest.param(B.TWELVE_HOURS, "UTC", "2024-01-10T11:59:59Z", "00:00", "12:00", id="12 hours"),
        pytest.param(B.HOUR, "Asia/Kathmandu", "2024-01-10T12:44:59Z", "12:15", "13:15", id="hour at +05:45"),
        pytest.param(
            B.HOUR, "Pacific/Chatham", "2024-01-10T12:44:59Z", "12:15", "13:15", id="hour at +13:45"
        ),
        pytest.param(
            B.HOUR, "America/New_York", "2024-11-03T05:30:00Z", "05:00", "06:00", id="first of a doubled hour"
        ),
        pytest.param(
            B.HOUR,
            "America/New_York",
            "2024-11-03T06:30:00Z",
            "06:00",
            "07:00",
            id="second of a doubled hour",
        ),
        pytest.param(
            B.HOUR,
            "Australia/Lord_Howe",
            "2024-04-06T14:59:00Z",
            "14:00",
            "15:00",
            id="Lord Howe 01:59 first",
        ),
        pytest.param(
            B.HOUR,
            "Australia/Lord_Howe",
            "2024-04-06T15:00:00Z",
            "15:00",
            "15:30",
            id="Lord Howe 01:30 second",
        ),
        pytest.param(
            B.HOUR, "Australia/Lord_Howe", "2024-10-05T15:30:00Z", "15:30", "16:00", id="Lord Howe 02:30, cut"
        ),
        pytest.param(
            B.FIFTEEN_MINUTES, "America/St_Johns", "1999-10-31T02:30:30Z", "02:30", "02:31", id="cut at 00:01"
        ),
        pytest.param(
            B.FIFTEEN_MINUTES, "America/St_Johns", "1999-10-31T02:31:00Z", "02:31", "02:45", id="from 23:01"
        ),
        pytest.param(
            B.THREE_HOURS, "Europe/Berlin", "2024-10-27T00:30:00Z", "22:00", "02:00", id="00-03 of four hours"
        ),
        pytest.param(
            B.THREE_HOURS, "Europe/Berlin", "2024-03-31T00:30:00Z", "23:00", "01:00", id="00-03 of two hours"
        ),
        pytest.param(
            B.TWELVE_HOURS,
            "America/Sao_Paulo",
            "2018-11-04T12:00:00Z",
            "03:00",
            "14:00",
            id="midnight skipped",
        ),
    ],
)
def test_bucket_within_a_day(size: BucketSize, name: str, at: str, start: str, end: str) -> None:
    bounds = bucket_bounds(size, parse_instant(at), zone(name))
    assert tuple(format_instant(bound)[11:16] for bound in bounds) == (start, end)
    assert bounds[0] <= parse_instant(at) < bounds[1] < bounds[0] + DAY


@pytest.mark.parametrize(
    ("size", "name", "at", "start", "end"),
    [
        pytest.param(B.DAY, "Asia/Tokyo", "2024-01-10T15:00:00Z", "2024-01-10T15", "2024-01-11T15", id="day"),
        pytest.param(
            B.WEEK, "UTC", "2024-01-14T23:59:59Z", "2024-01-08T00", "2024-01-15T00", id="week to Sunday"
        ),
        pytest.param(
            B.WEEK, "UTC", "2024-01-15T00:00:00Z", "2024-01-15T00", "2024-01-22T00", id="week from Monday"
        ),
        pytest.param(
            B.WEEK,
            "America/New_York",
            "2024-03-10T12:00:00Z",
            "2024-03-04T05",
            "2024-03-11T04",
            id="week with DST",
        ),
        pytest.param(
            B.MONTH, "UTC", "2024-02-29T12:00:00Z", "2024-02-01T00", "2024-03-01T00", id="leap February"
        ),
        pytest.param(B.MONTH, "UTC", "2023-12-31T12:00:00Z", "2023-12-01T00", "2024-01-01T00", id="December"),
        pytest.param(
            B.MONTH, "UTC", "9999-12-31T12:00:00Z", "9999-12-01T00", "9999-12-31T23", id="the last month"
        ),
        pytest.param(
            B.WEEK, "UTC", "9999-12-31T12:00:00Z", "9999-12-27T00", "9999-12-31T23", id="the last week"
        ),
        pytest.param(
            B.MONTH,
            "America/New_York",
            "0001-01-01T00:00:00Z",
            "0001-01-01T00",
            "0001-02-01T04",
            id="first month",
        ),
    ],
)
def test_bucket_of_days(size: BucketSize, name: str, at: str, start: str, end: str) -> None:
    bounds = bucket_bounds(size, parse_instant(at), zone(name))
    assert tuple(format_instant(bound)[:13] for bound in bounds) == (start, end)


def buckets_of(size: BucketSize, start: int, end: int, clock: Zone) -> list[int]:
    """List the starts of all buckets that meet `[start, end)`, in order; the first may begin before `start`."""
    starts, at = [], start
    while at < min(end, END_OF_TIME):
        begin, at = bucket_bounds(size, at, clock)
        starts.append(begin)
    return starts


# Facts of Flexprice: internal/ee/service/billing_commitment_test.go, the lines given. A start is labelled
# by its day, or for hours by its time; hours are labelled by the bucket's own start, not cut by the window.
@pytest.mark.parametrize(
    ("size", "start", "end", "labels"),
    [
        pytest.param(
            B.DAY,
            "2024-01-10T12:30:00Z",
            "2024-01-13T00:00:00Z",
            ["2024-01-10", "2024-01-11", "2024-01-12"],
            id="29-37 days",
        ),
        pytest.param(
            B.HOUR,
            "2024-01-10T01:30:00Z",
            "2024-01-10T05:00:00Z",
            ["01:00", "02:00", "03:00", "04:00"],
            id="39-46 hours",
        ),
    ],
)
def test_the_buckets_of_a_window_as_flexprice(
    size: BucketSize, start: str, end: str, labels: list[str]
) -> None:
    starts = buckets_of(size, parse_instant(start), parse_instant(end), zone("UTC"))
    shown = slice(11, 16) if size is B.HOUR else slice(10)
    assert [format_instant(at)[shown] for at in starts] == labels


# The difference "calendar months": Flexprice anchors MONTH buckets at the window's start (31 January, 28
# February); here they are months of the customer's calendar.
@pytest.mark.parametrize(
    ("start", "end", "flexprice", "ours"),
    [
        pytest.param(
            "2024-02-05T00:00:00Z",
            "2024-03-05T00:00:00Z",
            ["2024-02-05"],
            ["2024-02-01", "2024-03-01"],
            id="59-66 calendar months",
        ),
        pytest.param(
            "2026-01-31T00:00:00Z",
            "2026-05-01T00:00:00Z",
            ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"],
            ["2026-01-01", "2026-02-01", "2026-03-01", "2026-04-01"],
            id="95-104 calendar months",
        ),
        pytest.param(
            "2028-01-31T00:00:00Z",
            "2028-03-01T00:00:00Z",
            ["2028-01-31", "2028-02-29"],
            ["2028-01-01", "2028-02-01"],
            id="108-115 calendar months",
        ),
    ],
)
def test_the_months_of_a_window_unlike_flexprice(
    start: str, end: str, flexprice: list[str], ours: list[str]
) -> None:
    starts = buckets_of(B.MONTH, parse_instant(start), parse_instant(end), zone("UTC"))
    assert [format_instant(at)[:10] for at in starts] == ours != flexprice


@pytest.mark.parametrize(
    ("size", "name", "count"),
    [
        pytest.param(B.FIFTEEN_MINUTES, "Australia/Lord_Howe", 366 * 24 * 4, id="quarters"),
        pytest.param(B.HOUR, "Australia/Lord_Howe", 366 * 24 + 1, id="hours, two of them halves"),
        pytest.param(B.THREE_HOURS, "America/New_York", 366 * 8, id="3 hours"),
        pytest.param(B.DAY, "America/New_York", 366, id="days"),
        pytest.param(B.WEEK, "America/New_York", 53, id="weeks"),
        pytest.param(B.MONTH, "America/New_York", 12, id="months"),
    ],
)
def test_buckets_of_a_year(size: BucketSize, name: str, count: int) -> None:
    clock = zone(name)
    start, end = clock.day_start(day("2024-01-01")), clock.day_start(day("2025-01-01"))
    assert len(buckets_of(size, start, end, clock)) == count


def test_the_minutes_of_a_month_whose_clock_is_put_forward() -> None:
    clock = zone("America/New_York")
    start, end = clock.day_start(day("2024-03-01")), clock.day_start(day("2024-04-01"))
    assert len(buckets_of(B.MINUTE, start, end, clock)) == (31 * 24 - 1) * 60


@pytest.mark.parametrize(
    ("name", "start", "end", "expected"),
    [
        pytest.param(
            "Australia/Lord_Howe",
            "2024-04-06T13:20:00Z",
            "2024-04-06T17:00:00Z",
            ["13:00", "14:00", "15:00", "15:30", "16:30"],
            id="half an hour back",
        ),
        pytest.param(
            "Australia/Lord_Howe",
            "2024-10-05T13:40:00Z",
            "2024-10-05T17:00:00Z",
            ["13:30", "14:30", "15:30", "16:00"],
            id="half an hour forward",
        ),
        pytest.param(
            "America/St_Johns",
            "1999-10-31T01:30:00Z",
            "1999-10-31T04:30:00Z",
            ["01:30", "02:30", "02:31", "03:30"],
            id="back at 00:01",
        ),
    ],
)
def test_hours_over_a_change_of_clocks(name: str, start: str, end: str, expected: list[str]) -> None:
    starts = buckets_of(B.HOUR, parse_instant(start), parse_instant(end), zone(name))
    assert [format_instant(at)[11:16] for at in starts] == expected


def test_buckets_end_with_time() -> None:
    last_hours = buckets_of(B.HOUR, END_OF_TIME - 2 * HOUR, END_OF_TIME + DAY, zone("Asia/Kathmandu"))
    assert [END_OF_TIME - at for at in last_hours] == [2 * HOUR + 45 * MINUTE - HOUR * at for at in range(3)]
    assert buckets_of(B.MONTH, ZERO_TIME, ZERO_TIME + 1, zone("America/New_York")) == [ZERO_TIME]


@pytest.mark.parametrize(
    ("granularity", "on", "first", "last"),
    [
        pytest.param(Granularity.DAILY, "2024-03-13", "2024-03-13", "2024-03-13", id="day"),
        pytest.param(Granularity.WEEKLY, "2024-03-13", "2024-03-11", "2024-03-17", id="week"),
        pytest.param(Granularity.WEEKLY, "2024-03-11", "2024-03-11", "2024-03-17", id="week of a Monday"),
        pytest.param(Granularity.WEEKLY, "2024-03-17", "2024-03-11", "2024-03-17", id="week of a Sunday"),
        pytest.param(
            Granularity.WEEKLY, "2025-01-01", "2024-12-30", "2025-01-05", id="week over the year's end"
        ),
        pytest.param(Granularity.MONTHLY, "2024-02-13", "2024-02-01", "2024-02-29", id="leap February"),
        pytest.param(Granularity.MONTHLY, "2023-12-31", "2023-12-01", "2023-12-31", id="December"),
        pytest.param(Granularity.YEARLY, "2024-02-13", "2024-01-01", "2024-12-31", id="year"),
        pytest.param(Granularity.WEEKLY, "0001-01-01", "0001-01-01", "0001-01-07", id="the first week"),
        pytest.param(Granularity.WEEKLY, "9999-12-31", "9999-12-27", "9999-12-31", id="the last week, cut"),
        pytest.param(Granularity.MONTHLY, "9999-12-31", "9999-12-01", "9999-12-31", id="the last month"),
        pytest.param(Granularity.YEARLY, "9999-12-31", "9999-01-01", "9999-12-31", id="the last year"),
        pytest.param(Granularity.YEARLY, "0001-01-01", "0001-01-01", "0001-12-31", id="the first year"),
    ],
)
def test_granularity_bounds(granularity: Granularity, on: str, first: str, last: str) -> None:
    assert granularity_bounds(granularity, day(on)) == (day(first), day(last))


def test_days_outside_the_calendar_are_empty() -> None:
    clock = zone("Asia/Tokyo")
    assert clock.day_bounds(FIRST_DAY - 1) == (ZERO_TIME, ZERO_TIME)
    assert clock.day_bounds(LAST_DAY + 1) == (END_OF_TIME, END_OF_TIME)

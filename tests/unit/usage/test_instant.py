"""Instants as text."""

import pytest

from meterstone.usage.instant import (
    DAY,
    END_OF_TIME,
    HOUR,
    SECOND,
    ZERO_TIME,
    InvalidInstantError,
    format_instant,
    key_instant,
    parse_instant,
    parse_key_instant,
)

MARCH_13 = 1_710_288_000 * SECOND  # 2024-03-13T00:00:00Z


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        pytest.param("1970-01-01T00:00:00Z", 0, id="the epoch"),
        pytest.param("2024-03-13T00:00:00Z", MARCH_13, id="whole seconds"),
        pytest.param("2024-03-13t00:00:00z", MARCH_13, id="small letters"),
        pytest.param("2024-03-13 00:00:00Z", MARCH_13, id="a space"),
        pytest.param("2024-03-13T00:00:00", MARCH_13, id="no offset is UTC"),
        pytest.param("2024-03-13T00:00:00+00:00", MARCH_13, id="offset zero"),
        pytest.param("2024-03-13T00:00:00-00:00", MARCH_13, id="offset minus zero"),
        pytest.param("2024-03-13T02:00:00+05:45", MARCH_13 - 3 * HOUR - 45 * 60 * SECOND, id="ahead"),
        pytest.param("2024-03-13T00:00:00-09:30", MARCH_13 + 9 * HOUR + 30 * 60 * SECOND, id="behind"),
        pytest.param("2024-03-13T00:00:00+23:59", MARCH_13 - DAY + 60 * SECOND, id="the largest offset"),
        pytest.param("2024-03-13T00:00:00.5Z", MARCH_13 + 500_000, id="one digit"),
        pytest.param("2024-03-13T00:00:00.000001Z", MARCH_13 + 1, id="a microsecond"),
        pytest.param("2024-03-13T00:00:00.0000019Z", MARCH_13 + 1, id="finer digits are cut"),
        pytest.param("2024-03-12T23:59:59.999999999999999999Z", MARCH_13 - 1, id="cut, not rounded"),
        pytest.param("1969-12-31T23:59:59.9999999Z", -1, id="cut before the epoch"),
        pytest.param("2024-02-29T00:00:00Z", MARCH_13 - 13 * DAY, id="a leap day"),
        pytest.param("0001-01-01T00:00:00Z", ZERO_TIME, id="the first instant"),
        pytest.param("0001-01-01T05:00:00+05:00", ZERO_TIME, id="the first instant, ahead"),
        pytest.param("9999-12-31T23:59:59.999999Z", END_OF_TIME - 1, id="the last instant"),
        pytest.param("9999-12-31T18:59:59.999999-05:00", END_OF_TIME - 1, id="the last instant, behind"),
    ],
)
def test_text_is_an_instant(text: str, instant: int) -> None:
    assert parse_instant(text) == instant


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("2024-03-13", id="a bare date"),
        pytest.param("2024-03-13T00:00Z", id="no seconds"),
        pytest.param("2024-03-13T00Z", id="an hour"),
        pytest.param("20240313T000000Z", id="basic format"),
        pytest.param("2024-W11-3T00:00:00Z", id="a week date"),
        pytest.param("1710288000", id="a number"),
        pytest.param("0000-01-01T00:00:00Z", id="year 0"),
        pytest.param("-2024-03-13T00:00:00Z", id="a negative year"),
        pytest.param("12024-03-13T00:00:00Z", id="year 12024"),
        pytest.param("2023-02-29T00:00:00Z", id="no leap day in 2023"),
        pytest.param("1900-02-29T00:00:00Z", id="no leap day in 1900"),
        pytest.param("2024-13-01T00:00:00Z", id="month 13"),
        pytest.param("2024-00-01T00:00:00Z", id="month 0"),
        pytest.param("2024-04-31T00:00:00Z", id="31 April"),
        pytest.param("2024-04-00T00:00:00Z", id="day 0"),
        pytest.param("2024-03-13T24:00:00Z", id="24:00"),
        pytest.param("2024-03-13T00:60:00Z", id="minute 60"),
        pytest.param("2016-12-31T23:59:60Z", id="a leap second"),
        pytest.param("2024-03-13T00:00:00.Z", id="a point without digits"),
        pytest.param("2024-03-13T00:00:00,5Z", id="a comma"),
        pytest.param("2024-03-13T00:00:00+24:00", id="offset 24:00"),
        pytest.param("2024-03-13T00:00:00+05:60", id="offset minute 60"),
        pytest.param("2024-03-13T00:00:00+0530", id="offset without a colon"),
        pytest.param("2024-03-13T00:00:00+05", id="offset in hours"),
        pytest.param("2024-03-13T00:00:00+05:30:15", id="offset with seconds"),
        pytest.param("2024-03-13T00:00:00 Z", id="a space before Z"),
        pytest.param("2024-03-13T00:00:00ZZ", id="Z twice"),
        pytest.param("2024-03-13_00:00:00Z", id="another separator"),
        pytest.param(" 2024-03-13T00:00:00Z", id="a leading space"),
        pytest.param("2024-03-13T00:00:00Z\n", id="a trailing newline"),
        pytest.param("2024-03-13T00:00:00\x00Z", id="a control character"),
        pytest.param("202\N{FULLWIDTH DIGIT FOUR}-03-13T00:00:00Z", id="full-width digits"),
        pytest.param("2024-03-13T00:00:00.\N{ARABIC-INDIC DIGIT THREE}Z", id="Arabic digits"),
        pytest.param("2024-03-13T00:00:00.\N{SUPERSCRIPT TWO}Z", id="a superscript"),
        pytest.param("2024-03-13T00:00:00\N{MINUS SIGN}05:00", id="a typographic minus"),
        pytest.param("2024-03-13T00:00:00\ud800Z", id="a lone surrogate"),
        pytest.param("2024-03-13T00:00:00." + "0" * 10_000 + "Z", id="10,000 digits"),
        pytest.param("0001-01-01T00:00:00+00:01", id="before the year 1 in UTC"),
        pytest.param("9999-12-31T23:59:59-00:01", id="after the year 9999 in UTC"),
    ],
)
def test_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidInstantError):
        parse_instant(text)


def test_text_has_64_characters_at_most() -> None:
    digits = 64 - len("2024-03-13T00:00:00.Z")

    assert parse_instant(f"2024-03-13T00:00:00.{'0' * digits}Z") == MARCH_13
    with pytest.raises(InvalidInstantError):
        parse_instant(f"2024-03-13T00:00:00.{'0' * (digits + 1)}Z")


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        pytest.param(MARCH_13, "2024-03-13T00:00:00Z", id="no fraction"),
        pytest.param(MARCH_13 + 500_000, "2024-03-13T00:00:00.5Z", id="zeros cut"),
        pytest.param(MARCH_13 + 1, "2024-03-13T00:00:00.000001Z", id="a microsecond"),
        pytest.param(MARCH_13 + 10 * SECOND, "2024-03-13T00:00:10Z", id="zeros of the seconds stay"),
        pytest.param(-1, "1969-12-31T23:59:59.999999Z", id="before the epoch"),
        pytest.param(ZERO_TIME, "0001-01-01T00:00:00Z", id="the first"),
        pytest.param(END_OF_TIME, "9999-12-31T23:59:59.999999Z", id="the end of time"),
    ],
)
def test_instant_is_printed(instant: int, text: str) -> None:
    assert format_instant(instant) == text


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        pytest.param(MARCH_13, "2024-03-13T00:00:00.000000Z", id="no fraction"),
        pytest.param(MARCH_13 + 500_000, "2024-03-13T00:00:00.500000Z", id="a fraction"),
        pytest.param(ZERO_TIME, "0001-01-01T00:00:00.000000Z", id="the first"),
        pytest.param(END_OF_TIME - 1, "9999-12-31T23:59:59.999999Z", id="the last"),
    ],
)
def test_key_has_a_fixed_width(instant: int, text: str) -> None:
    assert key_instant(instant) == text
    assert parse_key_instant(text) == instant


@pytest.mark.parametrize("instant", [ZERO_TIME - 1, END_OF_TIME], ids=["before time", "after time"])
def test_no_key_outside_time(instant: int) -> None:
    with pytest.raises(OverflowError):
        key_instant(instant)


@pytest.mark.parametrize(
    "text",
    [
        "2024-03-13T00:00:00Z",
        "2024-03-13T00:00:00.000000+00:00",
        "2024-03-13T00:00:00.0000000Z",
        "2024-02-30T00:00:00.000000Z",
    ],
    ids=["no fraction", "an offset", "seven digits", "no such day"],
)
def test_key_is_read_strictly(text: str) -> None:
    with pytest.raises(InvalidInstantError):
        parse_key_instant(text)

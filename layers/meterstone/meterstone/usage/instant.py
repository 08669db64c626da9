"""Instants: whole microseconds since the Unix epoch, UTC, as `int`.

An int is exact, compares and adds in one step, and needs no time zone. Instants are text at the edges only: RFC
3339 for people and programs, and a form of fixed width where the database sorts by it.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

ZERO_TIME: Final = -62_135_596_800 * SECOND
"""0001-01-01T00:00:00Z: the first instant there is. On the wire it stands for "not given"."""

END_OF_TIME: Final = 253_402_300_800 * SECOND
"""The exclusive end of the year 9999. Every instant lies in `[ZERO_TIME, END_OF_TIME)`."""

LONGEST_TEXT: Final = 64

#: Few different starts of billing periods are in many keys.
_REMEMBERED = 1024

# Hours, minutes and offsets are bounded here, so that no version of the standard parser can widen them
# (24:00, say).
_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d"
_RFC_3339 = re.compile(
    rf"(\d{{4}}-\d\d-\d\d[Tt ]{_CLOCK}:[0-5]\d(?:\.\d+)?)(?:[Zz]|([+-]{_CLOCK}))?",
    re.ASCII,
)
_KEY = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


class InvalidInstantError(ValueError):
    """The text is not an RFC 3339 date and time that exists in the years 1 to 9999, UTC."""


def parse_instant(text: str) -> int:
    """Read an RFC 3339 date and time, to the microsecond; further digits are cut. Without an offset it is UTC.

    `T`, `t` or a space may stand between the date and the time; `z` may stand for `Z`. Raises
    `InvalidInstantError` for anything else: a bare date, a day or time that does not exist (leap seconds too),
    more than 64 characters, and a text whose instant in UTC lies outside the years 1 to 9999.

    >>> parse_instant("1970-01-01T02:00:00.0000019+02:00")
    1
    """
    if len(text) > LONGEST_TEXT or (match := _RFC_3339.fullmatch(text)) is None:
        raise InvalidInstantError("not an RFC 3339 date and time")
    local, offset = match.groups()
    try:
        moment = datetime.fromisoformat(local + (offset or "+00:00"))
    except ValueError as error:
        raise InvalidInstantError("no such day") from error
    # A difference of two datetimes cannot overflow, where shifting one of them to UTC can.
    instant = microseconds(moment - EPOCH)
    if not ZERO_TIME <= instant < END_OF_TIME:
        raise InvalidInstantError("outside the years 1 to 9999")
    return instant


def format_instant(instant: int) -> str:
    """Return an instant as RFC 3339 text in UTC; with a fraction only if there is one, without trailing zeros.

    `END_OF_TIME`, which can only be the end of something, is returned as the last microsecond before it.

    >>> format_instant(1_500_000)
    '1970-01-01T00:00:01.5Z'
    """
    text = key_instant(min(instant, END_OF_TIME - 1))
    return text[:-1].rstrip("0").rstrip(".") + "Z"


@lru_cache(_REMEMBERED)
def key_instant(instant: int) -> str:
    """Return an instant as text of 27 characters that sorts as the instants do.

    Raises `OverflowError` outside `[ZERO_TIME, END_OF_TIME)`.

    >>> key_instant(0)
    '1970-01-01T00:00:00.000000Z'
    """
    moment = EPOCH + timedelta(microseconds=instant)
    return moment.isoformat(timespec="microseconds")[:26] + "Z"


def parse_key_instant(text: str) -> int:
    """Read a text of `key_instant`. Raises `InvalidInstantError` for any other text."""
    if _KEY.fullmatch(text) is None:
        raise InvalidInstantError("not an instant of a key")
    return parse_instant(text)


def microseconds(duration: timedelta) -> int:
    """Return the microseconds of a duration, exactly (`total_seconds` is a float).

    >>> microseconds(timedelta(days=1, microseconds=1))
    86400000001
    """
    return duration.days * DAY + duration.seconds * SECOND + duration.microseconds


def utc_midnight(day: int) -> int:
    """Return the start of a day in UTC.

    >>> format_instant(utc_midnight(738000))
    '2021-07-29T00:00:00Z'
    """
    return (day - EPOCH.toordinal()) * DAY

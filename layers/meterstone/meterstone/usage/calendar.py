"""The calendar: days, hours and buckets of an IANA time zone, over instants that are ints.

A day is named by its ordinal, `date.toordinal()`: an int that adds and compares. Day *d* is the stretch
`[day_start(d), day_start(d + 1))`, so that days partition time whatever the clocks do:

- If a change of clocks skips midnight, the day begins at the first instant after the gap.
- If a zone skips a whole day (Pacific/Apia, 30 December 2011), that day has no length, and no instant.
- If clocks are set back over midnight (America/St_Johns at 00:01, until 2011), the day that has begun goes on.

The first day of the year 1 includes all earlier hours, the last day of the year 9999 all later ones. So a day can
always be printed.
"""

import re
import zoneinfo
from collections.abc import Callable
from datetime import MAXYEAR, MINYEAR, date, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import cache
from typing import Final, assert_never

from meterstone.usage.instant import DAY, END_OF_TIME, EPOCH, HOUR, MINUTE, SECOND, ZERO_TIME, microseconds

# Days, and so amounts, must not depend on the machine. The operating system's database of time zones differs
# between a laptop, a container and Lambda, and changes without a deployment. With no path to search, zoneinfo
# reads the pinned `tzdata`.
zoneinfo.reset_tzpath(to=())

FIRST_DAY: Final = date.min.toordinal()
LAST_DAY: Final = date.max.toordinal()
EPOCH_DAY: Final = EPOCH.toordinal()

_ZONE_NAME = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,2}", re.ASCII)
_DAYS_REMEMBERED = 4096


class UnknownZoneError(ValueError):
    """No such time zone in the IANA database."""


class Granularity(StrEnum):
    """How long the calendar buckets of the analytics are. The values are Lago's `time_granularity`."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


class BucketSize(StrEnum):
    """How long the buckets of a bucketed meter are. The values are Flexprice's window sizes."""

    MINUTE = "MINUTE"
    FIFTEEN_MINUTES = "15MIN"
    THIRTY_MINUTES = "30MIN"
    HOUR = "HOUR"
    THREE_HOURS = "3HOUR"
    SIX_HOURS = "6HOUR"
    TWELVE_HOURS = "12HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"


class Zone:
    """The clock of one IANA time zone. Obtain it from `zone`, which keeps one of each name.

    A *wall time* is what the zone's clock shows, as microseconds since its 1970-01-01T00:00.
    """

    __slots__ = ("_buckets", "_info", "_other_day", "_starts", "_today", "name")

    def __init__(self, name: str, info: tzinfo) -> None:
        """Wrap `info`, whose name in the database is `name`."""
        self.name = name
        self._info = info
        self._starts: dict[int, int] = {}
        self._today = self._other_day = (0, 0, 0)
        self._buckets: dict[BucketSize, tuple[int, int]] = {}

    def __repr__(self) -> str:
        """Show the zone by its name."""
        return f"Zone({self.name!r})"

    def day_of(self, instant: int) -> int:
        """Return the day that holds an instant. The last two days are remembered: events come nearly in order."""
        start, end, day = self._today
        if start <= instant < end:
            return day
        return self._turn_to(instant)[2]

    def day_start(self, day: int) -> int:
        """Return the earliest instant at which the zone's date is `day` or later."""
        if day <= FIRST_DAY:
            return ZERO_TIME
        if day > LAST_DAY:
            return END_OF_TIME
        start = self._starts.get(day)
        if start is None:
            if len(self._starts) >= _DAYS_REMEMBERED:
                self._starts.clear()
            start = self._starts[day] = self.first((day - EPOCH_DAY) * DAY)
        return start

    def day_bounds(self, day: int) -> tuple[int, int]:
        """Return a day's start and its exclusive end. Both are equal for a day that the zone skipped."""
        return self.day_start(day), self.day_start(day + 1)

    def hour_of(self, instant: int) -> tuple[int, int]:
        """Return the day that holds an instant, and the number of the hour of that day, from 0.

        Hours are counted from the day's first instant. They are not the hours that the clock shows, and never
        repeat. Most days have 24 hours, a day with a change of clocks usually has 23 or 25. The last hour of a day
        may be shorter.
        """
        start, end, day = self._today
        if not start <= instant < end:
            start, _, day = self._turn_to(instant)
        return day, (instant - start) // HOUR

    def hours(self, day: int) -> int:
        """Return the number of a day's hours. A last hour that is shorter counts as one."""
        start, end = self.day_bounds(day)
        return -((start - end) // HOUR)

    def hour_bounds(self, day: int, hour: int) -> tuple[int, int]:
        """Return the bounds, end exclusive, of an hour. Raises `ValueError` if the day has no such hour."""
        start, end = self.day_bounds(day)
        begin = start + hour * HOUR
        if not start <= begin < end:
            raise ValueError(f"day {day} has no hour {hour} in {self.name}")
        return begin, min(begin + HOUR, end)

    def local(self, instant: int) -> datetime:
        """Return the naive date and time that the clock shows, cut to the years that a `datetime` has."""
        wall = min(max(self.wall(instant), ZERO_TIME), END_OF_TIME - 1)
        return (EPOCH + timedelta(microseconds=wall)).replace(tzinfo=None)

    def instant(self, local: datetime) -> int:
        """Return the instant at which the clock shows a naive date and time.

        A time that the clock skips moves forward by the gap. Of a time that it shows twice, the first counts.
        """
        return self.at_wall(microseconds(local.replace(tzinfo=EPOCH.tzinfo) - EPOCH))

    def offset(self, instant: int) -> int:
        """Return how far the clock is ahead of UTC at an instant, in microseconds."""
        # Within a day of the calendar's ends the shifted datetime would overflow; no zone changes there.
        safe = min(max(instant, ZERO_TIME + DAY), END_OF_TIME - DAY)
        shifted = (EPOCH + timedelta(microseconds=safe)).astimezone(self._info)
        return microseconds(shifted.utcoffset() or timedelta())

    def wall(self, instant: int) -> int:
        """Return the wall time of an instant; it may lie up to a day outside the years 1 to 9999."""
        return instant + self.offset(instant)

    def at_wall(self, wall: int) -> int:
        """Return the instant of a wall time, by the rule of `instant`, cut to the years 1 to 9999."""
        return _within_time(wall - self._offset_at_wall(wall, fold=0))

    def first(self, wall: int) -> int:
        """Return the earliest instant at which the clock shows `wall` or later, cut to the years 1 to 9999."""
        before = self._offset_at_wall(wall, fold=0)
        after = self._offset_at_wall(wall, fold=1)
        if after <= before:
            return _within_time(wall - before)
        # The clock skips this time (PEP 495: the offset of fold 1 is then the larger one). The jump lies between
        # the two instants.
        return _within_time(_bisect(wall - after, wall - before, lambda at: self.wall(at) >= wall))

    def bucket(self, size: BucketSize, instant: int) -> tuple[int, int]:
        """Return `bucket_bounds`, remembering the last bucket of each size."""
        bounds = self._buckets.get(size)
        if bounds is None or not bounds[0] <= instant < bounds[1]:
            bounds = self._buckets[size] = _find_bucket(size, instant, self)
        return bounds

    def _offset_at_wall(self, wall: int, fold: int) -> int:
        safe = min(max(wall, ZERO_TIME + DAY), END_OF_TIME - DAY)
        shown = (EPOCH + timedelta(microseconds=safe)).replace(tzinfo=self._info, fold=fold)
        return microseconds(shown.utcoffset() or timedelta())

    def _turn_to(self, instant: int) -> tuple[int, int, int]:
        self._today, self._other_day = self._other_day, self._today
        if self._today[0] <= instant < self._today[1]:
            return self._today
        shown = self.wall(instant) // DAY + EPOCH_DAY
        day = min(max(shown, FIRST_DAY), LAST_DAY)
        # After clocks are set back over midnight, they show the day before, which is over.
        while day < LAST_DAY and instant >= self.day_start(day + 1):
            day += 1
        today = self._today = (*self.day_bounds(day), day)
        return today


@cache
def zone(name: str) -> Zone:
    """Return the zone of an IANA name, such as `Europe/Berlin` or `UTC`. Raises `UnknownZoneError`."""
    if _ZONE_NAME.fullmatch(name) is None:
        raise UnknownZoneError("not the name of a time zone")
    try:
        # Not the cached constructor: its instances may have been read before the path was emptied.
        info = zoneinfo.ZoneInfo.no_cache(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnknownZoneError(f"no time zone is called {name}") from error
    return Zone(name, info)


def bucket_bounds(size: BucketSize, instant: int, zone: Zone) -> tuple[int, int]:
    """Return the bucket that holds an instant on the zone's calendar, as its start and its exclusive end.

    Buckets of one size partition time. A bucket shorter than a day never crosses a day's start.

    - Up to an hour: buckets follow the clock and end where it is changed. An hour that the clock shows twice is
      two buckets.
    - 3, 6 and 12 hours: a bucket begins when the clock first shows its hour. It is longer or shorter on a day on
      which the clock is changed.
    - Weeks begin on Monday. Months are calendar months.
    """
    return zone.bucket(size, instant)


def granularity_bounds(granularity: Granularity, day: int) -> tuple[int, int]:
    """Return the first and the last day, both included, of the calendar bucket that holds a day.

    The last week ends on 9999-12-31, the last day that a `date` can hold.

    >>> bounds = granularity_bounds(Granularity.MONTHLY, date(2024, 2, 10).toordinal())
    >>> [date.fromordinal(day).isoformat() for day in bounds]
    ['2024-02-01', '2024-02-29']
    """
    match granularity:
        case Granularity.DAILY:
            return day, day
        case Granularity.WEEKLY:
            monday = week_start(day)
            return monday, min(monday + 6, LAST_DAY)
        case Granularity.MONTHLY:
            month = month_of(day)
            return month_start(month), month_start(month + 1) - 1
        case Granularity.YEARLY:
            january = month_of(day) // 12 * 12
            return month_start(january), month_start(january + 12) - 1
        case _:
            assert_never(granularity)


def week_start(day: int) -> int:
    """Return the Monday of a day's week.

    >>> date.fromordinal(week_start(date(2024, 3, 1).toordinal()))
    datetime.date(2024, 2, 26)
    """
    return day - (day - FIRST_DAY) % 7  # 0001-01-01 is a Monday.


def month_of(day: int) -> int:
    """Return the number of a day's month: twelve times the year, plus 0 for January to 11 for December.

    >>> month_of(date(2024, 3, 1).toordinal()) == 2024 * 12 + 2
    True
    """
    shown = date.fromordinal(day)
    return shown.year * 12 + shown.month - 1


def month_start(month: int) -> int:
    """Return the first day of the month of a number; beyond the years 1 to 9999, the calendar's end.

    >>> date.fromordinal(month_start(2024 * 12 + 2))
    datetime.date(2024, 3, 1)
    """
    year, index = divmod(month, 12)
    if year < MINYEAR:
        return FIRST_DAY
    if year > MAXYEAR:
        return LAST_DAY + 1
    return date(year, index + 1, 1).toordinal()


def _find_bucket(size: BucketSize, instant: int, zone: Zone) -> tuple[int, int]:
    match size:
        case BucketSize.MINUTE | BucketSize.FIFTEEN_MINUTES | BucketSize.THIRTY_MINUTES | BucketSize.HOUR:
            return _clock_bucket(_LENGTHS[size], instant, zone)
        case BucketSize.THREE_HOURS | BucketSize.SIX_HOURS | BucketSize.TWELVE_HOURS:
            return _hours_bucket(_LENGTHS[size], instant, zone)
        case BucketSize.DAY:
            return zone.day_bounds(zone.day_of(instant))
        case BucketSize.WEEK:
            monday = week_start(zone.day_of(instant))
            return zone.day_start(monday), zone.day_start(monday + 7)
        case BucketSize.MONTH:
            month = month_of(zone.day_of(instant))
            return zone.day_start(month_start(month)), zone.day_start(month_start(month + 1))
        case _:
            assert_never(size)


def _clock_bucket(length: int, instant: int, zone: Zone) -> tuple[int, int]:
    offset = zone.offset(instant)
    start = (instant + offset) // length * length - offset
    end = start + length
    if zone.offset(start) != offset:
        start = _bisect(start, instant, lambda at: zone.offset(at) == offset)
    if zone.offset(end - 1) != offset:
        end = _bisect(instant, end - 1, lambda at: zone.offset(at) != offset)
    return _within_time(start), _within_time(end)


def _hours_bucket(length: int, instant: int, zone: Zone) -> tuple[int, int]:
    shown = zone.wall(instant) // length * length
    while (end := zone.first(shown + length)) <= instant:
        shown += length
    return zone.first(shown), end


def _bisect(low: int, high: int, reached: Callable[[int], bool]) -> int:
    """Return the first instant in `(low, high]` at which `reached` holds.

    Clocks change on whole seconds, and no zone's clock changes twice within a week. So between two instants less
    than a day apart there is at most one change.
    """
    low, high = low // SECOND, -(-high // SECOND)
    while high - low > 1:
        middle = (low + high) // 2
        if reached(middle * SECOND):
            high = middle
        else:
            low = middle
    return high * SECOND


def _within_time(instant: int) -> int:
    return min(max(instant, ZERO_TIME), END_OF_TIME)


_LENGTHS: Final = {
    BucketSize.MINUTE: MINUTE,
    BucketSize.FIFTEEN_MINUTES: 15 * MINUTE,
    BucketSize.THIRTY_MINUTES: 30 * MINUTE,
    BucketSize.HOUR: HOUR,
    BucketSize.THREE_HOURS: 3 * HOUR,
    BucketSize.SIX_HOURS: 6 * HOUR,
    BucketSize.TWELVE_HOURS: 12 * HOUR,
}

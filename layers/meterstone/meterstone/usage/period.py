"""Billing periods: how a subscription's span is divided into stretches that are billed one by one.

Every boundary is computed from an origin and the boundary's number, never from the boundary before it. The origin
is the calendar unit that holds the start, or the anchor. So 31 January is followed by 28 February, and 28 February
by 31 March.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from functools import total_ordering
from typing import Self, assert_never

from meterstone.usage.calendar import (
    EPOCH_DAY,
    FIRST_DAY,
    LAST_DAY,
    Zone,
    month_of,
    month_start,
    week_start,
    zone,
)
from meterstone.usage.instant import DAY, END_OF_TIME, ZERO_TIME


class BillingPeriod(StrEnum):
    """The unit of which `Cadence.count` make one billing period. The values are Flexprice's."""

    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    HALF_YEARLY = "HALF_YEARLY"
    ANNUAL = "ANNUAL"
    ONETIME = "ONETIME"


class BillingCycle(StrEnum):
    """Whether periods begin with the calendar's units or on the anniversaries of the anchor."""

    CALENDAR = "calendar"
    ANNIVERSARY = "anniversary"


@total_ordering
@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of time `[start, end)`, in instants; `end` is None if it never ends. Compared by start, then end.

    A subscription may begin or end inside a billing period. `before` and `after` say how much of the period the
    subscription's span cut off at either side, in microseconds.
    """

    start: int
    end: int | None
    before: int = field(default=0, compare=False)
    after: int = field(default=0, compare=False)

    @property
    def whole_start(self) -> int:
        """Where the period would begin if the subscription had begun earlier."""
        return self.start - self.before

    @property
    def whole_end(self) -> int | None:
        """Where the period would end if the subscription went on; None if it never ends."""
        return None if self.end is None else self.end + self.after

    @property
    def whole_length(self) -> int:
        """The length of the whole period, uncut, in microseconds; 0 if it never ends."""
        return 0 if self.end is None else self.end + self.after - self.whole_start

    def __contains__(self, instant: int) -> bool:
        """Return whether the period holds an instant."""
        return self.start <= instant and (self.end is None or instant < self.end)

    def __lt__(self, other: "Period") -> bool:
        """Compare by start, then by end. A period that never ends comes after all others of the same start."""
        return (self.start, self.end is None, self.end or 0) < (
            other.start,
            other.end is None,
            other.end or 0,
        )


class _Memory:
    """The last period found. It is no field of the dataclass, so that it is neither compared nor stored."""

    __slots__ = ("_last",)
    _last: Period


@dataclass(frozen=True, slots=True)
class Cadence(_Memory):
    """How often a subscription or a price is billed, over a subscription's span `[start, end)`.

    With the calendar cycle, periods of `count` units run from the unit that holds `start`: days, weeks from
    Monday, months, quarters from January, April, July and October, half years from January and July, years.

    With the anniversary cycle, a period begins on the anchor's day, when the clock of the time zone `zone` shows
    the anchor's time of day. In a month without that day it begins on the last day. The anchor may lie before or
    after the start. A time that the clock skips moves forward by the gap. Of a time that the clock shows twice,
    the first counts.

    The first period begins at `start` and the last ends at `end`, however short that makes them. A period knows
    how much of it is cut off. A one-time period is the span itself, and is never cut.

    Raises `ValueError` if `count` is below 1 or `end` before `start`, and `UnknownZoneError`.
    """

    period: BillingPeriod
    count: int
    cycle: BillingCycle
    anchor: int
    zone: str
    start: int
    end: int | None

    def __post_init__(self) -> None:
        """Check what the types cannot."""
        if self.count < 1:
            raise ValueError("a billing period has at least one unit")
        if self.end is not None and self.end < self.start:
            raise ValueError("the end lies before the start")
        zone(self.zone)
        object.__setattr__(self, "_last", Period(self.start, self.start))

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        """Copy and pickle through the constructor, which sets the last period found."""
        fields = (self.period, self.count, self.cycle, self.anchor, self.zone, self.start, self.end)
        return type(self), fields

    @property
    def code(self) -> str:
        """The unit and the count as a short text for keys, such as `MONTHLY.1`."""
        return f"{self.period}.{self.count}"

    def period_at(self, instant: int) -> Period:
        """Return the billing period that holds an instant, cut to the span.

        Before the start that is the first period; at the end or after it, the last. The last period found is
        remembered, since events mostly come in order.
        """
        last = self._last
        if last.start <= instant and (last.end is None or instant < last.end):
            return last
        found = self._find(instant)
        object.__setattr__(self, "_last", found)
        return found

    def next(self, period: Period) -> Period | None:
        """Return the billing period after `period`, which is one of this cadence; None after the last."""
        last = END_OF_TIME if self.end is None else self.end
        if period.end is None or period.end >= last:
            return None
        return self.period_at(period.end)

    def periods(self, from_: int, to: int) -> Iterator[Period]:
        """Yield all billing periods that meet `[from_, to)`, in order."""
        begin = max(from_, self.start)
        end = to if self.end is None else min(to, self.end)
        period = self.period_at(begin) if begin < end else None
        while period is not None:
            yield period
            # A period that begins at the end of the search is not looked up: it would replace the one remembered.
            beyond = period.end is None or period.end >= end
            period = None if beyond else self.next(period)

    def number_of(self, instant: int) -> int:
        """Return the number of the period that holds an instant; the first is 0. No period is walked through."""
        if self._is_undivided:
            return 0
        inside = self._inside(instant)
        return self._numbered_bounds(inside)[0] - self._numbered_bounds(self.start)[0]

    def numbered(self, number: int) -> Period | None:
        """Return the period of a number that `number_of` returns, or a lower one.

        None if no instant is in the period: a zone may leave out a whole day, as Samoa did in 2011.
        """
        if self._is_undivided:
            return Period(self.start, self.end)
        number += self._numbered_bounds(self.start)[0]
        start, end = self._bound(number), self._bound(number + 1)
        return self._cut(start, end) if start < end else None

    @property
    def _is_undivided(self) -> bool:
        return self.period is BillingPeriod.ONETIME or self.start == self.end

    def _find(self, instant: int) -> Period:
        if self._is_undivided:
            return Period(self.start, self.end)
        _, start, end = self._numbered_bounds(self._inside(instant))
        return self._cut(start, end)

    def _inside(self, instant: int) -> int:
        last = END_OF_TIME if self.end is None else self.end
        return min(max(instant, self.start), last - 1)

    def _cut(self, start: int, end: int) -> Period:
        last = END_OF_TIME if self.end is None else self.end
        cut_start, cut_end = max(start, self.start), min(end, last)
        return Period(cut_start, cut_end, before=cut_start - start, after=end - cut_end)

    def _numbered_bounds(self, instant: int) -> tuple[int, int, int]:
        """Return the bounds, uncut, of the period that holds an instant, after its number from the origin."""
        match self.cycle:
            case BillingCycle.CALENDAR:
                return self._calendar_bounds(instant)
            case BillingCycle.ANNIVERSARY:
                return self._anniversary_bounds(instant)
            case _:
                assert_never(self.cycle)

    def _bound(self, number: int) -> int:
        """Return where the period of a number, from the origin, begins if nothing cuts it."""
        clock = zone(self.zone)
        match self.cycle:
            case BillingCycle.CALENDAR:
                return self._calendar_start(clock, number)
            case BillingCycle.ANNIVERSARY:
                return self._anniversary(clock, clock.wall(self.anchor), number)
            case _:
                assert_never(self.cycle)

    def _calendar_bounds(self, instant: int) -> tuple[int, int, int]:
        clock = zone(self.zone)
        day, (days, months) = clock.day_of(instant), self._step()
        origin = self._calendar_origin(clock, days, months)
        if days:
            number = (day - origin) // days
            start = origin + number * days
            return number, clock.day_start(start), clock.day_start(start + days)
        number = (month_of(day) - origin) // months
        start = origin + number * months
        return number, clock.day_start(month_start(start)), clock.day_start(month_start(start + months))

    def _calendar_start(self, clock: Zone, number: int) -> int:
        days, months = self._step()
        origin = self._calendar_origin(clock, days, months)
        return clock.day_start(origin + number * days if days else month_start(origin + number * months))

    def _calendar_origin(self, clock: Zone, days: int, months: int) -> int:
        """Return the day, or the month, with which the unit begins that holds the start."""
        first = clock.day_of(self.start)
        if days:
            return first if self.period is BillingPeriod.DAILY else week_start(first)
        unit = months // self.count
        return month_of(first) // unit * unit

    def _anniversary_bounds(self, instant: int) -> tuple[int, int, int]:
        clock = zone(self.zone)
        anchor = clock.wall(self.anchor)
        days, months = self._step()
        if days:
            number = (clock.wall(instant) - anchor) // (days * DAY)
        else:
            number = (_month_of_wall(clock.wall(instant)) - _month_of_wall(anchor)) // months
        # The estimate ignores the time of day, short months and changes of clocks: it is off by one at most.
        while self._anniversary(clock, anchor, number) > instant:
            number -= 1
        while (end := self._anniversary(clock, anchor, number + 1)) <= instant:
            number += 1
        return number, self._anniversary(clock, anchor, number), end

    def _anniversary(self, clock: Zone, anchor: int, number: int) -> int:
        days, months = self._step()
        if days:
            return clock.at_wall(anchor + number * days * DAY)
        month = _month_of_wall(anchor) + number * months
        first, after = month_start(month), month_start(month + 1)
        if first == after:  # beyond the years 1 to 9999
            return ZERO_TIME if first == FIRST_DAY else END_OF_TIME
        day = min(first + date.fromordinal(_day_of_wall(anchor)).day, after) - 1
        return clock.at_wall((day - EPOCH_DAY) * DAY + anchor % DAY)

    def _step(self) -> tuple[int, int]:
        """Return the length of a period in days and in months; one of the two is 0."""
        match self.period:
            case BillingPeriod.DAILY:
                return self.count, 0
            case BillingPeriod.WEEKLY:
                return 7 * self.count, 0
            case BillingPeriod.MONTHLY:
                return 0, self.count
            case BillingPeriod.QUARTERLY:
                return 0, 3 * self.count
            case BillingPeriod.HALF_YEARLY:
                return 0, 6 * self.count
            case BillingPeriod.ANNUAL:
                return 0, 12 * self.count
            case BillingPeriod.ONETIME:
                raise ValueError("a one-time period is not divided")
            case _:
                assert_never(self.period)


def _day_of_wall(wall: int) -> int:
    return min(max(wall // DAY + EPOCH_DAY, FIRST_DAY), LAST_DAY)


def _month_of_wall(wall: int) -> int:
    return month_of(_day_of_wall(wall))

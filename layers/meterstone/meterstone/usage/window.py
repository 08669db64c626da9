"""Windows: which one a request asks for, and which stored parts make up a line item's share of it.

A whole day is read from its counter. Of a day that the window cuts, whole hours are read from the day's hours.
Of an hour that the window cuts, the events are read. The parts never overlap, so that every event in the window
counts once.
"""

from typing import NamedTuple

import msgspec

from meterstone.usage.charge import ChargePeriod
from meterstone.usage.instant import DAY
from meterstone.usage.period import Cadence
from meterstone.usage.state import traits
from meterstone.usage.subscription import LineItem, Span, Subscription


class Window(msgspec.Struct, frozen=True):
    """A half-open window of instants, in microseconds since the epoch.

    ``lifetime`` marks the window that a request asks for by that name. It is treated as no billing period, even
    where its bounds are those of one.
    """

    start: int
    end: int
    lifetime: bool = False

    @property
    def length(self) -> int:
        """The window's length in microseconds."""
        return self.end - self.start

    def divisor(self, cadence: Cadence) -> int:
        """Return the length by which a WEIGHTED_SUM of a line item with this cadence is divided.

        In general that is the length of the window. A window of exactly one or more billing periods is divided by
        the length of those periods, as if the subscription's span did not cut them. So a seat held for 10 days of
        January is 10/31 of a seat, whether the window begins with the month or with the subscription.
        """
        if self.lifetime or not self.length:
            return self.length
        first, last = cadence.period_at(self.start), cadence.period_at(self.end - 1)
        if last.whole_end is None:
            return self.length
        # Each bound is a period's own, or the one to which the span cuts it: the other may lie beyond the span.
        if self.start not in (first.start, first.whole_start) or self.end not in (last.end, last.whole_end):
            return self.length
        return last.whole_end - first.whole_start


def window_for(
    subscription: Subscription, start: int | None, end: int | None, *, lifetime: bool, now: int
) -> Window:
    """Return the window that a request asks for.

    ``lifetime`` is from the subscription's start until now, or until its end if it has ended. A bound that is not
    given is taken from the current billing period. If that bound is not on the right side of the given one, it is
    taken from the billing period that holds the given bound (for an end, the instant before it). The window is
    empty if the given end is not after the subscription's start, or the given start not before its end.
    """
    if lifetime:
        until = now if subscription.end is None else min(now, subscription.end)
        return Window(subscription.start, max(until, subscription.start), lifetime=True)
    if start is not None and end is not None:
        return Window(start, end)
    cadence = subscription.cadence()
    current = cadence.period_at(now)
    if start is not None:
        default = current.end
        if default is not None and default <= start:
            default = cadence.period_at(start).end
        return Window(start, max(start, now if default is None else default))
    if end is not None:
        default = current.start
        if default >= end:
            default = cadence.period_at(end - 1).start
        return Window(min(default, end), end)
    return Window(current.start, max(current.start, now if current.end is None else current.end))


class Days(NamedTuple):
    """Whole days of a charge's counter, from ``first`` to ``last``, both included."""

    charge: ChargePeriod
    first: int
    last: int


class PartialHour(NamedTuple):
    """The part ``[start, end)`` of one hour, or of one bucket, of a day."""

    day: int
    start: int
    end: int


class PartialDay(NamedTuple):
    """A day of a charge of which only the part ``[start, end)`` lies in the window."""

    charge: ChargePeriod
    day: int
    start: int
    end: int


class WindowPlan(msgspec.Struct, frozen=True):
    """The part ``[start, end)`` of a window in which a line item counts, divided into whole and partial days."""

    subscription: Subscription
    item: LineItem
    start: int
    end: int
    days: tuple[Days, ...]
    cut: tuple[PartialDay, ...]

    @property
    def empty(self) -> bool:
        """Whether the line item counts nothing in the window."""
        return self.start >= self.end


def latest_countable(now: int) -> int:
    """Return an instant after which nothing has been counted: an event is at most 5 minutes ahead of the clock."""
    return now + DAY


def plan_window(subscription: Subscription, item: LineItem, window: Window, now: int) -> WindowPlan:
    """Divide a line item's share of a window into the parts that are stored.

    The share of a WEIGHTED_SUM ends now at the latest, for it has accrued nothing beyond.
    """
    counted = subscription.counted(item)
    until = latest_countable(now)
    accrues = item.meter is not None and traits(item.meter).accrues
    end = min(window.end, now if accrues else until)
    if counted.end is not None:
        end = min(end, counted.end)
    start = max(window.start, counted.start)
    days: list[Days] = []
    cut: list[PartialDay] = []
    if start < end:
        for period in subscription.cadence(item).periods(start, end):
            charge = ChargePeriod(subscription, item, period, counted)
            begin, counted_end = charge.counted_span.start, charge.counted_span.end
            if counted_end is None:
                counted_end = until
            part = Span(max(start, begin), min(end, counted_end))
            _divide(charge, part, min(until, counted_end), days, cut)
    return WindowPlan(subscription, item, start, max(start, end), tuple(days), tuple(cut))


def _divide(
    charge: ChargePeriod, part: Span, counted_end: int, days: list[Days], cut: list[PartialDay]
) -> None:
    """Divide a part of a charge's counted span into ``days`` and ``cut``.

    ``counted_end`` is the end of the counted span, or an instant after which nothing was counted.
    """
    clock, begin, end = charge.zone, part.start, part.end
    if end is None:
        raise TypeError("a part of a window ends")
    first, last = clock.day_of(begin), clock.day_of(end - 1)
    if begin == charge.counted_span.start and end == counted_end:
        days.append(Days(charge, first, last))
        return
    first_is_cut = begin > max(clock.day_start(first), charge.counted_span.start)
    last_is_cut = end < min(clock.day_start(last + 1), counted_end)
    if first == last:
        if first_is_cut or last_is_cut:
            cut.append(PartialDay(charge, first, begin, end))
        else:
            days.append(Days(charge, first, last))
        return
    if first_is_cut:
        cut.append(PartialDay(charge, first, begin, clock.day_start(first + 1)))
    if last_is_cut:
        cut.append(PartialDay(charge, last, clock.day_start(last), end))
    inner = Days(charge, first + first_is_cut, last - last_is_cut)
    if inner.first <= inner.last:
        days.append(inner)


def hours_and_partial_hours(plan: WindowPlan, cut: PartialDay) -> tuple[list[int], list[PartialHour]]:
    """Divide a partial day into whole hours and partial hours.

    An hour is whole if everything that the line item can count in it lies in the window. The start and end of the
    billing period do not matter here: each billing period has hours of its own.
    """
    clock = cut.charge.zone
    counted = plan.subscription.counted(plan.item)
    whole: list[int] = []
    partial: list[PartialHour] = []
    _, first = clock.hour_of(cut.start)
    _, last = clock.hour_of(cut.end - 1)
    for hour in range(first, last + 1):
        start, end = clock.hour_bounds(cut.day, hour)
        countable_end = end if counted.end is None else min(end, counted.end)
        if cut.start <= max(start, counted.start) and countable_end <= cut.end:
            whole.append(hour)
        else:
            partial.append(PartialHour(cut.day, max(start, cut.start), min(end, cut.end)))
    return whole, partial

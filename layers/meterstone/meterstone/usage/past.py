"""Past billing periods: which have ended, latest first, and one page of them without looking at the others."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from meterstone.usage.subscription import Subscription
from meterstone.usage.window import Window


class PastPeriods(NamedTuple):
    """A page of billing periods that have ended, latest first, by subscription; and how many there are in all."""

    page: tuple[tuple[Subscription, tuple[Window, ...]], ...]
    total: int


def current(subscriptions: Iterable[Subscription], now: int) -> Subscription:
    """Return which of the subscriptions that share an external id is meant now; there is at least one.

    It is the one that runs, else the latest that has begun, else the first that will begin.
    """
    by_start = sorted(subscriptions, key=lambda each: (each.start, each.id))
    begun = [each for each in by_start if each.start <= now]
    running = [each for each in begun if each.span.holds(now)]
    return (running or begun or by_start[:1])[-1]


def past_periods(
    subscriptions: Iterable[Subscription], now: int, skip: int, most: int, within: int | None = None
) -> PastPeriods:
    """Return the billing periods that have ended by ``now``: ``most`` at most, after the ``skip`` latest.

    ``within`` is how many of the latest periods there are to be in all; None for no such limit. The time that this
    takes grows with ``most``, not with the number of periods.
    """
    latest_first = sorted(subscriptions, key=lambda each: (each.start, each.id), reverse=True)
    ended = [(each, _ended(each, now)) for each in latest_first]
    total = sum(count for _, count in ended)
    total = total if within is None else min(total, within)
    wanted = range(min(skip, total), min(skip + most, total))
    page: list[tuple[Subscription, tuple[Window, ...]]] = []
    begin = 0
    for subscription, count in ended:
        numbers = [begin + count - 1 - place for place in wanted if begin <= place < begin + count]
        if numbers:
            page.append((subscription, _windows(subscription, numbers)))
        begin += count
    return PastPeriods(tuple(page), total)


def _ended(subscription: Subscription, now: int) -> int:
    """Return how many billing periods of a subscription have ended."""
    if now <= subscription.start or subscription.start == subscription.end:
        return 0
    cadence = subscription.cadence()
    last = cadence.period_at(now)
    return cadence.number_of(now) + int(last.end is not None and last.end <= now)


def _windows(subscription: Subscription, numbers: Sequence[int]) -> tuple[Window, ...]:
    cadence = subscription.cadence()
    found = (cadence.numbered(number) for number in numbers)
    return tuple(Window(each.start, each.end) for each in found if each is not None and each.end is not None)

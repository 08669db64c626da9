"""Usage by calendar bucket, currency and metric: the query, and how days add up to the rows of its answer."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from itertools import chain, count, groupby
from typing import NamedTuple, assert_never

import msgspec

from meterstone.pricing.money import add
from meterstone.usage.calendar import (
    FIRST_DAY,
    LAST_DAY,
    Granularity,
    granularity_bounds,
    month_of,
    month_start,
    week_start,
)


class AnswerTooLargeError(Exception):
    """The answer to a query would have more rows than an answer may hold."""


class UsageQuery(msgspec.Struct, frozen=True):
    """A query: the usage of the days from `from_day` to `to_day`, both included, that passes every filter.

    Days are date ordinals. A filter that is None lets everything pass. `currency` is lower case,
    `customer_country` upper case.
    """

    granularity: Granularity
    from_day: int
    to_day: int
    currency: str | None = None
    customer_type: str | None = None
    external_customer_id: str | None = None
    customer_country: str | None = None
    external_subscription_id: str | None = None
    recurring: bool | None = None
    plan_code: str | None = None
    metric_code: str | None = None


type Units = Decimal | int
"""A quantity, exact. A whole one may be an int, which takes a third of a Decimal's time to make and to write."""


class DayUsage(msgspec.Struct, frozen=True, gc=False):
    """The usage of one metric on one day. Several of the same day, currency and code add up.

    `currency` is lower case. `amount_cents` is in the currency's minor unit.
    """

    day: int
    currency: str
    metric_code: str
    units: Units
    amount_cents: int


class MetricDays(msgspec.Struct, frozen=True, gc=False):
    """The usage of one metric, in one currency, on `first_day` and the days after it.

    It has the same as a list of `DayUsage`, and gives one. A year of a large organization has tens of thousands of
    days: `rows` adds them up without making an object for each. A day without usage has 0 units and 0 cents.
    """

    currency: str
    metric_code: str
    first_day: int
    units: Sequence[Units]
    amounts_cents: Sequence[int]

    def __iter__(self) -> Iterator[DayUsage]:
        """Yield the days that have usage."""
        for day, units, cents in self.worth():
            if units or cents:
                yield DayUsage(day, self.currency, self.metric_code, units, cents)

    def worth(self) -> Iterator[tuple[int, Units, int]]:
        """Yield each day with its units and its amount, days without usage too."""
        return zip(count(self.first_day), self.units, self.amounts_cents, strict=False)


class CountedDays(NamedTuple):
    """Some days of usage, as one stored item has them.

    `counted_until` is when the newest event that the item has counted came in, in microseconds since the epoch. It
    is 0 if that is not known: imported events have no such time.
    """

    counted_until: int
    days: Iterable[DayUsage]


class UsageRow(msgspec.Struct, frozen=True, gc=False):
    """A metric's usage in one calendar bucket, from `start_day` to `end_day`, both included, in one currency.

    `deleted` is true if no live metric has the code.
    """

    start_day: int
    end_day: int
    currency: str
    metric_code: str
    units: Units
    amount_cents: int
    deleted: bool


class UsageRows(NamedTuple):
    """The rows of an answer, and when the newest event counted in them came in (see `CountedDays`)."""

    rows: list[UsageRow]
    counted_until: int


def default_from_day(granularity: Granularity, to_day: int) -> int:
    """Return the first day of a query that names none.

    It is 30 days, 12 weeks, 12 months or 5 years before the last day, moved back to the start of its bucket.

    >>> date.fromordinal(default_from_day(Granularity.MONTHLY, date(2023, 11, 30).toordinal())).isoformat()
    '2022-11-01'
    """
    match granularity:
        case Granularity.DAILY:
            return max(to_day - 30, FIRST_DAY)
        case Granularity.WEEKLY:
            return week_start(max(to_day - 12 * 7, FIRST_DAY))
        case Granularity.MONTHLY:
            return month_start(month_of(to_day) - 12)
        case Granularity.YEARLY:
            return month_start((month_of(to_day) // 12 - 5) * 12)
        case _:
            assert_never(granularity)


def last_to_day(granularity: Granularity, from_day: int) -> int:
    """Return the last day that a query with a given first day may ask for.

    A query may span 400 days for daily buckets, 3 years for weekly, 10 years for monthly and 30 years for yearly
    buckets, the first and the last day included.

    >>> date.fromordinal(last_to_day(Granularity.WEEKLY, date(2020, 1, 1).toordinal())).isoformat()
    '2022-12-31'
    """
    match granularity:
        case Granularity.DAILY:
            return from_day + 400 - 1
        case Granularity.WEEKLY:
            return _years_after(from_day, 3) - 1
        case Granularity.MONTHLY:
            return _years_after(from_day, 10) - 1
        case Granularity.YEARLY:
            return _years_after(from_day, 30) - 1
        case _:
            assert_never(granularity)


def rows(
    items: Iterable[CountedDays], granularity: Granularity, deleted_codes: Container[str], most_rows: int
) -> UsageRows:
    """Add days up to one row for each bucket, currency and code, in that order. Rows of nothing are left out.

    Raises `AnswerTooLargeError` as soon as there are more than `most_rows`, before the rest of the days is read.
    """
    # By currency and code, then by the bucket's start.
    metrics: dict[tuple[str, str], dict[int, tuple[Units, int]]] = {}
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    latest = many = 0
    for counted_until, days in items:
        latest = max(latest, counted_until)
        for name, worth in _by_metric(days):
            buckets = metrics.setdefault(name, {})
            for day, units, cents in worth:
                if not units and not cents:
                    continue
                start = starts.get(day)
                if start is None:
                    start, end = granularity_bounds(granularity, day)
                    starts[day], ends[start] = start, end
                known = buckets.get(start)
                if known is None:
                    if many == most_rows:
                        raise AnswerTooLargeError(f"more than {most_rows} rows")
                    many += 1
                    buckets[start] = (units, cents)
                else:
                    buckets[start] = (_sum(known[0], units), known[1] + cents)
    return UsageRows(_in_order(metrics, ends, deleted_codes), latest)


def _by_metric(
    days: Iterable[DayUsage],
) -> Iterable[tuple[tuple[str, str], Iterable[tuple[int, Units, int]]]]:
    """Divide days into runs of one currency and code. Of each day of a run: the day, its units, its amount."""
    if isinstance(days, MetricDays):
        return [((days.currency, days.metric_code), days.worth())]
    return (
        (name, ((usage.day, usage.units, usage.amount_cents) for usage in run))
        for name, run in groupby(days, lambda usage: (usage.currency, usage.metric_code))
    )


def _sum(one: Units, other: Units) -> Units:
    # An operator would round a Decimal to 28 digits.
    return one + other if type(one) is type(other) is int else add(one, other)


def _in_order(
    metrics: Mapping[tuple[str, str], Mapping[int, tuple[Units, int]]],
    ends: Mapping[int, int],
    deleted_codes: Container[str],
) -> list[UsageRow]:
    """List rows by the bucket's start, currency and code.

    The metrics are gone through in order, so that no bucket has to be sorted.
    """
    by_start: dict[int, list[UsageRow]] = {start: [] for start in sorted(ends)}
    for (currency, code), buckets in sorted(metrics.items()):
        deleted = code in deleted_codes
        for start, (units, cents) in buckets.items():
            if units or cents:
                by_start[start].append(UsageRow(start, ends[start], currency, code, units, cents, deleted))
    return list(chain.from_iterable(by_start.values()))


def _years_after(day: int, years: int) -> int:
    """Return the same day of a later year, or 1 March for a missing 29 February, within the calendar."""
    shown = date.fromordinal(day)
    year = shown.year + years
    if year > date.max.year:
        return LAST_DAY + 1
    try:
        return shown.replace(year=year).toordinal()
    except ValueError:
        return date(year, 3, 1).toordinal()

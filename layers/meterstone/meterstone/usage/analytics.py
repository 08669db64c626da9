"""Usage by calendar bucket, currency and metric: the query, and how days add up to the rows of its answer."""

from collections.abc import Container, Iterable
from datetime import date
from decimal import Decimal
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


class DayUsage(msgspec.Struct, frozen=True, gc=False):
    """The usage of one metric on one day. Several of the same day, currency and code add up.

    `currency` is lower case. `amount_cents` is in the currency's minor unit. This is no tuple, since a year of a
    large organization has tens of thousands of days, and tuples take a third longer to list.
    """

    day: int
    currency: str
    metric_code: str
    units: Decimal
    amount_cents: int


class CountedDays(NamedTuple):
    """Some days of usage, as one stored item has them.

    `counted_until` is when the newest event that the item has counted came in, in microseconds since the epoch. It
    is 0 if that is not known: imported events have no such time.
    """

    counted_until: int
    days: Iterable[DayUsage]


class UsageRow(msgspec.Struct, frozen=True):
    """A metric's usage in one calendar bucket, from `start_day` to `end_day`, both included, in one currency.

    `deleted` is true if no live metric has the code.
    """

    start_day: int
    end_day: int
    currency: str
    metric_code: str
    units: Decimal
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
    # By the bucket's start, then by currency and code: sorting each bucket by itself takes less time.
    buckets: dict[int, dict[tuple[str, str], tuple[Decimal, int]]] = {}
    bucket_of_day: dict[int, dict[tuple[str, str], tuple[Decimal, int]]] = {}
    ends: dict[int, int] = {}
    latest = many = 0
    for counted_until, days in items:
        latest = max(latest, counted_until)
        for usage in days:
            units, amount_cents = usage.units, usage.amount_cents
            if not units and not amount_cents:
                continue
            bucket = bucket_of_day.get(usage.day)
            if bucket is None:
                start, end = granularity_bounds(granularity, usage.day)
                bucket = bucket_of_day[usage.day] = buckets.setdefault(start, {})
                ends[start] = end
            name = (usage.currency, usage.metric_code)
            known = bucket.get(name)
            if known is None:
                if many == most_rows:
                    raise AnswerTooLargeError(f"more than {most_rows} rows")
                many += 1
                bucket[name] = (units, amount_cents)
            else:
                bucket[name] = (add(known[0], units), known[1] + amount_cents)
    found = [
        UsageRow(start, ends[start], currency, code, units, amount_cents, code in deleted_codes)
        for start, bucket in sorted(buckets.items())
        for (currency, code), (units, amount_cents) in sorted(bucket.items())
        if units or amount_cents
    ]
    return UsageRows(found, latest)


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

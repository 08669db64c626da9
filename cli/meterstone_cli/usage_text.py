"""The usage of an organization as text: by currency, a row and a bar a calendar bucket, and a row a meter."""

from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from itertools import groupby

from meterstone.contracts.wording import grouped, money
from meterstone.pricing.currency import precision
from meterstone.pricing.money import ZERO, add
from meterstone.usage.analytics import UsageQuery, UsageRow, UsageRows
from meterstone.usage.calendar import Granularity, granularity_bounds
from meterstone.usage.subscription import Organization
from meterstone_cli.billing import freshness
from meterstone_cli.progress import printable
from meterstone_cli.screen import Column, Screen, chart, table, wrapped

#: The head of the first column, and how many characters of a day's text name the bucket that begins on it.
_BUCKETS = {
    Granularity.DAILY: ("day", 10),
    Granularity.WEEKLY: ("week from", 10),
    Granularity.MONTHLY: ("month", 7),
    Granularity.YEARLY: ("year", 4),
}


def usage_lines(
    organization: Organization, query: UsageQuery, filters: Sequence[str], found: UsageRows, screen: Screen
) -> Iterator[str]:
    """Return the lines of an answer."""
    name = organization.name or organization.id
    yield printable(
        f"{name}, {_iso(query.from_day)} to {_iso(query.to_day)}, days of {organization.timezone}"
    )
    if filters:
        yield printable("only " + ", ".join(filters))
    by_currency = sorted(found.rows, key=lambda row: row.currency)
    for currency, rows in groupby(by_currency, key=lambda row: row.currency):
        yield ""
        yield from _of_currency(currency, list(rows), query, screen)
    yield ""
    if not found.rows:
        yield "No usage."
    yield from wrapped(freshness(found.counted_until), screen)


def _of_currency(currency: str, rows: Sequence[UsageRow], query: UsageQuery, screen: Screen) -> Iterator[str]:
    codes = sorted({row.metric_code for row in rows})
    head, length = _BUCKETS[query.granularity]
    cents = dict.fromkeys(_buckets(query), 0)
    units = dict.fromkeys(cents, ZERO)
    for row in rows:
        cents[row.start_day] += row.amount_cents
        units[row.start_day] = add(units[row.start_day], row.units)
    columns = [Column(head), Column(currency.upper(), right=True)]
    # Quantities of different meters do not add up.
    one = len(codes) == 1
    if one:
        columns.insert(1, Column(printable(codes[0]), right=True))
    lines = [
        [_iso(day)[:length], *([grouped(units[day])] if one else []), _money(cents[day], currency)]
        for day in cents
    ]
    yield from chart(columns, lines, list(cents.values()), screen)
    yield ""
    yield from table(
        [Column("meter", cut=True), Column("quantity", right=True), Column(currency.upper(), right=True)],
        [
            *(_of_meter(code, rows, currency) for code in codes),
            ["total", "", _money(sum(cents.values()), currency)],
        ],
        screen,
    )


def _of_meter(code: str, rows: Sequence[UsageRow], currency: str) -> list[str]:
    own = [row for row in rows if row.metric_code == code]
    quantity = ZERO
    for row in own:
        quantity = add(quantity, row.units)
    deleted = " (deleted)" if own[0].deleted else ""
    return [
        printable(code) + deleted,
        grouped(quantity),
        _money(sum(row.amount_cents for row in own), currency),
    ]


def _buckets(query: UsageQuery) -> Iterator[int]:
    """Yield the first day of each bucket that the query's days meet, those without usage too."""
    day = query.from_day
    while day <= query.to_day:
        start, end = granularity_bounds(query.granularity, day)
        yield start
        day = end + 1


def _money(cents: int, currency: str) -> str:
    return money(Decimal(cents).scaleb(-precision(currency)), currency)


def _iso(day: int) -> str:
    return date.fromordinal(day).isoformat()

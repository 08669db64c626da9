"""How days add up to the rows of the analytics."""

from collections.abc import Container, Iterable
from datetime import date
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterstone.usage.analytics import (
    AnswerTooLargeError,
    CountedDays,
    DayUsage,
    MetricDays,
    UsageRow,
    default_from_day,
    last_to_day,
    rows,
)
from meterstone.usage.calendar import Granularity


def day(shown: str, units: str, cents: int, currency: str = "usd", code: str = "tokens") -> DayUsage:
    return DayUsage(date.fromisoformat(shown).toordinal(), currency, code, Decimal(units), cents)


def rows_of(
    days: Iterable[DayUsage], granularity: Granularity, deleted_codes: Container[str], most_rows: int
) -> list[UsageRow]:
    return rows([CountedDays(0, days)], granularity, deleted_codes, most_rows).rows


def shown(row: UsageRow) -> tuple[str, str, str, str, str, int]:
    start, end = date.fromordinal(row.start_day), date.fromordinal(row.end_day)
    return (
        start.isoformat(),
        end.isoformat(),
        row.currency,
        row.metric_code,
        str(row.units),
        row.amount_cents,
    )


DAYS = [
    day("2024-02-29", "1.5", 150),
    day("2024-03-01", "2", 200),
    day("2024-03-03", "4", 400),
    day("2024-03-04", "8", 800),
]


@pytest.mark.parametrize(
    ("granularity", "expected"),
    [
        pytest.param(
            Granularity.DAILY,
            [
                ("2024-02-29", "2024-02-29", "usd", "tokens", "1.5", 150),
                ("2024-03-01", "2024-03-01", "usd", "tokens", "2", 200),
                ("2024-03-03", "2024-03-03", "usd", "tokens", "4", 400),
                ("2024-03-04", "2024-03-04", "usd", "tokens", "8", 800),
            ],
            id="daily",
        ),
        pytest.param(
            Granularity.WEEKLY,
            [
                ("2024-02-26", "2024-03-03", "usd", "tokens", "7.5", 750),
                ("2024-03-04", "2024-03-10", "usd", "tokens", "8", 800),
            ],
            id="weekly, Monday to Sunday",
        ),
        pytest.param(
            Granularity.MONTHLY,
            [
                ("2024-02-01", "2024-02-29", "usd", "tokens", "1.5", 150),
                ("2024-03-01", "2024-03-31", "usd", "tokens", "14", 1400),
            ],
            id="monthly",
        ),
        pytest.param(
            Granularity.YEARLY,
            [("2024-01-01", "2024-12-31", "usd", "tokens", "15.5", 1550)],
            id="yearly",
        ),
    ],
)
def test_days_add_up_to_calendar_buckets(
    granularity: Granularity, expected: list[tuple[str, str, str, str, str, int]]
) -> None:
    assert [shown(row) for row in rows_of(DAYS, granularity, frozenset(), 100)] == expected


def test_rows_are_ordered_by_start_currency_and_code() -> None:
    days = [
        day("2024-01-02", "1", 1, "eur", "a"),
        day("2024-01-01", "1", 1, "usd", "a"),
        day("2024-01-01", "1", 1, "eur", "b"),
        day("2024-01-01", "1", 1, "eur", "a"),
    ]
    order = [shown(row)[:4:3] + shown(row)[2:3] for row in rows_of(days, Granularity.DAILY, frozenset(), 100)]
    assert order == [
        ("2024-01-01", "a", "eur"),
        ("2024-01-01", "b", "eur"),
        ("2024-01-01", "a", "usd"),
        ("2024-01-02", "a", "eur"),
    ]


@pytest.mark.parametrize(
    ("days", "kept"),
    [
        pytest.param([day("2024-01-01", "0", 0)], 0, id="nothing at all"),
        pytest.param([day("2024-01-01", "1", 5), day("2024-01-02", "-1", -5)], 0, id="taken back"),
        pytest.param([day("2024-01-01", "1", 0)], 1, id="units for nothing"),
        pytest.param([day("2024-01-01", "0", -5)], 1, id="an amount without units"),
    ],
)
def test_rows_of_nothing_are_left_out(days: list[DayUsage], kept: int) -> None:
    assert len(rows_of(days, Granularity.MONTHLY, frozenset(), 100)) == kept


def test_a_code_without_a_live_metric_is_deleted() -> None:
    days = [day("2024-01-01", "1", 1, code="old"), day("2024-01-01", "1", 1, code="new")]
    deleted = {row.metric_code: row.deleted for row in rows_of(days, Granularity.DAILY, {"old"}, 100)}
    assert deleted == {"old": True, "new": False}


@pytest.mark.parametrize(
    ("counted_until", "latest"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([0], 0, id="an import"),
        pytest.param([5, 7, 6], 7, id="the newest is not the last"),
        pytest.param([7, 0], 7, id="an import after an event"),
    ],
)
def test_rows_have_counted_until_the_newest_event_of_any_item(counted_until: list[int], latest: int) -> None:
    items = [CountedDays(each, [day("2024-01-01", "1", 1)]) for each in counted_until]
    assert rows(items, Granularity.DAILY, frozenset(), 1).counted_until == latest


def test_units_stay_exact() -> None:
    days = [
        day("2024-01-01", "999999999999999.000000000000001", 1),
        day("2024-01-01", "0.000000000000001", 1),
    ]
    assert rows_of(days, Granularity.DAILY, frozenset(), 1)[0].units == Decimal(
        "999999999999999.000000000000002"
    )


def test_as_many_rows_as_allowed_are_no_error() -> None:
    assert len(rows_of(DAYS, Granularity.DAILY, frozenset(), 4)) == 4
    with pytest.raises(AnswerTooLargeError):
        rows_of(DAYS, Granularity.DAILY, frozenset(), 3)


DAY_USAGES = st.builds(
    DayUsage,
    day=st.integers(1, date.max.toordinal()),
    currency=st.sampled_from(["usd", "jpy"]),
    metric_code=st.sampled_from(["a", "b"]),
    units=st.decimals(-1000, 1000, places=6),
    amount_cents=st.integers(-(10**6), 10**6),
)


@given(st.lists(DAY_USAGES, max_size=30), st.sampled_from(Granularity), st.randoms(use_true_random=False))
def test_nothing_is_lost_and_order_does_not_matter(
    days: list[DayUsage], granularity: Granularity, random: Random
) -> None:
    found = rows_of(days, granularity, frozenset(), 1000)
    assert sum(row.amount_cents for row in found) == sum(usage.amount_cents for usage in days)
    assert sum(row.units for row in found) == sum(usage.units for usage in days)
    assert all(row.start_day <= row.end_day for row in found)
    shuffled = list(days)
    random.shuffle(shuffled)
    assert rows_of(shuffled, granularity, frozenset(), 1000) == found


METRIC_DAYS = st.builds(
    lambda metric, first, worth: MetricDays(
        metric[0], metric[1], first, [units for units, _ in worth], [cents for _, cents in worth]
    ),
    metric=st.tuples(st.sampled_from(["usd", "jpy"]), st.sampled_from(["a", "b"])),
    first=st.integers(date(2024, 1, 20).toordinal(), date(2024, 3, 1).toordinal()),
    worth=st.lists(
        st.tuples(st.integers(-5, 10**30) | st.decimals(-1000, 1000, places=18), st.integers(-5, 10**6))
        | st.just((0, 0)),
        max_size=31,
    ),
)


@given(st.lists(METRIC_DAYS, max_size=6), st.sampled_from(Granularity))
def test_the_days_of_a_metric_add_up_as_those_of_a_list_do(
    runs: list[MetricDays], granularity: Granularity
) -> None:
    together = rows([CountedDays(0, run) for run in runs], granularity, {"a"}, 1000)
    one_by_one = rows([CountedDays(0, list(run)) for run in runs], granularity, {"a"}, 1000)
    in_decimals = rows_of(
        [
            DayUsage(each.day, each.currency, each.metric_code, Decimal(each.units), each.amount_cents)
            for run in runs
            for each in run
        ],
        granularity,
        {"a"},
        1000,
    )
    assert together.rows == one_by_one.rows == in_decimals


@pytest.mark.parametrize(
    ("granularity", "first", "last"),
    [
        pytest.param(Granularity.DAILY, "2022-01-01", "2023-02-04", id="400 days"),
        pytest.param(Granularity.WEEKLY, "2020-01-01", "2022-12-31", id="3 years"),
        pytest.param(Granularity.WEEKLY, "2020-02-29", "2023-02-28", id="3 years from a leap day"),
        pytest.param(Granularity.MONTHLY, "2014-05-17", "2024-05-16", id="10 years"),
        pytest.param(Granularity.YEARLY, "1994-01-01", "2023-12-31", id="30 years"),
    ],
)
def test_the_last_day_that_may_be_asked_for(granularity: Granularity, first: str, last: str) -> None:
    found = last_to_day(granularity, date.fromisoformat(first).toordinal())
    assert date.fromordinal(found).isoformat() == last


@pytest.mark.parametrize(
    ("granularity", "last", "first"),
    [
        pytest.param(Granularity.DAILY, "2024-03-30", "2024-02-29", id="30 days"),
        pytest.param(Granularity.WEEKLY, "2024-03-30", "2024-01-01", id="12 weeks, from a Monday"),
        pytest.param(Granularity.MONTHLY, "2023-11-30", "2022-11-01", id="12 months"),
        pytest.param(Granularity.YEARLY, "2023-11-30", "2018-01-01", id="5 years"),
    ],
)
def test_the_first_day_where_none_is_asked_for(granularity: Granularity, last: str, first: str) -> None:
    found = default_from_day(granularity, date.fromisoformat(last).toordinal())
    assert date.fromordinal(found).isoformat() == first

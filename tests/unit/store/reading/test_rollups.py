"""The rollups of a month: how those of several writers and customer types add up to days."""

from datetime import date
from decimal import Decimal

import pytest

from meterstone.store.catalogue.accounts import Account
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import key_item
from meterstone.store.reading.analytics import AnalyticsStore
from meterstone.usage.analytics import UsageQuery
from meterstone.usage.calendar import Granularity
from meterstone.usage.charge import Dimensions
from meterstone.usage.instant import utc_midnight
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.subscription import Organization
from support.memory_table import MemoryTable

METER = Meter("calls", "calls", "Calls", Aggregation.SUM, "call", field="n")
ACCOUNT = Account(Organization("org"), "1", (METER,))
FIRST = date(2024, 3, 1).toordinal()
NOW = utc_midnight(FIRST + 60)
LARGE = 10**29 + 1

type Rollup = tuple[str | None, int, dict[str, str]]


def counted(*rollups: Rollup, customer_type: str | None = None) -> tuple[int, dict[int, tuple[Decimal, int]]]:
    """Store rollups, by customer type and writer; give the newest event's time, and each day's units and cents."""
    table = MemoryTable()
    pk = keys.rollup_partition("org", "1", *keys.view_of(Dimensions(None, None, None)))
    for of_type, writer, numbers in rollups:
        key = Key(pk, keys.rollup("2024-03", "usd", METER.id, of_type, writer))
        table.put(key_item(key) | {name: {"N": value} for name, value in numbers.items()})
    query = UsageQuery(Granularity.DAILY, FIRST, FIRST + 30, customer_type=customer_type)
    (found,) = AnalyticsStore(table).daily_usage(ACCOUNT, query, NOW)
    days = {each.day - FIRST + 1: (Decimal(each.units), each.amount_cents) for each in found.days}
    return found.counted_until, days


@pytest.mark.parametrize(
    ("one", "other", "units", "cents"),
    [
        pytest.param({"u02": "3", "a02": "7"}, {"u02": "4", "a02": "5"}, "7", 12, id="whole"),
        pytest.param({"u02": "3"}, {"a02": "5"}, "3", 5, id="each brings a part"),
        pytest.param({"u02": "3"}, {"f02": "5" + "0" * 17}, "3.5", 0, id="a fraction"),
        pytest.param({"f02": "9" * 18}, {"f02": "1"}, "1", 0, id="fractions that make a whole"),
        pytest.param({"u02": "-3", "f02": "-5" + "0" * 17}, {"u02": "1"}, "-2.5", 0, id="usage that fell"),
        pytest.param({"u02": "2.25"}, {"u02": "1"}, "3.25", 0, id="stored as one number"),
        pytest.param({"u02": str(LARGE)}, {"u02": "0.5"}, f"{LARGE}.5", 0, id="of thirty digits and a half"),
    ],
)
def test_the_items_of_two_writers_add_up(
    one: dict[str, str], other: dict[str, str], units: str, cents: int
) -> None:
    for first, second in ((one, other), (other, one)):
        _, days = counted(("company", 0, first), ("company", 1, second))
        assert days == {2: (Decimal(units), cents)}


def test_days_that_only_one_writer_has_are_there() -> None:
    _, days = counted((None, 0, {"u01": "1"}), (None, 2, {"u31": "2", "a31": "9"}))
    assert days == {1: (Decimal(1), 0), 31: (Decimal(2), 9)}


def test_a_customer_type_s_items_are_added_up_without_those_of_others() -> None:
    rollups: tuple[Rollup, ...] = (
        ("company", 0, {"u05": "1", "acc": "10"}),
        ("company", 1, {"u05": "2", "acc": "30"}),
        ("individual", 0, {"u05": "4", "acc": "40"}),
        (None, 0, {"u05": "8", "acc": "20"}),
    )
    assert counted(*rollups) == (40, {5: (Decimal(15), 0)})
    assert counted(*rollups, customer_type="company") == (30, {5: (Decimal(3), 0)})

"""What a request reads does not grow with events, and an organization's not with subscriptions.

Usage is that of the benchmarks: every meter is used every day, by as many events as there are.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from benchmarks import world, year
from benchmarks.filling import fill_memory
from benchmarks.sizes import item_size, query_units

from meterstone.store.catalogue.accounts import Account
from meterstone.store.dynamodb.table import Table
from meterstone.store.reading.analytics import AnalyticsStore
from meterstone.store.reading.window import WindowStore
from meterstone.usage.analytics import UsageQuery
from meterstone.usage.calendar import Granularity
from meterstone.usage.instant import parse_instant
from meterstone.usage.measure import measure
from meterstone.usage.window import window_for
from support.memory_table import MemoryTable

SUBSCRIPTION = "sub_00003"
CUSTOMER = "customer_00003"
APRIL_FIRST, MAY_LAST = 739_342, 739_402
PAGE = 1_048_576

type Request = Callable[[Table, Account], object]


@cache
def filled(events: int, subscriptions: int) -> MemoryTable:
    everyone = [world.subscription(number) for number in range(subscriptions)]
    return fill_memory(everyone, events)


def items_read(table: MemoryTable, request: Request) -> int:
    """Count the items that a request reads when its account is known."""
    table.cost.reset()
    request(table, Account(world.ORGANIZATION, "1", world.METERS))
    return table.cost.items


def analytics(**filters: Any) -> Request:
    query = UsageQuery(Granularity.DAILY, APRIL_FIRST, MAY_LAST, **filters)
    return lambda table, account: list(AnalyticsStore(table).daily_usage(account, query, world.NOW))


def usage(start: str | None = None, end: str | None = None) -> Request:
    def read(table: Table, account: Account) -> None:
        store = WindowStore(table)
        subscription = store.subscription(account, SUBSCRIPTION)
        bounds = (None if each is None else parse_instant(each) for each in (start, end))
        window = window_for(subscription, *bounds, lifetime=False, now=world.NOW)
        measure(subscription, window, store.reader(account, subscription, world.NOW), world.NOW)

    return read


# Customers are of two types, each with items of its own.
ORGANIZATION = [
    pytest.param(analytics(), 2 * 8, id="two months of four metrics"),
    pytest.param(analytics(metric_code="tokens"), 2 * 8, id="one metric is picked from the same months"),
    pytest.param(analytics(customer_type="company"), 2 * 8, id="a type is picked from the same months"),
    pytest.param(analytics(plan_code="enterprise"), 2 * 8, id="a plan"),
]
ONE_SUBSCRIPTION = [
    # The customer's own item lies with those that name its subscriptions.
    pytest.param(analytics(external_customer_id=CUSTOMER), 1 + 1 + 1 + 8, id="its customer, two months"),
    pytest.param(usage(), 1 + 4, id="its current period"),
    pytest.param(usage("2025-05-10T00:00:00Z", "2025-05-20T00:00:00Z"), 1 + 4, id="a window of whole days"),
    pytest.param(
        usage("2025-05-10T09:00:00Z", "2025-05-20T17:00:00Z"), 1 + 4 + 8, id="a window of whole hours"
    ),
]


A_PLAN_IN_A_COUNTRY = analytics(plan_code="enterprise", customer_country="JP")


@pytest.mark.parametrize("events", [6000, 24_000])
def test_a_plan_in_a_country_stays_flat(events: int) -> None:
    """Its two subscriptions of 24 are of both types."""
    assert items_read(filled(events, 24), A_PLAN_IN_A_COUNTRY) == 2 * 8


@pytest.mark.parametrize("events", [2500, 10_000])
@pytest.mark.parametrize(("request_", "items"), ORGANIZATION + ONE_SUBSCRIPTION)
def test_reads_stay_flat_as_events_grow(request_: Request, items: int, events: int) -> None:
    assert items_read(filled(events, 8), request_) == items


@pytest.mark.parametrize("subscriptions", [8, 40])
@pytest.mark.parametrize(("request_", "items"), ORGANIZATION)
def test_an_organization_s_reads_stay_flat_as_subscriptions_grow(
    request_: Request, items: int, subscriptions: int
) -> None:
    assert items_read(filled(250 * subscriptions, subscriptions), request_) == items


def test_a_year_of_twenty_metrics_is_one_page() -> None:
    table = fill_memory(year.subscriptions(1), 365 * 20, meters=year.METERS, start=year.START)
    rollups = [
        item | {"pk": {"S": key.pk}, "sk": {"S": key.sk}}
        for key, item in table.items().items()
        if key.pk.endswith("#rollup#T")
    ]
    assert len(rollups) == 20 * 12
    assert sum(map(item_size, rollups)) < PAGE / 10
    assert query_units(rollups) < 15

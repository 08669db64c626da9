"""What a put costs in write units and reads, by DynamoDB's rules: as much at 1,000 subscriptions as at 10."""

from collections.abc import Callable, Mapping
from functools import cache
from math import ceil
from typing import Final, NamedTuple

import pytest
from benchmarks.sizes import item_size

from meterstone.catalogue.management import Management
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import key_item
from meterstone.usage.instant import format_instant
from support.managed import CALLS, OF_C, PRICE, PRO, WeighedTable, at, managed
from support.scenario import ORGANIZATION

SIGN_UP: Final = 12
"""The write units that a customer and a subscription to a plan may cost."""

#: A customer and a subscription as clients make them: UUIDs for ids, a name and a country.
CUSTOMER: Final = "4f5f4f7c-6a3e-4c8d-9d0e-0a6f3b1c2d3e"
SUBSCRIPTION: Final = "9b2f8d0a-1c4e-4a7b-8f6d-5e3c2b1a0f9e"
DORA: Final = {"name": "Dora Nansen AS", "country": "NO", "timezone": "Europe/Oslo"}
FOLLOWS: Final = {
    "customer": CUSTOMER,
    "external_id": "1c9d3e5f-7a8b-4c2d-9e0f-6b5a4d3c2e1f",
    "plan": "basic",
    "currency": "EUR",
    "start": "2026-03-01T00:00:00Z",
    "billing_cycle": "anniversary",
    "name": "Dora's",
}

type Change = Callable[[Management], object]


class Cost(NamedTuple):
    """The write units of a change, and the items that it reads."""

    units: int
    items: int


@cache
def of_many(count: int) -> WeighedTable:
    """Make a table of so many subscriptions, each of a customer of its own."""
    table = WeighedTable()
    management = managed(table)
    for number in range(count):
        management.put("customer", f"customer {number}", {})
        management.put("subscription", f"sub {number}", OF_C | {"customer": f"customer {number}"})
    management.put("subscription", "s", OF_C)
    return table


def cost_of(change: Change, count: int) -> Cost:
    table = WeighedTable()
    table._take(of_many(count))
    change(Management(table, ORGANIZATION.id, lambda: at(0)))
    return Cost(table.units, table.cost.items)


def put(kind: str, name: str, record: Mapping[str, object]) -> Change:
    return lambda it: it.put(kind, name, record)  # type: ignore[arg-type]


def sign_up(management: Management) -> None:
    management.put("customer", CUSTOMER, DORA)
    management.put("subscription", SUBSCRIPTION, FOLLOWS)


@pytest.mark.parametrize(
    ("change", "units"),
    [
        pytest.param(put("meter", "m", CALLS), 1, id="a meter"),
        pytest.param(put("price", "p", PRICE), 1, id="a price"),
        pytest.param(put("plan", "p", PRO), 2, id="a plan and its first version"),
        pytest.param(put("plan", "basic", PRO), 2, id="a plan's next version"),
        pytest.param(put("plan", "basic", {"prices": ["call", "seat"], "name": "x"}), 1, id="a plan's name"),
        pytest.param(put("customer", CUSTOMER, DORA), 2, id="a customer"),
        pytest.param(put("customer", "c", DORA), 1, id="a changed customer"),
        pytest.param(put("subscription", "t", OF_C), 9, id="a subscription"),
        pytest.param(put("subscription", "t", OF_C | {"plan": "pro"}), 11, id="the first one of a plan"),
        pytest.param(put("subscription", "s", OF_C | {"name": "x"}), 6, id="a changed subscription"),
        pytest.param(put("subscription", "s", OF_C), 0, id="the same subscription"),
        # The mark that the chain of seats is to be woken is written with it, and taken away.
        pytest.param(lambda it: it.end("s", at(2)), 6 + 3, id="an end"),
        pytest.param(
            lambda it: it.succeed("s", {"id": "t", "plan": "basic", "currency": "EUR"}, at(2)),
            14,
            id="a successor",
        ),
        pytest.param(sign_up, 11, id="a sign-up"),
    ],
)  # fmt: skip
def test_write_units_do_not_grow_with_the_catalogue(change: Change, units: int) -> None:
    few, many = cost_of(change, 10), cost_of(change, 1000)
    assert few == many
    assert few.units == units
    assert few.items <= 20


def test_a_sign_up_costs_at_most_12_write_units() -> None:
    assert cost_of(sign_up, 10).units <= SIGN_UP


def test_a_subscription_with_line_items_of_its_own_costs_2_units_for_each_kb() -> None:
    def items(count: int) -> Change:
        spans = [{"start": format_instant(at(n)), "end": format_instant(at(n + 1))} for n in range(count)]
        lines = [{"price": "call", "id": f"item {number}", **span} for number, span in enumerate(spans)]
        return put("subscription", "t", OF_C | {"line_items": lines})

    for count in (1, 20, 200, 1000):
        table = WeighedTable()
        table._take(of_many(10))
        items(count)(Management(table, ORGANIZATION.id, lambda: at(0)))
        key = keys.subscription(ORGANIZATION.id, "t")
        size = item_size(table.items()[key] | key_item(key))
        assert table.units == 3 + 4 + 2 * ceil(size / 1024)

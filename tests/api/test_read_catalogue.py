"""The lists of the catalogue: every record, page by page, of one organization, at a bounded cost."""

import json
from collections.abc import Callable, Iterable
from copy import replace
from pathlib import Path
from typing import Any

import pytest

from meterstone.store.catalogue import listing
from meterstone.store.catalogue.accounts import AccountStore
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Row
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.period import BillingPeriod
from meterstone.usage.subscription import Customer, Dated, Organization
from support.memory_table import MemoryTable
from support.small_world import FLAT, START, subscription
from support.written import write_catalogue

EVENTS = Path(__file__).parents[2] / "events"
OURS = Organization("0c9d1c52-8f0e-4d0b-9d5c-6b1f6c1f0a01", "Ours", "Europe/Berlin")
THEIRS = Organization("7d1f4f0e-3a52-4a53-9d1c-6a0c7f8b9e10", "Theirs")
CALLS = Meter("calls", "calls", "Calls", Aggregation.COUNT, "call")
SIZE = Meter("size", "size", "Size", Aggregation.SUM, "call", "bytes", deleted_at=START)
LONG = "x" * 200
CUSTOMERS = ("acme", "b#lue%", "ström 🐦", LONG)
FIRST = replace(
    subscription(BillingPeriod.MONTHLY, [(CALLS, FLAT)]), id="sub_dunlin_shifted", customer_id="dunlin"
)
SUBSCRIPTIONS = (
    FIRST,
    *(
        replace(FIRST, id=f"sub-{number}", external_id="ext-2", customer_id="acme", plan=(Dated("pro"),))
        for number in range(5)
    ),
    replace(FIRST, id=LONG, external_id=LONG, customer_id=LONG, end=START + 1),
)

type List = Callable[..., tuple[int, Any]]


@pytest.fixture
def table() -> MemoryTable:
    """Two organizations, of which the second has no more than a plan."""
    table = MemoryTable(page_items=3)
    entries: list[tuple[str, str, object]] = [
        *(("customer", each, Customer(each, each.upper(), None, (Dated("DE"),))) for each in CUSTOMERS),
        *(("plan", code, {"code": code, "name": code.title()}) for code in ("basic", "pro")),
    ]
    write_catalogue(table, OURS, (SIZE, CALLS), SUBSCRIPTIONS, entries)
    write_catalogue(table, THEIRS, (), (), [("plan", "theirs", {"code": "theirs"})])
    return table


@pytest.fixture
def opened(table: MemoryTable) -> Callable[[type], Any]:
    store = AccountStore(table)
    return lambda _: store


@pytest.fixture
def list_(table: MemoryTable, load: Callable[[str], Any]) -> List:
    ours, _ = create_key(table, OURS.id, "ours", START)
    theirs, _ = create_key(table, THEIRS.id, "theirs", START)
    invoke = load("read_catalogue")

    def list_(kind: str, *, key: str = "ours", **query: str) -> tuple[int, Any]:
        text = (EVENTS / "read_catalogue.plans.json").read_text().replace("/plans", f"/{kind}")
        asked = json.loads(text.replace("events-key", {"ours": ours, "theirs": theirs}[key]))
        asked["multiValueQueryStringParameters"] = {name: [value] for name, value in query.items()}
        asked["queryStringParameters"] = query
        status, body, _ = invoke(asked)
        return status, body

    return list_


def every(list_: List, kind: str, **query: str) -> list[dict[str, Any]]:
    """Follow the cursors to the end."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        status, body = list_(kind, **query, **cursor)
        assert status == 200, body
        found += body[kind]
        if body["next_cursor"] is None:
            return found
        cursor = {"cursor": body["next_cursor"]}


@pytest.mark.parametrize("limit", ["1", "2", "100"])
@pytest.mark.parametrize(
    ("kind", "name", "wanted"),
    [
        ("customers", "id", (*CUSTOMERS, "dunlin")),
        ("plans", "code", ("basic", "pro")),
        ("meters", "id", ("calls", "size")),
        ("subscriptions", "id", tuple(each.id for each in SUBSCRIPTIONS)),
    ],
)
def test_pages_have_every_record_once_whatever_their_length(
    list_: List, kind: str, name: str, wanted: tuple[str, ...], limit: str
) -> None:
    found = [each[name] for each in every(list_, kind, limit=limit)]
    assert sorted(found) == sorted(wanted)
    assert found == sorted(found, key=lambda each: (len(each) > 64, each))


@pytest.mark.parametrize("limit", ["1", "2", "100"])
@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"customer": "dunlin"}, ["sub_dunlin_shifted"]),
        ({"customer": "acme"}, [f"sub-{number}" for number in range(5)]),
        ({"customer": "nobody"}, []),
        ({"external_id": "ext-2", "customer": "dunlin"}, []),
        ({"external_id": LONG}, [LONG]),
        ({"plan": "basic"}, ["sub_dunlin_shifted", LONG]),
        ({"plan": "pro"}, [*(f"sub-{number}" for number in range(5)), "sub_dunlin_shifted", LONG]),
        ({"plan": "basic", "at": "2024-01-01T00:00:00Z"}, []),
        ({"at": "2024-01-01T00:00:00Z"}, [*(f"sub-{number}" for number in range(5)), "sub_dunlin_shifted"]),
    ],
)
def test_filters_hold_over_all_pages(
    list_: List, query: dict[str, str], wanted: list[str], limit: str
) -> None:
    assert [each["id"] for each in every(list_, "subscriptions", limit=limit, **query)] == wanted


def test_a_record_is_as_the_files_have_it(list_: List) -> None:
    assert list_("organization") == (200, {"id": OURS.id, "name": "Ours", "timezone": "Europe/Berlin"})
    (record,) = every(list_, "subscriptions", customer="dunlin")
    assert record.pop("version") == 1
    assert record.pop("created_at") == record.pop("updated_at")
    assert record == {
        "id": "sub_dunlin_shifted", "external_id": "ext", "customer": "dunlin", "currency": "usd",
        "plan": [{"value": "basic"}, {"value": "pro", "since": "2023-02-14T09:27:43.123456Z"}],
        "timezone": "America/Chicago", "start": "2023-01-15T09:27:43.123456Z",
        "billing_period": "MONTHLY", "billing_period_count": 1, "billing_cycle": "anniversary",
        "line_items": [{"id": "item calls", "price": "flat calls"}],
    }  # fmt: skip
    assert every(list_, "meters")[1] == {
        "id": "size", "code": "size", "name": "Size", "aggregation": "SUM", "event_name": "call",
        "field": "bytes", "deleted_at": "2023-01-15T09:27:43.123456Z",
        "version": 0, "created_at": None, "updated_at": None,
    }  # fmt: skip


def test_another_organization_s_key_sees_its_own_alone(list_: List) -> None:
    assert list_("customers", key="theirs") == (200, {"customers": [], "next_cursor": None})
    _, body = list_("plans", key="theirs")
    assert [each["code"] for each in body["plans"]] == ["theirs"]


def test_a_cursor_is_good_for_its_own_list_alone(list_: List) -> None:
    _, body = list_("subscriptions", limit="2", plan="pro")
    cursor = body["next_cursor"]
    for kind, query in (("subscriptions", {"plan": "basic"}), ("subscriptions", {}), ("customers", {})):
        status, refused = list_(kind, cursor=cursor, **query)
        assert (status, [each["path"] for each in refused["errors"]]) == (422, ["cursor"])
    status, _ = list_("subscriptions", cursor=cursor[:-2], plan="pro")
    assert status == 422


def test_a_page_with_a_filter_reads_so_many_subscriptions_at_most(
    list_: List, table: MemoryTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    batch_get = table.batch_get

    def counted(keys: Iterable[Key]) -> dict[Key, Row]:
        wanted = list(keys)
        read.append(len(wanted))
        return batch_get(wanted)

    monkeypatch.setattr(table, "batch_get", lambda keys, **_: counted(keys))
    monkeypatch.setattr(listing, "MOST_PAGES", 2)
    status, body = list_("subscriptions", limit="1", plan="nothing")
    assert (status, body["subscriptions"], read) == (200, [], [1, 1])
    assert body["next_cursor"] is not None


@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("organization", 200),
        ("customers", 200),
        ("plans", 200),
        ("meters", 200),
        ("subscriptions", 200),
        ("subscriptions_of_customer", 200),
        ("subscription", 200),
        ("unknown_subscription", 404),
        ("bad_parameters", 422),
        ("bad_cursor", 422),
        ("no_key", 401),
        ("wrong_method", 405),
    ],
)
def test_every_file_of_events(table: MemoryTable, load: Callable[[str], Any], case: str, status: int) -> None:
    key, _ = create_key(table, OURS.id, "test", 0)
    asked = (EVENTS / f"read_catalogue.{case}.json").read_text().replace("events-key", key)
    found, body, headers = load("read_catalogue")(json.loads(asked))
    assert found == status, body
    assert headers.get("Allow") == ("GET" if status == 405 else None)
    if case == "bad_parameters":
        assert {each["path"] for each in body["errors"]} == {"limit", "at", "customer", "plan"}

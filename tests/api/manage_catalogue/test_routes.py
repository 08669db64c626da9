"""The own routes of the catalogue: whose records, which methods, which lists, and the examples of events."""

import json
from pathlib import Path
from typing import Any

import pytest

from meterstone import clock
from meterstone.store.catalogue.api_keys import create_key
from support.functions import load_over
from support.managed import PRICE, managed
from support.memory_table import MemoryTable
from support.own_api import COUNT, END, LATER, OF_C, START, THEIRS, Api
from support.scenario import ORGANIZATION


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("customer", {"name": "ours"}),
        ("plan", {"name": "ours"}),
        ("meter", COUNT),
        ("price", PRICE),
        ("subscription", OF_C),
    ],
)
def test_another_organization_s_records_are_not_found(api: Api, kind: str, record: dict[str, Any]) -> None:
    path = f"{kind}s/ours"
    made = api.put(path, record)
    assert made.status == 201
    stored = api.stored()
    methods = ("GET", "DELETE", *(("PATCH",) if kind == "subscription" else ()))
    for method in methods:
        answer = api.ask(method, path, {"end": END} if method == "PATCH" else None, whose=THEIRS.id)
        assert (answer.status, answer.body["message"]) == (404, f"There is no {kind} 'ours'.")
    assert api.stored() == stored
    # The same id in both organizations is two records.
    assert api.ask("PUT", path, record, whose=THEIRS.id).status == 201
    assert api.ask("DELETE", path, whose=THEIRS.id).status == (409 if kind == "price" else 200)
    assert api.ask("GET", path).body == made.record


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "customers/c", {"GET", "PUT", "DELETE"}),
        ("PATCH", "customers/c", {"GET", "PUT", "DELETE"}),
        ("POST", "subscriptions/s", {"GET", "PUT", "PATCH", "DELETE"}),
        ("POST", "prices", {"GET"}),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(api: Api, method: str, path: str, allowed: set[str]) -> None:
    answer = api.ask(method, path, {})
    assert (answer.status, set(answer.headers["allow"].split(", "))) == (405, allowed)


def test_subscriptions_are_listed_by_what_is_asked_for(api: Api) -> None:
    api.put("customers/d", {})
    api.put("subscriptions/s", OF_C | {"external_id": "e", "end": LATER})
    api.put("subscriptions/t", OF_C | {"external_id": "e", "start": LATER, "plan": "pro"})
    api.put("subscriptions/u", OF_C | {"customer": "d"})

    def ids(query: str) -> list[str]:
        answer = api.ask("GET", f"subscriptions?{query}")
        assert answer.status == 200, answer.body
        return [each["id"] for each in answer.body["subscriptions"]]

    assert ids("") == ["s", "t", "u"]
    assert ids("customer=c") == ["s", "t"]
    assert ids("external_id=e") == ["s", "t"]
    assert ids("external_id=u") == ["u"], "without one, the id is the external id"
    assert ids("plan=pro") == ["t"]
    assert ids(f"at={LATER}") == ["t", "u"]
    assert ids(f"at={START}&customer=c") == ["s"]
    assert ids("at=2050-01-01T00:00:00Z") == []


EVENTS = Path(__file__).parents[3] / "events"


@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("put_customer", 201),
        ("lago_customer", 200),
        ("flexprice_subscription", 201),
        ("put_no_key", 401),
        ("delete_unknown", 404),
        ("flexprice_unknown_plan", 400),
        ("put_bad_customer", 422),
        ("lago_bad_customer", 422),
    ],
)
def test_every_file_of_events(monkeypatch: pytest.MonkeyPatch, case: str, status: int) -> None:
    table = MemoryTable()
    management = managed(table, clock.now)
    management.put("price", "calls usd", PRICE | {"currency": "USD"})
    management.put("plan", "starter", {"prices": ["calls usd"]})
    management.put("customer", "dunlin", {})
    key, _ = create_key(table, ORGANIZATION.id, "events", 0)
    handler = load_over("manage_catalogue", table, monkeypatch).handler
    asked = (EVENTS / f"manage_catalogue.{case}.json").read_text().replace("events-key", key)
    stored = table.items()

    answer = handler(json.loads(asked), None)

    assert answer["statusCode"] == status, answer["body"]
    after = table.items()
    assert (after == stored) is (status > 299)
    assert handler(json.loads(asked), None)["statusCode"] in {200, status}
    assert table.items() == after

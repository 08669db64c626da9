"""Lago's own Python client, as its users have it, signs customers up and looks them up."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
import yaml
from lago_python_client.client import Client
from lago_python_client.exceptions import LagoApiError
from lago_python_client.models import customer as customer_models
from lago_python_client.models import plan as plan_models
from lago_python_client.models import subscription as subscription_models
from lago_python_client.models.event import Event

from meterstone import clock
from meterstone.catalogue.management import KindOfRecord, Management
from meterstone.scope import Scope
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.load import create_table
from meterstone.usage.instant import format_instant, parse_instant
from meterstone_cli.catalogue.folder import read_catalogue
from meterstone_cli.devserver.bookmark import begin
from meterstone_cli.devserver.follower import following
from meterstone_cli.devserver.server import running
from support.stack import ROOT, Stack, database
from support.written import write_stored

# The client builds on pydantic's first API and on libraries that warn of their own future.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

# mypy would have every optional field of the client's models named.
Address: Any = customer_models.Address
Customer: Any = customer_models.Customer
Metadata: Any = customer_models.Metadata
MetadataList: Any = customer_models.MetadataList
PlanOverrides: Any = plan_models.PlanOverrides
Subscription: Any = subscription_models.Subscription

METERS = {
    "calls": {"code": "api_calls", "name": "Calls", "aggregation": "COUNT"},
    "storage": {"code": "storage", "aggregation": "SUM", "field": "gb", "filters": {"region": ["eu"]}},
}
TIERS = [
    {"up_to": 1000, "unit_amount": "0.0000000001"},
    {"up_to": None, "unit_amount": "0.1", "flat_amount": 2},
]
PRICES = {
    "call": {"currency": "EUR", "billing_model": "FLAT_FEE", "amount": "0.10", "meter_id": "calls"},
    "call-usd": {"currency": "USD", "billing_model": "FLAT_FEE", "amount": "0.11", "meter_id": "calls"},
    "calls": {
        "currency": "EUR",
        "billing_model": "PACKAGE",
        "amount": 5,
        "transform_quantity": {"divide_by": 1000},
        "meter_id": "calls",
    },
    "gb": {
        "currency": "EUR",
        "billing_model": "TIERED",
        "tier_mode": "SLAB",
        "tiers": TIERS,
        "meter_id": "storage",
    },
}
PLANS = {
    "basic": {"name": "Basic", "currency": "EUR", "prices": ["call", "call-usd"]},
    "everywhere": {"prices": ["call", "call-usd"]},
    "team": {"name": "Team", "currency": "EUR", "billing_period": "MONTHLY", "prices": ["calls", "gb"]},
    "yearly": {"currency": "EUR", "billing_period": "ANNUAL", "prices": ["call"]},
}


@dataclass(frozen=True, slots=True)
class World:
    """An organization of its own, with meters, prices and plans, behind the address of a server."""

    url: str
    key: str
    organization_id: str

    @property
    def client(self) -> Any:
        """Return a client with the organization's key."""
        return self.with_key(self.key)

    def with_key(self, key: str) -> Any:
        """Return a client with another key. It is of no type that mypy could check: its mixins are not."""
        return Client(api_key=key, api_url=f"{self.url}/")


@pytest.fixture
def world(api: Stack, tmp_path: Path) -> World:
    """Make an organization of its own for each test."""
    return make_world(api.base_url, tmp_path)


def make_world(url: str, folder: Path) -> World:
    table = Table.from_environment()
    organization_id = str(uuid4())
    record = {"id": organization_id, "name": "Acme", "timezone": "Europe/Berlin"}
    files = folder / "catalogue"
    files.mkdir()
    (files / "organization.yaml").write_text(yaml.safe_dump(record))
    catalogue, _ = read_catalogue(files)
    write_stored(table, catalogue)
    management = Management(table, organization_id)
    kinds: list[tuple[KindOfRecord, Mapping[str, Any]]] = [
        ("meter", METERS),
        ("price", PRICES),
        ("plan", PLANS),
    ]
    for kind, records in kinds:
        for name, fields in records.items():
            management.put(kind, name, fields)
    key, _ = create_key(table, organization_id, "clients", clock.now())
    return World(url, key, organization_id)


@pytest.fixture
def client(world: World) -> Any:
    return world.client


def at(**ahead: float) -> str:
    return (datetime.now(UTC) + timedelta(**ahead)).strftime("%Y-%m-%dT%H:%M:%SZ")


def sign_up(client: Any, customer: str = "acme", **fields: Any) -> Any:
    return client.customers.create(Customer(external_id=customer, **fields))


def subscribe(client: Any, plan: str = "basic", external_id: str = "acme-main", **fields: Any) -> Any:
    given = {"external_id": external_id, "external_customer_id": "acme", "plan_code": plan}
    return client.subscriptions.create(Subscription(**given | fields))


def refusal(call: Callable[[], object]) -> tuple[int, Any]:
    with pytest.raises(LagoApiError) as refused:
        call()
    response: Any = refused.value.response
    return refused.value.status_code, response.get("error_details") or response.get("code") or response


def listed(client: Any, **options: Any) -> list[tuple[str, str, str]]:
    found = client.subscriptions.find_all(options)["subscriptions"]
    return [(each.external_id, each.plan_code, each.status) for each in found]


def test_a_customer_is_made_changed_and_shown(client: Any) -> None:
    made = sign_up(
        client,
        name="Acme",
        country="DE",
        currency="EUR",
        customer_type="company",
        email="a@acme.example",
        net_payment_term=30,
        shipping_address=Address(city="Bonn", country="DE"),
        metadata=MetadataList(__root__=[Metadata(key="po", value="7", display_in_invoice=True)]),
    )
    assert UUID(made.lago_id).version == 5
    assert (made.name, made.country, made.customer_type, made.currency) == ("Acme", "DE", "company", "EUR")
    assert (made.timezone, made.applicable_timezone) == (None, "Europe/Berlin")
    assert made.created_at == made.updated_at
    assert made.shipping_address.city == "Bonn"
    assert [(each.key, each.value, each.display_in_invoice) for each in made.metadata.__root__] == [
        ("po", "7", True)
    ]
    changed = sign_up(client, city="Köln", timezone="Asia/Tokyo", shipping_address=Address(zipcode="53111"))
    assert (changed.lago_id, changed.created_at) == (made.lago_id, made.created_at)
    assert changed.updated_at > made.updated_at
    assert (changed.name, changed.country, changed.email, changed.city) == (
        "Acme",
        "DE",
        "a@acme.example",
        "Köln",
    )
    assert (changed.applicable_timezone, changed.net_payment_term) == ("Asia/Tokyo", 30)
    assert (changed.shipping_address.city, changed.shipping_address.zipcode) == ("Bonn", "53111")
    assert client.customers.find("acme") == changed
    assert sign_up(client) == changed


def test_a_customer_is_deleted(client: Any) -> None:
    made = sign_up(client)
    assert client.customers.destroy("acme") == made
    assert refusal(lambda: client.customers.find("acme")) == (404, "customer_not_found")
    assert refusal(lambda: client.customers.destroy("acme")) == (404, "customer_not_found")
    sign_up(client)
    subscribe(client)
    assert refusal(lambda: client.customers.destroy("acme"))[0] == 409
    assert client.customers.find("acme").external_id == "acme"


@pytest.mark.parametrize("name", ["a/b", "ä ö 🐦", "a%2Fb", "a?b#c", "x" * 255])
def test_ids_with_separators_and_unicode(client: Any, name: str) -> None:
    if "/" in name and "METERSTONE_API_URL" in os.environ:
        pytest.skip("the emulator to which the template is deployed parts a path at an encoded slash")
    sign_up(client, name, name="first")
    subscribe(client, external_id=name, external_customer_id=name)
    path = quote(name, safe="")
    assert client.customers.find(path).name == "first"
    assert client.subscriptions.find(path).external_customer_id == name
    assert client.subscriptions.destroy(path).status == "terminated"


def test_pages_of_customers(client: Any) -> None:
    for number in range(5):
        sign_up(client, f"c{number}")
    found = client.customers.find_all({"page": 2, "per_page": 2})
    assert [each.external_id for each in found["customers"]] == ["c2", "c3"]
    assert found["meta"] == {
        "current_page": 2,
        "next_page": 3,
        "prev_page": 1,
        "total_pages": 3,
        "total_count": 5,
    }
    assert [
        each.external_id for each in client.customers.find_all({"page": 3, "per_page": 2})["customers"]
    ] == ["c4"]
    assert client.customers.find_all({"page": 9, "per_page": 2})["customers"] == []


def test_a_subscription_that_begins_now(client: Any) -> None:
    customer = sign_up(client)
    before = at(seconds=-1)
    made = subscribe(client, name="Main")
    assert before <= made.started_at <= at(seconds=1)
    assert made.lago_customer_id == customer.lago_id
    assert (made.status, made.plan_code, made.name, made.billing_time) == (
        "active",
        "basic",
        "Main",
        "calendar",
    )
    assert (made.ending_at, made.terminated_at, made.previous_plan_code, made.next_plan_code) == (None,) * 4
    assert client.subscriptions.find("acme-main") == made
    assert subscribe(client) == made
    assert listed(client) == [("acme-main", "basic", "active")]


def test_a_subscription_in_the_future_and_its_retry(client: Any) -> None:
    sign_up(client)
    start, end = at(days=3), at(days=90)
    made = subscribe(client, subscription_at=start, ending_at=end, billing_time="anniversary")
    assert (made.status, made.subscription_at, made.started_at, made.ending_at) == (
        "pending",
        start,
        None,
        end,
    )
    assert subscribe(client, subscription_at=start, ending_at=end, billing_time="anniversary") == made
    assert refusal(lambda: client.subscriptions.find("acme-main")) == (404, "subscription_not_found")
    assert client.subscriptions.find("acme-main", {"status": "pending"}) == made
    assert listed(client) == []
    assert listed(client, **{"status[]": ["pending", "active"]}) == [("acme-main", "basic", "pending")]


def test_a_pending_subscription_gets_another_plan_and_start(client: Any) -> None:
    sign_up(client)
    made = subscribe(client, subscription_at=at(days=3), name="Main")
    later = at(days=5)
    changed = subscribe(client, "yearly", subscription_at=later)
    assert (changed.lago_id, changed.plan_code, changed.subscription_at) == (made.lago_id, "yearly", later)
    assert (changed.name, changed.status) == ("Main", "pending")


def test_a_subscription_that_has_ended_and_its_external_id_again(client: Any) -> None:
    sign_up(client)
    start, end = "2024-01-31T00:00:00Z", "2024-07-01T00:00:00Z"
    old = subscribe(client, subscription_at=start, ending_at=end, billing_time="anniversary")
    assert (old.status, old.started_at, old.terminated_at) == ("terminated", start, end)
    new = subscribe(client, "team")
    assert (new.status, new.previous_plan_code) == ("active", None)
    assert new.lago_id != old.lago_id
    assert client.subscriptions.find("acme-main", {"status": "terminated"}).lago_id == old.lago_id
    both = listed(client, **{"status[]": ["active", "terminated"], "external_customer_id": "acme"})
    assert both == [("acme-main", "basic", "terminated"), ("acme-main", "team", "active")]


def test_another_plan_now(client: Any) -> None:
    sign_up(client)
    old = subscribe(client, name="Main", ending_at=at(days=300))
    new = subscribe(client, "team")
    assert (new.status, new.plan_code, new.previous_plan_code) == ("active", "team", "basic")
    assert (new.name, new.ending_at) == ("Main", old.ending_at)
    ended = client.subscriptions.find("acme-main", {"status": "terminated"})
    assert (ended.lago_id, ended.terminated_at, ended.next_plan_code) == (old.lago_id, new.started_at, "team")
    assert subscribe(client, "team") == new


def test_another_plan_ahead_of_time(client: Any) -> None:
    sign_up(client)
    old, when = subscribe(client), at(days=7)
    new = subscribe(client, "yearly", subscription_at=when)
    assert (new.status, new.subscription_at, new.previous_plan_code) == ("pending", when, "basic")
    running_on = client.subscriptions.find("acme-main")
    assert (running_on.lago_id, running_on.ending_at, running_on.next_plan_code) == (
        old.lago_id,
        when,
        "yearly",
    )
    assert subscribe(client, "yearly", subscription_at=when) == new
    assert refusal(lambda: subscribe(client, "team")) == (422, {"external_id": ["value_already_exist"]})
    assert listed(client, **{"status[]": ["pending", "active"], "external_id": "acme-main"}) == [
        ("acme-main", "basic", "active"),
        ("acme-main", "yearly", "pending"),
    ]


@pytest.mark.parametrize("end", [None, 200], ids=["without end", "with an end"])
def test_a_change_of_plans_is_called_off(client: Any, end: int | None) -> None:
    sign_up(client)
    until = None if end is None else at(days=end)
    old = subscribe(client, ending_at=until)
    subscribe(client, "team", subscription_at=at(days=7))
    stopped = client.subscriptions.destroy("acme-main", {"status": "pending"})
    assert (stopped.status, stopped.plan_code) == ("canceled", "team")
    assert stopped.canceled_at is not None
    running_on = client.subscriptions.find("acme-main")
    assert (running_on.lago_id, running_on.ending_at, running_on.next_plan_code) == (old.lago_id, until, None)
    assert subscribe(client, "team").status == "active"


def test_anniversaries_go_on_through_a_change_of_plans(client: Any) -> None:
    sign_up(client)
    start = "2024-01-31T10:00:00Z"
    old = subscribe(client, "team", subscription_at=start, billing_time="anniversary")
    new = subscribe(client)
    assert (new.billing_time, new.subscription_at) == ("anniversary", start)
    assert new.current_billing_period_ending_at == old.current_billing_period_ending_at


def test_a_termination(client: Any) -> None:
    sign_up(client)
    made = subscribe(client)
    subscribe(client, "team", subscription_at=at(days=7))
    ended = client.subscriptions.destroy("acme-main", {"on_termination_invoice": "skip"})
    assert (ended.lago_id, ended.status, ended.next_plan_code) == (made.lago_id, "terminated", None)
    assert ended.terminated_at is not None
    assert refusal(lambda: client.subscriptions.destroy("acme-main")) == (404, "subscription_not_found")
    assert listed(client, **{"status[]": ["pending", "canceled"]}) == [("acme-main", "team", "canceled")]
    assert subscribe(client).lago_id != made.lago_id


def test_a_pending_one_is_called_off_by_its_id_alone(client: Any) -> None:
    sign_up(client)
    subscribe(client, subscription_at=at(days=7))
    assert client.subscriptions.destroy("acme-main").status == "canceled"
    again = subscribe(client, subscription_at=at(days=7))
    assert again.status == "pending"


def test_name_and_end_are_changed(client: Any) -> None:
    sign_up(client)
    made, end = subscribe(client, name="Main"), at(days=30)
    changed = client.subscriptions.update(Subscription(ending_at=end), "acme-main")
    assert (changed.lago_id, changed.ending_at, changed.name) == (made.lago_id, end, "Main")
    renamed = client.subscriptions.update(Subscription(name="Side"), "acme-main")
    assert (renamed.ending_at, renamed.name) == (end, "Side")
    assert client.subscriptions.find("acme-main") == renamed
    early = refusal(
        lambda: client.subscriptions.update(Subscription(ending_at="2020-01-01T00:00:00Z"), "acme-main")
    )
    assert early == (422, {"ending_at": ["invalid_date"]})


def test_a_currency_is_chosen(client: Any) -> None:
    sign_up(client, currency="USD")
    assert subscribe(client).plan_amount_currency == "USD"
    assert refusal(lambda: subscribe(client, "team", "other")) == (
        422,
        {"currency": ["value_is_invalid", "currencies_does_not_match"]},
    )
    sign_up(client, "globex")
    unknown = refusal(lambda: subscribe(client, "everywhere", "g", external_customer_id="globex"))
    assert unknown == (422, {"currency": ["value_is_invalid", "currencies_does_not_match"]})
    overrides = PlanOverrides(amount_currency="EUR")
    made = subscribe(client, "everywhere", "g", external_customer_id="globex", plan_overrides=overrides)
    assert made.plan_amount_currency == "EUR"


def test_pages_and_filters_of_subscriptions(client: Any) -> None:
    sign_up(client, currency="EUR")
    sign_up(client, "globex", currency="USD")
    for number in range(3):
        subscribe(client, external_id=f"s{number}")
    subscribe(client, "team", "s3")
    subscribe(client, external_id="s4", external_customer_id="globex", subscription_at=at(days=1))
    every = {"status[]": ["active", "pending", "terminated", "canceled"]}
    assert len(listed(client, **every)) == 5
    found = client.subscriptions.find_all({"page": 2, "per_page": 3})
    assert [each.external_id for each in found["subscriptions"]] == ["s3"]
    assert (found["meta"]["total_count"], found["meta"]["total_pages"]) == (4, 2)
    found = client.subscriptions.find_all({"page": 2, "per_page": 3, **every})
    assert [each.external_id for each in found["subscriptions"]] == ["s3", "s4"]
    assert listed(client, plan_code="team") == [("s3", "team", "active")]
    assert listed(client, external_customer_id="globex") == []
    assert listed(client, external_customer_id="globex", **every) == [("s4", "basic", "pending")]
    assert listed(client, external_id="s1") == [("s1", "basic", "active")]
    assert listed(client, currency="usd", **every) == [("s4", "basic", "pending")]
    assert listed(client, external_customer_id="nobody", **every) == []


def test_plans_and_their_charges(client: Any) -> None:
    found = client.plans.find_all()
    assert [each.code for each in found["plans"]] == ["basic", "everywhere", "team", "yearly"]
    assert found["meta"]["total_count"] == 4
    plan = client.plans.find("team")
    assert plan == found["plans"][2]
    assert (plan.name, plan.interval, plan.amount_currency, plan.amount_cents) == (
        "Team",
        "monthly",
        "EUR",
        0,
    )
    calls, gb = plan.charges.__root__
    assert (calls.billable_metric_code, calls.charge_model) == ("api_calls", "package")
    assert calls.properties == {"amount": "5", "free_units": 0, "package_size": 1000}
    assert (gb.billable_metric_code, gb.charge_model) == ("storage", "graduated")
    assert gb.properties == {
        "graduated_ranges": [
            {"from_value": 0, "to_value": 1000, "per_unit_amount": "0.0000000001", "flat_amount": "0"},
            {"from_value": 1001, "to_value": None, "per_unit_amount": "0.1", "flat_amount": "2"},
        ]
    }
    assert refusal(lambda: client.plans.find("none")) == (404, "plan_not_found")
    assert [each.code for each in client.plans.find_all({"page": 2, "per_page": 3})["plans"]] == ["yearly"]


def test_billable_metrics(client: Any) -> None:
    found = client.billable_metrics.find_all()
    assert [each.code for each in found["billable_metrics"]] == ["api_calls", "storage"]
    metric = client.billable_metrics.find("storage")
    assert metric == found["billable_metrics"][1]
    assert (metric.aggregation_type, metric.field_name, metric.filters.__root__) == ("sum_agg", "gb", [])
    assert metric.created_at[:4] >= "2026"
    charge = client.plans.find("team").charges.__root__[1]
    assert charge.lago_billable_metric_id == metric.lago_id
    assert refusal(lambda: client.billable_metrics.find("none")) == (404, "billable_metric_not_found")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"external_customer_id": "nobody"}, (404, "customer_not_found"), id="no such customer"),
        pytest.param({"plan_code": "none"}, (404, "plan_not_found"), id="no such plan"),
        pytest.param({"external_id": "a\x00"}, (422, {"external_id": ["value_is_invalid"]}), id="no id"),
        pytest.param(
            {"subscription_at": "2024-02-01T00:00:00Z", "ending_at": "2024-01-01T00:00:00Z"},
            (422, {"ending_at": ["invalid_date"]}),
            id="an end before the start",
        ),
        pytest.param(
            {"plan_overrides": PlanOverrides(amount_currency="JPY")},
            (422, {"plan_code": ["value_is_invalid"]}),
            id="no price in the currency",
        ),
        pytest.param(
            {"plan_overrides": PlanOverrides(amount_cents=100), "consolidate_invoice": True},
            (
                422,
                {
                    "consolidate_invoice": ["value_is_invalid", "not_supported"],
                    "plan_overrides.amount_cents": ["value_is_invalid", "not_supported"],
                },
            ),
            id="what cannot be honoured",
        ),
    ],
)
def test_subscriptions_that_are_refused(
    client: Any, fields: dict[str, Any], expected: tuple[int, Any]
) -> None:
    sign_up(client, currency="EUR")
    given = {"external_id": "s", "external_customer_id": "acme", "plan_code": "basic"}
    assert refusal(lambda: client.subscriptions.create(Subscription(**given | fields))) == expected
    assert listed(client, **{"status[]": ["active", "pending", "terminated"]}) == []


def test_an_external_id_of_another_customer_s_subscription(client: Any) -> None:
    sign_up(client)
    sign_up(client, "globex")
    subscribe(client, "team")
    taken = refusal(lambda: subscribe(client, "team", external_customer_id="globex"))
    assert taken == (422, {"external_id": ["value_already_exist"]})
    assert client.subscriptions.find("acme-main").external_customer_id == "acme"


def test_a_plan_is_not_changed_before_the_subscription_began(client: Any) -> None:
    sign_up(client)
    subscribe(
        client, subscription_at="2024-01-01T00:00:00Z", plan_overrides=PlanOverrides(amount_currency="EUR")
    )
    early = refusal(lambda: subscribe(client, "team", subscription_at="2024-01-01T00:00:00Z"))
    assert early == (422, {"subscription_at": ["invalid_date"]})


def test_another_organization_sees_nothing(client: Any, api: Stack, world: World) -> None:
    sign_up(client)
    subscribe(client, "team")
    other = world.with_key(api.other_key)
    assert refusal(lambda: other.customers.find("acme")) == (404, "customer_not_found")
    assert refusal(lambda: other.subscriptions.find("acme-main")) == (404, "subscription_not_found")
    assert refusal(lambda: other.subscriptions.destroy("acme-main")) == (404, "subscription_not_found")
    assert refusal(lambda: other.plans.find("yearly")) == (404, "plan_not_found")
    wrong = world.with_key("wrong")
    assert refusal(wrong.customers.find_all)[0] == 401


def test_a_key_without_the_scope(client: Any, world: World) -> None:
    key, _ = create_key(
        Table.from_environment(), world.organization_id, "reader", clock.now(), frozenset({Scope.READ})
    )
    reader = world.with_key(key)
    assert refusal(lambda: sign_up(reader)) == (403, {"scope": ["catalogue"]})
    assert refusal(lambda: client.customers.find("acme")) == (404, "customer_not_found")


@pytest.fixture
def living(tmp_path: Path) -> Iterator[Any]:
    """Give a client of an organization in a table whose stream is followed, by the deployed functions if any."""
    if deployed := os.environ.get("METERSTONE_API_URL"):
        yield make_world(deployed, tmp_path).client
        return
    with database() as table, ExitStack() as cleanup:
        create_table(table)
        begin()
        url = cleanup.enter_context(running(ROOT / "template.yaml"))
        cleanup.enter_context(following(ROOT / "functions"))
        yield make_world(url, tmp_path).client


def counted(client: Any, units: int, model: str | None = None) -> tuple[str, int]:
    """Wait until the current billing period has so many calls, and return the charge's price and its amount.

    If a charge model is named, that is waited for, too.
    """
    give_up = time.monotonic() + 90
    while True:
        found = client.customers.current_usage("acme", "acme-main", billable_metric_code="api_calls")
        (charge,) = found.charges_usage
        charged = charge.charge.charge_model, charge.amount_cents
        if (charge.units == str(units) and model in {None, charged[0]}) or time.monotonic() > give_up:
            return charged
        time.sleep(0.2)


def settled(change: Callable[[], Any]) -> Any:
    """Make a change as soon as usage that is being counted anew is counted."""
    give_up = time.monotonic() + 60
    while True:
        try:
            return change()
        except LagoApiError as error:
            if error.status_code != 409 or time.monotonic() > give_up:
                raise
        time.sleep(0.2)


def test_a_customers_life(living: Any) -> None:
    """Signed up, used, upgraded now and ahead of time, ended: each event counts where it belongs."""
    client = living

    def use(count: int) -> None:
        for _ in range(count):
            event: dict[str, Any] = {
                "transaction_id": str(uuid4()),
                "external_subscription_id": "acme-main",
                "code": "api_calls",
            }
            client.events.create(Event(**event))

    sign_up(client)
    made = subscribe(client, "basic")
    use(3)
    assert counted(client, 3) == ("standard", 30)
    # It was to be on another plan from its beginning: what was used is counted anew.
    turn = format_instant(parse_instant(made.started_at) + 1)
    corrected = subscribe(client, "team", subscription_at=turn)
    assert (corrected.status, corrected.previous_plan_code) == ("active", "basic")
    assert counted(client, 3, "package") == ("package", 500)
    changed = settled(lambda: subscribe(client, "basic"))
    assert (changed.status, changed.previous_plan_code) == ("active", "team")
    use(2)
    assert counted(client, 2) == ("standard", 20)
    ahead = subscribe(client, "yearly", subscription_at=at(days=7))
    assert ahead.status == "pending"
    use(1)
    assert counted(client, 3) == ("standard", 30)
    ended = client.subscriptions.destroy("acme-main")
    assert (ended.lago_id, ended.status) == (changed.lago_id, "terminated")
    use(1)
    assert counted(client, 3) == ("standard", 30)
    (row,) = client.usages.find_all({"time_granularity": "yearly"})["usages"]
    assert (row.billable_metric_code, row.units, row.amount_cents) == ("api_calls", 6, 530)
    by_plan = client.usages.find_all({"time_granularity": "yearly", "plan_code": "basic"})["usages"]
    assert [(each.units, each.amount_cents) for each in by_plan] == [(3, 30)]

"""Lago's own Python client reads plans and metrics, and is refused what its key may not do."""

from typing import Any

from meterstone import clock
from meterstone.scope import Scope
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.dynamodb.table import Table
from support.lago_client import WARNINGS, World, refusal, sign_up, subscribe
from support.stack import Stack

pytestmark = WARNINGS


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

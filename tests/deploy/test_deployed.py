"""The deployed application: the template's own parts, in front of and around the functions.

Runs against `METERSTONE_API_URL` alone (`make deploy-local`), where the official clients' tests run too. These
tests write to the table; those of `tests/deploy/test_address.py` need an address and a key.
"""

import json
import os
import time
import urllib.parse
from unittest import mock
from uuid import uuid4

import pytest

from meterstone.scope import Scope
from support.over_http import call
from support.stack import Stack, stack

pytestmark = pytest.mark.deploy

GATEWAY_KEYS = {"status", "error", "code", "message", "http_status_code"}


def test_it_is_the_deployed_api_that_is_tested(api: Stack) -> None:
    assert api.base_url == os.environ["METERSTONE_API_URL"]


def test_the_deployed_table_answers_with_the_loaded_usage(api: Stack) -> None:
    query = "from_date=2024-02-01&to_date=2024-02-29&time_granularity=monthly&currency=EUR"
    status, body = call(
        f"{api.base_url}/api/v1/analytics/usage?{query}", headers={"Authorization": f"Bearer {api.key}"}
    )

    assert status == 200
    assert {row["billable_metric_code"]: row["amount_cents"] for row in body["usages"]} == {
        "api_calls": 150,
        "faxes": 100,
        "seats": 1000,
        "tokens": 1350,
    }


def test_a_subscription_is_priced_by_the_deployed_function(api: Stack) -> None:
    window = {"start_time": "2024-02-01T00:00:00Z", "end_time": "2024-03-01T00:00:00Z"}
    status, body = call(
        f"{api.base_url}/v1/subscriptions/usage",
        method="POST",
        headers={"x-api-key": api.key, "content-type": "application/json"},
        body=json.dumps({"subscription_id": api.subscription_id} | window).encode(),
    )

    assert (status, body["amount"], body["overage_amount"]) == (200, 29, 9)


def test_the_deployed_function_explains_the_same_amounts(api: Stack) -> None:
    window = {"start_time": "2024-02-01T00:00:00Z", "end_time": "2024-03-01T00:00:00Z"}
    asked = {"subscription_id": api.subscription_id} | window
    for path, body in (("explain", asked), ("preview", asked | {"instead": {}})):
        status, answered = call(
            f"{api.base_url}/v1/subscriptions/usage/{path}",
            method="POST",
            headers={"x-api-key": api.key, "content-type": "application/json"},
            body=json.dumps(body).encode(),
        )
        assert status == 200
        for each in [answered] if path == "explain" else [answered["now"], answered["instead"]]:
            assert (each["amount"], each["overage_amount"]) == (29, 9)
            assert sum(step["amount"] for step in each["commitment"]["steps"]) == 29


def test_an_unknown_route_is_the_gateways_404_in_both_contracts_shapes(api: Stack) -> None:
    status, body = call(f"{api.base_url}/api/v1/analytics/nothing")

    assert status == 404
    assert body.keys() == GATEWAY_KEYS
    assert (body["status"], body["http_status_code"]) == (404, 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/v1/analytics/usage"), ("GET", "/v1/subscriptions/usage"), ("GET", "/v1/prices/preview")],
)
def test_a_wrong_method_is_405(api: Stack, method: str, path: str) -> None:
    status, _ = call(f"{api.base_url}{path}", method=method, body=b"{}" if method == "POST" else None)

    assert status == 405


def test_a_posted_event_is_counted_in_both_deployed_endpoints(api: Stack) -> None:
    calls = {"from_date": "2024-03-01", "to_date": "2024-03-31", "billable_metric_code": "api_calls"}
    window = {"start_time": "2024-03-01T00:00:00Z", "end_time": "2024-04-01T00:00:00Z"}
    bearer = {"Authorization": f"Bearer {api.key}", "content-type": "application/json"}
    event = {
        "transaction_id": uuid4().hex,
        "code": "api_calls",
        "external_subscription_id": "acme-main",
        "timestamp": "1710000000",
    }

    def units() -> list[str]:
        query = urllib.parse.urlencode(calls | {"time_granularity": "monthly"})
        status, body = call(f"{api.base_url}/api/v1/analytics/usage?{query}", headers=bearer)
        assert status == 200
        return [row["units"] for row in body["usages"]]

    before = units()
    answers = [
        call(
            f"{api.base_url}/api/v1/events",
            method="POST",
            headers=bearer,
            body=json.dumps({"event": event}).encode(),
        )
        for _ in range(2)
    ]
    assert [status for status, _ in answers] == [200, 422]
    latest = time.monotonic() + 60
    while (after := units()) == before and time.monotonic() < latest:
        time.sleep(0.5)

    assert after == [str(int(before[0]) + 1 if before else 1)]
    status, body = call(
        f"{api.base_url}/v1/subscriptions/usage",
        method="POST",
        headers={"x-api-key": api.key, "content-type": "application/json"},
        body=json.dumps({"subscription_id": api.subscription_id} | window).encode(),
    )
    assert status == 200
    assert [row["quantity"] for row in body["charges"] if row["meter_id"] == "meter_calls"] == [int(after[0])]


def test_a_second_stack_beside_the_first_answers_from_its_own_table(api: Stack) -> None:
    second_table = os.environ["METERSTONE_SECOND_TABLE_NAME"]
    assert second_table != os.environ["TABLE_NAME"]
    second = {"METERSTONE_API_URL": os.environ["METERSTONE_SECOND_API_URL"], "TABLE_NAME": second_table}

    def status(base_url: str, key: str) -> int:
        query = "from_date=2024-02-01&to_date=2024-02-29"
        bearer = {"Authorization": f"Bearer {key}"}
        return call(f"{base_url}/api/v1/analytics/usage?{query}", headers=bearer)[0]

    with mock.patch.dict(os.environ, second), stack() as other:
        answers = {
            (url, key): status(base_url, api_key)
            for url, base_url in (("first", api.base_url), ("second", other.base_url))
            for key, api_key in (("first", api.key), ("second", other.key))
        }
    assert answers == {
        ("first", "first"): 200,
        ("first", "second"): 401,
        ("second", "first"): 401,
        ("second", "second"): 200,
    }


@pytest.mark.parametrize("scope", list(Scope))
def test_a_key_opens_the_deployed_routes_of_its_scope_alone(api: Stack, scope: Scope) -> None:
    key = api.scoped_keys[scope]
    headers = {"Authorization": f"Bearer {key}", "x-api-key": key, "content-type": "application/json"}
    calls: dict[Scope, list[tuple[str, str, object]]] = {
        Scope.READ: [
            ("GET", "/api/v1/analytics/usage", None),
            ("POST", "/v1/subscriptions/usage", {"subscription_id": api.subscription_id}),
        ],
        Scope.INGEST: [("POST", "/api/v1/events/batch", {}), ("POST", "/v1/events/bulk", {})],
        Scope.CATALOGUE: [
            ("GET", "/catalogue/v1/subscriptions", None),
            ("PUT", "/catalogue/v1/customers/of-scopes", {"email": 1}),
            ("POST", "/api/v1/customers", {}),
            ("POST", "/v1/customers", {}),
        ],
    }
    opened = {
        (method, path): call(
            api.base_url + path,
            method=method,
            headers=headers,
            body=None if body is None else json.dumps(body).encode(),
        )[0]
        != 403
        for asked in calls.values()
        for method, path, body in asked
    }
    assert opened == {
        (method, path): needed == scope for needed, asked in calls.items() for method, path, _ in asked
    }

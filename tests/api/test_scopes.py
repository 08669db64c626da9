"""Keys with scopes: which routes each opens, and what the others answer."""

import json
from typing import Any

import pytest
import yaml

from meterstone.edge.application import Application
from meterstone.scope import Scope
from meterstone.store.catalogue.api_keys import create_key
from meterstone.usage.subscription import Organization
from support.calls import CountingTable
from support.functions import FUNCTIONS, load_over
from support.written import write_catalogue

ORGANIZATION = Organization("0c9d1c52-8f0e-4d0b-9d5c-6b1f6c1f0a01", "Test")
LAGO, FLEXPRICE = "lago", "flexprice"
#: Of each route, its scope and the contract in which it answers.
ROUTES = {
    "GET /api/v1/analytics/usage": ("read", LAGO),
    "GET /api/v1/customers/{external_customer_id}/current_usage": ("read", LAGO),
    "GET /api/v1/customers/{external_customer_id}/past_usage": ("read", LAGO),
    "GET /api/v1/customers/{external_customer_id}/projected_usage": ("read", LAGO),
    "GET /api/v1/events/{transaction_id}": ("read", LAGO),
    "DELETE /api/v1/events/{transaction_id}": ("catalogue", LAGO),
    "GET /v1/events/uncounted": ("read", FLEXPRICE),
    "POST /v1/subscriptions/usage": ("read", FLEXPRICE),
    "POST /v1/subscriptions/usage/explain": ("read", FLEXPRICE),
    "POST /v1/subscriptions/usage/preview": ("read", FLEXPRICE),
    "POST /v1/prices/preview": ("read", FLEXPRICE),
    "POST /api/v1/events": ("ingest", LAGO),
    "POST /api/v1/events/batch": ("ingest", LAGO),
    "POST /v1/events": ("ingest", FLEXPRICE),
    "POST /v1/events/bulk": ("ingest", FLEXPRICE),
    "POST /api/v1/customers": ("catalogue", LAGO),
    "GET /api/v1/customers": ("catalogue", LAGO),
    "GET /api/v1/customers/{external_customer_id}": ("catalogue", LAGO),
    "DELETE /api/v1/customers/{external_customer_id}": ("catalogue", LAGO),
    "POST /api/v1/subscriptions": ("catalogue", LAGO),
    "GET /api/v1/subscriptions": ("catalogue", LAGO),
    "GET /api/v1/subscriptions/{external_id}": ("catalogue", LAGO),
    "PUT /api/v1/subscriptions/{external_id}": ("catalogue", LAGO),
    "DELETE /api/v1/subscriptions/{external_id}": ("catalogue", LAGO),
    "GET /api/v1/plans": ("catalogue", LAGO),
    "GET /api/v1/plans/{code}": ("catalogue", LAGO),
    "GET /api/v1/billable_metrics": ("catalogue", LAGO),
    "GET /api/v1/billable_metrics/{code}": ("catalogue", LAGO),
    "GET /catalogue/v1/organization": ("catalogue", FLEXPRICE),
    "GET /catalogue/v1/customers": ("catalogue", FLEXPRICE),
    "GET /catalogue/v1/plans": ("catalogue", FLEXPRICE),
    "GET /catalogue/v1/meters": ("catalogue", FLEXPRICE),
    "GET /catalogue/v1/subscriptions": ("catalogue", FLEXPRICE),
    "GET /catalogue/v1/prices": ("catalogue", FLEXPRICE),
    "GET /catalogue/v1/recounts": ("catalogue", FLEXPRICE),
    "GET /catalogue/v1/recounts/{id}": ("catalogue", FLEXPRICE),
    **{
        f"{method} /catalogue/v1/{kind}s/{{id}}": ("catalogue", FLEXPRICE)
        for kind in ("customer", "meter", "plan", "price", "subscription")
        for method in ("GET", "PUT", "DELETE")
    },
    "PATCH /catalogue/v1/subscriptions/{id}": ("catalogue", FLEXPRICE),
    "POST /v1/customers": ("catalogue", FLEXPRICE),
    "PUT /v1/customers": ("catalogue", FLEXPRICE),
    "POST /v1/customers/search": ("catalogue", FLEXPRICE),
    "GET /v1/customers/{id}": ("catalogue", FLEXPRICE),
    "DELETE /v1/customers/{id}": ("catalogue", FLEXPRICE),
    "GET /v1/customers/external/{external_id}": ("catalogue", FLEXPRICE),
    "GET /v1/customers/external/{external_id}/subscriptions": ("catalogue", FLEXPRICE),
    "POST /v1/subscriptions": ("catalogue", FLEXPRICE),
    "POST /v1/subscriptions/search": ("catalogue", FLEXPRICE),
    "GET /v1/subscriptions/{id}": ("catalogue", FLEXPRICE),
    "POST /v1/subscriptions/{id}/cancel": ("catalogue", FLEXPRICE),
    "POST /v1/subscriptions/{id}/change/execute": ("catalogue", FLEXPRICE),
    "POST /v1/subscriptions/{id}/change/v2/execute": ("catalogue", FLEXPRICE),
    "GET /v1/plans/{id}": ("catalogue", FLEXPRICE),
    "GET /v1/prices/{id}": ("catalogue", FLEXPRICE),
}

#: The parts of paths that routes name.
_PARTS = ("id", "external_customer_id", "external_id", "code", "transaction_id")


def refusal(scope: str, contract: str) -> dict[str, Any]:
    """Return the body of a 403 in the shape of a contract."""
    if contract == LAGO:
        return {
            "status": 403,
            "error": "Forbidden",
            "code": "missing_scope",
            "error_details": {"scope": [scope]},
            "reasons": {"scope": f"this key does not have the scope '{scope}', which this route needs"},
        }
    return {
        "code": "permission_denied",
        "message": f"This key does not have the scope '{scope}', which this route needs.",
        "http_status_code": 403,
        "details": {"scope": {"missing": scope}},
    }


class Api:
    """All functions that have routes, over one table."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.table = CountingTable()
        write_catalogue(self.table, ORGANIZATION, (), (), ())
        modules = [
            load_over(each.parent.name, self.table, monkeypatch) for each in FUNCTIONS.glob("*/app.py")
        ]
        self.apps: dict[str, Application[Any]] = {
            f"{method} {path}": module.app
            for module in modules
            if isinstance(getattr(module, "app", None), Application)
            for method, path in module.app.scopes
        }

    def key(self, *scopes: Scope) -> str:
        return create_key(self.table, ORGANIZATION.id, "test", 0, scopes)[0]

    def ask(self, route: str, key: str, body: str | None = None) -> tuple[int, Any]:
        method, path = route.split(" ")
        headers = {"Authorization": f"Bearer {key}", "x-api-key": key}
        event = {
            "httpMethod": method,
            "path": path.replace("{", "").replace("}", ""),
            "resource": path,
            "pathParameters": dict.fromkeys(_PARTS, "x"),
            "headers": headers,
            "body": body,
            "requestContext": {"requestId": "r-1"},
        }
        reply = self.apps[route].handler(event, None)
        assert reply["multiValueHeaders"]["Content-Type"] == ["application/json"]
        return reply["statusCode"], json.loads(reply["body"])


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    return Api(monkeypatch)


def test_every_route_of_every_function_has_its_scope(api: Api) -> None:
    registered = {
        f"{method} {path}": str(scope)
        for app in api.apps.values()
        for (method, path), scope in app.scopes.items()
    }
    assert registered == {route: scope for route, (scope, _) in ROUTES.items()}


def test_the_description_names_the_scope_of_every_route_that_needs_a_key() -> None:
    described = yaml.safe_load((FUNCTIONS.parent / "openapi.yaml").read_text())
    scopes = {
        f"{method.upper()} {path}": {
            scope for scheme in operation["security"] for scopes in scheme.values() for scope in scopes
        }
        for path, item in described["paths"].items()
        for method, operation in item.items()
        if isinstance(operation, dict) and operation.get("security")
    }
    assert scopes == {route: {scope} for route, (scope, _) in ROUTES.items()}


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_answers_keys_with_its_scope_alone(api: Api, route: str) -> None:
    scope, contract = ROUTES[route]
    others = [each for each in Scope if each != scope]
    opened, _ = api.ask(route, api.key(Scope(scope)))
    assert opened in (200, 201, 202, 400, 404, 422)
    for key in (api.key(*others), *(api.key(each) for each in others)):
        # The body is not JSON: nobody looks at it.
        assert api.ask(route, key, "{") == (403, refusal(scope, contract))


@pytest.mark.parametrize("route", ROUTES)
def test_a_key_without_the_scope_costs_what_any_key_costs(api: Api, route: str) -> None:
    scope, _ = ROUTES[route]
    key = api.key(*(each for each in Scope if each != scope))
    assert api.table.reads
    for reads in ((1, 1), (0, 0)):
        assert api.ask(route, key)[0] == 403
        assert api.table.reads == reads


@pytest.mark.parametrize("route", ROUTES)
def test_a_key_made_without_a_choice_opens_every_route(api: Api, route: str) -> None:
    assert api.ask(route, api.key())[0] != 403

"""openapi.yaml is valid, and says everything that the two contracts say."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest
import yaml
from openapi_spec_validator import validate

from contract.covers import gaps
from meterstone.contracts.lago import COUNTRIES, PARAMETERS
from meterstone.pricing.currency import is_currency

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "openapi.yaml").read_text(encoding="utf-8"))
CONTRACTS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "facts").glob("*.json"))
}
ANALYTICS = "GET /api/v1/analytics/usage"
SUBSCRIPTION = "POST /v1/subscriptions/usage"

type Steps = tuple[str | int, ...]
type Change = Callable[[], dict[str, Any]]


def at(steps: Steps, tree: Any = DOCUMENT) -> Any:
    for step in steps:
        tree = tree[step]
    return tree


def changed(steps: Steps, to: Any = Ellipsis) -> dict[str, Any]:
    """Give the document with one node replaced, or removed when it is to become nothing."""
    document = copy.deepcopy(DOCUMENT)
    *parents, last = steps
    holder = at(tuple(parents), document)
    if to is Ellipsis:
        del holder[last]
    else:
        holder[last] = to
    return document


def all_gaps(document: dict[str, Any]) -> list[str]:
    return [gap for facts in CONTRACTS.values() for gap in gaps(facts, document)]


def test_is_valid() -> None:
    validate(DOCUMENT)


def test_both_contracts_are_compared() -> None:
    routes = [route for facts in CONTRACTS.values() for route in facts["operations"]]
    assert sorted(routes) == [ANALYTICS, SUBSCRIPTION]
    assert [len(facts["schemas"]) for facts in CONTRACTS.values()] == [19, 5]


@pytest.mark.parametrize("contract", CONTRACTS)
def test_covers(contract: str) -> None:
    assert gaps(CONTRACTS[contract], DOCUMENT) == []


def contract_nodes() -> Iterator[tuple[str, Steps, str | None, str]]:
    """Give each property and enum value of the contracts' schemas: node and value to drop, and the gap."""
    for facts in CONTRACTS.values():
        for name, schema in facts["schemas"].items():
            steps: Steps = ("components", "schemas", name)
            for field in schema.get("properties", {}):
                yield f"{name}.{field}", (*steps, "properties", field), None, rf"[.]{field}: missing$"
            for value in schema.get("enum", ()):
                # Every 20th country and currency tells as much as all of them.
                if len(schema["enum"]) < 20 or schema["enum"].index(value) % 20 == 0:
                    yield f"{name}={value}", (*steps, "enum"), value, rf": value {value}$"


@pytest.mark.parametrize(
    ("steps", "value", "gap"), [pytest.param(*node, id=name) for name, *node in contract_nodes()]
)
def test_nothing_of_the_contracts_can_go_unnoticed(steps: Steps, value: str | None, gap: str) -> None:
    document = changed(steps, [each for each in at(steps) if each != value]) if value else changed(steps)
    found = all_gaps(document)
    assert found
    assert all(re.search(gap, each) for each in found)


USAGE: Steps = ("paths", "/api/v1/analytics/usage", "get")
PRICED: Steps = ("paths", "/v1/subscriptions/usage", "post")
SCHEMAS: Steps = ("components", "schemas")
OBJECT: Steps = (*SCHEMAS, "UsageObject")
REQUEST: Steps = (*SCHEMAS, "GetUsageBySubscriptionRequest")


@pytest.mark.parametrize(
    ("change", "gap"),
    [
        pytest.param(partial(changed, USAGE), f"{ANALYTICS}: missing", id="operation"),
        pytest.param(
            partial(changed, (*USAGE, "operationId"), "usage"), f"{ANALYTICS}: operationId", id="operation-id"
        ),
        pytest.param(partial(changed, (*USAGE, "security"), []), f"{ANALYTICS}: security", id="security"),
        pytest.param(
            partial(changed, ("components", "securitySchemes", "ApiKeyAuth", "name"), "X-Key"),
            "security scheme ApiKeyAuth: not as it was",
            id="security-header",
        ),
        pytest.param(
            partial(changed, ("components", "securitySchemes", "bearerAuth")),
            "security scheme bearerAuth: not as it was",
            id="security-scheme",
        ),
        pytest.param(
            partial(changed, (*USAGE, "parameters", 0)),
            f"{ANALYTICS} time_granularity: missing",
            id="parameter",
        ),
        pytest.param(
            partial(changed, (*USAGE, "parameters", 0, "required"), to=True),
            f"{ANALYTICS} time_granularity: required",
            id="parameter-required",
        ),
        pytest.param(
            partial(changed, (*USAGE, "parameters", 0, "schema", "enum"), ["daily", "weekly", "yearly"]),
            f"{ANALYTICS} time_granularity: value monthly",
            id="parameter-value",
        ),
        pytest.param(
            partial(changed, (*USAGE, "parameters", 2, "schema", "format")),
            f"{ANALYTICS} from_date: format date",
            id="parameter-format",
        ),
        pytest.param(
            partial(changed, (*USAGE, "parameters", 8, "schema", "anyOf", 0)),
            f"{ANALYTICS} is_billable_metric_recurring: boolean is not taken",
            id="parameter-type",
        ),
        pytest.param(
            partial(changed, (*PRICED, "responses", "500")), f"{SUBSCRIPTION} 500: missing", id="status"
        ),
        pytest.param(
            partial(changed, (*PRICED, "responses", "200", "content"), {}),
            f"{SUBSCRIPTION} 200: no application/json",
            id="media-type",
        ),
        pytest.param(
            partial(changed, (*OBJECT, "required"), ["amount_cents", "amount_currency"]),
            f"{ANALYTICS} 200.usages[].organization_id: not required",
            id="answer-requires-less",
        ),
        pytest.param(
            partial(changed, (*REQUEST, "required"), ["subscription_id", "end_time"]),
            f"{SUBSCRIPTION} request.end_time: required",
            id="request-requires-more",
        ),
        pytest.param(
            partial(changed, (*OBJECT, "properties", "amount_cents", "type"), "string"),
            f"{ANALYTICS} 200.usages[].amount_cents: integer is not taken",
            id="type",
        ),
        pytest.param(
            partial(changed, (*OBJECT, "properties", "organization_id", "format")),
            f"{ANALYTICS} 200.usages[].organization_id: format uuid",
            id="format",
        ),
        pytest.param(
            partial(changed, (*SCHEMAS, "price.Price", "properties", "min_quantity", "type"), "string"),
            f"{SUBSCRIPTION} 200.charges[].price.min_quantity: null is not taken",
            id="nullable",
        ),
        pytest.param(
            partial(
                changed, (*SCHEMAS, "price.JSONBFilters", "additionalProperties", "items", "type"), "integer"
            ),
            f"{SUBSCRIPTION} 200.charges[].filter_values.*[]: string is not taken",
            id="map-of-lists",
        ),
        pytest.param(
            partial(
                changed,
                (*SCHEMAS, "errors.ErrorResponse", "properties", "details", "additionalProperties"),
                to=False,
            ),
            f"{SUBSCRIPTION} 400.details.*: refused",
            id="map",
        ),
        pytest.param(
            partial(changed, (*SCHEMAS, "price.PriceTier", "properties", "up_to", "type"), "null"),
            f"{SUBSCRIPTION} 200.charges[].price.tiers[].up_to: integer is not taken",
            id="only-null-is-left",
        ),
    ],
)
def test_a_difference_is_named(change: Change, gap: str) -> None:
    assert gap in all_gaps(change())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            partial(changed, (*USAGE, "responses", "418"), {"description": "A teapot."}), id="status"
        ),
        pytest.param(
            partial(changed, (*OBJECT, "properties", "amount_cents", "type"), ["number", "null"]),
            id="wider-type",
        ),
        pytest.param(
            partial(changed, (*OBJECT, "properties", "plan_code"), {"type": "string"}), id="property"
        ),
        pytest.param(partial(changed, (*SCHEMAS, "types.Status"), {"type": "string"}), id="no-enum"),
        pytest.param(partial(changed, (*REQUEST, "required"), []), id="request-requires-less"),
    ],
)
def test_saying_more_is_no_gap(change: Change) -> None:
    assert all_gaps(change()) == []


def test_currencies_are_those_that_can_be_rounded() -> None:
    upper = at((*SCHEMAS, "Currency", "enum"))
    codes = ["".join(letters) for letters in product(ascii_uppercase, repeat=3)]
    assert upper == [code for code in codes if is_currency(code)]


def test_countries_are_those_that_the_analytics_know() -> None:
    assert set(at((*SCHEMAS, "Country", "enum"))) == COUNTRIES


def test_parameters_are_those_of_the_analytics() -> None:
    assert tuple(each["name"] for each in at((*USAGE, "parameters"))) == PARAMETERS


@pytest.mark.parametrize("units", ["0", "1.0", "-3.5", "123456789012345.000000000000001"])
def test_units_are_plain_decimals(units: str) -> None:
    assert re.search(at((*OBJECT, "properties", "units", "pattern")), units)


@pytest.mark.parametrize("text", ["", "1e5", ".5", "1.", "--1", "1,000", "NaN"])
def test_units_are_nothing_else(text: str) -> None:
    assert not re.search(at((*OBJECT, "properties", "units", "pattern")), text)

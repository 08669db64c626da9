"""What Lago's calls on the catalogue are refused for, whichever record they are about."""

import json
from collections.abc import Callable

import pytest

from meterstone.contracts import lago_catalogue, lago_customers, lago_subscriptions
from meterstone.contracts.message import Request
from meterstone.usage.instant import parse_instant
from support.lago import refused, request

NOW = parse_instant("2026-03-10T12:00:00Z")


@pytest.mark.parametrize("parse", [lago_customers.parse, lago_subscriptions.parse])
@pytest.mark.parametrize(
    "raw",
    ["", "[]", "{", "null", "5", '{"other": {}}', '{"customer": []}', '{"customer": {}}', '{"a":1,"a":1}'],
)
def test_what_is_no_body(parse: Callable[[Request], object], raw: str) -> None:
    status, body = refused(lambda: parse(request(raw=raw or " ")))
    assert (status, body["error"][:12]) == (400, "BadRequest: ")


def test_what_is_wrong_with_a_record_has_lago_s_names() -> None:
    reply = lago_catalogue.refuse_record(
        [
            ("end", "must be after the start"),
            ("plan", "has no price in usd"),
            ("plan", "is not offered"),
            ("details.email", "is too long"),
            ("external_id", "is that of another"),
            ("country[1].since", "must be later"),
            ("", "is too large"),
        ]
    )
    body = json.loads(reply.body)
    assert (reply.status, body["error_details"]) == (
        422,
        {
            "ending_at": ["invalid_date"],
            "plan_code": ["value_is_invalid"],
            "email": ["value_is_invalid"],
            "external_id": ["value_already_exist"],
            "country[1].since": ["value_is_invalid"],
            "base": ["value_is_invalid"],
        },
    )
    assert body["reasons"]["plan_code"] == "has no price in usd; is not offered"


def test_a_conflict_says_why() -> None:
    reply = lago_catalogue.refuse_conflict("end", "must be after the start")
    assert (reply.status, json.loads(reply.body)) == (
        409,
        {
            "status": 409,
            "error": "Conflict",
            "code": "conflict",
            "error_details": {"ending_at": ["conflict"]},
            "reasons": {"ending_at": "must be after the start"},
        },
    )


@pytest.mark.parametrize(
    ("kind", "code"),
    [("customer", "customer_not_found"), ("plan", "plan_not_found"), ("meter", "billable_metric_not_found")],
)
def test_what_is_not_found_is_named(kind: str, code: str) -> None:
    assert json.loads(lago_catalogue.not_found(kind).body) == {
        "status": 404,
        "error": "Not Found",
        "code": code,
    }

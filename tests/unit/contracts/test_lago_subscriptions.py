"""What Lago's calls on subscriptions ask for, field by field; `tests/clients` has the official client's calls."""

from collections.abc import Callable
from typing import Any

import pytest

from meterstone.contracts import lago_subscriptions
from meterstone.contracts.lago_subscription_answers import Status
from meterstone.contracts.message import Request
from meterstone.usage.instant import parse_instant
from support.lago import BAD_IDS, details, refused, request

SUBSCRIPTION = {"external_id": "acme-main", "external_customer_id": "acme", "plan_code": "team"}


def subscription(**fields: Any) -> lago_subscriptions.SubscriptionAsked:
    return lago_subscriptions.parse(request({"subscription": SUBSCRIPTION | fields}))


def update(status: object = None, **fields: Any) -> lago_subscriptions.UpdateAsked:
    body = {"subscription": fields} | ({} if status is None else {"status": status})
    return lago_subscriptions.parse_update(request(body, "acme-main"))


def test_fields_of_a_subscription_are_those_of_the_files() -> None:
    asked = subscription(
        name="Main",
        subscription_at="2026-04-01T02:00:00+02:00",
        ending_at="2027-01-01T00:00:00Z",
        billing_time="anniversary",
        plan_overrides={"amount_currency": "USD"},
        purchase_order_number="PO-1",
    )
    kept = {"billing_period": "ANNUAL", "currency": "eur"}
    assert asked.record("s1", kept, {"succeeds": "s0"}) == {
        "id": "s1",
        "external_id": "acme-main",
        "customer": "acme",
        "plan": "team",
        "start": "2026-04-01T00:00:00Z",
        "name": "Main",
        "end": "2027-01-01T00:00:00Z",
        "billing_period": "ANNUAL",
        "billing_cycle": "anniversary",
        "currency": "usd",
        "details": {"purchase_order_number": "PO-1", "succeeds": "s0"},
    }
    assert (asked.at, asked.currency) == (parse_instant("2026-04-01T00:00:00Z"), "usd")


def test_nulls_of_a_new_subscription_ask_for_nothing() -> None:
    asked = subscription(
        name=None, ending_at=None, subscription_at=None, billing_time=None, plan_overrides=None
    )
    assert (asked.at, asked.currency, asked.fields) == (None, None, {})
    assert "start" not in asked.record("s1", {}, {})


@pytest.mark.parametrize("name", SUBSCRIPTION)
@pytest.mark.parametrize(("value", "code"), BAD_IDS)
def test_ids_of_subscriptions(name: str, value: object, code: str) -> None:
    assert details(lambda: subscription(**{name: value})) == {name: [code]}


@pytest.mark.parametrize(
    ("name", "value", "codes"),
    [
        pytest.param("name", ["a"], ["value_is_invalid"], id="name a list"),
        pytest.param("subscription_at", "2026-02-30T00:00:00Z", ["invalid_date"], id="no such day"),
        pytest.param("subscription_at", "2026-02-03", ["invalid_date"], id="a bare date"),
        pytest.param("subscription_at", 1767225600, ["invalid_date"], id="a number"),
        pytest.param("ending_at", "soon", ["invalid_date"], id="no end"),
        pytest.param("ending_at", "2026-01-01T00:00:00Z" + "0" * 100, ["invalid_date"], id="end huge"),
        pytest.param("billing_time", "weekly", ["value_is_invalid"], id="billing time"),
        pytest.param("billing_time", 1, ["value_is_invalid"], id="billing time a number"),
        pytest.param("purchase_order_number", "x" * 1001, ["value_is_too_long"], id="order number huge"),
        pytest.param("plan_overrides", "cheap", ["value_is_invalid"], id="overrides a text"),
        pytest.param(
            "payment_method",
            {"payment_method_type": "card"},
            ["value_is_invalid", "not_supported"],
            id="payment",
        ),
        pytest.param("consolidate_invoice", True, ["value_is_invalid", "not_supported"], id="consolidated"),
        pytest.param("activation_rules", [{}], ["value_is_invalid", "not_supported"], id="rules"),
        pytest.param("usage_thresholds", [{}], ["value_is_invalid", "not_supported"], id="thresholds"),
    ],
)
def test_bad_fields_of_a_subscription(name: str, value: object, codes: list[str]) -> None:
    assert details(lambda: subscription(**{name: value})) == {name: codes}


def test_overrides_that_do_not_map_are_refused_by_name() -> None:
    overrides = {
        "amount_currency": "EURO",
        "amount_cents": 0,
        "charges": [{}],
        "name": "",
        "description": None,
    }
    assert details(lambda: subscription(plan_overrides=overrides)) == {
        "plan_overrides.amount_currency": ["value_is_invalid"],
        "plan_overrides.amount_cents": ["value_is_invalid", "not_supported"],
        "plan_overrides.charges": ["value_is_invalid", "not_supported"],
    }


def test_a_pre_authorization_is_refused() -> None:
    body = {"subscription": SUBSCRIPTION, "authorization": {"amount_cents": 100}}
    assert details(lambda: lago_subscriptions.parse(request(body))) == {
        "authorization": ["value_is_invalid", "not_supported"]
    }


def test_an_update_is_of_the_active_one_unless_it_says_pending() -> None:
    asked = update(name=None, ending_at="2027-01-01T00:00:00Z", purchase_order_number=None)
    assert (asked.external_id, asked.status) == ("acme-main", Status.ACTIVE)
    assert asked.fields == {"name": "", "end": "2027-01-01T00:00:00Z"}
    assert asked.details == {"purchase_order_number": None}
    pending = update("pending", ending_at=None, subscription_at="2026-05-01T00:00:00Z")
    assert (pending.status, pending.fields) == (
        Status.PENDING,
        {"end": None, "start": "2026-05-01T00:00:00Z"},
    )


@pytest.mark.parametrize(
    ("status", "fields", "expected"),
    [
        pytest.param(
            "canceled", {"name": "a"}, {"status": ["value_is_invalid"]}, id="a status that has ended"
        ),
        pytest.param(None, {"ending_at": 5}, {"ending_at": ["invalid_date"]}, id="end a number"),
        pytest.param(
            None,
            {"subscription_at": "2026-05-01T00:00:00Z"},
            {"subscription_at": ["value_is_invalid", "not_supported"]},
            id="start of one that has begun",
        ),
        pytest.param(
            "pending", {"subscription_at": None}, {"subscription_at": ["invalid_date"]}, id="no start"
        ),
        pytest.param(
            None,
            {"plan_overrides": {"amount_currency": "USD"}},
            {"plan_overrides.amount_currency": ["value_is_invalid", "not_supported"]},
            id="another currency",
        ),
    ],
)
def test_bad_updates(status: object, fields: dict[str, Any], expected: dict[str, list[str]]) -> None:
    assert details(lambda: update(status, **fields)) == expected


@pytest.mark.parametrize("path", ["", "x" * 256, "a\0b", "a%00b\n"])
@pytest.mark.parametrize("parse", [lago_subscriptions.parse_one, lago_subscriptions.parse_update])
def test_a_path_that_no_id_can_be_is_not_found(parse: Callable[[Request], object], path: str) -> None:
    assert refused(lambda: parse(request({"subscription": {"name": "a"}}, path))) == (
        404,
        {"status": 404, "error": "Not Found", "code": "subscription_not_found"},
    )


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param({"status": ["pending"]}, Status.PENDING, id="one"),
        pytest.param({"status[]": ["canceled"]}, Status.CANCELED, id="as a list"),
        pytest.param({"on_termination_invoice": ["skip"]}, None, id="no invoice"),
        pytest.param(None, None, id="none"),
    ],
)
def test_the_status_of_one(parameters: dict[str, list[str]] | None, expected: Status | None) -> None:
    assert lago_subscriptions.parse_one(request(path="a", parameters=parameters)).status is expected


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param({"status": ["gone"]}, {"status": ["value_is_invalid"]}, id="no status"),
        pytest.param({"status": ["active", "pending"]}, {"status": ["value_is_invalid"]}, id="two"),
        pytest.param(
            {"on_termination_invoice": ["generate"], "on_termination_credit_note": ["credit"]},
            {
                "on_termination_invoice": ["value_is_invalid", "not_supported"],
                "on_termination_credit_note": ["value_is_invalid", "not_supported"],
            },
            id="an invoice",
        ),
    ],
)
def test_bad_parameters_of_one(parameters: dict[str, list[str]], expected: dict[str, list[str]]) -> None:
    assert details(lambda: lago_subscriptions.parse_one(request(path="a", parameters=parameters))) == expected

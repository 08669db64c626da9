"""Lago's calls on the catalogue, field by field; `tests/clients` has the answers."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from meterstone.contracts import (
    lago_catalogue,
    lago_customers,
    lago_pages,
    lago_plans,
    lago_subscription_answers,
    lago_subscriptions,
)
from meterstone.contracts.lago_events import uuid_of
from meterstone.contracts.lago_subscription_answers import Status, chosen, next_id, plan_of, status_of
from meterstone.contracts.message import Reply, Request, RequestRefusedError
from meterstone.pricing.commitment import Commitment
from meterstone.pricing.price import (
    BillingModel,
    Price,
    PriceType,
    RoundType,
    Tier,
    TierMode,
    TransformQuantity,
)
from meterstone.usage.instant import DAY, parse_instant
from meterstone.usage.meter import Aggregation, Filter, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Customer, Dated
from meterstone.usage.terms import PlanTerm, Terms

ORGANIZATION = "5d1f3a52-8f0e-4b8e-9a53-0b7b0a6f1c11"
NOW = parse_instant("2026-03-10T12:00:00Z")
MADE, PUT = parse_instant("2026-01-01T00:00:00Z"), parse_instant("2026-02-01T00:00:00.5Z")


class Stamp(NamedTuple):
    made_at: int = MADE
    put_at: int = PUT
    rev: int = 1


class Stored[T](NamedTuple):
    value: T
    stamp: Stamp = Stamp()


def request(
    body: object = None, path: str = "", parameters: dict[str, list[str]] | None = None, *, raw: str = ""
) -> Request:
    return Request.of(
        {
            "httpMethod": "POST",
            "path": "/",
            "body": raw or json.dumps(body),
            "pathParameters": {"external_id": path, "external_customer_id": path},
            "multiValueQueryStringParameters": parameters,
        }
    )


def refused(call: Callable[[], object]) -> tuple[int, dict[str, Any]]:
    with pytest.raises(RequestRefusedError) as caught:
        call()
    return caught.value.reply.status, json.loads(caught.value.reply.body)


def details(call: Callable[[], object]) -> Any:
    status, body = refused(call)
    assert status == 422
    assert body["error_details"].keys() == body["reasons"].keys()
    return body["error_details"]


def body_of(reply: Reply) -> Any:
    assert reply.status == 200
    return json.loads(reply.body)


def customer(**fields: Any) -> lago_customers.CustomerAsked:
    return lago_customers.parse(request({"customer": {"external_id": "acme"} | fields}))


SUBSCRIPTION = {"external_id": "acme-main", "external_customer_id": "acme", "plan_code": "team"}


def subscription(**fields: Any) -> lago_subscriptions.SubscriptionAsked:
    return lago_subscriptions.parse(request({"subscription": SUBSCRIPTION | fields}))


def update(status: object = None, **fields: Any) -> lago_subscriptions.UpdateAsked:
    body = {"subscription": fields} | ({} if status is None else {"status": status})
    return lago_subscriptions.parse_update(request(body, "acme-main"))


BAD_IDS = [
    pytest.param(None, "value_is_mandatory", id="null"),
    pytest.param("", "value_is_mandatory", id="empty"),
    pytest.param(" \t", "value_is_mandatory", id="blank"),
    pytest.param("x" * 256, "value_is_too_long", id="long"),
    pytest.param("a\0", "value_is_invalid", id="NUL"),
    pytest.param("a ", "value_is_invalid", id="white space at the end"),
    pytest.param("\ud800", "value_is_invalid", id="half a pair"),
    pytest.param(5, "value_is_invalid", id="number"),
    pytest.param(True, "value_is_invalid", id="boolean"),
    pytest.param(["a"], "value_is_invalid", id="list"),
    pytest.param({"a": 1}, "value_is_invalid", id="object"),
]


@pytest.mark.parametrize("parse", [lago_customers.parse, lago_subscriptions.parse])
@pytest.mark.parametrize(
    "raw",
    ["", "[]", "{", "null", "5", '{"other": {}}', '{"customer": []}', '{"customer": {}}', '{"a":1,"a":1}'],
)
def test_what_is_no_body(parse: Callable[[Request], object], raw: str) -> None:
    status, body = refused(lambda: parse(request(raw=raw or " ")))
    assert (status, body["error"][:12]) == (400, "BadRequest: ")


# Customers.


def test_fields_of_a_customer_are_those_of_the_files() -> None:
    asked = customer(
        name="Acme", country="de", timezone="Europe/Berlin", currency="EUR", customer_type="company"
    )
    assert asked.external_id == "acme"
    assert asked.record({}) == {
        "name": "Acme",
        "country": "DE",
        "timezone": "Europe/Berlin",
        "currency": "eur",
        "customer_type": "company",
    }


def test_what_is_absent_stays_and_null_takes_away() -> None:
    address = {"city": "Ulm", "state": "BW"}
    stored: dict[str, Any] = {"email": "a@b.example", "city": "Bonn", "shipping_address": address}
    assert customer().record(stored) == {}
    asked = customer(name=None, timezone=None, email=None, phone="1", shipping_address={"city": "Köln"})
    assert asked.record(stored) == {
        "name": "",
        "timezone": None,
        "details": {"city": "Bonn", "phone": "1", "shipping_address": {"city": "Köln", "state": "BW"}},
    }
    assert customer(shipping_address=None, city=None).record(stored) == {"details": {"email": "a@b.example"}}


def test_metadata_is_the_whole_of_it() -> None:
    asked = customer(
        metadata=[{"key": "po", "value": "7", "display_in_invoice": True}, {"key": "x", "value": "y"}]
    )
    stored = asked.record({"metadata": {"old": "1"}, "metadata_in_invoice": {"old": True}})["details"]
    assert stored == {"metadata": {"po": "7", "x": "y"}, "metadata_in_invoice": {"po": True}}
    assert isinstance(stored, dict)
    assert customer(metadata=[]).record(stored) == {"details": {}}


@pytest.mark.parametrize(("value", "code"), BAD_IDS)
def test_ids_of_customers(value: object, code: str) -> None:
    assert details(lambda: customer(external_id=value)) == {"external_id": [code]}


@pytest.mark.parametrize(
    ("name", "value", "codes"),
    [
        pytest.param("name", 5, ["value_is_invalid"], id="name a number"),
        pytest.param("name", "x" * 1001, ["value_is_too_long"], id="name huge"),
        pytest.param("name", "a\x1b", ["value_is_invalid"], id="name with a control character"),
        pytest.param("city", "\ud800", ["value_is_invalid"], id="half a pair"),
        pytest.param("city", ["Bonn"], ["value_is_invalid"], id="city a list"),
        pytest.param("country", "XX", ["not_a_valid_country_code"], id="no country"),
        pytest.param("country", "Germany", ["not_a_valid_country_code"], id="a country's name"),
        pytest.param("country", "\u017fe", ["not_a_valid_country_code"], id="a letter that upper() maps"),
        pytest.param("country", 49, ["not_a_valid_country_code"], id="country a number"),
        pytest.param("currency", "EURO", ["value_is_invalid"], id="no currency"),
        pytest.param("currency", 978, ["value_is_invalid"], id="currency a number"),
        pytest.param("timezone", "Mars/Base", ["value_is_invalid"], id="no zone"),
        pytest.param("timezone", "../etc/passwd", ["value_is_invalid"], id="a path"),
        pytest.param("timezone", 1, ["value_is_invalid"], id="zone a number"),
        pytest.param("customer_type", "robot", ["value_is_invalid"], id="no type"),
        pytest.param("net_payment_term", -1, ["value_is_out_of_range"], id="term below 0"),
        pytest.param("net_payment_term", 10**30, ["value_is_out_of_range"], id="term huge"),
        pytest.param("net_payment_term", 1.5, ["value_is_invalid"], id="term a fraction"),
        pytest.param("net_payment_term", True, ["value_is_invalid"], id="term a boolean"),
        pytest.param("finalize_zero_amount_invoice", "maybe", ["value_is_invalid"], id="finalize"),
        pytest.param("shipping_address", "here", ["value_is_invalid"], id="address a text"),
        pytest.param("metadata", {"po": "7"}, ["value_is_invalid"], id="metadata an object"),
        pytest.param("metadata", [{}] * 21, ["value_is_too_long"], id="metadata huge"),
        pytest.param("tax_codes", ["vat"], ["value_is_invalid", "not_supported"], id="taxes"),
        pytest.param(
            "integration_customers", [{"id": "1"}], ["value_is_invalid", "not_supported"], id="integrations"
        ),
        pytest.param("billing_entity_code", "b", ["value_is_invalid", "not_supported"], id="billing entity"),
        pytest.param(
            "skip_invoice_custom_sections", True, ["value_is_invalid", "not_supported"], id="skipped sections"
        ),
        pytest.param(
            "invoice_custom_section_codes", ["a"], ["value_is_invalid", "not_supported"], id="sections"
        ),
    ],
)
def test_bad_fields_of_a_customer(name: str, value: object, codes: list[str]) -> None:
    assert details(lambda: customer(**{name: value})) == {name: codes}


def test_bad_fields_inside_a_customer_are_named_by_their_paths() -> None:
    found = details(
        lambda: customer(
            shipping_address={"city": 1, "country": "XX"},
            metadata=[{"key": "a", "value": "1"}, "b", {"value": "1"}, {"key": "a", "value": 1}],
            billing_configuration={"payment_provider": "stripe", "sync": False, "document_locale": "fr"},
        )
    )
    assert found == {
        "shipping_address.city": ["value_is_invalid"],
        "shipping_address.country": ["not_a_valid_country_code"],
        "metadata[1]": ["value_is_invalid"],
        "metadata[2].key": ["value_is_mandatory"],
        "metadata[3].key": ["value_already_exist"],
        "metadata[3].value": ["value_is_invalid"],
        "billing_configuration.payment_provider": ["value_is_invalid", "not_supported"],
        "billing_configuration.document_locale": ["value_is_invalid", "not_supported"],
    }


def test_what_asks_for_nothing_and_what_lago_has_not_is_taken() -> None:
    nothing: dict[str, Any] = {
        "tax_codes": [],
        "integration_customers": None,
        "skip_invoice_custom_sections": False,
        "billing_entity_code": "",
        "billing_configuration": {},
        "hair_colour": "red",
    }
    assert customer(**nothing).record({}) == {}


def test_a_customer_in_an_answer() -> None:
    kept: dict[str, Any] = {
        "email": "a@b.example",
        "net_payment_term": 30,
        "metadata": {"po": "7"},
        "metadata_in_invoice": {"po": True},
    }
    stored = Customer(
        "acme",
        country=(Dated("DE"), Dated("FR", NOW)),
        currency="jpy",
        details=kept | {"shipping_address": {"city": "Ulm"}},
    )
    found = body_of(lago_customers.answer(ORGANIZATION, "Asia/Tokyo", Stored(stored), NOW))["customer"]
    expected = {
        "lago_id": str(uuid_of(ORGANIZATION, "customer", "acme")),
        "external_id": "acme",
        "name": None,
        "country": "FR",
        "currency": "JPY",
        "customer_type": None,
        "timezone": None,
        "applicable_timezone": "Asia/Tokyo",
        "email": "a@b.example",
        "net_payment_term": 30,
        "metadata": [
            {
                "lago_id": str(uuid_of(ORGANIZATION, "metadata", "acme", "po")),
                "key": "po",
                "value": "7",
                "display_in_invoice": True,
            }
        ],
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-02-01T00:00:00.5Z",
    }
    assert {name: found[name] for name in expected} == expected
    assert found["shipping_address"]["city"] == "Ulm"
    assert (
        found["integration_customers"] == found["taxes"] == found["applicable_invoice_custom_sections"] == []
    )


# Subscriptions.


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


def test_a_list_is_of_active_ones_unless_it_says_others() -> None:
    plain = lago_subscriptions.parse_list(request())
    assert (plain.page, plain.statuses, plain.filters) == (
        lago_pages.PageAsked(1, 100),
        frozenset({Status.ACTIVE}),
        True,
    )
    asked = lago_subscriptions.parse_list(
        request(
            parameters={
                "status[]": ["pending", "active"],
                "external_customer_id": ["acme"],
                "plan_code": ["team"],
                "currency": ["EUR"],
                "page": ["2"],
                "per_page": ["7"],
            }
        )
    )
    assert (asked.page, asked.statuses) == (
        lago_pages.PageAsked(2, 7),
        frozenset({Status.PENDING, Status.ACTIVE}),
    )
    assert (asked.customer_id, asked.plan_code, asked.currency, asked.external_id) == (
        "acme",
        "team",
        "eur",
        None,
    )
    every = lago_subscriptions.parse_list(request(parameters={"status[]": list(Status)}))
    assert not every.filters


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param(
            {"page": ["0"], "per_page": ["101"], "status[]": ["x"], "plan_code": [""]},
            {
                "page": ["value_is_out_of_range"],
                "per_page": ["value_is_out_of_range"],
                "plan_code": ["value_is_mandatory"],
                "status": ["value_is_invalid"],
            },
            id="every one at once",
        ),
        pytest.param({"page": ["9" * 5000]}, {"page": ["value_is_out_of_range"]}, id="page huge"),
        pytest.param({"page": ["1", "2"]}, {"page": ["value_is_invalid"]}, id="page repeated"),
        pytest.param({"external_id[]": ["a"]}, {"external_id": ["value_is_invalid"]}, id="a list of ids"),
        pytest.param({"currency": ["EURO"]}, {"currency": ["value_is_invalid"]}, id="currency"),
        pytest.param(
            {"billing_entity_codes[]": ["a"], "overridden": ["true"]},
            {
                "billing_entity_codes": ["value_is_invalid", "not_supported"],
                "overridden": ["value_is_invalid", "not_supported"],
            },
            id="filters that Lago has",
        ),
    ],
)
def test_bad_parameters_of_lists(parameters: dict[str, list[str]], expected: dict[str, list[str]]) -> None:
    assert details(lambda: lago_subscriptions.parse_list(request(parameters=parameters))) == expected


def test_customers_are_not_filtered() -> None:
    assert lago_customers.parse_list(request(parameters={"page": ["3"], "colour": ["red"]})) == (3, 100)
    found = details(
        lambda: lago_customers.parse_list(request(parameters={"search_term": ["a"], "page": ["x"]}))
    )
    assert found == {"page": ["value_is_invalid"], "search_term": ["value_is_invalid", "not_supported"]}


def terms(subscription_id: str = "acme-main", **fields: Any) -> Terms:
    known: dict[str, Any] = {
        "customer_id": "acme",
        "currency": "eur",
        "timezone": "UTC",
        "start": MADE,
        "plan": (PlanTerm("team"),),
        "external_id": "acme-main",
    }
    return Terms(id=subscription_id, **known | fields)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param({}, Status.ACTIVE, id="begun"),
        pytest.param({"start": NOW}, Status.ACTIVE, id="begins now"),
        pytest.param({"start": NOW + 1}, Status.PENDING, id="begins later"),
        pytest.param({"end": NOW + 1}, Status.ACTIVE, id="ends later"),
        pytest.param({"end": NOW}, Status.TERMINATED, id="ends now"),
        pytest.param({"start": NOW + DAY, "canceled_at": NOW}, Status.CANCELED, id="called off"),
        pytest.param({"start": NOW - DAY, "canceled_at": MADE}, Status.CANCELED, id="called off long ago"),
    ],
)
def test_the_status_follows_from_the_clock(fields: dict[str, Any], status: Status) -> None:
    assert status_of(terms(**fields), NOW) is status


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        pytest.param({}, "team", id="one plan"),
        pytest.param({"plan": (PlanTerm("team"), PlanTerm("big", NOW))}, "big", id="another one from now"),
        pytest.param({"plan": (PlanTerm("team"), PlanTerm("big", NOW + 1))}, "team", id="another one soon"),
        pytest.param(
            {"plan": (PlanTerm("team"), PlanTerm("big", NOW - 5)), "end": NOW - 5},
            "team",
            id="ended before it",
        ),
        pytest.param(
            {"plan": (PlanTerm("team"), PlanTerm("big", NOW + DAY)), "start": NOW + DAY}, "big", id="ahead"
        ),
    ],
)
def test_the_plan_of_a_subscription(fields: dict[str, Any], code: str) -> None:
    assert plan_of(terms(**fields), NOW) == code


def test_which_one_of_an_external_id_a_status_means() -> None:
    first = Stored(terms("1", start=MADE, end=MADE + DAY))
    second = Stored(terms("2", start=MADE + DAY, end=NOW))
    active = Stored(terms("3", start=NOW, end=NOW + DAY))
    soon, later = Stored(terms("4", start=NOW + DAY)), Stored(terms("5", start=NOW + 9 * DAY))
    every = [later, soon, active, second, first]
    assert chosen(every, Status.TERMINATED, NOW) is second
    assert chosen(every, Status.ACTIVE, NOW) is active
    assert chosen(every, Status.PENDING, NOW) is soon
    assert chosen(every, Status.CANCELED, NOW) is None


def test_ids_are_never_taken_twice() -> None:
    taken: list[str] = []
    for _ in range(4):
        taken.append(next_id(ORGANIZATION, "acme-main", "team", taken))
    assert taken[0] == "acme-main"
    assert len(set(taken)) == 4
    assert next_id(ORGANIZATION, "acme-main", "team", reversed(taken[:2])) == taken[2]
    assert next_id(ORGANIZATION, "x" * 100, "team", []) == "x" * 100
    assert len(next_id(ORGANIZATION, "x" * 101, "team", [])) == 36
    others = [("other", "team"), ("acme-main", "big")]
    assert not {next_id(ORGANIZATION, *each, ["other", "acme-main"]) for each in others} & set(taken)


def test_a_subscription_in_an_answer() -> None:
    changed = NOW - DAY
    stored = Stored(
        terms(
            "next",
            start=changed,
            anchor=MADE,
            billing_cycle=BillingCycle.ANNIVERSARY,
            billing_period=BillingPeriod.MONTHLY,
            end=NOW + 90 * DAY,
            plan=(PlanTerm("big", None, 2),),
            name="Main",
            details={"purchase_order_number": "PO-1"},
        )
    )
    siblings = [
        stored.value,
        terms(end=changed),
        terms("called-off", start=NOW + 90 * DAY, plan=(PlanTerm("x"),), canceled_at=NOW),
        terms("after", start=NOW + 90 * DAY, plan=(PlanTerm("small"),)),
    ]
    found = body_of(lago_subscription_answers.answer(ORGANIZATION, stored, siblings, NOW))["subscription"]
    expected: dict[str, Any] = {
        "lago_id": str(uuid_of(ORGANIZATION, "subscription", "next")),
        "external_id": "acme-main",
        "lago_customer_id": str(uuid_of(ORGANIZATION, "customer", "acme")),
        "external_customer_id": "acme",
        "name": "Main",
        "plan_code": "big",
        "plan_amount_currency": "EUR",
        "status": "active",
        "billing_time": "anniversary",
        "subscription_at": "2026-01-01T00:00:00Z",
        "started_at": "2026-03-09T12:00:00Z",
        "ending_at": "2026-06-08T12:00:00Z",
        "terminated_at": None,
        "canceled_at": None,
        "previous_plan_code": "team",
        "next_plan_code": "small",
        "downgrade_plan_date": None,
        "purchase_order_number": "PO-1",
        # The first one begins with the subscription.
        "current_billing_period_started_at": "2026-03-09T12:00:00Z",
        "current_billing_period_ending_at": "2026-03-31T23:59:59.999999Z",
        "applied_invoice_custom_sections": [],
        "activation_rules": [],
        "created_at": "2026-01-01T00:00:00Z",
    }
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            {"start": NOW + DAY},
            {
                "status": "pending",
                "started_at": None,
                "subscription_at": "2026-03-11T12:00:00Z",
                "ending_at": None,
            },
            id="pending",
        ),
        pytest.param(
            {"end": NOW},
            {
                "status": "terminated",
                "started_at": "2026-01-01T00:00:00Z",
                "terminated_at": "2026-03-10T12:00:00Z",
                "ending_at": "2026-03-10T12:00:00Z",
                "current_billing_period_started_at": None,
            },
            id="terminated",
        ),
        pytest.param(
            {"start": NOW + DAY, "canceled_at": NOW},
            {
                "status": "canceled",
                "started_at": None,
                "canceled_at": "2026-03-10T12:00:00Z",
                "terminated_at": None,
                "ending_at": None,
            },
            id="canceled",
        ),
        pytest.param(
            {"billing_period": BillingPeriod.ONETIME},
            {
                "current_billing_period_started_at": "2026-01-01T00:00:00Z",
                "current_billing_period_ending_at": None,
            },
            id="a billing period without end",
        ),
    ],
)
def test_instants_of_a_subscription(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    found = lago_subscription_answers.subscription_object(ORGANIZATION, Stored(terms(**fields)), [], NOW)
    assert {name: found[name] for name in expected} == expected


# Plans and metrics.

CALLS = Meter("m-calls", "calls", "Calls", Aggregation.COUNT, "call")
LEVEL = Meter(
    "m-level",
    "level",
    "Level",
    Aggregation.WEIGHTED_SUM,
    "level",
    "gb",
    filters=(Filter("region", ("eu",)),),
    recurring=True,
)


def price(price_id: str, model: BillingModel = BillingModel.FLAT_FEE, **fields: Any) -> Price:
    return Price(price_id, "eur", model, **{"meter_id": "m-calls"} | fields)


TIERS = (
    Tier(1000, Decimal("0.0000000001")),
    Tier(10**17, Decimal("0.10"), Decimal(2)),
    Tier(None, Decimal("1e-18")),
)
RANGES = [
    {"from_value": 0, "to_value": 1000, "per_unit_amount": "0.0000000001", "flat_amount": "0"},
    {"from_value": 1001, "to_value": 10**17, "per_unit_amount": "0.1", "flat_amount": "2"},
    {
        "from_value": 10**17 + 1,
        "to_value": None,
        "per_unit_amount": "0.000000000000000001",
        "flat_amount": "0",
    },
]


@pytest.mark.parametrize(
    ("given", "model", "properties"),
    [
        pytest.param(price("p", amount=Decimal("12.50")), "standard", {"amount": "12.5"}, id="standard"),
        pytest.param(
            price("p", BillingModel.PACKAGE, amount=Decimal(5), transform_quantity=TransformQuantity(1000)),
            "package",
            {"amount": "5", "free_units": 0, "package_size": 1000},
            id="package",
        ),
        pytest.param(
            price("p", BillingModel.TIERED, tier_mode=TierMode.VOLUME, tiers=TIERS),
            "volume",
            {"volume_ranges": RANGES},
            id="volume",
        ),
        pytest.param(
            price("p", BillingModel.TIERED, tier_mode=TierMode.SLAB, tiers=TIERS),
            "graduated",
            {"graduated_ranges": RANGES},
            id="graduated",
        ),
    ],
)
def test_a_price_is_the_charge_model_that_says_the_same(
    given: Price, model: str, properties: dict[str, Any]
) -> None:
    stored = Stored(Plan("team", prices=("p",)))
    found = body_of(lago_plans.answer_plan(ORGANIZATION, stored, {"p": given}, {"m-calls": CALLS}))
    (charge,) = found["plan"]["charges"]
    assert (charge["charge_model"], charge["properties"]) == (model, properties)
    assert (charge["billable_metric_code"], charge["code"]) == ("calls", "p")
    assert charge["lago_billable_metric_id"] == str(uuid_of(ORGANIZATION, "billable_metric", "m-calls"))
    assert charge["filters"] == charge["taxes"] == []


def test_a_plan_has_the_charges_in_its_currency() -> None:
    prices = {
        "a": price("a", details={"display_name": "Calls"}),
        "b": Price("b", "jpy", BillingModel.FLAT_FEE, meter_id="m-calls"),
        "c": price("c", type=PriceType.FIXED, meter_id="", amount=Decimal(50)),
        "d": price(
            "d",
            BillingModel.PACKAGE,
            transform_quantity=TransformQuantity(10, RoundType.DOWN),
            billing_period="DAILY",
        ),
    }
    plan = Plan(
        "team",
        description="For teams",
        currency="eur",
        billing_period=BillingPeriod.QUARTERLY,
        commitment=Commitment(Decimal("100.0"), Decimal("1.5")),
        prices=("a", "b", "c", "d"),
        version=3,
    )
    found = lago_plans.plan_object(ORGANIZATION, Stored(plan), prices, {"m-calls": CALLS})
    assert [each["code"] for each in found["charges"]] == ["a", "d"]
    assert [(each["add_on_code"], each["properties"]) for each in found["fixed_charges"]] == [
        ("c", {"amount": "50"})
    ]
    assert found["charges"][0]["invoice_display_name"] == "Calls"
    assert found["charges"][1]["meterstone"] == {
        "price_id": "d",
        "currency": "EUR",
        "billing_period": "DAILY",
        "billing_period_count": 1,
        "round": "down",
    }
    assert (found["name"], found["interval"], found["amount_currency"]) == ("team", "quarterly", "EUR")
    assert found["meterstone"] == {
        "version": 3,
        "billing_period": "QUARTERLY",
        "billing_period_count": 1,
        "currencies": ["EUR", "JPY"],
        "commitment": {"amount": "100", "overage_factor": "1.5", "split": "amount"},
    }


@pytest.mark.parametrize(
    ("period", "count", "interval"),
    [
        pytest.param(None, 1, "monthly", id="none"),
        pytest.param(BillingPeriod.WEEKLY, 1, "weekly", id="weekly"),
        pytest.param(BillingPeriod.HALF_YEARLY, 1, "semiannual", id="half-yearly"),
        pytest.param(BillingPeriod.ANNUAL, 1, "yearly", id="annual"),
        pytest.param(BillingPeriod.MONTHLY, 2, None, id="every other month"),
        pytest.param(BillingPeriod.DAILY, 1, None, id="daily"),
        pytest.param(BillingPeriod.ONETIME, 1, None, id="one time"),
    ],
)
def test_the_interval_of_a_plan(period: BillingPeriod | None, count: int, interval: str | None) -> None:
    plan = Plan("team", billing_period=period, billing_period_count=count)
    assert lago_plans.plan_object(ORGANIZATION, Stored(plan), {}, {})["interval"] == interval


def test_a_plan_in_several_currencies_and_none_of_its_own() -> None:
    prices = {"a": price("a"), "b": Price("b", "jpy", BillingModel.FLAT_FEE, meter_id="m-calls")}
    found = lago_plans.plan_object(
        ORGANIZATION, Stored(Plan("team", prices=("a", "b"))), prices, {"m-calls": CALLS}
    )
    assert found["amount_currency"] is None
    assert [each["meterstone"]["currency"] for each in found["charges"]] == ["EUR", "JPY"]
    one = lago_plans.plan_object(
        ORGANIZATION, Stored(Plan("team", prices=("b",))), prices, {"m-calls": CALLS}
    )
    assert one["amount_currency"] == "JPY"


def test_a_metric_in_an_answer() -> None:
    found = body_of(lago_plans.answer_metric(ORGANIZATION, LEVEL, Stamp()))["billable_metric"]
    assert found == {
        "lago_id": str(uuid_of(ORGANIZATION, "billable_metric", "m-level")),
        "name": "Level",
        "code": "level",
        "description": None,
        "aggregation_type": "weighted_sum_agg",
        "field_name": "gb",
        "recurring": True,
        "rounding_function": None,
        "rounding_precision": None,
        "weighted_interval": "seconds",
        "expression": None,
        "filters": [],
        "created_at": "2026-01-01T00:00:00Z",
        "meterstone": {
            "id": "m-level",
            "aggregation": "WEIGHTED_SUM",
            "event_name": "level",
            "multiplier": "1",
            "filters": {"region": ["eu"]},
            "bucket_size": None,
        },
    }


def test_pages_of_metrics() -> None:
    meters = [LEVEL, CALLS, LEVEL]
    page = lago_pages.PageAsked(2, 2)
    found = body_of(lago_plans.answer_metrics(ORGANIZATION, page, meters, {"m-calls": Stamp()}))
    assert [(each["code"], each["created_at"]) for each in found["billable_metrics"]] == [
        ("level", "1970-01-01T00:00:00Z")
    ]
    assert found["meta"] == {
        "current_page": 2,
        "next_page": None,
        "prev_page": 1,
        "total_pages": 2,
        "total_count": 3,
    }


# Refusals.


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


def test_a_conflict_names_the_earliest_instant() -> None:
    reply = lago_catalogue.refuse_conflict("end", "usage after it is counted", NOW)
    assert (reply.status, json.loads(reply.body)) == (
        409,
        {
            "status": 409,
            "error": "Conflict",
            "code": "usage_would_move",
            "error_details": {"ending_at": ["usage_would_move"]},
            "reasons": {"ending_at": "usage after it is counted"},
            "earliest_at": "2026-03-10T12:00:00Z",
        },
    )
    never = json.loads(lago_catalogue.refuse_conflict("", "a subscription refers to it", None).body)
    assert (never["code"], "earliest_at" in never) == ("conflict", False)


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

"""Flexprice's request, field by field, and its answer."""

import base64
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from meterstone.contracts import flexprice
from meterstone.contracts.flexprice import UsageRequest
from meterstone.contracts.message import Problem, Request, RequestRefusedError
from meterstone.pricing import commitment
from meterstone.pricing.commitment import Charge, Commitment
from meterstone.pricing.price import BillingModel, Price, RoundType, Tier, TierMode, TransformQuantity
from meterstone.usage.instant import parse_instant
from meterstone.usage.meter import Aggregation, Filter, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.statement import Statement
from meterstone.usage.subscription import Dated, LineItem, Subscription
from meterstone.usage.window import Window

START = parse_instant("2024-03-01T00:00:00Z")
END = parse_instant("2024-04-01T00:00:00.5Z")


def request(
    body: str | None, headers: Mapping[str, str] | None = None, *, is_base64: bool = False
) -> Request:
    return Request.of(
        {
            "httpMethod": "POST",
            "path": "/v1/subscriptions/usage",
            "headers": dict(headers or {}),
            "body": body,
            "isBase64Encoded": is_base64,
        }
    )


def parse(**fields: Any) -> UsageRequest:
    return flexprice.parse(request(json.dumps(fields)))


def refused(body: str | None, *, is_base64: bool = False) -> dict[str, Any]:
    with pytest.raises(RequestRefusedError) as caught:
        flexprice.parse(request(body, is_base64=is_base64))
    answer: dict[str, Any] = json.loads(caught.value.reply.body)
    assert answer["http_status_code"] == caught.value.reply.status
    return answer


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        pytest.param({}, UsageRequest("s"), id="the current billing period"),
        pytest.param(
            {"start_time": None, "end_time": None, "lifetime_usage": None}, UsageRequest("s"), id="nulls"
        ),
        pytest.param(
            {"start_time": "0001-01-01T00:00:00Z", "end_time": "0001-01-01T00:00:00Z"},
            UsageRequest("s"),
            id="zero times",
        ),
        pytest.param({"start_time": "2024-03-01T00:00:00Z"}, UsageRequest("s", START), id="a start"),
        pytest.param(
            {"end_time": "2024-04-01T00:00:00.5"}, UsageRequest("s", None, END), id="an end without offset"
        ),
        pytest.param(
            {"start_time": "2024-03-01T01:00:00+01:00", "end_time": "2024-04-01T00:00:00.5000009Z"},
            UsageRequest("s", START, END),
            id="both, finer than a microsecond",
        ),
        pytest.param(
            {"start_time": "2024-03-01T00:00:00Z", "end_time": "2024-03-01T00:00:00Z"},
            UsageRequest("s", START, START),
            id="an empty window",
        ),
        pytest.param({"lifetime_usage": True}, UsageRequest("s", lifetime=True), id="lifetime"),
        pytest.param({"lifetime_usage": False}, UsageRequest("s"), id="no lifetime"),
        pytest.param(
            {"Start_Time": 5, "extra": {"deep": [1e300, -0.0]}}, UsageRequest("s"), id="unknown fields"
        ),
    ],
)
def test_request(fields: dict[str, Any], read: UsageRequest) -> None:
    assert parse(subscription_id="s", **fields) == read


@pytest.mark.parametrize(
    "subscription_id",
    ["sub#1/ä", "x" * 255, " ", "\N{MATHEMATICAL FRAKTUR CAPITAL U}" * 255],
    ids=["odd", "long", "space", "wide"],
)
def test_any_text_may_be_an_id(subscription_id: str) -> None:
    assert parse(subscription_id=subscription_id) == UsageRequest(subscription_id)


def test_numbers_that_no_float_holds_do_not_matter_in_an_unknown_field() -> None:
    body = '{"subscription_id": "s", "x": [1e400, -0, ' + "9" * 10_000 + "]}"
    assert flexprice.parse(request(body)) == UsageRequest("s")


def test_a_base64_body() -> None:
    body = base64.b64encode(b'{"subscription_id": "\xc3\xa4"}').decode()
    assert flexprice.parse(request(body, is_base64=True)) == UsageRequest("ä")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(None, id="absent"),
        pytest.param("", id="empty"),
        pytest.param("{", id="cut off"),
        pytest.param('{"subscription_id": "s"} x', id="something behind it"),
        pytest.param("{'subscription_id': 's'}", id="single quotes"),
        pytest.param('{"subscription_id": "s",}', id="a comma too many"),
        pytest.param('{"subscription_id": "a\nb"}', id="a line break in a string"),
        pytest.param('{"subscription_id": "s", "x": NaN}', id="NaN"),
        pytest.param('{"subscription_id": "s", "x": -Infinity}', id="infinity"),
        pytest.param('{"subscription_id": "s", "x": 01}', id="a leading zero"),
        pytest.param('{"subscription_id": "s", "subscription_id": "t"}', id="a key twice"),
        pytest.param('\ufeff{"subscription_id": "s"}', id="a byte order mark"),
        pytest.param("[" * 60_000, id="nested without end"),
        pytest.param('{"a":' * 10_000 + "1" + "}" * 10_000, id="nested 10,000 deep"),
        pytest.param('{"subscription_id": "\ud800"}', id="half a surrogate pair"),
        pytest.param("[]", id="a list"),
        pytest.param('"s"', id="a string"),
        pytest.param("null", id="null"),
        pytest.param("1e400", id="a number"),
        pytest.param('{"subscription_id": "s", "x": "' + "x" * 1_000_000 + '"}', id="a megabyte"),
    ],
)
def test_bad_body(body: str | None) -> None:
    answer = refused(body)
    assert (answer["code"], answer["http_status_code"]) == ("validation_error", 400)
    assert answer["message"].startswith("Invalid request: the body ")
    assert "details" not in answer


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("%%%", id="no base64"),
        pytest.param("/w==", id="no UTF-8"),
        pytest.param("é", id="not ASCII"),
        pytest.param("!" + base64.b64encode(b'{"subscription_id": "s"}').decode(), id="base64 and more"),
    ],
)
def test_bad_base64_body(body: str) -> None:
    assert refused(body, is_base64=True)["code"] == "validation_error"


def test_a_number_of_60_000_digits_is_as_wrong_as_any() -> None:
    assert list(refused('{"subscription_id": ' + "9" * 60_000 + "}")["details"]) == ["subscription_id"]


WRONG_BOOLEANS: list[Any] = ["true", "", 1, 0, [], {}]
WRONG_INSTANTS: list[Any] = [
    "",
    "2024-03-01",
    "2023-02-29T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "2024-03-01T24:00:00Z",
    "2024-03-01T00:00:00+99:00",
    "0001-01-01T00:00:00+01:00",
    "\u0662\u0660\u0662\u0664-\u0660\u0663-\u0660\u0661T\u0660\u0660:\u0660\u0660:\u0660\u0660Z",
    "now",
    1_709_251_200,
    1.5,
    True,
    [],
    ["2024-03-01T00:00:00Z"],
    {},
]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[
            pytest.param("subscription_id", value, id=f"subscription_id {value!r}")
            for value in ("", None, 5, True)
        ],
        pytest.param("subscription_id", ["s"], id="subscription_id in a list"),
        pytest.param("subscription_id", {"id": "s"}, id="subscription_id in an object"),
        pytest.param("subscription_id", "\ud800", id="subscription_id of half a pair"),
        pytest.param("subscription_id", "a\x00b", id="subscription_id with a NUL"),
        *[pytest.param("start_time", value, id=f"start_time {value!r}") for value in WRONG_INSTANTS],
        pytest.param("end_time", "2024-03-01", id="end_time a bare date"),
        *[pytest.param("lifetime_usage", value, id=f"lifetime_usage {value!r}") for value in WRONG_BOOLEANS],
    ],
)
def test_bad_field(field: str, value: object) -> None:
    answer = refused(json.dumps({"subscription_id": "s", field: value}))
    assert (answer["code"], answer["http_status_code"]) == ("validation_error", 400)
    assert list(answer["details"]) == [field]
    assert field in answer["message"]


def test_an_absent_id_is_missing() -> None:
    answer = refused("{}")
    assert answer == {
        "code": "validation_error",
        "message": "Invalid request: subscription_id is required.",
        "http_status_code": 400,
        "details": {"subscription_id": {"reason": "is required"}},
    }


@pytest.mark.parametrize("lifetime", [False, True])
def test_reversed_bounds(lifetime: bool) -> None:  # noqa: FBT001 - a parameter of the table
    bounds = {
        "start_time": "2024-03-02T00:00:00Z",
        "end_time": "2024-03-01T00:00:00Z",
        "lifetime_usage": lifetime,
    }
    assert list(refused(json.dumps({"subscription_id": "s", **bounds}))["details"]) == ["end_time"]


def test_every_bad_field_is_named_at_once() -> None:
    bad = {"subscription_id": 1, "start_time": 1, "end_time": 1, "lifetime_usage": 1}
    assert list(refused(json.dumps(bad))["details"]) == list(bad)


@pytest.mark.parametrize("length", [256, 10_000])
def test_no_subscription_has_an_id_that_long(length: int) -> None:
    answer = refused(json.dumps({"subscription_id": "x" * length}))
    assert answer == json.loads(flexprice.refuse(Problem.NOT_FOUND).body)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        pytest.param({"x-api-key": "k-1"}, "k-1", id="as the client sends it"),
        pytest.param({"X-Api-Key": " k-1 "}, "k-1", id="another case, spaces around"),
        pytest.param({}, None, id="no header"),
        pytest.param({"x-api-key": ""}, None, id="empty"),
        pytest.param({"x-api-key": "k 1"}, None, id="a space in it"),
        pytest.param({"x-api-key": "ключ"}, None, id="not ASCII"),
        pytest.param({"x-api-key": "k" * 512}, "k" * 512, id="512 characters"),
        pytest.param({"x-api-key": "k" * 513}, None, id="513 characters"),
        pytest.param({"Authorization": "Bearer k-1"}, None, id="the other contract's header"),
    ],
)
def test_api_key(headers: dict[str, str], key: str | None) -> None:
    assert flexprice.api_key(request("{}", headers)) == key


TOKENS = Meter(
    "meter-tokens",
    "tokens",
    "Tokens",
    Aggregation.SUM,
    "request",
    "tokens",
    filters=(Filter("model", ("a", "b")),),
)
FLAT = Price(
    "price-flat",
    "usd",
    BillingModel.FLAT_FEE,
    Decimal("0.00250"),
    meter_id="meter-tokens",
    details={
        "display_name": "Per token",
        "lookup_key": "tokens",
        "metadata": {"team": "x"},
        "min_quantity": None,
        "end_date": None,
        "created_at": "2024-01-01T00:00:00Z",
        "amount": "never this",
    },
)
PACKAGE = Price(
    "price-package",
    "usd",
    BillingModel.PACKAGE,
    Decimal(5),
    meter_id="meter-tokens",
    transform_quantity=TransformQuantity(100, RoundType.DOWN),
    billing_period="WEEKLY",
    billing_period_count=2,
)
SLAB = Price(
    "price-slab",
    "aed",
    BillingModel.TIERED,
    meter_id="meter-tokens",
    tier_mode=TierMode.SLAB,
    tiers=(Tier(1000, Decimal("1E-7")), Tier(None, Decimal("0.50"), Decimal("1E+1"))),
    details={"price_unit_type": "CUSTOM", "price_unit": "tok", "conversion_rate": "0.1"},
)


def subscription(committed: Commitment | None = None) -> Subscription:
    return Subscription(
        id="s",
        external_id="s-ext",
        customer_id="c",
        currency="usd",
        timezone="UTC",
        start=START,
        end=None,
        billing_period=BillingPeriod.MONTHLY,
        billing_period_count=3,
        billing_cycle=BillingCycle.CALENDAR,
        anchor=START,
        plan=(Dated("p"),),
        commitment=committed,
    )


def answer(
    *rows: tuple[Price, str, str], committed: Commitment | None = None, window: Window | None = None
) -> dict[str, Any]:
    """Give the answer, its numbers as text, to line items with a price, a quantity and an amount each."""
    charges = [
        Charge(LineItem(f"li-{index}", price, START, meter=TOKENS), Decimal(quantity), Decimal(amount), price)
        for index, (price, quantity, amount) in enumerate(rows)
    ]
    settlement = commitment.apply(committed, charges, "usd")
    statement = Statement(subscription(committed), window or Window(START, END), settlement, {}, 0)
    reply = flexprice.answer(statement)
    assert reply.status == 200
    decoded: dict[str, Any] = json.loads(reply.body, parse_int=str, parse_float=str)
    return decoded


def test_an_answer_without_rows() -> None:
    assert answer() == {
        "amount": "0",
        "display_amount": "$0",
        "currency": "usd",
        "start_time": "2024-03-01T00:00:00Z",
        "end_time": "2024-04-01T00:00:00.5Z",
        "charges": [],
        "has_overage": False,
    }


def test_a_row_with_its_price() -> None:
    found = answer((FLAT, "5000.000001", "12.50"))
    assert found["amount"] == "12.5"
    assert found["charges"] == [
        {
            "subscription_line_item_id": "li-0",
            "meter_id": "meter-tokens",
            "meter_display_name": "Tokens",
            "currency": "usd",
            "quantity": "5000.000001",
            "amount": "12.5",
            "display_amount": "$12.5",
            "filter_values": {"model": ["a", "b"]},
            "is_overage": False,
            "price": {
                "id": "price-flat",
                "type": "USAGE",
                "amount": "0.0025",
                "display_amount": "$0.0025",
                "currency": "usd",
                "billing_model": "FLAT_FEE",
                "billing_cadence": "RECURRING",
                "billing_period": "MONTHLY",
                "billing_period_count": "3",
                "invoice_cadence": "ARREAR",
                "price_unit_type": "FIAT",
                "status": "published",
                "meter_id": "meter-tokens",
                "display_name": "Per token",
                "lookup_key": "tokens",
                "metadata": {"team": "x"},
                "min_quantity": None,
                "created_at": "2024-01-01T00:00:00Z",
            },
        }
    ]


@pytest.mark.parametrize(
    ("price", "fields"),
    [
        pytest.param(
            PACKAGE,
            {
                "amount": "5",
                "billing_model": "PACKAGE",
                "billing_period": "WEEKLY",
                "billing_period_count": "2",
                "transform_quantity": {"divide_by": "100", "round": "down"},
            },
            id="package",
        ),
        pytest.param(
            SLAB,
            {
                "amount": "0",
                "display_amount": "AED0",
                "tier_mode": "SLAB",
                "tiers": [
                    {"up_to": "1000", "unit_amount": "0.0000001", "flat_amount": "0"},
                    {"up_to": None, "unit_amount": "0.5", "flat_amount": "10"},
                ],
                "price_unit_type": "CUSTOM",
                "price_unit": "tok",
                "conversion_rate": "0.1",
            },
            id="tiers",
        ),
    ],
)
def test_price_object(price: Price, fields: dict[str, Any]) -> None:
    written = answer((price, "1", "1"))["charges"][0]["price"]
    assert {name: written[name] for name in fields} == fields
    assert ("transform_quantity" in written) is (price is PACKAGE)
    assert ("tiers" in written) is ("tier_mode" in written) is (price is SLAB)


@pytest.mark.parametrize(
    ("quantity", "printed"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("-5.50", "-5.5"),
        ("1E+20", "1" + "0" * 20),
        ("1E-16", "0." + "0" * 15 + "1"),
        ("12.5", "12.5"),
        ("123456789012345678901234567890.123456789012345", "123456789012345678901234567890.123456789012345"),
    ],
)
def test_numbers_are_exact_and_have_no_exponent(quantity: str, printed: str) -> None:
    row = answer((FLAT, quantity, quantity))["charges"][0]
    assert (row["quantity"], row["amount"]) == (printed, printed)


def test_a_commitment_with_overage() -> None:
    committed = Commitment(Decimal(100), Decimal("1.50"))
    found = answer((FLAT, "4", "120"), committed=committed)
    assert {
        name: found[name] for name in found if name not in ("charges", "start_time", "end_time", "currency")
    } == {
        "amount": "130",
        "display_amount": "$130",
        "has_overage": True,
        "commitment_amount": "100",
        "commitment_utilized": "100",
        "overage_amount": "30",
        "overage_factor": "1.5",
    }
    assert [
        (row["is_overage"], row.get("overage_factor"), row["display_amount"]) for row in found["charges"]
    ] == [
        (False, None, "$100"),
        (True, "1.5", "$30"),
    ]


@pytest.mark.parametrize(
    ("amount", "factor", "shown"),
    [
        pytest.param(
            "100", "1", {"commitment_amount": "100", "overage_factor": "1"}, id="overage costs no more"
        ),
        pytest.param(
            "100", "0.5", {"commitment_amount": "100", "overage_factor": "0.5"}, id="overage costs less"
        ),
        pytest.param("100", "0", {"commitment_amount": "100"}, id="no factor"),
        pytest.param("0", "1.5", {"overage_factor": "1.5"}, id="no amount"),
        pytest.param("0", "0", {}, id="neither"),
        pytest.param(None, None, {}, id="no commitment"),
        pytest.param(
            "200",
            "1.5",
            {
                "commitment_amount": "200",
                "overage_factor": "1.5",
                "commitment_utilized": "120",
                "overage_amount": "0",
            },
            id="active, and not used up",
        ),
    ],
)
def test_what_was_agreed_is_shown_whether_or_not_it_is_active(
    amount: str | None, factor: str | None, shown: dict[str, str]
) -> None:
    committed = None if amount is None or factor is None else Commitment(Decimal(amount), Decimal(factor))
    found = answer((FLAT, "4", "120"), committed=committed)
    names = {"commitment_amount", "commitment_utilized", "overage_amount", "overage_factor"}
    assert {name: found[name] for name in found.keys() & names} == shown
    assert (found["amount"], found["has_overage"]) == ("120", False)


@pytest.mark.parametrize(
    ("problem", "status", "code"),
    [
        (Problem.NOT_FOUND, 404, "not_found"),
        (Problem.UNKNOWN_ROUTE, 404, "not_found"),
        (Problem.WRONG_METHOD, 405, "invalid_operation"),
        (Problem.NOT_BUILT, 400, "invalid_operation"),
        (Problem.UNAVAILABLE, 503, "service_unavailable"),
        (Problem.INTERNAL, 500, "internal_error"),
    ],
)
def test_errors_are_flat(problem: Problem, status: int, code: str) -> None:
    reply = flexprice.refuse(problem)
    body = json.loads(reply.body)
    assert body.pop("message")
    assert (reply.status, body) == (status, {"code": code, "http_status_code": status})
    assert ("Retry-After" in reply.headers) is (problem is Problem.UNAVAILABLE)


def test_a_bad_key_has_a_body_of_its_own() -> None:
    reply = flexprice.refuse(Problem.UNAUTHORIZED)
    assert (reply.status, json.loads(reply.body)) == (401, {"error": "Unauthorized"})

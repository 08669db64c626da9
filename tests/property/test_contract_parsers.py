"""Whatever comes in, a contract reads a valid request or refuses it in its own shape."""

import base64
import json
from collections.abc import Callable
from copy import replace
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from meterstone.contracts import flexprice, lago, preview, price_preview
from meterstone.contracts.flexprice import UsageRequest
from meterstone.contracts.message import Reply, Request, RequestRefusedError
from meterstone.pricing.currency import is_currency
from meterstone.pricing.price import check
from meterstone.usage.analytics import UsageQuery, last_to_day
from meterstone.usage.calendar import FIRST_DAY, LAST_DAY, Granularity
from meterstone.usage.charge import CUSTOMER_TYPES
from meterstone.usage.identifier import LONGEST_ID
from meterstone.usage.instant import END_OF_TIME, ZERO_TIME
from meterstone.usage.preview import price_list

# Half surrogate pairs, control characters and digits of other alphabets included.
ANY_TEXT = st.text(st.characters(), max_size=30)
DATES = st.one_of(
    st.dates().map(str),
    st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", fullmatch=True),
    st.sampled_from(["0001-01-01", "9999-12-31", "2024-02-29", "2023-02-29", "0000-01-01"]),
    ANY_TEXT,
)
PARAMETER_VALUES = {
    "time_granularity": st.sampled_from([*Granularity]) | ANY_TEXT,
    "currency": st.sampled_from(["USD", "jpy", "XXX"]) | ANY_TEXT,
    "from_date": DATES,
    "to_date": DATES,
    "customer_type": st.sampled_from(["company", "individual"]) | ANY_TEXT,
    "customer_country": st.sampled_from(["DE", "us", "XX"]) | ANY_TEXT,
    "is_billable_metric_recurring": st.sampled_from(["true", "False", "0", "1", "None"]) | ANY_TEXT,
    **{
        name: ANY_TEXT | st.integers(250, 260).map("x".__mul__)
        for name in ("external_customer_id", "external_subscription_id", "plan_code", "billable_metric_code")
    },
}
PARAMETERS = st.fixed_dictionaries(
    {}, optional={name: st.lists(values, min_size=1, max_size=2) for name, values in PARAMETER_VALUES.items()}
)


def get(parameters: dict[str, list[str]]) -> Request:
    return Request.of({"httpMethod": "GET", "path": "/", "multiValueQueryStringParameters": parameters})


def post(body: str, *, is_base64: bool = False) -> Request:
    return Request.of({"httpMethod": "POST", "path": "/", "body": body, "isBase64Encoded": is_base64})


def read_or_reply[Read](parse: Callable[[], Read]) -> Read | Reply:
    try:
        return parse()
    except RequestRefusedError as refused:
        return refused.reply


def is_a_valid_query(query: UsageQuery) -> bool:
    ids = (
        query.external_customer_id,
        query.external_subscription_id,
        query.plan_code,
        query.metric_code,
    )
    return (
        FIRST_DAY <= query.from_day <= query.to_day <= LAST_DAY
        and query.to_day <= last_to_day(query.granularity, query.from_day)
        and (query.currency is None or (is_currency(query.currency) and query.currency.islower()))
        and query.customer_type in (None, *CUSTOMER_TYPES)
        and query.customer_country in (None, *lago.COUNTRIES)
        and all(each is None or 0 < len(each.encode().decode()) <= LONGEST_ID for each in ids)
    )


@given(PARAMETERS, st.integers(FIRST_DAY, LAST_DAY))
@example({}, FIRST_DAY)
@example({"time_granularity": ["yearly"]}, FIRST_DAY)
@example({"time_granularity": ["weekly"]}, LAST_DAY)
def test_lago_reads_a_valid_query_or_names_what_is_wrong(
    parameters: dict[str, list[str]], today: int
) -> None:
    read = read_or_reply(lambda: lago.parse(get(parameters), today))
    if isinstance(read, Reply):
        body = json.loads(read.body)
        assert read.status == body["status"] == 422
        assert body["code"] == "validation_errors"
        assert body["error_details"]
        # A default never makes a query invalid, but a from_date after today does.
        assert body["error_details"].keys() <= parameters.keys() | {"from_date"}
        assert all(codes and all(codes) for codes in body["error_details"].values())
        assert body["reasons"].keys() == body["error_details"].keys()
        assert all(body["reasons"].values())
    else:
        assert is_a_valid_query(read)
        assert all(len(values) == 1 for values in parameters.values())


@given(st.dictionaries(ANY_TEXT, st.lists(ANY_TEXT, min_size=1, max_size=3), max_size=5))
def test_lago_ignores_what_it_does_not_know(parameters: dict[str, list[str]]) -> None:
    known = {name.partition("[")[0] for name in parameters} & set(lago.PARAMETERS)
    if not known:
        assert lago.parse(get(parameters), 738_000) == lago.parse(get({}), 738_000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
INSTANTS = st.datetimes().map(lambda moment: moment.isoformat() + "Z") | st.sampled_from(
    [
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59-23:59",
        "2024-01-01",
        "0001-01-01T00:00:00+01:00",
    ]
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "subscription_id": ANY_TEXT | st.integers(250, 260).map("x".__mul__) | JSON,
        "start_time": INSTANTS | JSON,
        "end_time": INSTANTS | JSON,
        "lifetime_usage": st.booleans() | JSON,
        "other": JSON,
    },
)


def flexprice_reads_or_refuses(request: Request) -> None:
    read = read_or_reply(lambda: flexprice.parse(request))
    if isinstance(read, Reply):
        body = json.loads(read.body)
        assert read.status == body["http_status_code"]
        assert (read.status, body["code"]) in ((400, "validation_error"), (404, "not_found"))
        assert body["message"]
        assert body.keys() <= {"code", "message", "http_status_code", "details"}
        assert all(isinstance(detail, dict) and detail for detail in body.get("details", {}).values())
    else:
        assert is_a_valid_request(read)


def is_a_valid_request(read: UsageRequest) -> bool:
    bounds = [each for each in (read.start, read.end) if each is not None]
    return (
        0 < len(read.subscription_id.encode().decode()) <= LONGEST_ID
        and all(ZERO_TIME < each < END_OF_TIME for each in bounds)
        and bounds == sorted(bounds)
    )


@given(BODIES)
def test_flexprice_reads_a_valid_request_or_says_what_is_wrong(body: dict[str, Any]) -> None:
    flexprice_reads_or_refuses(post(json.dumps(body)))
    flexprice_reads_or_refuses(post(json.dumps(body, ensure_ascii=False)))


@given(JSON)
def test_flexprice_reads_any_json(body: Any) -> None:
    flexprice_reads_or_refuses(post(json.dumps(body)))


@given(st.text(st.characters(), max_size=200), st.booleans())
def test_flexprice_reads_any_text(body: str, is_base64: bool) -> None:  # noqa: FBT001 - drawn
    flexprice_reads_or_refuses(post(body, is_base64=is_base64))


@given(st.binary(max_size=200))
def test_flexprice_reads_any_bytes(body: bytes) -> None:
    flexprice_reads_or_refuses(post(base64.b64encode(body).decode(), is_base64=True))


@given(ANY_TEXT)
def test_a_key_is_none_or_can_be_hashed(text: str) -> None:
    headers = {"AUTHORIZATION": f"Bearer {text}", "X-Api-Key": text}
    request = Request.of({"httpMethod": "GET", "path": "/", "headers": headers})
    for key in (lago.api_key(request), flexprice.api_key(request)):
        assert key is None or (key.isascii() and key.isprintable() and key in text)


#: Values where numbers, texts and objects are asked for: some that fit, and anything else.
NUMBERS = st.sampled_from([0, 1, -1, 10**17, "0.00001", "1e5", "x", 1e300]) | JSON
PRICES = st.fixed_dictionaries(
    {},
    optional={
        "id": ANY_TEXT,
        "currency": st.sampled_from(["USD", "jpy", "XXX"]) | JSON,
        "billing_model": st.sampled_from(["FLAT_FEE", "PACKAGE", "TIERED"]) | JSON,
        "amount": NUMBERS,
        "meter_id": ANY_TEXT | st.none(),
        "tier_mode": st.sampled_from(["SLAB", "VOLUME", None]) | JSON,
        "tiers": st.lists(
            st.fixed_dictionaries(
                {},
                optional={"up_to": st.integers(1, 9) | st.none() | JSON, "unit_amount": NUMBERS, "x": JSON},
            )
            | JSON,
            max_size=3,
        )
        | JSON,
        "transform_quantity": st.fixed_dictionaries({"divide_by": st.integers(-1, 9)}) | JSON,
        "billing_period": st.sampled_from(["MONTHLY", "DAILY", None]) | JSON,
        "billing_period_count": st.integers(0, 3) | JSON,
        "metadata": st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=2) | JSON,
        "display_name": ANY_TEXT,
        "start_date": INSTANTS | JSON,
        "price_unit_tiers": st.lists(st.fixed_dictionaries({"unit_amount": NUMBERS}), max_size=2) | JSON,
    },
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "plan": ANY_TEXT | JSON,
        "prices": st.dictionaries(ANY_TEXT, PRICES | JSON, max_size=2) | JSON,
        "commitment": st.fixed_dictionaries({}, optional={"amount": NUMBERS, "overage_factor": NUMBERS})
        | JSON,
        "quantities": st.dictionaries(ANY_TEXT, NUMBERS, max_size=2) | JSON,
    },
)


def refusal(reply: Reply) -> dict[str, Any]:
    """Check a refusal in Flexprice's shape, and give the reasons."""
    body = json.loads(reply.body)
    assert reply.status == body["http_status_code"]
    assert (reply.status, body["code"]) in ((400, "validation_error"), (404, "not_found"))
    details = body.get("details", {})
    assert all(set(detail) == {"reason"} and detail["reason"] for detail in details.values())
    found: dict[str, Any] = details
    return found


@given(CHANGES | JSON, st.just("sub") | JSON)
def test_a_preview_is_read_or_says_what_is_wrong(instead: Any, subscription_id: Any) -> None:
    body = json.dumps({"subscription_id": subscription_id, "instead": instead})
    read = read_or_reply(lambda: preview.parse(post(body)))
    if isinstance(read, Reply):
        refusal(read)
        return
    for price in read.prices.values():
        assert check(replace(price, currency=price.currency or "usd")) == []
        msgspec.json.encode(price)
    assert all(abs(each) < 10**18 for each in read.quantities.values())


@given(PRICES | JSON, st.lists(NUMBERS, max_size=3) | JSON)
def test_a_price_is_read_and_priced_or_says_what_is_wrong(price: Any, quantities: Any) -> None:
    body = json.dumps({"price": price, "quantities": quantities})
    read = read_or_reply(lambda: price_preview.parse(post(body)))
    if isinstance(read, Reply):
        assert refusal(read)
        return
    assert check(read.price) == []
    reply = price_preview.answer(read.price, price_list(read.price, read.quantities))
    assert [row["quantity"] for row in json.loads(reply.body)["prices"]] == [
        float(q) for q in read.quantities
    ]


@given(st.text(st.characters(), max_size=200))
def test_a_preview_reads_any_text(body: str) -> None:
    for parse in (preview.parse, price_preview.parse):
        assert isinstance(read_or_reply(lambda: parse(post(body))), Reply)  # noqa: B023 - called at once

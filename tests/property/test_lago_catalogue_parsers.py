"""Whatever a body of Lago's says, it is refused in Lago's shape, or it is a record that the catalogue can read."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from meterstone.catalogue.reading import read_record
from meterstone.contracts import lago_customers, lago_subscriptions
from meterstone.contracts.message import Reply, Request
from support import any_body
from support.any_body import ANYTHING, INSTANTS, TEXTS, fields

COUNTRIES = st.sampled_from(["DE", "us", "XX"])
ADDRESSES = fields(**dict.fromkeys(("address_line1", "city", "zipcode"), TEXTS), country=COUNTRIES)
METADATA = st.lists(fields(key=TEXTS, value=TEXTS, display_in_invoice=st.booleans()), max_size=3)
CUSTOMERS = fields(
    external_id=st.just("acme") | TEXTS,
    country=COUNTRIES,
    currency=st.sampled_from(["EUR", "jpy", "XXX"]),
    timezone=st.sampled_from(["Europe/Berlin", "Mars/Base", "../x"]),
    customer_type=st.sampled_from(["company", "individual"]),
    net_payment_term=st.integers(-1, 10_001),
    shipping_address=ADDRESSES,
    metadata=METADATA,
    billing_configuration=fields(payment_provider=TEXTS),
    tax_codes=st.lists(TEXTS, max_size=1),
    **dict.fromkeys(("name", "email", "city", "colour"), TEXTS),
)
SUBSCRIPTIONS = fields(
    **dict.fromkeys(("external_id", "external_customer_id", "plan_code"), st.just("a") | TEXTS),
    name=TEXTS,
    subscription_at=INSTANTS,
    ending_at=INSTANTS,
    billing_time=st.sampled_from(["calendar", "anniversary"]),
    plan_overrides=fields(amount_currency=st.sampled_from(["EUR", "jpy"]), charges=ANYTHING),
    purchase_order_number=TEXTS,
    payment_method=ANYTHING,
)


def parsed[Read](parse: Callable[[Request], Read], body: object) -> Read | None:
    """Return what a contract reads; None if it refuses the body, which must be in Lago's shape."""

    def check(reply: Reply) -> None:
        told = json.loads(reply.body)
        assert told["status"] == reply.status
        if reply.status == 400:
            assert told["error"].startswith("BadRequest: ")
        else:
            assert reply.status == 422
            assert told["error_details"].keys() == told["reasons"].keys() != set()

    return any_body.parsed(parse, body, check, pathParameters={"external_id": "a"})


@given(CUSTOMERS | ANYTHING)
@example(
    {"external_id": "acme", "shipping_address": {"city": None}, "metadata": [{"key": "a", "value": "b"}]}
)
def test_a_customer_is_refused_or_can_be_read(body: Any) -> None:
    asked = parsed(lago_customers.parse, {"customer": body})
    if asked is not None:
        found = read_record("customers", {"id": asked.external_id, **asked.record({"email": "a@b.example"})})
        assert found.problems == ()


@given(SUBSCRIPTIONS | ANYTHING, ANYTHING)
@example({"external_id": "a", "external_customer_id": "a", "plan_code": "a", "name": ""}, None)
def test_a_subscription_is_refused_or_can_be_read(body: Any, authorization: Any) -> None:
    asked = parsed(lago_subscriptions.parse, {"subscription": body, "authorization": authorization})
    if asked is not None:
        kept = {"currency": "eur", "start": "0001-01-01T00:00:00Z"}
        found = read_record("subscriptions", asked.record("s", kept, {"succeeds": "r"}))
        assert {each.path for each in found.problems} <= {"end"}


@given(SUBSCRIPTIONS | ANYTHING, st.sampled_from(["active", "pending", None]) | ANYTHING)
def test_a_change_of_a_subscription_is_refused_or_can_be_read(body: Any, status: Any) -> None:
    asked = parsed(lago_subscriptions.parse_update, {"subscription": body, "status": status})
    if asked is not None:
        whole = {"id": "s", "customer": "c", "plan": "p", "currency": "eur", "start": "0001-01-01T00:00:00Z"}
        found = read_record("subscriptions", whole | dict(asked.fields))
        assert {each.path for each in found.problems} <= {"end"}

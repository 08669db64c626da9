"""Whatever a body of Flexprice's says, it is refused in Flexprice's shape, or it is a record that can be read."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meterstone.catalogue.reading import read_record
from meterstone.contracts import (
    flexprice_changes,
    flexprice_customers,
    flexprice_pages,
    flexprice_subscriptions,
)
from meterstone.contracts.message import Reply, Request
from support import any_body
from support.any_body import ANYTHING, INSTANTS, TEXTS, fields
from support.flexprice import reasons

PERIODS = st.sampled_from(["MONTHLY", "annual", "ONETIME", "YEARLY"])
CYCLES = st.sampled_from(["calendar", "anniversary", "none"])
AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False).map(str) | st.integers() | TEXTS


CUSTOMERS = fields(
    external_id=st.just("acme") | TEXTS,
    name=TEXTS,
    address_country=st.sampled_from(["DE", "us", "XX", ""]),
    billing_currency=st.sampled_from(["EUR", "jpy", "XXX", ""]),
    timezone=st.sampled_from(["Europe/Berlin", "Mars/Base", "../x", ""]),
    contact_persons=st.lists(fields(first_name=TEXTS, email=TEXTS, is_primary=st.booleans()), max_size=2),
    metadata=st.dictionaries(TEXTS, TEXTS, max_size=3),
    **dict.fromkeys(("email", "address_city", "tax_treatment", "colour"), TEXTS),
)
SUBSCRIPTIONS = fields(
    **dict.fromkeys(("customer_id", "plan_id", "lookup_key"), st.just("a") | TEXTS),
    currency=st.sampled_from(["EUR", "jpy", "XXX"]),
    billing_period=PERIODS,
    billing_period_count=st.integers(-1, 10_002),
    billing_cycle=CYCLES,
    **dict.fromkeys(("start_date", "end_date", "billing_anchor"), INSTANTS),
    **dict.fromkeys(("commitment_amount", "overage_factor"), AMOUNTS),
    timezone=st.sampled_from(["Europe/Berlin", "Mars/Base"]),
    include_price_ids=st.lists(TEXTS, max_size=2),
    line_items=st.lists(fields(price_id=TEXTS, start_date=INSTANTS, quantity=AMOUNTS), max_size=2),
    metadata=st.dictionaries(TEXTS, TEXTS, max_size=3),
    collection_method=TEXTS,
    coupons=st.lists(TEXTS, max_size=1),
)
LEAST = {"customer_id": "a", "plan_id": "a", "currency": "EUR", "billing_period": "MONTHLY"}
OTHERS = fields(
    cancellation_type=st.sampled_from(["immediate", "end_of_period", "scheduled_date", "never"]),
    cancel_at=INSTANTS,
    target_plan_id=TEXTS,
    billing_period=PERIODS | st.lists(PERIODS),
    billing_cycle=CYCLES,
    change_at=st.sampled_from(["immediate", "end_of_period", "later"]),
    on_conflict_policies=ANYTHING,
    metadata=ANYTHING,
    limit=st.integers(-1, 1001),
    offset=st.integers(-1, 2_000_000),
    customer_ids=st.lists(TEXTS, max_size=2),
    subscription_status=st.lists(st.sampled_from(["active", "draft", "gone"]), max_size=2),
    active_at=INSTANTS,
    filters=ANYTHING,
)


def parsed[Read](parse: Callable[[Request], Read], body: object) -> Read | None:
    """Return what a contract reads; None if it refuses the body, which must be in Flexprice's shape."""

    def check(reply: Reply) -> None:
        assert all(reasons(reply).values())

    return any_body.parsed(parse, body, check, queryStringParameters={"id": "acme"})


@given(CUSTOMERS.map(lambda body: {"external_id": "acme", "name": "Acme", **body}) | ANYTHING)
@example({"external_id": "acme", "name": "Acme", "address_country": "", "metadata": {}})
def test_a_customer_is_refused_or_can_be_read(body: Any) -> None:
    asked = parsed(flexprice_customers.parse_create, body)
    if asked is not None:
        found = read_record("customers", {"id": asked.id, **asked.record({})})
        assert found.problems == ()


@given(CUSTOMERS | ANYTHING)
@example({"address_country": "", "timezone": "", "billing_currency": "", "name": ""})
def test_a_change_of_a_customer_is_refused_or_can_be_read(body: Any) -> None:
    asked = parsed(flexprice_customers.parse_change, body)
    if asked is not None:
        found = read_record("customers", {"id": asked.id, **asked.record({"email": "a@b.example"})})
        assert found.problems == ()


@given(SUBSCRIPTIONS.map(lambda body: LEAST | body) | ANYTHING)
@example(LEAST | {"include_price_ids": [], "line_items": [{"price_id": "a"}], "commitment_amount": "1"})
def test_a_subscription_is_refused_or_can_be_read(body: Any) -> None:
    asked = parsed(flexprice_subscriptions.parse, body)
    if asked is not None:
        found = read_record("subscriptions", {"id": "s", "start": "0001-01-01T00:00:00Z", **asked.record})
        # What stands twice among the prices is told by the catalogue, and so is an end before a start that is now.
        assert {each.path for each in found.problems} <= {"end", "prices"}


@pytest.mark.parametrize(
    "parse",
    [
        pytest.param(lambda request: flexprice_changes.parse_cancel(request, 0), id="cancel"),
        pytest.param(flexprice_changes.parse_change, id="change"),
        pytest.param(flexprice_changes.parse_change_in_place, id="change in place"),
        pytest.param(flexprice_pages.parse_customers, id="customers"),
        pytest.param(flexprice_pages.parse_subscriptions, id="subscriptions"),
    ],
)
@given(body=OTHERS | ANYTHING)
def test_all_else_is_refused_or_read(parse: Callable[[Request], object], body: Any) -> None:
    parsed(parse, body)

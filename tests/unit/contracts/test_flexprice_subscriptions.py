"""Flexprice's new subscriptions, field by field; `tests/clients` has the official client's calls."""

from copy import replace
from typing import Any

import pytest

from meterstone.contracts import flexprice_subscriptions
from meterstone.contracts.flexprice_subscriptions import SubscriptionAsked
from meterstone.usage.instant import DAY, MINUTE, parse_instant
from meterstone.usage.terms import PlanTerm, Terms
from support.flexprice import post, refused

LEAST = {"customer_id": "acme", "plan_id": "pro", "currency": "USD", "billing_period": "MONTHLY"}
RECORD = {
    "customer": "acme",
    "plan": "pro",
    "currency": "usd",
    "billing_period": "MONTHLY",
    "billing_cycle": "anniversary",
}
NOT_TEXT = "must be text; a number or a boolean is text in quotes"
NO_INSTANT = "not an RFC 3339 date and time"
PERIODS = "should be 'DAILY', 'WEEKLY', 'MONTHLY', 'QUARTERLY', 'HALF_YEARLY', 'ANNUAL' or 'ONETIME'"


def parse(**fields: Any) -> SubscriptionAsked:
    return flexprice_subscriptions.parse(post(**LEAST | fields))


def test_all_that_a_subscription_is_made_of() -> None:
    asked = parse(
        external_customer_id="ignored beside customer_id",
        billing_period="quarterly",
        billing_period_count=2,
        billing_cycle="calendar",
        billing_anchor="2026-01-15T00:00:00Z",
        start_date="2026-02-01T00:00:00+01:00",
        end_date="2027-02-01T00:00:00Z",
        commitment_amount="100.50",
        overage_factor="1.5",
        commitment_duration="QUARTERLY",
        timezone="Europe/Oslo",
        lookup_key="acme-main",
        include_price_ids=["call"],
        line_items=[
            {"price_id": "seat", "start_date": "2026-03-01T00:00:00Z", "quantity": 1},
            {"price_id": "fax"},
        ],
        metadata={"deal": "7"},
        collection_method="send_invoice",
        subscription_status="active",
        colour="red",
    )
    assert (asked.customer, asked.plan, asked.lookup_key) == ("acme", "pro", "acme-main")
    assert asked.start == parse_instant("2026-01-31T23:00:00Z")
    assert asked.record == RECORD | {
        "external_id": "acme-main",
        "billing_period": "QUARTERLY",
        "billing_period_count": 2,
        "billing_cycle": "calendar",
        "anchor": "2026-01-15T00:00:00Z",
        "start": "2026-01-31T23:00:00Z",
        "end": "2027-02-01T00:00:00Z",
        "commitment": {"amount": "100.5", "overage_factor": "1.5"},
        "timezone": "Europe/Oslo",
        "prices": ["call"],
        "line_items": [{"price": "seat", "start": "2026-03-01T00:00:00Z"}, {"price": "fax"}],
        "plan_prices": True,
        "details": {"metadata": {"deal": "7"}, "collection_method": "send_invoice"},
    }


@pytest.mark.parametrize(
    ("fields", "record"),
    [
        pytest.param({}, {}, id="the least"),
        pytest.param(dict.fromkeys(("lookup_key", "start_date", "line_items", "metadata")), {}, id="null"),
        pytest.param({"lookup_key": "", "start_date": "", "timezone": ""}, {}, id="empty"),
        pytest.param(
            {"start_date": "0001-01-01T00:00:00Z", "end_date": "0001-01-01T00:00:00Z"}, {}, id="zero time"
        ),
        pytest.param({"include_price_ids": []}, {"prices": []}, id="none of the plan's prices"),
        pytest.param(
            {"commitment_amount": "5"},
            {"commitment": {"amount": "5", "overage_factor": "1"}},
            id="a commitment without a factor",
        ),
        pytest.param(
            {"commitment_amount": 5.25, "overage_factor": 2},
            {"commitment": {"amount": "5.25", "overage_factor": "2"}},
            id="amounts that are numbers",
        ),
        pytest.param({"line_items": []}, {}, id="no line items of its own"),
        pytest.param({"customer_id": "", "external_customer_id": "b"}, {"customer": "b"}, id="external id"),
        pytest.param(
            {"trial_period_days": 0, "enable_true_up": False, "coupons": [], "phases": [], "addons": None},
            {},
            id="nothing that is not supported",
        ),
        pytest.param({"proration_behavior": "none"}, {"details": {"proration_behavior": "none"}}, id="kept"),
    ],
)
def test_what_a_subscription_is_made_of(fields: dict[str, Any], record: dict[str, Any]) -> None:
    asked = parse(**fields)
    assert asked.record == RECORD | record
    assert asked.start is None


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        pytest.param(
            {"customer_id": None}, {"customer_id": "or external_customer_id is required"}, id="no customer"
        ),
        pytest.param({"customer_id": 7}, {"customer_id": NOT_TEXT}, id="a customer that is a number"),
        pytest.param({"plan_id": None}, {"plan_id": "is required"}, id="no plan"),
        pytest.param(
            {"plan_id": "x" * 256}, {"plan_id": "has 256 characters, 255 are allowed"}, id="a long plan"
        ),
        pytest.param({"currency": ""}, {"currency": "is required"}, id="no currency"),
        pytest.param(
            {"currency": "dollars"}, {"currency": "is not an ISO 4217 currency"}, id="a bad currency"
        ),
        pytest.param({"billing_period": None}, {"billing_period": "is required"}, id="no period"),
        pytest.param({"billing_period": "YEARLY"}, {"billing_period": PERIODS}, id="a bad period"),
        pytest.param(
            {"billing_period_count": 0},
            {"billing_period_count": "should be greater than or equal to 1"},
            id="no periods",
        ),
        pytest.param(
            {"billing_period_count": 10_001},
            {"billing_period_count": "should be less than or equal to 10000"},
            id="many periods",
        ),
        pytest.param(
            {"billing_period_count": 1.5},
            {"billing_period_count": "must be a whole number"},
            id="a part of one",
        ),
        pytest.param(
            {"billing_cycle": "monthly"},
            {"billing_cycle": "should be 'calendar' or 'anniversary'"},
            id="a bad cycle",
        ),
        pytest.param(
            {"billing_anchor": 7},
            {"billing_anchor": "must be an RFC 3339 date and time, such as 2026-01-31T00:00:00Z"},
            id="a number as anchor",
        ),
        pytest.param(
            {"start_date": "2026-02-30T00:00:00Z"}, {"start_date": "no such day"}, id="no such start"
        ),
        pytest.param({"end_date": "2026-01-01"}, {"end_date": NO_INSTANT}, id="a bare date"),
        pytest.param(
            {"start_date": "2026-01-01T00:00:00Z", "end_date": "2026-01-01T00:00:00Z"},
            {"end_date": "must be after start_date"},
            id="an end at the start",
        ),
        pytest.param({"timezone": "Moon"}, {"timezone": "no time zone is called Moon"}, id="no zone"),
        pytest.param(
            {"commitment_amount": "-1"}, {"commitment_amount": "must not be negative"}, id="below zero"
        ),
        pytest.param(
            {"commitment_amount": "1" * 13},
            {"commitment_amount": "a number has at most 12 integer and 18 decimal digits"},
            id="a huge commitment",
        ),
        pytest.param(
            {"commitment_amount": True}, {"commitment_amount": "a boolean is not a number"}, id="no amount"
        ),
        pytest.param(
            {"overage_factor": "1.5"}, {"overage_factor": "needs a commitment_amount"}, id="a factor alone"
        ),
        pytest.param(
            {"commitment_amount": "1", "commitment_duration": "ANNUAL"},
            {"commitment_duration": "must be the billing_period: a commitment is for each"},
            id="a commitment for a year of months",
        ),
        pytest.param(
            {"include_price_ids": "call"}, {"include_price_ids": "must be a list"}, id="no list of prices"
        ),
        pytest.param(
            {"include_price_ids": ["a", 1, ""]},
            {"include_price_ids[1]": NOT_TEXT, "include_price_ids[2]": "must not be empty"},
            id="bad ids of prices",
        ),
        pytest.param(
            {"include_price_ids": ["a"] * 1001},
            {"include_price_ids": "has 1001 entries, 1000 are allowed"},
            id="many prices",
        ),
        pytest.param(
            {"line_items": [{}, {"price_id": 1}]},
            {"line_items[0].price_id": "is required", "line_items[1].price_id": NOT_TEXT},
            id="line items without a price",
        ),
        pytest.param(
            {"line_items": [{"price": {"amount": "1"}}]},
            {
                "line_items[0].price": "is not supported: put the price at /catalogue/v1/prices, and give its "
                "price_id"
            },
            id="a price inside",
        ),
        pytest.param(
            {"line_items": [{"price_id": "a", "commitment_amount": 5, "quantity": 7}]},
            {
                "line_items[0].commitment_amount": "is not supported: a commitment is the whole subscription's: "
                "give commitment_amount",
                "line_items[0].quantity": "is not supported: usage alone is priced",
            },
            id="a line item's commitment and quantity",
        ),
        pytest.param(
            {
                "line_items": [
                    {
                        "price_id": "a",
                        "start_date": "2026-01-02T00:00:00Z",
                        "end_date": "2026-01-01T00:00:00Z",
                    }
                ]
            },
            {"line_items[0].end_date": "must be after start_date"},
            id="a line item that ends before it begins",
        ),
        pytest.param(
            {"line_items": [{"price_id": "a"}] * 1001},
            {"line_items": "has 1001 entries, 1000 are allowed"},
            id="many line items",
        ),
        pytest.param(
            {"subscription_status": "draft"},
            {"subscription_status": "is not supported: a subscription is a draft until its start_date"},
            id="a draft",
        ),
        pytest.param(
            {"subscription_status": "trialing"},
            {"subscription_status": "should be 'active' or 'draft'"},
            id="another status",
        ),
        pytest.param(
            {"plan_id": 1, "currency": 2, "billing_period": 3, "metadata": 4, "collection_method": 5},
            {
                "plan_id": NOT_TEXT,
                "currency": NOT_TEXT,
                "billing_period": PERIODS,
                "metadata": "must be a mapping",
                "collection_method": NOT_TEXT,
            },
            id="all at once",
        ),
    ],
)
def test_what_is_wrong_with_a_subscription(fields: dict[str, Any], faults: dict[str, str]) -> None:
    assert refused(lambda: parse(**fields)) == faults


@pytest.mark.parametrize("name", sorted(flexprice_subscriptions.UNSUPPORTED))
def test_what_is_not_supported_is_refused_by_name(name: str) -> None:
    reason = flexprice_subscriptions.UNSUPPORTED[name]
    assert refused(lambda: parse(**{name: {"a": 1}})) == {name: f"is not supported: {reason}"}


NOW = parse_instant("2026-03-10T00:00:00Z")
START, END = "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"
STORED = Terms("s", "acme", "usd", "UTC", parse_instant(START), (PlanTerm("pro", None, 1),))


@pytest.mark.parametrize(
    ("fields", "terms", "same"),
    [
        pytest.param({"start_date": START}, {}, True, id="what it was made of"),
        pytest.param({}, {}, True, id="from now on: it has begun"),
        pytest.param({}, {"start": NOW + MINUTE}, True, id="from now on: it begins in a moment"),
        pytest.param({}, {"start": NOW + DAY}, False, id="from now on: it begins tomorrow"),
        pytest.param({"start_date": END}, {}, False, id="another start"),
        pytest.param({"customer_id": "other"}, {}, False, id="another customer"),
        pytest.param({"plan_id": "basic"}, {}, False, id="another plan"),
        pytest.param(
            {}, {"plan": (PlanTerm("pro", None, 1), PlanTerm("basic", NOW, 1))}, True, id="changed since"
        ),
        pytest.param({}, {"end": parse_instant(END)}, False, id="ended"),
        pytest.param({"end_date": END}, {"end": parse_instant(END)}, True, id="ended as agreed"),
        pytest.param({}, {"end": NOW + DAY}, True, id="ends tomorrow"),
        pytest.param({}, {"canceled_at": NOW}, False, id="called off"),
        pytest.param(
            {"metadata": {"a": "b"}, "billing_period": "ANNUAL"}, {}, True, id="otherwise different"
        ),
    ],
)
def test_whether_a_create_is_a_repeat(
    fields: dict[str, Any],
    terms: dict[str, Any],
    same: bool,  # noqa: FBT001 - a table's column
) -> None:
    assert parse(**fields).is_like(replace(STORED, **terms), NOW) is same

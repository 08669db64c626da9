"""Flexprice's searches and refusals, field by field."""

from typing import Any

import pytest

from meterstone.contracts import flexprice_catalogue, flexprice_pages
from meterstone.contracts.flexprice_pages import PageAsked
from meterstone.contracts.message import Problem
from meterstone.usage.instant import parse_instant
from support.flexprice import body_of, post, refused

MARCH = parse_instant("2026-03-01T00:00:00Z")


@pytest.mark.parametrize(
    ("fields", "page"),
    [
        pytest.param({}, PageAsked(50, 0, descending=False), id="the first"),
        pytest.param(
            {"limit": 1000, "offset": 7, "order": "desc"}, PageAsked(1000, 7, descending=True), id="another"
        ),
        pytest.param(
            {"filters": [], "sort": None, "expand": "plan"}, PageAsked(50, 0, descending=False), id="no more"
        ),
    ],
)
def test_a_page_of_customers(fields: dict[str, Any], page: PageAsked) -> None:
    asked = flexprice_pages.parse_customers(post(**fields))
    assert asked == (page, None, True)


@pytest.mark.parametrize(
    ("fields", "ids"),
    [
        pytest.param({"customer_ids": ["a", "b"]}, {"a", "b"}, id="ids"),
        pytest.param({"external_id": "a"}, {"a"}, id="an external id"),
        pytest.param({"customer_ids": ["a", "b"], "external_ids": ["b", "c"]}, {"b"}, id="both"),
        pytest.param({"customer_ids": ["a"], "external_id": "b"}, set(), id="none"),
        pytest.param({"customer_ids": []}, None, id="an empty list is no filter"),
    ],
)
def test_which_customers(fields: dict[str, Any], ids: set[str] | None) -> None:
    assert flexprice_pages.parse_customers(post(**fields)).ids == ids


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        pytest.param({"limit": 0}, {"limit": "should be greater than or equal to 1"}, id="no records"),
        pytest.param({"limit": 1001}, {"limit": "should be less than or equal to 1000"}, id="many records"),
        pytest.param(
            {"offset": -1}, {"offset": "should be greater than or equal to 0"}, id="before the first"
        ),
        pytest.param({"order": "up"}, {"order": "should be 'asc' or 'desc'"}, id="another order"),
        pytest.param(
            {"filters": [{"field": "name"}], "sort": [{"field": "name"}]},
            {
                "filters": "is not supported: give the fields of their own, such as customer_ids",
                "sort": "is not supported: lists are ordered by id",
            },
            id="conditions",
        ),
        pytest.param({"email": "a"}, {"email": "is not supported: give external_ids"}, id="an address"),
        pytest.param({"customer_ids": "a"}, {"customer_ids": "must be a list"}, id="no list"),
        pytest.param(
            {"status": "gone"}, {"status": "should be 'published', 'archived' or 'deleted'"}, id="a status"
        ),
    ],
)
def test_what_is_wrong_with_a_search(fields: dict[str, Any], faults: dict[str, str]) -> None:
    assert refused(lambda: flexprice_pages.parse_customers(post(**fields))) == faults


def test_which_subscriptions() -> None:
    asked = flexprice_pages.parse_subscriptions(
        post(
            subscription_ids=["s"],
            customer_ids=["a", "b"],
            external_customer_id="b",
            plan_id="pro",
            subscription_status=["active", "Draft"],
            billing_period=["monthly"],
            active_at="2026-03-01T00:00:00Z",
            with_line_items=False,
            status="archived",
        )
    )
    assert (asked.ids, asked.customers, asked.plan) == (frozenset({"s"}), frozenset({"b"}), "pro")
    assert (asked.statuses, asked.periods) == (frozenset({"active", "draft"}), frozenset({"MONTHLY"}))
    assert asked.active_at == MARCH
    assert (asked.line_items, asked.published, asked.reads_each) == (False, False, True)


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        pytest.param(
            {"subscription_status": ["gone"]},
            {
                "subscription_status[0]": "should be 'active', 'cancelled', 'draft', 'paused', 'incomplete' or "
                "'trialing'"
            },
            id="a status",
        ),
        pytest.param(
            {"subscription_status": "active"}, {"subscription_status": "must be a list"}, id="no list"
        ),
        pytest.param(
            {"start_time": "2026-01-01T00:00:00Z"},
            {"start_time": "is not supported: give active_at"},
            id="a range",
        ),
        pytest.param({"with_line_items": 1}, {"with_line_items": "must be true or false"}, id="no boolean"),
    ],
)
def test_what_is_wrong_with_a_search_for_subscriptions(
    fields: dict[str, Any], faults: dict[str, str]
) -> None:
    assert refused(lambda: flexprice_pages.parse_subscriptions(post(**fields))) == faults


@pytest.mark.parametrize(
    ("kind", "path", "name"),
    [
        ("subscription", "customer", "customer_id"),
        ("subscription", "plan", "plan_id"),
        ("subscription", "plan[0].value", "plan_id[0].value"),
        ("subscription", "commitment.overage_factor", "overage_factor"),
        ("subscription", "line_items[3].price", "line_items[3].price_id"),
        ("subscription", "line_items[3].end", "line_items[3].end_date"),
        ("subscription", "line_items", "line_items"),
        ("subscription", "prices[1]", "include_price_ids[1]"),
        ("change", "plan", "target_plan_id"),
        ("change", "line_items[0].price", "line_items[0].price_id"),
        ("cancel", "", "cancel_at"),
        ("customer", "country", "address_country"),
        ("customer", "id", "external_id"),
        ("plan", "code", "code"),
        ("subscription", "", ""),
    ],
)
def test_a_fault_is_told_by_flexprices_name(kind: str, path: str, name: str) -> None:
    assert flexprice_catalogue.name_of(kind, path) == name


def test_replies_to_what_the_catalogue_refuses() -> None:
    record = flexprice_catalogue.refuse_record("subscription", [("plan", "is unknown"), ("end", "is bad")])
    assert body_of(record, 400)["details"] == {
        "plan_id": {"reason": "is unknown"},
        "end_date": {"reason": "is bad"},
    }
    conflict = body_of(flexprice_catalogue.refuse_conflict("subscription", "end", "is odd"), 409)
    assert (conflict["code"], conflict["http_status_code"]) == ("invalid_operation", 409)
    assert conflict["details"] == {"end_date": {"reason": "is odd"}}
    assert conflict["message"] == "This change is not possible: is odd."
    never = body_of(flexprice_catalogue.refuse_conflict("customer", "", "has subscriptions"), 409)
    assert never["details"] == {"customer": {"reason": "has subscriptions"}}
    assert body_of(flexprice_catalogue.refuse_stale(), 409)["code"] == "version_conflict"
    assert (
        body_of(flexprice_catalogue.refuse_existing("customer", "external_id"), 409)["code"]
        == "already_exists"
    )
    assert body_of(flexprice_catalogue.refuse_unknown("plan", "x" * 300), 404)["code"] == "not_found"
    state = flexprice_catalogue.refuse_operation("cancel_at", "is after the end")
    assert body_of(state, 400)["code"] == "invalid_operation"


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (Problem.UNAUTHORIZED, 401),
        (Problem.NOT_FOUND, 404),
        (Problem.WRONG_METHOD, 405),
        (Problem.UNAVAILABLE, 503),
        (Problem.INTERNAL, 500),
    ],
)
def test_problems_in_flexprices_shape(problem: Problem, status: int) -> None:
    assert flexprice_catalogue.refuse(problem).status == status

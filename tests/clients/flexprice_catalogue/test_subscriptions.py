"""Flexprice's own Python client, as its users have it, subscribes customers to plans."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from flexprice import Flexprice, models

from support.flexprice_client import World, ahead, cancel, items_of, refusal, same, sign_up, subscribe


def test_a_subscription_follows_its_plan(client: Flexprice) -> None:
    sign_up(client)
    made = subscribe(client, metadata={"deal": "7"})
    assert (made.customer_id, made.plan_id, made.currency) == ("acme", "basic", "usd")
    assert (made.status, made.subscription_status, made.version) == ("published", "active", 1)
    assert (made.billing_period, made.billing_period_count, made.billing_cycle) == (
        "MONTHLY",
        1,
        "anniversary",
    )
    assert (made.lookup_key, made.timezone, made.metadata) == (made.id, "Europe/Berlin", {"deal": "7"})
    assert same(made.start_date, ahead())
    assert made.billing_anchor == made.start_date == made.current_period_start
    assert (made.end_date, made.cancel_at, made.cancelled_at) == (None, None, None)
    assert items_of(made) == [("call", "plan")]
    assert made.line_items is not None
    item = made.line_items[0]
    assert (item.meter_id, item.meter_display_name, item.currency) == ("calls", "Calls", "usd")
    assert item.price is not None
    assert (item.price.amount, item.price.billing_period) == ("0.1", "MONTHLY")
    assert made.id is not None
    assert client.subscriptions.get_subscription(id=made.id) == made


def test_all_of_a_subscription(client: Flexprice) -> None:
    sign_up(client, timezone="Asia/Tokyo")
    start, end = ahead(days=10), ahead(days=400)
    made = subscribe(
        client,
        customer_id=None,
        external_customer_id="acme",
        billing_period="QUARTERLY",
        billing_period_count=2,
        billing_cycle="calendar",
        start_date=start,
        end_date=end,
        commitment_amount="100.50",
        overage_factor="1.5",
        lookup_key="acme-main",
        timezone="UTC",
        line_items=[models.CreateSubscriptionLineItemRequest(price_id="seat", start_date=ahead(days=20))],
        payment_terms="30 NET",
    )
    assert (made.start_date, made.end_date, made.cancel_at) == (start, end, end)
    assert (made.subscription_status, made.lookup_key, made.timezone) == ("draft", "acme-main", "UTC")
    assert (made.commitment_amount, made.overage_factor) == ("100.5", "1.5")
    assert (made.billing_period, made.billing_period_count, made.billing_cycle) == (
        "QUARTERLY",
        2,
        "calendar",
    )
    assert items_of(made) == [("call", "plan"), ("seat", "subscription")]
    assert made.payment_terms == "30 NET"


@pytest.mark.parametrize(
    ("fields", "items"),
    [
        pytest.param({"include_price_ids": ["call"]}, [("call", "plan")], id="one of the plan's"),
        pytest.param(
            {"include_price_ids": [], "line_items": [{"price_id": "seat"}]},
            [("seat", "subscription")],
            id="none of the plan's",
        ),
        pytest.param({"currency": "EUR"}, [("call-eur", "plan")], id="another currency"),
        pytest.param(
            {"plan_id": "year", "billing_period": "ANNUAL"}, [("call", "plan")], id="another period"
        ),
    ],
)
def test_which_prices_a_subscription_has(
    client: Flexprice, fields: dict[str, Any], items: list[tuple[str, str]]
) -> None:
    sign_up(client)
    assert items_of(subscribe(client, **fields)) == items


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        pytest.param({"customer_id": "nobody"}, {"customer_id"}, id="no customer"),
        pytest.param({"plan_id": "none"}, {"plan_id"}, id="no plan"),
        pytest.param({"plan_id": "year"}, {"plan_id"}, id="no price for the period"),
        pytest.param({"currency": "gbp"}, {"plan_id"}, id="no price in the currency"),
        pytest.param(
            {"include_price_ids": [], "line_items": [{"price_id": "none"}, {"price_id": "call-eur"}]},
            {"line_items[0].price_id", "line_items[1].price_id"},
            id="prices that are not there, or in another currency",
        ),
        pytest.param({"line_items": [{"price_id": "call-pro"}]}, {"plan_id"}, id="two prices of a meter"),
        pytest.param({"include_price_ids": ["seat"]}, {"include_price_ids[0]"}, id="no price of the plan"),
        pytest.param({"coupons": ["half"]}, {"coupons"}, id="coupons"),
        pytest.param({"trial_period_days": 7}, {"trial_period_days"}, id="a trial"),
        pytest.param({"lookup_key": "a\n"}, {"lookup_key"}, id="a bad key"),
    ],
)
def test_what_is_refused(client: Flexprice, fields: dict[str, Any], details: set[str]) -> None:
    sign_up(client)
    status, code, found = refusal(lambda: subscribe(client, **fields))
    assert (status, code, set(found)) == (400, "validation_error", details)
    assert client.subscriptions.query_subscription().items == []


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"lookup_key": "main"}, id="by its key"),
        pytest.param({"lookup_key": "main", "start_date": ahead(days=3)}, id="by its key, later"),
        pytest.param({}, id="by customer, plan and time"),
        pytest.param({"start_date": ahead(days=3)}, id="by customer, plan and start"),
        pytest.param(
            {"start_date": datetime(2024, 1, 1, tzinfo=UTC), "end_date": datetime(2024, 2, 1, tzinfo=UTC)},
            id="of the past",
        ),
    ],
)
def test_a_retried_create_is_the_same(client: Flexprice, fields: dict[str, Any]) -> None:
    sign_up(client)
    made = subscribe(client, **fields)
    assert subscribe(client, **fields) == made
    assert subscribe(client, **fields, metadata={"sent": "again"}) == made
    other = subscribe(client, **fields | {"plan_id": "pro", "lookup_key": "other"})
    assert other.id != made.id


@pytest.mark.parametrize("fields", [{"lookup_key": "main"}, {}], ids=["by its key", "by customer and plan"])
def test_creates_at_once_make_one(world: World, fields: dict[str, Any]) -> None:
    def make(_: int) -> str | None:
        with world.client() as client:
            return subscribe(client, **fields).id

    with world.client() as client:
        sign_up(client)
        with ThreadPoolExecutor(4) as pool:
            made = set(pool.map(make, range(4)))
        assert len(made) == 1
        listed = client.subscriptions.query_subscription()
        assert [each.id for each in listed.items or ()] == list(made)


def test_a_create_after_a_cancellation_is_another(client: Flexprice) -> None:
    sign_up(client)
    for fields in ({}, {"lookup_key": "main"}, {"start_date": ahead(days=3), "lookup_key": "later"}):
        first = subscribe(client, **fields)
        cancel(client, first, "immediate")
        second = subscribe(client, **fields)
        assert second.id != first.id
        assert second.subscription_status != "cancelled"
        assert subscribe(client, **fields) == second


def test_an_external_id_is_one_subscriptions_at_a_time(client: Flexprice) -> None:
    sign_up(client)
    subscribe(client, lookup_key="main")
    status, code, details = refusal(lambda: subscribe(client, lookup_key="main", plan_id="pro"))
    assert (status, code, set(details)) == (400, "validation_error", {"lookup_key"})


def test_subscriptions_are_listed(client: Flexprice) -> None:
    sign_up(client)
    sign_up(client, "globex")
    running = subscribe(client, lookup_key="a")
    later = subscribe(client, lookup_key="b", start_date=ahead(days=3), plan_id="pro")
    others = subscribe(client, customer_id="globex", billing_period="QUARTERLY")
    ended = subscribe(client, lookup_key="d")
    cancel(client, ended, "immediate")

    def found(**asked: Any) -> set[str | None]:
        return {each.id for each in client.subscriptions.query_subscription(**asked).items or ()}

    every = {running.id, later.id, others.id, ended.id}
    assert found() == every
    assert found(customer_id="globex") == {others.id}
    assert found(external_customer_id="acme") == {running.id, later.id, ended.id}
    assert found(plan_id="pro") == {later.id}
    assert found(subscription_ids=[running.id, "none"]) == {running.id}
    assert found(subscription_ids=[running.id], customer_id="globex") == set()
    assert found(subscription_status=["active"]) == {running.id, others.id}
    assert found(subscription_status=["draft", "cancelled"], customer_id="acme") == {later.id, ended.id}
    assert found(subscription_status=["paused"]) == set()
    assert found(billing_period=["QUARTERLY"]) == {others.id}
    assert found(active_at=ahead(days=4)) == {running.id, later.id, others.id}
    assert found(status="deleted") == set()
    pages = [
        client.subscriptions.query_subscription(limit=3, offset=offset, with_line_items=False)
        for offset in (0, 3)
    ]
    assert [len(page.items or ()) for page in pages] == [3, 1]
    assert {each.id for page in pages for each in page.items or ()} == every
    assert all(each.line_items is None for page in pages for each in page.items or ())
    assert pages[1].pagination is not None
    assert (pages[1].pagination.total, pages[1].pagination.offset) == (4, 3)

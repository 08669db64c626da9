"""Flexprice's own Python client, as its users have it, changes the plans of subscriptions."""

from typing import Any

import pytest
from flexprice import Flexprice

from support.flexprice_client import (
    again,
    both,
    change,
    change_in_place,
    items_of,
    refusal,
    sign_up,
    subscribe,
)


def test_a_change_to_another_plan(client: Flexprice) -> None:
    sign_up(client)
    made = subscribe(
        client, lookup_key="main", commitment_amount="10", overage_factor="2", metadata={"a": "b"}
    )
    changed = change(client, made, "pro")
    assert changed.is_scheduled is False
    old, new = both(changed)
    assert (old.id, old.plan_id, old.status) == (made.id, "basic", "cancelled")
    assert (new.plan_id, new.status, new.billing_anchor) == ("pro", "active", made.billing_anchor)
    assert old.archived_at == changed.effective_date
    assert new.id is not None
    found = client.subscriptions.get_subscription(id=new.id)
    assert (found.lookup_key, found.start_date, found.customer_id) == ("main", changed.effective_date, "acme")
    assert (found.commitment_amount, found.metadata, found.timezone) == ("10", {"a": "b"}, made.timezone)
    assert items_of(found) == [("call-pro", "plan")]
    ended = again(client, made)
    assert (ended.end_date, ended.subscription_status) == (changed.effective_date, "cancelled")
    repeated = change(client, made, "pro")
    assert (repeated.new_subscription, repeated.effective_date) == (new, changed.effective_date)
    assert refusal(lambda: change(client, made, "year"))[:2] == (400, "invalid_operation")
    assert refusal(lambda: change(client, found, "pro"))[:2] == (400, "invalid_operation")


def test_a_change_with_the_period(client: Flexprice) -> None:
    sign_up(client)
    made = subscribe(client)
    changed = change(client, made, "year", change_at="end_of_period", billing_period="ANNUAL")
    assert (changed.is_scheduled, changed.scheduled_at) == (True, made.current_period_end)
    old, new = both(changed)
    assert (old.status, new.status, new.plan_id) == ("active", "draft", "year")
    assert (new.current_period_start, new.billing_anchor) == (
        made.current_period_end,
        made.current_period_end,
    )
    repeated = change(client, made, "year", change_at="end_of_period", billing_period="ANNUAL")
    assert repeated.new_subscription == new
    listed = client.customers.get_subscriptions_for_customer(external_id="acme")
    assert [(each.id, each.subscription_status) for each in listed.items or ()] == [
        (made.id, "active"),
        (new.id, "draft"),
    ]


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        pytest.param({"target": "none"}, {"target_plan_id"}, id="no plan"),
        pytest.param({"target": "year"}, {"target_plan_id"}, id="no price for the period"),
    ],
)
def test_a_change_that_is_refused(client: Flexprice, fields: dict[str, Any], details: set[str]) -> None:
    sign_up(client)
    made = subscribe(client)
    status, code, found = refusal(lambda: change(client, made, **fields))
    assert (status, code, set(found)) == (400, "validation_error", details)
    assert again(client, made) == made


def test_a_change_in_place(client: Flexprice) -> None:
    sign_up(client)
    made = subscribe(client)
    changed = change_in_place(client, made, "pro", idempotency_key="k")
    assert (changed.is_scheduled, changed.change_type) == (False, "lateral")
    assert changed.from_plan is not None
    assert changed.to_plan is not None
    assert (changed.from_plan.name, changed.to_plan.name) == ("Basic", "Pro")
    assert changed.subscription is not None
    assert (changed.subscription.id, changed.subscription.plan_id) == (made.id, "pro")
    assert [item.price_id for item in changed.subscription.line_items or ()] == ["call", "call-pro"]
    assert changed.billing_period is not None
    assert changed.billing_period.current_period_end == made.current_period_end
    repeated = change_in_place(client, made, "pro", idempotency_key="k")
    assert (repeated.effective_at, repeated.subscription) == (changed.effective_at, changed.subscription)


def test_a_change_in_place_with_the_period(client: Flexprice) -> None:
    sign_up(client)
    made = subscribe(client)
    for _ in range(2):
        changed = change_in_place(client, made, "pro", change_at="end_of_period")
        assert (changed.is_scheduled, changed.scheduled_at) == (True, made.current_period_end)
    assert again(client, made).plan_id == "basic"
    status, code, details = refusal(lambda: change_in_place(client, made, "basic"))
    assert (status, code, set(details)) == (400, "invalid_operation", {"target_plan_id"})
    status, code, details = refusal(
        lambda: change_in_place(client, made, "pro", billing_period_behaviour="anchor_at_effect")
    )
    assert (status, code, set(details)) == (400, "validation_error", {"billing_period_behaviour"})

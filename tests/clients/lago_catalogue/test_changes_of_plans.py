"""Lago's own Python client, as its users have it, changes the plans of subscriptions."""

from typing import Any

import pytest

from support.lago_client import WARNINGS, PlanOverrides, at, listed, refusal, sign_up, subscribe

pytestmark = WARNINGS


def test_another_plan_now(client: Any) -> None:
    sign_up(client)
    old = subscribe(client, name="Main", ending_at=at(days=300))
    new = subscribe(client, "team")
    assert (new.status, new.plan_code, new.previous_plan_code) == ("active", "team", "basic")
    assert (new.name, new.ending_at) == ("Main", old.ending_at)
    ended = client.subscriptions.find("acme-main", {"status": "terminated"})
    assert (ended.lago_id, ended.terminated_at, ended.next_plan_code) == (old.lago_id, new.started_at, "team")
    assert subscribe(client, "team") == new


def test_another_plan_ahead_of_time(client: Any) -> None:
    sign_up(client)
    old, when = subscribe(client), at(days=7)
    new = subscribe(client, "yearly", subscription_at=when)
    assert (new.status, new.subscription_at, new.previous_plan_code) == ("pending", when, "basic")
    running_on = client.subscriptions.find("acme-main")
    assert (running_on.lago_id, running_on.ending_at, running_on.next_plan_code) == (
        old.lago_id,
        when,
        "yearly",
    )
    assert subscribe(client, "yearly", subscription_at=when) == new
    assert refusal(lambda: subscribe(client, "team")) == (422, {"external_id": ["value_already_exist"]})
    assert listed(client, **{"status[]": ["pending", "active"], "external_id": "acme-main"}) == [
        ("acme-main", "basic", "active"),
        ("acme-main", "yearly", "pending"),
    ]


@pytest.mark.parametrize("end", [None, 200], ids=["without end", "with an end"])
def test_a_change_of_plans_is_called_off(client: Any, end: int | None) -> None:
    sign_up(client)
    until = None if end is None else at(days=end)
    old = subscribe(client, ending_at=until)
    subscribe(client, "team", subscription_at=at(days=7))
    stopped = client.subscriptions.destroy("acme-main", {"status": "pending"})
    assert (stopped.status, stopped.plan_code) == ("canceled", "team")
    assert stopped.canceled_at is not None
    running_on = client.subscriptions.find("acme-main")
    assert (running_on.lago_id, running_on.ending_at, running_on.next_plan_code) == (old.lago_id, until, None)
    assert subscribe(client, "team").status == "active"


def test_anniversaries_go_on_through_a_change_of_plans(client: Any) -> None:
    sign_up(client)
    start = "2024-01-31T10:00:00Z"
    old = subscribe(client, "team", subscription_at=start, billing_time="anniversary")
    new = subscribe(client)
    assert (new.billing_time, new.subscription_at) == ("anniversary", start)
    assert new.current_billing_period_ending_at == old.current_billing_period_ending_at


def test_a_plan_is_not_changed_before_the_subscription_began(client: Any) -> None:
    sign_up(client)
    subscribe(
        client, subscription_at="2024-01-01T00:00:00Z", plan_overrides=PlanOverrides(amount_currency="EUR")
    )
    early = refusal(lambda: subscribe(client, "team", subscription_at="2024-01-01T00:00:00Z"))
    assert early == (422, {"subscription_at": ["invalid_date"]})

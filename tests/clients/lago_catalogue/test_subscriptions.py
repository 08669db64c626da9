"""Lago's own Python client, as its users have it, subscribes customers to plans, and ends that."""

from typing import Any

import pytest

from support.lago_client import WARNINGS, PlanOverrides, Subscription, at, listed, refusal, sign_up, subscribe

pytestmark = WARNINGS


def test_a_subscription_that_begins_now(client: Any) -> None:
    customer = sign_up(client)
    before = at(seconds=-1)
    made = subscribe(client, name="Main")
    assert before <= made.started_at <= at(seconds=1)
    assert made.lago_customer_id == customer.lago_id
    assert (made.status, made.plan_code, made.name, made.billing_time) == (
        "active",
        "basic",
        "Main",
        "calendar",
    )
    assert (made.ending_at, made.terminated_at, made.previous_plan_code, made.next_plan_code) == (None,) * 4
    assert client.subscriptions.find("acme-main") == made
    assert subscribe(client) == made
    assert listed(client) == [("acme-main", "basic", "active")]


def test_a_subscription_in_the_future_and_its_retry(client: Any) -> None:
    sign_up(client)
    start, end = at(days=3), at(days=90)
    made = subscribe(client, subscription_at=start, ending_at=end, billing_time="anniversary")
    assert (made.status, made.subscription_at, made.started_at, made.ending_at) == (
        "pending",
        start,
        None,
        end,
    )
    assert subscribe(client, subscription_at=start, ending_at=end, billing_time="anniversary") == made
    assert refusal(lambda: client.subscriptions.find("acme-main")) == (404, "subscription_not_found")
    assert client.subscriptions.find("acme-main", {"status": "pending"}) == made
    assert listed(client) == []
    assert listed(client, **{"status[]": ["pending", "active"]}) == [("acme-main", "basic", "pending")]


def test_a_pending_subscription_gets_another_plan_and_start(client: Any) -> None:
    sign_up(client)
    made = subscribe(client, subscription_at=at(days=3), name="Main")
    later = at(days=5)
    changed = subscribe(client, "yearly", subscription_at=later)
    assert (changed.lago_id, changed.plan_code, changed.subscription_at) == (made.lago_id, "yearly", later)
    assert (changed.name, changed.status) == ("Main", "pending")


def test_a_subscription_that_has_ended_and_its_external_id_again(client: Any) -> None:
    sign_up(client)
    start, end = "2024-01-31T00:00:00Z", "2024-07-01T00:00:00Z"
    old = subscribe(client, subscription_at=start, ending_at=end, billing_time="anniversary")
    assert (old.status, old.started_at, old.terminated_at) == ("terminated", start, end)
    new = subscribe(client, "team")
    assert (new.status, new.previous_plan_code) == ("active", None)
    assert new.lago_id != old.lago_id
    assert client.subscriptions.find("acme-main", {"status": "terminated"}).lago_id == old.lago_id
    both = listed(client, **{"status[]": ["active", "terminated"], "external_customer_id": "acme"})
    assert both == [("acme-main", "basic", "terminated"), ("acme-main", "team", "active")]


def test_a_termination(client: Any) -> None:
    sign_up(client)
    made = subscribe(client)
    subscribe(client, "team", subscription_at=at(days=7))
    ended = client.subscriptions.destroy("acme-main", {"on_termination_invoice": "skip"})
    assert (ended.lago_id, ended.status, ended.next_plan_code) == (made.lago_id, "terminated", None)
    assert ended.terminated_at is not None
    assert refusal(lambda: client.subscriptions.destroy("acme-main")) == (404, "subscription_not_found")
    assert listed(client, **{"status[]": ["pending", "canceled"]}) == [("acme-main", "team", "canceled")]
    assert subscribe(client).lago_id != made.lago_id


def test_a_pending_one_is_called_off_by_its_id_alone(client: Any) -> None:
    sign_up(client)
    subscribe(client, subscription_at=at(days=7))
    assert client.subscriptions.destroy("acme-main").status == "canceled"
    again = subscribe(client, subscription_at=at(days=7))
    assert again.status == "pending"


def test_name_and_end_are_changed(client: Any) -> None:
    sign_up(client)
    made, end = subscribe(client, name="Main"), at(days=30)
    changed = client.subscriptions.update(Subscription(ending_at=end), "acme-main")
    assert (changed.lago_id, changed.ending_at, changed.name) == (made.lago_id, end, "Main")
    renamed = client.subscriptions.update(Subscription(name="Side"), "acme-main")
    assert (renamed.ending_at, renamed.name) == (end, "Side")
    assert client.subscriptions.find("acme-main") == renamed
    early = refusal(
        lambda: client.subscriptions.update(Subscription(ending_at="2020-01-01T00:00:00Z"), "acme-main")
    )
    assert early == (422, {"ending_at": ["invalid_date"]})


def test_a_currency_is_chosen(client: Any) -> None:
    sign_up(client, currency="USD")
    assert subscribe(client).plan_amount_currency == "USD"
    assert refusal(lambda: subscribe(client, "team", "other")) == (
        422,
        {"currency": ["value_is_invalid", "currencies_does_not_match"]},
    )
    sign_up(client, "globex")
    unknown = refusal(lambda: subscribe(client, "everywhere", "g", external_customer_id="globex"))
    assert unknown == (422, {"currency": ["value_is_invalid", "currencies_does_not_match"]})
    overrides = PlanOverrides(amount_currency="EUR")
    made = subscribe(client, "everywhere", "g", external_customer_id="globex", plan_overrides=overrides)
    assert made.plan_amount_currency == "EUR"


def test_pages_and_filters_of_subscriptions(client: Any) -> None:
    sign_up(client, currency="EUR")
    sign_up(client, "globex", currency="USD")
    for number in range(3):
        subscribe(client, external_id=f"s{number}")
    subscribe(client, "team", "s3")
    subscribe(client, external_id="s4", external_customer_id="globex", subscription_at=at(days=1))
    every = {"status[]": ["active", "pending", "terminated", "canceled"]}
    assert len(listed(client, **every)) == 5
    found = client.subscriptions.find_all({"page": 2, "per_page": 3})
    assert [each.external_id for each in found["subscriptions"]] == ["s3"]
    assert (found["meta"]["total_count"], found["meta"]["total_pages"]) == (4, 2)
    found = client.subscriptions.find_all({"page": 2, "per_page": 3, **every})
    assert [each.external_id for each in found["subscriptions"]] == ["s3", "s4"]
    assert listed(client, plan_code="team") == [("s3", "team", "active")]
    assert listed(client, external_customer_id="globex") == []
    assert listed(client, external_customer_id="globex", **every) == [("s4", "basic", "pending")]
    assert listed(client, external_id="s1") == [("s1", "basic", "active")]
    assert listed(client, currency="usd", **every) == [("s4", "basic", "pending")]
    assert listed(client, external_customer_id="nobody", **every) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"external_customer_id": "nobody"}, (404, "customer_not_found"), id="no such customer"),
        pytest.param({"plan_code": "none"}, (404, "plan_not_found"), id="no such plan"),
        pytest.param({"external_id": "a\x00"}, (422, {"external_id": ["value_is_invalid"]}), id="no id"),
        pytest.param(
            {"subscription_at": "2024-02-01T00:00:00Z", "ending_at": "2024-01-01T00:00:00Z"},
            (422, {"ending_at": ["invalid_date"]}),
            id="an end before the start",
        ),
        pytest.param(
            {"plan_overrides": PlanOverrides(amount_currency="JPY")},
            (422, {"plan_code": ["value_is_invalid"]}),
            id="no price in the currency",
        ),
        pytest.param(
            {"plan_overrides": PlanOverrides(amount_cents=100), "consolidate_invoice": True},
            (
                422,
                {
                    "consolidate_invoice": ["value_is_invalid", "not_supported"],
                    "plan_overrides.amount_cents": ["value_is_invalid", "not_supported"],
                },
            ),
            id="what cannot be honoured",
        ),
    ],
)
def test_subscriptions_that_are_refused(
    client: Any, fields: dict[str, Any], expected: tuple[int, Any]
) -> None:
    sign_up(client, currency="EUR")
    given = {"external_id": "s", "external_customer_id": "acme", "plan_code": "basic"}
    assert refusal(lambda: client.subscriptions.create(Subscription(**given | fields))) == expected
    assert listed(client, **{"status[]": ["active", "pending", "terminated"]}) == []


def test_an_external_id_of_another_customer_s_subscription(client: Any) -> None:
    sign_up(client)
    sign_up(client, "globex")
    subscribe(client, "team")
    taken = refusal(lambda: subscribe(client, "team", external_customer_id="globex"))
    assert taken == (422, {"external_id": ["value_already_exist"]})
    assert client.subscriptions.find("acme-main").external_customer_id == "acme"

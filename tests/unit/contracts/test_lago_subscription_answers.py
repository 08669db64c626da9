"""Subscriptions as Lago shows them: status, plan, instants, and which of several is meant."""

from typing import Any

import pytest

from meterstone.contracts import lago_subscription_answers
from meterstone.contracts.lago_events import uuid_of
from meterstone.contracts.lago_subscription_answers import Status, chosen, next_id, plan_of, status_of
from meterstone.usage.instant import DAY, parse_instant
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.terms import PlanTerm, Terms
from support.lago import body_of
from support.stamped import MADE, Stored

ORGANIZATION = "5d1f3a52-8f0e-4b8e-9a53-0b7b0a6f1c11"
NOW = parse_instant("2026-03-10T12:00:00Z")


def terms(subscription_id: str = "acme-main", **fields: Any) -> Terms:
    known: dict[str, Any] = {
        "customer_id": "acme",
        "currency": "eur",
        "timezone": "UTC",
        "start": MADE,
        "plan": (PlanTerm("team"),),
        "external_id": "acme-main",
    }
    return Terms(id=subscription_id, **known | fields)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param({}, Status.ACTIVE, id="begun"),
        pytest.param({"start": NOW}, Status.ACTIVE, id="begins now"),
        pytest.param({"start": NOW + 1}, Status.PENDING, id="begins later"),
        pytest.param({"end": NOW + 1}, Status.ACTIVE, id="ends later"),
        pytest.param({"end": NOW}, Status.TERMINATED, id="ends now"),
        pytest.param({"start": NOW + DAY, "canceled_at": NOW}, Status.CANCELED, id="called off"),
        pytest.param({"start": NOW - DAY, "canceled_at": MADE}, Status.CANCELED, id="called off long ago"),
    ],
)
def test_the_status_follows_from_the_clock(fields: dict[str, Any], status: Status) -> None:
    assert status_of(terms(**fields), NOW) is status


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        pytest.param({}, "team", id="one plan"),
        pytest.param({"plan": (PlanTerm("team"), PlanTerm("big", NOW))}, "big", id="another one from now"),
        pytest.param({"plan": (PlanTerm("team"), PlanTerm("big", NOW + 1))}, "team", id="another one soon"),
        pytest.param(
            {"plan": (PlanTerm("team"), PlanTerm("big", NOW - 5)), "end": NOW - 5},
            "team",
            id="ended before it",
        ),
        pytest.param(
            {"plan": (PlanTerm("team"), PlanTerm("big", NOW + DAY)), "start": NOW + DAY}, "big", id="ahead"
        ),
    ],
)
def test_the_plan_of_a_subscription(fields: dict[str, Any], code: str) -> None:
    assert plan_of(terms(**fields), NOW) == code


def test_which_one_of_an_external_id_a_status_means() -> None:
    first = Stored(terms("1", start=MADE, end=MADE + DAY))
    second = Stored(terms("2", start=MADE + DAY, end=NOW))
    active = Stored(terms("3", start=NOW, end=NOW + DAY))
    soon, later = Stored(terms("4", start=NOW + DAY)), Stored(terms("5", start=NOW + 9 * DAY))
    every = [later, soon, active, second, first]
    assert chosen(every, Status.TERMINATED, NOW) is second
    assert chosen(every, Status.ACTIVE, NOW) is active
    assert chosen(every, Status.PENDING, NOW) is soon
    assert chosen(every, Status.CANCELED, NOW) is None


def test_ids_are_never_taken_twice() -> None:
    taken: list[str] = []
    for _ in range(4):
        taken.append(next_id(ORGANIZATION, "acme-main", "team", taken))
    assert taken[0] == "acme-main"
    assert len(set(taken)) == 4
    assert next_id(ORGANIZATION, "acme-main", "team", reversed(taken[:2])) == taken[2]
    assert next_id(ORGANIZATION, "x" * 100, "team", []) == "x" * 100
    assert len(next_id(ORGANIZATION, "x" * 101, "team", [])) == 36
    others = [("other", "team"), ("acme-main", "big")]
    assert not {next_id(ORGANIZATION, *each, ["other", "acme-main"]) for each in others} & set(taken)


def test_a_subscription_in_an_answer() -> None:
    changed = NOW - DAY
    stored = Stored(
        terms(
            "next",
            start=changed,
            anchor=MADE,
            billing_cycle=BillingCycle.ANNIVERSARY,
            billing_period=BillingPeriod.MONTHLY,
            end=NOW + 90 * DAY,
            plan=(PlanTerm("big", None, 2),),
            name="Main",
            details={"purchase_order_number": "PO-1"},
        )
    )
    siblings = [
        stored.value,
        terms(end=changed),
        terms("called-off", start=NOW + 90 * DAY, plan=(PlanTerm("x"),), canceled_at=NOW),
        terms("after", start=NOW + 90 * DAY, plan=(PlanTerm("small"),)),
    ]
    found = body_of(lago_subscription_answers.answer(ORGANIZATION, stored, siblings, NOW))["subscription"]
    expected: dict[str, Any] = {
        "lago_id": str(uuid_of(ORGANIZATION, "subscription", "next")),
        "external_id": "acme-main",
        "lago_customer_id": str(uuid_of(ORGANIZATION, "customer", "acme")),
        "external_customer_id": "acme",
        "name": "Main",
        "plan_code": "big",
        "plan_amount_currency": "EUR",
        "status": "active",
        "billing_time": "anniversary",
        "subscription_at": "2026-01-01T00:00:00Z",
        "started_at": "2026-03-09T12:00:00Z",
        "ending_at": "2026-06-08T12:00:00Z",
        "terminated_at": None,
        "canceled_at": None,
        "previous_plan_code": "team",
        "next_plan_code": "small",
        "downgrade_plan_date": None,
        "purchase_order_number": "PO-1",
        # The first one begins with the subscription.
        "current_billing_period_started_at": "2026-03-09T12:00:00Z",
        "current_billing_period_ending_at": "2026-03-31T23:59:59.999999Z",
        "applied_invoice_custom_sections": [],
        "activation_rules": [],
        "created_at": "2026-01-01T00:00:00Z",
    }
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            {"start": NOW + DAY},
            {
                "status": "pending",
                "started_at": None,
                "subscription_at": "2026-03-11T12:00:00Z",
                "ending_at": None,
            },
            id="pending",
        ),
        pytest.param(
            {"end": NOW},
            {
                "status": "terminated",
                "started_at": "2026-01-01T00:00:00Z",
                "terminated_at": "2026-03-10T12:00:00Z",
                "ending_at": "2026-03-10T12:00:00Z",
                "current_billing_period_started_at": None,
            },
            id="terminated",
        ),
        pytest.param(
            {"start": NOW + DAY, "canceled_at": NOW},
            {
                "status": "canceled",
                "started_at": None,
                "canceled_at": "2026-03-10T12:00:00Z",
                "terminated_at": None,
                "ending_at": None,
            },
            id="canceled",
        ),
        pytest.param(
            {"billing_period": BillingPeriod.ONETIME},
            {
                "current_billing_period_started_at": "2026-01-01T00:00:00Z",
                "current_billing_period_ending_at": None,
            },
            id="a billing period without end",
        ),
    ],
)
def test_instants_of_a_subscription(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    found = lago_subscription_answers.subscription_object(ORGANIZATION, Stored(terms(**fields)), [], NOW)
    assert {name: found[name] for name in expected} == expected

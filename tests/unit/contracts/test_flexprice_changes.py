"""Flexprice's cancellations and changes, field by field, and subscriptions, plans and prices in answers."""

import json
from decimal import Decimal
from typing import Any

import pytest
from flexprice import models

from meterstone.contracts import flexprice_changes
from meterstone.contracts.flexprice_changes import CancelAsked, Cancellation, ChangeAsked, Changed
from meterstone.contracts.flexprice_subscription_objects import plan_object, price_record, subscription_object
from meterstone.pricing.commitment import Commitment
from meterstone.pricing.price import BillingModel, Price
from meterstone.usage.instant import parse_instant
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.plan import Plan
from meterstone.usage.terms import ItemTerm, PlanTerm, Terms, resolve
from support.flexprice import body_of, post, refused
from support.stamped import Stored

NOW = parse_instant("2026-03-10T00:00:00Z")
JANUARY, FEBRUARY, MARCH, APRIL = (parse_instant(f"2026-{month:02}-01T00:00:00Z") for month in (1, 2, 3, 4))
CALL = Price("call", "usd", BillingModel.FLAT_FEE, Decimal("0.10"), meter_id="calls")
SEAT = Price("seat", "usd", BillingModel.FLAT_FEE, Decimal(5), meter_id="seats")
MORE = Price("more", "usd", BillingModel.FLAT_FEE, Decimal("0.05"), meter_id="calls")
METERS = {
    name: Meter(id=name, code=name, name=name.title(), aggregation=Aggregation.COUNT, event_name=name)
    for name in ("calls", "seats")
}
BASIC, PRO = Plan("basic", prices=("call",), version=1), Plan("pro", "Pro", prices=("more",), version=1)
TERMS = Terms(
    id="s1",
    external_id="acme-main",
    customer_id="acme",
    currency="usd",
    timezone="UTC",
    start=JANUARY,
    plan=(PlanTerm("basic", None, 1),),
    billing_cycle=BillingCycle.ANNIVERSARY,
    commitment=Commitment(Decimal("100.50"), Decimal("1.5")),
    line_items=(ItemTerm("seat", start=FEBRUARY),),
    details={"metadata": {"deal": "7"}, "payment_terms": "30 NET"},
)


def changed(terms: Terms) -> Changed:
    plans = {("basic", 1): BASIC, ("pro", 1): PRO}
    prices = {each.id: each for each in (CALL, SEAT, MORE)}
    return Changed(Stored(terms), resolve(terms, plans, prices, METERS))


def written(terms: Terms, now: int = NOW) -> dict[str, Any]:
    return subscription_object(*changed(terms), now)


def with_terms(**fields: Any) -> Terms:
    return Terms(**({name: getattr(TERMS, name) for name in TERMS.__struct_fields__} | fields))


CANCEL_KINDS = "should be 'immediate', 'end_of_period' or 'scheduled_date'"


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        pytest.param(
            {"cancellation_type": "immediate"}, CancelAsked(Cancellation.IMMEDIATE, None, ""), id="now"
        ),
        pytest.param(
            {"cancellation_type": "immediate", "cancel_at": "2026-03-01T00:00:00Z"},
            CancelAsked(Cancellation.IMMEDIATE, MARCH, ""),
            id="in the past",
        ),
        pytest.param(
            {"cancellation_type": "end_of_period", "cancel_at": None, "reason": "moved"},
            CancelAsked(Cancellation.END_OF_PERIOD, None, "moved"),
            id="with the period",
        ),
        pytest.param(
            {
                "cancellation_type": "scheduled_date",
                "cancel_at": "2026-04-01T00:00:00Z",
                "proration_behavior": "none",
                "cancel_immediately_invoice_policy": "skip",
            },
            CancelAsked(Cancellation.SCHEDULED_DATE, APRIL, ""),
            id="at an instant",
        ),
    ],
)
def test_a_cancellation(fields: dict[str, Any], asked: CancelAsked) -> None:
    assert flexprice_changes.parse_cancel(post(**fields), NOW) == asked


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        pytest.param({}, {"cancellation_type": "is required"}, id="no kind"),
        pytest.param({"cancellation_type": "never"}, {"cancellation_type": CANCEL_KINDS}, id="another kind"),
        pytest.param({"cancellation_type": 1}, {"cancellation_type": CANCEL_KINDS}, id="a number"),
        pytest.param(
            {"cancellation_type": "scheduled_date"},
            {"cancel_at": "is required for scheduled_date"},
            id="no instant",
        ),
        pytest.param(
            {"cancellation_type": "immediate", "cancel_at": "2026-04-01T00:00:00Z"},
            {"cancel_at": "must not be in the future: use scheduled_date"},
            id="now, in the future",
        ),
        pytest.param(
            {"cancellation_type": "end_of_period", "cancel_at": "2026-04-01T00:00:00Z"},
            {"cancel_at": "must not be given: use scheduled_date"},
            id="two instants",
        ),
        pytest.param(
            {"cancellation_type": "immediate", "cancel_at": "soon", "reason": "x" * 1001},
            {"cancel_at": "not an RFC 3339 date and time", "reason": "has 1001 characters, 1000 are allowed"},
            id="all at once",
        ),
        pytest.param(
            {"cancellation_type": "immediate", "proration_behavior": "half"},
            {"proration_behavior": "should be 'create_prorations' or 'none'"},
            id="another proration",
        ),
    ],
)
def test_what_is_wrong_with_a_cancellation(fields: dict[str, Any], faults: dict[str, str]) -> None:
    assert refused(lambda: flexprice_changes.parse_cancel(post(**fields), NOW)) == faults


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        pytest.param({}, ChangeAsked("pro"), id="the least"),
        pytest.param(
            {"change_at": "end_of_period", "billing_period": "ANNUAL", "billing_cycle": "calendar"},
            ChangeAsked("pro", at_period_end=True, period="ANNUAL", period_count=1, cycle="calendar"),
            id="a period is a single one",
        ),
        pytest.param(
            {"billing_period_count": 3, "metadata": {"a": "b"}, "change_at": "immediate"},
            ChangeAsked("pro", period_count=3, metadata={"a": "b"}),
            id="a count",
        ),
    ],
)
def test_a_change(fields: dict[str, Any], asked: ChangeAsked) -> None:
    everything = {"target_plan_id": "pro", "billing_cadence": "RECURRING", "proration_behavior": "none"}
    assert flexprice_changes.parse_change(post(**everything, **fields)) == asked


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        pytest.param({"target_plan_id": ""}, {"target_plan_id": "is required"}, id="no plan"),
        pytest.param(
            {"change_at": "later"}, {"change_at": "should be 'immediate' or 'end_of_period'"}, id="when"
        ),
        pytest.param({"billing_cadence": "ONCE"}, {"billing_cadence": "should be 'RECURRING'"}, id="cadence"),
        pytest.param(
            {"billing_period_count": "1", "billing_cycle": 1},
            {
                "billing_period_count": "must be a whole number",
                "billing_cycle": "should be 'calendar' or 'anniversary'",
            },
            id="all at once",
        ),
    ],
)
def test_what_is_wrong_with_a_change(fields: dict[str, Any], faults: dict[str, str]) -> None:
    assert (
        refused(lambda: flexprice_changes.parse_change(post(**{"target_plan_id": "pro"} | fields))) == faults
    )


def test_a_change_in_place() -> None:
    asked = flexprice_changes.parse_change_in_place(
        post(
            target_plan_id="pro",
            proration_behavior="none",
            billing_period_behaviour="unchanged",
            entity_policies={"addons": None},
            on_conflict_policies={"on_pending_schedule": "reject"},
            idempotency_key="k",
            change_at="end_of_period",
        )
    )
    assert asked == ChangeAsked("pro", at_period_end=True, idempotency_key="k")


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        pytest.param(
            {"billing_period_behaviour": "anchor_at_effect"},
            {"billing_period_behaviour": "is not supported: the billing periods go on unchanged"},
            id="other periods",
        ),
        pytest.param(
            {"billing_period_config": {"billing_cycle": "calendar"}},
            {"billing_period_config": "is not supported: the billing periods go on unchanged"},
            id="their config",
        ),
        pytest.param(
            {"on_conflict_policies": {"on_pending_schedule": "supersede"}},
            {
                "on_conflict_policies.on_pending_schedule": "is not supported: take the pending change back first"
            },
            id="supersede",
        ),
        pytest.param(
            {"on_conflict_policies": 7}, {"on_conflict_policies": "must be a mapping"}, id="no policies"
        ),
        pytest.param(
            {"idempotency_key": "x" * 256},
            {"idempotency_key": "has 256 characters, 255 are allowed"},
            id="a long key",
        ),
    ],
)
def test_what_is_wrong_with_a_change_in_place(fields: dict[str, Any], faults: dict[str, str]) -> None:
    request = post(target_plan_id="pro", **fields)
    assert refused(lambda: flexprice_changes.parse_change_in_place(request)) == faults


def test_a_subscription_as_the_client_reads_it() -> None:
    found = written(TERMS)
    items = found.pop("line_items")
    assert found == {
        "id": "s1",
        "lookup_key": "acme-main",
        "customer_id": "acme",
        "invoicing_customer_id": "acme",
        "plan_id": "basic",
        "currency": "usd",
        "status": "published",
        "subscription_status": "active",
        "subscription_type": "standalone",
        "start_date": "2026-01-01T00:00:00Z",
        "billing_cadence": "RECURRING",
        "billing_cycle": "anniversary",
        "billing_period": "MONTHLY",
        "billing_period_count": 1,
        "billing_anchor": "2026-01-01T00:00:00Z",
        "current_period_start": "2026-03-01T00:00:00Z",
        "current_period_end": "2026-04-01T00:00:00Z",
        "cancel_at_period_end": False,
        "timezone": "UTC",
        "pause_status": "none",
        "metadata": {"deal": "7"},
        "payment_terms": "30 NET",
        "version": 3,
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-02-01T00:00:00.5Z",
        "commitment_amount": "100.5",
        "commitment_duration": "MONTHLY",
        "overage_factor": "1.5",
    }
    assert [
        (item["price_id"], item["entity_type"], item["entity_id"], item["start_date"]) for item in items
    ] == [
        ("call", "plan", "basic", "2026-01-01T00:00:00Z"),
        ("seat", "subscription", "s1", "2026-02-01T00:00:00Z"),
    ]
    call = items[0]
    assert (call["id"], call["meter_id"], call["meter_display_name"]) == ("s1.call", "calls", "Calls")
    assert (call["billing_period"], call["price"]["amount"]) == ("MONTHLY", "0.1")
    read = models.SubscriptionResponse.model_validate(json.loads(json.dumps(written(TERMS))))
    assert read.line_items is not None
    assert (read.subscription_status, read.commitment_amount) == ("active", "100.5")


@pytest.mark.parametrize(
    ("fields", "now", "status", "ending"),
    [
        pytest.param({}, JANUARY - 1, "draft", {}, id="before the start"),
        pytest.param({}, JANUARY, "active", {}, id="at the start"),
        pytest.param(
            {"end": APRIL},
            APRIL - 1,
            "active",
            {"end_date": "2026-04-01T00:00:00Z", "cancel_at": "2026-04-01T00:00:00Z"},
            id="before the end",
        ),
        pytest.param(
            {"end": APRIL},
            APRIL,
            "cancelled",
            {"end_date": "2026-04-01T00:00:00Z", "cancelled_at": "2026-04-01T00:00:00Z"},
            id="at the end",
        ),
        pytest.param(
            {"canceled_at": JANUARY - 1, "start": JANUARY},
            JANUARY - 1,
            "cancelled",
            {"cancelled_at": "2025-12-31T23:59:59.999999Z"},
            id="called off before",
        ),
    ],
)
def test_the_status_of_a_subscription(
    fields: dict[str, Any], now: int, status: str, ending: dict[str, str]
) -> None:
    found = written(with_terms(**fields), now)
    assert found["subscription_status"] == status
    assert {
        name: found[name] for name in ("end_date", "cancel_at", "cancelled_at") if name in found
    } == ending


@pytest.mark.parametrize(
    ("fields", "now", "period", "at_period_end"),
    [
        pytest.param(
            {}, JANUARY - 1, ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"), False, id="not begun"
        ),
        pytest.param({}, NOW, ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"), False, id="running"),
        pytest.param(
            {"end": APRIL}, NOW, ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"), True, id="ends with it"
        ),
        pytest.param(
            {"end": APRIL - 1}, NOW, ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"), False, id="ends in it"
        ),
        pytest.param(
            {"end": MARCH}, NOW, ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"), True, id="has ended"
        ),
        pytest.param(
            {"billing_period": BillingPeriod.ONETIME},
            NOW,
            ("2026-01-01T00:00:00Z", None),
            False,
            id="never ends",
        ),
    ],
)
def test_the_current_period(
    fields: dict[str, Any],
    now: int,
    period: tuple[str, str | None],
    at_period_end: bool,  # noqa: FBT001 - a table's column
) -> None:
    found = written(with_terms(**fields), now)
    assert (found["current_period_start"], found.get("current_period_end")) == period
    assert found["cancel_at_period_end"] is at_period_end


@pytest.mark.parametrize(
    ("fields", "now", "effective", "status"),
    [
        pytest.param({"end": NOW}, NOW, "2026-03-10T00:00:00Z", "cancelled", id="now"),
        pytest.param({"end": APRIL}, NOW, "2026-04-01T00:00:00Z", "active", id="later"),
        pytest.param({"canceled_at": NOW}, NOW, "2026-03-10T00:00:00Z", "cancelled", id="called off"),
    ],
)
def test_what_a_cancellation_came_to(fields: dict[str, Any], now: int, effective: str, status: str) -> None:
    asked = CancelAsked(Cancellation.IMMEDIATE, None, "moved")
    body = body_of(flexprice_changes.answer_cancel(asked, with_terms(**fields), now))
    assert (body["effective_date"], body["status"], body["reason"]) == (effective, status, "moved")
    assert (body["subscription_id"], body["cancellation_type"]) == ("s1", "immediate")
    assert models.CancelSubscriptionResponse.model_validate(body).total_credit_amount == "0"


@pytest.mark.parametrize(("at", "ahead"), [(MARCH, False), (APRIL, True)], ids=["now", "later"])
def test_what_a_change_came_to(at: int, ahead: bool) -> None:  # noqa: FBT001 - a table's column
    asked = ChangeAsked("pro", at_period_end=ahead, metadata={"a": "b"})
    old = changed(with_terms(end=at))
    new = changed(with_terms(id="s2", start=at, plan=(PlanTerm("pro", None, 1),), line_items=()))
    body = body_of(flexprice_changes.answer_change(asked, old, new, NOW))
    assert (body["old_subscription"]["id"], body["old_subscription"]["plan_id"]) == ("s1", "basic")
    assert (body["new_subscription"]["id"], body["new_subscription"]["plan_id"]) == ("s2", "pro")
    assert (body["is_scheduled"], "scheduled_at" in body, body["metadata"]) == (ahead, ahead, {"a": "b"})
    read = models.SubscriptionChangeExecuteResponse.model_validate(body)
    assert read.old_subscription is not None
    assert read.new_subscription is not None
    assert read.old_subscription.status == ("active" if ahead else "cancelled")
    assert read.new_subscription.status == ("draft" if ahead else "active")


def test_what_a_change_in_place_came_to() -> None:
    asked = ChangeAsked("pro", idempotency_key="k")
    after = changed(with_terms(plan=(PlanTerm("basic", None, 1), PlanTerm("pro", MARCH, 1))))
    reply = flexprice_changes.answer_change_in_place(asked, (Stored(BASIC), Stored(PRO)), MARCH, after, NOW)
    body = body_of(reply)
    assert (body["from_plan"]["name"], body["to_plan"]["name"]) == ("basic", "Pro")
    assert (body["effective_at"], body["is_scheduled"]) == ("2026-03-01T00:00:00Z", False)
    items = body["changed_resources"]["line_items"]
    assert [(item["price_id"], item["change_action"]) for item in items] == [
        ("call", "ended"),
        ("more", "created"),
    ]
    assert body["subscription"]["plan_id"] == "pro"
    assert models.SubscriptionChangeV2Response.model_validate(body).subscription is not None


def test_a_plan_as_the_client_reads_it() -> None:
    plan = Plan("team", description="For teams", billing_period=BillingPeriod.ANNUAL, prices=("call",))
    found = plan_object(Stored(plan), [Stored(CALL)])
    assert (found["id"], found["lookup_key"], found["name"], found["status"]) == (
        "team",
        "team",
        "team",
        "published",
    )
    [price] = found["prices"]
    assert (price["id"], price["amount"], price["billing_period"]) == ("call", "0.1", "ANNUAL")
    read = models.PlanResponse.model_validate(json.loads(json.dumps(found)))
    assert read.prices is not None
    assert read.prices[0].amount == "0.1"


def test_a_price_alone_is_charged_in_any_period() -> None:
    found = price_record(Stored(CALL))
    assert "billing_period" not in found
    assert (found["created_at"], found["display_amount"]) == ("2026-01-01T00:00:00Z", "$0.1")
    assert models.PriceResponse.model_validate(json.loads(json.dumps(found))).currency == "usd"

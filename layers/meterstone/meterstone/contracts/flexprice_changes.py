"""Flexprice's cancel and change of a subscription on the wire.

What Flexprice's API description leaves open, or what differs, is settled so:

- An end is an instant of its own, and takes effect by itself: there are no schedules, and no job carries one out.
- Nothing is prorated, and no invoice is made: `proration_behavior` and `cancel_immediately_invoice_policy` are
  read, and change nothing. Usage before the instant is priced under the old plan, usage after it under the new.
- The first change (`change/execute`) ends the subscription, and begins another under the same external id at that
  instant. The second (`change/v2/execute`) changes the plan of the subscription, which goes on.
- `change_type` is `lateral`: which plan costs more depends on the usage.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from meterstone.contracts.fields import whole
from meterstone.contracts.flexprice_fields import Reader, identifier, moment, one_of, short_text
from meterstone.contracts.flexprice_subscription_objects import (
    plan_at,
    status_of,
    subscription_object,
    uncut_period,
)
from meterstone.contracts.message import Reply, Request
from meterstone.contracts.price_object import MOST_PERIODS
from meterstone.contracts.stored import Stored
from meterstone.usage.instant import format_instant
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Subscription
from meterstone.usage.terms import Terms

_PRORATION: Final = ("create_prorations", "none")
_UNCHANGED: Final = "unchanged"
_LATERAL: Final = "lateral"


class Cancellation(StrEnum):
    """When a subscription ends that is cancelled."""

    IMMEDIATE = "immediate"
    END_OF_PERIOD = "end_of_period"
    SCHEDULED_DATE = "scheduled_date"


class CancelAsked(NamedTuple):
    """A cancellation. ``at`` is None unless an instant was given."""

    kind: Cancellation
    at: int | None
    reason: str


class ChangeAsked(NamedTuple):
    """A change of plan: now, or with the end of the billing period. None leaves a field as it is."""

    plan: str
    at_period_end: bool = False
    period: str | None = None
    period_count: int | None = None
    cycle: str | None = None
    metadata: Mapping[str, str] | None = None
    #: By which a client marks that it asks the same again.
    idempotency_key: str | None = None


class Changed(NamedTuple):
    """A subscription as it is after a change."""

    stored: Stored[Terms]
    subscription: Subscription


def parse_cancel(request: Request, now: int) -> CancelAsked:
    """Read the body of a cancellation. Raises `RequestRefusedError` (400) with all bad fields at once."""
    reader = Reader.of(request)
    kind = Cancellation(
        reader.require("cancellation_type", one_of(tuple(Cancellation)), str(Cancellation.IMMEDIATE))
    )
    at = reader.get("cancel_at", moment)
    reader.get("proration_behavior", one_of(_PRORATION))
    reader.get("cancel_immediately_invoice_policy", one_of(("generate_invoice", "skip")))
    reason = reader.get("reason", short_text) or ""
    if not reader.faults:
        if kind is Cancellation.SCHEDULED_DATE and at is None:
            reader.fault("cancel_at", "is required for scheduled_date")
        if kind is Cancellation.IMMEDIATE and at is not None and at > now:
            reader.fault("cancel_at", "must not be in the future: use scheduled_date")
        if kind is Cancellation.END_OF_PERIOD and at is not None:
            reader.fault("cancel_at", "must not be given: use scheduled_date")
    reader.check()
    return CancelAsked(kind, at, reason)


def parse_change(request: Request) -> ChangeAsked:
    """Read the body of `change/execute`. Raises `RequestRefusedError` (400) with all bad fields at once."""
    reader = Reader.of(request)
    plan = reader.require("target_plan_id", identifier, "")
    reader.get("billing_cadence", one_of(("RECURRING",)))
    period = reader.get("billing_period", one_of(tuple(BillingPeriod)))
    count = reader.get("billing_period_count", whole(1, MOST_PERIODS))
    asked = ChangeAsked(
        plan=plan,
        at_period_end=_at_period_end(reader),
        period=period,
        # A period without a count is a single one, as in a new subscription.
        period_count=1 if count is None and period is not None else count,
        cycle=reader.get("billing_cycle", one_of(tuple(BillingCycle))),
        metadata=reader.metadata(),
    )
    reader.check()
    return asked


def parse_change_in_place(request: Request) -> ChangeAsked:
    """Read the body of `change/v2/execute`. Raises `RequestRefusedError` (400) with all bad fields at once."""
    reader = Reader.of(request)
    behaviour = reader.get(
        "billing_period_behaviour", one_of((_UNCHANGED, "anchor_at_effect", "anchor_at_config"))
    )
    if behaviour not in (None, _UNCHANGED):
        reader.fault("billing_period_behaviour", "is not supported: the billing periods go on unchanged")
    reader.refuse({"billing_period_config": "the billing periods go on unchanged"})
    policies = reader.fields.inner("on_conflict_policies") if reader.has("on_conflict_policies") else None
    if policies is not None:
        found = policies.get("on_pending_schedule", one_of(("reject", "supersede")), "reject", nullable=True)
        if found == "supersede":
            policies.fault("on_pending_schedule", "is not supported: take the pending change back first")
    asked = ChangeAsked(
        plan=reader.require("target_plan_id", identifier, ""),
        at_period_end=_at_period_end(reader),
        metadata=reader.metadata(),
        idempotency_key=reader.get("idempotency_key", identifier),
    )
    reader.check()
    return asked


def answer_cancel(asked: CancelAsked, terms: Terms, now: int) -> Reply:
    """Answer with what a cancellation came to."""
    end = terms.end if terms.canceled_at is None else terms.canceled_at
    status = status_of(terms, now)
    body: dict[str, Any] = {
        "subscription_id": terms.id,
        "cancellation_type": asked.kind,
        "effective_date": format_instant(now if end is None else end),
        "status": status,
        "reason": asked.reason,
        "processed_at": format_instant(now),
        "message": "Subscription cancelled"
        if status == "cancelled"
        else "Subscription ends on its effective date",
        "proration_details": [],
        "total_credit_amount": "0",
    }
    return Reply.of(200, body)


def answer_change(asked: ChangeAsked, old: Changed, new: Changed, now: int) -> Reply:
    """Answer with the subscription that ends and the one that begins."""
    at = new.stored.value.start
    body: dict[str, Any] = {
        "change_type": _LATERAL,
        "effective_date": format_instant(at),
        "old_subscription": summary(old, now) | {"archived_at": format_instant(at)},
        "new_subscription": summary(new, now),
        "metadata": asked.metadata or {},
        **_scheduled(at, now),
    }
    return Reply.of(200, body)


def answer_change_in_place(
    asked: ChangeAsked, plans: Sequence[Stored[Plan]], at: int, changed: Changed, now: int
) -> Reply:
    """Answer with the subscription after a change from the first of two plans to the second at an instant."""
    subscription = changed.subscription
    period = uncut_period(subscription, now)
    ends = {} if period.end is None else {"current_period_end": format_instant(period.end)}
    status = status_of(changed.stored.value, now)
    before, after = plans
    body: dict[str, Any] = {
        "change_type": _LATERAL,
        "effective_at": format_instant(at),
        "from_plan": _plan_summary(before),
        "to_plan": _plan_summary(after),
        "subscription": subscription_object(changed.stored, subscription, now),
        "billing_period": {
            "behaviour": _UNCHANGED,
            "billing_anchor": format_instant(subscription.anchor),
            "current_period_start": format_instant(period.start),
            **ends,
        },
        "changed_resources": {
            "subscriptions": [{"id": subscription.id, "action": "updated", "status": status, **ends}],
            "line_items": _changed_items(subscription, at),
            "invoices": [],
            "addon_associations": [],
        },
        "entity_changes": [],
        "superseded_schedules": [],
        "warnings": [],
        "metadata": asked.metadata or {},
        **_scheduled(at, now),
    }
    return Reply.of(200, body)


def summary(changed: Changed, now: int) -> dict[str, Any]:
    """Write a subscription in short."""
    stored, subscription = changed
    period = uncut_period(subscription, now)
    written = {
        "id": subscription.id,
        "plan_id": plan_at(subscription, now),
        "status": status_of(stored.value, now),
        "billing_anchor": format_instant(subscription.anchor),
        "current_period_start": format_instant(period.start),
        "created_at": format_instant(stored.stamp.made_at),
    }
    if period.end is not None:
        written["current_period_end"] = format_instant(period.end)
    return written


def _at_period_end(reader: Reader) -> bool:
    reader.get("proration_behavior", one_of(_PRORATION))
    return reader.get("change_at", one_of(("immediate", "end_of_period"))) == "end_of_period"


def _scheduled(at: int, now: int) -> dict[str, Any]:
    ahead = at > now
    return {"is_scheduled": ahead} | ({"scheduled_at": format_instant(at)} if ahead else {})


def _plan_summary(stored: Stored[Plan]) -> dict[str, str]:
    plan = stored.value
    return {
        "id": plan.code,
        "lookup_key": plan.code,
        "name": plan.name or plan.code,
        "description": plan.description,
    }


def _changed_items(subscription: Subscription, at: int) -> list[dict[str, Any]]:
    """Write the line items that end or begin at an instant."""
    found = []
    for item in sorted(subscription.line_items, key=lambda each: each.id):
        if at in (item.start, item.end):
            written = {
                "id": item.id,
                "subscription_id": subscription.id,
                "price_id": item.price.id,
                "change_action": "ended" if item.end == at else "created",
                "quantity": "0",
                "start_date": format_instant(item.start),
            }
            found.append(written if item.end is None else written | {"end_date": format_instant(item.end)})
    return found

"""Lago's subscriptions in answers: their status, which one an external id means, and the object itself.

What Lago's API description leaves open, or has not, is settled so:

- `status` follows from the clock. A subscription is `pending` until it begins, then `active`, and `terminated`
  from its end on. One that was called off before it began is `canceled`.
- `ending_at` is the end, be it agreed on or due to a termination; `terminated_at` is the same once it has come.
- Of several subscriptions with an external id, the one that began last is found under `?status=terminated`, and
  the one that begins first under `?status=pending`.
- `previous_plan_code` and `next_plan_code` are those of the subscriptions that adjoin under the same external id.
  In a list they are told only if it is that of an external id or a customer: for others nothing is read for it.
- A plan is changed at once, whether it is an upgrade or a downgrade: `downgrade_plan_date` is null.
- A plan has no base fee: `plan_amount_cents` is 0.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

from meterstone.contracts.lago_events import uuid_of
from meterstone.contracts.lago_pages import PageAsked, meta
from meterstone.contracts.message import Reply
from meterstone.contracts.stored import Stored
from meterstone.usage.instant import format_instant
from meterstone.usage.period import Cadence
from meterstone.usage.terms import Terms

SUCCEEDS: Final = "succeeds"
"""The detail of a subscription that follows another: the id of the one before."""

SUCCEEDED_END: Final = "succeeded_end"
"""The detail of a subscription that follows another: when the one before was to end anyway."""

ORDER_NUMBER: Final = "purchase_order_number"
"""A detail of a subscription: a number of the client's, which is kept and given back."""

ON_TERMINATION: Final = ("on_termination_credit_note", "on_termination_invoice")


_LONGEST_ID: Final = 100


class Status(StrEnum):
    """Where a subscription is in its life, in Lago's words."""

    PENDING = "pending"
    ACTIVE = "active"
    TERMINATED = "terminated"
    CANCELED = "canceled"


def status_of(terms: Terms, now: int) -> Status:
    """Return where a subscription is in its life."""
    if terms.canceled_at is not None:
        return Status.CANCELED
    if terms.end is not None and terms.end <= now:
        return Status.TERMINATED
    return Status.PENDING if now < terms.start else Status.ACTIVE


def plan_of(terms: Terms, now: int) -> str:
    """Return the code of the plan in force: before the start the first, after the end the last."""
    at = max(now, terms.start)
    if terms.end is not None:
        at = max(terms.start, min(at, terms.end - 1))
    code = terms.plan[0].value
    for each in terms.plan:
        if each.since is None or each.since <= at:
            code = each.value
    return code


def chosen[S: Stored[Terms]](found: Iterable[S], status: Status, now: int) -> S | None:
    """Return the one of an external id's subscriptions that a status means; None if none has it."""
    having = sorted((each for each in found if status_of(each.value, now) is status), key=_start)
    if not having:
        return None
    return having[0] if status is Status.PENDING else having[-1]


def next_id(organization_id: str, external_id: str, plan_code: str, taken: Iterable[str]) -> str:
    """Return the id of a new subscription: its external id if that is not taken and not long, else a UUID.

    An external id may be used again, and an id may not. The first subscription has its external id for both, so
    that answers about its events, which know the external id alone, have its `lago_id`. The UUID is made of what
    was taken, and of the plan: two requests for the same, which saw the same subscriptions, choose one id. Ids of
    line items begin with it, and have at most 255 characters.
    """
    known = set(taken)
    found = external_id
    while found in known or len(found) > _LONGEST_ID:
        found = str(uuid_of(organization_id, "subscription", external_id, plan_code, found))
    return found


def answer(organization_id: str, stored: Stored[Terms], siblings: Iterable[Terms], now: int) -> Reply:
    """Answer with a subscription, where ``siblings`` are all with its external id."""
    return Reply.of(200, {"subscription": subscription_object(organization_id, stored, siblings, now)})


def answer_list(
    organization_id: str,
    asked: PageAsked,
    page: Iterable[Stored[Terms]],
    total: int,
    siblings: Iterable[Terms],
    now: int,
) -> Reply:
    """Answer with a page of subscriptions, of which there are ``total`` on all pages together."""
    by_external_id: dict[str, list[Terms]] = {}
    for each in siblings:
        by_external_id.setdefault(each.events_by, []).append(each)
    found = [
        subscription_object(organization_id, each, by_external_id.get(each.value.events_by, ()), now)
        for each in page
    ]
    counted = meta(asked.page, asked.per_page, total)
    return Reply.of(200, {"subscriptions": found, "meta": counted})


def subscription_object(
    organization_id: str, stored: Stored[Terms], siblings: Iterable[Terms], now: int
) -> dict[str, Any]:
    """Write a subscription. No list is null: the official Python client needs that."""
    terms = stored.value
    status = status_of(terms, now)
    begun = status in (Status.ACTIVE, Status.TERMINATED)
    adjoining = [each for each in siblings if each.id != terms.id and each.canceled_at is None]
    before = next((each for each in adjoining if each.end == terms.start), None)
    after = next((each for each in adjoining if each.start == terms.end), None)
    number = terms.details.get(ORDER_NUMBER)
    return {
        "lago_id": str(uuid_of(organization_id, "subscription", terms.id)),
        "external_id": terms.events_by,
        "lago_customer_id": str(uuid_of(organization_id, "customer", terms.customer_id)),
        "external_customer_id": terms.customer_id,
        "name": terms.name or None,
        "plan_code": plan_of(terms, now),
        "plan_amount_cents": 0,
        "plan_amount_currency": terms.currency.upper(),
        "status": status,
        "billing_time": terms.billing_cycle,
        "subscription_at": format_instant(terms.start if terms.anchor is None else terms.anchor),
        "started_at": _written(terms.start) if begun else None,
        "activated_at": _written(terms.start) if begun else None,
        "ending_at": _written(terms.end) if status is not Status.CANCELED else None,
        "terminated_at": _written(terms.end) if status is Status.TERMINATED else None,
        "canceled_at": _written(terms.canceled_at),
        "cancellation_reason": None,
        "trial_ended_at": None,
        "previous_plan_code": None if before is None else plan_of(before, now),
        "next_plan_code": None if after is None or status is Status.CANCELED else plan_of(after, now),
        "downgrade_plan_date": None,
        **_current_period(terms, status, now),
        **dict.fromkeys(ON_TERMINATION),
        ORDER_NUMBER: number if isinstance(number, str) else None,
        "applied_invoice_custom_sections": [],
        "activation_rules": [],
        "created_at": format_instant(stored.stamp.made_at),
        "updated_at": format_instant(stored.stamp.put_at),
        # What events and Flexprice's calls name it by, which Lago has not.
        "meterstone": {"id": terms.id},
    }


def _current_period(terms: Terms, status: Status, now: int) -> dict[str, str | None]:
    """Return the bounds of the billing period of an active subscription; its end is its last microsecond."""
    start = end = None
    if status is Status.ACTIVE:
        anchor = terms.start if terms.anchor is None else terms.anchor
        cadence = Cadence(
            terms.billing_period,
            terms.billing_period_count,
            terms.billing_cycle,
            anchor,
            terms.timezone,
            terms.start,
            terms.end,
        )
        period = cadence.period_at(now)
        start, end = period.start, None if period.end is None else period.end - 1
    names = ("current_billing_period_started_at", "current_billing_period_ending_at")
    return dict(zip(names, map(_written, (start, end)), strict=True))


def _start(stored: Stored[Terms]) -> tuple[int, int]:
    return stored.value.start, stored.stamp.made_at


def _written(at: int | None) -> str | None:
    return None if at is None else format_instant(at)

"""Subscriptions, their line items, plans and prices on the wire, as Flexprice's clients read them.

- `subscription_status` is worked out from the clock: `draft` before the start, `active` within the span, and
  `cancelled` after it, or if the subscription was called off before it began.
- `cancel_at` is an end that lies ahead, and `cancelled_at` one that has passed: an end that was agreed to when the
  subscription was made, too. `cancel_at_period_end` says whether it ends with a billing period.
- `current_period_start` and `current_period_end` are worked out from the clock, too. Before the start they are
  those of the first period, after the end those of the last. A period that never ends has no end.
"""

from collections.abc import Mapping, Sequence
from copy import replace
from typing import Any, Final

from meterstone.contracts.flexprice import price_object
from meterstone.contracts.flexprice_pages import STATUSES, SUBSCRIPTION_STATUSES, stamped
from meterstone.contracts.flexprice_subscriptions import KEPT
from meterstone.contracts.message import Reply
from meterstone.contracts.stored import Stored
from meterstone.pricing.money import plain
from meterstone.pricing.price import Price
from meterstone.usage.instant import format_instant
from meterstone.usage.period import Period
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import LineItem, Subscription, in_force
from meterstone.usage.terms import Terms, line_item_id

_ACTIVE, _CANCELLED, _DRAFT = SUBSCRIPTION_STATUSES
_ARREAR: Final = "ARREAR"
_NO_QUANTITY: Final = "0"


def status_of(terms: Terms, now: int) -> str:
    """Return a subscription's status at an instant: active, cancelled or draft."""
    if terms.canceled_at is not None or (terms.end is not None and terms.end <= now):
        return _CANCELLED
    return _DRAFT if now < terms.start else _ACTIVE


def uncut_period(subscription: Subscription, now: int) -> Period:
    """Return the billing period that holds an instant, as if the subscription had no end.

    Before the start it is the first one, after the end the last.
    """
    at = now
    if subscription.end is not None:
        at = min(at, max(subscription.end - 1, subscription.start))
    return replace(subscription, end=None).cadence().period_at(max(at, subscription.start))


def subscription_object(
    stored: Stored[Terms], subscription: Subscription, now: int, *, line_items: bool = True
) -> dict[str, Any]:
    """Write a subscription: its terms, and what they resolve to."""
    terms = stored.value
    period = uncut_period(subscription, now)
    written: dict[str, Any] = {
        "id": terms.id,
        "lookup_key": terms.events_by,
        "customer_id": terms.customer_id,
        "invoicing_customer_id": terms.customer_id,
        "plan_id": plan_at(subscription, now),
        "currency": terms.currency,
        "status": STATUSES[0],
        "subscription_status": status_of(terms, now),
        "subscription_type": "standalone",
        "start_date": format_instant(terms.start),
        "billing_cadence": "RECURRING",
        "billing_cycle": terms.billing_cycle,
        "billing_period": terms.billing_period,
        "billing_period_count": terms.billing_period_count,
        "billing_anchor": format_instant(subscription.anchor),
        "current_period_start": format_instant(period.start),
        "cancel_at_period_end": terms.end is not None and terms.end == period.end,
        "timezone": terms.timezone,
        "pause_status": "none",
        "metadata": _texts(terms.details.get("metadata")),
        "version": stored.stamp.rev,
        **stamped(stored.stamp),
        **_ending(terms, now),
        **{name: value for name in KEPT if isinstance(value := terms.details.get(name), str)},
    }
    if period.end is not None:
        written["current_period_end"] = format_instant(period.end)
    if terms.commitment is not None:
        written["commitment_amount"] = plain(terms.commitment.amount)
        written["overage_factor"] = plain(terms.commitment.overage_factor)
        written["commitment_duration"] = terms.billing_period
    if line_items:
        written["line_items"] = line_item_objects(stored, subscription)
    return written


def line_item_objects(stored: Stored[Terms], subscription: Subscription) -> list[dict[str, Any]]:
    """Write the line items of a subscription, its own and its plans', in the order in which they begin."""
    own = {item.id or line_item_id(stored.value.id, item.price) for item in stored.value.line_items}
    ordered = sorted(subscription.line_items, key=lambda item: (item.start, item.id))
    return [_line_item(item, stored, subscription, own=item.id in own) for item in ordered]


def plan_at(subscription: Subscription, now: int) -> str:
    """Return the code of the plan in force at an instant: before the start its first, after the end its last."""
    at = max(now, subscription.start)
    if subscription.end is not None:
        at = min(at, max(subscription.end - 1, subscription.start))
    return in_force(subscription.plan, at) or subscription.plan[0].value


def plan_object(stored: Stored[Plan], prices: Sequence[Stored[Price]]) -> dict[str, Any]:
    """Write a plan with its prices. Its id is its code."""
    plan = stored.value
    return {
        "id": plan.code,
        "lookup_key": plan.code,
        "name": plan.name or plan.code,
        "description": plan.description,
        "status": STATUSES[0],
        "metadata": _texts(plan.details),
        "prices": [price_record(each, plan) for each in prices],
        **stamped(stored.stamp),
    }


def price_record(stored: Stored[Price], plan: Plan | None = None) -> dict[str, Any]:
    """Write a price as it stands in the catalogue, or in a plan, whose billing period it then has."""
    price = stored.value
    period, count = price.billing_period, price.billing_period_count
    if period is None and plan is not None and plan.billing_period is not None:
        period, count = plan.billing_period, plan.billing_period_count
    # What the price's own record says goes before when it was stored.
    return stamped(stored.stamp) | price_object(price, period, count)


def answer_plan(stored: Stored[Plan], prices: Sequence[Stored[Price]]) -> Reply:
    """Answer with a plan."""
    return Reply.of(200, plan_object(stored, prices))


def answer_price(stored: Stored[Price]) -> Reply:
    """Answer with a price."""
    return Reply.of(200, price_record(stored))


def _line_item(
    item: LineItem, stored: Stored[Terms], subscription: Subscription, *, own: bool
) -> dict[str, Any]:
    shown, cadence = subscription.shown(item), subscription.cadence(item)
    plan = in_force(subscription.plan, item.start) or subscription.plan[0].value
    written: dict[str, Any] = {
        "id": item.id,
        "subscription_id": subscription.id,
        "customer_id": subscription.customer_id,
        "entity_type": "subscription" if own else "plan",
        "entity_id": subscription.id if own else plan,
        "plan_display_name": plan,
        "price_id": item.price.id,
        "price_type": item.price.type,
        "price": price_object(item.price, cadence.period, cadence.count),
        "currency": subscription.currency,
        "display_name": item.meter.name if item.meter else item.price.id,
        "quantity": _NO_QUANTITY,
        "invoice_cadence": item.price.details.get("invoice_cadence") or _ARREAR,
        "billing_period": cadence.period,
        "billing_period_count": cadence.count,
        "start_date": format_instant(shown.start),
        "status": STATUSES[0],
        **stamped(stored.stamp),
    }
    if item.meter is not None:
        written |= {"meter_id": item.meter.id, "meter_display_name": item.meter.name}
    if shown.end is not None:
        written["end_date"] = format_instant(shown.end)
    return written


def _ending(terms: Terms, now: int) -> dict[str, str]:
    if terms.canceled_at is not None:
        return {"cancelled_at": format_instant(terms.canceled_at)}
    if terms.end is None:
        return {}
    end = format_instant(terms.end)
    return {"end_date": end, "cancelled_at" if terms.end <= now else "cancel_at": end}


def _texts(value: object) -> dict[str, str]:
    """Return metadata as Flexprice has it: texts alone."""
    pairs = value.items() if isinstance(value, Mapping) else ()
    return {name: text for name, text in pairs if isinstance(text, str)}

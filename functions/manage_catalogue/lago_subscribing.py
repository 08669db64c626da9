"""Lago's calls on subscriptions: what each makes of the subscriptions that have the external id already."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from lago_at import Catalogue

from meterstone.catalogue.management import RecordRefusedError, StaleRecordError
from meterstone.contracts import lago_subscriptions as lago
from meterstone.contracts.lago_catalogue import not_found
from meterstone.contracts.lago_subscription_answers import (
    SUCCEEDED_END,
    SUCCEEDS,
    Status,
    chosen,
    next_id,
    plan_of,
    status_of,
)
from meterstone.contracts.lago_subscriptions import OneAsked, SubscriptionAsked, UpdateAsked
from meterstone.contracts.message import RequestRefusedError
from meterstone.pricing.price import Scalar
from meterstone.store.catalogue.pages import read_prices_of
from meterstone.store.catalogue.stamped import Stored
from meterstone.usage.instant import format_instant, parse_instant
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Customer
from meterstone.usage.terms import Terms

_ATTEMPTS: Final = 3


class SubscriptionFound(NamedTuple):
    """A subscription, and all that have its external id."""

    stored: Stored[Terms]
    siblings: Sequence[Terms]

    @classmethod
    def of(
        cls, stored: Stored[Terms], read: Iterable[Stored[Terms]], *changed: Stored[Terms]
    ) -> "SubscriptionFound":
        """Make the answer of a subscription, where others were read before, and some of them changed."""
        by_id = {each.value.id: each.value for each in (*read, *changed, stored)}
        return cls(stored, list(by_id.values()))


def subscribe(at: Catalogue, asked: SubscriptionAsked) -> SubscriptionFound:
    """Make a subscription, or change the plan of the one that there is under the external id.

    - A running one with the same plan is the answer as it is, and so is a pending one, if it begins when it is
      asked to: a request that is sent again changes nothing.
    - A running one with another plan ends when the new one begins.
    - One that is still pending gets the other plan.

    Raises `RequestRefusedError` for an unknown customer or plan, and if the external id is another's.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _subscribe(at, asked)
        except StaleRecordError:
            continue
        except RecordRefusedError as error:
            # Another request may have used the external id meanwhile: then this one is seen in its light.
            if all(path != "external_id" for path, _ in error.errors):
                raise
    return _subscribe(at, asked)


def _subscribe(at: Catalogue, asked: SubscriptionAsked) -> SubscriptionFound:
    customer = at.customer(asked.customer_id)
    if customer is None:
        raise RequestRefusedError(not_found("customer"))
    plan = at.plan(asked.plan_code)
    if plan is None:
        raise RequestRefusedError(not_found("plan"))
    found = at.with_external_id(asked.external_id)
    active, pending = (chosen(found, status, at.now) for status in (Status.ACTIVE, Status.PENDING))
    for each in (active, pending):
        if each is not None and each.value.customer_id != asked.customer_id:
            raise RequestRefusedError(lago.refuse_taken("is that of another customer's subscription"))
    there = _the_same(at, asked, found)
    if there is not None:
        return SubscriptionFound(there, [each.value for each in found])
    runs_on = active is not None and _meets(active.value, asked, at.now)
    before = active if runs_on else pending if active is None else None
    offer = _offered(at, asked, plan.value, customer.value, None if before is None else before.value)
    if before is None:
        return _create(at, asked, offer, found)
    if before is pending:
        return _change_pending(at, asked, offer, before, found)
    if pending is not None:
        start = format_instant(pending.value.start)
        reason = f"is also that of a subscription which is pending from {start} on: cancel that first"
        raise RequestRefusedError(lago.refuse_taken(reason))
    if asked.at is not None and asked.at <= before.value.start:
        raise RequestRefusedError(lago.refuse_early(before.value.start))
    return _succeed(at, asked, offer, before.value, found)


def find(at: Catalogue, asked: OneAsked) -> SubscriptionFound:
    """Find the subscription that an external id and a status mean. Raises `RequestRefusedError` (404)."""
    found = at.with_external_id(asked.external_id, consistent=False)
    return SubscriptionFound(_one(at, found, asked.status or Status.ACTIVE), [each.value for each in found])


def update(at: Catalogue, asked: UpdateAsked) -> SubscriptionFound:
    """Change a subscription's name, its end, or the start of a pending one. Raises `RequestRefusedError` (404)."""
    found = at.with_external_id(asked.external_id)
    stored = _one(at, found, asked.status)

    def fields(there: Stored[Terms] | None) -> Mapping[str, object]:
        if there is None or not asked.details:
            return asked.fields
        both = {**there.value.details, **asked.details}
        return {**asked.fields, "details": {name: each for name, each in both.items() if each is not None}}

    return SubscriptionFound.of(at.management.merge("subscription", stored.value.id, fields).stored, found)


def terminate(at: Catalogue, asked: OneAsked) -> SubscriptionFound:
    """End a subscription now, or call off a pending one.

    With the running one, those that were to follow are called off. If one is called off that was to follow the
    running one, the running one goes on as before. Raises `RequestRefusedError` (404) if there is neither.
    """
    found = at.with_external_id(asked.external_id)
    active = chosen(found, Status.ACTIVE, at.now) if asked.status in (None, Status.ACTIVE) else None
    pending = sorted(
        (each for each in found if status_of(each.value, at.now) is Status.PENDING),
        key=lambda each: each.value.start,
    )
    if active is not None:
        # The running one first: if it cannot be ended now, nothing has happened. If a failure comes between, the
        # same request again finds those that were to follow.
        ended = at.management.end(active.value.id, None).stored
        canceled = [at.management.cancel_pending(each.value.id).stored for each in pending]
        return SubscriptionFound.of(ended, found, *canceled)
    if asked.status not in (None, Status.PENDING) or not pending:
        raise RequestRefusedError(not_found("subscription"))
    return _call_off(at, pending[0].value, found)


def _one(at: Catalogue, found: Iterable[Stored[Terms]], status: Status) -> Stored[Terms]:
    stored = chosen(found, status, at.now)
    if stored is None:
        raise RequestRefusedError(not_found("subscription"))
    return stored


def _the_same(
    at: Catalogue, asked: SubscriptionAsked, found: Iterable[Stored[Terms]]
) -> Stored[Terms] | None:
    """Return the subscription that the request asks for, if it is there already."""
    live = [
        (each, status_of(each.value, at.now))
        for each in found
        if plan_of(each.value, at.now) == asked.plan_code
    ]
    active = next((each for each, status in live if status is Status.ACTIVE), None)
    if active is not None:
        return active
    pending = (each for each, status in live if status is Status.PENDING)
    return next((each for each in pending if each.value.start == asked.at), None)


def _meets(active: Terms, asked: SubscriptionAsked, now: int) -> bool:
    """Return whether a running subscription would still run when the new one begins."""
    return active.end is None or (now if asked.at is None else asked.at) < active.end


def _offered(
    at: Catalogue, asked: SubscriptionAsked, plan: Plan, customer: Customer, before: Terms | None
) -> dict[str, object]:
    """Return what a subscription has if the request does not say otherwise: fields of its record.

    The currency and the billing period are the plan's, else those of the subscription before.
    """
    fields: dict[str, object] = {"currency": _currency(at, asked, plan, customer, before)}
    if plan.billing_period is not None:
        fields |= _period(plan.billing_period, plan.billing_period_count)
    elif before is not None:
        fields |= _period(before.billing_period, before.billing_period_count)
    return fields if before is None else fields | _kept(before)


def _period(period: BillingPeriod, count: int) -> dict[str, object]:
    return {"billing_period": str(period), "billing_period_count": count}


def _kept(before: Terms) -> dict[str, object]:
    """Return what stays when a plan is changed: the name, the end, and when billing periods begin."""
    kept: dict[str, object] = {"billing_cycle": str(before.billing_cycle)}
    if before.name:
        kept["name"] = before.name
    if before.end is not None:
        kept["end"] = format_instant(before.end)
    return kept


def _currency(
    at: Catalogue, asked: SubscriptionAsked, plan: Plan, customer: Customer, before: Terms | None
) -> str:
    """Return the currency of a subscription: what is asked for, else the one before, the customer's, the plan's.

    Raises `RequestRefusedError` (422) if the plan has no prices in the customer's, or several that it could be.
    """
    if asked.currency is not None:
        return asked.currency
    prices = read_prices_of(at.table, at.organization.id, [plan])
    offered = list(dict.fromkeys(price.currency for price in prices.values()))
    for wanted in (None if before is None else before.currency, customer.currency):
        if wanted is not None and wanted in offered:
            return wanted
    if customer.currency is not None and offered:
        codes = ", ".join(each.upper() for each in offered)
        reason = f"is {customer.currency.upper()}, in which the plan has no prices: it has them in {codes}"
        raise RequestRefusedError(lago.refuse_currency(reason))
    found = plan.currency or (offered[0] if len(offered) == 1 else None) or customer.currency
    if found is None:
        reason = "is not known: give the customer one, or plan_overrides.amount_currency"
        raise RequestRefusedError(lago.refuse_currency(reason))
    return found


def _succeed(
    at: Catalogue,
    asked: SubscriptionAsked,
    offer: Mapping[str, object],
    before: Terms,
    found: Sequence[Stored[Terms]],
) -> SubscriptionFound:
    """End the running subscription, and begin one with the other plan at the same instant."""
    details: dict[str, Scalar] = {SUCCEEDS: before.id}
    if before.end is not None:
        details[SUCCEEDED_END] = format_instant(before.end)
    record = asked.record(_new_id(at, asked, found), offer, details)
    if record["billing_cycle"] == before.billing_cycle == BillingCycle.ANNIVERSARY:
        record["anchor"] = format_instant(before.start if before.anchor is None else before.anchor)
    ended, begun = at.management.succeed(before.id, record, asked.at)
    return SubscriptionFound.of(begun.stored, found, ended.stored)


def _change_pending(
    at: Catalogue,
    asked: SubscriptionAsked,
    offer: Mapping[str, object],
    pending: Stored[Terms],
    found: Sequence[Stored[Terms]],
) -> SubscriptionFound:
    """Give a subscription that has not begun the other plan, or another start."""
    before = pending.value
    if plan_of(before, at.now) == asked.plan_code and asked.at is None:
        return SubscriptionFound.of(pending, found)
    kept = {"start": format_instant(before.start), **offer}
    details = {name: value for name, value in before.details.items() if not isinstance(value, dict | list)}
    record = asked.record(before.id, kept, details)
    put = at.management.put("subscription", before.id, record, if_match=pending.stamp.revision)
    return SubscriptionFound.of(put.stored, found)


def _create(
    at: Catalogue, asked: SubscriptionAsked, offer: Mapping[str, object], found: Sequence[Stored[Terms]]
) -> SubscriptionFound:
    """Put a new subscription, which begins now if no instant is given."""
    name = _new_id(at, asked, found)
    put = at.management.put("subscription", name, asked.record(name, offer, {}), if_match=0)
    return SubscriptionFound.of(put.stored, found)


def _new_id(at: Catalogue, asked: SubscriptionAsked, found: Iterable[Stored[Terms]]) -> str:
    """Return an id that no subscription has: one of another external id may have this one for its id."""
    taken = [each.value.id for each in found]
    while True:
        name = next_id(at.organization.id, asked.external_id, asked.plan_code, taken)
        if not at.has_subscription(name):
            return name
        taken.append(name)


def _call_off(at: Catalogue, pending: Terms, found: Iterable[Stored[Terms]]) -> SubscriptionFound:
    """Call a subscription off. The one that it was to follow goes on until it was to end anyway."""
    before, until = pending.details.get(SUCCEEDS), pending.details.get(SUCCEEDED_END)
    if not isinstance(before, str):
        return SubscriptionFound.of(at.management.cancel_pending(pending.id).stored, found)
    end = parse_instant(until) if isinstance(until, str) else None
    stopped, *others = at.management.take_back(pending.id, before, end)
    return SubscriptionFound.of(stopped.stored, found, *(each.stored for each in others))

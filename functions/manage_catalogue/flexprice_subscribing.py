"""Flexprice's calls on subscriptions: what each makes of what is there already."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final, Never
from uuid import UUID, uuid5

from flexprice_at import Catalogue

from meterstone.catalogue.management import RecordRefusedError, StaleRecordError
from meterstone.catalogue.once import CHANGES, made_under
from meterstone.contracts import flexprice_catalogue as flexprice
from meterstone.contracts.flexprice_changes import CancelAsked, Cancellation, ChangeAsked, Changed
from meterstone.contracts.flexprice_subscription_objects import status_of, uncut_period
from meterstone.contracts.flexprice_subscriptions import SubscriptionAsked
from meterstone.contracts.message import RequestRefusedError
from meterstone.contracts.stored import Stored
from meterstone.pricing.commitment import Commitment
from meterstone.pricing.money import plain
from meterstone.store.catalogue.pages import terms_by_external_id
from meterstone.usage.instant import MINUTE, format_instant
from meterstone.usage.terms import Terms

SAME_WITHIN: Final = 10 * MINUTE
"""For how long a create without a `lookup_key` is the same as one before, in microseconds."""

#: A request that was sent so long ago is over. Clocks differ by less, too.
_AT_ONCE: Final = MINUTE


def subscribe(at: Catalogue, asked: SubscriptionAsked) -> Stored[Terms]:
    """Make a subscription, or find the one that the same request has made before.

    With a `lookup_key` that is the one under this external id. No two subscriptions have an external id at the
    same time: of two requests at once, one is refused by the catalogue, and then finds the other's subscription.
    """
    free, unless, found = _look(at, asked)
    if found is not None:
        return found
    try:
        put = at.management.subscribe(free, {**asked.record, "id": free}, unless)
    except (RecordRefusedError, StaleRecordError):
        *_, found = _look(at, asked)
        if found is None:
            raise
        return found
    made: Stored[Terms] = put.stored
    return made


def cancel(at: Catalogue, subscription: Changed, asked: CancelAsked) -> Stored[Terms]:
    """End a subscription, or call off one that has not begun.

    One that ends then anyway stays as it is. Raises `RequestRefusedError` if it has ended, or ends before.
    """
    stored = subscription.stored
    terms = stored.value
    end_of_period = _period_end(at, subscription) if asked.kind is Cancellation.END_OF_PERIOD else None
    wanted = asked.at if end_of_period is None else end_of_period
    if _ends_anyway(terms, asked, wanted, at.now):
        return stored
    ended = terms.end if terms.canceled_at is None else terms.canceled_at
    if ended is not None and (ended <= at.now or (wanted is not None and wanted > ended)):
        _refuse("cancel_at", f"is not possible: the subscription ends at {format_instant(ended)}")
    if at.now < terms.start and (wanted is None or wanted <= terms.start):
        return at.management.cancel_pending(terms.id).stored
    if wanted is not None and wanted <= terms.start:
        _refuse("cancel_at", f"must be after the start, {format_instant(terms.start)}")
    return at.management.end(terms.id, wanted).stored


def change(at: Catalogue, subscription: Changed, asked: ChangeAsked) -> tuple[Stored[Terms], Stored[Terms]]:
    """End a subscription, and begin another with the other plan. Return both.

    The new one's id is made of the old one's and of what is asked for. So the same request again finds it.
    """
    old = subscription.stored
    terms = old.value
    new_id = _id(at, "change", terms.id, asked.plan, asked.period, asked.period_count, asked.cycle)
    new = at.subscription(new_id)
    if new is not None and new.value.canceled_at is None and new.value.start == terms.end:
        return old, new
    _refuse_not_running(at, terms)
    billing = _billing(terms, asked)
    if terms.plan[-1].value == asked.plan and all(getattr(terms, name) == to for name, to in billing.items()):
        _refuse("target_plan_id", "is the plan of the subscription already")
    wanted = _period_end(at, subscription) if asked.at_period_end else None
    if wanted is not None and terms.end is not None and terms.end <= wanted:
        _refuse("change_at", f"is not possible: the subscription ends at {format_instant(terms.end)}")
    record = _successor(at, terms, asked, billing, new_id, at.now if wanted is None else wanted)
    ended, begun = at.management.succeed(terms.id, record, wanted)
    return ended.stored, begun.stored


def change_in_place(
    at: Catalogue, subscription: Changed, asked: ChangeAsked
) -> tuple[Stored[Terms], str, int]:
    """Change the plan of a subscription, which goes on.

    Return it, the code of the plan before, and since when it has the new one. A subscription that has the plan, or
    is about to have it, stays as it is: the same request again changes nothing. Under the `idempotency_key` of a
    change that was made, it changes nothing whatever has come after.
    """
    terms = subscription.stored.value
    key = asked.idempotency_key
    done = None if key is None else made_under(terms, key)
    if done is not None:
        if done.plan != asked.plan:
            _refuse("idempotency_key", f"was that of a change to {done.plan!r}")
        return subscription.stored, _plan_before(terms, done.since), done.since
    _refuse_not_running(at, terms)
    last = terms.plan[-1]
    since = terms.start if last.since is None else last.since
    if last.value == asked.plan:
        return subscription.stored, _plan_before(terms, since), since
    if since > at.now:
        _refuse("target_plan_id", f"waits for a change to {last.value!r} at {format_instant(since)}")
    wanted = _period_end(at, subscription) if asked.at_period_end else None
    if wanted is not None and terms.end is not None and terms.end <= wanted:
        _refuse("change_at", f"is not possible: the subscription ends at {format_instant(terms.end)}")
    stored = at.management.change_plan(terms.id, asked.plan, wanted, key).stored
    turn = stored.value.plan[-1].since
    return stored, last.value, stored.value.start if turn is None else turn


def _look(at: Catalogue, asked: SubscriptionAsked) -> tuple[str, Sequence[str], Stored[Terms] | None]:
    """Return an id for a new subscription, and the one that the same request has made before, if there is one.

    Ids are made of the organization and of what is asked for: the customer, the plan, the start, and the lookup
    key, or else the 10 minutes that hold the request. A further subscription of the same, after the one before
    was cancelled, has the next number. So of two requests at once that have found the same, the second is refused.
    Of two at once that lie in different 10 minutes, each would have an id of its own. So there are other ids, too,
    that no subscription may have when the new one is made. An id is given again only after its subscription was
    deleted, which only one that never counted can be.
    """
    start = None if asked.start is None else format_instant(asked.start)

    def numbered(of: object) -> Iterator[tuple[str, Stored[Terms] | None]]:
        """Yield the ids that were given, each with its subscription, and then the first that was not."""
        for number in count():
            name = _id(at, "create", asked.customer, asked.plan, start, of, number)
            there = at.subscription(name)
            yield name, there
            if there is None:
                return

    unless: list[str] = []
    found: Sequence[Stored[Terms]]
    if asked.lookup_key is None:
        # Requests that are 10 minutes apart at most fall into one stretch of 10 minutes, or into two that adjoin.
        stretch, since = divmod(at.now, SAME_WITHIN)
        earlier, seen = list(numbered(stretch - 1)), list(numbered(stretch))
        later = list(numbered(stretch + 1)) if SAME_WITHIN - since <= _AT_ONCE else []
        recent = (there for _, there in (*earlier, *seen, *later) if there is not None)
        found = [each for each in recent if each.stamp.made_at > at.now - SAME_WITHIN]
        unless = [beside[-1][0] for beside in (earlier if since < _AT_ONCE else [], later) if beside]
    else:
        found = terms_by_external_id(at.table, at.organization.id, asked.lookup_key, consistent=True)
        seen = list(numbered(["lookup_key", asked.lookup_key]))
    return seen[-1][0], unless, next((each for each in found if asked.is_like(each.value, at.now)), None)


def _successor(
    at: Catalogue, terms: Terms, asked: ChangeAsked, billing: Mapping[str, Any], new_id: str, start: int
) -> dict[str, Any]:
    """Make the record of the subscription that follows one.

    What the request does not say is as it was: the end, the zone, line items of its own, a commitment of its own.
    The anchor stays if billing periods do, so that they go on as they were.
    """
    same_periods = all(getattr(terms, name) == to for name, to in billing.items())
    metadata = {} if asked.metadata is None else {"metadata": dict(asked.metadata)}
    items = [
        {
            "price": item.price,
            **({} if item.start is None or item.start <= start else {"start": format_instant(item.start)}),
            **({} if item.end is None else {"end": format_instant(item.end)}),
        }
        for item in terms.line_items
        if item.end is None or item.end > start
    ]
    # The keys of changes are of the subscription that was changed.
    kept = {name: value for name, value in terms.details.items() if name != CHANGES}
    record: dict[str, Any] = {
        "id": new_id,
        "external_id": terms.events_by,
        "customer": terms.customer_id,
        "plan": asked.plan,
        "currency": terms.currency,
        "timezone": terms.timezone,
        "start": format_instant(start),
        "end": None if terms.end is None else format_instant(terms.end),
        **{name: value if isinstance(value, int) else str(value) for name, value in billing.items()},
        "anchor": format_instant(terms.start if terms.anchor is None else terms.anchor)
        if same_periods
        else None,
        "commitment": _own_commitment(at, terms),
        "name": terms.name or None,
        "details": {**kept, **metadata} or None,
        **({"line_items": items, "plan_prices": True} if items else {}),
    }
    return {name: value for name, value in record.items() if value is not None}


def _billing(terms: Terms, asked: ChangeAsked) -> dict[str, Any]:
    return {
        "billing_period": asked.period or terms.billing_period,
        "billing_period_count": asked.period_count or terms.billing_period_count,
        "billing_cycle": asked.cycle or terms.billing_cycle,
    }


def _own_commitment(at: Catalogue, terms: Terms) -> dict[str, str] | None:
    """Return a commitment that is the subscription's own. One that came with the old plan goes with it."""
    own = terms.commitment
    plan = at.plan(terms.plan[-1].value)
    if own is None or (plan is not None and plan.value.commitment == own):
        return None
    return _written(own)


def _written(commitment: Commitment) -> dict[str, str]:
    return {
        "amount": plain(commitment.amount),
        "overage_factor": plain(commitment.overage_factor),
        "split": str(commitment.split),
    }


def _period_end(at: Catalogue, subscription: Changed) -> int:
    """Return when the current billing period ends. Raises `RequestRefusedError` if it never does."""
    end = uncut_period(subscription.subscription, at.now).end
    if end is None:
        _refuse("billing_period", "has no end: name an instant")
    return end


def _ends_anyway(terms: Terms, asked: CancelAsked, wanted: int | None, now: int) -> bool:
    """Return whether a subscription ends, or has ended, as a cancellation asks."""
    if terms.canceled_at is not None:
        return True
    if terms.end is None:
        return False
    if asked.kind is Cancellation.END_OF_PERIOD:
        return wanted is None or terms.end <= wanted
    return terms.end <= now if wanted is None else terms.end == wanted


def _plan_before(terms: Terms, since: int) -> str:
    earlier = [each.value for each in terms.plan if (each.since or terms.start) < since]
    return earlier[-1] if earlier else terms.plan[0].value


def _refuse_not_running(at: Catalogue, terms: Terms) -> None:
    status = status_of(terms, at.now)
    if status == "cancelled":
        _refuse("id", "is that of a subscription that has ended: make another")
    if status == "draft":
        _refuse(
            "id", f"is that of a subscription that begins at {format_instant(terms.start)}: cancel it first"
        )


def _refuse(field: str, reason: str) -> Never:
    raise RequestRefusedError(flexprice.refuse_operation(field, reason))


def _id(at: Catalogue, *parts: object) -> str:
    """Make an id of what is asked for: the same again makes the same id, in this organization alone."""
    return str(uuid5(UUID(at.organization.id), json.dumps(["subscription", *parts])))

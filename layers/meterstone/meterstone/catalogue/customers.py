"""Changes of customers."""

from copy import replace
from typing import Final

from meterstone.catalogue import rules
from meterstone.catalogue.attempt import Attempt, Wanted, read
from meterstone.catalogue.building import customer_of
from meterstone.catalogue.errors import (
    CatalogueConflictError,
    LostError,
    Put,
    RecordRefusedError,
    UnknownRecordError,
)
from meterstone.catalogue.models import CustomerRecord
from meterstone.catalogue.offers import Making
from meterstone.store.catalogue import puts
from meterstone.store.catalogue.countings import read_countings
from meterstone.store.catalogue.recounts import Recount, running_move
from meterstone.store.catalogue.stamped import NEVER, CustomerSeen, Stamp, Stored, mentioned, read_customer
from meterstone.store.catalogue.subscriptions import subscriptions_of_customer
from meterstone.store.catalogue.upgrade import settled_by
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Kind
from meterstone.usage.arrival import Subject
from meterstone.usage.subscription import Customer

MOST_MOVES: Final = 20
"""So many changes of the past may wait for usage to follow."""


def put_customer(attempt: Attempt, name: str, make: Making, if_match: Wanted) -> Put[Customer]:
    """Put the customer of a record, which is made of what is stored.

    The first country and the first type hold from the beginning, later ones from now on, unless they are dated.
    Where they change for a time of which usage was counted, that follows by a recount.
    """
    seen = read_customer(attempt.table, attempt.organization_id, name)
    before = seen.stored
    attempt.match(None if before is None else before.stamp, if_match)
    found = read("customer", name, make(before))
    if found.problems or not isinstance(found.record, CustomerRecord):
        raise RecordRefusedError(found.problems)
    customer = customer_of(found.record)
    was = Customer(name) if before is None else before.value
    now = attempt.now if seen.begun is None else max(attempt.now, seen.begun + 1)
    customer = replace(
        customer,
        country=rules.facts_from_now(was.country, customer.country, now),
        customer_type=rules.facts_from_now(was.customer_type, customer.customer_type, now),
    )
    if before is not None and customer == before.value:
        mine = before.stamp in attempt.mine
        return Put(before, mine and before.stamp.rev == 1, mine, _running(attempt, seen, name))
    attempt.ready()
    if seen.of_before:
        convert(attempt, seen)
    moved = (
        rules.moved_facts(was.country, customer.country),
        rules.moved_facts(was.customer_type, customer.customer_type),
    )
    first = min((at for at in moved if at is not None), default=None)
    stamp = attempt.stamp(Stamp(seen.rev, 0, 0) if before is None else before.stamp)
    if first is not None and first < now and seen.counted:
        return _move(attempt, seen, customer, stamp, first)
    free = first is not None and first < attempt.now
    if not puts.put_customer(
        attempt.table, attempt.organization_id, customer, stamp, seen, free=free, moved=first
    ):
        raise LostError
    return Put(Stored(customer, stamp), before is None, changed=True)


def delete_customer(attempt: Attempt, name: str) -> Stored[Customer]:
    """Delete a customer that no subscription names, not even an ended one."""
    seen = read_customer(attempt.table, attempt.organization_id, name)
    if seen.stored is None:
        raise UnknownRecordError("customer", name)
    named_by = _named_by(attempt, seen, name)
    if named_by is not None:
        raise CatalogueConflictError(
            "", f"subscription {named_by!r} is the customer's: usage that was counted is kept"
        )
    attempt.ready()
    if seen.of_before:
        convert(attempt, seen)
    if not puts.delete_customer(attempt.table, attempt.organization_id, name, seen):
        raise LostError
    return seen.stored


def _named_by(attempt: Attempt, seen: CustomerSeen, name: str) -> str | None:
    """Return the id of a subscription that is the customer's, or was until its usage is counted anew."""
    table, organization_id = attempt.table, attempt.organization_id
    held = subscriptions_of_customer(
        table, organization_id, name, attempt.account.meters, consistent=True, facts=False
    )
    if held:
        return held[0].id
    ids = mentioned(table, seen.subject.key.pk)
    for each in read_countings(table, organization_id, ids):
        if Subject.customer(name) in each.subjects:
            return each.id
    return None


def convert(attempt: Attempt, seen: CustomerSeen) -> None:
    """Store a customer of the first stored format as customers are stored now. Raises `LostError`: read it again.

    Whether anything was counted for it is looked up once, subscription by subscription.
    """
    if seen.stored is None:
        raise TypeError("there is no such customer")
    customer = seen.stored.value
    organization_id = attempt.organization_id
    ids = mentioned(attempt.table, seen.subject.key.pk)
    counted = seen.counted or any(has_usage(attempt, each) for each in ids)
    latest = settled_by(attempt.table, organization_id) if counted else None
    stamp = NEVER.next(attempt.now)
    puts.convert_customer(attempt.table, organization_id, customer, stamp, seen, latest)
    raise LostError


def has_usage(attempt: Attempt, subscription_id: str, kind: Kind = Kind.COUNTER) -> bool:
    """Return whether anything was counted for a subscription. Cost: 1 query of one item."""
    pk = keys.usage(attempt.organization_id, attempt.account.generation, subscription_id)
    return attempt.table.has_any(pk, keys.usage_kind(kind), consistent=True)[0]


def _move(
    attempt: Attempt, seen: CustomerSeen, customer: Customer, stamp: Stamp, since: int
) -> Put[Customer]:
    """Write a customer whose facts change for a time of which usage was counted: a recount has that follow."""
    before = Customer(customer.id) if seen.stored is None else seen.stored.value
    if len(seen.moves.former) >= MOST_MOVES:
        raise CatalogueConflictError("", "usage is still to follow earlier changes: try again in a minute")
    moves = seen.moves.next(before.country, before.customer_type)
    recount = Recount.of_move(customer.id, moves.number, since, stamp.put_at)
    if not puts.move_customer(attempt.table, attempt.organization_id, customer, stamp, seen, moves, recount):
        raise LostError
    return Put(Stored(customer, stamp), seen.stored is None, changed=True, recount=recount)


def _running(attempt: Attempt, seen: CustomerSeen, name: str) -> Recount | None:
    """Return the recount by which usage follows the last move of a customer, if that is under way."""
    return running_move(attempt.table, attempt.organization_id, customer=name) if seen.moves.former else None

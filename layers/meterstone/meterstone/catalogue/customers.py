"""Changes of customers."""

from copy import replace

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
from meterstone.store.catalogue.stamped import NEVER, CustomerSeen, Stamp, Stored, mentioned, read_customer
from meterstone.store.catalogue.subscriptions import subscriptions_of_customer
from meterstone.store.catalogue.upgrade import settled_by
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Kind
from meterstone.usage.subscription import Customer, Dated


def put_customer(attempt: Attempt, name: str, make: Making, if_match: Wanted) -> Put[Customer]:
    """Put the customer of a record, which is made of what is stored.

    The first country and the first type hold from the beginning, later ones from now on, unless they are dated.
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
        return Put(before, mine and before.stamp.rev == 1, changed=mine)
    attempt.ready()
    if seen.of_before:
        convert(attempt, seen)
    moved = (
        _moved(attempt, was.country, customer.country, seen, "country"),
        _moved(attempt, was.customer_type, customer.customer_type, seen, "customer_type"),
    )
    first = min((at for at in moved if at is not None), default=None)
    free = first is not None and first < attempt.now
    stamp = attempt.stamp(Stamp(seen.rev, 0, 0) if before is None else before.stamp)
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
    named_by = subscriptions_of_customer(
        attempt.table,
        attempt.organization_id,
        name,
        attempt.account.meters,
        consistent=True,
        facts=False,
    )
    if named_by:
        raise CatalogueConflictError(
            "", f"subscription {named_by[0].id!r} is the customer's: usage that was counted is kept"
        )
    attempt.ready()
    if seen.of_before:
        convert(attempt, seen)
    if not puts.delete_customer(attempt.table, attempt.organization_id, name, seen):
        raise LostError
    return seen.stored


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


def _moved(
    attempt: Attempt, old: tuple[Dated, ...], new: tuple[Dated, ...], seen: CustomerSeen, path: str
) -> int | None:
    """Return from when on a dated fact changes. Refuse that if a charge was counted that begins then or later."""
    moved = rules.moved_facts(old, new)
    earliest = attempt.now if seen.begun is None else max(attempt.now, seen.begun + 1)
    if moved is not None and moved < earliest and seen.counted:
        raise CatalogueConflictError(path, "usage was counted by what holds before then", earliest)
    return moved

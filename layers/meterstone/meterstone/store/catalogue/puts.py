"""Puts of prices, plans, meters and customers: each one access pattern, on the condition that nobody was faster.

Each function writes one record, given as it was read and as it is to be, and returns whether it was written. It
was not if another writer has changed the record since it was read: then the caller reads again. Killed between two
writes, a function leaves something that no reader takes for a record, and does the rest when it is called again.

No function looks at what a record says: see `meterstone.catalogue`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from meterstone.store.catalogue.records import encode_document
from meterstone.store.catalogue.recounts import Recount, made
from meterstone.store.catalogue.stamped import CustomerSeen, MetersSeen, Stamp, Stored, SubjectSeen
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import ConflictError
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Action, Item, Table, key_item
from meterstone.usage.meter import Meter
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Customer, Moves


def put_price(
    table: Table, organization_id: str, price_id: str, document: str, stamp: Stamp, before: Stamp | None
) -> bool:
    """Write a price, given as JSON text. Cost: 1 write unit for each KB."""
    change = _record(price_id, document, stamp, before)
    key = keys.catalogue(organization_id, "price", price_id)
    return table.update(key, change.expression, change.values, condition=change.condition)


def put_plan(
    table: Table,
    organization_id: str,
    plan: Plan,
    stamp: Stamp,
    before: Stored[Plan] | None,
    recount: Recount | None = None,
) -> bool:
    """Write a plan; before that, if its version is a new one, the item of the version, which never changes.

    If another plan stands there under that version, nothing is written. A ``recount`` is made in the same
    transaction as the plan is written. Cost: 1 write unit for each KB; with a new version, twice that; with a
    recount, 2 more for each KB of plan and recount, and 1 for its entry in the index `due`.
    """
    document = encode_document(plan)
    if before is None or before.value.version != plan.version:
        version = key_item(keys.plan_version(organization_id, plan.code, plan.version))
        found = table.put_new(version | {"id": {"S": plan.code}, "doc": {"S": document}})
        if found is not None and found["doc"]["S"] != document:
            return False
    key = keys.catalogue(organization_id, "plan", plan.code)
    # Nobody has noted whether a subscription names a plan of the first stored format.
    unknown = before is not None and not before.value.version
    was = None if before is None else before.stamp
    change = _record(plan.code, document, stamp, was, used=unknown)
    if recount is None:
        return table.update(key, change.expression, change.values, condition=change.condition)
    action = _update(table, key, change.expression, change.values, change.condition)
    return _written(table, [action, made(table, organization_id, recount)])


def make_recount(table: Table, organization_id: str, plan: Stored[Plan], recount: Recount) -> bool:
    """Make a recount of a plan that stays as it was read. Cost: 2 write units for each KB of both, and 1."""
    condition, values = _unchanged(plan.stamp)
    key = keys.catalogue(organization_id, "plan", plan.value.code)
    check: Action = {"TableName": table.name, "Key": key_item(key), "ConditionExpression": condition}
    if values:
        check["ExpressionAttributeValues"] = values
    return _written(table, [{"ConditionCheck": check}, made(table, organization_id, recount)])


def delete_plan(table: Table, organization_id: str, code: str, stamp: Stamp) -> bool:
    """Delete a plan that no subscription has ever named. Its versions stay, and are no one's. Cost: 2 write units.

    Returns False if a subscription has named it, or it was changed since it was read.
    """
    key = keys.catalogue(organization_id, "plan", code)
    condition, values = _unchanged(stamp)
    return _written(table, [_delete(table, key, f"{condition} AND attribute_not_exists(used)", values)])


def put_meters(
    table: Table,
    organization_id: str,
    meters: Sequence[Meter],
    stamps: Mapping[str, Stamp],
    before: MetersSeen,
) -> bool:
    """Write the list of all meters under its version. Cost: 1 write unit for each KB of the list."""
    values: Item = {
        ":doc": {"S": encode_document(tuple(meters))},
        ":revs": {"S": msgspec.json.encode(stamps).decode()},
        ":rev": {"N": str(before.rev + 1)},
    }
    condition = "attribute_not_exists(rev)"
    if before.rev:
        condition, values[":before"] = "rev = :before", {"N": str(before.rev)}
    key = keys.organization(organization_id, "meters")
    return table.update(key, "SET doc = :doc, revs = :revs, rev = :rev", values, condition=condition)


def put_customer(
    table: Table,
    organization_id: str,
    customer: Customer,
    stamp: Stamp,
    before: CustomerSeen,
    *,
    free: bool,
    moved: int | None = None,
) -> bool:
    """Write a customer; before that, if there was none, the entry by which it is listed.

    If it is ``free``, it is written only if nothing was ever counted for the customer; if facts of the customer
    are ``moved`` from an instant on, only if no charge was published that begins then or later. Cost: 1 write unit
    for each KB, and 1 for the entry.
    """
    if before.stored is None:
        table.put(_listing(organization_id, customer.id))
    values: Item = {":doc": {"S": encode_document(customer)}} | _stamp_values(stamp)
    condition, as_read = _as_it_was_read(before)
    values |= as_read
    if free:
        condition += " AND attribute_not_exists(counted)"
    elif moved is not None:
        values[":moved"] = {"N": str(moved)}
        condition = f"{condition} AND attribute_not_exists(begun_at) OR {condition} AND begun_at < :moved"
    return table.update(before.subject.key, f"SET doc = :doc, {_STAMPED}", values, condition=condition)


def move_customer(
    table: Table,
    organization_id: str,
    customer: Customer,
    stamp: Stamp,
    before: CustomerSeen,
    moves: Moves,
    recount: Recount,
) -> bool:
    """Write a customer whose facts change for a time of which usage was counted, and the recount that follows.

    Cost: 2 write units for each KB of both, 1 for the recount's entry in the index `due`, and 1 if there was no
    record.
    """
    if before.stored is None:
        table.put(_listing(organization_id, customer.id))
    values: Item = {
        ":doc": {"S": encode_document(customer)},
        ":moves": {"S": encode_document(moves)},
    } | _stamp_values(stamp)
    condition, as_read = _as_it_was_read(before)
    values |= as_read
    expression = f"SET doc = :doc, moves = :moves, {_STAMPED}"
    action = _update(table, before.subject.key, expression, values, condition)
    return _written(table, [action, made(table, organization_id, recount)])


def moves_followed(
    table: Table, organization_id: str, customer_id: str, was: Moves, now: Moves, held: Action
) -> bool:
    """Write that what was counted of a customer has followed its moves, while a lease is ``held``.

    Returns False if it has moved once more since, or the lease is lost. Cost: 2 write units for each KB, and 2.
    """
    values: Item = {":was": {"S": encode_document(was)}, ":moves": {"S": encode_document(now)}}
    key = keys.customer(organization_id, customer_id)
    return _written(table, [_update(table, key, "SET moves = :moves", values, "moves = :was"), held])


def convert_customer(
    table: Table,
    organization_id: str,
    customer: Customer,
    stamp: Stamp,
    before: CustomerSeen,
    latest: int | None,
) -> bool:
    """Write a customer of the first stored format anew, as it is.

    ``latest`` is by when everything that was counted for it had happened; None if nothing was. Returns False if
    something was counted since the customer was read. Cost: 2 write units for each KB, and 2.
    """
    subject = before.subject
    values: Item = {":doc": {"S": encode_document(customer)}} | _stamp_values(stamp)
    expression = f"SET doc = :doc, {_STAMPED}"
    condition, as_read = _as_it_was_read(before._replace(stored=None))
    values |= as_read
    if latest is not None:
        expression += ", counted = :one, latest_at = :latest, begun_at = :begun"
        values |= {
            ":one": {"N": "1"},
            ":latest": {"N": str(max(latest, subject.latest or latest))},
            ":begun": {"N": str(max(latest, before.begun or latest))},
        }
    for name, was in (("latest_at", subject.latest), ("begun_at", before.begun)):
        if was is None:
            condition += f" AND attribute_not_exists({name})"
        else:
            condition, values[f":was_{name}"] = f"{condition} AND {name} = :was_{name}", {"N": str(was)}
    if not before.counted:
        condition += " AND attribute_not_exists(counted)"
    record = _update(table, subject.key, expression, values, condition)
    listing = {"Put": {"TableName": table.name, "Item": _listing(organization_id, customer.id)}}
    return _written(table, [record, listing])


def delete_customer(table: Table, organization_id: str, customer_id: str, before: CustomerSeen) -> bool:
    """Delete a customer that no subscription names. Cost: 2 write units for each KB, and 2.

    Returns False if a subscription of the customer was put, or the record, since they were read. What stays of the
    customer's item are its versions: they never go back, so that nothing is counted by a version that came again.
    """
    condition, values = _steady(before.subject)
    condition += " AND attribute_exists(doc)"
    if before.rev:
        condition, values[":before"] = f"{condition} AND rev = :before", {"N": str(before.rev)}
    expression = "REMOVE doc, made_at, put_at ADD ver :one"
    record = _update(table, before.subject.key, expression, values | {":one": {"N": "1"}}, condition)
    listed = keys.catalogue(organization_id, "customer", customer_id)
    return _written(table, [record, _delete(table, listed)])


_STAMPED = "rev = :rev, made_at = :made, put_at = :put"


class _Change(NamedTuple):
    expression: str
    values: Item
    condition: str


def _record(name: str, document: str, stamp: Stamp, before: Stamp | None, *, used: bool = False) -> _Change:
    """Return how a record's item changes. The attributes that are not the record's stay as they are."""
    values: Item = {":doc": {"S": document}, ":id": {"S": name}} | _stamp_values(stamp)
    if before is None:
        condition = "attribute_not_exists(doc)"
    else:
        condition, more = _unchanged(before)
        values |= more
    expression = f"SET doc = :doc, id = :id, {_STAMPED}"
    if used:
        expression, values[":used"] = f"{expression}, used = :used", {"N": "1"}
    return _Change(expression, values, condition)


def _unchanged(stamp: Stamp) -> tuple[str, Item]:
    """Return the condition that a record has the version that was read."""
    if not stamp.rev:
        return "attribute_exists(doc) AND attribute_not_exists(rev)", {}
    values: Item = {":before": {"N": str(stamp.rev)}}
    if not stamp.made_at:
        # That of a customer who was purged is not kept.
        return "rev = :before AND attribute_not_exists(made_at)", values
    # A record that is deleted and made again has the same versions once more, and another time of making.
    return "rev = :before AND made_at = :since", values | {":since": {"N": str(stamp.made_at)}}


def _as_it_was_read(before: CustomerSeen) -> tuple[str, Item]:
    """Return the condition that a customer's item has the record that was read, if it had one, in its version."""
    condition = "attribute_not_exists(doc)" if before.stored is None else "attribute_exists(doc)"
    if not before.rev:
        return f"{condition} AND attribute_not_exists(rev)", {}
    return f"{condition} AND rev = :before", {":before": {"N": str(before.rev)}}


def _steady(subject: SubjectSeen) -> tuple[str, Item]:
    """Return the condition that a subject has the version that was read."""
    if subject.version is None:
        return "attribute_not_exists(ver)", {}
    return "ver = :ver", {":ver": {"N": str(subject.version)}}


def _stamp_values(stamp: Stamp) -> Item:
    return {
        ":rev": {"N": str(stamp.rev)},
        ":made": {"N": str(stamp.made_at)},
        ":put": {"N": str(stamp.put_at)},
    }


def _listing(organization_id: str, customer_id: str) -> Item:
    return key_item(keys.catalogue(organization_id, "customer", customer_id)) | {"id": {"S": customer_id}}


def _update(table: Table, key: Key, expression: str, values: Item, condition: str) -> Action:
    return {
        "Update": {
            "TableName": table.name,
            "Key": key_item(key),
            "UpdateExpression": expression,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
        }
    }


def _delete(table: Table, key: Key, condition: str | None = None, values: Item | None = None) -> Action:
    body: Action = {"TableName": table.name, "Key": key_item(key)}
    if condition is not None:
        body["ConditionExpression"] = condition
    if values:
        body["ExpressionAttributeValues"] = values
    return {"Delete": body}


def _written(table: Table, actions: Sequence[Action]) -> bool:
    """Write a transaction. Return whether its conditions held."""
    try:
        table.transact(actions)
    except ConflictError:
        return False
    return True

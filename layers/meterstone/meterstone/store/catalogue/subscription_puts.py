"""Puts of subscriptions: one transaction for the documents and for the versions of everybody concerned.

A subscription is of two subjects: its external id and its customer. The transaction of each put, end and delete
raises the version of both. It is conditional on the versions that were read before the subscriptions were. So
whoever counts events by what was read before the transaction finds another version; and of two writers, one is
refused and reads again.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from meterstone.store.catalogue.records import encode_document
from meterstone.store.catalogue.recounts import Recount, made
from meterstone.store.catalogue.stamped import Stamp, SubjectSeen
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import ConflictError
from meterstone.store.dynamodb.table import Action, Item, Table, key_item
from meterstone.usage.counting import Counting
from meterstone.usage.instant import key_instant
from meterstone.usage.terms import Terms


class TermsPut(NamedTuple):
    """A subscription that is put: its terms and their stamp, and that of the item as it was read, if there is one.

    ``wakes``: its tallies are to be woken afterwards. ``counting``: how it is counted from now on; None: as
    before. ``was``: the text that says so now, which must be there still; None if there is none.
    """

    terms: Terms
    stamp: Stamp
    before: Stamp | None
    wakes: bool = False
    counting: Counting | None = None
    was: str | None = None


class Concerned(NamedTuple):
    """A subject whose version goes up.

    ``named``: a subscription names it as its customer, whose record must be there. ``moved``: the transaction is
    conditional on nothing being counted of the subject from then on; None: that does not matter. ``settles``: by
    when everything that was counted before had happened, where the item does not say so yet.
    """

    subject: SubjectSeen
    named: bool = False
    moved: int | None = None
    settles: int | None = None


def put_mentions(table: Table, organization_id: str, terms: Iterable[Terms]) -> None:
    """Write the items by which subscriptions are found. They may be there before the subscriptions.

    Cost: 3 write units for each subscription.
    """
    table.put_all(item for each in terms for item in _mentions(organization_id, each))


def put_subscriptions(
    table: Table,
    organization_id: str,
    puts: Sequence[TermsPut],
    concerned: Iterable[Concerned],
    plans: Iterable[str] = (),
    recounts: Iterable[Recount] = (),
    beside: Sequence[Action] = (),
) -> bool:
    """Write subscriptions, raise the versions of their subjects, and mark plans as named, all or nothing.

    ``recounts`` are made in the same transaction, which has further actions ``beside``.

    Returns False, nothing written, if any of them was changed since it was read, a customer or plan is gone, or
    something was counted that the put would move. Cost: for each subscription 2 write units for each KB, for each
    subject and plan the same.
    """
    actions = [_document(table, organization_id, each) for each in puts]
    actions += [_raised(table, each) for each in concerned]
    actions += [_named(table, organization_id, code) for code in plans]
    actions += [made(table, organization_id, recount) for recount in recounts]
    actions += beside
    return _written(table, actions)


def absent_subscriptions(table: Table, organization_id: str, ids: Iterable[str]) -> list[Action]:
    """Return the actions that let a transaction happen as long as there are no subscriptions of some ids."""
    return [
        {
            "ConditionCheck": {
                "TableName": table.name,
                "Key": key_item(keys.subscription(organization_id, each)),
                "ConditionExpression": "attribute_not_exists(pk)",
            }
        }
        for each in ids
    ]


def delete_subscription(
    table: Table, organization_id: str, subscription_id: str, before: Stamp, concerned: Iterable[Concerned]
) -> bool:
    """Delete a subscription of which nothing was counted. Cost: as of a put.

    The items by which it is found stay. Another writer may have written them again for a subscription of that id.
    """
    condition, values = _unchanged(before)
    body: Action = {
        "TableName": table.name,
        "Key": key_item(keys.subscription(organization_id, subscription_id)),
        "ConditionExpression": condition,
    }
    if values:
        body["ExpressionAttributeValues"] = values
    return _written(table, [{"Delete": body}, *(_raised(table, each) for each in concerned)])


def remove_mark(table: Table, organization_id: str, subscription_id: str, stamp: Stamp) -> None:
    """Note that the tallies of a subscription are awake, unless it was put again since.

    Cost: 1 write unit for each KB.
    """
    key = keys.subscription(organization_id, subscription_id)
    condition, values = _unchanged(stamp)
    table.update(key, "REMOVE due_pk, due_at", values, condition=condition)


def _mentions(organization_id: str, terms: Terms) -> Iterator[Item]:
    for key in (
        keys.catalogue(organization_id, "subscription", terms.id),
        keys.of_customer(organization_id, terms.customer_id, terms.id),
        keys.by_external_id(organization_id, terms.events_by, terms.id),
    ):
        yield key_item(key) | {"id": {"S": terms.id}}


def _document(table: Table, organization_id: str, put: TermsPut) -> Action:
    values: Item = {
        ":terms": {"S": encode_document(put.terms)},
        ":rev": {"N": str(put.stamp.rev)},
        ":made": {"N": str(put.stamp.made_at)},
        ":put": {"N": str(put.stamp.put_at)},
    }
    expression = "SET terms = :terms, rev = :rev, made_at = :made, put_at = :put"
    if put.counting is not None:
        expression += ", counting = :counting"
        values[":counting"] = {"S": encode_document(put.counting)}
    if put.wakes:
        expression += ", due_pk = :due, due_at = :at"
        values |= {
            ":due": {"S": keys.unwoken(organization_id)},
            ":at": {"S": key_instant(put.stamp.put_at)},
        }
    if put.before is None:
        condition = "attribute_not_exists(pk)"
    else:
        condition, more = _unchanged(put.before)
        values |= more
        if put.was is None:
            condition += " AND attribute_not_exists(counting)"
        else:
            condition += " AND counting = :was"
            values[":was"] = {"S": put.was}
        expression += " REMOVE doc"
    return {
        "Update": {
            "TableName": table.name,
            "Key": key_item(keys.subscription(organization_id, put.terms.id)),
            "UpdateExpression": expression,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
        }
    }


def _unchanged(stamp: Stamp) -> tuple[str, Item]:
    if not stamp.rev:
        return "attribute_exists(doc) AND attribute_not_exists(rev)", {}
    values: Item = {":before": {"N": str(stamp.rev)}}
    if not stamp.made_at:
        # That of a customer who was purged is not kept.
        return "rev = :before AND attribute_not_exists(made_at)", values
    # A record that is deleted and made again has the same versions once more, and another time of making.
    return "rev = :before AND made_at = :since", values | {":since": {"N": str(stamp.made_at)}}


def _raised(table: Table, concerned: Concerned) -> Action:
    """Return the action that raises a subject's version, if it is the one that was read."""
    subject = concerned.subject
    terms: list[str] = []
    values: Item = {":one": {"N": "1"}}
    expression = "ADD ver :one"
    if concerned.named:
        terms.append("attribute_exists(doc)")
    if subject.version is None:
        terms.append("attribute_not_exists(ver)")
    else:
        terms.append("ver = :ver")
        values[":ver"] = {"N": str(subject.version)}
    alternatives = [terms]
    if concerned.settles is not None and (subject.latest is None or subject.latest < concerned.settles):
        expression = f"SET latest_at = :settles {expression}"
        values[":settles"] = {"N": str(concerned.settles)}
        if subject.latest is None:
            terms.append("attribute_not_exists(latest_at)")
        else:
            terms.append("latest_at = :was")
            values[":was"] = {"N": str(subject.latest)}
    elif concerned.moved is not None:
        values[":moved"] = {"N": str(concerned.moved)}
        alternatives = [[*terms, "attribute_not_exists(latest_at)"], [*terms, "latest_at < :moved"]]
    return {
        "Update": {
            "TableName": table.name,
            "Key": key_item(subject.key),
            "UpdateExpression": expression,
            "ConditionExpression": " OR ".join(" AND ".join(each) for each in alternatives),
            "ExpressionAttributeValues": values,
        }
    }


def _named(table: Table, organization_id: str, code: str) -> Action:
    return {
        "Update": {
            "TableName": table.name,
            "Key": key_item(keys.catalogue(organization_id, "plan", code)),
            "UpdateExpression": "SET used = :one",
            "ConditionExpression": "attribute_exists(doc)",
            "ExpressionAttributeValues": {":one": {"N": "1"}},
        }
    }


def _written(table: Table, actions: Sequence[Action]) -> bool:
    try:
        table.transact(actions)
    except ConflictError:
        return False
    return True

"""Recounts: what a change of the catalogue has to be carried on afterwards.

There are three kinds. Of a plan that is put for all: its subscriptions follow it, one at a time. Of usage: what
was counted of a subscription is counted anew (see `meterstone.usage.counting`). Of a move: what was counted of a
customer, or of a subscription whose plan has another name, is grouped by other facts (see
`meterstone.store.operations.move`).

A recount is an item, which says what is to be done, and up to where it is. It is made in the transaction of the
record whose change it carries on. Whoever carries it on holds a lease on it, so that no two do the same work at
once. That only saves work: each subscription's own change is right however often it is made.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST, Key
from meterstone.store.dynamodb.table import Action, Item, Row, Table, integer, key_item, text
from meterstone.usage.instant import DAY, END_OF_TIME, MINUTE, SECOND, format_instant, key_instant

LASTS: Final = 2 * MINUTE
"""How long a lease lasts if the recount does not come on, in microseconds."""

READ_ON: Final = 15 * MINUTE
"""How long what was read before a recount stays: a reader may hold the subscription as it was."""

MOST_REASONS: Final = 50
"""Of so many subscriptions that were refused, a recount keeps the ids and the reasons."""

KEPT: Final = 90 * DAY
"""How long a recount is kept that is done, in microseconds."""

SETTLED: Final = 30 * SECOND
"""How long after it was made a recount begins, in microseconds.

A change that has read the plan as it was before is over by then (see `meterstone.catalogue.attempt.LONGEST`), or
it writes nothing. So every subscription that follows an older version is in the list when it is read.
"""

READY: Final = 25 * SECOND
"""How long after it was made usage can be counted anew: what was accepted up to its cut is in the log then."""

_DIGEST: Final = 8
_LONGEST_REASON: Final = 300


class Recount(NamedTuple):
    """A recount by which the subscriptions that follow a plan follow a version of it from the instant ``since``.

    ``place`` is up to where the list of subscriptions is done. ``done`` is how many follow the version, and
    ``refused`` how many cannot; ``reasons`` has the first of these, each with its id. ``done_at`` is None until it
    is done.

    A recount of usage has ``subscriptions``, which are counted anew from ``since`` on, and the scopes that are
    (``line_items``: line items, or meters of chains; all, if it has none). ``done`` is how many events were
    counted.

    One of a move has the ``customer`` that has moved, or the ``renamed`` subscription whose plan has another name.
    It counts nothing. ``done`` is how many subscriptions have followed.

    ``reasons`` of usage and of a move are why the rollups do not take what was counted: it is tried again. And
    ``waits_for`` says what must be over before it can come on.
    """

    id: str
    plan: str
    version: int
    since: int
    made_at: int
    put_at: int
    place: str = ""
    done: int = 0
    refused: int = 0
    reasons: tuple[tuple[str, str], ...] = ()
    done_at: int | None = None
    subscriptions: tuple[str, ...] = ()
    line_items: tuple[str, ...] = ()
    #: How many events the logs had that are read for it; None if nobody has counted them.
    events: int | None = 0
    customer: str = ""
    renamed: str = ""
    waits_for: str = ""

    @classmethod
    def of_move(cls, customer: str, number: int, since: int, now: int) -> "Recount":
        """Make the recount of a customer's move of a number, which changes its facts from ``since`` on."""
        return cls(_named(now, customer, number), "", 0, since, now, now, customer=customer)

    @classmethod
    def of_renaming(cls, subscription: str, number: int, since: int, now: int) -> "Recount":
        """Make the recount of a subscription whose plan has another name from ``since`` on, for the nth time."""
        return cls(_named(now, subscription, number, "renamed"), "", 0, since, now, now, renamed=subscription)

    @classmethod
    def of_usage(
        cls, subscriptions: Iterable[str], line_items: Iterable[str], since: int, now: int, mark: str
    ) -> "Recount":
        """Make the recount of subscriptions. ``mark`` is told by nothing else: it makes the id its own."""
        return cls(
            f"{_second(now)}-{mark}",
            "",
            0,
            since,
            now,
            now,
            subscriptions=tuple(subscriptions),
            line_items=tuple(line_items),
        )

    @classmethod
    def of_plan(cls, plan: str, version: int, since: int, now: int) -> "Recount":
        """Make the recount of a plan. Its id begins with the second, so that recounts are listed by their age."""
        return cls(_named(now, plan, version, since), plan, version, since, now, now)

    @property
    def is_move(self) -> bool:
        """Whether it is of a move."""
        return bool(self.customer or self.renamed)

    @property
    def ready_at(self) -> int:
        """The instant from which on it may be carried on."""
        if self.is_move:
            return self.made_at
        return self.made_at + (READY if self.subscriptions else SETTLED)

    def coming_on(
        self, place: str, done: int, unpublished: Iterable[str], waits_for: str, now: int
    ) -> "Recount":
        """Return the recount as it is up to a place, with the tallies that the rollups do not take, and why."""
        after = self._replace(place=place, done=done, refused=0, reasons=(), waits_for=waits_for, put_at=now)
        for each in unpublished:
            name, _, reason = each.partition(", ")
            after = after.refusing(name, reason)
        return after

    def refusing(self, subscription_id: str, reason: str) -> "Recount":
        """Return the recount with one more subscription that was refused."""
        reasons = self.reasons
        if len(reasons) < MOST_REASONS:
            reasons = (*reasons, (subscription_id, reason[:_LONGEST_REASON]))
        return self._replace(refused=self.refused + 1, reasons=reasons)


def made(table: Table, organization_id: str, recount: Recount) -> Action:
    """Return the action that makes a recount, if there is none of its id. It is due from `Recount.ready_at` on."""
    item: Item = key_item(keys.recount(organization_id, recount.id)) | {
        "id": {"S": recount.id},
        **_what(recount),
        "since": {"N": str(recount.since)},
        "made_at": {"N": str(recount.made_at)},
        "due_pk": {"S": keys.open_recounts()},
        "due_at": {"S": key_instant(recount.ready_at)},
        **_come_to(recount, ""),
    }
    return {
        "Put": {"TableName": table.name, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"},
    }


def _named(at: int, *told: str | int) -> str:
    """Return the id of a recount of a second: the same where the same is told, and nothing else's."""
    return f"{_second(at)}-{sha256(msgspec.json.encode(told)).hexdigest()[:_DIGEST]}"


def _second(at: int) -> str:
    """Return the second of an instant, by which recounts are listed by their age."""
    return format_instant(at)[:19].replace("-", "").replace(":", "")


def _what(recount: Recount) -> Item:
    if recount.is_move:
        of = "customer" if recount.customer else "renamed"
        return {"what": {"S": "move"}, of: {"S": recount.customer or recount.renamed}, "events": {"N": "0"}}
    if not recount.subscriptions:
        return {
            "what": {"S": "plan"},
            "plan": {"S": recount.plan},
            "version": {"N": str(recount.version)},
        }
    return {
        "what": {"S": "usage"},
        "subscriptions": {"S": msgspec.json.encode(recount.subscriptions).decode()},
        "line_items": {"S": msgspec.json.encode(recount.line_items).decode()},
        **({} if recount.events is None else {"events": {"N": str(recount.events)}}),
    }


def read_recount(table: Table, organization_id: str, recount_id: str) -> Recount | None:
    """Read a recount. Cost: 1 consistent get."""
    return read_recount_at(table, keys.recount(organization_id, recount_id))


def read_recount_at(table: Table, key: Key) -> Recount | None:
    """Read a recount by its key. Cost: 1 consistent get."""
    row = table.get(key, consistent=True)
    return None if row is None else _recount(row)


def read_recounts(table: Table, organization_id: str) -> list[Recount]:
    """Read all recounts, the oldest first. Cost: 1 consistent query."""
    rows = table.query(keys.recount(organization_id).pk, FIRST, LAST, consistent=True)
    return [_recount(row) for row in rows]


def list_recounts(table: Table, organization_id: str, before: str, limit: int) -> list[Recount]:
    """Read recounts, the youngest first, from before an id on (empty: from the youngest). Cost: 1 query of all."""
    found = [each for each in read_recounts(table, organization_id) if not before or each.id < before]
    return found[::-1][:limit]


def running_move(
    table: Table, organization_id: str, *, customer: str = "", renamed: str = ""
) -> Recount | None:
    """Return the youngest recount of a move of a customer, or of a subscription's plan, that is under way.

    Cost: 1 consistent query of all recounts.
    """
    found = (
        each
        for each in read_recounts(table, organization_id)
        if each.is_move and (each.customer, each.renamed) == (customer, renamed) and each.done_at is None
    )
    return max(found, key=lambda each: each.made_at, default=None)


def oldest_open(table: Table) -> Recount | None:
    """Read the oldest recount, of all organizations, that is not done.

    Cost: 1 query of an index, and 1 consistent get.
    """
    # Ids begin with the second in which a recount was made.
    found = min(due_recounts(table, END_OF_TIME - 1), key=lambda key: key.sk, default=None)
    return None if found is None else read_recount_at(table, found)


def due_recounts(table: Table, now: int) -> list[Key]:
    """Read the keys of the recounts, of all organizations, that may be carried on. Cost: 1 query of an index."""
    return list(table.due(keys.open_recounts(), key_instant(now)))


def take(table: Table, key: Key, me: str, now: int) -> Recount | None:
    """Take the lease of a recount. Return None, nothing changed, if it is done, or another has the lease.

    Cost: 1 write unit for each KB, and 1 consistent get.
    """
    is_open = "attribute_exists(due_pk) AND attribute_not_exists(done_at)"
    taken = table.update(
        key,
        "SET lease_by = :me, lease_until = :until, due_pk = :open, due_at = :due",
        {":me": {"S": me}, ":now": {"N": str(now)}, **_until(now + LASTS)},
        condition=f"{is_open} AND attribute_not_exists(lease_until) OR {is_open} AND lease_until < :now",
    )
    row = table.get(key, consistent=True) if taken else None
    return None if row is None else _recount(row)


def come_on(table: Table, key: Key, me: str, recount: Recount) -> bool:
    """Write up to where a recount is, and hold the lease for longer. Return False if the lease is lost.

    Cost: 1 write unit for each KB.
    """
    return table.update(
        key,
        f"SET {_COME_TO}, lease_until = :until, due_pk = :open, due_at = :due",
        {":me": {"S": me}, **_come_to(recount, ":"), **_until(recount.put_at + LASTS)},
        condition="lease_by = :me",
    )


def finish(table: Table, key: Key, me: str, recount: Recount) -> bool:
    """Write that a recount is done. Return False if the lease is lost. Cost: 1 write unit for each KB.

    From then on it is kept for so long as `KEPT` says.
    """
    done_at = recount.put_at if recount.done_at is None else recount.done_at
    return table.update(
        key,
        f"SET {_COME_TO}, done_at = :at, due_pk = :old, due_at = :gone REMOVE lease_by, lease_until",
        {
            ":me": {"S": me},
            ":at": {"N": str(done_at)},
            ":old": {"S": keys.turned_recounts() if recount.subscriptions else keys.done_recounts()},
            ":gone": {"S": key_instant(done_at + (READ_ON if recount.subscriptions else KEPT))},
            **_come_to(recount, ":"),
        },
        condition="lease_by = :me",
    )


def turned_recounts(table: Table, now: int) -> list[Key]:
    """Read the keys of recounts whose tallies of before nobody reads any more. Cost: 1 query of an index."""
    return list(table.due(keys.turned_recounts(), key_instant(now)))


def is_swept(table: Table, key: Key, recount: Recount) -> None:
    """Write that nothing is left of what was read before a recount. Cost: 1 write unit for each KB."""
    gone = (recount.put_at if recount.done_at is None else recount.done_at) + KEPT
    values: Item = {":old": {"S": keys.done_recounts()}, ":gone": {"S": key_instant(gone)}}
    table.update(key, "SET due_pk = :old, due_at = :gone", values, condition="attribute_exists(done_at)")


def delete_old(table: Table, now: int) -> None:
    """Delete the recounts, of all organizations, that have been kept for long enough.

    Cost: 1 query of an index, and of each that is deleted 1 write unit for each KB.
    """
    table.delete_all(table.due(keys.done_recounts(), key_instant(now)))


def drop_reasons(
    table: Table, organization_id: str, customer_id: str, subscription_ids: AbstractSet[str]
) -> None:
    """Take out of all recounts what is said of a customer and its subscriptions, and delete those of their usage.

    Nobody may carry one on meanwhile.

    Cost: 1 consistent query of all, and of each that says something of them 1 write unit for each KB.
    """
    for each in read_recounts(table, organization_id):
        whose = {*each.subscriptions, each.renamed}
        if each.customer == customer_id or not subscription_ids.isdisjoint(whose):
            table.delete_all([keys.recount(organization_id, each.id)])
            continue
        kept = tuple(reason for reason in each.reasons if reason[0] not in subscription_ids)
        if kept != each.reasons:
            key = keys.recount(organization_id, each.id)
            table.update(key, "SET reasons = :kept", {":kept": {"S": msgspec.json.encode(kept).decode()}})


def release(table: Table, key: Key, me: str, now: int) -> None:
    """End the lease of a recount that is to be carried on. Cost: 1 write unit for each KB."""
    table.update(
        key,
        "SET due_pk = :open, due_at = :due REMOVE lease_by, lease_until",
        {":me": {"S": me}, **_due(now)},
        condition="lease_by = :me",
    )


_COME_TO: Final = ", ".join(
    f"{name} = :{name}" for name in ("place", "done", "refused", "reasons", "waits_for", "put_at")
)


def _come_to(recount: Recount, mark: str) -> Item:
    return {
        f"{mark}place": {"S": recount.place},
        f"{mark}done": {"N": str(recount.done)},
        f"{mark}refused": {"N": str(recount.refused)},
        f"{mark}reasons": {"S": msgspec.json.encode(recount.reasons).decode()},
        f"{mark}put_at": {"N": str(recount.put_at)},
        f"{mark}waits_for": {"S": recount.waits_for[:_LONGEST_REASON]},
    }


def _until(at: int) -> Item:
    return {":until": {"N": str(at)}, **_due(at)}


def _due(at: int) -> Item:
    return {":open": {"S": keys.open_recounts()}, ":due": {"S": key_instant(at)}}


def _recount(row: Row) -> Recount:
    return Recount(
        text(row, "id"),
        text(row, "plan"),
        integer(row, "version"),
        integer(row, "since"),
        integer(row, "made_at"),
        integer(row, "put_at"),
        text(row, "place"),
        integer(row, "done"),
        integer(row, "refused"),
        _REASONS.decode(text(row, "reasons")),
        integer(row, "done_at") if "done_at" in row else None,
        _NAMES.decode(text(row, "subscriptions") or "[]"),
        _NAMES.decode(text(row, "line_items") or "[]"),
        None if "subscriptions" in row and "events" not in row else integer(row, "events"),
        text(row, "customer"),
        text(row, "renamed"),
        text(row, "waits_for"),
    )


_NAMES: Final = msgspec.json.Decoder(tuple[str, ...])
_REASONS: Final = msgspec.json.Decoder(tuple[tuple[str, str], ...])

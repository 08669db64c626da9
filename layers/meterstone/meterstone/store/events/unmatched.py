"""Unmatched events: no line item is for them yet, so that they wait for `replay`.

The item of an unmatched event is the logged one under another key, with

| attribute | holds |
|---|---|
| `k`, `x` | whose event it is, as in the log |
| `why` | why it counts nowhere, as far as the catalogue told when that was last asked |
| `put_at` | since when it waits: when it was accepted, or, of one that was imported, when it was put by |
| `num` | the number under which `replay` counts it, once it has one |
| `done` | when `replay` was through with it, or it was withdrawn: it stays while stream or import may come again |
| `gen` | the generation whose rebuild put it by: the item means nothing before that one is live |
"""

from collections.abc import Iterator
from typing import NamedTuple

from meterstone.store.catalogue.accounts import read_account
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST, Key
from meterstone.store.dynamodb.table import Item, Row, Table, integer, item_of, key_item, text
from meterstone.store.events.log import event_of
from meterstone.usage.arrival import Subject
from meterstone.usage.meter import Event


class UnmatchedEvent(NamedTuple):
    """An event that nobody's line item was for, since the instant ``since``.

    ``accepted`` is 0 if it was imported, and ``shard`` then says by which run of which import. ``number``: the one
    under which it is counted, if any.
    """

    key: Key
    subject: Subject
    event: Event
    accepted: int
    since: int
    shard: str
    number: int | None
    done: bool
    generation: str
    row: Row

    def void(self, live: str) -> bool:
        """Return whether it was put by for a generation that is not live, nor was."""
        return is_void(self.generation, live)

    def waiting(self, live: str) -> bool:
        """Return whether it is still to be counted."""
        return not self.done and not self.void(live)

    def item_without_number(self) -> Item:
        """Return the item as it is stored, but for the number: it may be given another one."""
        return {name: value for name, value in item_of(self.row).items() if name != "num"}

    def item_when_done(self, now: int) -> Item:
        """Return the item that says that the event is counted, or withdrawn, as of ``now``."""
        number: Item = {} if self.number is None else {"num": {"N": str(self.number)}}
        return item_of(self.row) | {"done": {"N": str(now)}} | number


def unmatched_item(
    organization_id: str,
    subject: Subject,
    logged: Item,
    since: int,
    why: str = "",
    *,
    generation: str = "",
    done: int | None = None,
) -> Item:
    """Return the item of an unmatched event, made of its item in the log.

    ``why`` is the reason why it counts nowhere; one that is ``done`` needs none. ``generation`` is the one whose
    rebuild puts it by, and ``done`` the instant at which it was withdrawn.
    """
    item = logged | key_item(keys.unmatched(organization_id, *subject, logged["id"]["S"]))
    item |= {"k": {"S": subject.kind}, "x": {"S": subject.external_id}, "put_at": {"N": str(since)}}
    if why:
        item["why"] = {"S": why}
    if generation:
        item["gen"] = {"S": generation}
    if done is not None:
        item["done"] = {"N": str(done)}
    return item


def is_unmatched(item: Item) -> bool:
    """Return whether an item with an event is an unmatched event's: if not, it is the log's."""
    return "put_at" in item


def generation_of(item: Item) -> str:
    """Return the generation whose rebuild put an unmatched event by; empty if none did."""
    return item["gen"]["S"] if "gen" in item else ""


def is_void(generation: str, live: str) -> bool:
    """Return whether what the rebuild of a generation put by means nothing: it is not live yet, or never was."""
    return bool(generation) and int(generation) > int(live)


def list_unmatched(table: Table, organization_id: str) -> Iterator[UnmatchedEvent]:
    """List the events that were put by and are still to be counted. Cost: 2 queries."""
    account = read_account(table, organization_id, consistent=True)
    live = "0" if account is None else account.generation
    return (each for each in read_unmatched(table, organization_id) if each.waiting(live))


def read_unmatched(
    table: Table, organization_id: str, subject: Subject | None = None, begin: str = FIRST
) -> Iterator[UnmatchedEvent]:
    """Read unmatched events, of one subject, or of all from the sort key ``begin`` on. Cost: 1 query."""
    if subject is None:
        rows = table.query(keys.unmatched(organization_id, "", "", "").pk, begin, LAST, consistent=True)
    else:
        rows = table.query_prefix(*keys.unmatched_of(organization_id, *subject), consistent=True)
    return map(unmatched_event_of, rows)


def unmatched_event_of(row: Row) -> UnmatchedEvent:
    """Read an event that was put by."""
    return UnmatchedEvent(
        Key(text(row, "pk"), text(row, "sk")),
        Subject(text(row, "k"), text(row, "x")),
        event_of(row),
        integer(row, "acc"),
        integer(row, "put_at"),
        text(row, "shard"),
        integer(row, "num") if "num" in row else None,
        "done" in row,
        text(row, "gen"),
        row,
    )

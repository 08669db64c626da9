"""Unmatched events: no line item is for them yet, so they wait for `replay`.

The item of an unmatched event is the item of the log under another key, with more attributes:

| attribute | holds |
|---|---|
| `k`, `x` | the event's subject, as in the log |
| `why` | why it counts nowhere, by the catalogue at the last try |
| `put_at` | since when it waits: when it was accepted or, if it was imported, when it was saved as unmatched |
| `num` | the number under which `replay` counts it, once it has one |
| `done` | when `replay` finished it, or it was withdrawn; the item stays while the event may be delivered again |
| `gen` | the generation whose rebuild saved it; the item is void until that generation is live |
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

#: How many items are read at once when only their subjects are asked for.
_ROWS_AT_ONCE = 100


class UnmatchedEvent(NamedTuple):
    """An event that no line item is for, since the instant ``since``.

    For an imported event ``accepted`` is 0, and ``shard`` names the run of the import. ``number`` is the number
    under which the replay counts it, if it has one.
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
        """Return whether the event was saved for a generation only that is not live and never was."""
        return is_void(self.generation, live)

    def waiting(self, live: str) -> bool:
        """Return whether the event is still to be counted."""
        return not self.done and not self.void(live)

    def item_when_done(self, now: int) -> Item:
        """Return the item that says that the event is done: counted, or withdrawn, at ``now``."""
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

    ``why`` is the reason why it counts nowhere; an event that is ``done`` needs none. ``generation`` is the
    generation whose rebuild saves it, if one does. ``done`` is the instant at which it was withdrawn, if it was.
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
    """Return whether an item with an event belongs to an unmatched event, and not to the log."""
    return "put_at" in item


def generation_of(item: Item) -> str:
    """Return the generation whose rebuild saved an unmatched event; empty if no rebuild did."""
    return item["gen"]["S"] if "gen" in item else ""


def is_void(generation: str, live: str) -> bool:
    """Return whether unmatched events of a generation's rebuild are void: it is not live yet, or was given up."""
    return bool(generation) and int(generation) > int(live)


def list_unmatched(table: Table, organization_id: str) -> Iterator[UnmatchedEvent]:
    """List the unmatched events that are still to be counted. Cost: 2 queries."""
    account = read_account(table, organization_id, consistent=True)
    live = "0" if account is None else account.generation
    return (each for each in read_unmatched(table, organization_id) if each.waiting(live))


def read_unmatched(
    table: Table, organization_id: str, subject: Subject | None = None, begin: str = FIRST
) -> Iterator[UnmatchedEvent]:
    """Read unmatched events, of one subject or of all, from the sort key ``begin`` on. Cost: 1 query."""
    if subject is None:
        rows = table.query(keys.unmatched(organization_id, "", "", "").pk, begin, LAST, consistent=True)
    else:
        rows = table.query_prefix(*keys.unmatched_of(organization_id, *subject), consistent=True)
    return map(unmatched_event_of, rows)


def list_unmatched_subjects(table: Table, organization_id: str, begin: str = FIRST) -> Iterator[Subject]:
    """List the subjects that have unmatched events, also such as were counted later or withdrawn.

    They come in the order of their keys, from the sort key ``begin`` on.

    Cost: 1 query for every 100 items, and no more than 1 for each subject, however many items it has; and 1 more.
    """
    pk = keys.unmatched(organization_id, "", "", "").pk
    while rows := table.query_first(pk, begin, LAST, _ROWS_AT_ONCE, consistent=True):
        subjects = dict.fromkeys(Subject(text(row, "k"), text(row, "x")) for row in rows)
        yield from subjects
        # The other items of the last subject are passed over.
        begin = keys.range_of(keys.unmatched_of(organization_id, *next(reversed(subjects))).sk)[1]


def unmatched_event_of(row: Row) -> UnmatchedEvent:
    """Read an unmatched event from its item."""
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

"""What the event log holds, read back, and the events that were put by because nobody's line item was for them.

An item that was put by is the logged one under another key, with

| attribute | holds |
|---|---|
| `why` | why it counts nowhere, as far as the catalogue told when that was last asked |
| `put_at` | since when it waits: when it was accepted, or, of one that was imported, when it was put by |
| `num` | the number under which `replay` counts it, once it has one |
| `done` | when `replay` was through with it, or it was withdrawn: it stays while stream or import may come again |
| `gen` | the generation whose rebuild put it by: the item means nothing before that one is live |
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST, Key
from meterstone.store.dynamodb.table import Item, Row, Table, integer, text
from meterstone.usage.arrival import Subject
from meterstone.usage.meter import Event
from meterstone.usage.tally import Position


class LoggedEvent(NamedTuple):
    """An event as the log holds it; ``accepted`` is 0, and there is a ``position``, if it was imported.

    ``row`` is its item.
    """

    subject: Subject
    event: Event
    accepted: int
    position: Position | None
    withdrawn: bool
    row: Row


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
        """Tell whether it was put by for a generation that is not live, nor was."""
        return bool(self.generation) and int(self.generation) > int(live)

    def waiting(self, live: str) -> bool:
        """Tell whether it is still to be counted."""
        return not self.done and not self.void(live)


def read_log(table: Table, organization_id: str, subject: Subject) -> Iterator[LoggedEvent]:
    """Read a subject's events, withdrawn ones among them, in the order of their ids. Cost: 1 query."""
    pk = keys.event(organization_id, *subject, "").pk
    for row in table.query(pk, FIRST, LAST, consistent=True):
        position = Position(text(row, "shard"), integer(row, "seq")) if "shard" in row else None
        yield LoggedEvent(subject, event_of(row), integer(row, "acc"), position, "w" in row, row)


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


def event_of(row: Row) -> Event:
    """Read a logged event. One that the client did not date has the time at which it was accepted."""
    name, at, properties = json.loads(text(row, "e"), parse_float=Decimal)
    return Event(text(row, "id"), name, integer(row, "at") if "at" in row else at, properties)


def item_of(row: Row) -> Item:
    """Give a row as it is written."""
    return {
        name: {"S": value.S} if value.S is not None else {"N": value.N or "0"} for name, value in row.items()
    }

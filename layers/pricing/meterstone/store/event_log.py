"""The event log: every event once, for ever, under its transaction id.

An event is put under the condition that its transaction id is new to its subscription or customer. So a repeat
is recognised whenever it comes, and nothing is counted that is not in the log.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import msgspec

from meterstone.store import keys
from meterstone.store.keys import Key
from meterstone.store.table import Action, Conflict, Item, Table, key_item
from meterstone.usage.ledger import Position
from meterstone.usage.meter import Event

LARGEST_EVENT = 65_536
"""Bytes of an event's name, time and properties as JSON."""

_ACTIONS = 100
_BYTES = 2_000_000
_encode = msgspec.json.Encoder(order="deterministic", decimal_format="number").encode


class Outcome(StrEnum):
    """What the log says of an event."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class Target(NamedTuple):
    """Whose event it is: a subscription's or a customer's, by its external id."""

    kind: str
    external_id: str

    @classmethod
    def subscription(cls, external_id: str) -> "Target":
        """Name a subscription."""
        return cls("s", external_id)

    @classmethod
    def customer(cls, external_id: str) -> "Target":
        """Name a customer."""
        return cls("c", external_id)


class Entry(NamedTuple):
    """An event to be logged."""

    position: Position
    target: Target
    event: Event


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of an entry; of one that stood there already, the position under which it was logged."""

    outcome: Outcome
    position: Position


class EventLog:
    """The event log of one organization."""

    def __init__(self, table: Table, organization_id: str) -> None:
        """Log to a table."""
        self._table = table
        self._organization_id = organization_id

    def append(self, entries: Sequence[Entry]) -> list[Appended]:
        """Log events that are new; tell of each whether it was, in the same order.

        When it returns, every new event is stored. Cost: 2 write units for each event and KB of it.
        """
        result: list[Appended | None] = [None] * len(entries)
        first: dict[Key, int] = {}
        waiting: list[int] = []
        contents = [content(entry.event) for entry in entries]
        for place, entry in enumerate(entries):
            known = first.setdefault(self._key(entry), place)
            if known == place:
                waiting.append(place)
            else:
                same = contents[known] == contents[place]
                outcome = Outcome.DUPLICATE if same else Outcome.CONFLICT
                result[place] = Appended(outcome, entries[known].position)
        for some in _batches(waiting, contents):
            self._put(entries, contents, some, result)
        return [each for each in result if each is not None]

    def _put(
        self,
        entries: Sequence[Entry],
        contents: Sequence[str],
        places: Sequence[int],
        result: list[Appended | None],
    ) -> None:
        left = list(places)
        while left:
            try:
                self._table.transact([self._action(entries[place], contents[place]) for place in left])
            except Conflict as conflict:
                if not conflict.found:
                    raise
                for number, item in conflict.found.items():
                    place = left[number]
                    same = item["e"]["S"] == contents[place]
                    position = Position(item["shard"]["S"], int(item["seq"]["N"]))
                    result[place] = Appended(Outcome.DUPLICATE if same else Outcome.CONFLICT, position)
                left = [place for number, place in enumerate(left) if number not in conflict.found]
            else:
                for place in left:
                    result[place] = Appended(Outcome.NEW, entries[place].position)
                return

    def _key(self, entry: Entry) -> Key:
        kind, external_id = entry.target
        return keys.event(self._organization_id, kind, external_id, entry.event.id)

    def _action(self, entry: Entry, text: str) -> Action:
        item: Item = key_item(self._key(entry)) | {
            "id": {"S": entry.event.id},
            "e": {"S": text},
            "shard": {"S": entry.position.shard},
            "seq": {"N": str(entry.position.number)},
        }
        return {
            "Put": {
                "TableName": self._table.name,
                "Item": item,
                "ConditionExpression": "attribute_not_exists(pk)",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }


def content(event: Event) -> str:
    """Give what an event says, as text that is the same for the same content."""
    return _encode([event.name, event.at, event.properties]).decode()


def _batches(places: Iterable[int], contents: Sequence[str]) -> Iterator[list[int]]:
    batch: list[int] = []
    size = 0
    for place in places:
        further = len(contents[place].encode())
        if batch and (len(batch) == _ACTIONS or size + further > _BYTES):
            yield batch
            batch, size = [], 0
        batch.append(place)
        size += further
    if batch:
        yield batch

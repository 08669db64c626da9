"""Filling a store fast: the fold counts into a table in memory, and its items are written out in bulk.

What counts and publishes is the fold that every event passes through. Left out is what no read request looks at:
the event log, and, of subscriptions that are not asked about, the hours and details (each subscription has a
partition of its own). `read` compares the answers with those after a real import.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import batched
from typing import Any

from benchmarks import world

from meterstone.pricing.money import ZERO, plain
from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.catalogue.subjects import Subjects
from meterstone.store.counting.fold import EventToCount, Fold
from meterstone.store.counting.merging import REST, merge
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item, Table, key_item
from meterstone.store.events.log import Subject
from meterstone.store.operations.imports import SourceLine
from meterstone.usage.meter import Meter
from meterstone.usage.subscription import Subscription
from meterstone.usage.tally import Position
from support.memory_table import MemoryTable
from support.written import write_catalogue

_EVENTS_AT_ONCE = 10_000


def fill(
    table: Table,
    subscriptions: Sequence[Subscription],
    events: int,
    *,
    asked: frozenset[str],
    meters: tuple[Meter, ...] = world.METERS,
    start: int = world.START,
) -> str:
    """Fill an empty table with a catalogue and ``events`` evenly spread over its subscriptions; give an API key.

    ``asked`` has the subscriptions that are asked about.
    """
    return take(table, fill_memory(subscriptions, events, meters=meters, start=start), asked)


def merged(memory: MemoryTable) -> MemoryTable:
    """Give a table of the same content, in which the rollups of months that are over are merged."""
    other = memory.copy()
    for ago in (2 * REST, REST):
        merge(other, account(other), lambda ago=ago: world.NOW - ago)  # type: ignore[misc]
    return other


def take(table: Table, memory: MemoryTable, asked: frozenset[str]) -> str:
    """Write what `fill_memory` has made into an empty table; give an API key."""
    table.put_all(_items(memory, asked))
    return create_key(table, world.ORGANIZATION.id, world.KEY_NAME, world.NOW)[0]


class _Bulk(MemoryTable):
    """Takes the fold's writes as they are: it is the only writer, so that its conditions hold.

    What is added to rollups is added up as numbers, and written by `settle`: the fold never reads them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sums: dict[Key, dict[str, Decimal]] = {}

    def transact(self, actions: Sequence[Any]) -> None:
        for action in actions:
            ((verb, body),) = action.items()
            key = _key(body["Item"] if verb == "Put" else body["Key"])
            match verb:
                case "Put":
                    self._store(key, body["Item"])
                case "Delete":
                    self._store(key, None)
                case "ConditionCheck":
                    # Nobody else writes to this table.
                    pass
                case "Update" if "ConditionExpression" in body:
                    # What is noted of a subject or a customer.
                    super().transact([action])
                case _:
                    sums = self._sums.setdefault(key, {})
                    for name, value in body["ExpressionAttributeValues"].items():
                        # What is text is for the index.
                        if "N" in value:
                            day = name.removeprefix(":")
                            sums[day] = sums.get(day, ZERO) + Decimal(value["N"])

    def settle(self) -> None:
        """Write the rollups."""
        for key, sums in self._sums.items():
            item = key_item(key) | {day: {"N": plain(total)} for day, total in sums.items()}
            if "#rollup#" in key.pk and (place := keys.to_be_merged(key)):
                item |= {"due_pk": {"S": place[0]}, "due_at": {"S": place[1]}}
            self._store(key, item)


def _key(item: Item) -> Key:
    return Key(item["pk"]["S"], item["sk"]["S"])


def fill_memory(
    subscriptions: Sequence[Subscription],
    events: int,
    *,
    meters: tuple[Meter, ...] = world.METERS,
    start: int = world.START,
    writers: int = 1,
) -> MemoryTable:
    """Give a table in memory with a catalogue and what its events were counted into.

    ``writers`` folds take turns, each with its own rollups.
    """
    memory = _Bulk()
    catalogue(memory, subscriptions, meters)
    known = account(memory)
    folds = [Fold(memory, world.ORGANIZATION.id, known.generation, writer=each) for each in range(writers)]
    found = Subjects(memory)
    owners = {subscription.external_id: (subscription,) for subscription in subscriptions}
    for batch in batched(given(subscriptions, events, meters, start), _EVENTS_AT_ONCE, strict=False):
        standing = found.standing(known, (one.subject for one in batch), world.NOW)
        turns: list[list[EventToCount]] = [[] for _ in folds]
        for one in batch:
            # Each takes one event of each meter, and then the next does.
            turn = one.line // len(meters) % writers
            at, owning = Position(f"bench-{turn}", one.line), owners[one.subject.external_id]
            turns[turn].append(EventToCount(at, one.subject, one.event, owning))
        for fold, events_to_count in zip(folds, turns, strict=True):
            fold.fold(events_to_count, world.NOW, standing)
    memory.settle()
    return memory


def catalogue(table: Table, subscriptions: Sequence[Subscription], meters: tuple[Meter, ...]) -> None:
    """Write the catalogue."""
    write_catalogue(table, world.ORGANIZATION, meters, subscriptions, [])


def account(table: Table) -> Account:
    """Read the organization back."""
    found = read_account(table, world.ORGANIZATION.id)
    if found is None:
        raise RuntimeError("there is no catalogue")
    return found


def given(
    subscriptions: Sequence[Subscription],
    events: int,
    meters: tuple[Meter, ...] = world.METERS,
    start: int = world.START,
) -> Iterator[SourceLine]:
    """Give events subscription by subscription: the order changes no counter, and is quicker to fold."""
    each = events // len(subscriptions)
    for place, subscription in enumerate(subscriptions):
        subject = Subject.subscription(subscription.external_id)
        for one in world.usage(each, 1, start, meters, seed=place):
            yield one._replace(line=place * each + one.line, subject=subject)


def _items(memory: MemoryTable, asked: frozenset[str]) -> Iterator[Item]:
    kept = {keys.part(each) for each in asked}
    for key, item in memory.items().items():
        if not _is_fine(key) or key.pk.rpartition("#")[2] in kept:
            yield key_item(key) | item


def _is_fine(key: Key) -> bool:
    """Tell whether an item is a part finer than a counter."""
    return "#usage#" in key.pk and not key.sk.startswith("C#")

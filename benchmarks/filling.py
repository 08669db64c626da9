"""Filling a store fast: the fold counts into a table in memory, and its items are written out in bulk.

What counts and publishes is the fold that every event passes through. Left out is what no read request looks at:
the event log, and, of subscriptions that are not asked about, the hours and details (each subscription has a
partition of its own). `read` compares the answers with those after a real import.
"""

from collections.abc import Iterator, Sequence
from itertools import batched

from benchmarks import world

from memory_table import MemoryTable
from meterstone.store import keys
from meterstone.store.admin import create_key, write_catalogue
from meterstone.store.catalogue import Account, read_account
from meterstone.store.fold import Fold, Logged
from meterstone.store.keys import Key
from meterstone.store.table import Item, Table, key_item
from meterstone.usage.ledger import Position
from meterstone.usage.meter import Meter
from meterstone.usage.subscription import Subscription

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
    memory = MemoryTable(table.name)
    catalogue(memory, subscriptions, meters)
    fold = Fold(memory, world.ORGANIZATION.id, account(memory).generation)
    for batch in batched(_logged(subscriptions, events, meters, start), _EVENTS_AT_ONCE, strict=False):
        fold.fold(batch, world.NOW)
    table.put_all(_items(memory, asked))
    return create_key(table, world.ORGANIZATION.id, world.KEY_NAME, world.NOW)[0]


def catalogue(table: Table, subscriptions: Sequence[Subscription], meters: tuple[Meter, ...]) -> None:
    """Write the catalogue."""
    write_catalogue(table, world.ORGANIZATION, meters, subscriptions, [])


def account(table: Table) -> Account:
    """Read the organization back."""
    found = read_account(table, world.ORGANIZATION.id)
    if found is None:
        raise RuntimeError("there is no catalogue")
    return found


def _logged(
    subscriptions: Sequence[Subscription], events: int, meters: tuple[Meter, ...], start: int
) -> Iterator[Logged]:
    """Give the events subscription by subscription: the order changes no counter, and is quicker to fold."""
    each = events // len(subscriptions)
    for place, subscription in enumerate(subscriptions):
        for given in world.usage(each, 1, start, world.NOW, meters):
            yield Logged(Position("bench", place * each + given.line), given.event, (subscription,))


def _items(memory: MemoryTable, asked: frozenset[str]) -> Iterator[Item]:
    kept = {keys.part(each) for each in asked}
    for key, item in memory.items().items():
        if not _is_fine(key) or key.pk.rpartition("#")[2] in kept:
            yield key_item(key) | item


def _is_fine(key: Key) -> bool:
    """Tell whether an item is a part finer than a counter."""
    return "#usage#" in key.pk and not key.sk.startswith("C#")

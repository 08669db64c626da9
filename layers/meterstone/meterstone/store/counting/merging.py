"""Merging: what several writers have added to a month is put together when the month is over.

Folds that run at once add to a rollup each (see `keys.WRITERS`), and readers add these up. Of a month that is over
that is work without use: nearly nothing is added to it any more, and it is read for years. So the numbers of all
other writers are moved into the first writer's rollup, and the others, which hold nothing then, are deleted.

Numbers are moved: what a transaction takes from one item it adds to another, whatever was added meanwhile. So the
sum of all writers is the same before and after, and what comes late is added as ever (C52).

A query may see one item as it was before such a transaction and another as it was after. So all items of a move
say when it was. Who reads soon afterwards, and finds items that do not say the same, reads them again, all at one
moment (`reading.analytics`). An item is deleted long after its numbers were moved (`REST`): no query that began
before is under way then (C53).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import batched
from typing import Final, NamedTuple
from zlib import crc32

from meterstone.pricing.money import ZERO, add, plain
from meterstone.store.catalogue.accounts import Account, generation_alone
from meterstone.store.catalogue.stored_format import FORMAT
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import (
    Action,
    ConflictError,
    Item,
    Row,
    Table,
    WriteRefusedError,
    integer,
    key_item,
)
from meterstone.usage.instant import DAY, HOUR, key_instant

REST: Final = HOUR
"""For how long an item whose numbers were moved stands before it is deleted."""

_NUMBERS: Final = tuple(f"{kind}{day:02}" for kind in "ufa" for day in range(1, 32))
#: How many rollups of other writers are read together.
_AT_ONCE = 50


def is_due(organization_id: str, now: int) -> bool:
    """Return whether an instant lies in the hour of its day in which an organization's rollups are merged.

    Organizations are spread over the hours.
    """
    return crc32(organization_id.encode()) % (DAY // HOUR) == now % DAY // HOUR


class Merged(NamedTuple):
    """How many items were moved from or deleted, and of how many rollups the table refuses the sum."""

    items: int = 0
    refused: int = 0


def merge(
    table: Table, account: Account, clock: Callable[[], int], *, stop: Callable[[], bool] = lambda: False
) -> Merged:
    """Merge the rollups of months that are over.

    The account must have been read consistently. ``clock`` and ``stop`` are asked for each rollup; what is left
    when it stops is found by the next call. So is a rollup that somebody adds to at that very time.

    While a rebuild fills another generation nothing is merged, since it compares the rollups. In the first stored
    format nothing is, since code that knows of no moves may be reading.

    Cost: 1 query of the index. For each rollup of another writer 2 reads; once 2 write units for each KB of it and
    of the first writer's, and 2 for the organization's profile; later 2 for each KB to delete it.
    """
    if account.next is not None or account.stored_format < FORMAT:
        return Merged()
    items = refused = 0
    due = table.due(keys.merging(account.organization.id, account.generation), key_instant(clock()))
    for found in batched(_by_rollup(due), _AT_ONCE, strict=False):
        rows = table.batch_get((key for first, others in found for key in (first, *others)), consistent=True)
        for first, others in found:
            if stop():
                return Merged(items, refused)
            # The index may be older than the item.
            held = {key: rows[key] for key in others if key in rows}
            now = clock()
            moves = list(_moved(table, account, (first, rows.get(first, {})), held, now))
            deletions = [] if moves else list(_deleted(table, held, now))
            try:
                if moves or deletions:
                    table.transact(moves or deletions)
                items += len(held) if moves else len(deletions)
            except ConflictError:
                # Somebody was faster.
                continue
            except WriteRefusedError:
                # It has too many digits. The items stay apart, and readers add them up, as before.
                refused += 1
    return Merged(items, refused)


def _by_rollup(due: Iterable[Key]) -> list[tuple[Key, list[Key]]]:
    """Return the key of each rollup's first writer, with those of the others that are due."""
    found: dict[Key, list[Key]] = {}
    for key in due:
        first = Key(key.pk, keys.rollup_of_first_writer(key.sk))
        found.setdefault(first, []).append(key)
    return list(found.items())


def _moved(
    table: Table, account: Account, first: tuple[Key, Row], others: Mapping[Key, Row], now: int
) -> Iterator[Action]:
    """Yield the actions that move all numbers of other writers to the first; none if they have none."""
    first_key, into = first
    accepted = max((integer(row, "acc") for row in others.values()), default=0)
    newer = accepted > integer(into, "acc")
    numbers = {key: _numbers(row) for key, row in others.items()}
    if not newer and not any(numbers.values()):
        return
    sums: dict[str, Decimal] = {}
    for of in numbers.values():
        for name, number in of.items():
            sums[name] = add(sums.get(name, ZERO), number)
    # A rebuild that swaps or deletes the generation meanwhile must not find items made anew.
    yield generation_alone(table, account)
    yield _addition(
        table,
        first_key,
        sums,
        {"moved_at": now} | ({"acc": accepted} if newer else {}),
        # Somebody may have added what came in later still.
        "attribute_not_exists(acc) OR acc < :acc" if newer else None,
    )
    for key, row in others.items():
        # Sent once more, it finds that it was.
        unmoved, values = _as_read("moved_at", row)
        # A minus sign would round to 28 digits.
        out = {name: number.copy_negate() for name, number in numbers[key].items()}
        yield _addition(table, key, out, {"moved_at": now}, f"attribute_exists(pk) AND {unmoved}", values)


def _deleted(table: Table, others: Mapping[Key, Row], now: int) -> Iterator[Action]:
    """Yield the actions that delete rollups that hold nothing, if their numbers were not moved just now."""
    for key, row in others.items():
        if integer(row, "moved_at") + REST > now:
            continue
        nothing = [f"{name} = :zero" if name in row else f"attribute_not_exists({name})" for name in _NUMBERS]
        accepted, values = _as_read("acc", row)
        # What a withdrawal has brought may have been moved since then.
        unmoved, more = _as_read("moved_at", row)
        yield {
            "Delete": {
                "TableName": table.name,
                "Key": key_item(key),
                "ConditionExpression": " AND ".join([accepted, unmoved, *nothing]),
                "ExpressionAttributeValues": values | more | {":zero": {"N": "0"}},
            }
        }


def _numbers(row: Row) -> dict[str, Decimal]:
    """Return the numbers of a rollup that are not 0."""
    found = {name: Decimal(row[name].N or 0) for name in _NUMBERS if name in row}
    return {name: number for name, number in found.items() if number}


def _as_read(name: str, row: Row) -> tuple[str, Item]:
    """Return the condition that a number of an item is as it was read, and its value."""
    if name not in row:
        return f"attribute_not_exists({name})", {}
    return f"{name} = :was_{name}", {f":was_{name}": {"N": row[name].N or "0"}}


def _addition(
    table: Table,
    key: Key,
    numbers: Mapping[str, Decimal],
    marks: Mapping[str, int],
    condition: str | None,
    condition_values: Item | None = None,
) -> Action:
    """Return the action that adds numbers to a rollup, and sets marks."""
    terms = ", ".join(f"{name} :{name}" for name in numbers)
    values: Item = {f":{name}": {"N": plain(number)} for name, number in numbers.items()}
    values |= {f":{name}": {"N": str(at)} for name, at in marks.items()}
    expression = "SET " + ", ".join(f"{name} = :{name}" for name in marks)
    update: Action = {
        "TableName": table.name,
        "Key": key_item(key),
        "UpdateExpression": f"{expression} ADD {terms}" if terms else expression,
        "ExpressionAttributeValues": values | (condition_values or {}),
    }
    if condition is not None:
        update["ConditionExpression"] = condition
    return {"Update": update}

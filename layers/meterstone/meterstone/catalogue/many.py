"""Many puts of one kind, as the load of a folder makes them: each by itself, what they need read together.

A put reads some items, checks, and writes on the condition that these are as they were. What several puts read is
the same kind of items, under keys that their records tell. So these are read in batches, and each put then finds
them in `Gathered`, which stands in for the table. Whatever a put writes is forgotten there, so that the next put
reads it anew. A put for which another writer was faster is made once more, alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import replace
from itertools import batched, chain
from typing import Any, Final

from meterstone.catalogue.attempt import LONGEST, Attempt, begin
from meterstone.catalogue.errors import CatalogueError, LostError, Put
from meterstone.store.catalogue.stored_format import FIRST_FORMAT
from meterstone.store.catalogue.upgrade import settled_by
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import WriteRefusedError
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Action, Item, Row, Table, key_item
from meterstone.usage.instant import SECOND

TOGETHER: Final = 25
"""For how many records the items are read at once."""

#: How many batches are put at once. More of them only wait for each other: much of the work is Python's.
_AT_ONCE: Final = 8
#: How old what was read together may be, in microseconds, when a put begins with it.
_FRESH: Final = 10 * SECOND

type Raw = Mapping[str, object]
type Named = tuple[str, Raw]
#: Makes one put on an attempt.
type Putting = Callable[[Attempt, str, Raw], Put[Any]]


def put_many(
    table: Table,
    organization_id: str,
    clock: Callable[[], int],
    kind: str,
    records: Sequence[Named],
    putting: Putting,
    alone: Callable[[str, Raw], Put[Any]],
) -> list[Put[Any] | CatalogueError]:
    """Put records of a kind, several at once. Return in their order what became of each.

    ``putting`` puts one on an attempt, and ``alone`` makes attempts of its own. Raises what stops all of them,
    such as a rebuild that is running.
    """
    found: list[Put[Any] | CatalogueError | None] = [None] * len(records)
    # Records of one customer are put one after another: each raises the version of the customer.
    order = sorted(range(len(records)), key=lambda index: _owner(records[index][1]))

    def put(some: Iterable[int]) -> None:
        some = list(some)
        attempt = begin(table, organization_id, clock)
        gathered = _gathered(attempt, kind, [records[index] for index in some])
        for index in some:
            name, record = records[index]
            try:
                if clock() - attempt.now > _FRESH:
                    found[index] = alone(name, record)
                    continue
                try:
                    with table.deadline.at_most((LONGEST - _FRESH) / SECOND):
                        found[index] = putting(replace(attempt, table=gathered, mine=set()), name, record)
                except (LostError, WriteRefusedError):
                    found[index] = alone(name, record)
            except CatalogueError as error:
                found[index] = error

    # All meters stand in one item.
    several = [order] if kind == "meter" else list(batched(order, TOGETHER, strict=False))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(put, several):
            pass
    return [each for each in found if each is not None]


def _owner(record: Raw) -> str:
    owner = record.get("customer")
    return owner if isinstance(owner, str) else ""


class Gathered(Table):
    """A table of which some items were read already."""

    def __init__(self, table: Table) -> None:
        """Stand in for a table."""
        self.name, self.cost, self.deadline = table.name, table.cost, table.deadline
        self._table = table
        self._read: dict[Key, Row | None] = {}
        self._empty: set[str] = set()
        self._there: set[Key] = set()

    def gather(self, wanted: Iterable[Key]) -> None:
        """Read items, consistently."""
        found = list(wanted)
        rows = self._table.batch_get(found, consistent=True)
        self._read.update({key: rows.get(key) for key in found})

    def knows(self, key: Key) -> bool:
        """Return whether an item was read, and is there."""
        return self._read.get(key) is not None

    def note_empty(self, key: Key) -> None:
        """Note that nothing but hints can be in the partition of a key, as the item of the key is not there."""
        if self._read.get(key, {}) is None:
            self._empty.add(key.pk)

    def put_ahead(self, items: Iterable[Item]) -> None:
        """Write items that a put will write again, for all puts together."""
        found = list(items)
        self._table.put_all(found)
        self._there.update(map(_key, found))

    def get(self, key: Key, *, consistent: bool = False) -> Row | None:
        """Read as `Table.get`."""
        return self._read[key] if key in self._read else self._table.get(key, consistent=consistent)

    def batch_get(self, keys: Iterable[Key], *, consistent: bool = False) -> dict[Key, Row]:
        """Read as `Table.batch_get`."""
        wanted = list(dict.fromkeys(keys))
        unread = [key for key in wanted if key not in self._read]
        found = self._table.batch_get(unread, consistent=consistent) if unread else {}
        found |= {key: row for key in wanted if (row := self._read.get(key)) is not None}
        return found

    def unchanging[T](self, keys: Iterable[Key], decode: Callable[[Row], T]) -> dict[Key, T]:
        """Read as `Table.unchanging`."""
        return self._table.unchanging(keys, decode)

    def query(self, pk: str, low: str, high: str, *, consistent: bool = False) -> Iterator[Row]:
        """Read as `Table.query`."""
        return iter(()) if pk in self._empty else self._table.query(pk, low, high, consistent=consistent)

    def query_first(self, pk: str, low: str, high: str, most: int, *, consistent: bool = False) -> list[Row]:
        """Read as `Table.query_first`."""
        return self._table.query_first(pk, low, high, most, consistent=consistent)

    def has_any(self, pk: str, prefix: str = "", *, consistent: bool = False) -> tuple[bool, float]:
        """Read as `Table.has_any`."""
        return self._table.has_any(pk, prefix, consistent=consistent)

    def put(self, item: Item) -> None:
        """Write as `Table.put`."""
        if _key(item) not in self._there:
            self._table.put(item)

    def put_new(self, item: Item) -> Item | None:
        """Write as `Table.put_new`."""
        self._forget([_key(item)])
        return self._table.put_new(item)

    def put_all(self, items: Iterable[Item]) -> None:
        """Write as `Table.put_all`."""
        if unwritten := [item for item in items if _key(item) not in self._there]:
            self._table.put_all(unwritten)

    def update(self, key: Key, expression: str, values: Item, *, condition: str | None = None) -> bool:
        """Write as `Table.update`."""
        self._forget([key])
        return self._table.update(key, expression, values, condition=condition)

    def transact(self, actions: Sequence[Action]) -> None:
        """Write as `Table.transact`."""
        for action in actions:
            (body,) = action.values()
            self._forget([_key(body.get("Key") or body.get("Item"))])
        self._table.transact(actions)

    def _forget(self, written: Iterable[Key]) -> None:
        for key in written:
            self._read.pop(key, None)
            self._empty.discard(key.pk)


def _key(item: Item) -> Key:
    return Key(item["pk"]["S"], item["sk"]["S"])


def _gathered(attempt: Attempt, kind: str, records: Sequence[Named]) -> Gathered:
    table = Gathered(attempt.table)
    match kind:
        case "customer":
            _gather_customers(table, attempt, records)
        case "subscription":
            _gather_subscriptions(table, attempt, records)
        case "meter":
            pass
        case _:
            table.gather(keys.catalogue(attempt.organization_id, kind, name) for name, _ in records)
    return table


def _gather_customers(table: Gathered, attempt: Attempt, records: Sequence[Named]) -> None:
    organization_id = attempt.organization_id
    whose = {name: keys.customer(organization_id, name) for name, _ in records}
    listed = {name: keys.catalogue(organization_id, "customer", name) for name in whose}
    table.gather((*whose.values(), *listed.values()))
    if attempt.account.stored_format != FIRST_FORMAT:
        new = [name for name, key in listed.items() if not table.knows(key)]
        table.put_ahead(_mention(listed[name], name) for name in new)


def _gather_subscriptions(table: Gathered, attempt: Attempt, records: Sequence[Named]) -> None:
    """Read subjects first, then subscriptions: as each put alone does."""
    organization_id = attempt.organization_id
    terms = {name: keys.subscription(organization_id, name) for name, _ in records}
    owners = {name: _text(record, "customer") for name, record in records}
    externals = {name: _text(record, "external_id") or name for name, record in records}
    customers = {each: keys.customer(organization_id, each) for each in owners.values() if each}
    subjects = {each: keys.subject(organization_id, "s", each) for each in externals.values()}
    plans = {plan for _, record in records for plan in _plans(record)}
    table.gather(
        chain(
            customers.values(),
            subjects.values(),
            (keys.catalogue(organization_id, "plan", plan) for plan in sorted(plans)),
        )
    )
    table.gather(terms.values())
    if attempt.account.stored_format == FIRST_FORMAT:
        return
    if settled_by(attempt.table, organization_id) is None:
        # Every put of a subscription has raised the version of its external id.
        for key in subjects.values():
            table.note_empty(key)
    new = [name for name, key in terms.items() if not table.knows(key) and owners[name] in customers]
    table.put_ahead(
        _mention(key, name)
        for name in new
        for key in (
            keys.catalogue(organization_id, "subscription", name),
            keys.of_customer(organization_id, owners[name], name),
            keys.by_external_id(organization_id, externals[name], name),
        )
    )


def _plans(record: Raw) -> Iterator[str]:
    plan = record.get("plan")
    if isinstance(plan, str):
        yield plan
    elif isinstance(plan, list):
        yield from (each["value"] for each in plan if isinstance(each, dict) and _text(each, "value"))


def _text(record: Raw, name: str) -> str:
    found = record.get(name)
    return found if isinstance(found, str) else ""


def _mention(key: Key, name: str) -> Item:
    return key_item(key) | {"id": {"S": name}}

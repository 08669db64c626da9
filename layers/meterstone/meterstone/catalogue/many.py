"""Many puts of one kind, as the load of a folder makes them: what they need is read, and written, together.

A put reads some items, checks, and writes on the condition that these are as they were. What several puts read is
the same kind of items, under keys that their records tell. So these are read in batches, and each put then finds
them in `Gathered`, which stands in for the table. Whatever a put writes is forgotten there, so that the next put
reads it anew.

Records that are new, and have no item in common, are written in one transaction, each under the conditions of its
own put. Nothing is counted yet by what is new, so that such a transaction seldom meets one of counting. A put for
which another writer was faster is made once more, alone; so are all those of a transaction that was refused.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from copy import replace
from itertools import batched, chain, groupby
from typing import Any, Final

from meterstone.catalogue.attempt import LONGEST, Attempt, begin
from meterstone.catalogue.errors import CatalogueError, LostError, Put
from meterstone.catalogue.gathered import Gathered
from meterstone.store.catalogue.stored_format import FIRST_FORMAT
from meterstone.store.catalogue.upgrade import settled_by
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import WriteRefusedError
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item, Table, key_item
from meterstone.usage.instant import SECOND

TOGETHER: Final = 25
"""For how many records the items are read at once. What as many new ones write fits in one transaction."""

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

    def put(indices: Sequence[int]) -> None:
        for some in batched(indices, TOGETHER, strict=False):
            attempt = begin(table, organization_id, clock)
            batch = _Batch(attempt, kind, [records[index] for index in some], putting, alone)
            for index, outcome in zip(some, batch.put(), strict=True):
                found[index] = outcome

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(put, _divided(kind, records)):
            pass
    return [each for each in found if each is not None]


def _divided(kind: str, records: Sequence[Named]) -> list[list[int]]:
    """Divide the places of records into lists that are put at once, each in its order.

    Those of one customer stand in one list: each raises the version of the customer. All meters stand in one item.
    """
    order = sorted(range(len(records)), key=lambda index: _owner(records[index][1]))
    if kind == "meter":
        return [order]
    lists: list[list[int]] = [[]]
    for owner, group in groupby(order, key=lambda index: _owner(records[index][1])):
        for some in [list(group)] if owner else [[index] for index in group]:
            if len(lists[-1]) + len(some) > TOGETHER:
                lists.append([])
            lists[-1] += some
    return lists


def _owner(record: Raw) -> str:
    owner = record.get("customer")
    return owner if isinstance(owner, str) else ""


class _Batch:
    """Records that are put one after another on one attempt. Those that are new wait for one transaction."""

    def __init__(
        self,
        attempt: Attempt,
        kind: str,
        records: Sequence[Named],
        putting: Putting,
        alone: Callable[[str, Raw], Put[Any]],
    ) -> None:
        """Read what the puts will read."""
        self._attempt, self._kind, self._records = attempt, kind, records
        self._putting, self._alone = putting, alone
        self._table = _gathered(attempt, kind, records)
        self._found: dict[int, Put[Any] | CatalogueError] = {}
        #: The puts that wait to be written, by the places of their records.
        self._waiting: dict[int, Put[Any]] = {}

    def put(self) -> list[Put[Any] | CatalogueError]:
        """Put the records. Return in their order what became of each."""
        for place, (name, record) in enumerate(self._records):
            needed = list(_needed(self._attempt, self._kind, name, record))
            if behind := [key for key in needed if self._table.waits(key)]:
                # It goes by what was written just before it.
                self._write()
                self._table.gather(behind)
            self._one(place)
        self._write()
        return [self._found[place] for place in range(len(self._records))]

    def _one(self, place: int) -> None:
        name, record = self._records[place]
        if self._too_late():
            self._write()
            self._by_itself(place)
            return
        attempt = replace(self._attempt, table=self._table, mine=set())
        try:
            with self._in_time():
                if not self._is_new(name):
                    self._found[place] = self._putting(attempt, name, record)
                    return
                with self._table.grouping():
                    self._waiting[place] = self._putting(attempt, name, record)
        except (LostError, WriteRefusedError):
            self._write()
            self._by_itself(place)
        except CatalogueError as error:
            self._found[place] = error

    def _write(self) -> None:
        """Write what waits: together, or else each by itself."""
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return
        if self._too_late():
            self._table.drop_group()
        else:
            with self._in_time():
                if self._table.write_group():
                    self._found |= waiting
                    return
        for place in waiting:
            self._by_itself(place)

    def _by_itself(self, place: int) -> None:
        try:
            self._found[place] = self._alone(*self._records[place])
        except CatalogueError as error:
            self._found[place] = error

    def _too_late(self) -> bool:
        return self._attempt.clock() - self._attempt.now > _FRESH

    def _in_time(self) -> AbstractContextManager[None]:
        return self._table.deadline.at_most((LONGEST - _FRESH) / SECOND)

    def _is_new(self, name: str) -> bool:
        organization_id = self._attempt.organization_id
        match self._kind:
            case "subscription":
                return not self._table.knows(keys.subscription(organization_id, name))
            case "customer":
                listed = keys.catalogue(organization_id, "customer", name)
                there = self._table.knows(keys.customer(organization_id, name), "doc")
                return not there and not self._table.knows(listed, "doc")
            case "price":
                return not self._table.knows(keys.catalogue(organization_id, "price", name))
            case _:
                return False


def _needed(attempt: Attempt, kind: str, name: str, record: Raw) -> Iterator[Key]:
    """Yield the items that a put reads and that an earlier put may write."""
    organization_id = attempt.organization_id
    if kind == "subscription":
        yield keys.customer(organization_id, _text(record, "customer"))
        yield keys.subject(organization_id, "s", _text(record, "external_id") or name)
        yield from (keys.catalogue(organization_id, "plan", plan) for plan in _plans(record))


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

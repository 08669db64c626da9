"""A small catalogue that is changed one record at a time, and what two writers, or a killed one, do to it."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from benchmarks.sizes import index_units, put_units

from meterstone.catalogue.management import Management, Stored
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item, Table, key_item
from meterstone.usage.instant import DAY, parse_instant
from meterstone.usage.subscription import Organization
from meterstone.usage.terms import Terms
from support.memory_table import MemoryTable
from support.scenario import ORGANIZATION
from support.written import write_catalogue

NOW: Final = parse_instant("2026-03-10T00:00:00Z")
CALLS: Final = {"code": "calls", "aggregation": "COUNT"}
SEATS: Final = {"code": "seats", "aggregation": "SUM", "field": "n", "recurring": True}
PRICE: Final = {"currency": "EUR", "billing_model": "FLAT_FEE", "amount": "2", "meter_id": "calls"}
DEAR: Final = PRICE | {"amount": "3"}
SEAT: Final = PRICE | {"meter_id": "seats"}
BASIC: Final = {"prices": ["call", "seat"]}
PRO: Final = {"prices": ["dear call", "seat"]}
OF_C: Final = {"customer": "c", "plan": "basic", "currency": "EUR", "start": "2026-01-01T00:00:00Z"}


type Change = Callable[[Management], object]


def at(days: float) -> int:
    """Return an instant so many days from now."""
    return NOW + round(days * DAY)


class WeighedTable(MemoryTable):
    """Adds up the write units of everything that is written, by DynamoDB's published rules."""

    def __init__(self) -> None:
        super().__init__()
        self.units = 0
        self._times = 1

    def transact(self, actions: Any) -> None:
        """Write all or nothing, at twice the cost."""
        self._times = 2
        try:
            super().transact(actions)
        finally:
            self._times = 1

    def _store(self, key: Key, item: Item | None) -> None:
        before = self._items.get(key.pk, {}).get(key.sk)
        self.units += put_units(before, item) * self._times + index_units(before, item)
        super()._store(key, item)


def managed(
    table: Table | None = None,
    clock: Callable[[], int] = lambda: NOW,
    organization: Organization = ORGANIZATION,
) -> Management:
    """Make an organization with meters, prices, two plans and a customer, and no subscription."""
    table = MemoryTable() if table is None else table
    write_catalogue(table, organization, (), (), ())
    management = Management(table, organization.id, clock)
    management.put("meter", "calls", CALLS)
    management.put("meter", "seats", SEATS)
    management.put("price", "call", PRICE)
    management.put("price", "dear call", DEAR)
    management.put("price", "seat", SEAT)
    management.put("plan", "basic", BASIC)
    management.put("plan", "pro", PRO)
    management.put("customer", "c", {"country": "NO"})
    return management


def with_one(
    table: Table | None = None,
    clock: Callable[[], int] = lambda: NOW,
    organization: Organization = ORGANIZATION,
) -> Management:
    """Make the same with a subscription that ends next year."""
    management = managed(table, clock, organization)
    management.put("subscription", "s", OF_C | {"end": "2027-01-01T00:00:00Z"})
    return management


def put(kind: Any, name: str, record: Mapping[str, object], if_match: int | None = None) -> Change:
    """Make the change that puts a record."""
    return lambda it: it.put(kind, name, record, if_match=if_match)


def table_of(management: Management) -> MemoryTable:
    """Return the table in memory that a catalogue is in."""
    table = management._table
    assert isinstance(table, MemoryTable)
    return table


def subscription(management: Management, name: str) -> Stored[Terms]:
    """Return a subscription that is there."""
    stored = management.get("subscription", name)
    assert stored is not None
    return stored


def records(management: Management, names: Mapping[str, tuple[str, ...]]) -> dict[tuple[str, str], Any]:
    """Return the values of records, by kind and id, as they are read: what somebody sees of the catalogue."""
    found = {}
    for kind, several in names.items():
        for name in several:
            stored = management.get(kind, name)  # type: ignore[arg-type]
            found[kind, name] = None if stored is None else stored.value
    return found


def count_event(
    management: Management, subscription_id: str, when: int, *, by_customer: bool = False
) -> None:
    """Leave what counting an event leaves: a counter, and the event's time at its subject."""
    terms, table = subscription(management, subscription_id).value, table_of(management)
    subject = ("c", terms.customer_id) if by_customer else ("s", terms.events_by)
    key = keys.subject(ORGANIZATION.id, *subject)
    table.update(key, "SET latest_at = :at", {":at": {"N": str(when)}})
    table.update(
        keys.customer(ORGANIZATION.id, terms.customer_id), "SET counted = :one", {":one": {"N": "1"}}
    )
    counter = Key(keys.usage(ORGANIZATION.id, "1", subscription_id), keys.counter("monthly.1", 0, "item", 0))
    table.put(key_item(counter) | {"v": {"N": "1"}})


_CALLS: Final = (
    *("get", "batch_get", "query", "query_first", "has_any", "count_in"),
    *("transact", "put", "put_new", "put_all", "update", "delete_all"),
)


def at_each_call(table: MemoryTable, number: int, do: Callable[[], object]) -> Callable[[], bool]:
    """Have something done just before a read or write of the table, by its number, from 1.

    Return what is to be called when all is over: it says whether it was done.
    """
    plain = {name: getattr(table, name) for name in _CALLS}
    calls = 0

    def end() -> bool:
        for name in _CALLS:
            setattr(table, name, plain[name])
        return calls >= number

    def counted(name: str, *arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            end()
            do()
        return plain[name](*arguments, **more)

    for name in _CALLS:
        setattr(table, name, partial(counted, name))
    return end


def interleavings(
    make: Callable[[], Management],
    first: Callable[[Management], object],
    second: Callable[[Management], object],
) -> Iterator[tuple[Management, list[object]]]:
    """Let a second writer go all the way before each call of the first one, and after its last.

    Yields what is stored then, and what became of both: a result or an error, the first writer's first.
    """
    number, through = 0, False
    while not through:
        number += 1
        management = make()
        others: list[object] = []

        def meanwhile(management: Management = management, others: list[object] = others) -> None:
            others.append(outcome(second, management))

        end = at_each_call(table_of(management), number, meanwhile)
        result = outcome(first, management)
        through = not end()
        if through:
            meanwhile()
        yield management, [result, *others]


def outcome(change: Callable[[Management], object], management: Management) -> object:
    """Return what a change returns, or the error that it raises."""
    try:
        return change(management)
    except Exception as error:  # noqa: BLE001 - a test looks at it
        return error


NAMES: Final = {
    "meter": ("calls", "seats", "m", "n"),
    "price": ("call", "p"),
    "plan": ("basic", "pro", "q"),
    "customer": ("c", "d"),
    "subscription": ("s", "t"),
}
"""The records that the operations below make, change or delete, by kind."""

OPERATIONS: Mapping[str, Change] = {
    "a new meter": put("meter", "m", {"code": "m", "aggregation": "COUNT"}),
    "a meter deleted": lambda it: it.delete("meter", "calls"),
    "a new price": put("price", "p", PRICE),
    "a new plan": put("plan", "q", PRO),
    "a changed plan": put("plan", "basic", PRO),
    "a plan deleted": lambda it: it.delete("plan", "pro"),
    "a new customer": put("customer", "d", {"country": "NO"}),
    "a changed customer": put("customer", "c", {"country": "SE"}),
    "a new subscription": put("subscription", "t", OF_C),
    "a changed subscription": put("subscription", "s", OF_C | {"name": "x"}),
    "another external id": put("subscription", "s", OF_C | {"external_id": "e"}),
    "a subscription ended": lambda it: it.end("s", at(2)),
    "another plan": lambda it: it.change_plan("s", "pro", at(2)),
    "a successor": lambda it: it.succeed("s", {"id": "t", "plan": "pro", "currency": "EUR"}, at(2)),
    "a subscription deleted": lambda it: it.delete("subscription", "s"),
}
"""One of each kind of change, for a catalogue that has one subscription."""

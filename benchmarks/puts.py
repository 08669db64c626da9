"""What one change of the catalogue reads and writes, however many subscriptions there are; and a sign-up's CPU.

Changes are made by the code that the routes and commands call, on a table in memory. Units are DynamoDB's, from
the items that are really read and written. Whether the units stay the same is held by
`tests/unit/catalogue/test_put_costs.py`, too, for 10 and 1,000 subscriptions.
"""

import json
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from time import process_time
from typing import Any, Final
from unittest import mock

from benchmarks.figures import Figure, Part
from benchmarks.handlers import Nowhere
from benchmarks.sizes import get_units, query_units

from meterstone import clock
from meterstone.catalogue.management import Management
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item, Row, Table
from meterstone.usage.instant import format_instant
from support.functions import load
from support.managed import CALLS, NOW, OF_C, PRICE, PRO, Change, WeighedTable, at, managed, put
from support.scenario import ORGANIZATION

_SIZES, _QUICK = (10, 1_000, 100_000), (10, 1_000)
_UNITS, _CPU_MS = 12.0, 40.0
_ROUNDS = 200
_CREATED = frozenset({200, 201})
#: Where what is written for the others has the number of each; as long as every number is.
_MARK = "00000000"

#: A customer and a subscription as clients make them: UUIDs for ids, a name and a country.
_CUSTOMER: Final = "4f5f4f7c-6a3e-4c8d-9d0e-0a6f3b1c2d3e"
_SUBSCRIPTION: Final = "9b2f8d0a-1c4e-4a7b-8f6d-5e3c2b1a0f9e"
_WHO: Final = {"name": "Dora Nansen AS", "country": "NO", "timezone": "Europe/Oslo"}
_FOLLOWS: Final = {
    "customer": _CUSTOMER,
    "external_id": "1c9d3e5f-7a8b-4c2d-9e0f-6b5a4d3c2e1f",
    "plan": "basic",
    "currency": "EUR",
    "start": "2026-03-01T00:00:00Z",
    "billing_cycle": "anniversary",
    "name": "Dora's",
}
_LINES: Final = [
    {"price": "call", "id": f"item {n}", "start": format_instant(at(n)), "end": format_instant(at(n + 1))}
    for n in range(20)
]


class CountedTable(WeighedTable):
    """Adds up read units, too, and takes back what was written since `mark`."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0.0
        self._log: list[tuple[Key, Item | None]] = []

    def get(self, key: Key, *, consistent: bool = False) -> Row | None:
        """Read one item."""
        self.read += get_units(self._items.get(key.pk, {}).get(key.sk)) * (1 + consistent)
        return super().get(key, consistent=consistent)

    def count_in(self, pk: str, most_bytes: int) -> tuple[int, int]:
        """Count items: at half a unit for each 4 KB."""
        count, size = super().count_in(pk, most_bytes)
        self.read += 0.5 * max(-(-size // 4096), 1)
        self._read_items(count)
        return count, size

    def has_any(self, pk: str, prefix: str = "", *, consistent: bool = False) -> tuple[bool, float]:
        """Look for one item: at the smallest page's cost."""
        found, _ = super().has_any(pk, prefix, consistent=consistent)
        self.read += 0.5 * (1 + consistent)
        self._read_items(int(found))
        return found, 0.5

    def query_first(self, pk: str, low: str, high: str, most: int, *, consistent: bool = False) -> list[Row]:
        """Read the first items of a range, and no others."""
        before, self._page_items = self._page_items, most
        try:
            return super().query_first(pk, low, high, most, consistent=consistent)
        finally:
            self._page_items = before

    def mark(self) -> None:
        """Begin to count, from what is stored now."""
        self._log.clear()
        self.units, self.read = 0, 0.0
        self.cost.reset()
        self._unchanging.clear()

    def take_back(self) -> None:
        """Store again what was stored at the mark."""
        for key, before in reversed(self._log.copy()):
            super()._store(key, before)
        self._log.clear()

    def fill(self, items: Iterator[tuple[Key, Item]]) -> None:
        """Store items as they are."""
        for key, item in items:
            self._items.setdefault(key.pk, {})[key.sk] = item
        self._order.clear()

    def stored(self) -> dict[Key, Item]:
        """Give all items with their keys."""
        return {Key(pk, sk): item for pk, items in self._items.items() for sk, item in items.items()}

    def _pages(self, pk: str, low: str, high: str, *, consistent: bool) -> Iterator[list[Item]]:
        for page in super()._pages(pk, low, high, consistent=consistent):
            self.read += query_units(page) * (1 + consistent)
            yield page

    def _store(self, key: Key, item: Item | None) -> None:
        self._log.append((key, self._items.get(key.pk, {}).get(key.sk)))
        super()._store(key, item)


def _sign_up(management: Management) -> None:
    management.put("customer", _CUSTOMER, _WHO)
    management.put("subscription", _SUBSCRIPTION, _FOLLOWS)


CHANGES: Mapping[str, Change] = {
    "a meter": put("meter", "m", CALLS | {"code": "m"}),
    "a price": put("price", "p", PRICE),
    "a plan": put("plan", "p", PRO),
    "a plan's next version": put("plan", "basic", PRO),
    "a customer": put("customer", _CUSTOMER, _WHO),
    "a customer who moves": put("customer", "c", _WHO),
    "a subscription that follows its plan": put("subscription", "t", OF_C),
    "a subscription of 20 line items": put("subscription", "t", OF_C | {"line_items": _LINES}),
    "a sign-up": _sign_up,
    "the same subscription again": put("subscription", "s", OF_C),
    "an end": lambda it: it.end("s", at(2)),
    "another plan": lambda it: it.change_plan("s", "pro", at(2)),
    "a successor": lambda it: it.succeed("s", {"id": "t", "plan": "pro", "currency": "EUR"}, at(2)),
    "a subscription deleted": lambda it: it.delete("subscription", "s"),
    "a customer deleted": lambda it: it.delete("customer", "alone"),
    "a meter deleted": lambda it: it.delete("meter", "seats"),
}


def run(quick: bool) -> Part:  # noqa: FBT001 - every part is called alike
    """Make each change once for each size of the catalogue; then many sign-ups."""
    sizes = _QUICK if quick else _SIZES
    found = {size: _costs(size) for size in sizes}
    figures = []
    for name, first in found[sizes[0]].items():
        budget = _UNITS if name == "a sign-up" else None
        each = {f"{size:,} subscriptions": found[size][name] for size in sizes}
        figures += [
            Figure(f"{name}, {label}" if len(set(each.values())) > 1 else name, units, "write units", budget,
                   {"items": items, "read units": read})
            for label, (units, items, read) in (each.items() if len(set(each.values())) > 1 else [("", first)])
        ]  # fmt: skip
    own = sorted(_own_ms(20 if quick else _ROUNDS))
    figures.append(
        Figure("a sign-up: own CPU", statistics.median(own), "ms", _CPU_MS, {"p99 ms": own[int(len(own) * 0.99)]})
    )  # fmt: skip
    return Part(
        "puts",
        figures,
        notes=[
            f"one row where all of {', '.join(f'{n:,}' for n in sizes)} cost the same, else one each",
            "own CPU: two requests, customer and subscription, through the function; without table and botocore",
        ],
        limits=[
            "a subscription: its record and its two subjects, twice in a transaction, and four mentions of it",
            "own CPU: checking and writing both records",
        ],
    )


def _costs(size: int) -> dict[str, tuple[float, float, float]]:
    """Give write units, items and read units of each change, by its name."""
    table = _table(size)
    costs: dict[str, tuple[float, float, float]] = {}
    for name, change in CHANGES.items():
        table.mark()
        change(Management(table, ORGANIZATION.id, lambda: at(0)))
        costs[name] = table.units, table.cost.items, table.read
        table.take_back()
    return costs


def _table(size: int) -> CountedTable:
    """Make a catalogue of so many subscriptions of the plan basic, each of a customer of its own."""
    table = CountedTable()
    management = managed(table)
    management.put("customer", "alone", {})
    management.put("subscription", "s", OF_C)
    before = table.stored()
    management.put("customer", f"customer {_MARK}", {})
    management.put("subscription", f"sub {_MARK}", OF_C | {"customer": f"customer {_MARK}"})
    new = {key: item for key, item in table.stored().items() if item != before.get(key)}
    if not all(_MARK in key.pk + key.sk for key in new):
        raise RuntimeError("a sign-up writes what is not its own")
    # The others are stored as this one is: the same items, with another number in each.
    for number in range(1, size):
        table.fill((_numbered(key, number), _changed(item, number)) for key, item in new.items())
    return table


def _numbered(key: Key, number: int) -> Key:
    return Key(*(part.replace(_MARK, f"{number:08}") for part in key))


def _changed(item: Item, number: int) -> Item:
    # Values that are the same in all are kept once.
    return {
        name: {kind: text.replace(_MARK, f"{number:08}") for kind, text in value.items()}
        if any(_MARK in text for text in value.values())
        else value
        for name, value in item.items()
    }


class TimedTable(CountedTable):
    """Adds up the CPU seconds of its own calls."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self._within = False
        for name in (
            "get",
            "batch_get",
            "query_first",
            "has_any",
            "count_in",
            "transact",
            "update",
            "put",
            "put_new",
            "put_all",
        ):
            setattr(self, name, self._timed(getattr(self, name)))

    def query(self, pk: str, low: str, high: str, *, consistent: bool = False) -> Iterator[Row]:
        """Read a range."""
        inner = super().query(pk, low, high, consistent=consistent)
        return iter(self._timed(lambda: list(inner))())

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def timed(*arguments: Any, **more: Any) -> Any:
            if self._within:
                return call(*arguments, **more)
            self._within, began = True, process_time()
            try:
                return call(*arguments, **more)
            finally:
                self.seconds += process_time() - began
                self._within = False

        return timed


def _own_ms(rounds: int) -> Iterator[float]:
    """Give the CPU of each of many sign-ups through the function, the table's own left out."""
    table = TimedTable()
    managed(table)
    key, _ = create_key(table, ORGANIZATION.id, "benchmark", NOW)
    with (
        mock.patch.object(sys, "stdout", Nowhere()),
        mock.patch.object(clock, "now", return_value=NOW),
        mock.patch.object(Table, "from_environment", return_value=table),
    ):
        handler = load("manage_catalogue").handler
        for number in range(rounds + 10):
            customer, name = f"{_CUSTOMER}-{number}", f"{_SUBSCRIPTION}-{number}"
            record = _FOLLOWS | {"customer": customer, "external_id": name}
            table.seconds, began = 0.0, process_time()
            for kind, each, body in (("customers", customer, _WHO), ("subscriptions", name, record)):
                event = {
                    "httpMethod": "PUT",
                    "resource": f"/catalogue/v1/{kind}/{{id}}",
                    "path": f"/catalogue/v1/{kind}/{each}",
                    "headers": {"Authorization": f"Bearer {key}"},
                    "pathParameters": {"id": each},
                    "multiValueQueryStringParameters": None,
                    "body": json.dumps(body),
                }
                reply = handler(event, None)
                if reply["statusCode"] not in _CREATED:
                    raise RuntimeError(reply["body"])
            # The first ones meet caches that are empty.
            if number >= 10:  # noqa: PLR2004
                yield (process_time() - began - table.seconds) * 1000

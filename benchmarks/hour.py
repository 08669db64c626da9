"""What the hourly publication costs: calls of the table, counted, where nothing is due and where much is.

The function goes through a message of 25 organizations, over a table in memory that counts calls. Times are made
of them: 5 ms a read, 15 ms a transaction or another write; and the CPU that was taken, which is measured.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from copy import replace
from math import ceil
from time import process_time
from typing import Any
from unittest import mock

from benchmarks import world
from benchmarks.figures import Figure, Part

from meterstone import clock
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.catalogue.subjects import Subjects
from meterstone.store.counting.fold import EventToCount, Fold
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item, Row, Table
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, HOUR
from meterstone.usage.meter import Aggregation, Event, Meter
from meterstone.usage.subscription import Organization, Subscription
from meterstone.usage.tally import Position
from support.functions import load
from support.memory_table import MemoryTable
from support.written import write_catalogue

ORGANIZATIONS, DUE, TOGETHER, WORKERS = 10_000, 100, 25, 5
READ_SECONDS, WRITE_SECONDS = 0.005, 0.015
_LEVEL = Meter("level", "level", "Level", Aggregation.WEIGHTED_SUM, "level", "value")
_START = world.NOW - 2 * DAY


class AskedTable(MemoryTable):
    """Counts calls as the service would get them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def get(self, key: Key, *, consistent: bool = False) -> Row | None:
        """Read one item."""
        self.calls["reads"] += 1
        return super().get(key, consistent=consistent)

    def batch_get(self, keys: Iterable[Key], *, consistent: bool = False) -> dict[Key, Row]:
        """Read many items, 100 a call."""
        wanted = list(dict.fromkeys(keys))
        self.calls["reads"] += ceil(len(wanted) / 100)
        # Not the outer `get`, which counts.
        found = ((key, MemoryTable.get(self, key, consistent=consistent)) for key in wanted)
        return {key: row for key, row in found if row is not None}

    def query(self, pk: str, low: str, high: str, *, consistent: bool = False) -> Iterator[Row]:
        """Read a range: of what is read here, a page."""
        self.calls["reads"] += 1
        return super().query(pk, low, high, consistent=consistent)

    def query_first(self, pk: str, low: str, high: str, most: int, *, consistent: bool = False) -> list[Row]:
        """Read the first items of a range."""
        self.calls["reads"] += 1
        return super().query_first(pk, low, high, most, consistent=consistent)

    def has_any(self, pk: str, prefix: str = "", *, consistent: bool = False) -> tuple[bool, float]:
        """Ask whether a partition has any item."""
        self.calls["reads"] += 1
        return super().has_any(pk, prefix, consistent=consistent)

    def due(self, partition: str, until: str) -> list[Key]:
        """Read the index."""
        self.calls["reads"] += 1
        return super().due(partition, until)

    def transact(self, actions: Sequence[Any]) -> None:
        """Write all or nothing."""
        self.calls["writes"] += 1
        super().transact(actions)

    def update(self, key: Key, expression: str, values: Item, *, condition: str | None = None) -> bool:
        """Change one item."""
        self.calls["writes"] += 1
        return super().update(key, expression, values, condition=condition)


def run(quick: bool) -> Part:  # noqa: FBT001 - every part is called alike
    """Count an hour of messages, and of the call that sends them."""
    due = DUE // 5 if quick else DUE
    figures = []
    spent: dict[str, float] = {}
    for name, tallies in (("nothing due", 0), (f"{due} tallies due", due)):
        calls, cpu = _message(tallies)
        seconds = calls["reads"] * READ_SECONDS + calls["writes"] * WRITE_SECONDS + cpu
        spent[name] = seconds * ORGANIZATIONS / TOGETHER
        beside = {f"{kind} of an organization": calls[kind] / TOGETHER for kind in ("reads", "writes")}
        beside |= {"CPU seconds of a message": cpu, "seconds of all in one call": spent[name]}
        beside["minutes of all with 5 at once"] = spent[name] / WORKERS / 60
        figures.append(Figure(f"a message of 25 organizations, {name}: seconds", seconds, "s", None, beside))
    calls, cpu = _sending()
    seconds = calls["reads"] * READ_SECONDS + ORGANIZATIONS / TOGETHER / 10 * WRITE_SECONDS + cpu
    figures.append(
        Figure(
            "the call that sends 10,000: seconds", seconds, "s", None, {"reads": calls["reads"], "CPU": cpu}
        )
    )
    return Part(
        "hour",
        figures,
        notes=[
            f"{each.name}: " + ", ".join(f"{name} {value:.4g}" for name, value in each.beside.items())
            for each in figures
        ],
        limits=["transactions of one organization, of up to 48 tallies each, one after the other"],
    )


def _message(due: int) -> tuple[Counter[str], float]:
    table = AskedTable()
    names = [_add(table, number, due) for number in range(TOGETHER)]
    function = _function(table)
    # The first hour tries what waits for a catalogue that has changed, and the others do not.
    _within(world.NOW - HOUR, lambda: [function.try_again(name, world.NOW) for name in names])
    table.calls.clear()
    started = process_time()
    turns = _within(world.NOW, lambda: function.take_turns(names, world.NOW + HOUR))
    cpu = process_time() - started
    if turns:
        raise RuntimeError(f"{len(turns)} turns failed")
    return table.calls, cpu


def _sending() -> tuple[Counter[str], float]:
    table = AskedTable()
    for number in range(ORGANIZATIONS):
        write_catalogue(table, Organization(_name(number), "Hour"), (), (), ())
    function = _function(table)
    table.calls.clear()
    started = process_time()
    with (
        mock.patch.object(function, "queue_url", return_value="queue"),
        mock.patch.object(function, "boto3") as boto3,
    ):
        boto3.client.return_value.send_message_batch.return_value = {}
        _within(world.NOW, lambda: function.handler({}, None))
    # The list has 10,000 entries of 100 bytes, and profiles and numbers are read 100 at once.
    return table.calls, process_time() - started


def _within[T](now: int, call: Callable[[], T]) -> T:
    with mock.patch.object(clock, "now", return_value=now):
        return call()


def _function(table: Table) -> Any:
    with ExitStack() as patched:
        patched.enter_context(mock.patch.object(Table, "from_environment", return_value=table))
        patched.enter_context(mock.patch.dict("os.environ", {"POWERTOOLS_LOG_LEVEL": "ERROR"}))
        return load("roll_usage")


def _name(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def _add(table: MemoryTable, number: int, due: int) -> str:
    name = _name(number)
    subscriptions = [_subscription(each) for each in range(due)]
    write_catalogue(table, Organization(name, "Hour"), (_LEVEL,), subscriptions, ())
    events = [
        EventToCount(
            Position("shard", place),
            Subject.subscription(each.external_id),
            Event(f"e{place}", "level", _START, {"value": 5}),
            (each,),
        )
        for place, each in enumerate(subscriptions, start=1)
    ]
    account = read_account(table, name)
    if account is None:
        raise RuntimeError("there is no catalogue")
    standing = Subjects(table).standing(account, (each.subject for each in events), _START + HOUR)
    Fold(table, name, "1").fold(events, _START + HOUR, standing)
    return name


def _subscription(number: int) -> Subscription:
    plain = world.subscription(number, (_LEVEL,))
    model = world.subscription(0, (_LEVEL,))
    return replace(plain, plan=model.plan, country=model.country, customer_type=model.customer_type)

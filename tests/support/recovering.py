"""Worlds whose events come over HTTP: logged, delivered by a stream in any way that streams do, and recovered."""

from collections.abc import Callable, Iterable
from copy import replace
from dataclasses import dataclass, field
from typing import Any

from meterstone.store.catalogue.accounts import read_account
from meterstone.store.counting.stream import StreamFold
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import Table, item_of, key_item
from meterstone.store.events.log import EventLog, Outcome
from meterstone.store.operations.rebuild import Surroundings
from meterstone.store.operations.withdraw import WithdrawReport, withdraw
from meterstone.usage.arrival import Arrival, Subject
from meterstone.usage.instant import DAY, MINUTE
from support.counting import check_analytics
from support.memory_table import Faults, Killed, MemoryTable
from support.scenario import ORGANIZATION, Batch, Scenario, Usage, World
from support.stale_table import StaleTable
from support.stored import memory, rich
from support.written import write_catalogue

SECOND = 1_000_000
#: What outlasts a lease.
WAIT = 3 * MINUTE


@dataclass(slots=True)
class Clock:
    """A clock that moves when somebody sleeps."""

    now: int

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)

    @property
    def around(self) -> Surroundings:
        return Surroundings(self, self.sleep)


@dataclass(slots=True)
class Stream:
    """A table's stream of two shards, whose records are delivered when the test says so."""

    table: Table
    clock: Clock
    records: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    delivered: int = 0
    usage: list[Usage] = field(default_factory=list)
    marks: list[tuple[Subject, str]] = field(default_factory=list)

    def post(self, several: Iterable[Usage]) -> None:
        """Log events as accepted now."""
        log = EventLog(self.table, ORGANIZATION.id)
        for usage in several:
            arrival = Arrival.of(usage.subject, usage.event, self.clock.now, {}, dated=True)
            assert log.append_each({0: arrival}) == {0: Outcome.NEW}
            key = keys.event(ORGANIZATION.id, *usage.subject, usage.event.id)
            item = log._arrival_item(arrival, "mark") | key_item(key)
            shard = f"shard {len(self.usage) % 2}"
            change = {"SequenceNumber": str(100 + len(self.records)), "NewImage": item}
            self.records.append((shard, {"eventName": "INSERT", "dynamodb": change}))
            self.usage.append(usage)

    def withdraw(self, subject: Subject, ids: Iterable[str]) -> WithdrawReport:
        """Withdraw events. The stream has each mark, in the shard of the event itself."""
        several = list(ids)
        try:
            return withdraw(self.table, ORGANIZATION.id, subject, several, self.clock.around)
        finally:
            for each in several:
                self._take_mark(subject, each)

    def _take_mark(self, subject: Subject, name: str) -> None:
        row = self.table.get(keys.event(ORGANIZATION.id, *subject, name), consistent=True)
        if row is None or "wg" not in row or (subject, name) in self.marks:
            return
        self.marks.append((subject, name))
        places = [n for n, each in enumerate(self.usage) if (each.subject, each.event.id) == (subject, name)]
        change = {"SequenceNumber": str(100 + len(self.records)), "NewImage": item_of(row)}
        shard = f"shard {places[0] % 2 if places else 0}"
        self.records.append((shard, {"eventName": "MODIFY", "dynamodb": change}))

    def deliver(self, until: int | None = None, *, again: int = 0) -> None:
        """Deliver what was not yet, or its beginning; before it, as many records again as are said."""
        until = len(self.records) if until is None else until
        some = self.records[max(self.delivered - again, 0) : until]
        for shard in ("shard 0", "shard 1"):
            if records := [record for of, record in some if of == shard]:
                StreamFold(self.table).fold(records, shard, self.clock.now)
        self.delivered = max(self.delivered, until)


def streaming(scenario: Scenario, table: Table | None = None) -> tuple[World, Stream]:
    """Give a world in which nothing happened yet, its clock at the end of the scenario."""
    world = World(scenario, StaleTable(page_items=7) if table is None else table)
    now = max(scenario.end, *(usage.event.at for usage in scenario.usage))
    return world, Stream(world.table, Clock(now))


def refresh(world: World) -> World:
    """Read the account again."""
    account = read_account(world.table, ORGANIZATION.id, consistent=True)
    assert account is not None
    world.account = account
    return world


def write(world: World, scenario: Scenario) -> None:
    """Store another catalogue."""
    write_catalogue(world.table, ORGANIZATION, scenario.meters, scenario.subscriptions, ())


def generations(table: MemoryTable) -> set[str]:
    """Name the generations that have any item."""
    parts = [key.pk.split("#") for key in table.items() if key.pk.startswith(ORGANIZATION.id)]
    return {each[1] for each in parts if len(each) > 2 and each[1].isdigit()}


def copy_of(world: World) -> World:
    """Give a world with a copy of the table."""
    other = World.__new__(World)
    other.scenario, other.table, other.account = world.scenario, memory(world).copy(), world.account
    return other


def half_imported(scenario: Scenario) -> tuple[World, Stream]:
    """Count the first half of a scenario by an import, the second by the stream."""
    world, stream = streaming(scenario)
    half = len(scenario.usage) // 2
    world.load("file", scenario.usage[:half], scenario.end)
    stream.post(scenario.usage[half:])
    stream.deliver()
    return world, stream


def check(world: World, stream: Stream, scenario: Scenario) -> None:
    """Check that everything is counted once in the live generation, and that there is no other."""
    refresh(world)
    world.roll(stream.clock.now)
    check_analytics(world, scenario.usage, stream.clock.now)
    assert generations(memory(world)) <= {world.account.generation}
    assert (world.account.next, world.account.previous) == (None, None)


def small() -> Scenario:
    """Give a scenario with a chain, distinct values and buckets, one line item on each."""
    scenario = rich()
    (subscription,) = scenario.subscriptions
    kept = ("meter 1 a", "meter 3 a", "meter 5 a")
    items = tuple(each for each in subscription.line_items if each.id in kept)
    end = scenario.usage[0].event.at + 9 * DAY
    batches = (Batch(end, scenario.usage[:3]), Batch(end, scenario.usage[4:6]))
    return replace(
        scenario, subscriptions=(replace(subscription, line_items=items),), batches=batches, end=end
    )


def without(scenario: Scenario, name: str) -> Scenario:
    """Leave out all line items for events of a name."""
    return replace(
        scenario,
        subscriptions=tuple(
            replace(
                each,
                line_items=tuple(
                    item for item in each.line_items if item.meter and item.meter.event_name != name
                ),
            )
            for each in scenario.subscriptions
        ),
    )


def before_write(world: World, number: int, do: Callable[[], object]) -> None:
    """Do something once, just before the table's write of this number from now."""
    table = memory(world)
    when = table.writes + number

    def interrupt(write: int) -> bool:
        if write == when:
            table.faults = Faults()
            do()
        return False

    table.faults = Faults(unavailable=interrupt)


def kill_at(world: World, number: int, do: Callable[[], object]) -> bool:
    """Do something that is killed before its write of this number; tell whether it had so many."""
    table = memory(world)
    table.faults = Faults(before=table.writes + number)
    try:
        do()
    except Killed:
        return True
    finally:
        table.faults = Faults()
    return False

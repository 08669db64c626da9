"""How the figures grow: one hot subscription, very many of one event each, one organization under many folds."""

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from time import process_time
from typing import Any

from benchmarks import world
from benchmarks.figures import Figure, Part
from benchmarks.filling import catalogue
from benchmarks.fold import batch_of
from benchmarks.write_units import WeighedTable

from meterstone.store.counting.stream import StreamFold
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import ConflictError, Row
from support.memory_table import MemoryTable

_BATCH = 1000
_FOLDS = 16
_WIDE, _WIDE_QUICK = 100_000, 2000


class SharedTable(WeighedTable):
    """A table for several folds at once, in threads: transactions on one item at one time conflict.

    DynamoDB cancels a transaction that meets another one on an item, and the client repeats it. Here a transaction
    holds its items for a moment; one that finds an item held is counted, and waits.
    """

    def __init__(self) -> None:
        super().__init__()
        #: Transactions cancelled because of another one on the same item, by the kind of item; and versions that
        #: had moved since they were read.
        self.conflicts: Counter[str] = Counter()
        self._guard = threading.Lock()
        self._turn = threading.Condition(self._guard)
        self._held: set[Key] = set()

    def batch_get(self, keys: Any, *, consistent: bool = False) -> dict[Key, Row]:
        """Read many items."""
        with self._guard:
            return super().batch_get(keys, consistent=consistent)

    def query(self, *arguments: Any, **options: Any) -> Iterator[Row]:
        """Read a range."""
        with self._guard:
            return iter(list(super().query(*arguments, **options)))

    def transact(self, actions: Sequence[Any]) -> None:
        """Write all or nothing, when no other transaction holds an item of it."""
        wanted = {_key(action) for action in actions}
        with self._turn:
            kinds = set[str]()
            while met := self._held & wanted:
                kinds.add(_kind(met))
                self._turn.wait()
            self.conflicts.update(kinds)
            self._held |= wanted
        # The time that a transaction takes, for the others to meet it.
        threading.Event().wait(0.002)
        with self._turn:
            try:
                super().transact(actions)
            except ConflictError:
                self.conflicts["a tally that had changed since it was read"] += 1
                raise
            finally:
                self._held -= wanted
                self._turn.notify_all()


def run(quick: bool) -> Part:  # noqa: FBT001 - every part is called alike
    """Fold the three shapes of load."""
    wide = _WIDE_QUICK if quick else _WIDE
    figures = [*_hot_subscription(10 if quick else 30), *_wide(wide), *_hot_organization(4 if quick else 20)]
    return Part(
        "growth",
        figures,
        notes=[
            f"hot subscription: all events on one tally, batches of {_BATCH:,}, the last batch beside the second",
            f"wide: one event each on {wide:,} subscriptions, in batches of {_BATCH:,}, from one organization",
            f"hot organization: {_FOLDS} shards at once, in threads on one table in memory, 50 subscriptions",
            "write units are of the fold alone: the event's own is one more",
        ],
        limits=[
            "hot subscription: one tally, one transaction at a time; one detail for each batch and hour",
            "wide: two items for each event, and a share of the rollups of a transaction of at most 100 actions",
            "hot organization: the rollups of one writer: shards that share it wait for each other's transactions",
        ],
    )


def _hot_subscription(batches: int) -> list[Figure]:
    table = WeighedTable()
    catalogue(table, [world.subscription(0)], world.METERS)
    folding = StreamFold(table)
    first, last = (
        _cost(table, folding, numbers, 1) for numbers in (range(1, 4), range(batches - 3, batches))
    )
    _check(table, 6, _BATCH)
    label = "hot subscription"
    return [
        Figure(f"{label}, first batches", first[0], "/s", beside={"write units": first[1]}),
        Figure(f"{label}, after {batches * _BATCH:,} events", last[0], "/s", beside={"write units": last[1]}),
    ]


def _cost(table: WeighedTable, folding: StreamFold, numbers: range, many: int) -> tuple[float, float]:
    table.units.clear()
    started = process_time()
    for number in numbers:
        folding.fold(batch_of(_BATCH, many, number, same=True), "shard", world.NOW)
    events = len(numbers) * _BATCH
    return events / (process_time() - started), sum(table.units.values()) / events


def _wide(many: int) -> list[Figure]:
    table = WeighedTable()
    catalogue(table, [world.subscription(number) for number in range(many)], world.METERS)
    folding = StreamFold(table)
    rates, units = [], []
    for number in range(many // _BATCH):
        table.units.clear()
        some = batch_of(_BATCH, _BATCH, number, same=True, first=number * _BATCH)
        started = process_time()
        folding.fold(some, "shard", world.NOW)
        rates.append(_BATCH / (process_time() - started))
        units.append(sum(table.units.values()) / _BATCH)
    _check(table, many // _BATCH, _BATCH)
    return [
        Figure("wide, first batch", rates[0], "/s", beside={"write units": units[0]}),
        Figure(f"wide, at {many:,} subscriptions", rates[-1], "/s", beside={"write units": units[-1]}),
    ]


def _check(table: MemoryTable, batches: int, events: int) -> None:
    """Compare what all batches brought, 1 and 2 and 3 and so on each, with the rollups and with the counters."""
    wanted = Decimal(batches * events * (events + 1) // 2)
    rollups = counters = Decimal(0)
    for key, item in table.items().items():
        if key.pk.endswith("#rollup#T"):
            rollups += sum(Decimal(value["N"]) for name, value in item.items() if name[0] == "u")
        elif "#usage#" in key.pk and key.sk.startswith("C#"):
            counters += sum(map(Decimal, json.loads(item["d"]["S"]).values()))
    if not rollups == counters == wanted:
        raise RuntimeError(f"{wanted} came in, the counters have {counters} and the rollups {rollups}")


def _hot_organization(batches: int) -> list[Figure]:
    table = SharedTable()
    catalogue(table, [world.subscription(number) for number in range(50)], world.METERS)
    table.units.clear()
    failures: list[BaseException] = []

    def follow(shard: int) -> None:
        folding = StreamFold(table)
        try:
            for number in range(batches):
                some = batch_of(100, 50, shard * batches + number, same=True)
                # What was delivered is delivered once more, as after a function that was killed.
                for _ in range(2):
                    folding.fold(some, f"shardId-{shard:020}", world.NOW)
        except BaseException as error:  # noqa: BLE001 - told to the caller
            failures.append(error)

    threads = [threading.Thread(target=follow, args=(shard,)) for shard in range(_FOLDS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if failures:
        raise RuntimeError(f"{len(failures)} folds failed") from failures[0]
    events = _FOLDS * batches * 100
    _check(table, _FOLDS * batches, 100)
    units = sum(table.units.values()) / events
    lost = Figure(
        "hot organization, 16 folds: events lost or counted twice", 0, "", 0.0, {"write units": units}
    )
    return [
        lost,
        *(
            Figure(
                f"hot organization, 16 folds, transactions that met {what}",
                table.conflicts[what] / (events / 1000),
                "of 1,000",
            )
            for what in sorted(table.conflicts)
        ),
    ]


def _key(action: Any) -> Key:
    (body,) = action.values()
    item = body.get("Item") or body["Key"]
    return Key(item["pk"]["S"], item["sk"]["S"])


def _kind(met: set[Key]) -> str:
    rollup = any("#rollup#" in key.pk for key in met)
    return "another transaction on a rollup" if rollup else "another transaction on a tally"

"""The fold of the stream on one core: events a second beside the store's own time, and the peak of memory."""

import gc
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import process_time
from typing import Any

from benchmarks import world
from benchmarks.figures import Figure, Part
from benchmarks.filling import catalogue
from benchmarks.loader import peak_mib
from benchmarks.posting import SHARD, records

from meterstone.store.counting.stream import StreamFold
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item, Row, key_item
from meterstone.usage.arrival import content
from meterstone.usage.instant import HOUR
from meterstone.usage.meter import Event, Property
from support.memory_table import MemoryTable

_BUDGET, _BUDGET_MIB = 30_000.0, 256.0
_BATCH, _LARGEST, _LARGEST_BYTES = 1000, 10_000, 6 * 1024 * 1024
_START = world.NOW - 10 * HOUR
_MEMORY = "memory"


class TimedTable(MemoryTable):
    """Counts the CPU seconds that it takes itself."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def get(self, key: Key, *, consistent: bool = False) -> Row | None:
        """Read one item."""
        return self._timed(lambda: super(TimedTable, self).get(key, consistent=consistent))

    def batch_get(self, keys: Iterable[Key], *, consistent: bool = False) -> dict[Key, Row]:
        """Read many items."""
        wanted = list(keys)
        return self._timed(lambda: self._read_each(wanted, consistent=consistent))

    def query(self, pk: str, low: str, high: str, *, consistent: bool = False) -> Iterator[Row]:
        """Read a range."""
        inner = super().query(pk, low, high, consistent=consistent)
        return iter(self._timed(lambda: list(inner)))

    def transact(self, actions: Sequence[Any]) -> None:
        """Write all or nothing."""
        self._timed(lambda: super(TimedTable, self).transact(actions))

    def put_all(self, items: Iterable[Item]) -> None:
        """Write many items."""
        found = list(items)
        self._timed(lambda: super(TimedTable, self).put_all(found))

    def _read_each(self, wanted: Iterable[Key], *, consistent: bool) -> dict[Key, Row]:
        # Not the outer `get`, whose time would be counted twice.
        found = ((key, MemoryTable.get(self, key, consistent=consistent)) for key in dict.fromkeys(wanted))
        return {key: row for key, row in found if row is not None}

    def _timed[T](self, call: Callable[[], T]) -> T:
        started = process_time()
        try:
            return call()
        finally:
            self.seconds += process_time() - started


def run(quick: bool) -> Part:  # noqa: FBT001 - every part is called alike
    """Fold batches of several shapes, again and again, each into its own table."""
    rounds = 5 if quick else 15
    shapes = [
        (_BATCH, 1, True, None),
        (_BATCH, 50, True, None),
        (_BATCH, 50, False, None),
        (_BATCH, 1000, True, None),
        (_LARGEST, 50, True, _BUDGET),
    ]
    figures = []
    for batch, many, same, budget in shapes:
        label = f"batches of {batch:,}, {many:,} subscriptions, {'one meter' if same else 'four meters'}"
        figures.append(Figure(label, _per_second(batch, many, rounds, same=same), "/s", budget))
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-m", "benchmarks.fold", _MEMORY], capture_output=True, text=True, check=True
    )
    peak: dict[str, float] = json.loads(done.stdout)
    figures.append(
        Figure(
            f"largest batch, {_LARGEST:,} records of {peak['bytes'] / 2**20:.1f} MB: peak memory",
            peak["peak"],
            "MiB",
            _BUDGET_MIB,
            {"MiB before the batch": peak["before"]},
        )
    )
    return Part(
        "fold",
        figures,
        notes=[
            "CPU of the fold alone: what the table in memory takes is measured inside it and left out",
            "so are collections of garbage that look through its items, which in a function are in DynamoDB",
            "the peak is that of a process with the SDK loaded, and has the table in memory too",
        ],
        limits=[
            "each event: reading its record, finding its line item, merging the states of its hour and day",
            "few events for each tally: reading, pricing, packing and publishing it, once for all its events",
        ],
    )


def _per_second(batch: int, many: int, rounds: int, *, same: bool) -> float:
    table = _table(many)
    folding = StreamFold(table)
    rates = []
    for number in range(rounds + 2):
        some = batch_of(batch, many, number, same=same)
        # What the table holds is in another place than the fold: Python need not look through it for garbage.
        gc.collect()
        gc.freeze()
        table.seconds, started = 0.0, process_time()
        report = folding.fold(some, SHARD, world.NOW)
        own = process_time() - started - table.seconds
        if report.counted != batch:
            raise RuntimeError(f"{report.counted} events were counted")
        rates.append(batch / own)
    gc.unfreeze()
    # The first two meet new tallies, and caches that are empty.
    return statistics.median(rates[2:])


def _table(many: int) -> TimedTable:
    table = TimedTable()
    catalogue(table, [world.subscription(number) for number in range(many)], world.METERS)
    return table


def batch_of(
    batch: int, many: int, number: int, *, same: bool, padding: str = "", first: int = 0
) -> list[dict[str, Any]]:
    """Give a batch as the stream delivers it, of ``many`` subscriptions from the ``first`` on.

    Its events lie within a minute, as they do when they are folded; they bring 1, 2, 3 … to what is counted.
    """
    images = []
    for place in range(batch):
        meter = world.METERS[1 if same else place // many % len(world.METERS)]
        at = _START + (number * 60 + place * 60 // batch) * 1_000_000
        properties: dict[str, Property] = {
            "region": "eu-central-1" + padding,
            "model": "large",
            meter.field or "unused": 1 + place,
        }
        event = Event(f"event-{number:05}-{place:05}", meter.event_name, at, properties)
        external_id = f"external_{first + place % many:05}"
        images.append(
            key_item(keys.event(world.ORGANIZATION.id, "s", external_id, event.id))
            | {
                "id": {"S": event.id},
                "e": {"S": content(event)},
                "acc": {"N": str(at)},
                "at": {"N": str(at)},
                "org": {"S": world.ORGANIZATION.id},
                "k": {"S": "s"},
                "x": {"S": external_id},
                "by": {"S": "0a1b2c3d"},
            }
        )
    return records(images, 7_000_000_000_000_000_000_000 + number * batch)


def main() -> None:
    """Fold the largest batch that Lambda delivers, from its JSON as Lambda hands it over; print the peak."""
    import boto3  # noqa: PLC0415, F401 - the function has it in memory too

    table = _table(50)
    body = json.dumps(batch_of(_LARGEST, 50, 0, same=True))
    short = _LARGEST_BYTES - len(body)
    if short > 0:
        body = json.dumps(batch_of(_LARGEST, 50, 0, same=True, padding="x" * (short // _LARGEST)))
    before = peak_mib()
    some = json.loads(body)
    report = StreamFold(table).fold(some, SHARD, world.NOW)
    if report.counted != _LARGEST:
        raise RuntimeError(f"{report.counted} events were counted")
    print(json.dumps({"peak": peak_mib(), "before": before, "bytes": len(body)}))


if __name__ == "__main__":
    main()

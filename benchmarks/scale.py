"""Which limit a large installation meets first: what each partition key and each item is written, counted.

One organization gets 5,000 events a second, and 999 others share the 380 a second that a billion a month are. Real
events, in the items of the log, go through the fold of the stream, a second's worth of each shard at a time. Two
things are simulated. An event's shard is a hash of its partition key, and of its id where DynamoDB has split a
partition key by the sort key. And a transaction takes 15 ms: the table in memory takes no time.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any
from unittest import mock
from zlib import crc32

from benchmarks import world
from benchmarks.figures import Figure, Part
from benchmarks.posting import records
from benchmarks.sizes import index_units, put_units
from benchmarks.write_units import kind_of

from meterstone.store.counting import stream
from meterstone.store.counting.stream import StreamFold
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import WRITERS, Key
from meterstone.store.dynamodb.table import Item, key_item
from meterstone.usage.arrival import content
from meterstone.usage.instant import HOUR, SECOND
from meterstone.usage.meter import Event
from meterstone.usage.subscription import Organization
from support.memory_table import MemoryTable
from support.written import write_catalogue

RATE, OTHERS, OTHERS_RATE = 5000, 999, 380
PARTITION_UNITS, TRANSACTION_SECONDS = 1000, 0.015
#: Of the other organizations and their events one in ten is simulated.
_SCALE = 10
_NAMES = {"event": "log", "counter": "counter", "rollup": "rollup", "catalogue": "catalogue"}
_METER = world.METERS[1]
_START = world.NOW - HOUR


class CountingTable(MemoryTable):
    """Adds up write units by partition key and by item, and transactions by who makes them and by rollup."""

    def __init__(self) -> None:
        super().__init__()
        self.partitions: Counter[str] = Counter()
        self.by_item: Counter[Key] = Counter()
        self.transactions: Counter[str] = Counter()
        #: Transactions by the subscription whose counters they write.
        self.by_tally: Counter[str] = Counter()
        self.shard = ""
        self._times = 1

    def forget(self) -> None:
        """Begin to count anew."""
        for each in (self.partitions, self.by_item, self.transactions, self.by_tally):
            each.clear()

    def transact(self, actions: Sequence[Any]) -> None:
        """Write, at twice the cost."""
        self._times = 2
        self.transactions[self.shard] += 1
        self.by_tally.update({key.pk for key in map(_key, actions) if kind_of(key) == "counter"})
        try:
            super().transact(actions)
        finally:
            self._times = 1

    def _store(self, key: Key, item: Item | None) -> None:
        before = self._items.get(key.pk, {}).get(key.sk)
        units = put_units(before, item) * self._times
        self.partitions[key.pk] += units
        self.by_item[key] += units
        for part in filter(None, {side.get("due_pk", {}).get("S") for side in (before or {}, item or {})}):
            self.partitions[f"index {part}"] += index_units(before, item)
        super()._store(key, item)


@dataclass(frozen=True, slots=True)
class Load:
    """What comes in: events a second, over how many subscriptions and shards, for how many rollup writers."""

    name: str
    subscriptions: int
    shards: int
    writers: int = WRITERS
    rate: int = RATE
    #: How many seconds of events the trigger hands over at once.
    window: int = 1
    #: Whether DynamoDB has split the log's partition keys by the events' ids.
    split: bool = False


LOADS = (
    Load("1 subscription", 1, 16, split=True),
    Load("50 subscriptions", 50, 16),
    Load("1,000 subscriptions", 1000, 16),
    Load("1,000 subscriptions, 64 shards", 1000, 64),
    Load("5,000 subscriptions", 5000, 16),
    Load("5,000 subscriptions, 16 writers", 5000, 16, 16),
    Load("5,000 subscriptions, batches of 5 seconds", 5000, 16, window=5),
)


def run(quick: bool) -> Part:  # noqa: FBT001 - every part is called alike
    """Fold two seconds of each load, the first of which makes the tallies and is not counted."""
    figures = []
    for load in LOADS[:3] if quick else LOADS:
        found = simulate(load)
        figures.append(
            Figure(f"{load.name}: write units a second", found.pop("all"), "", None, found),
        )
    units, largest = others()
    figures.append(
        Figure("999 other organizations, 380 events a second: write units a second", units, "", None, largest)
    )
    return Part(
        "scale",
        figures,
        notes=[
            f"{figure.name}: " + ", ".join(f"{name} {value:.4g}" for name, value in figure.beside.items())
            for figure in figures
        ],
        limits=[
            f"a partition takes {PARTITION_UNITS} write units a second, and so does one item",
            "a shard, a tally, a rollup of one writer: one transaction at a time, of 15 ms",
        ],
    )


def simulate(load: Load) -> dict[str, float]:
    """Return the units a second of the busiest partition keys, and how busy shards and writers are."""
    table = CountingTable()
    subscriptions = [world.subscription(number, (_METER,)) for number in range(load.subscriptions)]
    write_catalogue(table, world.ORGANIZATION, world.METERS, subscriptions, ())
    with mock.patch.object(stream, "WRITERS", load.writers):
        folds = {f"shardId-{number:020}-{load.shards}": StreamFold(table) for number in range(load.shards)}
        for number in range(2):
            table.forget()
            first = number * load.rate * load.window
            images = [
                image(world.ORGANIZATION, f"external_{each % load.subscriptions:05}", each)
                for each in range(first, first + load.rate * load.window)
            ]
            for name, some in by_shard(images, list(folds), split=load.split).items():
                table.shard = name
                for delivered in batched(some, 1000 * load.window, strict=False):
                    folds[name].fold(records(delivered, 10**9 * (number + 1)), name, _START + number * SECOND)
            for each in images:
                table.partitions[each["pk"]["S"]] += put_units(None, each)
    counted = load.window
    found = {"all": sum(table.partitions.values()) / counted}
    for kind, units in busiest(table.partitions).items():
        found[f"busiest {kind} key"] = units / counted
    rollups = {key: units for key, units in table.by_item.items() if kind_of(key) == "rollup"}
    # Each write of a rollup is 2 units, of one transaction.
    for name, transactions in (
        ("rollup", max(rollups.values()) / 2),
        ("tally", max(table.by_tally.values())),
        ("shard", max(table.transactions.values())),
    ):
        found[f"busiest {name}'s time taken, %"] = transactions / counted * TRANSACTION_SECONDS * 100
    return found


def others() -> tuple[float, dict[str, float]]:
    """Return the write units a second of all other organizations, and of their busiest partition key."""
    table, organizations = CountingTable(), []
    for number in range(OTHERS // _SCALE):
        organization = Organization(f"00000000-0000-4000-8000-{number:012}", "Other")
        subscriptions = [world.subscription(place, (_METER,)) for place in range(10)]
        write_catalogue(table, organization, world.METERS, subscriptions, ())
        organizations.append(organization)
    folding = StreamFold(table)
    for second in range(11):
        if second == 1:
            table.forget()
        images = [
            image(
                organizations[(second * 37 + number * 3) % len(organizations)],
                f"external_{number % 10:05}",
                second * OTHERS_RATE + number,
            )
            for number in range(OTHERS_RATE // _SCALE)
        ]
        table.shard = "shardId-0"
        folding.fold(records(images, second * 10**9 + 10**6), table.shard, _START + second * SECOND)
        for each in images:
            table.partitions[each["pk"]["S"]] += put_units(None, each)
    units = sum(table.partitions.values()) / 10 * _SCALE
    return units, {"busiest key of all": max(table.partitions.values()) / 10}


def image(organization: Organization, external_id: str, number: int) -> Item:
    """Return an event's item in the log."""
    at = _START + number
    event = Event(f"event-{number:09}", _METER.event_name, at, {"model": "large", "tokens": 1 + number % 999})
    return key_item(keys.event(organization.id, "s", external_id, event.id)) | {
        "id": {"S": event.id},
        "e": {"S": content(event)},
        "acc": {"N": str(at)},
        "at": {"N": str(at)},
        "org": {"S": organization.id},
        "k": {"S": "s"},
        "x": {"S": external_id},
        "by": {"S": "0a1b2c3d"},
    }


def by_shard(images: Iterable[Item], names: Sequence[str], *, split: bool) -> Mapping[str, list[Item]]:
    """Return the events of each shard."""
    found: dict[str, list[Item]] = defaultdict(list)
    for each in images:
        place = each["pk"]["S"] + (each["id"]["S"] if split else "")
        found[names[crc32(place.encode()) % len(names)]].append(each)
    return found


def busiest(partitions: Mapping[str, float]) -> dict[str, float]:
    """Return the most units that one partition key of each kind is written."""
    found: dict[str, float] = defaultdict(float)
    for pk, units in partitions.items():
        kind = "index" if pk.startswith("index ") else _NAMES.get(kind_of(Key(pk, "C")), "other")
        found[kind] = max(found[kind], units)
    return dict(found)


def _key(action: Any) -> Key:
    (body,) = action.values()
    item = body.get("Item") or body["Key"]
    return Key(item["pk"]["S"], item["sk"]["S"])

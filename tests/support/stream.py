"""A table's stream without the service: shards that split, end and have children, batches delivered again.

What it keeps to is what DynamoDB Streams and Lambda promise, and no more: a record stands in one shard, its
sequence number rises within the shard, a parent is delivered before its children, a batch begins at or before the
first record that was not acknowledged, and nothing comes again that is older than a day. The rest it does by
chance: it splits a partition by sort key, so that one subscription's events arrive in two shards at once, and
delivers again what was acknowledged.
"""

from bisect import bisect_left
from collections.abc import Callable
from copy import replace
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from random import Random
from typing import Any

from meterstone.store.counting.stream import StreamFold, StreamReport
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import Item, StoreUnavailableError
from meterstone.store.events.log import EventLog
from meterstone.store.operations.rebuild import Surroundings
from meterstone.store.operations.withdraw import Outcome as Withdrawing
from meterstone.store.operations.withdraw import withdraw_event
from meterstone.usage.arrival import Arrival, Outcome
from meterstone.usage.instant import DAY
from support.memory_table import Faults, Killed, MemoryTable
from support.scenario import ORGANIZATION, Usage, World

type Record = dict[str, Any]

WITHDRAWN = Withdrawing.WITHDRAWN
_FIRST_NUMBER = 100_000_000_003_498_069_978


@dataclass(slots=True)
class Shard:
    """A shard: the part of the table that it serves, its records, and how many were acknowledged."""

    id: str
    #: Ranges, of the hashes of partition keys and of those of sort keys.
    partitions: tuple[float, float] = (0.0, 1.0)
    sorts: tuple[float, float] = (0.0, 1.0)
    parent: "Shard | None" = None
    number: int = _FIRST_NUMBER
    ended: bool = False
    records: list[Record] = field(default_factory=list)
    #: When each record came.
    times: list[int] = field(default_factory=list)
    acknowledged: int = 0

    @property
    def waits(self) -> bool:
        """Whether there is something to deliver, and the parent is through."""
        return self.acknowledged < len(self.records) and (self.parent is None or self.parent.is_through)

    @property
    def is_through(self) -> bool:
        """Whether the shard and those before it will deliver nothing new."""
        return (
            self.ended
            and self.acknowledged == len(self.records)
            and (self.parent is None or self.parent.is_through)
        )


class Stream:
    """The stream of a table."""

    def __init__(self, random: Random, shards: int = 1) -> None:
        """Begin with so many shards, each with an equal part of the partitions."""
        self.random = random
        self.shards: list[Shard] = []
        for number in range(shards):
            self._open((number / shards, (number + 1) / shards), (0.0, 1.0), None)

    def add(self, item: Item, now: int, name: str = "INSERT") -> Record:
        """Take a change of an item into the shard that serves it."""
        place = _point(item["pk"]["S"]), _point(item["sk"]["S"])
        (shard,) = (
            each
            for each in self.shards
            if not each.ended
            and each.partitions[0] <= place[0] < each.partitions[1]
            and each.sorts[0] <= place[1] < each.sorts[1]
        )
        shard.number += self.random.randint(1, 10**6)
        made = record(item, shard.number, name)
        shard.records.append(made)
        shard.times.append(now)
        return made

    def split(self, shard: Shard, *, by_sort_key: bool) -> None:
        """End a shard; each half of what it served has a shard of its own."""
        low, high = shard.sorts if by_sort_key else shard.partitions
        for half in ((low, (low + high) / 2), ((low + high) / 2, high)):
            if by_sort_key:
                self._open(shard.partitions, half, shard)
            else:
                self._open(half, shard.sorts, shard)
        shard.ended = True

    def roll_over(self, shard: Shard) -> None:
        """End a shard; another one goes on where it ends."""
        self._open(shard.partitions, shard.sorts, shard)
        shard.ended = True

    def disturb(self) -> None:
        """Split a shard, or end it."""
        shard = self.random.choice([each for each in self.shards if not each.ended])
        match self.random.choice(["partition", "sort", "end"]):
            case "end":
                self.roll_over(shard)
            case how:
                self.split(shard, by_sort_key=how == "sort")

    def waiting(self) -> list[Shard]:
        """List the shards that have something to deliver."""
        return [shard for shard in self.shards if shard.waits]

    def _open(
        self, partitions: tuple[float, float], sorts: tuple[float, float], parent: Shard | None
    ) -> None:
        # A child's numbers are above its parent's; what those of two others are to each other says nothing.
        first = (_FIRST_NUMBER if parent is None else parent.number) + self.random.randint(1, 10**12)
        name = f"shardId-{len(self.shards):020}-{self.random.getrandbits(32):08x}"
        self.shards.append(Shard(name, partitions, sorts, parent, first))


class Folding:
    """A world whose events come over HTTP and are folded from the stream, by functions that may be killed."""

    def __init__(self, world: World, stream: Stream) -> None:
        assert isinstance(world.table, MemoryTable)
        self.world, self.stream, self.table = world, stream, world.table
        #: One for each warm container.
        self.folds = [StreamFold(self.table) for _ in range(3)]

    def post(self, usage: Usage, now: int) -> Outcome:
        """Take an event in as the API does; if it is new, the stream has it."""
        arrival = Arrival.of(usage.subject, usage.event, now, {}, dated=True)
        (outcome,) = EventLog(self.table, ORGANIZATION.id).append_each({0: arrival}).values()
        if outcome is Outcome.NEW:
            self.stream.add(logged_item(self.table, usage), now)
        return outcome

    def withdraw(self, usage: Usage, now: int) -> None:
        """Withdraw an event; the stream has its mark."""
        # Time passes by a second with each look.
        around = Surroundings(count(now, 1_000_000).__next__, sleep=lambda _: None)
        assert withdraw_event(self.table, ORGANIZATION.id, usage.subject, usage.event.id, around) is WITHDRAWN
        self.stream.add(logged_item(self.table, usage), now, "MODIFY")

    def deliver(
        self, shard: Shard, begin: int, end: int, now: int, container: int = 0
    ) -> StreamReport | None:
        """Deliver records; give what became of them, None if the function did not get through."""
        begin = min(begin, shard.acknowledged)
        try:
            report = self.folds[container].fold(shard.records[begin:end], shard.id, now)
        except StoreUnavailableError:
            return None
        except Killed:
            self.folds[container] = StreamFold(self.table)
            self.table.faults = replace(self.table.faults, before=None, after=None)
            return None
        shard.acknowledged = max(shard.acknowledged, end)
        return report

    def deliver_some(self, now: int, most: int) -> None:
        """Deliver a batch of any shard that has one: of any size, now and then from an earlier record."""
        random = self.stream.random
        shards = self.stream.waiting()
        if random.random() < 0.2:
            # What was acknowledged comes again, from a shard that ended long ago, too.
            shards = [each for each in self.stream.shards if each.acknowledged] or shards
        if not shards:
            return
        shard = random.choice(shards)
        begin = shard.acknowledged
        if random.random() < 0.3 or begin == len(shard.records):
            begin -= random.randint(0, min(begin, most))
        # The stream keeps a record for a day.
        begin = max(begin, min(shard.acknowledged, bisect_left(shard.times, now - DAY)))
        self.deliver(
            shard,
            begin,
            min(begin + random.randint(1, most), len(shard.records)),
            now,
            random.randrange(len(self.folds)),
        )

    def drain(self, now: int, most: int = 1000) -> None:
        """Deliver until everything is acknowledged."""
        while shards := self.stream.waiting():
            for shard in shards:
                begin = shard.acknowledged
                for _ in range(100):
                    if self.deliver(shard, begin, min(begin + most, len(shard.records)), now) is not None:
                        break
                else:
                    raise AssertionError("it does not get through")

    def in_between(self, when: int, do: Callable[[], object]) -> None:
        """Do something just before the transaction of this number from now, whose versions are then old."""
        before, first = self.table.faults, self.table.writes + when

        def interrupt(number: int) -> bool:
            if number >= first:
                self.table.faults = Faults()
                do()
            return before.conflict(number)

        self.table.faults = replace(before, conflict=interrupt)


def record(item: Item, number: int, name: str = "INSERT") -> Record:
    """Give the stream's record of a change, as Lambda delivers it."""
    change: dict[str, Any] = {
        "ApproximateCreationDateTime": 1_700_000_000.0,
        "Keys": {"pk": item["pk"], "sk": item["sk"]},
        "SequenceNumber": str(number),
        "SizeBytes": sum(len(key) + len(*value.values()) for key, value in item.items()),
        "StreamViewType": "NEW_IMAGE",
    }
    if name != "REMOVE":
        change["NewImage"] = {key: dict(value) for key, value in item.items()}
    return {
        "eventID": sha256(f"{number} {item['pk']} {item['sk']}".encode()).hexdigest()[:32],
        "eventName": name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-central-1",
        "dynamodb": change,
        "eventSourceARN": "arn:aws:dynamodb:eu-central-1:123456789012:table/memory/stream/2024-01-01T00:00:00.000",
    }


def logged_item(table: MemoryTable, usage: Usage) -> Item:
    """Give an event as it stands in the log."""
    key = keys.event(ORGANIZATION.id, *usage.subject, usage.event.id)
    return {name: dict(value) for name, value in table._items[key.pk][key.sk].items()}


def _point(key: str) -> float:
    return int.from_bytes(sha256(key.encode()).digest()[:6]) / 2**48

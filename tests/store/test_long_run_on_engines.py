"""A long run on a real engine: its own stream, its own transactions, and folds in threads that run at once.

What comes in, and what is delivered when, repeats from the seed (see `long_run`); how the threads meet does not.
"""

import os
import time
from bisect import bisect_left
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from random import Random
from typing import Any
from unittest import mock
from uuid import uuid4

import boto3

from meterstone.store.counting.stream import StreamFold
from meterstone.store.dynamodb.table import ConflictError, StoreUnavailableError, Table
from meterstone.store.events.log import EventLog, Outcome
from meterstone.usage.arrival import Arrival
from meterstone.usage.instant import DAY, HOUR
from meterstone.usage.subscription import Organization
from meterstone.usage.window import Window
from support import scenario as scenarios
from support.counting import check_analytics, check_window
from support.long_run import END, METERS, START, coming, long_run, subscription
from support.scenario import Scenario, Usage, World, oracles

#: Parts of the stream that are folded at once, and functions that fold each of them at once.
PARTS, COPIES = 3, 2
BATCH = 200
_PATIENCE = 60.0


class Unsteady(Table):
    """A table of the engine whose answers are lost now and then, after the write has happened."""

    random: Random
    lost = conflicts = 0

    def transact(self, actions: Any) -> None:
        try:
            super().transact(actions)
        except ConflictError:
            self.conflicts += 1
            raise
        if self.random.random() < 0.05:
            self.lost += 1
            raise StoreUnavailableError("injected, after the write")


@dataclass(slots=True)
class Part:
    """A part of the stream: its records, when each came, and how many were acknowledged."""

    name: str
    records: list[dict[str, Any]] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    acknowledged: int = 0


class EngineStream:
    """The events of one organization in the stream of the engine's table.

    An engine has one shard for a table so small. It is divided here by whole keys, as a service divides it that
    splits a partition by its sort key: one subscription's events are in all parts.
    """

    def __init__(self, table: Table, organization_id: str) -> None:
        """Turn the table's stream on, and follow it from now on."""
        self._prefix = f"{organization_id}#events#"
        # AWS serves streams at an address of their own, emulators do not.
        url = os.environ.get("AWS_ENDPOINT_URL_DYNAMODB_STREAMS", os.environ["AWS_ENDPOINT_URL_DYNAMODB"])
        self._client = boto3.client("dynamodbstreams", endpoint_url=url)
        described: Any = table.client.describe_table(TableName=table.name)["Table"]
        if not described.get("StreamSpecification", {}).get("StreamEnabled"):
            described = table.client.update_table(
                TableName=table.name,
                StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
            )["TableDescription"]
        arn = described["LatestStreamArn"]
        shards = self._client.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
        self._iterators = {
            shard["ShardId"]: self._client.get_shard_iterator(
                StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="LATEST"
            )["ShardIterator"]
            for shard in shards
        }
        self.parts = {
            (shard, number): Part(f"{shard} {number}") for shard in self._iterators for number in range(PARTS)
        }

    def read(self, wanted: int, now: int) -> None:
        """Read until so many events have come, all of them posted by ``now``."""
        limit = time.monotonic() + _PATIENCE
        while wanted:
            assert time.monotonic() < limit, f"{wanted} events did not come"
            for shard, iterator in self._iterators.items():
                page = self._client.get_records(ShardIterator=iterator)
                self._iterators[shard] = page["NextShardIterator"]
                for record in page["Records"]:
                    key = record["dynamodb"]["Keys"]
                    if record["eventName"] == "INSERT" and key["pk"]["S"].startswith(self._prefix):
                        number = sha256(repr(key).encode()).digest()[0] % PARTS
                        part = self.parts[shard, number]
                        part.records.append(record)
                        part.times.append(now)
                        wanted -= 1


@dataclass(slots=True)
class Folds:
    """Functions that fold at once, each with a table of its own, while the clock publishes."""

    world: World
    stream: EngineStream
    random: Random
    pool: ThreadPoolExecutor
    folds: dict[tuple[str, int], StreamFold] = field(default_factory=dict)
    tables: list[Unsteady] = field(default_factory=list)

    def __post_init__(self) -> None:
        for part in self.stream.parts.values():
            for copy in range(COPIES):
                table = Unsteady.from_environment()
                assert isinstance(table, Unsteady)
                table.random = Random(self.random.random())  # noqa: S311 - nothing secret
                self.tables.append(table)
                self.folds[part.name, copy] = StreamFold(table)

    def deliver(self, now: int) -> None:
        """Deliver what has come, and some of the day before again, of some parts to both copies at once."""
        running: list[Future[int] | Future[None]] = [self.pool.submit(self.world.roll, now)]
        for part in self.stream.parts.values():
            for copy in range(self.random.randint(1, COPIES)):
                begin = max(part.acknowledged - self.random.choice([0, 0, 5, 40]), 0)
                # The stream keeps a record for a day.
                begin = max(begin, min(part.acknowledged, bisect_left(part.times, now - DAY)))
                bounds = list(self._bounds(begin, len(part.records)))
                running.append(self.pool.submit(self._fold, part, copy, bounds, now))
        for each in running:
            each.result()
        for part in self.stream.parts.values():
            part.acknowledged = len(part.records)

    def _bounds(self, begin: int, end: int) -> Iterator[int]:
        while begin < end:
            yield begin
            begin = min(begin + self.random.randint(BATCH // 4, BATCH), end)
        yield end

    def _fold(self, part: Part, copy: int, bounds: list[int], now: int) -> None:
        for begin, end in pairwise(bounds):
            for _ in range(100):
                try:
                    report = self.folds[part.name, copy].fold(part.records[begin:end], part.name, now)
                except StoreUnavailableError:
                    continue
                assert (report.events, report.poison, report.unmatched) == (end - begin, [], 0)
                break
            else:
                raise AssertionError("it does not get through")


def post(log: EventLog, several: list[Usage], before: list[Usage], now: int, random: Random) -> None:
    """Let events come in, and others come in again."""
    again = [random.choice(before) for _ in range(len(several) // 20)] if before else []
    arrivals = [Arrival.of(usage.subject, usage.event, now, {}, dated=True) for usage in [*several, *again]]
    outcomes = log.append_each(dict(enumerate(arrivals)))
    assert [outcomes[place] for place in range(len(arrivals))] == (
        [Outcome.NEW] * len(several) + [Outcome.DUPLICATE] * len(again)
    )


@long_run(1000, 10_000)
def test_a_long_run_is_counted_to_the_last_digit(engine: Table, seed: int, events: int) -> None:
    random = Random(seed)  # noqa: S311 - nothing secret
    # An organization of the test's own, also where the table is there for longer.
    organization = Organization(str(uuid4()))
    customers = tuple(subscription(number, random) for number in range(max(events // 1000, 3)))
    usage: list[Usage] = []
    with (
        mock.patch.object(scenarios, "ORGANIZATION", organization),
        ThreadPoolExecutor(PARTS * COPIES + 1) as pool,
    ):
        world = World(Scenario(METERS, customers, (), END), Table.from_environment())
        folds = Folds(world, EngineStream(engine, organization.id), random, pool)
        log = EventLog(engine, organization.id)
        day, come = START, list[Usage]()

        def fold(now: int) -> None:
            post(log, come, usage, now, random)
            folds.stream.read(len(come), now)
            usage.extend(come)
            folds.deliver(now)

        for each in coming(customers, random, events):
            if each.now >= day + 23 * HOUR:
                fold(day := each.now)
                come = []
            come.append(each.usage)
        fold(END)
        folds.deliver(END)
        # Small runs may be lucky.
        if events >= 1000:
            assert sum(table.lost for table in folds.tables) > 0
            assert sum(table.conflicts for table in folds.tables) > 0
        check_analytics(world, tuple(usage), END)
        for oracle in oracles(world.scenario, usage):
            for begin, end in ((START, END), (START + 3 * DAY + 7, END - 5 * DAY - HOUR)):
                check_window(world, oracle, Window(begin, end), END)

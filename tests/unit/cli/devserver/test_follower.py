"""The follower on a stream that a test writes: shards in their order, and whatever an engine may answer."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from meterstone_cli.devserver import follower as module
from meterstone_cli.devserver.bookmark import Bookmark, Place, ShardPlace
from meterstone_cli.devserver.follower import Follower, Functions, following, is_emulator
from meterstone_cli.devserver.function import FunctionFailedError
from meterstone_cli.devserver.stream import Stream
from support.memory_table import MemoryTable

ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/memory/stream/1"


def event(number: int) -> dict[str, Any]:
    image = {"e": {"S": "x"}, "acc": {"N": "1"}}
    return {
        "eventName": "INSERT",
        "dynamodb": {"SequenceNumber": str(number), "Keys": {"pk": {"S": "log"}}, "NewImage": image},
    }


def withdrawn(number: int) -> dict[str, Any]:
    """Return the mark of an imported event, which has no time of acceptance."""
    image = {"e": {"S": "x"}, "w": {"N": "1"}, "wg": {"S": "1"}}
    return {
        "eventName": "MODIFY",
        "dynamodb": {"SequenceNumber": str(number), "Keys": {"pk": {"S": "log"}}, "NewImage": image},
    }


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "GetRecords")


@dataclass
class Shard:
    """A shard as an engine has it; its pages have two records."""

    records: list[dict[str, Any]]
    parent: str = ""
    ended: bool = False


@dataclass
class Service:
    """Streams and functions of an emulator. ``odd`` are answers to give once instead of a page."""

    shards: dict[str, Shard]
    arn: str = ARN
    view: str = "NEW_IMAGE"
    odd: list[Any] = field(default_factory=list)
    mappings: list[str] = field(default_factory=list)
    #: Failures to describe the table with, each once.
    away: list[Exception] = field(default_factory=list)

    def describe_table(self, **_: str) -> object:
        if self.away:
            raise self.away.pop()
        on = {"StreamEnabled": True, "StreamViewType": self.view}
        return {"Table": {"StreamSpecification": on, "LatestStreamArn": self.arn}}

    def describe_stream(self, **_: str) -> object:
        shards = [
            {"ShardId": name} | ({"ParentShardId": shard.parent} if shard.parent else {})
            for name, shard in self.shards.items()
        ]
        return {"StreamDescription": {"Shards": shards}}

    def get_shard_iterator(self, **asked: str) -> object:
        numbers = [each["dynamodb"]["SequenceNumber"] for each in self.shards[asked["ShardId"]].records]
        place = 0
        if asked["ShardIteratorType"] != "TRIM_HORIZON":
            if asked["SequenceNumber"] not in numbers:
                raise refused("TrimmedDataAccessException")
            place = numbers.index(asked["SequenceNumber"]) + 1
        return {"ShardIterator": f"{asked['ShardId']} {place}"}

    def get_records(self, *, ShardIterator: str, Limit: int) -> object:  # noqa: N803 - as boto3 has them
        if self.odd:
            odd = self.odd.pop()
            if isinstance(odd, Exception):
                raise odd
            return odd
        name, place = ShardIterator.split()
        shard = self.shards[name]
        page = shard.records[int(place) : int(place) + 2]
        over = shard.ended and int(place) + len(page) == len(shard.records)
        following = {} if over else {"NextShardIterator": f"{name} {int(place) + len(page)}"}
        return {"Records": page} | following

    def list_event_source_mappings(self, **_: str) -> object:
        return {"EventSourceMappings": self.mappings}


@dataclass
class Fold:
    """What was delivered, by shard, and under which names; the first ``failures`` deliveries fail."""

    name: str = "fold_usage"
    failures: int = 0
    delivered: list[tuple[str, int]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    def invoke(self, batch: Mapping[str, Any]) -> None:
        self.meanwhile()
        if self.failures:
            self.failures -= 1
            raise FunctionFailedError("fold_usage raised")
        self.names.append(batch.get("shardId", ""))
        shard = self.names[-1].split("@")[0]
        self.delivered += [
            (shard, int(each["dynamodb"]["SequenceNumber"])) for each in batch.get("Records", [])
        ]


@dataclass
class Recount:
    """Stands in for the rebuilds: counts how often they were asked for."""

    starts: int = 0

    def start(self) -> None:
        self.starts += 1

    def go_on(self) -> None: ...
    def join(self) -> None: ...

    def has_begun(self) -> bool:
        return self.starts > 0

    def is_done(self) -> bool:
        return True


@dataclass
class Machine:
    """A follower over a table in memory, whose place is told before it runs."""

    service: Service
    table: MemoryTable = field(default_factory=MemoryTable)
    fold: Fold = field(default_factory=Fold)
    recount: Recount = field(default_factory=Recount)
    recounts: "Fold" = field(default_factory=lambda: Fold("recount_usage"))
    told: list[str] = field(default_factory=list)
    #: How many events are waited for, and how many calls that carry recounts on.
    wanted: int = 0
    carried: int = 0

    def place(self, *, arn: str = ARN, gap: bool = False, **shards: ShardPlace) -> None:
        bookmark = Bookmark(self.table)
        assert bookmark.take() is None
        bookmark.save(Place(arn, "first", gap=gap, shards=shards))
        bookmark.release()

    def run(self) -> None:
        """Follow to the stream's end."""
        stop = threading.Event()
        follower = Follower(
            Stream(self.service, self.service, "memory"),
            Bookmark(self.table),
            self.recount,  # type: ignore[arg-type]
            Functions(self.fold, Fold("roll_usage"), self.recounts, self.service),  # type: ignore[arg-type]
            stop,
            self.told.append,
        )
        follower.turn_stream_on()
        running = threading.Thread(target=follower.run)
        running.start()
        latest = time.monotonic() + 20
        while time.monotonic() < latest and not self._is_done():
            running.join(0.01)
        stop.set()
        running.join(20)
        assert not running.is_alive()

    def _is_done(self) -> bool:
        carried = len(self.recounts.names) >= self.carried
        return len(self.fold.delivered) >= self.wanted and not self.service.away and carried


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    monkeypatch.setattr(module, "_PAUSE_AFTER_FAILURE", 0.05)
    monkeypatch.setattr(module, "_LOOK_FOR_SHARDS_EVERY", 0.02)


def test_a_shard_is_followed_after_the_one_that_it_was_split_from() -> None:
    service = Service(
        {
            "left": Shard([event(7), event(8)], parent="root"),
            "root": Shard([event(1), event(2), event(3)], ended=True),
            "right": Shard([event(5)], parent="root"),
        }
    )
    machine = Machine(service, wanted=5)
    machine.place(root=ShardPlace("1"))
    machine.run()
    assert machine.fold.delivered[:2] == [("root", 2), ("root", 3)]
    assert sorted(machine.fold.delivered[2:]) == [("left", 7), ("left", 8), ("right", 5)]
    place = Bookmark(machine.table).read()
    assert place is not None
    assert place.shards == {
        "left": ShardPlace("8"), "root": ShardPlace("3", ended=True), "right": ShardPlace("5"),
    }  # fmt: skip


def test_it_goes_on_where_it_stopped() -> None:
    machine = Machine(Service({"one": Shard([event(1), event(2)])}), wanted=2)
    machine.place(one=ShardPlace())
    machine.run()
    machine.service.shards["one"].records += [event(3)]
    machine.wanted = 3
    machine.run()
    assert machine.fold.delivered == [("one", 1), ("one", 2), ("one", 3)]
    assert machine.recount.starts == 0


def test_the_mark_of_a_withdrawn_event_is_delivered() -> None:
    changed = event(2) | {"eventName": "MODIFY"}
    machine = Machine(Service({"one": Shard([event(1), changed, withdrawn(3)])}), wanted=2)
    machine.place(one=ShardPlace())
    machine.run()
    assert machine.fold.delivered == [("one", 1), ("one", 3)]


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({}, id="no records"),
        pytest.param({"Records": [{"eventName": "INSERT"}]}, id="a record without a number"),
        pytest.param({"Records": [event(9), event(8)]}, id="records out of order"),
        pytest.param({"Records": None}, id="null"),
        pytest.param("<html>", id="no JSON object"),
        pytest.param(refused("ExpiredIteratorException"), id="an iterator that has expired"),
        pytest.param(refused("InternalServerError"), id="a failure"),
        pytest.param(EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), id="no engine"),
        pytest.param(RecursionError("deep"), id="an exception of any kind"),
    ],
)
def test_an_odd_answer_is_said_and_outlived(odd: object) -> None:
    machine = Machine(Service({"one": Shard([event(1), event(2)])}, odd=[odd]), wanted=2)
    machine.place(one=ShardPlace())
    machine.run()
    assert machine.fold.delivered == [("one", 1), ("one", 2)]
    assert machine.told[0].startswith("The table's stream is not followed: ")
    assert machine.told[-1] == "The table's stream is followed again"
    assert len(machine.told) == 2


def test_a_batch_that_fails_is_delivered_again() -> None:
    machine = Machine(Service({"one": Shard([event(1), event(2)])}), fold=Fold(failures=3), wanted=2)
    machine.place(one=ShardPlace())
    machine.run()
    assert machine.fold.delivered == [("one", 1), ("one", 2)]
    assert machine.told == [
        "The table's stream is not followed: fold_usage raised. What is posted is kept, and counted later",
        "The table's stream is followed again",
    ]


def test_what_no_place_was_kept_for_is_left_to_a_rebuild() -> None:
    machine = Machine(Service({"one": Shard([event(1), event(2), event(3)])}))
    machine.run()
    assert (machine.fold.delivered, machine.recount.starts) == ([], 1)
    assert "counted again from the log" in machine.told[0]
    machine.service.shards["one"].records += [event(4)]
    machine.wanted = 1
    machine.run()
    assert (machine.fold.delivered, machine.recount.starts) == ([("one", 4)], 1)


@pytest.mark.parametrize(
    "service",
    [
        pytest.param(Service({"one": Shard([event(5), event(6)])}), id="the record is gone"),
        pytest.param(Service({"two": Shard([event(5), event(6)])}), id="the shard is gone"),
        pytest.param(Service({"one": Shard([event(2), event(6)])}, arn=f"{ARN}1"), id="another stream"),
    ],
)
def test_where_the_stream_is_gone_another_incarnation_begins_at_its_end(service: Service) -> None:
    machine = Machine(service)
    machine.place(one=ShardPlace("2"))
    machine.run()
    place = Bookmark(machine.table).read()
    assert place is not None
    assert place.incarnation != "first"
    assert [held.at for held in place.shards.values()] == ["6"]
    assert (machine.fold.delivered, machine.recount.starts, place.gap) == ([], 1, False)
    (shard,) = service.shards
    service.shards[shard].records.append(event(7))
    machine.wanted = 1
    machine.run()
    assert machine.fold.delivered == [(shard, 7)]
    # Positions of before are those of another shard: a number of then means another event now.
    assert machine.fold.names == [f"{shard}@{place.incarnation}"]


def test_a_gap_that_was_not_closed_is_closed_by_the_next_start() -> None:
    machine = Machine(Service({"one": Shard([event(1), event(2)])}), wanted=1)
    machine.place(gap=True, one=ShardPlace("1"))
    machine.run()
    place = Bookmark(machine.table).read()
    assert place is not None
    assert (machine.fold.delivered, machine.recount.starts, place.gap) == ([("one", 2)], 1, False)


@pytest.mark.parametrize(
    ("away", "delivered", "rebuilds"),
    [
        pytest.param([], [("one", 1)], 0, id="in time: all that was posted is there"),
        pytest.param([refused("InternalServerError")], [], 1, id="late: what was posted before is not there"),
    ],
)
def test_a_new_table_s_stream_is_turned_on(
    away: list[Exception], delivered: list[tuple[str, int]], rebuilds: int
) -> None:
    machine = Machine(Service({"one": Shard([event(1)])}, away=away), wanted=len(delivered))
    machine.place(arn="")
    machine.run()
    assert (machine.fold.delivered, machine.recount.starts) == (delivered, rebuilds)


def test_an_engine_that_was_started_again_while_nobody_asked_is_asked_by_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_RESTARTS_IN", 0.05)
    machine = Machine(Service({"one": Shard([event(1), event(2)])}), wanted=3)
    machine.place(one=ShardPlace())

    def restart() -> None:
        # The iterator, a place in the list of records that there were, now points past their end.
        machine.service.shards["one"].records = [event(2), event(3)]
        machine.fold.meanwhile = lambda: None
        time.sleep(0.1)

    machine.fold.meanwhile = restart
    machine.run()
    assert machine.fold.delivered == [("one", 1), ("one", 2), ("one", 3)]


@pytest.mark.parametrize(
    ("service", "why"),
    [
        pytest.param(
            Service({"one": Shard([event(1)])}, mappings=["fold"]),
            "deployed there follows it",
            id="a function does",
        ),
        pytest.param(
            Service({"one": Shard([event(1)])}, view="KEYS_ONLY"),
            "must have NEW_IMAGE",
            id="it has keys alone",
        ),
    ],
)
def test_what_is_not_to_be_followed_is_left_alone(service: Service, why: str) -> None:
    machine = Machine(service)
    machine.place(one=ShardPlace())
    machine.run()
    assert machine.fold.delivered == []
    assert why in machine.told[0]


def test_a_place_that_another_process_holds_is_left_alone() -> None:
    machine = Machine(Service({"one": Shard([event(1)])}))
    machine.place(one=ShardPlace())
    other = Bookmark(machine.table)
    assert other.take() is None
    machine.run()
    assert machine.fold.delivered == []
    assert "follows it already" in machine.told[0]
    other.release()
    machine.wanted = 1
    machine.run()
    assert machine.fold.delivered == [("one", 1)]


@pytest.mark.parametrize(
    ("holder", "holds_until"),
    [
        pytest.param("elsewhere 1 mark", 1030.0, id="of another machine, which may be there still"),
        pytest.param("here 4194305 mark", 1000.0, id="of a process that is gone"),
    ],
)
def test_who_is_gone_holds_nothing(holder: str, holds_until: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    table = MemoryTable()
    first = Bookmark(table, lambda: 1000.0)
    monkeypatch.setattr(first, "_me", holder)
    assert first.take() is None
    if holds_until > 1000:
        assert Bookmark(table, lambda: holds_until - 1).take() == "elsewhere 1"
    assert Bookmark(table, lambda: holds_until + 1).take() is None


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:8766", "http://dynamodb.test:8000"])
def test_a_table_of_an_emulator_is_followed(endpoint: str) -> None:
    assert is_emulator(endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://dynamodb.eu-central-1.amazonaws.com",
        "https://dynamodb.cn-north-1.amazonaws.com.cn",
        "https://123.ddb.eu-central-1.api.aws",
        "",
    ],
)
def test_a_table_in_aws_is_not_followed(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", endpoint)
    told: list[str] = []
    # Without functions: none is loaded.
    with following(Path("/nonexistent"), tell=told.append):
        pass
    assert told == [
        "The table is in AWS: what is posted is counted there, by the function that follows its stream"
    ]


def recount(number: int) -> dict[str, Any]:
    image = {"what": {"S": "plan"}, "made_at": {"N": "1"}}
    return {
        "eventName": "INSERT",
        "dynamodb": {"SequenceNumber": str(number), "Keys": {"pk": {"S": "jobs"}}, "NewImage": image},
    }


def test_a_recount_is_carried_on_when_it_is_made_and_the_fold_does_not_see_it() -> None:
    machine = Machine(Service({"root": Shard([event(1), recount(2), event(3)])}), wanted=2, carried=2)
    machine.place(root=ShardPlace(""))
    machine.run()

    assert machine.fold.delivered == [("root", 1), ("root", 3)]
    # Once at the start, for what was stopped, and once with what was made.
    assert ("", 2) in machine.recounts.delivered


def test_a_recount_that_fails_is_told_and_events_are_counted() -> None:
    machine = Machine(Service({"root": Shard([event(1)])}), wanted=1)
    machine.recounts.failures = 1
    machine.place(root=ShardPlace(""))
    machine.run()

    assert machine.fold.delivered == [("root", 1)]
    assert any("it is called again in five minutes" in each for each in machine.told)

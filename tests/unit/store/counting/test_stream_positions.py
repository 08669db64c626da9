"""Up to where a tally has counted each shard of the stream: kept, passed and forgotten."""

import json
from types import ModuleType
from typing import Any

import pytest

from meterstone.store.events.positions import stream_shard
from meterstone.usage.instant import DAY, HOUR
from support.batches import NOW, SCENARIO, START, call, fold, records_of
from support.counting import check_analytics
from support.functions import load_over
from support.scenario import World
from support.stored import memory
from support.stream import Folding, Record


def head(folding: Folding) -> dict[str, Any]:
    (found,) = (item for item in folding.table.items().values() if "pos" in item)
    return {name: json.loads(found[name]["S"]) for name in ("pos", "mov") if name in found}


@pytest.mark.parametrize(
    ("rested", "kept"),
    [
        pytest.param(47 * HOUR, True, id="rested 47 hours"),
        pytest.param(48 * HOUR, True, id="rested 48 hours"),
        pytest.param(48 * HOUR + 1, False, id="rested longer"),
    ],
)
def test_a_position_is_dropped_when_it_rested_48_hours(folding: Folding, *, rested: int, kept: bool) -> None:
    folding.world.load("file", [call("imported")], NOW)
    (importing,) = head(folding)["pos"]
    fold(folding, records_of(folding, [call("old")]), NOW, "ended")
    later = NOW + rested
    again = records_of(folding, [call("new", value=2)], later)
    fold(folding, again, later, "child")
    found = head(folding)
    assert found["pos"].keys() == {importing, stream_shard("child")} | (
        {stream_shard("ended")} if kept else set()
    )
    assert found["mov"].keys() == found["pos"].keys() - {importing}
    before = folding.table.items()
    fold(folding, again, later, "child")
    assert folding.table.items() == before


def test_a_shard_that_goes_on_keeps_its_position(folding: Folding) -> None:
    """Its rest begins anew each time: redelivered, nothing of it counts twice."""
    records: list[Record] = []
    for number in range(5):
        now = NOW + number * 30 * HOUR
        more = records_of(folding, [call(f"e{number}")], now)
        records += more
        fold(folding, more, now)
    fold(folding, records[3:], NOW + 121 * HOUR)
    assert head(folding)["pos"].keys() == {stream_shard("shard")}
    check_analytics(folding.world, tuple(call(f"e{number}") for number in range(5)), NOW + 121 * HOUR)


@pytest.fixture
def fold_usage(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the function over a table in memory."""
    return load_over("fold_usage", memory(World(SCENARIO)), monkeypatch)


@pytest.mark.parametrize(
    ("event", "engine", "shard"),
    [
        pytest.param({"shardId": "shardId-1"}, None, "shardId-1", id="Lambda"),
        pytest.param({"shardId": "shardId-1"}, "http://127.0.0.1:1", "shardId-1", id="Lambda on an engine"),
        pytest.param({}, "http://127.0.0.1:1", "local", id="a local engine"),
    ],
)
def test_a_batch_names_its_shard(
    fold_usage: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    event: dict[str, Any],
    engine: str | None,
    shard: str,
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_DYNAMODB", raising=False)
    if engine is not None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", engine)
    assert fold_usage.shard_of({"Records": [], **event}) == shard


def test_a_batch_that_does_not_name_its_shard_is_refused(
    fold_usage: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folded under a shared name, the positions of two shards would be compared, and events lost."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_DYNAMODB", raising=False)
    with pytest.raises(ValueError, match="tumbling window"):
        fold_usage.handler({"Records": []}, None)


def test_a_batch_of_another_table_s_stream_is_refused(
    folding: Folding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stack moves to a restored table: for a moment the stream of the one before invokes the new version."""
    records = records_of(folding, [call("one")])
    function = load_over("fold_usage", memory(folding.world), monkeypatch)
    batch = {"Records": records, "shardId": "shard"}
    before = memory(folding.world).items()
    monkeypatch.setenv("TABLE_NAME", "restored")
    with pytest.raises(ValueError, match="another table"):
        function.handler(batch, None)
    assert memory(folding.world).items() == before
    monkeypatch.setenv("TABLE_NAME", "memory")
    function.handler(batch, None)
    check_analytics(folding.world, (call("one"),), NOW)


def test_shards_have_names_of_their_own() -> None:
    names = {stream_shard(f"shardId-{number:020}-{number:08x}") for number in range(2000)}
    assert len(names) == 2000
    assert all(name.startswith("s") and len(name) == 9 for name in names)


def test_an_import_whose_clock_is_wrong_makes_no_tally_forget_its_shards(folding: Folding) -> None:
    """It runs on a person's machine, and what the stream delivers again is to be known all the same."""
    records = records_of(folding, [call("one")])
    fold(folding, records)
    folding.world.load("file", [call("imported", value=2)], NOW + 3 * DAY)
    fold(folding, records)
    check_analytics(folding.world, (call("one"), call("imported", value=2)), NOW + 3 * DAY)


def test_a_position_is_that_of_the_last_event_whichever_day_it_is_for(folding: Folding) -> None:
    """A batch is counted day by day: the last one counted may not be the last one that came."""
    usage = [
        call("a", START + 3 * DAY),
        call("b", START + 2 * DAY, value=10),
        call("c", START + 3 * DAY + 1, value=100),
    ]
    records = records_of(folding, usage)
    fold(folding, records)
    fold(folding, records)
    check_analytics(folding.world, tuple(usage), NOW)

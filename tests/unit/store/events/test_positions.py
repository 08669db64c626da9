"""The names of shards: made, read back, and told apart."""

import pytest

from meterstone.store.events.positions import (
    REPLAYS,
    ImportShard,
    ends_by_itself,
    part_of,
    rebuild_shard,
    stream_shard,
)

DIGEST = "5f3c9a" + "0" * 58
ANOTHER = "6f3c9a" + "0" * 58


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        pytest.param(stream_shard("shardId-00000001605549423000-7b1c0e1f"), "s2901a0b1", id="stream"),
        pytest.param(ImportShard.of(DIGEST, 2).name, "i5f3c9a0000000000.2", id="import"),
        pytest.param(REPLAYS, "p", id="replay"),
        pytest.param(rebuild_shard("3"), "r3", id="rebuild"),
    ],
)
def test_a_shard_is_stored_under_its_name(name: str, stored: str) -> None:
    assert name == stored
    assert ends_by_itself(name) == (stored[0] == "s")


@pytest.mark.parametrize("run", [1, 10, 2**40])
def test_an_import_s_shard_is_read_back(run: int) -> None:
    shard = ImportShard.of(DIGEST, run)
    assert ImportShard.read(shard.name) == shard
    assert shard.run == run
    assert shard.content == ImportShard.of(DIGEST, run + 1).content
    assert shard.content != ImportShard.of(ANOTHER, run).content


@pytest.mark.parametrize("name", [stream_shard("shard"), REPLAYS, rebuild_shard("3"), "i5f3c9a", ""])
def test_no_other_name_is_read_as_an_import_s(name: str) -> None:
    with pytest.raises(ValueError, match="is no shard of an import"):
        ImportShard.read(name)


def test_shards_of_the_stream_are_dealt_to_all_parts() -> None:
    assert {part_of(stream_shard(str(number)), 4) for number in range(100)} == {0, 1, 2, 3}
    assert part_of("s2901a0b1", 16) == 1

"""The engine's journal: what is merged into the tables, and which records of the stream are kept."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meterstone_cli.devserver import durable

PLACE = ["000000000000", "us-east-1", "meterstone"]
DAY = 24 * 3600 * 1000
NOW = 1_800_000_000_000


class Scoped(dict[tuple[str, ...], Any]):
    """As the engine keeps tables, and streams: by account, region and name."""

    def get_scoped(self, *place: str) -> Any:
        return self.get(place)

    def set_scoped(self, account: str, region: str, name: str, value: Any) -> None:
        self[account, region, name] = value

    def pop_scoped(self, account: str, region: str, name: str, default: Any) -> Any:
        return self.pop((account, region, name), default)


def number(at: int) -> str:
    return f"{at:020d}{1:010d}"


def definition(**of: Any) -> durable.Change:
    return {"table": PLACE, "definition": of or None}


def change(sk: str, item: Any, at: int = 0) -> durable.Change:
    made = {"table": PLACE, "key": ["pk", sk], "item": item}
    if at:
        made["record"] = {"eventName": "INSERT", "dynamodb": {"SequenceNumber": number(at), "Keys": {}}}
    return made


def merged(*changes: durable.Change) -> tuple[Any, Any]:
    tables, streams = Scoped(), Scoped()
    for each in changes:
        # As JSON each time: the engine reads it from a file.
        durable.merge(json.loads(json.dumps(each)), tables, streams)
    return tables.get(tuple(PLACE)), streams.get(tuple(PLACE))


def test_the_last_of_several_changes_holds() -> None:
    table, _ = merged(
        definition(), definition(Name="t"), change("a", {"n": 1}), change("a", {"n": 2}), change("b", {})
    )
    assert table["items"] == {"pk": {"a": {"n": 2}, "b": {}}}
    assert (table["Name"], table["ItemCount"]) == ("t", 2)


def test_what_was_deleted_is_gone() -> None:
    table, _ = merged(definition(Name="t"), change("a", {}), change("a", None), change("never", None))
    assert (table["items"], table["ItemCount"]) == ({}, 0)


def test_a_table_that_is_changed_keeps_its_items() -> None:
    table, _ = merged(definition(Name="t"), change("a", {}), definition(Name="t", StreamEnabled=True))
    assert (table["items"], table["StreamEnabled"]) == ({"pk": {"a": {}}}, True)


def test_a_table_that_was_deleted_is_gone_with_its_stream() -> None:
    assert merged(definition(Name="t"), change("a", {}, at=1), definition(), change("b", {})) == (None, None)


def test_merged_twice_it_is_the_same() -> None:
    changes = [definition(Name="t"), change("a", {"n": 1}, at=1), change("b", {}, at=2), change("a", None)]
    assert merged(*changes, *changes[1:]) == merged(*changes)


def test_records_have_their_images_again() -> None:
    _, stream = merged(definition(Name="t"), change("a", {"n": 1}, at=1))
    assert [each["dynamodb"]["NewImage"] for each in stream] == [{"n": 1}]


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        pytest.param('[{"a":1},{"b":2}]\n[{"c":3}]\n', [{"a": 1}, {"b": 2}, {"c": 3}], id="whole lines"),
        pytest.param('[{"a":1}]\n[{"b":2},{"c"', [{"a": 1}], id="a request that was not answered"),
        pytest.param("", [], id="nothing"),
    ],
)
def test_a_line_is_read_whole_or_not_at_all(text: str, whole: list[durable.Change], tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_text(text)
    assert list(durable.changes_in(journal)) == whole


def test_a_request_is_one_line_however_many_changes_it_makes(tmp_path: Path) -> None:
    journal = durable.Journal(tmp_path / "journal")
    for sk in ("a", "b"):
        journal.add(change(sk, {}))
    assert (tmp_path / "journal").read_text() == ""
    journal.write()
    journal.write()
    assert (tmp_path / "journal").read_text().count("\n") == 1
    assert list(durable.changes_in(tmp_path / "journal")) == [change("a", {}), change("b", {})]
    journal.clear()
    assert (tmp_path / "journal").read_text() == ""


def record(
    at: int, *, pk: str = "log", kind: str = "INSERT", event: bool = True, mark: bool = False
) -> dict[str, Any]:
    image = {"e": {"S": "x"}, "acc": {"N": "1"}} if event else {"n": {"N": "1"}}
    image |= {"wg": {"S": "1"}} if mark else {}
    return {
        "eventName": kind,
        "dynamodb": {"SequenceNumber": number(at), "Keys": {"pk": {"S": pk}}, "NewImage": image},
    }


@pytest.mark.parametrize(
    ("records", "kept"),
    [
        pytest.param([record(NOW - 2), record(NOW - 1)], [NOW - 2, NOW - 1], id="events of today"),
        pytest.param([record(NOW - 2 * DAY), record(NOW - 1)], [NOW - 1], id="not those of before"),
        pytest.param([record(1), record(2)], [2], id="but the last one: a follower stands there"),
        pytest.param([record(NOW - 2), record(NOW - 1, event=False)], [NOW - 2], id="no counter"),
        pytest.param(
            [record(NOW - 2), record(NOW - 1, kind="MODIFY")], [NOW - 2], id="no change of an event"
        ),
        pytest.param(
            [record(NOW - 2, kind="MODIFY", mark=True), record(NOW - 1)], [NOW - 2, NOW - 1], id="but marks"
        ),
        pytest.param(
            [record(NOW - 2, pk="follower", kind="MODIFY", event=False), record(NOW - 1)],
            [NOW - 2, NOW - 1],
            id="where a follower may stand",
        ),
    ],
)
def test_what_a_follower_needs_is_kept(records: list[dict[str, Any]], kept: list[int]) -> None:
    found = durable._worth_keeping(records, NOW)
    assert [each["dynamodb"]["SequenceNumber"] for each in found] == [number(at) for at in kept]


def test_what_is_journalled_after_a_line_that_was_cut_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'[{"n":1}]\n[{"n":2}')
    journal = durable.Journal(path)
    journal.add({"n": 3})
    journal.write()
    assert list(durable.changes_in(path)) == [{"n": 1}, {"n": 3}]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_an_engine_ends_when_neither_its_journal_nor_its_log_can_be_written() -> None:
    program = (
        "from pathlib import Path; from meterstone_cli.devserver import durable; "
        "journal = durable.Journal(Path('/dev/full')); journal.add({}); journal.write(); print('answered')"
    )
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", program],
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=full,
            check=False,
        )
    assert (ended.returncode, ended.stdout) == (durable.UNWRITTEN, b"")

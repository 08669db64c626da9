"""The commands that import usage: what they count, put aside and say."""

import gzip
import json
import re
from pathlib import Path

import pytest

from meterstone.store.operations.import_records import ImportRecord, Records
from meterstone.store.operations.import_run import ImportRun
from meterstone_cli.exit_status import REFUSED
from support.commands import ORGANIZATION, Machine, row


def test_usage_is_counted_once_and_bad_rows_are_rejected(loaded: Machine, tmp_path: Path) -> None:
    usage = loaded.usage(
        "usage.jsonl",
        *(row("1"), row("1"), row("1", code="y"), row("2", external_subscription_id="t"), "oops"),
    )
    result = loaded.of("import", usage)
    aside = tmp_path / "usage.jsonl.aside.jsonl"
    assert result.exit_code == REFUSED
    assert result.stdout.splitlines() == [
        "usage.jsonl: 1 taken, 1 counted, 0 not counted, 1 were there already, 3 put aside",
        f"  put aside in {aside}",
        "    1 subscription: there is no subscription of that id",
    ]
    kept = [json.loads(line) for line in aside.read_text().splitlines()]
    assert sorted((each["line"], each["reason"]) for each in kept) == [
        (3, "another event has this transaction id"),
        (4, "there is no subscription 't'"),
        (5, "is not JSON: Expecting value (column 1)"),
    ]
    again = loaded.of("import", usage)
    assert (again.exit_code, again.stdout.splitlines()) == (
        REFUSED,
        [
            "usage.jsonl: imported already, nothing is counted twice",
            "  3 of its rows were put aside then, or no meter could read them: `uncounted` lists those",
        ],
    )

    corrected = json.dumps(row("3")).replace('"', r"\"")
    aside.write_text(aside.read_text().replace(r"\"t\"", r"\"s\"").replace("oops", corrected))
    third = loaded.of("import", aside)
    assert "2 taken, 2 counted, 0 not counted, 0 were there already, 1 put aside" in third.stdout
    assert (tmp_path / "usage.jsonl.aside.jsonl.aside.jsonl").exists()


def test_what_does_not_count_is_said(loaded: Machine) -> None:
    path = loaded.usage("usage.jsonl", *(row(f"t{n}", code="fax" if n < 2 else "x") for n in range(5)))
    result = loaded.of("import", path)
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [
            "usage.jsonl: 5 taken, 3 counted, 2 not counted, 0 were there already, 0 put aside",
            "  2 line_item: not priced: no line item is for it; it counts once one is",
            "    line 1, t0: line_item",
            "    line 2, t1: line_item",
        ],
    )


@pytest.mark.parametrize(
    ("bad", "exit_code"),
    [
        pytest.param(row("t0"), 0, id="nothing"),
        pytest.param(row("t0", code="fax"), 0, id="a row that waits for a line item"),
        pytest.param(row("t0", code="load"), REFUSED, id="a row that no meter can read"),
        pytest.param(row("t0", external_subscription_id="t"), REFUSED, id="a row of no subscription"),
        pytest.param("oops", REFUSED, id="a row that is no event"),
    ],
)
def test_a_file_that_is_imported_again_has_the_exit_status_of_before(
    loaded: Machine, bad: object, exit_code: int
) -> None:
    path = loaded.usage("usage.jsonl", bad, row("t1"), row("t2"))
    assert [loaded.of("import", path).exit_code for _ in range(3)] == [exit_code] * 3


def test_what_a_stopped_import_put_aside_is_remembered(
    loaded: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterstone.store.operations.imports._BATCH", 2)
    rows = ("oops", row("t0", code="load"), row("t1"), row("t2"))
    path = loaded.usage("usage.jsonl", *rows)
    move, calls = ImportRun.move, iter(range(9))

    def stopped(run: ImportRun, record: ImportRecord) -> None:
        if next(calls):
            raise KeyboardInterrupt
        move(run, record)

    monkeypatch.setattr(ImportRun, "move", stopped)
    loaded.of("import", path)
    monkeypatch.setattr(ImportRun, "move", move)
    assert "imported already" not in loaded.of("import", path).stdout
    assert "  2 of its rows were put aside then" in loaded.of("import", path).stdout


def test_a_file_that_breaks_off_leaves_an_import_open_and_says_how_to_go_on(loaded: Machine) -> None:
    whole = loaded.usage("usage.jsonl", *(row(f"t{n}") for n in range(2000)), "oops")
    cut, mended = loaded.path / "cut.jsonl.gz", loaded.path / "mended.jsonl.gz"
    mended.write_bytes(gzip.compress(whole.read_bytes()))
    cut.write_bytes(mended.read_bytes()[:-200])
    result = loaded.of("import", cut)
    assert result.exit_code == REFUSED
    breaks_off, stopped = result.stderr.splitlines()[-2:]
    assert "breaks off after line" in breaks_off
    digest = re.findall(r"imports --close ([0-9a-f]{16})\)", stopped)[0]
    assert "open" in loaded.of("imports").stdout
    assert loaded.of("imports", "--close", digest).exit_code == 0
    assert "imports --close" not in loaded.of("import", mended).stderr
    assert "open" not in loaded.of("imports").stdout


def test_a_row_that_counts_nowhere_because_of_itself_is_named(loaded: Machine) -> None:
    path = loaded.usage("usage.jsonl", row("t0", code="load"), row("t1"), row("t2"))
    result = loaded.of("import", path)
    assert (result.exit_code, result.stdout.splitlines()) == (
        REFUSED,
        [
            "usage.jsonl: 3 taken, 2 counted, 1 not counted, 0 were there already, 0 put aside",
            "  1 value: the meters that are for it cannot read it",
            "    line 1, t0: value: meter load: property 'n' is absent or not a number",
            "  1 could not be read: meter load: property 'n' is absent or not a number",
        ],
    )


def test_rejected_rows_are_never_overwritten(loaded: Machine, tmp_path: Path) -> None:
    for content in ("oops", "oh no"):
        loaded.of("import", loaded.usage("usage.jsonl", content))
    assert json.loads((tmp_path / "usage.jsonl.aside.jsonl").read_text())["row"] == "oops"
    assert json.loads((tmp_path / "usage.jsonl.aside.2.jsonl").read_text())["row"] == "oh no"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("u.csv", b"a,b\n1,2\n", "its header row has no column transaction_id or event_id"),
        ("u.jsonl.gz", b"junk", "breaks off after line 0: Not a gzipped file (b'ju')"),
    ],
)
def test_no_import_is_begun_of_a_file_that_cannot_be_read(
    loaded: Machine, tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    """It would stay open, and stand in the way of every rebuild."""
    (tmp_path / name).write_bytes(content)
    result = loaded.of("import", tmp_path / name)
    assert (result.exit_code, result.stdout) == (REFUSED, "")
    assert result.stderr == f"{tmp_path / name}: {reason}\n"
    assert not Records.read(loaded.table, ORGANIZATION).all


def test_a_file_of_another_kind_is_refused(loaded: Machine, tmp_path: Path) -> None:
    (tmp_path / "u.txt").write_text("")
    result = loaded.of("import", tmp_path / "u.txt")
    assert result.exit_code == REFUSED
    assert result.stderr == f"{tmp_path}/u.txt: is neither .csv nor .jsonl, plain or with .gz\n"

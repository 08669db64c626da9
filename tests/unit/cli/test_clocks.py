"""Commands that count do so by the time of day: a machine whose clock is wrong is told, and changes nothing."""

from pathlib import Path

import pytest

from meterstone.store.operations.import_records import ImportRecord, Source
from meterstone.usage.instant import SECOND, parse_instant
from meterstone_cli.exit_status import REFUSED
from support.commands import ORGANIZATION, Machine, row

NOW = parse_instant("2026-03-01T12:00:00.25Z")
COMMANDS = [
    ("rebuild",),
    ("withdraw", "--subscription", "s", "e"),
    ("replay",),
    ("load",),
    ("load", "--force"),
    ("import",),
    ("imports", "--close", "open"),
]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path, now=NOW)
    machine.work_here(monkeypatch)
    assert machine.load().exit_code == 0
    return machine


def run(machine: Machine, command: tuple[str, ...], off: int) -> tuple[int, str]:
    """Run a command where the table's clock differs from this machine's; it tells whole seconds."""
    machine.table.service_time = lambda: (machine.now - off) // SECOND * SECOND  # type: ignore[method-assign]
    if command[0] == "load":
        machine.change("customers", "{id: c}", "{id: c, name: C}")
        result = machine.load(*command[1:])
    elif command == ("import",):
        result = machine.of("import", machine.usage("usage.jsonl", row("t")))
    else:
        result = machine.of(*command)
    return result.exit_code, result.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("off", "told"),
    [
        pytest.param(600 * SECOND, "this machine's clock is 599 seconds ahead of the table's", id="ahead"),
        pytest.param(-600 * SECOND, "this machine's clock is 599 seconds behind the table's", id="behind"),
        pytest.param(22 * SECOND, "this machine's clock is 21 seconds ahead of the table's", id="a little"),
    ],
)
def test_a_wrong_clock_is_refused(machine: Machine, command: tuple[str, ...], off: int, told: str) -> None:
    if command[0] == "imports":
        ImportRecord(Source("open", "ab" * 32), NOW, run=1).write(machine.table, ORGANIZATION)
    stored = machine.items()
    status, said = run(machine, command, off)
    assert status == REFUSED
    assert f"{told}: set it right first\n" in said
    assert machine.items() == stored


@pytest.mark.parametrize("off", [0, 19 * SECOND, -19 * SECOND])
@pytest.mark.parametrize("command", [("replay",), ("load",), ("import",)], ids=" ".join)
def test_clocks_may_differ_a_little(machine: Machine, command: tuple[str, ...], off: int) -> None:
    assert run(machine, command, off)[0] == 0

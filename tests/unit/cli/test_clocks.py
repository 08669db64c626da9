"""Commands that count do so by the time of day: a machine whose clock is wrong is told, and changes nothing."""

from collections.abc import Callable

import pytest

from meterstone.usage.instant import SECOND, parse_instant
from meterstone_cli.backend import BackendBusyError
from meterstone_cli.dynamodb import DynamoDB
from support.memory_table import MemoryTable

NOW = parse_instant("2026-11-22T12:00:00.25Z")
COMMANDS: list[Callable[[DynamoDB], object]] = [
    lambda backend: backend.rebuild("o", lambda _: None, swap=True),
    lambda backend: backend.withdraw("o", ("s", "ext"), ["e"], lambda _: None, rebuild=True),
    lambda backend: backend.replay("o"),
    lambda backend: backend.make_way("o", lambda _: None),
    lambda backend: backend.import_events("o", ("f", "d"), [], now=NOW, refuse=lambda *_: None),
    lambda backend: backend.close_import("o", ("f", "d")),
]


def backend(monkeypatch: pytest.MonkeyPatch, off: int) -> DynamoDB:
    """Give a store whose clock differs from this machine's; it tells whole seconds."""
    table = MemoryTable()
    monkeypatch.setattr("meterstone.clock.now", lambda: NOW)
    monkeypatch.setattr(table, "service_time", lambda: (NOW - off) // SECOND * SECOND)
    return DynamoDB(table)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("off", "told"),
    [
        pytest.param(600 * SECOND, "this machine's clock is 599 seconds ahead of the table's", id="ahead"),
        pytest.param(-600 * SECOND, "this machine's clock is 599 seconds behind the table's", id="behind"),
        pytest.param(22 * SECOND, "this machine's clock is 21 seconds ahead of the table's", id="a little"),
    ],
)
def test_a_wrong_clock_is_refused(
    monkeypatch: pytest.MonkeyPatch, command: Callable[[DynamoDB], object], off: int, told: str
) -> None:
    it = backend(monkeypatch, off)
    with pytest.raises(BackendBusyError, match=told):
        command(it)
    assert not it.table.items()  # type: ignore[attr-defined]


@pytest.mark.parametrize("off", [0, 19 * SECOND, -19 * SECOND])
def test_clocks_may_differ_a_little(monkeypatch: pytest.MonkeyPatch, off: int) -> None:
    with pytest.raises(Exception, match="has no catalogue"):
        backend(monkeypatch, off).replay("o")

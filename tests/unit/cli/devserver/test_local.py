"""What a start keeps for the next one: the key, and when the demo was loaded."""

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meterstone.usage.instant import DAY, parse_instant
from meterstone_cli.backend import Backend
from meterstone_cli.devserver import engine, local
from meterstone_cli.files import demo
from meterstone_cli.problem import InputRefusedError
from support.fake_backend import FakeBackend

NOW = parse_instant("2026-03-01T12:00:00Z")


class Machine:
    """Starts with everything but the demo replaced: engine, table, server."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.backend = FakeBackend()
        self.now = NOW
        self.served = 0

    def start(self, *, fresh: bool = False) -> None:
        local.serve_demo(self._open, local.Ports(0, 0), self.state, self.state, fresh=fresh)

    def _open(self, _: str) -> Backend:
        return self.backend

    def serve(self, _: Path, host: str, port: int, *, on_ready: Callable[[str], None]) -> None:
        self.served += 1
        on_ready(f"http://{host}:{port}")

    @contextlib.contextmanager
    def engine(self, _: Path, state: Path, port: int, **_options: object) -> Iterator[str]:
        state.mkdir(exist_ok=True)
        yield f"http://127.0.0.1:{port}"

    def kept(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.state / "demo.json").read_text())
        return found


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path / "state")
    rows = demo._rows

    def few(path: Path) -> tuple[list[str], str]:
        found, digest = rows(path)
        return found[-20:], digest

    monkeypatch.setattr(demo, "_rows", few)
    monkeypatch.setattr(local, "serve", machine.serve)
    monkeypatch.setattr(local, "following", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(local, "begin", lambda: None)
    monkeypatch.setattr(engine, "running", machine.engine)
    monkeypatch.setattr("meterstone.clock.now", lambda: machine.now)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return machine


def test_the_first_start_loads_and_shows_what_works(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.start()
    out = capsys.readouterr().out
    assert machine.served == 1
    assert len(machine.backend.events) == 8 * 20
    assert out.count("curl") == 2
    assert out.count("secret of key1") == 4
    shown = re.search('"subscription_id":"([^"]+)"', out)
    assert shown is not None
    (catalogue,) = machine.backend.catalogues.values()
    assert shown[1] in {each.id for each in catalogue.subscriptions}
    assert (machine.state / "demo.json").stat().st_mode & 0o077 == 0


def test_a_later_start_loads_nothing_and_shows_the_same_key(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.start()
    first = machine.kept()
    machine.now += DAY
    machine.start()
    told = capsys.readouterr()
    assert machine.kept() == first
    assert machine.backend.written == 1
    assert len(machine.backend.keys) == 1
    assert told.err.count("loaded already") == 8
    assert "--fresh" not in told.err


def test_an_old_demo_is_said_to_be_old(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.start()
    machine.now += 8 * DAY
    machine.start()
    assert "The demo's shifted usage ends on 2026-03-01: `--fresh` loads it anew" in capsys.readouterr().err


def test_tables_that_were_lost_are_filled_again_up_to_now(machine: Machine) -> None:
    machine.start()
    machine.backend = FakeBackend()
    machine.now += DAY
    machine.start()
    assert machine.kept()["ends"] == NOW + DAY
    assert len(machine.backend.events) == 8 * 20


def test_a_revoked_key_is_replaced(machine: Machine) -> None:
    machine.start()
    machine.backend.revoke_key("key1")
    machine.start()
    assert machine.kept()["key"] == "secret of key2"


def test_fresh_forgets(machine: Machine) -> None:
    machine.start()
    (machine.state / "tables").mkdir()
    machine.backend = FakeBackend()
    machine.start(fresh=True)
    assert not (machine.state / "tables").exists()


def test_another_versions_demo_says_what_to_do(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.start()
    (organization_id, catalogue) = machine.backend.catalogues.popitem()
    other = type(catalogue)(catalogue.organization, plans=(type(catalogue.plans[0])("old"),))
    machine.backend.catalogues[organization_id] = other
    with pytest.raises(InputRefusedError, match="plans 'old': is stored and cannot be removed"):
        machine.start()
    assert "`--fresh` loads it anew" in capsys.readouterr().err


def test_no_setting_of_the_persons_aws_is_left(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    machine.start()
    assert "AWS_PROFILE" not in os.environ
    assert os.environ["AWS_ENDPOINT_URL_DYNAMODB"] == "http://127.0.0.1:0"

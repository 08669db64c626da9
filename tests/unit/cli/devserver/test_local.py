"""What a start keeps for the next one: the key, and when the demo was loaded."""

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from copy import replace
from pathlib import Path

import pytest

from meterstone.store.catalogue.api_keys import list_keys, revoke_key
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.load import StoredCatalogue, read_stored
from meterstone.usage.instant import DAY, parse_instant
from meterstone_cli.catalogue import Catalogue, read_catalogue
from meterstone_cli.devserver import engine, follower, local
from meterstone_cli.files import demo
from meterstone_cli.problem import InputRefusedError
from meterstone_cli.tree import DEMO
from support.memory_table import MemoryTable
from support.written import write_stored

NOW = parse_instant("2026-03-01T12:00:00Z")


class Machine:
    """Starts with everything but the demo replaced: engine, table, server."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.table = MemoryTable()
        self.now = NOW
        self.served = 0

    def start(self, *, fresh: bool = False) -> None:
        local.serve_demo(local.Ports(0, 0), self.state, self.state, fresh=fresh)

    def key(self) -> str:
        """Give the id of the only key that is good."""
        (key,) = [each.id for each in list_keys(self.table) if each.revoked_at is None]
        return key

    def events(self) -> int:
        """Count the events in the log."""
        return sum("#events#" in key.pk for key in self.table.items())

    def catalogue(self) -> StoredCatalogue:
        """Give the stored catalogue."""
        found = read_stored(self.table, read_catalogue(DEMO / "catalogue")[0].organization.id)
        assert found is not None
        return found

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
    monkeypatch.setattr(Table, "from_environment", classmethod(lambda _: machine.table))
    monkeypatch.setattr(local, "create_table", lambda _: True)
    monkeypatch.setattr(local, "serve", machine.serve)
    monkeypatch.setattr(follower, "following", lambda _: contextlib.nullcontext())
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
    assert machine.events() == 8 * 20
    assert out.count("curl") == 2
    assert out.count(str(machine.kept()["key"])) == 4
    shown = re.search('"subscription_id":"([^"]+)"', out)
    assert shown is not None
    assert shown[1] in {each.id for each in machine.catalogue().terms.values()}
    assert (machine.state / "demo.json").stat().st_mode & 0o077 == 0


def test_a_later_start_loads_nothing_and_shows_the_same_key(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.start()
    first, stored, key = machine.kept(), machine.catalogue(), machine.key()
    machine.now += DAY
    machine.start()
    told = capsys.readouterr()
    assert machine.kept() == first
    assert machine.catalogue() == stored
    assert machine.key() == key
    assert told.err.count("loaded already") == 8
    assert "--fresh" not in told.err


def test_an_old_demo_is_said_to_be_old(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.start()
    machine.now += 8 * DAY
    machine.start()
    assert "The demo's shifted usage ends on 2026-03-01: `--fresh` loads it anew" in capsys.readouterr().err


def test_tables_that_were_lost_are_filled_again_up_to_now(machine: Machine) -> None:
    machine.start()
    machine.table = MemoryTable()
    machine.now += DAY
    machine.start()
    assert machine.kept()["ends"] == NOW + DAY
    assert machine.events() == 8 * 20


def test_a_revoked_key_is_replaced(machine: Machine) -> None:
    machine.start()
    first = machine.kept()["key"]
    assert revoke_key(machine.table, machine.key(), machine.now)
    machine.start()
    assert machine.kept()["key"] != first
    assert machine.kept()["key_id"] == machine.key()


def test_fresh_forgets(machine: Machine) -> None:
    machine.start()
    (machine.state / "tables").mkdir()
    machine.table = MemoryTable()
    machine.start(fresh=True)
    assert not (machine.state / "tables").exists()


def test_another_versions_demo_says_what_to_do(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.start()
    stored = machine.catalogue()
    name, price = min(stored.prices.items())
    other = replace(price, amount=price.amount + 1, tiers=())
    catalogue = Catalogue(stored.account.organization, meters=stored.account.meters, prices=(other,))
    write_stored(machine.table, catalogue)
    with pytest.raises(InputRefusedError, match=f"id '{name}'.*cannot change"):
        machine.start()
    assert "`--fresh` loads it anew" in capsys.readouterr().err


def test_no_setting_of_the_persons_aws_is_left(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    machine.start()
    assert "AWS_PROFILE" not in os.environ
    assert os.environ["AWS_ENDPOINT_URL_DYNAMODB"] == "http://127.0.0.1:0"

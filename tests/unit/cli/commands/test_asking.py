"""Before what cannot be undone a person at a terminal is asked; a script is not."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meterstone.store.catalogue.api_keys import create_key, list_keys
from meterstone.store.operations.import_records import ImportRecord, Source
from meterstone_cli import asking
from meterstone_cli.__main__ import app
from meterstone_cli.devserver import local
from support.commands import NOW, ORGANIZATION, Machine, row

OF = ("-o", ORGANIZATION)


@pytest.fixture
def machine(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    assert machine.load().exit_code == 0
    assert machine.of("import", machine.usage("u.jsonl", row("a"))).exit_code == 0
    create_key(machine.table, ORGANIZATION, "ci", NOW)
    ImportRecord(Source("lost.csv", "ab" * 32), NOW, run=1).write(machine.table, ORGANIZATION)
    kept = tmp_path / "state" / "tables"
    kept.mkdir(parents=True)
    (kept / "dynamodb.json").touch()
    monkeypatch.setattr(local, "serve_demo", lambda *_, **__: (kept / "dynamodb.json").unlink())
    return machine


def commands(machine: Machine) -> dict[str, Sequence[str]]:
    key_id = list_keys(machine.table)[0].id
    return {
        "keys revoke": ("keys", "revoke", key_id),
        "imports --close": ("imports", "--close", "lost.csv", *OF),
        "withdraw": ("withdraw", "--subscription", "s", "a", *OF),
        "rebuild --abandon": ("rebuild", "--abandon", *OF),
        "start --fresh": ("start", "--fresh", "--state", str(machine.path / "state")),
    }


NAMES = ("keys revoke", "imports --close", "withdraw", "rebuild --abandon", "start --fresh")


def state(machine: Machine) -> object:
    return machine.items(), sorted(machine.path.rglob("*"))


@pytest.mark.parametrize("name", NAMES)
def test_who_says_no_changes_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(asking, "at_terminal", lambda: True)
    before = state(machine)
    result = CliRunner().invoke(app, commands(machine)[name], input="n\n")
    assert result.exit_code == 1
    assert "[y/N]" in result.stderr
    assert state(machine) == before


@pytest.mark.parametrize(
    ("at_terminal", "options", "answer", "asked"),
    [
        (True, (), "y\n", True),
        (True, ("--yes",), "", False),
        (True, ("-y",), "", False),
        (False, (), "", False),
    ],
    ids=["yes", "--yes", "-y", "script"],
)
@pytest.mark.parametrize("name", NAMES)
def test_who_says_yes_or_is_a_script_goes_on(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    at_terminal: bool,  # noqa: FBT001
    options: Sequence[str],
    answer: str,
    asked: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setattr(asking, "at_terminal", lambda: at_terminal)
    result = CliRunner().invoke(app, [*commands(machine)[name], *options], input=answer)
    assert result.exit_code == 0, result.output
    assert ("[y/N]" in result.stderr) is asked


@pytest.mark.parametrize(
    ("stdin", "stderr", "expected"),
    [(True, True, True), (True, False, False), (False, True, False)],
    ids=["both", "stderr is a file", "stdin is a pipe"],
)
def test_a_person_must_see_the_question_and_be_able_to_answer(
    monkeypatch: pytest.MonkeyPatch,
    stdin: bool,  # noqa: FBT001
    stderr: bool,  # noqa: FBT001
    expected: bool,  # noqa: FBT001
) -> None:
    def terminal(is_it: bool) -> object:  # noqa: FBT001
        return type("Stream", (), {"isatty": lambda _: is_it})()

    streams: dict[str, Callable[[], object] | object] = {"stdin": terminal(stdin), "stderr": terminal(stderr)}
    for name, stream in streams.items():
        monkeypatch.setattr(f"sys.{name}", stream)
    assert asking.at_terminal() is expected


def test_a_first_start_has_nothing_to_forget(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(asking, "at_terminal", lambda: True)
    started = []
    monkeypatch.setattr(local, "serve_demo", lambda *_, **__: started.append(True))
    result = CliRunner().invoke(app, ["start", "--fresh", "--state", str(tmp_path / "none")])
    assert (result.exit_code, result.stderr, started) == (0, "", [True])

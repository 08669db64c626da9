"""The commands: what they say, and the exit status by which a script can tell what happened."""

import os
from pathlib import Path

import pytest
from botocore.exceptions import NoCredentialsError
from moto import mock_aws

from meterstone.store.catalogue.api_keys import list_keys
from meterstone.store.dynamodb.table import StoreUnavailableError
from meterstone_cli.catalogue import read_catalogue
from meterstone_cli.exit_status import REFUSED, UNAVAILABLE
from meterstone_cli.files import demo
from meterstone_cli.tree import DEMO
from support.commands import ORGANIZATION, Machine


@pytest.mark.parametrize(
    "command",
    [
        ("import", __file__),
        ("keys", "create"),
        ("unmatched",),
        ("uncounted", "--summary"),
        ("imports",),
        ("event", "x"),
    ],
    ids=" ".join,
)
def test_an_organization_without_catalogue_is_said_to_have_none(
    machine: Machine, command: tuple[str, ...]
) -> None:
    """Its id may be mistyped: nothing is listed as if there were nothing, and no key made that opens nothing."""
    result = machine.of(*command)
    assert (result.exit_code, result.stdout) == (REFUSED, "")
    assert result.stderr == f"the organization {ORGANIZATION} has no catalogue: load one first\n"
    assert not machine.items()


def test_an_organization_is_named_in_any_case(loaded: Machine) -> None:
    assert loaded.run("keys", "create", "-o", ORGANIZATION.upper()).exit_code == 0
    assert [key.organization_id for key in list_keys(loaded.table)] == [ORGANIZATION]


@pytest.mark.parametrize("command", ["unmatched", "imports"])
def test_nothing_is_listed_where_there_is_nothing(loaded: Machine, command: str) -> None:
    result = loaded.of(command)
    assert (result.exit_code, result.output) == (0, "")


def test_a_table_is_made_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    # An engine of other tests may be running: the mock stands for AWS.
    monkeypatch.delenv("AWS_ENDPOINT_URL_DYNAMODB", raising=False)
    with mock_aws():
        assert machine.run("table", "create", "--table", "t").stdout == "t: created\n"
        assert machine.run("table", "create", "--table", "t").stdout == "t: is there already\n"


@pytest.mark.parametrize(
    "command", [("keys", "list"), ("import", __file__, "-o", ORGANIZATION)], ids=["read", "written"]
)
def test_an_unavailable_store_has_its_own_exit_status(
    loaded: Machine, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StoreUnavailableError("get: Timeout") from NoCredentialsError()

    for name in ("get", "query", "batch_get"):
        monkeypatch.setattr(loaded.table, name, refuse)
    result = loaded.run(*command)
    assert result.exit_code == UNAVAILABLE
    assert result.stderr == "the table does not answer: Unable to locate credentials\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("load",),
        ("load", "/nowhere"),
        ("serve", "--port", "70000"),
        ("keys", "create"),
        ("import", "-x"),
    ],
)
def test_usage_errors(machine: Machine, arguments: tuple[str, ...]) -> None:
    assert machine.run(*arguments).exit_code == 2


@pytest.mark.parametrize(
    "command",
    [(), ("start",), ("load",), ("import",), ("keys", "create"), ("catalogue", "check"), ("serve",)],
)
def test_help(machine: Machine, command: tuple[str, ...]) -> None:
    result = machine.run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_the_table_needs_a_region(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("TABLE_NAME", "t")
    result = machine.run("keys", "list")
    assert result.exit_code == UNAVAILABLE
    assert result.stderr.startswith(
        "You must specify a region. Region and credentials come from the environment"
    )


def test_the_demo_loads_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_rows", _few(demo._rows))
    first, second = machine.run("demo"), machine.run("demo")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stderr.count("50 events counted") == 8
    assert second.stderr.count("loaded already") == 8
    organization = read_catalogue(DEMO / "catalogue")[0].organization.id
    assert second.stdout == f"{organization}\n"


def _few(rows: object) -> object:
    def few(path: Path) -> tuple[list[str], str]:
        found, digest = rows(path)  # type: ignore[operator]
        return found[-50:], digest

    return few

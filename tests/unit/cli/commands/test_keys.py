"""The commands of API keys: how they are made, listed and revoked."""

import json

import pytest

from meterstone.store.catalogue.accounts import Accounts
from meterstone.store.catalogue.api_keys import list_keys
from meterstone_cli.exit_status import REFUSED
from support.commands import ORGANIZATION, Machine


def test_keys_are_made_listed_and_revoked(loaded: Machine) -> None:
    made = loaded.of("keys", "create", "--name", "mine")
    key_id = made.stderr.split()[1]
    assert (made.exit_code, made.stdout[:4]) == (0, "mst_")
    listed = loaded.run("keys", "list")
    assert (
        listed.stdout == f"{key_id}\t{ORGANIZATION}\t2026-03-01T12:00:00Z\t-\tmine\tread,ingest,catalogue\n"
    )
    assert made.stdout.strip() not in listed.stdout
    loaded.now += 1_000_000
    assert loaded.run("keys", "revoke", key_id).stdout == f"{key_id}: revoked\n"
    assert "\t2026-03-01T12:00:01Z\t" in loaded.run("keys", "list").stdout
    unknown = loaded.run("keys", "revoke", "key9")
    assert (unknown.exit_code, unknown.stderr) == (REFUSED, "there is no key key9\n")


@pytest.mark.parametrize(
    ("options", "scopes"),
    [
        pytest.param((), ["read", "ingest", "catalogue"], id="none: all"),
        pytest.param(("--scope", "read"), ["read"], id="one"),
        pytest.param(("--scope", "catalogue", "--scope", "read"), ["read", "catalogue"], id="two"),
        pytest.param(("--scope", "ingest", "--scope", "ingest"), ["ingest"], id="one twice"),
    ],
)
def test_a_key_s_scopes_are_chosen_and_shown(
    loaded: Machine, options: tuple[str, ...], scopes: list[str]
) -> None:
    made = loaded.of("keys", "create", *options, "--json")
    assert json.loads(made.stdout)["scopes"] == scopes
    assert json.loads(loaded.run("keys", "list", "--json").stdout)["scopes"] == scopes
    assert loaded.run("keys", "list").stdout.endswith(f"\t{','.join(scopes)}\n")
    account = Accounts(loaded.table).account(json.loads(made.stdout)["key"])
    assert account is not None
    assert account.scopes == set(scopes)


def test_a_key_is_shown_with_its_scopes(loaded: Machine) -> None:
    said = loaded.of("keys", "create", "--scope", "read").stderr
    assert "with the scopes read;" in said


@pytest.mark.parametrize("scope", ["write", "READ", "read,ingest", "", "all"])
def test_an_unknown_scope_is_refused_by_name(loaded: Machine, scope: str) -> None:
    refused = loaded.of("keys", "create", "--scope", "read", "--scope", scope)
    assert refused.exit_code == 2
    assert f"'{scope}' is not one of 'read', 'ingest', 'catalogue'" in refused.stderr
    assert not list_keys(loaded.table)


def test_keys_are_listed_of_one_organization(loaded: Machine) -> None:
    other = "7f9e0e0e-0000-4000-8000-000000000002"
    loaded.change("organization", ORGANIZATION, other)
    loaded.change("subscriptions", "id: s", "id: other")
    assert loaded.load().exit_code == 0
    for organization in (ORGANIZATION, other):
        assert loaded.run("keys", "create", "-o", organization, "--name", organization[0]).exit_code == 0

    def names(*options: str) -> list[str]:
        return [line.split("\t")[4] for line in loaded.run("keys", "list", *options).stdout.splitlines()]

    assert sorted(names()) == ["6", "7"]
    assert names("-o", other.upper()) == ["7"]
    assert names("--organization", ORGANIZATION) == ["6"]
    unknown = loaded.run("keys", "list", "-o", "8f9e0e0e-0000-4000-8000-000000000003")
    assert (unknown.exit_code, unknown.stdout) == (REFUSED, "")
    assert "has no catalogue" in unknown.stderr

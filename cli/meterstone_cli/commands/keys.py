"""The commands of API keys."""

from typing import Annotated

import typer

from meterstone import clock
from meterstone.scope import ALL_SCOPES, Scope, format_scopes
from meterstone.store.catalogue import api_keys
from meterstone.usage.instant import format_instant
from meterstone_cli import asking
from meterstone_cli.exit_status import REFUSED
from meterstone_cli.options import AnyOrganization, Json, Organization, TableName, Yes, tell_as_json
from meterstone_cli.progress import printable, say
from meterstone_cli.session import known_account, open_table


def create(
    organization: Organization,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            help="What the key opens: usage, sending events, records. Repeatable; all if none is given."
        ),
    ] = None,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """Make an API key and print it, this once: only its SHA-256 is stored."""
    table = open_table(table_name)
    known_account(table, organization)
    key, key_id = api_keys.create_key(table, organization, name, clock.now(), scope or ())
    scopes = format_scopes(scope or ALL_SCOPES)
    if as_json:
        told = {"id": key_id, "organization": organization, "name": name, "scopes": scopes.split(",")}
        tell_as_json(told | {"key": key})
        return
    say(f"key {key_id} of organization {organization} with the scopes {scopes}; it is shown once:")
    typer.echo(key)


def list_(
    organization: AnyOrganization = None, as_json: Json = False, table_name: TableName = "meterstone"
) -> None:
    """List the API keys: id, organization, when made, when revoked, name, scopes, parted by tabs.

    They are all organizations' keys, unless one is named.
    """
    table = open_table(table_name)
    found = [
        key
        for key in api_keys.list_keys(table)
        if organization is None or key.organization_id == organization
    ]
    if organization is not None and not found:
        known_account(table, organization)
    for key in found:
        made = format_instant(key.created_at)
        revoked = None if key.revoked_at is None else format_instant(key.revoked_at)
        scopes = format_scopes(key.scopes)
        if as_json:
            told = {"id": key.id, "organization": key.organization_id, "name": key.name}
            tell_as_json(told | {"created": made, "revoked": revoked, "scopes": scopes.split(",")})
        else:
            line = (key.id, key.organization_id, made, revoked or "-", printable(key.name), scopes)
            typer.echo("\t".join(line))


def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `keys list` shows it.")],
    yes: Yes = False,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """Revoke an API key; where it is remembered it works for up to 30 seconds more."""
    table = open_table(table_name)
    asking.confirm(f"Revoke the key {printable(key_id)}? It cannot be made good again.", yes=yes)
    if not api_keys.revoke_key(table, key_id, clock.now()):
        say(f"there is no key {printable(key_id)}")
        raise typer.Exit(REFUSED)
    if as_json:
        tell_as_json({"id": key_id, "revoked": True})
        return
    typer.echo(f"{key_id}: revoked")

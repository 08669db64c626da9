"""The commands of API keys."""

from typing import Annotated

import typer

from meterstone import clock
from meterstone.store.catalogue import api_keys
from meterstone.usage.instant import format_instant
from meterstone_cli.exit_status import REFUSED
from meterstone_cli.options import Organization, TableName
from meterstone_cli.progress import say
from meterstone_cli.session import known_account, open_table


def create(
    organization: Organization,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    table_name: TableName = "meterstone",
) -> None:
    """Make an API key and print it, this once: only its SHA-256 is stored."""
    table = open_table(table_name)
    known_account(table, organization)
    key, key_id = api_keys.create_key(table, organization, name, clock.now())
    say(f"key {key_id} of organization {organization}; it is shown once:")
    typer.echo(key)


def list_(table_name: TableName = "meterstone") -> None:
    """List the API keys: id, organization, when made, when revoked, name, parted by tabs."""
    for key in api_keys.list_keys(open_table(table_name)):
        revoked = "-" if key.revoked_at is None else format_instant(key.revoked_at)
        typer.echo(
            "\t".join((key.id, key.organization_id, format_instant(key.created_at), revoked, key.name))
        )


def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `keys list` shows it.")],
    table_name: TableName = "meterstone",
) -> None:
    """Revoke an API key; where it is remembered it works for up to 30 seconds more."""
    if not api_keys.revoke_key(open_table(table_name), key_id, clock.now()):
        say(f"there is no key {key_id}")
        raise typer.Exit(REFUSED)
    typer.echo(f"{key_id}: revoked")

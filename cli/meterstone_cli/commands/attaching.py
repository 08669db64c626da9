"""The command that makes a restored table ready for a stack."""

from typing import Annotated

import typer

from meterstone.store.dynamodb.settings import TableSettings, read_settings, switch_on
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.attach import Rebuilt, Standing, rebuild_each, standing
from meterstone.usage.instant import format_instant
from meterstone_cli import session
from meterstone_cli.exit_status import REFUSED
from meterstone_cli.options import TableName
from meterstone_cli.progress import printable, say


def attach(
    table_name: TableName = "meterstone",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    at_once: Annotated[
        int, typer.Option(min=1, max=50, help="How many organizations are rebuilt at once.")
    ] = 10,
) -> None:
    """Make a restored table ready for a stack: its settings, then a rebuild of every organization.

    Switches on point-in-time recovery, deletion protection and the stream, which a restored table lacks. Then it
    counts all events of every organization anew, since those that were not counted at the restore point are on no
    stream. A rebuild takes 3 minutes and more.

    When all is done, it prints the two parameters of the stack, ExistingTableName and ExistingTableStreamArn. Do
    not open a stack on the table before. Stopped, it is run again, and goes on. The exit status is 1 if an
    organization could not be rebuilt.
    """
    table = session.open_table(table_name)
    settings = read_settings(table)
    session.refuse_a_wrong_clock(table)
    for setting in settings.missing:
        typer.echo(f"{setting}: {'would be switched on' if dry_run else 'switching on'}")
        if not dry_run:
            switch_on(table, setting)
    found = standing(table, settings.created_at)
    _tell_standing(found)
    if dry_run:
        for each in found.left:
            typer.echo(f"{each}: would be rebuilt")
        return
    refused = _rebuild(table_name, table, found, at_once)
    for each in found.half_loaded:
        say(f"{each}: its catalogue was being loaded at the restore point: load it again before you open")
    if refused:
        say(f"{refused} could not be rebuilt: do what is said above, and run this again")
        raise typer.Exit(REFUSED)
    _tell_attached(table_name, read_settings(table))


def _rebuild(table_name: str, table: Table, found: Standing, at_once: int) -> int:
    """Rebuild what is left, and say what became of each organization. Return how many could not be rebuilt."""
    workers = min(at_once, len(found.left))
    tables = [table, *(session.open_table(table_name) for _ in range(workers - 1))]
    refused = 0
    for number, done in enumerate(rebuild_each(tables, found.left, session.surroundings()), start=1):
        refused += done.report is None
        typer.echo(f"{_told(done)} ({number} of {len(found.left)})")
    return refused


def _told(done: Rebuilt) -> str:
    if done.report is None:
        return f"{done.organization_id}: not rebuilt: {printable(done.refused)}"
    differ = len(done.report.differences)
    return (
        f"{done.organization_id}: {done.report.events} events counted, {differ} differ from what was restored"
    )


def _tell_standing(found: Standing) -> None:
    if found.rebuilt:
        typer.echo(f"{len(found.rebuilt)} were rebuilt before, since the table was restored")


def _tell_attached(table_name: str, settings: TableSettings) -> None:
    point = "the restore point" if settings.restored_to is None else format_instant(settings.restored_to)
    say(
        f"Events that came in after {point} are not in this table. How many there were is not known here: have "
        "clients send them again, and import files again that were imported since. "
        "An event that is here already counts once, by its transaction id."
    )
    typer.echo("the table is ready; the stack's parameters:")
    typer.echo(f"ExistingTableName={table_name} ExistingTableStreamArn={settings.stream}")

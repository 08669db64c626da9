"""The command that says what is wrong and what to do."""

from collections.abc import Iterator

import typer

from meterstone import clock
from meterstone.store.dynamodb.table import StoreUnavailableError
from meterstone_cli.diagnosis import Finding, examine, failed
from meterstone_cli.exit_status import REFUSED, TableNotOpenedError
from meterstone_cli.options import AnyOrganization, Json, TableName, tell_as_json
from meterstone_cli.progress import printable
from meterstone_cli.session import open_table


def doctor(
    organization: AnyOrganization = None, as_json: Json = False, table_name: TableName = "meterstone"
) -> None:
    """Look at the table, this machine's clock and each organization: what is wrong, and what to do.

    Looked at are: whether the table answers, its keys, stream, time to live and backups; the clock; the
    quarantine; whether the catalogue is written, by which rules usage was counted, open rebuilds, purges and
    imports, recounts that should be done, how far counting is behind the event log, and events that do not count.
    Nothing is changed. The exit status is 0 if all is well, 1 otherwise.
    """
    well = True
    for each in _findings(table_name, organization):
        well = well and each.ok
        if as_json:
            tell_as_json(each._asdict())
            continue
        of = "" if each.organization is None else f"{each.organization} "
        typer.echo(f"{'ok   ' if each.ok else 'WRONG'} {of}{each.check}: {printable(each.found)}")
        if each.remedy:
            typer.echo(f"      -> {printable(each.remedy)}")
    if not well:
        raise typer.Exit(REFUSED)


def _findings(table_name: str, organization: str | None) -> Iterator[Finding]:
    try:
        yield from examine(open_table(table_name), clock.now(), organization)
    except TableNotOpenedError as error:
        remedy = "set region and credentials; `meterstone start` prints those of its own table"
        yield Finding("table", ok=False, found=str(error).partition(" Region and")[0], remedy=remedy)
    except StoreUnavailableError as error:
        yield failed(error)

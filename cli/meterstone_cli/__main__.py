"""The command line: `meterstone`, or `python -m meterstone_cli`."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from meterstone import clock
from meterstone.usage.instant import format_instant
from meterstone.usage.receipt import OF_ITSELF
from meterstone_cli import __version__
from meterstone_cli.backend import Backend, BackendBusyError, BackendUnavailableError, demand_catalogue
from meterstone_cli.catalogue import Beginning, Changes, read_catalogue
from meterstone_cli.commands import recovering
from meterstone_cli.devserver import engine, local
from meterstone_cli.devserver.server import HOST, PORT, ServerError, serve
from meterstone_cli.files.loading import FileReport, import_file, load_catalogue
from meterstone_cli.options import Organization, TableName
from meterstone_cli.problem import InputRefusedError
from meterstone_cli.progress import say
from meterstone_cli.tree import ENGINE, STATE, TEMPLATE

REFUSED = 1
UNAVAILABLE = 3
INTERRUPTED = 128 + signal.SIGINT

_ENGINE_PORT = 8766
_MOST_SHOWN = 20
_TRACEBACK = "METERSTONE_TRACEBACK"
_WHERE_FROM = "Region and credentials come from the environment; `start` prints those of its own table."


class _Edge(TyperGroup):
    """The outermost edge: what is expected to go wrong becomes lines and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        ctx.obj = open_backend
        try:
            return super().invoke(ctx)
        except InputRefusedError as error:
            for problem in error.problems:
                say(str(problem))
            raise typer.Exit(REFUSED) from error
        except (BackendBusyError, engine.EngineError, ServerError) as error:
            say(str(error))
            raise typer.Exit(REFUSED) from error
        except BackendUnavailableError as error:
            say(str(error))
            raise typer.Exit(UNAVAILABLE) from error
        except OSError as error:
            say(f"{error.filename or 'a file'}: {error.strerror or error}")
            raise typer.Exit(REFUSED) from error
        except KeyboardInterrupt as error:
            say("Interrupted")
            raise typer.Exit(INTERRUPTED) from error


app = typer.Typer(
    cls=_Edge,
    name="meterstone",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Usage analytics and pricing from counters in DynamoDB.\n\n"
    "Exit status: 0 done, 1 input was refused, 2 the command was not understood, 3 the store is unavailable.\n\n"
    "The table is found as boto3 finds it: region, credentials and AWS_ENDPOINT_URL_DYNAMODB come from the "
    "environment.",
)
table = typer.Typer(no_args_is_help=True, help="The DynamoDB table.")
catalogue = typer.Typer(no_args_is_help=True, help="Catalogues: folders of YAML or JSON files.")
keys = typer.Typer(no_args_is_help=True, help="API keys.")
app.add_typer(recovering.app)
app.add_typer(table, name="table")
app.add_typer(catalogue, name="catalogue")
app.add_typer(keys, name="keys")

Port = Annotated[
    int, typer.Option(min=1, max=65535, help="Port of 127.0.0.1 on which both endpoints are served.")
]
Folder = Annotated[
    Path, typer.Argument(exists=True, file_okay=False, help="Folder of the catalogue's files.")
]


def _tell_version(wanted: bool) -> None:  # noqa: FBT001 - typer's
    if wanted:
        typer.echo(f"meterstone {__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Tell the version.")
    ] = False,
) -> None:
    """Take what stands before a command."""


def open_backend(name: str) -> Backend:
    """Open the store of a table."""
    # Not at the top: `catalogue check` and `--help` need no AWS client, which takes a quarter of a second.
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    from meterstone.store.dynamodb.table import Table  # noqa: PLC0415
    from meterstone_cli.dynamodb import DynamoDB  # noqa: PLC0415

    os.environ["TABLE_NAME"] = name
    try:
        return DynamoDB(Table.from_environment())
    except BotoCoreError as error:
        raise BackendUnavailableError(f"{error} {_WHERE_FROM}") from error


@app.command()
def start(
    port: Port = PORT,
    engine_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the embedded DynamoDB.")
    ] = _ENGINE_PORT,
    engine_environment: Annotated[
        Path,
        typer.Option("--engine", envvar="METERSTONE_ENGINE", help="Virtual environment that has ministack."),
    ] = ENGINE,
    state: Annotated[Path, typer.Option(help="Where tables and the key are kept.")] = STATE,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what is kept, and load the demo anew.")
    ] = False,
) -> None:
    """Serve both endpoints on this machine, with the demo's real usage loaded."""
    local.serve_demo(open_backend, local.Ports(port, engine_port), engine_environment, state, fresh=fresh)


@app.command("demo")
def demo_command(table_name: TableName = "meterstone") -> None:
    """Load the demo's catalogue and usage into the table; shifted traces end now."""
    typer.echo(local.load(open_backend(table_name), clock.now()))


@app.command("serve")
def serve_command(port: Port = PORT, table_name: TableName = "meterstone") -> None:
    """Serve both endpoints on this machine, from the table."""
    os.environ["TABLE_NAME"] = table_name
    serve(TEMPLATE, HOST, port, on_ready=lambda url: say(f"Serving on {url}; Ctrl-C ends it"))


@table.command("create")
def create_table(table_name: TableName = "meterstone") -> None:
    """Make the table, if it is not there."""
    made = open_backend(table_name).create_table()
    typer.echo(f"{table_name}: {'created' if made else 'is there already'}")


@catalogue.command("check")
def check_catalogue(folder: Folder) -> None:
    """Check a catalogue's files, reporting everything that is wrong with them. Needs no table."""
    found, _ = read_catalogue(folder)
    kinds = ("customers", "plans", "meters", "prices", "subscriptions")
    typer.echo(", ".join(f"{len(getattr(found, kind))} {kind}" for kind in kinds))


@app.command("load")
def load_command(
    folder: Folder,
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute",
            help="Take new line items that begin in the past, too; then do as `replay` and `rebuild` do.",
        ),
    ] = False,
    table_name: TableName = "meterstone",
) -> None:
    """Load a catalogue. All of it is checked first; the same one again changes nothing.

    What begins in the past, and has events already, is told: they are not counted by it yet. With --recompute they
    are: what was put by is counted, then all is counted again from the log, and what differs is listed. That takes
    3 minutes and more, in which both endpoints answer, and events come in. Stopped, it is run again.
    """
    backend = open_backend(table_name)
    changes = load_catalogue(backend, folder, clock.now(), recompute=recompute)
    typer.echo(_told(changes))
    for line in _told_beginnings(changes.beginnings):
        typer.echo(line)
    organization_id = read_catalogue(folder)[0].organization.id
    if recompute:
        _recompute(backend, organization_id)
        return
    recovering.tell_outdated(backend, organization_id)
    if changes.beginnings:
        typer.echo("`replay` counts the events that were put by; `rebuild` counts all that are in the log")
    if changes.problems:
        say(
            "usage was counted by the old catalogue while this one was being written: run rebuild, because of"
        )
        for problem in changes.problems:
            say(str(problem))
        raise typer.Exit(REFUSED)


@app.command("import")
def import_command(
    files: Annotated[
        list[Path], typer.Argument(exists=True, dir_okay=False, help="CSV or JSONL, plain or .gz.")
    ],
    organization: Organization,
    aside: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Where rows are put aside. [default: beside the file]"
        ),
    ] = None,
    table_name: TableName = "meterstone",
) -> None:
    """Count the events of files, each once however often it comes.

    A row of JSONL is an object with transaction_id, code, external_subscription_id (or external_customer_id),
    timestamp (RFC 3339, or seconds since 1970) and properties. CSV has the same names in its header row; its
    other columns are the properties.

    A row that is not taken is put aside, in FILE.aside.jsonl, with its line and the reason. Correct what stands
    there and import that file. The exit status is 1 if a row is put aside, or counts nowhere since no meter can
    read it; it is 0 where rows only wait for line items.
    """
    backend = open_backend(table_name)
    demand_catalogue(backend, organization)
    reports = []
    for path in files:
        report = import_file(backend, organization, path, clock.now(), aside)
        reports.append(report)
        for line in _told_file(path.name, report):
            typer.echo(line)
    if any(report.aside or OF_ITSELF & report.events.nowhere.keys() for report in reports):
        raise typer.Exit(REFUSED)


@keys.command("create")
def create_key(
    organization: Organization,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    table_name: TableName = "meterstone",
) -> None:
    """Make an API key and print it, this once: only its SHA-256 is stored."""
    backend = open_backend(table_name)
    demand_catalogue(backend, organization)
    made = backend.create_key(organization, name)
    say(f"key {made.id} of organization {organization}; it is shown once:")
    typer.echo(made.key)


@keys.command("list")
def list_keys(table_name: TableName = "meterstone") -> None:
    """List the API keys: id, organization, when made, when revoked, name, parted by tabs."""
    for key in open_backend(table_name).list_keys():
        revoked = "-" if key.revoked_at is None else format_instant(key.revoked_at)
        typer.echo(
            "\t".join((key.id, key.organization_id, format_instant(key.created_at), revoked, key.name))
        )


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `keys list` shows it.")],
    table_name: TableName = "meterstone",
) -> None:
    """Revoke an API key; where it is remembered it works for up to 30 seconds more."""
    if not open_backend(table_name).revoke_key(key_id):
        say(f"there is no key {key_id}")
        raise typer.Exit(REFUSED)
    typer.echo(f"{key_id}: revoked")


def _recompute(backend: Backend, organization_id: str) -> None:
    try:
        recovering.tell_replayed(backend.replay(organization_id))
        recovering.tell_rebuilt(backend.rebuild(organization_id, say, swap=True))
    except (BackendBusyError, BackendUnavailableError, KeyboardInterrupt):
        say(
            "the catalogue is loaded, but not all is counted by it: "
            "run `load --recompute` again, or `replay` and then `rebuild`, because of"
        )
        raise


def _told(changes: Changes) -> str:
    if changes.nothing:
        return "loaded already: nothing to change"
    parts = []
    for what, counts in (("added", changes.added), ("changed", changes.changed)):
        if counts:
            parts.append(f"{what}: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    return "; ".join(parts)


def _told_beginnings(beginnings: Sequence[Beginning]) -> Iterator[str]:
    if not beginnings:
        return
    yield "these begin in the past, and events for them may have come already:"
    for each in beginnings[:_MOST_SHOWN]:
        yield f"  {each.line_item.id} of subscription {each.subscription.id}: {format_instant(each.since)}"
    if len(beginnings) > _MOST_SHOWN:
        yield f"  and {len(beginnings) - _MOST_SHOWN} more"


def _told_file(name: str, report: FileReport) -> list[str]:
    events = report.events
    if events.already_imported:
        return [f"{name}: imported already, nothing is counted twice"]
    counts = f"{events.taken} taken, {events.counted} counted, {sum(events.nowhere.values())} not counted"
    lines = [f"{name}: {counts}, {events.duplicates} were there already, {report.bad_rows} put aside"]
    lines += recovering.told_of_import(events)
    if report.aside is not None:
        lines.append(f"  put aside in {report.aside}")
    return lines


def main() -> None:
    """Run the command line."""
    try:
        app()
    except Exception as error:
        if os.environ.get(_TRACEBACK):
            raise
        say(f"internal error: {type(error).__name__}: {error} (set {_TRACEBACK}=1 to see where)")
        sys.exit(REFUSED)


if __name__ == "__main__":
    main()

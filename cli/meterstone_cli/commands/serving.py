"""The commands that serve both endpoints on this machine, and make what they serve from."""

import os
from pathlib import Path
from typing import Annotated

import typer

from meterstone import clock
from meterstone.store.operations import load
from meterstone_cli import asking
from meterstone_cli.devserver import local, server
from meterstone_cli.options import Json, TableName, Yes, tell_as_json
from meterstone_cli.session import open_table
from meterstone_cli.tree import ENGINE, STATE

_ENGINE_PORT = 8766
#: By which the functions' logger goes.
_LOG_LEVEL = "POWERTOOLS_LOG_LEVEL"

Port = Annotated[
    int, typer.Option(min=1, max=65535, help="Port of 127.0.0.1 on which both endpoints are served.")
]

Verbose = Annotated[
    bool,
    typer.Option("--verbose", help="Log each request and each count, as in AWS, one JSON object a line."),
]


def start(
    port: Port = server.PORT,
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
    yes: Yes = False,
    verbose: Verbose = False,
) -> None:
    """Serve both endpoints on this machine, with the demo's real usage loaded."""
    _log(verbose=verbose)
    if fresh and state.is_dir() and any(state.iterdir()):
        asking.confirm(f"Forget the tables and the key that are kept in {state}?", yes=yes)
    local.serve_demo(local.Ports(port, engine_port), engine_environment, state, fresh=fresh)


def demo(as_json: Json = False, table_name: TableName = "meterstone") -> None:
    """Load the demo's catalogue and usage into the table; shifted traces end now."""
    organization = local.load(open_table(table_name), clock.now())
    if as_json:
        tell_as_json({"organization": organization})
    else:
        typer.echo(organization)


def serve(port: Port = server.PORT, verbose: Verbose = False, table_name: TableName = "meterstone") -> None:
    """Serve both endpoints on this machine, from the table, and count what is posted.

    A table in AWS is served, but not followed: there the function that follows its stream counts.
    """
    _log(verbose=verbose)
    local.serve_table(table_name, port)


def create_table(as_json: Json = False, table_name: TableName = "meterstone") -> None:
    """Make the table, if it is not there."""
    made = load.create_table(open_table(table_name))
    if as_json:
        tell_as_json({"table": table_name, "created": made})
        return
    typer.echo(f"{table_name}: {'created' if made else 'is there already'}")


def _log(*, verbose: bool) -> None:
    """Have the functions log what they log in AWS, or only what goes wrong."""
    if not verbose:
        os.environ[_LOG_LEVEL] = "WARNING"

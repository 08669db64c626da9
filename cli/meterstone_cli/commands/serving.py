"""The commands that serve both endpoints on this machine, and make what they serve from."""

import os
from pathlib import Path
from typing import Annotated

import typer

from meterstone import clock
from meterstone.store.operations import load
from meterstone_cli.devserver import local, server
from meterstone_cli.options import TableName
from meterstone_cli.progress import say
from meterstone_cli.session import open_table

_ENGINE_PORT = 8766

Port = Annotated[
    int, typer.Option(min=1, max=65535, help="Port of 127.0.0.1 on which both endpoints are served.")
]


def start(
    port: Port = server.PORT,
    engine_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the embedded DynamoDB.")
    ] = _ENGINE_PORT,
    engine_environment: Annotated[
        Path,
        typer.Option("--engine", envvar="METERSTONE_ENGINE", help="Virtual environment that has ministack."),
    ] = local.ROOT / ".venvs" / "engine",
    state: Annotated[Path, typer.Option(help="Where tables and the key are kept.")] = local.ROOT
    / ".meterstone",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what is kept, and load the demo anew.")
    ] = False,
) -> None:
    """Serve both endpoints on this machine, with the demo's real usage loaded."""
    local.serve_demo(local.Ports(port, engine_port), engine_environment, state, fresh=fresh)


def demo(table_name: TableName = "meterstone") -> None:
    """Load the demo's catalogue and usage into the table; shifted traces end now."""
    typer.echo(local.load(open_table(table_name), clock.now()))


def serve(port: Port = server.PORT, table_name: TableName = "meterstone") -> None:
    """Serve both endpoints on this machine, from the table."""
    os.environ["TABLE_NAME"] = table_name
    server.serve(
        local.TEMPLATE, server.HOST, port, on_ready=lambda url: say(f"Serving on {url}; Ctrl-C ends it")
    )


def create_table(table_name: TableName = "meterstone") -> None:
    """Make the table, if it is not there."""
    made = load.create_table(open_table(table_name))
    typer.echo(f"{table_name}: {'created' if made else 'is there already'}")

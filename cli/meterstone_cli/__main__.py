"""The command line, `meterstone` or `python -m meterstone_cli`: all commands, and what becomes of their errors."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from meterstone_cli import __version__
from meterstone_cli.commands import (
    attaching,
    catalogue,
    doctor,
    events,
    importing,
    keys,
    previewing,
    purging,
    records,
    recovering,
    serving,
    usage,
)
from meterstone_cli.exit_status import REFUSED, UNREAD, failure_of
from meterstone_cli.progress import say

_TRACEBACK = "METERSTONE_TRACEBACK"


class _Edge(TyperGroup):
    """The outermost edge: what is expected to go wrong becomes lines and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (Exception, KeyboardInterrupt) as error:
            failure = failure_of(error)
            if failure is None:
                raise
            for line in failure.lines:
                say(line)
            raise typer.Exit(failure.status) from error


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


_COMMANDS: Mapping[str, Callable[..., None]] = {
    "start": serving.start,
    "demo": serving.demo,
    "serve": serving.serve,
    "load": catalogue.load,
    "usage": usage.usage,
    "preview": previewing.preview,
    "price": previewing.price,
    "import": importing.import_,
    "uncounted": events.uncounted,
    "unmatched": events.uncounted,
    "event": events.event,
    "imports": importing.imports,
    "poison": events.poison,
    "replay": recovering.replay,
    "rebuild": recovering.rebuild,
    "withdraw": recovering.withdraw,
    "purge-customer": purging.purge_customer,
    "attach": attaching.attach,
    "doctor": doctor.doctor,
}
#: What is said of a command that is there by two names.
_BY_ANOTHER_NAME = {"unmatched": "List events that do not count: `uncounted`, by its name of before."}
_GROUPS: Mapping[str, tuple[str, Mapping[str, Callable[..., None]]]] = {
    "table": ("The DynamoDB table.", {"create": serving.create_table}),
    "catalogue": (
        "The catalogue: folders of YAML or JSON files, and its records as they are stored.",
        {
            "check": catalogue.check,
            "export": records.export,
            "list": records.list_,
            "get": records.get,
            "put": records.put,
            "delete": records.delete,
            "end": records.end,
            "change-plan": records.change_plan,
            "status": records.status,
            "recounts": records.recounts,
        },
    ),
    "keys": ("API keys.", {"create": keys.create, "list": keys.list_, "revoke": keys.revoke}),
}

for _name, _command in _COMMANDS.items():
    app.command(_name, help=_BY_ANOTHER_NAME.get(_name))(_command)
for _group, (_about, _commands) in _GROUPS.items():
    _parted = typer.Typer(no_args_is_help=True, help=_about)
    for _name, _command in _commands.items():
        _parted.command(_name)(_command)
    app.add_typer(_parted, name=_group)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except SystemExit as end:
        if end.code == UNREAD:
            # What is still to be written, when Python ends, cannot be.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
    except Exception as error:
        if os.environ.get(_TRACEBACK):
            raise
        say(f"internal error: {type(error).__name__}: {error} (set {_TRACEBACK}=1 to see where)")
        sys.exit(REFUSED)


if __name__ == "__main__":
    main()

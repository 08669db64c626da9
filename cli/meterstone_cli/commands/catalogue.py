"""The commands that check a catalogue's files, and load them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from meterstone import clock
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.rebuild import rebuild
from meterstone.store.operations.replay import replay
from meterstone.usage.instant import format_instant
from meterstone_cli import session
from meterstone_cli.catalogue import Beginning, Catalogue, Changes, read_catalogue
from meterstone_cli.commands import recovering
from meterstone_cli.exit_status import REFUSED
from meterstone_cli.files.loading import load_catalogue
from meterstone_cli.options import Json, TableName, tell_as_json
from meterstone_cli.problem import InputRefusedError
from meterstone_cli.progress import say, working

_MOST_SHOWN = 20

Folder = Annotated[
    Path, typer.Argument(exists=True, file_okay=False, help="Folder of the catalogue's files.")
]


def check(folder: Folder, as_json: Json = False) -> None:
    """Check a catalogue's files, reporting everything that is wrong with them. Needs no table."""
    try:
        found = _checked(folder)
    except InputRefusedError as error:
        if not as_json:
            raise
        for problem in error.problems:
            tell_as_json(problem._asdict())
        raise typer.Exit(REFUSED) from error
    kinds = ("customers", "plans", "meters", "prices", "subscriptions")
    numbers = {kind: len(getattr(found, kind)) for kind in kinds}
    if as_json:
        tell_as_json(numbers)
    else:
        typer.echo(", ".join(f"{number} {kind}" for kind, number in numbers.items()))


def _checked(folder: Path) -> Catalogue:
    """Read a catalogue as one that is loaded anew."""
    found, _ = read_catalogue(folder)
    if found.of_plans:
        raise InputRefusedError(found.of_plans)
    return found


def load(
    folder: Folder,
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute",
            help="Take new line items that begin in the past, too; then do as `replay` and `rebuild` do.",
        ),
    ] = False,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """Load a catalogue: put what is new or differs. All of it is checked first; the same again changes nothing.

    What is stored and not in the folder stays as it is. What cannot be changed now is told with its place: records
    of the kinds before it (meters, prices, plans, customers, subscriptions), and the others of its kind, are put.

    What begins in the past, and has events already, is told: they are not counted by it yet. With --recompute they
    are: what was put by is counted, then all is counted again from the log, and what differs is listed. That takes
    3 minutes and more, in which both endpoints answer, and events come in. Stopped, it is run again.
    """
    table = session.open_table(table_name)
    around = session.surroundings()
    with working("loading the catalogue"):
        read, places = read_catalogue(folder)
        changes = load_catalogue(table, read, places, clock.now(), around, recompute=recompute)
    if as_json:
        tell_as_json(_as_json(changes))
    else:
        if told := _told(changes):
            typer.echo(told)
        for line in _told_beginnings(changes.beginnings):
            typer.echo(line)
    organization_id = read.organization.id
    if changes.problems:
        for problem in changes.problems:
            say(str(problem))
        say(
            "what was told before is put; these are not, nor what refers to their kind: mend them, and load again"
        )
        raise typer.Exit(REFUSED)
    if recompute:
        _recompute(table, organization_id, as_json=as_json)
        return
    recovering.tell_outdated(table, organization_id)
    if changes.beginnings and not as_json:
        typer.echo("`replay` counts the events that were put by; `rebuild` counts all that are in the log")


def _recompute(table: Table, organization_id: str, *, as_json: bool) -> None:
    around = session.surroundings()
    try:
        session.refuse_a_wrong_clock(table)
        with working("replaying"):
            replayed = replay(table, organization_id, around.clock)
        recovering.tell_replayed(replayed, as_json=as_json)
        session.refuse_a_wrong_clock(table)
        with working("rebuilding"):
            rebuilt = rebuild(table, organization_id, around, swap=True)
        recovering.tell_rebuilt(rebuilt, as_json=as_json)
    except BaseException:
        say(
            "the catalogue is loaded, but not all is counted by it: "
            "run `load --recompute` again, or `replay` and then `rebuild`, because of"
        )
        raise


def _as_json(changes: Changes) -> dict[str, Any]:
    beginnings = [
        {
            "line_item": each.line_item.id,
            "subscription": each.subscription.id,
            "since": format_instant(each.since),
        }
        for each in changes.beginnings
    ]
    return {
        "added": dict(changes.added),
        "changed": dict(changes.changed),
        "begin_in_the_past": beginnings,
        "problems": [problem._asdict() for problem in changes.problems],
    }


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

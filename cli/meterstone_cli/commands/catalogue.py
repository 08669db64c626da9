"""The commands that check a catalogue's files, and load them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from meterstone import clock
from meterstone.contracts.recounts import recount_begun
from meterstone.store.catalogue.recounts import Recount
from meterstone.usage.instant import format_instant
from meterstone_cli import session
from meterstone_cli.catalogue import Beginning, Catalogue, Changes, read_catalogue
from meterstone_cli.commands import recovering
from meterstone_cli.commands.records import what_moved
from meterstone_cli.exit_status import REFUSED
from meterstone_cli.files.loading import load_catalogue
from meterstone_cli.options import Json, TableName, tell_as_json
from meterstone_cli.problem import InputRefusedError
from meterstone_cli.progress import printable, say, working

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
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Count usage anew, also if more than 20 MB of events are read for a subscription.",
        ),
    ] = False,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """Load a catalogue: put what is new or differs. All of it is checked first; the same again changes nothing.

    What is stored and not in the folder stays as it is. What cannot be changed now is told with its place: records
    of the kinds before it (meters, prices, plans, customers, subscriptions), and the others of its kind, are put.

    Where a subscription's usage moves, it is counted anew: each recount that begins is told, and
    `catalogue recounts` shows how far it is. What else begins in the past, and has events already, is told: these
    wait, and count within the hour, or at once by `replay`.
    """
    table = session.open_table(table_name)
    with working("loading the catalogue"):
        read, places = read_catalogue(folder)
        changes = load_catalogue(table, read, places, clock.now(), forced=force)
    if as_json:
        tell_as_json(_as_json(changes))
    else:
        if told := _told(changes):
            typer.echo(told)
        for line in _told_beginnings(changes.beginnings):
            typer.echo(line)
        for line in _told_recounts(changes.recounts):
            typer.echo(line)
    organization_id = read.organization.id
    if changes.problems:
        for problem in changes.problems:
            say(str(problem))
        say(
            "what was told before is put; these are not, nor what refers to their kind: mend them, and load again"
        )
        raise typer.Exit(REFUSED)
    recovering.tell_outdated(table, organization_id)
    if changes.beginnings and not as_json:
        typer.echo("events that wait for them are counted within the hour; `replay` counts them now")


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
        "recounts": [
            {"subscriptions": list(each.subscriptions)}
            | ({"customer": each.customer} if each.customer else {})
            | ({"renamed": each.renamed} if each.renamed else {})
            | recount_begun(each)
            for each in changes.recounts
        ],
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
    return _some(
        "these begin in the past, and events for them may have come already:",
        [
            f"{each.line_item.id} of subscription {each.subscription.id}: {format_instant(each.since)}"
            for each in beginnings
        ],
    )


def _told_recounts(recounts: Sequence[Recount]) -> Iterator[str]:
    yield from _some(
        "usage of these subscriptions is counted anew; `catalogue recounts` shows how far that is:",
        [_told_anew(each) for each in recounts if not each.is_move],
    )
    yield from _some(
        "totals follow what has moved here; `catalogue recounts` shows how far that is:",
        [
            f"{what_moved(each)}: from {format_instant(each.since)} on, recount {each.id}"
            for each in recounts
            if each.is_move
        ],
    )


def _told_anew(recount: Recount) -> str:
    whose = ", ".join(map(printable, recount.subscriptions))
    events = f"{recount.events} events" if recount.events else "events that wait"
    return f"{whose}: {events}, from {format_instant(recount.since)} on, recount {recount.id}"


def _some(about: str, lines: Sequence[str]) -> Iterator[str]:
    """Yield the first of some lines below what they are about, and how many more there are; nothing if none."""
    if lines:
        yield about
    for each in lines[:_MOST_SHOWN]:
        yield f"  {each}"
    if len(lines) > _MOST_SHOWN:
        yield f"  and {len(lines) - _MOST_SHOWN} more"

"""The commands that import usage from files, and list what was imported."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from meterstone import clock
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.import_records import ImportRecord, Records
from meterstone.store.operations.import_run import Counts
from meterstone.store.operations.imports import ImportReport, close_import
from meterstone.usage.instant import format_instant
from meterstone.usage.receipt import Reason
from meterstone_cli import asking
from meterstone_cli.commands.recovering import tell_outdated
from meterstone_cli.exit_status import REFUSED
from meterstone_cli.files.loading import DIGITS, FileReport, import_file
from meterstone_cli.options import Json, Organization, TableName, Yes, tell_as_json
from meterstone_cli.progress import printable, say, working
from meterstone_cli.session import known_account, open_table, refuse_a_wrong_clock

_MEANINGS: Mapping[Reason, str] = {
    Reason.SUBSCRIPTION: "there is no subscription of that id",
    Reason.CUSTOMER: "there is no customer of that id with a subscription",
    Reason.TIME: "none of its subscriptions holds the time",
    Reason.CODE: "no meter is for events of that name",
    Reason.LINE_ITEM: "not priced: no line item is for it; it counts once one is",
    Reason.VALUE: "the meters that are for it cannot read it",
}


def import_(
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
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """Count the events of files, each once however often it comes.

    A row of JSONL is an object with transaction_id, code, external_subscription_id (or external_customer_id),
    timestamp (RFC 3339, or seconds since 1970) and properties. CSV has the same names in its header row; its
    other columns are the properties.

    A row that is not taken is put aside, in FILE.aside.jsonl, with its line and the reason. Correct what stands
    there and import that file. The exit status is 1 if a row is put aside, or counts nowhere since no meter can
    read it; it is 0 where rows only wait for line items. It is the same when the file is imported again.
    """
    table = open_table(table_name)
    known_account(table, organization)
    reports = []
    for path in files:
        report = import_file(table, organization, path, clock.now(), aside)
        reports.append(report)
        if as_json:
            tell_as_json(_json_of_file(path, report))
            continue
        for line in _told_file(path.name, report):
            typer.echo(line)
    if any(report.faulty for report in reports):
        raise typer.Exit(REFUSED)


def imports(
    organization: Organization,
    close: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_DIGEST", help="Finish one that was stopped and whose file is lost, from the log."
        ),
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """List imports: name, digest, when last run, up to which line, finished, closed or open, parted by tabs.

    One that is open is running, or was stopped; `rebuild` waits for it. Run it again, or close it: what it has
    logged is counted, and what stands behind it in the file is not. Should the file be found, import it: the rest
    is counted then, each event once.
    """
    table = open_table(table_name)
    if close is not None:
        _close(table, organization, close, yes=yes, as_json=as_json)
        return
    found = Records.read(table, organization).all
    if not found:
        known_account(table, organization)
    for each in found:
        if as_json:
            tell_as_json(_of_import(each))
        else:
            typer.echo(_line_of_import(each))
    tell_outdated(table, organization)


def _close(table: Table, organization: str, which: str, *, yes: bool, as_json: bool) -> None:
    found = [
        each
        for each in Records.read(table, organization).all
        if which == each.source.name or (which and each.source.digest.startswith(which))
    ]
    waiting = [each for each in found if each.open]
    if len(waiting) > 1:
        say(f"{len(waiting)} open imports are called {printable(which)}: name one by its digest")
        for each in waiting:
            typer.echo(_line_of_import(each), err=True)
        raise typer.Exit(REFUSED)
    if not waiting:
        standing = {_state(each) for each in found}
        say(
            f"the import of {printable(which)} is {', '.join(sorted(standing))}: there is nothing to close"
            if found
            else f"there is no import of {printable(which)}"
        )
        raise typer.Exit(REFUSED)
    (chosen,) = waiting
    name = printable(chosen.source.name)
    asking.confirm(f"Close the import of {name}, which is at line {chosen.line}?", yes=yes)
    say("reading the event log")
    refuse_a_wrong_clock(table)
    with working("reading the event log"):
        closed = close_import(table, organization, chosen.source, clock.now())
    if as_json:
        counts = (
            {} if closed is None else {"counted": closed.counts.counted, "unmatched": closed.counts.unmatched}
        )
        tell_as_json(_of_import(chosen if closed is None else closed.record) | counts)
        return
    if closed is None:
        typer.echo(f"{name}: was finished meanwhile")
        return
    typer.echo(f"{name}: closed, the last line taken is {closed.record.taken}")
    typer.echo(f"  {closed.counts.counted} events that were logged behind line {chosen.line} are counted")
    for line in _told_of_events(closed.counts):
        typer.echo(line)
    typer.echo("  should the file be found, import it: what was not taken is counted then")


def _told_file(name: str, report: FileReport) -> list[str]:
    events = report.events
    if events.finished_before:
        lines = [f"{name}: imported already, nothing is counted twice"]
        if events.faulty_before:
            lines.append(
                f"  {events.faulty_before} of its rows were put aside then, or no meter could read them: "
                "`uncounted` lists those"
            )
        return lines
    counts = f"{events.taken} taken, {events.counted} counted, {sum(events.nowhere.values())} not counted"
    lines = [f"{name}: {counts}, {events.duplicates} were there already, {report.bad_rows} put aside"]
    lines += _told_of_import(events)
    if report.aside is not None:
        lines.append(f"  put aside in {report.aside}")
        lines += [
            f"    {count} {reason}: {_MEANINGS[Reason(reason)]}" for reason, count in events.refused.items()
        ]
    return lines


def _told_of_events(counts: Counts) -> Iterator[str]:
    """Say what became of imported events that do not count."""
    if counts.unmatched:
        yield f"  {counts.unmatched} are for no line item yet: `uncounted` lists them, and they count once one is"
    for reason, count in Counter(reason for _, reason in counts.uncounted).items():
        yield f"  {count} were not counted: {printable(reason)}"


def _told_of_import(events: ImportReport) -> Iterator[str]:
    """Say by reason how many new events of a file count nowhere, and name the first of them."""
    for reason, count in events.nowhere.items():
        yield f"  {count} {reason}: {_MEANINGS[Reason(reason)]}"
    for line, identity, reason, detail in events.counts.first:
        yield f"    line {line}, {printable(identity)}: {reason}" + (
            f": {printable(detail)}" if detail else ""
        )
    for reason, count in Counter(reason for _, reason in events.uncounted).items():
        yield f"  {count} could not be read: {printable(reason)}"


def _state(record: ImportRecord) -> str:
    """Return how an import stands: it is running or was stopped, was read to its end, or was closed."""
    return "open" if record.open else "finished" if record.done else "closed"


def _last_line(record: ImportRecord) -> int:
    """Return the line up to which everything is counted; of an import that was closed, the last that was taken."""
    return record.line if record.open or record.done else record.taken


def _line_of_import(each: ImportRecord) -> str:
    name, digest = each.source
    began, line = format_instant(each.at), str(_last_line(each))
    return "\t".join((printable(name), digest[:DIGITS], began, line, _state(each)))


def _of_import(each: ImportRecord) -> dict[str, Any]:
    name, digest = each.source
    found = {"name": name, "digest": digest, "began": format_instant(each.at), "line": _last_line(each)}
    return found | {"state": _state(each)}


def _json_of_file(path: Path, report: FileReport) -> dict[str, Any]:
    events = report.events
    return {
        "file": str(path),
        "imported_before": events.finished_before,
        "faulty_before": events.faulty_before,
        "taken": events.taken,
        "counted": events.counted,
        "not_counted": dict(events.nowhere),
        "duplicates": events.duplicates,
        "put_aside": report.bad_rows,
        "put_aside_reasons": dict(events.refused),
        "aside": None if report.aside is None else str(report.aside),
        "first_not_counted": [
            {"line": line, "id": identity, "reason": reason, "why": detail}
            for line, identity, reason, detail in events.counts.first
        ],
        "unreadable": dict(Counter(reason for _, reason in events.uncounted)),
    }

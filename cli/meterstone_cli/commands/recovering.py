"""The commands that put right what went wrong: what was not counted, and what should not have been."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from meterstone.usage.instant import format_instant
from meterstone.usage.receipt import Reason
from meterstone_cli.backend import (
    Backend,
    ImportRecord,
    ImportReport,
    ImportState,
    PoisonRecord,
    Rebuilt,
    Replayed,
    UncountedEvent,
    UncountedNumbers,
    demand_catalogue,
)
from meterstone_cli.options import Organization, TableName
from meterstone_cli.progress import say

REFUSED = 1
NOT_UNDERSTOOD = 2

_DIGITS = 16
#: Of the table of what differs.
_COLUMNS = ("customer", "subscription", "line item", "metric", "day", "what", "before", "after")
_WHOSE = {"s": "subscription", "c": "customer"}

_MEANINGS: Mapping[Reason, str] = {
    Reason.SUBSCRIPTION: "there is no subscription of that id",
    Reason.CUSTOMER: "there is no customer of that id with a subscription",
    Reason.TIME: "none of its subscriptions holds the time",
    Reason.CODE: "no meter is for events of that name",
    Reason.LINE_ITEM: "not priced: no line item is for it; it counts once one is",
    Reason.VALUE: "the meters that are for it cannot read it",
}

Json = Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")]


app = typer.Typer()


ReasonName = Annotated[
    Reason | None, typer.Option("--reason", help="Those of one reason alone; `line_item` is not priced.")
]


@app.command("uncounted")
def uncounted(
    ctx: typer.Context,
    organization: Organization,
    reason: ReasonName = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Tell how many there are of each reason.")
    ] = False,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """List events that do not count: id, whose, code, time, since when, reason, parted by tabs.

    The reason is the first that holds: `subscription` or `customer` (there is nobody of that id), `time` (none of
    its subscriptions holds the time), `code` (no meter is for events of that name), `line_item` (no line item is
    for it: it is not priced), `value` (a meter cannot read it: which one, and why, follows). What is not priced
    comes last, apart from the others. An event that another meter counts says so.

    All but those of `value` count by themselves, within an hour, once the catalogue has caught up.
    """
    backend = _open(ctx, table_name)
    if summary:
        demand_catalogue(backend, organization)
        _sum_up(backend.uncounted_numbers(organization), reason, as_json=as_json)
        return
    listed = False
    for unpriced in (False, True):
        heading = unpriced and listed and not as_json
        for each in backend.uncounted(organization):
            if (each.reason == Reason.LINE_ITEM) is not unpriced or reason not in (None, each.reason):
                continue
            if heading:
                say("not priced:")
                heading = False
            listed = True
            typer.echo(_json(each) if as_json else _line(each))
    if not listed:
        demand_catalogue(backend, organization)


app.command("unmatched", help="List events that do not count: `uncounted`, by its name of before.")(uncounted)


@app.command("event")
def event(
    ctx: typer.Context,
    identity: Annotated[str, typer.Argument(metavar="ID", help="The event's transaction id.")],
    organization: Organization,
    subscription: Annotated[
        str | None, typer.Option(help="External id of the subscription whose event it is.")
    ] = None,
    customer: Annotated[
        str | None, typer.Option(help="External id of the customer whose event it is.")
    ] = None,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """Tell of one event whose it is, where it counts and where not, parted by tabs.

    The first line has the id, whose, code, time and how it stands: counted, pending (it came in after what the
    counters have, or waits to be tried again) or not_counted. A line follows for each line item that it counts
    for, with meter, quantity and the begin of the billing period, and one for each reason why it does not count.
    An event that was withdrawn after it was counted stays in the answers until a rebuild.
    The exit status is 1 if there is no such event.
    """
    if subscription is not None and customer is not None:
        say("name either a --subscription or a --customer")
        raise typer.Exit(NOT_UNDERSTOOD)
    backend = _open(ctx, table_name)
    whose = None if subscription is None else ("s", subscription)
    found = backend.find_event(organization, identity, whose if customer is None else ("c", customer))
    if found is None:
        say(f"there is no event {_printable(identity)}")
        raise typer.Exit(REFUSED)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    for line in _lines_of_event(found):
        typer.echo(line)


@app.command("imports")
def imports(
    ctx: typer.Context,
    organization: Organization,
    close: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_DIGEST", help="Finish one that was stopped and whose file is lost, from the log."
        ),
    ] = None,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """List imports: name, digest, when last run, up to which line, finished, closed or open, parted by tabs.

    One that is open is running, or was stopped; `rebuild` waits for it. Run it again, or close it: what it has
    logged is counted, and what stands behind it in the file is not. Should the file be found, import it: the rest
    is counted then, each event once.
    """
    backend = _open(ctx, table_name)
    if close is not None:
        _close(backend, organization, close)
        return
    found = backend.imports(organization)
    if not found:
        demand_catalogue(backend, organization)
    for each in found:
        typer.echo(_json_of_import(each) if as_json else _line_of_import(each))
    tell_outdated(backend, organization)


@app.command("poison")
def poison(ctx: typer.Context, as_json: Json = False, table_name: TableName = "meterstone") -> None:
    """List the stream's records that were set aside: id, since when, reason, parted by tabs.

    They could not be read, or the table would not take them; no event in them is counted.
    """
    for each in _open(ctx, table_name).poison():
        line = "\t".join((each.id, format_instant(each.since), _printable(each.reason)))
        typer.echo(_json(each) if as_json else line)


@app.command("replay")
def replay(ctx: typer.Context, organization: Organization, table_name: TableName = "meterstone") -> None:
    """Count the events that no line item was for and one is for now, each once however often it is run."""
    tell_replayed(_open(ctx, table_name).replay(organization))


@app.command("rebuild")
def rebuild(
    ctx: typer.Context,
    organization: Organization,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare, and change nothing.")] = False,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Give up a rebuild that was stopped, and do no other.")
    ] = False,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """Count all events anew from the log, list what differs, and put it in place. Takes 3 minutes and more.

    Of what differs are listed customer, subscription, line item, metric, day, what it is, before and after, parted
    by tabs; `-` is nothing. First come the customers, then the sums over all customers, over those of a plan, and
    so on.

    Both endpoints answer meanwhile, and events come in; imports and replays are refused. Stopped, it is run
    again, or given up.
    """
    if dry_run and abandon:
        say("--dry-run compares, --abandon gives up: name one of them")
        raise typer.Exit(NOT_UNDERSTOOD)
    backend = _open(ctx, table_name)
    if abandon:
        backend.abandon_rebuild(organization, say)
        typer.echo("there is no rebuild any more")
    else:
        found = backend.rebuild(organization, say, swap=not dry_run)
        if as_json:
            _tell_rebuilt_as_json(found)
        else:
            tell_rebuilt(found)


@app.command("withdraw")
def withdraw(
    ctx: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="TRANSACTION_ID...", help="The events' ids.")],
    organization: Organization,
    subscription: Annotated[
        str | None, typer.Option(help="External id of the subscription whose events they are.")
    ] = None,
    customer: Annotated[
        str | None, typer.Option(help="External id of the customer whose events they are.")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild/--no-rebuild", help="Take their effect out at once, or later.")
    ] = True,
    table_name: TableName = "meterstone",
) -> None:
    """Withdraw events: kept in the log, marked, counted nowhere any more. Their ids stay taken.

    Their effect is taken out by a rebuild, which takes 3 minutes and more. The exit status is 1 if an id is not
    in the log, under that subscription or customer.
    """
    if (subscription is None) == (customer is None):
        say("name either a --subscription or a --customer")
        raise typer.Exit(NOT_UNDERSTOOD)
    whose = ("s", subscription) if subscription is not None else ("c", customer or "")
    found = _open(ctx, table_name).withdraw(organization, whose, ids, say, rebuild=rebuild)
    typer.echo(f"{len(found.now)} withdrawn, {len(found.before)} were withdrawn before")
    if found.rebuilt is not None:
        tell_rebuilt(found.rebuilt)
    elif found.now or found.before:
        typer.echo("they count as before until `rebuild` is run")
    for each in found.unknown:
        say(f"there is no event {_printable(each)} of {_WHOSE[whose[0]]} {_printable(whose[1])}")
    if found.unknown:
        raise typer.Exit(REFUSED)


def _open(ctx: typer.Context, table_name: str) -> Backend:
    """Open the store as the command line does, which leaves how in the context."""
    backend: Backend = ctx.obj(table_name)
    return backend


def _close(backend: Backend, organization: str, which: str) -> None:
    found = [
        each
        for each in backend.imports(organization)
        if which == each.source[0] or (which and each.source[1].startswith(which))
    ]
    waiting = [each for each in found if each.state is ImportState.OPEN]
    if len(waiting) > 1:
        say(f"{len(waiting)} open imports are called {_printable(which)}: name one by its digest")
        for each in waiting:
            typer.echo(_line_of_import(each), err=True)
        raise typer.Exit(REFUSED)
    if not waiting:
        standing = {each.state for each in found}
        say(
            f"the import of {_printable(which)} is {', '.join(sorted(standing))}: there is nothing to close"
            if found
            else f"there is no import of {_printable(which)}"
        )
        raise typer.Exit(REFUSED)
    (chosen,) = waiting
    name = _printable(chosen.source[0])
    say("reading the event log")
    closed = backend.close_import(organization, chosen.source)
    if closed is None:
        typer.echo(f"{name}: was finished meanwhile")
        return
    typer.echo(f"{name}: closed, the last line taken is {closed.line}")
    typer.echo(f"  {closed.counted} events that were logged behind line {chosen.line} are counted")
    for line in told_of_events(closed.unmatched, closed.uncounted):
        typer.echo(line)
    typer.echo("  should the file be found, import it: what was not taken is counted then")


def told_of_events(unmatched: int, uncounted: Mapping[str, int]) -> Iterator[str]:
    """Say what became of imported events that do not count."""
    if unmatched:
        yield f"  {unmatched} are for no line item yet: `uncounted` lists them, and they count once one is"
    for reason, count in uncounted.items():
        yield f"  {count} were not counted: {_printable(reason)}"


def told_of_import(events: ImportReport) -> Iterator[str]:
    """Say by reason how many events of a file count nowhere, and name the first of them."""
    for reason, count in events.nowhere.items():
        yield f"  {count} {reason}: {_MEANINGS[Reason(reason)]}"
    for line, identity, reason, detail in events.rows:
        yield f"    line {line}, {_printable(identity)}: {reason}" + (
            f": {_printable(detail)}" if detail else ""
        )
    for reason, count in events.uncounted.items():
        yield f"  {count} could not be read: {_printable(reason)}"


def tell_outdated(backend: Backend, organization: str) -> None:
    """Say it if usage was counted by older rules, and what to do."""
    if backend.outdated(organization):
        say(
            "usage was counted by the rules of an older version: "
            f"`meterstone rebuild --organization {organization}` makes it right; "
            "with --dry-run it lists what changes"
        )


def tell_replayed(found: Replayed) -> None:
    """Say what a replay came to."""
    typer.echo(f"{found.counted} counted, {found.waiting} still match nothing")
    if found.withdrawn:
        typer.echo(f"  {found.withdrawn} were withdrawn")
    for reason, count in found.uncounted.items():
        typer.echo(f"  {count} were not counted: {_printable(reason)}")


def tell_rebuilt(found: Rebuilt) -> None:
    """Say what a rebuild came to, and list what differed."""
    if found.differences:
        typer.echo("\t".join(_COLUMNS))
    for each in found.differences:
        whose = f"all of {each.group}" if each.group not in {"", "all"} else each.customer or "all"
        shown = (whose, *each[2:])
        typer.echo("\t".join(_printable(part) or "-" for part in shown))
    count = len(found.differences)
    differ = "nothing differs" if not count else f"{count} differ"
    typer.echo(f"{found.events} events counted, {differ}: {'swapped' if found.swapped else 'not swapped'}")


def _tell_rebuilt_as_json(found: Rebuilt) -> None:
    for each in found.differences:
        typer.echo(json.dumps(each._asdict(), ensure_ascii=False))
    count = {"events": found.events, "differences": len(found.differences), "swapped": found.swapped}
    typer.echo(json.dumps(count))


def _sum_up(found: UncountedNumbers, reason: Reason | None, *, as_json: bool) -> None:
    numbers = {name: number for name, number in found.by_reason.items() if reason in (None, name)}
    if as_json:
        told = {"by_reason": numbers, "counted_elsewhere": found.partly, "unpriced_meters": [*found.unpriced]}
        typer.echo(json.dumps(told, ensure_ascii=False))
        return
    for name, number in numbers.items():
        if name != Reason.LINE_ITEM:
            typer.echo(f"{name}\t{number}")
    if reason in (None, Reason.VALUE):
        typer.echo(f"value, counted by another meter\t{found.partly}")
    if Reason.LINE_ITEM in numbers:
        typer.echo(f"not priced (line_item)\t{numbers[Reason.LINE_ITEM]}")
        for code in found.unpriced:
            typer.echo(f"meter that no subscription prices\t{_printable(code)}")


def _line(each: UncountedEvent) -> str:
    whose = f"customer {each.customer}" if each.subscription is None else f"subscription {each.subscription}"
    meters = [f"meter {fault['meter']}: {fault['why']}" for fault in each.meters]
    elsewhere = ["counted by another meter"] if each.counts else []
    times = (format_instant(each.time), format_instant(each.since))
    parts = (each.id, whose, each.code, *times, each.reason, *meters, *elsewhere)
    return "\t".join(map(_printable, parts))


def _lines_of_event(found: Mapping[str, Any]) -> Iterator[str]:
    told = found["meterstone"]
    name = "external_customer_id" if "external_customer_id" in found else "external_subscription_id"
    whose = f"{name.split('_')[1]} {found[name]}"
    parts = (found["transaction_id"], whose, found["code"], found["timestamp"], told["state"])
    yield "\t".join(map(_printable, parts))
    for each in told["counts"]:
        counted = each["quantity"] if each["quantity"] is not None else f"value {each['distinct_value']}"
        begin = each["billing_period"]["start"]
        where = ("  counts", each["subscription_id"], each["line_item_id"], each["meter"], counted, begin)
        yield "\t".join(map(_printable, where))
    for each in told["not_counted"]:
        meter = [] if "meter" not in each else [f"meter {each['meter']}: {each['detail']}"]
        yield "\t".join(map(_printable, ("  does not count", each["reason"], *meter)))


def _line_of_import(each: ImportRecord) -> str:
    name, digest = each.source
    return "\t".join(
        (_printable(name), digest[:_DIGITS], format_instant(each.began), str(each.line), each.state)
    )


def _json_of_import(each: ImportRecord) -> str:
    name, digest = each.source
    found = {"name": name, "digest": digest, "began": format_instant(each.began), "line": each.line}
    return json.dumps(found | {"state": each.state}, ensure_ascii=False)


def _json(each: UncountedEvent | PoisonRecord) -> str:
    instants = {"time", "since"}
    found = {
        name: format_instant(value) if name in instants else value for name, value in asdict(each).items()
    }
    return json.dumps(found, ensure_ascii=False)


def _printable(text: str) -> str:
    """Keep what an event says from moving the cursor or parting a line."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)

"""The commands that read and change the stored catalogue, a record at a time, and that write it to a folder."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from meterstone import clock
from meterstone.catalogue.management import Management, Put, Stored, UnknownRecordError
from meterstone.contracts.catalogue_records import record_of
from meterstone.contracts.recounts import recount_begun, recount_record
from meterstone.store.catalogue.recounts import Recount, read_recount, read_recounts
from meterstone.store.catalogue.stamped import mentioned
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Table, text
from meterstone.store.operations.load import StoredCatalogue, read_stored
from meterstone.store.operations.replay import untried
from meterstone.usage.instant import END_OF_TIME, format_instant, key_instant, parse_instant
from meterstone.usage.subscription import Dated, in_force
from meterstone.usage.terms import Terms, decode_terms
from meterstone_cli import asking
from meterstone_cli.catalogue.document import (
    UnreadableFileError,
    Value,
    parse_json,
    parse_yaml,
    read_document,
)
from meterstone_cli.catalogue.stored import as_yaml, records_of, written_to
from meterstone_cli.options import Json, Organization, TableName, Yes, tell_as_json, whose_of
from meterstone_cli.problem import InputProblem, InputRefusedError
from meterstone_cli.progress import printable, say
from meterstone_cli.session import known_account, open_table


class RecordKind(StrEnum):
    """The kinds of records."""

    METER = "meter"
    PRICE = "price"
    PLAN = "plan"
    CUSTOMER = "customer"
    SUBSCRIPTION = "subscription"


#: What is listed of a record beside its id, in this order.
_COLUMNS: Mapping[RecordKind, tuple[str, ...]] = {
    RecordKind.METER: ("code", "aggregation", "deleted_at"),
    RecordKind.PRICE: ("currency", "billing_model", "amount", "meter_id"),
    RecordKind.PLAN: ("name", "currency", "billing_period"),
    RecordKind.CUSTOMER: ("name", "timezone"),
    RecordKind.SUBSCRIPTION: ("customer", "plan", "start", "end"),
}


def _instant(written: str) -> int:
    try:
        return parse_instant(written)
    except ValueError as error:
        raise typer.BadParameter(f"{written!r} is no instant, such as 2026-03-01T00:00:00Z") from error


Kind = Annotated[RecordKind, typer.Argument(metavar="KIND", help=", ".join(RecordKind))]
Name = Annotated[str, typer.Argument(metavar="ID", help="The record's id; of a plan, its code.")]
SubscriptionId = Annotated[str, typer.Argument(metavar="ID", help="The subscription's id.")]
At = Annotated[
    int | None,
    typer.Option(
        "--at",
        metavar="INSTANT",
        parser=_instant,
        help="From when on, such as 2026-03-01T00:00:00Z, also in the past. Left out: now.",
    ),
]

Force = Annotated[
    bool,
    typer.Option("--force", help="Count usage anew, also if more than 20 MB of events are read for that."),
]


def list_(
    kind: Kind,
    organization: Organization,
    customer: Annotated[str | None, typer.Option(help="Subscriptions of a customer.")] = None,
    plan: Annotated[str | None, typer.Option(help="Subscriptions that have a plan, or have had it.")] = None,
    external_id: Annotated[str | None, typer.Option(help="Subscriptions of an external id.")] = None,
    at: Annotated[
        int | None,
        typer.Option(
            metavar="INSTANT", parser=_instant, help="Subscriptions in force then; the plan is that of then."
        ),
    ] = None,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """List the stored records of a kind, by id: what matters most of each, parted by tabs."""
    filtered = any(each is not None for each in (customer, plan, external_id, at))
    if filtered and kind is not RecordKind.SUBSCRIPTION:
        raise typer.BadParameter("only subscriptions are listed by customer, plan, external id or instant")
    table = open_table(table_name)
    known_account(table, organization)
    if customer is not None or external_id is not None:
        found = _of_subject(table, organization, customer, external_id)
        records: Iterable[Mapping[str, Any]] = [record_of(each) for each in found if _holds(each, plan, at)]
    elif kind is RecordKind.SUBSCRIPTION:
        terms = _known(table, organization).terms
        records = [record_of(terms[name]) for name in sorted(terms) if _holds(terms[name], plan, at)]
    else:
        records = records_of(_known(table, organization))[f"{kind}s"]
    for record in records:
        if as_json:
            tell_as_json(record)
        else:
            typer.echo("\t".join(_columns(kind, record)))


def get(
    kind: Kind,
    name: Name,
    organization: Organization,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """Show a stored record as a catalogue's file has it, in YAML. With --json, it has its version, too."""
    found = _management(table_name, organization).get(kind.value, name)
    if found is None:
        raise UnknownRecordError(kind, name)
    if as_json:
        tell_as_json(record_of(found.value) | _stamp(found))
    else:
        say(f"version {found.stamp.rev}")
        typer.echo(as_yaml(record_of(found.value)), nl=False)


def put(
    kind: Kind,
    name: Name,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="YAML or JSON, one record; - reads from stdin.")
    ],
    organization: Organization,
    if_match: Annotated[
        int | None, typer.Option("--if-match", help="Put it only if the stored record has this version.")
    ] = None,
    applies_to_all: Annotated[
        bool,
        typer.Option(
            "--applies-to-all",
            help="Of a plan: the subscriptions that follow it follow its new version, too.",
        ),
    ] = False,
    at: Annotated[
        int | None,
        typer.Option(
            "--at",
            metavar="INSTANT",
            parser=_instant,
            help="From when on they do, also in the past. Left out: now.",
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """Put a record whole: make it, or replace it. The same again changes nothing.

    The file holds what the record says, as a catalogue's file does; the id may be left out. A changed plan is for
    new subscriptions, unless it is put for all: then `catalogue recounts` shows how many follow it already.

    Where a subscription's usage moves, it is counted anew within a minute: `catalogue recounts` shows how far that
    is.
    """
    if applies_to_all and kind is not RecordKind.PLAN:
        raise typer.BadParameter("only a plan is put for all")
    if at is not None and not applies_to_all:
        raise typer.BadParameter("--at is for --applies-to-all")
    record = _read(file)
    management = _management(table_name, organization)
    if applies_to_all:
        done, recount = management.offer_to_all(name, record, at, if_match=if_match)
        _tell_put(kind, name, done._replace(recount=recount), as_json=as_json)
        return
    done = management.put(kind.value, name, record, if_match=if_match, forced=force)
    _tell_put(kind, name, done, as_json=as_json)


def delete(
    kind: Kind,
    name: Name,
    organization: Organization,
    yes: Yes = False,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """Delete a record that nothing needs. A meter counts no more events in 5 minutes, and stays."""
    management = _management(table_name, organization)
    asking.confirm(f"Delete the {kind} {printable(name)}?", yes=yes)
    found = management.delete(kind.value, name)
    at = getattr(found.value, "deleted_at", None)
    when = None if at is None else format_instant(at)
    if as_json:
        tell_as_json(
            {"kind": kind, "id": name, "deleted": True} | ({} if when is None else {"deleted_at": when})
        )
    else:
        typer.echo(f"{kind} {printable(name)}: deleted" + ("" if when is None else f" from {when} on"))


def end(
    name: SubscriptionId,
    organization: Organization,
    at: At = None,
    force: Force = False,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """End a subscription. What was used until then stays, and is answered.

    What was counted after the end counts no more: usage is counted anew within a minute, as `catalogue recounts`
    shows.
    """
    done = _management(table_name, organization).end(name, at, forced=force)
    _tell_put(RecordKind.SUBSCRIPTION, name, done, as_json=as_json, more=_end(done))


def change_plan(
    name: SubscriptionId,
    plan: Annotated[
        str, typer.Argument(metavar="PLAN", help="The code of the plan that it has from then on.")
    ],
    organization: Organization,
    at: At = None,
    force: Force = False,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """Have a subscription on another plan. Usage before and after is priced apart.

    What was counted from then on is counted anew within a minute, as `catalogue recounts` shows.
    """
    done = _management(table_name, organization).change_plan(name, plan, at, forced=force)
    since = done.stored.value.plan[-1].since
    began = done.stored.value.start if since is None else since
    _tell_put(
        RecordKind.SUBSCRIPTION,
        name,
        done,
        as_json=as_json,
        more={"plan": plan, "since": format_instant(began)},
    )


def export(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder that is empty, or not there yet.")
    ],
    organization: Organization,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """Write the stored catalogue to a folder, which `load` takes: loaded at once, it changes nothing.

    Files do not say which version of a plan a subscription follows. Loaded into another table, subscriptions
    follow the plans as they are now.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BusyError(f"{folder} is there, and not empty: name another folder")
    table = open_table(table_name)
    numbers = written_to(folder, _known(table, organization))
    if as_json:
        tell_as_json(numbers)
    else:
        typer.echo(f"{folder}: " + ", ".join(f"{number} {kind}" for kind, number in numbers.items()))


def status(organization: Organization, as_json: Json = False, table_name: TableName = "meterstone") -> None:
    """Show what is still to be done after changes: it is done within the hour, by itself.

    Subscriptions whose tallies are to be woken: their put was stopped in the middle. Subjects whose waiting events
    are to be tried: a subscription of theirs has changed. Recounts that are not done: usage that is counted anew,
    and plans that were put for all; of those that are done, the ones that some subscriptions could not follow.
    """
    table = open_table(table_name)
    account = known_account(table, organization)
    unwoken = sorted(_unwoken(table, organization))
    waiting = untried(table, account)
    recounts = [each for each in read_recounts(table, organization) if each.done_at is None or each.refused]
    if as_json:
        subjects = [
            {"by": whose_of(each).partition(" ")[0], "external_id": each.external_id} for each in waiting
        ]
        tell_as_json(
            {"to_wake": unwoken, "to_try": subjects, "recounts": [recount_record(each) for each in recounts]}
        )
        return
    for name in unwoken:
        typer.echo(f"to wake\tsubscription {printable(name)}")
    for subject in waiting:
        typer.echo(f"to try\t{printable(whose_of(subject))}")
    for recount in recounts:
        _tell_recount(recount)
    if not recounts:
        typer.echo("no recounts")


def recounts(
    organization: Organization,
    name: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The recount's id. Left out: all.")
    ] = None,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """Show recounts, the youngest first, or one of them: what is being counted anew, and how far it is.

    A change of a subscription that moves counted usage begins one, and names it. So does a plan that is put for
    all: its recount has the subscriptions follow, one after another. So does a customer's country or type, or a
    plan's name, that changes for a time of which usage was counted: totals follow, and no event is counted anew.
    """
    table = open_table(table_name)
    known_account(table, organization)
    if name is None:
        found = read_recounts(table, organization)[::-1]
    else:
        one = read_recount(table, organization, name)
        if one is None:
            raise UnknownRecordError("recount", name)
        found = [one]
    for recount in found:
        if as_json:
            tell_as_json(recount_record(recount))
        else:
            _tell_recount(recount)
    if not found and not as_json:
        typer.echo("no recounts")


def _tell_recount(recount: Recount) -> None:
    """Say how far a recount is: what it is of, from when on, and how many it has done."""
    since = format_instant(recount.since)
    if recount.is_move:
        state = "following" if recount.done_at is None else "followed"
        what = f"{what_moved(recount)} from {since} on"
        typer.echo(f"{state}\t{recount.id}\t{what}\t{recount.done} subscriptions, {recount.refused} refused")
    elif recount.subscriptions:
        state = "counting" if recount.done_at is None else "counted"
        whose = ", ".join(map(printable, recount.subscriptions))
        items = f" ({', '.join(map(printable, recount.line_items))})" if recount.line_items else ""
        of = f"{recount.done} of {'the' if recount.events is None else recount.events} events in the log"
        typer.echo(f"{state}\t{recount.id}\tusage of subscription {whose}{items} from {since} on\t{of}")
    else:
        state = "recounting" if recount.done_at is None else "recounted"
        what = f"plan {printable(recount.plan)} version {recount.version} from {since} on"
        typer.echo(f"{state}\t{recount.id}\t{what}\t{recount.done} follow, {recount.refused} refused")
    for name, reason in recount.reasons:
        typer.echo(f"refused\tsubscription {printable(name)}\t{printable(reason)}")
    if recount.waits_for:
        typer.echo(f"waits\t{recount.id}\t{printable(recount.waits_for)}")


def _unwoken(table: Table, organization_id: str) -> Iterator[str]:
    for key in table.due(keys.unwoken(organization_id), key_instant(END_OF_TIME - 1)):
        row = table.get(key, consistent=True)
        # The index may be older than the item.
        if row is not None and "due_pk" in row:
            yield decode_terms(text(row, "terms")).id


def _management(table_name: str, organization_id: str) -> Management:
    table = open_table(table_name)
    known_account(table, organization_id)
    return Management(table, organization_id, clock.now)


def _known(table: Table, organization_id: str) -> StoredCatalogue:
    found = read_stored(table, organization_id)
    if found is None:
        raise BusyError(f"the organization {organization_id} has no catalogue: load one first")
    return found


def _of_subject(
    table: Table, organization_id: str, customer: str | None, external_id: str | None
) -> list[Terms]:
    """Read the subscriptions of a customer or an external id, in the order of their ids."""
    pk = (
        keys.by_external_id(organization_id, external_id).pk
        if external_id is not None
        else keys.of_customer(organization_id, customer or "").pk
    )
    management = Management(table, organization_id, clock.now)
    found = (management.get("subscription", name) for name in sorted(set(mentioned(table, pk))))
    return [
        each.value
        for each in found
        if each is not None
        and customer in (None, each.value.customer_id)
        and external_id in (None, each.value.events_by)
    ]


def _holds(terms: Terms, plan: str | None, at: int | None) -> bool:
    """Return whether a subscription is in force at an instant, and has a plan then; None leaves that out."""
    if at is not None:
        over = terms.canceled_at is not None or (terms.end is not None and terms.end <= at)
        if over or terms.start > at:
            return False
        plans = {in_force([Dated(each.value, each.since) for each in terms.plan], at)}
    else:
        plans = {each.value for each in terms.plan}
    return plan is None or plan in plans


def _columns(kind: RecordKind, record: Mapping[str, Any]) -> Iterator[str]:
    yield printable(str(record["code" if kind is RecordKind.PLAN else "id"]))
    for name in _COLUMNS[kind]:
        value = record.get(name)
        if isinstance(value, list):
            value = value[-1]["value"]
        yield "-" if value is None else printable(str(value))


def _read(file: str) -> Mapping[str, object]:
    """Read one record of a file, or of stdin. Raises `InputRefusedError`."""
    try:
        if file == "-":
            written = sys.stdin.read()
            found: Value = parse_json(written) if written.lstrip().startswith("{") else parse_yaml(written)
        else:
            found = read_document(Path(file))
    except UnreadableFileError as error:
        raise InputRefusedError([InputProblem(file, "", str(error))]) from error
    if not isinstance(found, dict):
        raise InputRefusedError([InputProblem(file, "", "must be one record, a mapping")])
    return found


def _tell_put(
    kind: RecordKind, name: str, done: Put[Any], *, as_json: bool, more: Mapping[str, str] | None = None
) -> None:
    what = "made" if done.created else "changed" if done.changed else "the same already"
    told: dict[str, object] = {} if more is None else dict(more)
    if as_json:
        state = {"created": done.created, "changed": done.changed}
        begun = {} if done.recount is None else {"recount": recount_begun(done.recount)}
        tell_as_json({"kind": kind, "id": name} | state | told | begun | _stamp(done.stored))
        return
    parts = [what, *(f"{key} {value}" for key, value in told.items()), f"version {done.stored.stamp.rev}"]
    typer.echo(f"{kind} {printable(name)}: {', '.join(map(printable, parts))}")
    if done.recount is not None:
        typer.echo(told_begun(done.recount))


def what_moved(recount: Recount) -> str:
    """Say what the recount of a move has totals follow."""
    if recount.customer:
        return f"customer {printable(recount.customer)}"
    return f"the plan's name of subscription {printable(recount.renamed)}"


def told_begun(recount: Recount) -> str:
    """Say which recount a put has begun, and how to see how far it is."""
    since = format_instant(recount.since)
    if recount.subscriptions:
        match recount.events:
            case None:
                events = "all events in the log are counted anew"
            case 0:
                events = "events that wait are counted"
            case _:
                events = f"{recount.events} events are counted anew"
        what = f"{events}, for usage from {since} on"
    elif recount.is_move:
        what = f"totals follow {what_moved(recount)} from {since} on"
    else:
        what = f"subscriptions follow plan {printable(recount.plan)} from {since} on"
    return f"recount {recount.id}: {what}; `catalogue recounts {recount.id}` shows how far it is"


def _stamp(stored: Stored[Any]) -> dict[str, Any]:
    stamp = stored.stamp
    return {
        "version": stamp.rev,
        "created_at": format_instant(stamp.made_at) if stamp.made_at else None,
        "updated_at": format_instant(stamp.put_at) if stamp.put_at else None,
    }


def _end(done: Put[Terms]) -> dict[str, str]:
    ends = done.stored.value.end
    return {} if ends is None else {"end": format_instant(ends)}

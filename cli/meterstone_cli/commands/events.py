"""The commands that tell of events: what became of one, and which do not count."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from meterstone import clock
from meterstone.contracts import lago_find
from meterstone.store.catalogue.accounts import Account
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Table
from meterstone.store.events.listing import list_events
from meterstone.store.events.lookup import AmbiguousEventError, EventStore, TooManySubjectsError
from meterstone.store.events.quarantine import list_poison
from meterstone.store.events.uncounted import PARTLY, read_numbers
from meterstone.store.operations.generations import Generations
from meterstone.usage.instant import format_instant
from meterstone.usage.receipt import Reason
from meterstone.usage.uncounted import UncountedEvent
from meterstone_cli.exit_status import NOT_UNDERSTOOD, REFUSED
from meterstone_cli.options import Json, Organization, TableName, subject_of, tell_as_json, whose_of
from meterstone_cli.progress import printable, say
from meterstone_cli.session import known_account, open_table

ReasonName = Annotated[
    Reason | None, typer.Option("--reason", help="Those of one reason alone; `line_item` is not priced.")
]


def uncounted(
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
    table = open_table(table_name)
    account = known_account(table, organization)
    if summary:
        _sum_up(table, account, reason, as_json=as_json)
        return
    listed = False
    for wanted in (None, Reason.LINE_ITEM) if reason is None else (reason,):
        heading = wanted is Reason.LINE_ITEM and listed and not as_json
        for each in list_events(table, organization, account.generation, wanted):
            if heading:
                say("not priced:")
                heading = False
            listed = True
            if as_json:
                tell_as_json(_shown(each))
            else:
                typer.echo(_line(each))


def event(
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
    An event that was withdrawn after it was counted stays in the answers for some seconds.
    The exit status is 1 if there is no such event.
    """
    if subscription is not None and customer is not None:
        say("name either a --subscription or a --customer")
        raise typer.Exit(NOT_UNDERSTOOD)
    table = open_table(table_name)
    account = known_account(table, organization)
    subject = None if subscription is None and customer is None else subject_of(subscription, customer)
    try:
        stored = EventStore(table).find(account, [identity], subject)
    except (TooManySubjectsError, AmbiguousEventError) as error:
        raise BusyError("say whose event it is: --subscription or --customer") from error
    if stored is None:
        say(f"there is no event {printable(identity)}")
        raise typer.Exit(REFUSED)
    # As the API answers it.
    found = json.loads(lago_find.answer(organization, stored).body)["event"]
    if as_json:
        tell_as_json(found)
        return
    for line in _lines_of_event(found):
        typer.echo(line)


def poison(
    forget: Annotated[
        list[str] | None,
        typer.Option("--forget", help="Take a record off the list, by its id: nothing more is to be done."),
    ] = None,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """List the stream's records that were set aside: id, since when, reason, parted by tabs.

    They could not be read, or the table would not take them; no event in them is counted.
    """
    table = open_table(table_name)
    if forget:
        table.delete_all(map(keys.poison, forget))
    for each in list_poison(table):
        since = format_instant(each.since)
        if as_json:
            found = {"id": each.digest, "reason": each.reason, "since": since, "record": each.record}
            tell_as_json(found)
        else:
            typer.echo("\t".join((each.digest, since, printable(each.reason))))


def _unpriced(table: Table, account: Account) -> list[str]:
    """Return the codes of the meters that no line item of a subscription prices now."""
    now = clock.now()
    left = {
        meter.id: meter.code for meter in account.meters if meter.deleted_at is None or now < meter.deleted_at
    }
    for subscription in Generations(table, account.organization.id).subscriptions():
        for item in subscription.line_items:
            if item.meter is not None and subscription.counted(item).holds(now):
                left.pop(item.meter.id, None)
    return sorted(left.values())


def _sum_up(table: Table, account: Account, reason: Reason | None, *, as_json: bool) -> None:
    stored = read_numbers(table, account.organization.id, account.generation)
    elsewhere = stored.pop(PARTLY)
    unpriced = _unpriced(table, account)
    numbers = {name: number for name, number in stored.items() if reason in (None, name)}
    if as_json:
        told = {"by_reason": numbers, "counted_elsewhere": elsewhere, "unpriced_meters": unpriced}
        tell_as_json(told)
        return
    for name, number in numbers.items():
        if name != Reason.LINE_ITEM:
            typer.echo(f"{name}\t{number}")
    if reason in (None, Reason.VALUE):
        typer.echo(f"value, counted by another meter\t{elsewhere}")
    if Reason.LINE_ITEM in numbers:
        typer.echo(f"not priced (line_item)\t{numbers[Reason.LINE_ITEM]}")
        for code in unpriced:
            typer.echo(f"meter that no subscription prices\t{printable(code)}")


def _line(each: UncountedEvent) -> str:
    meters = [f"meter {fault.meter}: {fault.reason}" for fault in each.faults]
    elsewhere = ["counted by another meter"] if each.elsewhere else []
    times = (format_instant(each.at), format_instant(each.since))
    parts = (each.id, whose_of(each.subject), each.code, *times, each.reason, *meters, *elsewhere)
    return "\t".join(map(printable, parts))


def _shown(each: UncountedEvent) -> Mapping[str, Any]:
    kind, external_id = each.subject
    return {
        "id": each.id,
        "subscription": external_id if kind == "s" else None,
        "customer": external_id if kind == "c" else None,
        "code": each.code,
        "time": format_instant(each.at),
        "since": format_instant(each.since),
        "reason": each.reason,
        "meters": [
            {"meter": fault.meter, "property": fault.field, "why": fault.reason} for fault in each.faults
        ],
        "counts": each.elsewhere,
    }


def _lines_of_event(found: Mapping[str, Any]) -> Iterator[str]:
    told = found["meterstone"]
    name = "external_customer_id" if "external_customer_id" in found else "external_subscription_id"
    whose = f"{name.split('_')[1]} {found[name]}"
    parts = (found["transaction_id"], whose, found["code"], found["timestamp"], told["state"])
    yield "\t".join(map(printable, parts))
    for each in told["counts"]:
        counted = each["quantity"] if each["quantity"] is not None else f"value {each['distinct_value']}"
        begin = each["billing_period"]["start"]
        where = ("  counts", each["subscription_id"], each["line_item_id"], each["meter"], counted, begin)
        yield "\t".join(map(printable, where))
    for each in told["not_counted"]:
        meter = [] if "meter" not in each else [f"meter {each['meter']}: {each['detail']}"]
        yield "\t".join(map(printable, ("  does not count", each["reason"], *meter)))

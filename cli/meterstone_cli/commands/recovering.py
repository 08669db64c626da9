"""The commands that put right what went wrong: what was not counted, and what should not have been."""

from collections import Counter
from typing import Annotated

import typer

from meterstone.store.catalogue.accounts import read_account
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations import rebuild as rebuilding
from meterstone.store.operations import replay as replaying
from meterstone.store.operations import withdraw as withdrawing
from meterstone.store.operations.rebuild import RebuildReport
from meterstone.store.operations.replay import ReplayReport
from meterstone_cli import asking, session
from meterstone_cli.exit_status import NOT_UNDERSTOOD, REFUSED
from meterstone_cli.options import Json, Organization, TableName, Yes, subject_of, tell_as_json, whose_of
from meterstone_cli.progress import printable, say, working

#: Of the table of what differs.
_COLUMNS = ("customer", "subscription", "line item", "metric", "day", "what", "before", "after")


def replay(organization: Organization, as_json: Json = False, table_name: TableName = "meterstone") -> None:
    """Count the events that no line item was for and one is for now, each once however often it is run."""
    table = session.open_table(table_name)
    session.refuse_a_wrong_clock(table)
    with working("replaying"):
        found = replaying.replay(table, organization, session.surroundings().clock)
    tell_replayed(found, as_json=as_json)


def rebuild(
    organization: Organization,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare, and change nothing.")] = False,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Give up a rebuild that was stopped, and do no other.")
    ] = False,
    yes: Yes = False,
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
    table, around = session.open_table(table_name), session.surroundings()
    if abandon:
        asking.confirm("Give up the rebuild? What it has counted is deleted.", yes=yes)
        with working("giving up the rebuild"):
            rebuilding.abandon(table, organization, around)
        if as_json:
            tell_as_json({"abandoned": True})
        else:
            typer.echo("there is no rebuild any more")
        return
    session.refuse_a_wrong_clock(table)
    with working("rebuilding"):
        found = rebuilding.rebuild(table, organization, around, swap=not dry_run)
    tell_rebuilt(found, as_json=as_json)


def withdraw(
    ids: Annotated[list[str], typer.Argument(metavar="TRANSACTION_ID...", help="The events' ids.")],
    organization: Organization,
    subscription: Annotated[
        str | None, typer.Option(help="External id of the subscription whose events they are.")
    ] = None,
    customer: Annotated[
        str | None, typer.Option(help="External id of the customer whose events they are.")
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
    table_name: TableName = "meterstone",
) -> None:
    """Withdraw events: kept in the log, marked, counted nowhere any more. Their ids stay taken.

    Within some seconds no answer has them any more. The exit status is 1 if an id is not in the log, under that
    subscription or customer.
    """
    if (subscription is None) == (customer is None):
        say("name either a --subscription or a --customer")
        raise typer.Exit(NOT_UNDERSTOOD)
    subject = subject_of(subscription, customer)
    table = session.open_table(table_name)
    session.refuse_a_wrong_clock(table)
    what = f"{len(ids)} event{'s' if len(ids) > 1 else ''} of {printable(whose_of(subject))}"
    asking.confirm(f"Withdraw {what}? An event cannot be taken back in.", yes=yes)
    around = session.surroundings()
    with working("withdrawing"):
        found = withdrawing.withdraw(table, organization, subject, ids, around)
    numbers = {"withdrawn": len(found.withdrawn), "withdrawn_before": len(found.before)}
    if as_json:
        tell_as_json(numbers | {"unknown": list(found.unknown)})
    else:
        typer.echo(f"{numbers['withdrawn']} withdrawn, {numbers['withdrawn_before']} were withdrawn before")
    if found.withdrawn and not as_json:
        typer.echo("the function that counts takes them out of the answers within seconds")
    for each in found.unknown:
        say(f"there is no event {printable(each)} of {printable(whose_of(subject))}")
    if found.unknown:
        raise typer.Exit(REFUSED)


def tell_outdated(table: Table, organization: str) -> None:
    """Say it if usage was counted by older rules, and what to do."""
    account = read_account(table, organization, consistent=True)
    if account is not None and account.outdated:
        say(
            "usage was counted by the rules of an older version: "
            f"`meterstone rebuild --organization {organization}` makes it right; "
            "with --dry-run it lists what changes"
        )


def tell_replayed(found: ReplayReport, *, as_json: bool = False) -> None:
    """Say what a replay came to."""
    reasons = Counter(reason for _, reason in found.uncounted)
    if as_json:
        told = {"counted": found.counted, "waiting": found.waiting, "withdrawn": found.withdrawn}
        tell_as_json(told | {"not_counted": dict(reasons)})
        return
    typer.echo(f"{found.counted} counted, {found.waiting} still match nothing")
    if found.withdrawn:
        typer.echo(f"  {found.withdrawn} were withdrawn")
    for reason, count in reasons.items():
        typer.echo(f"  {count} were not counted: {printable(reason)}")


def tell_rebuilt(found: RebuildReport, *, as_json: bool = False) -> None:
    """Say what a rebuild came to, and list what differed."""
    if as_json:
        _tell_rebuilt_as_json(found)
        return
    if found.differences:
        typer.echo("\t".join(_COLUMNS))
    for each in found.differences:
        whose = f"all of {each.group}" if each.group not in {"", "all"} else each.customer or "all"
        shown = (whose, *each[2:])
        typer.echo("\t".join(printable(part) or "-" for part in shown))
    count = len(found.differences)
    differ = "nothing differs" if not count else f"{count} differ"
    typer.echo(f"{found.events} events counted, {differ}: {'swapped' if found.swapped else 'not swapped'}")


def _tell_rebuilt_as_json(found: RebuildReport) -> None:
    for each in found.differences:
        tell_as_json(each._asdict())
    count = {"events": found.events, "differences": len(found.differences), "swapped": found.swapped}
    tell_as_json(count)

"""The command that purges a customer."""

from typing import Annotated

import typer

from meterstone.store.operations import purge as purging
from meterstone.store.operations.differences import Difference
from meterstone.store.operations.purge_records import Names
from meterstone.store.operations.rebuild import RebuildReport
from meterstone_cli import session
from meterstone_cli.options import Organization, TableName
from meterstone_cli.progress import printable, say

_LEFT = (
    "Not changed, and for you to look at: names of imported files, and of prices and plans that are called after "
    "the customer. Backups keep the customer for 35 days, the stream for a day, the queue of poison for 14 days, "
    "logs as long as they are kept."
)


def purge_customer(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER_ID", help="The customer's external id.")],
    organization: Organization,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say whether it can be done and what it would change; change nothing."
        ),
    ] = False,
    table_name: TableName = "meterstone",
) -> None:
    """Purge a customer: ids and texts become random pseudonyms, for good; what meters read stays. Takes 5 minutes.

    All of the customer's subscriptions must have ended, and no event of theirs may have come in for 48 hours.
    Names, external ids, transaction ids, ids of subscriptions and line items, and values that COUNT_UNIQUE counts
    are replaced. Properties that no meter reads are dropped. Totals stay as they are, also after a rebuild.

    It prints the new ids, which the catalogue's files must then have, too: `load` would make the customer anew of
    the old ones. Keep this list nowhere. Both endpoints answer meanwhile; rebuilds and loads are refused.
    Stopped, it is run again. An event that is sent again for an old id is a new event, of nobody.
    """
    table, around = session.open_table(table_name), session.surroundings()
    session.refuse_a_wrong_clock(table)
    found = purging.purge(table, organization, customer, around, dry_run=dry_run)
    if dry_run:
        names = found.names
        typer.echo(
            f"would be purged: customer {printable(customer)}, {len(names.subscriptions)} subscriptions, "
            f"{len(names.line_items)} line items, {found.events} events"
        )
        say(_LEFT)
        return
    for line in _lines(found.names):
        typer.echo(line)
    for each in _changed_totals(found.rebuilt):
        say(f"the rebuild changed a total: {printable(' '.join(part or '-' for part in each))}")
    typer.echo(f"{found.events} events have other names now")
    say(_LEFT)


def _lines(names: Names) -> list[str]:
    """Return what was renamed to what, parted by tabs."""
    pairs = [("customer", *names.customer)]
    for kind, ids in (
        ("subscription", names.subscriptions),
        ("external id", names.external_ids),
        ("line item", names.line_items),
    ):
        pairs += [(kind, old, new) for old, new in ids.items()]
    return ["\t".join(map(printable, each)) for each in pairs]


def _changed_totals(rebuilt: list[RebuildReport]) -> list[Difference]:
    """Return what differs in sums over customers: the purge changes none, so it was wrong before."""
    return [each for report in rebuilt for each in report.differences if not each.customer]

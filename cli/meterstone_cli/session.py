"""What a command needs before it works on a table: the table, a right clock, and an organization that is known."""

import os

from botocore.exceptions import BotoCoreError

from meterstone import clock
from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.rebuild import Surroundings
from meterstone.usage.instant import SECOND
from meterstone_cli.exit_status import TableNotOpenedError
from meterstone_cli.progress import tell

_WHERE_FROM = "Region and credentials come from the environment; `start` prints those of its own table."
#: By how much clocks may differ; whatever waits for all clocks to have passed an instant waits for longer.
_CLOCKS_DIFFER = 20 * SECOND


def open_table(name: str) -> Table:
    """Open a table, as boto3 finds it. Raises `TableNotOpenedError`."""
    os.environ["TABLE_NAME"] = name
    try:
        return Table.from_environment()
    except BotoCoreError as error:
        raise TableNotOpenedError(f"{error} {_WHERE_FROM}") from error


def surroundings() -> Surroundings:
    """Return by whose clock a recovery goes and how it waits: the machine's; its progress is told on stderr."""
    return Surroundings(progress=tell)


def refuse_a_wrong_clock(table: Table) -> None:
    """Raise `BusyError` unless this machine's clock is the table's.

    Which events a rebuild counts, and which days have begun, is told by the time of day.
    """
    before, served, after = clock.now(), table.service_time(), clock.now()
    if served is None:
        return
    # The service tells the second that has begun.
    ahead = before - (served + SECOND) if before > served + SECOND else min(after - served, 0)
    if abs(ahead) > _CLOCKS_DIFFER:
        which = "ahead of" if ahead > 0 else "behind"
        raise BusyError(
            f"this machine's clock is {abs(ahead) // SECOND} seconds {which} the table's: set it right first"
        )


def known_account(table: Table, organization_id: str) -> Account:
    """Read an organization's account. Raises `BusyError` if it has no catalogue: its id may be mistyped."""
    account = read_account(table, organization_id, consistent=True)
    if account is None:
        raise BusyError(f"the organization {organization_id} has no catalogue: load one first")
    return account

"""The upgrade of an organization from the first stored format: at the first put of one of its records.

In the first format one version of the whole catalogue stood in the profile, and whatever was counted was
conditional on it. From the upgrade on, each subject has a version of its own. So the upgrade raises the
catalogue's version once more: whatever is counted by what was read before is refused.

Of what was counted before the upgrade, no subject's item says when it happened. All of it had happened by
`settled_by`.
"""

from meterstone.store.catalogue.accounts import Account
from meterstone.store.catalogue.stored_format import format_of_new
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import Table, integer
from meterstone.usage.arrival import AHEAD


def upgrade(table: Table, account: Account, now: int) -> bool:
    """Have an organization stored in the present format. Return False if its profile has changed.

    No catalogue may be being written (see `Account.unsettled`). Cost: 1 write unit.
    """
    assignment, values = format_of_new()
    return table.update(
        keys.organization(account.organization.id, "profile"),
        f"SET {assignment}, upgraded_at = :now REMOVE loading_at ADD ver :one",
        values | {":now": {"N": str(now)}, ":one": {"N": "1"}, ":version": {"N": str(account.version)}},
        condition="ver = :version",
    )


def settled_by(table: Table, organization_id: str) -> int | None:
    """Return the instant by which all had happened that was counted before the upgrade; None if none was made.

    An event may lie ahead of the clock. Cost: 1 consistent get.
    """
    row = table.get(keys.organization(organization_id, "profile"), consistent=True)
    if row is None or "upgraded_at" not in row:
        return None
    return integer(row, "upgraded_at") + AHEAD - 1

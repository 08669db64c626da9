"""Items of editions that are not read any more: which they are, and their deletion.

After a recount the items of the tallies that were read before stay for a while: a reader may still hold the
subscription as it was. Then nobody reads them, and no edition's number is used again.
"""

from itertools import batched

from meterstone.store.catalogue.accounts import read_account
from meterstone.store.catalogue.countings import read_countings
from meterstone.store.catalogue.subscriptions import By, resolved
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST, Key, Kind
from meterstone.store.dynamodb.table import Table, text
from meterstone.usage.instant import DAY
from meterstone.usage.subscription import Subscription

_DELETED_TOGETHER = 500


class InUse:
    """Tells which items of a subscription's usage belong to tallies of an edition that is in use."""

    def __init__(self, subscription: Subscription) -> None:
        """Go by a subscription, and by its editions."""
        self._editions = subscription.editions
        #: The scopes of line items, and of meters, by their names as parts of keys.
        self._items: dict[str, str] = {}
        self._meters: dict[str, str] = {}
        for item in subscription.line_items:
            if item.meter is not None:
                scope = item.meter.id if item.meter.recurring else item.id
                self._items[keys.part(item.id)] = scope
                self._meters[keys.part(item.meter.id)] = item.meter.id

    def holds(self, sk: str) -> bool:
        """Return whether an item, given by its sort key, is of an edition that is in use."""
        name, number, since = keys.parse_edition(sk)
        scope = (self._meters if since is None else self._items).get(name)
        if scope is None:
            return False
        starts = [since or 0]
        if since is not None and sk.startswith(f"{Kind.DETAIL}#"):
            # It is named by its hour or its day, in which a billing period of another edition may begin.
            starts += [each.since for each in self._editions.entries if since < each.since < since + 2 * DAY]
        return any(self._editions.of(scope, at) == number for at in starts)


def delete_retired(table: Table, organization_id: str, subscription_id: str) -> int:
    """Delete what is left of a subscription's editions that are not read any more. Return how many items.

    Cost: 1 consistent query of the subscription's usage, and 1 write unit for each KB that is deleted.
    """
    account = read_account(table, organization_id, consistent=True)
    seen = read_countings(table, organization_id, [subscription_id])
    if account is None or not seen or not seen[0].counting.last:
        return 0
    kept = [
        InUse(each)
        for by in (By.COUNTED, By.FORMER)
        for each in resolved(
            table, organization_id, [seen[0].row], account.meters, consistent=True, facts=False, by=by
        )
    ]
    deleted = 0
    pk = keys.usage(organization_id, account.generation, subscription_id)
    rows = table.query(pk, FIRST, LAST, consistent=True)
    gone = (
        Key(pk, sk)
        for sk in (text(row, "sk") for row in rows)
        # What is begun later has a higher number.
        if keys.parse_edition(sk).number <= seen[0].counting.last and not any(each.holds(sk) for each in kept)
    )
    for some in batched(gone, _DELETED_TOGETHER, strict=False):
        table.delete_all(some)
        deleted += len(some)
    return deleted

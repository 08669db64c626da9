"""Subscriptions as they are stored, each a document with its line items, meters and prices; and who has them."""

from collections.abc import Iterable, Iterator
from itertools import batched

import msgspec

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST
from meterstone.store.dynamodb.table import Row, StoreError, Table, text
from meterstone.usage.subscription import Subscription

_AT_ONCE = 100
_SUBSCRIPTION = msgspec.json.Decoder(Subscription)


class UnknownSubscriptionError(StoreError):
    """The organization has no subscription of that id."""


def read_subscription(
    table: Table, organization_id: str, subscription_id: str, *, consistent: bool = False
) -> Subscription:
    """Read a subscription with its line items, meters and prices.

    Raises `UnknownSubscriptionError`. Cost: 1 get.
    """
    row = table.get(keys.subscription(organization_id, subscription_id), consistent=consistent)
    if row is None:
        raise UnknownSubscriptionError(subscription_id)
    return unpack_subscription(row)


def unpack_subscription(row: Row) -> Subscription:
    """Read a subscription from its item."""
    return decode_subscription(text(row, "doc"))


def decode_subscription(document: str) -> Subscription:
    """Read a subscription from its document's JSON text."""
    return _SUBSCRIPTION.decode(document)


def read_subscriptions(
    table: Table, organization_id: str, ids: Iterable[str], *, consistent: bool = False
) -> list[Subscription]:
    """Read subscriptions by id. Ids that do not exist are left out. Cost: 1 get each, in batches."""
    wanted = [keys.subscription(organization_id, each) for each in ids]
    rows = table.batch_get(wanted, consistent=consistent)
    return [unpack_subscription(rows[key]) for key in wanted if key in rows]


def list_subscriptions(
    table: Table, organization_id: str, after: str | None = None
) -> Iterator[Subscription]:
    """Read all subscriptions of an organization in the order of their keys, or those after one of an id.

    No more than 100 are held at once. Cost: 1 query of their ids, page by page, and 1 get each, in batches of 100.
    """
    pk, prefix = keys.catalogue_kind(organization_id, "subscription")
    low, high = keys.range_of(prefix)
    if after is not None:
        # Above that key, and not above the next: no key has a lower character.
        low = keys.catalogue(organization_id, "subscription", after).sk + FIRST
    ids = _ids(table.query(pk, low, high, consistent=True))
    for some in batched(ids, _AT_ONCE, strict=False):
        yield from read_subscriptions(table, organization_id, some, consistent=True)


def count_subscriptions(table: Table, organization_id: str) -> int:
    """Count the subscriptions of an organization. Cost: 1 query of their ids, page by page."""
    return sum(1 for _ in table.query_prefix(*keys.catalogue_kind(organization_id, "subscription")))


def subscriptions_of_customer(
    table: Table, organization_id: str, customer_id: str, *, consistent: bool = False
) -> list[Subscription]:
    """Read a customer's subscriptions. Cost: 1 query, and 1 get each."""
    pk = keys.of_customer(organization_id, customer_id).pk
    ids = _ids(table.query(pk, FIRST, LAST, consistent=consistent))
    found = read_subscriptions(table, organization_id, ids, consistent=consistent)
    # The item that lists a subscription under a customer stays when the subscription is given to another customer.
    # The document says to whom it belongs.
    return [each for each in found if each.customer_id == customer_id]


def subscriptions_by_external_id(
    table: Table, organization_id: str, external_id: str, *, consistent: bool = False
) -> list[Subscription]:
    """Read all subscriptions with an external id: it may be used again. Cost: 1 query, and 1 get each."""
    pk = keys.by_external_id(organization_id, external_id).pk
    ids = _ids(table.query(pk, FIRST, LAST, consistent=consistent))
    found = read_subscriptions(table, organization_id, ids, consistent=consistent)
    return [each for each in found if each.external_id == external_id]


def _ids(rows: Iterable[Row]) -> Iterator[str]:
    return (text(row, "id") for row in rows)

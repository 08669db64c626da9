"""Lists of the catalogue's records by the numbers of their pages, with how many there are.

A page's number says how many records come before it, and nothing where they end. So the ids of a kind are read
from the first to the last, which also tells their number. An entry has about 100 bytes: that is 1 read unit for
some 80 ids, and a query for some 10,000, for each page anew. `listing` reads on from a place instead, at a cost
that the size of the page bounds.

An id may be listed whose record is not there, for a moment or for good: it is counted, and its page has a record
less.
"""

from collections.abc import Iterable, Iterator
from itertools import batched

from meterstone.store.catalogue.plans import unpack_plan
from meterstone.store.catalogue.stamped import Stored, customer_seen, stamp_of
from meterstone.store.catalogue.subscriptions import decode_customer, decode_subscription
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST
from meterstone.store.dynamodb.table import Row, Table, text
from meterstone.usage.plan import Plan, Prices, decode_price
from meterstone.usage.subscription import Customer
from meterstone.usage.terms import Terms, decode_terms, terms_of

_AT_ONCE = 100


def customer_ids(table: Table, organization_id: str) -> list[str]:
    """Read the ids of all customers, in the order of their keys. Cost: see above."""
    rows = table.query_prefix(*keys.catalogue_kind(organization_id, "customer"))
    return [text(row, "id") or _id_of_before(row) for row in rows]


def subscription_ids(table: Table, organization_id: str) -> list[str]:
    """Read the ids of all subscriptions, in the order of their keys. Cost: see above."""
    return _ids(table.query_prefix(*keys.catalogue_kind(organization_id, "subscription")))


def read_all_plans(table: Table, organization_id: str) -> list[Stored[Plan]]:
    """Read all plans, in the order of their keys. Cost: 1 query."""
    rows = table.query_prefix(*keys.catalogue_kind(organization_id, "plan"))
    return [Stored(unpack_plan(row), stamp_of(row)) for row in rows]


def read_prices_of(table: Table, organization_id: str, plans: Iterable[Plan]) -> Prices:
    """Read the prices of plans, by their ids. Cost: 1 get for each that is not remembered, in batches."""
    ids = dict.fromkeys(price for plan in plans for price in plan.prices)
    wanted = [keys.catalogue(organization_id, "price", each) for each in ids]
    found = table.unchanging(wanted, lambda row: decode_price(text(row, "doc")))
    return {price.id: price for price in found.values()}


def read_some_customers(table: Table, organization_id: str, ids: Iterable[str]) -> list[Stored[Customer]]:
    """Read customers by their ids, in that order. Ids without a record are left out.

    Cost: 1 get each, in batches; 2 for one of the first stored format, whose record is in the list itself.
    """
    named = {each: keys.customer(organization_id, each) for each in ids}
    rows = table.batch_get(named.values())
    listed = {
        each: keys.catalogue(organization_id, "customer", each)
        for each, key in named.items()
        if "doc" not in rows.get(key, {})
    }
    entries = table.batch_get(listed.values()) if listed else {}
    found = (
        customer_seen(key, rows.get(key, {}), entries.get(listed.get(each, key), {})).stored
        for each, key in named.items()
    )
    return [each for each in found if each is not None]


def read_some_terms(
    table: Table, organization_id: str, ids: Iterable[str], *, consistent: bool = False
) -> Iterator[Stored[Terms]]:
    """Read subscriptions' terms by their ids, in that order. Ids without a record are left out.

    No more than 100 are held at once. Cost: 1 get each, in batches.
    """
    for some in batched(ids, _AT_ONCE, strict=False):
        wanted = [keys.subscription(organization_id, each) for each in some]
        rows = table.batch_get(wanted, consistent=consistent)
        yield from (_stored_terms(rows[key]) for key in wanted if key in rows)


def terms_of_customer(table: Table, organization_id: str, customer_id: str) -> list[Stored[Terms]]:
    """Read the terms of all subscriptions of a customer. Cost: 1 query, and 1 get each."""
    pk = keys.of_customer(organization_id, customer_id).pk
    found = read_some_terms(table, organization_id, _ids(table.query(pk, FIRST, LAST)))
    # An entry may be left of a subscription that was given to another customer.
    return [each for each in found if each.value.customer_id == customer_id]


def terms_by_external_id(
    table: Table, organization_id: str, external_id: str, *, consistent: bool = False
) -> list[Stored[Terms]]:
    """Read the terms of all subscriptions that have, or had, an external id. Cost: 1 query, and 1 get each."""
    pk = keys.by_external_id(organization_id, external_id).pk
    ids = _ids(table.query(pk, FIRST, LAST, consistent=consistent))
    found = read_some_terms(table, organization_id, ids, consistent=consistent)
    return [each for each in found if each.value.events_by == external_id]


def _stored_terms(row: Row) -> Stored[Terms]:
    """Return the terms of a subscription's item; those of the first stored format are made of its document."""
    is_new = "terms" in row
    terms = decode_terms(text(row, "terms")) if is_new else terms_of(decode_subscription(text(row, "doc")))
    return Stored(terms, stamp_of(row))


def _ids(rows: Iterable[Row]) -> list[str]:
    """Return the ids that items list. The item of a subject itself lists none."""
    return [text(row, "id") for row in rows if "id" in row]


def _id_of_before(row: Row) -> str:
    """Return the id of a customer that the first stored format has in the list itself."""
    return decode_customer(text(row, "doc")).id

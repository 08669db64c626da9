"""Lists of the catalogue's records, a page at a time, at a cost that the size of the page bounds.

Customers, prices, plans and subscriptions are listed in the order of their sort keys: that of their ids, those of
more than 64 bytes last. Meters are all in one item, and are listed by id.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from meterstone.store.catalogue.pages import (
    read_some_customers,
    read_some_terms,
    terms_by_external_id,
    terms_of_customer,
)
from meterstone.store.catalogue.plans import unpack_plan
from meterstone.store.catalogue.stamped import NEVER, Stored, read_meters, stamp_of
from meterstone.store.catalogue.subscriptions import decode_customer
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST
from meterstone.store.dynamodb.table import Row, Table, text
from meterstone.usage.meter import Meter
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Customer, Dated, Span, in_force
from meterstone.usage.terms import Terms

MOST_PAGES: Final = 5
"""How many pages of subscriptions are read for one page of those that a filter lets through."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which records of a list are wanted: those after a sort key or id (empty: from the first), and how many."""

    after: str
    limit: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which subscriptions are listed; None leaves a filter out. They are in force at the instant ``at``."""

    customer: str | None = None
    external_id: str | None = None
    plan: str | None = None
    at: int | None = None

    def holds(self, terms: Terms) -> bool:
        """Return whether a subscription passes every filter. Without ``at``, a plan may be one that it had."""
        at = self.at
        plans = {each.value for each in terms.plan} if at is None else {in_force(_named(terms), at)}
        called_off = terms.canceled_at is not None
        return (
            self.customer in (None, terms.customer_id)
            and self.external_id in (None, terms.events_by)
            and (self.plan is None or self.plan in plans)
            and (at is None or (Span(terms.start, terms.end).holds(at) and not called_off))
        )


@dataclass(frozen=True, slots=True)
class Page[T]:
    """Records, each with its place in the list. ``after`` is where the list goes on; None if this is its end."""

    records: Sequence[tuple[str, T]]
    after: str | None


def list_customers(table: Table, organization_id: str, place: Place) -> Page[Stored[Customer]]:
    """List customers. Cost: 1 query, and one more at the end of the list; 2 gets for each, in batches."""
    rows, after = _rows(table, organization_id, "customer", place)
    # In a table of the first stored format, the customer itself stands in the list.
    names = {text(row, "id") or decode_customer(text(row, "doc")).id: text(row, "sk") for row in rows}
    found = read_some_customers(table, organization_id, names)
    return Page([(names[each.value.id], each) for each in found], after)


def list_plans(table: Table, organization_id: str, place: Place) -> Page[Stored[Plan]]:
    """List plans. Cost: 1 query, and one more at the end of the list."""
    rows, after = _rows(table, organization_id, "plan", place)
    return Page([(text(row, "sk"), Stored(unpack_plan(row), stamp_of(row))) for row in rows], after)


def list_prices(table: Table, organization_id: str, place: Place) -> Page[Stored[str]]:
    """List prices, each as its JSON text (see `meterstone.usage.plan.decode_price`).

    Cost: 1 query, and one more at the end of the list.
    """
    rows, after = _rows(table, organization_id, "price", place)
    return Page([(text(row, "sk"), Stored(text(row, "doc"), stamp_of(row))) for row in rows], after)


def list_meters(table: Table, organization_id: str, place: Place) -> Page[Stored[Meter]]:
    """List meters, deleted ones too. Cost: 1 get."""
    seen = read_meters(table, organization_id)
    meters = sorted(seen.meters, key=lambda meter: meter.id)
    return _cut(((each.id, Stored(each, seen.stamps.get(each.id, NEVER))) for each in meters), place)


def list_subscriptions(
    table: Table, organization_id: str, place: Place, chosen: Chosen
) -> Page[Stored[Terms]]:
    """List subscriptions.

    Where a filter lets few through, a page has few, or none, and yet is not the last. Cost: up to `MOST_PAGES`
    times that of a page, and 1 get for each subscription read. Those of a customer or an external id cost 1 query
    and 1 get each.
    """
    if chosen.customer is not None or chosen.external_id is not None:
        found = (
            terms_by_external_id(table, organization_id, chosen.external_id)
            if chosen.external_id is not None
            else terms_of_customer(table, organization_id, chosen.customer or "")
        )
        passed = sorted(
            ((keys.part(each.value.id), each) for each in found if chosen.holds(each.value)),
            key=lambda each: each[0],
        )
        return _cut(passed, place)
    records: list[tuple[str, Stored[Terms]]] = []
    after: str | None = place.after
    for _ in range(MOST_PAGES):
        rows, after = _rows(
            table, organization_id, "subscription", Place(after or "", place.limit - len(records))
        )
        names = {text(row, "id"): text(row, "sk") for row in rows}
        read = read_some_terms(table, organization_id, names)
        records += [(names[each.value.id], each) for each in read if chosen.holds(each.value)]
        if after is None or len(records) >= place.limit:
            break
    return Page(records, after)


def _named(terms: Terms) -> list[Dated]:
    return [Dated(each.value, each.since) for each in terms.plan]


def _rows(table: Table, organization_id: str, kind: str, place: Place) -> tuple[list[Row], str | None]:
    """Read the items of a kind after a place, and the place at which the list goes on."""
    of = keys.catalogue_kind(organization_id, kind)
    begin = place.after + FIRST if place.after else of.sk
    rows: list[Row] = []
    while len(rows) <= place.limit:
        # A query may end before its limit. Only one that finds nothing has come to the end of the list.
        found = table.query_first(of.pk, begin, of.sk + LAST, place.limit + 1 - len(rows))
        if not found:
            return rows, None
        rows += found
        # No key has a character below FIRST, so that this is above the last key and not above the next.
        begin = text(rows[-1], "sk") + FIRST
    shown = rows[: place.limit]
    return shown, text(shown[-1], "sk")


def _cut[T](records: Iterable[tuple[str, T]], place: Place) -> Page[T]:
    later = [each for each in records if not place.after or each[0] > place.after]
    shown = later[: place.limit]
    return Page(shown, shown[-1][0] if len(later) > len(shown) else None)

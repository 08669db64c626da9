"""Flexprice's lists of customers and subscriptions: a page of those that pass the filters, and how many do."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from flexprice_at import Catalogue

from meterstone.contracts import flexprice_catalogue as flexprice
from meterstone.contracts.flexprice_changes import Changed
from meterstone.contracts.flexprice_pages import CustomersAsked, PageAsked, SubscriptionsAsked
from meterstone.contracts.flexprice_subscription_objects import status_of
from meterstone.contracts.message import RequestRefusedError
from meterstone.store.catalogue.pages import (
    customer_ids,
    read_some_customers,
    read_some_terms,
    subscription_ids,
    terms_of_customer,
)
from meterstone.store.catalogue.stamped import Stored
from meterstone.store.catalogue.subscriptions import read_meters, read_subscriptions
from meterstone.usage.subscription import Customer
from meterstone.usage.terms import Terms

MOST_FILTERED: Final = 5000
"""How many subscriptions of an organization are read at most for one page of those that a filter lets through."""


class Listed[T](NamedTuple):
    """A page of records, and how many all pages together have."""

    page: Sequence[T]
    total: int


def search_customers(at: Catalogue, asked: CustomersAsked) -> Listed[Stored[Customer]]:
    """List a page of customers, in the order of their ids. Cost: see `meterstone.store.catalogue.pages`."""
    if not asked.published:
        return Listed((), 0)
    if asked.ids is not None:
        found = read_some_customers(at.table, at.organization.id, sorted(asked.ids))
        return _cut(found, asked.page)
    listed = _cut(customer_ids(at.table, at.organization.id), asked.page)
    return Listed(read_some_customers(at.table, at.organization.id, listed.page), listed.total)


def search_subscriptions(at: Catalogue, asked: SubscriptionsAsked) -> Listed[Changed]:
    """List a page of subscriptions, in the order of their ids.

    Cost: 1 get for each id that is named, and 1 query and 1 get each for the subscriptions of each customer. Else
    that of all ids (see `meterstone.store.catalogue.pages`), and of the page; with another filter 1 get for each
    subscription of the organization, and `RequestRefusedError` (400) if there are more than `MOST_FILTERED`.
    """
    if not asked.published:
        return Listed((), 0)
    if asked.customers is None and asked.ids is None and not asked.reads_each:
        listed = _cut(subscription_ids(at.table, at.organization.id), asked.page)
        terms: Iterable[Stored[Terms]] = read_some_terms(at.table, at.organization.id, listed.page)
        return Listed(resolve_all(at, terms), listed.total)
    passed = [each for each in _chosen(at, asked) if holds(asked, each.value, at.now)]
    page = _cut(sorted(passed, key=lambda each: each.value.id), asked.page)
    return Listed(resolve_all(at, page.page), page.total)


def resolve_all(at: Catalogue, stored: Iterable[Stored[Terms]]) -> list[Changed]:
    """Return subscriptions with everything that their terms refer to, in that order."""
    found = list(stored)
    meters = read_meters(at.table, at.organization.id) if found else ()
    whole = read_subscriptions(
        at.table, at.organization.id, (each.value.id for each in found), meters, facts=False
    )
    by_id = {each.id: each for each in whole}
    return [Changed(each, by_id[each.value.id]) for each in found if each.value.id in by_id]


def holds(asked: SubscriptionsAsked, terms: Terms, now: int) -> bool:
    """Return whether a subscription passes every filter."""
    at = asked.active_at
    return (
        (asked.ids is None or terms.id in asked.ids)
        and (asked.customers is None or terms.customer_id in asked.customers)
        and (asked.plan is None or asked.plan in {each.value for each in terms.plan})
        and (asked.statuses is None or status_of(terms, now) in asked.statuses)
        and (asked.periods is None or terms.billing_period in asked.periods)
        and (at is None or (terms.start <= at and status_of(terms, at) == "active"))
    )


def _chosen(at: Catalogue, asked: SubscriptionsAsked) -> Iterable[Stored[Terms]]:
    if asked.ids is not None:
        return read_some_terms(at.table, at.organization.id, sorted(asked.ids))
    if asked.customers is not None:
        return [
            each
            for name in sorted(asked.customers)
            for each in terms_of_customer(at.table, at.organization.id, name)
        ]
    ids = subscription_ids(at.table, at.organization.id)
    if len(ids) > MOST_FILTERED:
        reason = (
            f"is required: a filter reads at most {MOST_FILTERED} subscriptions, and there are {len(ids)}"
        )
        raise RequestRefusedError(flexprice.refuse_operation("customer_id", reason))
    return read_some_terms(at.table, at.organization.id, ids)


def _cut[T](records: Sequence[T], page: PageAsked) -> Listed[T]:
    ordered = records[::-1] if page.descending else records
    return Listed(ordered[page.offset : page.offset + page.limit], len(records))

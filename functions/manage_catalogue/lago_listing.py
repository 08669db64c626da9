"""Lago's list of subscriptions: a page of those that pass its filters, and how many do."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from lago_at import Catalogue

from meterstone.contracts import lago_subscriptions as lago
from meterstone.contracts.lago_subscriptions import ListAsked
from meterstone.contracts.message import RequestRefusedError
from meterstone.store.catalogue.pages import (
    read_some_terms,
    subscription_ids,
    terms_by_external_id,
    terms_of_customer,
)
from meterstone.store.catalogue.stamped import Stored
from meterstone.usage.terms import Terms

MOST_FILTERED: Final = 5000
"""How many subscriptions of an organization are read at most for one page of those that a filter lets through."""


class Listed(NamedTuple):
    """A page of subscriptions, how many all pages have, and the subscriptions that may adjoin them."""

    page: Sequence[Stored[Terms]]
    total: int
    siblings: Sequence[Terms]


def list_page(at: Catalogue, asked: ListAsked) -> Listed:
    """List a page of subscriptions: those of an external id or a customer by their starts, all others by id.

    Cost: for an external id or a customer, 1 query, and 1 get each. Else that of all ids (see
    `meterstone.store.catalogue.pages`) and 1 get for each subscription of the page. With a filter, which the
    status is too, it is 1 get for each subscription of the organization, and `RequestRefusedError` (422) if there
    are more than `MOST_FILTERED`.
    """
    skip, most = asked.page.skip, asked.page.per_page
    if asked.external_id is not None or asked.customer_id is not None:
        read = (
            terms_by_external_id(at.table, at.organization.id, asked.external_id)
            if asked.external_id is not None
            else terms_of_customer(at.table, at.organization.id, asked.customer_id or "")
        )
        passed = sorted(
            (each for each in read if asked.holds(each.value, at.now)),
            key=lambda each: (each.value.start, each.value.id),
        )
        return Listed(passed[skip : skip + most], len(passed), [each.value for each in read])
    ids = subscription_ids(at.table, at.organization.id)
    if not asked.filters:
        page = list(read_some_terms(at.table, at.organization.id, ids[skip : skip + most]))
        return Listed(page, len(ids), ())
    if len(ids) > MOST_FILTERED:
        raise RequestRefusedError(lago.refuse_too_many(MOST_FILTERED))
    every = read_some_terms(at.table, at.organization.id, ids)
    passed = [each for each in every if asked.holds(each.value, at.now)]
    return Listed(passed[skip : skip + most], len(passed), ())

"""Flexprice's lists on the wire: what a search asks for, and `{items, pagination}`.

- A list is ordered by id, where Flexprice orders by creation: `order` turns it round, `sort` is refused.
- `filters`, conditions on any field, are refused: a filter that is dropped in silence answers with too much.
- Of a `status`, records are `published`; none that can be listed is `archived` or `deleted`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from meterstone.contracts.fields import whole
from meterstone.contracts.flexprice_fields import Reader, boolean, identifier, moment, one_of
from meterstone.contracts.message import Reply, Request
from meterstone.contracts.stored import Stamp
from meterstone.usage.instant import format_instant
from meterstone.usage.period import BillingPeriod

DEFAULT_LIMIT: Final = 50
MOST_RECORDS: Final = 1000
"""How many records a page has at most."""

STATUSES: Final = ("published", "archived", "deleted")
SUBSCRIPTION_STATUSES: Final = ("active", "cancelled", "draft")
_OTHER_STATUSES: Final = ("paused", "incomplete", "trialing")

_MOST_IDS: Final = 1000
_FURTHEST: Final = 1_000_000
_NO_CONDITIONS: Final = {
    "filters": "give the fields of their own, such as customer_ids",
    "sort": "lists are ordered by id",
}
_OTHER_SUBSCRIPTIONS: Final = {
    "invoicing_customer_ids": "there are no invoices",
    "parent_subscription_ids": "subscriptions have no parents",
    "trial_end_due_lte": "there are no trials",
    "effective_date_for_update": "nothing has to be rolled forward",
    "start_time": "give active_at",
    "end_time": "give active_at",
}
_OTHER_CUSTOMERS: Final = {
    "email": "give external_ids",
    "metadata": "give external_ids",
    "start_time": "give external_ids",
    "end_time": "give external_ids",
}


class PageAsked(NamedTuple):
    """Which part of a list is wanted."""

    limit: int
    offset: int
    descending: bool


class CustomersAsked(NamedTuple):
    """A search for customers. ``ids`` is None for all."""

    page: PageAsked
    ids: frozenset[str] | None
    #: Whether any customer can have the status that is asked for.
    published: bool


class SubscriptionsAsked(NamedTuple):
    """A search for subscriptions. None leaves a filter out."""

    page: PageAsked
    ids: frozenset[str] | None
    customers: frozenset[str] | None
    plan: str | None
    statuses: frozenset[str] | None
    periods: frozenset[str] | None
    active_at: int | None
    line_items: bool
    published: bool

    @property
    def reads_each(self) -> bool:
        """Whether each subscription must be looked at to know whether it is listed."""
        return (self.plan, self.statuses, self.periods, self.active_at) != (None, None, None, None)


def parse_customers(request: Request) -> CustomersAsked:
    """Read a search for customers. Raises `RequestRefusedError` (400) with all bad fields at once."""
    reader = Reader.of(request)
    page, published = _page(reader)
    lists = [reader.texts("customer_ids", _MOST_IDS), reader.texts("external_ids", _MOST_IDS)]
    one = reader.get("external_id", identifier)
    reader.refuse(_OTHER_CUSTOMERS)
    reader.check()
    # An empty list is no filter, as in Flexprice.
    asked = [frozenset(each) for each in lists if each] + ([frozenset((one,))] if one else [])
    return CustomersAsked(page, frozenset.intersection(*asked) if asked else None, published)


def parse_subscriptions(request: Request) -> SubscriptionsAsked:
    """Read a search for subscriptions. Raises `RequestRefusedError` (400) with all bad fields at once."""
    reader = Reader.of(request)
    page, published = _page(reader)
    ids = reader.texts("subscription_ids", _MOST_IDS)
    several = reader.texts("customer_ids", _MOST_IDS)
    one = [reader.get(name, identifier) for name in ("customer_id", "external_customer_id")]
    statuses = _choices(reader, "subscription_status", (*SUBSCRIPTION_STATUSES, *_OTHER_STATUSES))
    asked = SubscriptionsAsked(
        page,
        frozenset(ids) if ids else None,
        _all_of([frozenset(several)] if several else [], *one),
        reader.get("plan_id", identifier),
        statuses,
        _choices(reader, "billing_period", tuple(BillingPeriod)),
        reader.get("active_at", moment),
        reader.get("with_line_items", boolean) is not False,
        published,
    )
    reader.refuse(_OTHER_SUBSCRIPTIONS)
    reader.check()
    return asked


def answer(items: Sequence[Mapping[str, Any]], page: PageAsked, total: int) -> Reply:
    """Answer with a page of a list of which all pages together have ``total`` records."""
    pagination = {"total": total, "limit": page.limit, "offset": page.offset}
    return Reply.of(200, {"items": items, "pagination": pagination})


def answer_all(items: Sequence[Mapping[str, Any]]) -> Reply:
    """Answer with a whole list."""
    return answer(items, PageAsked(len(items), 0, descending=False), len(items))


def stamped(stamp: Stamp) -> dict[str, str]:
    """Write when a record was made and put."""
    return {"created_at": format_instant(stamp.made_at), "updated_at": format_instant(stamp.put_at)}


def _page(reader: Reader) -> tuple[PageAsked, bool]:
    limit = reader.get("limit", whole(1, MOST_RECORDS))
    offset = reader.get("offset", whole(0, _FURTHEST))
    order = reader.get("order", one_of(("asc", "desc")))
    status = reader.get("status", one_of(STATUSES))
    reader.refuse(_NO_CONDITIONS)
    page = PageAsked(DEFAULT_LIMIT if limit is None else limit, offset or 0, order == "desc")
    return page, status in (None, STATUSES[0])


def _choices(reader: Reader, name: str, values: Sequence[str]) -> frozenset[str] | None:
    if not reader.has(name):
        return None
    read = one_of(values)
    found = set()
    for path, raw in reader.fields.each(name):
        try:
            found.add(read(raw))
        except ValueError as error:
            reader.faults[path] = str(error)
    return frozenset(found) or None


def _all_of(lists: list[frozenset[str]], *single: str | None) -> frozenset[str] | None:
    asked = lists + [frozenset((each,)) for each in single if each]
    return frozenset.intersection(*asked) if asked else None

"""Subscriptions as they are stored: terms, and what these refer to; and whose they are.

A table of an earlier version of this code has documents in the place of terms, each with its prices and meters
inside. They are read as they are, until the subscription is put anew.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import replace
from enum import Enum, auto
from itertools import batched
from typing import NamedTuple, assert_never

import msgspec

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST
from meterstone.store.dynamodb.table import Row, StoreError, Table, text
from meterstone.usage.counting import Counting, decode_counting
from meterstone.usage.edition import ONE_EDITION, Editions
from meterstone.usage.meter import Meter
from meterstone.usage.plan import Plan, decode_plan, decode_price
from meterstone.usage.subscription import NO_FACTS, NOT_MOVED, Customer, Facts, Moves, Subscription
from meterstone.usage.terms import Terms, decode_terms, resolve

_AT_ONCE = 100
_SUBSCRIPTION = msgspec.json.Decoder(Subscription)
_CUSTOMER = msgspec.json.Decoder(Customer)
_MOVES = msgspec.json.Decoder(Moves)
_METERS = msgspec.json.Decoder(tuple[Meter, ...])

type Versions = Mapping[tuple[str, int], Plan]


class By(Enum):
    """By which terms subscriptions are made, where one is being counted anew (see `meterstone.usage.counting`)."""

    #: Those that are read: what was counted by them is what answers show.
    READ = auto()
    #: Those of the record, which may be still to be counted by.
    RECORD = auto()
    #: All by which events are counted: those that are read and, beside them, those by which an edition is filled.
    COUNTED = auto()
    #: Those that were read before, as long as the rollups have what came of it.
    FORMER = auto()
    #: All by which something is in the rollups: those that are read, and those of before as long as that is so.
    PUBLISHED = auto()


class UnknownSubscriptionError(StoreError):
    """The organization has no subscription of that id."""


def read_subscription(
    table: Table,
    organization_id: str,
    subscription_id: str,
    meters: Sequence[Meter] = (),
    *,
    consistent: bool = False,
    facts: bool = True,
    by: By = By.READ,
) -> Subscription:
    """Read a subscription, and everything that it refers to (see `resolved`). Raises `UnknownSubscriptionError`.

    Cost: 1 get, and that of `resolved`.
    """
    row = table.get(keys.subscription(organization_id, subscription_id), consistent=consistent)
    if row is None:
        raise UnknownSubscriptionError(subscription_id)
    return resolved(table, organization_id, [row], meters, consistent=consistent, facts=facts, by=by)[0]


def read_subscriptions(
    table: Table,
    organization_id: str,
    ids: Iterable[str],
    meters: Sequence[Meter] = (),
    *,
    consistent: bool = False,
    facts: bool = True,
    by: By = By.READ,
) -> list[Subscription]:
    """Read subscriptions by id. Ids that do not exist are left out.

    Cost: 1 get each, in batches, and that of `resolved`.
    """
    wanted = [keys.subscription(organization_id, each) for each in ids]
    rows = table.batch_get(wanted, consistent=consistent)
    found = [rows[key] for key in wanted if key in rows]
    return resolved(table, organization_id, found, meters, consistent=consistent, facts=facts, by=by)


def resolved(
    table: Table,
    organization_id: str,
    rows: Sequence[Row],
    meters: Sequence[Meter] = (),
    *,
    consistent: bool = False,
    facts: bool = True,
    by: By = By.READ,
) -> list[Subscription]:
    """Make subscriptions of their items, and look up everything that these refer to.

    ``meters`` are those that are known. If others are needed, the list of all is read. Without ``facts``, the
    countries and the types of customers are left out. An item makes one subscription, but for `By.COUNTED` and
    `By.PUBLISHED`, where it may make two, and `By.FORMER`, where it may make none.

    Cost: 1 get for each customer, in batches; for prices and versions of plans, 1 get each if they are not
    remembered; 1 get for the meters, if it is needed.
    """
    told = [(row, each) for row in rows for each in _told(row, by)]
    terms = [each.terms for _, each in told]
    plans = read_versions(
        table, organization_id, (plan for each in terms if each for plan in each.versions())
    )
    ids = dict.fromkeys(price for each in terms if each for price in each.price_ids(plans))
    named = {keys.catalogue(organization_id, "price", each): each for each in ids}
    prices = {
        named[key]: price
        for key, price in table.unchanging(named, lambda row: decode_price(text(row, "doc"))).items()
    }
    held = [each.terms or _SUBSCRIPTION.decode(text(row, "doc")) for row, each in told]
    whose = {each.customer_id for each in held} if facts else set()
    facts_by_id = read_facts(table, organization_id, whose, consistent=consistent)
    known = {meter.id: meter for meter in meters}
    needed = {price.meter_id for price in prices.values() if price.meter_id}
    needed |= {meter.id for each in held if isinstance(each, Subscription) for meter in _meters_of(each)}
    if needed - known.keys():
        known = {meter.id: meter for meter in read_meters(table, organization_id, consistent=True)}
    return [
        resolve(
            each,
            plans,
            prices,
            known,
            facts_by_id.get(each.customer_id, NO_FACTS),
            by_what.editions,
            by_what.renamings,
        )
        if isinstance(each, Terms)
        else _up_to_date(each, known, facts_by_id.get(each.customer_id))
        for each, (_, by_what) in zip(held, told, strict=True)
    ]


def read_versions(table: Table, organization_id: str, versions: Iterable[tuple[str, int]]) -> Versions:
    """Read versions of plans, each by the plan's code and its number. Cost: 1 get each, if not remembered."""
    named = {keys.plan_version(organization_id, *each): each for each in versions}
    found = table.unchanging(named, lambda row: decode_plan(text(row, "doc")))
    return {named[key]: plan for key, plan in found.items()}


def read_facts(
    table: Table, organization_id: str, ids: Iterable[str], *, consistent: bool = False
) -> dict[str, Facts]:
    """Read customers' facts by their ids. Ids without a record are left out. Cost: 1 get each, in batches."""
    named = {keys.customer(organization_id, each): each for each in ids}
    rows = table.batch_get(named, consistent=consistent)
    return {named[key]: facts_of(row) for key, row in rows.items() if "doc" in row}


def facts_of(row: Row) -> Facts:
    """Read the facts of a customer from the item of its record."""
    return decode_customer(text(row, "doc")).facts._replace(moves=moves_of(row))


def moves_of(row: Row) -> Moves:
    """Read the moves of a customer from the item of its record."""
    return _MOVES.decode(text(row, "moves")) if "moves" in row else NOT_MOVED


def read_meters(table: Table, organization_id: str, *, consistent: bool = False) -> tuple[Meter, ...]:
    """Read all meters of an organization, deleted ones too. Cost: 1 get."""
    row = table.get(keys.organization(organization_id, "meters"), consistent=consistent)
    return () if row is None else decode_meters(text(row, "doc"))


def decode_customer(document: str) -> Customer:
    """Read a customer from its JSON text."""
    return _CUSTOMER.decode(document)


def decode_subscription(document: str) -> Subscription:
    """Read a subscription from the JSON text that it has in the first stored format."""
    return _SUBSCRIPTION.decode(document)


def decode_meters(document: str) -> tuple[Meter, ...]:
    """Read the list of all meters from its JSON text."""
    return _METERS.decode(document)


class _Told(NamedTuple):
    """What an item says of a subscription; no terms where it has a document of before in their place."""

    terms: Terms | None
    editions: Editions = ONE_EDITION
    renamings: Moves = NOT_MOVED


def _told(row: Row, by: By) -> list[_Told]:
    if "terms" not in row:
        return [] if by is By.FORMER else [_Told(None)]
    terms = decode_terms(text(row, "terms"))
    counting = counting_of(row)
    if counting is None:
        return [] if by is By.FORMER else [_Told(terms)]
    renamings, filling, former = counting.renamings, counting.filling, counting.former
    read = _Told(counting.live or terms, counting.editions, renamings)
    before = [] if former is None else [_Told(former.terms, former.editions, renamings)]
    match by:
        case By.READ:
            return [read]
        case By.RECORD:
            return [_Told(terms, counting.editions, renamings)]
        case By.COUNTED:
            filled = () if filling is None else (_Told(filling.terms, counting.editions_filling, renamings),)
            return [read, *filled]
        case By.FORMER:
            return before
        case By.PUBLISHED:
            return [read, *before]
        case _:
            assert_never(by)


def counting_of(row: Row) -> Counting | None:
    """Read how a subscription is counted from its item; None if it is simply by its terms."""
    return decode_counting(text(row, "counting")) if "counting" in row else None


def _meters_of(subscription: Subscription) -> Iterator[Meter]:
    return (item.meter for item in subscription.line_items if item.meter is not None)


def _up_to_date(before: Subscription, meters: Mapping[str, Meter], facts: Facts | None) -> Subscription:
    """Return a subscription of before with its meters as they are now, and with its customer's facts."""
    items = tuple(
        item if item.meter is None else replace(item, meter=meters.get(item.meter.id, item.meter))
        for item in before.line_items
    )
    now = replace(before, line_items=items)
    return now if facts is None else now.of_customer(facts)


def list_subscriptions(
    table: Table, organization_id: str, after: str | None = None
) -> Iterator[Subscription]:
    """Read all subscriptions of an organization in the order of their keys, or those after one of an id.

    No more than 100 are held at once. Cost: 1 query of their ids, page by page, and that of `read_subscriptions`.
    """
    pk, prefix = keys.catalogue_kind(organization_id, "subscription")
    low, high = keys.range_of(prefix)
    if after is not None:
        # Above that key, and not above the next: no key has a lower character.
        low = keys.catalogue(organization_id, "subscription", after).sk + FIRST
    ids = _ids(table.query(pk, low, high, consistent=True))
    meters = read_meters(table, organization_id, consistent=True)
    for some in batched(ids, _AT_ONCE, strict=False):
        yield from read_subscriptions(table, organization_id, some, meters, consistent=True)


def count_subscriptions(table: Table, organization_id: str) -> int:
    """Count the subscriptions of an organization. Cost: 1 query of their ids, page by page."""
    return sum(1 for _ in table.query_prefix(*keys.catalogue_kind(organization_id, "subscription")))


def subscriptions_of_customer(
    table: Table,
    organization_id: str,
    customer_id: str,
    meters: Sequence[Meter] = (),
    *,
    consistent: bool = False,
    facts: bool = True,
    by: By = By.READ,
) -> list[Subscription]:
    """Read a customer's subscriptions. Cost: 1 query, and that of `read_subscriptions`."""
    pk = keys.of_customer(organization_id, customer_id).pk
    ids = _ids(table.query(pk, FIRST, LAST, consistent=consistent))
    found = read_subscriptions(table, organization_id, ids, meters, consistent=consistent, facts=facts, by=by)
    # The item that lists a subscription under a customer may be there before the subscription, and it stays when
    # the subscription is given to another customer. The terms say to whom it belongs.
    return [each for each in found if each.customer_id == customer_id]


def subscriptions_by_external_id(
    table: Table,
    organization_id: str,
    external_id: str,
    meters: Sequence[Meter] = (),
    *,
    consistent: bool = False,
    facts: bool = True,
    by: By = By.READ,
) -> list[Subscription]:
    """Read all subscriptions with an external id: it may be used again.

    Cost: 1 query, and that of `read_subscriptions`.
    """
    pk = keys.by_external_id(organization_id, external_id).pk
    ids = _ids(table.query(pk, FIRST, LAST, consistent=consistent))
    found = read_subscriptions(table, organization_id, ids, meters, consistent=consistent, facts=facts, by=by)
    return [each for each in found if each.external_id == external_id]


def _ids(rows: Iterable[Row]) -> Iterator[str]:
    """Return the ids of the subscriptions that items list. The item of the subject itself is none of them."""
    return (text(row, "id") for row in rows if "id" in row)

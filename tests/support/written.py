"""Records that are written as they are: for tests that begin with some, or change them behind all rules."""

from collections.abc import Iterable, Sequence
from typing import cast

from meterstone import clock
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.catalogue.records import encode_document
from meterstone.store.catalogue.stamped import stamp_of
from meterstone.store.catalogue.subscriptions import read_subscription
from meterstone.store.counting.waking import wake_changed
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Action, Item, Row, Table, key_item, text
from meterstone.store.operations.load import write_organization
from meterstone.usage.meter import Meter
from meterstone.usage.subscription import Customer, Organization, Subscription
from meterstone.usage.terms import terms_of
from meterstone_cli.catalogue import Catalogue


def write_stored(table: Table, catalogue: Catalogue) -> None:
    """Store a catalogue's records, each by itself, without asking what they would change."""
    entries: list[tuple[str, str, object]] = [("customer", each.id, each) for each in catalogue.customers]
    entries += [("plan", plan.code, plan) for plan in catalogue.plans]
    entries += [("price", price.id, price) for price in catalogue.prices]
    write_catalogue(table, catalogue.organization, catalogue.meters, catalogue.subscriptions, entries)


def write_catalogue(
    table: Table,
    organization: Organization,
    meters: Sequence[Meter],
    subscriptions: Iterable[Subscription],
    entries: Iterable[tuple[str, str, object]] = (),
    removed: Iterable[Key] = (),
) -> None:
    """Store records as they are given, each by itself, without asking what they would change."""
    now = clock.now()
    account = read_account(table, organization.id, consistent=True)
    write_organization(table, account, organization)
    if account is None or account.meters != tuple(meters):
        key = keys.organization(organization.id, "meters")
        table.update(
            key,
            "SET doc = :doc ADD rev :one",
            {":doc": {"S": encode_document(tuple(meters))}, ":one": {"N": "1"}},
        )
    written = list(subscriptions)
    given = list(entries)
    customers = {name: value for kind, name, value in given if kind == "customer"}
    for kind, name, value in given:
        if kind == "customer":
            _write_customer(table, organization.id, cast("Customer", value))
        else:
            item = key_item(keys.catalogue(organization.id, kind, name))
            table.put(item | {"id": {"S": name}, "doc": {"S": encode_document(value)}})
    plain = _referring(written, meters)
    for each in written:
        if each.id in plain and each.customer_id not in customers:
            facts = Customer(each.customer_id, country=each.country, customer_type=each.customer_type)
            _write_customer(table, organization.id, facts)
            customers[each.customer_id] = facts
    prices = {item.price.id: item.price for each in written if each.id in plain for item in each.line_items}
    for name, price in prices.items():
        item = key_item(keys.catalogue(organization.id, "price", name))
        table.put(item | {"id": {"S": name}, "doc": {"S": encode_document(price)}})
    # A test may write another price under an id, which the product never does.
    table._unchanging.clear()
    for each in written:
        _write_subscription(table, organization.id, each, now, refers=each.id in plain)
    table.delete_all(removed)
    table.put(key_item(keys.listed(organization.id)))


def _referring(written: Sequence[Subscription], meters: Sequence[Meter]) -> set[str]:
    """Return the ids of the subscriptions that can be stored as terms: what they refer to says the same."""
    listed = {meter.id: meter for meter in meters}
    prices: dict[str, object] = {}
    facts: dict[str, object] = {}
    bad: set[tuple[str, str]] = set()
    for each in written:
        own = each.country, each.customer_type
        if facts.setdefault(each.customer_id, own) != own:
            bad.add(("customer", each.customer_id))
        for item in each.line_items:
            if prices.setdefault(item.price.id, item.price) != item.price:
                bad.add(("price", item.price.id))
            if item.meter != listed.get(item.price.meter_id):
                bad.add(("price", item.price.id))
    found = set()
    for each in written:
        uses = {("price", item.price.id) for item in each.line_items} | {("customer", each.customer_id)}
        if not bad & uses:
            found.add(each.id)
    return found


def _write_customer(table: Table, organization_id: str, customer: Customer) -> None:
    key = keys.customer(organization_id, customer.id)
    mention = key_item(keys.catalogue(organization_id, "customer", customer.id))
    table.put(mention | {"id": {"S": customer.id}})
    row = table.get(key, consistent=True)
    document = encode_document(customer)
    if row is None or text(row, "doc") != document:
        table.update(key, "SET doc = :doc ADD rev :one", {":doc": {"S": document}, ":one": {"N": "1"}})


def _stamp(row: Row | None, now: int) -> Item:
    stamp = stamp_of(row or {}).next(now)
    return {
        "rev": {"N": str(stamp.rev)},
        "made_at": {"N": str(stamp.made_at)},
        "put_at": {"N": str(stamp.put_at)},
    }


def _write_subscription(
    table: Table, organization_id: str, each: Subscription, now: int, *, refers: bool
) -> None:
    key = keys.subscription(organization_id, each.id)
    body = (
        {"terms": {"S": encode_document(terms_of(each))}} if refers else {"doc": {"S": encode_document(each)}}
    )
    row = table.get(key, consistent=True)
    before = None if row is None else read_subscription(table, organization_id, each.id, consistent=True)
    if row is not None and before == each and {"terms", "doc"} & row.keys() == body.keys():
        return
    for mention in (
        keys.catalogue(organization_id, "subscription", each.id),
        keys.of_customer(organization_id, each.customer_id, each.id),
        keys.by_external_id(organization_id, each.external_id, each.id),
    ):
        table.put(key_item(mention) | {"id": {"S": each.id}})
    subjects = {
        keys.subject(organization_id, kind, name)
        for whose in (each, before)
        if whose is not None
        for kind, name in (("s", whose.external_id), ("c", whose.customer_id))
    }
    raised = {"UpdateExpression": "ADD ver :one", "ExpressionAttributeValues": {":one": {"N": "1"}}}
    actions: list[Action] = [
        {"Put": {"TableName": table.name, "Item": key_item(key) | body | _stamp(row, now)}},
        *({"Update": {"TableName": table.name, "Key": key_item(subject)} | raised} for subject in subjects),
    ]
    table.transact(actions)
    if before is not None:
        wake_changed(table, organization_id, [(before, each)])

"""Lists by the numbers of their pages: records of both stored formats, and entries that outlive them."""

from collections.abc import Sequence

import pytest

from meterstone.catalogue.management import Management
from meterstone.store.catalogue import pages
from meterstone.store.catalogue.records import encode_document
from meterstone.store.catalogue.stamped import Stored
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import key_item
from meterstone.usage.period import BillingPeriod
from meterstone.usage.subscription import Customer
from meterstone.usage.terms import Terms
from support.managed import NOW, OF_C, managed, table_of
from support.scenario import ORGANIZATION
from support.small_world import subscription

ID = ORGANIZATION.id


@pytest.fixture
def catalogue() -> Management:
    """Has subscriptions `s` to `u` of the customer `c`, of which `u` was given to `d`, and another external id."""
    management = managed()
    management.put("customer", "d", {"name": "Dora"})
    for name in "stu":
        management.put("subscription", name, OF_C)
    management.merge("subscription", "u", {"customer": "d", "external_id": "v"})
    return management


def ids(found: Sequence[Stored[Terms]]) -> list[str]:
    return [each.value.id for each in found]


def test_all_ids_in_order(catalogue: Management) -> None:
    table = table_of(catalogue)
    assert pages.customer_ids(table, ID) == ["c", "d"]
    assert pages.subscription_ids(table, ID) == ["s", "t", "u"]
    assert [each.value.code for each in pages.read_all_plans(table, ID)] == ["basic", "pro"]


def test_records_with_their_stamps_in_the_order_that_is_asked_for(catalogue: Management) -> None:
    table = table_of(catalogue)
    found = pages.read_some_customers(table, ID, ["d", "nobody", "c"])
    assert [(each.value.id, each.value.name, each.stamp) for each in found] == [
        ("d", "Dora", (1, NOW, NOW)),
        ("c", "", (1, NOW, NOW)),
    ]
    terms = list(pages.read_some_terms(table, ID, ["u", "nobody", "s"]))
    assert [(each.value.id, each.stamp.rev) for each in terms] == [("u", 2), ("s", 1)]


def test_an_entry_that_says_what_is_no_more_is_passed_over(catalogue: Management) -> None:
    table = table_of(catalogue)
    assert ids(pages.terms_of_customer(table, ID, "c")) == ["s", "t"]
    assert ids(pages.terms_of_customer(table, ID, "d")) == ["u"]
    assert pages.terms_by_external_id(table, ID, "u") == []
    assert ids(pages.terms_by_external_id(table, ID, "v")) == ["u"]


def test_more_subscriptions_than_are_read_at_once(catalogue: Management) -> None:
    table = table_of(catalogue)
    assert ids(list(pages.read_some_terms(table, ID, ["s"] * 99 + ["t"] * 99 + ["u"]))) == [
        *["s"] * 99,
        *["t"] * 99,
        "u",
    ]


def test_records_of_the_first_stored_format() -> None:
    """A customer stands in the list itself, a subscription has a document, and neither has a version."""
    management = managed()
    table = table_of(management)
    old = subscription(BillingPeriod.ANNUAL, [])
    customer = Customer(old.customer_id, "Old")
    table.put(
        key_item(keys.catalogue(ID, "customer", customer.id)) | {"doc": {"S": encode_document(customer)}}
    )
    table.put(key_item(keys.subscription(ID, old.id)) | {"doc": {"S": encode_document(old)}})
    assert pages.customer_ids(table, ID) == sorted(["c", customer.id])
    (found,) = pages.read_some_customers(table, ID, [customer.id])
    assert (found.value, found.stamp) == (customer, (0, 0, 0))
    (terms,) = pages.read_some_terms(table, ID, [old.id])
    assert (terms.value.events_by, terms.value.billing_period) == (old.external_id, BillingPeriod.ANNUAL)
    assert terms.stamp == (0, 0, 0)


def test_prices_of_plans_by_their_ids(catalogue: Management) -> None:
    table = table_of(catalogue)
    plans = [each.value for each in pages.read_all_plans(table, ID)]
    assert sorted(pages.read_prices_of(table, ID, plans)) == ["call", "dear call", "seat"]

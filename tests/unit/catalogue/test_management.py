"""Records put one at a time: what each call does, changes and refuses."""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import pytest

from meterstone.catalogue.management import (
    CatalogueConflictError,
    Management,
    RecordRefusedError,
    StaleRecordError,
    UnknownRecordError,
)
from meterstone.store.catalogue.subscription_puts import remove_mark
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import integer, key_item
from meterstone.usage.arrival import AHEAD
from meterstone.usage.instant import SECOND, format_instant, key_instant
from meterstone.usage.subscription import Dated
from support.managed import (
    CALLS,
    DEAR,
    NOW,
    OF_C,
    PRICE,
    PRO,
    at,
    count_event,
    interleavings,
    managed,
    subscription,
    table_of,
    with_one,
)
from support.scenario import ORGANIZATION

LATER = OF_C | {"start": format_instant(at(1))}


@pytest.mark.parametrize(
    ("kind", "name", "record", "changed"),
    [
        ("meter", "m", {"code": "x", "aggregation": "COUNT"}, {"name": "Calls"}),
        ("price", "p", PRICE, {"display_name": "A call"}),
        ("plan", "p", {"prices": ["call"]}, {"prices": ["call", "seat"]}),
        ("plan", "p", {"prices": ["call"]}, {"name": "A plan"}),
        ("customer", "d", {"country": "NO"}, {"name": "Dora"}),
        ("subscription", "s", OF_C, {"name": "First"}),
    ],
    ids=["meter", "price", "plan's offer", "plan's name", "customer", "subscription"],
)
def test_a_record_is_made_then_the_same_then_changed(
    kind: Any, name: str, record: Mapping[str, object], changed: Mapping[str, object]
) -> None:
    management = managed()
    made = management.put(kind, name, record)
    assert (made.created, made.changed, made.stored.stamp) == (True, True, (1, NOW, NOW))
    writes = table_of(management).writes
    again = management.put(kind, name, record)
    assert again == (made.stored, False, False, None)
    assert table_of(management).writes == writes, "nothing is written"
    other = management.put(kind, name, {**record, **changed})
    assert (other.created, other.changed, other.stored.stamp.rev) == (False, True, 2)
    assert management.get(kind, name) == other.stored
    merged = management.merge(kind, name, {})
    assert merged == (other.stored, False, False, None), "what a record says is what it stands for"


@pytest.mark.parametrize("kind", ["meter", "price", "plan", "customer", "subscription"])
def test_what_is_not_there_is_none_and_cannot_be_deleted(kind: Any) -> None:
    management = managed()
    assert management.get(kind, "nobody") is None
    with pytest.raises(UnknownRecordError, match=f"there is no {kind} 'nobody'"):
        management.delete(kind, "nobody")


def test_all_that_is_wrong_is_told_at_once() -> None:
    record = {
        "customer": "nobody",
        "plan": [{"value": "basic"}, {"value": "none", "since": "2026-02-01T00:00:00Z"}],
        "currency": "euro",
        "start": "2026-01-01T00:00:00Z",
        "end": "2025-01-01T00:00:00Z",
        "line_items": [{"price": "call", "colour": "red"}, {"price": "none"}],
    }
    with pytest.raises(RecordRefusedError) as refused:
        managed().put("subscription", "s", record)
    assert sorted(refused.value.errors) == [
        ("currency", "is not an ISO 4217 currency"),
        ("customer", "there is no customer 'nobody'"),
        ("end", "must be after the start"),
        ("line_items[0].colour", "is not a known field"),
        ("line_items[1].price", "there is no price 'none'"),
        ("plan[1].value", "there is no plan 'none'"),
    ]


@pytest.mark.parametrize(
    ("kind", "record", "errors"),
    [
        ("price", PRICE | {"meter_id": "none"}, [("meter_id", "there is no meter 'none'")]),
        ("price", PRICE | {"amount": -1}, [("amount", "must not be negative")]),
        ("plan", {"prices": ["call", "none"]}, [("prices[1]", "there is no price 'none'")]),
        ("meter", CALLS | {"field": "n"}, [("field", "COUNT has no field")]),
        (
            "meter",
            {"code": "seats", "event_name": "calls", "aggregation": "COUNT"},
            [("code", "'seats' is the event_name of meter 'seats', but not of this one")],
        ),
        ("customer", {"id": "other"}, [("id", "must be 'new', under which it is put")]),
        ("subscription", OF_C | {"customer": "d"}, [("customer", "there is no customer 'd'")]),
        (
            "subscription",
            OF_C | {"currency": "USD"},
            [("plan", "'basic' has no price in USD for a billing period of 1 MONTHLY")],
        ),
        (
            "subscription",
            OF_C | {"line_items": [{"price": "call"}], "plan_prices": True},
            [
                ("line_items[0].id", "'new.call' is the id of a line item of the plan already"),
                ("plan", "price 'call' of the plan overlaps line_items[0] on the meter 'calls'"),
            ],
        ),
    ],
    ids=[
        *("no such meter", "a negative price", "no such price", "a count of a field", "another's event name"),
        *("another id", "no such customer", "no price in the currency", "a price of the plan twice"),
    ],
)
def test_what_is_wrong(kind: Any, record: Mapping[str, object], errors: list[tuple[str, str]]) -> None:
    management = managed()
    before = table_of(management).items()
    with pytest.raises(RecordRefusedError) as refused:
        management.put(kind, "new", record)
    assert refused.value.errors == errors
    assert table_of(management).items() == before


@pytest.mark.parametrize(
    ("kind", "name", "record", "path"),
    [
        ("price", "call", PRICE | {"amount": "2.5"}, "amount"),
        ("price", "call", PRICE | {"meter_id": "seats"}, "meter_id"),
        ("meter", "calls", CALLS | {"filters": {"a": ["b"]}}, "filters"),
        ("meter", "calls", CALLS | {"event_name": "x"}, "event_name"),
        ("meter", "calls", CALLS | {"deleted_at": format_instant(NOW + AHEAD)}, "deleted_at"),
    ],
    ids=["a price's amount", "a price's meter", "a meter's filters", "its event name", "deleted too soon"],
)
def test_what_never_changes(kind: Any, name: str, record: Mapping[str, object], path: str) -> None:
    management = managed()
    before = table_of(management).items()
    with pytest.raises(CatalogueConflictError) as conflict:
        management.put(kind, name, record)
    assert conflict.value.path == path
    assert table_of(management).items() == before


def test_a_changed_offer_is_a_new_version_and_subscriptions_keep_theirs() -> None:
    management = managed()
    management.put("subscription", "s", OF_C)
    assert management.put("plan", "basic", PRO).stored.value.version == 2
    assert management.put("plan", "basic", PRO | {"name": "Basic"}).stored.value.version == 2
    assert not management.put("subscription", "s", OF_C).changed
    new = management.put("subscription", "t", OF_C | {"customer": "c"})
    amounts = [
        {str(item.price.amount) for item in management.resolved(subscription(management, name)).line_items}
        for name in ("s", "t")
    ]
    assert amounts == [{"2"}, {"3", "2"}]
    assert new.stored.value.plan[0].version == 2


def test_a_plan_that_was_deleted_and_comes_again_is_another_version() -> None:
    management = managed()
    assert management.delete("plan", "basic").value.version == 1
    assert management.get("plan", "basic") is None
    assert management.put("plan", "basic", PRO).stored.value.version == 2


@pytest.mark.parametrize(
    ("record", "facts"),
    [
        ({"country": "NO"}, (Dated("NO"),)),
        ({"country": "SE"}, (Dated("NO"), Dated("SE", NOW))),
        (
            {"country": [{"value": "NO"}, {"value": "SE", "since": format_instant(at(1))}]},
            (Dated("NO"), Dated("SE", at(1))),
        ),
    ],
    ids=["the same", "another from now on", "another, dated"],
)
@pytest.mark.parametrize("counted", [False, True], ids=["never counted", "counted"])
def test_countries(record: Mapping[str, object], facts: tuple[Dated, ...], *, counted: bool) -> None:
    management = managed()
    management.put("subscription", "s", OF_C)
    if counted:
        count_event(management, "s", at(-1))
    assert management.put("customer", "c", record).stored.value.country == facts
    assert not management.put("customer", "c", record).changed


@pytest.mark.parametrize(
    "record",
    [{}, {"country": [{"value": "SE", "since": format_instant(at(-1))}]}],
    ids=["no country any more", "another in the past"],
)
@pytest.mark.parametrize("counted", [False, True], ids=["never counted", "counted"])
def test_a_country_of_the_past(record: Mapping[str, object], *, counted: bool) -> None:
    management = managed()
    management.put("subscription", "s", OF_C)
    if counted:
        count_event(management, "s", at(-1))
    put = management.put("customer", "c", record)
    assert put.changed
    assert (put.recount is not None) == counted
    assert management.put("customer", "c", record) == put._replace(changed=False)


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("customer", "c", "subscription 's' is the customer's"),
        ("plan", "basic", "subscriptions have named it"),
        ("price", "call", "a price stays"),
        ("subscription", "s", "end it instead"),
    ],
)
def test_what_is_needed_is_not_deleted(kind: Any, name: str, reason: str) -> None:
    management = managed()
    management.put("subscription", "s", OF_C)
    count_event(management, "s", at(-1))
    before = table_of(management).items()
    with pytest.raises(CatalogueConflictError, match=reason):
        management.delete(kind, name)
    assert table_of(management).items() == before


def test_what_was_counted_at_a_time_that_is_not_known_is_not_deleted() -> None:
    management = managed()
    management.put("subscription", "s", OF_C)
    counter = Key(keys.usage(ORGANIZATION.id, "1", "s"), keys.counter("monthly.1", 0, "item", 0))
    table_of(management).put(key_item(counter) | {"v": {"N": "1"}})
    with pytest.raises(CatalogueConflictError, match="usage has been counted: end it instead"):
        management.delete("subscription", "s")


def test_what_was_called_off_is_deleted_whatever_its_customer_used() -> None:
    management = managed()
    management.put("subscription", "s", OF_C)
    management.put("subscription", "t", LATER)
    management.cancel_pending("t")
    count_event(management, "s", at(2), by_customer=True)
    assert management.delete("subscription", "t").value.canceled_at == NOW


def test_what_nothing_needs_is_deleted() -> None:
    management = managed()
    management.put("subscription", "s", OF_C)
    assert management.delete("subscription", "s").value.id == "s"
    assert management.get("subscription", "s") is None
    management.delete("customer", "c")
    assert management.get("customer", "c") is None
    management.delete("plan", "pro")
    assert management.get("plan", "pro") is None
    assert management.put("customer", "c", {}).created
    assert management.put("subscription", "s", OF_C).created


def test_no_version_of_a_deleted_customer_comes_again() -> None:
    """What is counted by one could otherwise be by the customer that was deleted."""
    management = managed()
    key = keys.customer(ORGANIZATION.id, "c")
    seen = set()
    for _ in range(3):
        row = table_of(management).get(key, consistent=True)
        assert row is not None
        seen.add((integer(row, "rev"), integer(row, "ver")))
        management.delete("customer", "c")
        management.put("customer", "c", {"country": "NO"})
    assert seen == {(1, 0), (2, 1), (3, 2)}


def test_the_first_event_counted_meanwhile_follows_the_country() -> None:
    management = managed()
    management.put("subscription", "s", OF_C)
    table = table_of(management)
    update, events = table.update, iter([at(-1)])

    def counted_first(*arguments: Any, **more: Any) -> bool:
        for when in events:
            count_event(management, "s", when)
        return update(*arguments, **more)

    table.update = counted_first  # type: ignore[method-assign]
    assert management.put("customer", "c", {}).recount is not None


def test_a_meter_is_deleted_in_5_minutes_and_stays_deleted() -> None:
    management = managed()
    deleted = management.delete("meter", "calls").value.deleted_at
    assert deleted == NOW + AHEAD + 20 * SECOND
    assert management.delete("meter", "calls").value.deleted_at == deleted
    with pytest.raises(CatalogueConflictError, match="stays deleted"):
        management.put("meter", "calls", CALLS)


@pytest.mark.parametrize("kind", ["meter", "price", "plan", "customer", "subscription"])
def test_a_put_may_be_conditional_on_a_version(kind: Any) -> None:
    management = managed()
    management.put("subscription", "calls", OF_C)
    changed: Mapping[str, Mapping[str, object]] = {
        "meter": CALLS | {"name": "x"},
        "price": DEAR | {"description": "x"},
        "plan": PRO | {"name": "x"},
        "customer": {"name": "x"},
        "subscription": OF_C | {"name": "x"},
    }
    record = changed[kind]
    name = {"price": "dear call", "plan": "pro", "customer": "c"}.get(kind, "calls")
    with pytest.raises(StaleRecordError):
        management.put(kind, name, record, if_match=2)
    with pytest.raises(StaleRecordError):
        management.put(kind, "new", record, if_match=1)
    assert management.put(kind, name, record, if_match=1).changed
    with pytest.raises(StaleRecordError):
        management.put(kind, name, record, if_match=1)


def ticking() -> Callable[[], int]:
    """Return a clock that goes on by a second each time it is asked."""
    seconds = count()
    return lambda: NOW + next(seconds) * SECOND


AGAIN: Mapping[str, tuple[Any, str, Mapping[str, object]]] = {
    "plan": ("plan", "pro", PRO | {"name": "again"}),
    "subscription": ("subscription", "s", LATER | {"name": "again"}),
}
"""A record of each kind that may be deleted, and made again from its first version on: kind, id and fields."""


@pytest.mark.parametrize(("kind", "name", "record"), AGAIN.values(), ids=AGAIN)
def test_a_record_that_is_made_again_is_another(kind: Any, name: str, record: Mapping[str, object]) -> None:
    management = with_one(clock=ticking())
    before = management.get(kind, name)
    assert before is not None
    management.delete(kind, name)
    made = management.put(kind, name, record)
    assert made.stored.stamp.rev == before.stamp.rev == 1
    with pytest.raises(StaleRecordError):
        management.put(kind, name, {**record, "name": "late"}, if_match=before.stamp.revision)
    assert management.put(kind, name, {**record, "name": "x"}, if_match=made.stored.stamp.revision).changed


@pytest.mark.parametrize(
    ("made", "change"),
    [
        ("plan", lambda it: it.merge("plan", "pro", {"description": "late"})),
        ("subscription", lambda it: it.merge("subscription", "s", {"details": {"a": "late"}})),
        ("subscription", lambda it: it.end("s", at(3))),
    ],
    ids=["a plan's text", "a subscription's details", "a subscription's end"],
)
def test_no_change_of_a_record_is_one_of_the_record_that_is_made_again_meanwhile(
    made: str, change: Callable[[Management], object]
) -> None:
    kind, name, record = AGAIN[made]

    def again(management: Management) -> None:
        management.delete(kind, name)
        management.put(kind, name, record)

    for management, _ in interleavings(lambda: with_one(clock=ticking()), change, again):
        stored = management.get(kind, name)
        assert stored is None or stored.value.name == "again"


def test_a_mark_of_a_subscription_that_is_made_again_stays() -> None:
    """The mark of the one before is taken away late: what the new one has to wake is still to be woken."""
    management = with_one(clock=ticking())
    before = subscription(management, "s").stamp
    management.delete("subscription", "s")
    made = management.put("subscription", "s", OF_C).stored.stamp
    table, key = table_of(management), keys.subscription(ORGANIZATION.id, "s")
    mark = {":due": {"S": keys.unwoken(ORGANIZATION.id)}, ":at": {"S": key_instant(NOW)}}
    table.update(key, "SET due_pk = :due, due_at = :at", mark)
    for stamp, stays in ((before, True), (made, False)):
        remove_mark(table, ORGANIZATION.id, "s", stamp)
        assert ("due_pk" in table.items()[key]) is stays


def test_a_purge_refuses_every_put_and_a_rebuild_none() -> None:
    management = managed()
    profile = keys.organization(ORGANIZATION.id, "profile")
    table = table_of(management)
    table.update(profile, "SET gen_next = :g", {":g": {"S": "2"}})
    assert management.put("customer", "d", {}).created
    table.update(profile, "REMOVE gen_next", {})
    purge = key_item(keys.purge(ORGANIZATION.id, "c"))
    names = '{"customer":["c","x"],"subscriptions":{},"external_ids":{},"line_items":{}}'
    table.put(purge | {"names": {"S": names}, "secret": {"S": ""}, "at": {"N": "0"}})
    with pytest.raises(CatalogueConflictError, match="the purge of a customer is running"):
        management.put("customer", "e", {})

"""Two who change the catalogue at the same time, in every order of their calls; and a put killed at any write."""

from collections.abc import Mapping
from typing import Any

import pytest

from meterstone.catalogue.management import (
    CatalogueConflictError,
    Management,
    Put,
    RecordRefusedError,
)
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.counting.waking import wake_unwoken
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import StoreUnavailableError, Table, key_item, text
from meterstone.usage.instant import ZERO_TIME, key_instant
from meterstone.usage.terms import Terms
from support.managed import (
    BASIC,
    CALLS,
    NAMES,
    NOW,
    OF_C,
    OPERATIONS,
    PRICE,
    PRO,
    Change,
    at,
    interleavings,
    managed,
    put,
    records,
    subscription,
    table_of,
    with_one,
)
from support.memory_table import Faults, Killed, MemoryTable
from support.scenario import ORGANIZATION
from support.stale_table import StaleTable


def spans_under(management: Management, external_id: str) -> list[tuple[int, int | None]]:
    """Return the spans of the subscriptions that have an external id, in order."""
    there = [name for name in ("s", "t") if management.get("subscription", name) is not None]
    found = [management.resolved(subscription(management, name)) for name in there]
    spans = [each.span for each in found if each.external_id == external_id]
    return sorted((span.start, span.end) for span in spans)


def test_one_external_id_is_never_given_to_two_subscriptions_at_once() -> None:
    other = OF_C | {"external_id": "e", "start": "2026-02-01T00:00:00Z"}
    made = set()
    for management, results in interleavings(
        managed, put("subscription", "s", OF_C | {"external_id": "e"}), put("subscription", "t", other)
    ):
        refused = [each for each in results if isinstance(each, RecordRefusedError)]
        (error,) = refused
        assert [path for path, _ in error.errors] == ["external_id"]
        assert len(spans_under(management, "e")) == 1
        made.add(management.get("subscription", "s") is None)
    assert made == {True, False}, "either of them may be the first"


def test_a_customer_is_not_deleted_under_a_subscription() -> None:
    outcomes = set()
    for management, results in interleavings(
        managed, put("subscription", "s", OF_C), lambda it: it.delete("customer", "c")
    ):
        there = management.get("subscription", "s") is not None
        assert there == (management.get("customer", "c") is not None)
        refused = results[1] if there else results[0]
        assert isinstance(refused, CatalogueConflictError | RecordRefusedError)
        outcomes.add(there)
    assert outcomes == {True, False}


def test_a_subscription_does_not_come_under_a_customer_that_is_being_deleted() -> None:
    outcomes = set()
    for management, _ in interleavings(
        managed, lambda it: it.delete("customer", "c"), put("subscription", "s", OF_C)
    ):
        there = management.get("subscription", "s") is not None
        assert there == (management.get("customer", "c") is not None)
        outcomes.add(there)
    assert outcomes == {True, False}


def test_a_customer_that_is_there_is_listed() -> None:
    """While one writer makes it, another makes it and deletes it again."""

    def make_and_delete(management: Management) -> None:
        management.put("customer", "d", {})
        management.delete("customer", "d")

    there = set()
    for management, _ in interleavings(managed, put("customer", "d", {"name": "Dora"}), make_and_delete):
        stored = management.get("customer", "d")
        there.add(stored is not None)
        listed = keys.catalogue(ORGANIZATION.id, "customer", "d") in table_of(management).items()
        assert listed or stored is None
    assert there == {True, False}


def test_the_version_of_a_plan_that_a_killed_put_has_left_is_not_taken_for_another() -> None:
    management = managed()
    table = table_of(management)
    table.faults = Faults(after=table.writes)
    with pytest.raises(Killed):
        management.put("plan", "basic", {"prices": ["seat"]})
    table.faults = Faults()
    plan = management.put("plan", "basic", PRO).stored.value
    assert (plan.version, plan.prices) == (3, ("dear call", "seat"))
    made = management.put("subscription", "t", OF_C)
    assert {item.price.id for item in management.resolved(made.stored).line_items} == {"dear call", "seat"}


@pytest.mark.parametrize("deletes_first", [False, True])
def test_a_plan_is_not_deleted_under_a_sign_up(*, deletes_first: bool) -> None:
    both: list[Change] = [put("subscription", "s", OF_C), lambda it: it.delete("plan", "basic")]
    if deletes_first:
        both.reverse()
    outcomes = set()
    for management, _ in interleavings(managed, *both):
        there = management.get("subscription", "s") is not None
        assert there == (management.get("plan", "basic") is not None)
        outcomes.add(there)
    assert outcomes == {True, False}


def test_two_meters_that_are_put_at_once_are_both_there() -> None:
    one, other = (
        put("meter", "m", {"code": "m", "aggregation": "COUNT"}),
        put("meter", "calls", CALLS | {"name": "x"}),
    )
    for management, results in interleavings(managed, one, other):
        assert all(isinstance(each, Put) and each.changed for each in results)
        assert management.get("meter", "m") is not None
        assert (management.get("meter", "calls") or pytest.fail("gone")).value.name == "x"


def test_of_two_meters_whose_codes_do_not_go_together_one_is_refused() -> None:
    one = put("meter", "m", {"code": "m", "event_name": "x", "aggregation": "COUNT"})
    other = put("meter", "n", {"code": "x", "event_name": "y", "aggregation": "COUNT"})
    for management, results in interleavings(managed, one, other):
        assert [type(each) for each in results].count(RecordRefusedError) == 1
        assert (management.get("meter", "m") is None) != (management.get("meter", "n") is None)


@pytest.mark.parametrize(
    ("kind", "name", "record"),
    [
        ("meter", "calls", CALLS),
        ("price", "call", PRICE),
        ("plan", "basic", BASIC),
        ("customer", "c", {}),
        ("subscription", "s", OF_C),
    ],
    ids=["meter", "price", "plan", "customer", "subscription"],
)
def test_of_two_puts_that_are_conditional_on_one_version_one_is_stored(
    kind: Any, name: str, record: Mapping[str, object]
) -> None:
    label = "display_name" if kind == "price" else "name"
    one, other = (put(kind, name, {**record, label: text}, 1) for text in ("one", "other"))
    winners = set()
    for management, results in interleavings(with_one, one, other):
        assert sorted(type(each).__name__ for each in results) == ["Put", "StaleRecordError"]
        stored = management.get(kind, name)
        assert stored is not None
        assert stored.stamp.rev == 2
        winners.add(isinstance(results[0], Put))
    assert winners == {True, False}


def test_without_a_condition_the_last_put_wins_whole() -> None:
    one, other = (put("subscription", "s", OF_C | {"name": name}) for name in ("one", "other"))
    for management, results in interleavings(with_one, one, other):
        assert all(isinstance(each, Put) for each in results)
        stored = subscription(management, "s")
        assert (stored.value.name, stored.stamp.rev) in {("one", 3), ("other", 3)}


@pytest.mark.parametrize(
    ("first", "second", "of_subscription"),
    [
        pytest.param(
            lambda it: it.merge("customer", "c", {"name": "x"}),
            lambda it: it.merge("customer", "c", {"timezone": "Europe/Oslo"}),
            False,
            id="customer",
        ),
        pytest.param(
            lambda it: it.merge("subscription", "s", {"name": "x"}),
            lambda it: it.end("s", at(3)),
            True,
            id="subscription",
        ),
    ],
)
def test_what_two_merge_into_one_record_is_all_there(
    first: Change, second: Change, *, of_subscription: bool
) -> None:
    for management, results in interleavings(with_one, first, second):
        assert all(isinstance(each, Put) for each in results)
        customer, terms = management.get("customer", "c"), subscription(management, "s").value
        assert customer is not None
        changed = (customer.value.name, customer.value.timezone), (terms.name, terms.end)
        assert changed[of_subscription] == (("x", "Europe/Oslo"), ("x", at(3)))[of_subscription]


def counts_at(when: int, *, by_customer: bool = False) -> Change:
    """Count an event of the subscription as a fold does: on the condition of its subject's version."""

    def count(management: Management) -> bool:
        table = table_of(management)
        subject = ("c", "c") if by_customer else ("s", "s")
        key = keys.subject(ORGANIZATION.id, *subject)
        row = table.get(key, consistent=True) or {}
        seen = management.get("subscription", "s")
        if seen is None or not management.resolved(seen).span.holds(when):
            return False
        version = row.get("ver")
        condition = "attribute_not_exists(ver)" if version is None else "ver = :ver"
        values = {} if version is None else {":ver": {"N": version.N or ""}}
        note = {
            "Update": {
                "TableName": table.name,
                "Key": key_item(key),
                "UpdateExpression": "SET latest_at = :at",
                "ConditionExpression": condition,
                "ExpressionAttributeValues": values | {":at": {"N": str(when)}},
            }
        }
        counter = Key(keys.usage(ORGANIZATION.id, "1", "s"), keys.counter("monthly.1", 0, "item", 0))
        put = {"Put": {"TableName": table.name, "Item": key_item(counter) | {"v": {"N": "1"}}}}
        table.transact([note, put])
        return True

    return count


def was_counted(management: Management) -> bool:
    return table_of(management).has_any(keys.usage(ORGANIZATION.id, "1", "s"))[0]


@pytest.mark.parametrize("by_customer", [False, True], ids=["by its external id", "by its customer"])
def test_a_subscription_is_not_deleted_while_its_first_event_is_counted(*, by_customer: bool) -> None:
    outcomes = set()
    for management, results in interleavings(
        with_one, lambda it: it.delete("subscription", "s"), counts_at(NOW, by_customer=by_customer)
    ):
        there = management.get("subscription", "s") is not None
        assert there == was_counted(management)
        assert isinstance(results[0], CatalogueConflictError) == there
        outcomes.add(there)
    assert outcomes == {True, False}


@pytest.mark.parametrize("by_customer", [False, True], ids=["by its external id", "by its customer"])
def test_an_end_before_an_event_that_was_counted_is_counted_anew(*, by_customer: bool) -> None:
    """An event ahead of the clock is counted while the subscription is ended now."""
    when = NOW + 1_000_000
    counted = set()
    for management, results in interleavings(
        with_one, lambda it: it.end("s", None), counts_at(when, by_customer=by_customer)
    ):
        (ended, _) = results
        assert isinstance(ended, Put)
        assert ended.stored.value.end == NOW
        assert was_counted(management) == (ended.recount is not None)
        counted.add(ended.recount is not None)
    assert counted == {True, False}


def once_more(change: Change, management: Management) -> object:
    """Make a call again; what is deleted already need not be deleted."""
    try:
        return change(management)
    except Exception as error:  # noqa: BLE001 - compared with what the first call leaves
        return type(error)


@pytest.mark.parametrize("fault", ["killed before", "killed after", "unavailable", "answer lost"])
@pytest.mark.parametrize("change", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_stopped_at_any_write_all_or_nothing_is_to_be_seen_and_the_same_again_completes_it(
    change: Change, fault: str
) -> None:
    whole = with_one()
    before = records(whole, NAMES)
    change(whole)
    after = records(whole, NAMES)
    assert before != after
    stop, stopped = -1, True
    while stopped:
        stop += 1
        management = with_one()
        table = table_of(management)
        number = table.writes + stop
        table.faults = {
            "killed before": Faults(before=number),
            "killed after": Faults(after=number),
            "unavailable": Faults(unavailable=number.__eq__),
            "answer lost": Faults(lost=number.__eq__),
        }[fault]
        try:
            change(management)
            stopped = False
        except (Killed, StoreUnavailableError):
            pass
        table.faults = Faults()
        seen = records(management, NAMES)
        assert seen in (before, after), "nothing or all"
        once_more(change, management)
        assert records(management, NAMES) == after
        listed = [terms for terms in seen.values() if isinstance(terms, Terms)]
        assert all(found_by(table, terms) for terms in listed), "a subscription that is there is found"
        assert not list(table.due(keys.unwoken(ORGANIZATION.id), key_instant(at(9)))), "and awake"
    assert stop >= 1


def found_by(table: MemoryTable, terms: Terms) -> bool:
    """Return whether a subscription is listed under its id, its customer and its external id."""
    org = ORGANIZATION.id
    items = table.items()
    return (
        keys.catalogue(org, "subscription", terms.id) in items
        and keys.of_customer(org, terms.customer_id, terms.id) in items
        and keys.by_external_id(org, terms.events_by, terms.id) in items
    )


def chain_of(table: Table) -> tuple[str, str]:
    """Return the version of the chain's head, and when it is due."""
    row = table.get(Key(keys.usage(ORGANIZATION.id, "1", "s"), keys.chain("seats")), consistent=True)
    assert row is not None
    return row["v"].N or "", text(row, "due_at")


def woken(table: Table) -> int:
    account = read_account(table, ORGANIZATION.id, consistent=True)
    assert account is not None
    return wake_unwoken(table, account)


def test_tallies_of_a_put_that_was_killed_are_woken_later() -> None:
    """The clock goes by the subscription's end: its chain of seats is due at once when the end is another."""
    stop, stopped, woken_later = -1, True, 0
    while stopped:
        stop += 1
        management = with_one()
        table = table_of(management)
        chain = key_item(Key(keys.usage(ORGANIZATION.id, "1", "s"), keys.chain("seats")))
        later = {"due_pk": {"S": keys.due(ORGANIZATION.id, "1")}, "due_at": {"S": key_instant(at(30))}}
        table.put(chain | later | {"v": {"N": "7"}, "m": {"S": "seats"}})
        table.faults = Faults(before=table.writes + stop)
        try:
            management.end("s", at(2))
            stopped = False
        except Killed:
            pass
        table.faults = Faults()
        ended = subscription(management, "s").value.end == at(2)
        woken_later += woken(table)
        assert woken(table) == 0
        version, due = chain_of(table)
        assert (int(version) > 7, due == key_instant(ZERO_TIME)) == (ended, ended)
    assert woken_later > 0


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.merge("subscription", "s", {"name": "x"}),
        lambda it: it.end("s", at(3)),
        lambda it: it.merge("subscription", "s", {}),
    ],
    ids=["a name", "another end", "the same"],
)
def test_the_next_put_wakes_what_a_killed_one_has_left(change: Change) -> None:
    management = with_one()
    table = table_of(management)
    chain = key_item(Key(keys.usage(ORGANIZATION.id, "1", "s"), keys.chain("seats")))
    table.put(chain | {"v": {"N": "7"}, "m": {"S": "seats"}})
    table.faults = Faults(before=table.writes + 1)
    with pytest.raises(Killed):
        management.end("s", at(2))
    table.faults = Faults()
    assert chain_of(table)[0] == "7"
    change(management)
    assert chain_of(table)[1] == key_instant(ZERO_TIME)
    assert woken(table) == 0


@pytest.mark.parametrize("seed", range(8))
def test_reads_that_are_behind_change_nothing(seed: int) -> None:
    """Whatever a read that is not consistent shows: the catalogue is the same in the end."""
    plain, stale = with_one(), managed(StaleTable(seed=seed, page_items=3))
    stale.put("subscription", "s", OF_C | {"end": "2027-01-01T00:00:00Z"})
    for name, change in OPERATIONS.items():
        if name != "a subscription deleted":
            assert once_more(change, plain) == once_more(change, stale), name
            assert once_more(change, plain) == once_more(change, stale), f"{name}, again"
    assert records(plain, NAMES) == records(stale, NAMES)


def test_what_was_written_a_moment_ago_is_looked_at() -> None:
    """No read that is not consistent sees anything of it."""
    table = StaleTable(page_items=3)
    management = managed(table)
    table.stand_still()
    management.put("subscription", "s", OF_C | {"external_id": "e"})
    with pytest.raises(RecordRefusedError, match="'e' is that of subscription 's'"):
        management.put("subscription", "t", OF_C | {"external_id": "e"})
    with pytest.raises(CatalogueConflictError, match="subscription 's' is the customer's"):
        management.delete("customer", "c")
    with pytest.raises(CatalogueConflictError, match="subscriptions have named it"):
        management.delete("plan", "basic")
    management.put("meter", "m", {"code": "m", "aggregation": "COUNT"})
    management.put("price", "p", PRICE | {"meter_id": "m"})
    management.put("plan", "q", {"prices": ["p"]})
    management.put("customer", "d", {})
    made = management.put("subscription", "t", OF_C | {"customer": "d", "plan": "q"})
    assert [item.price.id for item in management.resolved(made.stored).line_items] == ["p"]

"""Puts of the catalogue's records on every engine: what each transaction writes, and on which conditions."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from meterstone.catalogue.management import StaleRecordError
from meterstone.catalogue.recounting import carry_on
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.catalogue.recounts import SETTLED, due_recounts, read_recount, release, take
from meterstone.store.counting.waking import wake_unwoken
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Table, integer, key_item, text
from meterstone.usage.instant import HOUR, ZERO_TIME, key_instant
from meterstone.usage.subscription import Organization
from support.managed import (
    NAMES,
    NOW,
    OF_C,
    OPERATIONS,
    Change,
    at,
    managed,
    put,
    records,
    subscription,
    with_one,
)
from support.memory_table import Killed
from support.recovering import Clock

OF_E = OF_C | {"external_id": "e"}


def new() -> Organization:
    return Organization(str(uuid4()), "Test")


@pytest.mark.parametrize("change", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_every_operation_leaves_the_same_records_as_in_memory(table: Table, change: Change) -> None:
    model, management = with_one(), with_one(table, organization=new())
    change(model)
    change(management)
    assert records(management, NAMES) == records(model, NAMES)


def before_once(table: Table, name: str, do: Callable[[], object]) -> None:
    """Have something done just before the next call of the table by a name."""
    plain = getattr(table, name)

    def interrupted(*arguments: Any, **more: Any) -> Any:
        setattr(table, name, plain)
        do()
        return plain(*arguments, **more)

    setattr(table, name, interrupted)


def write_latest(table: Table, organization: Organization, when: int) -> None:
    key = keys.subject(organization.id, "s", "s")
    table.update(key, "SET latest_at = :at", {":at": {"N": str(when)}})


@pytest.mark.parametrize("at", [None, NOW], ids=["now", "at an instant"])
@pytest.mark.parametrize(
    ("counted", "anew"),
    [(NOW - 1, False), (NOW, True), (NOW + 5, True)],
    ids=["before the end", "at the end", "after it"],
)
def test_an_event_counted_meanwhile_is_counted_anew_if_an_end_is_not_after_it(
    table: Table, counted: int, *, anew: bool, at: int | None
) -> None:
    organization = new()
    management = managed(table, organization=organization)
    management.put("subscription", "s", OF_C | {"prices": ["call"]})
    before_once(table, "transact", lambda: write_latest(table, organization, counted))
    ended = management.end("s", at)
    assert (ended.stored.value.end, ended.recount is not None) == (NOW, anew)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (put("subscription", "t", OF_E), put("subscription", "u", OF_E)),
        (put("subscription", "t", OF_C | {"customer": "d"}), lambda it: it.delete("customer", "d")),
        (put("subscription", "t", OF_C | {"plan": "pro"}), lambda it: it.delete("plan", "pro")),
    ],
    ids=["an external id twice", "a customer deleted", "a plan deleted"],
)
def test_a_sign_up_that_another_writer_forestalls_is_refused(
    table: Table, first: Change, second: Change
) -> None:
    management = with_one(table, organization=new())
    management.put("customer", "d", {})
    before_once(table, "transact", lambda: second(management))
    with pytest.raises(Exception, match=r"e' is that of|there is no (customer|plan)"):
        first(management)
    assert management.get("subscription", "t") is None


@pytest.mark.parametrize("kind", ["meter", "price", "plan", "customer", "subscription"])
def test_another_version_than_the_wanted_is_refused(table: Table, kind: Any) -> None:
    management = with_one(table, organization=new())
    name = {"meter": "calls", "price": "call", "plan": "pro", "customer": "c", "subscription": "s"}[kind]
    stored = management.get(kind, name)
    assert stored is not None
    with pytest.raises(StaleRecordError):
        management.put(kind, name, {}, if_match=stored.stamp.rev + 1)


def test_a_put_that_was_killed_before_it_woke_its_tallies_is_found(table: Table) -> None:
    organization = new()
    management = with_one(table, organization=organization)
    chain = Key(keys.usage(organization.id, "1", "s"), keys.chain("seats"))
    table.put(key_item(chain) | {"v": {"N": "7"}, "m": {"S": "seats"}})

    def killed() -> None:
        raise Killed

    before_once(table, "update", killed)
    with pytest.raises(Killed):
        management.end("s", at(2))
    assert subscription(management, "s").value.end == at(2)
    account = read_account(table, organization.id, consistent=True)
    assert account is not None
    assert [wake_unwoken(table, account) for _ in range(2)] == [1, 0]
    row = table.get(chain, consistent=True)
    assert row is not None
    assert (integer(row, "v"), text(row, "due_at")) == (8, key_instant(ZERO_TIME))


def test_a_subscription_of_1000_line_items_is_stored_and_one_that_is_too_large_is_refused(
    table: Table,
) -> None:
    management = managed(table, organization=new())
    spans = [{"start": key_instant(at(n)), "end": key_instant(at(n + 1))} for n in range(1000)]
    lines = [{"price": "call", "id": f"item {number}", **span} for number, span in enumerate(spans)]
    made = management.put("subscription", "t", OF_C | {"line_items": lines})
    assert len(management.resolved(made.stored).line_items) == 1000
    huge = [line | {"id": f"{number} {'é' * 240}"} for number, line in enumerate(lines)]
    with pytest.raises(Exception, match="is too large to be stored"):
        management.put("subscription", "u", OF_C | {"line_items": huge})
    assert management.get("subscription", "u") is None
    assert not management.put("subscription", "t", OF_C | {"line_items": lines}).changed


def test_a_plan_is_put_for_all_on_every_engine(table: Table) -> None:
    organization, clock = new(), Clock(NOW)
    management = managed(table, clock, organization)
    management.put_many("subscription", [(f"s{number:03}", OF_C) for number in range(60)])
    _, recount = management.offer_to_all("basic", {"prices": ["dear call", "seat"]}, at(1))
    key = keys.recount(organization.id, recount.id)
    assert key in due_recounts(table, clock.now + SETTLED)
    clock.now += SETTLED
    held = take(table, key, "another", clock.now)
    assert held == recount
    assert carry_on(table, key, clock, clock.now + HOUR) is None
    release(table, key, "another", clock.now)
    done = carry_on(table, key, clock, clock.now + HOUR)

    assert done is not None
    assert done == read_recount(table, organization.id, recount.id)
    assert (done.done, done.refused, done.done_at) == (60, 0, clock.now)
    assert key not in due_recounts(table, clock.now + HOUR)
    assert carry_on(table, key, clock, clock.now + HOUR) is None
    plan = subscription(management, "s059").value.plan
    assert [(each.since, each.version) for each in plan] == [(None, 1), (at(1), 2)]

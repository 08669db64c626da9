"""What looking API keys up reads, and for how long which keys are remembered."""

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from meterstone.api_key import RANDOM_BYTES, key_of
from meterstone.scope import ALL_SCOPES, Scope
from meterstone.store.catalogue import accounts
from meterstone.store.catalogue.accounts import Accounts, read_account
from meterstone.store.catalogue.api_keys import create_key, list_keys, revoke_key
from meterstone.store.dynamodb import keys
from meterstone.usage.subscription import Organization
from support.calls import CountingTable
from support.stale_table import StaleTable
from support.written import write_catalogue

ORGANIZATION = Organization("0c9d1c52-8f0e-4d0b-9d5c-6b1f6c1f0a01", "Test")
#: Reads: items by key, pages.
NONE, UNKNOWN, GOOD = (0, 0), (1, 0), (1, 1)


@dataclass
class Time:
    """The time of day, in seconds."""

    now: float = 1_700_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(accounts, "time", clock)
    return clock


@pytest.fixture
def table() -> CountingTable:
    table = CountingTable()
    write_catalogue(table, ORGANIZATION, (), (), ())
    assert table.reads
    return table


def made_up(number: int) -> str:
    """Give a well-formed key that nobody has."""
    return key_of(number.to_bytes(RANDOM_BYTES))


@pytest.mark.usefixtures("clock")
def test_junk_costs_no_read(table: CountingTable) -> None:
    key, _ = create_key(table, ORGANIZATION.id, "test", 0)
    known = Accounts(table)
    assert table.reads
    for junk in ("", "x", key[:-1], key + "x", key[:-1] + "é", "mst_" + "A" * 10_240, "\ud800"):
        assert known.account(junk) is None
    assert table.reads == NONE


def test_a_good_key_is_read_every_30_seconds(table: CountingTable, clock: Time) -> None:
    key, key_id = create_key(table, ORGANIZATION.id, "test", 0)
    known = Accounts(table)
    assert table.reads
    for after, reads in ((0, GOOD), (0, NONE), (29.9, NONE), (0.1, GOOD), (29, NONE)):
        clock.now += after
        account = known.account(key)
        assert account is not None
        assert (account.organization, account.key_id, table.reads) == (ORGANIZATION, key_id, reads)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        pytest.param((), ALL_SCOPES, id="none: all"),
        pytest.param((Scope.READ,), {"read"}, id="one"),
        pytest.param((Scope.INGEST, Scope.READ), {"read", "ingest"}, id="two"),
        pytest.param(tuple(Scope), ALL_SCOPES, id="every one"),
    ],
)
def test_a_key_s_scopes_come_without_another_read(
    table: CountingTable, clock: Time, given: tuple[Scope, ...], found: frozenset[Scope]
) -> None:
    key, _ = create_key(table, ORGANIZATION.id, "test", 0, given)
    (listed,) = list_keys(table)
    assert listed.scopes == found
    known = Accounts(table)
    assert table.reads
    for after, reads in ((0, GOOD), (1, NONE), (30, GOOD)):
        clock.now += after
        account = known.account(key)
        assert account is not None
        assert (account.scopes, table.reads) == (found, reads)


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        pytest.param(None, ALL_SCOPES, id="a key of before there were scopes"),
        pytest.param("read,portal", {"read"}, id="a scope of later code"),
        pytest.param("portal", set(), id="of later code alone"),
        pytest.param("", set(), id="empty"),
        pytest.param("READ, ingest", set(), id="not as it is written"),
    ],
)
def test_what_a_key_stores_opens_no_more_than_it_says(
    table: CountingTable, stored: str | None, found: frozenset[Scope]
) -> None:
    key, _ = create_key(table, ORGANIZATION.id, "test", 0, [Scope.READ])
    values = {} if stored is None else {":s": {"S": stored}}
    table.update(keys.api_key(key), "REMOVE scopes" if stored is None else "SET scopes = :s", values)
    account = Accounts(table).account(key)
    assert account is not None
    assert account.scopes == found


def test_an_account_that_no_key_opened_has_no_scope(table: CountingTable) -> None:
    account = read_account(table, ORGANIZATION.id)
    assert account is not None
    assert account.scopes == frozenset()


@pytest.mark.parametrize(
    "forget",
    [
        pytest.param(lambda _table, _key_id: None, id="nobody's"),
        pytest.param(lambda table, key_id: revoke_key(table, key_id, 1), id="revoked"),
    ],
)
def test_a_key_that_is_not_good_is_read_every_30_seconds(
    table: CountingTable, clock: Time, forget: Callable[[CountingTable, str], object]
) -> None:
    key, key_id = create_key(table, ORGANIZATION.id, "test", 0)
    if forget(table, key_id) is None:
        key = made_up(1)
    known = Accounts(table)
    assert table.reads
    for after, reads in ((0, UNKNOWN), (0, NONE), (29.9, NONE), (0.1, UNKNOWN), (29, NONE)):
        clock.now += after
        assert known.account(key) is None
        assert table.reads == reads


def test_a_clock_that_is_set_back_forgets(table: CountingTable, clock: Time) -> None:
    known = Accounts(table)
    for after, reads in ((0, UNKNOWN), (-1, UNKNOWN), (0, NONE)):
        clock.now += after
        assert known.account(made_up(1)) is None
        assert table.reads == reads


def test_keys_of_before_the_check_stay_good(table: CountingTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meterstone.store.catalogue.api_keys.key_of", lambda random: key_of(random)[:47])
    key, key_id = create_key(table, ORGANIZATION.id, "test", 0)
    account = Accounts(table).account(key)
    assert account is not None
    assert account.key_id == key_id


@pytest.mark.usefixtures("clock")
def test_of_unknown_keys_the_oldest_are_forgotten_and_no_good_one(table: CountingTable) -> None:
    key, _ = create_key(table, ORGANIZATION.id, "test", 0)
    known = Accounts(table)
    known.account(key)
    assert table.reads
    for number in range(10_005):
        known.account(made_up(number))
    assert table.reads == (10_005, 0)

    assert known.account(key) is not None
    known.account(made_up(5))
    known.account(made_up(10_004))
    assert table.reads == NONE
    known.account(made_up(4))
    assert table.reads == UNKNOWN


def test_an_unknown_key_that_is_read_again_counts_as_new(
    table: CountingTable, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "_MOST_UNKNOWN", 3)
    known = Accounts(table)
    known.account(made_up(1))
    clock.now += 31
    for number in (2, 1, 3, 4):
        known.account(made_up(number))
    assert table.reads
    known.account(made_up(1))
    assert table.reads == NONE
    known.account(made_up(2))
    assert table.reads == UNKNOWN


@pytest.mark.usefixtures("clock")
def test_what_unknown_keys_take_of_memory_is_bounded(table: CountingTable) -> None:
    known = Accounts(table)
    tracemalloc.start()
    try:
        for number in range(11_000):
            known.account(made_up(number))
        full, _ = tracemalloc.get_traced_memory()
        for number in range(11_000, 33_000):
            known.account(made_up(number))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert full < 6_000_000
    assert after < full * 1.5


def test_a_key_works_as_soon_as_it_is_made() -> None:
    """An eventually consistent read may not see it yet. The function would remember it as unknown."""
    for seed in range(20):
        table = StaleTable(seed=seed)
        write_catalogue(table, ORGANIZATION, (), (), ())
        table.settle()
        key, _ = create_key(table, ORGANIZATION.id, "test", 0)
        assert Accounts(table).account(key) is not None


def test_a_key_made_before_its_catalogue_works_once_that_is_loaded() -> None:
    table = CountingTable()
    key, _ = create_key(table, ORGANIZATION.id, "test", 0)
    known = Accounts(table)
    assert known.account(key) is None
    write_catalogue(table, ORGANIZATION, (), (), ())
    assert known.account(key) is not None

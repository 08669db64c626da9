"""An organization that is stored in a format of later code is not written to, by anything."""

from collections.abc import Callable
from copy import replace
from typing import Any

import pytest

from meterstone import clock
from meterstone.store.catalogue.accounts import AccountStore, read_account
from meterstone.store.catalogue.api_keys import create_key, list_keys, revoke_key
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import StoredFormatError
from meterstone.store.operations.import_records import Source
from meterstone.store.operations.imports import close_import
from meterstone.store.operations.rebuild import abandon, rebuild
from meterstone.store.operations.replay import catch_up, replay
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY
from meterstone.usage.meter import Aggregation, Event, Meter
from meterstone.usage.period import BillingPeriod
from meterstone.usage.subscription import Organization
from meterstone_cli.exit_status import REFUSED, failure_of
from support import functions
from support.memory_table import MemoryTable
from support.recovering import Stream, streaming
from support.scenario import ORGANIZATION, Batch, Scenario, Usage, World, digest
from support.small_world import FLAT, START, subscription
from support.stored import memory
from support.written import write_catalogue

CALLS = Meter("calls", "calls", "Calls", Aggregation.SUM, "call", "value")
EXT = Subject.subscription("ext")
ALL = tuple(Usage(EXT, Event(f"tx_{n}", "call", START + DAY, {"value": n})) for n in range(3))
NOW = START + 10 * DAY


@pytest.fixture
def world() -> tuple[World, Stream]:
    """Give a world with counted events, one that waits, and three that are logged and were not delivered yet."""
    plan = subscription(BillingPeriod.MONTHLY, [(CALLS, FLAT)])
    world, stream = streaming(Scenario((CALLS,), (plan,), (Batch(NOW, ALL),), NOW), MemoryTable())
    imported = Event("imported", "call", START + DAY, {"value": 1})
    world.load("before", [Usage(EXT, imported)], NOW)
    stream.post([Usage(Subject.subscription("nobody's"), imported)])
    stream.deliver()
    stream.post(ALL)
    return world, stream


def store_as(table: Any, number: int | None) -> None:
    expression = "REMOVE stored_format" if number is None else "SET stored_format = :number"
    values = {} if number is None else {":number": {"N": str(number)}}
    assert table.update(keys.organization(ORGANIZATION.id, "profile"), expression, values)


type Write = Callable[[World, Stream], object]

WRITERS: dict[str, Write] = {
    "load": lambda world, _: write_catalogue(
        world.table,
        replace(ORGANIZATION, name="Other"),
        world.scenario.meters,
        world.scenario.subscriptions,
        (),
    ),
    "import": lambda world, _: world.load("usage", ALL, NOW),
    "imports --close": lambda world, stream: close_import(
        world.table, ORGANIZATION.id, Source("lost", digest("lost")), stream.clock.now
    ),
    "the fold of the stream": lambda _, stream: stream.deliver(),
    "replay": lambda world, stream: replay(world.table, ORGANIZATION.id, stream.clock),
    "replay every hour": lambda world, stream: catch_up(
        world.table, ORGANIZATION.id, stream.clock, NOW + DAY
    ),
    "rebuild": lambda world, stream: rebuild(world.table, ORGANIZATION.id, stream.clock.around),
    "rebuild --abandon": lambda world, stream: abandon(world.table, ORGANIZATION.id, stream.clock.around),
    "withdraw": lambda world, stream: stream.withdraw(EXT, ["tx_1"]),
    "keys create": lambda world, _: create_key(world.table, ORGANIZATION.id, "test", NOW),
    "keys revoke": lambda world, _: revoke_key(world.table, list_keys(world.table)[0].id, NOW),
}


@pytest.mark.parametrize("number", [3, 10])
@pytest.mark.parametrize("writer", WRITERS)
def test_no_writer_touches_an_organization_of_a_later_format(
    world: tuple[World, Stream], writer: str, number: int
) -> None:
    table = world[0].table
    create_key(table, ORGANIZATION.id, "first", 0)
    store_as(table, number)
    before = memory(world[0]).items()
    with pytest.raises(StoredFormatError, match=f"is stored in format {number}"):
        WRITERS[writer](*world)
    assert memory(world[0]).items() == before


@pytest.mark.parametrize("number", [None, 1, 2])
@pytest.mark.parametrize("writer", sorted(WRITERS.keys() - {"rebuild --abandon"}))
def test_every_writer_writes_in_the_formats_that_it_knows(
    world: tuple[World, Stream], writer: str, number: int | None
) -> None:
    table = world[0].table
    create_key(table, ORGANIZATION.id, "first", 0)
    store_as(table, number)
    before = memory(world[0]).items()
    WRITERS[writer](*world)
    assert memory(world[0]).items() != before


def test_events_are_not_taken_in(world: tuple[World, Stream]) -> None:
    """A function that remembers the account takes events for at most 30 seconds more."""
    table = world[0].table
    key, _ = create_key(table, ORGANIZATION.id, "first", 0)
    store_as(table, 3)
    with pytest.raises(StoredFormatError):
        AccountStore(table).account(key)


@pytest.mark.parametrize("number", [1, 2])
def test_an_event_that_cannot_be_read_is_no_poison_if_the_format_is_a_later_one(
    world: tuple[World, Stream], number: int
) -> None:
    stream = world[1]
    for _, record in stream.records:
        record["dynamodb"]["NewImage"]["e"] = {"S": "of a later format"}
    store_as(world[0].table, 3)
    with pytest.raises(StoredFormatError):
        stream.deliver()
    store_as(world[0].table, number)
    stream.deliver()
    assert sum(key.pk == "poison" for key in memory(world[0]).items()) == 3


def test_the_clock_goes_on_for_the_other_organizations(
    world: tuple[World, Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Organization("ffffffff-8f0e-4d0b-9d5c-6b1f6c1f0a01", "Other")
    write_catalogue(world[0].table, other, (), (), ())
    store_as(world[0].table, 3)
    monkeypatch.setattr(clock, "now", world[1].clock)
    module = functions.load_over("roll_usage", world[0].table, monkeypatch)
    rolled: list[str] = []
    monkeypatch.setattr(module.logger, "info", lambda _, extra: rolled.append(extra.get("organization")))
    with pytest.raises(
        module.TurnsFailedError, match=f"organization {ORGANIZATION.id} is stored in format 3"
    ):
        module.handler({}, None)
    assert other.id in rolled
    assert ORGANIZATION.id not in rolled


def test_what_is_said(world: tuple[World, Stream]) -> None:
    store_as(world[0].table, 3)
    said = "is stored in format 3, and this version of Meterstone knows format 2: use"
    with pytest.raises(StoredFormatError, match=said) as raised:
        read_account(world[0].table, ORGANIZATION.id)
    failure = failure_of(raised.value)
    assert failure is not None
    assert failure == (REFUSED, (str(raised.value),))


@pytest.mark.parametrize(("number", "read"), [(None, 1), (1, 1), (2, 2)])
def test_a_format_that_is_known_is_read(world: tuple[World, Stream], number: int | None, read: int) -> None:
    store_as(world[0].table, number)
    account = read_account(world[0].table, ORGANIZATION.id)
    assert account is not None
    assert account.stored_format == read


def test_a_new_organization_has_the_number_and_a_load_leaves_it() -> None:
    table = MemoryTable()
    for _ in range(2):
        write_catalogue(table, ORGANIZATION, (), (), ())
        profile = table.items()[keys.organization(ORGANIZATION.id, "profile")]
        assert profile["stored_format"] == {"N": "2"}

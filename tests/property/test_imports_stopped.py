"""Imports that meet events which no line item is for, and that are stopped at any write: all counts once."""

from collections.abc import Iterator
from contextlib import suppress
from copy import replace
from random import Random
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterstone.store.dynamodb.lease import BusyError, leased
from meterstone.store.events.unmatched import list_unmatched
from meterstone.store.operations import imports
from meterstone.store.operations.imports import (
    Importer,
    Source,
    SourceLine,
)
from meterstone.store.operations.rebuild import abandon, rebuild
from meterstone.store.operations.replay import Replay, replay
from meterstone.usage.instant import DAY, HOUR
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingPeriod
from support.counting import check_analytics, describe, examples
from support.importing import (
    FILE,
    MATCHED,
    batches_of,
    catch_up,
    check,
    close,
    complete,
    incomplete,
    killed,
    load,
    logged,
    record,
    usage_of,
    waiting,
    writes_of,
)
from support.memory_table import Faults, Killed
from support.recovering import WAIT, Stream, refresh, streaming, without, write
from support.scenario import ORGANIZATION, Scenario, Usage, World, digest, scenarios
from support.small_world import FLAT, call, meter, world_of
from support.small_world import START as SMALL_START
from support.small_world import check as check_small
from support.stored import memory, stored


def late(number: int) -> Usage:
    """Give another event that a line item is always for."""
    event = replace(usage_of()[7].event, id=f"late {number}", properties={"value": 2, "text": "t1"})
    return replace(usage_of()[7], event=event)


type Steps = tuple[str, ...]


def take(step: str, world: World, stream: Stream, number: int) -> None:
    """Take one step; those that are killed are killed at a write that the number chooses."""
    match step:
        case "catalogue":
            catch_up(world)
        case "import":
            load(world, stream)
        case "close":
            close(world, stream)
        case "replay":
            replay(world.table, ORGANIZATION.id, stream.clock)
        case "killed replay":
            table = memory(world)
            table.faults = Faults(before=table.writes + number % 9)
            try:
                replay(table, ORGANIZATION.id, stream.clock)
            except Killed:
                stream.clock.now += WAIT
            table.faults = Faults()
        case "another":
            # It drops from the tallies that it writes what the shards of settled runs had come to.
            load(world, stream, (late(number),), f"another {number}")
        case "rebuild":
            assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).swapped
            refresh(world)
        case _:
            raise AssertionError(step)


def test_what_no_line_item_is_for_is_unmatched_and_replayed() -> None:
    world, stream = streaming(incomplete())
    report = load(world, stream)
    assert waiting(world) == {each.event.id for each in usage_of()} - MATCHED
    assert (report.counted, report.unmatched) == (10 - len(waiting(world)), len(waiting(world)))
    assert {each.since for each in list_unmatched(world.table, ORGANIZATION.id)} == {stream.clock.now}
    assert replay(world.table, ORGANIZATION.id, stream.clock).waiting == report.unmatched
    check_analytics(world, logged(world, usage_of()), stream.clock.now)
    catch_up(world)
    assert replay(world.table, ORGANIZATION.id, stream.clock).counted == report.unmatched
    whole, other = streaming(complete())
    load(whole, other)
    whole.roll(other.clock.now)
    world.roll(other.clock.now)
    assert stored(memory(world), "1") == stored(memory(whole), "1")
    check(world, stream, usage_of())


WAYS: tuple[Steps, ...] = (
    ("catalogue", "import", "replay"),
    ("import", "catalogue", "replay"),
    ("catalogue", "replay", "import", "replay"),
    ("catalogue", "killed replay", "import", "replay"),
    ("catalogue", "replay", "another", "replay", "import", "replay"),
    ("import", "rebuild", "catalogue", "rebuild", "replay"),
    ("close", "catalogue", "import", "replay"),
    ("catalogue", "close", "replay", "another", "import", "replay"),
    ("catalogue", "replay", "close", "rebuild", "import", "killed replay", "replay"),
    ("close", "rebuild", "catalogue", "import", "rebuild", "replay"),
)


@pytest.mark.parametrize("steps", WAYS, ids=", ".join)
def test_killed_at_any_write_an_import_counts_once(steps: Steps) -> None:
    world, stream = streaming(incomplete())
    writes = writes_of(load, world, stream)
    assert writes > 12
    for number in range(writes):
        world, stream = streaming(incomplete())
        killed(load, world, stream, number)
        for step in steps:
            take(step, world, stream, number)
        check(world, stream, (*usage_of(), *(late(number) for step in steps if step == "another")))


@pytest.mark.parametrize("steps", [("close",), ("import",), ("catalogue", "close", "replay")], ids=", ".join)
def test_an_import_that_was_taken_for_dead_logs_and_puts_by_nothing_more(steps: Steps) -> None:
    """At each of its writes another run goes all the way, with another catalogue, too; then it goes on."""
    world, stream = streaming(incomplete())
    for number in range(1, writes_of(load, world, stream)):
        world, stream = streaming(incomplete())
        table = memory(world)
        begin = table.writes + number

        def interrupt(at: int) -> bool:
            if at == begin:  # noqa: B023 - called before the next round
                table.faults = Faults()  # noqa: B023
                for step in steps:
                    take(step, world, stream, number)  # noqa: B023
            return False

        table.faults = Faults(unavailable=interrupt)
        with pytest.raises(BusyError, match="another run of the import of file has begun"):
            load(world, stream)
        assert not record(world).open
        catch_up(world)
        load(world, stream)
        replay(table, ORGANIZATION.id, stream.clock)
        check(world, stream, usage_of())


@pytest.mark.parametrize("lines", [4, 10], ids=["several batches", "one batch"])
def test_an_import_goes_on_by_a_catalogue_that_changes_at_any_of_its_writes(lines: int) -> None:
    """What it has saved as unmatched by then waits for the replay, and is not counted by the import as well."""
    number, changed, replayed = -1, True, 0
    while changed:
        number += 1
        world, stream = streaming(incomplete())
        table = memory(world)
        begin, changed = table.writes + number, False

        def change(at: int) -> bool:
            nonlocal changed
            if at == begin:  # noqa: B023 - called before the next round
                table.faults = Faults()  # noqa: B023
                catch_up(world)  # noqa: B023
                changed = True
            return False

        table.faults = Faults(unavailable=change)
        with mock.patch.object(imports, "_BATCH", lines):
            report = world.load("file", usage_of(), stream.clock.now)
        table.faults = Faults()
        if not changed:
            catch_up(world)
        assert report.counted + report.unmatched == len(usage_of())
        counted = replay(table, ORGANIZATION.id, stream.clock).counted
        assert counted == report.unmatched
        replayed += counted
        check(world, stream, usage_of())
    assert number > 5
    assert replayed


@pytest.mark.parametrize("before", [(), ("close",)], ids=["a new file", "a file that was closed"])
def test_a_replay_that_began_before_an_import_leaves_it_what_it_may_ask_for(before: Steps) -> None:
    def prepared() -> tuple[World, Stream]:
        world, stream = streaming(incomplete())
        for step in before:
            killed(load, world, stream, 4)
            take(step, world, stream, 0)
        return world, stream

    for number in range(1, writes_of(load, *prepared())):
        world, stream = prepared()
        table = memory(world)
        with leased(table, ORGANIZATION.id, "replay", stream.clock) as lease:
            replaying = Replay(table, world.account, lease, stream.clock)
            killed(load, world, stream, number)
            catch_up(world)
            # The catalogue is not the one that it began with: it says so where it would count something.
            with suppress(BusyError):
                replaying.take_up()
                replaying.count_new()
        load(world, stream)
        replay(table, ORGANIZATION.id, stream.clock)
        check(world, stream, usage_of())


@examples(60)
@given(scenarios(most_batches=1), st.integers(0, 2**32))
def test_however_an_import_is_stopped_and_gone_on_with_it_counts_once(scenario: Scenario, seed: int) -> None:
    describe(scenario)
    random = Random(seed)  # noqa: S311 - nothing secret
    unknown = random.choice(["call", "other"])
    world, stream = streaming(without(scenario, unknown))
    table = memory(world)
    with batches_of(random.randint(1, 6)):
        for _ in range(random.randint(1, 6)):
            step = random.choice(["import", "import", "close", "replay", "rebuild", "catalogue", "other"])
            table.faults = Faults(before=table.writes + random.randint(1, 20))
            try:
                match step:
                    case "import":
                        world.load_refusing(FILE, scenario.usage, stream.clock.now)
                    case "catalogue":
                        write(world, scenario)
                    case "close" if record(world).open:
                        close(world, stream)
                    case "replay":
                        replay(table, ORGANIZATION.id, stream.clock)
                    case "rebuild":
                        rebuild(table, ORGANIZATION.id, stream.clock.around)
                    case _:
                        world.load_refusing("other", scenario.usage[::2], stream.clock.now)
            except (Killed, BusyError):
                table.faults = Faults()
                stream.clock.now += WAIT
                if step == "catalogue":
                    # It is written behind all rules: what is counted meanwhile would not be counted anew.
                    write(world, scenario)
        table.faults = Faults()
        stream.clock.now += WAIT
        abandon(table, ORGANIZATION.id, stream.clock.around)
        write(world, scenario)
        world.scenario = scenario
        for name, usage in ((FILE, scenario.usage), ("other", scenario.usage[::2])):
            world.load_refusing(name, usage, stream.clock.now)
    replay(table, ORGANIZATION.id, stream.clock)
    refresh(world).roll(stream.clock.now)
    check_analytics(world, scenario.usage, stream.clock.now)
    assert rebuild(table, ORGANIZATION.id, stream.clock.around).differences == []


@pytest.mark.parametrize("lines", [10, 2, 1], ids=["in one batch", "in the next batch", "in a later batch"])
@pytest.mark.parametrize("transactions", [None, 1], ids=["at once", "after a stop"])
def test_a_line_that_stands_twice_in_a_file_counts_once(lines: int, transactions: int | None) -> None:
    usage = (call("a", 0, value=1), call("b", HOUR, value=10), call("a", 0, value=1))
    world = world_of(BillingPeriod.ANNUAL, [(meter("sum", Aggregation.SUM), FLAT)], SMALL_START + DAY)
    table = memory(world)
    with batches_of(lines):
        if transactions is not None:
            table.faults = Faults(before=table.writes + 1 + transactions)
            with pytest.raises(Killed):
                world.load(FILE, usage, world.scenario.end)
            table.faults = Faults()
        report = world.load(FILE, usage, world.scenario.end)
    assert (report.counted, report.duplicates) == (2, 1)
    check_small(world, usage[:2])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_import_logs_nothing_beside_a_rebuild_that_begins_with_it(number: int) -> None:
    """A rebuild begins before one of the import's first three writes, and is killed as soon as it waits."""
    world, stream = streaming(complete())
    table = memory(world)
    at, begun = table.writes + number, []

    def begin_a_rebuild(write: int) -> bool:
        if write == at:
            # Its lease, and the next generation; the third write would renew the lease.
            table.faults = Faults(before=table.writes + 3)
            with suppress(BusyError, Killed):
                rebuild(table, ORGANIZATION.id, stream.clock.around)
            table.faults = Faults()
            begun.append(refresh(world).account.next is not None)
        return False

    table.faults = Faults(unavailable=begin_a_rebuild)
    with suppress(BusyError):
        load(world, stream)
    table.faults = Faults()
    # Whoever comes second sees the other: the import the next generation, or the rebuild the import's record.
    assert begun == [number < 2]
    assert logged(world, usage_of()) == (() if number < 2 else usage_of())
    stream.clock.now += WAIT
    abandon(table, ORGANIZATION.id, stream.clock.around)
    load(world, stream)
    check(world, stream, usage_of())


def test_an_import_goes_on_with_the_catalogue_that_changes_between_its_batches() -> None:
    """A batch has 4 events: those of the first that no line item is for wait, all others count."""
    world, stream = streaming(incomplete())

    def lines() -> Iterator[SourceLine]:
        for line, each in enumerate(usage_of(), start=1):
            if line == 5:
                catch_up(world)
            yield SourceLine(line, each.subject, each.event)

    with batches_of(4):
        importer = Importer(world.table, world.account)
        report = importer.run(Source(FILE, digest(FILE)), lines(), stream.clock.now, lambda *_: None)
    waits = {each.event.id for each in usage_of()[:4]} - MATCHED
    assert waiting(world) == waits
    assert (report.counted, report.unmatched) == (len(usage_of()) - len(waits), len(waits))
    counted = tuple(each for each in usage_of() if each.event.id not in waits)
    refresh(world).roll(stream.clock.now)
    check_analytics(world, counted, stream.clock.now)
    replay(world.table, ORGANIZATION.id, stream.clock)
    check(world, stream, usage_of())

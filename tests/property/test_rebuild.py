"""A rebuild counts the log again to the same, whatever happens meanwhile, and wherever it is stopped."""

from contextlib import suppress
from copy import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterstone.store.dynamodb.lease import BusyError, Lease
from meterstone.store.operations import rebuild as rebuilding
from meterstone.store.operations.rebuild import Surroundings, abandon, rebuild
from meterstone.usage.instant import DAY, HOUR
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingPeriod
from support.counting import check_analytics, describe, examples
from support.memory_table import Faults, Killed
from support.recovering import (
    WAIT,
    Clock,
    Stream,
    before_write,
    check,
    copy_of,
    half_imported,
    kill_at,
    refresh,
    small,
    streaming,
)
from support.scenario import ORGANIZATION, Batch, Scenario, World, scenarios
from support.small_world import FLAT, call, meter, world_of
from support.small_world import START as SMALL_START
from support.stored import memory, rich, stored


@examples(40)
@given(scenarios())
def test_a_rebuild_reproduces_what_was_counted(scenario: Scenario) -> None:
    describe(scenario)
    world, stream = half_imported(scenario)
    before = copy_of(world)
    report = rebuild(world.table, ORGANIZATION.id, stream.clock.around)
    assert (report.generation, report.swapped) == ("2", True)
    # What the clock brought while the rebuild waited is all that may differ.
    check(world, stream, scenario)
    before.roll(stream.clock.now)
    assert stored(memory(world), "2") == stored(memory(before), "1")


@examples(20)
@given(scenarios())
def test_a_rebuild_finds_nothing_different_and_a_dry_one_changes_nothing(scenario: Scenario) -> None:
    world, stream = half_imported(scenario)
    before = copy_of(world)
    report = rebuild(world.table, ORGANIZATION.id, stream.clock.around, swap=False)
    assert (report.differences, report.swapped) == ([], False)
    check(world, stream, scenario)
    before.roll(stream.clock.now)
    assert stored(memory(world), "1") == stored(memory(before), "1")


@examples(60)
@given(scenarios(), st.integers(0, 2**32))
def test_events_that_come_at_any_moment_count_once(scenario: Scenario, seed: int) -> None:
    """At every write of the rebuild something may be posted, delivered, or delivered again."""
    describe(scenario)
    random = Random(seed)  # noqa: S311 - nothing secret
    world, stream = streaming(scenario)
    usage = list(scenario.usage)
    table = memory(world)

    def meanwhile(_: int) -> bool:
        table.faults = Faults()
        if usage and random.random() < 0.2:
            stream.post([usage.pop(0)])
        if random.random() < 0.2:
            stream.deliver(random.randint(stream.delivered, len(stream.records)), again=random.randint(0, 3))
        if random.random() < 0.05:
            world.roll(stream.clock.now)
        table.faults = Faults(unavailable=meanwhile)
        return False

    first = random.randint(0, len(usage))
    stream.post(usage[:first])
    del usage[:first]
    stream.deliver(random.randint(0, first))
    for _ in range(random.randint(1, 2)):
        table.faults = Faults(unavailable=meanwhile)
        assert rebuild(table, ORGANIZATION.id, stream.clock.around).swapped
        table.faults = Faults()
    stream.post(usage)
    stream.deliver(again=4)
    check(world, stream, scenario)


def moments_of(world: World, stream: Stream) -> int:
    """Count the writes of a rebuild that nothing disturbs."""
    other = copy_of(world)
    table = memory(other)
    assert rebuild(table, ORGANIZATION.id, Clock(stream.clock.now).around).swapped
    return table.writes


@examples(15)
@given(scenarios(), st.integers(0, 2**32))
def test_no_answer_is_wrong_at_any_moment(scenario: Scenario, seed: int) -> None:
    """Every event is delivered at once; whoever asks finds it, also with an account of half a minute ago."""
    random = Random(seed)  # noqa: S311 - nothing secret
    world, stream = streaming(scenario)
    usage = list(scenario.usage)
    table = memory(world)
    first = random.randint(0, len(usage) - 1)
    stream.post(usage[:first])
    del usage[:first]
    stream.deliver()
    remembered = [(stream.clock.now, refresh(world).account)]
    before = world.account.generation
    # Each comes at some write of the rebuild, the last one after the swap.
    moments = moments_of(world, stream)
    due = sorted(random.randrange(moments) for _ in usage[1:])
    moment = asked = 0

    def meanwhile(_: int) -> bool:
        nonlocal moment, asked
        table.faults = Faults()
        now = stream.clock.now
        account = refresh(world).account
        remembered.append((now, account))
        swapped = account.generation != before
        while due and due[0] <= moment:
            del due[0]
            stream.post([usage.pop(0)])
            stream.deliver()
        # The moments after the swap are few: none of them is left out.
        if usage and swapped:
            del due[:1]
            stream.post([usage.pop(0)])
            stream.deliver()
        moment += 1
        if swapped or random.random() < 0.05:
            asked += swapped
            for each in {each for at, each in remembered if at >= now - 30_000_000}:
                world.account = each
                world.roll(now)
                check_analytics(world, tuple(stream.usage), now)
        table.faults = Faults(unavailable=meanwhile)
        return False

    table.faults = Faults(unavailable=meanwhile)
    assert rebuild(table, ORGANIZATION.id, stream.clock.around).swapped
    assert asked > 0
    assert not usage


def test_killed_at_any_write_a_rebuild_runs_again() -> None:
    scenario = small()
    world, stream = half_imported(scenario)
    start = memory(world).writes
    rebuild(world.table, ORGANIZATION.id, stream.clock.around)
    writes = memory(world).writes - start
    check(world, stream, scenario)
    assert writes > 25
    for number in range(writes):
        world, stream = half_imported(scenario)
        table = memory(world)
        table.faults = Faults(before=table.writes + number)
        with pytest.raises(Killed):
            rebuild(table, ORGANIZATION.id, stream.clock.around)
        table.faults = Faults()
        stream.deliver(again=9)
        if number:
            with pytest.raises(BusyError, match="a rebuild is running, or was stopped: try again after"):
                rebuild(table, ORGANIZATION.id, stream.clock.around)
        stream.clock.now += WAIT
        if number % 3 == 0:
            abandon(table, ORGANIZATION.id, stream.clock.around)
            check(world, stream, scenario)
        assert rebuild(table, ORGANIZATION.id, stream.clock.around).differences == []
        check(world, stream, scenario)


def test_an_import_and_a_rebuild_keep_out_of_each_others_way() -> None:
    scenario = small()
    world, stream = half_imported(scenario)
    table = memory(world)
    table.faults = Faults(before=table.writes + 2)
    with pytest.raises(Killed):
        world.load("stopped", scenario.usage, scenario.end)
    table.faults = Faults()
    with pytest.raises(
        BusyError, match="the import of stopped is running, or was stopped: run it again first"
    ):
        rebuild(table, ORGANIZATION.id, stream.clock.around)
    world.load("stopped", scenario.usage, scenario.end)

    def importing(number: int) -> bool:
        table.faults = Faults()
        with pytest.raises(BusyError, match="a rebuild is running"):
            world.load("meanwhile", scenario.usage, scenario.end)
        assert number
        return False

    def waiting(number: int) -> bool:
        if refresh(world).account.next is not None:
            importing(number)
        return False

    table.faults = Faults(unavailable=waiting)
    assert rebuild(table, ORGANIZATION.id, stream.clock.around).swapped
    check(world, stream, scenario)
    world.load("meanwhile", scenario.usage, scenario.end)
    check(world, stream, scenario)


@pytest.mark.parametrize(
    "aggregation", [Aggregation.SUM, Aggregation.COUNT_UNIQUE, Aggregation.WEIGHTED_SUM], ids=str
)
def test_how_far_nothing_was_carried_is_no_difference(aggregation: Aggregation) -> None:
    """What was counted day by day carried a value of 0 no further than its event; a rebuild does up to now."""
    events = [
        call("up", DAY, value=3 if aggregation is Aggregation.WEIGHTED_SUM else 0, text=None),
        call("down", DAY + HOUR, value=-3 if aggregation is Aggregation.WEIGHTED_SUM else 0, text=None),
    ]
    it = meter("it", aggregation, recurring=True)
    world = world_of(BillingPeriod.DAILY, [(it, FLAT)], SMALL_START + 2 * DAY)
    scenario = replace(world.scenario, batches=(Batch(world.scenario.end, tuple(events)),))
    world, stream = streaming(scenario)
    stream.post(scenario.usage)
    stream.deliver()
    stream.clock.now = SMALL_START + 40 * DAY
    report = rebuild(world.table, ORGANIZATION.id, stream.clock.around)
    assert report.differences == []


@pytest.mark.parametrize("together", [1, 3, 4, 12, 13])
def test_a_log_of_more_events_than_are_counted_together_is_counted_whole(
    monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    """The log of 12 events is counted in batches: of one, with and without a rest, and all in one."""
    monkeypatch.setattr(rebuilding, "_COUNTED_TOGETHER", together)
    scenario = rich()
    world, stream = half_imported(scenario)
    report = rebuild(world.table, ORGANIZATION.id, stream.clock.around)
    assert (report.events, report.differences) == (len(scenario.usage), [])
    check(world, stream, scenario)


@pytest.mark.parametrize("number", range(6))
def test_a_rebuild_is_not_swapped_in_over_an_import_that_began_beside_it(number: int) -> None:
    """An import begins before one of the rebuild's first writes, logs all of its events, and is then killed."""
    scenario = small()
    world, stream = half_imported(scenario)
    more = [replace(each, event=replace(each.event, id=f"more {each.event.id}")) for each in scenario.usage]
    begun: list[bool] = []

    def begin_an_import() -> None:
        with suppress(BusyError):
            # Its own record, then the log: the third write would count.
            begun.append(kill_at(world, 2, lambda: world.load("beside", more, scenario.end)))

    before_write(world, number, begin_an_import)
    if number < 2:
        with pytest.raises(BusyError, match="the import of beside is running, or was stopped"):
            rebuild(world.table, ORGANIZATION.id, stream.clock.around)
    else:
        assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).swapped
    memory(world).faults = Faults()
    assert begun == ([True] if number < 2 else [])
    stream.clock.now += WAIT
    world.load("beside", more, scenario.end)
    both = replace(scenario, batches=(*scenario.batches, Batch(scenario.end, tuple(more))))
    assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).swapped
    check(world, stream, both)


@pytest.mark.parametrize("number", range(8))
def test_a_rebuild_that_has_lost_its_lease_changes_nothing(number: int) -> None:
    """It slept once for longer than its lease, and another rebuild ran from beginning to end meanwhile."""
    scenario = small()
    world, stream = half_imported(scenario)
    naps = 0

    def sleep(seconds: float) -> None:
        nonlocal naps
        stream.clock.sleep(seconds)
        naps += 1
        if naps == number + 1:
            stream.clock.now += WAIT
            assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).swapped

    with pytest.raises(BusyError, match="another command took over"):
        rebuild(world.table, ORGANIZATION.id, Surroundings(stream.clock, sleep))
    assert naps == number + 1
    check(world, stream, scenario)
    assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).differences == []
    check(world, stream, scenario)


def test_a_rebuild_holds_its_lease_while_it_waits() -> None:
    """Each of its naps is longer than it meant, and another command tries to begin after each."""
    world, stream = half_imported(small())
    naps = 0

    def oversleep(seconds: float) -> None:
        nonlocal naps
        naps += 1
        stream.clock.sleep(seconds + 1)
        with pytest.raises(BusyError, match="a rebuild is running"):
            Lease(world.table, ORGANIZATION.id, "replay", stream.clock).take()

    assert rebuild(world.table, ORGANIZATION.id, Surroundings(stream.clock, oversleep)).swapped
    assert naps > 2
    check(world, stream, small())

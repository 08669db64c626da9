"""A rebuild counts the log again to the same, whatever happens meanwhile, and wherever it is stopped."""

import json
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterstone.store.catalogue.records import read_account
from meterstone.store.counting.stream import rebuilt
from meterstone.store.counting.writing import STREAM
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.events.quarantine import list_unmatched
from meterstone.store.operations.rebuild import Surroundings, abandon, rebuild
from meterstone.store.operations.replay import replay
from meterstone.usage.instant import DAY, HOUR
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingPeriod
from support.counting import check_analytics, describe, examples
from support.memory_table import Faults, Killed
from support.recovering import (
    WAIT,
    Clock,
    Stream,
    check,
    copy_of,
    half_imported,
    memory,
    refresh,
    small,
    stored,
    streaming,
    without,
    write,
)
from support.scenario import ORGANIZATION, Batch, Scenario, World, scenarios
from support.small_world import FLAT, call, meter, world_of
from support.small_world import START as SMALL_START


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


def test_what_the_stream_finds_unmatched_waits_though_the_rebuild_is_given_up() -> None:
    """Wherever the rebuild was stopped: it may have put the event by for its own generation alone."""
    scenario = without(small(), "call")
    strangers = {usage.event.id for usage in small().usage if usage.event.name == "call"}
    assert strangers
    number, stopped = -1, True
    while stopped:
        number, stopped = number + 1, False
        world, stream = streaming(scenario)
        stream.post(small().usage)
        table = memory(world)
        table.faults = Faults(before=table.writes + number)
        try:
            rebuild(table, ORGANIZATION.id, stream.clock.around)
        except Killed:
            stopped = True
        table.faults = Faults()
        stream.deliver()
        stream.clock.now += WAIT
        abandon(table, ORGANIZATION.id, stream.clock.around)
        assert {each.event.id for each in list_unmatched(table, ORGANIZATION.id)} == strangers, number
    assert number > 20


def test_who_still_reads_the_generation_before_sees_what_the_stream_delivers_late() -> None:
    """The rebuild has counted it into the new generation alone, and accounts are remembered for a while."""
    scenario = small()
    world, stream = streaming(scenario)
    stream.post(scenario.usage)
    stream.deliver(2)
    clock, seen = stream.clock, 0

    def sleep(seconds: float) -> None:
        nonlocal seen
        account = read_account(world.table, ORGANIZATION.id)
        if account is not None and account.previous is not None and not seen:
            stream.deliver()
            check_analytics(world, scenario.usage, clock.now)
            seen += 1
        clock.sleep(seconds)

    assert world.account.generation == "1"
    assert rebuild(world.table, ORGANIZATION.id, Surroundings(clock, sleep)).swapped
    assert seen
    check(world, stream, scenario)


def test_what_a_rebuild_put_by_before_it_was_stopped_is_counted_when_the_stream_delivers_it() -> None:
    """A line item is for it by then. What the rebuild made means nothing, and goes when it is given up."""
    complete = small()
    number, stopped = -1, True
    while stopped:
        number, stopped = number + 1, False
        world, stream = streaming(without(complete, "call"))
        stream.post(complete.usage)
        table = memory(world)
        table.faults = Faults(before=table.writes + number)
        try:
            rebuild(table, ORGANIZATION.id, stream.clock.around)
        except Killed:
            stopped = True
        table.faults = Faults()
        write(world, complete)
        world.scenario = complete
        stream.deliver()
        stream.clock.now += WAIT
        abandon(table, ORGANIZATION.id, stream.clock.around)
        replay(table, ORGANIZATION.id, stream.clock)
        check(world, stream, complete)
    assert number > 20


def test_a_tally_drops_the_positions_of_its_rebuild_when_the_stream_writes_it() -> None:
    """The rebuild is over; what no shard delivers any more would stay in the head for ever."""
    scenario = small()
    world, stream = half_imported(scenario)

    def shards() -> list[set[str]]:
        return [
            set(json.loads(item["pos"]["S"]))
            for key, item in memory(world).items().items()
            if key.pk.startswith(f"{ORGANIZATION.id}#2#usage#") and "pos" in item
        ]

    assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).swapped
    assert {rebuilt("2")} in shards()
    last = scenario.usage[-1]
    stream.post([replace(last, event=replace(last.event, id="one more"))])
    stream.deliver()
    written = [found for found in shards() if any(each.startswith(STREAM) for each in found)]
    assert written
    assert not any(rebuilt("2") in found for found in written)

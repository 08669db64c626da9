"""A rebuild counts the log again to the same, whatever happens meanwhile, and wherever it is stopped."""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from copy import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterstone.store.catalogue.accounts import read_account
from meterstone.store.catalogue.subjects import Subjects
from meterstone.store.counting.fold import EventToCount, Fold
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.lease import BusyError, Lease
from meterstone.store.events.positions import ends_by_itself, rebuild_shard
from meterstone.store.events.unmatched import list_unmatched, read_unmatched
from meterstone.store.operations import rebuild as rebuilding
from meterstone.store.operations.rebuild import Surroundings, abandon, rebuild
from meterstone.store.operations.replay import replay
from meterstone.store.reading.analytics import AnalyticsStore
from meterstone.usage.instant import DAY, HOUR
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingPeriod
from meterstone.usage.tally import Position
from support.counting import check_analytics, describe, examples
from support.memory_table import Faults, Killed
from support.recovering import (
    SECOND,
    WAIT,
    Clock,
    Stream,
    check,
    copy_of,
    generations,
    half_imported,
    refresh,
    small,
    streaming,
    without,
    write,
)
from support.scenario import ORGANIZATION, Batch, Scenario, Usage, World, scenarios
from support.small_world import FLAT, call, meter, world_of
from support.small_world import START as SMALL_START
from support.small_world import check as check_small
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


def before_write(world: World, number: int, do: Callable[[], object]) -> None:
    """Do something once, just before the table's write of this number from now."""
    table = memory(world)
    when = table.writes + number

    def interrupt(write: int) -> bool:
        if write == when:
            table.faults = Faults()
            do()
        return False

    table.faults = Faults(unavailable=interrupt)


def kill_at(world: World, number: int, do: Callable[[], object]) -> bool:
    """Do something that is killed before its write of this number; tell whether it had so many."""
    table = memory(world)
    table.faults = Faults(before=table.writes + number)
    try:
        do()
    except Killed:
        return True
    finally:
        table.faults = Faults()
    return False


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


def test_what_a_stopped_replay_had_counted_is_in_what_is_rebuilt() -> None:
    """The replay is killed at each of its writes. What has no number by then waits for the next one."""
    scenario = small()
    number, some, killed = 0, 0, True
    while killed:
        world, stream = streaming(replace(scenario, subscriptions=()))
        stream.post(scenario.usage)
        stream.deliver()
        write(world, scenario)
        world.scenario = scenario
        killed = kill_at(world, number, lambda: replay(world.table, ORGANIZATION.id, stream.clock))  # noqa: B023
        stream.clock.now += WAIT
        before = {
            each.event.id for each in list_unmatched(world.table, ORGANIZATION.id) if each.number is None
        }
        report = rebuild(world.table, ORGANIZATION.id, stream.clock.around)
        assert report.differences == []
        waits = {each.event.id for each in list_unmatched(world.table, ORGANIZATION.id)}
        assert waits == before
        refresh(world).roll(stream.clock.now)
        counted = tuple(each for each in scenario.usage if each.event.id not in waits)
        check_analytics(world, counted, stream.clock.now)
        some += bool(counted)
        number += 1
    assert 2 < some < number


def test_a_generation_that_was_given_up_lends_its_name_to_no_other() -> None:
    """A fold that began while the generation was there writes into it when it is deleted."""
    scenario = small()
    first, last = scenario.usage[:-1], scenario.usage[-1]
    number, late = 0, 0
    while late == number:
        world, stream = streaming(scenario)
        stream.post(first)
        stream.deliver()
        # It has named its generation, and waits.
        assert kill_at(world, 3, lambda: rebuild(world.table, ORGANIZATION.id, stream.clock.around))  # noqa: B023
        assert refresh(world).account.next is not None
        stream.clock.now += WAIT
        stream.post([last])
        given_up: list[bool] = []

        def give_up() -> None:
            abandon(world.table, ORGANIZATION.id, stream.clock.around)  # noqa: B023
            given_up.append(True)  # noqa: B023

        before_write(world, number, give_up)
        stream.deliver()
        memory(world).faults = Faults()
        late += len(given_up)
        abandon(world.table, ORGANIZATION.id, stream.clock.around)
        report = rebuild(world.table, ORGANIZATION.id, stream.clock.around)
        assert (report.generation, report.differences) == ("3", [])
        refresh(world).roll(stream.clock.now)
        check_analytics(world, scenario.usage, stream.clock.now)
        number += 1
    assert late > 1, "at each write of the fold, into both generations"


def stopped_at_its_comparison(scenario: Scenario, usage: Iterable[Usage]) -> tuple[World, Stream]:
    """Log events that are not delivered, and kill a rebuild when it has counted them and saved the unmatched."""
    world, stream = streaming(scenario)
    stream.post(usage)

    def stop(word: str) -> None:
        if word == "comparing":
            raise Killed

    with pytest.raises(Killed):
        rebuild(world.table, ORGANIZATION.id, Surroundings(stream.clock, stream.clock.sleep, stop))
    assert {each.generation for each in read_unmatched(world.table, ORGANIZATION.id)} == {"2"}
    stream.clock.now += WAIT
    return world, stream


def test_what_the_stream_takes_over_while_a_rebuild_is_given_up_stays() -> None:
    """The rebuild had saved unmatched events for its own generation; the stream saves the same ones for all."""
    scenario = without(small(), "call")
    strangers = {each.event.id for each in small().usage if each.event.name == "call"}

    number, times = 0, 0
    while times == number:
        world, stream = stopped_at_its_comparison(scenario, small().usage)
        delivered: list[bool] = []

        def deliver() -> None:
            stream.deliver()  # noqa: B023
            delivered.append(True)  # noqa: B023

        before_write(world, number, deliver)
        abandon(world.table, ORGANIZATION.id, stream.clock.around)
        memory(world).faults = Faults()
        stream.deliver()
        times += len(delivered)
        waits = {each.event.id for each in list_unmatched(world.table, ORGANIZATION.id)}
        assert waits == strangers
        number += 1
    assert times > len(strangers)


@pytest.mark.parametrize("at_once", [True, False], ids=["delivered at once", "delivered after the swap"])
def test_an_event_that_is_accepted_at_the_cut_counts_once(*, at_once: bool) -> None:
    """One is accepted at the cut to the microsecond, one just before it and one just after."""
    scenario = small()
    world, stream = streaming(scenario)
    usage = list(scenario.usage)
    stream.post(usage[3:])
    stream.deliver()
    posted: list[int] = []

    def sleep(seconds: float) -> None:
        stream.clock.sleep(seconds)
        after, now = refresh(world).account.next, stream.clock.now
        if after is not None and now == after.cut:
            for one, offset in zip(usage[:3], (-1, 0, 1), strict=True):
                stream.clock.now = now + offset
                stream.post([one])
                posted.append(offset)
            stream.clock.now = now
            if at_once:
                stream.deliver()

    assert rebuild(world.table, ORGANIZATION.id, Surroundings(stream.clock, sleep)).swapped
    assert posted == [-1, 0, 1]
    stream.deliver(again=2)
    check(world, stream, scenario)


def test_an_event_that_was_accepted_by_a_clock_that_is_ahead_is_rebuilt() -> None:
    """It was counted before the rebuild began, and accepted, by its own machine's clock, half a minute later."""
    scenario = small()
    world, stream = streaming(scenario)
    begin = stream.clock.now
    stream.clock.now = begin + 30 * SECOND
    stream.post(scenario.usage)
    stream.clock.now = begin
    stream.deliver()
    assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).differences == []
    check(world, stream, scenario)


def test_what_a_fold_still_writes_into_a_generation_while_it_is_deleted_is_deleted() -> None:
    """The fold had read the profile before the generation was closed; what it writes to was deleted by then."""
    scenario = small()
    world, stream = streaming(scenario)
    stream.post(scenario.usage[1:])
    stream.deliver()
    table = memory(world)
    (subscription,) = scenario.subscriptions
    first = scenario.usage[0]
    late = EventToCount(Position("late", 1), first.subject, first.event, [subscription], stream.clock.now)
    writes_since_it_is_named = 0

    def fold_late(_: int) -> bool:
        nonlocal writes_since_it_is_named
        profile = table.items()[keys.organization(ORGANIZATION.id, "profile")]
        writes_since_it_is_named += "gens_gone" in profile
        if writes_since_it_is_named == 2:
            faults, table.faults = table.faults, Faults()
            standing = Subjects(table).standing(world.account, [first.subject], stream.clock.now)
            Fold(table, ORGANIZATION.id, "1").fold([late], stream.clock.now, standing)
            table.faults = faults
        return False

    table.faults = Faults(unavailable=fold_late)
    assert rebuild(table, ORGANIZATION.id, stream.clock.around).swapped
    table.faults = Faults()
    assert writes_since_it_is_named > 2
    assert generations(table) == {"2"}


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


@pytest.mark.parametrize("give_up", [True, False], ids=["given up", "compared alone"])
def test_what_a_rebuild_saved_as_unmatched_waits_through_the_next_one(*, give_up: bool) -> None:
    """The stream delivers the events just after the rebuild was swapped in, and leaves its items alone."""
    scenario = without(small(), "call")
    world, stream = streaming(scenario)
    stream.post(small().usage)

    def sleep(seconds: float) -> None:
        if refresh(world).account.previous is not None:
            stream.deliver()
        stream.clock.sleep(seconds)

    assert rebuild(world.table, ORGANIZATION.id, Surroundings(stream.clock, sleep)).swapped
    assert stream.delivered == len(small().usage)
    assert {each.generation for each in read_unmatched(world.table, ORGANIZATION.id)} == {"2"}
    waits = {each.event.id for each in list_unmatched(world.table, ORGANIZATION.id)}
    assert waits == {each.event.id for each in small().usage if each.event.name == "call"}
    if give_up:
        abandon(world.table, ORGANIZATION.id, stream.clock.around)
    else:
        rebuild(world.table, ORGANIZATION.id, stream.clock.around, swap=False)
    write(world, small())
    world.scenario = small()
    assert replay(world.table, ORGANIZATION.id, stream.clock).counted == len(waits)
    check(world, stream, small())


@pytest.mark.parametrize("before", [0, 1], ids=["the first rebuild", "the second rebuild"])
def test_a_late_event_counts_for_those_who_still_read_the_generation_before(before: int) -> None:
    """The stream delivers it when the rebuild is swapped in, which has counted it from the log."""
    scenario = small()
    world, stream = streaming(scenario)
    stream.post(scenario.usage[1:])
    stream.deliver()
    for _ in range(before):
        assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).swapped
    remembered = refresh(world).account
    stream.clock.now += SECOND
    stream.post(scenario.usage[:1])
    answered = 0

    def sleep(seconds: float) -> None:
        nonlocal answered
        if refresh(world).account.previous is not None and not answered:
            stream.deliver()
            for account in (world.account, remembered):
                world.account = account
                world.roll(stream.clock.now)
                check_analytics(world, scenario.usage, stream.clock.now)
                answered += 1
        stream.clock.sleep(seconds)

    assert rebuild(world.table, ORGANIZATION.id, Surroundings(stream.clock, sleep)).swapped
    assert answered == 2
    check(world, stream, scenario)


def test_when_the_newest_event_came_in_is_known_after_a_rebuild() -> None:
    """Answers say until when they have counted: of a rebuilt generation as of the one before."""
    scenario = small()
    world, stream = streaming(scenario)
    for usage in scenario.usage:
        stream.post([usage])
        stream.clock.now += SECOND
    stream.deliver()
    newest = stream.clock.now - SECOND

    def counted_until() -> int:
        account = refresh(world).account
        items = AnalyticsStore(world.settled).daily_usage(account, world.query())
        return max(item.counted_until for item in items)

    assert counted_until() == newest
    assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).swapped
    assert counted_until() == newest


def test_the_generations_are_compared_as_of_one_instant() -> None:
    """Days pass while the log is counted: recurring values grow in both, though no event comes."""
    scenario = rich()
    world, stream = half_imported(scenario)
    table = memory(world)
    begin = stream.clock.now

    def let_days_pass(_: int) -> bool:
        if "2" in generations(table) and stream.clock.now < begin + DAY:
            stream.clock.now += 9 * DAY
        return False

    table.faults = Faults(unavailable=let_days_pass)
    report = rebuild(table, ORGANIZATION.id, stream.clock.around)
    table.faults = Faults()
    assert stream.clock.now > begin + 9 * DAY
    assert (report.differences, report.swapped) == ([], True)
    world.scenario = replace(scenario, end=stream.clock.now)
    check(world, stream, scenario)


def test_a_replay_leaves_alone_what_a_rebuild_saved_that_was_half_given_up() -> None:
    """Giving it up is killed at each of its writes. The stream comes after the replay, and counts the events."""
    number, killed = 0, True
    while killed:
        world, stream = stopped_at_its_comparison(without(small(), "call"), small().usage)
        killed = kill_at(world, number, lambda: abandon(world.table, ORGANIZATION.id, stream.clock.around))  # noqa: B023
        stream.clock.now += WAIT
        assert list(list_unmatched(world.table, ORGANIZATION.id)) == []
        write(world, small())
        world.scenario = small()
        with suppress(BusyError):
            assert replay(world.table, ORGANIZATION.id, stream.clock).counted == 0
        stream.deliver()
        abandon(world.table, ORGANIZATION.id, stream.clock.around)
        assert replay(world.table, ORGANIZATION.id, stream.clock).counted == 0
        check(world, stream, small())
        number += 1
    assert number > len(small().usage)


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


def test_an_unmatched_event_of_a_stopped_rebuild_is_counted_when_the_stream_delivers_it() -> None:
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
    assert {rebuild_shard("2")} in shards()
    last = scenario.usage[-1]
    stream.post([replace(last, event=replace(last.event, id="one more"))])
    stream.deliver()
    written = [found for found in shards() if any(map(ends_by_itself, found))]
    assert written
    assert not any(rebuild_shard("2") in found for found in written)


def test_what_a_rebuild_has_saved_as_unmatched_by_a_catalogue_of_before_is_counted_once() -> None:
    """The line item is back when the first of two transactions has saved some of its events."""
    it = meter("sum", Aggregation.SUM)
    world = world_of(BillingPeriod.MONTHLY, [(it, FLAT)], SMALL_START + 10 * DAY)
    (subscription,) = world.scenario.subscriptions
    clock = Clock(world.scenario.end)
    usage = [call(f"e{number}", number * HOUR, value=2) for number in range(120)]
    world.load("file", usage, clock.now)
    without = replace(world.scenario, subscriptions=(replace(subscription, line_items=()),))
    write(world, without)
    table = memory(world)
    plain, saved = table.transact, 0

    def transact(actions: Sequence[Any]) -> None:
        nonlocal saved
        if any("#unmatched" in each["Put"]["Item"]["pk"]["S"] for each in actions if "Put" in each):
            saved += 1
            if saved == 2:
                write(world, world.scenario)
        plain(actions)

    table.transact = transact  # type: ignore[method-assign]
    assert rebuild(table, ORGANIZATION.id, clock.around).swapped
    assert saved == 2
    waiting = len(list(list_unmatched(table, ORGANIZATION.id)))
    assert 0 < waiting < len(usage)
    assert replay(table, ORGANIZATION.id, clock).counted == waiting
    check_small(refresh(world), usage)

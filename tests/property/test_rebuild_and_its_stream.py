"""Events that come around the swap of a rebuild: each is in what is asked, before it and after."""

from copy import replace

import pytest

from meterstone.store.catalogue.accounts import read_account
from meterstone.store.catalogue.subjects import Subjects
from meterstone.store.counting.fold import EventToCount, Fold
from meterstone.store.dynamodb import keys
from meterstone.store.operations.rebuild import Surroundings, rebuild
from meterstone.store.reading.analytics import AnalyticsStore
from meterstone.usage.instant import DAY
from meterstone.usage.tally import Position
from support.counting import check_analytics
from support.memory_table import Faults
from support.recounts import Scene, everywhere, subscribed
from support.recovering import SECOND, check, generations, half_imported, refresh, small, streaming
from support.scenario import ORGANIZATION
from support.stored import memory, rich

#: A rebuild makes more calls of the table.
MANY = 50


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
        items = AnalyticsStore(world.settled).daily_usage(account, world.query(), world.scenario.end)
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


def test_what_no_meter_can_read_is_listed_whenever_it_comes() -> None:
    """Some of it is accepted after the cut, and listed before the rebuild reads the list."""

    def rebuilt(scene: Scene) -> None:
        assert rebuild(scene.table, ORGANIZATION.id, Surroundings(scene.clock, scene.pass_time)).swapped

    def comes(scene: Scene) -> None:
        scene.event("bytes", 0, value="no number")
        scene.event("calls", 0)
        scene.deliver()

    assert everywhere(subscribed, rebuilt, comes, closely=True) > MANY

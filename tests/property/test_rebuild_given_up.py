"""What a rebuild leaves that was stopped or given up: what it saved for later is counted, and counted once."""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from copy import replace
from typing import Any

import pytest

from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.events.positions import ends_by_itself, rebuild_shard
from meterstone.store.events.unmatched import list_unmatched, read_unmatched
from meterstone.store.operations.rebuild import Surroundings, abandon, rebuild
from meterstone.store.operations.replay import replay
from meterstone.usage.instant import DAY, HOUR
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingPeriod
from support.counting import check_analytics
from support.memory_table import Faults, Killed
from support.recovering import (
    WAIT,
    Clock,
    Stream,
    before_write,
    check,
    half_imported,
    kill_at,
    refresh,
    small,
    streaming,
    without,
    write,
)
from support.scenario import ORGANIZATION, Scenario, Usage, World
from support.small_world import FLAT, call, meter, world_of
from support.small_world import START as SMALL_START
from support.small_world import check as check_small
from support.stored import memory


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
        number += 1
        world, stream = streaming(scenario)
        stream.post(small().usage)
        stopped = kill_at(world, number, lambda: rebuild(world.table, ORGANIZATION.id, stream.clock.around))  # noqa: B023
        stream.deliver()
        stream.clock.now += WAIT
        abandon(world.table, ORGANIZATION.id, stream.clock.around)
        assert {each.event.id for each in list_unmatched(world.table, ORGANIZATION.id)} == strangers, number
    assert number > 20


def test_an_unmatched_event_of_a_stopped_rebuild_is_counted_when_the_stream_delivers_it() -> None:
    """A line item is for it by then. What the rebuild made means nothing, and goes when it is given up."""
    complete = small()
    number, stopped = -1, True
    while stopped:
        number += 1
        world, stream = streaming(without(complete, "call"))
        stream.post(complete.usage)
        stopped = kill_at(world, number, lambda: rebuild(world.table, ORGANIZATION.id, stream.clock.around))  # noqa: B023
        write(world, complete)
        world.scenario = complete
        stream.deliver()
        stream.clock.now += WAIT
        abandon(world.table, ORGANIZATION.id, stream.clock.around)
        replay(world.table, ORGANIZATION.id, stream.clock)
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

"""Imports that were stopped and are closed: what they have logged counts once, and nothing of another import."""

import pytest

from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.operations.rebuild import rebuild
from meterstone.store.operations.replay import replay
from meterstone.usage.instant import DAY, HOUR
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingPeriod
from support.counting import check_analytics
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
from support.recovering import Clock, Stream, copy_of, refresh, streaming
from support.scenario import ORGANIZATION, Usage, World
from support.small_world import FLAT, call, meter, world_of
from support.small_world import START as SMALL_START
from support.small_world import check as check_small
from support.stored import memory


def matched(usage: tuple[Usage, ...]) -> tuple[Usage, ...]:
    return tuple(each for each in usage if each.event.id in MATCHED)


def test_closed_at_any_write_what_was_logged_counts_once() -> None:
    """Closing is killed at each of its writes, too; then the file is found, and what is left of it counts."""
    world, stream = streaming(incomplete())
    # The first write but numbers the run.
    for number in range(2, writes_of(load, world, stream)):
        closings, last = 1, -1
        while last < closings:
            world, stream = streaming(incomplete())
            killed(load, world, stream, number)
            with pytest.raises(BusyError, match="the import of file is running, or was stopped"):
                rebuild(world.table, ORGANIZATION.id, stream.clock.around)
            if last < 0:
                closings = writes_of(close, copied(world), stream)
            else:
                killed(close, world, stream, last)
            last += 1
            there = logged(world, usage_of())
            closed = close(world, stream)
            assert closed is not None
            world.roll(stream.clock.now)
            check_analytics(world, matched(there), stream.clock.now)
            assert waiting(world) == {each.event.id for each in there} - MATCHED
            assert record(world) == closed.record
            assert (closed.record.open, closed.record.taken) == (False, len(there))
            # What lies before the record's line was counted then, and is not looked at again.
            found = closed.counts.counted + closed.counts.unmatched
            assert found == len(there) - closed.record.line
            if last % 2:
                assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).differences == []
                refresh(world)
            report = load(world, stream)
            assert report.counted + report.unmatched == len(usage_of()) - len(there)
            assert report.duplicates == len(there) - report.resumed_after
            assert record(world).done
            catch_up(world)
            replay(world.table, ORGANIZATION.id, stream.clock)
            check(world, stream, usage_of())


def copied(world: World) -> World:
    copy = copy_of(world)
    memory(copy).writes = memory(world).writes
    return copy


def test_what_stands_in_a_closed_import_is_a_duplicate_elsewhere() -> None:
    world, stream = streaming(complete())
    killed(load, world, stream, 5)
    there = logged(world, usage_of())
    assert 0 < len(there) < len(usage_of())
    with batches_of(4):
        refused = world.load_refusing("other", there, stream.clock.now)[1]
    assert {reason for _, reason in refused} <= {"belongs to an import that was stopped: run file again"}
    assert refused
    close(world, stream)
    assert load(world, stream, there, "third").duplicates == len(there)
    load(world, stream)
    check(world, stream, usage_of())


def stopped(usage: tuple[Usage, ...], length: int, transactions: int) -> tuple[World, Stream]:
    """Import a file into a SUM that is billed by the year, killed when some transactions of events are logged."""
    year = world_of(BillingPeriod.ANNUAL, [(meter("sum", Aggregation.SUM), FLAT)], SMALL_START + length)
    world, stream = year, Stream(year.table, Clock(year.scenario.end))
    table = memory(world)
    # The first writes are the number of the runs, and the import's record.
    table.faults = Faults(before=table.writes + 2 + transactions)
    with pytest.raises(Killed):
        world.load(FILE, usage, stream.clock.now)
    table.faults = Faults()
    return world, stream


def test_a_closed_import_counts_its_events_in_the_order_of_their_lines() -> None:
    """Three slices of one tally, read from the log by their ids, in which the lines stand in no order."""
    usage = tuple(call(f"{number * 7919 % 1000:04}", number * DAY, value=1) for number in range(200))
    world, stream = stopped(usage, 300 * DAY, 3)
    there = logged(world, usage)
    assert there == usage
    closed = close(world, stream)
    assert closed is not None
    assert (closed.counts.counted, closed.record.taken) == (200, 200)
    check_small(world, usage)


def test_an_event_of_a_stopped_import_is_withdrawn_when_it_is_closed() -> None:
    """Until then it may be counted at any time. Other events can be withdrawn."""
    usage = (call("a", 0, value=1), call("b", HOUR, value=10), call("c", 2 * HOUR, value=100))
    world, stream = stopped(usage, DAY, 1)
    other = call("d", 3 * HOUR, value=1000)
    stream.post([other])
    with pytest.raises(BusyError, match=r"the import of .* is running, or was stopped"):
        stream.withdraw(usage[1].subject, ["b"])
    assert stream.withdraw(other.subject, ["d"]).withdrawn == ["d"]
    closed = close(world, stream)
    assert closed is not None
    assert (closed.counts.counted, closed.record.taken) == (3, 3)
    assert stream.withdraw(usage[1].subject, ["b"]).withdrawn == ["b"]
    stream.deliver()
    check_small(world, (usage[0], usage[2]))


@pytest.mark.parametrize("again", [1, 2], ids=["once more", "twice more"])
def test_an_import_that_is_closed_again_after_another_one_counts_nothing_again(again: int) -> None:
    """The other import drops from the tally the positions of the closed one: only its record tells by then."""
    usage = (call("a", 0, value=1), call("b", HOUR, value=10))
    world, stream = stopped(usage, DAY, 1)
    close(world, stream)
    other = (call("c", 2 * HOUR, value=100),)
    world.load("other", other, stream.clock.now)
    for _ in range(again):
        closed = close(world, stream)
        assert closed is not None
        assert closed.counts.counted == 0
        check_small(world, (*usage, *other))


def test_closing_an_import_leaves_another_one_that_was_stopped_its_own_events() -> None:
    """Both were killed when their events were logged, and none was counted; the other one is longer."""
    usage = (call("a", 0, value=1), call("b", HOUR, value=10))
    others = tuple(call(f"other {number}", number * HOUR, value=100) for number in range(5))
    world, stream = stopped(usage, DAY, 1)
    table = memory(world)
    table.faults = Faults(before=table.writes + 3)
    with pytest.raises(Killed):
        world.load("other", others, stream.clock.now)
    table.faults = Faults()
    assert logged(world, (*usage, *others)) == (*usage, *others)
    closed = close(world, stream)
    assert closed is not None
    assert (closed.counts.counted, closed.record.taken) == (2, 2)
    check_small(world, usage)
    closed = close(world, stream, "other")
    assert closed is not None
    assert (closed.counts.counted, closed.record.taken) == (5, 5)
    check_small(world, (*usage, *others))

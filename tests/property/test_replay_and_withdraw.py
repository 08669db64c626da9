"""Events that were put by count once when the catalogue catches up; those that are withdrawn count nowhere."""

from collections.abc import Callable
from copy import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterstone.store.dynamodb.lease import BusyError, Lease
from meterstone.store.dynamodb.table import Table, WriteRefusedError
from meterstone.store.events.log import EventLog, Outcome
from meterstone.store.events.unmatched import list_unmatched
from meterstone.store.operations import replay as replaying
from meterstone.store.operations.imports import Source, close_import
from meterstone.store.operations.rebuild import Surroundings, rebuild
from meterstone.store.operations.replay import KEPT, Replay, replay
from meterstone.store.operations.withdraw import withdraw
from meterstone.usage.arrival import Arrival, Subject
from meterstone.usage.instant import DAY, HOUR
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingPeriod
from meterstone.usage.window import Window
from support.counting import check_analytics, check_window, describe, examples
from support.memory_table import Faults, Killed
from support.recovering import (
    WAIT,
    Clock,
    Stream,
    check,
    refresh,
    small,
    streaming,
    without,
    write,
)
from support.scenario import ORGANIZATION, Batch, Scenario, World, digest, oracles, scenarios
from support.small_world import FLAT, call, meter, world_of
from support.small_world import START as SMALL_START
from support.small_world import check as check_small
from support.stored import memory, rich, stored


def incomplete(scenario: Scenario, random: Random) -> Scenario:
    """Leave out all that counts some events: every subscription, a customer's, or a code's line items."""
    left_out = random.choice(["everything", "cust a", "call", "other"])
    kept = (
        []
        if left_out == "everything"
        else [each for each in scenario.subscriptions if each.customer_id != left_out]
    )
    return without(replace(scenario, subscriptions=tuple(kept)), left_out)


def waiting(world: World) -> set[tuple[Subject, str]]:
    return {(each.subject, each.event.id) for each in list_unmatched(world.table, ORGANIZATION.id)}


@examples(60)
@given(scenarios(), st.integers(0, 2**32))
def test_a_replay_counts_as_if_the_catalogue_had_been_complete(scenario: Scenario, seed: int) -> None:
    describe(scenario)
    random = Random(seed)  # noqa: S311 - nothing secret
    world, stream = streaming(scenario)
    write(world, scenario)
    late, before = streaming(incomplete(scenario, random), None)
    before.clock.now = stream.clock.now
    stream.post(scenario.usage)
    stream.deliver()
    some = random.randint(0, len(scenario.usage))
    before.post(scenario.usage)
    before.deliver(some)
    found = waiting(late)
    write(late, scenario)
    # Delivered again, now that a line item is for them: what was put by is left to the replay.
    before.deliver(again=random.randint(0, some))
    assert waiting(late) >= found
    if random.random() < 0.3:
        assert rebuild(late.table, ORGANIZATION.id, before.clock.around).differences == []
    report = replay(late.table, ORGANIZATION.id, before.clock)
    assert report.counted + len({each for each, _ in report.uncounted}) + report.waiting >= len(found)
    before.delivered = 0
    before.deliver()
    again = replay(late.table, ORGANIZATION.id, before.clock)
    assert (again.counted, again.uncounted) == (0, [])
    stream.clock.now = before.clock.now
    world.roll(stream.clock.now)
    refresh(late).roll(stream.clock.now)
    late.scenario = scenario
    check_analytics(late, scenario.usage, stream.clock.now)
    assert stored(memory(late), late.account.generation) == stored(memory(world), "1")
    # And a rebuild finds the same.
    assert rebuild(late.table, ORGANIZATION.id, before.clock.around).differences == []
    before.clock.now += KEPT
    assert replay(late.table, ORGANIZATION.id, before.clock).counted == 0
    assert not [key for key, item in memory(late).items().items() if "done" in item and "#unm" in key.pk]


def prepared(scenario: Scenario) -> tuple[World, Stream]:
    """Put events by, then complete the catalogue."""
    world, stream = streaming(replace(scenario, subscriptions=()))
    stream.post(scenario.usage)
    stream.deliver()
    write(world, scenario)
    world.scenario = scenario
    return world, stream


@pytest.mark.slow
def test_killed_at_any_write_a_replay_runs_again() -> None:
    scenario = rich()
    world, stream = prepared(scenario)
    start = memory(world).writes
    assert replay(world.table, ORGANIZATION.id, stream.clock).counted == len(scenario.usage)
    writes = memory(world).writes - start
    check_analytics(world, scenario.usage, stream.clock.now)
    wanted = stored(memory(world), "1")
    for number in range(writes):
        world, stream = prepared(scenario)
        table = memory(world)
        table.faults = Faults(before=table.writes + number)
        with pytest.raises(Killed):
            replay(table, ORGANIZATION.id, stream.clock)
        table.faults = Faults()
        stream.delivered = 0
        stream.deliver()
        last = stream.clock.now
        stream.clock.now += WAIT
        if number % 2:
            assert rebuild(table, ORGANIZATION.id, stream.clock.around).swapped
        replay(table, ORGANIZATION.id, stream.clock)
        assert waiting(world) == set()
        if not number % 2:
            assert {each: _without_due(item) for each, item in stored(table, "1").items()} == {
                each: _without_due(item) for each, item in wanted.items()
            }
        assert last < stream.clock.now
        check_analytics(refresh(world), scenario.usage, stream.clock.now)


def _without_due(item: object) -> object:
    return (
        {each: value for each, value in item.items() if each != "due_at"} if isinstance(item, dict) else item
    )


@examples(60)
@given(scenarios(), st.integers(0, 2**32))
def test_what_is_withdrawn_counts_nowhere(scenario: Scenario, seed: int) -> None:
    describe(scenario)
    random = Random(seed)  # noqa: S311 - nothing secret
    half = random.choice([0, random.randint(0, len(scenario.usage))])
    world, stream = streaming(scenario if random.random() < 0.5 else incomplete(scenario, random))
    world.load_refusing("file", scenario.usage[:half], scenario.end)
    refused = world.load_refusing("file 2", scenario.usage[:half], scenario.end)[1]
    stream.post([usage for line, usage in enumerate(scenario.usage[:half], 1) if line in dict(refused)])
    stream.post(scenario.usage[half:])
    # Some are not delivered yet when they are withdrawn.
    stream.deliver(random.randint(0, len(stream.records)))
    chosen = [usage for usage in scenario.usage if random.random() < 0.4] or [scenario.usage[0]]
    for subject in {usage.subject for usage in chosen}:
        ids = [usage.event.id for usage in chosen if usage.subject == subject]
        report = stream.withdraw(subject, [*ids, "unknown"])
        assert (report.withdrawn, report.before, report.unknown) == (ids, [], ["unknown"])
        again = stream.withdraw(subject, ids)
        assert (again.withdrawn, again.before) == ([], ids)
    if random.random() < 0.5:
        stream.deliver(random.randint(0, len(stream.records)))
        assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).swapped
    stream.deliver(again=3)
    write(world, scenario)
    world.scenario = scenario
    replay(world.table, ORGANIZATION.id, stream.clock)
    now = stream.clock.now
    refresh(world).roll(now)
    left = tuple(usage for usage in scenario.usage if usage not in chosen)
    check_analytics(world, left, now)
    for oracle in oracles(scenario, left):
        check_window(world, oracle, Window(oracle.subscription.start, now), now)
    for usage in chosen:
        arrival = Arrival.of(usage.subject, usage.event, now, {}, dated=True)
        assert EventLog(world.table, ORGANIZATION.id).append_each({0: arrival}) == {0: Outcome.CONFLICT}


@pytest.mark.parametrize("swap", [True, False], ids=["rebuilt", "marked alone"])
def test_what_is_withdrawn_before_it_is_delivered_counts_nowhere(*, swap: bool) -> None:
    """The stream is behind, and the catalogue has no line item for the events until they are withdrawn."""
    scenario = rich()
    world, stream = streaming(replace(scenario, subscriptions=()))
    stream.post(scenario.usage)
    (subject,) = {usage.subject for usage in scenario.usage}
    ids = [usage.event.id for usage in scenario.usage[:3]]
    stream.withdraw(subject, ids)
    if swap:
        assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).swapped
    write(world, scenario)
    world.scenario = scenario
    stream.deliver()
    replay(world.table, ORGANIZATION.id, stream.clock)
    assert waiting(world) == set()
    refresh(world).roll(stream.clock.now)
    check_analytics(world, scenario.usage[3:], stream.clock.now)


def test_a_withdrawal_of_unknown_ids_does_nothing() -> None:
    world, stream = prepared(rich())
    before = memory(world).items()
    report = stream.withdraw(Subject.subscription("ext"), ["no", "no"])
    assert (report.withdrawn, report.unknown) == ([], ["no"])
    assert memory(world).items() == before


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(lambda table, around: replay(table, "nobody", around.clock), id="replay"),
        pytest.param(lambda table, around: rebuild(table, "nobody", around), id="rebuild"),
        pytest.param(
            lambda table, around: withdraw(table, "nobody", Subject.customer("a"), ["e"], around),
            id="withdraw",
        ),
    ],
)
def test_an_unknown_organization_is_said_to_be_unknown(command: Callable[[Table, Surroundings], Any]) -> None:
    world, stream = prepared(rich())
    before = memory(world).items()
    with pytest.raises(BusyError, match="the organization nobody has no catalogue"):
        command(world.table, stream.clock.around)
    assert memory(world).items() == before


def test_a_tally_that_cannot_be_published_keeps_no_import_open_and_no_rebuild_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The clock has made it too large. An import says so and is through, and what is at fault can be withdrawn."""
    monkeypatch.setattr("support.memory_table.DIGITS", 17)
    level = meter("level", Aggregation.WEIGHTED_SUM)
    world = world_of(BillingPeriod.MONTHLY, [(level, FLAT)], SMALL_START + 5 * DAY)
    clock = Clock(world.scenario.end)
    usage = [call("bad", DAY, value=10**18 - 1), call("good", 4 * DAY, value=31)]
    world.load("first", usage[:1], SMALL_START + DAY)
    refused = "sub, meter level: a number of more than 17 digits"
    with pytest.raises(WriteRefusedError, match=refused):
        world.load("second", usage[1:], clock.now)
    with pytest.raises(WriteRefusedError, match=refused):
        world.load("second", usage[1:], clock.now)
    table, begun = memory(world), memory(world).writes
    table.faults = Faults(before=begun + 1)
    with pytest.raises(Killed):
        world.load("third", [], clock.now)
    table.faults = Faults()
    with pytest.raises(WriteRefusedError, match=refused):
        close_import(table, ORGANIZATION.id, Source("third", digest("third")), clock.now)
    stream = Stream(table, clock)
    assert stream.withdraw(usage[0].subject, ["bad"]).withdrawn == ["bad"]
    stream.deliver()
    refresh(world)
    world.roll(clock.now)
    check_analytics(world, (), clock.now)
    # What the table would not take beside it is counted by a rebuild.
    assert rebuild(table, ORGANIZATION.id, clock.around).swapped
    refresh(world)
    world.roll(clock.now)
    check_analytics(world, (usage[1],), clock.now)


@pytest.mark.parametrize("stopped", [False, True], ids=["at once", "after a stop"])
def test_a_replay_counts_events_in_the_order_of_their_numbers(*, stopped: bool) -> None:
    """Of one tally it needs two transactions for 90 days. A replay that is stopped has given numbers alone."""
    year = world_of(BillingPeriod.ANNUAL, [(meter("sum", Aggregation.SUM), FLAT)], SMALL_START + 300 * DAY)
    usage = [call(f"{number * 7919 % 1000:04}", number * DAY, value=1) for number in range(90)]
    scenario = replace(year.scenario, batches=(Batch(year.scenario.end, tuple(usage)),))
    world, stream = prepared(scenario)
    if stopped:
        table = memory(world)
        table.faults = Faults(before=table.writes + 2)
        with pytest.raises(Killed):
            replay(table, ORGANIZATION.id, stream.clock)
        table.faults = Faults()
        stream.clock.now += WAIT
    assert replay(world.table, ORGANIZATION.id, stream.clock).counted == len(usage)
    check_small(world, usage)


@pytest.mark.parametrize("hours", [0, 11, 12, 13, 23, 24])
def test_a_replay_keeps_what_it_counted_as_long_as_the_stream_may_come_with_it(hours: int) -> None:
    """Another replay runs some hours later; then the stream, which keeps records for a day, delivers all again."""
    scenario = rich()
    world, stream = prepared(scenario)
    assert replay(world.table, ORGANIZATION.id, stream.clock).counted == len(scenario.usage)
    stream.clock.now += hours * HOUR
    assert replay(world.table, ORGANIZATION.id, stream.clock).counted == 0
    stream.delivered = 0
    stream.deliver()
    refresh(world).roll(stream.clock.now)
    check_analytics(world, scenario.usage, stream.clock.now)


def test_a_replay_that_has_lost_its_lease_gives_no_number() -> None:
    """It slept for longer than its lease, and another command has taken it."""
    scenario = rich()
    world, stream = prepared(scenario)
    slow, other = (Lease(world.table, ORGANIZATION.id, "replay", stream.clock) for _ in range(2))
    slow.take()
    replaying = Replay(world.table, world.account, slow, stream.clock)
    stream.clock.now += WAIT
    other.take()
    before = memory(world).items()
    with pytest.raises(BusyError, match="another command took over"):
        replaying.count_new()
    assert memory(world).items() == before
    other.release()
    assert replay(world.table, ORGANIZATION.id, stream.clock).counted == len(scenario.usage)
    check_analytics(refresh(world), scenario.usage, stream.clock.now)


@pytest.mark.parametrize("together", [40, 100, 2000])
def test_a_replay_counts_hundreds_of_events(monkeypatch: pytest.MonkeyPatch, together: int) -> None:
    """They are read, numbered and counted so many together; a transaction gives a number to 99 at most."""
    monkeypatch.setattr(replaying, "_COUNTED_TOGETHER", together)
    month = world_of(BillingPeriod.MONTHLY, [(meter("sum", Aggregation.SUM), FLAT)], SMALL_START + 5 * DAY)
    usage = [call(f"{number:04}", number * HOUR // 4, value=1) for number in range(230)]
    scenario = replace(month.scenario, batches=(Batch(month.scenario.end, tuple(usage)),))
    world, stream = prepared(scenario)
    memory(world).most_actions = 0
    assert replay(world.table, ORGANIZATION.id, stream.clock).counted == len(usage)
    assert memory(world).most_actions == min(together + 1, 100)
    check_small(world, usage)


def test_a_command_that_has_lost_its_lease_does_not_give_back_that_of_another() -> None:
    world, stream = prepared(rich())
    slow, other, third = (Lease(world.table, ORGANIZATION.id, "replay", stream.clock) for _ in range(3))
    slow.take()
    stream.clock.now += WAIT
    other.take()
    slow.release()
    with pytest.raises(BusyError, match="a replay is running"):
        third.take()
    other.renew()
    other.release()
    third.take()


@pytest.mark.parametrize("hours", [0, 1, 24])
def test_what_is_withdrawn_while_the_stream_is_behind_counts_nowhere(hours: int) -> None:
    """The stream delivers the events some hours after they were accepted, just after they were withdrawn."""
    scenario = small()
    world, stream = streaming(scenario)
    stream.post(scenario.usage)
    stream.clock.now += hours * HOUR
    ids = [usage.event.id for usage in scenario.usage[:2]]
    subject = scenario.usage[0].subject
    report = stream.withdraw(subject, ids)
    assert report.withdrawn == ids
    stream.deliver()
    check(world, stream, replace(scenario, batches=(Batch(scenario.end, scenario.usage[2:]),)))


def numbered_alone() -> tuple[World, Stream]:
    """Kill a replay when it has given its numbers, and counted nothing."""
    world, stream = prepared(small())
    table = memory(world)
    # Its lease, that renewed, and the numbers.
    table.faults = Faults(before=table.writes + 3)
    with pytest.raises(Killed):
        replay(table, ORGANIZATION.id, stream.clock)
    table.faults = Faults()
    assert {each.number for each in list_unmatched(table, ORGANIZATION.id)} == set(range(1, 6))
    stream.clock.now += WAIT
    return world, stream


def test_a_replay_that_has_lost_its_lease_counts_nothing_that_another_numbered() -> None:
    world, stream = numbered_alone()
    slow, other = (Lease(world.table, ORGANIZATION.id, "replay", stream.clock) for _ in range(2))
    slow.take()
    replaying = Replay(world.table, world.account, slow, stream.clock)
    stream.clock.now += WAIT
    other.take()
    before = memory(world).items()
    with pytest.raises(BusyError, match="another command took over"):
        replaying.take_up()
    assert memory(world).items() == before


def test_an_event_that_a_replay_has_in_hand_is_withdrawn_afterwards() -> None:
    """It was killed between giving numbers and counting: nobody knows by then whether the event counts."""
    world, stream = numbered_alone()
    gone = small().usage[0]
    with pytest.raises(BusyError, match="the event is being replayed"):
        stream.withdraw(gone.subject, [gone.event.id])
    assert replay(world.table, ORGANIZATION.id, stream.clock).counted == 5
    assert stream.withdraw(gone.subject, [gone.event.id]).withdrawn == [gone.event.id]
    stream.deliver()
    left = tuple(usage for usage in small().usage if usage != gone)
    check(world, stream, replace(small(), batches=(Batch(small().end, left),)))

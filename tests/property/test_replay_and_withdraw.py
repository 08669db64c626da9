"""Events that were put by count once when the catalogue catches up; those that are withdrawn count nowhere."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counting import check_analytics, check_window, describe, examples
from memory_table import Faults, Killed
from meterstone.store.event_log import EventLog, Outcome
from meterstone.store.lease import Busy
from meterstone.store.rebuild import Surroundings, rebuild
from meterstone.store.recovery import list_unmatched
from meterstone.store.replay import KEPT, replay
from meterstone.store.table import Table
from meterstone.store.withdraw import withdraw
from meterstone.usage.arrival import Arrival, Target
from meterstone.usage.window import Window
from recovering import WAIT, Stream, memory, refresh, stored, streaming, write
from scenario import ORGANIZATION, Scenario, World, oracles, scenarios
from stored import rich


def incomplete(scenario: Scenario, random: Random) -> Scenario:
    """Leave out all that counts some events: every subscription, a customer's, or a code's line items."""
    left_out = random.choice(["everything", "cust a", "call", "other"])
    kept = (
        []
        if left_out == "everything"
        else [each for each in scenario.subscriptions if each.customer_id != left_out]
    )
    return replace(
        scenario,
        subscriptions=tuple(
            replace(
                each,
                line_items=tuple(
                    item for item in each.line_items if item.meter and item.meter.event_name != left_out
                ),
            )
            for each in kept
        ),
    )


def waiting(world: World) -> set[tuple[Target, str]]:
    return {(each.target, each.event.id) for each in list_unmatched(world.table, ORGANIZATION.id)}


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
    later = random.random() < 0.3
    for target in {usage.target for usage in chosen}:
        ids = [usage.event.id for usage in chosen if usage.target == target]
        report = withdraw(
            world.table, ORGANIZATION.id, target, [*ids, "unknown"], stream.clock.around, rebuild=not later
        )
        assert (report.withdrawn, report.before, report.unknown) == (ids, [], ["unknown"])
        again = withdraw(world.table, ORGANIZATION.id, target, ids, stream.clock.around, rebuild=False)
        assert (again.withdrawn, again.before, again.rebuilt) == ([], ids, None)
    if later:
        stream.deliver()
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
        arrival = Arrival.of(usage.target, usage.event, now, {}, dated=True)
        assert EventLog(world.table, ORGANIZATION.id).append_each({0: arrival}) == {0: Outcome.CONFLICT}


@pytest.mark.parametrize("swap", [True, False], ids=["rebuilt", "marked alone"])
def test_what_is_withdrawn_before_it_is_delivered_counts_nowhere(*, swap: bool) -> None:
    """The stream is behind, and the catalogue has no line item for the events until they are withdrawn."""
    scenario = rich()
    world, stream = streaming(replace(scenario, subscriptions=()))
    stream.post(scenario.usage)
    (target,) = {usage.target for usage in scenario.usage}
    ids = [usage.event.id for usage in scenario.usage[:3]]
    withdraw(world.table, ORGANIZATION.id, target, ids, stream.clock.around, rebuild=swap)
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
    report = withdraw(
        world.table, ORGANIZATION.id, Target.subscription("ext"), ["no", "no"], stream.clock.around
    )
    assert (report.withdrawn, report.unknown, report.rebuilt) == ([], ["no"], None)
    assert memory(world).items() == before


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(lambda table, around: replay(table, "nobody", around.clock), id="replay"),
        pytest.param(lambda table, around: rebuild(table, "nobody", around), id="rebuild"),
        pytest.param(
            lambda table, around: withdraw(table, "nobody", Target.customer("a"), ["e"], around),
            id="withdraw",
        ),
    ],
)
def test_an_unknown_organization_is_said_to_be_unknown(command: Callable[[Table, Surroundings], Any]) -> None:
    world, stream = prepared(rich())
    before = memory(world).items()
    with pytest.raises(Busy, match="the organization nobody has no catalogue"):
        command(world.table, stream.clock.around)
    assert memory(world).items() == before

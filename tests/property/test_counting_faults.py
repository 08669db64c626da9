"""However usage comes, whatever stops it and whoever writes at the same time: what is stored is the same."""

from collections.abc import Iterator
from copy import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import StoreUnavailableError
from meterstone.store.operations.imports import ImportReport
from meterstone.usage.instant import DAY, HOUR
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingPeriod
from support.counting import check_analytics, describe, examples
from support.memory_table import Faults, Killed, MemoryTable
from support.scenario import ORGANIZATION, Batch, Scenario, World, scenarios
from support.small_world import FLAT, START, call, check, meter, world_of
from support.stored import memory, rich, stored


def importing(world: World, batches: tuple[Batch, ...], faults: Faults) -> None:
    """Import with faults until it is through, each time again from the first source that is not finished."""
    assert isinstance(world.table, MemoryTable)
    world.table.faults = faults
    for _ in range(100):
        try:
            world.run(batches)
            world.roll(world.scenario.end)
        except (Killed, StoreUnavailableError):
            world.table.faults = replace(faults, before=None, after=None)
        else:
            world.table.faults = Faults()
            return
    raise AssertionError("it does not get through")


def expected_of(scenario: Scenario) -> tuple[dict[str, Any], int]:
    """Give what is stored when nothing goes wrong, and how many writes that takes."""
    world = World(scenario)
    first = memory(world).writes
    importing(world, scenario.batches, Faults())
    check_analytics(world, scenario.usage, scenario.end)
    return stored(memory(world)), memory(world).writes - first


def stops(scenario: Scenario, writes: int) -> Iterator[Faults]:
    """Stop before every write, which is after the one before, and after the last."""
    first = memory(World(scenario)).writes
    for number in range(first, first + writes):
        yield Faults(before=number)
    yield Faults(after=first + writes - 1)


def test_killed_at_any_write_an_import_runs_again_to_the_same_items() -> None:
    scenario = rich()
    wanted, writes = expected_of(scenario)
    assert writes >= 16, "some of them in steps"
    for faults in stops(scenario, writes):
        world = World(scenario)
        importing(world, scenario.batches, faults)
        assert stored(memory(world)) == wanted, faults


@examples(30)
@given(scenarios(most_events=8, most_batches=2))
def test_killed_at_any_write_any_import_runs_again_to_the_same_items(scenario: Scenario) -> None:
    describe(scenario)
    wanted, writes = expected_of(scenario)
    for faults in stops(scenario, writes):
        world = World(scenario)
        importing(world, scenario.batches, faults)
        assert stored(memory(world)) == wanted, faults


@examples(60)
@given(scenarios(), st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_conflicts_and_outages_change_nothing(
    scenario: Scenario, conflicts: set[int], outages: set[int], lost: set[int]
) -> None:
    describe(scenario)
    wanted, _ = expected_of(scenario)
    faults = Faults(conflict=conflicts.__contains__, unavailable=outages.__contains__, lost=lost.__contains__)
    world = World(scenario)
    importing(world, scenario.batches, faults)
    assert stored(memory(world)) == wanted


@examples(60)
@given(scenarios(most_batches=4), st.integers(0, 30))
def test_another_writer_in_between_changes_nothing(scenario: Scenario, when: int) -> None:
    """At one write of the first import, all the others run; its own transaction then finds newer versions."""
    describe(scenario)
    batches = tuple(replace(batch, now=scenario.end) for batch in scenario.batches)
    wanted, _ = expected_of(replace(scenario, batches=batches))
    world = World(scenario)
    table = memory(world)
    begin = table.writes + when

    def interrupt(number: int) -> bool:
        if number >= begin:
            table.faults = Faults()
            for other, batch in enumerate(batches[1:], start=1):
                world.load(f"batch {other}", batch.usage, batch.now)
        return False

    table.faults = Faults(conflict=interrupt)
    world.load("batch 0", batches[0].usage, batches[0].now)
    table.faults = Faults()
    world.run(batches)
    world.roll(scenario.end)
    assert stored(table) == wanted


@examples(60)
@given(scenarios(), st.data())
def test_order_and_grouping_change_nothing(scenario: Scenario, data: st.DataObject) -> None:
    describe(scenario)
    wanted, _ = expected_of(scenario)
    usage = data.draw(st.permutations(scenario.usage))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(usage)), max_size=4)))
    batches = tuple(
        Batch(scenario.end, tuple(usage[begin:until]))
        for begin, until in zip([0, *cuts], [*cuts, len(usage)], strict=True)
    )
    world = World(scenario)
    importing(world, batches, Faults())
    assert stored(memory(world)) == wanted


@examples(60)
@given(scenarios())
def test_what_was_imported_counts_once(scenario: Scenario) -> None:
    """The same file again is known as a whole, its lines in another file are known one by one."""
    world = World(scenario).run()
    table = memory(world)
    world.roll(scenario.end)
    before, writes = table.items(), table.writes
    assert world.roll(scenario.end) == 0
    first = scenario.batches[0]
    again = world.load("batch 0", first.usage, scenario.end)
    assert replace(again, faulty_before=0) == ImportReport(finished_before=True)
    assert table.items() == before
    assert table.writes == writes
    report, refused = world.load_refusing("other", scenario.usage, scenario.end)
    assert (report.counted, report.duplicates, report.uncounted, refused) == (0, len(scenario.usage), [], [])
    after = {key: item for key, item in table.items().items() if key in before}
    # The profile numbers the runs.
    profile = keys.organization(ORGANIZATION.id, "profile")
    assert after.pop(profile) | {"runs": {}} == before.pop(profile) | {"runs": {}}
    assert after == before


def test_the_same_id_with_another_content_is_refused() -> None:
    scenario = rich()
    world = World(scenario).run()
    changed = [
        replace(usage, event=replace(usage.event, properties={"value": 99})) for usage in scenario.usage[:2]
    ]
    new = replace(scenario.usage[0], event=replace(scenario.usage[0].event, id="new"))
    before = stored(memory(world))
    report, refused = world.load_refusing("changed", [*changed, new, new], scenario.end)
    assert refused == [
        (1, "another event has this transaction id"),
        (2, "another event has this transaction id"),
    ]
    assert (report.counted, report.duplicates) == (1, 1)
    assert stored(memory(world)) != before
    check_analytics(world, (*scenario.usage, new), scenario.end)


def test_events_of_a_stopped_import_are_left_to_it() -> None:
    scenario = rich()
    world = World(scenario)
    table = memory(world)
    # One write numbers the import, one remembers it, the next logs its events.
    table.faults = Faults(after=table.writes + 2)
    with pytest.raises(Killed):
        world.load("stopped", scenario.usage[:4], scenario.end)
    table.faults = Faults()
    report, refused = world.load_refusing("all", scenario.usage, scenario.end)
    assert [line for line, _ in refused] == [1, 2, 3, 4]
    assert {reason for _, reason in refused} == {"belongs to an import that was stopped: run stopped again"}
    assert report.counted == len(scenario.usage) - 4
    check_analytics(world, scenario.usage[4:], scenario.end)
    assert world.load("stopped", scenario.usage[:4], scenario.end).counted == 4
    check_analytics(world, scenario.usage, scenario.end)


@pytest.mark.parametrize("late", [False, True], ids=["stopped before the last write", "stopped after it"])
def test_a_line_that_was_refused_before_the_stop_counts_after_it(*, late: bool) -> None:
    """The first line lay too far ahead; the import was stopped when the others were counted."""
    scenario = rich()
    usage = tuple(sorted(scenario.usage, key=lambda each: -each.event.at))
    now = usage[1].event.at
    probe = World(scenario)
    probe.load("file", usage, now)
    # The last two writes tell that the batch is through, and that the import is.
    stop = memory(probe).writes - 3
    world = World(scenario)
    memory(world).faults = Faults(after=stop) if late else Faults(before=stop)
    with pytest.raises(Killed):
        world.load("file", usage, now)
    memory(world).faults = Faults()
    report, refused = world.load_refusing("file", usage, scenario.end)
    assert (refused, report.resumed_after) == ([], 0)
    check_analytics(world, usage, scenario.end)


def test_a_tally_that_others_change_every_time_is_counted_later() -> None:
    """Whoever meets a conflict at each attempt says so, and may not take its events for counted."""
    world = world_of(BillingPeriod.MONTHLY, [(meter("sum", Aggregation.SUM), FLAT)], START + DAY)
    usage = [call("a", 0, value=1)]
    memory(world).faults = Faults(conflict=lambda _: True)
    with pytest.raises(StoreUnavailableError, match="contended"):
        world.load("all", usage, START + DAY)
    memory(world).faults = Faults()
    assert world.days() == {}
    world.load("all", usage, START + DAY)
    check(world, usage)


def test_the_clock_goes_on_from_where_it_was_stopped() -> None:
    """200 daily periods are restated in several transactions; the next tick comes at the same time."""
    end = START + 200 * DAY
    it = meter("seats", Aggregation.SUM, recurring=True)
    usage = [call("a", HOUR, value=4)]
    stop, killed = -1, True
    while killed:
        stop, killed = stop + 1, False
        world = world_of(BillingPeriod.DAILY, [(it, FLAT)], end)
        world.load("all", usage, START + 2 * HOUR)
        table = memory(world)
        table.faults = Faults(after=table.writes + stop)
        try:
            world.roll(end)
        except Killed:
            killed = True
        table.faults = Faults()
        world.roll(end)
        check_analytics(world, tuple(usage), end)
    assert stop > 2


def test_a_late_event_does_not_hide_what_is_still_to_be_published() -> None:
    """An import is stopped half published, 130 periods on. A value that was seen before changes none of them."""
    end = START + 300 * DAY
    it = meter("users", Aggregation.COUNT_UNIQUE, recurring=True)
    first, half, late = call("a", 0, text="x"), call("b", 130 * DAY, text="y"), call("c", 5 * DAY, text="x")
    stop, killed = -1, True
    while killed:
        stop, killed = stop + 1, False
        world = world_of(BillingPeriod.DAILY, [(it, FLAT)], end)
        world.load("first", [first], end)
        table = memory(world)
        table.faults = Faults(after=table.writes + stop)
        try:
            world.load("half", [half], end)
        except Killed:
            killed = True
        table.faults = Faults()
        world.load("late", [late], end)
        world.load("half", [half], end)
        world.roll(end)
        check_analytics(world, (first, half, late), end)
    assert stop > 4

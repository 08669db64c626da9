"""What is withdrawn is taken out of the answers, as if it had never come in."""

import re
from collections.abc import Iterable
from copy import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterstone.store.counting.stream import StreamFold
from meterstone.store.operations.rebuild import rebuild
from meterstone.store.operations.replay import replay
from meterstone.usage.arrival import Subject
from meterstone.usage.calendar import BucketSize
from meterstone.usage.instant import DAY, HOUR, MINUTE
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingPeriod
from meterstone.usage.window import Window
from support.counting import check_analytics, check_window, describe, examples
from support.memory_table import Faults, Killed, MemoryTable
from support.recovering import Clock, refresh, small, streaming, write
from support.recovering import Stream as Records
from support.scenario import ORGANIZATION, Batch, Scenario, Usage, World, oracles, scenarios, windows
from support.small_world import FLAT, START, call, meter, world_of
from support.stored import memory, stored
from support.stream import Folding, Stream


def left_of(table: MemoryTable) -> dict[str, Any]:
    """Give what is stored, without tallies that have nothing any more: their versions and positions stay."""
    found: dict[str, Any] = {}
    for name, item in stored(table).items():
        kind = (re.findall(r" ([A-Z])#", name) or [""])[-1]
        if kind == "R" or item in ({}, []):
            continue
        if kind == "C" and item.get("d") == {"S": "{}"} and not item.keys() & {"p", "c"}:
            continue
        found[name] = {each: value for each, value in item.items() if each != "f"} if kind == "C" else item
    return found


@examples(60)
@given(scenarios(), st.integers(0, 2**32))
def test_nothing_is_left_of_what_was_withdrawn(scenario: Scenario, seed: int) -> None:
    """Some was imported, some is delivered later than its mark, some again; the marks come one by one."""
    describe(scenario)
    random = Random(seed)  # noqa: S311 - nothing secret
    half = random.choice([0, random.randint(0, len(scenario.usage))])
    world, stream = streaming(scenario)
    refused = dict(world.load_refusing("file", scenario.usage[:half], scenario.end)[1])
    stream.post([usage for line, usage in enumerate(scenario.usage[:half], 1) if line in refused])
    stream.post(scenario.usage[half:])
    stream.deliver(random.randint(0, len(stream.records)))
    chosen = [usage for usage in scenario.usage if random.random() < 0.4] or [scenario.usage[0]]
    random.shuffle(chosen)
    for usage in chosen:
        assert stream.withdraw(usage.subject, [usage.event.id]).withdrawn == [usage.event.id]
        if random.random() < 0.3:
            stream.deliver(random.randint(0, len(stream.records)), again=random.randint(0, 3))
    stream.deliver(again=3)
    now = stream.clock.now
    refresh(world).roll(now)
    left = tuple(usage for usage in scenario.usage if usage not in chosen)
    check_analytics(world, left, now)
    never, other = streaming(scenario)
    other.post(left)
    other.deliver()
    never.roll(now)
    assert left_of(memory(world)) == left_of(memory(never))


@examples(60)
@given(st.data())
def test_windows_that_cut_hours_are_as_if_it_had_never_come(data: st.DataObject) -> None:
    scenario = data.draw(scenarios())
    describe(scenario)
    world, stream = streaming(scenario)
    stream.post(scenario.usage)
    stream.deliver()
    chosen = [usage for usage in scenario.usage if data.draw(st.booleans())]
    for usage in chosen:
        stream.withdraw(usage.subject, [usage.event.id])
    stream.deliver()
    now = stream.clock.now
    world.roll(now)
    left = tuple(usage for usage in scenario.usage if usage not in chosen)
    for oracle in oracles(scenario, left):
        for _ in range(3):
            check_window(world, oracle, Window(*data.draw(windows(scenario, oracle.subscription))), now)


def posted(scenario: Scenario, gone: Iterable[Usage], *, folded: bool) -> Folding:
    """Let events come in, and withdraw some; they are folded before, or come with their withdrawals."""
    folding = Folding(World(scenario), Stream(Random(7)))  # noqa: S311 - nothing secret
    for usage in scenario.usage:
        folding.post(usage, scenario.end)
    if folded:
        folding.drain(scenario.end, 5)
    for usage in gone:
        folding.withdraw(usage, scenario.end)
    return folding


def through(folding: Folding, faults: Faults, most: int) -> Folding:
    """Fold until all is through, then all of it once more."""
    scenario = folding.world.scenario
    folding.table.faults = faults
    folding.drain(scenario.end, most)
    folding.table.faults = Faults()
    folding.world.roll(scenario.end)
    for shard in folding.stream.shards:
        folding.deliver(shard, 0, len(shard.records), scenario.end)
    return folding


@pytest.mark.slow
@pytest.mark.parametrize("folded", [True, False], ids=["counted before", "in one batch"])
def test_killed_at_any_write_the_batch_comes_again_to_the_same_items(*, folded: bool) -> None:
    scenario = small()
    gone = scenario.usage[::2]
    left = tuple(usage for usage in scenario.usage if usage not in gone)
    straight = posted(scenario, gone, folded=folded)
    first = straight.table.writes
    through(straight, Faults(), 7)
    check_analytics(straight.world, left, scenario.end)
    wanted, writes = left_of(straight.table), straight.table.writes
    assert writes - first >= 2
    for number in range(first, writes):
        for faults in (
            Faults(before=number),
            Faults(lost=lambda each, at=number: each == at),  # type: ignore[misc]
            Faults(conflict=lambda each, at=number: each == at),  # type: ignore[misc]
        ):
            found = left_of(through(posted(scenario, gone, folded=folded), faults, 7).table)
            assert found == wanted, (number, faults)


@examples(40)
@given(scenario=scenarios(), when=st.integers(0, 30), half=st.booleans(), folded=st.booleans())
def test_two_folds_on_one_batch_take_it_out_once(
    scenario: Scenario, when: int, *, half: bool, folded: bool
) -> None:
    """Just before one write of the first, the second folds the whole batch, or half of it."""
    describe(scenario)
    gone = scenario.usage[::2]
    folding = posted(scenario, gone, folded=folded)
    (shard,) = folding.stream.shards
    end = len(shard.records)
    other = max(end // 2, 1) if half else end
    folding.in_between(when, lambda: folding.deliver(shard, 0, other, scenario.end, 1))
    assert folding.deliver(shard, 0, end, scenario.end) is not None
    folding.table.faults = Faults()
    folding.world.roll(scenario.end)
    check_analytics(folding.world, scenario.usage[1::2], scenario.end)


@examples(30)
@given(scenarios(), st.integers(0, 2**32))
def test_however_the_stream_delivers_it_is_taken_out_once(scenario: Scenario, seed: int) -> None:
    """Shards split and end between an event and its mark, batches come again, and writes fail."""
    describe(scenario)
    random = Random(seed)  # noqa: S311 - nothing secret
    folding = Folding(World(scenario), Stream(random, random.randint(1, 3)))
    gone: list[Usage] = []
    for number, usage in enumerate(scenario.usage):
        folding.post(usage, scenario.end)
        if random.random() < 0.4:
            one = random.choice([each for each in scenario.usage[: number + 1] if each not in gone])
            gone.append(one)
            folding.withdraw(one, scenario.end)
        rate = random.choice([0, 0.2])
        folding.table.faults = Faults(
            conflict=lambda _, rate=rate: random.random() < rate,  # type: ignore[misc]
            lost=lambda _, rate=rate: random.random() < rate,  # type: ignore[misc]
        )
        match random.choice(["fold", "split", "wait"]):
            case "fold":
                folding.deliver_some(scenario.end, 4)
            case "split":
                folding.stream.disturb()
            case _:
                pass
        folding.table.faults = Faults()
    folding.drain(scenario.end, random.randint(1, 10))
    folding.world.roll(scenario.end)
    left = tuple(usage for usage in scenario.usage if usage not in gone)
    check_analytics(folding.world, left, scenario.end)


KINDS = [
    pytest.param(meter("sum", Aggregation.SUM), id="sum"),
    pytest.param(meter("count", Aggregation.COUNT), id="count"),
    pytest.param(meter("avg", Aggregation.AVG), id="avg"),
    pytest.param(meter("max", Aggregation.MAX), id="max"),
    pytest.param(meter("latest", Aggregation.LATEST), id="latest"),
    pytest.param(meter("level", Aggregation.WEIGHTED_SUM), id="weighted sum"),
    pytest.param(replace(meter("unique", Aggregation.COUNT_UNIQUE), field="text"), id="count unique"),
    pytest.param(
        replace(meter("bucket", Aggregation.MAX), bucket_size=BucketSize.HOUR), id="max by the hour"
    ),
]


def little(kind: Any, *usage: Usage) -> tuple[World, Records]:
    """Give a world with one line item, whose events have come in; nothing is delivered."""
    world = world_of(BillingPeriod.MONTHLY, [(kind, FLAT)], START + 20 * DAY)
    stream = Records(world.table, Clock(world.scenario.end))
    stream.post(usage)
    return world, stream


def sent(name: str, at: int, value: int, text: str = "t") -> Usage:
    found = call(name, at, value=value)
    return replace(found, event=replace(found.event, properties={"value": value, "text": text}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("delivered", [0, 1, 3], ids=["neither", "the first alone", "both"])
@pytest.mark.parametrize("which", ["a", "b"])
def test_of_twins_of_one_instant_and_value_one_is_withdrawn(kind: Any, delivered: int, which: str) -> None:
    """The other may be in flight meanwhile."""
    # With another between them, both are in one shard.
    twins = [sent("a", DAY, 7), sent("x", 2 * DAY, 1, "x"), sent("b", DAY, 7)]
    world, stream = little(kind, *twins)
    stream.deliver(delivered)
    stream.withdraw(twins[0].subject, [which])
    stream.deliver(again=3)
    stream.deliver(again=3)
    world.roll(stream.clock.now)
    check_analytics(world, tuple(each for each in twins if each.event.id != which), stream.clock.now)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gone", ["a", "b", "c", "ab", "abc", "dac"])
def test_each_event_of_a_day_is_withdrawn(kind: Any, gone: str) -> None:
    """The greatest, the latest, the first of its value, the last one of its hour; a sum may be 0 without it."""
    usage = (
        sent("a", DAY + MINUTE, 9),
        sent("b", DAY + 2 * MINUTE, -9),
        sent("c", DAY + 3 * MINUTE, 0, "u"),
        sent("d", DAY + 5 * HOUR, 4),
        sent("e", 3 * DAY, 2, "u"),
    )
    world, stream = little(kind, *usage)
    stream.deliver()
    now = stream.clock.now
    for name in gone:
        stream.withdraw(usage[0].subject, [name])
        stream.deliver()
    world.roll(now)
    left = tuple(each for each in usage if each.event.id not in gone)
    check_analytics(world, left, now)
    for oracle in oracles(world.scenario, left):
        for end in (DAY + MINUTE + 1, DAY + 2 * MINUTE + 1, DAY + HOUR, DAY + 6 * HOUR, 4 * DAY):
            check_window(world, oracle, Window(START, START + end), now)
            check_window(world, oracle, Window(START + end - MINUTE, START + 5 * DAY), now)
    never, other = little(kind, *left)
    other.deliver()
    never.roll(now)
    assert left_of(memory(world)) == left_of(memory(never))


def test_a_value_that_was_first_seen_before_is_not_moved() -> None:
    """Of a COUNT_UNIQUE, only the first sighting carries the count; without it the next one does."""
    kind = replace(meter("unique", Aggregation.COUNT_UNIQUE), field="text", recurring=True)
    usage = tuple(sent(name, round(at * DAY), 1, "t") for name, at in (("a", 1), ("b", 1 + 1 / 24), ("c", 9)))
    for gone in (["b"], ["a"], ["a", "b"], ["c", "a"], ["b", "c", "a"]):
        world, stream = little(kind, *usage)
        stream.deliver()
        stream.withdraw(usage[0].subject, gone)
        stream.deliver()
        world.roll(stream.clock.now)
        check_analytics(world, tuple(e for e in usage if e.event.id not in gone), stream.clock.now)


def test_what_was_never_counted_is_not_taken_out_of_its_twin() -> None:
    """It came in before its subscription, and waits; another event of the same instant and value was counted."""
    kind = meter("sum", Aggregation.SUM)
    world, stream = little(kind, sent("a", DAY, 7))
    stranger = replace(sent("b", DAY, 7), subject=Subject.subscription("nobody"))
    stream.post([stranger])
    stream.deliver()
    stream.withdraw(stranger.subject, ["b"])
    stream.deliver()
    check_analytics(world, (stream.usage[0],), stream.clock.now)


@pytest.mark.parametrize("number", range(8))
def test_killed_at_any_write_a_marking_is_made_again(number: int) -> None:
    world, stream = little(meter("sum", Aggregation.SUM), sent("a", DAY, 7), sent("b", DAY, 8))
    stream.deliver()
    table = memory(world)
    table.faults = Faults(before=table.writes + number)
    try:
        stream.withdraw(stream.usage[0].subject, ["a", "b"])
    except Killed:
        table.faults = Faults()
        found = stream.withdraw(stream.usage[0].subject, ["a", "b"])
        assert sorted(found.withdrawn + found.before) == ["a", "b"]
    table.faults = Faults()
    stream.deliver()
    check_analytics(world, (), stream.clock.now)


#: Items that are read to take one event out: the profile and the meters, the subject, its subscription and its
#: customer, the unmatched item, the head, the hour, and the details of 10,000 events. A COUNT_UNIQUE has more
#: of these, since a transaction counts fewer of its events.
MOST_READ = dict.fromkeys(("sum", "count", "avg", "max", "latest", "level", "bucket"), 16) | {"unique": 230}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_to_take_one_event_out(kind: Any) -> None:
    """It does not grow with what else the organization has, but with the hour alone."""
    usage = [sent(f"e{n:05}", DAY + n * 300_000, n % 97, f"t{n}") for n in range(10_000)]
    world, stream = little(kind)
    world.load("file", usage, stream.clock.now)
    gone = usage[96]
    stream.withdraw(gone.subject, [gone.event.id])
    stream.table.cost.reset()
    ((shard, record),) = stream.records
    StreamFold(stream.table).fold([record], shard, stream.clock.now)
    assert stream.table.cost.items <= MOST_READ[kind.id]
    stream.delivered = len(stream.records)
    world.roll(stream.clock.now)
    check_analytics(world, tuple(each for each in usage if each != gone), stream.clock.now)


def before_its_catalogue(scenario: Scenario) -> Scenario:
    batches = (Batch(scenario.end, (sent("a", DAY, 7), sent("b", DAY, 7))),)
    return replace(scenario, subscriptions=(), batches=batches)


def test_what_was_unmatched_when_it_was_withdrawn_is_not_taken_out_of_its_twin() -> None:
    """Both waited for a line item; a replay counts the one that was not withdrawn, before the mark comes."""
    scenario = little(meter("sum", Aggregation.SUM))[0].scenario
    waiting, late = streaming(before_its_catalogue(scenario))
    late.post([sent("a", DAY, 7), sent("b", DAY, 7)])
    late.deliver()
    late.withdraw(late.usage[0].subject, ["b"])
    write(waiting, scenario)
    waiting.scenario = scenario
    assert replay(waiting.table, ORGANIZATION.id, late.clock).counted == 1
    late.deliver()
    check_analytics(refresh(waiting), (late.usage[0],), late.clock.now)


def test_an_unmatched_event_that_came_with_its_withdrawal_is_not_counted_when_it_comes_alone() -> None:
    scenario = little(meter("sum", Aggregation.SUM))[0].scenario
    world, stream = streaming(before_its_catalogue(scenario))
    stream.post([sent("a", DAY, 7)])
    stream.withdraw(stream.usage[0].subject, ["a"])
    stream.deliver()
    write(world, scenario)
    world.scenario = scenario
    stream.delivered = 0
    stream.deliver(1)
    check_analytics(refresh(world), (), stream.clock.now)


def test_what_a_rebuild_has_counted_is_taken_out() -> None:
    world, stream = little(meter("sum", Aggregation.SUM), sent("a", DAY, 7), sent("b", DAY, 8))
    stream.deliver()
    assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).swapped
    stream.withdraw(stream.usage[0].subject, ["a"])
    stream.deliver()
    check_analytics(refresh(world), (stream.usage[1],), stream.clock.now)
    assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).differences == []


def test_a_withdrawal_and_new_events_come_in_one_batch() -> None:
    world, stream = little(meter("sum", Aggregation.SUM), sent("a", DAY, 7))
    stream.deliver()
    stream.post([sent("x", DAY, 0), sent("b", DAY, 8)])
    stream.withdraw(stream.usage[0].subject, ["a"])
    stream.post([sent("y", DAY, 0), sent("c", DAY, 9)])
    stream.deliver()
    check_analytics(world, tuple(stream.usage[1:]), stream.clock.now)

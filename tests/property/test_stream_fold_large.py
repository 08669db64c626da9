"""Many events through several shards and several folds at once, over months, to the last digit."""

from collections import Counter
from collections.abc import Callable, Iterable
from copy import replace
from random import Random

import pytest

from meterstone.store.events.log import Outcome, Subject
from meterstone.usage.calendar import zone
from meterstone.usage.instant import DAY, HOUR, MINUTE
from meterstone.usage.meter import Aggregation, Event
from meterstone.usage.period import BillingPeriod
from meterstone.usage.window import Window
from support.counting import check_analytics, check_window
from support.long_run import END, METERS, START, coming, long_run, subscription
from support.memory_table import Faults
from support.scenario import Scenario, Usage, World, oracles
from support.small_world import FALLING, FLAT, call, check, meter, world_of
from support.small_world import START as OPENED
from support.stored import memory, stored
from support.stream import Folding, Stream

BATCH = 400


def run(seed: int, events: int) -> tuple[Folding, tuple[Usage, ...]]:
    """Let it all happen."""
    random = Random(seed)  # noqa: S311 - nothing secret
    subscriptions = tuple(subscription(number, random) for number in range(max(events // 1000, 2)))
    folding = Folding(World(Scenario(METERS, subscriptions, (), END)), Stream(random, 3))
    usage: list[Usage] = []
    day, rolled, changes = START, START, 0
    for each in coming(subscriptions, random, events):
        if each.now >= day + 23 * HOUR:
            # Nothing waits longer than the stream keeps it.
            folding.drain(each.now, BATCH)
            day = each.now
            if random.random() < 0.2 and changes < 12:
                folding.stream.disturb()
                changes += 1
        if each.now >= rolled + 30 * HOUR:
            folding.world.roll(each.now)
            rolled = each.now
        assert folding.post(each.usage, each.now) is Outcome.NEW
        usage.append(each.usage)
        if random.random() < 0.05:
            assert folding.post(random.choice(usage), each.now) is Outcome.DUPLICATE
        if random.random() < 1.5 / BATCH:
            at_once(folding, random, each.now)
    folding.drain(END, BATCH)
    folding.world.roll(END)
    return folding, tuple(usage)


def at_once(folding: Folding, random: Random, now: int) -> None:
    """Let up to three folds run at once, each in the midst of another; one of them may be killed."""
    table = folding.table
    others = random.randint(0, 2)

    def other() -> None:
        nonlocal others
        if others:
            others -= 1
            folding.in_between(random.randint(0, 3), other)
        folding.deliver_some(now, BATCH)

    folding.in_between(random.randint(0, 3), other)
    if random.random() < 0.2:
        table.faults.after = table.writes + random.randint(0, 6)
    folding.deliver_some(now, BATCH)
    table.faults = Faults()


@long_run(20_000, 100_000)
def test_many_events_are_counted_to_the_last_digit(seed: int, events: int) -> None:
    folding, usage = run(seed, events)
    assert len(usage) == events
    check_analytics(folding.world, usage, END)
    found = oracles(folding.world.scenario, usage)
    for oracle in found[:: max(len(found) // 5, 1)]:
        for begin, end in ((START, END), (START + 3 * DAY + 7, END - 5 * DAY - HOUR)):
            check_window(folding.world, oracle, Window(begin, end), END)
    assert stored(folding.table)


@pytest.mark.slow
def test_a_seed_makes_the_same_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same deliveries, stops and conflicts, to the last write."""
    # It is noted when a subscription was put.
    monkeypatch.setattr("meterstone.clock.now", lambda: START)

    def what_happened(seed: int) -> tuple[int, object]:
        table = run(seed, 1500)[0].table
        # Each put marks its item with a mark of its own.
        return table.writes, {key: item | {"by": {}} for key, item in table.items().items()}

    assert what_happened(11) == what_happened(11) != what_happened(12)


def sights(random: Random, values: int) -> list[list[Usage]]:
    """See so many values over 38 days, some of them later for an earlier time; day by day as they come in."""
    days: list[list[Usage]] = [[] for _ in range(38)]
    for number in range(values):
        at = random.randrange(38 * DAY)
        days[at // DAY].append(call(f"e{number}", at, text=f"user {number}"))
        if random.random() < 0.05:
            late = call(f"late {number}", random.randint(0, at), text=f"user {number}")
            days[random.randint(at // DAY, 37)].append(late)
    return days


@long_run(3000, 100_000)
def test_many_values_are_told_apart(seed: int, events: int) -> None:
    """Each counts once a month, or once for ever; that many are known makes the next ones no dearer."""
    random = Random(seed)  # noqa: S311 - nothing secret
    ever = meter("ever", Aggregation.COUNT_UNIQUE, recurring=True)
    items = [(meter("month", Aggregation.COUNT_UNIQUE), FLAT), (ever, FALLING)]
    world = world_of(BillingPeriod.MONTHLY, items, OPENED + 40 * DAY)
    folding = Folding(world, Stream(random))
    folding.stream.split(folding.stream.shards[0], by_sort_key=True)
    usage: list[Usage] = []
    for day, several in enumerate(sights(random, events), start=1):
        now = OPENED + day * DAY
        for each in several:
            assert folding.post(each, now) is Outcome.NEW
        folding.table.cost.reset()
        folding.drain(now, BATCH)
        # Of the tallies, and of what was known of these very values.
        assert folding.table.cost.items < 2 * len(several) + 40
        at_once(folding, random, now)
        world.roll(now)
        usage += several
    assert folding.table.most_actions <= 100
    world.roll(world.scenario.end)
    check(world, usage, (DAY + HOUR + 3, 3 * DAY + 20 * MINUTE), (20 * DAY + 1, 36 * DAY))
    assert stored_values(folding) == expected_values(world, usage)


def stored_values(folding: Folding) -> Counter[str]:
    """Count the items that tell values apart: when each was first seen, and on which days."""
    (keys,) = (items for pk, items in folding.table._items.items() if "#usage#" in pk)
    return Counter(sk[0] for sk in keys if sk[0] in "FU")


def expected_values(world: World, usage: Iterable[Usage]) -> Counter[str]:
    (chosen,) = world.scenario.subscriptions
    cadence, clock = chosen.cadence(), zone(chosen.timezone)
    seen = [
        (each.event.properties["text"], cadence.period_at(at).start, clock.day_of(at))
        for each in usage
        for at in (each.event.at,)
    ]
    firsts = len({(text, start) for text, start, _ in seen}) + len({text for text, *_ in seen})
    return Counter(F=firsts, U=2 * len(set(seen)))


def hot() -> tuple[Scenario, tuple[Usage, ...]]:
    """Give one subscription with so much usage that no tally's part of a batch fits one transaction."""
    random = Random(3)  # noqa: S311 - nothing secret
    chosen = replace(subscription(0, random), billing_period=BillingPeriod.ANNUAL, start=START - 300 * DAY)
    items = tuple(replace(item, start=chosen.start) for item in chosen.line_items if item.meter in HOT)
    scenario = Scenario(HOT, (replace(chosen, line_items=items),), (), END)
    usage = tuple(
        Usage(
            Subject.subscription(chosen.external_id),
            Event(
                f"e{number}",
                random.choice(HOT).event_name,
                END - random.randint(0, 200 * DAY),
                {"value": random.randint(-5, 40), "text": f"t{random.randint(0, 90)}"},
            ),
        )
        for number in range(420)
    )
    return scenario, usage


HOT = (METERS[1], METERS[6], METERS[7])


def fold_hot(faults: Callable[[Folding], Faults]) -> Folding:
    """Fold it from two shards that hold one partition, each in one batch, then both once more."""
    scenario, usage = hot()
    folding = Folding(World(scenario), Stream(Random(7)))  # noqa: S311 - nothing secret
    folding.stream.split(folding.stream.shards[0], by_sort_key=True)
    for each in usage:
        folding.post(each, END)
    shards = [shard for shard in folding.stream.shards if shard.records]
    folding.table.faults = faults(folding)
    folding.drain(END)
    folding.table.faults = Faults()
    for shard in shards:
        folding.deliver(shard, 0, len(shard.records), END)
    folding.world.roll(END)
    return folding


@pytest.mark.slow
def test_a_hot_subscription_is_counted_in_pieces_wherever_it_stops() -> None:
    """Some of a batch's events are counted when it stops, others not, and days are half published."""
    straight = fold_hot(lambda _: Faults())
    scenario, usage = hot()
    check_analytics(straight.world, usage, END)
    wanted, posted = stored(straight.table), memory(World(scenario)).writes + len(usage)
    assert straight.table.writes - posted >= 20
    stops = Random(4).sample(range(posted, straight.table.writes), 10)  # noqa: S311 - nothing secret
    for stop in stops:
        assert stored(fold_hot(lambda _, at=stop: Faults(after=at)).table) == wanted, stop  # type: ignore[misc]

        def meanwhile(folding: Folding, at: int = stop) -> Faults:
            """Let a second fold do all of both batches in the midst of the first one's."""

            def other() -> None:
                for shard in folding.stream.shards:
                    folding.deliver(shard, 0, len(shard.records), END, 1)

            folding.in_between(at - folding.table.writes, other)
            return folding.table.faults

        assert stored(fold_hot(meanwhile).table) == wanted, stop

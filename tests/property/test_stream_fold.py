"""However the stream delivers, and whatever stops the fold: each event is counted once."""

from copy import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterstone.store.dynamodb.table import StoreUnavailableError
from meterstone.store.events.log import Outcome
from meterstone.usage.instant import HOUR
from meterstone.usage.window import Window
from support.counting import check_analytics, check_window, describe, examples
from support.memory_table import Faults, Killed, MemoryTable
from support.scenario import Scenario, Usage, World, oracles, scenarios, windows
from support.stored import memory, rich, stored
from support.stream import Folding, Stream


def importing(folding: Folding, name: str, usage: list[Usage], now: int) -> None:
    """Import until it is through."""
    for _ in range(100):
        try:
            folding.world.load(name, usage, now)
        except (Killed, StoreUnavailableError):
            folding.table.faults = replace(folding.table.faults, before=None, after=None)
        else:
            return
    raise AssertionError("it does not get through")


def rolling(folding: Folding, now: int) -> None:
    """Let the clock publish until it is through."""
    for _ in range(100):
        try:
            folding.world.roll(now)
        except (Killed, StoreUnavailableError):
            folding.table.faults = replace(folding.table.faults, before=None, after=None)
        else:
            return
    raise AssertionError("it does not get through")


class Luck:
    """What goes wrong with the writes of one run of a scenario."""

    def __init__(self, table: MemoryTable, random: Random, *, faulty: bool) -> None:
        self._table, self._random, self._faulty = table, random, faulty
        self._rates = [random.choice([0, 0.1, 0.3]) if faulty else 0 for _ in range(3)]

    def strike(self) -> None:
        """Let something go wrong with the next writes, for as long as nothing else is said."""
        random, (conflict, unavailable, lost) = self._random, self._rates
        stop = self._table.writes + random.randint(0, 12) if self._faulty and random.random() < 0.3 else None
        late = random.random() < 0.5
        self._table.faults = Faults(
            before=None if late else stop,
            after=stop if late else None,
            conflict=lambda _: random.random() < conflict,
            unavailable=lambda _: random.random() < unavailable,
            lost=lambda _: random.random() < lost,
        )


def rest(folding: Folding, luck: Luck, now: int) -> None:
    """Let the functions run for a while, and the shards change."""
    random = folding.stream.random
    for _ in range(random.randint(0, 4)):
        luck.strike()
        match random.choice(["fold", "fold", "fold", "two", "split", "roll"]):
            case "fold":
                folding.deliver_some(now, 8)
            case "two":
                folding.in_between(random.randint(0, 4), lambda: folding.deliver_some(now, 8))
                folding.deliver_some(now, 8)
            case "split":
                folding.stream.disturb()
            case _:
                rolling(folding, now)
        folding.table.faults = Faults()


def live(scenario: Scenario, random: Random, *, faulty: bool) -> Folding:
    """Let a scenario happen: some of it comes over HTTP, some is imported, some comes both ways."""
    folding = Folding(World(scenario), Stream(random, random.randint(1, 3)))
    luck = Luck(folding.table, random, faulty=faulty)
    for number, batch in enumerate(scenario.batches):
        imported: list[Usage] = []
        for usage in batch.usage:
            how = random.choice(["post", "post", "import", "both"])
            if how != "import":
                assert folding.post(usage, batch.now) is Outcome.NEW
            if how != "post":
                imported.append(usage)
            rest(folding, luck, batch.now)
        luck.strike()
        importing(folding, f"batch {number}", imported, batch.now)
        rest(folding, luck, batch.now)
        # The stream keeps a record for a day only: the clock goes on when all is delivered.
        luck.strike()
        folding.drain(batch.now, random.randint(1, 20))
        folding.table.faults = Faults()
    rolling(folding, scenario.end)
    return folding


@examples(60)
@given(st.data())
def test_every_view_is_what_the_events_come_to(data: st.DataObject) -> None:
    scenario = data.draw(scenarios())
    describe(scenario)
    seed = data.draw(st.integers(0, 2**64))
    folding = live(scenario, Random(seed), faulty=data.draw(st.booleans()))  # noqa: S311 - nothing secret
    check_analytics(folding.world, scenario.usage, scenario.end)
    for oracle in oracles(scenario):
        for _ in range(2):
            window = Window(*data.draw(windows(scenario, oracle.subscription)))
            check_window(folding.world, oracle, window, scenario.end)
    imported = World(scenario).run()
    imported.roll(scenario.end)
    assert stored(folding.table) == stored(memory(imported))


def posted(scenario: Scenario) -> Folding:
    """Let a scenario's events come in, those of one subscription into two shards."""
    folding = Folding(World(scenario), Stream(Random(7)))  # noqa: S311 - nothing secret
    folding.stream.split(folding.stream.shards[0], by_sort_key=True)
    for usage in scenario.usage:
        folding.post(usage, scenario.end)
    return folding


def through(folding: Folding, faults: Faults) -> Folding:
    """Fold both shards in batches of three until they are through, then all of them once more."""
    scenario = folding.world.scenario
    shards = [shard for shard in folding.stream.shards if shard.records]
    assert len(shards) == 2
    folding.table.faults = faults
    folding.drain(scenario.end, 3)
    rolling(folding, scenario.end)
    for shard in shards:
        folding.deliver(shard, 0, len(shard.records), scenario.end)
    return folding


@pytest.mark.slow
def test_killed_at_any_write_the_batch_comes_again_to_the_same_items() -> None:
    scenario = rich()
    straight = posted(scenario)
    first, steps = straight.table.writes, 0

    def look(_: int) -> bool:
        nonlocal steps
        steps += any("st" in item for item in straight.table.items().values())
        return False

    through(straight, Faults(conflict=look))
    check_analytics(straight.world, scenario.usage, scenario.end)
    wanted, writes = stored(straight.table), straight.table.writes
    assert writes - first >= 16
    assert steps >= 4
    for number in range(first, writes):
        for faults in (
            Faults(before=number),
            Faults(lost=lambda each, at=number: each == at),  # type: ignore[misc]
            Faults(conflict=lambda each, at=number: each == at),  # type: ignore[misc]
        ):
            assert stored(through(posted(scenario), faults).table) == wanted, (number, faults)


@examples(20)
@given(scenarios(most_events=8, most_batches=2))
def test_killed_at_any_write_any_scenario_comes_to_the_same_items(scenario: Scenario) -> None:
    describe(scenario)

    def run(faults: Faults) -> Folding:
        folding = Folding(World(scenario), Stream(Random(1), 2))  # noqa: S311 - nothing secret
        for usage in scenario.usage:
            folding.post(usage, scenario.end)
        folding.table.faults = faults
        folding.drain(scenario.end, 5)
        rolling(folding, scenario.end)
        return folding

    straight = run(Faults())
    check_analytics(straight.world, scenario.usage, scenario.end)
    wanted = stored(straight.table)
    begin = memory(World(scenario)).writes + len(scenario.usage)
    for number in range(begin, straight.table.writes):
        # Before a write is after the one before it.
        assert stored(run(Faults(before=number)).table) == wanted, number


@examples(40)
@given(scenario=scenarios(), when=st.integers(0, 30), half=st.booleans())
def test_two_folds_on_one_batch_count_it_once(scenario: Scenario, when: int, *, half: bool) -> None:
    """Just before one write of the first, the second folds the whole batch, or half of it."""
    describe(scenario)
    folding = Folding(World(scenario), Stream(Random(1)))  # noqa: S311 - nothing secret
    for usage in scenario.usage:
        folding.post(usage, scenario.end)
    (shard,) = folding.stream.shards
    end = len(shard.records)
    other = max(end // 2, 1) if half else end
    folding.in_between(when, lambda: folding.deliver(shard, 0, other, scenario.end, 1))
    assert folding.deliver(shard, 0, end, scenario.end) is not None
    folding.table.faults = Faults()
    rolling(folding, scenario.end)
    check_analytics(folding.world, scenario.usage, scenario.end)
    imported = World(scenario).run()
    imported.roll(scenario.end)
    assert stored(folding.table) == stored(memory(imported))


@pytest.mark.parametrize("behind", ["first", "second"])
def test_positions_of_two_shards_are_not_compared(behind: str) -> None:
    """One subscription's events are in two shards, of which either may be hours behind the other."""
    scenario = rich()
    folding = posted(scenario)
    shards = [shard for shard in folding.stream.shards if shard.records]
    assert len(shards) == 2
    for shard in shards if behind == "second" else reversed(shards):
        assert folding.deliver(shard, 0, len(shard.records), scenario.end) is not None
    folding.world.roll(scenario.end + HOUR)
    check_analytics(folding.world, scenario.usage, scenario.end)

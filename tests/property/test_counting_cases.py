"""Counting where it is easily wrong: one case each, small enough to be worked out by hand."""

from collections.abc import Iterable
from copy import replace
from decimal import Decimal

import pytest

from meterstone.store.counting.writing import TallyUpdate
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Row
from meterstone.usage.calendar import BucketSize, zone
from meterstone.usage.instant import DAY, HOUR, MINUTE, key_instant
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.window import Window
from support.counting import check_analytics, check_window
from support.memory_table import Faults, Killed
from support.scenario import ORGANIZATION, World, oracles
from support.small_world import FALLING, FLAT, START, call, check, meter, world_of
from support.stored import memory

FIRST = zone("America/Chicago").day_of(START)


def test_an_event_ahead_in_the_next_period_leaves_the_last_day_of_this_one_to_be_published() -> None:
    """Three minutes before the first period ends, at 27:43 past an hour, an event after its end comes."""
    it = meter("level", Aggregation.WEIGHTED_SUM, recurring=True)
    world = world_of(BillingPeriod.DAILY, [(it, FLAT)], START + 3 * DAY)
    usage = [call("a", 0, value=8), call("ahead", DAY + MINUTE, value=4)]
    world.load("first", usage[:1], START)
    world.load("second", usage[1:], START + DAY - 3 * MINUTE)
    world.roll(START + 3 * DAY)
    check(world, usage)
    units = {day: units for (day, _, _), (units, _) in world.days().items()}
    assert units[FIRST] + units[FIRST + 1] > 8, "all of the first period, and some of the second"


def test_a_bucket_that_two_periods_share_is_one_in_a_window_and_two_in_the_analytics() -> None:
    """Periods end and begin at 27:43 past an hour."""
    it = meter("sum", Aggregation.SUM, bucket_size=BucketSize.HOUR)
    end = START + 3 * DAY
    world = world_of(BillingPeriod.DAILY, [(it, FALLING)], end)
    usage = [call("before", DAY - MINUTE, value=70), call("after", DAY + MINUTE, value=60)]
    world.load("all", usage, end)
    # 130 in one bucket cost 0.777 each, 70 and 60 in two cost 2 each.
    (cost,) = world.usage(world.scenario.subscriptions[0], Window(START, end), end).values()
    assert (cost.quantity, cost.amount) == (Decimal(130), Decimal("101.010"))
    assert world.days() == {(FIRST + 1, "usd", "sum"): (Decimal(130), 26_000)}
    check(world, usage, (HOUR, DAY + 30 * MINUTE), (DAY - 2 * MINUTE, 2 * DAY), (DAY - 30, DAY + 2 * MINUTE))


@pytest.mark.parametrize("ahead", [DAY // 2, 3 * DAY, 40 * DAY], ids=["half a day", "days", "weeks"])
def test_a_recurring_value_is_not_restated_in_periods_to_come(ahead: int) -> None:
    it = meter("seats", Aggregation.SUM, recurring=True)
    now = START + DAY - HOUR
    world = world_of(BillingPeriod.DAILY, [(it, FLAT)], now)
    usage = [call("a", HOUR, value=4)]
    world.load("all", usage, now)

    def quantity(start: int, end: int) -> Decimal:
        (subscription,) = world.scenario.subscriptions
        (cost,) = world.usage(subscription, Window(start, end), now).values()
        return cost.quantity

    assert quantity(START, START + DAY) == 4
    assert quantity(now + MINUTE, now + 2 * MINUTE) == 4, "in the period that goes on"
    assert quantity(START, now + ahead) == 4
    assert quantity(now + ahead, now + ahead + DAY) == 0


@pytest.mark.parametrize("split", [1, 3])
def test_a_batch_that_takes_several_transactions_is_folded_again_from_where_it_was_stopped(
    split: int,
) -> None:
    """Events of 130 days touch more items than one transaction has actions; each stop is before another write."""
    end = START + 150 * DAY
    items = [(meter("sum", Aggregation.SUM), FLAT), (meter("max", Aggregation.MAX), FALLING)]
    usage = [call(f"e{number}", number * DAY // split, value=1) for number in range(130)]

    def stopped(at: int) -> bool:
        world = world_of(BillingPeriod.ANNUAL, items, end)
        memory(world).faults = Faults(before=memory(world).writes + at)
        try:
            world.load("all", usage, end)
        except Killed:
            memory(world).faults = Faults()
            world.load("all", usage, end)
            check(world, usage)
            return True
        return False

    stops = 0
    while stopped(stops):
        stops += 1
    assert stops > 7


def test_two_writers_of_one_tally_do_not_lose_each_others_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one writes after the first has read, and before it writes."""
    end = START + DAY
    world = world_of(BillingPeriod.MONTHLY, [(meter("sum", Aggregation.SUM), FLAT)], end)
    usage = [call("a", 0, value=1), call("b", 1, value=10), call("c", 2, value=100)]
    world.load("zero", usage[:1], end)
    others = [usage[2]]
    change = TallyUpdate.change

    def interrupted(opened: TallyUpdate, now: int, writer: int, forget: frozenset[str]) -> object:
        while others:
            world.load("other", [others.pop()], end)
        return change(opened, now, writer, forget)

    monkeypatch.setattr(TallyUpdate, "change", interrupted)
    world.load("first", usage[1:2], end)
    check(world, usage, (1, 2))
    assert world.days() == {(FIRST, "usd", "sum"): (Decimal(111), 2775)}


def test_a_line_item_to_come_has_no_recurring_value_yet() -> None:
    it = meter("seats", Aggregation.SUM, recurring=True)
    now = START + DAY
    world = world_of(BillingPeriod.WEEKLY, [(it, FLAT)], now)
    (subscription,) = world.scenario.subscriptions
    (first,) = subscription.line_items
    cut = START + 2 * DAY
    items = (replace(first, end=cut), replace(first, id="second", start=cut))
    world = World(replace(world.scenario, subscriptions=(replace(subscription, line_items=items),)))
    usage = [call("a", HOUR, value=4)]
    world.load("all", usage, now)
    (subscription,) = world.scenario.subscriptions
    window = Window(START, START + 7 * DAY)
    early = world.usage(subscription, window, now)
    assert {name: cost.quantity for name, cost in early.items()} == {first.id: 4, "second": 0}
    later = world.usage(subscription, window, cut)
    assert {name: cost.quantity for name, cost in later.items()} == {first.id: 4, "second": 4}


def test_what_a_stopped_import_has_counted_is_remembered_while_others_run() -> None:
    """Stopped when its events are counted and its record does not say so; it finds out after another's events."""
    end = START + DAY
    world = world_of(BillingPeriod.MONTHLY, [(meter("sum", Aggregation.SUM), FLAT)], end)
    usage = [call("a", 0, value=1), call("b", 1, value=10), call("c", 2, value=100)]
    # It is numbered and remembered, its events are logged, then counted: killed after the fourth write.
    memory(world).faults = Faults(after=memory(world).writes + 3)
    with pytest.raises(Killed):
        world.load("stopped", usage[:2], end)
    memory(world).faults = Faults()
    check(world, usage[:2])
    world.load("other", usage[2:], end)
    world.load("stopped", usage[:2], end)
    check(world, usage)


@pytest.mark.parametrize("rolled", [False, True], ids=["nothing is listed yet", "what was done is listed"])
def test_an_index_that_lags_neither_adds_nor_loses(monkeypatch: pytest.MonkeyPatch, *, rolled: bool) -> None:
    it = meter("seats", Aggregation.SUM, recurring=True)
    end = START + 3 * DAY
    world = world_of(BillingPeriod.DAILY, [(it, FLAT)], end)
    table = memory(world)
    empty, usage = table.copy(), [call("a", HOUR, value=4)]
    world.load("all", usage, START + 2 * HOUR)
    lagging = table.copy() if rolled else empty
    if rolled:
        assert world.roll(end) == 1
    with monkeypatch.context() as patch:
        patch.setattr(table, "due", lagging.due)
        assert len(table.due(keys.due(ORGANIZATION.id, world.account.generation), key_instant(end))) == rolled
        assert world.roll(end) == 0
    assert world.roll(end) == (not rolled)
    check(world, usage)


def test_a_value_first_seen_ahead_of_time_moves_out_of_the_period_that_has_it() -> None:
    """It was seen in the next period, when this one was not over, and is then seen in this one."""
    it = meter("users", Aggregation.COUNT_UNIQUE, recurring=True)
    world = world_of(BillingPeriod.DAILY, [(it, FLAT)], START + 2 * DAY)
    usage = [call("ahead", DAY + MINUTE, text="a"), call("before", DAY - MINUTE, text="a")]
    world.load("first", usage[:1], START + DAY - 3 * MINUTE)
    world.load("second", usage[1:], START + DAY - MINUTE)
    world.roll(START + 2 * DAY)
    check(world, usage, (0, DAY), (DAY, 2 * DAY))


@pytest.mark.parametrize(
    "aggregation", [Aggregation.SUM, Aggregation.COUNT_UNIQUE, Aggregation.WEIGHTED_SUM], ids=str
)
def test_a_period_that_has_an_event_ahead_of_time_carries_what_comes_before(aggregation: Aggregation) -> None:
    """It has not begun when an event comes into the one before: who asks for both is told of both."""
    it = meter("it", aggregation, recurring=True)
    world = world_of(BillingPeriod.DAILY, [(it, FLAT)], START + DAY - MINUTE)
    usage = [
        call("ahead", DAY + MINUTE, value=2, text="a"),
        call("before", DAY - HOUR, value=Decimal("6.001"), text="b"),
    ]
    world.load("first", usage[:1], START + DAY - 3 * MINUTE)
    world.load("second", usage[1:], START + DAY - MINUTE)
    (oracle,) = oracles(world.scenario, usage)
    for now in (START + DAY - MINUTE, START + DAY + 2 * MINUTE, START + 2 * DAY + HOUR):
        for end in (DAY, DAY + 2 * MINUTE, 2 * DAY):
            check_window(world, oracle, Window(START, START + end), now)
    world.roll(START + 2 * DAY + HOUR)
    check_analytics(world, tuple(usage), START + 2 * DAY + HOUR)


@pytest.mark.parametrize("cycle", list(BillingCycle), ids=str)
def test_a_billing_period_may_last_until_the_end_of_time(cycle: BillingCycle) -> None:
    """There is none after it, in which a value could be restated."""
    it = meter("seats", Aggregation.SUM, recurring=True)
    end = START + 3 * DAY
    world = world_of(BillingPeriod.ANNUAL, [(it, FLAT)], end)
    (subscription,) = world.scenario.subscriptions
    longest = replace(subscription, billing_period_count=10_000, billing_cycle=cycle)
    world = World(replace(world.scenario, subscriptions=(longest,)))
    usage = [call("a", DAY, value=4)]
    world.load("all", usage, end)
    check(world, usage, (HOUR, DAY + 1))


def test_another_writes_when_a_head_was_read_and_its_hours_were_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read after the head may be newer than it: the version says so only if it is the head's."""
    it = meter("seats", Aggregation.SUM, recurring=True)
    end = START + 3 * DAY
    world = world_of(BillingPeriod.DAILY, [(it, FLAT)], end)
    usage = [call("a", HOUR, value=1), call("b", 2 * HOUR, value=10), call("c", 3 * HOUR, value=100)]
    world.load("zero", usage[:1], end)
    others = [usage[2]]
    plainly = memory(world).batch_get

    def batch_get(wanted: Iterable[Key], *, consistent: bool = False) -> dict[Key, Row]:
        found = plainly(known := list(wanted), consistent=consistent)
        while others and any(key.sk.startswith("H#") for key in known):
            world.load("other", [others.pop()], end)
        return found

    monkeypatch.setattr(memory(world), "batch_get", batch_get)
    world.load("first", usage[1:2], end)
    assert not others
    check(world, usage)


def test_a_value_leaves_the_only_day_of_its_chunk() -> None:
    """Seen earlier by late events, it is gone from there, and so is the chunk's item."""
    it = meter("users", Aggregation.COUNT_UNIQUE)
    world = world_of(BillingPeriod.ANNUAL, [(it, FLAT)], START + 200 * DAY)
    usage = [
        call("a", 100 * DAY, text="a"),
        call("a before", 5 * DAY, text="a"),
        call("b", 150 * DAY, text="b"),
        call("b before", 6 * DAY, text="b"),
        call("c", 100 * DAY, text="c"),
    ]
    for number, each in enumerate(usage):
        world.load(each.event.id, [each], world.scenario.end)
        check(world, usage[: number + 1])

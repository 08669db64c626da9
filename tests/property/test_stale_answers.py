"""What the endpoints answer from reads that are behind, while events come: what was counted lately, maybe not all.

An answer has at least what stood in the table when everything was known last, and at most what stands there now.
No event counts twice in it, and none is missing that had been answered before.
"""

from collections.abc import Iterator, Mapping
from random import Random

import pytest

from meterstone.pricing.lines import Cost
from meterstone.store.reading.analytics import AnalyticsStore
from meterstone.store.reading.window import WindowStore
from meterstone.usage.instant import DAY, HOUR, MINUTE
from meterstone.usage.measure import measure
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingPeriod
from meterstone.usage.statement import rate
from meterstone.usage.subscription import Subscription
from meterstone.usage.window import Window
from support.counting import right_answers
from support.recovering import Clock, Stream
from support.scenario import DayTotals, Usage, World, listed, oracles, totals
from support.small_world import FLAT, START, call, meter, world_of
from support.stale_table import StaleTable
from support.stored import memory

METERS = [
    meter("sum", Aggregation.SUM),
    meter("seats", Aggregation.SUM, recurring=True),
    meter("most", Aggregation.MAX),
    meter("users", Aggregation.COUNT_UNIQUE),
    meter("ever", Aggregation.COUNT_UNIQUE, recurring=True),
]
#: Their values are powers of two: a sum tells which events it is of.
SUMS = {"item sum", "item seats"}
PERIODS = [BillingPeriod.DAILY, BillingPeriod.WEEKLY, BillingPeriod.MONTHLY]


def stale(world: World) -> StaleTable:
    table = memory(world)
    assert isinstance(table, StaleTable)
    return table


class Coming:
    """A subscription whose events come at any time, in any order, while the clock goes on."""

    def __init__(self, period: BillingPeriod, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 - nothing secret
        self.world = world_of(period, [(each, FLAT) for each in METERS], START + 60 * DAY)
        self.table = stale(self.world)
        self.clock = Clock(START + DAY)
        self.stream = Stream(self.table, self.clock)

    def go_on(self) -> None:
        """Let time pass, an event be counted, and perhaps the clock publish."""
        random, number = self.random, len(self.stream.usage)
        self.clock.now += random.choice([0, MINUTE, HOUR, DAY, 3 * DAY])
        after = random.randrange(self.clock.now - START)
        self.stream.post([call(f"e{number}", after, value=2**number, text=f"t{random.randrange(6)}")])
        self.stream.deliver()
        if random.random() < 0.5:
            self.world.roll(self.clock.now)

    def windows(self) -> Iterator[Window]:
        """Give some windows, most of which cut days."""
        now = self.clock.now
        for _ in range(1):
            one, other = sorted(START + self.random.randrange(now - START) for _ in range(2))
            yield from (
                Window(one, other + 1),
                Window(one, now),
                Window(START, other + 1),
                Window(START, now),
            )


@pytest.mark.parametrize("period", PERIODS, ids=str)
@pytest.mark.parametrize("seed", range(2))
def test_a_window_has_what_was_known_and_no_more_than_there_is(seed: int, period: BillingPeriod) -> None:
    it = Coming(period, seed)
    for _ in range(5):
        it.table.settle()
        known = list(it.stream.usage)
        for _ in range(it.random.randint(2, 5)):
            it.go_on()
            for window in it.windows():
                check_between(it, known, window)
    assert it.table.stale_reads > 10


def read(world: World, subscription: Subscription, window: Window, now: int) -> Mapping[str, Cost]:
    """Measure and price a window at once, while reads may still see what was."""
    reader = WindowStore(world.table).reader(world.account, subscription, now)
    return rate(measure(subscription, window, reader, now)).lines


def check_between(it: Coming, known: list[Usage], window: Window) -> None:
    (subscription,), now = it.world.scenario.subscriptions, it.clock.now
    found = read(it.world, subscription, window, now)
    (least,), (most,) = (oracles(it.world.scenario, usage) for usage in (known, it.stream.usage))
    low, high = (oracle.measured(window.start, window.end, now) for oracle in (least, most))
    for item, cost in found.items():
        assert low[item][0] <= cost.quantity <= high[item][0], (item, window)
        if item in SUMS:
            assert int(low[item][0]) & ~int(cost.quantity) == 0, (item, window)
            assert int(cost.quantity) & ~int(high[item][0]) == 0, (item, window)


@pytest.mark.parametrize("of_a_subscription", [False, True], ids=["of the organization", "of a subscription"])
@pytest.mark.parametrize("seed", range(3))
def test_the_days_have_what_was_known_and_no_more_than_there_is(
    seed: int, *, of_a_subscription: bool
) -> None:
    it = Coming(BillingPeriod.WEEKLY, seed)
    filters = {"external_subscription_id": "ext"} if of_a_subscription else {}
    for _ in range(6):
        it.table.settle()
        known = sums(right(it, **filters))
        for _ in range(it.random.randint(2, 5)):
            it.go_on()
            there = sums(right(it, **filters))
            for _ in range(3):
                days = totals(
                    listed(
                        AnalyticsStore(it.table).daily_usage(
                            it.world.account, it.world.query(**filters), it.world.scenario.end
                        )
                    )
                )
                seen = sums(days)
                for key in there.keys() | seen.keys():
                    low, found, high = (int(each.get(key, (0, 0))[0]) for each in (known, seen, there))
                    assert low & ~found == 0, key
                    assert found & ~high == 0, key
    assert it.table.stale_reads > 10


def right(it: Coming, **filters: str) -> DayTotals:
    """Give what the oracle answers, of all events that have come."""
    answers = right_answers(it.world.scenario, tuple(it.stream.usage), it.clock.now)
    return answers[filters.get("external_subscription_id", str({}))]


def sums(days: DayTotals) -> DayTotals:
    return {key: worth for key, worth in days.items() if key[2] == "sum"}


@pytest.mark.parametrize("behind", ["C#", "R#", ""], ids=["the counters", "the chain's head", "all"])
def test_a_recurring_value_does_not_vanish_when_a_billing_period_begins(behind: str) -> None:
    """The clock has brought the chain into new periods, and some of the reads do not see that yet."""
    world = world_of(BillingPeriod.DAILY, [(METERS[1], FLAT)], START + 5 * DAY)
    table, (subscription,) = stale(world), world.scenario.subscriptions
    world.load("all", [call("e", HOUR, value=40)], START + 2 * HOUR)
    now = START + 3 * DAY + HOUR
    table.stand_still(lambda key: key.sk.startswith(behind))
    world.roll(now)
    for end in (now, START + 3 * DAY, START + DAY + HOUR):
        window = Window(START, end)
        (cost,) = read(world, subscription, window, now).values()
        assert cost.quantity == 40


def test_a_recurring_value_does_not_vanish_when_the_first_month_of_a_year_is_not_seen_yet() -> None:
    """It stands with that month; the event that began the year was of a later one."""
    world = world_of(BillingPeriod.ANNUAL, [(METERS[1], FLAT)], START + 450 * DAY)
    table, (subscription,) = stale(world), world.scenario.subscriptions
    world.load("before", [call("e", HOUR, value=40)], START + 2 * HOUR)
    table.stand_still(lambda key: key.sk.endswith("#00000"))
    now = START + 445 * DAY
    world.load("after", [call("f", 440 * DAY, value=2)], now)
    window = Window(START + 400 * DAY, now)
    (cost,) = read(world, subscription, window, now).values()
    assert cost.quantity == 42

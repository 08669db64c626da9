"""Counting where there is much of something: long periods, long chains, many values, buckets and line items."""

from collections.abc import Sequence
from copy import replace
from decimal import Decimal
from typing import Any

import pytest

from meterstone.pricing.price import TierMode
from meterstone.store.dynamodb.table import WriteRefusedError
from meterstone.store.reading.analytics import AnalyticsStore
from meterstone.usage.analytics import UsageQuery
from meterstone.usage.calendar import BucketSize, Granularity
from meterstone.usage.instant import DAY, HOUR, MINUTE
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingPeriod
from support.memory_table import Faults, Killed, MemoryTable
from support.recovering import Clock, Stream
from support.scenario import World
from support.small_world import FALLING, FLAT, START, call, check, meter, world_of
from support.stored import memory

#: A character of four bytes.
WIDE = "\U0001f600"


def test_a_late_event_republishes_years_in_steps() -> None:
    """Under a volume price one event changes every later day: 27 months in 4 views are 108 rollups."""
    end = START + 801 * DAY
    world = world_of(BillingPeriod.ONETIME, [(meter("sum", Aggregation.SUM), FALLING)], end)
    usage = [call(f"e{day}", day * DAY, value=1) for day in range(800)]
    world.load("years", usage, end)
    check(world, usage, (DAY + 5, 380 * DAY))
    late = [call("late", 2 * DAY + HOUR, value=150), call("later", 767 * DAY, value=-2)]
    first = memory(world).writes
    copy = memory(world).copy()
    world.load("late", late, end)
    assert memory(world).most_actions <= 100
    check(world, [*usage, *late])
    writes = memory(world).writes - first
    assert writes >= 5, "in two steps at least, among remembering and logging"
    for stop in range(writes):
        world.table = copy.copy()
        memory(world).faults = Faults(after=stop)
        with pytest.raises(Killed):
            world.load("late", late, end)
        memory(world).faults = Faults()
        world.load("late", late, end)
        assert world.days() == world.days(external_subscription_id="ext")
        assert world.days(plan_code="basic", customer_country="DE") == world.days(
            plan_code="basic", customer_country="DE", external_subscription_id="ext"
        )
    check(world, [*usage, *late])


def test_a_late_event_tells_when_it_came_in_in_every_month_that_it_republishes() -> None:
    """27 months take several transactions; the first alone holds the event."""
    end = START + 801 * DAY
    world = world_of(BillingPeriod.ONETIME, [(meter("sum", Aggregation.SUM), FALLING)], end)
    usage = [call(f"e{day}", day * DAY, value=1) for day in range(0, 800, 10)]
    world.load("years", usage, end)
    late = [call("late", 2 * DAY + HOUR, value=150)]
    stream = Stream(world.table, Clock(end))
    stream.post(late)
    stream.deliver()
    first, last = world.range()
    for day in (first, first + 400, last - 30):
        query = UsageQuery(Granularity.DAILY, day, day + 30)
        found = list(AnalyticsStore(world.settled).daily_usage(world.account, query, world.scenario.end))
        assert max(item.counted_until for item in found) == end, day
    check(world, [*usage, *late])


@pytest.mark.parametrize(
    "aggregation", [Aggregation.SUM, Aggregation.COUNT_UNIQUE, Aggregation.WEIGHTED_SUM], ids=str
)
def test_a_recurring_value_is_restated_daily_for_three_years(aggregation: Aggregation) -> None:
    """Each of 1,096 periods carries it on; a late event moves when values were first seen, years before."""
    end = START + 1096 * DAY
    world = world_of(BillingPeriod.DAILY, [(meter("it", aggregation, recurring=True), FLAT)], end)
    usage = [
        call("a", 5 * DAY, value=3, text="a"),
        call("b", 300 * DAY, value=2, text="b"),
        call("c", 700 * DAY + HOUR, value=-1, text="c"),
    ]
    world.load("first", usage, end)
    late = [
        call("late b", 6 * DAY, value=1, text="b"),
        call("late c", DAY, value=1, text="c"),
        call("late d", 1000 * DAY, value=5, text="d"),
        call("late a", 4 * DAY + 1, value=-2, text="a"),
    ]
    assert memory(world).most_actions <= 100
    for event in late:
        world.load(event.event.id, [event], end)
        usage.append(event)
    check(world, usage, (3 * DAY + 7, 400 * DAY + 9), (699 * DAY, 700 * DAY + 2 * HOUR), (0, DAY))


def test_a_value_that_a_batch_sees_before_and_after_its_day_moves_to_the_earlier_one() -> None:
    """It is 1,096 periods long: the day that the value leaves is not among those that are published first."""
    end = START + 1096 * DAY
    users = meter("users", Aggregation.COUNT_UNIQUE, recurring=True)
    world = world_of(BillingPeriod.DAILY, [(users, FLAT)], end)
    usage = [call("first", 700 * DAY, text="u"), call("other", 2 * DAY, text="o")]
    world.load("first", usage, end)
    late = [
        call("later", 900 * DAY, text="u"),
        call("early", DAY, text="u"),
        call("again", 800 * DAY, text="u"),
    ]
    world.load("late", late, end)
    assert memory(world).most_actions <= 100
    check(world, [*usage, *late], (0, 3 * DAY), (699 * DAY, 702 * DAY))


def test_thousands_of_values_are_told_apart() -> None:
    end = START + 40 * DAY
    items = [(meter("plain", Aggregation.COUNT_UNIQUE), FLAT)]
    items += [(meter("ever", Aggregation.COUNT_UNIQUE, recurring=True), FALLING)]
    world = world_of(BillingPeriod.MONTHLY, items, end)
    usage = [
        call(f"e{number}", number * 7 * MINUTE % (38 * DAY), text=f"user {number * 31 % 5000}")
        for number in range(5200)
    ]
    world.load("all", usage, end)
    assert memory(world).most_actions <= 100
    check(world, usage, (DAY + HOUR + 3, 3 * DAY + 20 * MINUTE), (20 * DAY, 36 * DAY))


@pytest.mark.parametrize("size", [BucketSize.MINUTE, BucketSize.HOUR, BucketSize.DAY], ids=str)
def test_many_buckets_are_costed_one_by_one(size: BucketSize) -> None:
    end = START + 8 * DAY
    slab = replace(FALLING, tier_mode=TierMode.SLAB)
    items = [(meter("max", Aggregation.MAX, bucket_size=size), slab)]
    items += [(meter("sum", Aggregation.SUM, bucket_size=size), FALLING)]
    world = world_of(BillingPeriod.WEEKLY, items, end)
    usage = [
        call(f"e{number}", number * 173_123_457 % (8 * DAY), value=number * 37 % 211)
        for number in range(1500)
    ]
    world.load("all", usage[100:], end)
    world.load("late", usage[:100], end)
    assert memory(world).most_actions <= 100
    check(world, usage, (DAY + 30, 7 * DAY + HOUR + 31_000_000), (2 * HOUR + 1, 2 * HOUR + MINUTE + 5))


def test_one_event_counts_for_fifty_line_items() -> None:
    end = START + 20 * DAY
    items = [(meter(f"m{number}", Aggregation.SUM), FALLING) for number in range(50)]
    world = world_of(BillingPeriod.WEEKLY, items, end)
    usage = [call(f"e{number}", number * 17 * HOUR, value=number) for number in range(25)]
    world.load("all", usage, end)
    assert memory(world).most_actions <= 100
    check(world, usage, (DAY + 5, 9 * DAY + 9))


def test_the_latest_event_is_known_by_a_long_id_in_a_crowded_hour() -> None:
    end = START + 2 * DAY
    world = world_of(BillingPeriod.MONTHLY, [(meter("latest", Aggregation.LATEST), FLAT)], end)
    usage = [call(f"{number:0255}", number * 11 % 1000, value=number) for number in range(2200)]
    world.load("all", usage, end)
    check(world, usage, (5, 500), (3, 4))


def test_what_cancels_out_is_published_too() -> None:
    """Units of two line items that rise and fall by as much, at no charge, add nothing to the rollups."""
    end = START + DAY
    free = replace(FLAT, amount=Decimal(0))
    world = world_of(BillingPeriod.MONTHLY, [(meter("latest", Aggregation.LATEST), free)], end)
    cut = START + 2 * HOUR
    (first,) = world.scenario.subscriptions[0].line_items
    both = (replace(first, end=cut), replace(first, id="second", start=cut))
    changed = replace(world.scenario.subscriptions[0], line_items=both)
    world = World(replace(world.scenario, subscriptions=(changed,)))
    usage = [call("a", HOUR, value=1), call("b", 3 * HOUR, value=9)]
    world.load("before", usage, end)
    more = [call("c", HOUR + 1, value=6), call("d", 3 * HOUR + 1, value=4)]
    world.load("after", more, end)
    check(world, [*usage, *more])


def test_a_product_of_long_numbers_is_reported_and_not_counted() -> None:
    """18 integer digits times 18 are 36, where a number of the table has 38: no import may be stuck on it.

    What is finer than 18 decimals is rounded, and counts.
    """
    long = Decimal("123456789012345678.123456789012345678")
    many = meter(
        "many", Aggregation.SUM_WITH_MULTIPLIER, multiplier=Decimal("100000000000000000.000000000000000001")
    )
    world = world_of(BillingPeriod.MONTHLY, [(many, FLAT)], START + 3 * DAY)
    values = [long, 9, 10, Decimal(-2), Decimal("0.5")]
    usage = [call(f"e{number}", number * HOUR, value=value) for number, value in enumerate(values, start=1)]
    report = world.load("all", usage, world.scenario.end)
    assert [line for line, _ in report.uncounted] == [1, 3]
    check(world, usage)


def test_a_log_of_wide_characters_fits_its_transactions() -> None:
    """Sizes are in bytes: 100 events of 20,000 characters of 3 bytes each are 6 MB, where a transaction has 4."""
    end = START + DAY
    world = world_of(BillingPeriod.MONTHLY, [(meter("count", Aggregation.COUNT), FLAT)], end)
    usage = [call(f"e{number}", number, note="名" * 20_000) for number in range(100)]
    world.load("wide", usage, end)
    # With ids of 1,000 bytes, each of them twice in an item, what fits is less.
    long = [call(f"{WIDE * 250}{number:05}", number, note="名" * 13_755) for number in range(100)]
    world.load("wide ids", long, end)
    usage += long
    too_large = call("large", 0, note="名" * 22_000)
    report, refused = world.load_refusing("larger", [too_large], end)
    assert (report.counted, refused) == (0, [(1, "is larger than 65536 bytes")])
    check(world, usage)


def test_days_that_two_periods_of_a_chain_share_fit_a_transaction() -> None:
    """Daily periods that begin after noon: each has hours and details of its own of both its days."""
    end = START + 30 * DAY
    world = world_of(BillingPeriod.DAILY, [(meter("seats", Aggregation.SUM, recurring=True), FLAT)], end)
    noon = replace(world.scenario.subscriptions[0], anchor=START + 9 * HOUR)
    world = World(replace(world.scenario, subscriptions=(noon,)))
    usage = [
        call(
            f"e{day}.{number}",
            day * DAY + number * DAY // 40 + 123_457,
            value=Decimal("1.123456789"),
        )
        for day in range(25)
        for number in range(40)
    ]
    world.load("all", usage, end)
    assert memory(world).most_actions <= 100
    check(world, usage, (DAY + HOUR + 3, 3 * DAY + 20 * MINUTE))


def test_texts_of_control_characters_fit_a_detail() -> None:
    """JSON writes each of them as six characters."""
    end = START + DAY
    world = world_of(BillingPeriod.MONTHLY, [(meter("users", Aggregation.COUNT_UNIQUE), FLAT)], end)
    usage = [call(f"e{number}", number, text="\x01" * 64) for number in range(1500)]
    world.load("all", usage, end)
    check(world, usage, (5, 500))


@pytest.fixture
def _nothing_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where the table refuses an item: a fold that is refused goes on with halves, and hides it."""
    transact = MemoryTable.transact

    def checked(table: MemoryTable, actions: Sequence[Any]) -> None:
        try:
            transact(table, actions)
        except WriteRefusedError as refused:
            raise AssertionError(f"the table refuses {refused}") from refused

    monkeypatch.setattr(MemoryTable, "transact", checked)


LONG = Decimal("9" * 15 + "." + "9" * 14)


@pytest.mark.usefixtures("_nothing_refused")
@pytest.mark.parametrize(
    ("aggregation", "ident", "text"),
    [
        pytest.param(Aggregation.LATEST, WIDE * 254, "", id="ids of characters of four bytes"),
        pytest.param(Aggregation.LATEST, '"' * 254, "", id="ids that JSON writes with twice as many"),
        pytest.param(Aggregation.COUNT_UNIQUE, "", "\x01" * 64, id="texts with six times as many"),
        pytest.param(Aggregation.SUM, "", "", id="long values"),
    ],
)
def test_the_largest_events_fit_the_items_of_an_hour(aggregation: Aggregation, ident: str, text: str) -> None:
    """Several items and transactions of them, of the longest ids, texts and values that an event may have."""
    end = START + DAY
    world = world_of(BillingPeriod.MONTHLY, [(meter("it", aggregation), FLAT)], end)
    usage = [
        call(ident + chr(0x10000 + number), 9 * MINUTE + number, value=LONG, text=text)
        for number in range(4600)
    ]
    world.load("all", usage, end)
    check(world, usage, (9 * MINUTE + 5, 9 * MINUTE + 500))


@pytest.mark.usefixtures("_nothing_refused")
def test_tallies_are_written_together_as_long_as_their_bytes_fit() -> None:
    """Three meters keep the same 1,450 ids of 255 characters of four bytes: 1.5 MB each, where 4 MB fit."""
    end = START + DAY
    items = [(meter(f"m{number}", Aggregation.LATEST), FLAT) for number in range(3)]
    world = world_of(BillingPeriod.MONTHLY, items, end)
    usage = [call(f"{WIDE * 250}{number:05}", number, value=1) for number in range(1450)]
    world.load("all", usage, end)
    check(world, usage, (5, 500))


@pytest.mark.parametrize("bucketed", range(7))
def test_tallies_fill_a_transaction_to_its_last_action(bucketed: int) -> None:
    """A SUM brings 6 actions and one with buckets 7: with some of both, every sum from 96 to 102 is met."""
    end = START + DAY
    items = [
        (meter(f"b{number}", Aggregation.MAX, bucket_size=BucketSize.HOUR), FLAT)
        for number in range(bucketed)
    ]
    items += [(meter(f"s{number:02}", Aggregation.SUM), FLAT) for number in range(17)]
    world = world_of(BillingPeriod.MONTHLY, items, end)
    usage = [call("e", HOUR, value=1)]
    world.load("all", usage, end)
    assert 95 <= memory(world).most_actions <= 100
    check(world, usage)


@pytest.mark.parametrize("count", [13, 14, 20, 33])
def test_values_that_were_seen_before_but_later_fit_a_transaction(count: int) -> None:
    """Each needs a detail, its day, when it was first seen, its hours, and the day that it moves away from."""
    end = START + 90 * DAY
    world = world_of(
        BillingPeriod.DAILY, [(meter("users", Aggregation.COUNT_UNIQUE, recurring=True), FLAT)], end
    )
    later = [call(f"later {number}", (45 + number) * DAY, text=f"user {number}") for number in range(count)]
    world.load("later", later, end)
    early = [call(f"early {number}", (1 + number) * DAY, text=f"user {number}") for number in range(count)]
    world.load("early", early, end)
    check(world, [*later, *early], (DAY, 3 * DAY + HOUR))


HOURLY = range(8 * 24)


@pytest.mark.usefixtures("_nothing_refused")
@pytest.mark.parametrize(
    ("aggregation", "recurring", "ident", "times"),
    [
        pytest.param(
            Aggregation.LATEST,
            False,
            WIDE * 250,
            [day * DAY for day in range(80)],
            id="80 days of a long id each",
        ),
        pytest.param(
            Aggregation.SUM,
            True,
            "",
            [day * DAY + at for day in range(60) for at in range(30)],
            id="60 busy days",
        ),
        pytest.param(
            Aggregation.SUM,
            False,
            "",
            [hour * HOUR + at for hour in HOURLY for at in range(9)],
            id="192 hours",
        ),
        pytest.param(
            Aggregation.COUNT_UNIQUE,
            False,
            "",
            [hour * HOUR + at for hour in HOURLY for at in range(9)],
            id="192 hours of a value",
        ),
        pytest.param(
            Aggregation.COUNT_UNIQUE,
            False,
            "",
            [day * DAY for day in range(80)],
            id="80 days of a value in a year",
        ),
        pytest.param(
            Aggregation.COUNT_UNIQUE,
            True,
            "",
            [day * DAY + hour * HOUR for day in range(60) for hour in (0, 6, 12, 18)],
            id="60 days of a value",
        ),
    ],
)
def test_days_that_have_details_fit_a_transaction(
    aggregation: Aggregation, ident: str, times: list[int], *, recurring: bool
) -> None:
    """A day or an hour of which the events do not fit beside the day's hours has an item more."""
    end = START + 90 * DAY
    period = BillingPeriod.DAILY if recurring else BillingPeriod.ANNUAL
    world = world_of(period, [(meter("it", aggregation, recurring=recurring), FLAT)], end)
    usage = [call(f"{ident}{number:04}", at, value=LONG, text="a") for number, at in enumerate(times)]
    world.load("all", usage, end)
    assert memory(world).most_actions <= 100
    check(world, usage, (DAY + 5, 3 * DAY + HOUR))

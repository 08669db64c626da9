"""Many events through several shards and several folds at once, over months, to the last digit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random

from counting import SCALE, check_analytics, check_window
from memory_table import Faults
from meterstone.pricing.price import BillingModel, Price, Tier, TierMode
from meterstone.store.event_log import Outcome, Target
from meterstone.usage.calendar import BucketSize
from meterstone.usage.instant import DAY, HOUR, MINUTE, parse_instant
from meterstone.usage.meter import Aggregation, Event, Meter, Properties
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.subscription import Dated, LineItem, Subscription
from meterstone.usage.window import Window
from scenario import Scenario, Usage, World, oracles
from stored import memory, stored
from stream import Folding, Stream

SEED = 20_240_229
EVENTS = 100_000 if SCALE > 1 else 20_000
SUBSCRIPTIONS = EVENTS // 1000
BATCH = 400
START = parse_instant("2024-01-20T09:27:43.123456Z")
DAYS = 45
END = START + DAYS * DAY

VOLUME = Price(
    "volume", "usd", BillingModel.TIERED, tier_mode=TierMode.VOLUME,
    tiers=(Tier(20, Decimal(2)), Tier(None, Decimal("0.777"), Decimal(1))),
)  # fmt: skip
FLAT = Price("flat", "usd", BillingModel.FLAT_FEE, amount=Decimal("0.015"))
KINDS: list[tuple[Aggregation, bool, BucketSize | None, Price]] = [
    (Aggregation.COUNT, False, None, FLAT),
    (Aggregation.SUM, False, None, VOLUME),
    (Aggregation.SUM, True, None, VOLUME),
    (Aggregation.MAX, False, BucketSize.HOUR, FLAT),
    (Aggregation.LATEST, False, None, FLAT),
    (Aggregation.AVG, False, None, VOLUME),
    (Aggregation.COUNT_UNIQUE, False, None, VOLUME),
    (Aggregation.COUNT_UNIQUE, True, None, FLAT),
    (Aggregation.WEIGHTED_SUM, True, None, FLAT),
]
FIELDS = {Aggregation.COUNT: None, Aggregation.COUNT_UNIQUE: "text"}
METERS = tuple(
    Meter(
        f"m{n}",
        f"code{n}",
        "",
        kind,
        f"call{n}",
        FIELDS.get(kind, "value"),
        recurring=recurs,
        bucket_size=size,
    )
    for n, (kind, recurs, size, _) in enumerate(KINDS)
)


def subscription(number: int, random: Random) -> Subscription:
    """Give a subscription with a line item on each meter."""
    start = START - random.randint(0, 40) * DAY
    items = tuple(
        LineItem(f"item {number}.{meter.id}", kind[3], start, None, meter)
        for meter, kind in zip(METERS, KINDS, strict=True)
    )
    return Subscription(
        f"sub {number}", f"ext {number}", f"cust {number}", "usd",
        random.choice(["UTC", "America/Chicago", "Asia/Kolkata"]), start, None,
        random.choice([BillingPeriod.MONTHLY, BillingPeriod.WEEKLY, BillingPeriod.ANNUAL]), 1,
        random.choice(list(BillingCycle)), start, (Dated("basic"), Dated("pro", START + 20 * DAY)),
        random.choice([(), (Dated("DE"),), (Dated("NO"),)]), random.choice([(), (Dated("company"),)]), None, items,
    )  # fmt: skip


@dataclass(slots=True)
class Coming:
    """An event, and when it comes in."""

    now: int
    usage: Usage


def coming(subscriptions: tuple[Subscription, ...], random: Random) -> Iterator[Coming]:
    """Give events in the order in which they come in: most as they happen, some late, some a little ahead."""
    for number in range(EVENTS):
        now = START + DAYS * DAY * number // EVENTS
        chosen = random.choice(subscriptions)
        late = random.choice([0, 0, 0, 0, -4 * MINUTE, HOUR, DAY, random.randint(0, 40 * DAY)])
        at = max(now - late - random.randint(0, MINUTE), chosen.start)
        properties: Properties = {
            "value": random.randint(-50, 400) / Decimal(8),
            "text": f"t{random.randint(0, 60)}",
        }
        target = Target.subscription(chosen.external_id)
        if random.random() < 0.2:
            target = Target.customer(chosen.customer_id)
        name = f"call{random.randrange(len(KINDS))}"
        yield Coming(now, Usage(target, Event(f"e{number}", name, at, properties)))


def run(seed: int) -> tuple[Folding, tuple[Usage, ...]]:
    """Let it all happen."""
    random = Random(seed)  # noqa: S311 - nothing secret
    subscriptions = tuple(subscription(number, random) for number in range(SUBSCRIPTIONS))
    folding = Folding(World(Scenario(METERS, subscriptions, (), END)), Stream(random, 3))
    usage: list[Usage] = []
    day, rolled, changes = START, START, 0
    for each in coming(subscriptions, random):
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


def test_many_events_are_counted_to_the_last_digit() -> None:
    folding, usage = run(SEED)
    scenario = folding.world.scenario
    check_analytics(folding.world, usage, END)
    for oracle in oracles(scenario, usage)[:: SUBSCRIPTIONS // 5]:
        for begin, end in ((START, END), (START + 3 * DAY + 7, END - 5 * DAY - HOUR)):
            check_window(folding.world, oracle, Window(begin, end), END)
    assert stored(folding.table)


def hot() -> tuple[Scenario, tuple[Usage, ...]]:
    """Give one subscription with so much usage that no ledger's part of a batch fits one transaction."""
    random = Random(3)  # noqa: S311 - nothing secret
    chosen = replace(subscription(0, random), billing_period=BillingPeriod.ANNUAL, start=START - 300 * DAY)
    items = tuple(replace(item, start=chosen.start) for item in chosen.line_items if item.meter in HOT)
    scenario = Scenario(HOT, (replace(chosen, line_items=items),), (), END)
    usage = tuple(
        Usage(
            Target.subscription(chosen.external_id),
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

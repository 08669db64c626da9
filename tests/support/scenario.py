"""Small worlds to count in: a catalogue, usage that comes in its own order, and a clock that moves."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import replace
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from itertools import product
from random import Random

from hypothesis import strategies as st

from meterstone.pricing.commitment import Commitment, CommitmentSplit
from meterstone.pricing.lines import Cost
from meterstone.pricing.money import add
from meterstone.pricing.price import BillingModel, Price, RoundType, Tier, TierMode, TransformQuantity
from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.counting.fold import Fold
from meterstone.store.dynamodb.table import Table
from meterstone.store.events.log import Subject
from meterstone.store.operations.imports import Importer, ImportReport, Source, SourceLine
from meterstone.store.reading.analytics import AnalyticsStore
from meterstone.store.reading.window import WindowStore
from meterstone.usage.analytics import CountedDays, DayUsage, UsageQuery
from meterstone.usage.calendar import BucketSize, Granularity, bucket_bounds, zone
from meterstone.usage.instant import DAY, HOUR, MINUTE, parse_instant
from meterstone.usage.measure import measure
from meterstone.usage.meter import Aggregation, Event, Filter, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.statement import Statement, rate
from meterstone.usage.subscription import Dated, LineItem, Organization, Subscription
from meterstone.usage.window import Window
from support.memory_table import MemoryTable
from support.oracle import Day, Oracle
from support.stale_table import StaleTable
from support.written import write_catalogue

ORGANIZATION = Organization("0c9d1c52-8f0e-4d0b-9d5c-6b1f6c1f0a01", "Test")
AHEAD = 5 * MINUTE

#: Changes of clocks, or plain midnights, around which the scenarios play.
PLACES = (
    ("UTC", "2024-02-29T00:00:00Z"),
    ("America/Chicago", "2024-03-10T08:00:00Z"),
    ("America/Chicago", "2024-11-03T07:00:00Z"),
    ("Europe/Berlin", "2024-03-31T01:00:00Z"),
    ("Europe/Berlin", "2023-10-29T01:00:00Z"),
    ("Asia/Kolkata", "2023-12-31T18:30:00Z"),
    ("Australia/Lord_Howe", "2024-04-06T15:00:00Z"),
    ("Australia/Lord_Howe", "2024-10-05T15:30:00Z"),
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
    ("America/St_Johns", "2010-11-07T02:31:00Z"),
)

type DayKey = tuple[int, str, str]
type DayTotals = dict[DayKey, tuple[Decimal, int]]


@dataclass(frozen=True, slots=True)
class Usage:
    """An event, and whose it is."""

    subject: Subject
    event: Event


@dataclass(frozen=True, slots=True)
class Batch:
    """Usage that is imported together when the clock shows `now`."""

    now: int
    usage: tuple[Usage, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A catalogue, and usage in the order in which it comes. ``end`` is when one looks at last."""

    meters: tuple[Meter, ...]
    subscriptions: tuple[Subscription, ...]
    batches: tuple[Batch, ...]
    end: int

    @property
    def usage(self) -> tuple[Usage, ...]:
        """All usage, in the order in which it comes."""
        return tuple(usage for batch in self.batches for usage in batch.usage)


class World:
    """A scenario's catalogue in a table, and what can be done to it."""

    def __init__(self, scenario: Scenario, table: Table | None = None) -> None:
        self.scenario = scenario
        self.table = StaleTable(page_items=7) if table is None else table
        write_catalogue(self.table, ORGANIZATION, scenario.meters, scenario.subscriptions, ())
        self.account = _account(self.table)

    def load(self, name: str, usage: Sequence[Usage], now: int) -> ImportReport:
        """Import usage as one source."""
        return self.load_refusing(name, usage, now)[0]

    def load_refusing(
        self, name: str, usage: Sequence[Usage], now: int
    ) -> tuple[ImportReport, list[tuple[int, str]]]:
        """Import usage as one source; give what was refused, too."""
        refused: list[tuple[int, str]] = []
        lines = [SourceLine(line, each.subject, each.event) for line, each in enumerate(usage, start=1)]
        report = Importer(self.table, self.account).run(
            Source(name, digest(name)), lines, now, lambda line, _, reason: refused.append((line, reason))
        )
        return report, refused

    def run(self, batches: Iterable[Batch] | None = None) -> "World":
        """Import all batches, each as a source of its own."""
        for number, batch in enumerate(self.scenario.batches if batches is None else batches):
            self.load(f"batch {number}", batch.usage, batch.now)
        return self

    def roll(self, now: int) -> int:
        """Let the clock publish."""
        fold = Fold(self.table, ORGANIZATION.id, self.account.generation)
        return fold.roll(_account(self.table), now)

    def statement(
        self, subscription: Subscription, window: Window, now: int, account: Account | None = None
    ) -> Statement:
        """Measure and price a subscription's usage over a window, as the function does."""
        reader = WindowStore(self.settled).reader(account or self.account, subscription, now)
        return rate(measure(subscription, window, reader, now))

    def usage(
        self, subscription: Subscription, window: Window, now: int, account: Account | None = None
    ) -> Mapping[str, Cost]:
        """Give what each line item of a subscription measured over a window, and what that costs."""
        return self.statement(subscription, window, now, account).lines

    @property
    def settled(self) -> Table:
        """The table, asked when a moment has passed since the last write."""
        if isinstance(self.table, MemoryTable):
            self.table.settle()
        return self.table

    def days(self, **filters: object) -> DayTotals:
        """Ask the analytics for every day, added up by day, currency and meter's code."""
        items = AnalyticsStore(self.settled).daily_usage(
            self.account, self.query(**filters), self.scenario.end
        )
        return totals(listed(items))

    def query(self, **filters: object) -> UsageQuery:
        """Give the query that asks the analytics for every day."""
        return replace(UsageQuery(Granularity.DAILY, *self.range()), **filters)  # type: ignore[arg-type]

    def range(self) -> tuple[int, int]:
        """Give the days of the whole scenario."""
        starts = [subscription.start for subscription in self.scenario.subscriptions]
        clock = zone("UTC")
        return clock.day_of(min(starts)) - 3, clock.day_of(self.scenario.end) + 3


def digest(name: str) -> str:
    """Give what stands for a source's SHA-256."""
    return sha256(name.encode()).hexdigest()


def oracles(scenario: Scenario, usage: Iterable[Usage] | None = None) -> list[Oracle]:
    """Give an oracle for each subscription, that knows its own events."""
    everything = list(scenario.usage if usage is None else usage)
    found = []
    for subscription in scenario.subscriptions:
        own = (
            Subject.subscription(subscription.external_id),
            Subject.customer(subscription.customer_id),
        )
        found.append(Oracle(subscription, [each.event for each in everything if each.subject in own]))
    return found


def listed(items: Iterable[CountedDays]) -> list[DayUsage]:
    """Give the days of all items that were read."""
    return [day for item in items for day in item.days]


def totals(days: Iterable[DayUsage]) -> DayTotals:
    """Add days up by day, currency and code; those that come to nothing are left out."""
    found: DayTotals = {}
    for each in days:
        key = each.day, each.currency, each.metric_code
        units, cents = found.get(key, (Decimal(0), 0))
        found[key] = add(units, each.units), cents + each.amount_cents
    return {key: (units, cents) for key, (units, cents) in found.items() if units or cents}


def expected(scenario: Scenario, days: Iterable[Day]) -> DayTotals:
    """Add the oracle's days up like `totals`."""
    codes = {meter.id: meter.code for meter in scenario.meters}
    return totals(
        DayUsage(each.day, each.currency, codes[each.meter_id], each.units, each.cents) for each in days
    )


def views() -> Iterator[dict[str, str]]:
    """List combinations of filters on plan, country and type, of the values that scenarios use."""
    some = [*product((None, "basic", "pro"), (None, "DE", "NO"), (None, "company"))]
    some += [*product(("one", "seven"), (None, "DE", "NO"), (None,)), (None, None, "individual")]
    for plan, country, kind in some:
        found = {"plan_code": plan, "customer_country": country, "customer_type": kind}
        yield {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Filters:
    """A query's filters, and which of the oracle's days pass them."""

    query: dict[str, object]

    def keep(self, scenario: Scenario, subscription: Subscription, days: Iterable[Day]) -> list[Day]:
        """Keep the days that pass."""
        meters = {meter.id: meter for meter in scenario.meters}
        first, last = self.query.get("from_day", 0), self.query.get("to_day", 10**9)
        assert isinstance(first, int)
        assert isinstance(last, int)

        def passes(day: Day) -> bool:
            facts = {
                "currency": day.currency,
                "plan_code": day.plan,
                "customer_country": day.country,
                "customer_type": day.customer_type,
                "recurring": meters[day.meter_id].recurring,
                "metric_code": meters[day.meter_id].code,
                "external_customer_id": subscription.customer_id,
                "external_subscription_id": subscription.external_id,
            }
            return first <= day.day <= last and all(
                facts[name] == value for name, value in self.query.items() if name in facts
            )

        return [day for day in days if passes(day)]


@st.composite
def filters(draw: st.DrawFn, world: World) -> Filters:
    """Draw any combination of filters."""
    random = Random(draw(st.integers(0, 2**64)))  # noqa: S311 - nothing secret
    first, last = world.range()
    between = sorted(random.randint(first, last) for _ in range(2))
    choices: dict[str, list[object]] = {
        "currency": ["usd", "jpy"],
        "plan_code": ["basic", "pro"],
        "customer_country": ["DE", "NO"],
        "customer_type": ["company", "individual"],
        "recurring": [True, False],
        "metric_code": ["shared", "code0"],
        "external_customer_id": ["cust a", "cust b", "nobody"],
        "external_subscription_id": ["ext 0", "ext 1"],
    }
    found = {name: random.choice(values) for name, values in choices.items() if random.random() < 0.25}
    return Filters(found | {"from_day": between[0], "to_day": between[1]})


def _account(table: Table) -> Account:
    account = read_account(table, ORGANIZATION.id, consistent=True)
    assert account is not None
    return account


# Strategies: Hypothesis draws sizes and a seed, the rest is as rich as chance makes it, which drawing bit by bit
# is not.

_VALUES = (
    1,
    2,
    3,
    5,
    10,
    11,
    100,
    0,
    -1,
    -4,
    Decimal("0.5"),
    Decimal("2.375"),
    Decimal("0.028999999999999998"),
    "1.5E-7",
    "0.0000000001396983861923",
    42259901212262400,
    "7.001",
    "-3.5",
    "abc",
    None,
    True,
)
_MULTIPLIERS = (Decimal("1.5"), Decimal("0.000000000333"), Decimal("-0.001"))
_TEXTS = ("a", "b", "c", "#1", "%", "~x", "", "é" * 40, "x" * 70, 5, Decimal("5.0"), True, None)
_AMOUNTS = tuple(Decimal(text) for text in ("0", "1", "0.333", "1.005", "12.5", "0.0004"))


@st.composite
def scenarios(draw: st.DrawFn, *, most_events: int = 24, most_batches: int = 3) -> Scenario:
    """Draw a scenario: its clock never goes back, its usage comes in any order."""
    most = draw(st.sampled_from([2, most_events, most_events, most_events]))
    random = Random(draw(st.integers(0, 2**64)))  # noqa: S311 - nothing secret
    return make(random, random.randint(1, most), draw(st.integers(1, most_batches)))


def make(random: Random, events: int, most_batches: int) -> Scenario:
    """Make a scenario by chance."""
    zone_name, change = random.choice(PLACES)
    around = parse_instant(change)
    found = [_meter(random, number, around) for number in range(random.randint(1, 3))]
    subscribed = [
        _subscription(random, number, zone_name, around, found) for number in range(random.randint(1, 2))
    ]
    if len(subscribed) > 1 and (end := subscribed[0].end) is not None and random.random() < 0.5:
        # The first one's external id is used again, from when it is free.
        start = max(end, subscribed[1].start)
        until = subscribed[1].end
        until = until if until is None or until > start else start + 9 * DAY
        subscribed[1] = replace(subscribed[1], external_id=subscribed[0].external_id, start=start, end=until)
    if len(subscribed) > 1 and subscribed[1].customer_id == subscribed[0].customer_id:
        # They are facts of the customer.
        facts = subscribed[0].country, subscribed[0].customer_type
        subscribed[1] = replace(subscribed[1], country=facts[0], customer_type=facts[1])
    usage: list[Usage] = []
    for number in range(events):
        usage.append(_usage(random, random.choice(subscribed), number, [each.event.at for each in usage]))
    direction = random.choice([1, 0, -1])  # in order, in any order, backwards
    usage.sort(key=lambda each: direction * each.event.at)
    cuts = sorted(random.randint(0, events) for _ in range(most_batches - 1))
    batches: list[Batch] = []
    now = 0
    for begin, until in zip([0, *cuts], [*cuts, events], strict=True):
        if some := tuple(usage[begin:until]):
            latest = max(each.event.at for each in some)
            now = max(now, latest - random.choice([0, 0, AHEAD])) + random.choice([0, 0, 1, HOUR, 2 * DAY])
            batches.append(Batch(now, some))
    later = random.choice([0, AHEAD, DAY, 9 * DAY + 1, 40 * DAY])
    return Scenario(tuple(found), tuple(subscribed), tuple(batches), now + later)


def _meter(random: Random, number: int, around: int) -> Meter:
    aggregation = random.choice(list(Aggregation))
    can_recur = aggregation in {Aggregation.SUM, Aggregation.COUNT_UNIQUE, Aggregation.WEIGHTED_SUM}
    recurring = can_recur and random.random() < 0.6
    bucketed = aggregation in {Aggregation.MAX, Aggregation.SUM} and not recurring and random.random() < 0.6
    unique = aggregation is Aggregation.COUNT_UNIQUE
    return Meter(
        f"meter {number}",
        random.choice([f"code{number}", "shared"]),
        f"Meter {number}",
        aggregation,
        random.choice(["call", "call", "other"]),
        field=None if aggregation is Aggregation.COUNT else "text" if unique else "value",
        multiplier=random.choice(_MULTIPLIERS)
        if aggregation is Aggregation.SUM_WITH_MULTIPLIER
        else Decimal(1),
        filters=random.choice([(), (), (), (Filter("kind", ("x", "5")),)]),
        recurring=recurring,
        bucket_size=random.choice(list(BucketSize)) if bucketed else None,
        deleted_at=random.choice([*[None] * 6, around - DAY, around + 10 * DAY + 7]),
    )


def _price(random: Random, name: str, currency: str) -> Price:
    """Make a price of any billing model, sometimes with a billing period of its own."""
    period = random.choice([None, None, None, "DAILY", "WEEKLY", "MONTHLY"])
    price = Price(
        name,
        currency,
        BillingModel.FLAT_FEE,
        amount=random.choice(_AMOUNTS),
        billing_period=period,
        billing_period_count=1 if period is None else random.randint(1, 2),
    )
    model = random.choice(["flat", "package", *TierMode])
    if model == "flat":
        return price
    if model == "package":
        transform = TransformQuantity(random.randint(1, 7), random.choice(list(RoundType)))
        return replace(price, billing_model=BillingModel.PACKAGE, transform_quantity=transform)
    bounds = sorted(random.sample(range(1, 30), random.randint(0, 2)))
    tiers = tuple(
        Tier(bound, random.choice(_AMOUNTS), random.choice([Decimal(0), Decimal("3.5")]))
        for bound in [*bounds, None]
    )
    return replace(price, billing_model=BillingModel.TIERED, tier_mode=TierMode(model), tiers=tiers)


def _spans(random: Random, start: int, end: int | None) -> list[tuple[int, int | None]]:
    """Make the spans of line items on one meter: whole, begun or ended inside, replaced with or without a gap."""
    cut = max(start + random.randint(-DAY, 30 * DAY), start + 1)
    later = cut + random.choice([0, 1, HOUR, 3 * DAY + 5])
    return random.choice(
        [
            [(start, end)],
            [(start, end)],
            [(cut, end)],
            [(start, cut)],
            [(start, cut), (later, None)],
            [(start, cut), (cut, cut + 2 * DAY + 3), (later + 2 * DAY + 3, end)],
        ]
    )


def _subscription(
    random: Random, number: int, zone_name: str, around: int, found: Sequence[Meter]
) -> Subscription:
    offset = random.choice(
        [0, -DAY, -31 * DAY + 9 * HOUR + 27 * MINUTE + 43_123_456, random.randint(-40 * DAY, 5 * DAY)]
    )
    start = around + offset
    end = random.choice([None, None, start + random.randint(1, 70 * DAY)])
    currency = random.choice(["usd", "jpy", "kwd"])
    items: list[LineItem] = []
    for meter in found:
        for begin, until in _spans(random, start, end) if random.random() < 0.95 else ():
            name = f"item {number}.{len(items)}"
            price = replace(_price(random, f"price {name}", currency), meter_id=meter.id)
            items.append(LineItem(name, price, begin, until, meter))
    return Subscription(
        f"sub {number}",
        f"ext {number}",
        random.choice(["cust a", "cust b"]),
        currency,
        zone_name,
        start,
        end,
        random.choice(list(BillingPeriod)),
        random.choice([1, 1, 1, 2, 3]),
        random.choice(list(BillingCycle)),
        start + random.choice([0, 0, random.randint(-400 * DAY, 10 * DAY)]),
        (Dated("basic"), Dated("pro", around + random.choice([0, DAY, 20 * DAY]))),
        random.choice([(), (Dated("DE"),), (Dated("NO", around), Dated("DE", around + 9 * DAY))]),
        random.choice([(), (Dated("company", around - 5 * DAY),)]),
        random.choice([None, *(Commitment(Decimal(20), Decimal("1.5"), split) for split in CommitmentSplit)]),
        tuple(items),
    )


def _usage(random: Random, subscription: Subscription, number: int, times: Sequence[int]) -> Usage:
    """Make an event that the subscription holds; often at, or close to, a time that another event has."""
    length = min(_length(subscription), 60 * DAY)
    near = [each for each in times if 0 <= each - subscription.start < length]
    at = subscription.start + random.randrange(length)
    if near and random.random() < 0.4:
        close = random.choice(near) + random.choice([0, 0, 1, -1, MINUTE, HOUR])
        at = min(max(close, subscription.start), subscription.start + length - 1)
    elif random.random() < 0.3 and subscription.line_items:
        # At, or just before, a bound of a billing period.
        item = random.choice(subscription.line_items)
        bound = subscription.cadence(item).period_at(at).start - random.choice([0, 1, MINUTE])
        at = max(bound, subscription.start)
    properties = {
        "value": random.choice(_VALUES),
        "text": random.choice(_TEXTS),
        "kind": random.choice(["x", "x", "x", 5, "y", None]),
    }
    subject = Subject.subscription(subscription.external_id)
    if random.random() < 0.2:
        subject = Subject.customer(subscription.customer_id)
    name = random.choice(["call", "call", "call", "other", "code0"])
    return Usage(subject, Event(f"e{number}", name, at, properties))


def _length(subscription: Subscription) -> int:
    return 60 * DAY if subscription.end is None else subscription.end - subscription.start


@st.composite
def windows(draw: st.DrawFn, scenario: Scenario, subscription: Subscription) -> tuple[int, int]:
    """Draw a window: by bounds of periods, days, hours, events, or to the microsecond; some are empty."""
    random = Random(draw(st.integers(0, 2**64)))  # noqa: S311 - nothing secret
    one, other = _bound(random, scenario, subscription), _bound(random, scenario, subscription)
    if random.random() < 0.1:
        other = one
    return min(one, other), max(one, other)


def _bound(random: Random, scenario: Scenario, subscription: Subscription) -> int:
    clock = zone(subscription.timezone)
    start, until = subscription.start - 2 * DAY, min(scenario.end + DAY, subscription.start + 90 * DAY)
    at = random.randint(start, max(until, start))
    match random.choice(["exact", "day", "hour", "minute", "period", "item", "event", "bucket"]):
        case "day":
            return clock.day_start(clock.day_of(at))
        case "hour":
            return clock.hour_bounds(*clock.hour_of(at))[0]
        case "minute":
            return at // MINUTE * MINUTE
        case "bucket":
            return bucket_bounds(random.choice(list(BucketSize)), at, clock)[0]
        case "period":
            return subscription.cadence().period_at(at).start
        case "item" if subscription.line_items:
            item = random.choice(subscription.line_items)
            period = subscription.cadence(item).period_at(at)
            bounds = [item.start, item.end, period.start, period.end]
            return random.choice([each for each in bounds if each is not None])
        case "event":
            return random.choice(scenario.usage).event.at + random.choice([0, 1, 0, 3 * MINUTE])
        case _:
            return at

"""Small worlds to count in: a catalogue, usage that comes in its own order, and a clock that moves."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import sha256
from itertools import product

from hypothesis import strategies as st

from memory_table import MemoryTable
from meterstone.pricing.commitment import Commitment, CommitmentSplit
from meterstone.pricing.price import BillingModel, Price, RoundType, Tier, TierMode, TransformQuantity
from meterstone.store.admin import write_catalogue
from meterstone.store.catalogue import Account, read_account, read_subscription
from meterstone.store.event_log import Target
from meterstone.store.fold import Fold
from meterstone.store.imports import Given, Importer, ImportReport, Source
from meterstone.store.reads import Store
from meterstone.store.table import Table
from meterstone.usage.analytics import DayUsage, UsageQuery
from meterstone.usage.calendar import BucketSize, Granularity, zone
from meterstone.usage.instant import DAY, HOUR, MINUTE, parse_instant
from meterstone.usage.meter import Aggregation, Event, Filter, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.subscription import Dated, LineItem, Organization, Subscription
from oracle import Day, Oracle

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

    target: Target
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
        self.table = MemoryTable(page_items=7) if table is None else table
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
        lines = [Given(line, each.target, each.event) for line, each in enumerate(usage, start=1)]
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
        return fold.roll(lambda each: read_subscription(self.table, ORGANIZATION.id, each), now)

    @property
    def store(self) -> Store:
        """The read side."""
        return Store(self.table)

    def days(self, **filters: object) -> DayTotals:
        """Ask the analytics for every day, added up by day, currency and meter's code."""
        query = replace(UsageQuery(Granularity.DAILY, *self.range()), **filters)  # type: ignore[arg-type]
        return totals(self.store.daily_usage(self.account, query))

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
            Target.subscription(subscription.external_id),
            Target.customer(subscription.customer_id),
        )
        found.append(Oracle(subscription, [each.event for each in everything if each.target in own]))
    return found


def totals(days: Iterable[DayUsage]) -> DayTotals:
    """Add days up by day, currency and code; those that come to nothing are left out."""
    found: DayTotals = {}
    for each in days:
        key = each.day, each.currency, each.metric_code
        units, cents = found.get(key, (Decimal(0), 0))
        found[key] = units + each.units, cents + each.amount_cents
    return {key: (units, cents) for key, (units, cents) in found.items() if units or cents}


def expected(scenario: Scenario, days: Iterable[Day]) -> DayTotals:
    """Add the oracle's days up like `totals`."""
    codes = {meter.id: meter.code for meter in scenario.meters}
    return totals(
        DayUsage(each.day, each.currency, codes[each.meter_id], each.units, each.cents) for each in days
    )


def views() -> Iterator[dict[str, str]]:
    """List every combination of filters on plan, country and type, of the values that scenarios use."""
    for plan, country, kind in product((None, "basic", "pro"), (None, "DE", "NO"), (None, "company")):
        found = {"plan_code": plan, "customer_country": country, "customer_type": kind}
        yield {name: value for name, value in found.items() if value is not None}


def _account(table: Table) -> Account:
    account = read_account(table, ORGANIZATION.id)
    assert account is not None
    return account


# Strategies

_VALUES = st.sampled_from(
    [1, 2, 3, 5, 10, 11, 100, 0, -1, -4, Decimal("0.5"), Decimal("2.375"), "7.001", "-3.5", "abc", None, True]
)
_TEXTS = st.sampled_from(
    ["a", "b", "c", "#1", "%", "~x", "", "é" * 40, "x" * 70, 5, Decimal("5.0"), True, None]
)
_AMOUNTS = st.sampled_from([Decimal(text) for text in ("0", "1", "0.333", "1.005", "12.5", "0.0004")])


@st.composite
def prices(draw: st.DrawFn, name: str, currency: str) -> Price:
    """Draw a price of any billing model, sometimes with a billing period of its own."""
    period = draw(st.sampled_from([None, None, None, "DAILY", "WEEKLY", "MONTHLY"]))
    count = 1 if period is None else draw(st.integers(1, 2))
    price = Price(name, currency, BillingModel.FLAT_FEE, billing_period=period, billing_period_count=count)
    match draw(st.sampled_from(["flat", "package", "volume", "slab"])):
        case "flat":
            return replace(price, amount=draw(_AMOUNTS))
        case "package":
            transform = TransformQuantity(draw(st.integers(1, 7)), draw(st.sampled_from(RoundType)))
            amount = draw(_AMOUNTS)
            return replace(
                price, billing_model=BillingModel.PACKAGE, amount=amount, transform_quantity=transform
            )
        case mode:
            bounds = draw(st.lists(st.integers(1, 30), max_size=2, unique=True).map(sorted))
            tiers = tuple(
                Tier(bound, draw(_AMOUNTS), draw(st.sampled_from([Decimal(0), Decimal("3.5")])))
                for bound in [*bounds, None]
            )
            tier_mode = {"volume": TierMode.VOLUME, "slab": TierMode.SLAB}[mode]
            return replace(price, billing_model=BillingModel.TIERED, tier_mode=tier_mode, tiers=tiers)


@st.composite
def meters(draw: st.DrawFn, number: int, around: int) -> Meter:
    """Draw a meter of any aggregation."""
    aggregation = draw(st.sampled_from(Aggregation))
    recurring = aggregation in {Aggregation.SUM, Aggregation.COUNT_UNIQUE, Aggregation.WEIGHTED_SUM} and draw(
        st.booleans()
    )
    bucketed = aggregation in {Aggregation.MAX, Aggregation.SUM} and not recurring and draw(st.booleans())
    unique = aggregation is Aggregation.COUNT_UNIQUE
    return Meter(
        f"meter {number}",
        draw(st.sampled_from([f"code{number}", "shared"])),
        f"Meter {number}",
        aggregation,
        draw(st.sampled_from(["call", "other"])),
        field=None if aggregation is Aggregation.COUNT else "text" if unique else "value",
        multiplier=Decimal("1.5") if aggregation is Aggregation.SUM_WITH_MULTIPLIER else Decimal(1),
        filters=draw(st.sampled_from([(), (), (Filter("kind", ("x", "5")),)])),
        recurring=recurring,
        bucket_size=draw(st.sampled_from(BucketSize)) if bucketed else None,
        deleted_at=draw(st.sampled_from([None, None, None, around - DAY, around + 10 * DAY + 7])),
    )


@st.composite
def spans(draw: st.DrawFn, start: int, end: int | None) -> list[tuple[int, int | None]]:
    """Draw the spans of line items on one meter: whole, begun or ended inside, replaced with or without a gap."""
    cut = start + draw(st.integers(-DAY, 50 * DAY))
    later = cut + draw(st.sampled_from([0, 1, HOUR, 3 * DAY + 5]))
    match draw(st.sampled_from(["whole", "whole", "late", "early", "two", "two", "three"])):
        case "whole":
            return [(start, end)]
        case "late":
            return [(cut, end)]
        case "early":
            return [(start, max(cut, start + 1))]
        case "two":
            return [(start, max(cut, start + 1)), (max(later, start + 1), None)]
        case _:
            first = max(cut, start + 1)
            return [(start, first), (first, first + 2 * DAY + 3), (max(later, first + 2 * DAY + 3), end)]


@st.composite
def subscriptions(
    draw: st.DrawFn, number: int, zone_name: str, around: int, found: Sequence[Meter]
) -> Subscription:
    """Draw a subscription to some of the meters."""
    start = around + draw(
        st.one_of(
            st.sampled_from([0, -DAY, -31 * DAY + 9 * HOUR + 27 * MINUTE + 43_123_456]),
            st.integers(-40 * DAY, 5 * DAY),
        )
    )
    end = draw(st.one_of(st.none(), st.integers(1, 70 * DAY).map(lambda length: start + length)))
    currency = draw(st.sampled_from(["usd", "jpy", "kwd"]))
    items: list[LineItem] = []
    for meter in found:
        if draw(st.integers(0, 3)) == 0:
            continue
        for begin, until in draw(spans(start, end)):
            name = f"item {number}.{len(items)}"
            price = draw(prices(f"price {name}", currency))
            items.append(LineItem(name, replace(price, meter_id=meter.id), begin, until, meter))
    dated = st.sampled_from([0, DAY, 20 * DAY]).map(lambda offset: around + offset)
    return Subscription(
        f"sub {number}",
        f"ext {number}",
        draw(st.sampled_from(["cust a", "cust b"])),
        currency,
        zone_name,
        start,
        end,
        draw(st.sampled_from(BillingPeriod)),
        draw(st.sampled_from([1, 1, 1, 2, 3])),
        draw(st.sampled_from(BillingCycle)),
        draw(st.one_of(st.just(start), st.integers(-400 * DAY, 10 * DAY).map(lambda offset: start + offset))),
        (Dated("basic"), Dated("pro", draw(dated))),
        draw(st.sampled_from([(), (Dated("DE"),), (Dated("NO", around), Dated("DE", around + 9 * DAY))])),
        draw(st.sampled_from([(), (Dated("company", around - 5 * DAY),)])),
        draw(
            st.sampled_from(
                [
                    None,
                    Commitment(Decimal(20), Decimal("1.5")),
                    Commitment(Decimal(20), Decimal("1.5"), CommitmentSplit.WHOLE_UNITS),
                ]
            )
        ),
        tuple(items),
    )


@st.composite
def usages(draw: st.DrawFn, subscription: Subscription, number: int, times: Sequence[int]) -> Usage:
    """Draw an event that the subscription holds; often at a time that another event has, too."""
    length = 60 * DAY if subscription.end is None else min(subscription.end - subscription.start, 60 * DAY)
    near = [each for each in times if 0 <= each - subscription.start < length]
    offsets = st.integers(0, length - 1)
    at = subscription.start + draw(offsets)
    if near and draw(st.integers(0, 2)) == 0:
        close = draw(st.sampled_from(near)) + draw(st.sampled_from([0, 0, 1, -1, MINUTE, HOUR]))
        at = min(max(close, subscription.start), subscription.start + length - 1)
    properties = {
        "value": draw(_VALUES),
        "text": draw(_TEXTS),
        "kind": draw(st.sampled_from(["x", "x", 5, "y", None])),
    }
    target = Target.subscription(subscription.external_id)
    if draw(st.integers(0, 4)) == 0:
        target = Target.customer(subscription.customer_id)
    name = draw(st.sampled_from(["call", "call", "other"]))
    return Usage(target, Event(f"e{number}", name, at, properties))


@st.composite
def scenarios(draw: st.DrawFn, *, most_events: int = 20, most_batches: int = 3) -> Scenario:
    """Draw a scenario: its clock never goes back, its usage comes in any order."""
    zone_name, change = draw(st.sampled_from(PLACES))
    around = parse_instant(change)
    found = [draw(meters(number, around)) for number in range(draw(st.integers(1, 3)))]
    subscribed = [
        draw(subscriptions(number, zone_name, around, found)) for number in range(draw(st.integers(1, 2)))
    ]
    usage: list[Usage] = []
    for number in range(draw(st.integers(1, most_events))):
        subscription = draw(st.sampled_from(subscribed))
        usage.append(draw(usages(subscription, number, [each.event.at for each in usage])))
    direction = draw(st.sampled_from([1, 0, -1]))  # in order, in any order, backwards
    usage.sort(key=lambda each: direction * each.event.at)
    cuts = sorted(draw(st.lists(st.integers(0, len(usage)), max_size=most_batches - 1)))
    batches: list[Batch] = []
    now = 0
    for begin, until in zip([0, *cuts], [*cuts, len(usage)], strict=True):
        some = tuple(usage[begin:until])
        if some:
            latest = max(each.event.at for each in some)
            now = max(now, latest - draw(st.sampled_from([0, 0, AHEAD]))) + draw(
                st.sampled_from([0, 0, 1, HOUR, 2 * DAY])
            )
            batches.append(Batch(now, some))
    later = draw(st.sampled_from([0, AHEAD, DAY, 9 * DAY + 1, 40 * DAY]))
    return Scenario(tuple(found), tuple(subscribed), tuple(batches), now + later)


@st.composite
def windows(draw: st.DrawFn, scenario: Scenario, subscription: Subscription) -> tuple[int, int]:
    """Draw a window: by bounds of periods, days, hours, buckets, events, or to the microsecond; some are empty."""
    clock = zone(subscription.timezone)
    start, until = subscription.start - 2 * DAY, min(scenario.end + DAY, subscription.start + 90 * DAY)

    def bound() -> int:
        at = draw(st.integers(start, max(until, start)))
        match draw(st.sampled_from(["exact", "day", "hour", "period", "item", "event", "minute"])):
            case "day":
                return clock.day_start(clock.day_of(at))
            case "hour":
                return clock.hour_bounds(*clock.hour_of(at))[0]
            case "minute":
                return at // MINUTE * MINUTE
            case "period":
                return subscription.cadence().period_at(at).start
            case "item" if subscription.line_items:
                item = draw(st.sampled_from(subscription.line_items))
                bounds = [item.start, item.end, *_period_bounds(subscription, item, at)]
                return draw(st.sampled_from([each for each in bounds if each is not None]))
            case "event":
                return draw(st.sampled_from(scenario.usage)).event.at + draw(st.integers(0, 1))
            case _:
                return at

    one, other = bound(), bound()
    if draw(st.integers(0, 9)) == 0:
        other = one
    return min(one, other), max(one, other)


def _period_bounds(subscription: Subscription, item: LineItem, at: int) -> list[int | None]:
    period = subscription.cadence(item).period_at(at)
    return [period.start, period.end]

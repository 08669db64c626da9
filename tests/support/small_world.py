"""A world of one subscription, small enough to be worked out by hand, or with much of one thing."""

from collections.abc import Iterable
from copy import replace
from decimal import Decimal

from meterstone.pricing.price import BillingModel, Price, Tier, TierMode
from meterstone.store.events.log import Subject
from meterstone.usage.instant import DAY, parse_instant
from meterstone.usage.meter import Aggregation, Event, Meter, Properties
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.subscription import Dated, LineItem, Subscription
from meterstone.usage.window import Window
from support.counting import check_analytics, check_window
from support.scenario import Scenario, Usage, World, oracles

START = parse_instant("2023-01-15T09:27:43.123456Z")
FALLING = Price(
    "falling",
    "usd",
    BillingModel.TIERED,
    tier_mode=TierMode.VOLUME,
    tiers=(Tier(100, Decimal(2)), Tier(None, Decimal("0.777"))),
)
FLAT = Price("flat", "usd", BillingModel.FLAT_FEE, amount=Decimal("0.25"))


def subscription(period: BillingPeriod, items: Iterable[tuple[Meter, Price]]) -> Subscription:
    """Give a subscription that is in every view, with a line item on each meter."""
    return Subscription(
        "sub", "ext", "cust", "usd", "America/Chicago", START, None, period, 1, BillingCycle.ANNIVERSARY, START,
        (Dated("basic"), Dated("pro", START + 30 * DAY)), (Dated("DE"),), (Dated("company"),), None,
        tuple(LineItem(f"item {meter.id}", price_of(meter, price), START, None, meter) for meter, price in items),
    )  # fmt: skip


def price_of(meter: Meter, price: Price) -> Price:
    """Give a price as a record of the meter's own: a price is stored once, and is of one meter."""
    return replace(price, id=f"{price.id} {meter.id}", meter_id=meter.id)


def world_of(period: BillingPeriod, items: list[tuple[Meter, Price]], end: int) -> World:
    """Give a world of one subscription, without usage."""
    meters = tuple(meter for meter, _ in items)
    return World(Scenario(meters, (subscription(period, items),), (), end))


def meter(name: str, aggregation: Aggregation, **more: object) -> Meter:
    """Give a meter that counts calls."""
    field = {Aggregation.COUNT: None, Aggregation.COUNT_UNIQUE: "text"}.get(aggregation, "value")
    return replace(Meter(name, name, name, aggregation, "call", field), **more)  # type: ignore[arg-type]


def call(ident: str, after: int, **properties: object) -> Usage:
    """Give an event so long after the start."""
    found: Properties = properties  # type: ignore[assignment]
    return Usage(Subject.subscription("ext"), Event(ident, "call", START + after, found))


def check(world: World, usage: Iterable[Usage], *windows: tuple[int, int]) -> None:
    """Compare the analytics and some windows, as offsets from the start, with the oracle."""
    now = world.scenario.end
    usage = tuple(usage)
    check_analytics(world, usage, now)
    (oracle,) = oracles(world.scenario, usage)
    for start, end in ((0, now - START), *windows):
        check_window(world, oracle, Window(START + start, START + end), now)

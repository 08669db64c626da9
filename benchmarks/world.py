"""The made-up organization that is measured: its meters, plans and subscriptions, and its usage.

Plans, countries and currencies are the same however many subscriptions there are. Usage lies in April and May 2025
and is read as of the end of May.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from random import Random

from meterstone.pricing.commitment import Commitment
from meterstone.pricing.price import BillingModel, Price, Tier, TierMode, TransformQuantity
from meterstone.store.events.log import Subject
from meterstone.store.operations.imports import SourceLine
from meterstone.usage.instant import SECOND
from meterstone.usage.meter import Aggregation, Event, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.subscription import Dated, LineItem, Organization, Subscription

ORGANIZATION = Organization("5f8c2a6e-41f5-4d0e-9c39-2a1f6a0b7d11", "Benchmark")
KEY_NAME = "benchmark"


def instant(year: int, month: int, day: int) -> int:
    """Give the start of a day in UTC."""
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * SECOND


START = instant(2025, 4, 1)
NOW = instant(2025, 6, 1) - 7 * SECOND

_COUNTRIES = ("US", "DE", "FR", "JP", "BR")
_PLANS = ("starter", "team", "business", "enterprise")

METERS = (
    Meter("met_requests", "requests", "Requests", Aggregation.COUNT, "request"),
    Meter("met_tokens", "tokens", "Tokens", Aggregation.SUM, "generation", field="tokens"),
    Meter("met_peak", "peak", "Peak memory", Aggregation.MAX, "sample", field="gigabytes"),
    Meter("met_latency", "latency", "Mean latency", Aggregation.AVG, "probe", field="ms"),
)

TIERS = (
    Tier(100, Decimal("0.05")),
    Tier(10_000, Decimal("0.02"), Decimal(1)),
    Tier(1_000_000, Decimal("0.005"), Decimal(5)),
    Tier(None, Decimal("0.001"), Decimal(20)),
)


def price(identity: str, meter: Meter, model: int) -> Price:
    """Give a price: flat, by the package, volume or slab, by ``model`` modulo 4."""
    match model % 4:
        case 0:
            return Price(identity, "usd", BillingModel.FLAT_FEE, Decimal("0.0125"), meter_id=meter.id)
        case 1:
            return Price(
                identity,
                "usd",
                BillingModel.PACKAGE,
                Decimal("2.5"),
                meter_id=meter.id,
                transform_quantity=TransformQuantity(1000),
            )
        case other:
            mode = TierMode.VOLUME if other == 2 else TierMode.SLAB  # noqa: PLR2004 - the third of four
            return Price(identity, "usd", BillingModel.TIERED, meter_id=meter.id, tier_mode=mode, tiers=TIERS)


def subscription(
    number: int, meters: tuple[Meter, ...] = METERS, items: int | None = None, start: int = START
) -> Subscription:
    """Give a subscription with ``items`` line items over some meters, one for each of them by default."""
    many = len(meters) if items is None else items
    return Subscription(
        id=f"sub_{number:05}",
        external_id=f"external_{number:05}",
        customer_id=f"customer_{number:05}",
        currency="usd",
        timezone="UTC",
        start=start,
        end=None,
        billing_period=BillingPeriod.MONTHLY,
        billing_period_count=1,
        billing_cycle=BillingCycle.CALENDAR,
        anchor=start,
        plan=(Dated(_PLANS[number % len(_PLANS)]),),
        country=(Dated(_COUNTRIES[number % len(_COUNTRIES)]),),
        customer_type=(Dated("company" if number % 3 else "individual"),),
        commitment=Commitment(Decimal(500), Decimal("1.5")),
        line_items=tuple(
            LineItem(
                f"li_{number:05}_{place:03}",
                price(f"price_{place:03}", meters[place % len(meters)], place),
                start,
                None,
                meters[place % len(meters)],
            )
            for place in range(many)
        ),
    )


def usage(
    events: int, subscriptions: int, start: int = START, meters: tuple[Meter, ...] = METERS, seed: int = 0
) -> Iterator[SourceLine]:
    """Give events spread evenly over the time, the subscriptions and the meters, in order of time."""
    random = Random(seed)  # noqa: S311 - the same usage in every run
    step = (NOW - start) // events
    for number in range(events):
        meter = meters[(number // subscriptions + seed) % len(meters)]
        at = start + number * step + random.randrange(step)
        properties = {} if meter.field is None else {meter.field: Decimal(random.randrange(1, 5000))}
        yield SourceLine(
            number + 1,
            Subject.subscription(f"external_{number % subscriptions:05}"),
            Event(f"event-{number:09}", meter.event_name, at, properties),
        )

"""A small scenario by hand that has everything which makes counting hard."""

from dataclasses import replace
from decimal import Decimal

from meterstone.pricing.price import BillingModel, Price, Tier, TierMode
from meterstone.store.event_log import Target
from meterstone.usage.calendar import BucketSize
from meterstone.usage.instant import DAY, HOUR, parse_instant
from meterstone.usage.meter import Aggregation, Event, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.subscription import Dated, LineItem, Subscription
from scenario import Batch, Scenario, Usage

START = parse_instant("2024-01-15T09:27:43.123456Z")


def rich() -> Scenario:
    """Give a scenario with everything: chains, buckets, distinct values, two line items on each meter."""
    price = Price(
        "volume",
        "usd",
        BillingModel.TIERED,
        tier_mode=TierMode.VOLUME,
        tiers=(Tier(5, Decimal(2)), Tier(None, Decimal("0.333"), Decimal(1))),
    )
    daily = replace(price, id="daily", billing_period="DAILY")
    kinds: list[tuple[Aggregation, bool, BucketSize | None, Price]] = [
        (Aggregation.SUM, False, None, price),
        (Aggregation.SUM, True, None, daily),
        (Aggregation.COUNT_UNIQUE, True, None, daily),
        (Aggregation.COUNT_UNIQUE, False, None, price),
        (Aggregation.WEIGHTED_SUM, True, None, price),
        (Aggregation.MAX, False, BucketSize.HOUR, price),
    ]
    found = [
        Meter(
            f"meter {number}",
            f"code {number}",
            "",
            aggregation,
            "call",
            field="text" if aggregation is Aggregation.COUNT_UNIQUE else "value",
            recurring=recurring,
            bucket_size=size,
        )
        for number, (aggregation, recurring, size, _) in enumerate(kinds)
    ]
    items = [
        LineItem(f"{meter.id} {half}", kind[3], begin, end, meter)
        for meter, kind in zip(found, kinds, strict=True)
        for half, begin, end in (("a", START, START + 6 * DAY + HOUR), ("b", START + 6 * DAY + HOUR, None))
    ]
    subscription = Subscription(
        "sub", "ext", "cust", "usd", "America/Chicago", START, None, BillingPeriod.WEEKLY, 1,
        BillingCycle.ANNIVERSARY, START, (Dated("basic"), Dated("pro", START + 8 * DAY)), (Dated("DE"),),
        (Dated("company"),), None, tuple(items),
    )  # fmt: skip
    offsets = [12, 0, 30, 170, 100, 3, 99, 400, 20, 0]
    usage = [
        Usage(
            Target.subscription("ext"),
            Event(
                f"e{number}", "call", START + offset * HOUR, {"value": number - 3, "text": f"t{number % 3}"}
            ),
        )
        for number, offset in enumerate(offsets)
    ]
    end = START + 90 * DAY
    return Scenario(
        tuple(found), (subscription,), (Batch(end, tuple(usage[:6])), Batch(end, tuple(usage[6:]))), end
    )

"""A long run: customers of every kind over months, and their events as they come in, late ones among them.

A seed and a number of events make the same run each time; both stand in the names of the tests, and so beside each
failure. `make test` runs them small, `make prove` as large as they are told of. A person may choose:

    METERSTONE_SEED=7 METERSTONE_EVENTS=50000 make prove ARGS="-m long -k last_digit"
"""

import os
from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import NamedTuple

import pytest

from meterstone.pricing.price import BillingModel, Price, Tier, TierMode
from meterstone.store.events.log import Subject
from meterstone.usage.calendar import BucketSize
from meterstone.usage.instant import DAY, HOUR, MINUTE, parse_instant
from meterstone.usage.meter import Aggregation, Event, Meter, Properties
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.subscription import Dated, LineItem, Subscription
from support.counting import SCALE
from support.scenario import Usage
from support.small_world import price_of

SEED = 20_240_229
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


def long_run(usual: int, deep: int) -> pytest.MarkDecorator:
    """Give a test the seed of its run, and its number of events: ``deep`` in the profile of that name."""
    seed = int(os.environ.get("METERSTONE_SEED", SEED))
    events = int(os.environ.get("METERSTONE_EVENTS", deep if SCALE > 1 else usual))
    marks = (pytest.mark.long, pytest.mark.slow)
    return pytest.mark.parametrize(("seed", "events"), [pytest.param(seed, events, marks=marks)])


def subscription(number: int, random: Random) -> Subscription:
    """Give a subscription with a line item on each meter."""
    start = START - random.randint(0, 40) * DAY
    items = tuple(
        LineItem(f"item {number}.{meter.id}", price_of(meter, kind[3]), start, None, meter)
        for meter, kind in zip(METERS, KINDS, strict=True)
    )
    return Subscription(
        f"sub {number}", f"ext {number}", f"cust {number}", "usd",
        random.choice(["UTC", "America/Chicago", "Asia/Kolkata"]), start, None,
        random.choice([BillingPeriod.MONTHLY, BillingPeriod.WEEKLY, BillingPeriod.ANNUAL]), 1,
        random.choice(list(BillingCycle)), start, (Dated("basic"), Dated("pro", START + 20 * DAY)),
        random.choice([(), (Dated("DE"),), (Dated("NO"),)]), random.choice([(), (Dated("company"),)]), None, items,
    )  # fmt: skip


class Coming(NamedTuple):
    """An event, and when it comes in."""

    now: int
    usage: Usage


def coming(subscriptions: tuple[Subscription, ...], random: Random, events: int) -> Iterator[Coming]:
    """Give events in the order in which they come in: most as they happen, some late, some a little ahead."""
    for number in range(events):
        now = START + DAYS * DAY * number // events
        chosen = random.choice(subscriptions)
        late = random.choice([0, 0, 0, 0, -4 * MINUTE, HOUR, DAY, random.randint(0, 40 * DAY)])
        at = max(now - late - random.randint(0, MINUTE), chosen.start)
        properties: Properties = {
            "value": random.randint(-50, 400) / Decimal(8),
            "text": f"t{random.randint(0, 60)}",
        }
        subject = Subject.subscription(chosen.external_id)
        if random.random() < 0.2:
            subject = Subject.customer(chosen.customer_id)
        name = f"call{random.randrange(len(KINDS))}"
        yield Coming(now, Usage(subject, Event(f"e{number}", name, at, properties)))

"""Which prices of a catalogue are a plan's, and which of them are offered at an instant."""

from collections.abc import Mapping
from copy import replace
from decimal import Decimal

import msgspec
import pytest

from meterstone.pricing.price import BillingModel, Price, PriceType, Tier, TierMode
from meterstone.usage.instant import parse_instant
from meterstone.usage.plan import PlanPrices, plan_prices

NOW = parse_instant("2026-06-01T00:00:00Z")
PRO = {"entity_type": "PLAN", "entity_id": "pro"}


def price(name: str, details: Mapping[str, str] = PRO, currency: str = "usd", meter: str = "m") -> Price:
    return Price(name, currency, BillingModel.FLAT_FEE, Decimal(1), meter_id=meter, details=dict(details))


def test_a_price_belongs_to_the_plan_that_it_names() -> None:
    tiers = (Tier(5, Decimal("0.5")), Tier(None, Decimal("0.25"), Decimal(3)))
    own = replace(
        price("b"),
        billing_model=BillingModel.TIERED,
        tier_mode=TierMode.SLAB,
        tiers=tiers,
        billing_period="DAILY",
    )
    others = [
        price("a", {}),
        price("c", {"entity_type": "PLAN", "entity_id": "basic"}),
        price("d", {"entity_type": "SUBSCRIPTION", "entity_id": "pro"}),
        price("e", {"entity_id": "pro"}),
        replace(price("f"), type=PriceType.FIXED),
    ]
    documents = [msgspec.json.encode(each).decode() for each in (price("z"), *others, own)]
    assert plan_prices("pro", documents) == PlanPrices("pro", (own, price("z")))
    assert plan_prices("gold", documents) == PlanPrices("gold", ())


@pytest.mark.parametrize(
    ("details", "offered"),
    [
        ({}, True),
        ({"start_date": "2026-06-01T00:00:00Z"}, True),
        ({"start_date": "2026-06-01T00:00:00.000001Z"}, False),
        ({"end_date": "2026-06-01T00:00:00Z"}, False),
        ({"end_date": "2026-06-01T00:00:00.000001Z"}, True),
        ({"status": "published"}, True),
        ({"status": "archived"}, False),
        ({"status": "deleted"}, False),
    ],
)
def test_when_a_price_is_offered(details: dict[str, str], *, offered: bool) -> None:
    found = PlanPrices("pro", (price("a", PRO | details),)).in_force("usd", NOW)
    assert bool(found) is offered


def test_prices_are_those_of_the_currency_by_meter() -> None:
    one, two, other = price("a"), price("b"), price("c", meter="n")
    plan = PlanPrices("pro", (one, two, other, price("d", currency="eur")))
    assert plan.in_force("usd", NOW) == {"m": (one, two), "n": (other,)}
    assert plan.in_force("jpy", NOW) == {}

"""Plans: what is an offer of its own, and which prices are offered at an instant."""

from collections.abc import Mapping
from copy import replace
from decimal import Decimal

import pytest

from meterstone.pricing.commitment import Commitment
from meterstone.pricing.price import BillingModel, Price, PriceType, Tier, TierMode
from meterstone.store.catalogue.records import encode_document
from meterstone.usage.instant import parse_instant
from meterstone.usage.period import BillingPeriod
from meterstone.usage.plan import Plan, PlanPrices, decode_plan, decode_price, price_list

NOW = parse_instant("2026-06-01T00:00:00Z")
PRO = {"entity_type": "PLAN", "entity_id": "pro"}


def price(name: str, details: Mapping[str, str] = PRO, currency: str = "usd", meter: str = "m") -> Price:
    return Price(name, currency, BillingModel.FLAT_FEE, Decimal(1), meter_id=meter, details=dict(details))


def test_a_list_has_the_prices_for_usage_in_the_order_of_their_ids() -> None:
    found = price_list("pro", [price("z"), replace(price("f"), type=PriceType.FIXED), price("b")])
    assert found == PlanPrices("pro", (price("b"), price("z")))


def test_a_plan_and_a_price_are_read_as_they_were_written() -> None:
    tiers = (Tier(5, Decimal("0.5")), Tier(None, Decimal("0.25"), Decimal(3)))
    tiered = replace(
        price("b"),
        billing_model=BillingModel.TIERED,
        tier_mode=TierMode.SLAB,
        tiers=tiers,
        billing_period="DAILY",
    )
    assert decode_price(encode_document(tiered)) == tiered
    assert decode_plan(encode_document(PLAN)) == PLAN
    assert decode_plan('{"code":"a","name":"","description":""}') == Plan("a"), (
        "as it was stored without prices"
    )


PLAN = Plan(
    "pro",
    "Pro",
    "For many",
    "usd",
    BillingPeriod.MONTHLY,
    3,
    Commitment(Decimal(100), Decimal("1.5")),
    ("b", "a"),
    7,
    {"owner": "sales"},
)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (replace(PLAN, name="P", description="", version=8, details={}), True),
        (replace(PLAN, prices=("a", "b")), False),
        (replace(PLAN, currency=None), False),
        (replace(PLAN, billing_period=BillingPeriod.ANNUAL), False),
        (replace(PLAN, billing_period_count=1), False),
        (replace(PLAN, commitment=None), False),
    ],
    ids=["called otherwise", "prices", "currency", "period", "count", "commitment"],
)
def test_what_makes_another_offer(other: Plan, *, same: bool) -> None:
    assert PLAN.offers_the_same(other) is same


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

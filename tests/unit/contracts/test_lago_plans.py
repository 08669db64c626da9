"""Plans, prices and meters as Lago shows them: plans, charges and billable metrics."""

from decimal import Decimal
from typing import Any

import pytest

from meterstone.contracts import lago_pages, lago_plans
from meterstone.contracts.lago_events import uuid_of
from meterstone.pricing.commitment import Commitment
from meterstone.pricing.price import (
    BillingModel,
    Price,
    PriceType,
    RoundType,
    Tier,
    TierMode,
    TransformQuantity,
)
from meterstone.usage.meter import Aggregation, Filter, Meter
from meterstone.usage.period import BillingPeriod
from meterstone.usage.plan import Plan
from support.lago import body_of
from support.stamped import Stamp, Stored

ORGANIZATION = "5d1f3a52-8f0e-4b8e-9a53-0b7b0a6f1c11"
CALLS = Meter("m-calls", "calls", "Calls", Aggregation.COUNT, "call")
LEVEL = Meter(
    "m-level",
    "level",
    "Level",
    Aggregation.WEIGHTED_SUM,
    "level",
    "gb",
    filters=(Filter("region", ("eu",)),),
    recurring=True,
)


def price(price_id: str, model: BillingModel = BillingModel.FLAT_FEE, **fields: Any) -> Price:
    return Price(price_id, "eur", model, **{"meter_id": "m-calls"} | fields)


TIERS = (
    Tier(1000, Decimal("0.0000000001")),
    Tier(10**17, Decimal("0.10"), Decimal(2)),
    Tier(None, Decimal("1e-18")),
)
RANGES = [
    {"from_value": 0, "to_value": 1000, "per_unit_amount": "0.0000000001", "flat_amount": "0"},
    {"from_value": 1001, "to_value": 10**17, "per_unit_amount": "0.1", "flat_amount": "2"},
    {
        "from_value": 10**17 + 1,
        "to_value": None,
        "per_unit_amount": "0.000000000000000001",
        "flat_amount": "0",
    },
]


@pytest.mark.parametrize(
    ("given", "model", "properties"),
    [
        pytest.param(price("p", amount=Decimal("12.50")), "standard", {"amount": "12.5"}, id="standard"),
        pytest.param(
            price("p", BillingModel.PACKAGE, amount=Decimal(5), transform_quantity=TransformQuantity(1000)),
            "package",
            {"amount": "5", "free_units": 0, "package_size": 1000},
            id="package",
        ),
        pytest.param(
            price("p", BillingModel.TIERED, tier_mode=TierMode.VOLUME, tiers=TIERS),
            "volume",
            {"volume_ranges": RANGES},
            id="volume",
        ),
        pytest.param(
            price("p", BillingModel.TIERED, tier_mode=TierMode.SLAB, tiers=TIERS),
            "graduated",
            {"graduated_ranges": RANGES},
            id="graduated",
        ),
    ],
)
def test_a_price_is_the_charge_model_that_says_the_same(
    given: Price, model: str, properties: dict[str, Any]
) -> None:
    stored = Stored(Plan("team", prices=("p",)))
    found = body_of(lago_plans.answer_plan(ORGANIZATION, stored, {"p": given}, {"m-calls": CALLS}))
    (charge,) = found["plan"]["charges"]
    assert (charge["charge_model"], charge["properties"]) == (model, properties)
    assert (charge["billable_metric_code"], charge["code"]) == ("calls", "p")
    assert charge["lago_billable_metric_id"] == str(uuid_of(ORGANIZATION, "billable_metric", "m-calls"))
    assert charge["filters"] == charge["taxes"] == []


def test_a_plan_has_the_charges_in_its_currency() -> None:
    prices = {
        "a": price("a", details={"display_name": "Calls"}),
        "b": Price("b", "jpy", BillingModel.FLAT_FEE, meter_id="m-calls"),
        "c": price("c", type=PriceType.FIXED, meter_id="", amount=Decimal(50)),
        "d": price(
            "d",
            BillingModel.PACKAGE,
            transform_quantity=TransformQuantity(10, RoundType.DOWN),
            billing_period="DAILY",
        ),
    }
    plan = Plan(
        "team",
        description="For teams",
        currency="eur",
        billing_period=BillingPeriod.QUARTERLY,
        commitment=Commitment(Decimal("100.0"), Decimal("1.5")),
        prices=("a", "b", "c", "d"),
        version=3,
    )
    found = lago_plans.plan_object(ORGANIZATION, Stored(plan), prices, {"m-calls": CALLS})
    assert [each["code"] for each in found["charges"]] == ["a", "d"]
    assert [(each["add_on_code"], each["properties"]) for each in found["fixed_charges"]] == [
        ("c", {"amount": "50"})
    ]
    assert found["charges"][0]["invoice_display_name"] == "Calls"
    assert found["charges"][1]["meterstone"] == {
        "price_id": "d",
        "currency": "EUR",
        "billing_period": "DAILY",
        "billing_period_count": 1,
        "round": "down",
    }
    assert (found["name"], found["interval"], found["amount_currency"]) == ("team", "quarterly", "EUR")
    assert found["meterstone"] == {
        "version": 3,
        "billing_period": "QUARTERLY",
        "billing_period_count": 1,
        "currencies": ["EUR", "JPY"],
        "commitment": {"amount": "100", "overage_factor": "1.5", "split": "amount"},
    }


@pytest.mark.parametrize(
    ("period", "count", "interval"),
    [
        pytest.param(None, 1, "monthly", id="none"),
        pytest.param(BillingPeriod.WEEKLY, 1, "weekly", id="weekly"),
        pytest.param(BillingPeriod.HALF_YEARLY, 1, "semiannual", id="half-yearly"),
        pytest.param(BillingPeriod.ANNUAL, 1, "yearly", id="annual"),
        pytest.param(BillingPeriod.MONTHLY, 2, None, id="every other month"),
        pytest.param(BillingPeriod.DAILY, 1, None, id="daily"),
        pytest.param(BillingPeriod.ONETIME, 1, None, id="one time"),
    ],
)
def test_the_interval_of_a_plan(period: BillingPeriod | None, count: int, interval: str | None) -> None:
    plan = Plan("team", billing_period=period, billing_period_count=count)
    assert lago_plans.plan_object(ORGANIZATION, Stored(plan), {}, {})["interval"] == interval


def test_a_plan_in_several_currencies_and_none_of_its_own() -> None:
    prices = {"a": price("a"), "b": Price("b", "jpy", BillingModel.FLAT_FEE, meter_id="m-calls")}
    found = lago_plans.plan_object(
        ORGANIZATION, Stored(Plan("team", prices=("a", "b"))), prices, {"m-calls": CALLS}
    )
    assert found["amount_currency"] is None
    assert [each["meterstone"]["currency"] for each in found["charges"]] == ["EUR", "JPY"]
    one = lago_plans.plan_object(
        ORGANIZATION, Stored(Plan("team", prices=("b",))), prices, {"m-calls": CALLS}
    )
    assert one["amount_currency"] == "JPY"


def test_a_metric_in_an_answer() -> None:
    found = body_of(lago_plans.answer_metric(ORGANIZATION, LEVEL, Stamp()))["billable_metric"]
    assert found == {
        "lago_id": str(uuid_of(ORGANIZATION, "billable_metric", "m-level")),
        "name": "Level",
        "code": "level",
        "description": None,
        "aggregation_type": "weighted_sum_agg",
        "field_name": "gb",
        "recurring": True,
        "rounding_function": None,
        "rounding_precision": None,
        "weighted_interval": "seconds",
        "expression": None,
        "filters": [],
        "created_at": "2026-01-01T00:00:00Z",
        "meterstone": {
            "id": "m-level",
            "aggregation": "WEIGHTED_SUM",
            "event_name": "level",
            "multiplier": "1",
            "filters": {"region": ["eu"]},
            "bucket_size": None,
        },
    }


def test_pages_of_metrics() -> None:
    meters = [LEVEL, CALLS, LEVEL]
    page = lago_pages.PageAsked(2, 2)
    found = body_of(lago_plans.answer_metrics(ORGANIZATION, page, meters, {"m-calls": Stamp()}))
    assert [(each["code"], each["created_at"]) for each in found["billable_metrics"]] == [
        ("level", "1970-01-01T00:00:00Z")
    ]
    assert found["meta"] == {
        "current_page": 2,
        "next_page": None,
        "prev_page": 1,
        "total_pages": 2,
        "total_count": 3,
    }

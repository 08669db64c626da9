"""The values of the catalogue's records: what stands where a person has left something out."""

from copy import replace
from decimal import Decimal
from typing import Any

import pytest

from meterstone.catalogue.building import (
    checked_price,
    commitment_of,
    customer_of,
    dated,
    meter_of,
    offer_of,
    organization_of,
    planned_commitment,
    price_of,
    terms_of,
)
from meterstone.catalogue.models import (
    CommitmentRecord,
    CustomerRecord,
    MeterRecord,
    OrganizationRecord,
    PlanRecord,
    SubscriptionRecord,
)
from meterstone.catalogue.prices import PriceRecord
from meterstone.catalogue.reading import read_record
from meterstone.pricing.commitment import Commitment, CommitmentSplit
from meterstone.pricing.price import (
    BillingModel,
    Price,
    PriceProblem,
    RoundType,
    Tier,
    TierMode,
    TransformQuantity,
)
from meterstone.usage.meter import Aggregation, Filter, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Customer, Dated, Organization
from meterstone.usage.terms import ItemTerm, PlanTerm, Terms

SECOND = 1_000_000
JANUARY = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z
ORGANIZATION = "6f9e0e0e-0000-4000-8000-000000000001"


def whole[Kind](kind: str, model: type[Kind], **raw: Any) -> Kind:
    record, _, problems = read_record(kind, raw)
    assert not problems
    assert isinstance(record, model)
    return record


@pytest.mark.parametrize(
    ("raw", "organization"),
    [
        ({"id": ORGANIZATION}, Organization(ORGANIZATION, "", "UTC")),
        (
            {"id": ORGANIZATION, "name": "Fjord", "timezone": "Europe/Oslo"},
            Organization(ORGANIZATION, "Fjord", "Europe/Oslo"),
        ),
    ],
    ids=["least", "all"],
)
def test_organizations(raw: dict[str, Any], organization: Organization) -> None:
    assert organization_of(whole("organization", OrganizationRecord, **raw)) == organization


@pytest.mark.parametrize(
    ("raw", "customer"),
    [
        ({"id": "c"}, Customer("c")),
        (
            {
                "id": "c",
                "name": "Ola",
                "timezone": "Asia/Tokyo",
                "country": [{"value": "no"}, {"value": "JP", "since": "2026-01-01T00:00:00Z"}],
                "customer_type": "Company",
            },
            Customer(
                "c",
                "Ola",
                "Asia/Tokyo",
                (Dated("NO", None), Dated("JP", JANUARY)),
                (Dated("company", None),),
            ),
        ),
    ],
    ids=["least", "all"],
)
def test_customers(raw: dict[str, Any], customer: Customer) -> None:
    assert customer_of(whole("customers", CustomerRecord, **raw)) == customer


@pytest.mark.parametrize(
    ("raw", "plan"),
    [
        ({"code": "basic"}, Plan("basic")),
        (
            {
                "code": "basic",
                "name": "Basic",
                "description": "For one",
                "currency": "EUR",
                "billing_period": "quarterly",
                "billing_period_count": 2,
                "commitment": {"amount": 5, "overage_factor": 2},
                "prices": ["p", "q"],
                "details": {"tier": "1"},
            },
            Plan(
                "basic",
                "Basic",
                "For one",
                "eur",
                BillingPeriod.QUARTERLY,
                2,
                Commitment(Decimal(5), Decimal(2), CommitmentSplit.AMOUNT),
                ("p", "q"),
                details={"tier": "1"},
            ),
        ),
    ],
    ids=["least", "all"],
)
def test_plans(raw: dict[str, Any], plan: Plan) -> None:
    assert offer_of(whole("plans", PlanRecord, **raw)) == plan


@pytest.mark.parametrize(
    ("raw", "meter"),
    [
        (
            {"id": "m", "code": "calls", "aggregation": "COUNT"},
            Meter("m", "calls", "calls", Aggregation.COUNT, "calls"),
        ),
        (
            {
                "id": "m",
                "code": "tokens",
                "name": "",
                "aggregation": "SUM_WITH_MULTIPLIER",
                "event_name": "request",
                "field": "n",
                "multiplier": Decimal("0.5"),
                "filters": {"size": [Decimal("5.0"), True]},
                "deleted_at": "2026-01-01T00:00:00Z",
            },
            Meter(
                id="m",
                code="tokens",
                name="",
                aggregation=Aggregation.SUM_WITH_MULTIPLIER,
                event_name="request",
                field="n",
                filters=(Filter("size", ("5", "true")),),
                deleted_at=JANUARY,
                multiplier=Decimal("0.5"),
            ),
        ),
    ],
    ids=["least", "all"],
)
def test_meters(raw: dict[str, Any], meter: Meter) -> None:
    assert meter_of(whole("meters", MeterRecord, **raw)) == meter


@pytest.mark.parametrize(
    ("raw", "price"),
    [
        (
            {"id": "p", "currency": "EUR", "billing_model": "FLAT_FEE", "meter_id": "m"},
            Price("p", "eur", BillingModel.FLAT_FEE, amount=Decimal(0), meter_id="m"),
        ),
        (
            {
                "id": "p",
                "currency": "EUR",
                "billing_model": "TIERED",
                "meter_id": "m",
                "tier_mode": "SLAB",
                "tiers": [
                    {"up_to": 10, "unit_amount": "0.1"},
                    {"up_to": None, "unit_amount": 0, "flat_amount": 2},
                ],
                "billing_period": "QUARTERLY",
                "billing_period_count": 2,
                "display_name": "Calls",
            },
            Price(
                "p",
                "eur",
                BillingModel.TIERED,
                amount=Decimal(0),
                meter_id="m",
                tier_mode=TierMode.SLAB,
                tiers=(Tier(10, Decimal("0.1"), Decimal(0)), Tier(None, Decimal(0), Decimal(2))),
                billing_period="QUARTERLY",
                billing_period_count=2,
                details={"display_name": "Calls"},
            ),
        ),
        (
            {
                "id": "p",
                "currency": "EUR",
                "billing_model": "PACKAGE",
                "amount": "1.50",
                "meter_id": "m",
                "transform_quantity": {"divide_by": 100},
            },
            Price(
                "p",
                "eur",
                BillingModel.PACKAGE,
                amount=Decimal("1.5"),
                meter_id="m",
                transform_quantity=TransformQuantity(100, RoundType.UP),
            ),
        ),
    ],
    ids=["least", "tiers", "package"],
)
def test_prices(raw: dict[str, Any], price: Price) -> None:
    record = whole("prices", PriceRecord, **raw)

    assert price_of(record) == price
    assert checked_price(record, frozenset()) == (price, [])


@pytest.mark.parametrize(
    ("changed", "problems"),
    [
        pytest.param({}, [PriceProblem("amount", "must not be negative")], id="whole"),
        pytest.param(
            {"currency": "XXX"}, [PriceProblem("amount", "must not be negative")], id="another field"
        ),
        pytest.param({"id": ""}, [PriceProblem("amount", "must not be negative")], id="the id"),
        pytest.param(
            {"billing_model": "FREE"},
            [PriceProblem("amount", "must not be negative")],
            id="the billing model",
        ),
        pytest.param({"amount": "much"}, [], id="the amount itself"),
    ],
)
def test_a_price_is_checked_apart_from_its_broken_fields(
    changed: dict[str, Any], problems: list[PriceProblem]
) -> None:
    raw = {
        "id": "p",
        "currency": "EUR",
        "billing_model": "FLAT_FEE",
        "amount": -1,
        "meter_id": "m",
        **changed,
    }
    record, broken, _ = read_record("prices", raw)

    assert isinstance(record, PriceRecord)
    assert broken == changed.keys()
    assert checked_price(record, broken)[1] == problems


LEAST = {"id": "s", "customer": "c", "plan": "basic", "currency": "EUR", "start": "2026-01-01T00:00:00Z"}
TERMS = Terms("s", "c", "eur", "Europe/Oslo", JANUARY, (PlanTerm("basic", None, 7),))


@pytest.mark.parametrize(
    ("raw", "terms"),
    [
        pytest.param(LEAST, TERMS, id="least"),
        pytest.param(
            LEAST | {"external_id": "s", "anchor": LEAST["start"]}, TERMS, id="what stands there anyway"
        ),
        pytest.param(
            LEAST | {"line_items": []}, replace(TERMS, plan=(PlanTerm("basic"),)), id="no line items at all"
        ),
        pytest.param(
            LEAST | {"line_items": [{"price": "p", "id": "s.p"}], "plan_prices": True},
            replace(TERMS, line_items=(ItemTerm("p"),)),
            id="its own beside the plan's",
        ),
        pytest.param(
            {
                **LEAST,
                "external_id": "shared",
                "plan": [{"value": "basic"}, {"value": "pro", "since": "2026-01-01T00:00:01Z"}],
                "end": "2026-01-01T00:00:02Z",
                "billing_period": "WEEKLY",
                "billing_period_count": 2,
                "billing_cycle": "anniversary",
                "anchor": "2026-01-01T00:00:01Z",
                "commitment": {"amount": 100, "overage_factor": "1.5"},
                "prices": ["p"],
                "timezone": "Asia/Tokyo",
                "name": "First",
                "details": {"a": {"b": 1}},
            },
            Terms(
                id="s",
                customer_id="c",
                currency="eur",
                timezone="Asia/Tokyo",
                start=JANUARY,
                plan=(PlanTerm("basic", None, 7), PlanTerm("pro", JANUARY + SECOND, 8)),
                external_id="shared",
                end=JANUARY + 2 * SECOND,
                billing_period=BillingPeriod.WEEKLY,
                billing_period_count=2,
                billing_cycle=BillingCycle.ANNIVERSARY,
                anchor=JANUARY + SECOND,
                commitment=Commitment(Decimal(100), Decimal("1.5"), CommitmentSplit.AMOUNT),
                chosen=("p",),
                name="First",
                details={"a": {"b": 1}},
            ),
            id="all",
        ),
    ],
)
def test_subscriptions(raw: dict[str, Any], terms: Terms) -> None:
    record = whole("subscriptions", SubscriptionRecord, **raw)

    assert terms_of(record, "Europe/Oslo", {"basic": 7, "pro": 8}) == terms
    later = terms_of(record, "America/Chicago", {"basic": 9, "pro": 9}, terms)
    assert later == terms, "time zone and versions of plans are kept"


@pytest.mark.parametrize(
    ("changes", "has"),
    [
        ({}, True),
        ({"currency": "eur"}, True),
        ({"currency": "usd"}, False),
        ({"billing_period": BillingPeriod.MONTHLY}, True),
        ({"billing_period": BillingPeriod.MONTHLY, "billing_period_count": 2}, False),
        ({"billing_period": BillingPeriod.ANNUAL}, False),
    ],
    ids=["of any terms", "its currency", "another", "its billing period", "two of it", "another period"],
)
def test_the_commitment_of_a_plan(changes: dict[str, Any], *, has: bool) -> None:
    plan = replace(Plan("basic", commitment=Commitment(Decimal(5), Decimal(2))), **changes)
    assert planned_commitment(TERMS, plan) == (plan.commitment if has else None)


def test_commitments() -> None:
    record = CommitmentRecord(amount=Decimal(5), overage_factor=Decimal(2), split=CommitmentSplit.WHOLE_UNITS)

    assert commitment_of(record) == Commitment(Decimal(5), Decimal(2), CommitmentSplit.WHOLE_UNITS)
    assert commitment_of(None) is None


def test_a_fact_that_is_not_stated_has_no_values() -> None:
    assert dated(None) == ()

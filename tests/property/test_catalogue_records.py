"""Records written in the form of the catalogue's files are read back to the same values."""

import json
from copy import replace
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from meterstone.catalogue.building import checked_price, customer_of, meter_of, offer_of, terms_of
from meterstone.catalogue.models import CustomerRecord, MeterRecord, PlanRecord, SubscriptionRecord
from meterstone.catalogue.prices import PriceRecord
from meterstone.catalogue.reading import read_record
from meterstone.contracts.catalogue_records import record_of
from meterstone.pricing.commitment import Commitment, CommitmentSplit
from meterstone.pricing.price import (
    BillingModel,
    Price,
    PriceType,
    RoundType,
    Tier,
    TierMode,
    TransformQuantity,
)
from meterstone.usage.aggregation import AGGREGATORS
from meterstone.usage.aggregation.base import Reads
from meterstone.usage.calendar import BucketSize
from meterstone.usage.instant import DAY, END_OF_TIME, ZERO_TIME
from meterstone.usage.meter import Aggregation, Filter, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Customer, Dated
from meterstone.usage.terms import ItemTerm, PlanTerm, Terms
from support.counting import examples

IDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20)
LABELS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), max_size=20)
INSTANTS = st.integers(ZERO_TIME + DAY, END_OF_TIME - 400 * DAY)
MONEY = st.decimals(0, 10**9, allow_nan=False, places=12)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | LABELS
DETAILS = st.dictionaries(
    LABELS,
    SCALARS
    | st.dictionaries(LABELS, SCALARS, max_size=2)
    | st.lists(st.dictionaries(LABELS, SCALARS, max_size=2), max_size=2),
    max_size=3,
)
CURRENCIES = st.sampled_from(["eur", "usd", "jpy", "kwd"])
ZONES = st.sampled_from(["UTC", "Europe/Oslo", "Asia/Kolkata"])
COMMITMENTS = st.builds(Commitment, MONEY, MONEY, st.sampled_from(CommitmentSplit))
COUNTS = st.integers(1, 10_000)


def read(kind: str, record: dict[str, Any]) -> Any:
    """Read a record as it comes over the wire: as JSON."""
    found = read_record(kind, json.loads(json.dumps(record), parse_float=Decimal))
    assert found.problems == ()
    return found.record


@st.composite
def facts(draw: st.DrawFn, values: st.SearchStrategy[str]) -> tuple[Dated, ...]:
    since = sorted(draw(st.sets(INSTANTS, max_size=3)))
    first = [None] if draw(st.booleans()) else []
    return tuple(Dated(draw(values), at) for at in (*first, *since))


@st.composite
def meters(draw: st.DrawFn) -> Meter:
    aggregation = draw(st.sampled_from(Aggregation))
    traits = AGGREGATORS[aggregation].traits
    recurring = traits.can_recur and draw(st.booleans())
    return Meter(
        draw(IDS),
        draw(IDS),
        draw(LABELS),
        aggregation,
        draw(IDS),
        None if traits.reads is Reads.NOTHING else draw(IDS),
        Decimal(draw(st.integers(-99, 99))) / 4 if traits.multiplies else Decimal(1),
        tuple(
            Filter(key, tuple(values))
            for key, values in draw(
                st.dictionaries(IDS, st.lists(LABELS, min_size=1, max_size=2), max_size=2)
            ).items()
        ),
        recurring,
        draw(st.sampled_from(BucketSize)) if traits.can_have_buckets and not recurring else None,
        draw(st.none() | INSTANTS),
    )


@st.composite
def prices(draw: st.DrawFn) -> Price:
    model = draw(st.sampled_from(BillingModel))
    usage = draw(st.booleans())
    bounds = sorted(draw(st.sets(st.integers(1, 10**9), max_size=3)))
    tiers = tuple(Tier(bound, draw(MONEY), draw(MONEY)) for bound in (*bounds, None))
    period = draw(st.none() | st.sampled_from(BillingPeriod))
    details: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "display_name": LABELS,
                "metadata": st.dictionaries(LABELS, LABELS, max_size=2),
                "trial_period_days": st.integers(0, 99),
                "status": st.sampled_from(["published", "deleted"]),
                "start_date": st.just("2026-01-01T00:00:00Z"),
            },
        )
    )
    return Price(
        draw(IDS),
        draw(CURRENCIES),
        model,
        draw(MONEY),
        PriceType.USAGE if usage else PriceType.FIXED,
        draw(IDS) if usage else "",
        draw(st.sampled_from(TierMode)) if model is BillingModel.TIERED else None,
        tiers if model is BillingModel.TIERED else (),
        TransformQuantity(draw(st.integers(1, 10**9)), draw(st.sampled_from(RoundType)))
        if model is BillingModel.PACKAGE
        else None,
        None if period is None else str(period),
        1 if period is None else draw(COUNTS),
        details,
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    period = draw(st.none() | st.sampled_from(BillingPeriod))
    return Plan(
        draw(IDS),
        draw(LABELS),
        draw(LABELS),
        draw(st.none() | CURRENCIES),
        period,
        1 if period is None else draw(COUNTS),
        draw(st.none() | COMMITMENTS),
        tuple(draw(st.lists(IDS, max_size=3, unique=True))),
        draw(st.integers(0, 3)),
        draw(st.dictionaries(LABELS, LABELS, max_size=2)),
    )


@st.composite
def customers(draw: st.DrawFn) -> Customer:
    return Customer(
        draw(IDS),
        draw(LABELS),
        draw(st.none() | ZONES),
        draw(facts(st.sampled_from(["NO", "DE"]))),
        draw(facts(st.sampled_from(["company", "individual"]))),
        draw(st.none() | CURRENCIES),
        draw(DETAILS),
    )


@st.composite
def terms(draw: st.DrawFn) -> Terms:
    follows = draw(st.booleans())
    start = draw(INSTANTS)
    named = draw(facts(IDS).filter(bool))
    plan = tuple(
        PlanTerm(each.value, each.since, draw(st.integers(1, 9)) if follows else None) for each in named
    )
    own = st.builds(ItemTerm, IDS, IDS | st.just(""), st.none() | INSTANTS, st.none() | INSTANTS)
    identity, external = draw(IDS), draw(IDS | st.just(""))
    return Terms(
        identity,
        draw(IDS),
        draw(CURRENCIES),
        draw(ZONES),
        start,
        plan,
        "" if external == identity else external,
        draw(st.none() | st.just(start + DAY)),
        draw(st.sampled_from(BillingPeriod)),
        draw(COUNTS),
        draw(st.sampled_from(BillingCycle)),
        draw(st.none() | INSTANTS.filter(lambda at: at != start)),
        draw(st.none() | COMMITMENTS),
        tuple(draw(st.lists(own, max_size=3))),
        tuple(draw(st.lists(IDS, max_size=2, unique=True))) if follows and draw(st.booleans()) else None,
        draw(st.none() | INSTANTS),
        draw(LABELS),
        draw(DETAILS),
    )


@examples(100)
@given(meters())
def test_meters(meter: Meter) -> None:
    record = read("meters", record_of(meter))
    assert isinstance(record, MeterRecord)
    assert meter_of(record) == meter


@examples(100)
@given(prices())
def test_prices(price: Price) -> None:
    record = read("prices", record_of(price))
    assert isinstance(record, PriceRecord)
    assert checked_price(record, frozenset()) == (price, [])


@examples(100)
@given(plans())
def test_plans(plan: Plan) -> None:
    record = read("plans", record_of(plan))
    assert isinstance(record, PlanRecord)
    assert replace(offer_of(record), version=plan.version) == plan


@examples(100)
@given(customers())
def test_customers(customer: Customer) -> None:
    record = read("customers", record_of(customer))
    assert isinstance(record, CustomerRecord)
    assert customer_of(record) == customer


@examples(200)
@given(terms())
def test_subscriptions(agreed: Terms) -> None:
    record = read("subscriptions", record_of(agreed))
    assert isinstance(record, SubscriptionRecord)
    assert terms_of(record, "Asia/Tokyo", {}, agreed) == agreed
    assert record.follows_plan == (agreed.plan[0].version is not None)
    assert ("commitment" in record.model_fields_set) or not record.follows_plan

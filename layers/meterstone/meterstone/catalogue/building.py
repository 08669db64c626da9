"""The value that each record of the catalogue stands for: how what a person leaves out is filled in.

A function here reads its record alone, and takes what another record says as an argument. Ids are not looked up.
All but `checked_price` need a record that was read without a problem.
"""

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import cast

from meterstone.catalogue.models import (
    CommitmentRecord,
    CustomerRecord,
    MeterRecord,
    OrganizationRecord,
    PlanRecord,
    SubscriptionRecord,
)
from meterstone.catalogue.prices import PriceRecord, TransformRecord
from meterstone.catalogue.record import DatedValue
from meterstone.pricing.commitment import Commitment
from meterstone.pricing.price import BillingModel, Detail, Price, PriceProblem, Tier, TransformQuantity, check
from meterstone.usage.meter import Filter, Meter
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Customer, Dated, Organization
from meterstone.usage.terms import ItemTerm, PlanTerm, Terms, line_item_id

#: What a price is computed with; all other fields of its record are carried as details.
_COMPUTED = {
    *("id", "currency", "billing_model", "amount", "type", "meter_id", "tier_mode", "tiers"),
    *("transform_quantity", "billing_period", "billing_period_count"),
}

#: In the place of a price's required fields that are broken, so that its other fields can be checked.
_STAND_INS = {"id": "", "currency": "usd", "billing_model": BillingModel.FLAT_FEE}


def organization_of(record: OrganizationRecord) -> Organization:
    """Return the organization of a record."""
    return Organization(record.id, record.name, record.timezone)


def customer_of(record: CustomerRecord) -> Customer:
    """Return the customer of a record."""
    return Customer(
        record.id,
        record.name,
        record.timezone,
        dated(record.country),
        dated(record.customer_type),
        record.currency,
        cast("dict[str, Detail]", dict(record.details)),
    )


def offer_of(record: PlanRecord) -> Plan:
    """Return the plan of a record with its prices. It has no version yet."""
    return Plan(
        code=record.code,
        name=record.name,
        description=record.description,
        currency=record.currency,
        billing_period=record.billing_period,
        billing_period_count=record.billing_period_count,
        commitment=commitment_of(record.commitment),
        prices=tuple(record.prices),
        details=dict(record.details),
    )


def terms_of(
    record: SubscriptionRecord, timezone: str, versions: Mapping[str, int], before: Terms | None = None
) -> Terms:
    """Return the terms of a record.

    ``timezone`` is that of a new subscription without one of its own, and ``versions`` has the present version of
    each plan, by its code. A subscription keeps the time zone, and the versions of plans, that it has ``before``.
    """
    kept = {} if before is None else {(term.value, term.since): term.version for term in before.plan}

    def version(fact: DatedValue[str]) -> int | None:
        if not record.follows_plan:
            return None
        known = kept.get((fact.value, fact.since))
        return versions.get(fact.value, 0) if known is None else known

    return Terms(
        id=record.id,
        customer_id=record.customer,
        currency=record.currency,
        timezone=record.timezone or (timezone if before is None else before.timezone),
        start=record.start,
        plan=tuple(PlanTerm(fact.value, fact.since, version(fact)) for fact in record.plan),
        external_id="" if record.external_id in (None, record.id) else record.external_id,
        end=record.end,
        billing_period=record.billing_period,
        billing_period_count=record.billing_period_count,
        billing_cycle=record.billing_cycle,
        anchor=None if record.anchor == record.start else record.anchor,
        commitment=commitment_of(record.commitment),
        line_items=tuple(
            ItemTerm(
                item.price,
                "" if item.id in (None, line_item_id(record.id, item.price)) else item.id,
                item.start,
                item.end,
            )
            for item in record.line_items
        ),
        chosen=None if record.prices is None else tuple(record.prices),
        canceled_at=record.canceled_at,
        name=record.name,
        details=cast("dict[str, Detail]", dict(record.details)),
    )


def meter_of(record: MeterRecord) -> Meter:
    """Return the meter of a record."""
    return Meter(
        id=record.id,
        code=record.code,
        name=record.code if record.name is None else record.name,
        aggregation=record.aggregation,
        event_name=record.event_name or record.code,
        field=record.field,
        filters=tuple(Filter(key, tuple(values)) for key, values in record.filters.items()),
        recurring=record.recurring,
        bucket_size=record.bucket_size,
        deleted_at=record.deleted_at,
        multiplier=Decimal(1) if record.multiplier is None else record.multiplier,
    )


def price_of(record: PriceRecord) -> Price:
    """Return the price of a record. `checked_price` says whether it can be computed with."""
    details = record.model_dump(exclude=_COMPUTED, exclude_none=True)
    return Price(
        id=record.id,
        currency=record.currency,
        billing_model=record.billing_model,
        amount=record.amount,
        type=record.type,
        meter_id=record.meter_id or "",
        tier_mode=record.tier_mode,
        tiers=tuple(Tier(tier.up_to, tier.unit_amount, tier.flat_amount) for tier in record.tiers),
        transform_quantity=_transform(record.transform_quantity),
        billing_period=record.billing_period and str(record.billing_period),
        billing_period_count=record.billing_period_count,
        details=cast("dict[str, Detail]", details),
    )


def checked_price(record: PriceRecord, broken: AbstractSet[str]) -> tuple[Price, list[PriceProblem]]:
    """Return the price of a record, and why it cannot be computed with, apart from its ``broken`` fields.

    If any field is broken, the price is good for nothing but that check: others stand in the place of such fields.
    """
    stand_ins = {name: value for name, value in _STAND_INS.items() if name in broken}
    price = price_of(record.model_copy(update=stand_ins))
    return price, [found for found in check(price) if re.split(r"[.\[]", found.path)[0] not in broken]


def planned_commitment(terms: Terms, plan: Plan | None) -> Commitment | None:
    """Return the commitment of a plan that a subscription follows, if it is in the subscription's own terms."""
    if plan is None or plan.currency not in (None, terms.currency):
        return None
    same = (plan.billing_period, plan.billing_period_count) == (
        terms.billing_period,
        terms.billing_period_count,
    )
    return plan.commitment if plan.billing_period is None or same else None


def commitment_of(record: CommitmentRecord | None) -> Commitment | None:
    """Return the commitment of a subscription's record, None if it has none."""
    return None if record is None else Commitment(record.amount, record.overage_factor, record.split)


def dated[Value: str](facts: Iterable[DatedValue[Value]] | None) -> tuple[Dated, ...]:
    """Return the values of a fact that can change over time, empty if the record does not state it."""
    return tuple(Dated(fact.value, fact.since) for fact in facts or ())


def _transform(record: TransformRecord | None) -> TransformQuantity | None:
    return None if record is None else TransformQuantity(record.divide_by, record.round)

"""The value that each record of the catalogue stands for: how what a person leaves out is filled in.

A function here reads its record alone, and takes what another record says as an argument. Ids are not looked up.
All but `checked_price` need a record that was read without a problem.
"""

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import cast

import msgspec

from meterstone.catalogue.models import (
    CommitmentRecord,
    CustomerRecord,
    DatedValue,
    MeterRecord,
    OrganizationRecord,
    PlanRecord,
    SubscriptionRecord,
)
from meterstone.catalogue.prices import PriceRecord, TransformRecord
from meterstone.pricing.commitment import Commitment
from meterstone.pricing.price import BillingModel, Detail, Price, PriceProblem, Tier, TransformQuantity, check
from meterstone.usage.meter import Filter, Meter
from meterstone.usage.subscription import Customer, Dated, LineItem, Organization, Subscription

#: What a price is computed with; all other fields of its record are carried as details.
_COMPUTED = {
    *("id", "currency", "billing_model", "amount", "type", "meter_id", "tier_mode", "tiers"),
    *("transform_quantity", "billing_period", "billing_period_count"),
}

#: In the place of a price's required fields that are broken, so that its other fields can be checked.
_STAND_INS = {"id": "", "currency": "usd", "billing_model": BillingModel.FLAT_FEE}


class Plan(msgspec.Struct, frozen=True):
    """A named offer. What a subscription pays stands in its own line items."""

    code: str
    name: str = ""
    description: str = ""


def organization_of(record: OrganizationRecord) -> Organization:
    """Return the organization of a record."""
    return Organization(record.id, record.name, record.timezone)


def customer_of(record: CustomerRecord) -> Customer:
    """Return the customer of a record."""
    return Customer(
        record.id, record.name, record.timezone, dated(record.country), dated(record.customer_type)
    )


def plan_of(record: PlanRecord) -> Plan:
    """Return the plan of a record."""
    return Plan(record.code, record.name, record.description)


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


def subscription_of(
    record: SubscriptionRecord, customer: Customer, timezone: str, line_items: tuple[LineItem, ...]
) -> Subscription:
    """Return the subscription of a record, for its customer, with the line items that were made of its own.

    ``timezone`` is that of its calendar if the customer has none: the organization's.
    """
    return Subscription(
        id=record.id,
        external_id=record.external_id or record.id,
        customer_id=record.customer,
        currency=record.currency,
        timezone=customer.timezone or timezone,
        start=record.start,
        end=record.end,
        billing_period=record.billing_period,
        billing_period_count=record.billing_period_count,
        billing_cycle=record.billing_cycle,
        anchor=record.start if record.anchor is None else record.anchor,
        plan=dated(record.plan),
        country=customer.country,
        customer_type=customer.customer_type,
        commitment=commitment_of(record.commitment),
        line_items=line_items,
    )


def commitment_of(record: CommitmentRecord | None) -> Commitment | None:
    """Return the commitment of a subscription's record, None if it has none."""
    return None if record is None else Commitment(record.amount, record.overage_factor, record.split)


def dated[Value: str](facts: Iterable[DatedValue[Value]] | None) -> tuple[Dated, ...]:
    """Return the values of a fact that can change over time, empty if the record does not state it."""
    return tuple(Dated(fact.value, fact.since) for fact in facts or ())


def _transform(record: TransformRecord | None) -> TransformQuantity | None:
    return None if record is None else TransformQuantity(record.divide_by, record.round)

"""Records of the catalogue in the form of its files: the catalogue's models read them back to the same values.

A field that is left out of a record means the same as the value that it stands for, so it is left out here, too.
"""

from collections.abc import Sequence
from typing import Any, assert_never

from meterstone.pricing.commitment import Commitment
from meterstone.pricing.money import plain
from meterstone.pricing.price import Price
from meterstone.usage.aggregation import AGGREGATORS
from meterstone.usage.instant import format_instant
from meterstone.usage.meter import Meter
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Customer, Dated
from meterstone.usage.terms import ItemTerm, PlanTerm, Terms

type Value = Meter | Price | Plan | Customer | Terms
type Record = dict[str, Any]


def record_of(value: Value) -> Record:
    """Write a record of any kind. A subscription is written by its terms."""
    match value:
        case Meter():
            return _meter(value)
        case Price():
            return _price(value)
        case Plan():
            return _plan(value)
        case Customer():
            return _customer(value)
        case Terms():
            return _subscription(value)
        case _:
            assert_never(value)


def _meter(meter: Meter) -> Record:
    multiplies = AGGREGATORS[meter.aggregation].traits.multiplies
    return _given(
        id=meter.id,
        code=meter.code,
        aggregation=str(meter.aggregation),
        name=meter.name,
        event_name=meter.event_name,
        field=meter.field,
        multiplier=plain(meter.multiplier) if multiplies else None,
        filters={each.key: list(each.values) for each in meter.filters} or None,
        recurring=meter.recurring or None,
        bucket_size=None if meter.bucket_size is None else str(meter.bucket_size),
        deleted_at=_instant(meter.deleted_at),
    )


def _price(price: Price) -> Record:
    transform = price.transform_quantity
    return (
        _given(
            id=price.id,
            currency=price.currency,
            billing_model=str(price.billing_model),
            amount=plain(price.amount),
            type=str(price.type),
            meter_id=price.meter_id or None,
            tier_mode=None if price.tier_mode is None else str(price.tier_mode),
            tiers=[
                {
                    "up_to": tier.up_to,
                    "unit_amount": plain(tier.unit_amount),
                    "flat_amount": plain(tier.flat_amount),
                }
                for tier in price.tiers
            ]
            or None,
            transform_quantity=None
            if transform is None
            else {"divide_by": transform.divide_by, "round": str(transform.round)},
        )
        | _period(price.billing_period, price.billing_period_count)
        | dict(price.details)
    )


def _plan(plan: Plan) -> Record:
    return _given(
        code=plan.code,
        name=plan.name or None,
        description=plan.description or None,
        currency=plan.currency,
        commitment=_commitment(plan.commitment),
        prices=list(plan.prices) or None,
        details=dict(plan.details) or None,
    ) | _period(plan.billing_period, plan.billing_period_count)


def _customer(customer: Customer) -> Record:
    return _given(
        id=customer.id,
        name=customer.name or None,
        timezone=customer.timezone,
        country=_dated(customer.country),
        customer_type=_dated(customer.customer_type),
        currency=customer.currency,
        details=dict(customer.details) or None,
    )


def _subscription(terms: Terms) -> Record:
    follows = any(term.version is not None for term in terms.plan)
    # What lists no line items follows its plan, so that one with none at all says so.
    lists = bool(terms.line_items) or not (follows or terms.chosen is not None)
    # One that follows a plan has the plan's commitment, unless it says that it has none.
    commitment = {"commitment": None} if follows else {}
    return (
        commitment
        | {
            "id": terms.id,
            "customer": terms.customer_id,
            "plan": _dated(terms.plan) or [],
            "currency": terms.currency,
            "start": format_instant(terms.start),
            "billing_period": str(terms.billing_period),
            "billing_period_count": terms.billing_period_count,
            "billing_cycle": str(terms.billing_cycle),
            "timezone": terms.timezone,
        }
        | _given(
            external_id=terms.external_id or None,
            end=_instant(terms.end),
            anchor=_instant(terms.anchor),
            commitment=_commitment(terms.commitment),
            line_items=[_line_item(each) for each in terms.line_items] if lists else None,
            plan_prices=True if lists and follows else None,
            prices=None if terms.chosen is None else list(terms.chosen),
            canceled_at=_instant(terms.canceled_at),
            name=terms.name or None,
            details=dict(terms.details) or None,
        )
    )


def _line_item(item: ItemTerm) -> Record:
    return _given(price=item.price, id=item.id or None, start=_instant(item.start), end=_instant(item.end))


def _period(period: str | None, count: int) -> Record:
    return {} if period is None else {"billing_period": str(period), "billing_period_count": count}


def _commitment(commitment: Commitment | None) -> Record | None:
    if commitment is None:
        return None
    return {
        "amount": plain(commitment.amount),
        "overage_factor": plain(commitment.overage_factor),
        "split": str(commitment.split),
    }


def _dated(facts: Sequence[Dated | PlanTerm]) -> list[Record] | str | None:
    """Write a fact: one that has always been so as a plain value."""
    if len(facts) == 1 and facts[0].since is None:
        return facts[0].value
    return [_given(value=fact.value, since=_instant(fact.since)) for fact in facts] or None


def _given(**fields: object) -> Record:
    return {name: value for name, value in fields.items() if value is not None}


def _instant(at: int | None) -> str | None:
    return None if at is None else format_instant(at)

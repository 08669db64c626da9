"""Lago's `/api/v1/plans` and `/api/v1/billable_metrics` on the wire: plans with their charges, and metrics.

They are read only. What Lago's API description leaves open, or has not, is settled so:

- A charge is a price of the plan, and its `code` the price's id. Its `charge_model` is the one that says the same:
  `standard` (FLAT_FEE), `package` (PACKAGE), `volume` and `graduated` (TIERED). Amounts are texts, and exact.
- A range of a tier begins at the whole number after the one before, as in Lago. Quantities between the two belong
  to the later range.
- A plan's charges are those in its currency, or, if the plan has none, all. `meterstone` of each charge says in
  which currency it is, and what else Lago's charge has no field for. A fixed price stands in `fixed_charges`.
- `interval` is null where Lago has no word for the billing period, such as two months. `meterstone` has it.
- A metric that was deleted is not found. `filters` of a metric are an empty list: Lago's declare by which values a
  charge may part usage, and Meterstone's leave events out. Those stand in `meterstone`.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, assert_never

from meterstone.contracts import lago
from meterstone.contracts.lago_catalogue import refuse_filters
from meterstone.contracts.lago_customer_usage import aggregation_type, charge_model
from meterstone.contracts.lago_events import uuid_of
from meterstone.contracts.lago_pages import PageAsked, meta, parse_page
from meterstone.contracts.message import Reply, Request
from meterstone.contracts.stored import Stamp, Stored
from meterstone.pricing.money import plain
from meterstone.pricing.price import BillingModel, Price, PriceType, RoundType, Tier, TierMode
from meterstone.usage.instant import format_instant
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.period import BillingPeriod
from meterstone.usage.plan import Plan, Prices

_INTERVALS: Final = {
    BillingPeriod.WEEKLY: "weekly",
    BillingPeriod.MONTHLY: "monthly",
    BillingPeriod.QUARTERLY: "quarterly",
    BillingPeriod.HALF_YEARLY: "semiannual",
    BillingPeriod.ANNUAL: "yearly",
}

_UNSUPPORTED_FILTERS: Final = frozenset(
    {"search_term", "recurring", "aggregation_types", "include_pending_deletion"}
)

type Meters = Mapping[str, Meter]


def parse_list(request: Request) -> PageAsked:
    """Read the parameters of a list of plans or metrics. Raises `RequestRefusedError` (422) with all bad ones."""
    faults: dict[str, lago.Fault] = {}
    page = parse_page(request.parameters, faults)
    refuse_filters(request, _UNSUPPORTED_FILTERS, faults)
    return page


def answer_plan(organization_id: str, stored: Stored[Plan], prices: Prices, meters: Meters) -> Reply:
    """Answer with a plan. ``prices`` and ``meters`` have those of the plan, by their ids."""
    return Reply.of(200, {"plan": plan_object(organization_id, stored, prices, meters)})


def answer_plans(
    organization_id: str,
    asked: PageAsked,
    page: Iterable[Stored[Plan]],
    prices: Prices,
    meters: Meters,
    total: int,
) -> Reply:
    """Answer with a page of plans, of which there are ``total`` on all pages together."""
    found = [plan_object(organization_id, each, prices, meters) for each in page]
    return Reply.of(200, {"plans": found, "meta": meta(asked.page, asked.per_page, total)})


def answer_metric(organization_id: str, meter: Meter, stamp: Stamp | None) -> Reply:
    """Answer with a billable metric."""
    return Reply.of(200, {"billable_metric": metric_object(organization_id, meter, stamp)})


def answer_metrics(
    organization_id: str, asked: PageAsked, meters: Sequence[Meter], stamps: Mapping[str, Stamp]
) -> Reply:
    """Answer with a page of the billable metrics. ``stamps`` has those that are known, by the meters' ids."""
    page = meters[asked.skip : asked.skip + asked.per_page]
    found = [metric_object(organization_id, each, stamps.get(each.id)) for each in page]
    counted = meta(asked.page, asked.per_page, len(meters))
    return Reply.of(200, {"billable_metrics": found, "meta": counted})


def plan_object(organization_id: str, stored: Stored[Plan], prices: Prices, meters: Meters) -> dict[str, Any]:
    """Write a plan. No list is null: the official Python client needs that."""
    plan = stored.value
    offered = [prices[each] for each in plan.prices if each in prices]
    currencies = list(dict.fromkeys(price.currency for price in offered))
    currency = plan.currency or (currencies[0] if len(currencies) == 1 else None)
    charged = [price for price in offered if currency in (None, price.currency)]
    period = plan.billing_period or BillingPeriod.MONTHLY
    made_at = format_instant(stored.stamp.made_at)
    charges = [
        _charge(organization_id, plan, price, meters[price.meter_id], made_at)
        for price in charged
        if price.type is PriceType.USAGE and price.meter_id in meters
    ]
    fixed = [
        _fixed_charge(organization_id, plan, price, made_at)
        for price in charged
        if price.type is PriceType.FIXED
    ]
    return {
        "lago_id": str(uuid_of(organization_id, "plan", plan.code)),
        "code": plan.code,
        "name": plan.name or plan.code,
        "invoice_display_name": plan.name or None,
        "description": plan.description or None,
        "interval": _INTERVALS.get(period) if plan.billing_period_count == 1 else None,
        "amount_cents": 0,
        "amount_currency": None if currency is None else currency.upper(),
        "trial_period": 0,
        "pay_in_advance": False,
        "bill_charges_monthly": False,
        "bill_fixed_charges_monthly": False,
        "charges": charges,
        "fixed_charges": fixed,
        # Lago's commitment raises what is due. Meterstone's prices what goes beyond.
        "minimum_commitment": None,
        "usage_thresholds": [],
        "taxes": [],
        "metadata": {},
        "created_at": made_at,
        "updated_at": format_instant(stored.stamp.put_at),
        "meterstone": {
            "version": plan.version,
            "billing_period": period,
            "billing_period_count": plan.billing_period_count,
            "currencies": [each.upper() for each in currencies],
            "commitment": None
            if plan.commitment is None
            else {
                "amount": plain(plan.commitment.amount),
                "overage_factor": plain(plan.commitment.overage_factor),
                "split": plan.commitment.split,
            },
        },
    }


def metric_object(organization_id: str, meter: Meter, stamp: Stamp | None) -> dict[str, Any]:
    """Write a billable metric. One whose stamp is not known was made at an unknown time: that is 1970."""
    return {
        "lago_id": str(uuid_of(organization_id, "billable_metric", meter.id)),
        "name": meter.name,
        "code": meter.code,
        "description": None,
        "aggregation_type": aggregation_type(meter),
        "field_name": meter.field,
        "recurring": meter.recurring,
        "rounding_function": None,
        "rounding_precision": None,
        "weighted_interval": "seconds" if meter.aggregation is Aggregation.WEIGHTED_SUM else None,
        "expression": None,
        "filters": [],
        "created_at": format_instant(0 if stamp is None else stamp.made_at),
        "meterstone": {
            "id": meter.id,
            "aggregation": meter.aggregation,
            "event_name": meter.event_name,
            "multiplier": plain(meter.multiplier),
            "filters": {each.key: list(each.values) for each in meter.filters},
            "bucket_size": meter.bucket_size,
        },
    }


def charge_properties(price: Price) -> dict[str, Any]:
    """Return the properties of a charge, which say what a price says.

    >>> from decimal import Decimal
    >>> charge_properties(Price("call", "eur", BillingModel.FLAT_FEE, Decimal("0.10")))
    {'amount': '0.1'}
    """
    match price.billing_model:
        case BillingModel.FLAT_FEE:
            return {"amount": plain(price.amount)}
        case BillingModel.PACKAGE:
            size = 1 if price.transform_quantity is None else price.transform_quantity.divide_by
            return {"amount": plain(price.amount), "free_units": 0, "package_size": size}
        case BillingModel.TIERED:
            name = "volume_ranges" if price.tier_mode is TierMode.VOLUME else "graduated_ranges"
            return {name: _ranges(price.tiers)}
        case _:
            assert_never(price.billing_model)


def _ranges(tiers: Sequence[Tier]) -> list[dict[str, Any]]:
    begins = chain([0], (tier.up_to + 1 for tier in tiers if tier.up_to is not None))
    return [
        {
            "from_value": begin,
            "to_value": tier.up_to,
            "per_unit_amount": plain(tier.unit_amount),
            "flat_amount": plain(tier.flat_amount),
        }
        for begin, tier in zip(begins, tiers, strict=False)
    ]


def _charge(organization_id: str, plan: Plan, price: Price, meter: Meter, made_at: str) -> dict[str, Any]:
    return {
        **_any_charge(organization_id, plan, price, made_at),
        "lago_billable_metric_id": str(uuid_of(organization_id, "billable_metric", meter.id)),
        "billable_metric_code": meter.code,
        "invoiceable": True,
        "regroup_paid_fees": None,
        "invoice_display_name": _display_name(price),
        "min_amount_cents": 0,
        "filters": [],
        "accepts_target_wallet": False,
    }


def _fixed_charge(organization_id: str, plan: Plan, price: Price, made_at: str) -> dict[str, Any]:
    return {
        **_any_charge(organization_id, plan, price, made_at),
        "lago_add_on_id": str(uuid_of(organization_id, "add_on", price.id)),
        "add_on_code": price.id,
        "invoice_display_name": _display_name(price) or price.id,
        "units": 1,
        "lago_parent_id": None,
    }


def _any_charge(organization_id: str, plan: Plan, price: Price, made_at: str) -> dict[str, Any]:
    transform = price.transform_quantity
    return {
        "lago_id": str(uuid_of(organization_id, "plan_charge", plan.code, price.id)),
        "code": price.id,
        "charge_model": charge_model(price),
        "properties": charge_properties(price),
        "pay_in_advance": False,
        "prorated": False,
        "taxes": [],
        # The plan's: a price does not know when it was put.
        "created_at": made_at,
        "meterstone": {
            "price_id": price.id,
            "currency": price.currency.upper(),
            "billing_period": price.billing_period,
            "billing_period_count": price.billing_period_count,
            "round": RoundType.UP if transform is None else transform.round,
        },
    }


def _display_name(price: Price) -> str | None:
    name = price.details.get("display_name")
    return name if isinstance(name, str) else None

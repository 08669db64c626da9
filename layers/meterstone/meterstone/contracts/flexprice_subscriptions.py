"""Flexprice's `POST /v1/subscriptions` on the wire: the body of a new subscription.

What Flexprice's API description leaves open, or what differs, is settled so:

- `lookup_key` is the external id, by which events of Lago's shape name the subscription. Without one it is the id.
- `billing_cycle` is `anniversary` if it is left out, and `start_date` is now, as in Flexprice.
- `commitment_amount` needs no `overage_factor`: without one it is 1, and the commitment changes nothing. A
  commitment is for each billing period, so that `commitment_duration` can only be that period.
- `line_items` name prices that are there. `include_price_ids` chooses among the plan's prices: left out, all that
  fit; empty, none.
- What concerns payments and invoices alone is kept and given back. What would change an amount, or when something
  is charged, and is not supported, is refused by name: see `UNSUPPORTED`.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from meterstone.contracts.fields import whole
from meterstone.contracts.flexprice_fields import (
    Reader,
    currency,
    identifier,
    moment,
    money,
    one_of,
    short_text,
    timezone,
    written_moment,
)
from meterstone.contracts.message import Request
from meterstone.contracts.price_object import MOST_PERIODS
from meterstone.usage.arrival import AHEAD
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.terms import MOST_LINE_ITEMS, Terms

_NO_COUPONS: Final = "there are no coupons"
_NO_COMMITMENTS: Final = "a commitment is the whole subscription's: give commitment_amount"

UNSUPPORTED: Final = {
    "coupons": _NO_COUPONS,
    "subscription_coupons": _NO_COUPONS,
    "line_item_coupons": _NO_COUPONS,
    "tax_rate_overrides": "amounts have no taxes",
    "trial_period_days": "there are no trials",
    "phases": "change the plan when a phase begins",
    "addons": "give the prices as line_items",
    "credit_grants": "there are no credits",
    "override_line_items": "give include_price_ids, and the other prices as line_items",
    "override_entitlements": "there are no entitlements",
    "line_item_commitments": _NO_COMMITMENTS,
    "enable_true_up": "a commitment that is not used is not charged",
    "inheritance": "a subscription's usage is its own",
    "fx_rates": "amounts are in the subscription's currency",
    "auto_invoice_threshold": "there are no invoices",
    "checkout": "there are no payments",
}
"""The fields of a subscription that cannot be honoured, each with the reason."""

_UNSUPPORTED_OF_ITEMS: Final = {
    "price": "put the price at /catalogue/v1/prices, and give its price_id",
    "subscription_phase_id": "there are no phases",
    "commitment_amount": _NO_COMMITMENTS,
    "commitment_quantity": _NO_COMMITMENTS,
    "commitment_time_buckets": _NO_COMMITMENTS,
    "commitment_true_up_enabled": _NO_COMMITMENTS,
    "commitment_windowed": _NO_COMMITMENTS,
}

#: What is kept and given back: payments and invoices are another system's.
KEPT: Final = (
    *("collection_method", "payment_behavior", "payment_terms", "gateway_payment_method_id"),
    *("proration_behavior", "line_item_grouping"),
)

#: By the paths of the catalogue's files, Flexprice's names of fields.
NAMES: Final = {
    "external_id": "lookup_key",
    "customer": "customer_id",
    "plan": "plan_id",
    "start": "start_date",
    "end": "end_date",
    "anchor": "billing_anchor",
    "commitment.amount": "commitment_amount",
    "commitment.overage_factor": "overage_factor",
    "commitment": "commitment_amount",
    "prices": "include_price_ids",
    "details": "metadata",
}
#: And those of a line item's.
ITEM_NAMES: Final = {"price": "price_id", "start": "start_date", "end": "end_date"}


class SubscriptionAsked(NamedTuple):
    """A new subscription. Its id is made where it is put."""

    #: In the form of the catalogue's files, without ``id``, and without ``start`` if that is now.
    record: Mapping[str, Any]
    customer: str
    plan: str
    #: The external id; None: the id.
    lookup_key: str | None
    #: None: now.
    start: int | None
    #: None: never.
    end: int | None = None

    def is_like(self, terms: Terms, now: int) -> bool:
        """Return whether stored terms are what a create of this subscription has made, sent once before.

        The customer, the plan at the start, the start and the end are the same. Where the request gives no start,
        that is now: the stored subscription then has begun, or will in a moment. One that was called off, or that
        has ended although the request gives no end, is another.
        """
        began = terms.start <= now + AHEAD if self.start is None else terms.start == self.start
        ended = terms.end is not None and terms.end <= now and terms.end != self.end
        return (
            terms.customer_id == self.customer
            and terms.plan[0].value == self.plan
            and began
            and not ended
            and terms.canceled_at is None
        )


def parse(request: Request) -> SubscriptionAsked:
    """Read the body of a new subscription. Raises `RequestRefusedError` (400) with all bad fields at once."""
    reader = Reader.of(request)
    customers = [reader.get(name, identifier) for name in ("customer_id", "external_customer_id")]
    if not any(reader.given(name) for name in ("customer_id", "external_customer_id")):
        reader.fault("customer_id", "or external_customer_id is required")
    # A customer's id is its external id; Flexprice takes the first if both are given.
    customer = next((each for each in customers if each), "")
    plan = reader.require("plan_id", identifier, "")
    lookup_key = reader.get("lookup_key", identifier)
    start, end, anchor = (reader.get(name, moment) for name in ("start_date", "end_date", "billing_anchor"))
    record: dict[str, Any] = {
        "external_id": lookup_key,
        "customer": customer,
        "plan": plan,
        "currency": reader.require("currency", currency, ""),
        "start": written_moment(start),
        "end": written_moment(end),
        "anchor": written_moment(anchor),
        "timezone": reader.get("timezone", timezone),
        **billing_fields(reader),
        "commitment": _commitment(reader),
        "prices": reader.texts("include_price_ids", MOST_LINE_ITEMS),
        **_line_items(reader),
        "details": _details(reader) or None,
    }
    if start is not None and end is not None and end <= start:
        reader.fault("end_date", "must be after start_date")
    status = reader.get("subscription_status", one_of(("active", "draft")))
    if status == "draft":
        reader.fault(
            "subscription_status", "is not supported: a subscription is a draft until its start_date"
        )
    reader.refuse(UNSUPPORTED)
    reader.check()
    given = {name: value for name, value in record.items() if value is not None}
    return SubscriptionAsked(given, customer, plan, lookup_key, start, end)


def billing_fields(reader: Reader) -> dict[str, Any]:
    """Read how a new subscription is billed: its period, which must be given, count and cycle."""
    period = reader.require("billing_period", one_of(tuple(BillingPeriod)), "")
    cycle = reader.get("billing_cycle", one_of(tuple(BillingCycle)))
    return {
        "billing_period": period,
        "billing_period_count": reader.get("billing_period_count", whole(1, MOST_PERIODS)),
        "billing_cycle": cycle or str(BillingCycle.ANNIVERSARY),
    }


def _commitment(reader: Reader) -> dict[str, str] | None:
    amount, factor = reader.get("commitment_amount", money), reader.get("overage_factor", money)
    duration = reader.get("commitment_duration", one_of(tuple(BillingPeriod)))
    if reader.given("overage_factor") and not reader.given("commitment_amount"):
        reader.fault("overage_factor", "needs a commitment_amount")
    period = reader.get("billing_period", one_of(tuple(BillingPeriod)))
    if duration is not None and period is not None and duration != period:
        reader.fault("commitment_duration", "must be the billing_period: a commitment is for each")
    return None if amount is None else {"amount": amount, "overage_factor": factor or "1"}


def _line_items(reader: Reader) -> dict[str, Any]:
    """Read the line items beside the plan's; without any the subscription just follows its plan."""
    found = []
    for each in reader.each("line_items", MOST_LINE_ITEMS):
        each.refuse(_UNSUPPORTED_OF_ITEMS)
        # A line item that has a price of its own inside is told that alone.
        inside = each.given("price")
        price = each.get("price_id", identifier) if inside else each.require("price_id", identifier, "")
        start, end = each.get("start_date", moment), each.get("end_date", moment)
        if start is not None and end is not None and end <= start:
            each.fault("end_date", "must be after start_date")
        # Usage has no quantity. Clients that always send one send 0 or 1.
        if each.given("quantity") and each.fields.get("quantity", whole(0, 1), None) is None:
            each.fault("quantity", "is not supported: usage alone is priced")
        item = {"price": price, "start": written_moment(start), "end": written_moment(end)}
        found.append({name: value for name, value in item.items() if value is not None})
    return {"line_items": found, "plan_prices": True} if found else {}


def _details(reader: Reader) -> dict[str, Any]:
    details: dict[str, Any] = {name: reader.get(name, short_text) for name in KEPT}
    details["metadata"] = reader.metadata() or None
    return {name: value for name, value in details.items() if value is not None}

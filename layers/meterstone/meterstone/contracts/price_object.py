"""A price object in a request: Flexprice's fields, by the rules of the catalogue's files.

A catalogue is checked on a person's machine by pydantic, which no function has: importing it takes longer than an
answer. So the fields are read here by hand, and a bad price is told what `catalogue check` says, word for word.
What a price must be is written once, in `meterstone.pricing.price.check`. A test gives both the same prices.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from meterstone.contracts.fields import (
    Fields,
    choice,
    currency_code,
    instant_text,
    label,
    money_text,
    one_of,
    quantity_text,
    text_of,
    whole,
)
from meterstone.pricing.money import ZERO, number
from meterstone.pricing.price import (
    BillingModel,
    Detail,
    Price,
    PriceType,
    RoundType,
    Tier,
    TierMode,
    TransformQuantity,
    check,
)
from meterstone.usage.identifier import checked_id
from meterstone.usage.period import BillingPeriod

MOST_PERIODS: Final = 10_000
"""The largest count of billing periods that make one."""


def read_price(fields: Fields, *, with_currency: bool) -> Price:
    """Read a price object.

    Its id and meter may be absent: the request says whose price it is. ``with_currency`` says that nothing else
    tells the currency. The price is of no use if the fields have faults.
    """
    price = Price(
        id=fields.get("id", text_of(checked_id), ""),
        currency=(fields.require if with_currency else fields.get)("currency", text_of(currency_code), ""),
        billing_model=fields.require("billing_model", one_of(BillingModel), BillingModel.FLAT_FEE),
        amount=fields.get("amount", number, ZERO),
        type=fields.get("type", one_of(PriceType), PriceType.USAGE),
        meter_id=fields.get("meter_id", text_of(checked_id), "", nullable=True),
        tier_mode=fields.get("tier_mode", one_of(TierMode), None, nullable=True),
        tiers=_tiers(fields),
        transform_quantity=_transform(fields),
        billing_period=fields.get("billing_period", one_of(BillingPeriod), None, nullable=True),
        billing_period_count=fields.get("billing_period_count", whole(1, MOST_PERIODS), 1),
        details=_details(fields),
    )
    if price.type is not PriceType.USAGE:
        fields.fault("type", "must be USAGE: only usage is priced here")
    if (
        fields.has("billing_period_count")
        and price.billing_period is None
        and "billing_period" not in fields.broken
    ):
        fields.fault("billing_period_count", "needs a billing_period")
    fields.refuse_others()
    # What is absent here is not missing: a currency that can be read stands in for it.
    checked = price if price.currency else Price(**_with_currency(price))
    for problem in check(checked):
        if problem.path.partition(".")[0].partition("[")[0] not in fields.broken:
            fields.fault(problem.path, problem.message)
    return price


def _with_currency(price: Price) -> dict[str, Any]:
    return {name: getattr(price, name) for name in Price.__struct_fields__} | {"currency": "usd"}


def _tiers(fields: Fields) -> tuple[Tier, ...]:
    found = []
    for path, raw in fields.each("tiers"):
        tier = fields.element("tiers", raw, path)
        found.append(
            Tier(
                tier.require("up_to", _bound, None),
                tier.require("unit_amount", number, ZERO),
                tier.get("flat_amount", number, ZERO),
            )
        )
        fields.close("tiers", tier)
    return tuple(found)


def _bound(value: object) -> int | None:
    return None if value is None else whole()(value)


def _transform(fields: Fields) -> TransformQuantity | None:
    inner = fields.inner("transform_quantity", nullable=True)
    if inner is None:
        return None
    found = TransformQuantity(
        inner.require("divide_by", whole(), 1), inner.get("round", one_of(RoundType), RoundType.UP)
    )
    fields.close("transform_quantity", inner)
    return found


_LABEL = text_of(label)

#: The fields that describe a price and are only shown. Each may be null, which is the same as absent.
_DESCRIPTIVE: Mapping[str, Callable[[Any], object]] = {
    **dict.fromkeys(
        (
            *("display_name", "description", "lookup_key", "entity_id", "environment_id", "tenant_id"),
            *("group_id", "parent_price_id", "price_unit", "price_unit_id", "display_price_unit_amount"),
            *("created_by", "updated_by"),
        ),
        _LABEL,
    ),
    **dict.fromkeys(("start_date", "end_date", "created_at", "updated_at"), instant_text),
    **dict.fromkeys(("price_unit_amount", "conversion_rate"), money_text),
    "min_quantity": quantity_text,
    "trial_period_days": whole(0),
    "billing_cadence": choice(["RECURRING"]),
    "invoice_cadence": choice(["ARREAR", "ADVANCE"]),
    "entity_type": choice(["PLAN", "SUBSCRIPTION", "ADDON", "PRICE", "COSTSHEET"]),
    "status": choice(["published", "deleted", "archived"]),
    "price_unit_type": choice(["FIAT", "CUSTOM"]),
}


def _details(fields: Fields) -> Mapping[str, Detail]:
    found: dict[str, object] = {}
    for name, read in _DESCRIPTIVE.items():
        value = fields.get(name, read, None, nullable=True)
        if value is not None:
            found[name] = value
    metadata = fields.inner("metadata", nullable=True)
    if metadata is not None:
        found["metadata"] = {name: metadata.get(name, _named(name), "") for name, _ in metadata.items()}
        fields.close("metadata", metadata)
    units = fields.each("price_unit_tiers", nullable=True)
    if units:
        found["price_unit_tiers"] = [_unit_tier(fields, path, raw) for path, raw in units]
    return cast("Mapping[str, Detail]", found)


def _named(name: str) -> Callable[[object], str]:
    """Return a reader of a text whose name is a text by the same rule."""

    def reader(value: object) -> str:
        label(name)
        return _LABEL(value)

    return reader


def _unit_tier(fields: Fields, path: str, raw: object) -> dict[str, object]:
    """Read a tier in a custom price unit, which is shown and never computed with."""
    tier = fields.element("price_unit_tiers", raw, path)
    found = {
        "up_to": tier.get("up_to", _bound, None),
        "unit_amount": tier.require("unit_amount", money_text, ""),
        "flat_amount": tier.get("flat_amount", money_text, None, nullable=True),
    }
    fields.close("price_unit_tiers", tier)
    return {name: value for name, value in found.items() if value is not None}

"""A price's record, and those inside it: see `meterstone.catalogue.models`, which has the other kinds."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

from meterstone.catalogue.record import Conflict, Record
from meterstone.catalogue.values import (
    Count,
    Currency,
    EitherCase,
    Id,
    InstantText,
    Label,
    MoneyText,
    Number,
    QuantityText,
    Whole,
)
from meterstone.pricing.price import BillingModel, PriceType, RoundType, TierMode
from meterstone.usage.period import BillingPeriod

_SHOWN: Final = "Shown in answers; never computed with."


class TierRecord(Record):
    """A tier of a price: what a unit costs from the tier before up to a bound."""

    up_to: Whole | None = Field(
        description="The last unit of the tier, a whole number above that of the tier before. `null` in the last "
        "tier, which has no bound."
    )
    unit_amount: Number = Field(description="What a unit costs, in the currency's main unit.")
    flat_amount: Number = Field(Decimal(0), description="Due once when the tier is entered.")


class TransformRecord(Record):
    """How a PACKAGE price makes packages of units."""

    divide_by: Whole = Field(description="How many units a package has: 1 or more.")
    round: Annotated[RoundType, Field(strict=False), EitherCase.of(RoundType)] = Field(
        RoundType.UP, description="Whether a package that is used in part counts (up) or not (down)."
    )


class PriceUnitTierRecord(Record):
    """A tier in a custom price unit, shown and never computed with."""

    up_to: Whole | None = Field(None, description=_SHOWN)
    unit_amount: MoneyText = Field(description=_SHOWN)
    flat_amount: MoneyText | None = Field(None, description=_SHOWN)


_CADENCES: Final = ("RECURRING",)
_INVOICED: Final = ("ARREAR", "ADVANCE")
_ENTITIES: Final = ("PLAN", "SUBSCRIPTION", "ADDON", "PRICE", "COSTSHEET")
_STATUSES: Final = ("published", "deleted", "archived")
_UNIT_TYPES: Final = ("FIAT", "CUSTOM")

_BillingPeriod = Annotated[BillingPeriod, Field(strict=False), EitherCase.of(BillingPeriod)]
_Cadence = Annotated[Literal["RECURRING"], EitherCase.of(_CADENCES)]
_Invoiced = Annotated[Literal["ARREAR", "ADVANCE"], EitherCase.of(_INVOICED)]
_Entity = Annotated[Literal["PLAN", "SUBSCRIPTION", "ADDON", "PRICE", "COSTSHEET"], EitherCase.of(_ENTITIES)]
_Status = Annotated[Literal["published", "deleted", "archived"], EitherCase.of(_STATUSES)]
_UnitType = Annotated[Literal["FIAT", "CUSTOM"], EitherCase.of(_UNIT_TYPES)]
_Days = Annotated[
    int,
    Field(ge=0),
    WithJsonSchema({"title": "whole number", "type": "integer", "minimum": 0}),
]


class PriceRecord(Record):
    """What usage of a meter costs: Flexprice's price object. A price never changes once it is loaded."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "byte",
                    "currency": "EUR",
                    "billing_model": "TIERED",
                    "meter_id": "bytes",
                    "tier_mode": "SLAB",
                    "tiers": [
                        {"up_to": 1000, "unit_amount": 0},
                        {"up_to": None, "unit_amount": "0.0005", "flat_amount": 2},
                    ],
                },
                {
                    "id": "call",
                    "currency": "EUR",
                    "billing_model": "PACKAGE",
                    "amount": "12.50",
                    "meter_id": "calls",
                    "transform_quantity": {"divide_by": 1000, "round": "up"},
                },
            ]
        }
    )

    id: Id = Field(description="What line items name the price by.")
    currency: Currency = Field(description="ISO 4217. Amounts are in its main unit: 12.5 dollars, not cents.")
    billing_model: Annotated[BillingModel, Field(strict=False), EitherCase.of(BillingModel)] = Field(
        description="How a quantity becomes an amount. FLAT_FEE: each unit costs `amount`. PACKAGE: each package "
        "of units costs `amount`. TIERED: what `tiers` say."
    )
    amount: Number = Field(
        Decimal(0), description="What a unit (FLAT_FEE) or a package (PACKAGE) costs. TIERED does not use it."
    )
    type: Annotated[PriceType, Field(strict=False), EitherCase.of(PriceType)] = Field(
        PriceType.USAGE,
        description="USAGE: a price of metered usage. FIXED: a fixed charge, which no answer about usage shows.",
    )
    meter_id: Id | None = Field(
        None, description="The id of a meter. A USAGE price needs one, and a FIXED price has none."
    )
    tier_mode: Annotated[TierMode, Field(strict=False), EitherCase.of(TierMode)] | None = Field(
        None,
        description="TIERED needs it. VOLUME: the tier that the whole quantity reaches prices all of it. SLAB: "
        "each tier prices the part within its bounds.",
    )
    tiers: list[TierRecord] = Field(
        [], description="1 to 50 tiers in the order of their bounds. TIERED needs them."
    )
    transform_quantity: TransformRecord | None = Field(None, description="PACKAGE needs it.")
    billing_period: _BillingPeriod | None = Field(
        None, description="The price's own billing period. Left out: the subscription's."
    )
    billing_period_count: Count = Field(
        1, description="How many such units make one billing period. Needs a `billing_period`."
    )
    # What follows describes the price and is only shown.
    display_name: Label | None = Field(None, description=_SHOWN)
    description: Label | None = Field(None, description=_SHOWN)
    lookup_key: Label | None = Field(None, description=_SHOWN)
    metadata: dict[Label, Label] | None = Field(None, description=_SHOWN)
    billing_cadence: _Cadence | None = Field(None, description=_SHOWN)
    invoice_cadence: _Invoiced | None = Field(None, description=_SHOWN)
    entity_type: _Entity | None = Field(None, description=_SHOWN)
    entity_id: Label | None = Field(None, description=_SHOWN)
    environment_id: Label | None = Field(None, description=_SHOWN)
    tenant_id: Label | None = Field(None, description=_SHOWN)
    group_id: Label | None = Field(None, description=_SHOWN)
    parent_price_id: Label | None = Field(None, description=_SHOWN)
    status: _Status | None = Field(None, description=_SHOWN)
    min_quantity: QuantityText | None = Field(None, description=_SHOWN)
    trial_period_days: _Days | None = Field(None, description=_SHOWN)
    price_unit: Label | None = Field(None, description=_SHOWN)
    price_unit_id: Label | None = Field(None, description=_SHOWN)
    price_unit_type: _UnitType | None = Field(None, description=_SHOWN)
    price_unit_amount: MoneyText | None = Field(None, description=_SHOWN)
    price_unit_tiers: list[PriceUnitTierRecord] | None = Field(None, description=_SHOWN)
    conversion_rate: MoneyText | None = Field(None, description=_SHOWN)
    display_price_unit_amount: Label | None = Field(None, description=_SHOWN)
    start_date: InstantText | None = Field(None, description=_SHOWN)
    end_date: InstantText | None = Field(None, description=_SHOWN)
    created_at: InstantText | None = Field(None, description=_SHOWN)
    created_by: Label | None = Field(None, description=_SHOWN)
    updated_at: InstantText | None = Field(None, description=_SHOWN)
    updated_by: Label | None = Field(None, description=_SHOWN)

    def conflicts(self, broken: AbstractSet[str]) -> Iterator[Conflict]:
        """Tie the meter to the type, and a count of periods to a period."""
        if not broken & {"type", "meter_id"} and (self.meter_id is None) == (self.type is PriceType.USAGE):
            needs = "needs a" if self.meter_id is None else "has no"
            yield Conflict("meter_id", f"a {self.type} price {needs} meter_id")
        counted = "billing_period_count" in self.model_fields_set
        if counted and "billing_period" not in broken and self.billing_period is None:
            yield Conflict("billing_period_count", "needs a billing_period")

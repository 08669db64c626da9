"""The catalogue's file format, kind by kind: what stands in a record, before anything is looked up elsewhere.

Types are strict: text is text, and a number may also be written as text (`"0.10"`). Instants are RFC 3339,
and UTC if they have no offset. A fact that can change over time is a plain value, or a list of `{value,
since}`, of which only the first may leave `since` out.
"""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from meterstone.contracts.fields import (
    amount,
    currency_code,
    instant,
    instant_text,
    label,
    money_text,
    quantity_text,
)
from meterstone.pricing.commitment import CommitmentSplit
from meterstone.pricing.money import LARGEST_EXPONENT, QUANTITY_DIGITS, number
from meterstone.pricing.price import BillingModel, PriceType, RoundType, TierMode
from meterstone.usage.aggregation import AGGREGATORS
from meterstone.usage.aggregation.base import Reads
from meterstone.usage.calendar import BucketSize, zone
from meterstone.usage.identifier import checked_id
from meterstone.usage.meter import Aggregation, property_text
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone_cli.catalogue.countries import COUNTRIES


def _multiplier(value: Any) -> Decimal:
    return number(value, QUANTITY_DIGITS)


def _zone(name: str) -> str:
    zone(name)
    return name


def _country(code: str) -> str:
    if code not in COUNTRIES:
        raise ValueError("is not an ISO 3166-1 alpha-2 country, such as NO")
    return code


def _filter_value(value: Any) -> str:
    if isinstance(value, Decimal) and abs(value.adjusted()) > LARGEST_EXPONENT:
        # No event has such a number; written out, it could have millions of digits.
        raise ValueError(f"the exponent of a number is at most {LARGEST_EXPONENT}")
    text = None if isinstance(value, list | dict) else property_text(value)
    if text is None:
        raise ValueError("must be text, a number or true or false")
    return text


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError("must be a UUID") from None


Id = Annotated[str, AfterValidator(checked_id)]
Label = Annotated[str, AfterValidator(label)]
Instant = Annotated[int, BeforeValidator(instant)]
InstantText = Annotated[str, BeforeValidator(instant_text)]
Multiplier = Annotated[Decimal, BeforeValidator(_multiplier)]
Number = Annotated[Decimal, BeforeValidator(number)]
Amount = Annotated[Decimal, BeforeValidator(amount)]
MoneyText = Annotated[str, BeforeValidator(money_text)]
QuantityText = Annotated[str, BeforeValidator(quantity_text)]
TimeZone = Annotated[str, AfterValidator(_zone)]
Country = Annotated[str, AfterValidator(_country)]
Currency = Annotated[str, AfterValidator(currency_code)]
Count = Annotated[int, Field(ge=1, le=10_000)]


class Conflict(NamedTuple):
    """A field that does not fit to others, and why."""

    field: str
    reason: str


class Record(BaseModel):
    """A mapping with known keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def conflicts(self, broken: AbstractSet[str]) -> Iterable[Conflict]:  # noqa: ARG002 - most records have none
        """Say which fields do not fit together, apart from those that are ``broken``, which have no value."""
        return ()


class DatedValue[Value](Record):
    """What a fact is from an instant on."""

    value: Value
    since: Instant | None = None


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [{"value": value}]


def _ordered[Value](facts: list[DatedValue[Value]]) -> list[DatedValue[Value]]:
    if not facts:
        raise ValueError("must not be an empty list")
    for before, after in pairwise(facts):
        if after.since is None:
            raise ValueError("only the first entry may leave `since` out")
        if before.since is not None and after.since <= before.since:
            raise ValueError("must be in the order of `since`, each later than the one before")
    return facts


type Dated[Value] = Annotated[list[DatedValue[Value]], BeforeValidator(_listed), AfterValidator(_ordered)]


class OrganizationRecord(Record):
    """`organization`: one mapping."""

    id: Annotated[str, AfterValidator(_uuid)]
    name: Label = ""
    timezone: TimeZone = "UTC"


class CustomerRecord(Record):
    """An entry of `customers`. `id` is the external id."""

    id: Id
    name: Label = ""
    timezone: TimeZone | None = None
    country: Dated[Country] | None = None
    customer_type: Dated[Literal["individual", "company"]] | None = None


class PlanRecord(Record):
    """An entry of `plans`."""

    code: Id
    name: Label = ""
    description: Label = ""


class MeterRecord(Record):
    """An entry of `meters`."""

    id: Id
    code: Id
    aggregation: Annotated[Aggregation, Field(strict=False)]
    name: Label | None = None
    event_name: Id | None = None
    field: Id | None = None
    multiplier: Multiplier | None = None
    filters: dict[Id, list[Annotated[str, BeforeValidator(_filter_value)]]] = {}
    recurring: bool = False
    bucket_size: Annotated[BucketSize, Field(strict=False)] | None = None
    deleted_at: Instant | None = None

    def conflicts(self, broken: AbstractSet[str]) -> Iterator[Conflict]:
        """Say what the aggregation needs, and what it cannot have."""
        if "aggregation" not in broken:
            yield from (each for each in self._misfits() if each.field not in broken)
        if self.bucket_size is not None and self.recurring:
            yield Conflict("bucket_size", "a recurring meter cannot have a bucket_size")
        for key, values in self.filters.items():
            if not values:
                yield Conflict(f"filters.{key}", "has no values, so that nothing passes")

    def _misfits(self) -> Iterator[Conflict]:
        traits = AGGREGATORS[self.aggregation].traits
        if traits.reads is Reads.NOTHING:
            if self.field is not None:
                yield Conflict("field", f"{self.aggregation} has no field")
        elif self.field is None:
            yield Conflict("field", f"{self.aggregation} needs a field")
        if (self.multiplier is not None) != traits.multiplies:
            needs = "needs a" if self.multiplier is None else "has no"
            yield Conflict("multiplier", f"{self.aggregation} {needs} multiplier")
        if self.recurring and not traits.can_recur:
            able = _named(each for each, of in AGGREGATORS.items() if of.traits.can_recur)
            yield Conflict("recurring", f"{self.aggregation} cannot be recurring: only {able} can")
        if self.bucket_size is not None and not traits.can_have_buckets:
            able = _named(each for each, of in AGGREGATORS.items() if of.traits.can_have_buckets)
            yield Conflict("bucket_size", f"{self.aggregation} cannot have a bucket_size: only {able} can")


def _named(aggregations: Iterable[Aggregation]) -> str:
    *most, last = sorted(aggregations)
    return f"{', '.join(most)} and {last}" if most else last


class TierRecord(Record):
    """A tier of a price."""

    up_to: int | None
    unit_amount: Number
    flat_amount: Number = Decimal(0)


class TransformRecord(Record):
    """How a PACKAGE price makes packages."""

    divide_by: int
    round: Annotated[RoundType, Field(strict=False)] = RoundType.UP


class PriceUnitTierRecord(Record):
    """A tier in a custom price unit, shown and never computed with."""

    up_to: int | None = None
    unit_amount: MoneyText
    flat_amount: MoneyText | None = None


class PriceRecord(Record):
    """An entry of `prices`: Flexprice's price object."""

    id: Id
    currency: Currency
    billing_model: Annotated[BillingModel, Field(strict=False)]
    amount: Number = Decimal(0)
    type: Annotated[PriceType, Field(strict=False)] = PriceType.USAGE
    meter_id: Id | None = None
    tier_mode: Annotated[TierMode, Field(strict=False)] | None = None
    tiers: list[TierRecord] = []
    transform_quantity: TransformRecord | None = None
    billing_period: Annotated[BillingPeriod, Field(strict=False)] | None = None
    billing_period_count: Count = 1
    # What follows describes the price and is only shown.
    display_name: Label | None = None
    description: Label | None = None
    lookup_key: Label | None = None
    metadata: dict[Label, Label] | None = None
    billing_cadence: Literal["RECURRING"] | None = None
    invoice_cadence: Literal["ARREAR", "ADVANCE"] | None = None
    entity_type: Literal["PLAN", "SUBSCRIPTION", "ADDON", "PRICE", "COSTSHEET"] | None = None
    entity_id: Label | None = None
    environment_id: Label | None = None
    tenant_id: Label | None = None
    group_id: Label | None = None
    parent_price_id: Label | None = None
    status: Literal["published", "deleted", "archived"] | None = None
    min_quantity: QuantityText | None = None
    trial_period_days: Annotated[int, Field(ge=0)] | None = None
    price_unit: Label | None = None
    price_unit_id: Label | None = None
    price_unit_type: Literal["FIAT", "CUSTOM"] | None = None
    price_unit_amount: MoneyText | None = None
    price_unit_tiers: list[PriceUnitTierRecord] | None = None
    conversion_rate: MoneyText | None = None
    display_price_unit_amount: Label | None = None
    start_date: InstantText | None = None
    end_date: InstantText | None = None
    created_at: InstantText | None = None
    created_by: Label | None = None
    updated_at: InstantText | None = None
    updated_by: Label | None = None

    def conflicts(self, broken: AbstractSet[str]) -> Iterator[Conflict]:
        """Tie the meter to the type, and a count of periods to a period."""
        if not broken & {"type", "meter_id"} and (self.meter_id is None) == (self.type is PriceType.USAGE):
            needs = "needs a" if self.meter_id is None else "has no"
            yield Conflict("meter_id", f"a {self.type} price {needs} meter_id")
        counted = "billing_period_count" in self.model_fields_set
        if counted and "billing_period" not in broken and self.billing_period is None:
            yield Conflict("billing_period_count", "needs a billing_period")


class CommitmentRecord(Record):
    """What a subscription commits to."""

    amount: Amount
    overage_factor: Amount
    split: Annotated[CommitmentSplit, Field(strict=False)] = CommitmentSplit.AMOUNT


class LineItemRecord(Record):
    """A price of a subscription, from its start to its end (default: the subscription's)."""

    price: Id
    id: Id | None = None
    start: Instant | None = None
    end: Instant | None = None


class SubscriptionRecord(Record):
    """An entry of `subscriptions`."""

    id: Id
    external_id: Id | None = None
    customer: Id
    plan: Dated[Id]
    currency: Currency
    start: Instant
    end: Instant | None = None
    billing_period: Annotated[BillingPeriod, Field(strict=False)] = BillingPeriod.MONTHLY
    billing_period_count: Count = 1
    billing_cycle: Annotated[BillingCycle, Field(strict=False)] = BillingCycle.CALENDAR
    anchor: Instant | None = None
    commitment: CommitmentRecord | None = None
    line_items: list[LineItemRecord] = []

    def conflicts(self, broken: AbstractSet[str]) -> Iterator[Conflict]:
        """Refuse an end that is not after the start."""
        if "start" not in broken and self.end is not None and self.end <= self.start:
            yield Conflict("end", "must be after the start")

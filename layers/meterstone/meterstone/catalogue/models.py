"""The catalogue's file format, kind by kind: what stands in a record, before anything is looked up elsewhere.

The values are those of `meterstone.catalogue.values`, and a price's record is in
`meterstone.catalogue.prices`. A fact that can change over time is a plain value, or a list of `{value,
since}`, of which only the first may leave `since` out.

The descriptions and examples here are what `docs/catalogue.md` and the JSON Schemas beside it are made of:
`make catalogue-reference` writes both.
"""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from meterstone.catalogue.record import Conflict, Dated, Details, Record
from meterstone.catalogue.values import (
    Amount,
    Count,
    Country,
    Currency,
    EitherCase,
    FilterValue,
    Id,
    Instant,
    Label,
    Multiplier,
    TimeZone,
    Uuid,
)
from meterstone.pricing.commitment import CommitmentSplit
from meterstone.usage.aggregation import AGGREGATORS
from meterstone.usage.aggregation.base import Reads
from meterstone.usage.calendar import BucketSize
from meterstone.usage.charge import CUSTOMER_TYPES
from meterstone.usage.identifier import repeated_key
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingCycle, BillingPeriod


class OrganizationRecord(Record):
    """Whose catalogue it is. One mapping, not a list."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"id": "5d1f3a52-8f0e-4b8e-9a53-0b7b0a6f1c11", "name": "Acme", "timezone": "Europe/Berlin"}
            ]
        }
    )

    id: Uuid = Field(description="What commands take as `--organization`. Any UUID that is yours alone.")
    name: Label = Field("", description="Shown to people; never computed with.")
    timezone: TimeZone = Field(
        "UTC", description="The calendar of customers that have no time zone of their own."
    )


class CustomerRecord(Record):
    """Who uses what is sold."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "globex",
                    "name": "Globex",
                    "timezone": "Asia/Tokyo",
                    "country": [{"value": "JP"}, {"value": "US", "since": "2026-02-01T00:00:00+09:00"}],
                    "customer_type": "company",
                }
            ]
        }
    )

    id: Id = Field(description="The customer's external id: what events and requests name it by.")
    name: Label = Field("", description="Shown to people; never computed with.")
    timezone: TimeZone | None = Field(
        None,
        description="The calendar of the customer's days and billing periods. Left out: the organization's.",
    )
    country: Dated[Country] | None = Field(
        None, description="By which the analytics filter. Usage counts for the country of its time."
    )
    customer_type: (
        Dated[Annotated[Literal["individual", "company"], EitherCase.of(CUSTOMER_TYPES)]] | None
    ) = Field(None, description="By which the analytics filter. Usage counts for the type of its time.")
    currency: Currency | None = Field(None, description="ISO 4217. Kept and given back.")
    details: Details = Field(
        {}, description="Anything else that is known of the customer. Kept and given back."
    )


class CommitmentRecord(Record):
    """What a subscription commits to: an amount for each billing period. Usage beyond it is overage."""

    amount: Amount = Field(description="The amount of a billing period, in the subscription's currency.")
    overage_factor: Amount = Field(
        description="By which the price of usage beyond the amount is multiplied. With 1 or less, or with an "
        "amount of 0, the commitment changes nothing."
    )
    split: Annotated[CommitmentSplit, Field(strict=False), EitherCase.of(CommitmentSplit)] = Field(
        CommitmentSplit.AMOUNT,
        description="How the charge that crosses the amount is parted. amount: to the cent. whole_units: between "
        "two whole units, as Flexprice does.",
    )


class PlanRecord(Record):
    """What is sold under one name: prices, in every currency in which they are offered.

    Usage is grouped under it.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "code": "team",
                    "name": "Team",
                    "description": "Tokens in packages",
                    "billing_period": "MONTHLY",
                    "prices": ["call", "byte"],
                }
            ]
        }
    )

    code: Id = Field(description="What subscriptions and requests name the plan by.")
    name: Label = Field("", description="Shown to people; never computed with.")
    description: Label = Field("", description="Shown to people; never computed with.")
    currency: Currency | None = Field(None, description="ISO 4217. That of the plan's price list in answers.")
    billing_period: Annotated[BillingPeriod, Field(strict=False), EitherCase.of(BillingPeriod)] | None = (
        Field(
            None,
            description="That of the plan's prices that have none of their own. Left out: the subscription's.",
        )
    )
    billing_period_count: Count = Field(
        1, description="How many such units make one billing period. Needs a `billing_period`."
    )
    commitment: CommitmentRecord | None = Field(
        None, description="What a subscription to the plan commits to if it does not say so itself."
    )
    prices: list[Id] = Field(
        [],
        description="The ids of prices. A subscription that follows the plan has a line item for each one in its "
        "currency whose billing period equals or divides its own.",
    )
    details: dict[Label, Label] = Field(
        {}, description="Anything else that is known of the plan. Kept and given back."
    )

    def conflicts(self, broken: AbstractSet[str]) -> Iterator[Conflict]:
        """Tie a count of periods to a period, and refuse a price that stands twice."""
        counted = "billing_period_count" in self.model_fields_set
        if counted and "billing_period" not in broken and self.billing_period is None:
            yield Conflict("billing_period_count", "needs a billing_period")
        if "prices" not in broken and (repeated := repeated_key(self.prices)) is not None:
            yield Conflict("prices", f"{repeated!r} stands there twice")


class MeterRecord(Record):
    """What is counted of events: Flexprice's meter, Lago's billable metric."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "generated-tokens",
                    "code": "generated_tokens",
                    "name": "Generated tokens",
                    "aggregation": "SUM",
                    "field": "tokens",
                    "event_name": "llm_request",
                    "filters": {"model": ["chat", "code"]},
                }
            ]
        }
    )

    id: Id = Field(description="What prices name the meter by.")
    code: Id = Field(description="The metric's code in requests and answers. Events of this name count, too.")
    aggregation: Annotated[Aggregation, Field(strict=False), EitherCase.of(Aggregation)] = Field(
        description="How events become a quantity. COUNT: their number. SUM: the sum of the field. "
        "SUM_WITH_MULTIPLIER: that sum times the multiplier. MAX: the greatest value. LATEST: the value of the "
        "latest event. AVG: the mean. COUNT_UNIQUE: the number of distinct values. WEIGHTED_SUM: a level that "
        "events raise and lower, weighted by the time that it is held."
    )
    name: Label | None = Field(None, description="Shown to people. Left out: the code.")
    event_name: Id | None = Field(None, description="The name of the events that count. Left out: the code.")
    field: Id | None = Field(
        None, description="The property of the event that is read. All aggregations but COUNT need it."
    )
    multiplier: Multiplier | None = Field(
        None, description="By which the sum is multiplied. SUM_WITH_MULTIPLIER needs it, and no other has it."
    )
    filters: dict[Id, list[FilterValue]] = Field(
        {},
        description="By property, the values of which an event must have one. Numbers compare as text: `5.0` is "
        "`5`. Left out: every event passes.",
    )
    recurring: bool = Field(
        False,  # noqa: FBT003 - pydantic's
        description="Whether what was counted stays for the periods that follow. COUNT_UNIQUE, SUM and "
        "WEIGHTED_SUM can.",
    )
    bucket_size: Annotated[BucketSize, Field(strict=False), EitherCase.of(BucketSize)] | None = Field(
        None,
        description="The length of the stretches of time that are priced each by itself. MAX and SUM can have "
        "one, if they do not recur.",
    )
    deleted_at: Instant | None = Field(
        None, description="From when on events no longer count for the meter. Earlier usage stays."
    )

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


class LineItemRecord(Record):
    """A price of a subscription, from its start to its end."""

    price: Id = Field(description="The id of a price, in the subscription's currency.")
    id: Id | None = Field(
        None,
        description="Unique among all line items. Left out: the subscription's id, a full stop, the price's.",
    )
    start: Instant | None = Field(None, description="When it begins. Left out: with the subscription.")
    end: Instant | None = Field(
        None, description="When it ends; that instant is outside. Left out: with the subscription."
    )


class SubscriptionRecord(Record):
    """What a customer has agreed to: prices, billing periods, a commitment."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "globex-team",
                    "customer": "globex",
                    "plan": "team",
                    "currency": "EUR",
                    "start": "2026-01-01T00:00:00+09:00",
                    "billing_period": "MONTHLY",
                    "commitment": {"amount": 100, "overage_factor": 1.5},
                    "line_items": [
                        {"price": "call", "end": "2026-03-01T00:00:00+09:00"},
                        {"price": "call-2", "start": "2026-03-01T00:00:00+09:00"},
                    ],
                }
            ]
        }
    )

    id: Id = Field(description="What requests of one endpoint name the subscription by.")
    external_id: Id | None = Field(
        None,
        description="What events name it by. Two subscriptions may have the same one after another. "
        "Left out: the id.",
    )
    customer: Id = Field(description="The id of a customer.")
    plan: Dated[Id] = Field(description="The code of a plan. Usage is grouped under the plan of its time.")
    currency: Currency = Field(description="ISO 4217. All its prices are in it.")
    start: Instant = Field(description="When it begins. Events before count for it nowhere.")
    end: Instant | None = Field(
        None, description="When it ends; that instant is outside. Left out: it goes on without end."
    )
    billing_period: Annotated[BillingPeriod, Field(strict=False), EitherCase.of(BillingPeriod)] = Field(
        BillingPeriod.MONTHLY,
        description="The unit of a billing period. ONETIME: the subscription's whole time is one period.",
    )
    billing_period_count: Count = Field(1, description="How many such units make one billing period.")
    billing_cycle: Annotated[BillingCycle, Field(strict=False), EitherCase.of(BillingCycle)] = Field(
        BillingCycle.CALENDAR,
        description="Where billing periods begin. calendar: with the calendar's days, weeks (on Monday), months, "
        "quarters, half years, years. anniversary: at the anchor's day and time of day.",
    )
    anchor: Instant | None = Field(
        None,
        description="Of which the periods of the anniversary cycle are anniversaries. Left out: the start.",
    )
    commitment: CommitmentRecord | None = Field(
        None, description="An amount that is agreed to. Left out: none."
    )
    line_items: list[LineItemRecord] = Field(
        [],
        description="Prices of its own. Two of one meter must not overlap in time. Left out: it follows its plan, "
        "and has the plan's prices.",
    )
    plan_prices: bool = Field(
        False,  # noqa: FBT003 - pydantic's
        description="Whether it follows its plan beside its own `line_items`.",
    )
    prices: list[Id] | None = Field(
        None, description="Of the plan's prices only these, by id. Left out: all that are for it."
    )
    timezone: TimeZone | None = Field(
        None,
        description="The calendar of its days and billing periods. Left out: the customer's when it was made, "
        "else the organization's.",
    )
    name: Label = Field("", description="Shown to people; never computed with.")
    canceled_at: Instant | None = Field(
        None, description="When it was called off before it began. Nothing counts for it then."
    )
    details: Details = Field(
        {}, description="Anything else that is known of the subscription. Kept and given back."
    )

    @property
    def follows_plan(self) -> bool:
        """Whether it has the line items of its plan."""
        return self.plan_prices or "line_items" not in self.model_fields_set

    def conflicts(self, broken: AbstractSet[str]) -> Iterator[Conflict]:
        """Refuse an end that is not after the start."""
        if "start" not in broken and self.end is not None and self.end <= self.start:
            yield Conflict("end", "must be after the start")
        if "prices" not in broken and self.prices is not None:
            if not broken & {"plan_prices", "line_items"} and not self.follows_plan:
                yield Conflict("prices", "needs plan_prices: true beside line_items")
            if (repeated := repeated_key(self.prices)) is not None:
                yield Conflict("prices", f"{repeated!r} stands there twice")

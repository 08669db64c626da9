"""`POST /v1/subscriptions/usage/explain` on the wire: the answer of the usage endpoint, and how it came about.

The request and every field of the answer are those of `contracts.flexprice`. The `explanation` in each charge, and
the `commitment` beside the charges, are our own. Numbers are JSON numbers with all their digits, prices too.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from meterstone.contracts import flexprice
from meterstone.contracts.flexprice import UsageAnswer, UsageCharge
from meterstone.contracts.message import Reply, number
from meterstone.contracts.sentence import row_sentence
from meterstone.pricing.commitment import Commitment
from meterstone.pricing.consumption import Step, offered
from meterstone.pricing.currency import precision
from meterstone.pricing.lines import Cost
from meterstone.pricing.money import round_money
from meterstone.pricing.price import BillingModel, Price
from meterstone.usage.explanation import Explanation, LineItemExplanation
from meterstone.usage.instant import format_instant
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.subscription import LineItem


class AggregationObject(msgspec.Struct, frozen=True, kw_only=True):
    """How events become a quantity."""

    name: str
    field: str | None
    multiplier: Raw | UnsetType = UNSET
    filters: dict[str, list[str]]
    recurring: bool
    bucket_size: str | None


class CutObject(msgspec.Struct, frozen=True, kw_only=True):
    """Why the window is cut at one side."""

    at: str
    by: str


class WindowObject(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the asked window in which the line item counts."""

    start_time: str
    end_time: str
    cut: list[CutObject]


class PeriodsObject(msgspec.Struct, frozen=True, kw_only=True):
    """The billing periods in which that part lies, so far."""

    billing_period: str
    billing_period_count: int
    number: int
    start_time: str
    end_time: str | None


class MeasuredObject(msgspec.Struct, frozen=True, kw_only=True):
    """How the quantity was measured: from how many stored parts, or that it was given."""

    given: bool
    days: int | UnsetType = UNSET
    hours: int | UnsetType = UNSET
    events: int | UnsetType = UNSET
    carried: Raw | UnsetType = UNSET
    divided_by_seconds: Raw | UnsetType = UNSET


class LineObject(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the amount: ``quantity * unit_amount + flat_amount`` is ``subtotal``."""

    from_: Raw = msgspec.field(name="from")
    to: Raw | None
    quantity: Raw
    unit_amount: Raw
    flat_amount: Raw
    subtotal: Raw


class PackagesObject(msgspec.Struct, frozen=True, kw_only=True):
    """The packages of a PACKAGE price. The quantity of its line is their number."""

    size: int
    count: Raw
    round: str


class BucketsObject(msgspec.Struct, frozen=True, kw_only=True):
    """The buckets of a bucketed meter, each priced by itself; lines of one tier are merged."""

    size: str
    single: int
    days: int
    merged_lines: int


class ExplanationObject(msgspec.Struct, frozen=True, kw_only=True):
    """How a charge came about, before the commitment."""

    aggregation: AggregationObject | None
    window: WindowObject
    billing_periods: PeriodsObject
    quantity: Raw
    measured: MeasuredObject
    lines: list[LineObject]
    packages: PackagesObject | UnsetType = UNSET
    buckets: BucketsObject | UnsetType = UNSET
    unrounded: Raw
    rounded_to: int
    amount: Raw
    sentence: str


class StepObject(msgspec.Struct, frozen=True, kw_only=True):
    """What one row of the charges did to the commitment."""

    subscription_line_item_id: str
    is_overage: bool
    left_before: Raw
    taken: Raw
    left_after: Raw
    beyond: Raw
    overage_before: Raw
    amount: Raw


class CommitmentObject(msgspec.Struct, frozen=True, kw_only=True):
    """The commitment, and what the rows did to it in their order."""

    amount: Raw
    overage_factor: Raw
    split: str
    offered: Raw
    steps: list[StepObject]


class ExplainedCharge(UsageCharge, frozen=True, kw_only=True):
    """A row of the answer with its explanation."""

    explanation: ExplanationObject


class ExplainedAnswer(UsageAnswer, frozen=True, kw_only=True):
    """The answer of the usage endpoint, explained."""

    charges: list[ExplainedCharge]  # type: ignore[assignment]
    commitment: CommitmentObject | None = None


api_key, parse, refuse = flexprice.api_key, flexprice.parse, flexprice.refuse
forbid = flexprice.forbid


def answer(explanation: Explanation) -> Reply:
    """Write an explained statement as the reply."""
    return Reply.of(200, explained(explanation), counted_until=explanation.statement.counted_until)


def explained(explanation: Explanation) -> ExplainedAnswer:
    """Write an explained statement as the body of the answer."""
    statement = explanation.statement
    subscription, rows = statement.subscription, statement.settlement.rows
    steps: Sequence[Step[LineItem] | None] = explanation.steps or [None] * len(rows)
    plain = flexprice.usage(statement)
    charges = []
    for row, charge, step in zip(rows, plain.charges, steps, strict=True):
        told = _explanation(explanation.items[row.source.key.id], step, subscription.currency)
        charges.append(ExplainedCharge(**_fields(charge), explanation=told))
    answered = _fields(plain) | {"charges": charges}
    return ExplainedAnswer(**answered, commitment=_commitment(subscription.commitment, explanation))


def lines(cost: Cost) -> list[LineObject]:
    """Write the lines of a cost."""
    return [
        LineObject(
            from_=number(line.from_),
            to=None if line.to is None else number(line.to),
            quantity=number(line.quantity),
            unit_amount=number(line.unit_amount),
            flat_amount=number(line.flat_amount),
            subtotal=number(line.subtotal),
        )
        for line in cost.lines
    ]


def packages(price: Price, cost: Cost) -> PackagesObject | UnsetType:
    """Write the packages of a cost; nothing if the price has none."""
    transform = price.transform_quantity
    if price.billing_model is not BillingModel.PACKAGE or transform is None:
        return UNSET
    count = cost.lines[0].quantity if cost.lines else None
    return PackagesObject(
        size=transform.divide_by,
        count=Raw(b"0") if count is None else number(count),
        round=transform.round,
    )


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _explanation(of: LineItemExplanation, step: Step[LineItem] | None, currency: str) -> ExplanationObject:
    item, cost, share = of.item, of.cost, of.share
    periods = of.periods
    cuts = [("start", share.start_cut), ("end", share.end_cut)]
    rounded = round_money(cost.amount, currency)
    return ExplanationObject(
        aggregation=_aggregation(item.meter),
        window=WindowObject(
            start_time=format_instant(share.start),
            end_time=format_instant(share.end),
            cut=[CutObject(at=at, by=by) for at, by in cuts if by is not None],
        ),
        billing_periods=PeriodsObject(
            billing_period=of.cadence.period,
            billing_period_count=of.cadence.count,
            number=periods.number,
            start_time=format_instant(periods.start),
            end_time=None if periods.end is None else format_instant(periods.end),
        ),
        quantity=number(cost.quantity),
        measured=_measured(of),
        lines=lines(cost),
        packages=packages(item.price, cost),
        buckets=_buckets(of),
        unrounded=number(cost.amount),
        rounded_to=precision(currency),
        amount=number(rounded),
        sentence=row_sentence(item, cost, step, currency),
    )


def _aggregation(meter: Meter | None) -> AggregationObject | None:
    if meter is None:
        return None
    multiplied = meter.aggregation is Aggregation.SUM_WITH_MULTIPLIER
    return AggregationObject(
        name=meter.aggregation,
        field=meter.field,
        multiplier=number(meter.multiplier) if multiplied else UNSET,
        filters={each.key: list(each.values) for each in meter.filters},
        recurring=meter.recurring,
        bucket_size=meter.bucket_size,
    )


def _measured(of: LineItemExplanation) -> MeasuredObject:
    if of.parts is None:
        return MeasuredObject(given=True)
    seconds = None if of.length is None else Decimal(of.length).scaleb(-6)
    return MeasuredObject(
        given=False,
        days=of.parts.days,
        hours=of.parts.hours,
        events=of.parts.events,
        carried=UNSET if of.carried is None else number(of.carried),
        divided_by_seconds=UNSET if seconds is None else number(seconds),
    )


def _buckets(of: LineItemExplanation) -> BucketsObject | UnsetType:
    meter = of.item.meter
    if of.buckets is None or meter is None or meter.bucket_size is None:
        return UNSET
    return BucketsObject(
        size=meter.bucket_size,
        single=of.buckets.single,
        days=of.buckets.days,
        merged_lines=len(of.cost.lines),
    )


def _commitment(commitment: Commitment | None, explanation: Explanation) -> CommitmentObject | None:
    if commitment is None or not commitment.active:
        return None
    return CommitmentObject(
        amount=number(commitment.amount),
        overage_factor=number(commitment.overage_factor),
        split=commitment.split,
        offered=number(offered(commitment, explanation.statement.settlement)),
        steps=[
            StepObject(
                subscription_line_item_id=step.row.source.key.id,
                is_overage=step.row.is_overage,
                left_before=number(step.left_before),
                taken=number(step.taken),
                left_after=number(step.left_after),
                beyond=number(step.beyond),
                overage_before=number(step.overage_before),
                amount=number(step.row.amount),
            )
            for step in explanation.steps
        ],
    )

"""Why a statement says what it says: the facts behind every row, as values. Nothing is measured or priced anew.

A statement is made as for any other answer, by `usage.measure.measure` and `usage.statement.rate`, over a reader
that keeps note of what it read (see `usage.recorded`). An `Explanation` puts the notes beside the rows.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

import msgspec

from meterstone.pricing.consumption import Step, consumption
from meterstone.pricing.lines import Cost
from meterstone.usage.measure import Buckets, Measured, WindowUsage
from meterstone.usage.period import Cadence
from meterstone.usage.recorded import PartsRead, RecordedReader
from meterstone.usage.state import quantity, traits
from meterstone.usage.statement import Statement
from meterstone.usage.subscription import LineItem, Subscription
from meterstone.usage.window import Window, WindowPlan, plan_window


class Cut(StrEnum):
    """Why a line item does not count in the whole window."""

    SUBSCRIPTION = "subscription"
    LINE_ITEM = "line_item"
    METER_DELETED = "meter_deleted"
    #: A WEIGHTED_SUM has accrued nothing beyond the present.
    NOW = "now"


class Share(NamedTuple):
    """The part ``[start, end)`` of a window in which a line item counts, and what cuts it at either side."""

    start: int
    end: int
    start_cut: Cut | None
    end_cut: Cut | None


class Periods(NamedTuple):
    """The billing periods in which the share lies, as far as they have begun.

    ``number`` is how many; they last from the first one's start to the last one's end.
    """

    number: int
    start: int
    end: int | None


class BucketsPriced(NamedTuple):
    """How the buckets of a bucketed meter were priced: each by itself.

    ``single`` buckets were priced for this answer. ``days`` is how many whole days were priced already, when their
    buckets were counted: the counters hold the cost of such a day, and not its buckets.
    """

    single: int
    days: int


class LineItemExplanation(msgspec.Struct, frozen=True):
    """How the charge of one line item came about, before the commitment.

    ``cost`` has the measured quantity and the lines whose sum is the unrounded amount. ``parts`` and ``carried``
    are None if the quantity was given and not measured; ``carried`` also if the meter is not recurring.
    ``length`` is the time in microseconds by which a WEIGHTED_SUM is divided, None for other meters.
    """

    item: LineItem
    cadence: Cadence
    share: Share
    periods: Periods
    cost: Cost
    parts: PartsRead | None
    carried: Decimal | None
    length: int | None
    buckets: BucketsPriced | None


class Explanation(msgspec.Struct, frozen=True):
    """A statement with what explains it: each line item's charge by line item id, and the commitment's steps.

    ``steps`` has a step for each row of the settlement, and is empty without an active commitment.
    """

    statement: Statement
    items: Mapping[str, LineItemExplanation]
    steps: tuple[Step[LineItem], ...]


def explain(
    usage: WindowUsage,
    statement: Statement,
    record: RecordedReader,
    now: int,
    given: frozenset[str] = frozenset(),
) -> Explanation:
    """Explain a statement by what was measured, and by the record of what was read for it.

    ``given`` names the line items whose quantity was given by the caller and not measured.
    """
    subscription, window = usage.subscription, usage.window
    items = {}
    for item, measured in usage.measured:
        plan = plan_window(subscription, item, window, now)
        told = item.id in given
        items[item.id] = LineItemExplanation(
            item,
            subscription.cadence(item),
            share_of(subscription, item, window, plan, now),
            _periods(plan),
            statement.lines[item.id],
            None if told else record.parts(plan, now),
            None if told else _carried(item, record),
            window.divisor(subscription.cadence(item)) if _accrues(item) and not told else None,
            _buckets(measured),
        )
    return Explanation(statement, items, consumption(subscription.commitment, statement.settlement))


def share_of(subscription: Subscription, item: LineItem, window: Window, plan: WindowPlan, now: int) -> Share:
    """Return the part of a window in which a line item counts, and why it is not the whole window."""
    counted = subscription.counted(item)
    start, end = max(window.start, counted.start), window.end
    start_cut = end_cut = None
    if counted.start > window.start:
        start_cut = Cut.LINE_ITEM if item.start > subscription.start else Cut.SUBSCRIPTION
    if counted.end is not None and counted.end < end:
        end, end_cut = counted.end, _end_cut(subscription, item, counted.end)
    if _accrues(item) and now < end:
        end, end_cut = plan.end, Cut.NOW
    return Share(start, max(start, end), start_cut, end_cut)


def _end_cut(subscription: Subscription, item: LineItem, end: int) -> Cut:
    shown = subscription.shown(item).end
    if shown is None or end < shown:
        return Cut.METER_DELETED
    return Cut.LINE_ITEM if item.end == end and subscription.end != end else Cut.SUBSCRIPTION


def _periods(plan: WindowPlan) -> Periods:
    found = [days.charge.period for days in plan.days] + [cut.charge.period for cut in plan.cut]
    if not found:
        return Periods(0, plan.start, plan.start)
    return Periods(len({each.start for each in found}), min(found).start, max(found).end)


def _carried(item: LineItem, record: RecordedReader) -> Decimal | None:
    meter = item.meter
    if meter is None or not meter.recurring:
        return None
    found = record.carried_into(item)
    return quantity(meter, None if found is None else found.state)


def _accrues(item: LineItem) -> bool:
    return item.meter is not None and traits(item.meter).accrues


def _buckets(measured: Measured) -> BucketsPriced | None:
    if not isinstance(measured, Buckets):
        return None
    return BucketsPriced(len(measured.quantities), len(measured.costs))

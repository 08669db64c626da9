"""Projection: what a billing period will come to at its end, if its usage goes on as it did so far.

Each line item is projected over its own part of the period: a price that began in mid-period goes on from there,
and one that has ended stays as it is.

- COUNT, SUM and SUM_WITH_MULTIPLIER go on at their *pace*: the quantity by the period's length, over the time that
  has elapsed. So does a MAX with buckets, since its quantity is a sum over buckets; a bucket that has begun counts
  as elapsed, since a maximum does not grow with time.
- WEIGHTED_SUM holds its *level* until the end.
- A recurring value is what it is until an event changes it; MAX, LATEST, AVG and COUNT_UNIQUE do not grow evenly
  with time. They stay as they are.

A price applies to the whole projected quantity, so that this may reach a further tier or package. Buckets are
priced by themselves: more buckets like the former cost what these cost, and none of them reaches a further tier.
Only where one bucket is all of the line item's part does that bucket grow.
"""

from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from meterstone.pricing.commitment import Charge
from meterstone.pricing.cost import cost
from meterstone.pricing.money import multiply, quotient, round_money
from meterstone.usage.calendar import bucket_bounds, zone
from meterstone.usage.measure import (
    Buckets,
    Measured,
    UsageReader,
    WindowUsage,
    measure_line_item,
    rated_items,
)
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.state import traits
from meterstone.usage.statement import charge_of, price_measured
from meterstone.usage.subscription import LineItem, Subscription
from meterstone.usage.window import Window, plan_window

_PACED = frozenset({Aggregation.COUNT, Aggregation.SUM, Aggregation.SUM_WITH_MULTIPLIER})


class Projection(StrEnum):
    """How a line item's usage was projected to the end of the period."""

    #: In proportion to the time that has elapsed.
    PACE = "pace"
    #: The level is held until the end.
    LEVEL = "level"
    #: It stays as it is.
    NONE = "none"


class ProjectedCharge(NamedTuple):
    """What a line item will charge at the end of the period, before the commitment, and by what projection."""

    charge: Charge[LineItem]
    by: Projection


class ProjectedUsage(NamedTuple):
    """What was used so far, and what each line item will have charged at the end, in the same order."""

    so_far: WindowUsage
    projected: tuple[ProjectedCharge, ...]


def project(subscription: Subscription, window: Window, reader: UsageReader, now: int) -> ProjectedUsage:
    """Measure a billing period as of ``now``, and project it to its end. One that has ended is what it is.

    Cost: what it costs to measure the period. What the end needs is read with it.
    """
    items = rated_items(subscription, window)
    plans = [plan_window(subscription, item, window, now) for item in items]
    later = max(now, window.end)
    at_the_end = {
        item.id: plan_window(subscription, item, window, later)
        for item in items
        if projection_of(item.meter) is Projection.LEVEL
    }
    reader.read_ahead([*plans, *at_the_end.values()])
    measured = [(plan.item, measure_line_item(reader, plan, window, now)) for plan in plans]

    def projected() -> Iterator[ProjectedCharge]:
        for item, found in measured:
            by = projection_of(item.meter)
            if item.id in at_the_end:
                found = measure_line_item(reader, at_the_end[item.id], window, later)  # noqa: PLW2901
            charge = charge_of(item, price_measured(item.price, found), subscription.currency)
            if by is Projection.PACE:
                charge = _at_the_pace(
                    subscription, item, found, charge, _part(subscription, item, window), now
                )
            yield ProjectedCharge(charge, by)

    charges = tuple(projected())
    return ProjectedUsage(WindowUsage(subscription, window, tuple(measured), reader.counted_until), charges)


def projection_of(meter: Meter | None) -> Projection:
    """Return how a meter's usage is projected."""
    if meter is None:
        return Projection.NONE
    if traits(meter).accrues:
        return Projection.LEVEL
    if meter.recurring:
        return Projection.NONE
    is_paced = meter.aggregation in _PACED or meter.bucket_size is not None
    return Projection.PACE if is_paced else Projection.NONE


def _part(subscription: Subscription, item: LineItem, window: Window) -> Window:
    """Return the part of a window in which a line item counts."""
    counted = subscription.counted(item)
    start = max(window.start, counted.start)
    end = window.end if counted.end is None else min(window.end, counted.end)
    return Window(start, max(start, end))


def _at_the_pace(
    subscription: Subscription,
    item: LineItem,
    measured: Measured,
    so_far: Charge[LineItem],
    part: Window,
    now: int,
) -> Charge[LineItem]:
    """Return the charge at the end of the line item's part of the period."""
    elapsed, is_one_bucket = min(now, part.end) - part.start, False
    if item.meter is not None and item.meter.bucket_size is not None and part.start <= now < part.end:
        start, end = bucket_bounds(item.meter.bucket_size, now, zone(subscription.timezone))
        is_one_bucket = start <= part.start and part.end <= end
        if item.meter.aggregation is Aggregation.MAX:
            elapsed = min(end, part.end) - part.start
    if not 0 < elapsed < part.length:
        return so_far

    def grown(value: Decimal) -> Decimal:
        return quotient(multiply(value, Decimal(part.length)), Decimal(elapsed))

    if isinstance(measured, Buckets) and not is_one_bucket:
        amount = price_measured(item.price, measured).amount
        rounded = round_money(grown(amount), subscription.currency)
        return Charge(item, grown(so_far.quantity), rounded, item.price)
    return charge_of(item, cost(item.price, grown(so_far.quantity)), subscription.currency)

"""What usage would cost otherwise: the same measured usage under another plan, prices, commitment or quantities.

`changed` turns what was measured into what would have been, and `usage.statement.rate` prices both alike. Nothing
is stored. A price that is not in force cannot have a counter, so the measured quantities are those of the line
items as they are: a line item keeps its span, its meter and its billing period, and gets another price.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import replace
from decimal import Decimal
from typing import NamedTuple

import msgspec

from meterstone.pricing.commitment import Commitment
from meterstone.pricing.cost import cost
from meterstone.pricing.lines import Cost
from meterstone.pricing.price import BillingModel, Price
from meterstone.usage.measure import Buckets, Measured, UsageReader, WindowUsage, measure_line_item
from meterstone.usage.plan import PlanPrices
from meterstone.usage.subscription import LineItem, Subscription, in_force
from meterstone.usage.window import PartialDay, Window, WindowPlan, plan_window


class Fault(NamedTuple):
    """Why a change cannot be made: where it stands in the request, such as ``prices.tokens``, and the reason."""

    path: str
    reason: str


class ChangeError(Exception):
    """A change cannot be previewed."""


class ImpossibleChangeError(ChangeError):
    """The change does not fit the subscription. ``faults`` has every reason."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{each.path} {each.reason}" for each in faults))
        self.faults = tuple(faults)


class PlanWithoutPricesError(ChangeError):
    """No price of the catalogue belongs to the plan in the subscription's currency."""

    def __init__(self, code: str, currency: str) -> None:
        super().__init__(f"{code} has no prices in {currency}")
        self.code, self.currency = code, currency


class OtherCommitment(msgspec.Struct, frozen=True):
    """The commitment to apply instead of the subscription's own; None for no commitment."""

    commitment: Commitment | None


class Changes(msgspec.Struct, frozen=True):
    """What would be otherwise. All changes may be made together.

    `prices` and `quantities` are by line item id or by meter id. A meter id stands for every line item of the
    meter that has a row in the window. Where both name a line item, its price is that of `prices`, not the plan's.
    The id, the currency and the meter of such a price may be empty: they are the line item's own then.
    """

    plan: PlanPrices | None = None
    prices: Mapping[str, Price] = msgspec.field(default_factory=dict)
    commitment: OtherCommitment | None = None
    quantities: Mapping[str, Decimal] = msgspec.field(default_factory=dict)


class Changed(msgspec.Struct, frozen=True):
    """The usage as it would have been.

    `given` names the line items whose quantity was given. `unpriced` lists the line items that the other plan has
    no price for: it would not charge them. `uncounted` lists the meter ids that the other plan has a price for and
    the subscription no line item: nothing was counted of them.
    """

    usage: WindowUsage
    given: frozenset[str]
    unpriced: tuple[LineItem, ...]
    uncounted: tuple[str, ...]


def changed(usage: WindowUsage, changes: Changes, reader: UsageReader, now: int) -> Changed:
    """Return what was measured as it would be after the changes.

    Only the buckets of whole days are read in addition, and only where a meter with buckets shorter than a day
    gets another price: its counters hold what such days cost, and not their buckets. Raises
    `ImpossibleChangeError` and `PlanWithoutPricesError`.
    """
    faults: list[Fault] = []
    listed = _plan_prices(usage, changes.plan)
    prices = _by_item(usage, "prices", changes.prices, faults)
    quantities = _by_item(usage, "quantities", changes.quantities, faults)
    unpriced: list[LineItem] = []
    measured: list[tuple[LineItem, Measured]] = []
    for item, as_it_was in usage.measured:
        price, found = item.price, as_it_was
        if item.id in prices:
            price = _repriced(usage.subscription, item, *prices[item.id], faults)
        elif listed is not None:
            offered = listed.get(price.meter_id, ())
            if not offered:
                unpriced.append(item)
                continue
            if len(offered) > 1:
                several = ", ".join(each.id for each in offered)
                reason = f"has several prices for the meter {price.meter_id}, {several}: give one in prices"
                faults.append(Fault("plan", reason))
            price = _repriced(usage.subscription, item, offered[0], f"plan.{offered[0].id}", faults)
        other = item if price is item.price else replace(item, price=price)
        if item.id in quantities:
            quantity, path = quantities[item.id]
            if item.meter is not None and item.meter.bucket_size and not _linear(price):
                reason = (
                    f"is of a meter that is priced by the {_size(item)}, so that one quantity has no price"
                )
                faults.append(Fault(path, reason))
            found = quantity
        elif price != item.price:
            found = _measured_anew(usage, item, as_it_was, reader, now)
        measured.append((other, found))
    if faults:
        raise ImpossibleChangeError(faults)
    subscription = usage.subscription
    if changes.commitment is not None:
        subscription = replace(subscription, commitment=changes.commitment.commitment)
    return Changed(
        replace(usage, subscription=subscription, measured=tuple(measured)),
        frozenset(quantities),
        tuple(unpriced),
        _uncounted(usage, listed or {}),
    )


def _plan_prices(usage: WindowUsage, plan: PlanPrices | None) -> Mapping[str, tuple[Price, ...]] | None:
    """Return the plan's prices at the window's end by meter; None to leave the line items as they are."""
    if plan is None or in_force_throughout(usage.subscription, plan.code, usage.window):
        return None
    last = max(usage.window.start, usage.window.end - 1)
    prices = plan.in_force(usage.subscription.currency, last)
    if not prices:
        raise PlanWithoutPricesError(plan.code, usage.subscription.currency)
    return prices


def in_force_throughout(subscription: Subscription, code: str, window: Window) -> bool:
    """Return whether a plan is the one in force in the whole window: then the line items stay as they are."""
    last = max(window.start, window.end - 1)
    inside = [each.value for each in subscription.plan if window.start < (each.since or 0) <= last]
    begun = in_force(subscription.plan, max(window.start, subscription.start))
    return {begun, *inside} == {code}


def _by_item[Value](
    usage: WindowUsage, name: str, changes: Mapping[str, Value], faults: list[Fault]
) -> dict[str, tuple[Value, str]]:
    """Return the changes by line item id, each with its path. A change for a line item goes before its meter's."""
    items = [item for item, _ in usage.measured]
    found: dict[str, tuple[Value, str]] = {}
    for key, value in changes.items():
        path = f"{name}.{key}"
        of_meter = [item.id for item in items if item.meter is not None and item.meter.id == key]
        if any(item.id == key for item in items):
            found[key] = value, path
        elif not of_meter:
            faults.append(Fault(path, "is neither a line item nor a meter with a row in the window"))
        elif name == "quantities" and len(of_meter) > 1:
            faults.append(
                Fault(path, f"has {len(of_meter)} line items in the window: give one of each by its id")
            )
        else:
            found |= {each: (value, path) for each in of_meter if each not in changes}
    return found


def _repriced(
    subscription: Subscription, item: LineItem, price: Price, path: str, faults: list[Fault]
) -> Price:
    """Return a price as the line item would have it: with the billing period by which its usage is counted."""
    own = subscription.cadence(item)
    if price.billing_period is not None:
        asked = subscription.cadence(replace(item, price=price))
        if asked != own:
            reason = f"must be that of the line item, {own.period} by {own.count}: its usage is counted by it"
            faults.append(Fault(f"{path}.billing_period", reason))
    if price.currency not in ("", subscription.currency):
        faults.append(Fault(f"{path}.currency", f"must be that of the subscription, {subscription.currency}"))
    if price.meter_id not in ("", item.price.meter_id):
        faults.append(Fault(f"{path}.meter_id", f"must be that of the line item, {item.price.meter_id}"))
    return replace(
        price,
        id=price.id or item.price.id,
        currency=subscription.currency,
        meter_id=item.price.meter_id,
        billing_period=item.price.billing_period,
        billing_period_count=item.price.billing_period_count,
    )


def _measured_anew(
    usage: WindowUsage, item: LineItem, measured: Measured, reader: UsageReader, now: int
) -> Measured:
    """Return what a line item measured, for another price: whole days that are costed already by the bucket."""
    if not isinstance(measured, Buckets) or not measured.costs:
        return measured
    plan = _by_the_bucket(plan_window(usage.subscription, item, usage.window, now), reader)
    reader.read_ahead([plan])
    return measure_line_item(reader, plan, usage.window, now)


def _by_the_bucket(plan: WindowPlan, reader: UsageReader) -> WindowPlan:
    """Return a plan in which every whole day is read as a partial day is: bucket by bucket."""
    cut = list(plan.cut)
    for days in plan.days:
        charge, clock = days.charge, days.charge.zone
        counter = reader.counter(charge)
        for day in sorted(() if counter is None else counter.days):
            if days.first <= day <= days.last:
                end = clock.day_start(day + 1)
                until = charge.counted_span.end
                start = max(clock.day_start(day), charge.counted_span.start)
                cut.append(PartialDay(charge, day, start, end if until is None else min(end, until)))
    return replace(plan, days=(), cut=tuple(cut))


def _linear(price: Price) -> bool:
    return price.billing_model is BillingModel.FLAT_FEE


def _size(item: LineItem) -> str:
    return "" if item.meter is None or item.meter.bucket_size is None else item.meter.bucket_size.lower()


def _uncounted(usage: WindowUsage, prices: Iterable[str]) -> tuple[str, ...]:
    known = {item.price.meter_id for item, _ in usage.measured}
    return tuple(sorted(set(prices) - known))


def price_list(price: Price, quantities: Iterable[Decimal]) -> list[Cost]:
    """Return what each quantity costs by itself."""
    return [cost(price, quantity) for quantity in quantities]

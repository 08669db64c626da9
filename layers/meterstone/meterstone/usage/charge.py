"""One charge over one billing period: its counter, and the days that the period's amount falls on.

A price always applies to the whole billing period so far. The amount of day *d* is the price of the period up to
the end of *d*, less the price of the period up to the end of the day before. Each of the two is rounded once, to
the currency's minor unit. So the days add up to the period's charge to the cent, under every price.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import cached_property
from itertools import chain
from typing import Final, NamedTuple

import msgspec

from meterstone.pricing.cost import cost
from meterstone.pricing.lines import Cost
from meterstone.pricing.money import ZERO, add, minor_units, subtract
from meterstone.usage.calendar import BucketSize, bucket_bounds, zone
from meterstone.usage.edition import stored_as
from meterstone.usage.meter import Meter
from meterstone.usage.period import Period
from meterstone.usage.state import State, accrued, carry, merge_all_states, merge_states, quantity, traits
from meterstone.usage.subscription import Dated, Facts, LineItem, Placed, Span, Subscription, in_force

_COARSE_BUCKETS = (BucketSize.DAY, BucketSize.WEEK, BucketSize.MONTH)


CUSTOMER_TYPES: Final = ("individual", "company")
"""The types that a customer may have; it may also have none."""


class Dimensions(NamedTuple):
    """What the analytics can group and filter charges by, as in force where the charge begins to count."""

    plan: str | None
    country: str | None
    customer_type: str | None


class DayAmount(NamedTuple):
    """The units of one day, and its amount in the currency's minor unit. Either may be negative."""

    units: Decimal
    cents: int


def add_amounts(one: DayAmount, other: DayAmount) -> DayAmount:
    """Add the amounts that two charges, or two writes, bring to one day.

    >>> add_amounts(DayAmount(Decimal("1.5"), 150), DayAmount(Decimal(-1), -99))
    DayAmount(units=Decimal('0.5'), cents=51)
    """
    return DayAmount(add(one.units, other.units), one.cents + other.cents)


class ChargePeriod:
    """One usage line item over one billing period of its cadence.

    ``counted_span`` is the part of the period in which events count.
    """

    def __init__(
        self, subscription: Subscription, item: LineItem, period: Period, counted: Span | None = None
    ) -> None:
        """Take a line item that has a meter, and a billing period that the line item's counted span meets.

        ``counted`` is that counted span, if it is known. Raises `TypeError` for a line item without a meter.
        """
        if item.meter is None:
            raise TypeError(f"line item {item.id} has no meter")
        counted = counted or subscription.counted(item)
        end = period.end
        if end is None or (counted.end is not None and counted.end < end):
            end = counted.end
        self.subscription = subscription
        self.item = item
        #: The meter that is charged.
        self.meter = item.meter
        self.period = period
        self.counted_span = Span(max(counted.start, period.start), end)
        #: The zone of the charge's days.
        self.zone = zone(subscription.timezone)

    @cached_property
    def cadence_code(self) -> str:
        """How often the charge is billed, as a short text for keys, such as ``MONTHLY.1``."""
        return self.subscription.cadence(self.item).code

    @cached_property
    def edition(self) -> int:
        """The edition of the tally that the charge belongs to."""
        editions = self.subscription.editions
        if not editions.entries:
            return 0
        scope = self.meter.id if self.meter.recurring else self.item.id
        return editions.of(scope, self.period.start)

    @cached_property
    def stored_as(self) -> str:
        """The text by which the keys of its items name the line item, in its edition."""
        return stored_as(self.item.id, self.edition)

    @cached_property
    def origin(self) -> int:
        """The day that holds the billing period's start."""
        return self.zone.day_of(self.period.start)

    @cached_property
    def first_day(self) -> int:
        """The day on which the charge begins; a recurring value is restated on it."""
        return self.zone.day_of(self.counted_span.start)

    @cached_property
    def dimensions(self) -> Dimensions:
        """The plan, country and customer type in force where the charge begins to count.

        A charge begins to count at the start of the billing period or of the line item, at the later of the two.
        So after an upgrade within a period the line items of the new plan are shown under the new plan.
        """
        return self._dimensions(self.subscription.plan, self.subscription.facts)

    def dimensions_at(self, placed: Placed) -> Dimensions:
        """Return the dimensions by which what has followed some moves is in the rollups.

        See `usage.subscription.Moves`.
        """
        subscription = self.subscription
        if placed == subscription.placed:
            return self.dimensions
        return self._dimensions(
            subscription.plan_after(placed.plan), subscription.facts.after(placed.customer)
        )

    def _dimensions(self, plan: Sequence[Dated], facts: Facts) -> Dimensions:
        at = self.counted_span.start
        return Dimensions(
            in_force(plan, at),
            in_force(facts.country, at),
            in_force(facts.customer_type, at),
        )

    @property
    def length(self) -> int:
        """The billing period's length in microseconds, not cut by the subscription's span; 0 if it never ends."""
        return self.period.whole_length


class Counter(msgspec.Struct):
    """What was counted of one charge over one billing period.

    ``days`` has the state of each day. ``published`` has the worth of each day that the rollups have already.
    ``carry`` is the state of a recurring meter before the period.
    """

    days: dict[int, State] = msgspec.field(default_factory=dict)
    published: dict[int, DayAmount] = msgspec.field(default_factory=dict)
    carry: State | None = None

    def closing(self, meter: Meter) -> State | None:
        """Return the state at the period's end, as the next period of a recurring meter carries it."""
        return carry(meter, merge_all_states(meter, chain((self.carry,), self.days.values())))


class Series(NamedTuple):
    """What a charge's days are worth so far, without the days that bring nothing.

    ``due`` is the instant at which the clock alone changes the days; None if it does not.
    """

    days: dict[int, DayAmount]
    due: int | None


def day_series(charge: ChargePeriod, counter: Counter, now: int) -> Series:
    """Divide a charge over the days that have begun; over the days that have ended, for a WEIGHTED_SUM.

    A billing period that begins within a day brings nothing before it has begun, even if one of its events came
    ahead of time. So what is published depends on the clock and on the events, never on the order of arrival.
    A WEIGHTED_SUM grows with the clock: the worth of a day is known only when the day is over.
    """
    if traits(charge.meter).accrues:
        running = _accruing(charge, counter)
    elif charge.meter.bucket_size in _COARSE_BUCKETS:
        running = _bucketed(charge, counter)
    else:
        running = _running(charge, counter)
    days: dict[int, DayAmount] = {}
    units, cents = ZERO, 0
    for known_from, day, total, amount in running:
        if known_from > now:
            return Series(days, known_from)
        total_cents = minor_units(amount, charge.subscription.currency)
        if total != units or total_cents != cents:
            days[day] = DayAmount(subtract(total, units), total_cents - cents)
            units, cents = total, total_cents
    return Series(days, None)


class _ToDate(NamedTuple):
    """A period's quantity and unrounded amount to the end of a day, and the instant from which it is known."""

    known_from: int
    day: int
    quantity: Decimal
    amount: Decimal


def _running(charge: ChargePeriod, counter: Counter) -> Iterator[_ToDate]:
    meter, price, clock, begin = charge.meter, charge.item.price, charge.zone, charge.counted_span.start
    state = counter.carry
    days = set(counter.days)
    if meter.recurring and state is not None:
        days.add(charge.first_day)
    for day in sorted(days):
        state = merge_states(meter, state, counter.days.get(day))
        units = quantity(meter, state)
        amount = state.amount if isinstance(state, Cost) else cost(price, units).amount
        yield _ToDate(max(clock.day_start(day), begin), day, units, amount)


def _bucketed(charge: ChargePeriod, counter: Counter) -> Iterator[_ToDate]:
    meter, price, clock, size = charge.meter, charge.item.price, charge.zone, charge.meter.bucket_size
    if size is None:
        raise TypeError(f"meter {meter.id} has no buckets")
    closed_quantity = closed_amount = open_quantity = open_amount = ZERO
    end: int | None = None
    state: State | None = None
    for day in sorted(counter.days):
        start = clock.day_start(day)
        if end is None or start >= end:
            closed_quantity = add(closed_quantity, open_quantity)
            closed_amount = add(closed_amount, open_amount)
            end, state = bucket_bounds(size, start, clock)[1], None
        state = merge_states(meter, state, counter.days[day])
        open_quantity = quantity(meter, state)
        open_amount = cost(price, open_quantity).amount
        known_from = max(start, charge.counted_span.start)
        yield _ToDate(known_from, day, add(closed_quantity, open_quantity), add(closed_amount, open_amount))


def _accruing(charge: ChargePeriod, counter: Counter) -> Iterator[_ToDate]:
    meter, price, clock, counted_span = charge.meter, charge.item.price, charge.zone, charge.counted_span
    carried = quantity(meter, counter.carry)
    state: State | None = None
    last = max(counter.days, default=charge.first_day - 1)
    day = charge.first_day if carried else min(counter.days, default=charge.first_day)
    level = carried
    # After the last event, a level of 0 accrues nothing more. The day on which it fell to 0 still accrues.
    while (level or day <= last) and (counted_span.end is None or clock.day_start(day) < counted_span.end):
        state = merge_states(meter, state, counter.days.get(day))
        level = add(carried, quantity(meter, state))
        end = clock.day_start(day + 1)
        end = end if counted_span.end is None else min(end, counted_span.end)
        total = accrued(state, carried, counted_span.start, end, charge.length)
        yield _ToDate(end, day, total, cost(price, total).amount)
        day += 1

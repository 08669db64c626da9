"""What usage comes to, counted from the raw events by the rules alone: slow, and simple enough to be believed.

It shares nothing with the code that counts into states and tallies: of `usage` it takes the catalogue's values
and the calendar, of `pricing` what a quantity costs. Everything is worked out anew from all events, as fractions.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from copy import replace
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from meterstone.pricing.cost import cost
from meterstone.pricing.currency import precision
from meterstone.pricing.price import PriceType
from meterstone.usage.aggregation import observe
from meterstone.usage.calendar import BucketSize, bucket_bounds, zone
from meterstone.usage.instant import DAY
from meterstone.usage.meter import Aggregation, Event, Meter, Observation
from meterstone.usage.period import BillingCycle, BillingPeriod, Cadence
from meterstone.usage.subscription import Dated, LineItem, Subscription

FOREVER = 10**18
MOST_DAYS_OF_A_YEAR = 367


class Day(NamedTuple):
    """What one line item's billing period brings to one day, and by what it can be filtered."""

    day: int
    currency: str
    meter_id: str
    units: Decimal
    cents: int
    plan: str | None
    country: str | None
    customer_type: str | None


class Measured(NamedTuple):
    """A row before commitment: the quantity, and the amount rounded to the currency's smallest unit."""

    quantity: Decimal
    amount: Decimal


class Seen(NamedTuple):
    """An event as a meter of one subscription counts it."""

    at: int
    id: str
    value: Fraction
    text: str


@dataclass(frozen=True, slots=True)
class Oracle:
    """Knows one subscription and all its events, each of them once."""

    subscription: Subscription
    events: Sequence[Event]
    #: What each line item counts at any time, in the order of time, once it was asked for.
    _counts: dict[str, list[Seen]] = field(default_factory=dict, repr=False, compare=False)

    def days(self, now: int) -> list[Day]:
        """Give every day of every line item and billing period, those that bring nothing left out."""
        found = []
        for item in self._items():
            for start, end in self._periods(item, now):
                found += list(self._days_of(item, start, end, now))
        return found

    def period_days(self, item: LineItem, start: int, end: int, now: int) -> list[Day]:
        """Give the days of one line item and billing period."""
        return list(self._days_of(item, start, end, now))

    def measured(self, start: int, end: int, now: int, *, lifetime: bool = False) -> dict[str, Measured]:
        """Measure each line item that has a row in the window `[start, end)`, by its id.

        `lifetime` is for the window of that name, of which a level's share is always one of its own length.
        """
        found = {}
        subscription = self.subscription
        for item in self._items():
            shown_start = max(item.start, subscription.start)
            shown_end = min(_or_forever(item.end), _or_forever(subscription.end))
            if not (shown_start < end and start < shown_end and shown_start < shown_end):
                continue
            begin, until = self._counted(item)
            begin, until = max(begin, start), min(until, end)
            if _meter(item).recurring:
                # A value is restated when a billing period begins: of those to come there is none yet.
                begun = [min(last, until) for first, last in self._periods(item, now) if first < until]
                until = max(begun, default=begin)
            length = end - start if lifetime else self._length(item, start, end)
            quantity, amount = self._rated(item, begin, until, now, length=length)
            found[item.id] = Measured(_decimal(quantity), _decimal(_round(amount, self._decimals())))
        return found

    def periods(self, item: LineItem, now: int) -> list[tuple[int, int]]:
        """Give the billing periods of a line item that have ended, in which it counts."""
        return [(start, end) for start, end in self._periods(item, now) if end <= now]

    def _items(self) -> Iterator[LineItem]:
        for item in self.subscription.line_items:
            if item.meter is not None and item.price.type is PriceType.USAGE:
                yield item

    def _decimals(self) -> int:
        return precision(self.subscription.currency)

    def _counted(self, item: LineItem) -> tuple[int, int]:
        subscription, meter = self.subscription, _meter(item)
        start = max(item.start, subscription.start)
        ends = (item.end, subscription.end, meter.deleted_at)
        return start, max(start, min(_or_forever(end) for end in ends))

    def _cadence(self, item: LineItem) -> Cadence:
        of = self.subscription
        period, count = of.billing_period, of.billing_period_count
        if item.price.billing_period is not None:
            period, count = BillingPeriod(item.price.billing_period), item.price.billing_period_count
        return Cadence(period, count, of.billing_cycle, of.anchor, of.timezone, of.start, of.end)

    def _length(self, item: LineItem, start: int, end: int) -> int:
        """Give the length of which a level in `[start, end)` has its share.

        Where each bound is that of a billing period, before or after the subscription's span cut it, that is the
        length of the periods before they were cut; else that of the window.
        """
        cadence = self._cadence(item)
        bounds = [(period.start, _or_forever(period.end)) for period in cadence.periods(start, end)]
        if start >= end or not bounds or bounds[-1][1] == FOREVER:
            return end - start
        # Bounds are worked out from the anchor, or from the calendar unit that holds the start: so they are the
        # same in a span that goes on, and in one that begins with that unit. A one-time period is its own span.
        if cadence.period is BillingPeriod.ONETIME:
            return end - start
        (cut_start, cut_end) = bounds[0][0], bounds[-1][1]
        until = replace(cadence, end=None).period_at(cut_end - 1).end
        since = replace(cadence, start=self._unit_start(cadence), end=None).period_at(cut_start).start
        assert until is not None
        if start not in (cut_start, since) or end not in (cut_end, until):
            return end - start
        return until - since

    def _unit_start(self, cadence: Cadence) -> int:
        """Give the start of a billing period that holds the subscription's start."""
        if cadence.cycle is BillingCycle.ANNIVERSARY:
            return cadence.start - MOST_DAYS_OF_A_YEAR * cadence.count * DAY
        clock = zone(cadence.zone)
        day = date.fromordinal(clock.day_of(cadence.start))
        match cadence.period:
            case BillingPeriod.DAILY:
                first = day
            case BillingPeriod.WEEKLY:
                first = day - timedelta(days=day.weekday())
            case BillingPeriod.MONTHLY:
                first = day.replace(day=1)
            case BillingPeriod.QUARTERLY:
                first = day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
            case BillingPeriod.HALF_YEARLY:
                first = day.replace(month=(day.month - 1) // 6 * 6 + 1, day=1)
            case _:
                first = day.replace(month=1, day=1)
        return clock.day_start(first.toordinal())

    def _periods(self, item: LineItem, now: int) -> Iterator[tuple[int, int]]:
        """Give the billing periods that have begun by `now` and in which the line item counts."""
        start, end = self._counted(item)
        if start < end:
            for period in self._cadence(item).periods(start, min(end, now + 1)):
                if max(period.start, start) <= now:
                    yield period.start, _or_forever(period.end)

    def _seen(self, item: LineItem, start: int, end: int) -> list[Seen]:
        """Give the events that a line item counts in `[start, end)`, in the order of time."""
        if item.id not in self._counts:
            self._counts[item.id] = self._all_seen(item)
        found = self._counts[item.id]
        return found[bisect_left(found, (start,)) : bisect_left(found, (end,))]

    def _all_seen(self, item: LineItem) -> list[Seen]:
        meter = _meter(item)
        begin, until = self._counted(item)
        found = []
        for event in self.events:
            seen = observe(meter, event)
            if isinstance(seen, Observation) and begin <= event.at < until:
                found.append(Seen(event.at, event.id, Fraction(seen.value), seen.text))
        return sorted(found)

    def _ever(self, item: LineItem, end: int) -> list[Seen]:
        """Give the events before `end` that any line item on the same meter counts."""
        found: list[Seen] = []
        for other in self._items():
            if _meter(other).id == _meter(item).id:
                found += self._seen(other, -FOREVER, end)
        return sorted(found)

    def _days_of(self, item: LineItem, start: int, end: int, now: int) -> Iterator[Day]:
        clock = zone(self.subscription.timezone)
        counted_start, counted_end = self._counted(item)
        begin, until = max(start, counted_start), min(end, counted_end)
        accrues = _meter(item).aggregation is Aggregation.WEIGHTED_SUM
        busy = {clock.day_of(seen.at) for seen in self._seen(item, begin, until)} | {clock.day_of(begin)}
        length = 0 if end == FOREVER else self._length(item, start, end)
        units, cents = Fraction(0), 0
        for day in range(clock.day_of(begin), clock.day_of(min(until - 1, now)) + 1):
            day_end = min(clock.day_start(day + 1), until)
            if accrues and day_end > now:
                break
            if not accrues and day not in busy:
                continue
            quantity, amount = self._rated(item, begin, day_end, day_end, length=length)
            rounded = int(_round(amount, self._decimals()) * 10 ** self._decimals())
            if quantity != units or rounded != cents:
                yield Day(
                    day,
                    self.subscription.currency,
                    _meter(item).id,
                    _decimal(quantity - units),
                    rounded - cents,
                    _in_force(self.subscription.plan, begin),
                    _in_force(self.subscription.country, begin),
                    _in_force(self.subscription.customer_type, begin),
                )
                units, cents = quantity, rounded

    def _rated(
        self, item: LineItem, begin: int, until: int, now: int, *, length: int
    ) -> tuple[Fraction, Fraction]:
        """Give the quantity of a part of time, and what it costs, unrounded."""
        meter = _meter(item)
        if until <= begin:
            return Fraction(0), Fraction(0)
        seen = self._seen(item, begin, until)
        if meter.bucket_size is not None:
            quantities = self._buckets(meter, meter.bucket_size, seen)
        elif meter.aggregation is Aggregation.WEIGHTED_SUM:
            carried = self._ever(item, begin) if meter.recurring else []
            quantities = [_accrued(carried, seen, begin, min(until, now), length)]
        elif meter.recurring:
            quantities = [_quantity(meter, self._ever(item, until))]
        else:
            quantities = [_quantity(meter, seen)]
        amount = sum((Fraction(cost(item.price, _decimal(each)).amount) for each in quantities), Fraction(0))
        return sum(quantities, Fraction(0)), amount

    def _buckets(self, meter: Meter, size: BucketSize, seen: Iterable[Seen]) -> list[Fraction]:
        buckets: dict[int, list[Seen]] = defaultdict(list)
        for each in seen:
            buckets[bucket_bounds(size, each.at, zone(self.subscription.timezone))[0]].append(each)
        return [_quantity(meter, each) for each in buckets.values()]


def _quantity(meter: Meter, seen: Sequence[Seen]) -> Fraction:
    values = [each.value for each in seen]
    if not values:
        return Fraction(0)
    match meter.aggregation:
        case Aggregation.COUNT:
            return Fraction(len(seen))
        case Aggregation.SUM:
            return sum(values, Fraction(0))
        case Aggregation.SUM_WITH_MULTIPLIER:
            return _round(sum(values, Fraction(0)) * Fraction(meter.multiplier), 18)
        case Aggregation.MAX:
            return max(values)
        case Aggregation.LATEST:
            return max(seen, key=lambda each: (each.at, each.id)).value
        case Aggregation.AVG:
            return _round(sum(values, Fraction(0)) / len(values), 16)
        case Aggregation.COUNT_UNIQUE:
            return Fraction(len({each.text for each in seen}))
        case _:
            raise ValueError(meter.aggregation)


def _accrued(carried: Iterable[Seen], seen: Sequence[Seen], begin: int, until: int, length: int) -> Fraction:
    """Give level times time held, step by step, over the length of what was asked for."""
    if until <= begin or length <= 0:
        return Fraction(0)
    level = sum((each.value for each in carried), Fraction(0))
    held, since = Fraction(0), begin
    for each in seen:
        if each.at < until:
            held += level * (each.at - since)
            level, since = level + each.value, each.at
    held += level * (until - since)
    return _round(held / length, 16)


def _round(value: Fraction, decimals: int) -> Fraction:
    """Round half away from zero."""
    scaled = abs(value) * 10**decimals
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Fraction(whole if value >= 0 else -whole, 10**decimals)


def _decimal(value: Fraction) -> Decimal:
    """Give a fraction of a power of ten as the decimal that it is."""
    digits = 0
    while (value * 10**digits).denominator != 1:
        digits += 1
        if digits > 100:
            raise ValueError("not a decimal")
    scaled = value * 10**digits
    return Decimal((int(scaled < 0), tuple(int(digit) for digit in str(abs(scaled.numerator))), -digits))


def _in_force(facts: Iterable[Dated], at: int) -> str | None:
    begun = [fact for fact in facts if fact.since is None or fact.since <= at]
    return (
        max(begun, key=lambda fact: -FOREVER if fact.since is None else fact.since).value if begun else None
    )


def _meter(item: LineItem) -> Meter:
    assert item.meter is not None
    return item.meter


def _or_forever(end: int | None) -> int:
    return FOREVER if end is None else end

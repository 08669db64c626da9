"""One subscription, its meters and prices, and its usage counted in memory: for tests that need no table."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import replace
from decimal import Decimal

from meterstone.pricing.price import BillingModel, Price, Tier, TierMode
from meterstone.usage.aggregation import observe
from meterstone.usage.charge import ChargePeriod, Counter
from meterstone.usage.instant import parse_instant
from meterstone.usage.meter import Aggregation, Event, Meter, Observation
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.state import State
from meterstone.usage.subscription import LineItem, Subscription
from meterstone.usage.tally import (
    Counted,
    FineState,
    Head,
    Position,
    Tally,
    TallyKey,
    chain,
    charge_of,
    count,
    identity,
    restate,
    tally_key,
    touched,
)
from meterstone.usage.window import WindowPlan


def at(text: str) -> int:
    """Read an instant of 2024 in UTC: `03-01`, `03-01T09:30`, or any longer text."""
    day, _, time = text.partition("T")
    text = f"{day if len(day) > len('03-01') else f'2024-{day}'}T{time or '00:00'}"
    return parse_instant(f"{text}:00Z" if text.count(":") == 1 else f"{text}Z")


#: A dollar a unit.
FLAT = Price("flat", "usd", BillingModel.FLAT_FEE, amount=Decimal(1))
#: Two dollars a unit for all, a dollar for all if there are more than 10; nothing below zero.
FALLING = Price(
    "falling",
    "usd",
    BillingModel.TIERED,
    tier_mode=TierMode.VOLUME,
    tiers=(Tier(10, Decimal(2)), Tier(None, Decimal(1))),
)


def meter_of(aggregation: Aggregation, **more: object) -> Meter:
    """Make a meter `m` of calls: of their property `text` for COUNT_UNIQUE, else of `value`."""
    field = "text" if aggregation is Aggregation.COUNT_UNIQUE else "value"
    return replace(Meter("m", "m", "Calls", aggregation, "call", field), **more)  # type: ignore[arg-type]


def item_of(
    meter: Meter | None, price: Price = FLAT, start: str = "01-01", end: str | None = None, name: str = "item"
) -> LineItem:
    """Make a line item."""
    return LineItem(name, price, at(start), None if end is None else at(end), meter)


def subscription_of(
    *items: LineItem,
    start: str = "01-01",
    end: str | None = None,
    period: BillingPeriod = BillingPeriod.MONTHLY,
    cycle: BillingCycle = BillingCycle.ANNIVERSARY,
    zone: str = "UTC",
) -> Subscription:
    """Make a subscription whose billing periods begin at its start, by the month."""
    begin = at(start)
    return Subscription(
        "sub", "ext", "customer", "usd", zone, begin, None if end is None else at(end), period, 1, cycle, begin,
        (), line_items=items,
    )  # fmt: skip


def charge_at(subscription: Subscription, instant: str, item: LineItem | None = None) -> ChargePeriod:
    """Give a line item, the first if none is named, over the billing period that holds an instant."""
    item = item or subscription.line_items[0]
    return ChargePeriod(subscription, item, subscription.cadence(item).period_at(at(instant)))


def calls(*given: tuple[str, object]) -> list[Event]:
    """Make events, each of an instant and a value, or a text."""
    return [
        Event(f"e{number}", "call", at(when), {"text": value} if isinstance(value, str) else {"value": value})  # type: ignore[dict-item]
        for number, (when, value) in enumerate(given)
    ]


class CountedUsage:
    """What `measure` reads of a subscription, counted from its events as of an instant."""

    def __init__(self, subscription: Subscription, events: Iterable[Event], now: int) -> None:
        self._subscription = subscription
        self._now = now
        self._seen: dict[str, list[Observation]] = {}
        self._counted: dict[TallyKey, tuple[Tally, FineState]] = {}
        events = list(events)
        for item in subscription.line_items:
            span = subscription.counted(item)
            seen = [observe(item.meter, event) for event in events] if item.meter is not None else []
            self._seen[item.id] = [
                replaced(each) for each in seen if isinstance(each, Observation) and span.holds(each.at)
            ]

    @property
    def counted_until(self) -> int:
        """Its events came in at no time that is known."""
        return 0

    def read_ahead(self, plans: Sequence[WindowPlan]) -> None:
        """Nothing is read: all is counted already."""

    def counter(self, charge: ChargePeriod) -> Counter | None:
        tally, _ = self._of(charge)
        for known, counter in zip(tally.charges, tally.counters, strict=True):
            if known.item is charge.item and known.period == charge.period:
                return counter
        return None

    def read_again(self, charge: ChargePeriod, times: int) -> None:
        """Nothing changes what was counted."""

    def carried(self, charge: ChargePeriod) -> State | None:
        counter = self.counter(charge)
        if counter is not None:
            return counter.carry
        tally, _ = self._of(charge)
        return tally.counters[-1].closing(tally.meter)

    def hours(self, charge: ChargePeriod, day: int) -> Mapping[int, State]:
        return self._of(charge)[1].hours.get((charge.item.id, charge.period.start, day), {})

    def buckets(self, charge: ChargePeriod, day: int) -> Mapping[int, Decimal]:
        return self._of(charge)[1].buckets.get((charge.period.start, day), {})

    def events(self, charge: ChargePeriod, day: int, start: int, end: int) -> Iterator[Observation]:
        assert charge.zone.day_of(start) == day == charge.zone.day_of(end - 1)
        yield from (seen for seen in self._seen[charge.item.id] if start <= seen.at < end)

    def values(self, item: LineItem, first: int, last: int) -> Mapping[int, Mapping[str, int]]:
        found: dict[int, dict[str, int]] = {}
        charge = ChargePeriod(
            self._subscription, item, self._subscription.cadence(item).period_at(item.start)
        )
        for seen in self._seen[item.id]:
            day, hour = charge.zone.hour_of(seen.at)
            if first <= day <= last:
                hours = found.setdefault(day, {})
                hours[seen.text] = hours.get(seen.text, 0) | 1 << hour
        return found

    def firsts(self, key: TallyKey, values: Iterable[str]) -> Mapping[str, int]:
        charge = charge_of(self._subscription, key)
        assert charge is not None
        firsts = self._of(charge)[1].firsts
        return {value: first for value in values if (first := firsts.get(value)) is not None}

    def _of(self, charge: ChargePeriod) -> tuple[Tally, FineState]:
        """Count what changes together with a charge, once."""
        key = tally_key(charge)
        if key not in self._counted:
            meter, charges = charge.meter, [charge]
            if meter.recurring:
                latest = max((seen.at for each in self._seen.values() for seen in each), default=self._now)
                until = max(self._now, latest)
                charges = chain(self._subscription, meter.id, self._subscription.start, until)
            tally = Tally(key, meter, Head(), charges, [Counter() for _ in charges])
            seen = [
                each
                for name in sorted({known.item.id for known in charges})
                for each in self._seen[name]
                if any(known.item.id == name and known.counted_span.holds(each.at) for known in charges)
            ]
            batch = tally.by_day(
                Counted(Position("shard", number), each, 0, *charge.zone.hour_of(each.at))
                for number, each in enumerate(seen)
            )
            parts = touched(tally, batch)
            count(tally, parts, batch)
            restate(tally, self._now)
            self._counted[key] = tally, parts
        return self._counted[key]


def replaced(seen: Observation) -> Observation:
    """Name a COUNT_UNIQUE's text as the stored parts do."""
    return seen._replace(text=identity(seen.text))

"""A store in memory, for tests of what stands in front of the store: every request counts all events anew.

It knows COUNT and SUM, recurring ones too, without buckets.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from meterstone import clock
from meterstone.pricing.cost import cost
from meterstone.pricing.lines import Cost
from meterstone.usage.analytics import DayUsage, UsageQuery
from meterstone.usage.charge import ChargePeriod, Counter, day_series
from meterstone.usage.meter import Event, Meter, Observation
from meterstone.usage.state import State, merge_all_states, merge_states, quantity, state_of
from meterstone.usage.statement import rated_items
from meterstone.usage.subscription import LineItem, Organization, Subscription
from meterstone.usage.window import Window


class UnknownSubscription(Exception):  # noqa: N818 - named as the store names it
    """The tenant has no such subscription."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organization with all that is known of it; events by external subscription id."""

    organization: Organization
    meters: tuple[Meter, ...]
    subscriptions: tuple[Subscription, ...]
    events: Mapping[str, tuple[Event, ...]]


class NoCost:
    """Nothing is read from a table."""

    items = 0
    bytes = 0
    read_units = 0.0

    def reset(self) -> None: ...


class MemoryStore:
    """The store's reads, for API keys that each open one tenant."""

    def __init__(self, tenants: Mapping[str, Tenant]) -> None:
        self._tenants = tenants
        self.cost = NoCost()

    def account(self, api_key: str) -> Tenant | None:
        return self._tenants.get(api_key)

    def deleted_codes(self, tenant: Tenant) -> frozenset[str]:
        live = {meter.code for meter in tenant.meters if meter.deleted_at is None}
        return frozenset(meter.code for meter in tenant.meters) - live

    def subscription(self, tenant: Tenant, subscription_id: str) -> Subscription:
        found = next((each for each in tenant.subscriptions if each.id == subscription_id), None)
        if found is None:
            raise UnknownSubscription
        return found

    def window_usage(
        self, tenant: Tenant, subscription: Subscription, window: Window, now: int
    ) -> dict[str, Cost]:
        return {
            item.id: cost(item.price, self._quantity(tenant, subscription, item, window))
            for item in rated_items(subscription, window)
        }

    def _quantity(
        self, tenant: Tenant, subscription: Subscription, item: LineItem, window: Window
    ) -> Decimal:
        meter, counted = _meter(item), subscription.counted(item)
        end = window.end if counted.end is None else min(window.end, counted.end)
        start = counted.start if meter.recurring else max(window.start, counted.start)
        states = (state_of(meter, seen) for seen in self._seen(tenant, subscription, meter, start, end))
        return quantity(meter, merge_all_states(meter, states))

    def daily_usage(self, tenant: Tenant, query: UsageQuery) -> Iterator[DayUsage]:
        now = clock.now()
        for subscription in tenant.subscriptions:
            if query.external_subscription_id not in {None, subscription.external_id}:
                continue
            if query.external_customer_id not in {None, subscription.customer_id}:
                continue
            if query.currency not in {None, subscription.currency}:
                continue
            for item in subscription.line_items:
                if item.meter is None or query.metric_code not in {None, item.meter.code}:
                    continue
                if query.recurring not in {None, item.meter.recurring}:
                    continue
                yield from self._days(tenant, subscription, item, query, now)

    def _days(
        self, tenant: Tenant, subscription: Subscription, item: LineItem, query: UsageQuery, now: int
    ) -> Iterator[DayUsage]:
        meter, counted = _meter(item), subscription.counted(item)
        carry: State | None = None
        for period in subscription.cadence(item).periods(
            counted.start, now if counted.end is None else counted.end
        ):
            charge = ChargePeriod(subscription, item, period)
            counter = Counter(carry=carry)
            for seen in self._seen(
                tenant, subscription, meter, charge.region.start, charge.region.end or now
            ):
                day = charge.zone.day_of(seen.at)
                counter.days[day] = _merged(meter, counter.days.get(day), state_of(meter, seen))
            carry = counter.closing(meter) if meter.recurring else None
            plan, country, customer_type = charge.dimensions
            asked = (
                (query.plan_code, plan),
                (query.customer_country, country),
                (query.customer_type, customer_type),
            )
            if any(wanted not in {None, found} for wanted, found in asked):
                continue
            for day, amount in day_series(charge, counter, now).days.items():
                if query.from_day <= day <= query.to_day:
                    yield DayUsage(day, subscription.currency, meter.code, amount.units, amount.cents)

    def _seen(
        self, tenant: Tenant, subscription: Subscription, meter: Meter, start: int, end: int
    ) -> Iterable[Observation]:
        for event in tenant.events.get(subscription.external_id, ()):
            seen = meter.observe(event)
            if isinstance(seen, Observation) and start <= seen.at < end:
                yield seen


def _merged(meter: Meter, one: State | None, other: State) -> State:
    return merge_states(meter, one, other) or other


def _meter(item: LineItem) -> Meter:
    assert item.meter is not None
    return item.meter

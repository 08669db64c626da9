"""What the two endpoints read."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from meterstone.pricing.lines import Cost
from meterstone.pricing.money import ZERO, whole
from meterstone.store.catalogue.records import (
    Account,
    Accounts,
    read_subscription,
    subscriptions_by_external_id,
    subscriptions_of_customer,
)
from meterstone.store.counting.packing import counter_key, first_day, published
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import Page, ReadCost, Table, integer, page_decoder, text
from meterstone.store.reading.window import StoredUsageReader
from meterstone.usage.analytics import DayUsage, UsageQuery
from meterstone.usage.charge import ChargePeriod, Dimensions
from meterstone.usage.measure import measure_line_item
from meterstone.usage.meter import Meter
from meterstone.usage.statement import rated_items
from meterstone.usage.subscription import Subscription
from meterstone.usage.window import Window, plan_window


class Store:
    """The read side of the table. One for each thread."""

    def __init__(self, table: Table) -> None:
        """Read from a table."""
        self.table = table
        self._accounts = Accounts(table)

    @classmethod
    def from_environment(cls) -> "Store":
        """Open the table named by ``TABLE_NAME``; ``AWS_ENDPOINT_URL_DYNAMODB`` chooses the engine."""
        return cls(Table.from_environment())

    @property
    def cost(self) -> ReadCost:
        """What was read since it was last reset."""
        return self.table.cost

    def account(self, api_key: str) -> Account | None:
        """Give the account of an API key; None if it is unknown or revoked. Remembered for 30 seconds."""
        return self._accounts.account(api_key)

    def subscription(self, account: Account, subscription_id: str) -> Subscription:
        """Read a subscription. Raises `UnknownSubscriptionError`. Cost: 1 get."""
        return read_subscription(self.table, account.organization.id, subscription_id)

    def window_usage(
        self, account: Account, subscription: Subscription, window: Window, now: int
    ) -> Mapping[str, Cost]:
        """Measure every usage line item that meets a window, by line item id.

        Cost: 1 query for each cadence; where the window cuts through days, their hours in one batch, and up to
        2 queries for each hour that it cuts and that has events.
        """
        covers = [plan_window(subscription, item, window, now) for item in rated_items(subscription, window)]
        parts = StoredUsageReader(self.table, account.organization.id, account.generation, subscription, now)
        parts.read_ahead(covers)
        return {covered.item.id: measure_line_item(parts, covered, window, now) for covered in covers}

    def daily_usage(self, account: Account, query: UsageQuery) -> Iterator[DayUsage]:
        """Give each day's usage that passes all filters, unmerged, in no particular order.

        Cost: of an organization, the months of one view, whatever the number of events or subscriptions; of a
        customer or a subscription, the counters of its billing periods.
        """
        if query.external_subscription_id is None and query.external_customer_id is None:
            return self._rollups(account, query)
        return self._counters(account, query)

    def _rollups(self, account: Account, query: UsageQuery) -> Iterator[DayUsage]:
        meters = _wanted_meters(account, query)
        view, values = keys.view_of(Dimensions(query.plan_code, query.customer_country, query.customer_type))
        pk = keys.rollup_partition(account.organization.id, account.generation, view, values)
        wanted_type = None if query.customer_type is None else keys.type_part(query.customer_type)
        low, high = keys.month_of(query.from_day) + "#", keys.month_of(query.to_day) + "$"
        for item in self.table.query_as(_ROLLUPS, Page[Rollup], pk, low, high):
            month, currency, meter_part, type_part, _ = item.sk.S.split("#")
            meter = meters.get(meter_part)
            if (
                meter is None
                or query.currency not in {None, currency}
                or wanted_type not in {None, type_part}
            ):
                continue
            if item.acc is not None:
                self.cost.accepted = max(self.cost.accepted, item.acc.N)
            first = date.fromisoformat(month + "-01").toordinal()
            begin, end = max(query.from_day - first, 0), min(query.to_day - first, 30)
            for units_name, fraction_name, cents_name, number in _DAYS[begin : end + 1]:
                units, fraction = getattr(item, units_name), getattr(item, fraction_name)
                cents = getattr(item, cents_name)
                if units is not None or fraction is not None or cents is not None:
                    yield DayUsage(
                        first + number,
                        currency,
                        meter.code,
                        _units(units, fraction),
                        0 if cents is None else cents.N,
                    )

    def _counters(self, account: Account, query: UsageQuery) -> Iterator[DayUsage]:
        meters = _wanted_meters(account, query)
        organization_id = account.organization.id
        for subscription in self._subscriptions(organization_id, query):
            if query.currency not in (None, subscription.currency):
                continue
            pk = keys.usage(organization_id, account.generation, subscription.id)
            charges = {
                counter_key(charge, 0)[:-5]: charge
                for charge in _charges(subscription, query)
                if keys.part(charge.meter.id) in meters and _passes(query, charge.dimensions)
            }
            for low, high in _ranges(charges.values()):
                for row in self.table.query(pk, low, high):
                    sk = text(row, "sk")
                    charge = charges.get(sk[:-5])
                    if charge is None:
                        continue
                    self.cost.accepted = max(self.cost.accepted, integer(row, "acc"))
                    for day, worth in published(row, first_day(charge) + int(sk[-5:]) * keys.CHUNK_DAYS):
                        if query.from_day <= day <= query.to_day:
                            yield DayUsage(
                                day, subscription.currency, charge.meter.code, worth.units, worth.cents
                            )

    def _subscriptions(self, organization_id: str, query: UsageQuery) -> list[Subscription]:
        if query.external_subscription_id is None:
            return subscriptions_of_customer(self.table, organization_id, query.external_customer_id or "")
        found = subscriptions_by_external_id(self.table, organization_id, query.external_subscription_id)
        return [each for each in found if query.external_customer_id in (None, each.customer_id)]


def _wanted_meters(account: Account, query: UsageQuery) -> dict[str, Meter]:
    """Give the meters that pass the filters on metrics, by their part of a key."""
    return {
        keys.part(meter.id): meter
        for meter in account.meters
        if query.metric_code in (None, meter.code) and query.recurring in (None, meter.recurring)
    }


def _passes(query: UsageQuery, dimensions: Dimensions) -> bool:
    return (
        query.plan_code in (None, dimensions.plan)
        and query.customer_country in (None, dimensions.country)
        and query.customer_type in (None, dimensions.customer_type)
    )


def _charges(subscription: Subscription, query: UsageQuery) -> Iterator[ChargePeriod]:
    """Give the charges whose billing periods meet the query's days."""
    for item in subscription.line_items:
        counted = subscription.counted(item)
        if item.meter is None:
            continue
        cadence = subscription.cadence(item)
        clock = ChargePeriod(subscription, item, cadence.period_at(counted.start)).zone
        start = max(clock.day_start(query.from_day), counted.start)
        end = clock.day_start(query.to_day + 1)
        end = end if counted.end is None else min(end, counted.end)
        for period in cadence.periods(start, end):
            yield ChargePeriod(subscription, item, period)


def _ranges(charges: Iterable[ChargePeriod]) -> list[tuple[str, str]]:
    """Give the range of sort keys of each cadence's counters."""
    starts: dict[str, list[int]] = {}
    for charge in charges:
        code = charge.subscription.cadence(charge.item).code
        starts.setdefault(code, []).append(charge.period.start)
    return [keys.counters(code, min(found), max(found)) for code, found in starts.items()]


class _Text(msgspec.Struct, gc=False):
    S: str


class _Units(msgspec.Struct, gc=False):
    #: Text until its day is wanted: a Decimal takes three times as long to make.
    N: str


class _Cents(msgspec.Struct, gc=False):
    #: Read from text, as numbers come: the decoder is a lax one.
    N: int


def _units(integer: _Units | None, fraction: _Units | None) -> Decimal:
    known = ZERO if integer is None else Decimal(integer.N)
    return known if fraction is None else whole(known, Decimal(fraction.N))


#: For each day of a month the names of its attributes, units in two and amount, and its number from 0.
_DAYS = [(f"u{day:02}", f"f{day:02}", f"a{day:02}", day - 1) for day in range(1, 32)]

Rollup: Any = msgspec.defstruct(
    "Rollup",
    [
        ("sk", _Text),
        ("acc", _Cents | None, None),
        *(
            (name, kind | None, None)
            for units, fraction, cents, _ in _DAYS
            for name, kind in ((units, _Units), (fraction, _Units), (cents, _Cents))
        ),
    ],
    gc=False,
)
_ROLLUPS = page_decoder(Page[Rollup], strict=False)

"""Reading for the analytics: the published worth of days, and until when they have counted.

The days of an organization are read from its rollups. The days of a customer or a subscription are read from
counters.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from meterstone.pricing.money import ZERO, whole
from meterstone.store.catalogue.accounts import Account, AccountStore
from meterstone.store.catalogue.subscriptions import subscriptions_by_external_id, subscriptions_of_customer
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.packing import first_day, published
from meterstone.store.dynamodb.table import Page, StoreError, integer, page_decoder, text
from meterstone.usage.analytics import CountedDays, DayUsage, UsageQuery
from meterstone.usage.charge import ChargePeriod, Dimensions
from meterstone.usage.meter import Meter
from meterstone.usage.subscription import Subscription


class ViewNotBuiltError(StoreError):
    """The live generation lacks the view of the rollups that would answer. Only a rebuild can fill its past."""

    def __init__(self, view: str) -> None:
        """Return the view in the message."""
        super().__init__(f"the live generation has no view {view}: rebuild the organization")
        self.view = view


class AnalyticsStore(AccountStore):
    """Reads the usage of days for the analytics. Each thread needs one of its own."""

    def daily_usage(self, account: Account, query: UsageQuery) -> Iterator[CountedDays]:
        """Yield the usage of each day that passes all filters, item by item, unmerged, in no particular order.

        Cost: for an organization, the months of one view, whatever the number of events or subscriptions; for a
        customer or a subscription, the counters of its billing periods.

        Raises `ViewNotBuiltError`, when the first item is read, if the view that would answer was added to the
        code after the live generation was begun.
        """
        if query.external_subscription_id is None and query.external_customer_id is None:
            return self._rollups(account, query)
        return self._counters(account, query)

    def _rollups(self, account: Account, query: UsageQuery) -> Iterator[CountedDays]:
        meters = _wanted_meters(account, query)
        view, values = keys.view_of(Dimensions(query.plan_code, query.customer_country, query.customer_type))
        if view not in account.views:
            raise ViewNotBuiltError(view)
        pk = keys.rollup_partition(account.organization.id, account.generation, view, values)
        wanted_type = None if query.customer_type is None else keys.type_part(query.customer_type)
        low, high = keys.months(query.from_day, query.to_day)
        for item in self.table.query_as(_ROLLUPS, pk, low, high):
            month, currency, meter_part, type_part, _ = keys.parse_rollup(item.sk.S)
            meter = meters.get(meter_part)
            if (
                meter is None
                or query.currency not in {None, currency}
                or wanted_type not in {None, type_part}
            ):
                continue
            first = date.fromisoformat(month + "-01").toordinal()
            begin, end = max(query.from_day - first, 0), min(query.to_day - first, 30)
            days = []
            for units_name, fraction_name, cents_name, number in _DAYS[begin : end + 1]:
                units, fraction = getattr(item, units_name), getattr(item, fraction_name)
                cents = getattr(item, cents_name)
                if units is not None or fraction is not None or cents is not None:
                    days.append(
                        DayUsage(
                            first + number,
                            currency,
                            meter.code,
                            _units(units, fraction),
                            0 if cents is None else cents.N,
                        )
                    )
            yield CountedDays(0 if item.acc is None else item.acc.N, days)

    def _counters(self, account: Account, query: UsageQuery) -> Iterator[CountedDays]:
        meters = _wanted_meters(account, query)
        organization_id = account.organization.id
        for subscription in self._subscriptions(organization_id, query):
            if query.currency not in (None, subscription.currency):
                continue
            pk = keys.usage(organization_id, account.generation, subscription.id)
            charges = {
                keys.counter_name(charge.cadence_code, charge.period.start, charge.item.id): charge
                for charge in _charges(subscription, query)
                if keys.part(charge.meter.id) in meters and _passes(query, charge.dimensions)
            }
            for low, high in _ranges(charges.values()):
                for row in self.table.query(pk, low, high):
                    name, chunk = keys.parse_counter(text(row, "sk"))
                    charge = charges.get(name)
                    if charge is None:
                        continue
                    days = [
                        DayUsage(day, subscription.currency, charge.meter.code, worth.units, worth.cents)
                        for day, worth in published(row, first_day(charge) + chunk * keys.CHUNK_DAYS)
                        if query.from_day <= day <= query.to_day
                    ]
                    yield CountedDays(integer(row, "acc"), days)

    def _subscriptions(self, organization_id: str, query: UsageQuery) -> list[Subscription]:
        if query.external_subscription_id is None:
            return subscriptions_of_customer(self.table, organization_id, query.external_customer_id or "")
        found = subscriptions_by_external_id(self.table, organization_id, query.external_subscription_id)
        return [each for each in found if query.external_customer_id in (None, each.customer_id)]


def _wanted_meters(account: Account, query: UsageQuery) -> dict[str, Meter]:
    """Return the meters that pass the filters on metrics, by their part of a key."""
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
    """Yield the charges whose billing periods meet the query's days."""
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
    """Return, for each cadence, the range of sort keys that holds the counters of the charges."""
    starts: dict[str, list[int]] = {}
    for charge in charges:
        starts.setdefault(charge.cadence_code, []).append(charge.period.start)
    return [keys.counters(code, min(found), max(found)) for code, found in starts.items()]


class _Text(msgspec.Struct, gc=False):
    S: str


class _Units(msgspec.Struct, gc=False):
    #: Text until its day is asked for: a Decimal takes three times as long to make.
    N: str


class _Cents(msgspec.Struct, gc=False):
    #: An int that is read from text: DynamoDB sends numbers as text, and the decoder is not strict.
    N: int


def _units(integer: _Units | None, fraction: _Units | None) -> Decimal:
    known = ZERO if integer is None else Decimal(integer.N)
    return known if fraction is None else whole(known, Decimal(fraction.N))


#: For each day of a month: the names of its attributes (integer part and fraction of the units, amount), and its
#: number from 0.
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

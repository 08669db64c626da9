"""Reading for the analytics: the published worth of days, and until when they have counted.

The days of an organization are read from its rollups. The days of a customer or a subscription are read from
counters.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from meterstone.pricing.money import total, whole
from meterstone.store.catalogue.accounts import Account, AccountStore
from meterstone.store.catalogue.subscriptions import (
    By,
    subscriptions_by_external_id,
    subscriptions_of_customer,
)
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.packing import first_day, published
from meterstone.store.dynamodb.table import OneByOne, StoreError, StoreUnavailableError, integer, text
from meterstone.usage.analytics import CountedDays, DayUsage, MetricDays, Units, UsageQuery
from meterstone.usage.charge import CUSTOMER_TYPES, ChargePeriod, Dimensions
from meterstone.usage.instant import MINUTE
from meterstone.usage.meter import Meter
from meterstone.usage.subscription import Subscription

RECENT: Final = 30 * MINUTE
"""For how long after numbers were moved between rollups a query may see some of them as they were before.

It is far longer than a request takes and than a read may be behind, and clocks do not differ by as much. See
`counting.merging`, which deletes what was moved from after twice as long.
"""


class ViewNotBuiltError(StoreError):
    """The live generation lacks the view of the rollups that would answer. Only a rebuild can fill its past."""

    def __init__(self, view: str) -> None:
        """Return the view in the message."""
        super().__init__(f"the live generation has no view {view}: rebuild the organization")
        self.view = view


class AnalyticsStore(AccountStore):
    """Reads the usage of days for the analytics. Each thread needs one of its own."""

    def daily_usage(self, account: Account, query: UsageQuery, now: int) -> Iterator[CountedDays]:
        """Yield the usage of each day that passes all filters, item by item, unmerged, in no particular order.

        Cost: for an organization, the months of one view, whatever the number of events or subscriptions; for a
        customer or a subscription, the counters of its billing periods.

        Raises `ViewNotBuiltError`, when the first item is read, if the view that would answer was added to the
        code after the live generation was begun.
        """
        if query.external_subscription_id is None and query.external_customer_id is None:
            return self._rollups(account, query, now)
        return self._counters(account, query)

    def _rollups(self, account: Account, query: UsageQuery, now: int) -> Iterator[CountedDays]:
        meters = _wanted_meters(account, query)
        view, values = keys.view_of(Dimensions(query.plan_code, query.customer_country, query.customer_type))
        if view not in account.views:
            raise ViewNotBuiltError(view)
        pk = keys.rollup_partition(account.organization.id, account.generation, view, values)
        wanted_type = None if query.customer_type is None else keys.type_part(query.customer_type)
        low, high = keys.months(query.from_day, query.to_day)
        items = self.table.query_as(_ROLLUPS, pk, low, high)
        if wanted_type is not None:
            items = (item for item in items if keys.parse_rollup(item.sk.S).customer_type == wanted_type)

        def added_up(name: str, found: Sequence[Any]) -> CountedDays:
            month, currency, meter_part, *_ = keys.parse_rollup_of_all_types(name)
            first = date.fromisoformat(month + "-01").toordinal()
            begin, end = max(query.from_day - first, 0), min(query.to_day - first, 30)
            return _added_up(found, first, begin, end, currency, meters[meter_part].code)

        torn: dict[str, Sequence[Any]] = {}
        # In the order of the sort key: all customer types and writers of a month, a currency and a meter together.
        for name, together in groupby(items, lambda item: keys.rollup_of_all_types(item.sk.S)):
            _, currency, meter_part, *_ = keys.parse_rollup_of_all_types(name)
            if meter_part not in meters or query.currency not in {None, currency}:
                continue
            found = list(together)
            if _is_whole(found, now):
                yield added_up(name, found)
            else:
                torn[name] = found
        # Also those that were not there yet: what was taken from one may be in any other of them by now.
        types = (None, *CUSTOMER_TYPES) if wanted_type is None else (query.customer_type,)
        for name, of_any in torn.items():
            every = dict.fromkeys((*(item.sk.S for item in of_any), *keys.rollups_of(name, types)))
            yield added_up(name, self._read_together(pk, list(every)))

    def _read_together(self, pk: str, sort_keys: Sequence[str]) -> list[Any]:
        """Read rollups as they are at one moment."""
        rows = self.table.get_together([Key(pk, sk) for sk in sort_keys])
        if not rows:
            raise StoreUnavailableError("the generation that was read is gone")
        return [_ROLLUP.decode(msgspec.json.encode(row)) for row in rows.values()]

    def _counters(self, account: Account, query: UsageQuery) -> Iterator[CountedDays]:
        meters = _wanted_meters(account, query)
        organization_id = account.organization.id
        together: dict[str, list[Subscription]] = {}
        for subscription in self._subscriptions(account, query):
            if query.currency in (None, subscription.currency):
                together.setdefault(subscription.id, []).append(subscription)
        for subscription_id, several in together.items():
            pk = keys.usage(organization_id, account.generation, subscription_id)
            # After a recount a charge is shown as it was read before, until its new edition is published.
            charges = {
                keys.counter_name(charge.cadence_code, charge.period.start, charge.stored_as): charge
                for subscription in several
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
                        DayUsage(
                            day, charge.subscription.currency, charge.meter.code, worth.units, worth.cents
                        )
                        for day, worth in published(row, first_day(charge) + chunk * keys.CHUNK_DAYS)
                        if query.from_day <= day <= query.to_day
                    ]
                    yield CountedDays(integer(row, "acc"), days)

    def _subscriptions(self, account: Account, query: UsageQuery) -> list[Subscription]:
        organization_id, meters = account.organization.id, account.meters
        facts = query.customer_country is not None or query.customer_type is not None
        if query.external_subscription_id is None:
            return subscriptions_of_customer(
                self.table,
                organization_id,
                query.external_customer_id or "",
                meters,
                facts=facts,
                by=By.PUBLISHED,
            )
        found = subscriptions_by_external_id(
            self.table,
            organization_id,
            query.external_subscription_id,
            meters,
            facts=facts,
            by=By.PUBLISHED,
        )
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


class _Integer(msgspec.Struct, frozen=True, gc=False):
    #: An int that is read from text: DynamoDB sends numbers as text, and the decoder is not strict.
    N: int


class _Number(msgspec.Struct, frozen=True, gc=False):
    #: Units were stored as one number once, which may have decimals.
    N: int | Decimal


#: For each day of a month, in this order: the integer part and the fraction of the units, and the amount in cents.
_DAYS = [f"{kind}{day:02}" for day in range(1, 32) for kind in "ufa"]
_KINDS: dict[str, tuple[Any, Any]] = {
    "u": (_Number, _Number(0)),
    # Most rollups have none, which is found out sooner without an object for each day.
    "f": (_Number | None, None),
    "a": (_Integer, _Integer(0)),
}
_BEFORE = 3

Rollup: Any = msgspec.defstruct(
    "Rollup",
    [
        ("sk", _Text),
        ("acc", _Integer, _Integer(0)),
        ("moved_at", _Integer, _Integer(0)),
        *((name, *_KINDS[name[0]]) for name in _DAYS),
    ],
    gc=False,
)
_ROLLUPS = OneByOne(Rollup, strict=False)
_ROLLUP = msgspec.json.Decoder(Rollup, strict=False)


def _added_up(
    items: Sequence[Any], first: int, begin: int, end: int, currency: str, code: str
) -> CountedDays:
    """Add up the rollups of one month, currency and meter, from one day of the month to another.

    As integers, since a Decimal takes longer to make and to add. Most rollups have no fractions.
    """
    kinds = len(_KINDS)
    of_units, of_fractions, of_cents = (
        slice(_BEFORE + kinds * begin + place, _BEFORE + kinds * (end + 1), kinds) for place in range(kinds)
    )
    stored = [astuple(item) for item in items]
    units = _sums([[each.N for each in of[of_units]] for of in stored])
    cents = _sums([[each.N for each in of[of_cents]] for of in stored])
    fractions = [of[of_fractions] for of in stored]
    if any(map(any, fractions)):
        parts = _sums([[0 if each is None else each.N for each in of] for of in fractions])
        units = [
            whole(integer, part) if part else integer for integer, part in zip(units, parts, strict=True)
        ]
    return CountedDays(
        max(item.acc.N for item in items), MetricDays(currency, code, first + begin, units, cents)
    )


def _is_whole(found: Sequence[Any], now: int) -> bool:
    """Return whether rollups, in the order of their keys, were all read before numbers were moved, or all after.

    All items of a move, which one customer type's rollups of a month have together, say when it was.
    """
    if all(now - RECENT >= item.moved_at.N for item in found):
        return True
    for _, of_type in groupby(found, lambda item: keys.rollup_of_all_writers(item.sk.S)):
        first, *others = of_type
        moved_at = first.moved_at.N
        if moved_at and keys.rollup_of_first_writer(first.sk.S) != first.sk.S:
            return False
        if any(moved_at != item.moved_at.N for item in others):
            return False
    return True


def _sums(numbers: Sequence[Sequence[Units]]) -> list[Any]:
    """Add up place by place."""
    sums: list[Units] = list(map(sum, zip(*numbers, strict=True)))
    if type(sum(sums)) is not int:
        # One is a Decimal, which an operator would round to 28 digits.
        sums = [total(map(Decimal, column)) for column in zip(*numbers, strict=True)]
    return sums

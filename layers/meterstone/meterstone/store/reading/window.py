"""Reading a subscription's usage over a window: states, and until when they have counted.

Parts that most requests need are read ahead, the others when they are asked for. Nothing is measured or priced
here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import assert_never

from meterstone.store.catalogue.accounts import Account, AccountStore
from meterstone.store.catalogue.subscriptions import (
    UnknownSubscriptionError,
    read_subscription,
    subscriptions_by_external_id,
)
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.packing import (
    beside_of,
    chunks,
    counter_key,
    unpack_beside,
    unpack_buckets,
    unpack_counter,
    unpack_detail,
    unpack_head,
    unpack_hours,
)
from meterstone.store.dynamodb.table import Row, StoreUnavailableError, Table, integer, text
from meterstone.usage.charge import ChargePeriod, Counter
from meterstone.usage.edition import stored_as
from meterstone.usage.instant import parse_key_instant
from meterstone.usage.meter import Observation
from meterstone.usage.state import FineParts, State, fine_parts, keeps_hours
from meterstone.usage.subscription import LineItem, Subscription
from meterstone.usage.tally import TallyKey, chain, tally_key
from meterstone.usage.window import PartialDay, WindowPlan, latest_countable

_ATTEMPTS = 5


class WindowStore(AccountStore):
    """Reads subscriptions and their usage. Each thread needs one of its own."""

    def subscription(self, account: Account, subscription_id: str) -> Subscription:
        """Read a subscription. Raises `UnknownSubscriptionError`. Cost: that of `read_subscription`."""
        return read_subscription(
            self.table, account.organization.id, subscription_id, account.meters, facts=False
        )

    def subscriptions(
        self, account: Account, customer_ids: Iterable[str], external_id: str
    ) -> list[Subscription]:
        """Read the subscriptions of an external id that belong to the first of some customers who has any.

        Raises `UnknownSubscriptionError` if none of the customers has any. Cost: 1 query, and 1 get each.
        """
        found = subscriptions_by_external_id(
            self.table, account.organization.id, external_id, account.meters, facts=False
        )
        for customer_id in customer_ids:
            if of_customer := [each for each in found if each.customer_id == customer_id]:
                return of_customer
        raise UnknownSubscriptionError(external_id)

    def reader(self, account: Account, subscription: Subscription, now: int) -> "StoredUsageReader":
        """Return a reader of a subscription's live counters, as of ``now``, for `usage.measure.measure`.

        Cost of a measurement: 1 query for each cadence. If the window cuts days, also 1 batch for their hours, and
        up to 2 queries for each hour that the window cuts and that has events.
        """
        return StoredUsageReader(self.table, account.organization.id, account.generation, subscription, now)


class StoredUsageReader:
    """Reads the stored parts of a subscription for one measurement. Nothing is read twice.

    ``counted_until`` is when the newest event in the counters read so far came in, in microseconds; 0 if that is
    not known.
    """

    def __init__(
        self, table: Table, organization_id: str, generation: str, subscription: Subscription, now: int
    ) -> None:
        """Read a generation of an organization's counters, as of ``now``."""
        self._table = table
        self._pk = keys.usage(organization_id, generation, subscription.id)
        self._subscription = subscription
        self._until = latest_countable(now)
        self.counted_until = 0
        self._counters: dict[str, dict[int, Row]] = {}
        self._names: dict[tuple[str, int], str] = {}
        self._asked: set[str] = set()
        self._rows: dict[str, Row | None] = {}
        self._values: dict[tuple[str, int, int], dict[int, dict[str, int]]] = {}

    def read_ahead(self, plans: Sequence[WindowPlan]) -> None:
        """Read the counters of all plans, a query for each cadence, and their partial days in one batch."""
        starts: dict[str, list[int]] = {}
        wanted: list[str] = []
        for plan in plans:
            meter = plan.item.meter
            charges = [days.charge for days in plan.days] + [cut.charge for cut in plan.cut]
            if meter is None or not charges:
                continue
            if meter.recurring:
                # The value at the end of the window needs only the last billing period, from its start.
                charges = [max(charges, key=lambda charge: charge.period.start)]
            starts.setdefault(charges[0].cadence_code, []).extend(charge.period.start for charge in charges)
            self._asked.update(map(self._name, charges))
            for cut in plan.cut:
                wanted += _of_a_day(fine_parts(meter), cut)
        for code, found in starts.items():
            low, high = keys.counters(code, min(found), max(found))
            self._take(self._table.query(self._pk, low, high))
        self._read_rows(wanted)

    def counter(self, charge: ChargePeriod) -> Counter | None:
        """Read a charge's counter."""
        name = self._name(charge)
        if name not in self._asked:
            self._read_counter(charge, name)
        rows_of = self._counters.get(name)
        if rows_of and 0 not in rows_of:
            # The first chunk has the carried value. It is written before the other chunks, or with them.
            self._read_counter(charge, name, consistent=True)
            rows_of = self._counters.get(name)
        return unpack_counter(charge, rows_of, as_published=False) if rows_of else None

    def read_again(self, charge: ChargePeriod, times: int) -> None:
        """Read a charge's counter from the table again.

        Raises `StoreUnavailableError` after too many ``times`` in a row: the fold keeps changing the counter.
        """
        if times > _ATTEMPTS:
            raise StoreUnavailableError("values are being moved")
        self._read_counter(charge, self._name(charge), consistent=True)

    def _read_counter(self, charge: ChargePeriod, name: str, *, consistent: bool = False) -> None:
        self._asked.add(name)
        found = [Key(self._pk, counter_key(charge, n)) for n in range(chunks(charge, self._until))]
        self._counters.pop(name, None)
        self._take(self._table.batch_get(found, consistent=consistent).values())

    def _take(self, rows: Iterable[Row]) -> None:
        """Keep chunks of counters that were read, and until when they have counted."""
        for row in rows:
            name, chunk = keys.parse_counter(text(row, "sk"))
            self._asked.add(name)
            self._counters.setdefault(name, {})[chunk] = row
            self.counted_until = max(self.counted_until, integer(row, "acc"))

    def _name(self, charge: ChargePeriod) -> str:
        where = charge.stored_as, charge.period.start
        name = self._names.get(where)
        if name is None:
            name = self._names[where] = keys.counter_name(
                charge.cadence_code, charge.period.start, charge.stored_as
            )
        return name

    def carried(self, charge: ChargePeriod) -> State | None:
        """Read the state that a recurring meter carries into a charge.

        If the chain has reached the charge, its own counter has the carried state. If the clock has not brought
        the chain so far yet, the carried state is the closing state of the chain's last charge. ``counted_until``
        is taken from the counter that was used, and not from the head: the head may have been read later, when it
        had counted more.
        """
        if (counter := self.counter(charge)) is not None:
            return counter.carry
        head = unpack_head(self._row(keys.chain(tally_key(charge).stored_as)))
        if head.first is None or head.last is None or charge.counted_span.start < head.first:
            return None
        last = chain(self._subscription, charge.meter.id, head.last, head.last)
        if not last:
            return None
        if charge.counted_span.start <= last[-1].counted_span.start:
            # The head says that the chain has reached the charge; its counter was read before that.
            counter = self._counter_as_it_is(charge)
            return None if counter is None else counter.carry
        closing = self.counter(last[-1]) or self._counter_as_it_is(last[-1])
        return None if closing is None else closing.closing(charge.meter)

    def _counter_as_it_is(self, charge: ChargePeriod) -> Counter | None:
        """Read a counter again, consistently: it was not found, and the chain's head says that it is there."""
        self._read_counter(charge, self._name(charge), consistent=True)
        return self.counter(charge)

    def hours(self, charge: ChargePeriod, day: int) -> Mapping[int, State]:
        """Read the hours of a day."""
        return unpack_hours(charge.meter, self._row(keys.hours(charge.stored_as, charge.period.start, day)))

    def buckets(self, charge: ChargePeriod, day: int) -> Mapping[int, Decimal]:
        """Read the buckets of a day, by their starts."""
        return unpack_buckets(self._row(keys.buckets(charge.stored_as, charge.period.start, day)))

    def events(self, charge: ChargePeriod, day: int, start: int, end: int) -> Iterator[Observation]:
        """Read a charge's events of a part of a day: those in details, and those beside the day's hours.

        Raises `StoreUnavailableError` if the fold keeps packing events into details while they are read.
        """
        if not keeps_hours(charge.meter):
            yield from self._packed_details(charge, day, start, end)
            return
        where = keys.hours(charge.stored_as, charge.period.start, day)
        beside = beside_of(self._row(where))
        for _ in range(_ATTEMPTS):
            found = list(self._packed_details(charge, day, start, end))
            after = beside_of(self._table.get(Key(self._pk, where), consistent=True))
            if after == beside:
                recent = unpack_beside(charge.meter, day, beside)
                yield from found
                yield from (seen for seen in recent if start <= seen.at < end)
                return
            # The events beside the hours may have been packed meanwhile, and been read from the detail.
            beside = after
        raise StoreUnavailableError("events are being packed")

    def _packed_details(self, charge: ChargePeriod, day: int, start: int, end: int) -> Iterator[Observation]:
        clock, name, meter = charge.zone, charge.stored_as, charge.meter
        _, first = clock.hour_of(start)
        _, last = clock.hour_of(end - 1)
        origin = clock.day_start(day)
        ranges = [(keys.details(name, origin, "day"), origin)]
        ranges += [
            (keys.details(name, begin, "hour"), begin)
            for begin, _ in (clock.hour_bounds(day, hour) for hour in range(first, last + 1))
        ]
        for prefix, begin in ranges:
            for row in self._table.query_prefix(self._pk, prefix, consistent=True):
                yield from (seen for seen in unpack_detail(meter, begin, row) if start <= seen.at < end)

    def values(self, item: LineItem, first: int, last: int) -> Mapping[int, Mapping[str, int]]:
        """Read the values seen on the days `first` to `last`: by day, each with a bit for every hour."""
        known = self._values.get((item.id, first, last))
        if known is None:
            known = self._values[item.id, first, last] = {}
            for day, value, hours in self._values_of_days(item, first, last):
                seen = known.setdefault(day, {})
                seen[value] = seen.get(value, 0) | hours
        return known

    def _values_of_days(self, item: LineItem, first: int, last: int) -> Iterator[tuple[int, str, int]]:
        """Yield days, values and their hours. Billing periods of the days may lie in different editions."""
        editions = self._subscription.editions
        scope = item.meter.id if item.meter is not None and item.meter.recurring else item.id
        for edition in editions.numbers(scope):
            low, high = keys.values_of_days(stored_as(item.id, edition), first, last)
            for row in self._table.query(self._pk, low, high):
                _, day, start, value = keys.parse_value(text(row, "sk"))
                if not editions.entries or editions.of(scope, parse_key_instant(start)) == edition:
                    yield day, value, integer(row, "h")

    def firsts(self, key: TallyKey, values: Iterable[str]) -> Mapping[str, int]:
        """Read when values were first seen, from the table and not from what was read before."""
        wanted = (Key(self._pk, keys.first_seen(key, value)) for value in values)
        found = self._table.batch_get(wanted, consistent=True)
        return {keys.parse_first_seen(row_key.sk): integer(row, "a") for row_key, row in found.items()}

    def _row(self, sk: str) -> Row | None:
        if sk not in self._rows:
            self._read_rows([sk])
        return self._rows[sk]

    def _read_rows(self, wanted: Iterable[str]) -> None:
        by_key = {Key(self._pk, sk): sk for sk in wanted if sk not in self._rows}
        found = self._table.batch_get(by_key)
        self._rows.update((sk, found.get(key)) for key, sk in by_key.items())


def _of_a_day(kept: FineParts, cut: PartialDay) -> list[str]:
    """List the sort keys of a partial day's items. There are none for values: a range of days is read for them."""
    match kept:
        case FineParts.HOURS:
            return [keys.hours(cut.charge.stored_as, cut.charge.period.start, cut.day)]
        case FineParts.BUCKETS:
            return [keys.buckets(cut.charge.stored_as, cut.charge.period.start, cut.day)]
        case FineParts.VALUES:
            return []
        case _:
            assert_never(kept)

"""Reading tallies that are to be changed, in two or three rounds of batch reads, heads before their parts."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from meterstone.store.catalogue.subscriptions import resolved
from meterstone.store.counting.limits import HoursKey
from meterstone.store.counting.withdrawing import (
    Sighting,
    StoredDetail,
    StoredEvents,
    find_sighting,
    stretch_of,
)
from meterstone.store.counting.writing import PendingEvents, TallyUpdate, Turn
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import CatalogueChangedError
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.packing import (
    beside_of,
    chunks,
    counter_key,
    kept_of,
    repack_beside,
    unpack_beside,
    unpack_buckets,
    unpack_counter,
    unpack_head,
    unpack_hours,
)
from meterstone.store.dynamodb.table import Item, Row, Table, integer
from meterstone.usage.charge import ChargePeriod
from meterstone.usage.meter import Observation
from meterstone.usage.state import FineParts, fine_parts, follows_clock
from meterstone.usage.subscription import Subscription
from meterstone.usage.tally import (
    Batch,
    Counted,
    FineState,
    Head,
    Tally,
    TallyKey,
    chain,
    charge_of,
    identity,
    tally_key,
    touched,
)
from meterstone.usage.window import latest_countable
from meterstone.usage.withdrawal import Step, Withdrawal, needs_events, next_step

_CHARGES_AT_ONCE = 120


def read_tallies(
    table: Table,
    organization_id: str,
    generation: str,
    works: Mapping[TallyKey, PendingEvents],
    batches: Mapping[TallyKey, Sequence[Counted]],
    now: int,
) -> list[TallyUpdate]:
    """Read tallies and the parts that the batches touch, consistently, in two or three rounds of batch reads.

    Heads are read first. If another writer then changes a part, it also raises the version, and the condition on
    the version fails. With a head that is read last, parts from before the change could be written under a version
    from after it. The same goes for the subscription of a tally that follows the clock: a load that stores another
    subscription raises the version afterwards.

    Raises `CatalogueChangedError` if events of a batch belong to another tally by the present subscription, or if
    a tally that is to turn is gone.
    """
    unread = [
        TallyReader(keys.usage(organization_id, generation, key.subscription_id), key, work)
        for key, work in works.items()
    ]
    heads = table.batch_get((each.head_key for each in unread), consistent=True)
    for each in unread:
        each.take_head(heads.get(each.head_key), batches[each.key])
    renewable = {
        each.key.subscription_id: keys.subscription(organization_id, each.key.subscription_id)
        for each in unread
        if each.follows_clock
    }
    wanted = [key for each in unread for key in each.first_keys()]
    firsts = table.batch_get((*wanted, *renewable.values()), consistent=True)
    meters = {
        item.meter.id: item.meter
        for each in unread
        if each.follows_clock
        for item in each.subscription.line_items
        if item.meter is not None
    }
    present = [firsts[key] for key in renewable.values() if key in firsts]
    current = {
        each.id: each
        for each in resolved(
            table, organization_id, present, tuple(meters.values()), consistent=True, facts=False
        )
    }
    for each in unread:
        if each.is_void:
            continue
        if each.follows_clock and each.key.subscription_id in current:
            each.take_subscription(current[each.key.subscription_id])
        first_seen = {key: integer(firsts[key], "a") for key in each.first_keys() if key in firsts}
        each.search_value(table, first_seen, now)
        each.find(first_seen, now)
    others = (key for each in unread for key in each.other_keys())
    rows = table.batch_get(others, consistent=True) | firsts | heads
    return [each.opened(table, organization_id, generation, rows) for each in unread]


class TallyReader:
    """Reads one tally: the head first, then the other items."""

    def __init__(self, pk: str, key: TallyKey, work: PendingEvents) -> None:
        self.key = key
        charge = work.charge
        self.head_key = Key(pk, keys.chain(key.stored_as) if key.item_id is None else counter_key(charge, 0))
        self._pk = pk
        self._charge = charge
        self._turn = work.turn
        #: Whether the tally must use the present subscription (see `state.follows_clock`). Of an edition that is
        #: not read yet, or not any more, the clock publishes nothing.
        self.follows_clock = (
            follows_clock(charge.meter)
            and work.turn is not Turn.OUT
            and charge.subscription.editions.filling is None
        )
        self._unseen: list[Counted] = []
        self._step = Step([], [], more=False)
        self._batch: list[Counted] = []
        self._days: Batch = {}
        self._head_row: Row | None = None
        self._tally = Tally(key, charge.meter, Head(), [], [])
        self._parts = FineState()
        self._beside: dict[HoursKey, str] = {}
        self._moved: tuple[int, ...] = ()
        self._bodies: list[list[str]] = []
        self._more = False
        self._sighting: Sighting | None = None

    def take_head(self, row: Row | None, batch: Iterable[Counted]) -> None:
        """Take the head that was read, and the events of a batch that the tally has not counted yet."""
        if row is None and self._turn is not None:
            # It was found a moment ago.
            raise CatalogueChangedError("the tally is gone: its generation was deleted")
        self._head_row = row
        head = self._tally.head = unpack_head(row)
        turns = head.quiet if self._turn is Turn.IN else self._turn is Turn.OUT and not head.retired
        follows = self._follows_moves(head)
        if (turns or follows) and head.first is not None:
            # All its charges turn, also those before the one from which on it is stale.
            head.stale_from = head.first
        self._unseen = head.unseen(batch)
        self._step = next_step(self._unseen, empty=row is None)
        self._batch = self._step.batch

    def _follows_moves(self, head: Head) -> bool:
        """Return whether the tally begins to follow moves with this change.

        Raises `CatalogueChangedError` if it has followed more of them than are known.
        """
        known = self._charge.subscription.placed
        if head.placed.is_beyond(known) or head.following.is_beyond(known):
            raise CatalogueChangedError("the customer has moved, or the plan another name, meanwhile")
        if self._head_row is None or head.quiet:
            # Nothing of it is in the rollups.
            head.placed = known
            return False
        if head.retired or known in (head.placed, head.following):
            return False
        head.following = known
        return True

    @property
    def is_void(self) -> bool:
        """Whether there is no tally, and no event to make one of."""
        return self._head_row is None and bool(self._unseen) and not self._step.passed

    @property
    def _withdrawn(self) -> Counted | None:
        """The event that is to be taken out, if one is."""
        return self._batch[0] if self._batch and self._batch[0].withdrawn else None

    def search_value(self, table: Table, first_seen: Mapping[Key, int], now: int) -> None:
        """Find an event of a COUNT_UNIQUE that is to be taken out, and when its value is seen next."""
        counted, charge, head = self._withdrawn, self._charge, self._tally.head
        if counted is None or fine_parts(charge.meter) is not FineParts.VALUES:
            return
        at = counted.observation.at
        # Values may have been seen ahead of time.
        until = latest_countable(max(now, head.through, head.last or now, at))
        charges = [charge]
        if self.key.item_id is None:
            found = chain(charge.subscription, self.key.meter_id, at, until)
            charges = [each for each in found if (end := each.counted_span.end) is None or end > at]
        first = next(iter(first_seen.values()), None)
        if charges:
            self._sighting = find_sighting(table, self._pk, charges, counted, first, until)
        if self._sighting is None:
            self._batch = []

    @property
    def subscription(self) -> Subscription:
        """The subscription whose tally it is, as far as it is known."""
        return self._charge.subscription

    def take_subscription(self, current: Subscription) -> None:
        """Use the subscription that was read after the head.

        Raises `CatalogueChangedError`: see `read_tallies`.
        """
        before = self._charge
        # The customer's facts are those that the batch has read: see `Standing.guards`.
        current = current.of_customer(before.subscription.facts)
        if current == before.subscription:
            return
        if current.placed != before.subscription.placed:
            # The head follows what was read before.
            raise CatalogueChangedError("the plan has another name meanwhile")
        after = charge_of(current, self.key)
        if after is not None and self._still_counts(before, after):
            self._charge, self._tally.meter = after, after.meter
        elif self._batch:
            raise CatalogueChangedError("the catalogue has changed meanwhile")

    def _still_counts(self, before: ChargePeriod, after: ChargePeriod) -> bool:
        """Return whether the present subscription still has this tally, and the tally the batch's events."""
        one, other = ((tally_key(each), each.cadence_code, each.zone) for each in (before, after))
        if one != other:
            return False
        if not self._batch:
            return True
        spans = [
            after.subscription.counted(item)
            for item in after.subscription.line_items
            if item.meter == before.meter and self.key.item_id in (None, item.id)
        ]
        return all(any(span.holds(counted.observation.at) for span in spans) for counted in self._batch)

    def first_keys(self) -> dict[Key, int]:
        """Return the keys of the items that hold when a COUNT_UNIQUE's values were first seen.

        Those instants decide which charges a batch changes. With each key is when the batch saw the value first.
        """
        earliest: dict[str, int] = {}
        if fine_parts(self._tally.meter) is FineParts.VALUES:
            for counted in self._batch:
                value, at = identity(counted.observation.text), counted.observation.at
                earliest[value] = min(at, earliest.get(value, at))
        return {
            Key(self._pk, keys.first_seen(self.key, keys.part(value))): at for value, at in earliest.items()
        }

    def find(self, first_seen: Mapping[Key, int], now: int) -> None:
        """Find the charges that the change can reach, and the finer parts that the batch touches."""
        tally, head = self._tally, self._tally.head
        if first_seen:
            batch = self.first_keys()
            self._moved = tuple({at for key, at in first_seen.items() if batch.get(key, at) < at})
        if self._sighting is not None and self._sighting.next_seen is not None:
            self._moved = (self._sighting.next_seen,)
        of = self._batch if self._head_row is not None or self._batch else self._step.passed
        times = [counted.observation.at for counted in of]
        # The charges must reach up to the latest of these instants: to the time up to which another writer, whose
        # clock may be a little ahead, has published; to values that were first seen ahead of time, since they move
        # from that charge; to a charge that the chain has ahead of time, since its carried value may change.
        until = max(now, head.through, head.last or now, *times, *self._moved)
        if self.key.item_id is not None:
            tally.charges = [self._charge]
        else:
            since = min([at for at in (self._open_since(), head.stale_from) if at is not None] + times)
            charges = chain(self._charge.subscription, self.key.meter_id, since, max(until, since))
            latest = max((*times, *self._moved), default=since)
            most = max(sum(charge.counted_span.start <= latest for charge in charges), _CHARGES_AT_ONCE)
            tally.charges, self._more = charges[:most], len(charges) > most
        self._days = tally.by_day(self._batch)
        self._parts = touched(tally, self._days)
        self._bodies = [
            [counter_key(charge, n) for n in range(chunks(charge, latest_countable(until)))]
            for charge in tally.charges
        ]

    def _open_since(self) -> int | None:
        """Return an instant in the first charge that the clock may still change; None for a new chain.

        That is the last charge or, if an event came ahead of time, the charge that the clock had reached.
        """
        head = self._tally.head
        return (
            None if head.first is None or head.last is None else max(head.first, min(head.last, head.through))
        )

    def other_keys(self) -> list[Key]:
        """List the keys of the items still to be read. A plain tally's first chunk is its head, and was read."""
        bodies = [sk for body in self._bodies for sk in body if sk != self.head_key.sk]
        return [Key(self._pk, sk) for sk in (*bodies, *_part_keys(self._tally, self._parts))]

    def opened(
        self, table: Table, organization_id: str, generation: str, rows: Mapping[Key, Row]
    ) -> TallyUpdate:
        """Return the tally update, made of the rows that were read.

        If an event is to be taken out, the stored events of its hour are read, as far as they are needed.
        """

        def row_of(sk: str) -> Row | None:
            return rows.get(Key(self._pk, sk))

        tally, stored = self._tally, dict[str, Item]()
        for charge, body in zip(tally.charges, self._bodies, strict=True):
            found = {n: row for n, sk in enumerate(body) if (row := row_of(sk)) is not None}
            tally.counters.append(unpack_counter(charge, found))
            stored |= {body[n]: _attributes(row) for n, row in found.items()}
        if self._head_row is not None and self.head_key.sk not in stored:
            stored[self.head_key.sk] = _attributes(self._head_row)
        self._beside = _fill(self._parts, tally, row_of)
        withdrawal, detail = self._withdrawal(table)
        return TallyUpdate(
            table.name,
            organization_id,
            generation,
            self._pk,
            self.head_key.sk,
            tally,
            self._parts,
            self._batch,
            self._days,
            self._beside,
            stored,
            more=self._more,
            moved=self._moved,
            turn=self._turn,
            unseen=self._unseen,
            passed=self._step.passed,
            unfinished=self._step.more,
            is_void=self.is_void,
            withdrawal=withdrawal,
            detail=detail,
        )

    def _withdrawal(self, table: Table) -> tuple[Withdrawal | None, tuple[str, Item] | None]:
        """Find what is to be taken out, and the item of the detail that has it, if one has it.

        If the tally does not have the event, there is nothing to be done.
        """
        counted, tally, parts = self._withdrawn, self._tally, self._parts
        if counted is None:
            return None, None
        if (seen := self._sighting) is not None:
            return (
                Withdrawal(counted, seen.remaining, seen.next_seen),
                (seen.detail.sk, seen.detail.item()),
            )
        charge = tally.charges[tally.index_at(counted.observation.at)]
        bounds = stretch_of(charge, counted)
        stored = StoredEvents(table, self._pk, charge, bounds)
        wanted = kept_of(tally.meter, counted.observation)
        where = charge.stored_as, charge.period.start, counted.day
        beside = unpack_beside(tally.meter, counted.day, self._beside.get(where, ""))
        found: StoredDetail | None = None
        if wanted in beside:
            beside.remove(wanted)
            self._beside[where] = repack_beside(counted.day, beside)
        elif (found := stored.take(wanted)) is None:
            self._batch.clear()
            self._days.clear()
            return None, None
        remaining: tuple[Observation, ...] | None = None
        if needs_events(tally, parts, counted):
            of_hour = (seen for seen in beside if bounds[0] <= seen.at < bounds[1])
            remaining = (*of_hour, *stored.remaining())
        return Withdrawal(counted, remaining), (None if found is None else (found.sk, found.item()))


def _part_keys(tally: Tally, parts: FineState) -> list[str]:
    return [
        *[keys.hours(*day) for day in parts.hours],
        *[keys.buckets(tally.key.stored_as, start, day) for start, day in parts.buckets],
        *[keys.value(*seen) for seen in parts.values],
    ]


def _fill(parts: FineState, tally: Tally, row_of: Callable[[str], Row | None]) -> dict[HoursKey, str]:
    """Fill in what is stored of the parts. Return the events that lie beside the hours of each day."""
    beside: dict[HoursKey, str] = {}
    for day_of in parts.hours:
        row = row_of(keys.hours(*day_of))
        parts.hours[day_of] = unpack_hours(tally.meter, row)
        beside[day_of] = beside_of(row)
    for start, day in parts.buckets:
        parts.buckets[start, day] = unpack_buckets(row_of(keys.buckets(tally.key.stored_as, start, day)))
    for value in parts.firsts:
        row = row_of(keys.first_seen(tally.key, keys.part(value)))
        parts.firsts[value] = None if row is None else integer(row, "a")
    for seen in parts.values:
        row = row_of(keys.value(*seen))
        parts.values[seen] = 0 if row is None else integer(row, "h")
    return beside


def _attributes(row: Row) -> Item:
    return {
        name: {"S": value.S} if value.S is not None else {"N": value.N or "0"}
        for name, value in row.items()
        if name not in ("pk", "sk")
    }

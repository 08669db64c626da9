"""Tallies as they were read, and the one transaction that changes a tally."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from enum import Enum, auto
from itertools import batched
from typing import assert_never

import msgspec

from meterstone.pricing.money import ZERO, subtract
from meterstone.store.counting.limits import HoursKey, events_in_a_detail, pack_fine_state
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import CatalogueChangedError
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.packing import (
    chunk_of,
    pack_buckets,
    pack_chunk_placed,
    pack_counter,
    pack_detail,
    pack_head,
    pack_hours,
    unpack_chunk_placed,
)
from meterstone.store.dynamodb.table import Action, Item, key_item
from meterstone.store.dynamodb.transaction import GUARDS, TransactionBudget, item_bytes
from meterstone.store.events.positions import ends_by_itself
from meterstone.usage.arrival import Subject
from meterstone.usage.charge import ChargePeriod, Counter, DayAmount, Dimensions, add_amounts
from meterstone.usage.subscription import NOWHERE, Placed
from meterstone.usage.tally import Batch, Counted, FineState, Tally, count, restate
from meterstone.usage.withdrawal import Withdrawal, take_out

#: The rollups, in all views, that a charge's month is added to.
type RollupKeys = tuple[Key, ...]
type RollupChange = dict[int, DayAmount]

_NOTHING = DayAmount(ZERO, 0)


class Turn(Enum):
    """What becomes of a tally when another edition is read."""

    #: It is read from now on: the rollups take what its days are worth.
    IN = auto()
    #: It is not read any more: the rollups lose what its days were worth.
    OUT = auto()


class PendingEvents(msgspec.Struct):
    """The events that are to be counted into one tally, in the order of their positions; there may be none.

    ``charge`` is the charge of a plain tally, or any charge of a chain. ``latest`` has the time of the latest
    event of each subject that the events are of. ``turn``: another edition is read now.
    """

    charge: ChargePeriod
    events: list[Counted] = msgspec.field(default_factory=list)
    latest: dict[Subject, int] = msgspec.field(default_factory=dict)
    turn: Turn | None = None

    def add(self, subject: Subject, counted: Counted) -> None:
        """Add an event of a subject."""
        self.events.append(counted)
        at = counted.observation.at
        if at >= self.latest.get(subject, at):
            self.latest[subject] = at


class TallyTransaction(msgspec.Struct):
    """The part of a transaction that changes one tally.

    ``stale`` says that the tally is published only in part, and needs another transaction. ``counts`` says
    whether it counts any event. ``begins`` is when the latest charge begins that it knows of.
    """

    actions: list[Action]
    rollups: dict[RollupKeys, RollupChange]
    stale: bool
    size: int
    #: When the newest event that the transaction publishes came in; 0 if it publishes no new event.
    accepted: int = 0
    counts: bool = False
    begins: int | None = None
    #: Whether events of the batch are left for another transaction.
    unfinished: bool = False


class TallyUpdate(msgspec.Struct):
    """A tally as read from the table, with the batch of events that it has not counted yet."""

    table: str
    organization_id: str
    generation: str
    #: The partition of all items of the tally.
    pk: str
    head_key: str
    tally: Tally
    parts: FineState
    batch: list[Counted]
    #: The events of the batch by the charge and the day that hold them.
    days: Batch
    #: The events that lie beside the hours of a day and are not packed into a detail yet, as they are stored, by
    #: the same keys as the parts' hours.
    beside: dict[HoursKey, str]
    #: The chunks of counters and the head as they are stored, by sort key.
    stored: dict[str, Item]
    #: Whether the chain has charges after those that were read.
    more: bool = False
    #: When values of a COUNT_UNIQUE were first seen that the batch has seen earlier. They move away from there.
    moved: tuple[int, ...] = ()
    turn: Turn | None = None
    #: All events of the batch that the tally has not seen yet; `batch` may be only the first of them.
    unseen: list[Counted] = msgspec.field(default_factory=list)
    #: The events that the tally's position moves past: those of `batch`, and such as were withdrawn unseen.
    passed: list[Counted] = msgspec.field(default_factory=list)
    #: Whether unseen events are left for another transaction.
    unfinished: bool = False
    #: Whether there is no tally, and no event to make one of.
    is_void: bool = False
    #: The moves that each chunk has followed, by its charge, if it is not all of them.
    placed: dict[tuple[int, int], Placed] = msgspec.field(default_factory=dict)
    #: The event that is to be taken out, if one is: it is the batch then.
    withdrawal: Withdrawal | None = None
    #: The sort key and the item of the detail that it is taken out of, if one has it; an empty item has no event.
    detail: tuple[str, Item] | None = None

    def change(self, now: int, writer: int, forget: frozenset[str] = frozenset()) -> TallyTransaction | None:
        """Count the batch and publish what fits in one transaction. Return None if there is nothing to do.

        The positions of shards in ``forget`` are dropped. Raises `CatalogueChangedError` if events were to be
        counted into a tally of an edition that is not read any more.
        """
        if self.is_void:
            return None
        tally = self.tally
        self._turn_over()
        if tally.head.retired and self.turn is None:
            if self.unseen:
                raise CatalogueChangedError("another edition is read meanwhile")
            return None
        unfinished = tally.head.stale_from is not None
        if self.passed:
            shards = {counted.position.shard for counted in self.passed}
            ends = {shard for shard in shards if ends_by_itself(shard)}
            # Only clocks of the stream's functions may say how long a position has rested: the clock of the
            # machine that imports may be wrong by days.
            tally.head.forget(forget, now if ends else 0)
            tally.head.moved |= dict.fromkeys(ends, now)
        tally.head.pass_by(self.passed)
        if self.withdrawal is not None:
            take_out(tally, self.parts, self.withdrawal)
        else:
            count(tally, self.parts, self.days)
        self.placed = self._placed_by()
        series, due = restate(tally, now)
        if tally.head.quiet or tally.head.retired:
            series = [{} for _ in tally.charges]
        fine = list(self._finer_parts())
        beside = 1 + GUARDS + len(fine)
        plan = PlannedWrites(TransactionBudget(beside=beside), self._touched())
        left = self._publish(series, plan, writer)
        if left is None and self.more:
            left = len(tally.charges)
        # The next step begins with the last charge that is done, since the next charge's carried value comes from
        # it.
        tally.head.stale_from = None if left is None else tally.charges[max(left - 1, 0)].counted_span.start
        if left is None and tally.head.following != NOWHERE:
            tally.head.placed, tally.head.following = tally.head.following, NOWHERE
        if tally.meter.recurring:
            self._extend_chain(plan)
        items = self._changed(plan.chunks, due)
        if items is None:
            return None
        actions = [self._put(sk, item) if item else self._delete(sk) for sk, item in fine] + items
        size = sum(map(item_bytes, [*self.stored.values(), *[item for _, item in fine]]))
        stale = tally.head.stale_from is not None
        # An import or the clock does not change when the newest event came in. The rollups are shared by tallies
        # and may have a later time.
        brings_news = unfinished or any(counted.accepted for counted in self.batch)
        accepted = tally.head.accepted if brings_news else 0
        begins = tally.charges[-1].counted_span.start if tally.charges else None
        return TallyTransaction(
            actions, plan.rollups, stale, size, accepted, bool(self.passed), begins, self.unfinished
        )

    def _turn_over(self) -> None:
        """Note in the head whether the tally is of an edition that is read."""
        head, charges = self.tally.head, self.tally.charges
        match self.turn:
            case None:
                if head.version == 0 and charges[0].subscription.editions.filling is not None:
                    head.quiet = True
            case Turn.IN:
                head.quiet = False
            case Turn.OUT:
                head.quiet, head.retired = False, True
            case _:
                assert_never(self.turn)

    def _touched(self) -> set[tuple[int, int]]:
        """List the chunks of counters that the batch changes, and that must be written."""
        charges = self.tally.charges
        touched = {(index, chunk_of(charges[index], day)) for index, day in self.days}
        for at in self.moved:
            index = self.tally.index_at(at)
            touched.add((index, chunk_of(charges[index], charges[index].zone.day_of(at))))
        return touched

    def _publish(
        self, series: Sequence[Mapping[int, DayAmount]], plan: "PlannedWrites", writer: int
    ) -> int | None:
        """Publish month by month as long as the plan has room. Return the index of the first charge left over."""
        for index, (charge, counter) in enumerate(zip(self.tally.charges, self.tally.counters, strict=True)):
            # The first chunk is written if the counter is new, or if its carried value has changed.
            if (index, 0) not in plan.chunks and self._moved(index) and not plan.take({(index, 0)}, ()):
                return index
            worth = series[index]
            days = sorted(worth.keys() | counter.published.keys())
            if self.placed:
                days, moving = self._parted(index, days)
                for chunk, its in moving.items():
                    if not self._move(index, chunk, its, worth, plan, writer):
                        return index
            months: dict[str, RollupChange] = {}
            for day in days:
                now, before = worth.get(day, _NOTHING), counter.published.get(day, _NOTHING)
                if now != before:
                    change = DayAmount(subtract(now.units, before.units), now.cents - before.cents)
                    months.setdefault(keys.month_of(day), {})[day] = change
            for month, changes in months.items():
                rollups = self._rollups(charge, charge.dimensions, month, writer)
                if not plan.take({(index, chunk_of(charge, day)) for day in changes}, (rollups,)):
                    return index
                for day, change in changes.items():
                    plan.add(rollups, date.fromordinal(day).day, change)
                _note_published(counter, changes, worth)
        return None

    def _placed_by(self) -> dict[tuple[int, int], Placed]:
        """Return which moves each stored chunk has followed; nothing if all have followed the last."""
        placed = self.tally.head.placed
        if placed == self.tally.charges[0].subscription.placed:
            return {}
        return {
            (index, keys.parse_counter(sk).chunk): max(placed, unpack_chunk_placed(self.stored[sk]))
            for index, charge in enumerate(self.tally.charges)
            for sk in self._chunk_keys(charge)
        }

    def _parted(self, index: int, days: Iterable[int]) -> tuple[list[int], dict[int, list[int]]]:
        """Part the days of a charge: those in the rollups where they belong, and by chunk those that move."""
        charge = self.tally.charges[index]
        staying: list[int] = []
        moving: dict[int, list[int]] = {}
        for day in days:
            chunk = chunk_of(charge, day)
            placed = self.placed.get((index, chunk))
            if placed is None or charge.dimensions_at(placed) == charge.dimensions:
                staying.append(day)
            else:
                moving.setdefault(chunk, []).append(day)
        return staying, moving

    def _move(
        self,
        index: int,
        chunk: int,
        days: Sequence[int],
        worth: Mapping[int, DayAmount],
        plan: "PlannedWrites",
        writer: int,
    ) -> bool:
        """Take all that a chunk has published out from where it was, and add its worth where it belongs now.

        Return False if the plan has no room for that.
        """
        charge, counter = self.tally.charges[index], self.tally.counters[index]
        was = charge.dimensions_at(self.placed[index, chunk])
        months = {keys.month_of(day) for day in days}
        out = {month: self._rollups(charge, was, month, writer) for month in months}
        into = {month: self._rollups(charge, charge.dimensions, month, writer) for month in months}
        if not plan.take({(index, chunk)}, (*out.values(), *into.values())):
            return False
        for day in days:
            month, number = keys.month_of(day), date.fromordinal(day).day
            if (before := counter.published.get(day)) is not None:
                plan.add(out[month], number, DayAmount(subtract(ZERO, before.units), -before.cents))
            if day in worth:
                plan.add(into[month], number, worth[day])
        _note_published(counter, days, worth)
        self.placed[index, chunk] = charge.subscription.placed
        return True

    def _moved(self, index: int) -> bool:
        """Return whether a charge's counter differs from what is stored."""
        packed = pack_counter(self.tally.charges[index], self.tally.counters[index])
        return any(sk not in self.stored or _body(self.stored[sk]) != packed[sk] for sk in packed)

    def _rollups(self, charge: ChargePeriod, dimensions: Dimensions, month: str, writer: int) -> RollupKeys:
        name = charge.subscription.currency, charge.meter.id
        return keys.rollups(self.organization_id, self.generation, dimensions, month, name, writer)

    def _extend_chain(self, plan: "PlannedWrites") -> None:
        head = self.tally.head
        for index, _ in plan.chunks:
            start = self.tally.charges[index].counted_span.start
            head.first = start if head.first is None else min(head.first, start)
            head.last = start if head.last is None else max(head.last, start)

    def _changed(self, written: set[tuple[int, int]], due: int | None) -> list[Action] | None:
        """Return the actions that write the head and the counters that differ from what is stored."""
        tally = self.tally
        items: dict[str, Item] = {}
        for index in {index for index, _ in written}:
            packed = pack_counter(tally.charges[index], tally.counters[index])
            items |= packed
            if tally.meter.recurring:
                self._tell_accepted(index, packed, written)
            for sk in packed:
                items[sk] |= self._told_moves(index, sk)
            for sk in self._chunk_keys(tally.charges[index]) - packed.keys():
                items[sk] = {}
        head_key = self.head_key
        if head_key not in items:
            # Of a plain tally it is the first chunk, too.
            plain = not tally.meter.recurring
            items[head_key] = _body(self.stored.get(head_key, {}))
            items[head_key] |= self._told_moves(0, head_key) if plain else {}
        items[head_key] |= pack_head(self.organization_id, self.generation, tally, due)
        changed = {sk: item for sk, item in items.items() if item != self.stored.get(sk)}
        if not self.batch and changed.keys() <= {head_key} and not self._head_moved(items[head_key]):
            return None
        version = tally.head.version
        tally.head.version += 1
        items[head_key]["v"] = {"N": str(tally.head.version)}
        changed[head_key] = items[head_key]
        condition: Action = (
            {
                "ConditionExpression": "v = :version",
                "ExpressionAttributeValues": {":version": {"N": str(version)}},
            }
            if version
            else {"ConditionExpression": "attribute_not_exists(pk)"}
        )
        return [
            self._put(sk, item, condition if sk == head_key else {}) if item else self._delete(sk)
            for sk, item in changed.items()
        ]

    def _told_moves(self, index: int, sk: str) -> Item:
        """Return what a chunk says of the moves by which it is published, if these are more than the head says."""
        last = self.tally.charges[index].subscription.placed
        if self.tally.head.placed == last:
            return {}
        # One that is new is published by the facts of now alone.
        placed = self.placed.get((index, keys.parse_counter(sk).chunk), last)
        return pack_chunk_placed(placed) if placed > self.tally.head.placed else {}

    def _tell_accepted(
        self, index: int, packed: Mapping[str, Item], written: Collection[tuple[int, int]]
    ) -> None:
        """Write into a chain's counters, too, when the newest event came in: their readers do not read the head.

        Chunks that are not written anyway keep the time that they have.
        """
        for sk, item in packed.items():
            if (index, keys.parse_counter(sk).chunk) not in written:
                item |= {name: value for name, value in self.stored.get(sk, {}).items() if name == "acc"}
            elif self.tally.head.accepted:
                item["acc"] = {"N": str(self.tally.head.accepted)}

    def _head_moved(self, item: Item) -> bool:
        """Return whether the head's item differs from the stored one in more than the time published through."""
        stored = self.stored.get(self.head_key, {})
        return any(stored.get(name) != item.get(name) for name in (item.keys() | stored.keys()) - {"th", "v"})

    def _chunk_keys(self, charge: ChargePeriod) -> set[str]:
        prefix = keys.counter_chunks(charge.cadence_code, charge.period.start, charge.stored_as)
        return {sk for sk in self.stored if sk.startswith(prefix)}

    def _finer_parts(self) -> Iterator[tuple[str, Item]]:
        """Pack the finer parts that the batch changes."""
        if not self.batch:
            return
        tally, parts = self.tally, self.parts
        if self.withdrawal is not None:
            yield from self._parts_left()
            return
        hours, details = pack_fine_state(tally, parts, self.beside, self.batch, self.days)
        for (item_id, start, length), (position, events) in details:
            for piece, some in enumerate(batched(events, events_in_a_detail(tally.meter), strict=False)):
                sk = keys.detail(item_id, start, length, *position, piece)
                yield sk, pack_detail(tally.meter, start, some)
        for where, packed in hours.items():
            yield keys.hours(*where), packed
        for (start, day), buckets in parts.buckets.items():
            yield keys.buckets(tally.key.stored_as, start, day), pack_buckets(buckets)
        for value, first in parts.firsts.items():
            yield keys.first_seen(tally.key, keys.part(value)), {"a": {"N": str(first)}}
        for seen, hours_seen in parts.values.items():
            yield keys.value(*seen), {"h": {"N": str(hours_seen)}}

    def _parts_left(self) -> Iterator[tuple[str, Item]]:
        """Pack the finer parts that an event was taken out of; those that nothing is left of are empty items."""
        tally, parts = self.tally, self.parts
        if self.detail is not None:
            yield self.detail
        for where, hours in parts.hours.items():
            beside = self.beside.get(where, "")
            yield keys.hours(*where), pack_hours(tally.meter, hours, beside) if hours or beside else {}
        for (start, day), buckets in parts.buckets.items():
            sk = keys.buckets(tally.key.stored_as, start, day)
            yield sk, pack_buckets(buckets) if buckets else {}
        for value, first in parts.firsts.items():
            found: Item = {} if first is None else {"a": {"N": str(first)}}
            yield keys.first_seen(tally.key, keys.part(value)), found
        for seen, hours_seen in parts.values.items():
            yield keys.value(*seen), {"h": {"N": str(hours_seen)}} if hours_seen else {}

    def _put(self, sk: str, item: Item, condition: Action | None = None) -> Action:
        return {
            "Put": {"TableName": self.table, "Item": self._key(sk) | item, **(condition or {})},
        }

    def _delete(self, sk: str) -> Action:
        return {"Delete": {"TableName": self.table, "Key": self._key(sk)}}

    def _key(self, sk: str) -> Item:
        return key_item(Key(self.pk, sk))


_BODY = ("d", "p", "c")


class PlannedWrites:
    """The writes of a tally's transaction: chunks of counters, and rollups that it adds to."""

    def __init__(self, budget: TransactionBudget, chunks: Iterable[tuple[int, int]]) -> None:
        self.chunks = set(chunks)
        self.rollups: dict[RollupKeys, RollupChange] = {}
        self._budget = budget
        budget.take(0, shared=self.chunks, anyway=True)

    def take(self, chunks: set[tuple[int, int]], rollups: Collection[RollupKeys]) -> bool:
        """Take chunks and rollups into the plan, if there is room for all of them."""
        if not self._budget.take(0, shared=chunks.union(*rollups)):
            return False
        self.chunks |= chunks
        for keys_ in rollups:
            self.rollups.setdefault(keys_, {})
        return True

    def add(self, rollups: RollupKeys, number: int, change: DayAmount) -> None:
        """Add the change of one day of the month to rollups; two charges may fall on one day."""
        days = self.rollups[rollups]
        days[number] = add_amounts(days[number], change) if number in days else change


def _note_published(counter: Counter, days: Iterable[int], worth: Mapping[int, DayAmount]) -> None:
    """Note that days are in the rollups with what they are worth."""
    for day in days:
        if day in worth:
            counter.published[day] = worth[day]
        else:
            counter.published.pop(day, None)


def _body(item: Item) -> Item:
    return {name: item[name] for name in _BODY if name in item}

"""Opening ledgers for writing: what is read of them, in two rounds of batch reads, heads before their parts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from meterstone.store import keys
from meterstone.store.counters import (
    chunks,
    counter_key,
    unpack_buckets,
    unpack_counter,
    unpack_head,
    unpack_hours,
    unpack_recent,
)
from meterstone.store.keys import Key
from meterstone.store.ledgers import Opened, Work
from meterstone.store.table import Item, Row, Table, integer
from meterstone.usage.charge import ChargePeriod
from meterstone.usage.ledger import Counted, Ledger, LedgerKey, Parts, chain, identity, touched
from meterstone.usage.meter import Aggregation
from meterstone.usage.window import horizon

_CHARGES_AT_ONCE = 120


def open_ledgers(
    table: Table,
    organization_id: str,
    generation: str,
    works: Mapping[LedgerKey, Work],
    batches: Mapping[LedgerKey, Sequence[Counted]],
    now: int,
) -> list[Opened]:
    """Read ledgers and the parts that the batches touch, consistently, in two or three rounds of batch reads.

    Heads are read first: whatever another writer changes after that makes the version's condition fail, where a
    head that is read last could vouch for parts that were read before the change.
    """

    def where(key: LedgerKey, sk: str) -> Key:
        return Key(keys.usage(organization_id, generation, key.subscription_id), sk)

    head_keys = {key: where(key, _head_key(key, work)) for key, work in works.items()}
    heads = table.batch_get(head_keys.values(), consistent=True)
    unread = {key: _Unread(key, work, heads.get(head_keys[key])) for key, work in works.items()}
    for key, each in unread.items():
        each.batch = each.head.unseen(batches[key])
    firsts = table.batch_get(
        (where(key, sk) for key, each in unread.items() for sk in each.first_keys()), consistent=True
    )
    wanted: list[Key] = []
    for key, each in unread.items():
        each.find(partial(_row_of, firsts, partial(where, key)), now)
        wanted += [where(key, sk) for sk in each.other_keys()]
    rows = table.batch_get(wanted, consistent=True) | firsts | heads
    return [
        each.opened(table.name, organization_id, generation, partial(_row_of, rows, partial(where, key)))
        for key, each in unread.items()
    ]


def _head_key(key: LedgerKey, work: Work) -> str:
    if key.item_id is None:
        return keys.chain(key.meter_id)
    return counter_key(_plain_charge(key, work), 0)


def _plain_charge(key: LedgerKey, work: Work) -> ChargePeriod:
    subscription = work.subscription
    item = next(item for item in subscription.line_items if item.id == key.item_id)
    return ChargePeriod(subscription, item, subscription.cadence(item).period_at(key.period_start))


class _Unread:
    """A ledger of which the head is known, and what else is to be read of it."""

    def __init__(self, key: LedgerKey, work: Work, head_row: Row | None) -> None:
        self.batch: list[Counted] = []
        self.head = unpack_head(head_row)
        self._work = work
        self._head_row = head_row
        self._ledger = Ledger(key, work.meter, self.head, [], [])
        self._parts = Parts()
        self._moved: tuple[int, ...] = ()
        self._bodies: list[list[str]] = []
        self._more = False

    def first_keys(self) -> Iterator[str]:
        """Name where it stands when a COUNT_UNIQUE's values were first seen: that says which charges matter."""
        scope = keys.first_scope(self._ledger.key)
        return (scope + keys.part(value) for value in self._earliest())

    def find(self, row_of: Callable[[str], Row | None], now: int) -> None:
        """Find the charges that matter, and the parts that the batch touches."""
        key, work, ledger = self._ledger.key, self._work, self._ledger
        found = zip(self._earliest().values(), map(row_of, self.first_keys()), strict=True)
        firsts = [(at, integer(row, "a")) for at, row in found if row is not None]
        self._moved = tuple({first for at, first in firsts if at < first})
        times = [seen.at for _, seen, _ in self.batch]
        # A clock that is a little behind another writer's must not miss what that one wrote, nor may a value
        # that was first seen ahead of time be taken from another charge than the one that has it.
        until = max(now, self.head.through, *times, *self._moved)
        if key.item_id is not None:
            ledger.charges = [_plain_charge(key, work)]
        else:
            since = min([at for at in (self._open_since(), self.head.stale_from) if at is not None] + times)
            charges = chain(work.subscription, key.meter_id, since, max(until, since))
            latest = max((*times, *self._moved), default=since)
            most = max(sum(charge.region.start <= latest for charge in charges), _CHARGES_AT_ONCE)
            ledger.charges, self._more = charges[:most], len(charges) > most
        self._parts = touched(ledger, self.batch)
        self._bodies = [
            [counter_key(charge, n) for n in range(chunks(charge, horizon(until)))]
            for charge in ledger.charges
        ]

    def _open_since(self) -> int | None:
        """Give an instant in the first charge that the clock may still change; None for a new chain.

        That is the last one, or, where an event came ahead of time, the one that the clock had reached.
        """
        first, last = self.head.first, self.head.last
        return None if first is None or last is None else max(first, min(last, self.head.through))

    def _earliest(self) -> dict[str, int]:
        """Give the earliest sight of each value in the batch."""
        earliest: dict[str, int] = {}
        if self._work.meter.aggregation is Aggregation.COUNT_UNIQUE:
            for _, seen, _ in self.batch:
                value = identity(seen.text)
                earliest[value] = min(seen.at, earliest.get(value, seen.at))
        return earliest

    def other_keys(self) -> Iterator[str]:
        """Name what else is to be read."""
        for body in self._bodies:
            yield from body
        yield from _part_keys(self._ledger, self._parts)

    def opened(
        self, table: str, organization_id: str, generation: str, row_of: Callable[[str], Row | None]
    ) -> Opened:
        """Put together what was read."""
        ledger, stored = self._ledger, dict[str, Item]()
        if self._head_row is not None:
            stored[_head_key(ledger.key, self._work)] = _attributes(self._head_row)
        for charge, body in zip(ledger.charges, self._bodies, strict=True):
            found = {n: row for n, sk in enumerate(body) if (row := row_of(sk)) is not None}
            ledger.counters.append(unpack_counter(charge, found))
            stored |= {body[n]: _attributes(row) for n, row in found.items()}
        _fill(self._parts, ledger, row_of)
        return Opened(
            table,
            organization_id,
            generation,
            ledger,
            self._parts,
            self.batch,
            stored,
            more=self._more,
            moved=self._moved,
        )


def _part_keys(ledger: Ledger, parts: Parts) -> Iterator[str]:
    yield from (keys.hours(*day) for day in parts.hours)
    yield from (keys.buckets(ledger.key.item_id or "", start, day) for start, day in parts.buckets)
    yield from (keys.value(*seen) for seen in parts.values)


def _fill(parts: Parts, ledger: Ledger, row_of: Callable[[str], Row | None]) -> None:
    for day_of in parts.hours:
        row = row_of(keys.hours(*day_of))
        parts.hours[day_of] = unpack_hours(ledger.meter, row)
        parts.recent[day_of] = list(unpack_recent(ledger.meter, day_of[2], row))
    for start, day in parts.buckets:
        parts.buckets[start, day] = unpack_buckets(row_of(keys.buckets(ledger.key.item_id or "", start, day)))
    for value in parts.firsts:
        row = row_of(keys.first_scope(ledger.key) + keys.part(value))
        parts.firsts[value] = None if row is None else integer(row, "a")
    for seen in parts.values:
        row = row_of(keys.value(*seen))
        parts.values[seen] = 0 if row is None else integer(row, "h")


def _row_of(rows: Mapping[Key, Row], where: Callable[[str], Key], sk: str) -> Row | None:
    return rows.get(where(sk))


def _attributes(row: Row) -> Item:
    return {
        name: {"S": value.S} if value.S is not None else {"N": value.N or "0"}
        for name, value in row.items()
        if name not in ("pk", "sk")
    }

"""Folding: events are counted into counters, and the worth of days is published to the rollups, exactly once.

One transaction counts a batch of events of one tally, stores the positions of the events, and adds to the rollups.
It adds the worth of the tally's days now, less their worth as last published. If the events are delivered again,
their positions are not above the stored ones, and they change nothing. If the fold is killed between two
transactions, nothing is half done.

A subscription may change at any time. So each transaction that counts events is under the condition that their
subjects have the versions by which the events were matched, and notes in the subjects' items up to when they have
events (see `Standing.guards`).

A change that does not fit in a transaction of 100 actions is counted first, and then published in steps. The
tally's head says from which charge on the tally is stale. The next event or the clock goes on from there.

If the table will never take a batch, the batch is halved until a single event is found that the table does not
take. That event is quarantined, and the others count.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import batched, islice
from typing import NamedTuple

import msgspec

from meterstone.pricing.money import in_two
from meterstone.store.catalogue.accounts import Account
from meterstone.store.catalogue.guards import merged
from meterstone.store.catalogue.subjects import Standing, standing_of
from meterstone.store.catalogue.subscriptions import UnknownSubscriptionError
from meterstone.store.counting.limits import events_that_fit
from meterstone.store.counting.reading import read_tallies
from meterstone.store.counting.writing import (
    PendingEvents,
    RollupChange,
    TallyTransaction,
    TallyUpdate,
)
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import CatalogueChangedError
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.packing import unpack_tally_key
from meterstone.store.dynamodb.table import (
    Action,
    ConflictError,
    StoreUnavailableError,
    Table,
    WriteRefusedError,
    text,
)
from meterstone.store.dynamodb.transaction import Needs, packed
from meterstone.usage.arrival import Subject
from meterstone.usage.charge import add_amounts
from meterstone.usage.edition import Editions
from meterstone.usage.instant import key_instant
from meterstone.usage.matching import Matching
from meterstone.usage.meter import Event, Uncounted
from meterstone.usage.receipt import Fault
from meterstone.usage.subscription import Subscription
from meterstone.usage.tally import Counted, Position, TallyKey, charge_of
from meterstone.usage.withdrawal import Mark

_TALLIES_AT_ONCE = 100
_ATTEMPTS = 20


class EventToCount(NamedTuple):
    """An event of the log, with the subscriptions that it is for, of its subject's."""

    position: Position
    subject: Subject
    event: Event
    subscriptions: Sequence[Subscription]
    #: When it came in over HTTP; 0 if it was imported.
    accepted: int = 0
    #: The mark of an event that is to be taken out, since it was withdrawn. The position is that of the mark.
    mark: Mark | None = None


class Unread(NamedTuple):
    """An event that some meters of line items cannot read, and whether another meter counts it."""

    position: Position
    event: Event
    faults: tuple[Fault, ...]
    elsewhere: bool


class FoldReport(msgspec.Struct):
    """The result of a batch: how many events count somewhere, and why the others do not.

    ``uncounted`` has the reason of each meter that cannot use an event. It also has the events that no meter of a
    line item is for, and the events that the table does not take. ``unread`` has the events that a meter cannot
    read. ``unpublished`` names the tallies whose worth the rollups do not take.
    """

    counted: int = 0
    uncounted: list[tuple[Position, str]] = msgspec.field(default_factory=list)
    unread: list[Unread] = msgspec.field(default_factory=list)
    unpublished: list[str] = msgspec.field(default_factory=list)


class Fold:
    """Folds events of one organization into its counters and rollups."""

    def __init__(
        self,
        table: Table,
        organization_id: str,
        generation: str,
        *,
        writer: int = 0,
        matching: Matching | None = None,
    ) -> None:
        """Write to a generation of an organization's counters.

        ``writer`` is the number of the rollups' items that the fold adds to. Readers add up the items of all
        writers. Folds with different numbers do not conflict in the rollups of a busy organization. ``matching``
        may remember subscriptions from earlier batches.
        """
        self.table = table
        self.organization_id = organization_id
        self.generation = generation
        self.writer = writer
        #: Shards that deliver nothing any more. A tally drops their positions when it is next written.
        self.forget: frozenset[str] = frozenset()
        #: Called with the editions of a subscription, an edition, and an event: whether the event is counted into
        #: tallies of that edition, or taken out of them.
        self.takes: Callable[[Editions, int, EventToCount], bool] = lambda editions, number, _: (
            editions.concern(number)
        )
        #: Called with an event that the table does not take, and the reason, before the position moves past it.
        self.quarantine: Callable[[Position, str], None] = lambda _position, _reason: None
        #: Called with events that meters cannot read, before any position moves past them.
        self.keep_unread: Callable[[Sequence[Unread]], None] = lambda _unread: None
        self._matching = matching or Matching()
        #: The catalogue by which the events in hand were matched.
        self._standing = Standing(table, 0)

    def fold(self, events: Iterable[EventToCount], now: int, standing: Standing) -> FoldReport:
        """Count events, in the order of their positions within each shard, and publish what they bring.

        ``standing`` is the catalogue by which their subscriptions were found. Raises `CatalogueChangedError` if it
        has changed since, as far as it concerns them: they must be matched again.
        """
        self._standing = standing
        report = FoldReport()
        works: dict[TallyKey, PendingEvents] = {}
        for each in events:
            position, subject, event, subscriptions, accepted, mark = each
            faults: list[Fault] = []
            counted = False
            for subscription in subscriptions:
                editions = subscription.editions
                for charge, key, seen in self._matching.matches(event, subscription):
                    if isinstance(seen, Uncounted):
                        faults.append(Fault(charge.meter.code, charge.meter.field, seen.reason))
                        continue
                    counted = True
                    if editions.entries and not self.takes(editions, key.edition, each):
                        continue
                    work = works.get(key)
                    if work is None:
                        work = works[key] = PendingEvents(charge)
                    day, hour = charge.zone.hour_of(event.at)
                    # A withdrawal does not make an answer newer.
                    came_in = accepted if mark is None else 0
                    work.add(subject, Counted(position, seen, came_in, day, hour, mark is not None))
            if mark is not None:
                # A meter that cannot read the event has not counted it.
                continue
            report.counted += counted
            if faults:
                unread = Unread(position, event, tuple(dict.fromkeys(faults)), counted)
                report.unread.append(unread)
                report.uncounted += [
                    (position, f"meter {fault.meter}: {fault.reason}") for fault in unread.faults
                ]
            elif not counted:
                report.uncounted.append((position, "no meter of a line item counts it"))
        if report.unread:
            self.keep_unread(report.unread)
        self._fold_all(works, now, report)
        return report

    def expects(self, event: Event, subscriptions: Iterable[Subscription]) -> bool:
        """Return whether a line item is for an event, even if its meter cannot read the event."""
        return self._matching.expects(event, subscriptions)

    def roll(
        self,
        account: Account,
        now: int,
        progress: Callable[[int], None] = lambda _: None,
        *,
        stop: Callable[[], bool] = lambda: False,
    ) -> int:
        """Publish what the clock has changed in the organization by ``now``. Return how many tallies were due.

        ``progress`` is called with the number of tallies done, after each hundred. ``stop`` is asked then, too,
        if more are due: if it answers yes, these are left to the next call, which finds them due.

        Recurring values are restated on the first day of each billing period that has begun. A WEIGHTED_SUM shows
        each day that has ended. Tallies that were published in part are finished. A second call changes nothing.
        Raises `WriteRefusedError`, after everything else is done, if the rollups do not take a tally's worth.
        """
        rolled, report = 0, FoldReport()
        partition = keys.due(self.organization_id, self.generation)
        # Reading the index once is enough: a tally that was brought up to now is due later.
        due = batched(self.table.due(partition, key_instant(now)), _TALLIES_AT_ONCE, strict=False)
        for place, found in enumerate(due):
            if place and stop():
                break
            rolled += self._until_unchanged(lambda found=found: self._roll(account, found, now, report))  # type: ignore[misc]
            progress(rolled)
        if report.unpublished:
            raise WriteRefusedError("; ".join(report.unpublished))
        return rolled

    def publish(self, account: Account, tallies: Sequence[TallyKey], now: int) -> list[str]:
        """Publish tallies as they are, where the rollups do not have what they are worth.

        Tallies that are not read any more are left out. Return those whose worth the rollups do not take.
        """
        report = FoldReport()
        for some in batched(tallies, _TALLIES_AT_ONCE, strict=False):
            self._until_unchanged(lambda some=some: self._publish(account, some, now, report))  # type: ignore[misc]
        return report.unpublished

    def turn_over(
        self, account: Account, turning: Sequence[Mapping[TallyKey, PendingEvents]], now: int
    ) -> FoldReport:
        """Have the rollups follow where another edition of tallies is read now.

        Each mapping has the tallies that take each other's place: what was read of a charge leaves the rollups in
        the transaction in which what is read now comes in, if one transaction takes both.
        """
        report = FoldReport()
        ids = {key.subscription_id for works in turning for key in works}
        self._standing, _ = standing_of(self.table, account, ids, now)
        for some in batched(turning, _TALLIES_AT_ONCE // 2, strict=False):
            works = {key: work for each in some for key, work in each.items()}
            opened = {each.tally.key: each for each in self._open(works, {key: [] for key in works}, now)}
            for each in some:
                if not self._turned_together([opened[key] for key in each], each, now):
                    for key, work in each.items():
                        self._finish(key, work, [], now, report)
        return report

    def _turned_together(
        self, opened: Sequence[TallyUpdate], works: Mapping[TallyKey, PendingEvents], now: int
    ) -> bool:
        """Write tallies in one transaction; return False, nothing written, if it does not take them."""
        ready: list[_Ready] = []
        try:
            for each in opened:
                change = self._change(each, now)
                if change is not None and change.stale:
                    return False
                if change is not None:
                    ready.append(self._ready(each.tally.key, works[each.tally.key], change))
            packs = list(packed(ready, _needs))
            if len(packs) > 1:
                return False
            for pack in packs:
                self._write(pack)
        except (ConflictError, WriteRefusedError):
            return False
        return True

    def _roll(self, account: Account, found: Iterable[Key], now: int, report: FoldReport) -> int:
        rows = self.table.batch_get(found, consistent=True)
        # The index may be older than the item.
        tallies = [
            unpack_tally_key(row)
            for row in rows.values()
            if text(row, "due_at") and text(row, "due_at") <= key_instant(now)
        ]
        return self._publish(account, tallies, now, report)

    def _publish(self, account: Account, tallies: Sequence[TallyKey], now: int, report: FoldReport) -> int:
        held = self._subscriptions(account, tallies, now)
        charges = {key: charge_of(held[key.subscription_id], key) for key in tallies}
        # A tally of an edition that is not read any more is left to whoever has the rollups follow.
        works = {key: PendingEvents(charge) for key, charge in charges.items() if charge is not None}
        self._fold_all(works, now, report)
        return len(works)

    @staticmethod
    def _until_unchanged(do: Callable[[], int]) -> int:
        """Do something again until the catalogue does not change meanwhile."""
        for _ in range(_ATTEMPTS):
            try:
                return do()
            except CatalogueChangedError:
                continue
        raise StoreUnavailableError("the catalogue changes all the time")

    def _subscriptions(
        self, account: Account, tallies: Iterable[TallyKey], now: int
    ) -> dict[str, Subscription]:
        ids = dict.fromkeys(key.subscription_id for key in tallies)
        self._standing, held = standing_of(self.table, account, ids, now)
        if missing := ids.keys() - held.keys():
            raise UnknownSubscriptionError(min(missing))
        return held

    def _fold_all(self, works: Mapping[TallyKey, PendingEvents], now: int, report: FoldReport) -> None:
        waiting = dict(works)
        while waiting:
            wave = dict(islice(waiting.items(), _TALLIES_AT_ONCE))
            batches = {key: events_that_fit(work.charge, work.events) for key, work in wave.items()}
            self._fold_wave(wave, batches, now, report)
            for key, work in wave.items():
                work.events = work.events[len(batches[key]) :]
                if not work.events:
                    del waiting[key]

    def _fold_wave(
        self,
        works: Mapping[TallyKey, PendingEvents],
        batches: Mapping[TallyKey, list[Counted]],
        now: int,
        report: FoldReport,
    ) -> None:
        """Write the tallies that fit together in one transaction, and the others one by one."""
        alone: list[TallyKey] = []
        together: list[_Ready] = []
        for opened in self._open(works, batches, now):
            key = opened.tally.key
            try:
                change = self._change(opened, now)
            except WriteRefusedError:
                alone.append(key)
                continue
            if change is None:
                continue
            if change.stale or change.unfinished:
                alone.append(key)
            else:
                together.append(self._ready(key, works[key], change))
        for pack in packed(together, _needs):
            try:
                self._write(pack)
            except (ConflictError, WriteRefusedError):
                alone += [ready.key for ready in pack]
        for key in alone:
            self._finish(key, works[key], batches[key], now, report)

    def _finish(
        self, key: TallyKey, work: PendingEvents, batch: list[Counted], now: int, report: FoldReport
    ) -> None:
        """Bring one tally up to date, in as many transactions as needed, even if others write to it."""
        conflicts = 0
        while conflicts < _ATTEMPTS:
            (opened,) = self._open({key: work}, {key: batch}, now)
            try:
                change = self._change(opened, now)
                if change is None:
                    return
                self._write([self._ready(key, work, change)])
            except ConflictError:
                conflicts += 1
                continue
            except WriteRefusedError as refused:
                self._finish_halves(key, work, opened.unseen, now, report, refused)
                return
            if change.unfinished:
                # What is done is below the tally's position now.
                continue
            if not change.stale:
                return
            # The events are counted. The rest is to be published, from the charge on that the head names.
            batch = []
        raise StoreUnavailableError("a tally is contended")

    def _finish_halves(
        self,
        key: TallyKey,
        work: PendingEvents,
        batch: list[Counted],
        now: int,
        report: FoldReport,
        refused: WriteRefusedError,
    ) -> None:
        """Find the events that the table does not take, quarantine them, and count the others."""
        match batch:
            case []:
                report.unpublished.append(f"{key.subscription_id}, meter {key.meter_id}: {refused}")
            case [counted]:
                reason = f"meter {work.charge.meter.code}: the table would not take it: {refused}"
                self.quarantine(counted.position, reason)
                report.uncounted.append((counted.position, reason))
            case _:
                middle = len(batch) // 2
                self._finish(key, work, batch[:middle], now, report)
                self._finish(key, work, batch[middle:], now, report)

    def _change(self, opened: TallyUpdate, now: int) -> TallyTransaction | None:
        try:
            return opened.change(now, self.writer, self.forget)
        except ArithmeticError as error:
            # The result has more digits than the context holds. Another attempt would fail in the same way.
            raise WriteRefusedError(f"a number is out of range: {type(error).__name__}") from error

    def _open(
        self, works: Mapping[TallyKey, PendingEvents], batches: Mapping[TallyKey, list[Counted]], now: int
    ) -> list[TallyUpdate]:
        return read_tallies(self.table, self.organization_id, self.generation, works, batches, now)

    def _ready(self, key: TallyKey, work: PendingEvents, change: TallyTransaction) -> "_Ready":
        counted = work.latest if change.counts else {}, work.charge.subscription.customer_id, change.begins
        return _Ready(key, change, counted, list(self._standing.guarded(*counted)))

    def _write(self, pack: Sequence["_Ready"]) -> None:
        rollups: dict[Key, RollupChange] = {}
        for ready in pack:
            for several, days in ready.change.rollups.items():
                for key in several:
                    into = rollups.setdefault(key, {})
                    for day, worth in days.items():
                        into[day] = add_amounts(into[day], worth) if day in into else worth
        # What an earlier transaction has noted of their subjects is expected by now.
        guards = merged(guard for ready in pack for guard in self._standing.guards(*ready.counted)).values()
        actions: list[Action] = [guard.action(self.table) for guard in guards]
        actions += [action for ready in pack for action in ready.change.actions]
        accepted = max(ready.change.accepted for ready in pack)
        additions = (addition(self.table.name, key, days, accepted) for key, days in rollups.items())
        actions += [action for action in additions if action is not None]
        try:
            self.table.transact(actions)
        except ConflictError:
            if guards:
                self._standing.look_again()
            raise
        self._standing.wrote(guards)


class _Ready(NamedTuple):
    """A tally's change that is ready to be written.

    ``counted`` says what the conditions on the catalogue depend on, under which it is written (see
    `Standing.guards`), and ``guarded`` has the items that they are on.
    """

    key: TallyKey
    change: TallyTransaction
    counted: tuple[Mapping[Subject, int], str, int | None]
    guarded: list[Key]


def _needs(ready: _Ready) -> Needs:
    """Return the room that a tally's change needs in a transaction.

    Several changes may share rollups, and conditions on the catalogue.
    """
    shared: set[Hashable] = set(ready.guarded).union(*ready.change.rollups)
    return Needs(len(ready.change.actions), ready.change.size, shared)


def addition(table: str, key: Key, days: RollupChange, accepted: int) -> Action | None:
    """Return the action that adds to a rollup; None if the sum to add is zero, as with +5 and -5.

    Units are added as two numbers (see `in_two`), so that no engine adds more digits than it keeps. ``accepted``
    is when the newest event that is added came in; 0 if there is none. The index is told of rollups that are to be
    merged with that of the first writer (see `merging`).
    """
    terms: list[str] = []
    sets: list[str] = []
    values: dict[str, dict[str, str]] = {}
    for number in sorted(days):
        units, cents = days[number]
        for letter, value in zip("ufa", (*in_two(units), cents), strict=True):
            if value:
                name = f"{letter}{number:02}"
                terms.append(f"{name} :{name}")
                values[f":{name}"] = {"N": str(value)}
    if not terms:
        return None
    if accepted:
        sets.append("acc = :acc")
        values[":acc"] = {"N": str(accepted)}
    if place := keys.to_be_merged(key):
        sets.append("due_pk = :due, due_at = :at")
        values |= {":due": {"S": place[0]}, ":at": {"S": place[1]}}
    return {
        "Update": {
            "TableName": table,
            "Key": {"pk": {"S": key.pk}, "sk": {"S": key.sk}},
            "UpdateExpression": (f"SET {', '.join(sets)} ADD " if sets else "ADD ") + ", ".join(terms),
            "ExpressionAttributeValues": values,
        }
    }

"""A run of an import: it logs a batch, saves the unmatched events, counts the others, and moves the record on.

Unmatched events are saved before the batch is folded, since a tally whose position has moved past an event would
take the event for counted. The replay counts them later. Once an event is unmatched, the import does not count it
any more, even if a stopped import comes back to it when a line item is there. The item stays for as long as that
may happen.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.subjects import Standing, Subjects
from meterstone.store.counting.fold import EventToCount, Fold, Unread
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import CatalogueChangedError
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Action, ConflictError, Item, Table, integer, key_item, text
from meterstone.store.events.log import AppendResult, EventLog, ImportedEvent
from meterstone.store.events.positions import ImportShard
from meterstone.store.events.uncounted import UnreadableEvent, keep_unreadable, put_unmatched, why
from meterstone.store.events.unmatched import UnmatchedEvent, unmatched_event_of, unmatched_item
from meterstone.store.operations.import_records import ImportRecord, Records, Source
from meterstone.usage.arrival import Subject
from meterstone.usage.receipt import OF_ITSELF, Reason, told, why_unmatched
from meterstone.usage.subscription import Subscription
from meterstone.usage.tally import Position

_ATTEMPTS = 5
MOST_NAMED = 20
"""How many of the events that count nowhere are listed by line."""


class AcceptedEvent(NamedTuple):
    """An event that is in the log, under its position there.

    ``before`` says that it was in the log before this run, so that it may have been saved as unmatched.
    """

    entry: ImportedEvent
    before: bool


class NotCounted(NamedTuple):
    """An imported event that counts nowhere: its line, its id, why, and which meter cannot read it."""

    line: int
    id: str
    reason: str
    detail: str


@dataclass(slots=True)
class Counts:
    """How many events count somewhere, and how many of the others wait for a line item.

    ``uncounted`` says by line which meters cannot read an event, and why, even if another meter counts it.
    ``nowhere`` has the number of events that count nowhere, by reason, and ``first`` lists the first of them.
    """

    counted: int = 0
    unmatched: int = 0
    uncounted: list[tuple[int, str]] = field(default_factory=list)
    nowhere: Counter[str] = field(default_factory=Counter)
    first: list[NotCounted] = field(default_factory=list)

    @property
    def faulty(self) -> int:
        """How many events count nowhere because of themselves."""
        return sum(count for reason, count in self.nowhere.items() if reason in OF_ITSELF)

    def note(self, found: NotCounted) -> None:
        """Note an event that counts nowhere."""
        self.nowhere[found.reason] += 1
        if len(self.first) < MOST_NAMED:
            self.first.append(found)

    def add(self, other: "Counts") -> None:
        """Add the numbers of further events."""
        self.counted += other.counted
        self.unmatched += other.unmatched
        self.uncounted += other.uncounted
        self.nowhere += other.nowhere
        self.first += other.first[: MOST_NAMED - len(self.first)]


class ImportRun:
    """A run of an import, into the live generation. When another run begins, its calls raise `BusyError`."""

    def __init__(
        self, table: Table, account: Account, record: ImportRecord, records: Records, now: int
    ) -> None:
        """Go on with a run that has begun. ``records`` are those of all imports, as they were before."""
        self.record = record
        self.records = records
        self._table = table
        self._account = account
        self._organization_id = account.organization.id
        self._now = now
        self._log = EventLog(table, self._organization_id, record.guard(table, self._organization_id))
        self._subjects = Subjects(table)
        self._standing = Standing(table, now)
        self._fold = Fold(table, self._organization_id, account.generation)
        self._fold.forget = records.settled_shards()
        #: The batch that was counted last, until the record has moved past it.
        self._counted: Sequence[AcceptedEvent] = ()

    @classmethod
    def begin(cls, table: Table, organization_id: str, source: Source, now: int) -> Self | None:
        """Begin a run of a source's import. Return None if the source was read to its end before.

        Raises `BusyError` while a rebuild runs.
        """
        records = Records.read(table, organization_id)
        before = records.find(source, now)
        if before.done:
            return None
        _account_beside_no_rebuild(table, organization_id)
        # A recount that reads the log has seen all imports, or finds that another has begun.
        table.update(keys.organization(organization_id, "profile"), "ADD runs :one", {":one": {"N": "1"}})
        record = before._replace(source=source, at=now, run=before.run + 1).write(table, organization_id)
        # If a rebuild begins at the same time, either this run sees the rebuild, or the rebuild sees this import.
        account = _account_beside_no_rebuild(table, organization_id)
        return cls(table, account, record, records, now)

    def look_up(self, subjects: Iterable[Subject]) -> None:
        """Go on with the present catalogue, as far as it concerns some subjects.

        Cost: 1 query, and that of `Subjects.standing`. Raises `BusyError` while a catalogue of stored format 1 is
        being written, or if it was not to its end.
        """
        self._account = _account_beside_no_rebuild(self._table, self._organization_id)
        refuse_half_a_catalogue(self._account)
        self._standing = self._subjects.standing(self._account, subjects, self._now)

    def subscriptions(self, subject: Subject) -> list[Subscription]:
        """Return the subscriptions of a subject that was looked up."""
        return self._standing.subscriptions(subject)

    def append(self, entries: Sequence[ImportedEvent]) -> list[AppendResult]:
        """Log events (see `EventLog.append`)."""
        try:
            return self._log.append(entries)
        except ConflictError as error:
            raise self.record.taken_over() from error

    def logged_before(self, entries: Iterable[ImportedEvent]) -> dict[int, Position]:
        """Return the lines of those of some events that an earlier run has logged, each with its position there.

        They are in the log, whatever the catalogue says of them by now. Cost: 1 consistent get each, in batches,
        if there was an earlier run.
        """
        if self.record.run == 1:
            return {}
        keyed = {keys.event(self._organization_id, *each.subject, each.event.id): each for each in entries}
        own = ImportShard.read(self.record.shard).content
        found: dict[int, Position] = {}
        for key, row in self._table.batch_get(keyed, consistent=True).items():
            shard, line = text(row, "shard"), keyed[key].position.number
            mine = bool(shard) and ImportShard.read(shard).content == own
            if mine and integer(row, "seq") == line and not self.records.settled(shard):
                found[line] = Position(shard, line)
        return found

    def count(self, taken: Sequence[AcceptedEvent]) -> Counts:
        """Save the events as unmatched that no line item is for yet, and count the others, each once.

        The events of a shard must come in the order of their positions, and none may be left out. If the catalogue
        changes meanwhile, the events are matched again. Raises `BusyError` if it changes all the time.
        """
        for _ in range(_ATTEMPTS):
            self.look_up(each.entry.subject for each in taken)
            self._refuse_another_run()
            self._counted = [each._replace(before=True) for each in taken]
            with suppress(CatalogueChangedError):
                return self._count(taken)
            # This attempt may have saved some of them as unmatched. By another catalogue they would count.
            taken = [each._replace(before=True) for each in taken]
        raise BusyError("the catalogue changes all the time: run this again")

    def _refuse_another_run(self) -> None:
        """Raise `BusyError` if another run has begun: it may have saved events as unmatched that count since then.

        This is asked when the catalogue was read. A run that begins later and saves an event as unmatched does so
        by the same catalogue, or by a later one. Then nothing counts by this one any more.

        Cost: 1 consistent get.
        """
        key = keys.imported(self._organization_id, self.record.source.digest)
        row = self._table.get(key, consistent=True)
        if row is None or integer(row, "run") != self.record.run:
            raise self.record.taken_over()

    def _count(self, taken: Sequence[AcceptedEvent]) -> Counts:
        known = self._known(each.entry for each in taken if each.before)
        logged: list[EventToCount] = []
        unmatched: list[ImportedEvent] = []
        entries: dict[Position, ImportedEvent] = {}
        for entry, _ in taken:
            if self._key(entry) in known:
                continue
            owning = self._standing.owning(entry.subject, entry.event)
            if self._fold.expects(entry.event, owning):
                logged.append(EventToCount(entry.position, entry.subject, entry.event, owning))
                entries[entry.position] = entry
            else:
                unmatched.append(entry)
        self._keep_unmatched(unmatched)
        self._fold.keep_unread = lambda unread: keep_unreadable(
            self._table,
            self._organization_id,
            (self._unreadable(entries[each.position], each) for each in unread),
            self._standing,
        )
        folded = self._fold.fold(logged, self._now, self._standing)
        waiting = [each for each in known.values() if not each.done]
        counts = Counts(
            folded.counted + len(known) - len(waiting),
            len(waiting) + len(unmatched),
            [(position.number, reason) for position, reason in folded.uncounted],
        )
        lines = {self._key(each.entry): each.entry.position.number for each in taken}
        nowhere = [
            *(
                NotCounted(lines[each.key], each.event.id, why(each.row) or Reason.LINE_ITEM, "")
                for each in waiting
            ),
            *(NotCounted(each.position.number, each.event.id, self._reason(each), "") for each in unmatched),
            *(
                NotCounted(each.position.number, each.event.id, Reason.VALUE, told(each.faults))
                for each in folded.unread
                if not each.elsewhere
            ),
        ]
        for each in sorted(nowhere):
            counts.note(each)
        return counts

    def move(self, record: ImportRecord) -> None:
        """Write how far the import has come, if no other edition of a tally is read since the batch was counted.

        If one is, the batch is counted again: what was counted before that is at or below the tallies' positions.
        """
        for _ in range(_ATTEMPTS):
            flips = self._account.flips
            try:
                self.record = record.write(self._table, self._organization_id, [self._flips(flips)])
            except BusyError:
                account = _account_beside_no_rebuild(self._table, self._organization_id)
                if account.flips == flips:
                    raise
                self.count(self._counted)
                # A batch without events is looked up by nobody.
                self._account = account if not self._counted else self._account
                continue
            # A recount reads the lines up to the one that the record names: these are not counted again.
            self._counted = ()
            return
        raise BusyError("the catalogue changes all the time: run this again")

    def _flips(self, flips: int) -> Action:
        check: Action = {
            "TableName": self._table.name,
            "Key": key_item(keys.organization(self._organization_id, "profile")),
            "ConditionExpression": "flips = :flips" if flips else "attribute_not_exists(flips)",
        }
        if flips:
            check["ExpressionAttributeValues"] = {":flips": {"N": str(flips)}}
        return {"ConditionCheck": check}

    def roll(self) -> None:
        """Publish what the clock has changed."""
        self._fold.roll(self._account, self._now)

    def _known(self, entries: Iterable[ImportedEvent]) -> dict[Key, UnmatchedEvent]:
        """Return the events that were saved as unmatched before. Cost: 1 read unit for each event."""
        found = self._table.batch_get(map(self._key, entries), consistent=True)
        return {key: unmatched_event_of(row) for key, row in found.items()}

    def _keep_unmatched(self, entries: Iterable[ImportedEvent]) -> None:
        """Save events as unmatched, if no other run has begun and the catalogue has not changed since it was read.

        A replay that has tried all unmatched events of a subject does not try them again until the subject has
        another version. So events that are saved after it must be unmatched by that version.
        """
        guards = [self.record.guard(self._table, self._organization_id)]
        guarded = [
            (self._unmatched_item(each), self._standing.unmatched_guard(each.subject)) for each in entries
        ]
        try:
            put_unmatched(self._table, self._organization_id, guarded, guards)
        except ConflictError as error:
            source = self.record.source
            last = Records.read(self._table, self._organization_id).find(source, self._now)
            if last.run != self.record.run:
                raise self.record.taken_over() from error
            raise CatalogueChangedError("the catalogue has changed meanwhile") from error

    def _unmatched_item(self, entry: ImportedEvent) -> Item:
        item = self._log.item(entry)
        return unmatched_item(self._organization_id, entry.subject, item, self._now, self._reason(entry))

    def _reason(self, entry: ImportedEvent) -> Reason:
        held = self.subscriptions(entry.subject)
        return why_unmatched(entry.event, entry.subject, self._account.meters, held)

    def _unreadable(self, entry: ImportedEvent, unread: Unread) -> UnreadableEvent:
        return UnreadableEvent.of(
            entry.subject, entry.event, self._now, unread.faults, elsewhere=unread.elsewhere
        )

    def _key(self, entry: ImportedEvent) -> Key:
        return keys.unmatched(self._organization_id, *entry.subject, entry.event.id)


def refuse_half_a_catalogue(account: Account) -> None:
    """Raise `BusyError` if a catalogue of stored format 1 is being written, or was not to its end."""
    if account.loading_at is not None:
        raise BusyError("the catalogue is being written, or was not to its end: load it again first")


def _account_beside_no_rebuild(table: Table, organization_id: str) -> Account:
    account = read_account(table, organization_id, consistent=True)
    if account is None or account.next is not None:
        raise BusyError(
            "a rebuild is running, or was stopped: import when it is through, or given up (rebuild --abandon)"
        )
    return account

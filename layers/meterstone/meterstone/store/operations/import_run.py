"""A run of an import: what it has logged, it puts by or counts, and it moves the import's record past it.

Before a batch's events are folded, those that nobody's line item is for are put by, for `replay` to count. In this
order: a tally that has gone past an event would take it for counted. An event that was put by is not counted from
here any more, whatever the catalogue has by the time that a stopped import comes back to it; its item stays as
long as one may.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.subjects import Subjects
from meterstone.store.counting.fold import EventToCount, Fold
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import ConflictError, Item, Table
from meterstone.store.events.log import AppendResult, EventLog, ImportedEvent, put_together
from meterstone.store.events.unmatched import UnmatchedEvent, unmatched_event_of, unmatched_item
from meterstone.store.operations.import_records import ImportRecord, Records, Source
from meterstone.usage.arrival import Subject
from meterstone.usage.subscription import Subscription


class AcceptedEvent(NamedTuple):
    """An event that is in the log, under its position there, with the subscriptions that hold its time.

    ``before`` tells that it was in the log before: it may have been put by.
    """

    entry: ImportedEvent
    owning: Sequence[Subscription]
    before: bool


@dataclass(slots=True)
class Counts:
    """What became of events: how many a line item is for, how many wait for one, and which lines count nowhere."""

    counted: int = 0
    unmatched: int = 0
    uncounted: list[tuple[int, str]] = field(default_factory=list)


class ImportRun:
    """A run of an import, into the live generation. Another run ends it: what it does then raises `BusyError`."""

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
        self._fold = Fold(table, self._organization_id, account.generation)
        self._fold.forget = records.settled_shards()

    @classmethod
    def begin(cls, table: Table, organization_id: str, source: Source, now: int) -> Self | None:
        """Begin a run of a source's import; None if it was read to its end.

        Raises `BusyError` while a rebuild runs.
        """
        records = Records.read(table, organization_id)
        before = records.find(source, now)
        if before.done:
            return None
        _account_beside_no_rebuild(table, organization_id)
        record = before._replace(source=source, at=now, run=before.run + 1).write(table, organization_id)
        # A rebuild that has begun meanwhile is seen here, or has seen that this import is not through.
        account = _account_beside_no_rebuild(table, organization_id)
        return cls(table, account, record, records, now)

    def look_again(self) -> None:
        """Go on with the catalogue as it is now. Cost: 1 query."""
        self._account = _account_beside_no_rebuild(self._table, self._organization_id)

    def subscriptions(self, subject: Subject) -> list[Subscription]:
        """Give the subscriptions of a subject."""
        return self._subjects.subscriptions(self._account, subject)

    def append(self, entries: Sequence[ImportedEvent]) -> list[AppendResult]:
        """Log events (see `EventLog.append`)."""
        try:
            return self._log.append(entries)
        except ConflictError as error:
            raise self.record.taken_over() from error

    def count(self, taken: Sequence[AcceptedEvent]) -> Counts:
        """Put by what no line item is for yet, and count the others, each for once.

        Of one shard they come in the order of their positions, and none is left out. Raises `BusyError` if the
        catalogue has changed since their subscriptions were looked up.
        """
        self._subjects.agree_or_busy(self._account)
        known = self._known(each.entry for each in taken if each.before)
        logged: list[EventToCount] = []
        unmatched: list[ImportedEvent] = []
        for entry, owning, _ in taken:
            if self._key(entry) in known:
                continue
            if self._fold.expects(entry.event, owning):
                logged.append(EventToCount(entry.position, entry.event, owning))
            else:
                unmatched.append(entry)
        self._keep_unmatched(unmatched)
        folded = self._fold.fold(logged, self._now, self._account.version)
        waiting = sum(not each.done for each in known.values()) + len(unmatched)
        return Counts(
            len(taken) - waiting,
            waiting,
            [(position.number, reason) for position, reason in folded.uncounted],
        )

    def move(self, record: ImportRecord) -> None:
        """Write how far the import has come."""
        self.record = record.write(self._table, self._organization_id)

    def roll(self) -> None:
        """Publish what the clock has brought."""
        self._fold.roll(self._now)

    def _known(self, entries: Iterable[ImportedEvent]) -> dict[Key, UnmatchedEvent]:
        """Give the events that were put by before. Cost: 1 read unit for each event."""
        found = self._table.batch_get(map(self._key, entries), consistent=True)
        return {key: unmatched_event_of(row) for key, row in found.items()}

    def _keep_unmatched(self, entries: Iterable[ImportedEvent]) -> None:
        guard = self.record.guard(self._table, self._organization_id)
        try:
            put_together(self._table, enumerate(map(self._unmatched_item, entries)), guard)
        except ConflictError as error:
            raise self.record.taken_over() from error

    def _unmatched_item(self, entry: ImportedEvent) -> Item:
        return unmatched_item(self._organization_id, entry.subject, self._log.item(entry), self._now)

    def _key(self, entry: ImportedEvent) -> Key:
        return keys.unmatched(self._organization_id, *entry.subject, entry.event.id)


def _account_beside_no_rebuild(table: Table, organization_id: str) -> Account:
    account = read_account(table, organization_id, consistent=True)
    if account is None or account.next is not None:
        raise BusyError(
            "a rebuild is running, or was stopped: import when it is through, or given up (rebuild --abandon)"
        )
    return account

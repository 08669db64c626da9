"""Importing usage: events into the log, from the log into the counters, each once however often it is stopped.

Each run of an import is a shard of its own, named after the content and the run. An event's position is its line.
A batch is first logged, then saved as unmatched or folded, then the import's record moves past it.

If an import is stopped and run again, the log knows the events of the unfinished batch as this import's own. They
are folded again under the positions of the run that logged them. Tallies that have counted them have stored the
same or later positions, so no event counts twice. An event that an earlier run refused, and this run takes, has a
position in this run's shard, where no later line was counted.

An import whose file is lost is closed: the events that it has logged after its record's line are counted from the
log, in the same way. If the file is found, the import goes on after the record's line. Events that are logged by
then are duplicates.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import batched
from typing import NamedTuple

from meterstone.store.catalogue.accounts import Account
from meterstone.store.counting.fold import Fold
from meterstone.store.dynamodb.table import Table
from meterstone.store.events.log import AppendResult, ImportedEvent, read_log
from meterstone.store.events.positions import ImportShard
from meterstone.store.operations.generations import Generations
from meterstone.store.operations.import_records import ImportRecord, Records, Source
from meterstone.store.operations.import_run import AcceptedEvent, Counts, ImportRun
from meterstone.usage.arrival import AHEAD, LARGEST_EVENT, Outcome, Subject, content, too_large
from meterstone.usage.meter import Event
from meterstone.usage.receipt import Reason
from meterstone.usage.subscription import Subscription
from meterstone.usage.tally import Position

__all__ = ["Closed", "ImportReport", "Importer", "RejectedLine", "Source", "SourceLine", "close_import"]

_BATCH = 5000


class SourceLine(NamedTuple):
    """A line of a source: its number, the subject, and the event."""

    line: int
    subject: Subject
    event: Event


class RejectedLine(NamedTuple):
    """A line of a source that is no event: its number. It is put aside, and the import only notes how many are."""

    line: int


@dataclass(slots=True)
class ImportReport:
    """The result of an import.

    ``counts`` is about the new events: how many count, and why the others do not. ``refused`` has the number of
    events that were not taken, since no subscription holds them, by reason. ``duplicates`` is the number of events
    that were logged before with the same content. ``resumed_after`` is the line up to which an earlier run had
    come. ``finished_before`` says that the whole source was imported before. It was then not read again, and only
    the changes of the clock were published. ``faulty_before`` is then the number of its lines that were put aside,
    or that counted nowhere because of themselves.
    """

    counts: Counts = field(default_factory=Counts)
    refused: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    resumed_after: int = 0
    finished_before: bool = False
    faulty_before: int = 0

    @property
    def counted(self) -> int:
        """How many new events count somewhere."""
        return self.counts.counted

    @property
    def unmatched(self) -> int:
        """How many new events wait for a line item."""
        return self.counts.unmatched

    @property
    def taken(self) -> int:
        """How many events are new."""
        return self.counts.counted + self.counts.nowhere.total()

    @property
    def nowhere(self) -> Counter[str]:
        """How many new events count nowhere, by reason."""
        return self.counts.nowhere

    @property
    def uncounted(self) -> list[tuple[int, str]]:
        """Which meters cannot read an event, and why, by its line."""
        return self.counts.uncounted


class Importer:
    """Imports usage of one organization."""

    def __init__(self, table: Table, account: Account) -> None:
        """Write to a table, into the account's live generation."""
        self._table = table
        self._account = account

    def run(
        self,
        source: Source,
        given: Iterable[SourceLine | RejectedLine],
        now: int,
        refuse: Callable[[int, SourceLine, str], None],
    ) -> ImportReport:
        """Import a source's events in the order of their lines. `refuse` is called with those that are not logged.

        Raises `BusyError` while a rebuild runs, and when another run of the same import begins meanwhile.
        """
        organization_id = self._account.organization.id
        run = ImportRun.begin(self._table, organization_id, source, now)
        if run is None:
            Fold(self._table, organization_id, self._account.generation).roll(self._account, now)
            before = Records.read(self._table, organization_id).find(source, now)
            return ImportReport(finished_before=True, faulty_before=before.faulty)
        report = ImportReport(resumed_after=run.record.line)
        new = (each for each in given if each.line > report.resumed_after)
        for batch in batched(new, _BATCH, strict=False):
            lines = [each for each in batch if isinstance(each, SourceLine)]
            run.look_up(each.subject for each in lines)
            refused, counts = _import(run, lines, now, report)
            for each, reason in refused:
                refuse(each.line, each, reason)
            faulty = len(batch) - len(lines) + len(refused) + counts.faulty
            run.move(run.record._replace(line=batch[-1].line, faulty=run.record.faulty + faulty))
        # The import is finished first: it must not wait for a tally whose worth the rollups do not take.
        run.move(run.record._replace(done=True))
        run.roll()
        return report


class Closed(NamedTuple):
    """The result of closing an import: its record, and the counts of events logged after the record's line."""

    record: ImportRecord
    counts: Counts


def close_import(table: Table, organization_id: str, source: Source, now: int) -> Closed | None:
    """Count the events that an import has logged and not counted, and close it; None if it was read to its end.

    Raises `BusyError` while a rebuild runs. If it is stopped, it can be called again. Cost: reads the whole log.
    """
    run = ImportRun.begin(table, organization_id, source, now)
    if run is None:
        return None
    imported = ImportShard.read(run.record.shard).content
    taken: list[AcceptedEvent] = []
    last = run.record.line
    for subject in Generations(table, organization_id).subjects():
        for held in read_log(table, organization_id, subject):
            at = held.position
            if at is None or ImportShard.read(at.shard).content != imported or run.records.settled(at.shard):
                continue
            last = max(last, at.number)
            # Withdrawn events count nowhere. Events up to the record's line are counted.
            if at.number > run.record.line and not held.withdrawn:
                taken.append(AcceptedEvent(ImportedEvent(at, subject, held.event), before=True))
    counts = run.count(sorted(taken, key=lambda each: each.entry.position))
    faulty = run.record.faulty + counts.faulty
    run.move(run.record._replace(closed=run.record.run, taken=last, faulty=faulty))
    run.roll()
    return Closed(run.record, counts)


def _import(
    run: ImportRun, batch: Sequence[SourceLine], now: int, report: ImportReport
) -> tuple[list[tuple[SourceLine, str]], Counts]:
    """Log and count a batch. Return the lines that were refused, with the reasons, and the others' counts."""
    refused: list[tuple[SourceLine, str]] = []
    let_in: list[tuple[SourceLine, ImportedEvent]] = []
    for each in batch:
        held = run.subscriptions(each.subject)
        owning = [subscription for subscription in held if subscription.span.holds(each.event.at)]
        reason = _refusal(each, held, owning, now)
        if not owning:
            report.refused[_nobody(each.subject) if not held else Reason.TIME] += 1
        if reason is None:
            position = Position(run.record.shard, each.line)
            let_in.append((each, ImportedEvent(position, each.subject, each.event)))
        else:
            refused.append((each, reason))
    # What an earlier run has logged is taken, though no subscription may hold its time any more.
    shard = run.record.shard
    entries = {
        each.line: ImportedEvent(Position(shard, each.line), each.subject, each.event) for each, _ in refused
    }
    known = run.logged_before(entries.values())
    refused = [(each, reason) for each, reason in refused if each.line not in known]
    taken = [AcceptedEvent(entries[line]._replace(position=at), before=True) for line, at in known.items()]
    outcomes = run.append([entry for _, entry in let_in])
    for (each, entry), appended in zip(let_in, outcomes, strict=True):
        found = _found(run, entry, appended)
        if isinstance(found, str):
            refused.append((each, found))
        elif found is None:
            report.duplicates += 1
        else:
            before = appended.outcome is not Outcome.NEW
            taken.append(AcceptedEvent(entry._replace(position=found), before))
    counts = run.count(sorted(taken, key=lambda each: each.entry.position.number))
    report.counts.add(counts)
    return refused, counts


def _found(run: ImportRun, entry: ImportedEvent, appended: AppendResult) -> Position | str | None:
    """Return the position under which the run counts an event, or a reason to reject it; None for a duplicate."""
    at = appended.position
    if appended.outcome is Outcome.CONFLICT:
        return "another event has this transaction id"
    if at is None or run.records.settled(at.shard):
        return (
            None  # The event came over HTTP and is counted by the stream, or an import has finished with it.
        )
    if ImportShard.read(at.shard).content == ImportShard.read(entry.position.shard).content:
        return at if at.number == entry.position.number else None
    owner = run.records.owner(at.shard)
    return None if owner is None else f"belongs to an import that was stopped: run {owner.source.name} again"


def _nobody(subject: Subject) -> Reason:
    return Reason.SUBSCRIPTION if subject.kind == "s" else Reason.CUSTOMER


def _refusal(
    given: SourceLine, held: Sequence[Subscription], owning: Sequence[Subscription], now: int
) -> str | None:
    if not held:
        kind = "subscription" if given.subject.kind == "s" else "subscription of the customer"
        return f"there is no {kind} {given.subject.external_id!r}"
    if not owning:
        return "the subscription does not hold this time"
    if given.event.at > now + AHEAD:
        return "lies more than 5 minutes ahead"
    if too_large(content(given.event)):
        return f"is larger than {LARGEST_EVENT} bytes"
    return None

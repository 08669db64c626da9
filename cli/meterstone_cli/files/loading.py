"""Bringing files into a store: a catalogue, usage, the demo."""

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from copy import replace
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meterstone import clock
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.imports import Importer, ImportReport, RejectedLine, Source, SourceLine
from meterstone.store.operations.load import have_events, have_usage, read_documents
from meterstone.store.operations.rebuild import Surroundings, make_way
from meterstone.usage.arrival import Subject
from meterstone.usage.subscription import Subscription
from meterstone_cli.catalogue import Beginning, Catalogue, Changes, Places, compare, read_catalogue
from meterstone_cli.catalogue.stored import catalogue_of, half_written, write_stored
from meterstone_cli.files.demo import sources
from meterstone_cli.files.usage_files import (
    Aside,
    BadRow,
    UnreadableUsageError,
    UsageEvent,
    read_usage,
    row_of,
    sha256,
)
from meterstone_cli.problem import InputProblem, InputRefusedError
from meterstone_cli.progress import follow
from meterstone_cli.session import known_account, refuse_a_wrong_clock

#: How many digits of a file's digest name its import.
DIGITS: Final = 16
_STOPPED: Final = (
    "what stands before is counted, and the import is open: to go on with a whole file, first close this import "
    "(meterstone imports --close {digest}), then import that file: no event is counted twice"
)

#: Is told of a row that the store does not take: its line, its event, and why.
type Refuse = Callable[[int, UsageEvent, str], None]


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of a file of usage: ``aside`` has the rows that were not taken, None if there are none."""

    events: ImportReport
    bad_rows: int = 0
    aside: Path | None = None

    @property
    def faulty(self) -> bool:
        """Whether rows were put aside or count nowhere because of themselves, now or in an earlier run."""
        return self.aside is not None or self.events.counts.faulty > 0 or self.events.faulty_before > 0


def load_catalogue(
    table: Table,
    catalogue: Catalogue,
    places: Places,
    now: int,
    around: Surroundings,
    *,
    recompute: bool = False,
) -> Changes:
    """Store what is new in a catalogue. Raises `InputRefusedError` before anything is written.

    `places` name the files of what is refused.

    Of what begins in the past, that is told for which events have come already. Problems, if there are any, are
    those of usage that was counted by the old one while the new one was being written, or may have been, as it
    lies behind a bound that came near meanwhile: a rebuild mends them.

    To `recompute` is to have all counted again afterwards, by `replay` and `rebuild`: more is taken then. Raises
    `BusyError` before anything is written if these cannot be run.
    """
    organization_id = catalogue.organization.id
    began = clock.now()
    documents = read_documents(table, organization_id)
    stored = None if documents is None else catalogue_of(documents)

    def counted(ids: AbstractSet[str]) -> set[str]:
        generation = known_account(table, organization_id).generation
        return have_usage(table, organization_id, generation, ids)

    def compared() -> Changes:
        later = now + max(clock.now() - began, 0)
        return compare(stored, catalogue, now=later, with_usage=counted, places=places)

    changes = compared()
    if refused := list(_refused(changes, recompute=recompute)):
        raise InputRefusedError(refused)
    if recompute:
        refuse_a_wrong_clock(table)
        if stored is not None:
            make_way(table, organization_id, around)
        changes = replace(changes, problems=(), beginnings=_with_events(table, organization_id, changes))
    if not changes.nothing or half_written(table, organization_id):
        write_stored(table, catalogue, documents)
        if not recompute:
            # Usage may have been counted by the old one since it was asked for, and lie ahead of the clock of now.
            later = compared()
            changes = replace(changes, problems=later.problems, beginnings=later.beginnings)
    if recompute:
        return changes
    return replace(changes, beginnings=_with_events(table, organization_id, changes))


def import_file(
    table: Table, organization_id: str, path: Path, now: int, aside_folder: Path | None = None
) -> FileReport:
    """Count a file's events, putting every row aside that is not one or that the store does not take.

    Raises `InputRefusedError` if the file cannot be read, or not to its end: what comes before that is counted.
    """
    aside_path = _free((aside_folder or path.parent) / f"{path.name}.aside.jsonl")
    with Aside(aside_path) as aside:

        def refuse(line: int, usage: UsageEvent, reason: str) -> None:
            aside.put(line, BadRow(reason, row_of(usage)))

        source = None
        try:
            rows = follow(path.name, read_usage(path, now))
            source = Source(path.name, sha256(path))
            report = import_events(table, organization_id, source, _sifted(rows, aside), now, refuse)
        except UnreadableUsageError as error:
            reasons = [str(error)]
            if source is not None:
                reasons.append(_STOPPED.format(digest=source.digest[:DIGITS]))
            if aside.count:
                reasons.append(f"{aside.count} rows were put aside in {aside_path}")
            raise InputRefusedError([InputProblem(str(path), "", reason) for reason in reasons]) from error
    return FileReport(report, aside.count, aside_path if aside.count else None)


def import_events(
    table: Table,
    organization_id: str,
    source: Source,
    events: Iterable[tuple[int, UsageEvent | BadRow]],
    now: int,
    refuse: Refuse,
) -> ImportReport:
    """Count events of a source, each with its line, each at most once for ever. Raises `BusyError`.

    Rows that are no events are put aside by the caller; the import notes how many there are.
    """
    refuse_a_wrong_clock(table)

    def lines() -> Iterator[SourceLine | RejectedLine]:
        for line, usage in events:
            if isinstance(usage, BadRow):
                yield RejectedLine(line)
            else:
                yield SourceLine(line, _subject(usage), usage.event)

    def refused(line: int, each: SourceLine, reason: str) -> None:
        by_subscription = each.subject.kind == "s"
        external_id = each.subject.external_id
        usage = UsageEvent(
            external_id if by_subscription else None, None if by_subscription else external_id, each.event
        )
        refuse(line, usage, reason)

    return Importer(table, known_account(table, organization_id)).run(source, lines(), now, refused)


def load_demo(
    table: Table, folder: Path, ends: int, now: int, around: Surroundings
) -> Iterator[tuple[str, ImportReport]]:
    """Load the demo's catalogue and usage, giving each source's report; `ends` is where the shifted ones end."""
    catalogue, places = read_catalogue(folder / "catalogue")
    load_catalogue(table, catalogue, places, now, around)
    for source in sources(folder / "usage", ends):
        events = follow(source.name, source.events(), source.rows)
        identity = Source(source.name, source.sha256)
        yield source.name, import_events(table, catalogue.organization.id, identity, events, now, _refuse)


def _refused(changes: Changes, *, recompute: bool) -> Iterator[InputProblem]:
    for problem in changes.problems:
        if problem not in changes.recomputable:
            yield problem
        elif not recompute:
            yield problem._replace(reason=f"{problem.reason}; --recompute takes it")


def _with_events(table: Table, organization_id: str, changes: Changes) -> tuple[Beginning, ...]:
    """Leave out what begins without any event that may have come."""
    subjects = {each.subscription.id: _subjects(each.subscription) for each in changes.beginnings}
    logged = have_events(table, organization_id, {each for several in subjects.values() for each in several})
    return tuple(each for each in changes.beginnings if not logged.isdisjoint(subjects[each.subscription.id]))


def _subjects(subscription: Subscription) -> tuple[Subject, Subject]:
    return Subject.subscription(subscription.external_id), Subject.customer(subscription.customer_id)


def _subject(usage: UsageEvent) -> Subject:
    if usage.subscription is not None:
        return Subject.subscription(usage.subscription)
    return Subject.customer(usage.customer or "")


def _refuse(line: int, usage: UsageEvent, reason: str) -> None:
    raise InputRefusedError([InputProblem(f"event {usage.event.id}", f"line {line}", reason)])


def _sifted(
    rows: Iterator[tuple[int, UsageEvent | BadRow]], aside: Aside
) -> Iterator[tuple[int, UsageEvent | BadRow]]:
    """Put the rows aside that are no events, and pass all on."""
    for line, row in rows:
        if isinstance(row, BadRow):
            aside.put(line, row)
        yield line, row


def _free(path: Path) -> Path:
    """Return a path without a file: rows that were rejected before may have been corrected in their file since."""
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_suffix(f".{number}{path.suffix}")
    return free

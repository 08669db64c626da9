"""Bringing files into a store: a catalogue, usage, the demo."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meterstone import clock
from meterstone.catalogue.management import (
    CatalogueConflictError,
    CatalogueError,
    Management,
    RecordRefusedError,
    Recount,
)
from meterstone.store.catalogue.stored_format import FIRST_FORMAT
from meterstone.store.catalogue.subscriptions import read_subscriptions
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.imports import Importer, ImportReport, RejectedLine, Source, SourceLine
from meterstone.store.operations.load import have_events, put_organization, read_stored
from meterstone.store.operations.purge_records import refuse_open_purges
from meterstone.usage.arrival import Subject
from meterstone.usage.subscription import Subscription
from meterstone_cli.catalogue import Beginning, Catalogue, Changes, Places, read_catalogue
from meterstone_cli.catalogue.changes import FOLDERS, Differing, beginnings, counted, differing, never
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
#: In which order it is told how many records are put.
_TOLD: Final = ("organization", "plans", "customers", "meters", "prices", "subscriptions")
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
    *,
    forced: bool = False,
) -> Changes:
    """Put what is new in a catalogue, or differs, in the order in which records refer to each other.

    `places` name the files of what is refused. Raises `InputRefusedError` before anything is put if a price or a
    meter would change that never can, or a new subscription cannot have the prices of its plan. Raises `BusyError`
    if a purge is under way, or a rebuild of an organization of the first stored format.

    What else is refused stands in the changes' problems: the other records of its kind, and of the kinds before,
    are put; those of the kinds that follow are not. Stopped, a load is run again.

    Where a record moves usage that was counted, its put begins a recount: these are told. Of what else begins in
    the past, that is told for which events have come already. ``forced``: however much log a recount is to read.
    """
    organization_id = catalogue.organization.id
    refuse_a_wrong_clock(table)
    stored = read_stored(table, organization_id)
    known = frozenset[str]() if stored is None else stored.terms.keys()
    if wrong := [problem for problem in catalogue.of_plans if problem.id not in known]:
        raise InputRefusedError(wrong)
    if stored is not None:
        if refused := list(never(stored, catalogue, places)):
            raise InputRefusedError(refused)
        if stored.account.next is not None and stored.account.stored_format == FIRST_FORMAT:
            raise BusyError("a rebuild is running, or was stopped: load when it is through, or given up")
        refuse_open_purges(table, organization_id)
    new = put_organization(table, catalogue.organization)
    wanted = differing(stored, catalogue, now)
    done, recounts, problems = _put(table, catalogue, places, wanted, forced=forced)
    added, changed = counted(done)
    if new:
        counts = added if stored is None else changed
        counts["organization"] = 1
    begun: tuple[Beginning, ...] = ()
    anew = {name for each in recounts for name in each.subscriptions}
    subscriptions = [each.name for each in done if each.kind == "subscription" and each.name not in anew]
    if stored is not None and subscriptions:
        after = read_subscriptions(table, organization_id, subscriptions, consistent=True, facts=False)
        pairs = [(stored.subscription(each.id) if each.id in known else None, each) for each in after]
        begun = _with_events(table, organization_id, list(beginnings(pairs, now)))
    return Changes(
        {kind: added[kind] for kind in _TOLD if added[kind]},
        {kind: changed[kind] for kind in _TOLD if changed[kind]},
        problems,
        begun,
        recounts,
    )


def _put(
    table: Table, catalogue: Catalogue, places: Places, wanted: Sequence[Differing], *, forced: bool
) -> tuple[list[Differing], list[Recount], list[InputProblem]]:
    """Put records, kind by kind. Return what was put, the recounts that these puts began, and what was refused."""
    management = Management(table, catalogue.organization.id, clock.now)
    done: list[Differing] = []
    problems: list[InputProblem] = []
    recounts: dict[str, Recount] = {}
    for kind, folder in FOLDERS.items():
        of_kind = [each for each in wanted if each.kind == kind]
        if not of_kind:
            continue
        try:
            found = management.put_many(kind, [(each.name, each.raw) for each in of_kind], forced=forced)
        except CatalogueConflictError as error:
            # A rebuild or a purge has begun meanwhile.
            raise BusyError(str(error)) from error
        for each, outcome in zip(of_kind, found, strict=True):
            if isinstance(outcome, CatalogueError):
                problems += [
                    places.problem(folder, each.name, path, reason) for path, reason in _reasons(outcome)
                ]
            elif outcome.changed or outcome.created:
                done.append(each)
                if outcome.recount is not None:
                    recounts[outcome.recount.id] = outcome.recount
        if problems:
            break
    return done, list(recounts.values()), problems


def _reasons(error: CatalogueError) -> Sequence[tuple[str, str]]:
    match error:
        case RecordRefusedError():
            return error.errors
        case CatalogueConflictError():
            return [(error.path, error.reason)]
        case _:
            return [("", str(error))]


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


def load_demo(table: Table, folder: Path, ends: int, now: int) -> Iterator[tuple[str, ImportReport]]:
    """Load the demo's catalogue and usage, giving each source's report; `ends` is where the shifted ones end."""
    catalogue, places = read_catalogue(folder / "catalogue")
    load_catalogue(table, catalogue, places, now)
    for source in sources(folder / "usage", ends):
        events = follow(source.name, source.events(), source.rows)
        identity = Source(source.name, source.sha256)
        yield source.name, import_events(table, catalogue.organization.id, identity, events, now, _refuse)


def _with_events(table: Table, organization_id: str, found: Sequence[Beginning]) -> tuple[Beginning, ...]:
    """Leave out what begins without any event that may have come."""
    subjects = {each.subscription.id: _subjects(each.subscription) for each in found}
    logged = have_events(table, organization_id, {each for several in subjects.values() for each in several})
    return tuple(each for each in found if not logged.isdisjoint(subjects[each.subscription.id]))


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

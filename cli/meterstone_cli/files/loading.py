"""Bringing files into a store: a catalogue, usage, the demo."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from meterstone import clock
from meterstone_cli.backend import Backend, ImportReport
from meterstone_cli.catalogue import Beginning, Changes, compare, read_catalogue
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
from meterstone_cli.progress import follow, say


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of a file of usage: ``aside`` has the rows that were not taken, None if there are none."""

    events: ImportReport
    bad_rows: int = 0
    aside: Path | None = None


def load_catalogue(backend: Backend, folder: Path, now: int, *, recompute: bool = False) -> Changes:
    """Store a folder's catalogue, if anything in it is new. Raises `InputRefusedError` before anything is written.

    Of what begins in the past, that is told for which events have come already. Problems, if there are any, are
    those of usage that was counted by the old one while the new one was being written, or may have been, as it
    lies behind a bound that came near meanwhile: a rebuild mends them.

    To `recompute` is to have all counted again afterwards, by `replay` and `rebuild`: more is taken then. Raises
    `BackendBusyError` before anything is written if these cannot be run.
    """
    catalogue, places = read_catalogue(folder)
    organization_id = catalogue.organization.id
    began = clock.now()
    stored = backend.organization_catalogue(organization_id)

    def compared() -> Changes:
        return compare(
            stored,
            catalogue,
            now=now + max(clock.now() - began, 0),
            has_usage=lambda subscription_id: backend.has_usage(organization_id, subscription_id),
            places=places,
        )

    changes = compared()
    if refused := list(_refused(changes, recompute=recompute)):
        raise InputRefusedError(refused)
    if recompute:
        backend.make_way(organization_id, say)
        changes = replace(changes, problems=(), beginnings=_with_events(backend, organization_id, changes))
    if not changes.nothing or backend.half_written(organization_id):
        backend.write_catalogue(catalogue)
        if not recompute:
            # Usage may have been counted by the old one since it was asked for, and lie ahead of the clock of now.
            later = compared()
            changes = replace(changes, problems=later.problems, beginnings=later.beginnings)
    if recompute:
        return changes
    return replace(changes, beginnings=_with_events(backend, organization_id, changes))


def import_file(
    backend: Backend, organization_id: str, path: Path, now: int, aside_folder: Path | None = None
) -> FileReport:
    """Count a file's events, putting every row aside that is not one or that the store does not take.

    Raises `InputRefusedError` if the file cannot be read, or not to its end: what comes before that is counted.
    """
    aside_path = _free((aside_folder or path.parent) / f"{path.name}.aside.jsonl")
    with Aside(aside_path) as aside:

        def refuse(line: int, usage: UsageEvent, reason: str) -> None:
            aside.put(line, BadRow(reason, row_of(usage)))

        try:
            rows = follow(path.name, read_usage(path, now))
            source = path.name, sha256(path)
            report = backend.import_events(
                organization_id, source, _good(rows, aside), now=now, refuse=refuse
            )
        except UnreadableUsageError as error:
            raise InputRefusedError([InputProblem(str(path), "", str(error))]) from error
    return FileReport(report, aside.count, aside_path if aside.count else None)


def load_demo(backend: Backend, folder: Path, ends: int, now: int) -> Iterator[tuple[str, ImportReport]]:
    """Load the demo's catalogue and usage, giving each source's report; `ends` is where the shifted ones end."""
    load_catalogue(backend, folder / "catalogue", now)
    organization_id = read_catalogue(folder / "catalogue")[0].organization.id
    for source in sources(folder / "usage", ends):
        events = follow(source.name, source.events(), source.rows)
        identity = source.name, source.sha256
        yield source.name, backend.import_events(organization_id, identity, events, now=now, refuse=_refuse)


def _refused(changes: Changes, *, recompute: bool) -> Iterator[InputProblem]:
    for problem in changes.problems:
        if problem not in changes.recomputable:
            yield problem
        elif not recompute:
            yield problem._replace(reason=f"{problem.reason}; --recompute takes it")


def _with_events(backend: Backend, organization_id: str, changes: Changes) -> tuple[Beginning, ...]:
    """Leave out what begins without any event that may have come."""
    subscriptions = {each.subscription.id: each.subscription for each in changes.beginnings}
    concerned = backend.with_events(organization_id, list(subscriptions.values()))
    return tuple(each for each in changes.beginnings if each.subscription.id in concerned)


def _refuse(line: int, usage: UsageEvent, reason: str) -> None:
    raise InputRefusedError([InputProblem(f"event {usage.event.id}", f"line {line}", reason)])


def _good(rows: Iterator[tuple[int, UsageEvent | BadRow]], aside: Aside) -> Iterator[tuple[int, UsageEvent]]:
    for line, row in rows:
        if isinstance(row, BadRow):
            aside.put(line, row)
        else:
            yield line, row


def _free(path: Path) -> Path:
    """Return a path without a file: rows that were rejected before may have been corrected in their file since."""
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_suffix(f".{number}{path.suffix}")
    return free

"""Progress of long steps, on stderr: a bar for a person at a terminal, plain lines for a log."""

import contextlib
import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

_SECONDS_BETWEEN_LINES = 5.0
_ROWS_BETWEEN_LOOKS = 500


class _Step:
    """The long step that is under way, and what a person at a terminal sees of it."""

    live: Progress | None = None
    task = TaskID(0)
    #: What was told last, up to a colon, and when.
    told = ""
    at = 0.0


def say(text: str) -> None:
    """Print a line on stderr."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if _Step.live is not None:
        # Above the line that moves.
        console = _Step.live.console
    console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def working(label: str) -> Iterator[None]:
    """Show, at a terminal alone, that a step is under way, how far it is (see `tell`) and for how long."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        _Step.live, _Step.task = progress, progress.add_task(label, total=None)
        try:
            yield
        finally:
            _Step.live = None


def tell(text: str) -> None:
    """Tell how far a step is: in the line that moves, or as a line of a log.

    Texts that are the same up to a colon tell of one thing: of these a log has one in five seconds.
    """
    if _Step.live is not None:
        _Step.live.update(_Step.task, description=text)
        return
    subject, now = text.partition(":")[0], time.monotonic()
    if subject != _Step.told or now - _Step.at >= _SECONDS_BETWEEN_LINES:
        _Step.told, _Step.at = subject, now
        say(text)


def printable(text: str) -> str:
    r"""Keep what an event says from moving the cursor or parting a line.

    >>> print(printable("a\tb\x1b[2J é"))
    a\tb\x1b[2J é
    """
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def follow[Row](
    label: str, rows: Iterable[Row], total: int | None = None, every: int = _ROWS_BETWEEN_LOOKS
) -> Iterator[Row]:
    """Return the rows as they come, and show how many have been taken, looking after ``every`` so many."""
    console = Console(stderr=True)
    if console.is_terminal:
        return _bar(console, label, rows, total, every)
    return _lines(label, rows, total, every)


def at_terminal() -> bool:
    """Return whether progress is shown to a person, and not written to a log."""
    return Console(stderr=True).is_terminal


def _bar[Row](
    console: Console, label: str, rows: Iterable[Row], total: int | None, every: int
) -> Iterator[Row]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(label, total=total)
        count = 0
        for row in rows:
            yield row
            count += 1
            if count % every == 0:
                progress.update(task, completed=count)
        progress.update(task, completed=count, total=count)


def _lines[Row](label: str, rows: Iterable[Row], total: int | None, every: int) -> Iterator[Row]:
    of = "" if total is None else f" of {total}"
    shown = time.monotonic()
    for count, row in enumerate(rows, start=1):
        yield row
        if count % every == 0 and time.monotonic() - shown >= _SECONDS_BETWEEN_LINES:
            shown = time.monotonic()
            say(f"{label}: {count}{of}")

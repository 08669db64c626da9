"""Progress of long steps, on stderr: a bar for a person at a terminal, plain lines for a log."""

import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_SECONDS_BETWEEN_LINES = 5.0
_ROWS_BETWEEN_LOOKS = 500


def say(text: str) -> None:
    """Print a line on stderr."""
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(text)


def printable(text: str) -> str:
    r"""Keep what an event says from moving the cursor or parting a line.

    >>> print(printable("a\tb\x1b[2J é"))
    a\tb\x1b[2J é
    """
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def follow[Row](label: str, rows: Iterable[Row], total: int | None = None) -> Iterator[Row]:
    """Return the rows as they come, showing how many have been taken."""
    console = Console(stderr=True)
    return _bar(console, label, rows, total) if console.is_terminal else _lines(label, rows, total)


def _bar[Row](console: Console, label: str, rows: Iterable[Row], total: int | None) -> Iterator[Row]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(label, total=total)
        count = 0
        for row in rows:
            yield row
            count += 1
            if count % _ROWS_BETWEEN_LOOKS == 0:
                progress.update(task, completed=count)
        progress.update(task, completed=count, total=count)


def _lines[Row](label: str, rows: Iterable[Row], total: int | None) -> Iterator[Row]:
    of = "" if total is None else f" of {total}"
    shown = time.monotonic()
    for count, row in enumerate(rows, start=1):
        yield row
        if count % _ROWS_BETWEEN_LOOKS == 0 and time.monotonic() - shown >= _SECONDS_BETWEEN_LINES:
            shown = time.monotonic()
            say(f"{label}: {count}{of}")

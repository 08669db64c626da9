"""A file of rows that is written one row at a time and, when the writing was stopped, is gone on with.

A state file beside it, ``FILE.state``, says how many bytes of the file are good, of which subscription the last
good row is, and the totals up to it. It is replaced, in one step, after each row. To go on, the file is cut to its
good bytes first: a row that was half written, or that the state does not know yet, is written again. So no row is
doubled or lost, wherever the writing stopped.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from meterstone.contracts.csv_text import csv_line
from meterstone.store.dynamodb.lease import BusyError
from meterstone_cli.plan_preview import COLUMNS, PreviewedRow, Totals, csv_cells, encoded


class PreviewFile:
    """The rows of one run, as far as they are written."""

    def __init__(self, path: Path, out: BinaryIO, run: Mapping[str, Any], now: int) -> None:
        """Go on with a file, or begin it; `opened` does. Raises `BusyError` if it is not this run's."""
        self._path, self._out = path, out
        self._state = path.with_name(path.name + ".state")
        self._csv = path.suffix == ".csv"
        self._run = dict(run)
        #: As of when the run previews, however often it was stopped: the last periods stay what they were.
        self.now = now
        self.after: str | None = None
        self.finished = False
        self.totals = Totals()
        self.rows = 0
        if self._state.exists():
            self._take_up(json.loads(self._state.read_text()))
        elif out.seek(0, os.SEEK_END):
            raise BusyError(f"{path} is there already, and has no {self._state.name}: name another file")
        else:
            self._write(csv_line(COLUMNS) if self._csv else "")

    def add(self, row: PreviewedRow) -> None:
        """Write a row, and that it is written."""
        self.totals.take(row)
        self.after = row.subscription_id
        self.rows += 1
        self._write(csv_line(csv_cells(row)) if self._csv else encoded(row) + "\n")

    def finish(self) -> None:
        """Say that no row is missing."""
        self.finished = True
        os.fsync(self._out.fileno())
        self._write("")

    def _take_up(self, state: Mapping[str, Any]) -> None:
        if state["run"] != self._run:
            what = [name for name in self._run if state["run"].get(name) != self._run[name]]
            raise BusyError(f"{self._path} is of another {' and '.join(what)}: name another file")
        good, there = state["bytes"], self._out.seek(0, os.SEEK_END)
        if there < good:
            raise BusyError(
                f"{self._path} has {there} of the {good} bytes that were written: name another file"
            )
        self._out.truncate(good)
        self._out.seek(good)
        self.now, self.after, self.rows = state["now"], state["after"], state["rows"]
        self.finished = state["finished"]
        self.totals = Totals.of(state["totals"], state["refused"])

    def _write(self, text: str) -> None:
        self._out.write(text.encode())
        self._out.flush()
        state = {
            "run": self._run,
            "now": self.now,
            "after": self.after,
            "rows": self.rows,
            "bytes": self._out.tell(),
            "finished": self.finished,
            **self.totals.stored(),
        }
        written = self._state.with_name(self._state.name + ".new")
        written.write_text(json.dumps(state))
        written.replace(self._state)


@contextlib.contextmanager
def opened(path: Path, run: Mapping[str, Any], now: int) -> Iterator[PreviewFile]:
    """Open the file of a run, which no other process may write meanwhile. Raises `BusyError`.

    ``run`` is what the run is of; a file is gone on with by the same run alone. ``now`` is as of when a new run
    previews.
    """
    with path.open("ab+") as out:
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"{path} is being written by another run") from None
        yield PreviewFile(path, out, run, now)

"""Closing a gap in the table's stream: each organization that events were posted to is rebuilt from its log."""

import threading
from collections.abc import Callable
from copy import replace
from typing import Final

from meterstone.store.catalogue.accounts import list_organizations
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import StoreError, Table
from meterstone.store.events.log import read_log
from meterstone.store.operations.generations import Generations
from meterstone.store.operations.rebuild import Surroundings, rebuild

_PAUSE: Final = 30.0


class _StoppedError(Exception):
    """The program ends: the rebuild is done by the next start."""


class Recount:
    """Rebuilds all organizations of a table beside the follower, in a thread of its own."""

    def __init__(
        self, table: Table, around: Surroundings | None, stop: threading.Event, tell: Callable[[str], None]
    ) -> None:
        """Work on a table until ``stop`` is set. ``around`` is by whose clock, and how to wait."""
        self._table = table
        self._stop = stop
        self._tell = tell
        self._sleep: Callable[[float], object] = stop.wait if around is None else around.sleep
        self._around = replace(around or Surroundings(), sleep=self._wait, progress=self._look)
        self._thread: threading.Thread | None = None
        self._wanted = self._done = 0

    def start(self) -> None:
        """Have all organizations rebuilt; if that is under way, once more after that."""
        self._wanted += 1
        self.go_on()

    def go_on(self) -> None:
        """Begin, if anything is to be done and nothing is under way."""
        if self._done != self._wanted and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._run, name="recount", daemon=True)
            self._thread.start()

    def has_begun(self) -> bool:
        """Return whether `start` was ever called."""
        return self._wanted > 0

    def is_done(self) -> bool:
        """Return whether every organization was rebuilt since the last call of `start`."""
        return self._wanted > 0 and self._done == self._wanted

    def join(self) -> None:
        """Wait until the thread has noticed that the program ends."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set() and self._done != self._wanted:
            wanted = self._wanted
            try:
                for organization_id in list_organizations(self._table):
                    if self._was_posted_to(organization_id):
                        self._rebuild(organization_id)
            except _StoppedError:
                self._tell("What is not sure to be counted is counted again by the next start")
                return
            except BusyError as error:
                self._tell(f"Counting again from the log must wait: {error}")
                self._stop.wait(_PAUSE)
            except StoreError as error:
                self._tell(f"Counting again from the log must wait: the table does not answer ({error})")
                self._stop.wait(_PAUSE)
            else:
                self._done = wanted
                self._tell("All that was posted is counted")

    def _was_posted_to(self, organization_id: str) -> bool:
        """Return whether any event came in over HTTP: what is imported needs no stream."""
        for subject in Generations(self._table, organization_id).subjects():
            self._look("")
            if any(logged.accepted for logged in read_log(self._table, organization_id, subject)):
                return True
        return False

    def _rebuild(self, organization_id: str) -> None:
        self._tell(
            f"Organization {organization_id} is counted again from its log, which takes three minutes or more; "
            "both endpoints answer meanwhile, and may lack events of before"
        )
        report = rebuild(self._table, organization_id, self._around)
        self._tell(f"Organization {organization_id}: {report.events} events counted again")

    def _wait(self, seconds: float) -> None:
        self._look("")
        self._sleep(seconds)
        self._look("")

    def _look(self, _: str) -> None:
        if self._stop.is_set():
            raise _StoppedError

"""One attempt of a change: what is read at its beginning, and until when it may write.

A change reads, checks and writes, on the condition that nothing was changed since it was read. If that does not
hold, it makes another attempt. A rebuild and a purge begin by saying so in the table, and then wait until every
change that has not seen it is over. So an attempt looks whether there is one, and gives up if it takes too long.
Beside a rebuild it tells which subjects are new: the rebuild reads their logs, too, before it is over.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Final

from meterstone.catalogue.errors import (
    CatalogueBusyError,
    LostError,
    RecordRefusedError,
    StaleRecordError,
    UnknownRecordError,
)
from meterstone.catalogue.reading import ReadRecord, read_record
from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.stamped import Revision, Stamp
from meterstone.store.catalogue.stored_format import FIRST_FORMAT
from meterstone.store.catalogue.upgrade import upgrade
from meterstone.store.dynamodb.errors import StoreUnavailableError, WriteRefusedError
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Action, Table
from meterstone.store.operations.late_subjects import late_subjects
from meterstone.store.operations.purge_records import refuse_open_purges
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import SECOND
from meterstone.usage.terms import Terms

LONGEST: Final = 20 * SECOND
"""How long an attempt may take until it writes, in microseconds."""

type Wanted = Revision | int | None
"""The version that a record must have for a put; 0: there is no record; None: any."""

_STALE: Final = "the record has been changed since"
_ATTEMPTS: Final = 10
_PAUSE: Final = 0.02
_PATIENT: Final = 2


@dataclass(slots=True)
class Attempt:
    """An attempt that began at the instant ``now``, when it read the account. ``number`` is 0 for the first."""

    table: Table
    account: Account
    now: int
    clock: Callable[[], int]
    number: int = 0
    #: The stamps that this change has tried to write. If one is found, its answer was lost.
    mine: set[Stamp] = field(default_factory=set)
    #: The record has not the version that was wanted, and may yet be what this change has written.
    stale: bool = False
    #: However much is to be read to count usage anew, it is.
    forced: bool = False
    #: Whether anything is in the organization's list of events that wait, and in that of unreadable ones. The puts
    #: that are made on one attempt share it.
    lists: dict[str, bool] = field(default_factory=dict)

    @property
    def organization_id(self) -> str:
        """The id of the organization whose catalogue is changed."""
        return self.account.organization.id

    def ready(self) -> None:
        """Let the attempt write from here on. Called when all is checked, before anything is written.

        An organization of the first stored format is upgraded. All must be read again then.
        """
        if self.stale:
            raise StaleRecordError(_STALE)
        if self.account.stored_format == FIRST_FORMAT:
            if self.account.unsettled(self.now):
                raise CatalogueBusyError("", "a catalogue is being loaded: try again when the load is over")
            upgrade(self.table, self.account, self.now)
            raise LostError
        if self.clock() - self.now > LONGEST:
            raise StoreUnavailableError("the change took too long: nothing was written")

    def subjects_of(self, terms: Iterable[Terms]) -> list[Action]:
        """Return what a transaction tells a running rebuild: the subjects of terms; nothing if none runs."""
        if self.account.next is None:
            return []
        subjects = dict.fromkeys(
            subject
            for each in terms
            for subject in (Subject.subscription(each.events_by), Subject.customer(each.customer_id))
        )
        return late_subjects(self.table, self.organization_id, self.account.next.name, subjects)

    def stamp(self, before: Stamp) -> Stamp:
        """Return the stamp that follows one, to write it."""
        after = before.next(self.now)
        self.mine.add(after)
        return after

    def match(self, stamp: Stamp | None, wanted: Wanted) -> None:
        """Raise `StaleRecordError` if a record has not the version that is wanted."""
        if wanted is None:
            return
        revision = wanted if isinstance(wanted, Revision) else Revision(wanted)
        if not revision.rev if stamp is None else revision in (stamp.revision, Revision(stamp.rev)):
            return
        if stamp not in self.mine:
            raise StaleRecordError(_STALE)
        self.stale = True


def in_turn[T](
    table: Table,
    organization_id: str,
    clock: Callable[[], int],
    change: Callable[[Attempt], T],
    *,
    forced: bool = False,
) -> T:
    """Make attempts at a change until no other writer is faster.

    Raises `StoreUnavailableError` if there is always one, and what the change raises.
    """
    mine: set[Stamp] = set()
    random = SystemRandom()
    for number in range(_ATTEMPTS):
        if number > _PATIENT:
            time.sleep(random.uniform(0, _PAUSE * number))
        # A write whose answer is lost may be sent again: not after the time that `Attempt.ready` grants.
        with table.deadline.at_most(LONGEST / SECOND), suppress(LostError):
            attempt = begin(table, organization_id, clock, number, mine, forced=forced)
            try:
                return change(attempt)
            except WriteRefusedError as error:
                raise RecordRefusedError([("", "is too large to be stored")]) from error
    raise StoreUnavailableError("others change the same records all the time")


def begin(
    table: Table,
    organization_id: str,
    clock: Callable[[], int],
    number: int = 0,
    mine: set[Stamp] | None = None,
    *,
    forced: bool = False,
) -> Attempt:
    """Begin an attempt. Raises `CatalogueBusyError` while a purge is running.

    An organization of the first stored format is not changed while a rebuild is running, either.
    """
    now = clock()
    account = read_account(table, organization_id, consistent=True)
    if account is None:
        raise UnknownRecordError("organization", organization_id)
    if account.next is not None and account.stored_format == FIRST_FORMAT:
        raise CatalogueBusyError(
            "", "a rebuild is running, or was stopped: try again when it is through, or given up"
        )
    try:
        refuse_open_purges(table, organization_id)
    except BusyError as error:
        raise CatalogueBusyError("", str(error)) from error
    return Attempt(table, account, now, clock, number, set() if mine is None else mine, forced=forced)


def read(kind: str, name: str, record: Mapping[str, object]) -> ReadRecord:
    """Read a record of a kind, under the id by which it is put. Its own id may be left out."""
    key = "code" if kind == "plan" else "id"
    raw = {key: name, **record}
    found = read_record(f"{kind}s", raw)
    if key not in found.broken and raw[key] != name:
        wrong = RecordRefusedError([(key, f"must be {name!r}, under which it is put"), *found.problems])
        raise wrong
    return found

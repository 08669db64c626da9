"""One attempt of a change: what is read at its beginning, and until when it may write.

A change reads, checks and writes, on the condition that nothing was changed since it was read. If that does not
hold, it makes another attempt. A rebuild and a purge begin by saying so in the table, and then wait until every
change that has not seen it is over. So an attempt looks whether there is one, and gives up if it takes too long.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Final

from meterstone.catalogue.errors import (
    CatalogueBusyError,
    CatalogueConflictError,
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
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.purge_records import refuse_open_purges
from meterstone.usage.arrival import AHEAD
from meterstone.usage.instant import SECOND

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
    #: Usage is counted anew afterwards: what begins in the past is taken, though events were counted since.
    forced: bool = False

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

    @contextmanager
    def choosing(self, *, chosen: bool) -> Iterator[None]:
        """Have another attempt made if something was counted since an instant was chosen, and a later one will do.

        If the instant was not ``chosen`` but given, the conflict is the answer.
        """
        try:
            yield
        except CatalogueConflictError as conflict:
            if chosen and conflict.earliest is not None and conflict.earliest <= self.now + AHEAD:
                raise LostError from conflict
            raise

    def soonest(self, earliest: int) -> int:
        """Return the instant that stands for now: the earliest possible one, if that is within 5 minutes.

        While events keep coming in, each attempt leaves them more time.
        """
        slack = max(self.number - 1, 0) * SECOND
        return max(earliest, min(earliest + slack, self.now + AHEAD))


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
    """Begin an attempt. Raises `CatalogueBusyError` while a rebuild or a purge is running."""
    now = clock()
    account = read_account(table, organization_id, consistent=True)
    if account is None:
        raise UnknownRecordError("organization", organization_id)
    if account.next is not None:
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

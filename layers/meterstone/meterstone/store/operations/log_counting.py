"""Counting the logs of subjects into an edition that is being filled, from where an earlier call has come.

What was accepted up to the edition's cut gets numbers in the order of the subjects and of the ids, and a tally
counts no number twice. So a reading that was stopped goes on from its place, if it would give each event the same
number again. What that depends on is kept before anything is counted.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import replace
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.subjects import Standing, Subjects
from meterstone.store.counting.fold import EventToCount, Fold, Unread
from meterstone.store.dynamodb.errors import CatalogueChangedError
from meterstone.store.dynamodb.lease import BusyError, Lease
from meterstone.store.dynamodb.table import Table, text
from meterstone.store.events.log import LoggedEvent, read_log
from meterstone.store.events.positions import RECOUNTS, ImportShard
from meterstone.store.events.uncounted import UnreadableEvent, keep_unreadable
from meterstone.store.events.unmatched import read_unmatched
from meterstone.store.operations.import_records import Records
from meterstone.store.operations.turns import Surroundings
from meterstone.usage.arrival import Subject
from meterstone.usage.matching import Matching
from meterstone.usage.subscription import Subscription
from meterstone.usage.tally import Position

COUNTED_TOGETHER: Final = 2000
"""How many events are counted between two places of a reading."""

_ATTEMPTS: Final = 20
_DIGEST: Final = 32


@dataclass(slots=True)
class RecountReport:
    """The result of a recount: how many events were counted from the log, and whether it came to its end.

    ``waits_for`` says what must be over first; ``unpublished`` names tallies whose worth the rollups do not take.
    """

    events: int = 0
    done: bool = False
    #: Up to where the logs are read, as text; empty if a reading that is stopped now begins anew.
    place: str = ""
    waits_for: str = ""
    unpublished: list[str] = field(default_factory=list)


class Place(msgspec.Struct, frozen=True):
    """Up to where a reading has counted, and what decides the numbers that it gives to events.

    ``cut`` is that of the edition. ``imports`` is a digest of the records of imports, and ``unmatched`` has one of
    what was unmatched of each subject, for those of which anything may be counted. All up to the sort key
    ``after`` of the log of one ``subject``, by its place among them, is counted: ``number`` events were given a
    number, of which ``events`` count.
    """

    cut: int
    subjects: tuple[tuple[str, str], ...]
    imports: str
    unmatched: tuple[str, ...] = ()
    subject: int = 0
    after: str = ""
    number: int = 0
    events: int = 0


class Unmatched(NamedTuple):
    """The unmatched events of a subject, by their ids: those that wait, and those that a replay has counted."""

    waiting: frozenset[str]
    replayed: frozenset[str]

    @property
    def digest(self) -> str:
        """A text that differs if they do."""
        return digest_of((sorted(self.waiting), sorted(self.replayed)))


@dataclass(slots=True)
class Reading:
    """What a reading of the log has found."""

    #: Up to where it is; None if it cannot be gone on with from there.
    place: Place | None
    #: The last number that was given to an event.
    number: int = 0
    #: What is unmatched of subjects, as it was when the reading was gone on with.
    unmatched: dict[Subject, Unmatched] = field(default_factory=dict)
    taken: set[tuple[Subject, str]] = field(default_factory=set)


class StopError(Exception):
    """The time of the call is over, or another carries the recount on."""


class LogCounting:
    """Counts the logs of subjects for one recount."""

    def __init__(
        self,
        table: Table,
        organization_id: str,
        around: Surroundings,
        report: RecountReport,
        keep: Callable[[RecountReport], bool],
    ) -> None:
        """Write to a table. ``report`` says how far it is; ``keep``: see `Recounting`."""
        self._table = table
        self._organization_id = organization_id
        self._around = around
        self._report = report
        self._keep = keep
        self._subjects = Subjects(table)
        self._matching = Matching()

    def account(self) -> Account:
        """Read the organization as it is now. Raises `BusyError` if it is gone."""
        account = read_account(self._table, self._organization_id, consistent=True)
        if account is None:
            raise BusyError("the organization has no catalogue")
        return account

    def gone_on_with(self, account: Account, begins: Place) -> Reading | None:
        """Return the reading that was stopped, as it goes on; None if it must begin anew.

        It goes on if it would give each event the same number again. An event that comes in by HTTP now is
        accepted after the cut, and has none. Nothing is withdrawn as long as the subjects say that their logs are
        being read, as they have since the reading began.
        """
        try:
            place = msgspec.json.decode(self._report.place, type=Place)
        except msgspec.DecodeError:
            return None
        if (place.cut, place.subjects, place.imports) != (begins.cut, begins.subjects, begins.imports):
            return None
        subjects = [Subject(*each) for each in place.subjects[: len(place.unmatched)]]
        unmatched = {each: self.unmatched(account.generation, each) for each in subjects}
        if tuple(each.digest for each in unmatched.values()) != place.unmatched:
            return None
        self._report.events = place.events
        return Reading(place, place.number, unmatched)

    def count(
        self,
        lease: Lease,
        editions: Mapping[str, int],
        subjects: Sequence[Subject],
        records: Records,
        found: Reading,
        cut: int,
    ) -> None:
        """Count what the logs of subjects have up to the cut, as far as it was not counted yet.

        The reading's place is kept after each batch, and before it what it depends on; also if it has none.
        """
        live = self.account().generation
        self._keep_place(found.place)
        first, after = (found.place.subject, found.place.after) if found.place else (0, "")
        held: dict[Position, LoggedEvent] = {}
        for index, subject in enumerate(subjects):
            if index < first:
                continue
            unmatched = found.unmatched.get(subject) or self.unmatched(live, subject)
            if found.place is not None and len(found.place.unmatched) == index:
                known = (*found.place.unmatched, unmatched.digest)
                found.place = replace(found.place, unmatched=known)
                self._keep_place(found.place)
            for logged in self.from_log(subject, unmatched, records, after):
                which = subject, logged.event.id
                if which in found.taken or logged.accepted > cut:
                    continue
                found.taken.add(which)
                found.number += 1
                held[Position(RECOUNTS, found.number)] = logged
                if len(held) >= COUNTED_TOGETHER:
                    self._fold(lease, editions, held)
                    held = {}
                    self._come_to(found, index, text(logged.row, "sk"))
            after = ""
        self._fold(lease, editions, held)

    def _come_to(self, found: Reading, subject: int, after: str) -> None:
        """Note up to where all is counted. Raises `StopError` if time is up."""
        if found.place is not None:
            found.place = replace(
                found.place, subject=subject, after=after, number=found.number, events=self._report.events
            )
        self._keep_place(found.place)
        if self._around.clock() >= self._around.until:
            raise StopError

    def _keep_place(self, place: Place | None) -> None:
        """Write up to where the reading is. Raises `StopError` if another carries the recount on."""
        self._report.place = "" if place is None else msgspec.json.encode(place).decode()
        if not self._keep(self._report):
            raise StopError

    def unmatched(self, live: str, subject: Subject) -> Unmatched:
        """Read which events of a subject are unmatched, in the live generation. Cost: 1 query."""
        found = list(read_unmatched(self._table, self._organization_id, subject))
        return Unmatched(
            frozenset(each.event.id for each in found if each.waiting(live)),
            frozenset(each.event.id for each in found if each.done and each.number is not None),
        )

    def from_log(
        self, subject: Subject, unmatched: Unmatched, records: Records, after: str = ""
    ) -> Iterator[LoggedEvent]:
        """Yield the events of a subject that are counted from the log, and not by whoever delivers them.

        What waits as unmatched is left to the replay. What a replay has counted is nobody else's any more, also
        if the import that has logged it is not so far.
        """
        for logged in read_log(self._table, self._organization_id, subject, after):
            if logged.withdrawn or "moved" in logged.row or logged.event.id in unmatched.waiting:
                continue
            if logged.event.id in unmatched.replayed or self._is_delivered(logged, records):
                yield logged

    @staticmethod
    def _is_delivered(logged: LoggedEvent, records: Records) -> bool:
        """Return whether an import has come past an event, if an import has logged it.

        An event over HTTP is in the log at once, and nobody has to come past it.
        """
        if logged.position is None:
            return True
        owner = records.owner(logged.position.shard)
        if owner is None:
            return False
        settled = ImportShard.read(logged.position.shard).run <= owner.settled
        return settled or logged.position.number <= owner.line

    def _fold(self, lease: Lease, editions: Mapping[str, int], held: dict[Position, LoggedEvent]) -> None:
        if not held:
            return
        for _ in range(_ATTEMPTS):
            lease.renew()
            account = self.account()
            standing = self._subjects.standing(
                account, (each.subject for each in held.values()), self._around.clock()
            )
            folding = Fold(self._table, self._organization_id, account.generation, matching=self._matching)
            folding.keep_unread = lambda unread, by=standing: self._keep_unread(held, unread, by)  # type: ignore[misc]
            events: list[EventToCount] = []
            for position, logged in held.items():
                owning = standing.owning(logged.subject, logged.event, filling=True)
                filling = [each for each in owning if _is_filled(each, editions)]
                if folding.expects(logged.event, filling):
                    events.append(
                        EventToCount(position, logged.subject, logged.event, filling, logged.accepted)
                    )
            try:
                report = folding.fold(events, self._around.clock(), standing)
            except CatalogueChangedError:
                continue
            self._report.events += report.counted
            return
        raise BusyError("the catalogue changes all the time")

    def _keep_unread(
        self, held: dict[Position, LoggedEvent], unread: Sequence[Unread], standing: Standing
    ) -> None:
        found = []
        for each in unread:
            logged = held[each.position]
            since = logged.accepted or self._around.clock()
            found.append(
                UnreadableEvent.of(logged.subject, each.event, since, each.faults, elsewhere=each.elsewhere)
            )
        keep_unreadable(self._table, self._organization_id, found, standing)


def digest_of(value: object) -> str:
    """Return a text that differs if a value does."""
    return sha256(msgspec.json.encode(value)).hexdigest()[:_DIGEST]


def _is_filled(subscription: Subscription, editions: Mapping[str, int]) -> bool:
    """Return whether a subscription is being filled by this reading, and by none that began since."""
    number = subscription.editions.filling
    return number is not None and number == editions.get(subscription.id)

"""Replaying: unmatched events are counted, each once, when the catalogue has a line item for them.

Each event gets a number, which is stored in its item and never changes, and is counted in the shard `p`, with the
number as its position. After a replay that was stopped, the next one first counts the events that have a number,
in the order of the numbers. Tallies that have counted them have stored the same or later positions, so no event
counts twice. Numbers are given only under the lease, so that no number is given below one that was counted.

The item of a counted event stays as long as the event may be delivered again: by the stream for a while, by an
import until it is finished. The item says that the event is not theirs to count.

`catch_up` does the same by itself, every hour, for the subjects that have changed. A subject's item holds the
version by which all its events that wait were last tried (`tried`). An event is saved as unmatched under the
condition that its subject has the version by which it is unmatched. So an event that is saved after a try is one
that the try would not have counted. It works in slices of a few minutes: the profile holds the event at which the
last slice has stopped (`try_from`), and the version of its subject (`try_ver`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import batched

from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.stored_format import FIRST_FORMAT
from meterstone.store.catalogue.subjects import Standing, Subjects
from meterstone.store.counting.fold import EventToCount, Fold, Unread
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import CatalogueChangedError
from meterstone.store.dynamodb.keys import FIRST
from meterstone.store.dynamodb.lease import BusyError, Lease, leased
from meterstone.store.dynamodb.table import Action, ConflictError, Item, Table, integer, key_item, text
from meterstone.store.dynamodb.transaction import MOST_ACTIONS, READ_TOGETHER
from meterstone.store.events.positions import REPLAYS
from meterstone.store.events.uncounted import (
    UnreadableEvent,
    change_reasons,
    finish,
    keep_unreadable,
    why,
)
from meterstone.store.events.unmatched import UnmatchedEvent, list_unmatched_subjects, read_unmatched
from meterstone.store.operations.import_records import Records
from meterstone.store.operations.import_run import refuse_half_a_catalogue
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import HOUR
from meterstone.usage.receipt import Reason, why_unmatched
from meterstone.usage.tally import Position

KEPT = 48 * HOUR
"""How long an item is kept after its event was counted: the stream may deliver the event again for 24 hours."""

#: A transaction also needs the lease's own action.
_NUMBERED_TOGETHER = MOST_ACTIONS - 1
_COUNTED_TOGETHER = 2000
_ATTEMPTS = 5


@dataclass(slots=True)
class ReplayReport:
    """The result of a replay of unmatched events.

    ``counted`` is how many count somewhere now. ``uncounted`` says by an event's id which meter cannot use it, and
    why. ``withdrawn`` is how many were withdrawn, and ``waiting`` how many are still unmatched. ``unfinished``
    says that time was up before all were tried.
    """

    counted: int = 0
    uncounted: list[tuple[str, str]] = field(default_factory=list)
    withdrawn: int = 0
    waiting: int = 0
    unfinished: bool = False


def catch_up(table: Table, organization_id: str, clock: Callable[[], int], until: int) -> ReplayReport | None:
    """Replay the events of subjects that have changed since these were last tried; None if none has.

    Subjects that are not reached by the instant ``until`` are left to the next call. Raises `BusyError`.

    Cost: that of listing the subjects whose events wait, and 1 get for each, in batches.
    """
    account = read_account(table, organization_id, consistent=True)
    if account is None or all(tried == version for _, version, tried in _states(table, account, FIRST)):
        return None
    return replay(table, organization_id, clock, until)


def untried(table: Table, account: Account) -> list[Subject]:
    """Return the subjects that have changed since their waiting events were last tried. Cost: as of `catch_up`."""
    return [subject for subject, version, tried in _states(table, account, FIRST) if tried != version]


def _states(table: Table, account: Account, begin: str) -> Iterator[tuple[Subject, int, int | None]]:
    """Yield the subjects whose events wait, each with its version and the version by which these were last tried.

    They come in the order of their keys, from ``begin`` on. In stored format 1 all have the catalogue's version.
    """
    organization_id = account.organization.id
    for some in batched(list_unmatched_subjects(table, organization_id, begin), READ_TOGETHER, strict=False):
        found = {subject: keys.subject(organization_id, *subject) for subject in some}
        rows = table.batch_get(found.values(), consistent=True)
        for subject, key in found.items():
            row = rows.get(key, {})
            first = account.stored_format == FIRST_FORMAT
            version = account.version if first else integer(row, "ver")
            yield subject, version, integer(row, "tried") if "tried" in row else None


def replay(
    table: Table, organization_id: str, clock: Callable[[], int], until: int | None = None
) -> ReplayReport:
    """Count the unmatched events that a line item is for now.

    With ``until``, only events of subjects are tried that have changed since they were last tried. It goes on
    where an earlier call has stopped, and stops at that instant.

    Raises `BusyError`.
    """
    with leased(table, organization_id, "replay", clock) as lease:
        account = read_account(table, organization_id, consistent=True)
        if account is None:
            raise BusyError("the organization has no catalogue")
        if account.next is not None:
            raise BusyError("a rebuild was stopped: run rebuild again, or give it up, first")
        replaying = Replay(table, account, lease, clock)
        replaying.take_up()
        replaying.count_new(until)
        return replaying.report


class Replay:
    """Replays one organization's events into its live generation, under a lease."""

    def __init__(self, table: Table, account: Account, lease: Lease, clock: Callable[[], int]) -> None:
        """Write to a table."""
        self.report = ReplayReport()
        self._table = table
        self._account = account
        self._organization_id = account.organization.id
        self._lease = lease
        self._clock = clock
        self._subjects = Subjects(table)
        self._standing = Standing(table, 0)
        self._fold = Fold(table, self._organization_id, account.generation)
        self._fold.keep_unread = self._keep_unread
        #: The events that are being counted, by their positions.
        self._counting: Mapping[Position, UnmatchedEvent] = {}
        self._imports = Records.read(table, self._organization_id)

    def take_up(self) -> None:
        """Count the events that a stopped replay has numbered, and delete items that are kept no longer."""
        live, now = self._account.generation, self._clock()
        numbered: list[UnmatchedEvent] = []
        gone = []
        for each in read_unmatched(self._table, self._organization_id):
            if each.done and not self._asked_for(each, now):
                gone.append(each.key)
            elif each.waiting(live) and each.number is not None:
                numbered.append(each)
        self._table.delete_all(gone)
        ordered = sorted(self._without_withdrawn(numbered), key=lambda each: each.number or 0)
        for some in batched(ordered, _COUNTED_TOGETHER, strict=False):
            # By a changed catalogue an event may be unmatched again.
            self._count(some)

    def count_new(self, until: int | None = None) -> None:
        """Assign numbers to the events that a line item is for now, and count them; stop at ``until``."""
        begin, began_by = FIRST, 0
        if until is not None:
            profile = (
                self._table.get(keys.organization(self._organization_id, "profile"), consistent=True) or {}
            )
            begin, began_by = text(profile, "try_from") or FIRST, integer(profile, "try_ver")
        looked = False
        for subject, version in self._to_try(begin, changed=until is not None):
            # In the middle of a subject's events it goes on only if the earlier ones were tried by this version.
            within = begin if began_by == version else FIRST
            begin = FIRST
            for some in self._waiting(subject, within):
                if until is not None and looked and self._clock() >= until:
                    self._stop_at(some[0], version)
                    return
                self._count_matching(some)
                looked = True
            # The version was read before the events: what changed since is tried the next time.
            self._table.update(
                keys.subject(self._organization_id, *subject),
                "SET tried = :version",
                {":version": {"N": str(version)}},
            )
        if until is not None:
            self._lease.change("REMOVE try_from, try_ver", {})

    def count_waiting(self, subjects: Iterable[Subject]) -> None:
        """Count the events of some subjects that a line item is for now."""
        for subject in subjects:
            for some in self._waiting(subject, FIRST):
                self._count_matching(some)

    def _waiting(self, subject: Subject, begin: str) -> Iterator[tuple[UnmatchedEvent, ...]]:
        rows = read_unmatched(self._table, self._organization_id, subject)
        later = (each for each in rows if begin == FIRST or each.key.sk >= begin)
        return batched(later, _COUNTED_TOGETHER, strict=False)

    def _stop_at(self, place: UnmatchedEvent, version: int) -> None:
        self._lease.change(
            "SET try_from = :from, try_ver = :version",
            {":from": {"S": place.key.sk}, ":version": {"N": str(version)}},
        )
        self.report.unfinished = True

    def _to_try(self, begin: str, *, changed: bool) -> Iterator[tuple[Subject, int]]:
        states = _states(self._table, self._account, begin)
        return ((subject, version) for subject, version, tried in states if not changed or tried != version)

    def _count_matching(self, some: Iterable[UnmatchedEvent]) -> None:
        """Count the events that a line item is for now, and write down why the others still wait."""
        self._lease.renew()
        kept = self._without_withdrawn(each for each in some if each.waiting(self._account.generation))
        self._look_up(kept)
        matching: list[UnmatchedEvent] = []
        changed: list[tuple[UnmatchedEvent, Reason]] = []
        for each in kept:
            if self._fold.expects(each.event, self._standing.owning(each.subject, each.event)):
                matching.append(each)
                continue
            self.report.waiting += 1
            held = self._standing.subscriptions(each.subject)
            reason = why_unmatched(each.event, each.subject, self._account.meters, held)
            if reason != why(each.row):
                changed.append((each, reason))
        change_reasons(self._table, self._organization_id, changed)
        self._count(
            each
            for several in batched(matching, _NUMBERED_TOGETHER, strict=False)
            for each in self._number(several)
        )

    def _look_up(self, some: Iterable[UnmatchedEvent]) -> None:
        """Read the catalogue as it is now, as far as it concerns some events."""
        account = read_account(self._table, self._organization_id, consistent=True)
        if account is None:
            raise BusyError("the organization has no catalogue")
        refuse_half_a_catalogue(account)
        self._account = account
        subjects = (each.subject for each in some)
        self._standing = self._subjects.standing(account, subjects, self._clock())

    def _without_withdrawn(self, waiting: Iterable[UnmatchedEvent]) -> list[UnmatchedEvent]:
        """Leave out events that were withdrawn, by the log.

        One that is withdrawn afterwards gets no number, and one that has a number is not withdrawn.
        """
        logged = {keys.event(self._organization_id, *each.subject, each.event.id): each for each in waiting}
        rows = self._table.batch_get(logged, consistent=True)
        withdrawn = [each for key, each in logged.items() if "w" in rows.get(key, {})]
        self._done(withdrawn)
        self.report.withdrawn += len(withdrawn)
        return [each for key, each in logged.items() if "w" not in rows.get(key, {})]

    def _number(self, some: Iterable[UnmatchedEvent]) -> list[UnmatchedEvent]:
        """Assign the next numbers to events, to all or to none. Those that were just withdrawn get none."""
        left = list(some)
        while left:
            try:
                return self._number_all(left)
            except ConflictError as error:
                rows = self._table.batch_get((each.key for each in left), consistent=True)
                waiting = [each for each in left if each.key in rows and "done" not in rows[each.key]]
                if len(waiting) == len(left):
                    raise BusyError(
                        "another command took over: look what it does, and run this one again"
                    ) from error
                left = waiting
        return []

    def _number_all(self, some: Sequence[UnmatchedEvent]) -> list[UnmatchedEvent]:
        profile = self._table.get(keys.organization(self._organization_id, "profile"), consistent=True) or {}
        last = integer(profile, "replayed")
        numbered = [each._replace(number=last + place) for place, each in enumerate(some, start=1)]
        actions: list[Action] = [
            self._lease.action("replayed = :last", {":last": {"N": str(last + len(numbered))}})
        ]
        actions += [
            {
                "Update": {
                    "TableName": self._table.name,
                    "Key": key_item(each.key),
                    "UpdateExpression": "SET num = :number",
                    "ConditionExpression": "attribute_exists(pk) AND attribute_not_exists(num) "
                    "AND attribute_not_exists(done)",
                    "ExpressionAttributeValues": {":number": {"N": str(each.number)}},
                }
            }
            for each in numbered
        ]
        self._table.transact(actions)
        return numbered

    def _count(self, numbered: Iterable[UnmatchedEvent]) -> None:
        """Count events in the order of their numbers, then finish their items."""
        some = sorted(numbered, key=lambda each: each.number or 0)
        for _ in range(_ATTEMPTS):
            self._lease.renew()
            self._look_up(some)
            some = self._without_unmatched(some)
            by_position = {Position(REPLAYS, each.number or 0): each for each in some}
            logged = [
                EventToCount(
                    position,
                    each.subject,
                    each.event,
                    self._standing.owning(each.subject, each.event),
                    each.accepted,
                )
                for position, each in by_position.items()
            ]
            self._counting = by_position
            try:
                folded = self._fold.fold(logged, self._clock(), self._standing)
            except CatalogueChangedError:
                continue
            self.report.counted += folded.counted
            self.report.uncounted += [(by_position[at].event.id, reason) for at, reason in folded.uncounted]
            self._done(some)
            return
        raise BusyError("the catalogue changes all the time: run this again")

    def _without_unmatched(self, numbered: Iterable[UnmatchedEvent]) -> list[UnmatchedEvent]:
        """Leave out events that no line item is for any more, and take their numbers from them.

        They will need others, since a tally may move past these now.
        """
        expected: list[UnmatchedEvent] = []
        for each in numbered:
            if self._fold.expects(each.event, self._standing.owning(each.subject, each.event)):
                expected.append(each)
            else:
                number: Item = {":number": {"N": str(each.number)}}
                self._table.update(each.key, "REMOVE num", number, condition="num = :number")
                self.report.waiting += 1
        return expected

    def _done(self, some: Iterable[UnmatchedEvent]) -> None:
        """Finish the items of counted events: keep them if the events may be delivered again, else delete them."""
        several, now = list(some), self._clock()
        kept = [self._asked_for(each, now) for each in several]
        finish(self._table, self._organization_id, several, now, kept)

    def _keep_unread(self, unread: Iterable[Unread]) -> None:
        """Store events in the list of unreadable ones: meters of their new line items cannot read them."""
        found = (
            UnreadableEvent.of(
                self._counting[each.position].subject,
                each.event,
                self._counting[each.position].since,
                each.faults,
                elsewhere=each.elsewhere,
            )
            for each in unread
        )
        keep_unreadable(self._table, self._organization_id, found, self._standing)

    def _asked_for(self, each: UnmatchedEvent, now: int) -> bool:
        """Return whether the stream, or the import that logged an event, may still deliver it again."""
        if each.shard:
            return not self._imports.settled(each.shard)
        return each.accepted >= now - KEPT

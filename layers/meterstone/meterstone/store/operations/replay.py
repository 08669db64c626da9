"""Replaying: unmatched events are counted, each once, when the catalogue has a line item for them.

Each event gets a number, which is stored in its item and never changes, and is counted in the shard `p`, with the
number as its position. After a replay that was stopped, the next one first counts the events that have a number,
in the order of the numbers. Tallies that have counted them have stored the same or later positions, so no event
counts twice. Numbers are given only under the lease, so that no number is given below one that was counted.

The item of a counted event stays as long as the event may be delivered again: by the stream for a while, by an
import until it is finished. The item says that the event is not theirs to count.

`catch_up` does the same by itself, every hour, if the catalogue has changed. It tries all unmatched events in
slices of a few minutes. The profile holds where a pass has stopped (`try_from`), the version of the catalogue by
which that pass began (`try_ver`), and the version by which the last complete pass began (`tried_ver`). An event is
saved as unmatched under the condition that the catalogue has the version by which it is unmatched. So an event
that is saved behind the place of a pass is one that the pass would not have counted.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import batched

from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.subjects import Subjects
from meterstone.store.counting.fold import EventToCount, Fold, Unread
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST
from meterstone.store.dynamodb.lease import BusyError, Lease, leased
from meterstone.store.dynamodb.table import Action, ConflictError, Table, integer, key_item, text
from meterstone.store.dynamodb.transaction import MOST_ACTIONS
from meterstone.store.events.positions import REPLAYS
from meterstone.store.events.uncounted import (
    UnreadableEvent,
    change_reasons,
    finish,
    keep_unreadable,
    why,
)
from meterstone.store.events.unmatched import UnmatchedEvent, read_unmatched
from meterstone.store.operations.import_records import Records
from meterstone.usage.instant import HOUR
from meterstone.usage.receipt import Reason, why_unmatched
from meterstone.usage.subscription import Subscription
from meterstone.usage.tally import Position

KEPT = 48 * HOUR
"""How long an item is kept after its event was counted: the stream may deliver the event again for 24 hours."""

#: A transaction also needs the lease's own action.
_NUMBERED_TOGETHER = MOST_ACTIONS - 1
_COUNTED_TOGETHER = 2000


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
    """Replay if the catalogue has changed since all unmatched events were last tried; None if it has not.

    Events that are not tried by the instant ``until`` are left to the next call. Raises `BusyError`.
    """
    profile = table.get(keys.organization(organization_id, "profile"), consistent=True) or {}
    if "try_from" not in profile and integer(profile, "tried_ver") == integer(profile, "ver"):
        return None
    return replay(table, organization_id, clock, until)


def replay(
    table: Table, organization_id: str, clock: Callable[[], int], until: int | None = None
) -> ReplayReport:
    """Count the unmatched events that a line item is for now.

    With ``until``, it goes on where an earlier call has stopped, and stops at that instant.

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
        expected: list[UnmatchedEvent] = []
        others: list[UnmatchedEvent] = []
        for each in self._without_withdrawn(numbered):
            found = self._fold.expects(each.event, self._owning(each))
            (expected if found else others).append(each)
        if others:
            self._subjects.agree_or_busy(self._account)
        for each in others:
            # By a changed catalogue the event is unmatched again. It will need another number, since a tally may
            # have moved past this one.
            self._table.put(each.item_without_number())
        self._count(expected)

    def count_new(self, until: int | None = None) -> None:
        """Assign numbers to the events that a line item is for now, and count them; stop at ``until``."""
        profile = self._table.get(keys.organization(self._organization_id, "profile"), consistent=True) or {}
        begin, version = FIRST, self._account.version
        if until is not None and "try_from" in profile:
            begin, version = text(profile, "try_from"), integer(profile, "try_ver")
        rows = read_unmatched(self._table, self._organization_id, begin=begin)
        looked = False
        for some in batched(rows, _COUNTED_TOGETHER, strict=False):
            if until is not None and looked and self._clock() >= until:
                self._lease.change(
                    "SET try_from = :from, try_ver = :version",
                    {":from": {"S": some[0].key.sk}, ":version": {"N": str(version)}},
                )
                self.report.unfinished = True
                return
            self._count_matching(some)
            looked = True
        self._lease.change(
            "SET tried_ver = :version REMOVE try_from, try_ver", {":version": {"N": str(version)}}
        )

    def _count_matching(self, some: Iterable[UnmatchedEvent]) -> None:
        """Count the events that a line item is for now, and write down why the others still wait."""
        self._lease.renew()
        kept = self._without_withdrawn(each for each in some if each.waiting(self._account.generation))
        matching: list[UnmatchedEvent] = []
        changed: list[tuple[UnmatchedEvent, Reason]] = []
        for each in kept:
            if self._fold.expects(each.event, self._owning(each)):
                matching.append(each)
                continue
            self.report.waiting += 1
            held = self._subjects.subscriptions(self._account, each.subject)
            reason = why_unmatched(each.event, each.subject, self._account.meters, held)
            if reason != why(each.row):
                changed.append((each, reason))
        self._subjects.agree_or_busy(self._account)
        change_reasons(self._table, self._organization_id, changed)
        self._count(
            [
                each
                for several in batched(matching, _NUMBERED_TOGETHER, strict=False)
                for each in self._number(several)
            ]
        )

    def _without_withdrawn(self, waiting: Iterable[UnmatchedEvent]) -> list[UnmatchedEvent]:
        """Leave out events that were withdrawn, by the log. None is withdrawn while the lease is held."""
        logged = {keys.event(self._organization_id, *each.subject, each.event.id): each for each in waiting}
        rows = self._table.batch_get(logged, consistent=True)
        withdrawn = [each for key, each in logged.items() if "w" in rows.get(key, {})]
        self._done(withdrawn)
        self.report.withdrawn += len(withdrawn)
        return [each for key, each in logged.items() if "w" not in rows.get(key, {})]

    def _number(self, some: Iterable[UnmatchedEvent]) -> list[UnmatchedEvent]:
        """Assign the next numbers to events, to all or to none."""
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
                    "ConditionExpression": "attribute_exists(pk) AND attribute_not_exists(num)",
                    "ExpressionAttributeValues": {":number": {"N": str(each.number)}},
                }
            }
            for each in numbered
        ]
        try:
            self._table.transact(actions)
        except ConflictError as error:
            raise BusyError("another command took over: look what it does, and run this one again") from error
        return numbered

    def _count(self, numbered: Iterable[UnmatchedEvent]) -> None:
        """Count events in the order of their numbers, then finish their items."""
        ordered = sorted(numbered, key=lambda each: each.number or 0)
        for some in batched(ordered, _COUNTED_TOGETHER, strict=False):
            self._lease.renew()
            by_position = {Position(REPLAYS, each.number or 0): each for each in some}
            logged = [
                EventToCount(position, each.event, self._owning(each), each.accepted)
                for position, each in by_position.items()
            ]
            self._subjects.agree_or_busy(self._account)
            self._counting = by_position
            folded = self._fold.fold(logged, self._clock(), self._account.version)
            self.report.counted += folded.counted
            self.report.uncounted += [(by_position[at].event.id, reason) for at, reason in folded.uncounted]
            self._done(some)

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
        keep_unreadable(self._table, self._organization_id, found)

    def _asked_for(self, each: UnmatchedEvent, now: int) -> bool:
        """Return whether the stream, or the import that logged an event, may still deliver it again."""
        if each.shard:
            return not self._imports.settled(each.shard)
        return each.accepted >= now - KEPT

    def _owning(self, each: UnmatchedEvent) -> list[Subscription]:
        return self._subjects.owning(self._account, each.subject, each.event)

"""Replaying: events that were put by are counted, each once, when the catalogue has a line item for them.

Each is given a number, for ever, on its item, and is counted as the shard `p`, whose positions these numbers are.
Whoever comes after a replay that was stopped counts first what has a number, in their order: what was counted is
at or below what the tallies remember. Numbers are given under the lease alone, so that none is given behind a
higher one that was counted.

What is counted keeps its item as long as somebody may ask whether it is still theirs to count: the stream for a
while, an import until it is through.

`catch_up` does the same by itself, every hour, when the catalogue has changed. It goes through all that waits in
slices of a few minutes: the profile holds where a pass has stopped (`try_from`), by which version of the catalogue
it had begun (`try_ver`), and by which the last pass that came to its end had (`tried_ver`). An event is saved as
unmatched under the condition that the catalogue has the version by which it is unmatched: what is saved behind a
pass is nothing that the pass would have counted.
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
"""How long an item outlives its event's counting: the stream may deliver the event again for 24 hours."""

#: Beside the lease's own action.
_NUMBERED_TOGETHER = MOST_ACTIONS - 1
_COUNTED_TOGETHER = 2000


@dataclass(slots=True)
class ReplayReport:
    """What became of the events that were put by.

    ``counted`` count somewhere now. ``uncounted`` says of one by its id which meter cannot use it and why.
    ``withdrawn`` never will be counted. ``waiting`` still match nothing. ``unfinished`` tells that time was up
    before all that waits was looked at.
    """

    counted: int = 0
    uncounted: list[tuple[str, str]] = field(default_factory=list)
    withdrawn: int = 0
    waiting: int = 0
    unfinished: bool = False


def catch_up(table: Table, organization_id: str, clock: Callable[[], int], until: int) -> ReplayReport | None:
    """Replay if the catalogue has changed since all that waits was last tried; None if it has not.

    What is not done by the instant ``until`` is left to the next call. Raises `BusyError`.
    """
    profile = table.get(keys.organization(organization_id, "profile"), consistent=True) or {}
    if "try_from" not in profile and integer(profile, "tried_ver") == integer(profile, "ver"):
        return None
    return replay(table, organization_id, clock, until)


def replay(
    table: Table, organization_id: str, clock: Callable[[], int], until: int | None = None
) -> ReplayReport:
    """Count the unmatched events that a line item is for now.

    With ``until`` it goes on from where an earlier call's time was up, and stops at that instant.

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
        #: The events that are being counted, by the positions that their numbers are.
        self._counting: Mapping[Position, UnmatchedEvent] = {}
        self._imports = Records.read(table, self._organization_id)

    def take_up(self) -> None:
        """Count what an earlier replay had numbered, if it was stopped, and drop what it was long through with."""
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
            # By a changed catalogue it waits again, and for another number: a tally may have gone past this one.
            self._table.put(each.item_without_number())
        self._count(expected)

    def count_new(self, until: int | None = None) -> None:
        """Return numbers to what a line item is for now, and count it; stop when it is ``until``."""
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
        """Count those of some events that a line item is for now, and see why the others still wait."""
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
        """Leave out what the log says was withdrawn; nothing is while the lease is held."""
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
        """Count events in the order of their numbers, then be done with them."""
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
            folded = self._fold.fold(logged, self._clock())
            self.report.counted += folded.counted
            self.report.uncounted += [(by_position[at].event.id, reason) for at, reason in folded.uncounted]
            self._done(some)

    def _done(self, some: Iterable[UnmatchedEvent]) -> None:
        """Keep the items that tell that these events are counted, as long as somebody may ask."""
        several, now = list(some), self._clock()
        kept = [self._asked_for(each, now) for each in several]
        finish(self._table, self._organization_id, several, now, kept)

    def _keep_unread(self, unread: Iterable[Unread]) -> None:
        """List the events that have waited for line items whose meters cannot read them."""
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
        """Return whether the stream, or the import that logged an event, may still come with it."""
        if each.shard:
            return not self._imports.settled(each.shard)
        return each.accepted >= now - KEPT

    def _owning(self, each: UnmatchedEvent) -> list[Subscription]:
        return self._subjects.owning(self._account, each.subject, each.event)

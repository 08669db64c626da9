"""Replaying: events that were put by are counted, each once, when the catalogue has a line item for them.

Each is given a number, for ever, on its item, and is counted as the shard `p`, whose positions these numbers are.
Whoever comes after a replay that was stopped counts first what has a number, in their order: what was counted is
at or below what the tallies remember. Numbers are given under the lease alone, so that none is given behind a
higher one that was counted.

What is counted keeps its item as long as somebody may ask whether it is still theirs to count: the stream for a
while, an import until it is through.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import batched

from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.subjects import Subjects
from meterstone.store.counting.fold import EventToCount, Fold
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.lease import BusyError, Lease, leased
from meterstone.store.dynamodb.table import Action, ConflictError, Table, integer, key_item
from meterstone.store.dynamodb.transaction import MOST_ACTIONS
from meterstone.store.events.positions import REPLAYS
from meterstone.store.events.unmatched import UnmatchedEvent, read_unmatched
from meterstone.store.operations.import_records import Records
from meterstone.usage.instant import HOUR
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
    ``withdrawn`` never will be counted. ``waiting`` still match nothing.
    """

    counted: int = 0
    uncounted: list[tuple[str, str]] = field(default_factory=list)
    withdrawn: int = 0
    waiting: int = 0


def replay(table: Table, organization_id: str, clock: Callable[[], int]) -> ReplayReport:
    """Count the events that were put by and that a line item is for now. Raises `BusyError`."""
    with leased(table, organization_id, "replay", clock) as lease:
        account = read_account(table, organization_id, consistent=True)
        if account is None:
            raise BusyError("the organization has no catalogue")
        if account.next is not None:
            raise BusyError("a rebuild was stopped: run rebuild again, or give it up, first")
        replaying = Replay(table, account, lease, clock)
        replaying.take_up()
        replaying.count_new()
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

    def count_new(self) -> None:
        """Give numbers to what a line item is for now, and count it."""
        matching: list[UnmatchedEvent] = []
        for some in batched(
            read_unmatched(self._table, self._organization_id), _COUNTED_TOGETHER, strict=False
        ):
            waiting = [each for each in some if each.waiting(self._account.generation)]
            kept = self._without_withdrawn(waiting)
            found = [each for each in kept if self._fold.expects(each.event, self._owning(each))]
            self.report.waiting += len(kept) - len(found)
            matching += found
        for several in batched(matching, _COUNTED_TOGETHER, strict=False):
            self._count(
                [
                    each
                    for some in batched(several, _NUMBERED_TOGETHER, strict=False)
                    for each in self._number(some)
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
        """Give events the next numbers, all or none."""
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
            folded = self._fold.fold(logged, self._clock(), self._account.version)
            self.report.counted += folded.counted
            self.report.uncounted += [(by_position[at].event.id, reason) for at, reason in folded.uncounted]
            self._done(some)

    def _done(self, some: Iterable[UnmatchedEvent]) -> None:
        """Keep the items that tell that these events are counted, as long as somebody may ask."""
        now = self._clock()
        kept: list[UnmatchedEvent] = []
        old: list[Key] = []
        for each in some:
            if self._asked_for(each, now):
                kept.append(each)
            else:
                old.append(each.key)
        self._table.delete_all(old)
        self._table.put_all(each.item_when_done(now) for each in kept)

    def _asked_for(self, each: UnmatchedEvent, now: int) -> bool:
        """Tell whether the stream, or the import that logged an event, may still come with it."""
        if each.shard:
            return not self._imports.settled(each.shard)
        return each.accepted >= now - KEPT

    def _owning(self, each: UnmatchedEvent) -> list[Subscription]:
        return self._subjects.owning(self._account, each.subject, each.event)

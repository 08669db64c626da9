"""Rebuilding: counters and rollups recomputed from the event log, beside those that are read, then swapped in.

The organization's profile names a `next` generation and a `cut`, which lies a minute ahead. From then on the fold
counts what is accepted after the cut into both; when a minute more has passed, everything that was accepted up to
the cut is in the log, and is counted into the next generation from there. The cut stays with the generation: what
the stream delivers late is known by it to have been counted. So an event is in the next generation once, by either
way, and at no time is anything that is read not up to date.

For a minute after the swap the fold goes on counting into the generation that was read before, since readers
remember an account for half a minute; then it is deleted. A rebuild that was stopped is begun anew, in a newer
generation.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from meterstone import clock as wall
from meterstone.store.catalogue.accounts import Account, Generation, read_account
from meterstone.store.catalogue.subjects import Subjects
from meterstone.store.counting.fold import EventToCount, Fold
from meterstone.store.counting.reading import CatalogueChangedError
from meterstone.store.counting.waking import wake_subscription
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.lease import BusyError, Lease, leased
from meterstone.store.dynamodb.table import (
    Action,
    ConflictError,
    Item,
    Row,
    Table,
    WriteRefusedError,
    integer,
    item_of,
    key_item,
    text,
)
from meterstone.store.events.log import LoggedEvent, read_log
from meterstone.store.events.positions import rebuild_shard
from meterstone.store.events.unmatched import UnmatchedEvent, read_unmatched, unmatched_item
from meterstone.store.operations.generations import Difference, Generations, Place, View
from meterstone.store.operations.import_records import refuse_open_imports
from meterstone.store.operations.replay import Replay
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import MINUTE
from meterstone.usage.rules import RULES
from meterstone.usage.tally import Position

SETTLES = MINUTE
"""How long what one process does takes to be known to all, in microseconds.

Longer than a request or a fold may take, than an account is remembered, and than clocks may differ.
"""

_SECOND = 1_000_000
_LONGEST_SLEEP = 20 * _SECOND
_COUNTED_TOGETHER = 2000
_COMPARISONS = 4
_PLACES_BETWEEN_RENEWALS = 200
_BETWEEN_LOOKS = 2 * _SECOND

type _Matched = tuple[LoggedEvent, EventToCount]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The clock, the passing of time, and who is told how far it is."""

    clock: Callable[[], int] = wall.now
    sleep: Callable[[float], None] = time.sleep
    progress: Callable[[str], None] = lambda _: None


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild came to: how many events it counted from the log, and where the generations differed."""

    generation: str
    events: int = 0
    differences: list[Difference] = field(default_factory=list)
    swapped: bool = False


class Rebuild:
    """Rebuilds one organization's counters and rollups, under a lease."""

    def __init__(self, table: Table, organization_id: str, lease: Lease, around: Surroundings) -> None:
        """Write to a table."""
        self._table = table
        self._organization_id = organization_id
        self._lease = lease
        self._around = around
        self._subjects = Subjects(table)
        self._generations = Generations(table, organization_id)
        self._number = 0

    def run(self, *, swap: bool = True) -> RebuildReport:
        """Rebuild, compare, and, if it is wanted, swap. Raises `BusyError`."""
        after = self._begin()
        report = RebuildReport(after.name)
        self._around.progress("waiting two minutes, until all that is under way is in the log")
        self._pass(after.cut + SETTLES)
        done: set[Subject] = set()
        while not report.swapped:
            account = self._settled_account()
            report.events += self._count_log(account, after, done)
            # Both as of one instant: what the clock has brought since it last published is no difference.
            now = self._around.clock()
            with suppress(WriteRefusedError):
                # What the live rollups would not take is no reason to keep them.
                self._roll(account.generation, now)
            self._roll(after.name, now)
            report.differences = self._compare(account, after.name)
            if not swap:
                break
            # It fails when the catalogue has changed, which may have brought subjects that were not counted.
            report.swapped = self._swap(account, after)
            if not report.swapped:
                self._wake(after.name)
        if report.swapped:
            self._roll(after.name, self._around.clock())
        self.close()
        return report

    def close(self) -> None:
        """Close and delete what is neither live nor read by those who remember: a next generation is given up."""
        account = self._account()
        if account.previous is not None:
            self._pass(self._around.clock() + SETTLES)
        gone = {each.name for each in (account.next, account.previous) if each is not None}
        gone.update(self._gone())
        if gone:
            # Named until they are deleted, so that whoever comes after a stop knows of them.
            self._lease.change(
                "SET gens_gone = :gone REMOVE gen_next, cut_next, gen_prev, cut_prev",
                {":gone": {"S": ",".join(sorted(gone, key=int))}},
            )
        for each in read_unmatched(self._table, self._organization_id):
            if each.void(account.generation):
                self._drop(each)
        for name in gone:
            # A fold that read the profile before may still write: once more, until there is nothing.
            while self._generations.delete(name, self._lease.renew):
                self._around.progress(f"deleted generation {name}")
        if gone:
            self._lease.change("REMOVE gens_gone", {})

    def _begin(self) -> Generation:
        """Open the next generation: from now on the fold counts what comes after its cut into both."""
        refuse_open_imports(self._table, self._organization_id)
        Replay(self._table, self._account(), self._lease, self._around.clock).take_up()
        self.close()
        account = self._account()
        name = str(max(int(account.generation), integer(self._profile(), "gen_last")) + 1)
        after = Generation(name, self._around.clock() + SETTLES)
        self._lease.change(
            "SET gen_next = :next, gen_last = :last, cut_next = :cut",
            {":next": {"S": name}, ":last": {"N": name}, ":cut": {"N": str(after.cut)}},
        )
        try:
            # An import that has begun meanwhile is seen here, or has seen the next generation.
            refuse_open_imports(self._table, self._organization_id)
        except BusyError:
            self.close()
            raise
        return after

    def _count_log(self, account: Account, after: Generation, done: set[Subject]) -> int:
        """Count the events of all subjects that were not counted yet; tell how many count somewhere."""
        self._around.progress("counting the event log")
        folding = Fold(self._table, self._organization_id, after.name)
        marks: list[Item] = []
        logged: list[_Matched] = []
        counted = 0
        for subject in self._generations.subjects():
            if subject in done:
                continue
            for matched in self._to_count(account, after, subject, folding):
                logged.append(matched)
                if len(logged) >= _COUNTED_TOGETHER:
                    counted += self._fold(folding, logged, account, after)
                    logged = []
            marks.append(key_item(keys.scanned(self._organization_id, after.name, *subject)))
            done.add(subject)
        counted += self._fold(folding, logged, account, after)
        self._table.put_all(marks)
        return counted

    def _to_count(
        self, account: Account, after: Generation, subject: Subject, folding: Fold
    ) -> Iterator[_Matched]:
        """Give a subject's events that count, and put those by that nobody's line item is for."""
        waiting = {
            each.event.id
            for each in read_unmatched(self._table, self._organization_id, subject)
            if each.waiting(account.generation)
        }
        for held in read_log(self._table, self._organization_id, subject):
            if held.withdrawn or held.accepted > after.cut or held.event.id in waiting:
                continue
            owning = self._subjects.owning(account, subject, held.event)
            if folding.expects(held.event, owning):
                self._number += 1
                position = Position(rebuild_shard(after.name), self._number)
                yield held, EventToCount(position, held.event, owning, held.accepted)
            else:
                # If the stream has not delivered it yet, it will find the next generation to have dealt with it.
                self._keep_unmatched(held, after)

    def _keep_unmatched(self, held: LoggedEvent, after: Generation) -> None:
        since = held.accepted or self._around.clock()
        logged = item_of(held.row)
        self._table.put_new(
            unmatched_item(self._organization_id, held.subject, logged, since, generation=after.name)
        )

    def _fold(self, folding: Fold, logged: Sequence[_Matched], account: Account, after: Generation) -> int:
        """Count events; those that a changed catalogue stops are matched again, and keep their positions."""
        while True:
            self._lease.renew()
            events = [each for _, each in logged]
            try:
                return folding.fold(events, self._around.clock(), account.version).counted
            except CatalogueChangedError:
                account = self._settled_account()
                logged = list(self._matched_again(logged, account, after, folding))

    def _matched_again(
        self, logged: Iterable[_Matched], account: Account, after: Generation, folding: Fold
    ) -> Iterator[_Matched]:
        for held, each in logged:
            owning = self._subjects.owning(account, held.subject, held.event)
            if folding.expects(held.event, owning):
                yield held, each._replace(subscriptions=owning)
            else:
                self._keep_unmatched(held, after)

    def _roll(self, generation: str, now: int) -> None:
        Fold(self._table, self._organization_id, generation).roll(now, lambda _: self._lease.renew())

    def _wake(self, generation: str) -> None:
        """Have the clock look anew at all that it keeps: who changed the catalogue woke what there was then."""
        for subscription in self._renewing(self._generations.subscriptions()):
            wake_subscription(self._table, self._organization_id, generation, subscription)

    def _compare(self, account: Account, after: str) -> list[Difference]:
        """Compare the generations. What is being counted just then may differ for a moment: looked at again.

        A view that the live generation lacks is not compared: it has only what came since the view was added.
        """
        self._around.progress("comparing")
        live = account.generation
        places = (
            place
            for place in self._generations.places()
            if not isinstance(place, View) or place.name in account.views
        )
        found: dict[Place, list[Difference]] = self._generations.differences(
            live, after, self._renewing(places)
        )
        for _ in range(_COMPARISONS):
            if not found:
                break
            self._pass(self._around.clock() + _BETWEEN_LOOKS)
            found = self._generations.differences(live, after, self._renewing(found))
        return [difference for several in found.values() for difference in several]

    def _renewing[A](self, places: Iterable[A]) -> Iterator[A]:
        for number, place in enumerate(places):
            if number % _PLACES_BETWEEN_RENEWALS == 0:
                self._lease.renew()
            yield place

    def _swap(self, account: Account, after: Generation) -> bool:
        """Make the next generation, with its views, the live one, unless the catalogue has changed."""
        values: Item = {
            ":gen": {"S": after.name},
            ":cut": {"N": str(after.cut)},
            ":prev": {"S": account.generation},
            ":prev_cut": {"N": str(account.cut)},
            ":version": {"N": str(account.version)},
            ":rules": {"N": str(RULES)},
        }
        named, unnamed = "", ", views"
        if views := keys.views_text():
            named, unnamed = ", views = :views", ""
            values[":views"] = {"S": views}
        try:
            self._lease.change(
                f"SET gen = :gen, cut = :cut, gen_prev = :prev, cut_prev = :prev_cut, counted_by = :rules{named} "
                f"REMOVE gen_next, cut_next{unnamed}",
                values,
                condition="ver = :version AND gen_next = :gen",
            )
        except BusyError:
            self._lease.renew()
            return False
        return True

    def _drop(self, each: UnmatchedEvent) -> None:
        """Delete an item that means nothing, unless the fold has just given it a meaning."""
        delete: Action = {
            "TableName": self._table.name,
            "Key": key_item(each.key),
            "ConditionExpression": "gen = :gen",
            "ExpressionAttributeValues": {":gen": {"S": each.generation}},
        }
        with suppress(ConflictError):
            self._table.transact([{"Delete": delete}])

    def _pass(self, until: int) -> None:
        """Let time pass, and keep the lease."""
        self._lease.renew()
        while (rest := until - self._around.clock()) > 0:
            self._around.sleep(min(rest, _LONGEST_SLEEP) / _SECOND)
            self._lease.renew()

    def _gone(self) -> list[str]:
        return [name for name in text(self._profile(), "gens_gone").split(",") if name]

    def _profile(self) -> Row:
        key = keys.organization(self._organization_id, "profile")
        return self._table.get(key, consistent=True) or {}

    def _settled_account(self) -> Account:
        """Give the account when its catalogue is not being written: its version tells of a change from then on."""
        account = self._account()
        if account.unsettled(self._around.clock()):
            self._around.progress("waiting for the catalogue to be written")
        while account.unsettled(self._around.clock()):
            self._pass(self._around.clock() + _BETWEEN_LOOKS)
            account = self._account()
        return account

    def _account(self) -> Account:
        account = read_account(self._table, self._organization_id, consistent=True)
        if account is None:
            raise BusyError("the organization has no catalogue")
        return account


def rebuild(table: Table, organization_id: str, around: Surroundings, *, swap: bool = True) -> RebuildReport:
    """Recompute an organization's counters and rollups, compare, and swap. Raises `BusyError`."""
    with leased(table, organization_id, "rebuild", around.clock) as lease:
        return Rebuild(table, organization_id, lease, around).run(swap=swap)


def make_way(table: Table, organization_id: str, around: Surroundings) -> None:
    """See that a rebuild can begin; one that was stopped is given up. Raises `BusyError`."""
    with leased(table, organization_id, "rebuild", around.clock) as lease:
        refuse_open_imports(table, organization_id)
        Rebuild(table, organization_id, lease, around).close()


def abandon(table: Table, organization_id: str, around: Surroundings) -> None:
    """Give up a rebuild that was stopped, and delete what it has written. Raises `BusyError`."""
    with leased(table, organization_id, "rebuild", around.clock) as lease:
        Rebuild(table, organization_id, lease, around).close()

"""Rebuilding: counters and rollups are recomputed from the event log, beside the live ones, and then swapped in.

The organization's profile names a `next` generation and a `cut`, which lies a minute ahead. From then on the fold
counts events that are accepted after the cut into both generations. When one more minute has passed, all events
that were accepted up to the cut are in the log, and the rebuild counts them into the next generation. The cut
stays with the generation. By it the fold knows that an event which the stream delivers late has been counted. So
each event is in the next generation once, from the log or from the stream, and readers see up-to-date usage at all
times.

For a minute after the swap the fold also counts into the previous generation, since readers remember an account
for half a minute. Then the previous generation is deleted. A rebuild that was stopped is begun anew, in a newer
generation.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from meterstone import clock as wall
from meterstone.store.catalogue.accounts import Account, Generation, read_account
from meterstone.store.catalogue.guards import Guard
from meterstone.store.catalogue.subjects import Subjects
from meterstone.store.counting.fold import EventToCount, Fold, Unread
from meterstone.store.counting.waking import wake_subscription
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import CatalogueChangedError, UnreadableItemError
from meterstone.store.dynamodb.lease import BusyError, Lease, leased
from meterstone.store.dynamodb.table import (
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
from meterstone.store.events.uncounted import (
    UnreadableEvent,
    drop,
    drop_unreadable,
    keep_unreadable,
    put_unmatched,
    read_unreadable,
)
from meterstone.store.events.unmatched import (
    UnmatchedEvent,
    read_unmatched,
    unmatched_event_of,
    unmatched_item,
)
from meterstone.store.operations.differences import Difference, ItemDifference, Place, View, described
from meterstone.store.operations.generations import Generations
from meterstone.store.operations.import_records import refuse_open_imports
from meterstone.store.operations.late_subjects import read_late_subjects
from meterstone.store.operations.purge_records import refuse_open_purges
from meterstone.store.operations.replay import Replay
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import MINUTE
from meterstone.usage.receipt import why_unmatched
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


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The surroundings of a rebuild: the clock, the passing of time, and the function that shows progress."""

    clock: Callable[[], int] = wall.now
    sleep: Callable[[float], None] = time.sleep
    progress: Callable[[str], None] = lambda _: None


@dataclass(slots=True)
class RebuildReport:
    """The result of a rebuild: how many events it counted from the log, and where the generations differ."""

    generation: str
    events: int = 0
    differences: list[Difference] = field(default_factory=list)
    swapped: bool = False


class Rebuild:
    """Rebuilds one organization's counters and rollups, under a lease."""

    def __init__(
        self,
        table: Table,
        organization_id: str,
        lease: Lease,
        around: Surroundings,
        *,
        purged: Sequence[Subject] | None = None,
    ) -> None:
        """Write to a table. With ``purged``, it is a purge's own rebuild.

        These are the customer's new names: its events are gone through even if it has no subscription.
        """
        self._table = table
        self._organization_id = organization_id
        self._purged = purged
        self._lease = lease
        self._around = around
        self._subjects = Subjects(table)
        self._generations = Generations(table, organization_id)
        self._number = 0
        #: Whether the list of unreadable events is brought up to date, too. A rebuild that only compares does not
        #: change it.
        self._keeps_lists = False
        #: The logged events that are about to be counted, by position.
        self._held: dict[Position, LoggedEvent] = {}
        #: Events in the list of unreadable ones that all meters can read by the present catalogue.
        self._readable: dict[Subject, set[str]] = {}

    def run(self, *, swap: bool = True) -> RebuildReport:
        """Rebuild, compare, and, with ``swap``, swap. Raises `BusyError`."""
        after = self._begin()
        report = RebuildReport(after.name)
        self._keeps_lists = swap
        self._around.progress("waiting two minutes, until all that is under way is in the log")
        self._pass(after.cut + SETTLES)
        done: set[Subject] = set()
        while not report.swapped:
            account = self._settled_account()
            subjects = [*self._generations.subjects(), *(self._purged or ())]
            report.events += self._count_log(account, after, subjects, done)
            # Both are rolled up to one instant, so that changes of the clock are no differences.
            now = self._around.clock()
            with suppress(WriteRefusedError):
                # The live rollups are replaced even if they do not take what the clock has changed.
                self._roll(account.generation, now)
            self._roll(after.name, now)
            report.differences = self._compare(account, after.name)
            if not swap:
                break
            report.swapped = self._count_late_and_swap(account, after, done, report)
            if not report.swapped:
                # A catalogue of the first stored format has changed: there may be subjects that were not counted.
                self._wake(after.name)
        if report.swapped:
            self._roll(after.name, self._around.clock())
            for subject, ids in self._readable.items():
                drop_unreadable(self._table, self._organization_id, subject, sorted(ids))
        self.close()
        return report

    def _count_late_and_swap(
        self, account: Account, after: Generation, done: set[Subject], report: RebuildReport
    ) -> bool:
        """Count subjects that have come meanwhile, and swap as soon as none has come since.

        Return False if the version of the whole catalogue has changed.
        """
        while True:
            late = read_late_subjects(self._table, self._organization_id, after.name)
            report.events += self._count_log(account, after, late.subjects, done)
            if self._swap(account, after, late.puts):
                return True
            if self._settled_account().version != account.version:
                return False

    def close(self) -> None:
        """Close and delete all generations but the live one. A next generation is given up."""
        account = self._account()
        if account.previous is not None:
            self._pass(self._around.clock() + SETTLES)
        gone = {each.name for each in (account.next, account.previous) if each is not None}
        gone.update(self._gone())
        if gone:
            # The profile names them until they are deleted, so that the next command knows of them after a stop.
            self._lease.change(
                "SET gens_gone = :gone REMOVE gen_next, cut_next, gen_prev, cut_prev",
                {":gone": {"S": ",".join(sorted(gone, key=int))}},
            )
        for each in read_unmatched(self._table, self._organization_id):
            if each.void(account.generation):
                self._drop(each)
        for name in gone:
            # A fold that read the profile before may still write. So delete again, until nothing is found.
            while self._generations.delete(name, self._lease.renew):
                self._around.progress(f"deleted generation {name}")
        if gone:
            self._lease.change("REMOVE gens_gone", {})

    def _begin(self) -> Generation:
        """Open the next generation: from now on the fold counts events after its cut into both generations."""
        refuse_open_imports(self._table, self._organization_id)
        if self._purged is None:
            # Half of a customer's events may stand under other ids that the catalogue does not have yet.
            refuse_open_purges(self._table, self._organization_id)
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
            # If an import begins at the same time, either it is seen here, or it sees the next generation.
            refuse_open_imports(self._table, self._organization_id)
        except BusyError:
            self.close()
            raise
        return after

    def _count_log(
        self, account: Account, after: Generation, subjects: Iterable[Subject], done: set[Subject]
    ) -> int:
        """Count the events of subjects that are not ``done``. Return how many events count somewhere."""
        self._around.progress("counting the event log")
        folding = Fold(self._table, self._organization_id, after.name)
        folding.keep_unread = self._keep_unread
        marks: list[Item] = []
        counted = 0
        for subject in subjects:
            if subject in done:
                continue
            for held in self._to_count(account, after, subject):
                self._number += 1
                self._held[Position(rebuild_shard(after.name), self._number)] = held
                if len(self._held) >= _COUNTED_TOGETHER:
                    counted += self._fold(folding, after)
                    self._around.progress(f"counting the event log: {self._number} events so far")
            marks.append(key_item(keys.scanned(self._organization_id, after.name, *subject)))
            done.add(subject)
        counted += self._fold(folding, after)
        self._table.put_all(marks)
        return counted

    def _to_count(self, account: Account, after: Generation, subject: Subject) -> Iterator[LoggedEvent]:
        """Yield a subject's events that are to be counted from the log, or saved as unmatched."""
        waiting = {
            each.event.id
            for each in read_unmatched(self._table, self._organization_id, subject)
            if each.waiting(account.generation)
        }
        listed = {each.id for each in read_unreadable(self._table, self._organization_id, subject)}
        for held in read_log(self._table, self._organization_id, subject):
            if held.accepted > after.cut:
                # It is the stream's, which lists it if no meter can read it.
                continue
            if held.event.id in listed:
                # Those that are found to be unreadable are removed again.
                self._readable.setdefault(subject, set()).add(held.event.id)
            if not held.withdrawn and held.event.id not in waiting:
                yield held

    def _fold(self, folding: Fold, after: Generation) -> int:
        """Count the events in hand, and save those as unmatched that no line item is for.

        If the catalogue changes meanwhile, they are matched again, and keep their positions. If the stream
        delivers one of them later, the cut says that the next generation has it already.
        """
        saved: set[Position] = set()
        while True:
            self._lease.renew()
            account, now = self._settled_account(), self._around.clock()
            subjects = (held.subject for held in self._held.values())
            standing = self._subjects.standing(account, subjects, now)
            logged: list[EventToCount] = []
            unmatched: list[tuple[Item, Guard]] = []
            for position, held in self._held.items():
                if position in saved:
                    continue
                owning = standing.owning(held.subject, held.event)
                if folding.expects(held.event, owning):
                    logged.append(EventToCount(position, held.subject, held.event, owning, held.accepted))
                else:
                    reason = why_unmatched(
                        held.event, held.subject, account.meters, standing.subscriptions(held.subject)
                    )
                    item = unmatched_item(
                        self._organization_id,
                        held.subject,
                        item_of(held.row),
                        held.accepted or now,
                        reason,
                        generation=after.name,
                    )
                    unmatched.append((item, standing.unmatched_guard(held.subject)))
            with suppress(CatalogueChangedError):
                report = folding.fold(logged, now, standing)
                with suppress(ConflictError):
                    put_unmatched(self._table, self._organization_id, unmatched)
                    self._held.clear()
                    return report.counted
            # By another catalogue those would count that were saved as unmatched.
            saved = self._saved(after)

    def _saved(self, after: Generation) -> set[Position]:
        """Return which of the events in hand were saved as unmatched for the next generation."""
        keyed = {
            keys.unmatched(self._organization_id, *held.subject, held.event.id): position
            for position, held in self._held.items()
        }
        found = self._table.batch_get(keyed, consistent=True)
        return {keyed[key] for key, row in found.items() if unmatched_event_of(row).generation == after.name}

    def _keep_unread(self, unread: Sequence[Unread]) -> None:
        """Store events that meters cannot read in the list of unreadable ones, as the stream and imports do."""
        if not self._keeps_lists:
            return
        found: list[UnreadableEvent] = []
        for each in unread:
            held = self._held[each.position]
            since = held.accepted or self._around.clock()
            found.append(
                UnreadableEvent.of(held.subject, each.event, since, each.faults, elsewhere=each.elsewhere)
            )
            self._readable.get(held.subject, set()).discard(each.event.id)
        keep_unreadable(self._table, self._organization_id, found)

    def _roll(self, generation: str, now: int) -> None:
        folding = Fold(self._table, self._organization_id, generation)
        folding.roll(self._account(), now, lambda _: self._lease.renew())

    def _wake(self, generation: str) -> None:
        """Wake all tallies of a generation: a load wakes only the tallies that exist at its time."""
        for subscription in self._renewing(self._generations.subscriptions()):
            wake_subscription(self._table, self._organization_id, generation, subscription)

    def _compare(self, account: Account, after: str) -> list[Difference]:
        """Compare the generations. Places that differ, as they may while events are counted, are compared again.

        A view that the live generation lacks is not compared. It has only usage since the view was added.
        """
        self._around.progress("comparing")
        live = account.generation
        places = (
            place
            for place in self._generations.places()
            if not isinstance(place, View) or place.name in account.views
        )
        found: dict[Place, list[ItemDifference]] = self._generations.differences(
            live, after, self._renewing(places)
        )
        for _ in range(_COMPARISONS):
            if not found:
                break
            self._pass(self._around.clock() + _BETWEEN_LOOKS)
            found = self._generations.differences(live, after, self._renewing(found))
        return described(found, self._renewing(self._generations.subscriptions()))

    def _renewing[A](self, places: Iterable[A]) -> Iterator[A]:
        for number, place in enumerate(places):
            if number % _PLACES_BETWEEN_RENEWALS == 0:
                self._lease.renew()
            yield place

    def _swap(self, account: Account, after: Generation, puts: int) -> bool:
        """Make the next generation, with its views, the live one, unless subjects have come meanwhile.

        ``puts``: how many puts have told late subjects, all of which were counted.
        """
        values: Item = {
            ":gen": {"S": after.name},
            ":cut": {"N": str(after.cut)},
            ":prev": {"S": account.generation},
            ":prev_cut": {"N": str(account.cut)},
            ":version": {"N": str(account.version)},
            ":rules": {"N": str(RULES)},
        }
        if puts:
            values[":puts"] = {"N": str(puts)}
        named, unnamed = "", ", rollup_views"
        if views := keys.views_text():
            named, unnamed = ", rollup_views = :views", ""
            values[":views"] = {"S": views}
        try:
            self._lease.change(
                f"SET gen = :gen, cut = :cut, gen_prev = :prev, cut_prev = :prev_cut, counted_by = :rules{named} "
                f"REMOVE gen_next, cut_next{unnamed}",
                values,
                condition="ver = :version AND gen_next = :gen AND "
                + ("puts = :puts" if puts else "attribute_not_exists(puts)"),
            )
        except BusyError:
            self._lease.renew()
            return False
        return True

    def _drop(self, each: UnmatchedEvent) -> None:
        """Delete a void unmatched item, unless the fold has just saved it for the live generation."""
        with suppress(ConflictError):
            drop(self._table, self._organization_id, each)

    def _pass(self, until: int) -> None:
        """Wait until an instant, and keep the lease meanwhile."""
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
        """Return the account once its catalogue is not being written: any later change raises its version."""
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
    """Recompute an organization's counters and rollups, compare, and swap.

    Raises `BusyError`, and `UnreadableItemError` if the log has an event that cannot be read.
    """
    with leased(table, organization_id, "rebuild", around.clock) as lease:
        rebuilding = Rebuild(table, organization_id, lease, around)
        try:
            return rebuilding.run(swap=swap)
        except UnreadableItemError:
            # It is to be withdrawn first, and no event is while a rebuild is open.
            rebuilding.close()
            raise


def abandon(table: Table, organization_id: str, around: Surroundings) -> None:
    """Give up a rebuild that was stopped, and delete what it has written. Raises `BusyError`."""
    read_account(table, organization_id, consistent=True)
    with leased(table, organization_id, "rebuild", around.clock) as lease:
        Rebuild(table, organization_id, lease, around).close()

"""Counting some subscriptions anew: from the log up to a cut, from the stream after it, and read by one flip.

A put that moves counted usage says in the subscription's item by which terms an edition is filled, and with which
cut (see `usage.counting`). From then on the stream counts what is accepted after the cut into that edition, too.
Some seconds later, when everything that was accepted up to the cut is in the log, the recount counts the log. Then
one transaction makes the edition the one that is read. The rollups follow charge by charge.

Whoever counts from a list of its own keeps apart: the log is read under the organization's lease, as replays and
rebuilds are. An import counts beside it; the flip is under the condition that the import has come no further than
the log was counted, and an import moves its record under the condition that no flip was made since it has read.

A recount that was stopped goes on from its place in the logs. If it would not find there what it has found before,
it begins anew, with another edition and another cut: what it has counted is read by nobody then.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from copy import replace
from itertools import batched
from typing import Final

from meterstone.store.catalogue.accounts import Account
from meterstone.store.catalogue.countings import CountingSeen, next_reads, read_countings, step
from meterstone.store.catalogue.subjects import Standing, Subjects
from meterstone.store.catalogue.subscriptions import By, read_subscriptions
from meterstone.store.counting.fold import Fold
from meterstone.store.counting.writing import PendingEvents, Turn
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import CatalogueChangedError, StoreUnavailableError
from meterstone.store.dynamodb.keys import Kind
from meterstone.store.dynamodb.lease import BusyError, Lease
from meterstone.store.dynamodb.packing import unpack_tally_key
from meterstone.store.dynamodb.table import Action, ConflictError, Table, integer, item_of, text
from meterstone.store.events.log import LoggedEvent, read_log
from meterstone.store.events.uncounted import (
    UnreadableEvent,
    drop_unreadable,
    keep_unreadable,
    open_again,
    put_unmatched,
    read_unreadable,
)
from meterstone.store.events.unmatched import unmatched_item
from meterstone.store.operations.import_records import Records
from meterstone.store.operations.log_counting import (
    COUNTED_TOGETHER,
    LogCounting,
    Place,
    Reading,
    RecountReport,
    StopError,
    digest_of,
)
from meterstone.store.operations.purge_records import refuse_open_purges
from meterstone.store.operations.replay import Replay
from meterstone.store.operations.turns import Surroundings, taking_turns
from meterstone.usage.arrival import Subject
from meterstone.usage.counting import Counting
from meterstone.usage.instant import SECOND
from meterstone.usage.matching import Matching
from meterstone.usage.receipt import judge, why_unmatched
from meterstone.usage.subscription import Subscription, covered
from meterstone.usage.tally import TallyKey, charge_of

AHEAD_OF_NOW: Final = 5 * SECOND
"""How far ahead of now a cut lies: clocks differ by less."""

SETTLES: Final = 20 * SECOND
"""How long after the cut everything that was accepted up to it is in the log: a request is over by then."""

LANDS: Final = 3 * SECOND
"""How long writing a cut may take, so that it is there before it has come by any clock."""

_ATTEMPTS: Final = 20


class Recounting:
    """Counts some subscriptions of one organization anew, for one recount."""

    def __init__(
        self,
        table: Table,
        organization_id: str,
        recount_id: str,
        ids: Sequence[str],
        around: Surroundings,
        place: str = "",
        keep: Callable[[RecountReport], bool] = lambda _: True,
    ) -> None:
        """Write to a table. ``place`` is up to where an earlier call has come.

        ``keep`` is called after each batch, with how far it is. If it answers no, another carries the recount on.
        """
        self.report = RecountReport(place=place)
        self._table = table
        self._organization_id = organization_id
        self._recount_id = recount_id
        self._ids = ids
        self._around = around
        self._subjects = Subjects(table)
        self._matching = Matching()
        self._log = LogCounting(table, organization_id, around, self.report, keep)

    def run(self) -> RecountReport:
        """Count, flip, and have the rollups follow, as far as there is time.

        It is not done if the rollups do not take what a tally is worth, and is to be tried again.
        """
        while filling := self._filling():
            ready = max(seen.counting.filling.cut.at for seen in filling if seen.counting.filling) + SETTLES
            if not self._wait(ready):
                return self.report
            try:
                if not self._taking_turns(self._count_and_flip):
                    return self.report
            except StopError:
                return self.report
        if not self._taking_turns(self._settle_lists):
            return self.report
        self._follow()
        self.report.done = not self.report.unpublished
        return self.report

    def _seen(self) -> list[CountingSeen]:
        return read_countings(self._table, self._organization_id, self._ids)

    def _filling(self) -> list[CountingSeen]:
        """Return the subscriptions that this recount fills an edition of."""
        return [
            seen
            for seen in self._seen()
            if seen.counting.filling is not None and seen.counting.filling.recount == self._recount_id
        ]

    def _wait(self, until: int) -> bool:
        """Wait until an instant. Return False if there is not so much time."""
        if until > self._around.until:
            return False
        while (rest := until - self._around.clock()) > 0:
            self._around.sleep(rest / SECOND)
        return True

    def _taking_turns(self, do: Callable[[Lease], None]) -> bool:
        self.report.waits_for = taking_turns(self._table, self._organization_id, "recount", self._around, do)
        return not self.report.waits_for

    def _count_and_flip(self, lease: Lease) -> None:
        account = self._log.account()
        if account.next is not None:
            raise BusyError("a rebuild was stopped: run rebuild again, or give it up, first")
        refuse_open_purges(self._table, self._organization_id)
        seen = self._filling()
        if not seen:
            return
        Replay(self._table, account, lease, self._around.clock).take_up()
        filling = [each.counting.filling for each in seen if each.counting.filling is not None]
        if any(each.generation != account.generation for each in filling):
            self._begin_anew(account, seen)
            return
        subjects = list(dict.fromkeys(each for one in seen for each in one.read))
        profile = self._profile()
        records = Records.read(self._table, self._organization_id)
        begins = Place(max(each.cut.at for each in filling), tuple(subjects), digest_of(records.all))
        found = Reading(begins)
        if any(each.cut.by_id for each in filling):
            gone_on_with = self._log.gone_on_with(account, begins)
            if gone_on_with is None:
                self._begin_anew(account, seen)
                return
            found = gone_on_with
        else:
            reading = self._begin_to_read(seen)
            if reading is None:
                return
            seen = reading
        editions = {each.id: each.counting.filling.number for each in seen if each.counting.filling}
        resumed = found.number > 0
        self._log.count(lease, editions, subjects, records, found, begins.cut)
        for _ in range(_ATTEMPTS):
            if self._flip(lease, profile, records):
                return
            if not self._filling():
                return
            before, profile = records, self._profile()
            records = Records.read(self._table, self._organization_id)
            if before.all == records.all:
                continue
            if resumed:
                # What was counted before the place is not known one by one.
                self._begin_anew(account, self._filling())
                return
            found.place = None
            self._log.count(lease, editions, subjects, records, found, begins.cut)
        raise BusyError("an import moves on all the time: wait until it is through")

    def _begin_anew(self, account: Account, seen: Sequence[CountingSeen]) -> None:
        """Begin with editions and cuts of their own: what was counted before is read by nobody.

        A cut is good only if it was written before it has come: the stream counts what is accepted after it.
        """
        for _ in range(_ATTEMPTS):
            cut = self._around.clock() + AHEAD_OF_NOW
            read = any(each.counting.filling.cut.by_id for each in seen if each.counting.filling)
            changes = []
            for each in seen:
                filling = each.counting.filling
                if filling is not None:
                    scopes = [(one.scope, one.since) for one in filling.entries]
                    begun = each.counting.begun(
                        each.live, filling.terms, scopes, cut, account.generation, self._recount_id
                    )
                    changes.append((each, begun))
            with self._table.deadline.at_most(LANDS / SECOND):
                written = step(self._table, self._organization_id, changes, reading=False if read else None)
            # If the items have changed meanwhile, the next turn finds it.
            if not written or self._around.clock() <= cut:
                return
            seen = self._filling()
        raise BusyError("the table answers too late")

    def _begin_to_read(self, seen: Sequence[CountingSeen]) -> list[CountingSeen] | None:
        """Note that the logs are read from now on. Return the items as they are then; None if they changed."""
        reads = next_reads(
            self._table, self._organization_id, (each for one in seen for each in one.subjects)
        )
        changes = []
        for each in seen:
            filling = each.counting.filling
            if filling is None:
                return None
            by_id = reads[Subject.subscription(filling.terms.events_by)]
            by_customer = reads[Subject.customer(filling.terms.customer_id)]
            changes.append((each, each.counting.read(by_id, by_customer)))
        if not step(self._table, self._organization_id, changes, reading=True):
            return None
        return self._filling()

    def _flip(self, lease: Lease, profile: dict[str, int], records: Records) -> bool:
        """Make the editions that were filled the ones that are read, all at once.

        Return False, nothing written, if an import has moved on or begun since the log was read.
        """
        seen = self._filling()
        changes = [(each, each.counting.flipped(each.terms, each.live)) for each in seen]
        beside: list[Action] = [
            lease.action(
                "flips = :flips",
                {":flips": {"N": str(profile["flips"] + 1)}}
                | ({":runs": {"N": str(profile["runs"])}} if profile["runs"] else {}),
                condition="runs = :runs" if profile["runs"] else "attribute_not_exists(runs)",
            )
        ]
        beside += [each.unchanged(self._table, self._organization_id) for each in records.all if each.open]
        return bool(changes) and step(
            self._table, self._organization_id, changes, reading=False, beside=beside
        )

    def _settle_lists(self, lease: Lease) -> None:
        """Bring the lists of what does not count up to date, and count what has waited."""
        seen = self._seen()
        subjects = list(dict.fromkeys(each for one in seen for each in one.subjects))
        account = self._log.account()
        counts_less = self._counts_less(account, seen)
        for subject in subjects:
            nobodys = self._counted_by_nobody(account, subject) if counts_less else ()
            for some in batched(nobodys, COUNTED_TOGETHER, strict=False):
                self._save_unmatched(lease, some)
            self._list_unreadable(lease, account, subject)
        replay = Replay(self._table, account, lease, self._around.clock)
        # Who was stopped may have given numbers to events, which are counted before others get one.
        replay.take_up()
        replay.count_waiting(subjects)

    def _counts_less(self, account: Account, seen: Iterable[CountingSeen]) -> bool:
        """Return whether something was counted before the flip that may not be after it."""
        ids = [each.id for each in seen if each.counting.former is not None]
        before, after = (self._read(account, ids, by) for by in (By.FORMER, By.READ))
        spans = [
            (subject, item.meter.id, each.counted(item))
            for each in after
            for subject in _subjects_of(each)
            for item in each.line_items
            if item.meter is not None
        ]
        return any(
            not covered(each.counted(item), [span for *of, span in spans if of == [subject, item.meter.id]])
            for each in before
            for subject in _subjects_of(each)
            for item in each.line_items
            if item.meter is not None
        )

    def _counted_by_nobody(self, account: Account, subject: Subject) -> Iterator[LoggedEvent]:
        """Yield a subject's events that no line item is for, and that are not listed yet."""
        records = Records.read(self._table, self._organization_id)
        standing = self._subjects.standing(account, [subject], self._around.clock())
        unmatched = self._log.unmatched(account.generation, subject)
        for logged in self._log.from_log(subject, unmatched, records):
            owning = standing.owning(subject, logged.event, filling=True)
            if not self._matching.expects(logged.event, owning):
                yield logged

    def _save_unmatched(self, lease: Lease, some: Sequence[LoggedEvent]) -> None:
        """Save events as unmatched that no line item is for any more."""
        for _ in range(_ATTEMPTS):
            lease.renew()
            account, now = self._log.account(), self._around.clock()
            standing = self._subjects.standing(account, (each.subject for each in some), now)
            unmatched = []
            for each in some:
                if self._matching.expects(
                    each.event, standing.owning(each.subject, each.event, filling=True)
                ):
                    continue
                reason = why_unmatched(
                    each.event, each.subject, account.meters, standing.subscriptions(each.subject)
                )
                item = unmatched_item(
                    self._organization_id, each.subject, item_of(each.row), each.accepted or now, reason
                )
                unmatched.append((item, standing.unmatched_guard(each.subject)))
            try:
                there = put_unmatched(self._table, self._organization_id, unmatched)
                for place, item in there.items():
                    if "done" in item:
                        open_again(self._table, self._organization_id, item, unmatched[place][0])
            except ConflictError:
                continue
            return
        raise BusyError("the catalogue changes all the time")

    def _list_unreadable(self, lease: Lease, account: Account, subject: Subject) -> None:
        """Bring the list of unreadable events of a subject up to date: other meters may fail to read them."""
        listed = {each.id: each for each in read_unreadable(self._table, self._organization_id, subject)}
        if not listed:
            return
        standing: Standing = self._subjects.standing(account, [subject], self._around.clock())
        # Also as they will be: what is filled beside this lists nothing once more that it has listed.
        held = standing.held[subject]
        readable: list[str] = []
        unreadable: list[UnreadableEvent] = []
        nobodys: list[LoggedEvent] = []
        for logged in read_log(self._table, self._organization_id, subject):
            before = listed.get(logged.event.id)
            if before is None:
                continue
            verdict = judge(logged.event, subject, account.meters, held, self._matching)
            if verdict.faults:
                faults, elsewhere = tuple(verdict.faults), bool(verdict.counts)
                unreadable.append(
                    UnreadableEvent.of(subject, logged.event, before.since, faults, elsewhere=elsewhere)
                )
            else:
                readable.append(logged.event.id)
                nobodys += [logged] if verdict.reason is not None else []
        self._save_unmatched(lease, nobodys)
        drop_unreadable(self._table, self._organization_id, subject, readable)
        keep_unreadable(self._table, self._organization_id, unreadable)

    def _follow(self) -> None:
        """Have the rollups follow: what was read leaves them, and what is read now comes in.

        As long as they do not take all of it, the subscriptions say what was read before.
        """
        for _ in range(_ATTEMPTS):
            seen = [each for each in self._seen() if each.counting.former is not None]
            if not seen:
                return
            # A customer may move between two reads of it: then all is read again.
            with suppress(CatalogueChangedError):
                self.report.unpublished = self._turn(seen)
                if self.report.unpublished:
                    return
                done = [(each, _without_former(each.counting)) for each in seen]
                if step(self._table, self._organization_id, done):
                    return
        raise StoreUnavailableError("the catalogue changes all the time")

    def _turn(self, seen: Iterable[CountingSeen]) -> list[str]:
        account, now = self._log.account(), self._around.clock()
        unpublished: list[str] = []
        for each in seen:
            folding = Fold(self._table, self._organization_id, account.generation, matching=self._matching)
            turned = folding.turn_over(account, list(self._turning(account, each.id)), now)
            unpublished += turned.unpublished
        return unpublished

    def _turning(self, account: Account, subscription_id: str) -> Iterator[dict[TallyKey, PendingEvents]]:
        """Yield the tallies of a subscription that turn, those together that take each other's place."""
        before, after = (self._read(account, [subscription_id], by) for by in (By.FORMER, By.READ))
        together: dict[tuple[str, str | None, int], dict[TallyKey, PendingEvents]] = {}
        pk = keys.usage(self._organization_id, account.generation, subscription_id)
        for kind in (Kind.COUNTER, Kind.CHAIN):
            for row in self._table.query_prefix(pk, keys.usage_kind(kind), consistent=True):
                if "v" not in row:
                    continue
                key = unpack_tally_key(row)
                new = charge_of(after[0], key) if after else None
                old = charge_of(before[0], key) if before else None
                mode = text(row, "x")
                if new is not None and mode == "q":
                    work = PendingEvents(new, turn=Turn.IN)
                elif new is None and old is not None and (not mode or (mode == "r" and "st" in row)):
                    work = PendingEvents(old, turn=Turn.OUT)
                else:
                    continue
                together.setdefault((key.meter_id, key.item_id, key.period_start), {})[key] = work
        yield from together.values()

    def _read(self, account: Account, ids: Iterable[str], by: By) -> list[Subscription]:
        return read_subscriptions(
            self._table, self._organization_id, ids, account.meters, consistent=True, by=by
        )

    def _profile(self) -> dict[str, int]:
        row = self._table.get(keys.organization(self._organization_id, "profile"), consistent=True) or {}
        return {name: integer(row, name) for name in ("flips", "runs")}


def _subjects_of(subscription: Subscription) -> tuple[Subject, Subject]:
    """Return whose events are counted for a subscription."""
    return Subject.subscription(subscription.external_id), Subject.customer(subscription.customer_id)


def _without_former(counting: Counting) -> Counting:
    return replace(counting, former=None)

"""Folding the table's stream: each event that came in over HTTP is counted once, however often it is delivered.

The stream delivers every change of the table at least once, in order within a shard. The fold takes the events
that are new to the log and have no position in it. Imported events have a position in the log: the import folds
them itself. The position of an event of the stream is its sequence number within its shard.

Before the events of a batch are counted, two kinds are saved elsewhere. A record that cannot be read is
quarantined, with the reason. An event that no line item is for yet is saved as unmatched, and waits for the
catalogue. Events that the table does not take are found only while counting: such a record is quarantined before
the position moves past it.

An event that was withdrawn has a mark in the log. The stream delivers that change of its item after the event, and
the fold takes the event out of the tallies that have it, under the position of the mark.

All these items have keys made of the record itself, so that the same batch again changes nothing. Once an event is
unmatched, the stream does not count it any more, even if it is delivered again when a line item is there. The
replay counts it.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

import msgspec

from meterstone.store.catalogue.accounts import Account, Generation, read_account
from meterstone.store.catalogue.guards import Guard
from meterstone.store.catalogue.subjects import Standing, Subjects
from meterstone.store.counting.fold import EventToCount, Fold, Unread
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import CatalogueChangedError
from meterstone.store.dynamodb.keys import WRITERS, Key
from meterstone.store.dynamodb.table import (
    ConflictError,
    Item,
    StoreUnavailableError,
    Table,
    integer,
)
from meterstone.store.events.log import put_action
from meterstone.store.events.marks import is_mark, mark_of
from meterstone.store.events.positions import part_of, rebuild_shard, stream_shard
from meterstone.store.events.quarantine import Poison
from meterstone.store.events.uncounted import (
    UnreadableEvent,
    finish,
    keep_unreadable,
    put_unmatched,
    take_over,
)
from meterstone.store.events.unmatched import (
    generation_of,
    is_unmatched,
    is_void,
    unmatched_event_of,
    unmatched_item,
)
from meterstone.usage.arrival import Subject
from meterstone.usage.edition import Editions
from meterstone.usage.identifier import LONGEST_ID
from meterstone.usage.instant import END_OF_TIME, ZERO_TIME
from meterstone.usage.matching import Matching
from meterstone.usage.meter import Event
from meterstone.usage.receipt import why_unmatched
from meterstone.usage.subscription import Subscription
from meterstone.usage.tally import Position
from meterstone.usage.withdrawal import Mark, is_counted

#: A record that raises one of these does so each time it is delivered. A number out of range is an
#: ArithmeticError.
_UNREADABLE = (KeyError, ValueError, TypeError, ArithmeticError, RecursionError)


#: How often a batch is matched anew if the catalogue changes under it. After that it is delivered again.
_ATTEMPTS = 5


class StreamReport(msgspec.Struct):
    """The result of a batch of records, with the reasons why records were quarantined (see also `FoldReport`)."""

    events: int = 0
    withdrawn: int = 0
    counted: int = 0
    unmatched: int = 0
    uncounted: int = 0
    poison: list[str] = msgspec.field(default_factory=list)
    unpublished: list[str] = msgspec.field(default_factory=list)

    def add(self, other: "StreamReport") -> None:
        """Add what became of further records."""
        self.events += other.events
        self.withdrawn += other.withdrawn
        self.counted += other.counted
        self.unmatched += other.unmatched
        self.uncounted += other.uncounted
        self.poison += other.poison
        self.unpublished += other.unpublished


class _Arrived(NamedTuple):
    """An event as the stream delivers it, or the mark of one that was withdrawn."""

    position: Position
    organization_id: str
    subject: Subject
    event: Event
    accepted: int
    image: Item
    record: Mapping[str, Any]
    mark: Mark | None = None


class StreamFold:
    """Folds batches of stream records into counters and rollups."""

    def __init__(self, table: Table, tell: Callable[[str], None] = lambda _: None) -> None:
        """Fold into a table. ``tell`` is called with each quarantined record and the reason, as JSON text."""
        self._table = table
        self._tell = tell
        self._subjects = Subjects(table)
        self._matching = Matching()

    def fold(self, records: Sequence[Mapping[str, Any]], shard: str, now: int) -> StreamReport:
        """Count a batch's events, in order. After a `StoreUnavailableError` the batch must be delivered again."""
        report = StreamReport()
        arrived: dict[str, list[_Arrived]] = {}
        name = stream_shard(shard)
        for record in records:
            image = _event_of(record)
            if image is None:
                continue
            is_mark = "w" in image
            report.events += not is_mark
            report.withdrawn += is_mark
            try:
                found = _read(record, image, name)
            except _UNREADABLE as error:
                self._refuse_another_format(image)
                # An event that cannot be read was quarantined: there is nothing to be taken out.
                if not is_mark:
                    self._quarantine(record, f"{type(error).__name__}: {error}", now, report)
            else:
                arrived.setdefault(found.organization_id, []).append(found)
        for organization_id, events in arrived.items():
            self._fold_by_what_stands(organization_id, events, now, report)
        return report

    def _refuse_another_format(self, image: Item) -> None:
        """Raise `StoredFormatError` if an event may be unreadable because its organization has another format.

        Such an event is no poison: its batch waits for the code that can read it.
        """
        organization_id = image.get("org", {}).get("S", "")
        if 0 < len(organization_id) <= LONGEST_ID:
            read_account(self._table, organization_id, consistent=True)

    def _fold_by_what_stands(
        self, organization_id: str, events: Sequence[_Arrived], now: int, report: StreamReport
    ) -> None:
        """Count events, and match them again if the catalogue has changed meanwhile, as far as it concerns them.

        What was counted before that is not counted again: its positions are stored.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            found = StreamReport()
            try:
                self._fold(organization_id, events, now, found)
            except CatalogueChangedError:
                report.poison += found.poison
                if attempt == _ATTEMPTS:
                    raise
            else:
                report.add(found)
                return

    def _fold(self, organization_id: str, events: Sequence[_Arrived], now: int, report: StreamReport) -> None:
        account = read_account(self._table, organization_id, consistent=True)
        if account is None:
            # An API key belongs to an organization with a catalogue. If the catalogue is gone, no event is lost.
            self._keep(organization_id, None, None, _not_withdrawn(events), report)
            return
        if account.unsettled(now):
            raise StoreUnavailableError("the catalogue is being written")
        standing = self._subjects.standing(account, (each.subject for each in events), now)
        events = self._not_moved(account, events)
        if not events:
            return
        writer = part_of(events[0].position.shard, WRITERS)
        folding = self._folding(organization_id, account.generation, writer)
        arrived = {each.position: each for each in events}
        folding.quarantine = lambda at, reason: self._quarantine(arrived[at].record, reason, now, report)
        folding.keep_unread = lambda unread: keep_unreadable(
            self._table,
            organization_id,
            (_unreadable(arrived[each.position], each) for each in unread),
            standing,
        )
        # The rebuild is over: its shard delivers nothing any more.
        folding.forget = frozenset({rebuild_shard(account.generation)})
        logged: list[EventToCount] = []
        unmatched: list[_Arrived] = []
        new = _not_withdrawn(events)
        known = self._known(account, new) if new else set()
        finished = self._finish_withdrawn(account, events, now)
        for each in events:
            owning = standing.owning(each.subject, each.event, filling=True)
            if each.mark is not None:
                if self._key(each) not in finished:
                    logged.append(_to_count(each, owning))
            elif not folding.expects(each.event, owning):
                unmatched.append(each)
            elif not known or self._key(each) not in known:
                logged.append(_to_count(each, owning))
        if unmatched:
            gone = {self._key(each) for each in events if each.mark is not None}
            self._keep_done([each for each in unmatched if self._key(each) in gone], standing, now)
            waiting = [each for each in unmatched if self._key(each) not in gone]
            self._keep(organization_id, account, standing, waiting, report)
        folded = folding.fold(self._of(account, account.live, logged), now, standing)
        report.counted += folded.counted
        report.uncounted += len(folded.uncounted)
        report.unpublished += folded.unpublished
        if account.previous is not None:
            # Functions that remember the account still read the previous generation for a moment.
            before = self._folding(organization_id, account.previous.name, writer)
            before.fold(self._of(account, account.previous, logged), now, standing)
        if account.next is not None:
            after = self._folding(organization_id, account.next.name, writer)
            late = [each for each in logged if _is_in(account.next, each, scanned=True)]
            after.fold(late, now, standing)

    def _not_moved(self, account: Account, events: Sequence[_Arrived]) -> list[_Arrived]:
        """Leave out the events that a purge has put under other names, where its rebuild counts them.

        Somebody else may have the names by now under which they came in. Cost: 1 consistent get for each event
        that was accepted before the last purge was over.
        """
        logged = {
            each.position: Key(each.image["pk"]["S"], each.image["sk"]["S"])
            for each in events
            if account.purged_until and each.accepted <= account.purged_until
        }
        if not logged:
            return list(events)
        rows = self._table.batch_get(logged.values(), consistent=True)
        # What was moved is deleted when the purge is over. Then another event may come in under its id.
        there = {(key, integer(row, "acc")) for key, row in rows.items() if "moved" not in row}
        return [
            each
            for each in events
            if each.position not in logged or (logged[each.position], each.accepted) in there
        ]

    def _finish_withdrawn(self, account: Account, events: Sequence[_Arrived], now: int) -> set[Key]:
        """Return the withdrawn events that were counted nowhere, as they were unmatched when they were withdrawn.

        An event may have been saved as unmatched after its mark, from the stream's earlier record. Its item is
        finished here.
        """
        marked = {self._key(each): each.mark for each in events if each.mark is not None}
        if not marked:
            return set()
        rows = self._table.batch_get(marked, consistent=True)
        found = {key: unmatched_event_of(row) for key, row in rows.items()}
        saved = {key: each for key, each in found.items() if not each.void(account.generation)}
        waiting = [each for each in saved.values() if not each.done]
        finish(self._table, account.organization.id, waiting, now, [True] * len(waiting))
        # A replay gives each event that it counts a number.
        uncounted = {key for key, each in saved.items() if not each.done or each.number is None}
        return uncounted | {key for key, mark in marked.items() if mark.unmatched}

    def _keep_done(self, events: Iterable[_Arrived], standing: Standing, now: int) -> None:
        """Save unmatched events that come with their own withdrawals: they wait for nothing, and are not listed.

        Delivered again without the withdrawal, they are not counted either. See `_keep` for the condition.
        """
        for each in events:
            done = unmatched_item(each.organization_id, each.subject, each.image, each.accepted, done=now)
            guard = standing.unmatched_guard(each.subject)
            try:
                self._table.transact([put_action(self._table, done), guard.action(self._table)])
            except ConflictError as conflict:
                # If it is saved already, its item is done.
                if 0 not in conflict.found:
                    raise CatalogueChangedError("the catalogue has changed") from conflict

    def _folding(self, organization_id: str, generation: str, writer: int) -> Fold:
        folding = Fold(self._table, organization_id, generation, writer=writer, matching=self._matching)
        folding.takes = lambda editions, number, each: _takes(editions, number, each, generation)
        return folding

    def _of(
        self,
        account: Account,
        generation: Generation,
        logged: Sequence[EventToCount],
    ) -> list[EventToCount]:
        """Leave out the events that the rebuild of a generation has counted, or saved as unmatched.

        Those are the events that were accepted up to the generation's cut, of subjects that the catalogue had
        then. Leave out the withdrawals of events that the generation never had, too.
        """
        old = {each.subject for each in logged if each.accepted <= generation.cut}
        read = {keys.scanned(account.organization.id, generation.name, *subject): subject for subject in old}
        scanned = {read[key] for key in self._table.batch_get(read, consistent=True)}
        return [each for each in logged if _is_in(generation, each, scanned=each.subject in scanned)]

    def _known(self, account: Account, events: Sequence[_Arrived]) -> set[Key]:
        """Return the events that were saved as unmatched when they were delivered before: `replay` counts them.

        Cost: 1 read unit, and 1 more for each event while any event is unmatched.
        """
        organization_id = account.organization.id
        if not self._table.has_any(keys.unmatched(organization_id, "", "", "").pk, consistent=True)[0]:
            return set()
        found = self._table.batch_get(map(self._key, events), consistent=True)
        return {key for key, row in found.items() if not unmatched_event_of(row).void(account.generation)}

    @staticmethod
    def _key(each: _Arrived) -> Key:
        return keys.unmatched(each.organization_id, *each.subject, each.event.id)

    def _keep(
        self,
        organization_id: str,
        account: Account | None,
        standing: Standing | None,
        events: Sequence[_Arrived],
        report: StreamReport,
    ) -> None:
        """Save events as unmatched, unless they were saved before: a replay may have counted them since.

        The condition is that the subject still has the version that was read. By another one, a second function
        that has the same batch could have counted the events. Raises `CatalogueChangedError` if it has changed.
        """
        nothing = Guard(keys.organization(organization_id, "profile"), {"ver": None})
        guarded = []
        for each in events:
            held = [] if standing is None else standing.subscriptions(each.subject)
            why = why_unmatched(each.event, each.subject, () if account is None else account.meters, held)
            item = unmatched_item(organization_id, each.subject, each.image, each.accepted, why)
            guarded.append((item, nothing if standing is None else standing.unmatched_guard(each.subject)))
        try:
            found = put_unmatched(self._table, organization_id, guarded)
            for place, item in found.items():
                if account is not None and is_void(generation_of(item), account.generation):
                    # An unfinished rebuild saved this event as unmatched for its own generation only. Save it for
                    # the live generation too.
                    take_over(self._table, organization_id, item, guarded[place][0])
        except ConflictError as error:
            raise CatalogueChangedError("the catalogue, or an unmatched event, has changed") from error
        report.unmatched += len(events)

    def _quarantine(self, record: Mapping[str, Any], reason: str, now: int, report: StreamReport) -> None:
        self._table.put(Poison.of(record, reason, now).item())
        self._tell(json.dumps({"reason": reason, "record": record}, default=str))
        report.poison.append(reason)


def _event_of(record: Mapping[str, Any]) -> Item | None:
    """Return the item of a record's new event, or of one that was withdrawn; None if the record is of neither.

    Of an imported event only the withdrawal is one of the stream's.
    """
    image: Item = record.get("dynamodb", {}).get("NewImage") or {}
    if "e" not in image or is_unmatched(image):
        return None
    match record.get("eventName"):
        case "INSERT":
            return image if "acc" in image and "w" not in image else None
        case "MODIFY":
            return image if is_mark(image) else None
        case _:
            return None


def _not_withdrawn(events: Iterable[_Arrived]) -> list[_Arrived]:
    return [each for each in events if each.mark is None]


def _to_count(each: _Arrived, owning: Sequence[Subscription]) -> EventToCount:
    return EventToCount(each.position, each.subject, each.event, owning, each.accepted, each.mark)


def _takes(editions: Editions, number: int, each: EventToCount, generation: str) -> bool:
    """Return whether the stream counts an event into an edition, or takes it out there if it was withdrawn."""
    if each.mark is None:
        return editions.take(number, each.accepted, generation)
    return editions.take_out(number, each.accepted, generation, each.subject.kind, each.mark.reads)


def _is_in(generation: Generation, each: EventToCount, *, scanned: bool) -> bool:
    """Return whether the stream counts an event into a generation, or takes it out there if it was withdrawn."""
    if each.mark is None:
        return each.accepted > generation.cut or not scanned
    of, cut = generation.name, generation.cut
    return is_counted(each.mark, each.accepted, generation=of, cut=cut, scanned=scanned)


def _read(record: Mapping[str, Any], image: Item, shard: str) -> _Arrived:
    """Read an event. Raises one of `_UNREADABLE` if the record has a value that cannot be counted with."""
    name, at, properties = _decode(image["e"]["S"])
    event = Event(image["id"]["S"], name, at if "acc" not in image else int(image["at"]["N"]), properties)
    subject = Subject(image["k"]["S"], image["x"]["S"])
    if not isinstance(name, str) or not isinstance(properties, dict):
        raise TypeError("the content is not a name, a time and properties")
    if not ZERO_TIME <= event.at < END_OF_TIME:
        raise ValueError("the time lies outside the years 1 to 9999")
    if subject.kind not in ("s", "c"):
        raise ValueError(f"the kind of subject is {subject.kind!r}")
    return _Arrived(
        Position(shard, int(record["dynamodb"]["SequenceNumber"])),
        image["org"]["S"],
        subject,
        event,
        int(image["acc"]["N"]) if "acc" in image else 0,
        image,
        record,
        mark_of(image) if is_mark(image) else None,
    )


def _unreadable(arrived: _Arrived, unread: Unread) -> UnreadableEvent:
    return UnreadableEvent.of(
        arrived.subject, arrived.event, arrived.accepted, unread.faults, elsewhere=unread.elsewhere
    )


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


_decode: Callable[[str], Any] = json.JSONDecoder(parse_float=Decimal, parse_constant=_constant).decode

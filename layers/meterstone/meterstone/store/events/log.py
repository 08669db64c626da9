"""The event log: every event once, for ever, under its transaction id.

An event is put under the condition that its transaction id is new to its subscription or customer. So a repeat is
recognised whenever it comes, and an event that is not in the log is not counted. The attributes of an item:

| attribute | of every event | imported | over HTTP |
|---|---|---|---|
| `id` | transaction id | | |
| `e` | content: name, time (null if the client gave none) and properties | | |
| `w` | when it was withdrawn, if it was; the id cannot be used again | | |
| `wg`, `wr`, `wu` | what was so when it was withdrawn: see `events.marks` | | |
| `moved` | when a purge of its customer put it under another name; this item goes at the end of the purge | | |
| `shard`, `seq` | | its position: the run of the import, and the line | none: the table's stream gives it one |
| `acc`, `at` | | | when it was accepted, and its time, in microseconds |
| `org`, `k`, `x` | | | organization; `s` for a subscription's, `c` for a customer's; the external id of either |
| `by` | | | a mark of the call that put it: a call whose answer was lost recognises its own item by it |
| `n` | | | notes: what the client sent beside the event, if anything |

An event of a purged customer has neither a position nor a time of acceptance: nothing delivers it, and rebuilds
count it from here.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from itertools import batched
from secrets import token_hex
from typing import NamedTuple

import msgspec

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import UnreadableItemError
from meterstone.store.dynamodb.keys import FIRST, LAST, Key
from meterstone.store.dynamodb.table import (
    CONNECTIONS,
    Action,
    ConflictError,
    Item,
    Row,
    StoreUnavailableError,
    Table,
    integer,
    item_of,
    key_item,
    text,
)
from meterstone.store.dynamodb.transaction import (
    MOST_CONTENT,
    READ_TOGETHER,
    Needs,
    TransactionBudget,
    packed,
)
from meterstone.usage.arrival import Arrival, Outcome, Subject, content
from meterstone.usage.meter import Event
from meterstone.usage.tally import Position

__all__ = [
    "IN_FLIGHT",
    "AppendResult",
    "EventLog",
    "ImportedEvent",
    "Outcome",
    "Subject",
    "at_once",
]

IN_FLIGHT = CONNECTIONS
"""How many puts run at once: as many as the client keeps connections."""

_MARK = 4
#: Outcomes of events that were in the log before.
_KNOWN = frozenset({Outcome.DUPLICATE, Outcome.CONFLICT})


class ImportedEvent(NamedTuple):
    """An event to be logged."""

    position: Position
    subject: Subject
    event: Event


class AppendResult(msgspec.Struct, frozen=True):
    """Whether an entry was new; if it was in the log already, the position under which it was logged.

    An event that came over HTTP has no position in the log.
    """

    outcome: Outcome
    position: Position | None


class LoggedEvent(NamedTuple):
    """An event as the log holds it, with its item as ``row``.

    An imported event has a ``position``, and its ``accepted`` is 0. An event over HTTP has no position here.
    """

    subject: Subject
    event: Event
    accepted: int
    position: Position | None
    withdrawn: bool
    row: Row

    @property
    def notes(self) -> dict[str, str]:
        """What the client said beside the event."""
        return json.loads(text(self.row, "n")) if "n" in self.row else {}


class EventLog:
    """The event log of one organization."""

    def __init__(self, table: Table, organization_id: str, guard: Action | None = None) -> None:
        """Log to a table. `append` logs only as long as the condition of ``guard``, if any, holds."""
        self._table = table
        self._organization_id = organization_id
        self._guard = guard

    def append(self, entries: Sequence[ImportedEvent]) -> list[AppendResult]:
        """Log the events that are new. Return for each, in the same order, whether it was.

        When the call returns, every new event is stored. Cost: for each event, 2 write units for each KB, and 2
        for the guard of each 99 events. Raises `ConflictError` if the guard does not hold.
        """
        result: list[AppendResult | None] = [None] * len(entries)
        first: dict[Key, int] = {}
        waiting: list[int] = []
        contents = [content(entry.event) for entry in entries]
        for place, entry in enumerate(entries):
            known = first.setdefault(self._key(entry), place)
            if known == place:
                waiting.append(place)
            else:
                same = contents[known] == contents[place]
                outcome = Outcome.DUPLICATE if same else Outcome.CONFLICT
                result[place] = AppendResult(outcome, entries[known].position)
        items = ((place, self._item(entries[place], contents[place])) for place in waiting)
        found = put_together(self._table, items, self._guard)
        for place in waiting:
            if place in found:
                result[place] = AppendResult(_outcome(found[place], contents[place]), _position(found[place]))
            else:
                result[place] = AppendResult(Outcome.NEW, entries[place].position)
        return [each for each in result if each is not None]

    def append_all_or_none(self, arrivals: Mapping[int, Arrival]) -> dict[int, Outcome]:
        """Log up to 100 arrivals if all of them are new. Return the outcomes by place.

        If all are new, all are stored when the call returns, and each has an outcome. If any is not new, nothing
        is logged, and only those that are not new have an outcome. Cost: for each event, 2 write units for each
        KB.
        """
        first, repeats = self._told_apart(arrivals)
        if repeats:
            # A transaction takes no item twice. Other arrivals that are not new are looked up, so that all are
            # reported at once.
            found = self._table.batch_get(
                (self._arrival_key(arrivals[place]) for place in first), consistent=True
            )
            items = {
                place: item_of(row)
                for place in first
                if (row := found.get(self._arrival_key(arrivals[place])))
            }
            return {place: _outcome(item, arrivals[place].content) for place, item in items.items()} | repeats
        places, mark = list(arrivals), token_hex(_MARK)
        try:
            self._table.transact(
                [put_action(self._table, self._arrival_item(arrivals[place], mark)) for place in places]
            )
        except ConflictError as conflict:
            if not conflict.found:
                raise
            met = {places[number]: item for number, item in conflict.found.items()}
            if len(met) < len(arrivals) or any(_mark(item) != mark for item in met.values()):
                return {place: _outcome(item, arrivals[place].content) for place, item in met.items()}
        return dict.fromkeys(places, Outcome.NEW)

    def append_each(self, arrivals: Mapping[int, Arrival]) -> dict[int, Outcome]:
        """Log arrivals, each independently of the others. Return the outcome of each by its place.

        When the call returns, every arrival that is new or a duplicate is in the log. One that is unavailable may
        be in the log or not, and can be sent again. Raises `StoreUnavailableError` if all of the first `IN_FLIGHT`
        arrivals are unavailable: the others are not tried then.

        If one of the first `IN_FLIGHT` arrivals is not new, this is probably a bulk that is sent again. Then the
        others are looked up before they are put, so that a table too slow to put them all in one request goes on
        where it was, and does not put the same ones again. Cost: for each event that is put, 1 write unit for each
        KB; for each event that is looked up, 1 read unit for each 4 KB, and no write unit if it is there.
        """
        first, repeats = self._told_apart(arrivals)
        mark = token_hex(_MARK)
        failures: list[StoreUnavailableError] = []
        result = self._put_each(first[:IN_FLIGHT], arrivals, mark, failures)
        outcomes = set(result.values())
        if outcomes == {Outcome.UNAVAILABLE}:
            raise failures[0]
        left = first[IN_FLIGHT:]
        if outcomes & _KNOWN:
            result |= self._look_up(left, arrivals, mark, failures)
            left = [place for place in left if place not in result]
        result |= self._put_each(left, arrivals, mark, failures)
        # Repeats are compared with the stored event, which need not be the first one of this request.
        return result | self._put_each(list(repeats), arrivals, token_hex(_MARK), failures)

    def _put_each(
        self,
        places: Sequence[int],
        arrivals: Mapping[int, Arrival],
        mark: str,
        failures: list[StoreUnavailableError],
    ) -> dict[int, Outcome]:
        """Put arrivals, several at once. Why any are unavailable is added to the failures."""
        put = partial(self._put, arrivals, mark, failures)
        return dict(zip(places, at_once(put, places), strict=True))

    def _put(
        self, arrivals: Mapping[int, Arrival], mark: str, failures: list[StoreUnavailableError], place: int
    ) -> Outcome:
        arrival = arrivals[place]
        try:
            found = self._table.put_new(self._arrival_item(arrival, mark))
        except StoreUnavailableError as failure:
            failures.append(failure)
            return Outcome.UNAVAILABLE
        if found is None or _mark(found) == mark:
            return Outcome.NEW
        return _outcome(found, arrival.content)

    def _look_up(
        self,
        places: Sequence[int],
        arrivals: Mapping[int, Arrival],
        mark: str,
        failures: list[StoreUnavailableError],
    ) -> dict[int, Outcome]:
        """Return the outcomes of those arrivals that are in the log already.

        As many as can run beside the look-ups are put meanwhile, the last ones, which are the least likely to be
        there. So each time that a bulk is sent, more of it is stored, even if the time ends here.
        """
        beside = IN_FLIGHT - len(places) // READ_TOGETHER - 1
        first, last = places[:-beside], places[-beside:]

        def stored(some: Sequence[int]) -> dict[int, Outcome]:
            by_key = {self._arrival_key(arrivals[place]): place for place in some}
            try:
                rows = self._table.batch_get(by_key, consistent=True)
            except StoreUnavailableError:
                return {}
            return {
                by_key[key]: _outcome(item_of(row), arrivals[by_key[key]].content)
                for key, row in rows.items()
            }

        def put(place: int) -> dict[int, Outcome]:
            return {place: self._put(arrivals, mark, failures, place)}

        steps = [partial(stored, some) for some in batched(first, READ_TOGETHER, strict=False)]
        steps += [partial(put, place) for place in last]
        return {place: outcome for found in at_once(_called, steps) for place, outcome in found.items()}

    def _told_apart(self, arrivals: Mapping[int, Arrival]) -> tuple[list[int], dict[int, Outcome]]:
        """Return the places that have a transaction id first, and the outcomes of the others against these."""
        first: dict[Key, int] = {}
        repeats: dict[int, Outcome] = {}
        for place, arrival in arrivals.items():
            known = first.setdefault(self._arrival_key(arrival), place)
            if known != place:
                same = arrivals[known].content == arrival.content
                repeats[place] = Outcome.DUPLICATE if same else Outcome.CONFLICT
        return list(first.values()), repeats

    def _key(self, entry: ImportedEvent) -> Key:
        kind, external_id = entry.subject
        return keys.event(self._organization_id, kind, external_id, entry.event.id)

    def _arrival_key(self, arrival: Arrival) -> Key:
        kind, external_id = arrival.subject
        return keys.event(self._organization_id, kind, external_id, arrival.event.id)

    def _arrival_item(self, arrival: Arrival, mark: str) -> Item:
        kind, external_id = arrival.subject
        item: Item = key_item(self._arrival_key(arrival)) | {
            "id": {"S": arrival.event.id},
            "e": {"S": arrival.content},
            "acc": {"N": str(arrival.accepted)},
            "at": {"N": str(arrival.event.at)},
            "org": {"S": self._organization_id},
            "k": {"S": kind},
            "x": {"S": external_id},
            "by": {"S": mark},
        }
        if arrival.notes:
            item["n"] = {"S": msgspec.json.encode(arrival.notes).decode()}
        return item

    def item(self, entry: ImportedEvent) -> Item:
        """Return the item under which an imported event is logged."""
        return self._item(entry, content(entry.event))

    def _item(self, entry: ImportedEvent, text: str) -> Item:
        return key_item(self._key(entry)) | {
            "id": {"S": entry.event.id},
            "e": {"S": text},
            "shard": {"S": entry.position.shard},
            "seq": {"N": str(entry.position.number)},
        }


def read_log(table: Table, organization_id: str, subject: Subject, after: str = "") -> Iterator[LoggedEvent]:
    """Read a subject's events, also the withdrawn ones, in the order of their sort keys. Cost: 1 query.

    Of these, the ones ``after`` a sort key, if there is one. Raises `UnreadableItemError` at an item that cannot
    be read, unless it is withdrawn: it counts nowhere then, and is left out.
    """
    pk = keys.event(organization_id, *subject, "").pk
    # No key has a character below FIRST, so that this is above the one key and not above the next.
    for row in table.query(pk, after + FIRST if after else FIRST, LAST, consistent=True):
        if (found := readable(subject, row)) is not None:
            yield found
        elif "w" not in row:
            raise UnreadableItemError(
                f"the event {text(row, 'id')} of {subject.external_id} cannot be read in the log: withdraw it, or "
                "use a version that reads it"
            )


def readable(subject: Subject, row: Row) -> LoggedEvent | None:
    """Read a subject's logged event; None if it cannot be read."""
    try:
        found = logged_event_of(subject, row)
    except (ValueError, TypeError, ArithmeticError, RecursionError):
        return None
    return found if type(found.event.name) is str and type(found.event.properties) is dict else None


def logged_event_of(subject: Subject, row: Row) -> LoggedEvent:
    """Read a subject's logged event."""
    position = Position(text(row, "shard"), integer(row, "seq")) if "shard" in row else None
    return LoggedEvent(subject, event_of(row), integer(row, "acc"), position, "w" in row, row)


def event_of(row: Row) -> Event:
    """Read a logged event. If the client gave no time, it has the time at which it was accepted."""
    name, at, properties = json.loads(text(row, "e"), parse_float=Decimal)
    return Event(text(row, "id"), name, integer(row, "at") if "at" in row else at, properties)


def put_together(
    table: Table, items: Iterable[tuple[int, Item]], guard: Action | None = None
) -> dict[int, Item]:
    """Put the items that are new, in as few transactions as fit. Return the stored ones of the others, by place.

    Each transaction has the ``guard``, if there is one. Raises `ConflictError` if the guard's condition does not
    hold.
    """
    guards = [] if guard is None else [guard]
    stand: dict[int, Item] = {}
    for batch in packed(items, _content_of, _beside_a_guard):
        left = batch
        while left:
            try:
                table.transact([*(put_action(table, item) for _, item in left), *guards])
            except ConflictError as conflict:
                if not conflict.found or len(left) in conflict.found:
                    raise
                stand |= {left[number][0]: item for number, item in conflict.found.items()}
                left = [each for each in left if each[0] not in stand]
            else:
                break
    return stand


def put_action(table: Table, item: Item) -> Action:
    """Return the action that puts an item if there is none under its key."""
    return {
        "Put": {
            "TableName": table.name,
            "Item": item,
            "ConditionExpression": "attribute_not_exists(pk)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def at_once[A, B](do: Callable[[A], B], things: Sequence[A]) -> list[B]:
    """Call a function with each of some things, several at once. The first failure ends it, and is raised."""
    if len(things) == 1:
        return [do(things[0])]
    if not things:
        return []
    with ThreadPoolExecutor(min(IN_FLIGHT, len(things))) as pool:
        return list(pool.map(do, things))


def _called[T](step: Callable[[], T]) -> T:
    return step()


def _outcome(item: Item, text: str) -> Outcome:
    """Compare the event that is logged under a transaction id with one that comes under it again."""
    return Outcome.DUPLICATE if item["e"]["S"] == text and "w" not in item else Outcome.CONFLICT


def _mark(item: Item) -> str | None:
    """Return the mark of the call that put an item. A call puts its item again if the first answer was lost."""
    return item["by"]["S"] if "by" in item else None


def _position(item: Item) -> Position | None:
    return Position(item["shard"]["S"], int(item["seq"]["N"])) if "shard" in item else None


def _beside_a_guard() -> TransactionBudget:
    return TransactionBudget(MOST_CONTENT, beside=1)


def _content_of(placed: tuple[int, Item]) -> Needs:
    _, item = placed
    return Needs(1, len(item["e"]["S"].encode()))

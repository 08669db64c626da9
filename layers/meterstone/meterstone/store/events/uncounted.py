"""The lists of events that do not count, and how many there are of each reason.

The lists have two kinds of items. An event that no line item is for is *unmatched*: it waits for the catalogue,
and `unmatched` describes its item. An event that a meter of a line item cannot read is *unreadable*, even if
another meter counts it. Meters do not change, so it waits for nothing. The attributes of an unreadable event's
item:

| attribute | holds |
|---|---|
| `id`, `k`, `x`, `code`, `at` | the event's transaction id, subject (kind, external id), name and time |
| `put_at` | when it was accepted or, if it was imported, when it was found to be unreadable |
| `faults` | for each meter that cannot read it: code, property and reason, as JSON |
| `els` | 1 if another meter counts it, else 0 |

One item of the organization has the numbers. The transaction that changes an item of the lists also changes these:

| attribute | holds |
|---|---|
| `n_subscription`, `n_customer`, `n_time`, `n_code`, `n_line_item` | unmatched events that wait, by reason |
| `n_value`, `n_partly` | unreadable events that count nowhere; unreadable events that another meter counts |
| `n_…_g2`, `n_…_g3` and so on | unmatched events that a rebuild has saved for this generation alone |

An item that was stored before there were reasons has none, and is not in the numbers. The next replay adds both.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import batched
from typing import NamedTuple

from meterstone.store.catalogue.guards import Guard, merged
from meterstone.store.catalogue.subjects import Standing
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST, Key
from meterstone.store.dynamodb.table import (
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
    MOST_ACTIONS,
    Needs,
    TransactionBudget,
    item_bytes,
    packed,
)
from meterstone.store.events.log import put_action
from meterstone.store.events.unmatched import UnmatchedEvent, generation_of
from meterstone.usage.arrival import Subject
from meterstone.usage.meter import Event
from meterstone.usage.receipt import Fault, Reason

PARTLY = "partly"
"""The name of the number of events that one meter counts and another cannot read."""

_PREFIX = "n_"
_ATTEMPTS = 20
#: Each put needs a second action: the check that the event was not withdrawn.
#: An event takes up to three actions: its entry, the condition on its event, and the one on its subject.
_READ_TOGETHER = (MOST_ACTIONS - 1) // 3


class UnreadableEvent(NamedTuple):
    """An event that meters of line items cannot read, since the instant ``since``."""

    subject: Subject
    id: str
    code: str
    at: int
    since: int
    faults: tuple[Fault, ...]
    #: Whether another meter counts it.
    elsewhere: bool

    @classmethod
    def of(
        cls, subject: Subject, event: Event, since: int, faults: Iterable[Fault], *, elsewhere: bool
    ) -> "UnreadableEvent":
        """Describe an event."""
        return cls(subject, event.id, event.name, event.at, since, tuple(faults), elsewhere)


def why(row: Row) -> str:
    """Return the reason of an unmatched event; empty if it was stored before there were reasons."""
    return text(row, "why")


def put_unmatched(
    table: Table,
    organization_id: str,
    guarded: Iterable[tuple[Item, Guard | None]],
    guards: Sequence[Action] = (),
) -> dict[int, Item]:
    """Save events as unmatched, each with its reason `why`. Return the items that were there before, by place.

    The numbers change in the same transactions. Each event is saved under the condition of its own guard, if it
    has one, and of the ``guards`` of all. Raises `ConflictError` if such a condition does not hold.
    """
    stand: dict[int, Item] = {}
    for batch in packed(
        enumerate(guarded),
        lambda each: Needs(1, item_bytes(each[1][0]), set() if each[1][1] is None else {each[1][1].key}),
        lambda: TransactionBudget(beside=1 + len(guards)),
    ):
        left = batch
        while left:
            added = Counter(_name(item["why"]["S"], generation_of(item)) for _, (item, _) in left)
            puts = [put_action(table, item) for _, (item, _) in left]
            own = merged(guard for _, (_, guard) in left if guard is not None).values()
            numbers = _numbers(table, organization_id, added)
            try:
                table.transact([*puts, *(each.action(table) for each in own), *guards, numbers])
            except ConflictError as conflict:
                if not conflict.found or any(place >= len(left) for place in conflict.found):
                    raise
                stand |= {left[number][0]: item for number, item in conflict.found.items()}
                left = [each for each in left if each[0] not in stand]
            else:
                break
    return stand


def take_over(table: Table, organization_id: str, found: Item, item: Item) -> None:
    """Save an event as unmatched for the live generation, too. A rebuild saved it for its own generation only.

    Raises `ConflictError` if its item has changed.
    """
    numbers = Counter({_name(item["why"]["S"], ""): 1})
    generation = found["gen"]["S"]
    if "done" not in found and "why" in found:
        numbers[_name(found["why"]["S"], generation)] -= 1
    put: Action = {
        "TableName": table.name,
        "Item": item,
        "ConditionExpression": "gen = :gen AND "
        + ("attribute_exists(done)" if "done" in found else "attribute_not_exists(done)"),
        "ExpressionAttributeValues": {":gen": {"S": generation}},
    }
    table.transact([{"Put": put}, _numbers(table, organization_id, numbers)])


def open_again(table: Table, organization_id: str, found: Item, item: Item) -> None:
    """Save an event as unmatched that was done: it was counted, and nothing counts it any more.

    Raises `ConflictError` if its item has changed.
    """
    put: Action = {"TableName": table.name, "Item": item, "ConditionExpression": "done = :done"}
    put["ExpressionAttributeValues"] = {":done": found["done"]}
    numbers = Counter({_name(item["why"]["S"], ""): 1})
    table.transact([{"Put": put}, _numbers(table, organization_id, numbers)])


def drop(table: Table, organization_id: str, each: UnmatchedEvent) -> None:
    """Delete an unmatched event of a generation that was given up. Raises `ConflictError` if it has changed."""
    if each.done:
        delete: Action = {
            "TableName": table.name,
            "Key": key_item(each.key),
            "ConditionExpression": "gen = :gen AND attribute_exists(done)",
            "ExpressionAttributeValues": {":gen": {"S": each.generation}},
        }
        table.transact([{"Delete": delete}])
        return
    reason = why(each.row)
    numbers = [_numbers(table, organization_id, {_name(reason, each.generation): -1})] if reason else []
    table.transact([_deletion(table, each.row), *numbers])


def finish(
    table: Table, organization_id: str, events: Sequence[UnmatchedEvent], now: int, kept: Sequence[bool]
) -> None:
    """Finish unmatched events: mark the item of each as `done` if it is to be ``kept``, or delete it.

    An item that was finished by another call in the meantime stays as it is.
    """
    keeps = dict(zip((each.key for each in events), kept, strict=True))
    numbered = {each.key: each.number for each in events}

    def action(row: Row) -> Action:
        key = Key(text(row, "pk"), text(row, "sk"))
        if not keeps[key]:
            return _deletion(table, row)
        item = item_of(row) | {"done": {"N": str(now)}}
        if numbered[key] is not None:
            item["num"] = {"N": str(numbered[key])}
        condition, values = _as_it_stands(row)
        put: Action = {"TableName": table.name, "Item": item, "ConditionExpression": condition}
        return {"Put": put | ({"ExpressionAttributeValues": values} if values else {})}

    _finish(table, organization_id, events, action)


def change_reasons(
    table: Table, organization_id: str, changes: Iterable[tuple[UnmatchedEvent, Reason]]
) -> None:
    """Write new reasons into the items of waiting events. An item that has changed meanwhile stays as it is."""
    for some in packed(changes, lambda change: _needs(change[0].row), _beside_the_numbers):
        numbers: Counter[str] = Counter()
        actions: list[Action] = []
        for each, reason in some:
            condition, values = _as_it_stands(each.row)
            before = why(each.row)
            if before:
                numbers[_name(before, each.generation)] -= 1
            numbers[_name(reason, each.generation)] += 1
            actions.append(
                {
                    "Update": {
                        "TableName": table.name,
                        "Key": key_item(each.key),
                        "UpdateExpression": "SET why = :new",
                        "ConditionExpression": condition,
                        "ExpressionAttributeValues": values | {":new": {"S": reason}},
                    }
                }
            )
        try:
            table.transact([*actions, _numbers(table, organization_id, numbers)])
        except ConflictError:
            continue


def keep_unreadable(
    table: Table,
    organization_id: str,
    events: Iterable[UnreadableEvent],
    standing: Standing | None = None,
) -> None:
    """Store events in the list of unreadable ones, unless they are withdrawn. A second call changes nothing.

    An entry that differs, since the event's line items have changed, is replaced. ``standing`` is the catalogue by
    which meters cannot read the events: they are listed under the condition that it is still the same, and noted
    as events of their subjects, so that a change that moves them counts them anew.

    Raises `CatalogueChangedError` if it is not, and `StoreUnavailableError` if others keep changing the items.
    """
    for some in batched(dict.fromkeys(events), _READ_TOGETHER, strict=False):
        for _ in range(_ATTEMPTS):
            stand = table.batch_get((_key(organization_id, each) for each in some), consistent=True)
            logged = table.batch_get((_event_key(organization_id, each) for each in some), consistent=True)
            numbers: Counter[str] = Counter()
            actions: list[Action] = []
            latest: dict[Subject, int] = {}
            for each in some:
                before = stand.get(_key(organization_id, each))
                event = logged.get(_event_key(organization_id, each), {})
                if "w" in event or (before is not None and _same(before, each)):
                    continue
                numbers[_number_of(each.elsewhere)] += 1
                if before is not None:
                    numbers[_number_of(bool(integer(before, "els")))] -= 1
                actions += _listing(table, organization_id, each, before)
                latest[each.subject] = max(each.at, latest.get(each.subject, each.at))
            if not actions:
                break
            guards = [] if standing is None else list(merged(standing.notes(latest)).values())
            actions += [guard.action(table) for guard in guards]
            try:
                table.transact([*actions, _numbers(table, organization_id, numbers)])
            except ConflictError:
                if standing is not None:
                    standing.look_again()
                continue
            if standing is not None:
                standing.wrote(guards)
            break
        else:
            raise StoreUnavailableError("the list of unreadable events is contended")


def drop_unreadable(table: Table, organization_id: str, subject: Subject, ids: Iterable[str]) -> None:
    """Delete events from the list of unreadable ones: they were withdrawn, or count everywhere now."""
    for some in batched(dict.fromkeys(ids), MOST_ACTIONS - 1, strict=False):
        wanted = [keys.unreadable(organization_id, *subject, each) for each in some]
        for _ in range(_ATTEMPTS):
            rows = table.batch_get(wanted, consistent=True)
            if not rows:
                break
            numbers: Counter[str] = Counter()
            actions: list[Action] = []
            for row in rows.values():
                numbers[_number_of(bool(integer(row, "els")))] -= 1
                actions.append({"Delete": _unlisting(table, row)})
            try:
                table.transact([*actions, _numbers(table, organization_id, numbers)])
            except ConflictError:
                continue
            break
        else:
            raise StoreUnavailableError("the list of unreadable events is contended")


def delisting(
    table: Table, organization_id: str, waiting: UnmatchedEvent | None, listed: Row | None, now: int
) -> list[Action]:
    """Return the actions that take a withdrawn event off the lists that it is in, with the numbers.

    The item of an unmatched event stays, as `done`: the stream may deliver the event again. The condition is that
    the items are as they were read, and that no replay counts the event.
    """
    actions: list[Action] = []
    numbers: Counter[str] = Counter()
    if waiting is not None:
        condition, values = _as_it_stands(waiting.row)
        put: Action = {
            "TableName": table.name,
            "Item": waiting.item_when_done(now),
            "ConditionExpression": f"{condition} AND attribute_not_exists(num)",
        }
        actions.append({"Put": put | ({"ExpressionAttributeValues": values} if values else {})})
        if why(waiting.row):
            numbers[_name(why(waiting.row), waiting.generation)] -= 1
    if listed is not None:
        numbers[_number_of(bool(integer(listed, "els")))] -= 1
        actions.append({"Delete": _unlisting(table, listed)})
    return [*actions, _numbers(table, organization_id, numbers)] if numbers else actions


def read_unreadable(
    table: Table, organization_id: str, subject: Subject | None = None
) -> Iterator[UnreadableEvent]:
    """Read the events that a meter of a line item cannot read, of one subject or of all. Cost: 1 query."""
    if subject is None:
        rows = table.query(keys.unreadable(organization_id, "", "", "").pk, FIRST, LAST, consistent=True)
    else:
        rows = table.query_prefix(*keys.unreadable_of(organization_id, *subject), consistent=True)
    yield from map(unreadable_event_of, rows)


def unreadable_event_of(row: Row) -> UnreadableEvent:
    """Read an unreadable event from its item."""
    return UnreadableEvent(
        Subject(text(row, "k"), text(row, "x")),
        text(row, "id"),
        text(row, "code"),
        integer(row, "at"),
        integer(row, "put_at"),
        tuple(Fault(*fault) for fault in json.loads(text(row, "faults"))),
        bool(integer(row, "els")),
    )


def read_numbers(table: Table, organization_id: str, live: str) -> dict[str, int]:
    """Read how many events are listed for each reason, in the live generation; see also `PARTLY`. Cost: 1 get."""
    return read_all_numbers(table, {organization_id: live})


def read_all_numbers(table: Table, live: Mapping[str, str]) -> dict[str, int]:
    """Read how many events of several organizations together are listed for each reason.

    ``live`` has the organizations' live generations. Cost: 1 get for each organization, in batches.
    """
    wanted = {keys.uncounted_numbers(organization_id): name for organization_id, name in live.items()}
    found: Counter[str] = Counter()
    for key, row in table.batch_get(wanted, consistent=True).items():
        for name in row:
            if name.startswith(_PREFIX):
                reason, _, generation = name.removeprefix(_PREFIX).partition("_g")
                if not generation or int(generation) <= int(wanted[key]):
                    found[reason] += integer(row, name)
    return {name: found[name] for name in (*Reason, PARTLY)}


def _finish(
    table: Table, organization_id: str, events: Sequence[UnmatchedEvent], action: Callable[[Row], Action]
) -> None:
    """Change unmatched events that wait, together with the numbers. Other items stay as they are."""
    for some in packed(events, lambda event: _needs(event.row), _beside_the_numbers):
        rows: Mapping[Key, Row] = {each.key: each.row for each in some}
        for _ in range(_ATTEMPTS):
            waiting = [row for row in rows.values() if "done" not in row]
            if not waiting:
                break
            numbers: Counter[str] = Counter()
            for row in waiting:
                if why(row):
                    numbers[_name(why(row), text(row, "gen"))] -= 1
            actions = [action(row) for row in waiting]
            if numbers:
                actions.append(_numbers(table, organization_id, numbers))
            try:
                table.transact(actions)
            except ConflictError:
                rows = table.batch_get(rows, consistent=True)
                continue
            break
        else:
            raise StoreUnavailableError("the list of unmatched events is contended")


def _deletion(table: Table, row: Row) -> Action:
    condition, values = _as_it_stands(row)
    delete: Action = {
        "TableName": table.name,
        "Key": {name: {"S": text(row, name)} for name in ("pk", "sk")},
        "ConditionExpression": condition,
    }
    return {"Delete": delete | ({"ExpressionAttributeValues": values} if values else {})}


def _as_it_stands(row: Row) -> tuple[str, Item]:
    """Return the condition that an unmatched event waits, with the reason and the generation that were read."""
    terms = ["attribute_exists(pk)", "attribute_not_exists(done)"]
    values: Item = {}
    for name in ("why", "gen"):
        if name in row:
            terms.append(f"{name} = :{name}")
            values[f":{name}"] = {"S": text(row, name)}
        else:
            terms.append(f"attribute_not_exists({name})")
    return " AND ".join(terms), values


def _unlisting(table: Table, row: Row) -> Action:
    """Return what deletes an unreadable event from its list, unless its entry has changed."""
    return {
        "TableName": table.name,
        "Key": {name: {"S": text(row, name)} for name in ("pk", "sk")},
        "ConditionExpression": "els = :els",
        "ExpressionAttributeValues": {":els": {"N": str(integer(row, "els"))}},
    }


def _listing(table: Table, organization_id: str, each: UnreadableEvent, before: Row | None) -> list[Action]:
    """Return the actions that list an event, if it is not withdrawn and its entry has not changed."""
    put: Action = {"TableName": table.name, "Item": _item(organization_id, each)}
    if before is None:
        put |= {"ConditionExpression": "attribute_not_exists(pk)"}
    else:
        put |= {
            "ConditionExpression": "faults = :faults AND els = :els",
            "ExpressionAttributeValues": {
                ":faults": {"S": text(before, "faults")},
                ":els": {"N": str(integer(before, "els"))},
            },
        }
    check: Action = {
        "TableName": table.name,
        "Key": key_item(_event_key(organization_id, each)),
        "ConditionExpression": "attribute_not_exists(w)",
    }
    return [{"Put": put}, {"ConditionCheck": check}]


def _item(organization_id: str, each: UnreadableEvent) -> Item:
    return key_item(_key(organization_id, each)) | {
        "id": {"S": each.id},
        "k": {"S": each.subject.kind},
        "x": {"S": each.subject.external_id},
        "code": {"S": each.code},
        "at": {"N": str(each.at)},
        "put_at": {"N": str(each.since)},
        "faults": {"S": _faults(each)},
        "els": {"N": str(int(each.elsewhere))},
    }


def _same(row: Row, each: UnreadableEvent) -> bool:
    return text(row, "faults") == _faults(each) and bool(integer(row, "els")) == each.elsewhere


def _faults(each: UnreadableEvent) -> str:
    return json.dumps(sorted(each.faults, key=lambda fault: (fault.meter, fault.field or "", fault.reason)))


def _key(organization_id: str, each: UnreadableEvent) -> Key:
    return keys.unreadable(organization_id, *each.subject, each.id)


def _event_key(organization_id: str, each: UnreadableEvent) -> Key:
    return keys.event(organization_id, *each.subject, each.id)


def _number_of(elsewhere: bool) -> str:  # noqa: FBT001 - what an item holds
    return _name(PARTLY if elsewhere else Reason.VALUE, "")


def _name(reason: str, generation: str) -> str:
    return f"{_PREFIX}{reason}" + (f"_g{generation}" if generation else "")


def _numbers(table: Table, organization_id: str, numbers: Mapping[str, int]) -> Action:
    """Return the action that adds to the numbers."""
    return {
        "Update": {
            "TableName": table.name,
            "Key": key_item(keys.uncounted_numbers(organization_id)),
            "UpdateExpression": "ADD " + ", ".join(f"{name} :{name}" for name in sorted(numbers)),
            "ExpressionAttributeValues": {f":{name}": {"N": str(numbers[name])} for name in sorted(numbers)},
        }
    }


def _needs(row: Row) -> Needs:
    return Needs(1, item_bytes(item_of(row)))


def _beside_the_numbers() -> TransactionBudget:
    return TransactionBudget(beside=1)

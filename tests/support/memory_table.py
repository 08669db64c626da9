"""The table in memory: the interface of `meterstone.store.dynamodb.table.Table`, with the limits of the service.

It evaluates exactly the conditions and updates that the store uses, and refuses what DynamoDB would refuse: two
actions on one item, more than 100 actions or 4 MB, items over 400 KB, keys that are empty or too long, numbers of
more than 38 digits, values that an expression does not use. What depends on the data alone is
`WriteRefusedError`, as by the
service; the rest is the store's own error. Figures are those of the developer guide's page
"Quotas in Amazon DynamoDB". Faults can be injected: see `Faults`.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from itertools import batched
from threading import Lock
from typing import Any

import msgspec
from moto.dynamodb.parsing.reserved_keywords import ReservedKeywords

from meterstone.pricing.money import add, plain
from meterstone.store.dynamodb import service
from meterstone.store.dynamodb.deadline import Deadline
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import (
    Attribute,
    ConflictError,
    Item,
    ReadCost,
    Row,
    StoreUnavailableError,
    Table,
    WriteRefusedError,
)
from meterstone.store.dynamodb.transaction import item_bytes

ITEM_BYTES = 400 * 1024
TRANSACTION_BYTES = 4 * 1024 * 1024
TRANSACTION_ACTIONS = 100
PARTITION_KEY_BYTES = 2048
SORT_KEY_BYTES = 1024
EXPRESSION_BYTES = 4096
DIGITS = 38

#: The words that an expression may not name an attribute by.
_RESERVED = frozenset(ReservedKeywords.get_reserved_keywords())
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


class InvalidRequestError(AssertionError):
    """DynamoDB would answer a ValidationException: the store must never send this."""


class Killed(BaseException):
    """The process was killed: nothing of the store may catch it."""


@dataclass(slots=True)
class Faults:
    """What goes wrong, by the number of the write, from 0. A transaction is one write."""

    #: Killed before, or after, the write of this number has happened.
    before: int | None = None
    after: int | None = None
    #: Asked of each transaction that changes counters: whether another writer was faster.
    conflict: Callable[[int], bool] = field(default=lambda _: False)
    #: Asked of each write: whether the service is unavailable, nothing written.
    unavailable: Callable[[int], bool] = field(default=lambda _: False)
    #: Asked of each write: whether the answer is lost although it was written.
    lost: Callable[[int], bool] = field(default=lambda _: False)


class MemoryTable(Table):
    """A table of one test. ``page_items`` is how many items a page holds."""

    def __init__(self, name: str = "memory", *, page_items: int = 1000) -> None:
        self.name = name
        self.cost = ReadCost()
        self.deadline = Deadline()
        self._unchanging = {}
        self.faults = Faults()
        #: How many writes were asked for.
        self.writes = 0
        #: The most actions that a transaction had.
        self.most_actions = 0
        self._page_items = page_items
        # Events are put from several threads.
        self._lock = Lock()
        self._items: dict[str, dict[str, Item]] = {}
        #: The index: of each of its partitions, the keys of the items that are due, with when.
        self._due: dict[str, dict[Key, str]] = {}
        #: The sort keys of a partition in order, from when they were asked for until one comes or goes.
        self._order: dict[str, list[tuple[bytes, str]]] = {}

    def items(self) -> dict[Key, Item]:
        """Give a copy of all items, without their keys."""
        return {
            Key(pk, sk): {name: dict(value) for name, value in item.items() if name not in {"pk", "sk"}}
            for pk, items in self._items.items()
            for sk, item in items.items()
        }

    def copy(self) -> "MemoryTable":
        """Give a table of the same content, without faults."""
        other = MemoryTable(self.name, page_items=self._page_items)
        other._take(self)
        return other

    def _take(self, other: "MemoryTable") -> None:
        """Take over the content of another table."""
        self._items = {pk: dict(items) for pk, items in other._items.items()}
        self._due = {partition: dict(listed) for partition, listed in other._due.items()}

    def get(self, key: Key, *, consistent: bool = False) -> Row | None:
        """Read one item."""
        _check_key(key)
        item = self._seen(key.pk, consistent=consistent).get(key.sk)
        self._read_items(item is not None)
        return None if item is None else _row(item)

    def batch_get(self, keys: Iterable[Key], *, consistent: bool = False) -> dict[Key, Row]:
        """Read many items by key."""
        found: dict[Key, Row] = {}
        for key in dict.fromkeys(keys):
            row = self.get(key, consistent=consistent)
            if row is not None:
                found[key] = row
        return found

    def get_together(self, keys: Sequence[Key]) -> dict[Key, Row]:
        """Read many items as they are now."""
        if not 1 <= len(keys) <= TRANSACTION_ACTIONS or len(set(keys)) < len(keys):
            raise InvalidRequestError(f"{len(keys)} keys in a transaction")
        return self.batch_get(keys, consistent=True)

    def query(self, pk: str, low: str, high: str, *, consistent: bool = False) -> Iterator[Row]:
        """Read a range of a partition, page by page: what is written between two pages is seen."""
        for page in self._pages(pk, low, high, consistent=consistent):
            yield from (_row(item) for item in page)

    def query_first(self, pk: str, low: str, high: str, most: int, *, consistent: bool = False) -> list[Row]:
        """Read the first items of a range: no more than a page has."""
        page = next(self._pages(pk, low, high, consistent=consistent), [])
        return [_row(item) for item in page[:most]]

    def query_as(
        self,
        decoder: "service.Decoder[Any]",
        pk: str,
        low: str,
        high: str,
        *,
        consistent: bool = False,
    ) -> Iterator[Any]:
        """Read like `query`, decoded from the JSON of the service."""
        for page in self._pages(pk, low, high, consistent=consistent):
            answer = {"Items": page, "Count": len(page), "ScannedCount": len(page)}
            yield from decoder.decode(msgspec.json.encode(answer)).Items

    def due(self, partition: str, until: str) -> list[Key]:
        """List the keys in the index whose time has come."""
        listed = self._due.get(partition, {})
        return [key for _, key in sorted((when, key) for key, when in listed.items() if when <= until)]

    def transact(self, actions: Sequence[Any]) -> None:
        """Write all or nothing."""
        self._fault(versioned=any("#usage#" in _place(action)["pk"]["S"] for action in actions))
        if not 1 <= len(actions) <= TRANSACTION_ACTIONS:
            raise InvalidRequestError(f"{len(actions)} actions in a transaction")
        self.most_actions = max(self.most_actions, len(actions))
        writes: list[tuple[Key, Item | None]] = []
        stands: dict[int, Item] = {}
        failed = False
        for place, action in enumerate(actions):
            key, after, holds, before = self._outcome(action)
            writes.append((key, after))
            if not holds:
                failed = True
                (body,) = action.values()
                if before is not None and body.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
                    stands[place] = deepcopy(before)
        if len({key for key, _ in writes}) < len(writes):
            raise InvalidRequestError(f"two actions on one item: {sorted(key for key, _ in writes)}")
        if sum(_size(item) for _, item in writes if item is not None) > TRANSACTION_BYTES:
            raise InvalidRequestError("a transaction of more than 4 MB")
        if failed:
            raise ConflictError(stands)
        for key, item in writes:
            self._store(key, item)
        self._written()

    def put(self, item: Item) -> None:
        """Write one item."""
        self._fault()
        key, checked = _key_of(item), _checked(item)
        self._store(key, checked)
        self._written()

    def put_new(self, item: Item) -> Item | None:
        """Write one item if there is none; give the one that there is."""
        self._fault()
        key, checked = _key_of(item), _checked(item)
        with self._lock:
            before = self._items.get(key.pk, {}).get(key.sk)
            if before is not None:
                return deepcopy(before)
            self._store(key, checked)
            self._written()
            return None

    def has_any(self, pk: str, prefix: str = "", *, consistent: bool = False) -> tuple[bool, float]:
        """Tell whether a partition has any item whose sort key begins with a prefix."""
        with self._lock:
            seen = self._seen(pk, consistent=consistent)
            return any(sk.startswith(prefix) for sk in seen), 0.5

    def count_in(self, pk: str, most_bytes: int) -> tuple[int, int]:
        """Count the items of a partition, and their bytes, as far as these are within a bound."""
        count = size = 0
        with self._lock:
            for item in self._seen(pk, consistent=False).values():
                count, size = count + 1, size + item_bytes(item)
                if size > most_bytes:
                    break
        return count, size

    def ids_in(self, pk: str) -> tuple[list[str], float]:
        """Read the attribute `id` of all items of a partition."""
        with self._lock:
            seen = self._seen(pk, consistent=False)
            return [seen[sk]["id"]["S"] for sk in sorted(seen) if "id" in seen[sk]], 0.5

    def service_time(self) -> int | None:
        """Tell no time: each test has its own."""
        return None

    def put_all(self, items: Iterable[Item]) -> None:
        """Write many items, each for itself."""
        for item in items:
            self.put(item)

    def delete_all(self, keys: Iterable[Key]) -> None:
        """Remove many items, 25 a call."""
        for some in batched(keys, 25, strict=False):
            self._fault()
            for key in some:
                _check_key(key)
                self._store(key, None)
            self._written()

    def update(self, key: Key, expression: str, values: Item, *, condition: str | None = None) -> bool:
        """Change one item; tell whether the condition held."""
        self._fault()
        body: dict[str, Any] = {
            "Key": {"pk": {"S": key.pk}, "sk": {"S": key.sk}},
            "UpdateExpression": expression,
            "ExpressionAttributeValues": values,
        }
        if condition is not None:
            body["ConditionExpression"] = condition
        key, after, holds, _ = self._outcome({"Update": body | {"TableName": self.name}})
        if holds:
            self._store(key, after)
            self._written()
        return holds

    def _outcome(self, action: Any) -> tuple[Key, Item | None, bool, Item | None]:
        """Give an action's key, the item after it, whether its condition holds, and the item before it."""
        ((verb, body),) = action.items()
        if body["TableName"] != self.name:
            raise InvalidRequestError(f"table {body['TableName']}")
        key = _key_of(_place(action))
        before = self._items.get(key.pk, {}).get(key.sk)
        values: Item = body.get("ExpressionAttributeValues", {})
        used = set(
            re.findall(r":\w+", body.get("ConditionExpression", "") + " " + body.get("UpdateExpression", ""))
        )
        if used != values.keys():
            raise InvalidRequestError(f"values {sorted(values)} for {sorted(used)}")
        holds = _holds(body.get("ConditionExpression"), before, values)
        match verb:
            case "Put":
                return key, _checked(body["Item"]), holds, before
            case "Delete":
                return key, None, holds, before
            case "ConditionCheck":
                return key, before, holds, before
            case "Update":
                return key, _updated(body["UpdateExpression"], key, before, values), holds, before
            case _:
                raise InvalidRequestError(verb)

    def settle(self) -> None:
        """Let a moment pass, until every read sees all that was written: here every read does at any time."""

    def _seen(self, pk: str, *, consistent: bool) -> Mapping[str, Item]:
        """Give the items of a partition as one read sees them."""
        return self._items.get(pk, {})

    def _pages(self, pk: str, low: str, high: str, *, consistent: bool) -> Iterator[list[Item]]:
        _check_key(Key(pk, low))
        _check_key(Key(pk, high))
        first, last = low.encode(), high.encode()
        if first > last:
            raise InvalidRequestError("BETWEEN wants its lower bound first")
        while True:
            items = self._seen(pk, consistent=consistent)
            order = self._order.get(pk) if items is self._items.get(pk) else None
            if order is None:
                order = sorted((sk.encode(), sk) for sk in items)
                if items is self._items.get(pk):
                    self._order[pk] = order
            begin = bisect_left(order, first, key=lambda entry: entry[0])
            end = bisect_right(order, last, key=lambda entry: entry[0])
            entries = order[begin:end]
            page = entries[: self._page_items]
            self._read_items(len(page))
            # An item is replaced, never changed: what is given is what stood there.
            yield [items[sk] for _, sk in page]
            if len(page) == len(entries):
                return
            first = page[-1][0] + b"\x00"

    def _read_items(self, count: int) -> None:
        with self.cost.lock:
            self.cost.items += count
            self.cost.read_units += count / 2

    def _store(self, key: Key, item: Item | None) -> None:
        items = self._items.setdefault(key.pk, {})
        if "due_pk" in (before := items.get(key.sk, {})):
            del self._due[before["due_pk"]["S"]][key]
        if item is not None and "due_pk" in item:
            self._due.setdefault(item["due_pk"]["S"], {})[key] = item["due_at"]["S"]
        if (item is None) == (key.sk in items):
            self._order.pop(key.pk, None)
        if item is None:
            items.pop(key.sk, None)
        else:
            items[key.sk] = item

    def _fault(self, *, versioned: bool = False) -> None:
        with self._lock:
            number = self.writes
            self.writes += 1
        if self.faults.before == number:
            raise Killed
        if self.faults.unavailable(number):
            raise StoreUnavailableError("injected")
        if versioned and self.faults.conflict(number):
            raise ConflictError({})

    def _written(self) -> None:
        number = self.writes - 1
        if self.faults.after == number:
            raise Killed
        if self.faults.lost(number):
            raise StoreUnavailableError("injected, after the write")


def _place(action: Any) -> Item:
    """Give what an action says of the item that it is about: its key at least."""
    (body,) = action.values()
    place: Item = body["Item"] if "Item" in body else body["Key"]
    return place


def _holds(condition: str | None, before: Item | None, values: Item) -> bool:
    if condition is None:
        return True
    return any(
        all(_term_holds(term, before or {}, values) for term in terms.split(" AND "))
        for terms in condition.split(" OR ")
    )


def _term_holds(term: str, item: Item, values: Item) -> bool:
    if parsed := re.fullmatch(r"attribute_(not_)?exists\((\w+)\)", term):
        return (parsed[2] in item) != bool(parsed[1])
    parsed = re.fullmatch(r"(\w+) (=|<) (:\w+)", term)
    if parsed is None or parsed[1].upper() in _RESERVED:
        raise InvalidRequestError(f"condition {term}")
    if parsed[1] not in item or item[parsed[1]].keys() != values[parsed[3]].keys():
        return False
    ((kind, found),) = item[parsed[1]].items()
    wanted = values[parsed[3]][kind]
    if kind == "S":
        return found == wanted if parsed[2] == "=" else found < wanted
    return Decimal(found) == Decimal(wanted) if parsed[2] == "=" else Decimal(found) < Decimal(wanted)


def _updated(expression: str, key: Key, before: Item | None, values: Item) -> Item:
    if len(expression.encode()) > EXPRESSION_BYTES:
        raise InvalidRequestError("an expression of more than 4 KB")
    item = dict(before) if before is not None else {"pk": {"S": key.pk}, "sk": {"S": key.sk}}
    parsed = re.fullmatch(r"(?:SET (.+?))?(?:(?:^| )REMOVE (.+?))?(?:(?:^| )ADD (.+))?", expression)
    if parsed is None or not expression:
        raise InvalidRequestError(f"update {expression}")
    named: list[str] = []
    for term in filter(None, (parsed[1] or "").split(", ")):
        name, _, value = term.partition(" = ")
        item[name] = _value(name, values[value])
        named.append(name)
    for name in filter(None, (parsed[2] or "").split(", ")):
        item.pop(name, None)
        named.append(name)
    for term in filter(None, (parsed[3] or "").split(", ")):
        name, value = term.split(" ")
        known = Decimal(item.get(name, {"N": "0"})["N"])
        item[name] = {"N": _number(plain(add(known, Decimal(_number(values[value]["N"])))))}
        named.append(name)
    if len(set(named)) < len(named) or any(not re.fullmatch(r"\w+", name) for name in named):
        raise InvalidRequestError(f"update {expression}")
    if _RESERVED & {name.upper() for name in named}:
        raise InvalidRequestError(f"a reserved word in {expression}")
    return _whole(item)


def _number(text: str) -> str:
    """Give a number as the service keeps it."""
    return _number_of(text, DIGITS)


@lru_cache(maxsize=2**16)
def _number_of(text: str, digits: int) -> str:
    if not _NUMBER.fullmatch(text):
        raise InvalidRequestError(f"not a number: {text}")
    found = plain(Decimal(text))
    if len(found.replace(".", "").strip("-0")) > digits:
        raise WriteRefusedError(f"a number of more than {digits} digits: {text}")
    return found


def _value(name: str, value: dict[str, str]) -> dict[str, str]:
    ((kind, text),) = value.items()
    if kind not in {"S", "N"} or not isinstance(text, str):
        raise InvalidRequestError(f"{name}: {value}")
    return {kind: _number(text) if kind == "N" else text}


def _checked(item: Item) -> Item:
    return _whole({name: _value(name, value) for name, value in item.items()})


def _whole(item: Item) -> Item:
    """Give an item of values that were checked, if the service takes them together."""
    _key_of(item)
    if ("due_pk" in item) != ("due_at" in item) or not item.get("due_at", {"S": "-"})["S"]:
        raise InvalidRequestError("half a key of the index")
    if _size(item) > ITEM_BYTES:
        raise WriteRefusedError(f"an item of {_size(item)} bytes")
    return item


def _size(item: Item) -> int:
    """Give an item's size by the service's rules: names, text as UTF-8, numbers by half their digits."""
    size = 0
    for name, value in item.items():
        size += _bytes(name)
        size += _bytes(value["S"]) if "S" in value else (len(value["N"]) + 1) // 2 + 1
    return size


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _key_of(item: Item) -> Key:
    key = Key(item["pk"]["S"], item["sk"]["S"])
    _check_key(key)
    return key


def _check_key(key: Key) -> None:
    if not 0 < _bytes(key.pk) <= PARTITION_KEY_BYTES or not 0 < _bytes(key.sk) <= SORT_KEY_BYTES:
        raise InvalidRequestError(f"key {key}")


def _row(item: Item) -> Row:
    return {name: Attribute(**value) for name, value in item.items()}

"""A table of which some items were read already, and to which what several puts write goes in one transaction.

It stands in for the table while records are put one after another: see `meterstone.catalogue.many`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from meterstone.catalogue.errors import LostError
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import ConflictError, WriteRefusedError
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.service import CancelledError
from meterstone.store.dynamodb.table import Action, Item, Row, Table, key_item
from meterstone.store.dynamodb.transaction import MOST_ACTIONS, MOST_BYTES, item_bytes


class Gathered(Table):
    """A table of which some items were read already, and for which some transactions wait to be written as one."""

    def __init__(self, table: Table) -> None:
        """Stand in for a table."""
        self.name, self.cost, self.deadline = table.name, table.cost, table.deadline
        self._table = table
        self._read: dict[Key, Row | None] = {}
        self._empty: set[str] = set()
        self._there: set[Key] = set()
        #: What waits to be written, by the item's key.
        self._waiting: dict[Key, Action] = {}
        self._size = 0
        self._grouping = False

    def gather(self, wanted: Iterable[Key]) -> None:
        """Read items, consistently."""
        found = list(wanted)
        rows = self._table.batch_get(found, consistent=True)
        self._read.update({key: rows.get(key) for key in found})

    def knows(self, key: Key, attribute: str = "pk") -> bool:
        """Return whether an item was read, and has an attribute."""
        return attribute in (self._read.get(key) or {})

    def note_empty(self, key: Key) -> None:
        """Note that nothing but hints can be in the partition of a key, as the item of the key is not there."""
        if self._read.get(key, {}) is None:
            self._empty.add(key.pk)

    def put_ahead(self, items: Iterable[Item]) -> None:
        """Write items that a put will write again, for all puts together."""
        found = list(items)
        self._table.put_all(found)
        self._there.update(map(_key, found))

    @contextmanager
    def grouping(self) -> Iterator[None]:
        """Let what the put in this block writes, each item on a condition, wait until `write_group`.

        To the put it looks as if the conditions held. Nothing waits of a put that raises an error.
        """
        before = self._waiting, self._size
        self._grouping = True
        try:
            yield
        except BaseException:
            self._waiting, self._size = before
            raise
        finally:
            self._grouping = False

    def waits(self, key: Key) -> bool:
        """Return whether an item waits to be written."""
        return key in self._waiting

    def write_group(self) -> bool:
        """Write in one transaction what waits. Return whether it was written; nothing waits any more then.

        It was not if one of the conditions does not hold, another transaction is always in the way, or it is too
        large: nothing of it was written then.
        """
        waiting = self._waiting
        self.drop_group()
        try:
            match list(waiting.items()):
                case [(key, {"Update": body})]:
                    # A single item costs half of what it costs in a transaction.
                    return self._update(key, body)
                case items:
                    self._table.transact([action for _, action in items])
        except (ConflictError, CancelledError, WriteRefusedError):
            return False
        return True

    def _update(self, key: Key, body: Action) -> bool:
        return self._table.update(
            key,
            body["UpdateExpression"],
            body["ExpressionAttributeValues"],
            condition=body["ConditionExpression"],
        )

    def drop_group(self) -> None:
        """Write nothing of what waits, now or later."""
        self._waiting, self._size = {}, 0

    def get(self, key: Key, *, consistent: bool = False) -> Row | None:
        """Read as `Table.get`."""
        self._refuse_waiting([key])
        return self._read[key] if key in self._read else self._table.get(key, consistent=consistent)

    def batch_get(self, keys: Iterable[Key], *, consistent: bool = False) -> dict[Key, Row]:
        """Read as `Table.batch_get`."""
        wanted = list(dict.fromkeys(keys))
        self._refuse_waiting(wanted)
        unread = [key for key in wanted if key not in self._read]
        found = self._table.batch_get(unread, consistent=consistent) if unread else {}
        found |= {key: row for key in wanted if (row := self._read.get(key)) is not None}
        return found

    def unchanging[T](self, keys: Iterable[Key], decode: Callable[[Row], T]) -> dict[Key, T]:
        """Read as `Table.unchanging`."""
        return self._table.unchanging(keys, decode)

    def query(self, pk: str, low: str, high: str, *, consistent: bool = False) -> Iterator[Row]:
        """Read as `Table.query`."""
        self._refuse_waiting_in(pk)
        return iter(()) if pk in self._empty else self._table.query(pk, low, high, consistent=consistent)

    def query_first(self, pk: str, low: str, high: str, most: int, *, consistent: bool = False) -> list[Row]:
        """Read as `Table.query_first`."""
        self._refuse_waiting_in(pk)
        return self._table.query_first(pk, low, high, most, consistent=consistent)

    def count_in(self, pk: str, most_bytes: int) -> tuple[int, int]:
        """Read as `Table.count_in`."""
        self._refuse_waiting_in(pk)
        return self._table.count_in(pk, most_bytes)

    def has_any(self, pk: str, prefix: str = "", *, consistent: bool = False) -> tuple[bool, float]:
        """Read as `Table.has_any`."""
        self._refuse_waiting_in(pk)
        return self._table.has_any(pk, prefix, consistent=consistent)

    def put(self, item: Item) -> None:
        """Write as `Table.put`."""
        self._refuse_waiting([_key(item)])
        if _key(item) not in self._there:
            self._table.put(item)

    def put_new(self, item: Item) -> Item | None:
        """Write as `Table.put_new`."""
        self._forget([_key(item)])
        return self._table.put_new(item)

    def put_all(self, items: Iterable[Item]) -> None:
        """Write as `Table.put_all`."""
        if unwritten := [item for item in items if _key(item) not in self._there]:
            self._table.put_all(unwritten)

    def update(self, key: Key, expression: str, values: Item, *, condition: str | None = None) -> bool:
        """Write as `Table.update`."""
        if self._grouping and condition is not None:
            body = {
                "TableName": self.name,
                "Key": key_item(key),
                "UpdateExpression": expression,
                "ConditionExpression": condition,
                "ExpressionAttributeValues": values,
            }
            self._wait([{"Update": body}])
            return True
        self._forget([key])
        return self._table.update(key, expression, values, condition=condition)

    def transact(self, actions: Sequence[Action]) -> None:
        """Write as `Table.transact`."""
        if self._grouping:
            self._wait(actions)
            return
        self._forget(map(_written, actions))
        self._table.transact(actions)

    def _wait(self, actions: Sequence[Action]) -> None:
        found = {_written(action): action for action in actions}
        if any(keys.is_recount(key) for key in found):
            # What is counted anew has a cut, which must be written before it has come: it does not wait.
            raise LostError
        self._forget(found)
        size = self._size + sum(map(_bytes, actions))
        if len(self._waiting) + len(found) > MOST_ACTIONS or size > MOST_BYTES:
            raise LostError
        self._waiting, self._size = self._waiting | found, size

    def _refuse_waiting(self, keys: Iterable[Key]) -> None:
        """Raise `LostError` if an item waits to be written: whoever needs it must go after that."""
        if self._waiting and any(key in self._waiting for key in keys):
            raise LostError

    def _refuse_waiting_in(self, pk: str) -> None:
        if any(key.pk == pk for key in self._waiting):
            raise LostError

    def _forget(self, written: Iterable[Key]) -> None:
        for key in written:
            self._refuse_waiting([key])
            self._read.pop(key, None)
            self._empty.discard(key.pk)


def _written(action: Action) -> Key:
    (body,) = action.values()
    return _key(body.get("Key") or body.get("Item"))


def _bytes(action: Action) -> int:
    (body,) = action.values()
    return item_bytes(body.get("Item") or body["Key"]) + item_bytes(body.get("ExpressionAttributeValues", {}))


def _key(item: Item) -> Key:
    return Key(item["pk"]["S"], item["sk"]["S"])

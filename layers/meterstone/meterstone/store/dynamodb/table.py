"""The DynamoDB table, at the lowest level: reads decoded fast, writes in transactions.

`meterstone.store.dynamodb.service` makes the calls, and `meterstone.store.dynamodb.deadline` says how long they
may take. Each operation here makes several attempts, if what goes wrong may pass.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from email.utils import parsedate_to_datetime
from itertools import batched
from secrets import token_hex
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from meterstone.store.dynamodb import service
from meterstone.store.dynamodb.deadline import CALL, CONNECT, keep_to_deadline
from meterstone.store.dynamodb.errors import (
    ConflictError,
    PassingError,
    StoreError,
    StoreUnavailableError,
    WriteRefusedError,
)
from meterstone.store.dynamodb.keys import Key, range_of
from meterstone.store.dynamodb.restoring import after_restore
from meterstone.store.dynamodb.transaction import READ_TOGETHER, WRITTEN_TOGETHER
from meterstone.usage.instant import SECOND

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

__all__ = [
    "CONNECTIONS",
    "Action",
    "Attribute",
    "ConflictError",
    "Item",
    "OneByOne",
    "Page",
    "ReadCost",
    "Row",
    "StoreError",
    "StoreUnavailableError",
    "Table",
    "WriteRefusedError",
    "integer",
    "item_of",
    "key_item",
    "page_decoder",
    "text",
]

type Item = dict[str, dict[str, str]]
type Action = dict[str, Any]

CONNECTIONS = 50
"""How many connections a client keeps: so many events are put at once."""

_TOKEN = 16
#: An eventually consistent read of 4 KB costs half a read unit.
_BYTES_OF_A_UNIT = 8192
_MOST_UNCHANGING = 20_000
REMEMBERED: Final = 30.0
"""How long, in seconds, what was read is remembered where this is said."""


class Attribute(msgspec.Struct, gc=False):
    """An attribute's value: text, or a number as text. The table has no other types."""

    S: str | None = None
    N: str | None = None


type Row = dict[str, Attribute]


class _Consumed(msgspec.Struct, gc=False):
    CapacityUnits: float = 0.0


class _Page[T](msgspec.Struct, gc=False):
    #: Every page has it, also an empty one: an answer without it is not the service's.
    Items: list[T]
    LastEvaluatedKey: dict[str, dict[str, str]] | None = None
    ConsumedCapacity: _Consumed | None = None

    @property
    def units(self) -> float:
        return 0.0 if self.ConsumedCapacity is None else self.ConsumedCapacity.CapacityUnits


class _Counted(msgspec.Struct, gc=False):
    #: Every answer has it: one without it is not the service's.
    Count: int
    LastEvaluatedKey: dict[str, dict[str, str]] | None = None
    ConsumedCapacity: _Consumed | None = None


class _Undecoded[T]:
    """The items of a page, each decoded when it is reached."""

    def __init__(self, items: list[msgspec.Raw], decoder: "msgspec.json.Decoder[T]") -> None:
        self._items = items
        self._decode = decoder.decode

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        try:
            for each in self._items:
                yield self._decode(each)
        except msgspec.DecodeError as error:
            raise StoreUnavailableError("an item of the table cannot be read") from error


class OneByOne[T]:
    """A decoder of pages for `Table.query_as`, which decodes each item when it is reached, and not before.

    Thousands of numbers, decoded at once, are out of the processor's cache when the first of them is used. This
    saves more than it takes to find the ends of the items first.
    """

    def __init__(self, item_type: type[T], *, strict: bool = True) -> None:
        """Decode items into a type. If it is not ``strict``, numbers are read from text."""
        self.type = _Page[item_type]  # type: ignore[valid-type]
        self._decoder = msgspec.json.Decoder(item_type, strict=strict)

    def decode(self, body: bytes, /) -> _Page[T]:
        """Find the items of a page."""
        page: Any = _UNDECODED.decode(body)
        page.Items = _Undecoded(page.Items, self._decoder)
        found: _Page[T] = page
        return found


class _Found(msgspec.Struct, gc=False):
    Item: Row | None = None
    ConsumedCapacity: _Consumed | None = None

    def __post_init__(self) -> None:
        if self.Item is None and self.ConsumedCapacity is None:
            raise ValueError("it does not even say what it cost to find nothing")


class _Batch(msgspec.Struct, gc=False):
    Responses: dict[str, list[Row]] | None = None
    UnprocessedKeys: dict[str, dict[str, Any]] = {}
    ConsumedCapacity: list[_Consumed] = []

    def __post_init__(self) -> None:
        if self.Responses is None and not self.UnprocessedKeys:
            raise ValueError("it says nothing of the keys")


class _GotOne(msgspec.Struct, gc=False):
    Item: Row | None = None


class _Together(msgspec.Struct, gc=False):
    #: One for each key, also of those that do not exist.
    Responses: list[_GotOne]
    ConsumedCapacity: list[_Consumed] = []


class _WrittenSome(msgspec.Struct, gc=False):
    UnprocessedItems: dict[str, list[Any]] = {}


class ReadCost:
    """The number of items read since the last reset, and the read units that the service reported for them."""

    __slots__ = ("items", "lock", "read_units")

    def __init__(self) -> None:
        """Start at nothing."""
        self.lock = Lock()
        self.reset()

    def reset(self) -> None:
        """Start again at nothing."""
        self.items = 0
        self.read_units = 0.0


class Table:
    """One table of the service.

    Several threads may call `batch_get`, `put_new`, `has_any` and `ids_in` at once. Nothing else may be called
    meanwhile, and no other thread may begin a request.
    """

    def __init__(self, client: "DynamoDBClient", name: str) -> None:
        """Take a low-level client, bound its calls, and have the bodies of its answers handed over."""
        self.client = client
        self.name = name
        self.cost = ReadCost()
        self._unchanging: dict[Key, tuple[float, Any]] = {}
        self.deadline = keep_to_deadline(client)
        service.take_bodies(client)

    def begin(self, seconds: float) -> None:
        """Begin a request: nothing is read yet, and all calls together have so many seconds."""
        self.cost.reset()
        self.deadline.start(seconds)

    @classmethod
    def from_environment(cls) -> "Table":
        """Open the table named by ``TABLE_NAME``; ``AWS_ENDPOINT_URL_DYNAMODB`` chooses the engine."""
        # Not at the top: a command that opens no table need not wait for a fifth of a second.
        from botocore import __version__  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415
        from botocore.session import get_session  # noqa: PLC0415

        from meterstone.store.dynamodb.models import read_faster  # noqa: PLC0415

        config = Config(
            # `service.within` makes the attempts: it knows how much time there is.
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=CONNECT,
            read_timeout=CALL,
            max_pool_connections=CONNECTIONS,
            tcp_keepalive=True,
            # All that is sent is made by this code, and checking a transaction takes a third of the time to send
            # it.
            parameter_validation=False,
            # botocore's own names the machine and the client's features. It is made twice for each call, which
            # takes a tenth of a call.
            user_agent=f"Botocore/{__version__} Meterstone",
        )
        session = get_session()
        read_faster(session)
        client = cast("DynamoDBClient", session.create_client("dynamodb", config=config))
        after_restore(client.close)
        return cls(client, os.environ["TABLE_NAME"])

    def get(self, key: Key, *, consistent: bool = False) -> Row | None:
        """Read one item; None if there is none. Cost: 0.5 read units for each 4 KB of the item."""
        found = self._ask(
            _FOUND,
            self.client.get_item,
            TableName=self.name,
            Key=key_item(key),
            ConsistentRead=consistent,
            ReturnConsumedCapacity="TOTAL",
        )
        self._paid([found.ConsumedCapacity], int(found.Item is not None))
        return found.Item

    def batch_get(self, keys: Iterable[Key], *, consistent: bool = False) -> dict[Key, Row]:
        """Read many items by key, in calls of 100. Items that do not exist are left out.

        Cost: for each item, 0.5 read units for each 4 KB of it.
        """
        found: dict[Key, Row] = {}
        for some in batched(dict.fromkeys(keys), READ_TOGETHER, strict=False):
            wanted: dict[str, Any] = {
                self.name: {"Keys": [key_item(key) for key in some], "ConsistentRead": consistent}
            }

            def read(wanted: dict[str, Any] = wanted) -> None:
                request = {"RequestItems": wanted, "ReturnConsumedCapacity": "TOTAL"}
                batch = service.ask(self.client.batch_get_item, _BATCH, request)
                rows = (batch.Responses or {}).get(self.name, [])
                self._paid(batch.ConsumedCapacity, len(rows))
                found.update((Key(text(row, "pk"), text(row, "sk")), row) for row in rows)
                left = batch.UnprocessedKeys
                if left:
                    wanted.clear()
                    wanted.update(left)
                    raise PassingError("keys were left unprocessed")

            service.within(self.deadline, read)
        return found

    def get_together(self, keys: Sequence[Key]) -> dict[Key, Row]:
        """Read up to 100 items as they are at one moment: of a transaction, all is seen or nothing.

        Items that do not exist are left out. Cost: for each item, 2 read units for each 4 KB of it.
        """
        gets = [{"Get": {"TableName": self.name, "Key": key_item(key)}} for key in keys]
        found = self._ask(
            _TOGETHER, self.client.transact_get_items, TransactItems=gets, ReturnConsumedCapacity="TOTAL"
        )
        rows = [each.Item for each in found.Responses if each.Item]
        self._paid(found.ConsumedCapacity, len(rows))
        return {Key(text(row, "pk"), text(row, "sk")): row for row in rows}

    def unchanging[T](self, keys: Iterable[Key], decode: Callable[[Row], T]) -> dict[Key, T]:
        """Read items that never change once they are there, and remember what they were decoded to.

        Those that are not there are left out, and asked for again the next time. What nothing is computed with may
        change: it is read again after `REMEMBERED` seconds. Cost: of items that are not remembered, that of a
        `batch_get`, and of those that it does not find, that of a consistent one.
        """
        # The time of day is used, since a monotonic clock may stand still while the function is frozen.
        clock = time.time()
        found: dict[Key, T] = {}
        wanted: list[Key] = []
        for key in keys:
            known = self._unchanging.get(key)
            if known is not None and 0 <= clock - known[0] < REMEMBERED:
                found[key] = known[1]
            else:
                wanted.append(key)
        if not wanted:
            return found
        rows = self.batch_get(wanted)
        if missing := [key for key in wanted if key not in rows]:
            rows |= self.batch_get(missing, consistent=True)
        if len(self._unchanging) + len(rows) > _MOST_UNCHANGING:
            self._unchanging.clear()
        for key, row in rows.items():
            found[key] = decode(row)
            self._unchanging[key] = clock, found[key]
        return found

    def query(self, pk: str, low: str, high: str, *, consistent: bool = False) -> Iterator[Row]:
        """Read the items of a partition whose sort keys lie in ``[low, high]``, page by page.

        Cost: 0.5 read units for each 4 KB of all items together.
        """
        return self.query_as(_ROWS, pk, low, high, consistent=consistent)

    def query_as[T](
        self,
        decoder: "service.Decoder[_Page[T]]",
        pk: str,
        low: str,
        high: str,
        *,
        consistent: bool = False,
    ) -> Iterator[T]:
        """Read like `query`, and decode each item into the type of the page's items."""
        request: dict[str, Any] = {
            "TableName": self.name,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
            "ExpressionAttributeValues": {":pk": {"S": pk}, ":low": {"S": low}, ":high": {"S": high}},
            "ConsistentRead": consistent,
            "ReturnConsumedCapacity": "TOTAL",
        }
        while True:
            page = self._ask(decoder, self.client.query, **request)
            self._paid([page.ConsumedCapacity], len(page.Items))
            yield from page.Items
            if page.LastEvaluatedKey is None:
                return
            request["ExclusiveStartKey"] = page.LastEvaluatedKey

    def query_first(self, pk: str, low: str, high: str, most: int, *, consistent: bool = False) -> list[Row]:
        """Read the first items of a range, one at least if there is one, and at most so many. Cost: 1 query."""
        page = self._ask(
            _ROWS,
            self.client.query,
            TableName=self.name,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :low AND :high",
            ExpressionAttributeValues={":pk": {"S": pk}, ":low": {"S": low}, ":high": {"S": high}},
            Limit=most,
            ConsistentRead=consistent,
            ReturnConsumedCapacity="TOTAL",
        )
        self._paid([page.ConsumedCapacity], len(page.Items))
        return page.Items

    def query_prefix(self, pk: str, prefix: str, *, consistent: bool = False) -> Iterator[Row]:
        """Read the items of a partition whose sort keys begin with a prefix that ends in ``#``."""
        return self.query(pk, *range_of(prefix), consistent=consistent)

    def due(self, partition: str, until: str) -> Iterable[Key]:
        """Read the keys in the index ``due`` whose time has come, earliest first, page by page."""
        request: dict[str, Any] = {
            "TableName": self.name,
            "IndexName": "due",
            "KeyConditionExpression": "due_pk = :pk AND due_at <= :until",
            "ExpressionAttributeValues": {":pk": {"S": partition}, ":until": {"S": until}},
        }
        while True:
            page = self._ask(_ROWS, self.client.query, **request)
            yield from (Key(text(row, "pk"), text(row, "sk")) for row in page.Items)
            if page.LastEvaluatedKey is None:
                return
            request["ExclusiveStartKey"] = page.LastEvaluatedKey

    def transact(self, actions: Sequence[Any]) -> None:
        """Write up to 100 items, all or none.

        Raises `ConflictError` when a condition does not hold, or `WriteRefusedError`.

        Cost: for each item, 2 write units for each KB. A call whose answer was lost is repeated with the same
        token, and every action of ours has a condition that the action itself makes false.
        """
        request = {"TransactItems": list(actions), "ClientRequestToken": token_hex(_TOKEN)}

        def write() -> None:
            try:
                service.ask(self.client.transact_write_items, _WRITTEN, request)
            except service.CancelledError:
                # It is known to have changed nothing: the next attempt is a transaction of its own.
                request["ClientRequestToken"] = token_hex(_TOKEN)
                raise

        service.within(self.deadline, write)

    def put(self, item: Item) -> None:
        """Write one item, and replace the item under its key, if there is one."""
        self._ask(_WRITTEN, self.client.put_item, TableName=self.name, Item=item)

    def put_new(self, item: Item) -> Item | None:
        """Write one item if there is none under its key. Return the item that is there already, or None.

        An attempt whose answer was lost may have written it: then the next attempt finds it. Cost: 1 write unit
        for each KB and each attempt, written or not.
        """
        try:
            self._ask(
                _WRITTEN,
                self.client.put_item,
                TableName=self.name,
                Item=item,
                ConditionExpression="attribute_not_exists(pk)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ConflictError as conflict:
            if not conflict.found:
                raise
            return conflict.found[0]
        return None

    def has_any(self, pk: str, prefix: str = "", *, consistent: bool = False) -> tuple[bool, float]:
        """Return whether a partition has any item, and the read units that the question cost: 0.5, or 1.

        Only sort keys count that begin with the prefix, which ends in ``#``, or is empty.
        """
        condition, values = "pk = :pk", {":pk": {"S": pk}}
        if prefix:
            low, high = range_of(prefix)
            condition += " AND sk BETWEEN :low AND :high"
            values |= {":low": {"S": low}, ":high": {"S": high}}
        page = self._ask(
            _ROWS,
            self.client.query,
            TableName=self.name,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            Limit=1,
            ConsistentRead=consistent,
            ProjectionExpression="pk",
            ReturnConsumedCapacity="TOTAL",
        )
        return bool(page.Items), page.units

    def count_in(self, pk: str, most_bytes: int) -> tuple[int, int]:
        """Count the items of a partition, and about how many bytes they have, as far as these are within a bound.

        The items do not leave the service. Cost: 0.5 read units for each 4 KB, up to the bound and a page more.
        """
        count, size = 0, 0
        start: dict[str, Any] = {}
        while size <= most_bytes:
            page = self._ask(
                _COUNTED,
                self.client.query,
                TableName=self.name,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": pk}},
                Select="COUNT",
                ReturnConsumedCapacity="TOTAL",
                **start,
            )
            units = 0.0 if page.ConsumedCapacity is None else page.ConsumedCapacity.CapacityUnits
            self._paid([page.ConsumedCapacity], page.Count)
            count += page.Count
            size += int(units * _BYTES_OF_A_UNIT)
            if page.LastEvaluatedKey is None:
                break
            start = {"ExclusiveStartKey": page.LastEvaluatedKey}
        return count, size

    def ids_in(self, pk: str) -> tuple[list[str], float]:
        """Read the attribute `id` of the items of a partition that have one, and the read units that it cost."""
        ids: list[str] = []
        units = 0.0
        request: dict[str, Any] = {
            "TableName": self.name,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": pk}},
            "ProjectionExpression": "id",
            "ReturnConsumedCapacity": "TOTAL",
        }
        while True:
            page = self._ask(_ROWS, self.client.query, **request)
            ids += [text(row, "id") for row in page.Items if "id" in row]
            units += page.units
            if not page.LastEvaluatedKey:
                return ids, units
            request["ExclusiveStartKey"] = page.LastEvaluatedKey

    def service_time(self) -> int | None:
        """Return the service's time, exact to the second, in microseconds; None if the service does not say."""
        request = {"TableName": self.name, "Key": key_item(Key("clock", "clock"))}
        answer = service.within(self.deadline, lambda: service.sent(self.client.get_item, request))
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return None if date is None else int(parsedate_to_datetime(date).timestamp()) * SECOND

    def put_all(self, items: Iterable[Item]) -> None:
        """Write many items, 25 a call, each for itself, and replace the items under their keys."""
        for some in batched(items, WRITTEN_TOGETHER, strict=False):
            self._write_batch([{"PutRequest": {"Item": item}} for item in some])

    def delete_all(self, keys: Iterable[Key]) -> None:
        """Remove many items, 25 a call, each for itself, whether or not they are there."""
        for some in batched(keys, WRITTEN_TOGETHER, strict=False):
            self._write_batch([{"DeleteRequest": {"Key": key_item(key)}} for key in some])

    def update(self, key: Key, expression: str, values: Item, *, condition: str | None = None) -> bool:
        """Change one item. Return whether the condition held."""
        request: dict[str, Any] = {
            "TableName": self.name,
            "Key": key_item(key),
            "UpdateExpression": expression,
            "ExpressionAttributeValues": values,
        }
        if condition is not None:
            request["ConditionExpression"] = condition
        try:
            self._ask(_WRITTEN, self.client.update_item, **request)
        except ConflictError:
            return False
        return True

    def _write_batch(self, requests: list[Any]) -> None:
        wanted: dict[str, Any] = {self.name: requests}

        def write() -> None:
            nonlocal wanted
            wanted = service.ask(
                self.client.batch_write_item, _WRITTEN_SOME, {"RequestItems": wanted}
            ).UnprocessedItems
            if wanted:
                raise PassingError("items were left unprocessed")

        service.within(self.deadline, write)

    def _ask[T](self, decoder: "service.Decoder[T]", call: Callable[..., Any], **request: Any) -> T:
        return service.within(self.deadline, lambda: service.ask(call, decoder, request))

    def _paid(self, consumed: Iterable[_Consumed | None], items: int) -> None:
        with self.cost.lock:
            self.cost.items += items
            for each in consumed:
                if each is not None:
                    self.cost.read_units += each.CapacityUnits


def key_item(key: Key) -> Item:
    """Return a key in the form of the service."""
    return {"pk": {"S": key.pk}, "sk": {"S": key.sk}}


def item_of(row: Row) -> Item:
    """Return a row in the form in which it is written."""
    return {
        name: {"S": value.S} if value.S is not None else {"N": value.N or "0"} for name, value in row.items()
    }


def text(row: Row, name: str) -> str:
    """Return an attribute that is text; empty text if there is none."""
    attribute = row.get(name)
    return "" if attribute is None or attribute.S is None else attribute.S


def integer(row: Row, name: str) -> int:
    """Return an attribute that is a whole number; 0 if there is none."""
    attribute = row.get(name)
    return 0 if attribute is None or attribute.N is None else int(attribute.N)


def page_decoder[T](page_type: type[T], *, strict: bool = True) -> "msgspec.json.Decoder[T]":
    """Return a decoder for the pages of `Table.query_as`. If it is not ``strict``, it reads numbers from text."""
    return msgspec.json.Decoder(page_type, strict=strict)


Page = _Page
_ROWS: "msgspec.json.Decoder[_Page[Row]]" = msgspec.json.Decoder(_Page[Row])
_UNDECODED = msgspec.json.Decoder(_Page[msgspec.Raw])
_FOUND = msgspec.json.Decoder(_Found)
_BATCH = msgspec.json.Decoder(_Batch)
_TOGETHER = msgspec.json.Decoder(_Together)
_COUNTED = msgspec.json.Decoder(_Counted)
_WRITTEN = msgspec.json.Decoder(dict[str, Any])
_WRITTEN_SOME = msgspec.json.Decoder(_WrittenSome)

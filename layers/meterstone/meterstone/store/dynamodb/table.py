"""The DynamoDB table, at the lowest level: reads decoded fast, writes in transactions, failures told apart.

botocore takes 110 to 180 ms of CPU to parse a page of 1 MB, nearly all of it for walking the service model. Its
`before-parse` event lets us decode a page straight into typed rows instead. The event is not a documented
interface. If it does not fire, rows are converted from the result of botocore's parser, which is slower and as
correct.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from itertools import batched
from random import SystemRandom
from typing import TYPE_CHECKING, Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from meterstone.store.dynamodb.keys import Key, range_of
from meterstone.store.dynamodb.transaction import READ_TOGETHER, WRITTEN_TOGETHER
from meterstone.usage.instant import SECOND

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

type Item = dict[str, dict[str, str]]
type Action = dict[str, Any]

_UNAVAILABLE = frozenset(
    {
        "InternalServerError",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ThrottlingException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
_THROTTLED_REASONS = frozenset({"ProvisionedThroughputExceeded", "ThrottlingError", "RequestLimitExceeded"})
_INVALID_REASON = "ValidationError"
_ATTEMPTS = 12
_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 1.0


class StoreError(Exception):
    """The base of all errors that the store raises on purpose."""


class StoreUnavailableError(StoreError):
    """The table could not be reached, or is throttled. The same call may succeed later."""


class ConflictError(StoreError):
    """A condition of a transaction did not hold. Nothing was written.

    ``found`` has the item that did not fit the condition, by the action's place, if the action asked for it.
    """

    def __init__(self, found: Mapping[int, Item]) -> None:
        """Keep the items found."""
        super().__init__("a condition did not hold")
        self.found = found


class WriteRefusedError(StoreError):
    """The table will never take this write: it has a number of over 38 digits, say, or an item over 400 KB."""


class Attribute(msgspec.Struct, gc=False):
    """An attribute's value: text, or a number as text. The table has no other types."""

    S: str | None = None
    N: str | None = None


type Row = dict[str, Attribute]


class _Consumed(msgspec.Struct, gc=False):
    CapacityUnits: float = 0.0


class _Page[T](msgspec.Struct, gc=False):
    Items: list[T] = []
    LastEvaluatedKey: dict[str, dict[str, str]] | None = None
    ConsumedCapacity: _Consumed | None = None


class _Found(msgspec.Struct, gc=False):
    Item: Row | None = None
    ConsumedCapacity: _Consumed | None = None


class _Batch(msgspec.Struct, gc=False):
    Responses: dict[str, list[Row]] = {}
    UnprocessedKeys: dict[str, dict[str, Any]] = {}
    ConsumedCapacity: list[_Consumed] = []


class ReadCost:
    """The number of items read since the last reset, and the read units that the service reported for them."""

    __slots__ = ("items", "read_units")

    def __init__(self) -> None:
        """Start at nothing."""
        self.reset()

    def reset(self) -> None:
        """Start again at nothing."""
        self.items = 0
        self.read_units = 0.0


class Table:
    """One table of the service. It must not be used by several threads at once: each thread has its own."""

    def __init__(self, client: "DynamoDBClient", name: str) -> None:
        """Take a low-level client, and register the fast decoding for its events."""
        self.client = client
        self.name = name
        self.cost = ReadCost()
        self._decode: Callable[[bytes], Any] | None = None
        for operation in ("Query", "GetItem", "BatchGetItem"):
            client.meta.events.register(f"before-parse.dynamodb.{operation}", self._before_parse)

    @classmethod
    def from_environment(cls) -> "Table":
        """Open the table named by ``TABLE_NAME``; ``AWS_ENDPOINT_URL_DYNAMODB`` chooses the engine."""
        # Not at the top: a command that opens no table need not wait for a fifth of a second.
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        config = Config(
            retries={"mode": "standard", "total_max_attempts": 4},
            connect_timeout=2,
            read_timeout=10,
            tcp_keepalive=True,
            # All that is sent is made by this code, and checking a transaction takes a third of the time to send
            # it.
            parameter_validation=False,
        )
        return cls(boto3.client("dynamodb", config=config), os.environ["TABLE_NAME"])

    def get(self, key: Key, *, consistent: bool = False) -> Row | None:
        """Read one item; None if there is none. Cost: 0.5 read units for each 4 KB of the item."""
        found: _Found = self._read(
            _FOUND,
            _Found,
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
            for pause in _pauses():
                batch: _Batch = self._read(
                    _BATCH,
                    _Batch,
                    self.client.batch_get_item,
                    RequestItems=wanted,
                    ReturnConsumedCapacity="TOTAL",
                )
                rows = batch.Responses.get(self.name, [])
                self._paid(batch.ConsumedCapacity, len(rows))
                found.update((Key(text(row, "pk"), text(row, "sk")), row) for row in rows)
                wanted = batch.UnprocessedKeys
                if not wanted:
                    break
                pause()
            else:
                raise StoreUnavailableError("keys were left unprocessed")
        return found

    def query(self, pk: str, low: str, high: str, *, consistent: bool = False) -> Iterator[Row]:
        """Read the items of a partition whose sort keys lie in ``[low, high]``, page by page.

        Cost: 0.5 read units for each 4 KB of all items together.
        """
        return self.query_as(_ROWS, _Page[Row], pk, low, high, consistent=consistent)

    def query_as[T](
        self,
        decoder: "msgspec.json.Decoder[_Page[T]]",
        page_type: type[_Page[T]],
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
            page: _Page[T] = self._read(decoder, page_type, self.client.query, **request)
            self._paid([page.ConsumedCapacity], len(page.Items))
            yield from page.Items
            if page.LastEvaluatedKey is None:
                return
            request["ExclusiveStartKey"] = page.LastEvaluatedKey

    def query_first(self, pk: str, low: str, high: str, most: int, *, consistent: bool = False) -> list[Row]:
        """Read the first items of a range, one at least if there is one, and at most so many. Cost: 1 query."""
        page: _Page[Row] = self._read(
            _ROWS,
            _Page[Row],
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

    def due(self, partition: str, until: str) -> list[Key]:
        """List the keys in the index ``due`` whose time has come, earliest first."""
        keys: list[Key] = []
        request: dict[str, Any] = {
            "TableName": self.name,
            "IndexName": "due",
            "KeyConditionExpression": "due_pk = :pk AND due_at <= :until",
            "ExpressionAttributeValues": {":pk": {"S": partition}, ":until": {"S": until}},
        }
        while True:
            page: _Page[Row] = self._read(_ROWS, _Page[Row], self.client.query, **request)
            keys += [Key(text(row, "pk"), text(row, "sk")) for row in page.Items]
            if page.LastEvaluatedKey is None:
                return keys
            request["ExclusiveStartKey"] = page.LastEvaluatedKey

    def transact(self, actions: Sequence[Any]) -> None:
        """Write up to 100 items, all or none.

        Raises `ConflictError` when a condition does not hold, or `WriteRefusedError`.

        Cost: for each item, 2 write units for each KB. A call that timed out can be repeated: botocore sends the
        same token again, and every action of ours has a condition that the action itself makes false.
        """
        for pause in _pauses():
            try:
                self.client.transact_write_items(TransactItems=list(actions))
            except ClientError as error:
                self._raise_unless_passing(error)
            except BotoCoreError as error:
                raise StoreUnavailableError("the table did not answer") from error
            else:
                return
            pause()
        raise StoreUnavailableError("the table is contended or throttled")

    def put(self, item: Item) -> None:
        """Write one item, and replace the item under its key, if there is one."""
        self._call(self.client.put_item, TableName=self.name, Item=item)

    def put_new(self, item: Item) -> Item | None:
        """Write one item if there is none under its key. Return the item that is there already, or None.

        May be called from several threads at once. Cost: 1 write unit for each KB, written or not.
        """
        for pause in _pauses():
            try:
                self.client.put_item(
                    TableName=self.name,
                    Item=item,
                    ConditionExpression="attribute_not_exists(pk)",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except ClientError as error:
                found: Item | None = error.response.get("Item")  # type: ignore[assignment]
                if found is not None:
                    return found
                if error.response["Error"]["Code"] != "TransactionConflictException":
                    raise _translated(error) from error
            except BotoCoreError as error:
                raise StoreUnavailableError("the table did not answer") from error
            else:
                return None
            pause()
        raise StoreUnavailableError("the table is contended")

    def has_any(self, pk: str, *, consistent: bool = False) -> tuple[bool, float]:
        """Return whether a partition has any item, and the read units that the question cost: 0.5, or 1.

        May be called from several threads at once, if nothing else is read meanwhile.
        """
        answer = self._call(
            self.client.query,
            TableName=self.name,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": pk}},
            Limit=1,
            ConsistentRead=consistent,
            ProjectionExpression="pk",
            ReturnConsumedCapacity="TOTAL",
        )
        return bool(answer["Items"]), answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0)

    def ids_in(self, pk: str) -> tuple[list[str], float]:
        """Read the attribute `id` of all items of a partition, and the read units that it cost.

        May be called from several threads at once, if nothing else is read meanwhile.
        """
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
            answer = self._call(self.client.query, **request)
            ids += [each["id"]["S"] for each in answer["Items"]]
            units += answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0)
            if not answer.get("LastEvaluatedKey"):
                return ids, units
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def service_time(self) -> int | None:
        """Return the service's time, exact to the second, in microseconds; None if the service does not say."""
        answer = self._call(self.client.get_item, TableName=self.name, Key=key_item(Key("clock", "clock")))
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
            self._call(self.client.update_item, **request)
        except ConflictError:
            return False
        return True

    def _write_batch(self, requests: list[Any]) -> None:
        wanted: dict[str, Any] = {self.name: requests}
        for pause in _pauses():
            answer = self._call(self.client.batch_write_item, RequestItems=wanted)
            wanted = answer.get("UnprocessedItems") or {}
            if not wanted:
                return
            pause()
        raise StoreUnavailableError("items were left unprocessed")

    def _read(self, decoder: "msgspec.json.Decoder[Any]", kind: Any, call: Any, **request: Any) -> Any:
        self._decode = decoder.decode
        try:
            answer = call(**request)
        except ClientError as error:
            raise _translated(error) from error
        except BotoCoreError as error:
            raise StoreUnavailableError("the table did not answer") from error
        finally:
            self._decode = None
        decoded = answer.get("Decoded")
        return decoded if decoded is not None else msgspec.convert(answer, kind, strict=False)

    def _call(self, call: Any, **request: Any) -> Any:
        try:
            return call(**request)
        except ClientError as error:
            raise _translated(error) from error
        except BotoCoreError as error:
            raise StoreUnavailableError("the table did not answer") from error

    def _before_parse(
        self, response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
    ) -> None:
        if response_dict["status_code"] == 200 and self._decode is not None:  # noqa: PLR2004 - HTTP OK
            customized_response_dict["Decoded"] = self._decode(response_dict["body"])
            response_dict["body"] = b"{}"

    def _paid(self, consumed: Iterable[_Consumed | None], items: int) -> None:
        self.cost.items += items
        for each in consumed:
            if each is not None:
                self.cost.read_units += each.CapacityUnits

    @staticmethod
    def _raise_unless_passing(error: ClientError) -> None:
        reasons: list[dict[str, Any]] = error.response.get("CancellationReasons", [])  # type: ignore[assignment]
        codes = {reason.get("Code") for reason in reasons}
        if "ConditionalCheckFailed" in codes:
            raise ConflictError(
                {place: reason["Item"] for place, reason in enumerate(reasons) if reason.get("Item")}
            ) from error
        invalid = [reason.get("Message") for reason in reasons if reason.get("Code") == _INVALID_REASON]
        if invalid:
            raise WriteRefusedError(", ".join(each or "invalid" for each in invalid)) from error
        if "TransactionConflict" not in codes and not codes & _THROTTLED_REASONS:
            raise _translated(error) from error


def _translated(error: ClientError) -> Exception:
    code = error.response["Error"]["Code"]
    if code == "ConditionalCheckFailedException":
        return ConflictError({})
    if code == "ValidationException":
        return WriteRefusedError(error.response["Error"].get("Message", code))
    return StoreUnavailableError(code) if code in _UNAVAILABLE else error


def _pauses() -> Iterator[Callable[[], None]]:
    """Yield a pause for each attempt, each up to twice as long as the one before, with full jitter."""
    random = SystemRandom()
    for attempt in range(_ATTEMPTS):
        limit = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)
        yield lambda limit=limit: time.sleep(random.uniform(0, limit))  # type: ignore[misc]


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
_FOUND = msgspec.json.Decoder(_Found)
_BATCH = msgspec.json.Decoder(_Batch)

"""A table's stream, as an engine serves it: its shards, and pages of their records.

Every answer is looked at: one that is not as DynamoDB's is a `StreamError`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from botocore.exceptions import ClientError

_BATCH: Final = 1000
_IMAGES: Final = frozenset({"NEW_IMAGE", "NEW_AND_OLD_IMAGES"})
#: What engines answer when the record after which to go on, its shard or its stream is not there any more.
_GONE: Final = frozenset(
    {
        "TrimmedDataAccessException",
        "ExpiredIteratorException",
        "ResourceNotFoundException",
        "ValidationException",
    }
)


class StreamError(Exception):
    """The engine's answer is not as it must be."""


class GoneError(Exception):
    """The engine does not have the records that were asked for any more."""


@dataclass(frozen=True, slots=True)
class Page:
    """Records of a shard with their sequence numbers, and where to go on; None if the shard has ended."""

    records: list[Mapping[str, Any]]
    numbers: list[str]
    following: str | None


class Stream:
    """The stream of a table: its ARN, and its shards, each with the shard that it was split from."""

    def __init__(self, dynamodb: Any, streams: Any, table_name: str) -> None:
        """Read by a client of DynamoDB, and one of its streams."""
        self._dynamodb = dynamodb
        self._client = streams
        self._table_name = table_name
        self.arn = ""
        self.shards: dict[str, str] = {}

    def find(self) -> str:
        """Find the stream and its shards, and return its ARN. It is turned on where it is not."""
        described: Any = self._dynamodb.describe_table(TableName=self._table_name)["Table"]
        if not described.get("StreamSpecification", {}).get("StreamEnabled"):
            specification: Any = {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
            described = self._dynamodb.update_table(
                TableName=self._table_name, StreamSpecification=specification
            )["TableDescription"]
        kind = described["StreamSpecification"]["StreamViewType"]
        if kind not in _IMAGES:
            raise StreamError(f"the table's stream has {kind}, and must have NEW_IMAGE")
        self.arn = described["LatestStreamArn"]
        self.shards = self._shards()
        return self.arn

    def _shards(self) -> dict[str, str]:
        shards: dict[str, str] = {}
        more: dict[str, str] = {}
        while True:
            found = self._client.describe_stream(StreamArn=self.arn, **more)["StreamDescription"]
            for shard in found["Shards"]:
                shards[shard["ShardId"]] = shard.get("ParentShardId", "")
            if "LastEvaluatedShardId" not in found:
                return shards
            more = {"ExclusiveStartShardId": found["LastEvaluatedShardId"]}

    def iterator(self, shard: str, after: str) -> str:
        """Return an iterator to what comes after a sequence number; if that is empty, to all that is there.

        Raises `GoneError`.
        """
        where = (
            {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": after}
            if after
            else {"ShardIteratorType": "TRIM_HORIZON"}
        )
        try:
            answer = self._client.get_shard_iterator(StreamArn=self.arn, ShardId=shard, **where)
        except ClientError as error:
            raise _told_apart(error) from error
        iterator: str = answer["ShardIterator"]
        return iterator

    def read(self, iterator: str) -> Page:
        """Read the next records. Raises `GoneError`."""
        try:
            answer = self._client.get_records(ShardIterator=iterator, Limit=_BATCH)
        except ClientError as error:
            raise _told_apart(error) from error
        try:
            records = answer["Records"]
            numbers = [str(record["dynamodb"]["SequenceNumber"]) for record in records]
            in_order = all(int(one) < int(other) for one, other in pairwise(numbers))
        except (KeyError, TypeError, ValueError) as error:
            raise StreamError(f"the engine's answer is no page of a stream: {error!r}") from error
        if not in_order:
            raise StreamError("the records of the stream are not in their order")
        return Page(records, numbers, answer.get("NextShardIterator"))


def _told_apart(error: ClientError) -> Exception:
    return GoneError(str(error)) if error.response.get("Error", {}).get("Code") in _GONE else error

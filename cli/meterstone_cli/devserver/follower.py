"""What Lambda's event source and scheduler do in AWS, on this machine: the table's stream is folded as it comes.

A batch that fails is delivered again, without end, as the template says: nothing is skipped.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from meterstone_cli.devserver.function import Function, FunctionFailedError

log = logging.getLogger(__name__)

_BATCH: Final = 1000
_PAUSE: Final = 0.1
_PAUSE_AFTER_FAILURE: Final = 1.0
_ROLL_EVERY: Final = 3600.0
#: As the template's: a batch may touch very many tallies.
_TIMEOUT: Final = 120.0


@contextlib.contextmanager
def following(functions: Path, table_name: str) -> Iterator[None]:
    """Fold what is posted while the block runs, to the last event; the stream is followed from now on.

    The table's engine is at ``AWS_ENDPOINT_URL_DYNAMODB``. Its stream is turned on where it is not.
    """
    follower = _Follower(functions, table_name)
    thread = threading.Thread(target=follower.run, name="stream", daemon=True)
    thread.start()
    try:
        yield
    finally:
        follower.stop.set()
        thread.join(_TIMEOUT)


class _Follower:
    def __init__(self, functions: Path, table_name: str) -> None:
        self.stop = threading.Event()
        endpoint = os.environ["AWS_ENDPOINT_URL_DYNAMODB"]
        self._streams = boto3.client("dynamodbstreams", endpoint_url=endpoint)
        self._iterators = {shard: self._latest(arn, shard) for arn, shard in self._shards(table_name)}
        self._fold = Function("fold_usage", functions / "fold_usage" / "app.py", timeout=_TIMEOUT)
        self._roll = Function("roll_usage", functions / "roll_usage" / "app.py", timeout=_TIMEOUT)

    def run(self) -> None:
        """Deliver batches until told to stop, and then what is left."""
        rolled = -_ROLL_EVERY
        while True:
            stopping = self.stop.is_set()
            if time.monotonic() - rolled >= _ROLL_EVERY:
                rolled = time.monotonic()
                self._try(self._roll, {})
            delivered = sum(self._deliver(shard) for shard in self._iterators)
            if not delivered and (stopping or self.stop.wait(_PAUSE)) and stopping:
                return

    def _shards(self, table_name: str) -> list[tuple[str, str]]:
        table = boto3.client("dynamodb")
        description = table.describe_table(TableName=table_name)["Table"]
        if not description.get("StreamSpecification", {}).get("StreamEnabled"):
            specification: Any = {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
            description = table.update_table(TableName=table_name, StreamSpecification=specification)[
                "TableDescription"
            ]
        arn = description["LatestStreamArn"]
        stream = self._streams.describe_stream(StreamArn=arn)["StreamDescription"]
        return [(arn, shard["ShardId"]) for shard in stream["Shards"]]

    def _latest(self, arn: str, shard: str) -> str:
        answer = self._streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="LATEST")
        iterator: str = answer["ShardIterator"]
        return iterator

    def _deliver(self, shard: str) -> int:
        """Hand the next records of a shard to the fold; give how many they were."""
        try:
            page = self._streams.get_records(ShardIterator=self._iterators[shard], Limit=_BATCH)
        except (BotoCoreError, ClientError) as error:
            log.warning("the stream does not answer: %s", error)
            time.sleep(_PAUSE_AFTER_FAILURE)
            return 0
        records = [record for record in page["Records"] if _is_new_event(record)]
        while records and not self._try(self._fold, {"Records": records, "shardId": shard}):
            time.sleep(_PAUSE_AFTER_FAILURE)
        self._iterators[shard] = page["NextShardIterator"]
        return len(page["Records"])

    def _try(self, function: Function, event: dict[str, Any]) -> bool:
        try:
            function.invoke(event)
        except FunctionFailedError:
            log.exception("%s failed and is called again", function.name)
            return False
        return True


def _is_new_event(record: Mapping[str, Any]) -> bool:
    """Return what the template's filter lets through."""
    image = record["dynamodb"].get("NewImage", {})
    return record["eventName"] == "INSERT" and "e" in image and "acc" in image

"""The table's stream into counters and rollups: what makes a posted event visible in both endpoints.

A batch that fails is delivered again, without end: nothing is skipped, and what was counted is not counted twice.
"""

import os
from typing import Any

import boto3
from aws_lambda_powertools.logging import Logger
from botocore.exceptions import BotoCoreError, ClientError

from meterstone import clock
from meterstone.store.counting.stream import StreamFold
from meterstone.store.dynamodb.table import Table

logger = Logger(service="fold-usage")


def tell(poison: str) -> None:
    """Send a record that was set aside, with the reason, to the queue that rings the alarm.

    The record is in the table already: should the queue not take it, the stream must still go on.
    """
    url = os.environ.get("POISON_QUEUE_URL")
    if url is None:
        return
    try:
        boto3.client("sqs").send_message(QueueUrl=url, MessageBody=poison)
    except (BotoCoreError, ClientError):
        logger.exception("the queue did not take a record that was set aside")


folding = StreamFold(Table.from_environment(), tell)


def handler(event: dict[str, Any], _: object) -> dict[str, Any]:
    """Fold a batch of stream records; the last batch of a window may be empty."""
    report = folding.fold(event["Records"], shard_of(event), clock.now())
    logger.info(
        "folded",
        extra={
            "records": len(event["Records"]),
            "events": report.events,
            "counted": report.counted,
            "uncounted": report.uncounted,
            "unmatched": report.unmatched,
            "poison": len(report.poison),
        },
    )
    for reason in report.poison:
        logger.error("a record was set aside", extra={"reason": reason})
    for reason in report.unpublished:
        logger.error("the rollups would not take what a tally comes to", extra={"reason": reason})
    # A batch of a tumbling window that is answered without a state counts as failed.
    return {"state": {}}


def shard_of(event: dict[str, Any]) -> str:
    """Return the name of the shard that delivers: positions compare within a shard only.

    Lambda names it where the event source has a tumbling window, which is all that the window is for. An engine
    on one machine has one shard and does not name it; anywhere else a batch without it is refused.
    """
    if "shardId" in event:
        return str(event["shardId"])
    if os.environ.get("AWS_ENDPOINT_URL_DYNAMODB"):
        return "local"
    raise ValueError("the batch does not name its shard: the event source needs a tumbling window")

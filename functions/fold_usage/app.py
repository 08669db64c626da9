"""Counts the events of the table's stream into counters and rollups, which both usage endpoints read.

A batch that fails is delivered again, without end. So no event is skipped, and no event is counted twice.

While a stack moves to another table, the stream of the one before may still bring its batches here. The other
table does not have these events: they fail until the version of before, or nobody, gets them.
"""

import os
from typing import Any

import boto3
from aws_lambda_powertools.logging import Logger
from botocore.exceptions import BotoCoreError, ClientError

from meterstone import clock
from meterstone.edge.metrics import embedded
from meterstone.store.counting.stream import StreamFold
from meterstone.store.dynamodb.table import Table

logger = Logger(service="fold-usage")


def tell(poison: str) -> None:
    """Send a quarantined record, with the reason, to the queue that raises the alarm.

    The record is in the table already. If the queue does not take it, the stream must still go on.
    """
    url = os.environ.get("POISON_QUEUE_URL")
    if url is None:
        return
    try:
        boto3.client("sqs").send_message(QueueUrl=url, MessageBody=poison)
    except (BotoCoreError, ClientError):
        logger.exception("the queue did not take a quarantined record")


folding = StreamFold(Table.from_environment(), tell)


def handler(event: dict[str, Any], _: object) -> dict[str, Any]:
    """Fold a batch of the stream's records. The last batch of a tumbling window may be empty."""
    now = clock.now()
    refuse_another_table(event)
    report = folding.fold(event["Records"], shard_of(event), now)
    logger.info(
        "folded",
        extra={
            "records": len(event["Records"]),
            "events": report.events,
            "withdrawn": report.withdrawn,
            "counted": report.counted,
            "uncounted": report.uncounted,
            "unmatched": report.unmatched,
            "poison": len(report.poison),
            **embedded(now, {"EventsCounted": report.counted, "RecordsQuarantined": len(report.poison)}),
        },
    )
    for reason in report.poison:
        logger.error("a record was set aside", extra={"reason": reason})
    for reason in report.unpublished:
        logger.error("the rollups would not take what a tally comes to", extra={"reason": reason})
    # Lambda takes a batch of a tumbling window for failed if the answer has no state.
    return {"state": {}}


def refuse_another_table(event: dict[str, Any]) -> None:
    """Raise `ValueError` if a record is of the stream of another table than this function's."""
    own = f":table/{os.environ.get('TABLE_NAME', '')}/"
    for record in event["Records"]:
        stream = record.get("eventSourceARN", own)
        if own not in stream:
            raise ValueError(f"the batch is of another table's stream: {stream}")


def shard_of(event: dict[str, Any]) -> str:
    """Return the name of the shard that delivers a batch. Positions compare within a shard only.

    Lambda names the shard if the event source has a tumbling window. The window has no other purpose. An engine on
    one machine has one shard and does not name it. Anywhere else, a batch without a name raises `ValueError`.
    """
    if "shardId" in event:
        return str(event["shardId"])
    if os.environ.get("AWS_ENDPOINT_URL_DYNAMODB"):
        return "local"
    raise ValueError("the batch does not name its shard: the event source needs a tumbling window")

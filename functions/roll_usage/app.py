"""Publishes, every hour, what the clock changes, and tries again the events that wait for the catalogue.

Once a day it merges an organization's rollups of months that are over: see `meterstone.store.counting.merging`.

The schedule calls the function once an hour. A few organizations get their turns in that very call. Of many, the
call puts the ids into a queue, 25 in a message, and the queue calls the function once for each message.

A turn has an end. What is left of a large organization, and an organization whose turn failed, goes into a message
of its own, so that neither keeps another from its turn. No message holds a place to go on from: a tally that was
published is due no more, and events that were tried are behind the place that the organization's profile holds.
So a message may come twice, or not at all. After an hour it is dropped, since the next hour has sent its own.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import batched
from random import Random
from typing import Any

import boto3
from aws_lambda_powertools.logging import Logger

from meterstone import clock
from meterstone.edge.metrics import embedded
from meterstone.store.catalogue.accounts import list_organizations, read_account, read_generations
from meterstone.store.counting.fold import Fold
from meterstone.store.counting.merging import is_due, merge
from meterstone.store.counting.waking import wake_unwoken
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import StoreUnavailableError, Table, key_item
from meterstone.store.events.uncounted import read_all_numbers
from meterstone.store.operations.replay import catch_up
from meterstone.usage.instant import HOUR, MINUTE

#: For how long a call publishes, tries events again, and merges rollups, of all its organizations together.
ROLL = 8 * MINUTE
SLICE = 5 * MINUTE
MERGE = MINUTE
#: How many organizations a message names, and how many messages one call of the queue takes.
TOGETHER = 25
SENT_TOGETHER = 10

logger = Logger(service="roll-usage")
table = Table.from_environment()


class TurnsFailedError(Exception):
    """The turns of some organizations failed. The others have had theirs."""


@dataclass(slots=True)
class Turns:
    """What came of the turns of several organizations: which are not done yet, and which failed, and why."""

    unfinished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def take(self, organization_ids: Sequence[str], until: int, turn: Callable[[str, int], bool]) -> None:
        """Give each organization its turn, which is told its end and returns whether it is done.

        Turns share the time until ``until``: one that needs less than its part leaves more to those after it.
        """
        for place, organization_id in enumerate(organization_ids):
            now = clock.now()
            if now >= until:
                self.unfinished += organization_ids[place:]
                return
            try:
                done = turn(organization_id, now + (until - now) // (len(organization_ids) - place))
            except Exception as error:
                # Whatever it is, a document that cannot be read as well as a table that is away: it is this
                # organization's, and the others have done nothing to deserve it.
                logger.exception("a turn failed", extra={"organization": organization_id})
                self.failed[organization_id] = f"{organization_id}: {error}"
            else:
                if not done:
                    self.unfinished.append(organization_id)


def handler(event: dict[str, Any], _: object) -> None:
    """Publish what is due, count what the catalogue has caught up with, and say what is left.

    Raises `TurnsFailedError` at the end, if a turn failed that has no message of its own. Then the schedule, or
    the queue, calls once more.
    """
    if "Records" in event:
        for record in event["Records"]:
            take_message(record)
        return
    # Who counts has a call by it: none for hours means that the stream is not followed, whatever comes in.
    table.put(key_item(keys.heartbeat()) | {"beat": {"N": str(clock.now())}})
    organization_ids = list_organizations(table)
    # Another order every hour: if the time does not suffice for all, it is not the same that go without.
    Random(clock.now() // HOUR).shuffle(organization_ids)  # noqa: S311 - nothing secret
    over = clock.now() + HOUR
    failed: dict[str, str] = {}
    if len(organization_ids) > TOGETHER and queue_url():
        send(batched(organization_ids, TOGETHER, strict=False), over)
    else:
        failed = take_turns(organization_ids, over)
    report_uncounted(organization_ids)
    if failed:
        raise TurnsFailedError("; ".join(failed.values()))


def take_message(record: dict[str, Any]) -> None:
    """Give the organizations of a message their turns. If it failed before, they get messages of their own."""
    message = json.loads(record["body"])
    organization_ids, over = message["organizations"], message["over"]
    if clock.now() >= over:
        logger.warning("came too late", extra={"organizations": len(organization_ids)})
        return
    alone = len(organization_ids) == 1
    if not alone and int(record["attributes"]["ApproximateReceiveCount"]) > 1:
        # A call before this one did not come to its end. It may be that one of them exhausts time or memory.
        send(([each] for each in organization_ids), over)
        return
    failed = take_turns(organization_ids, over)
    if failed and alone:
        raise TurnsFailedError("; ".join(failed.values()))
    send(([each] for each in failed), over)


def take_turns(organization_ids: Sequence[str], over: int) -> dict[str, str]:
    """Give organizations their turns, and messages to those that need more time. Return which failed, and why."""
    turns = Turns()
    turns.take(organization_ids, clock.now() + ROLL, roll)
    sound = [each for each in organization_ids if each not in turns.failed]
    turns.take(sound, clock.now() + SLICE, try_again)
    turns.take(
        [each for each in organization_ids if is_due(each, clock.now())], clock.now() + MERGE, put_together
    )
    left = list(dict.fromkeys(turns.unfinished))
    if left and queue_url():
        send(([each] for each in left if each not in turns.failed), over)
    elif left:
        logger.warning("time was up", extra={"organizations": len(left)})
    return turns.failed


def roll(organization_id: str, until: int) -> bool:
    """Publish what is due in an organization. Return whether all is; not all may be if it takes too long."""
    account = read_account(table, organization_id, consistent=True)
    if account is None:
        return True
    if account.outdated:
        logger.warning(
            "was counted by older rules: a rebuild makes it right",
            extra={"organization": organization_id, "rules": account.rules},
        )
    # A put that was stopped half way has left its tallies asleep: they are due from now on.
    if woken := wake_unwoken(table, account):
        logger.info("woken", extra={"organization": organization_id, "subscriptions": woken})
    stopped = False

    def stop() -> bool:
        nonlocal stopped
        stopped = clock.now() >= until
        return stopped

    rolled = Fold(table, organization_id, account.generation).roll(account, clock.now(), stop=stop)
    logger.info("rolled", extra={"organization": organization_id, "ledgers": rolled})
    return not stopped


def try_again(organization_id: str, until: int) -> bool:
    """Count an organization's events that the catalogue has caught up with; if that cannot be, in an hour."""
    seen = {"organization": organization_id}
    try:
        report = catch_up(table, organization_id, clock.now, until)
    except (BusyError, StoreUnavailableError) as error:
        logger.warning("events that wait were not tried again", extra={**seen, "reason": str(error)})
        return True
    if report is not None:
        found: dict[str, Any] = {
            **seen,
            "counted": report.counted,
            "unreadable": len({ident for ident, _ in report.uncounted}),
            "waiting": report.waiting,
            "withdrawn": report.withdrawn,
            "unfinished": report.unfinished,
        }
        logger.info("tried again", extra=found)
    return True


def put_together(organization_id: str, until: int) -> bool:
    """Merge an organization's rollups of months that are over. Return whether there was time for all."""
    account = read_account(table, organization_id, consistent=True)
    if account is None:
        return True
    merged = merge(table, account, clock.now, stop=lambda: clock.now() >= until)
    logger.info("merged", extra={"organization": organization_id, **merged._asdict()})
    return clock.now() < until


def report_uncounted(organization_ids: Iterable[str]) -> None:
    """Write how many events of all organizations count nowhere, for each reason. Alarms ring by these numbers."""
    numbers = read_all_numbers(table, read_generations(table, organization_ids))
    for reason, number in numbers.items():
        logger.info("uncounted", extra=embedded(clock.now(), {"UncountedEvents": number}, reason=reason))


def queue_url() -> str:
    """Return the address of the queue; empty where there is none, as on a machine of one's own."""
    return os.environ.get("ROLL_QUEUE_URL", "")


def send(several: Iterable[Sequence[str]], over: int) -> None:
    """Put organizations' ids into the queue, each sequence in a message that is dropped at the instant ``over``.

    Raises `TurnsFailedError` if the queue does not take all.
    """
    for some in batched(several, SENT_TOGETHER, strict=False):
        bodies = [json.dumps({"organizations": ids, "over": over}) for ids in some]
        entries = [{"Id": str(place), "MessageBody": body} for place, body in enumerate(bodies)]
        answer = boto3.client("sqs").send_message_batch(QueueUrl=queue_url(), Entries=entries)
        if refused := answer.get("Failed"):
            raise TurnsFailedError(f"the queue did not take {len(refused)} messages: {refused[0]}")

"""Carries recounts on: usage that a change of the catalogue moved, customers that moved, plans put for all.

The table's stream calls the function when a recount is made, and a schedule every five minutes, for what was
stopped. A call ends before its time is up. What is left then goes on from its place, as it does after a failure.
"""

import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

from aws_lambda_powertools.logging import Logger

from meterstone import clock
from meterstone.catalogue.recounting import carry_all_on
from meterstone.edge.metrics import embedded
from meterstone.store.catalogue.recounts import Recount, oldest_open
from meterstone.store.dynamodb.table import Table
from meterstone.usage.instant import SECOND, parse_key_instant

#: Milliseconds that a call keeps for what it is at when its time is up: 400 subscriptions, or 2,000 events.
_RESERVE: Final = 60_000
#: The index that lists what is due may lag behind a recount that was just made.
_SLACK: Final = SECOND

logger = Logger(service="recount-usage")
table = Table.from_environment()


class Context(Protocol):
    """What Lambda tells about a call."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the call is given up."""


def handler(event: dict[str, Any], context: Context) -> None:
    """Carry on what is due. A recount that was just made may be due some seconds later: that is waited for.

    What is due at once, such as a customer's move, does not wait for it. Raises what one of them failed by, when
    the others have had their turns.
    """
    due = {
        parse_key_instant(each["dynamodb"]["NewImage"]["due_at"]["S"]) for each in event.get("Records", ())
    }
    until = clock.now() + (context.get_remaining_time_in_millis() - _RESERVE) * 1000
    failed: Exception | None = None
    carried: list[tuple[str, Recount]] = []
    for at in sorted(due) or [clock.now() - _SLACK]:
        if (pause := at + _SLACK - clock.now()) > 0:
            time.sleep(pause / SECOND)
        try:
            carry_all_on(table, clock.now, until, tell=lambda *each: carried.append(each))
        except Exception as error:
            # What Lambda itself writes of a call that failed does not say which recount it was.
            logger.exception("a recount failed", extra={"of": getattr(error, "__notes__", [])})
            failed = error
    _report(carried)
    if failed is not None:
        raise failed


def _report(carried: Sequence[tuple[str, Recount]]) -> None:
    """Write how far each recount is; for how long the oldest is open, and how many subscriptions were refused.

    Alarms ring by the last two.
    """
    for organization_id, recount in carried:
        logger.info(
            "recounted",
            extra={
                "organization": organization_id,
                "recount": recount.id,
                "events" if recount.subscriptions else "subscriptions": recount.done,
                "refused": recount.refused,
                "unfinished": recount.done_at is None,
                "waits_for": recount.waits_for,
            },
        )
    now, oldest = clock.now(), oldest_open(table)
    age = 0 if oldest is None else max(now - oldest.made_at, 0) // SECOND
    logger.info("oldest recount", extra=embedded(now, {"OldestRecount": age}, "Seconds"))
    refused = sum(each.refused for _, each in carried if each.done_at is not None)
    logger.info("refused", extra=embedded(now, {"RecountsRefused": refused}))

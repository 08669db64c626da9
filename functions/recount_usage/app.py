"""Carries recounts on: usage that a change of the catalogue moved, customers that moved, plans put for all.

The table's stream calls the function when a recount is made, and a schedule every five minutes, for what was
stopped. A call ends before its time is up. What is left then goes on from its place, as it does after a failure.
"""

import time
from typing import Any, Final, Protocol

from aws_lambda_powertools.logging import Logger

from meterstone import clock
from meterstone.catalogue.errors import CatalogueError
from meterstone.catalogue.recounting import carry_all_on
from meterstone.store.dynamodb.errors import StoreUnavailableError
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
    for at in sorted(due) or [clock.now() - _SLACK]:
        if (pause := at + _SLACK - clock.now()) > 0:
            time.sleep(pause / SECOND)
        try:
            _carry_on(until)
        except (CatalogueError, StoreUnavailableError) as error:
            failed = error
    if failed is not None:
        raise failed


def _carry_on(until: int) -> None:
    for recount in carry_all_on(table, clock.now, until):
        logger.info(
            "recounted",
            extra={
                "recount": recount.id,
                "events" if recount.subscriptions else "subscriptions": recount.done,
                "refused": recount.refused,
                "unfinished": recount.done_at is None,
            },
        )

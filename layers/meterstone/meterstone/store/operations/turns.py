"""Taking turns: what a function does under an organization's lease as soon as nobody else has it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from meterstone import clock as wall
from meterstone.store.dynamodb.lease import BusyError, Lease, leased
from meterstone.store.dynamodb.table import Table
from meterstone.usage.instant import MINUTE, SECOND

_PAUSE: Final = SECOND // 4
_PATIENCE: Final = MINUTE


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The surroundings of a recount: the clock, the passing of time, and until when it may take."""

    until: int
    clock: Callable[[], int] = wall.now
    sleep: Callable[[float], None] = time.sleep
    #: Called with the number of events that were counted, or of subscriptions that have followed, now and then.
    progress: Callable[[int], None] = lambda _: None


def taking_turns(
    table: Table, organization_id: str, what: str, around: Surroundings, do: Callable[[Lease], None]
) -> str:
    """Do something under the lease, as soon as nobody else has it. Return what it waits for; empty if it is done.

    Others wait behind who waits too long: it goes on in a later call then.
    """
    until = min(around.until, around.clock() + _PATIENCE)
    while True:
        try:
            with leased(table, organization_id, what, around.clock) as lease:
                do(lease)
        except BusyError as busy:
            if around.clock() + _PAUSE >= until:
                return str(busy)
            around.sleep(_PAUSE / SECOND)
        else:
            return ""

"""Events that do not count, as they are listed."""

from collections.abc import Mapping
from typing import NamedTuple

from meterstone.usage.arrival import Subject
from meterstone.usage.receipt import Fault


class UncountedEvent(NamedTuple):
    """An event that counts nowhere, or that a meter of a line item cannot read.

    ``at`` is the event's own time. ``since`` is when it was accepted or, if it was imported, when it was found not
    to count. ``reason`` is empty if the event was stored before there were reasons.
    """

    subject: Subject
    id: str
    code: str
    at: int
    since: int
    reason: str
    #: The meters that cannot read it, with the property and why.
    faults: tuple[Fault, ...] = ()
    #: Whether another meter counts it.
    elsewhere: bool = False


class UncountedPage(NamedTuple):
    """A page of uncounted events, and how many there are in all, by reason.

    ``after`` is where the next page begins: the name of a list, and a sort key. None on the last page.
    """

    events: tuple[UncountedEvent, ...]
    after: tuple[str, str] | None
    numbers: Mapping[str, int]

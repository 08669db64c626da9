"""Whether an event counts by a catalogue, and the one reason if it does not.

The reasons are tried in the order of `Reason`, and the event gets the first that holds. Ingestion, counting and
the later look-up of an event all ask here, so that they give the same answer for the same catalogue.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from meterstone.usage.arrival import Subject
from meterstone.usage.matching import Match, Matching
from meterstone.usage.meter import Event, Meter, Uncounted
from meterstone.usage.subscription import Subscription


class Reason(StrEnum):
    """Why an event counts nowhere."""

    #: There is no subscription of the event's external id.
    SUBSCRIPTION = "subscription"
    #: There is no subscription of the event's customer.
    CUSTOMER = "customer"
    #: None of its subscriptions holds the event's time.
    TIME = "time"
    #: No meter that is in use at the event's time is for events of this name.
    CODE = "code"
    #: A meter is for the event, and no line item prices it at this time: it is "not priced".
    LINE_ITEM = "line_item"
    #: No meter of the line items for the event can read it.
    VALUE = "value"


#: Reasons that lie in the event itself: a later catalogue is not likely to make it count.
OF_ITSELF = frozenset({Reason.TIME, Reason.VALUE})


class Fault(NamedTuple):
    """A meter of a line item that cannot read an event: its code, the property that it reads, and why."""

    meter: str
    field: str | None
    reason: str


class Verdict(NamedTuple):
    """Where an event counts, which meters cannot read it, and, if it counts nowhere, why."""

    counts: list[Match]
    faults: list[Fault]
    reason: Reason | None


def told(faults: Iterable[Fault]) -> str:
    """Return a text that says which meters cannot read an event, and why.

    >>> told([Fault("calls", "size", "property 'size': not a number")])
    "meter calls: property 'size': not a number"
    """
    return "; ".join(f"meter {each.meter}: {each.reason}" for each in faults)


def judge(
    event: Event,
    subject: Subject,
    meters: Iterable[Meter],
    subscriptions: Sequence[Subscription],
    matching: Matching,
) -> Verdict:
    """Judge an event by the organization's meters and by all subscriptions of its subject."""
    owning = [each for each in subscriptions if each.span.holds(event.at)]
    found = [match for each in owning for match in matching.matches(event, each)]
    counts = [match for match in found if not isinstance(match.seen, Uncounted)]
    faults = list(
        dict.fromkeys(
            Fault(match.charge.meter.code, match.charge.meter.field, match.seen.reason)
            for match in found
            if isinstance(match.seen, Uncounted)
        )
    )
    if counts:
        return Verdict(counts, faults, None)
    if faults:
        return Verdict(counts, faults, Reason.VALUE)
    return Verdict(counts, faults, _unmatched(event, subject, meters, subscriptions, owning))


def why_unmatched(
    event: Event, subject: Subject, meters: Iterable[Meter], subscriptions: Sequence[Subscription]
) -> Reason:
    """Return why an event is unmatched: why no line item of its subject's subscriptions is for it."""
    owning = [each for each in subscriptions if each.span.holds(event.at)]
    return _unmatched(event, subject, meters, subscriptions, owning)


def _unmatched(
    event: Event,
    subject: Subject,
    meters: Iterable[Meter],
    subscriptions: Sequence[Subscription],
    owning: Sequence[Subscription],
) -> Reason:
    if not subscriptions:
        return Reason.SUBSCRIPTION if subject.kind == "s" else Reason.CUSTOMER
    if not owning:
        return Reason.TIME
    if not any(event.name in meter.names and _used(meter, event.at) for meter in meters):
        return Reason.CODE
    return Reason.LINE_ITEM


def _used(meter: Meter, at: int) -> bool:
    return meter.deleted_at is None or at < meter.deleted_at

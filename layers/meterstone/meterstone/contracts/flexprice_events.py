"""Flexprice's `POST /v1/events` and `POST /v1/events/bulk` on the wire: events in, the answer, and errors.

Flexprice's API description leaves some questions open. The answers here:

- Flexprice's clients read the answer as a map of texts, so every value is text. The outcome of each event is given
  under its place in the request, from "0": `accepted`, `duplicate`, `conflict` or `rejected`. Beside it,
  `0.reason` says why an event is rejected, `0.unmatched` why it counts nowhere, and `0.event_id` is an id that was
  made here. `accepted`, `duplicate` and so on give the number of such events, `unmatched` the number that count
  nowhere, if any.
- If the store did not take some events of a bulk in time, these are `unavailable`, and the answer is 503. A client
  that looks at the status alone then sends the whole bulk again, and what was stored is `duplicate`. The same map
  as under 202 stands in the error's `details`, for clients that send the rest alone. Such an event may have been
  stored without our knowing: sent again it is a duplicate, and counts once. That is so only for events with an
  `event_id`.
- A single event that is a conflict is 409 `already_exists`. A bulk in which any event can be read is 202, whatever
  the other outcomes; a bulk in which none can be read is 400.
- `null` is the same as an absent field. An empty or absent `event_id` is made up, so that a repeat of such an
  event counts again. An empty or absent `timestamp`, and Go's zero time, are now.
- Bodies that are no JSON, that repeat a key, and bad fields are 400 `validation_error`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final
from uuid import uuid4

import msgspec

from meterstone.contracts import flexprice
from meterstone.contracts.events import read_object, unmatched_headers
from meterstone.contracts.message import RETRY_AFTER, Problem, Reply, Request, RequestRefusedError
from meterstone.usage.arrival import (
    Arrival,
    InadmissibleError,
    Outcome,
    Receipt,
    Subject,
    TooFarAheadError,
    checked_properties,
)
from meterstone.usage.identifier import checked_id, refuse_control
from meterstone.usage.instant import ZERO_TIME, InvalidInstantError, parse_instant
from meterstone.usage.meter import Event, Property

MOST_EVENTS: Final = 1000
"""Events of a bulk, as in Flexprice."""

LONGEST_SOURCE: Final = 1000
"""Characters of an event's source."""

REJECTED: Final = "rejected"

_CALLED: Final = {
    Outcome.NEW: "accepted",
    Outcome.DUPLICATE: "duplicate",
    Outcome.CONFLICT: "conflict",
    Outcome.UNAVAILABLE: "unavailable",
}
_SINGLE: Final = {
    Outcome.NEW: "Event accepted for processing",
    Outcome.DUPLICATE: "Event was accepted before",
}

#: What the answer to a bulk counts even if there is none.
_ALWAYS: Final = ("accepted", "duplicate", "conflict", REJECTED)

_UNAVAILABLE: Final = "service_unavailable"
_SOME_UNAVAILABLE: Final = (
    "Some events could not be stored right now. Send the same request again, or those events alone that `details` "
    "calls unavailable."
)

_ABSENT: Final = (None, "")

type Faults = dict[str, str]

api_key = flexprice.api_key
forbid = flexprice.forbid


class Bulk(msgspec.Struct, frozen=True):
    """A bulk's events by their places: the arrivals, the reasons to reject the others, and ids made here."""

    arrivals: Mapping[int, Arrival]
    rejected: Mapping[int, str]
    made: Mapping[int, str]


class _EventFaultError(ValueError):
    def __init__(self, faults: Faults) -> None:
        super().__init__("; ".join(f"{name} {reason}" for name, reason in faults.items()))
        self.faults = faults


def made_id() -> str:
    """Make an id for an event that has none."""
    return str(uuid4())


def parse_event(request: Request, now: int, new_id: Callable[[], str] = made_id) -> Arrival:
    """Read the body of one event. Raises `RequestRefusedError` (400) with all bad fields at once."""
    body, escaped = read_object(request, _invalid)
    try:
        return _arrival(body, now, new_id, escaped=escaped)
    except _EventFaultError as error:
        raise RequestRefusedError(_invalid(str(error), error.faults)) from error


def parse_bulk(request: Request, now: int, new_id: Callable[[], str] = made_id) -> Bulk:
    """Read the body of a bulk.

    Raises `RequestRefusedError` (400) if the bulk has no events, too many, or none that can be read.
    """
    body, escaped = read_object(request, _invalid)
    events = body.get("events")
    if not isinstance(events, list):
        raise RequestRefusedError(_invalid("events is required, a list", {"events": "is required, a list"}))
    if not 1 <= len(events) <= MOST_EVENTS:
        reason = f"must have 1 to {MOST_EVENTS} events"
        raise RequestRefusedError(_invalid(f"events {reason}", {"events": reason}))
    arrivals: dict[int, Arrival] = {}
    rejected: dict[int, str] = {}
    made: dict[int, str] = {}
    for place, event in enumerate(events):
        try:
            arrival = arrivals[place] = _arrival(event, now, new_id, escaped=escaped)
        except _EventFaultError as error:
            rejected[place] = str(error)
        else:
            if not event.get("event_id"):  # A value that is not empty is text here.
                made[place] = arrival.event.id
    if not arrivals:
        details = {str(place): reason for place, reason in rejected.items()}
        raise RequestRefusedError(_invalid("no event of it can be read", details))
    return Bulk(arrivals, rejected, made)


def answer_event(arrival: Arrival, receipt: Receipt) -> Reply:
    """Write the outcome of an event."""
    outcome = receipt.outcomes[0]
    if outcome is Outcome.CONFLICT:
        return flexprice.error(
            409,
            "already_exists",
            "Another event has this event_id.",
            {"event_id": {"reason": _CALLED[outcome]}},
        )
    body = {"message": _SINGLE[outcome], "event_id": arrival.event.id, "status": _CALLED[outcome]}
    if receipt.unmatched:
        body["unmatched"] = receipt.unmatched[0]
    return Reply.of(202, body, unmatched_headers(receipt))


def answer_bulk(bulk: Bulk, receipt: Receipt) -> Reply:
    """Write the outcome of each event of a bulk."""
    called = {place: _CALLED[outcome] for place, outcome in receipt.outcomes.items()}
    called |= dict.fromkeys(bulk.rejected, REJECTED)
    counts = Counter(called.values())
    unavailable = counts[_CALLED[Outcome.UNAVAILABLE]]
    names = [name for name in (*_CALLED.values(), REJECTED) if counts[name] or name in _ALWAYS]
    body = {"message": _summary(counts, names)} | {name: str(counts[name]) for name in names}
    if receipt.unmatched:
        body["unmatched"] = str(len(receipt.unmatched))
    for place in sorted(called):
        body[str(place)] = called[place]
        if place in bulk.rejected:
            body[f"{place}.reason"] = bulk.rejected[place]
        elif place in bulk.made:
            body[f"{place}.event_id"] = bulk.made[place]
        if place in receipt.unmatched:
            body[f"{place}.unmatched"] = receipt.unmatched[place]
    headers = unmatched_headers(receipt)
    if unavailable:
        return flexprice.error(503, _UNAVAILABLE, _SOME_UNAVAILABLE, body, headers | RETRY_AFTER)
    return Reply.of(202, body, headers)


def refuse(problem: Problem) -> Reply:
    """Write the reply to a problem, as the usage endpoint does."""
    if problem is Problem.UNAVAILABLE:
        message = "The events cannot be stored right now. Send the same request again."
        return flexprice.error(503, _UNAVAILABLE, message, headers=RETRY_AFTER)
    return flexprice.refuse(problem)


def _summary(counts: Mapping[str, int], names: Sequence[str]) -> str:
    if counts[_CALLED[Outcome.NEW]] == sum(counts.values()):
        return "Events accepted for processing"
    return "Events: " + ", ".join(f"{counts[name]} {name}" for name in names if counts[name])


def _arrival(fields: object, now: int, new_id: Callable[[], str], *, escaped: bool) -> Arrival:
    if not isinstance(fields, dict):
        raise _EventFaultError({"event": "must be an object"})
    faults: Faults = {}
    name = _id("event_name", fields, faults)
    customer = _id("external_customer_id", fields, faults)
    event_id = new_id() if fields.get("event_id") in _ABSENT else _id("event_id", fields, faults)
    at = _timestamp(fields.get("timestamp"), faults)
    notes = _notes(fields.get("source"), faults)
    properties: dict[str, Property] = {}
    try:
        properties = checked_properties(fields.get("properties"), escaped=escaped)
    except InadmissibleError as error:
        faults["properties"] = f"cannot be taken: {error}"
    if not faults:
        event = Event(event_id, name, now if at is None else at, properties)
        try:
            return Arrival.of(Subject.customer(customer), event, now, notes, dated=at is not None)
        except TooFarAheadError as error:
            faults["timestamp"] = str(error)
        except InadmissibleError as error:
            faults["properties"] = f"cannot be taken: {error}"
    raise _EventFaultError(faults)


def _id(name: str, fields: Mapping[str, Any], faults: Faults) -> str:
    value = fields.get(name)
    if value in _ABSENT:
        faults[name] = "is required"
    elif not isinstance(value, str):
        faults[name] = "must be a string"
    else:
        try:
            return checked_id(value)
        except ValueError as error:
            faults[name] = str(error)
    return ""


def _timestamp(value: object, faults: Faults) -> int | None:
    if value in _ABSENT:
        return None
    if isinstance(value, str):
        try:
            at = parse_instant(value)
        except InvalidInstantError:
            pass
        else:
            return None if at == ZERO_TIME else at
    faults["timestamp"] = "must be an RFC 3339 date and time"
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        faults["timestamp"] += ", not a number of seconds or milliseconds"
    return None


def _notes(value: object, faults: Faults) -> dict[str, str]:
    if value in _ABSENT:
        return {}
    if not isinstance(value, str):
        faults["source"] = "must be a string"
    elif len(value) > LONGEST_SOURCE:
        faults["source"] = f"has {len(value)} characters, {LONGEST_SOURCE} are allowed"
    else:
        try:
            refuse_control(value)
        except ValueError as error:
            faults["source"] = str(error)
        else:
            return {"source": value}
    return {}


def _invalid(message: str, faults: Mapping[str, str] | None = None) -> Reply:
    details = {name: {"reason": reason} for name, reason in (faults or {}).items()}
    return flexprice.error(400, "validation_error", f"Invalid request: {message}.", details)

"""Lago's `POST /api/v1/events` and `POST /api/v1/events/batch` on the wire: events in, the answer, and errors.

Lago's API description leaves some questions open. The answers here:

- `timestamp` is seconds since the Unix epoch, as a number or its decimal text, exact to the microsecond. Null or
  absent is now. Anything else, also RFC 3339, is `invalid_format`, as in Lago's `Events::CreateBatchService`. For
  milliseconds the error also says so.
- A transaction id that was used before is `value_already_exist` if the event has the same content, as in Lago. It
  is `conflict`, a code of our own, if the content differs or the logged event was withdrawn.
- A batch is logged as a whole or not at all. Its errors are keyed by the event's place, from "0".
- Bodies that are no JSON, that repeat a key, or have no `event` are 400.
- A timestamp more than 5 minutes ahead of the clock is `value_is_out_of_range`. Properties with a value that no
  property may have (a number of more than 100 characters, half a surrogate pair) are `value_is_invalid`.
- `reasons` says in words why there is a code, as in the analytics. Lago's clients read the codes alone.
- Lago's own ids are UUIDs made of the ids of the organization and the event, so that each answer has the same. As
  in Lago's answer, the customer is not known yet when an event is taken in.
"""

import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

from meterstone.contracts import lago
from meterstone.contracts.events import read_object, unmatched_headers
from meterstone.contracts.lago import Fault, unprocessable
from meterstone.contracts.message import Problem, Reply, Request, RequestRefusedError
from meterstone.pricing.errors import NotANumberError, NumberError
from meterstone.pricing.money import exact_number, plain
from meterstone.usage.arrival import (
    Arrival,
    InadmissibleError,
    InMillisecondsError,
    Outcome,
    Receipt,
    Subject,
    TooFarAheadError,
    checked_properties,
    instant_of_seconds,
)
from meterstone.usage.identifier import LONGEST_ID, checked_id
from meterstone.usage.instant import SECOND, key_instant
from meterstone.usage.meter import Event, Property

MOST_EVENTS: Final = 100
"""Events of a batch, as in Lago."""

LARGEST_BATCH: Final = 3_000_000
"""Bytes of all events of a batch together. They are stored in one transaction, which takes 4 MB."""

INVALID_FORMAT: Final = "invalid_format"
IN_MILLISECONDS: Final = "in_milliseconds"
ALREADY_EXISTS: Final = "value_already_exist"
CONFLICT: Final = "conflict"
NO_EVENTS: Final = "no_events"
TOO_MANY_EVENTS: Final = "too_many_events"

_AMOUNT: Final = "precise_total_amount_cents"
_SPACE: Final = uuid5(NAMESPACE_URL, "meterstone:lago")
_properties = msgspec.json.Encoder(decimal_format="number").encode

type Faults = dict[str, Fault]

api_key = lago.api_key
forbid = lago.forbid


class EventObject(msgspec.Struct, frozen=True, kw_only=True):
    """An event in the answer: Lago's `EventObject`."""

    lago_id: UUID
    transaction_id: str
    lago_customer_id: None = None
    code: str
    #: To the millisecond.
    timestamp: str
    precise_total_amount_cents: str | None
    properties: msgspec.Raw
    lago_subscription_id: UUID
    external_subscription_id: str
    #: To the second.
    created_at: str


class _EventFaultError(ValueError):
    def __init__(self, faults: Faults) -> None:
        super().__init__(f"faults of {', '.join(faults)}")
        self.faults = faults


def parse_event(request: Request, now: int) -> Arrival:
    """Read the body of one event.

    Raises `RequestRefusedError`: 400 for a body that cannot be read, 422 with all bad fields at once.
    """
    body, escaped = read_object(request, _bad_request)
    event = body.get("event")
    if not isinstance(event, dict) or not event:
        # Rails calls an empty parameter missing, too.
        raise RequestRefusedError(_bad_request("param is missing or the value is empty: event"))
    try:
        return _arrival(event, now, escaped=escaped)
    except _EventFaultError as error:
        raise RequestRefusedError(unprocessable(error.faults)) from error


def parse_batch(request: Request, now: int) -> dict[int, Arrival]:
    """Read the body of a batch: its events by their places.

    Raises `RequestRefusedError`: 400 for a body that cannot be read, 422 with all bad fields of all events at
    once.
    """
    body, escaped = read_object(request, _bad_request)
    events = body.get("events")
    if events is None or events == []:
        raise RequestRefusedError(
            unprocessable({"events": Fault(NO_EVENTS, "there must be at least one event")})
        )
    if not isinstance(events, list):
        raise RequestRefusedError(unprocessable({"events": Fault(lago.INVALID, "must be a list")}))
    if len(events) > MOST_EVENTS:
        reason = f"has {len(events)} events, {MOST_EVENTS} are allowed"
        raise RequestRefusedError(unprocessable({"events": Fault(TOO_MANY_EVENTS, reason)}))
    arrivals: dict[int, Arrival] = {}
    faults: dict[str, Faults] = {}
    for place, event in enumerate(events):
        try:
            arrivals[place] = _arrival(event, now, escaped=escaped)
        except _EventFaultError as error:
            faults[str(place)] = error.faults
    if faults:
        raise RequestRefusedError(unprocessable(faults))
    size = sum(len(arrival.content.encode()) for arrival in arrivals.values())
    if size > LARGEST_BATCH:
        reason = f"has {size} bytes, {LARGEST_BATCH} are allowed"
        raise RequestRefusedError(unprocessable({"events": Fault(lago.TOO_LONG, reason)}))
    return arrivals


def answer_event(organization_id: str, arrival: Arrival, receipt: Receipt) -> Reply:
    """Write the event, or an error if its transaction id was used before."""
    fault = _FAULTS.get(receipt.outcomes[0])
    if fault is not None:
        return unprocessable({"transaction_id": fault})
    written = {"event": _written(organization_id, arrival)}
    return Reply.of(200, written, unmatched_headers(receipt))


def answer_batch(organization_id: str, arrivals: Mapping[int, Arrival], receipt: Receipt) -> Reply:
    """Write the events, or an error for each event whose transaction id was used before."""
    faults = {
        str(place): {"transaction_id": _FAULTS[outcome]}
        for place, outcome in sorted(receipt.outcomes.items())
        if outcome in _FAULTS
    }
    if faults:
        return unprocessable(faults)
    written = [_written(organization_id, arrival) for arrival in arrivals.values()]
    return Reply.of(200, {"events": written}, unmatched_headers(receipt))


def refuse(problem: Problem) -> Reply:
    """Write the reply to a problem: `{"status", "error"}`."""
    return lago.refuse(problem)


_FAULTS: Final = {
    Outcome.DUPLICATE: Fault(ALREADY_EXISTS, "this event was taken before"),
    Outcome.CONFLICT: Fault(CONFLICT, "was used for an event that says something else, or was withdrawn"),
}


def _arrival(fields: object, now: int, *, escaped: bool) -> Arrival:
    if not isinstance(fields, dict):
        raise _EventFaultError({"event": Fault(lago.INVALID, "must be an object")})
    faults: Faults = {}
    transaction_id = _id("transaction_id", fields, faults)
    code = _id("code", fields, faults)
    subscription = _id("external_subscription_id", fields, faults)
    at = _timestamp(fields.get("timestamp"), faults)
    notes = _notes(fields.get(_AMOUNT), faults)
    properties: dict[str, Property] = {}
    try:
        properties = checked_properties(fields.get("properties"), escaped=escaped)
    except InadmissibleError as error:
        faults["properties"] = Fault(lago.INVALID, f"cannot be taken: {error}")
    if not faults:
        event = Event(transaction_id, code, now if at is None else at, properties)
        try:
            return Arrival.of(Subject.subscription(subscription), event, now, notes, dated=at is not None)
        except TooFarAheadError as error:
            faults["timestamp"] = Fault(lago.OUT_OF_RANGE, str(error))
        except InadmissibleError as error:
            faults["properties"] = Fault(lago.TOO_LONG, f"cannot be taken: {error}")
    raise _EventFaultError(faults)


def _id(name: str, fields: Mapping[str, Any], faults: Faults) -> str:
    value = fields.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        faults[name] = Fault(lago.MISSING, "is required")
    elif not isinstance(value, str):
        faults[name] = Fault(lago.INVALID, "must be a string")
    elif len(value) > LONGEST_ID:
        faults[name] = Fault(lago.TOO_LONG, f"has {len(value)} characters, {LONGEST_ID} are allowed")
    else:
        try:
            return checked_id(value)
        except ValueError as error:
            faults[name] = Fault(lago.INVALID, str(error))
    return ""


def _timestamp(value: object, faults: Faults) -> int | None:
    if value is not None:
        try:
            return instant_of_seconds(value)
        except NotANumberError:
            faults["timestamp"] = Fault(INVALID_FORMAT, "must be a number of seconds since 1970, or its text")
        except InMillisecondsError as error:
            faults["timestamp"] = Fault(INVALID_FORMAT, str(error), IN_MILLISECONDS)
        except (InadmissibleError, NumberError) as error:
            faults["timestamp"] = Fault(INVALID_FORMAT, str(error))
    return None


def _notes(value: object, faults: Faults) -> dict[str, str]:
    if value is not None:
        try:
            return {_AMOUNT: plain(exact_number(value))}
        except NumberError as error:
            faults[_AMOUNT] = Fault(lago.INVALID, str(error))
    return {}


def _written(organization_id: str, arrival: Arrival) -> EventObject:
    event, subscription_id = arrival.event, arrival.subject.external_id
    return EventObject(
        lago_id=uuid_of(organization_id, "event", subscription_id, event.id),
        transaction_id=event.id,
        code=event.name,
        timestamp=key_instant(event.at)[:-4] + "Z",
        precise_total_amount_cents=arrival.notes.get(_AMOUNT),
        properties=msgspec.Raw(_properties(event.properties)),
        lago_subscription_id=uuid_of(organization_id, "subscription", subscription_id),
        external_subscription_id=subscription_id,
        created_at=key_instant(arrival.accepted - arrival.accepted % SECOND)[:-8] + "Z",
    )


def uuid_of(*names: str) -> UUID:
    """Return the UUID made of some names. The names are hashed as JSON, so that no two lists have one text."""
    return uuid5(_SPACE, json.dumps(names))


def _bad_request(reason: str) -> Reply:
    return Reply.of(400, {"status": 400, "error": f"BadRequest: {reason}"})

"""`GET /v1/events/uncounted` on the wire: the events that do not count, page by page.

The route is our own; its key and its errors are those of Flexprice's routes. A cursor is opaque to clients. It
holds a place in the lists, and names no organization: which lists are read is decided by the key. It holds no
secret. A part of a hash tells a cursor that was cut or mangled: it would begin elsewhere, and pass events over.
"""

import base64
import json
from hashlib import sha256
from typing import Any, Final, NamedTuple

from meterstone.contracts import flexprice
from meterstone.contracts.message import Reply, Request, RequestRefusedError
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import format_instant
from meterstone.usage.receipt import Reason
from meterstone.usage.uncounted import UncountedEvent, UncountedPage

#: The name, among the numbers by reason, of events that one meter counts and another cannot read.
_PARTLY: Final = "partly"
_LISTS: Final = frozenset({"unmatched", "unreadable"})
_LONGEST_CURSOR: Final = 2000
_LONGEST_PLACE: Final = 1000
_CHECK: Final = 8

api_key = flexprice.api_key
refuse = flexprice.refuse
forbid = flexprice.forbid


class Asked(NamedTuple):
    """A request: events of which reason, and after which place of the lists; None for the first page."""

    reason: Reason | None
    after: tuple[str, str] | None


def parse(request: Request) -> Asked:
    """Read the query parameters. Unknown ones are ignored.

    Raises `RequestRefusedError`: 400 with all bad parameters at once.
    """
    faults: dict[str, str] = {}
    reason_text, cursor = (_once(request, name, faults) for name in ("reason", "cursor"))
    reason = None
    if reason_text is not None:
        if reason_text in Reason:
            reason = Reason(reason_text)
        else:
            faults["reason"] = f"must be one of {', '.join(Reason)}"
    after = None
    if cursor is not None and not faults:
        after = _place(cursor, reason)
        if after is None:
            faults["cursor"] = "must be a next_cursor of this list, with the same reason"
    if faults:
        message = "; ".join(f"{name} {fault}" for name, fault in faults.items())
        details = {name: {"reason": fault} for name, fault in faults.items()}
        raise RequestRefusedError(
            flexprice.error(400, "validation_error", f"Invalid request: {message}.", details)
        )
    return Asked(reason, after)


def answer(asked: Asked, page: UncountedPage) -> Reply:
    """Write a page. What is not priced has a number of its own, so that real errors do not drown in it."""
    numbers = dict(page.numbers)
    not_priced, partly = numbers.pop(Reason.LINE_ITEM, 0), numbers.pop(_PARTLY, 0)
    return Reply.of(
        200,
        {
            "events": [_event(each) for each in page.events],
            "counts": numbers,
            "counted_elsewhere": partly,
            "not_priced": not_priced,
            "next_cursor": None if page.after is None else _cursor(asked.reason, page.after),
        },
    )


def _event(each: UncountedEvent) -> dict[str, Any]:
    subscription = each.subject == Subject.subscription(each.subject.external_id)
    return {
        "id": each.id,
        "external_subscription_id": each.subject.external_id if subscription else None,
        "external_customer_id": None if subscription else each.subject.external_id,
        "code": each.code,
        "timestamp": format_instant(each.at),
        "since": format_instant(each.since),
        "reason": each.reason or None,
        "meters": [
            {"meter": fault.meter, "property": fault.field, "detail": fault.reason} for fault in each.faults
        ],
        "counted_elsewhere": each.elsewhere,
    }


def _once(request: Request, name: str, faults: dict[str, str]) -> str | None:
    several = [each for each in request.parameters if each.partition("[")[0] == name]
    values = request.parameters.get(name, ())
    if len(several) > 1 or several not in ([], [name]) or len(values) > 1:
        faults[name] = "must be given once"
        return None
    return values[0] if values else None


def _cursor(reason: Reason | None, after: tuple[str, str]) -> str:
    place = json.dumps([reason or "", *after]).encode()
    return base64.urlsafe_b64encode(_check(place) + place).rstrip(b"=").decode()


def _place(cursor: str, reason: Reason | None) -> tuple[str, str] | None:
    """Read a cursor; None if it is none, or that of another reason's list."""
    if len(cursor) > _LONGEST_CURSOR:
        return None
    try:
        given = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        check, place = given[:_CHECK], given[_CHECK:]
        decoded = json.loads(place) if check == _check(place) else None
        match decoded:
            case [str(of), str(name), str(key)] if of == (reason or "") and name in _LISTS:
                return (name, key) if 0 < len(key.encode()) <= _LONGEST_PLACE else None
    except (ValueError, RecursionError):
        pass  # No base64, no UTF-8, no JSON, or half of a surrogate pair in it.
    return None


def _check(place: bytes) -> bytes:
    return sha256(place).digest()[:_CHECK]

"""What Lago's calls on records of the catalogue share: reading bodies and ids, and refusals.

What Lago's API description leaves open, or has not, is settled so:

- A field that is absent stays as it is; null takes its value away.
- A field that Lago has and Meterstone cannot honour is refused by name, with the code `not_supported` after Lago's
  own, unless it is null, false or empty: then nothing is asked for. Fields that Lago has not are ignored.
- A change that moves counted usage is made, and usage follows within a minute: the answer is the record as it is
  stored now. What does not fit to what is stored is refused with 409.
- Lago's own ids are UUIDs made of the organization's id, the kind of the record and its id.
- `reasons` says in words why there is a code, as in the analytics.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from meterstone.contracts import lago
from meterstone.contracts.events import read_object
from meterstone.contracts.lago import Fault, unprocessable
from meterstone.contracts.lago_fields import ALREADY_EXISTS, Reader, unsupported
from meterstone.contracts.message import Reply, Request, RequestRefusedError
from meterstone.contracts.path_id import read_path_id

CONFLICT: Final = "conflict"

_METRIC: Final = "billable_metric"
#: Lago's names of the fields of records, where it has another.
_NAMES: Final = {
    "customer": "external_customer_id",
    "plan": "plan_code",
    "start": "subscription_at",
    "end": "ending_at",
    "billing_cycle": "billing_time",
    "id": "external_id",
}
_CODES: Final = {
    "subscription_at": lago.INVALID_DATE,
    "ending_at": lago.INVALID_DATE,
    "country": lago.INVALID_COUNTRY,
}

api_key = lago.api_key
refuse = lago.refuse
forbid = lago.forbid


def read_root(request: Request, name: str) -> tuple[Reader, Mapping[str, Any]]:
    """Read the body's object of a name, and the whole body.

    Raises `RequestRefusedError`: 400 for a body that cannot be read, or that has no such object.
    """
    body, _ = read_object(request, _bad_request)
    found = body.get(name)
    if not isinstance(found, dict) or not found:
        raise RequestRefusedError(_bad_request(f"param is missing or the value is empty: {name}"))
    return Reader(found), body


def path_id(request: Request, name: str, kind: str) -> str:
    """Return the id that a part of the path is. Raises `RequestRefusedError` (404) for what no id can be."""
    try:
        return read_path_id(request, name)
    except ValueError:
        raise RequestRefusedError(not_found(kind)) from None


def not_found(kind: str) -> Reply:
    """Say that there is no record of a kind: that of Meterstone's own name, such as `meter`."""
    code = f"{_METRIC if kind == 'meter' else kind}_not_found"
    return Reply.of(404, {"status": 404, "error": "Not Found", "code": code})


def refuse_record(errors: Iterable[tuple[str, str]]) -> Reply:
    """Say what is wrong with a record, of which the fields have the names of the catalogue's files."""
    found: dict[str, Fault] = {}
    for path, reason in errors:
        name = lago_path(path)
        # What an id must be like is checked before: here it is another's.
        code = ALREADY_EXISTS if path == "external_id" else _CODES.get(name, lago.INVALID)
        before = found.get(name)
        found[name] = (
            Fault(code, reason) if before is None else Fault(before.code, f"{before.reason}; {reason}")
        )
    return unprocessable(found)


def refuse_conflict(path: str, reason: str) -> Reply:
    """Say that a change does not fit to what is stored or counted."""
    body = {
        "status": 409,
        "error": "Conflict",
        "code": CONFLICT,
        "error_details": {lago_path(path): [CONFLICT]},
        "reasons": {lago_path(path): reason},
    }
    return Reply.of(409, body)


def lago_path(path: str) -> str:
    """Return Lago's name of a field of a record.

    >>> lago_path("end"), lago_path("details.email"), lago_path("")
    ('ending_at', 'email', 'base')
    """
    path = path.removeprefix("details.")
    head = path.partition(".")[0].partition("[")[0]
    return _NAMES.get(head, head) + path[len(head) :] if path else "base"


def refuse_filters(request: Request, names: Iterable[str], faults: dict[str, lago.Fault]) -> None:
    """Raise `RequestRefusedError` for faults of parameters, and for filters that Lago has and Meterstone has not.

    If such a filter were silently dropped, the answer would show more than was asked for.
    """
    for given in request.parameters:
        if (name := given.partition("[")[0]) in names:
            faults[name] = unsupported("records are not filtered by it")
    if faults:
        raise RequestRefusedError(lago.unprocessable(dict(sorted(faults.items()))))


def _bad_request(reason: str) -> Reply:
    return Reply.of(400, {"status": 400, "error": f"BadRequest: {reason}"})

"""`PUT`, `PATCH` and `DELETE /catalogue/v1/…` on the wire: what is to be stored, and why it is refused.

- A record is put in the form of the catalogue's files, as JSON. What `GET` adds to it (`version`, `created_at`,
  `updated_at`) is passed over, so that a record that was read can be put back.
- A plan may have `applies_to: all` and `at` beside its fields: the subscriptions that follow it follow its new
  version from that instant on. The answer has the `recount` that does it then.
- The answer is `{"record"}`, with the `ETag` of its version. Where usage was counted that the change moves, it has
  the `recount` that counts it anew. More than 20 MB of events are read for that with `?force=true`; else that is
  409.
- `If-Match` makes a put conditional on the version, and `If-None-Match: *` on there being no record: else 412.
  `If-Match` has an `ETag`, or the `version` alone, in quotes; a version alone is also that of another record made
  under the id of one that was deleted.
- What is wrong with a record is 422 `{"errors": [{"path", "message"}]}`, all of it at once. A change that does not
  fit to what is stored or counted is 409 of the same shape, and `earliest`: from when on it is possible, or null.
- A body that is no JSON object is 400, in Flexprice's shape; one of more than `LONGEST_BODY` characters is 413.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from meterstone.contracts import flexprice
from meterstone.contracts.catalogue import etag, stored_record
from meterstone.contracts.catalogue_records import Value
from meterstone.contracts.events import read_object
from meterstone.contracts.fields import Fields, instant, text_of
from meterstone.contracts.message import Reply, Request, RequestRefusedError
from meterstone.contracts.path_id import read_path_id
from meterstone.contracts.preview import read_commitment
from meterstone.contracts.recounts import Recount, recount_begun
from meterstone.contracts.stored import Stored
from meterstone.pricing.commitment import Commitment
from meterstone.usage.arrival import Unusable
from meterstone.usage.identifier import checked_id, is_text
from meterstone.usage.instant import format_instant

LONGEST_BODY: Final = 1_000_000
"""Characters of a body. What is stored of a record is at most 400 KB."""

ALL: Final = "all"
"""As `applies_to` of a plan: for the subscriptions that follow it, too."""

NOW: Final = "now"
"""In the place of an instant: now."""

FORCE: Final = "force"
"""The query parameter by which usage is counted anew however much of the log is to be read for it."""

_READ_ONLY: Final = frozenset({"version", "created_at", "updated_at"})
_DEEPEST: Final = 24
#: A reply must not grow with a body that is wrong everywhere.
_MOST_ERRORS: Final = 1000
_LONGEST_PATH: Final = 200
_TAG: Final = re.compile(r'(?:W/)?"([0-9]{1,18})(?:-([0-9]{1,18}))?"')
_NO_TAG: Final = 'must be one ETag of the record, or its version in quotes, such as "3"; or *'
#: As the gateway answers for what is longer still.
_TOO_LARGE: Final = {
    "status": 413,
    "error": "Content Too Large",
    "code": "request_too_large",
    "message": f"The body has more than {LONGEST_BODY} characters.",
    "http_status_code": 413,
}
_ONE_CHANGE: Final = "give one of end, plan (with at) and commitment: one change in each request"


class Condition(NamedTuple):
    """What a put is conditional on.

    ``version`` is a version of the record, 0 for none; ``made_at``: of the one made then; ``there``: that there is
    a record.
    """

    version: int | None = None
    made_at: int | None = None
    there: bool = False


class ForAll(NamedTuple):
    """A plan is put for the subscriptions that follow it, too, from an instant on; None: from now on."""

    record: Mapping[str, object]
    at: int | None


class End(NamedTuple):
    """A subscription is to end; None: now."""

    at: int | None


class OtherPlan(NamedTuple):
    """A subscription is to be on another plan from an instant on; None: from now on."""

    plan: str
    at: int | None


class OtherCommitment(NamedTuple):
    """A subscription is to commit to another amount, or to none."""

    commitment: Commitment | None


type Change = End | OtherPlan | OtherCommitment


def parse_id(request: Request) -> str:
    """Return the id under which a record is put. Raises `RequestRefusedError` (422) for what no id can be."""
    try:
        return read_path_id(request, "id")
    except ValueError as error:
        raise RequestRefusedError(refuse_record([("id", str(error))])) from error


def parse_record(request: Request) -> Mapping[str, object]:
    """Read a record. Raises `RequestRefusedError`: 400, 413, or 422 for values that no field may have."""
    body = _body(request)
    return {name: value for name, value in body.items() if name not in _READ_ONLY}


def parse_for_all(record: Mapping[str, object]) -> ForAll | None:
    """Read of a plan's record whether it is put for all; None: for new subscriptions alone.

    Raises `RequestRefusedError`: 422.
    """
    fields = {name: value for name, value in record.items() if name in ("applies_to", "at")}
    if not fields:
        return None
    faults: dict[str, str] = {}
    at = Fields(fields, "", faults).get("at", _moment, None)
    if fields.get("applies_to") != ALL:
        faults["applies_to"] = f"must be {ALL!r}, or left out (with at): then it is for new subscriptions"
    if faults:
        raise RequestRefusedError(refuse_record(faults.items()))
    return ForAll({name: value for name, value in record.items() if name not in fields}, at)


def parse_condition(request: Request) -> Condition:
    """Read on what a put is conditional. Raises `RequestRefusedError` (422) for what is no condition."""
    wanted, absent = request.header("if-match"), request.header("if-none-match")
    repeated = any(len(request.headers.get(name, ())) > 1 for name in ("if-match", "if-none-match"))
    if repeated or (wanted is not None and absent is not None):
        raise RequestRefusedError(refuse_record([("If-Match", "give one condition")]))
    if absent is not None:
        if absent != "*":
            raise RequestRefusedError(refuse_record([("If-None-Match", "must be *")]))
        return Condition(version=0)
    if wanted is None:
        return Condition()
    if wanted == "*":
        return Condition(there=True)
    tag = _TAG.fullmatch(wanted)
    if tag is None:
        raise RequestRefusedError(refuse_record([("If-Match", _NO_TAG)]))
    return Condition(int(tag[1]), None if tag[2] is None else int(tag[2]), there=True)


def refuse_condition(request: Request) -> None:
    """Refuse a condition where none is looked at. Raises `RequestRefusedError`: 422."""
    for name in ("If-Match", "If-None-Match"):
        if name.lower() in request.headers:
            raise RequestRefusedError(refuse_record([(name, "is for PUT alone")]))


def parse_force(request: Request) -> bool:
    """Read whether usage is counted anew however much is to be read. Raises `RequestRefusedError`: 422."""
    match request.parameters.get(FORCE, ()):
        case () | ("false",):
            return False
        case ("true",):
            return True
        case _:
            raise RequestRefusedError(refuse_record([(FORCE, "must be true or false, once")]))


def parse_change(request: Request) -> Change:
    """Read the change of a subscription. Raises `RequestRefusedError`, as `parse_record` does."""
    faults: dict[str, str] = {}
    fields = Fields(_body(request), "", faults)
    changes = [name for name in ("end", "plan", "commitment") if fields.has(name)]
    end = fields.get("end", _moment, None)
    plan = fields.get("plan", text_of(checked_id), "")
    at = fields.get("at", _moment, None)
    commitment = read_commitment(fields)
    fields.refuse_others()
    if len(changes) != 1:
        faults[""] = _ONE_CHANGE
    elif fields.has("at") and changes != ["plan"]:
        faults["at"] = "is for plan alone"
    if faults:
        raise RequestRefusedError(refuse_record(faults.items()))
    if changes == ["end"]:
        return End(end)
    return OtherPlan(plan, at) if changes == ["plan"] else OtherCommitment(commitment)


def answer(stored: Stored[Value], *, created: bool = False, recount: Recount | None = None) -> Reply:
    """Write the record as it is stored now, and the recount that the change has begun, if it has."""
    body: dict[str, Any] = {"record": stored_record(stored)}
    if recount is not None:
        body["recount"] = recount_begun(recount)
    return Reply.of(201 if created else 200, body, etag(stored))


def refuse_record(errors: Iterable[tuple[str, str]]) -> Reply:
    """Write all that is wrong with a record."""
    return Reply.of(422, {"errors": list(_written(errors))})


def refuse_conflict(path: str, reason: str, earliest: int | None) -> Reply:
    """Write why a change is not possible, and from when on it is."""
    at = None if earliest is None else format_instant(earliest)
    return Reply.of(409, {"errors": list(_written([(path, reason)])), "earliest": at})


def refuse_stale() -> Reply:
    """Write that the record has another version than the one that the put is conditional on."""
    message = "The record has another version than the condition asks for. Read it again."
    return flexprice.error(412, "version_conflict", message)


def _moment(value: object) -> int | None:
    return None if value == NOW else instant(value)


def _body(request: Request) -> dict[str, Any]:
    if len(request.raw_body) > LONGEST_BODY:
        raise RequestRefusedError(Reply.of(413, _TOO_LARGE))
    body, _ = read_object(request, _bad_request)
    if errors := list(_unusable(body, "", _DEEPEST)):
        raise RequestRefusedError(refuse_record(errors))
    return body


def _bad_request(reason: str) -> Reply:
    return flexprice.error(400, "validation_error", f"Invalid request: {reason}.")


def _unusable(value: object, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield what no field of a record may hold, with its path."""
    match value:
        case Unusable():
            yield path, value.reason
        case str() if any("\ud800" <= char <= "\udfff" for char in value):
            yield path, "holds half of a surrogate pair, which is no text"
        case list() | dict() if depth == 0:
            yield path, "is nested too deeply"
        case list():
            for index, inner in enumerate(value):
                yield from _unusable(inner, f"{path}[{index}]", depth - 1)
        case dict():
            for name, inner in value.items():
                if not is_text(name):
                    yield path, "has a field whose name is no text"
                else:
                    yield from _unusable(inner, f"{path}.{name}" if path else name, depth - 1)
        case _:
            pass


def _written(errors: Iterable[tuple[str, str]]) -> Iterator[dict[str, str]]:
    found = list(errors)
    for path, reason in found[:_MOST_ERRORS]:
        yield {"path": path if len(path) <= _LONGEST_PATH else f"{path[:_LONGEST_PATH]}…", "message": reason}
    if len(found) > _MOST_ERRORS:
        yield {"path": "", "message": f"{len(found) - _MOST_ERRORS} more errors are not shown"}

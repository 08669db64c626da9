"""`GET /catalogue/v1/…` on the wire: records of the catalogue in the form of its files, one or page by page.

The routes are our own. A key comes as either API's clients send it. A record has its `version` beside the fields
of the files, and when it was made and last put. Errors have Flexprice's shape, but for bad parameters: 422
`{"errors": [{"path", "message"}]}`. A cursor is opaque to clients, as that of `flexprice_uncounted` is: it holds a
place, and no organization. What changes records is in `catalogue_changes`.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from meterstone.contracts import flexprice, lago
from meterstone.contracts.catalogue_records import Record, Value, record_of
from meterstone.contracts.message import Problem, Reply, Request, RequestRefusedError
from meterstone.contracts.path_id import read_path_id
from meterstone.contracts.stored import Stored
from meterstone.scope import Scope
from meterstone.usage.identifier import LONGEST_ID, quoted
from meterstone.usage.instant import format_instant, parse_instant
from meterstone.usage.subscription import Organization

DEFAULT_LIMIT: Final = 100
MOST_RECORDS: Final = 500
"""How many records a page has at most."""

#: A page ends with the record by which it has so many characters, far below what a function may answer.
_LONGEST_PAGE: Final = 1_000_000
_LONGEST_CURSOR: Final = 2000
_LONGEST_ID: Final = LONGEST_ID
_CHECK: Final = 8


class Asked(NamedTuple):
    """A request: which list, after which place of it (empty: from the beginning), how many, and its filters."""

    kind: str
    after: str
    limit: int
    filters: Mapping[str, str]
    at: int | None


def api_key(request: Request) -> str | None:
    """Return the key of `x-api-key` or `Authorization: Bearer KEY`."""
    return flexprice.api_key(request) or lago.api_key(request)


def refuse(problem: Problem) -> Reply:
    """Write the reply to a problem in Flexprice's shape."""
    return flexprice.refuse(problem)


def forbid(scope: Scope) -> Reply:
    """Refuse a key that lacks a scope, in Flexprice's shape."""
    return flexprice.forbid(scope)


def parse(request: Request, kind: str, filters: Sequence[str] = ()) -> Asked:
    """Read the query parameters of a list of a kind. Unknown ones are ignored.

    Raises `RequestRefusedError`: 422 with all bad parameters at once.
    """
    faults: dict[str, str] = {}
    names = ("cursor", "limit", *filters)
    given = {name: value for name in names if (value := _once(request, name, faults)) is not None}
    limit = DEFAULT_LIMIT
    if "limit" in given and "limit" not in faults:
        text = given["limit"]
        if (
            text.isascii()
            and text.isdigit()
            and len(text) <= len(str(MOST_RECORDS))
            and int(text) in range(1, MOST_RECORDS + 1)
        ):
            limit = int(text)
        else:
            faults["limit"] = f"must be a whole number from 1 to {MOST_RECORDS}"
    at = None
    if "at" in given:
        try:
            at = parse_instant(given["at"])
        except ValueError:
            faults["at"] = "must be an instant as in RFC 3339"
    chosen = {name: given[name] for name in filters if name in given}
    faults |= {
        name: f"must have 1 to {_LONGEST_ID} characters"
        for name, value in chosen.items()
        if not 0 < len(value) <= _LONGEST_ID
    }
    after = ""
    if "cursor" in given and not faults:
        found = _place(given["cursor"], kind, chosen)
        if found is None:
            faults["cursor"] = "must be a next_cursor of this list, with the same filters"
        else:
            after = found
    if faults:
        errors = [{"path": name, "message": fault} for name, fault in faults.items()]
        raise RequestRefusedError(Reply.of(422, {"errors": errors}))
    return Asked(kind, after, limit, chosen, at)


def answer(asked: Asked, records: Sequence[tuple[str, Stored[Value]]], after: str | None) -> Reply:
    """Write a page of records, each with its place. A page that would be too long ends early."""
    shown: list[dict[str, Any]] = []
    length = 0
    for place, record in records:
        shown.append(stored_record(record))
        length += len(json.dumps(shown[-1]))
        if length > _LONGEST_PAGE and place != records[-1][0]:
            after = place
            break
    return Reply.of(200, {f"{asked.kind}s": shown, "next_cursor": next_cursor(asked, after)})


def next_cursor(asked: Asked, after: str | None) -> str | None:
    """Write the cursor of a list that goes on after a place; None: it does not go on."""
    return None if after is None else _cursor(asked.kind, asked.filters, after)


def organization_record(organization: Organization) -> dict[str, Any]:
    """Write an organization."""
    return {"id": organization.id, "name": organization.name, "timezone": organization.timezone}


def stored_record(stored: Stored[Value]) -> Record:
    """Write a record as it is stored. Its instants are null if it was put before they were kept."""
    stamp = stored.stamp
    return record_of(stored.value) | {
        "version": stamp.rev,
        "created_at": _instant(stamp.made_at),
        "updated_at": _instant(stamp.put_at),
    }


def answer_one(stored: Stored[Value]) -> Reply:
    """Write one record. Its `ETag` names its version."""
    return Reply.of(200, stored_record(stored), etag(stored))


def etag(stored: Stored[Value]) -> dict[str, str]:
    """Return the header that has a record's version, and when the record was made.

    A record that is deleted and made again has the versions of the one before.
    """
    stamp = stored.stamp
    return {"ETag": f'"{stamp.rev}-{stamp.made_at}"' if stamp.made_at else f'"{stamp.rev}"'}


def unknown(kind: str, name: str) -> Reply:
    """Say that there is no record of a kind under an id."""
    return flexprice.error(404, "not_found", f"There is no {kind} {quoted(name)}.")


def path_id(request: Request, kind: str) -> str:
    """Return the id that the path has. Raises `RequestRefusedError` (404) for what no id can be."""
    try:
        return read_path_id(request, "id")
    except ValueError:
        raise RequestRefusedError(unknown(kind, "")) from None


def _instant(at: int) -> str | None:
    return format_instant(at) if at else None


def _once(request: Request, name: str, faults: dict[str, str]) -> str | None:
    values = request.parameters.get(name, ())
    if len(values) > 1:
        faults[name] = "must be given once"
        return None
    return values[0] if values else None


def _cursor(kind: str, filters: Mapping[str, str], after: str) -> str:
    place = json.dumps([kind, _digest(filters), after]).encode()
    return base64.urlsafe_b64encode(sha256(place).digest()[:_CHECK] + place).rstrip(b"=").decode()


def _place(cursor: str, kind: str, filters: Mapping[str, str]) -> str | None:
    """Read a cursor; None if it is none, or that of another list."""
    if len(cursor) > _LONGEST_CURSOR:
        return None
    try:
        given = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        check, place = given[:_CHECK], given[_CHECK:]
        if check != sha256(place).digest()[:_CHECK]:
            return None
        match json.loads(place):
            case [str(of), str(digest), str(after)] if (of, digest) == (kind, _digest(filters)):
                after.encode()
                return after or None
    except (ValueError, RecursionError):
        pass  # No base64, no UTF-8, no JSON, or half of a surrogate pair in it.
    return None


def _digest(filters: Mapping[str, str]) -> str:
    return sha256(json.dumps(sorted(filters.items())).encode()).hexdigest()[:_CHECK]

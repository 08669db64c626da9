"""Requests and replies in the form that both contracts share."""

import base64
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Protocol, Self

import msgspec

from meterstone.pricing.money import plain
from meterstone.scope import Scope

RETRY_AFTER: Final = {"Retry-After": "5"}
"""After how many seconds a client may try again when the store is not available: longer than the store retries."""

_LONGEST_KEY: Final = 512

_encoder = msgspec.json.Encoder()


class Problem(StrEnum):
    """A reason why a request has no answer. Each contract has a reply of its own shape for each reason."""

    UNAUTHORIZED = "unauthorized"
    #: The key is good, and asks too often. The edge says in `Retry-After` how long to wait.
    TOO_MANY_REQUESTS = "too_many_requests"
    NOT_FOUND = "not_found"
    UNKNOWN_ROUTE = "unknown_route"
    WRONG_METHOD = "wrong_method"
    #: The stored usage cannot answer until it is rebuilt. Asking again, or later, does not help.
    NOT_BUILT = "not_built"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class Reply(msgspec.Struct, frozen=True):
    """A status and a body, JSON unless `content_type` says otherwise.

    `counted_until` is when the newest event counted in the answer came in, in microseconds since the epoch. It is
    0 if that is not known, or if the answer is not about usage.
    """

    status: int
    body: str
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    counted_until: int = 0
    content_type: str = "application/json"

    @classmethod
    def of(
        cls, status: int, body: object, headers: Mapping[str, str] | None = None, counted_until: int = 0
    ) -> Self:
        """Encode a body of structs, dicts and lists. Each `Decimal` in it must have been encoded by `number`."""
        return cls(status, _encoder.encode(body).decode(), headers or {}, counted_until)


class RequestRefusedError(Exception):
    """A contract refuses the request. The error has the reply, in the contract's own shape."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"refused with status {reply.status}")
        self.reply = reply


class Request(msgspec.Struct, frozen=True):
    """An HTTP request, read from an API Gateway REST proxy event (payload 1.0)."""

    method: str
    path: str
    #: API Gateway's id of the request. The caller sees the same id.
    id: str
    #: Every value of each query parameter, in order, decoded.
    parameters: Mapping[str, tuple[str, ...]]
    #: Every value of each header, under its name in lower case.
    headers: Mapping[str, tuple[str, ...]]
    raw_body: str
    is_base64: bool
    #: The parts of the path that the route names, as the gateway gives them.
    path_parameters: Mapping[str, str] = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Self:
        """Read an event. Values that its multi-valued maps lack are taken from its single-valued maps."""
        return cls(
            method=event["httpMethod"],
            path=event["path"],
            id=(event.get("requestContext") or {}).get("requestId") or "",
            parameters=_values(event, "queryStringParameters", "multiValueQueryStringParameters"),
            headers=_lower_case(_values(event, "headers", "multiValueHeaders")),
            raw_body=event.get("body") or "",
            is_base64=bool(event.get("isBase64Encoded")),
            path_parameters=event.get("pathParameters") or {},
        )

    def body(self) -> str:
        """Return the body as text. Raises `ValueError` if it is not UTF-8, or not base64 if it is said to be."""
        if self.is_base64:
            return base64.b64decode(self.raw_body, validate=True).decode()
        self.raw_body.encode()  # Raises for half of a surrogate pair, which is no text either.
        return self.raw_body

    def header(self, name: str) -> str | None:
        """Return the value of a header; None if the header is absent or given more than once."""
        values = self.headers.get(name, ())
        return values[0].strip() if len(values) == 1 else None


class Contract(Protocol):
    """The functions of a contract module that the edge needs."""

    def api_key(self, request: Request, /) -> str | None:
        """Return the API key of a request; None if the request has no text that could be an API key."""

    def refuse(self, problem: Problem, /) -> Reply:
        """Return the reply to a problem in the contract's shape."""

    def forbid(self, scope: Scope, /) -> Reply:
        """Return the reply, 403, to a good key that lacks the scope of the route, in the contract's shape."""


def number(value: Decimal) -> msgspec.Raw:
    """Encode a number as its exact decimal text, without the exponent that msgspec would give 0.0000001."""
    return msgspec.Raw(plain(value).encode())


def possible_key(text: str) -> str | None:
    """Return the text if it could be an API key: visible ASCII of a sensible length."""
    visible = text.isascii() and text.isprintable() and " " not in text
    return text if visible and 0 < len(text) <= _LONGEST_KEY else None


def _values(event: Mapping[str, Any], single: str, multiple: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {
        name: (value or "",) for name, value in (event.get(single) or {}).items()
    }
    found |= {name: tuple(values) for name, values in (event.get(multiple) or {}).items() if values}
    return found


def _lower_case(headers: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """Return headers with their names in lower case.

    A header that came in two spellings has the values of both, if they differ.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, values in headers.items():
        known = found.get(name.lower(), ())
        found[name.lower()] = known + tuple(value for value in values if value not in known)
    return found

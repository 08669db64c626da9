"""Requests and replies as both contracts see them, whatever brought them here."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Protocol, Self

import msgspec

from meterstone.pricing.money import plain

RETRY_AFTER: Final = {"Retry-After": "5"}
"""Seconds after which to try again what was not available: longer than the store's own retries go on."""

_LONGEST_KEY: Final = 512

_encoder = msgspec.json.Encoder()


class Problem(StrEnum):
    """Why a request has no answer, where both contracts have a reply of their own shape for it."""

    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    UNKNOWN_ROUTE = "unknown_route"
    WRONG_METHOD = "wrong_method"
    #: What is stored lacks what would answer, until it is rebuilt: asking again does not help, nor does waiting.
    NOT_BUILT = "not_built"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Reply:
    """A status and a JSON body.

    `counted_until` is when the newest event came in that is counted in the answer, in microseconds since the
    epoch; 0 if that is not known, or nothing is counted in it.
    """

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)
    counted_until: int = 0

    @classmethod
    def of(
        cls, status: int, body: object, headers: Mapping[str, str] | None = None, counted_until: int = 0
    ) -> Self:
        """Encode a body: structs, dicts, lists, and `number` for every number that is a `Decimal`."""
        return cls(status, _encoder.encode(body).decode(), headers or {}, counted_until)


class RequestRefusedError(Exception):
    """A request that a contract refuses, with the reply to it in the contract's own shape."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"refused with status {reply.status}")
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request out of an API Gateway REST proxy event (payload 1.0)."""

    method: str
    path: str
    #: API Gateway's id of the request, the one that the caller sees too.
    id: str
    #: Every value of each query parameter, in order, decoded.
    parameters: Mapping[str, tuple[str, ...]]
    #: Every value of each header, under its name in lower case.
    headers: Mapping[str, tuple[str, ...]]
    raw_body: str
    is_base64: bool

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Self:
        """Read an event; what its multi-valued maps lack is taken from its single-valued ones."""
        return cls(
            method=event["httpMethod"],
            path=event["path"],
            id=(event.get("requestContext") or {}).get("requestId") or "",
            parameters=_values(event, "queryStringParameters", "multiValueQueryStringParameters"),
            headers=_lower_case(_values(event, "headers", "multiValueHeaders")),
            raw_body=event.get("body") or "",
            is_base64=bool(event.get("isBase64Encoded")),
        )

    def body(self) -> str:
        """Return the body as text. Raises `ValueError` if it is not UTF-8, or not base64 where it should be."""
        if self.is_base64:
            return base64.b64decode(self.raw_body, validate=True).decode()
        self.raw_body.encode()  # Half of a surrogate pair is no text either.
        return self.raw_body

    def header(self, name: str) -> str | None:
        """Return a header's one value; None when it is absent, and when it is given more than once."""
        values = self.headers.get(name, ())
        return values[0].strip() if len(values) == 1 else None


class Contract(Protocol):
    """What the edge needs of a contract; both contract modules have it."""

    def api_key(self, request: Request, /) -> str | None:
        """Return the key that the request bears; None if it has none that could be one."""

    def refuse(self, problem: Problem, /) -> Reply:
        """Say in the contract's shape why there is no answer."""


def number(value: Decimal) -> msgspec.Raw:
    """Encode a number as its exact decimal text, without the exponent that msgspec would give 0.0000001."""
    return msgspec.Raw(plain(value).encode())


def possible_key(text: str) -> str | None:
    """Return what could be an API key: visible ASCII of a sensible length."""
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

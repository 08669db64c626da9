"""API Gateway on this machine: HTTP requests become proxy events, the functions' answers HTTP responses.

It does what a deployed REST API does with the routes, limits and gateway responses of `template.yaml`, and
calls the functions' own handlers. HTTP is `meterstone_cli.devserver.server`'s business.

What happens where, as on AWS:

- A path that no function has is answered here, with 404. Any method of a path that one has reaches it.
- Bodies over 10 MB, events over Lambda's 6 MB, and more than 10,240 bytes of request line and header values
  are answered here, with 413.
- A handler that raises, exceeds its time-out or answers no proxy response is a 502, and one that could not be
  called in 29 s a 504.
- Bodies of 1,024 bytes and more are compressed with gzip for clients that accept it.
"""

import base64
import binascii
import json
import logging
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, unquote

from meterstone_cli.devserver import compression
from meterstone_cli.devserver.function import TIMEOUT, Function, FunctionBusyError, FunctionFailedError
from meterstone_cli.devserver.template import exceptions, routes, timeouts

log = logging.getLogger(__name__)

BODY_LIMIT: Final = 10 * 1024 * 1024
HEADER_LIMIT: Final = 10_240
PAYLOAD_LIMIT: Final = 6 * 1024 * 1024

WITHOUT_BODY: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
"""Statuses whose responses have no body, whatever a function says."""

STAGE: Final = "local"
_API_ID: Final = "local"
_ACCOUNT: Final = "000000000000"
_JSON: Final = ("Content-Type", "application/json")
_RETRY_AFTER: Final = ("Retry-After", "5")

_TOKEN: Final = re.compile(r"[-!\x23$%&'*+.^_`|~0-9A-Za-z]+")

# What a proxy response says of these would contradict how its body is sent.
_FRAMING: Final = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """An HTTP request as it came in. `target` is path and query, still encoded."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    source_ip: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response, without the headers that frame its body."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


class MalformedResponseError(Exception):
    """What a handler returned is no proxy response."""


_BODIES: Final[Mapping[int, tuple[str, str, str]]] = {
    400: ("Bad Request", "validation_error", "The request was refused."),
    404: ("Not Found", "not_found", "There is no such route."),
    413: ("Content Too Large", "request_too_large", "The request is too large."),
    502: ("Bad Gateway", "internal_error", "The request failed."),
    504: ("Gateway Timeout", "internal_error", "The request took too long."),
}


def gateway_response(status: int) -> Response:
    """Return the gateway's own answer, as `template.yaml` has it: JSON with the keys of both contracts.

    What may pass (502, 504) says after how many seconds to try again.
    """
    error, code, message = _BODIES[status]
    body = {"status": status, "error": error, "code": code, "message": message, "http_status_code": status}
    headers = (_JSON, _RETRY_AFTER) if status >= HTTPStatus.INTERNAL_SERVER_ERROR else (_JSON,)
    return Response(status, headers, json.dumps(body, separators=(",", ":")).encode())


class Invocable(Protocol):
    """What a gateway calls."""

    def invoke(self, event: dict[str, Any], request_id: str) -> object:
        """Return what the handler returns for an event; raise `FunctionFailedError` or `FunctionBusyError`."""


class Gateway:
    """A REST API whose paths are those of `functions`."""

    def __init__(
        self, functions: Mapping[str, Invocable], *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._functions = functions
        self._clock = clock

    def handle(self, request: HttpRequest) -> Response:
        """Answer one request. Never raises: whatever goes wrong in a function is a 5xx."""
        request_id = str(uuid.uuid4())
        answer = _compressed(self._answer(request, request_id), request)
        return Response(answer.status, (*answer.headers, ("x-amzn-RequestId", request_id)), answer.body)

    def _answer(self, request: HttpRequest, request_id: str) -> Response:
        line = len(request.method) + len(request.target)
        if (
            line + sum(len(value) for _, value in request.headers) > HEADER_LIMIT
            or len(request.body) > BODY_LIMIT
        ):
            return gateway_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        path = unquote(request.target.partition("?")[0])
        # A slash at the end is kept in the event, and makes no difference to the route.
        resource, parameters = self._resource(request.target.partition("?")[0].removesuffix("/"))
        function = self._functions.get(resource)
        if function is None:
            return gateway_response(HTTPStatus.NOT_FOUND)
        event = proxy_event(request, resource, request_id, self._clock())
        if parameters:
            event["pathParameters"] = parameters
        if len(request.body) > PAYLOAD_LIMIT // 6 and _size(event) > PAYLOAD_LIMIT:
            return gateway_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            return http_response(function.invoke(event, request_id))
        except FunctionBusyError:
            return gateway_response(HTTPStatus.GATEWAY_TIMEOUT)
        except FunctionFailedError:
            log.exception("%s %s failed", request.method, path)
        except MalformedResponseError as error:
            log.warning("%s %s: the handler answered no proxy response: %s", request.method, path, error)
        return gateway_response(HTTPStatus.BAD_GATEWAY)

    def _resource(self, path: str) -> tuple[str, dict[str, str]]:
        """Return the route of a path as it was sent, and the parts of it that the route names, as they were sent.

        A route without such parts goes first. A part has no slash in it, but an encoded one.
        """
        if unquote(path) in self._functions:
            return unquote(path), {}
        parts = path.split("/")
        for resource in self._functions:
            names = resource.split("/")
            if len(names) != len(parts):
                continue
            pairs = list(zip(names, parts, strict=True))
            if all(part and (name.startswith("{") or name == unquote(part)) for name, part in pairs[1:]):
                return resource, {name[1:-1]: part for name, part in pairs if name.startswith("{")}
        return unquote(path), {}


@dataclass(frozen=True, slots=True)
class ByMethod:
    """The functions of a path that answer some methods, and the one that answers all others."""

    some: Mapping[str, Invocable]
    others: Invocable

    def invoke(self, event: dict[str, Any], request_id: str) -> object:
        """Return what the function of the event's method returns."""
        return self.some.get(event["httpMethod"], self.others).invoke(event, request_id)


def load(template: Path) -> dict[str, Invocable]:
    """Load each function of a template, for all of its routes; raises what their imports raise."""
    folders, of_methods, seconds = routes(template), exceptions(template), timeouts(template)
    functions = {
        folder: Function(folder.name, folder / "app.py", timeout=seconds.get(folder, TIMEOUT))
        for folder in dict.fromkeys((*folders.values(), *of_methods.values()))
    }
    loaded: dict[str, Invocable] = {path: functions[folder] for path, folder in folders.items()}
    for path in dict.fromkeys(path for path, _ in of_methods):
        some = {method: functions[folder] for (of, method), folder in of_methods.items() if of == path}
        loaded[path] = ByMethod(some, loaded[path])
    return loaded


def proxy_event(request: HttpRequest, resource: str, request_id: str, now: datetime) -> dict[str, Any]:
    """Return the event (payload format 1.0) that a REST API's Lambda proxy integration makes of a request.

    The query is decoded once, `+` being a space; bytes that are no UTF-8 become U+FFFD, in the body too. Of a
    parameter or header that is repeated the plain mapping has the last value.
    """
    path = unquote(request.target.partition("?")[0])
    host = next((value for name, value in request.headers if name.lower() == "host"), "localhost")
    headers = [
        *request.headers,
        ("X-Amzn-Trace-Id", f"Root=1-{int(now.timestamp()):08x}-{uuid.uuid4().hex[:24]}"),
        ("X-Forwarded-For", request.source_ip),
        ("X-Forwarded-Port", host.rpartition(":")[2] if ":" in host else "80"),
        ("X-Forwarded-Proto", "http"),
    ]
    query = parse_qsl(request.target.partition("?")[2], keep_blank_values=True, errors="replace")
    agent = next((value for name, value in request.headers if name.lower() == "user-agent"), None)
    return {
        "resource": resource,
        "path": path,
        "httpMethod": request.method,
        "headers": dict(headers),
        "multiValueHeaders": _collected(headers),
        "queryStringParameters": dict(query) or None,
        "multiValueQueryStringParameters": _collected(query) or None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "accountId": _ACCOUNT,
            "apiId": _API_ID,
            "domainName": host.partition(":")[0],
            "domainPrefix": host.partition(".")[0].partition(":")[0],
            "extendedRequestId": uuid.uuid4().hex[:16],
            "httpMethod": request.method,
            "identity": {
                "accessKey": None,
                "accountId": None,
                "apiKey": None,
                "apiKeyId": None,
                "caller": None,
                "cognitoAuthenticationProvider": None,
                "cognitoAuthenticationType": None,
                "cognitoIdentityId": None,
                "cognitoIdentityPoolId": None,
                "principalOrgId": None,
                "sourceIp": request.source_ip,
                "user": None,
                "userAgent": agent,
                "userArn": None,
            },
            "path": f"/{STAGE}{path}",
            "protocol": "HTTP/1.1",
            "requestId": request_id,
            "requestTime": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "requestTimeEpoch": int(now.timestamp() * 1000),
            "resourceId": "local",
            "resourcePath": resource,
            "stage": STAGE,
        },
        "body": request.body.decode("utf-8", "replace") or None,
        "isBase64Encoded": False,
    }


def http_response(answer: object) -> Response:
    """Return the HTTP response that a REST API makes of a handler's answer; raises `MalformedResponseError`.

    A header in both mappings is sent with all its different values. Without a content type it is JSON.
    """
    if not isinstance(answer, dict):
        raise MalformedResponseError(f"a {type(answer).__name__}")
    status, body = answer.get("statusCode"), answer.get("body")
    if not isinstance(status, int) or not HTTPStatus.OK <= status < 600:  # noqa: PLR2004 - the last HTTP status
        raise MalformedResponseError(f"statusCode is {status!r}")
    if body is not None and not isinstance(body, str):
        raise MalformedResponseError(f"body is a {type(body).__name__}")
    headers = _answered_headers(answer)
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(_JSON)
    if len(body or "") > PAYLOAD_LIMIT // 6 and _size(answer) > PAYLOAD_LIMIT:
        raise MalformedResponseError("over 6 MB")
    answered = _answered_body(body or "", encoded=answer.get("isBase64Encoded"))
    return Response(status, tuple(headers), b"" if status in WITHOUT_BODY else answered)


def _answered_headers(answer: Mapping[str, object]) -> list[tuple[str, str]]:
    single, multiple = (
        {} if answer.get(key) is None else answer[key] for key in ("headers", "multiValueHeaders")
    )
    if not isinstance(single, dict) or not isinstance(multiple, dict):
        raise MalformedResponseError("headers are no mapping")
    headers: list[tuple[str, str]] = []
    for name, values in [*multiple.items(), *((name, [value]) for name, value in single.items())]:
        if not isinstance(values, list):
            raise MalformedResponseError(f"header {name!r} has no list of values")
        for value in values:
            if not isinstance(value, str | int | float):
                raise MalformedResponseError(f"header {name!r} is a {type(value).__name__}")
            text = str(value).lower() if isinstance(value, bool) else str(value).strip()
            if not _TOKEN.fullmatch(name) or not text.isprintable() or not text.isascii():
                raise MalformedResponseError(f"header {name!r} holds characters that no header may")
            if name.lower() not in _FRAMING and (name, text) not in headers:
                headers.append((name, text))
    return headers


def _answered_body(body: str, *, encoded: object) -> bytes:
    if not encoded:
        return body.encode("utf-8", "replace")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise MalformedResponseError("body is no base64") from error


def _compressed(response: Response, request: HttpRequest) -> Response:
    """Return a response as it is sent to a client: a cache must not hand a compressed one to another client."""
    coded = any(name.lower() == "content-encoding" for name, _ in response.headers)
    if len(response.body) < compression.MINIMUM or coded:
        return response
    accepted = [value for name, value in request.headers if name.lower() == "accept-encoding"]
    headers = (*response.headers, ("Vary", "Accept-Encoding"))
    if not compression.wants_gzip(accepted):
        return Response(response.status, headers, response.body)
    # A strong tag would say that both forms are the same bytes.
    weakened = [
        (name, f"W/{value}" if name.lower() == "etag" and value.startswith('"') else value)
        for name, value in headers
    ]
    return Response(
        response.status, (*weakened, ("Content-Encoding", "gzip")), compression.compress(response.body)
    )


def _collected(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    collected: dict[str, list[str]] = {}
    for name, value in pairs:
        collected.setdefault(name, []).append(value)
    return collected


def _size(payload: object) -> int:
    return len(json.dumps(payload))

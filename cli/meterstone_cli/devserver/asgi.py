"""The gateway as an ASGI application, and uvicorn's protocol with answers in JSON.

uvicorn reads and writes HTTP/1.1. The application collects a request's body, calls the gateway in a thread, since
handlers wait for the store, and sends the gateway's response.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import Executor
from http import HTTPStatus
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from meterstone_cli.devserver.gateway import (
    BODY_LIMIT,
    WITHOUT_BODY,
    Gateway,
    HttpRequest,
    Response,
    gateway_response,
)

log = logging.getLogger(__name__)

# A client that is still sending sees a broken connection instead of the answer, so a large body is read to
# its end; beyond this it is not worth it.
_DRAIN_LIMIT: Final = 8 * BODY_LIMIT
_VERSIONS: Final = frozenset({"1.0", "1.1"})
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
_TOO_LARGE: Final = frozenset({HTTPStatus.REQUEST_URI_TOO_LONG, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE})

type Message = MutableMapping[str, Any]
type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Scope, Receive, Send], Awaitable[None]]
type RawHeaders = list[tuple[bytes, bytes]]


class _DisconnectedError(Exception):
    """The client went away before its request was complete."""


class _BodyTooLargeError(Exception):
    """The body has more bytes than are taken."""


def application(gateway: Gateway, threads: Executor) -> Application:
    """Return the ASGI application of a gateway, which is called in `threads`. Every answer is JSON."""

    async def answer(request: HttpRequest) -> Response:
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, gateway.handle, request)
        except asyncio.CancelledError:
            # The server stops, and the function took longer than it waits.
            return gateway_response(HTTPStatus.GATEWAY_TIMEOUT)
        except Exception:
            log.exception("%s %s broke the gateway", request.method, request.target.partition("?")[0])
            return gateway_response(HTTPStatus.BAD_GATEWAY)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_well_formed(scope):
            await _send(send, gateway_response(HTTPStatus.BAD_REQUEST), close=True)
            return
        try:
            body = await _body(receive)
        except _DisconnectedError:
            return
        except _BodyTooLargeError:
            await _send(send, gateway_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE), close=True)
            return
        await _send(send, await answer(_request(scope, body)))

    return app


class JsonH11Protocol(H11Protocol):
    """uvicorn's own, but what is no HTTP is answered in JSON too, and a client may close its side early."""

    def send_400_response(self, msg: str) -> None:
        """Answer what h11 refused to read. uvicorn calls this while it handles h11's error."""
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.close()
            return
        refused = sys.exception()
        hint = refused.error_status_hint if isinstance(refused, h11.RemoteProtocolError) else None
        log.debug("%s %s", msg, refused)
        response = gateway_response(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE if hint in _TOO_LARGE else HTTPStatus.BAD_REQUEST
        )
        headers = [*self.server_state.default_headers, *_headers(response, close=True)]
        reason = HTTPStatus(response.status).phrase.encode()
        start = h11.Response(status_code=response.status, headers=headers, reason=reason)
        for event in (start, h11.Data(data=response.body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn says None: close at once
        """Tell asyncio whether to keep the connection: a client that closed its side may still read its answer."""
        # uvicorn says that there is always one, and sets None.
        if self.cycle is None or self.cycle.response_complete:  # type: ignore[redundant-expr]
            return False
        if self.cycle.more_body:
            # h11 finds that the body ends early, and the client is told.
            self.data_received(b"")
        self.cycle.keep_alive = False
        return True


def _is_well_formed(scope: Scope) -> bool:
    """Return whether a request has a version that is known and one length: h11 lets both pass."""
    framing = [name for name, _ in scope["headers"] if name.decode("latin-1") in _FRAMING]
    return scope["http_version"] in _VERSIONS and len(framing) <= 1


async def _body(receive: Receive) -> bytes:
    kept: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _DisconnectedError
        size += len(message["body"])
        if size <= BODY_LIMIT:
            kept.append(message["body"])
        else:
            kept.clear()
        more = message["more_body"] and size <= _DRAIN_LIMIT
    if size > BODY_LIMIT:
        raise _BodyTooLargeError
    return b"".join(kept)


def _request(scope: Scope, body: bytes) -> HttpRequest:
    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    if not path.startswith("/"):
        # An absolute target (a proxy's), or the asterisk of OPTIONS.
        path = "/" + path.partition("://")[2].partition("/")[2]
    target = f"{path}?{query}" if query else path
    return HttpRequest(scope["method"], target, _text(scope["headers"]), body, scope["client"][0])


def _text(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


async def _send(send: Send, response: Response, *, close: bool = False) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": _headers(response, close=close),
        }
    )
    await send({"type": "http.response.body", "body": response.body})


def _headers(response: Response, *, close: bool) -> RawHeaders:
    headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in response.headers]
    if response.status not in WITHOUT_BODY:
        headers.append((b"Content-Length", str(len(response.body)).encode("ascii")))
    if close:
        headers.append((b"Connection", b"close"))
    return headers

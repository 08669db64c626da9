"""A proxy before an engine that does what a service does when it fails: see `Mode`.

It listens on a loopback port, with or without TLS. Of the calls that it spoils, it passes every second one on to
the engine, and spoils the answer. So a write of which the client learns nothing has sometimes happened. Where it
spoils a part of the answer, it passes every call on.
"""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

_HOST = "127.0.0.1"
_ENGINE_SECONDS = 60
_DRIP_SECONDS = 0.3
_NAMESPACE = "com.amazonaws.dynamodb.v20120810"


class Mode(StrEnum):
    """How a call goes wrong."""

    #: It does not: it is passed on.
    GOOD = "good"
    #: It is passed on after `Fault.seconds`.
    SLOW = "slow"
    #: Nothing is ever answered.
    HANGING = "hanging"
    #: A byte of the answer comes every 0.3 seconds.
    DRIPPING_HEADERS = "dripping headers"
    #: The headers come at once, and then a byte of the body every 0.3 seconds.
    DRIPPING_BODY = "dripping body"
    #: The service's own error: too many calls.
    THROTTLED = "throttled"
    #: The service's own error: it failed.
    FAILED = "500"
    #: An error of the service that nobody has heard of.
    UNKNOWN = "unknown error"
    #: A load balancer's page.
    BAD_GATEWAY = "502 HTML"
    #: A status without a body.
    UNAVAILABLE = "503"
    #: The connection is closed before anything is answered.
    CUT = "cut"
    #: The connection is closed in the middle of the body.
    CUT_BODY = "cut in the body"
    #: Half of the body, and a length that says that this is all.
    TRUNCATED = "truncated"
    #: The body is not what its checksum says.
    CHECKSUM = "wrong checksum"
    EMPTY = "200 empty"
    NULL = "200 null"
    LIST = "200 []"
    NOTHING = "200 {}"
    TEXT = "200 text"
    HTML = "200 HTML"
    #: Nothing listens.
    AWAY = "away"


_PARTS = frozenset({Mode.DRIPPING_HEADERS, Mode.DRIPPING_BODY, Mode.CUT_BODY, Mode.TRUNCATED, Mode.CHECKSUM})
_HTML = b"<html><head><title>Bad Gateway</title></head><body>Bad Gateway</body></html>"
_BODIES = {
    Mode.EMPTY: b"",
    Mode.NULL: b"null",
    Mode.LIST: b"[]",
    Mode.NOTHING: b"{}",
    Mode.TEXT: b'"ok"',
    Mode.HTML: _HTML,
}
_ERRORS = {
    Mode.THROTTLED: (400, "ProvisionedThroughputExceededException"),
    Mode.FAILED: (500, "InternalServerError"),
    Mode.UNKNOWN: (500, "SomethingElseException"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """How calls go wrong, and how many: one of ``every`` so many."""

    mode: Mode = Mode.GOOD
    every: int = 1
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def head(self) -> bytes:
        """The answer's first line and headers, with a length that is right."""
        lines = [f"HTTP/1.1 {self.status} X"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines += [f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode()


class FaultProxy:
    """The proxy. What it does is changed at any time by `fault`."""

    def __init__(self, engine: str, tls: ssl.SSLContext | None = None) -> None:
        self._engine = urlsplit(engine)
        self._tls = tls
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._fault = Fault()
        self._calls = self._spoilt = 0
        self._port = 0
        self._server: _Server | None = None
        self._listen()

    @property
    def url(self) -> str:
        """The address to call in place of the engine's."""
        return f"{'https' if self._tls else 'http'}://{_HOST}:{self._port}"

    @property
    def calls(self) -> int:
        """How many calls have come since `fault` was told of the last one."""
        return self._calls

    def fault(self, fault: Fault) -> None:
        """Let calls go wrong from now on as told. Calls that hang are cut."""
        with self._lock:
            self._fault = fault
            self._calls = self._spoilt = 0
            self._released.set()
            self._released = threading.Event()
        if fault.mode is Mode.AWAY:
            self.close()
        elif self._server is None:
            self._listen()

    def close(self) -> None:
        """Stop listening."""
        self._released.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _listen(self) -> None:
        server = _Server((_HOST, self._port), self)
        if self._tls is not None:
            server.socket = self._tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._port = server.server_address[1]
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> bool:
        """Answer a call. Return whether the connection may be used again."""
        with self._lock:
            fault, released = self._fault, self._released
            self._calls += 1
            spoil = fault.mode is not Mode.GOOD and self._calls % fault.every == 0
            self._spoilt += spoil
            passed_on = self._spoilt % 2 == 0 or fault.mode in _PARTS
        if fault.mode is Mode.AWAY:
            return False
        if not spoil or fault.mode is Mode.SLOW:
            if spoil:
                released.wait(fault.seconds)
            answer = self._ask(handler, body)
            handler.connection.sendall(answer.head + answer.body)
            return True
        good = self._ask(handler, body) if passed_on else _made(200, b"")
        return _spoil(fault.mode, handler.connection, good, released)

    def _ask(self, handler: BaseHTTPRequestHandler, body: bytes) -> _Answer:
        connection = HTTPConnection(
            self._engine.hostname or _HOST, self._engine.port, timeout=_ENGINE_SECONDS
        )
        try:
            dropped = {"connection", "content-length", "expect"}
            headers = {name: value for name, value in handler.headers.items() if name.lower() not in dropped}
            connection.request("POST", handler.path, body, headers)
            answer = connection.getresponse()
            framing = {"connection", "content-length", "transfer-encoding", "keep-alive"}
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in framing]
            return _Answer(answer.status, kept, answer.read())
        finally:
            connection.close()


def _made(status: int, body: bytes, content_type: str = "application/x-amz-json-1.0") -> _Answer:
    headers = [("Content-Type", content_type), ("x-amz-crc32", str(crc32(body)))]
    return _Answer(status, headers, body)


def _spoil(mode: Mode, connection: socket.socket, good: _Answer, released: threading.Event) -> bool:
    """Spoil an answer that would have been good. Return whether the connection may be used again."""
    match mode:
        case Mode.HANGING:
            released.wait()
            return False
        case Mode.DRIPPING_HEADERS:
            return _drip(connection, good.head + good.body, released)
        case Mode.DRIPPING_BODY:
            connection.sendall(good.head)
            return _drip(connection, good.body, released)
        case Mode.CUT:
            return False
        case Mode.CUT_BODY:
            connection.sendall(good.head + good.body[: len(good.body) // 2])
            return False
        case Mode.TRUNCATED:
            answer = _Answer(good.status, _unchecked(good), good.body[: len(good.body) // 2])
        case Mode.CHECKSUM:
            wrong = [*_unchecked(good), ("x-amz-crc32", str(crc32(good.body) ^ 1))]
            answer = _Answer(good.status, wrong, good.body)
        case Mode.THROTTLED | Mode.FAILED | Mode.UNKNOWN:
            status, code = _ERRORS[mode]
            text = {"__type": f"{_NAMESPACE}#{code}", "message": "Try again."}
            answer = _made(status, json.dumps(text).encode())
        case Mode.BAD_GATEWAY:
            answer = _Answer(502, [("Content-Type", "text/html")], _HTML)
        case Mode.UNAVAILABLE:
            answer = _Answer(503, [], b"")
        case _:
            kind = "text/html" if mode is Mode.HTML else "application/json"
            answer = _Answer(200, [("Content-Type", kind)], _BODIES[mode])
    connection.sendall(answer.head + answer.body)
    return True


def _unchecked(answer: _Answer) -> list[tuple[str, str]]:
    return [(name, value) for name, value in answer.headers if name.lower() != "x-amz-crc32"]


def _drip(connection: socket.socket, sent: bytes, released: threading.Event) -> bool:
    for number in range(len(sent)):
        if released.wait(_DRIP_SECONDS):
            return False
        connection.sendall(sent[number : number + 1])
    return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], proxy: FaultProxy) -> None:
        self.proxy = proxy
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle(self) -> None:
        """Answer until either side closes the connection, which is nothing to report."""
        with contextlib.suppress(OSError):
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()

    def do_POST(self) -> None:
        """Answer a call of the service."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.server.proxy.answer(self, body):
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def fault_proxy(engine: str, tls: ssl.SSLContext | None = None) -> Iterator[FaultProxy]:
    """Run a proxy before an engine for as long as the block lasts."""
    proxy = FaultProxy(engine, tls)
    try:
        yield proxy
    finally:
        proxy.close()

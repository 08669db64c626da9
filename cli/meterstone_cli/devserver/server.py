"""HTTP/1.1 on a loopback address in front of a `Gateway`.

`serve` runs until SIGINT or SIGTERM; `running` is the same for as long as a block lasts. Every answer is
JSON, also to what is no HTTP.
"""

import contextlib
import errno
import ipaddress
import logging
import signal
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

from meterstone_cli.devserver.gateway import (
    BODY_LIMIT,
    Gateway,
    HttpRequest,
    Response,
    gateway_response,
    load,
)

log = logging.getLogger(__name__)

HOST: Final = "127.0.0.1"
PORT: Final = 8000

_IDLE: Final = 60.0
_GRACE: Final = 5.0
# A client that is still sending sees a broken connection instead of the answer, so a large body is read to
# its end; beyond this it is not worth it.
_DRAIN_LIMIT: Final = 8 * BODY_LIMIT
_CHUNK: Final = 1 << 16


class ServerError(Exception):
    """The server cannot start; the text is one line for a person."""


class PortTakenError(ServerError):
    """Something listens on the port already."""


class NotLoopbackError(ServerError):
    """The address can be reached from other machines."""


class _BadRequestError(Exception):
    """The body is not framed as HTTP asks."""


class _BodyTooLargeError(Exception):
    """The body has more bytes than are taken."""


def serve(
    template: Path, host: str = HOST, port: int = PORT, *, on_ready: Callable[[str], None] | None = None
) -> None:
    """Serve the routes of a template until the process is told to stop; call from the main thread.

    `on_ready` is called with the base URL once requests are taken; port 0 takes any free one. Requests under
    way are finished. Raises `ServerError`, and what the functions' imports raise.
    """
    stop = threading.Event()
    before = {each: signal.signal(each, lambda *_: stop.set()) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        with running(template, host, port) as url:
            if on_ready is not None:
                on_ready(url)
            stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def running(served: Path | Gateway, host: str = HOST, port: int = 0) -> Iterator[str]:
    """Serve while the block runs; gives the base URL, without a slash at its end. Raises as `serve` does."""
    # The port first: loading takes longer than finding out that it was for nothing.
    with _listening(host, port) as server:
        server.gateway = served if isinstance(served, Gateway) else Gateway(load(served))
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="http", daemon=True)
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()
            server.finish()


def _listening(host: str, port: int) -> "_Server":
    address = ipaddress.ip_address(HOST if host == "localhost" else _address(host))
    if not address.is_loopback:
        raise NotLoopbackError(f"{host} is no loopback address: other machines could reach it")
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4
    try:
        return _Server(family, (str(address), port))
    except OverflowError as error:
        raise ServerError(f"there is no port {port}: ports are 0 to 65535") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(
                f"port {port} of {address} is taken: stop what listens there or choose another port"
            ) from error
        raise ServerError(f"cannot listen on port {port} of {address}: {error.strerror}") from error


def _address(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise NotLoopbackError(f"{host!r} is no IP address") from None


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A thread per connection; knows its connections, to end them."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128
    gateway: Gateway

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int]) -> None:
        self.address_family = family
        self.stopping = False
        self._connections: set[socket.socket] = set()
        self._busy = 0
        self._changed = threading.Condition()
        super().__init__(address, _Connection)

    @property
    def url(self) -> str:
        """The base URL."""
        host, port = self.server_address[:2]
        text = str(host)
        return f"http://[{text}]:{port}" if ":" in text else f"http://{text}:{port}"

    @contextlib.contextmanager
    def connected(self, connection: socket.socket) -> Iterator[None]:
        """Know a connection while it lasts."""
        with self._changed:
            self._connections.add(connection)
        try:
            yield
        finally:
            with self._changed:
                self._connections.discard(connection)
                self._changed.notify_all()

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request while it is answered."""
        with self._changed:
            self._busy += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def finish(self) -> None:
        """Let requests under way end, then close what is open."""
        with self._changed:
            self.stopping = True
            self._changed.wait_for(lambda: self._busy == 0, _GRACE)
            for each in self._connections:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._connections, _GRACE)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        """Log what broke a connection: a defect of this module, as clients that go away are expected."""
        log.exception("connection from %s broke", client_address)  # noqa: LOG004 - called while it is handled


class _Connection(BaseHTTPRequestHandler):
    """Reads requests from a connection and writes the gateway's answers."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = _IDLE
    disable_nagle_algorithm = True
    wbufsize = -1  # one write per answer

    def __getattr__(self, name: str) -> Callable[[], None]:
        # The base class looks for do_GET, do_POST and so on; methods are the functions' business.
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    def handle(self) -> None:
        with self.server.connected(self.connection), contextlib.suppress(ConnectionError, TimeoutError):
            super().handle()

    def _handle(self) -> None:
        with self.server.answering():
            try:
                body = self._body()
            except _BadRequestError:
                self.close_connection = True
                self._send(gateway_response(HTTPStatus.BAD_REQUEST))
            except _BodyTooLargeError:
                self.close_connection = True
                self._send(gateway_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE))
            else:
                headers = [(name, value.strip()) for name, value in self.headers.items()]
                target = (
                    self.path
                    if self.path.startswith("/")
                    else "/" + self.path.partition("://")[2].partition("/")[2]
                )
                source = str(self.client_address[0])
                self._send(
                    self.server.gateway.handle(HttpRequest(self.command, target, headers, body, source))
                )
            self.wfile.flush()

    def handle_expect_100(self) -> bool:
        """Tell a client that waits for it to send its body."""
        proceed = super().handle_expect_100()
        self.wfile.flush()
        return proceed

    def _body(self) -> bytes:
        lengths = set(self.headers.get_all("Content-Length", []))
        coding = self.headers.get("Transfer-Encoding")
        if coding is not None:
            if coding.strip().lower() != "chunked" or lengths:
                raise _BadRequestError
            return self._collect(self._chunks())
        if not lengths:
            return b""
        length = lengths.pop()
        if lengths or not (length.isascii() and length.isdigit() and len(length) <= len(str(1 << 62))):
            raise _BadRequestError
        return self._collect(self._pieces(int(length)))

    def _collect(self, pieces: Iterator[bytes]) -> bytes:
        kept: list[bytes] = []
        size = 0
        for piece in pieces:
            size += len(piece)
            if size <= BODY_LIMIT:
                kept.append(piece)
            elif size > _DRAIN_LIMIT:
                break
            else:
                kept.clear()
        if size > BODY_LIMIT:
            raise _BodyTooLargeError
        return b"".join(kept)

    def _pieces(self, length: int) -> Iterator[bytes]:
        while length:
            piece = self.rfile.read(min(length, _CHUNK))
            if not piece:
                raise _BadRequestError
            length -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while size := self._chunk_size():
            yield from self._pieces(size)
            if self.rfile.readline(_CHUNK).strip():
                raise _BadRequestError
        while self.rfile.readline(_CHUNK).strip():
            pass  # trailers

    def _chunk_size(self) -> int:
        digits = self.rfile.readline(_CHUNK).partition(b";")[0].strip()
        if not digits or len(digits) > 16 or set(digits) - set(b"0123456789abcdefABCDEF"):  # noqa: PLR2004 - 64 bits
            raise _BadRequestError
        return int(digits, 16)

    def _send(self, response: Response) -> None:
        if self.server.stopping:
            self.close_connection = True
        self.send_response_only(response.status)
        self.send_header("Date", self.date_time_string())
        for name, value in response.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the base class could not read as a request."""
        log.debug("refused with %s: %s %s", code, message, explain)
        self.close_connection = True
        # What had no version that it knows it would answer as HTTP/0.9, without status and headers.
        self.request_version = self.protocol_version
        too_large = code in {HTTPStatus.REQUEST_URI_TOO_LONG, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE}
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if too_large else HTTPStatus.BAD_REQUEST
        self._send(gateway_response(status))
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing of each request: the handlers log a line of their own."""

"""How long the table may take: until when a request is answered, and how long one call lasts at most.

botocore's ``read_timeout`` is for each read of the socket. A service that sends a byte a second keeps within any
such time-out for ever. Therefore the client's connections are given a class of their own: before each read it sets
the socket's time-out to what is left of the call. Headers and bodies are read through the same file, so both are
bounded, and a TLS socket has the same methods. Connecting and sending need nothing more than a shorter time-out,
since Python counts it for the whole handshake and the whole of what is sent.

This costs one system call for each read, and no thread. A watchdog thread that shuts sockets down would have to be
woken for each request, and would need to know which sockets are in use. A time-out that a signal enforces works in
the main thread only, but events are put from several threads.

What this does not bound is the look-up of the service's host name, which no time-out of Python reaches.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from math import inf
from socket import socket
from threading import local
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)

if TYPE_CHECKING:
    from collections.abc import Buffer

    from mypy_boto3_dynamodb import DynamoDBClient

CALL = 10.0
"""Seconds that one call may take where no request waits for it: in folds, and on the command line."""

CALL_OF_A_REQUEST = 2.0
"""Seconds that one call of a request may take, so that a connection that hangs leaves time for another one."""

OPERATION = 60.0
"""Seconds that one operation of the store may take with all its attempts, where no request waits for it."""

CONNECT = 2.0
"""Seconds that connecting may take."""


class Deadline:
    """Until when the present request is to be answered. All threads that work for a request share it.

    As long as no request was started, there is none: only calls and operations have their limits.
    """

    __slots__ = ("_call", "_of_thread", "_until")

    def __init__(self) -> None:
        """Start without a request."""
        self._until = inf
        self._call = CALL
        self._of_thread = local()

    def start(self, seconds: float) -> None:
        """Begin a request that has so many seconds."""
        self._until = monotonic() + seconds
        self._call = CALL_OF_A_REQUEST

    @contextmanager
    def at_most(self, seconds: float) -> Iterator[None]:
        """Give what this thread does in the block so many seconds together, and no more than the request has."""
        before = self._own
        self._of_thread.until = min(before, monotonic() + seconds)
        try:
            yield
        finally:
            self._of_thread.until = before

    def of_operation(self) -> float:
        """Return until when an operation that begins now may make attempts, by the monotonic clock."""
        return min(self._until, self._own, monotonic() + OPERATION)

    def of_call(self) -> float:
        """Return until when a call that begins now may take, by the monotonic clock."""
        return min(self._until, self._own, monotonic() + self._call)

    @property
    def _own(self) -> float:
        until: float = getattr(self._of_thread, "until", inf)
        return until


def keep_to_deadline(client: "DynamoDBClient") -> Deadline:
    """Bound all calls of a client. Return the deadline that bounds them, one for each client.

    A client's connections are no part of botocore's documented interface. If they are not where they are looked
    for, the client keeps its time-outs for each read, and only what begins after the deadline is refused.
    """
    try:
        session: Any = client._endpoint.http_session  # type: ignore[attr-defined]  # noqa: SLF001
        pools, manager = session._pool_classes_by_scheme, session._manager  # noqa: SLF001
    except AttributeError:
        return Deadline()
    bounded = getattr(pools.get("https"), "bounded_by", None)
    if isinstance(bounded, Deadline):
        return bounded
    deadline = Deadline()
    # The manager has the connections to the service itself. Those through a proxy are made by the session.
    session._pool_classes_by_scheme = manager.pool_classes_by_scheme = _pools(deadline)  # noqa: SLF001
    return deadline


class _BoundedFile(RawIOBase):
    """The bytes that a socket receives until an instant."""

    def __init__(self, sock: socket, until: float) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer", /) -> int | None:
        self._sock.settimeout(_left(self._until))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedSocket:
    """What `http.client.HTTPResponse` needs of a socket."""

    def __init__(self, sock: socket, until: float) -> None:
        self._sock = sock
        self._until = until

    def makefile(self, _: str) -> Any:
        return BufferedReader(_BoundedFile(self._sock, self._until))


def _left(until: float) -> float:
    left = until - monotonic()
    if left <= 0:
        raise TimeoutError("the call has taken too long")
    return left


def _pools(deadline: Deadline) -> Mapping[str, type[Any]]:
    """Return the classes of a client's connection pools, by the scheme of its address."""

    class Bounded:
        timeout: Any
        sock: Any
        _until = inf

        def connect(self) -> None:
            self.timeout = min(CONNECT, _left(deadline.of_call()))
            super().connect()  # type: ignore[misc]

        def request(self, *args: Any, **kwargs: Any) -> None:
            self._until = deadline.of_call()
            if self.sock is not None:
                self.sock.settimeout(_left(self._until))
            super().request(*args, **kwargs)  # type: ignore[misc]

        def response_class(self, sock: socket, *args: Any, **kwargs: Any) -> HTTPResponse:
            return HTTPResponse(cast("socket", _BoundedSocket(sock, self._until)), *args, **kwargs)

    class Connection(Bounded, AWSHTTPConnection):  # type: ignore[misc]
        pass

    class SecureConnection(Bounded, AWSHTTPSConnection):  # type: ignore[misc]
        pass

    class Pool(AWSHTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(AWSHTTPSConnectionPool):
        ConnectionCls = SecureConnection
        bounded_by = deadline

    return {"http": Pool, "https": SecurePool}

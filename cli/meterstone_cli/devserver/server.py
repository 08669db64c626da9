"""A `Gateway` behind uvicorn, on a loopback address.

`serve` runs until SIGINT or SIGTERM; `running` is the same for as long as a block lasts. What passes between
uvicorn and the gateway is `meterstone_cli.devserver.asgi`'s business.
"""

import contextlib
import errno
import ipaddress
import math
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meterstone_cli.devserver.function import TIMEOUT
from meterstone_cli.devserver.gateway import Gateway, load

if TYPE_CHECKING:
    import uvicorn

HOST: Final = "127.0.0.1"
PORT: Final = 8000

_LAST_PORT: Final = 65_535
_BACKLOG: Final = 128
_IDLE: Final = 60
#: Requests that are handled at once, each in a thread. One function answers far fewer (`function.INSTANCES`), so
#: that requests which wait for one function leave threads to those of the others.
_THREADS: Final = 64


class ServerError(Exception):
    """The server cannot start; the text is one line for a person."""


class PortTakenError(ServerError):
    """Something listens on the port already."""


class NotLoopbackError(ServerError):
    """The address can be reached from other machines."""


def serve(
    served: Path | Gateway,
    host: str = HOST,
    port: int = PORT,
    *,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the routes of a template, or a gateway, until the process is told to stop; call from the main thread.

    `on_ready` is called with the base URL once requests are taken; port 0 takes any free one. Requests under
    way are finished. Raises `ServerError`, and what the functions' imports raise.
    """
    stop = threading.Event()
    before = {each: signal.signal(each, lambda *_: stop.set()) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        with running(served, host, port) as url:
            if on_ready is not None:
                on_ready(url)
            stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def running(
    served: Path | Gateway, host: str = HOST, port: int = 0, *, grace: float = TIMEOUT
) -> Iterator[str]:
    """Serve while the block runs; gives the base URL, without a slash at its end. Raises as `serve` does.

    At the block's end, connections without a request are closed. Requests under way have `grace` seconds, by
    default as long as a function may take; then they are answered with 504.
    """
    # The port first: loading takes longer than finding out that it was for nothing.
    with _listening(host, port) as listener:
        gateway = served if isinstance(served, Gateway) else Gateway(load(served))
        url = _url(listener)
        threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="request")
        server = _server(gateway, threads, grace)
        thread = threading.Thread(target=server.run, args=([listener],), name="http", daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            yield url
        finally:
            server.should_exit = True
            thread.join()
            threads.shutdown(wait=False, cancel_futures=True)


def _server(gateway: Gateway, threads: Executor, grace: float) -> "uvicorn.Server":
    # Imported here: it takes 80 ms, which every other command would wait.
    import uvicorn  # noqa: PLC0415

    from meterstone_cli.devserver.asgi import JsonH11Protocol, application  # noqa: PLC0415

    config = uvicorn.Config(
        application(gateway, threads),
        http=JsonH11Protocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        interface="asgi3",
        # The handlers log a line of their own for each request.
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        # The client's address is that of the connection: there is no proxy in front.
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_IDLE,
        timeout_graceful_shutdown=math.ceil(grace),
    )
    return uvicorn.Server(config)


def _listening(host: str, port: int) -> socket.socket:
    address = ipaddress.ip_address(HOST if host == "localhost" else _address(host))
    if not address.is_loopback:
        raise NotLoopbackError(f"{host} is no loopback address: other machines could reach it")
    if not 0 <= port <= _LAST_PORT:
        raise ServerError(f"there is no port {port}: ports are 0 to {_LAST_PORT}")
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4
    # By name TCP: only then does asyncio turn Nagle's algorithm off, which holds answers back for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(
                f"port {port} of {address} is taken: stop what listens there or choose another port"
            ) from error
        raise ServerError(f"cannot listen on port {port} of {address}: {error.strerror}") from error
    return listener


def _address(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise NotLoopbackError(f"{host!r} is no IP address") from None


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

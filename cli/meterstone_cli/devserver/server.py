"""A `Gateway` behind uvicorn, on a loopback address.

`serve` runs until SIGINT or SIGTERM; `running` is the same for as long as a block lasts. What passes between
uvicorn and the gateway is `meterstone_cli.devserver.asgi`'s business.
"""

import contextlib
import errno
import ipaddress
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import uvicorn

from meterstone_cli.devserver.asgi import JsonH11Protocol, application
from meterstone_cli.devserver.function import TIMEOUT
from meterstone_cli.devserver.gateway import Gateway, load

HOST: Final = "127.0.0.1"
PORT: Final = 8000

_LAST_PORT: Final = 65_535
_BACKLOG: Final = 128
_IDLE: Final = 60
#: Each request waits for its function in a thread: more than one function can have instances, so that calls which
#: queue for one function do not keep the others' from being answered.
_THREADS: Final = 64


class ServerError(Exception):
    """The server cannot start; the text is one line for a person."""


class PortTakenError(ServerError):
    """Something listens on the port already."""


class NotLoopbackError(ServerError):
    """The address can be reached from other machines."""


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
    """Serve while the block runs; gives the base URL, without a slash at its end. Raises as `serve` does.

    At the block's end requests under way have as long as a function may take. Connections without one are closed.
    """
    # The port first: loading takes longer than finding out that it was for nothing.
    with _listening(host, port) as listener:
        gateway = served if isinstance(served, Gateway) else Gateway(load(served))
        url = _url(listener)
        threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="request")
        server = uvicorn.Server(
            uvicorn.Config(
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
                # As the client's address counts that of the connection: there is no proxy in front.
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_IDLE,
                timeout_graceful_shutdown=int(TIMEOUT),
            )
        )
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

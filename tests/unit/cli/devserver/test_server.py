"""The local server speaks HTTP/1.1 on loopback, answers in JSON whatever comes in, and stops cleanly."""

import contextlib
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from meterstone_cli.devserver.gateway import Gateway
from meterstone_cli.devserver.server import NotLoopbackError, PortTakenError, ServerError, running

ROOT = Path(__file__).parents[4]
MEGABYTE = 1024 * 1024


class Echo:
    """Answers with the event; waits first if the query says so."""

    def __init__(self, called: list[str] | None = None) -> None:
        self.called = [] if called is None else called

    def invoke(self, event: dict[str, Any], request_id: str) -> object:
        query = event["queryStringParameters"] or {}
        time.sleep(float(query.get("sleep", "0")))
        if "raise" in query:
            raise RuntimeError("not a FunctionFailedError: a defect of the gateway's caller")
        self.called.append(query.get("n", ""))
        body = {**event, "body": None, "bytes": len(event["body"] or "")}
        return {
            "statusCode": int(query.get("status", "200")),
            "headers": {"Content-Type": "application/json"},
            "body": json.dumps(body),
        }


@pytest.fixture(scope="module")
def called() -> list[str]:
    return []


@pytest.fixture(scope="module")
def url(called: list[str]) -> Iterator[str]:
    with running(Gateway({"/echo": Echo(called)})) as address:
        yield address


@pytest.fixture
def connection(url: str) -> Iterator[HTTPConnection]:
    parts = urlsplit(url)
    with contextlib.closing(HTTPConnection(parts.hostname or "", parts.port, timeout=10)) as connection:
        yield connection


def answer(response: HTTPResponse) -> Any:
    return json.loads(response.read())


def raw(url: str, *pieces: bytes) -> bytes:
    """Send bytes as they are and give all that comes back until the server hangs up."""
    parts = urlsplit(url)
    received = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        # A server that refuses early hangs up while the rest is sent.
        with contextlib.suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65_536):
                received += piece
    return received


def test_event_has_what_was_sent(connection: HTTPConnection) -> None:
    connection.putrequest("POST", "/echo?a=1&a=%C3%A9+x", skip_accept_encoding=True)
    for name, value in [
        ("X-Tag", "a"),
        ("x-tag", "b"),
        ("Content-Length", "2"),
        ("X-Padded", "  p "),
        ("X-Forwarded-For", "192.0.2.1"),
    ]:
        connection.putheader(name, value)
    connection.endheaders(b"{}")
    event = answer(connection.getresponse())
    assert event["httpMethod"] == "POST"
    assert event["path"] == "/echo"
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "é x"]}
    assert event["multiValueHeaders"]["x-tag"] == ["a", "b"]
    assert event["headers"]["x-tag"] == "b"
    assert event["headers"]["x-padded"] == "p"
    assert event["requestContext"]["identity"]["sourceIp"] == "127.0.0.1"
    assert event["bytes"] == 2


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"])
def test_every_method_reaches_the_function(connection: HTTPConnection, method: str) -> None:
    connection.request(method, "/echo")
    assert answer(connection.getresponse())["httpMethod"] == method


def test_head_has_no_body(connection: HTTPConnection) -> None:
    for _ in range(2):
        connection.request("HEAD", "/echo")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"")
        assert int(response.headers["Content-Length"]) > 0


def test_connection_is_kept(connection: HTTPConnection) -> None:
    sources = set()
    for _ in range(3):
        connection.request("POST", "/echo", body=b"x")
        assert answer(connection.getresponse())["bytes"] == 1
        sources.add(connection.sock.getsockname())
    assert len(sources) == 1


def test_answers_are_sent_at_once(connection: HTTPConnection) -> None:
    started = time.monotonic()
    for _ in range(30):
        connection.request("GET", "/echo")
        connection.getresponse().read()
    # With Nagle's algorithm the second part of each waits 40 ms for the client's acknowledgement of the first.
    assert time.monotonic() - started < 0.6


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, MEGABYTE])
def test_chunked_body(connection: HTTPConnection, size: int) -> None:
    pieces = (b"x" * min(50_000, size - start) for start in range(0, size, 50_000))
    connection.request(
        "POST", "/echo", body=pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
    )
    assert answer(connection.getresponse())["bytes"] == size
    connection.request("GET", "/echo")
    assert answer(connection.getresponse())["bytes"] == 0


def test_large_body_is_refused_once_it_is_read(connection: HTTPConnection) -> None:
    connection.request("POST", "/echo", body=b"x" * (11 * MEGABYTE))
    response = connection.getresponse()
    assert response.status == 413
    assert answer(response)["code"] == "request_too_large"


def test_function_that_breaks_the_rules_is_a_502_and_logged(
    connection: HTTPConnection, caplog: pytest.LogCaptureFixture
) -> None:
    connection.request("GET", "/echo?raise=1")
    response = connection.getresponse()
    assert (response.status, answer(response)["code"]) == (502, "internal_error")
    assert "GET /echo broke the gateway" in caplog.text
    connection.request("GET", "/echo")
    assert connection.getresponse().status == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(b"nonsense\r\n\r\n", 400, id="no-request-line"),
        pytest.param(b"GET /echo HTTP/9.9\r\n\r\n", 400, id="version"),
        pytest.param(b"GET /echo HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400, id="length-text"),
        pytest.param(
            b"GET /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, id="length-negative"
        ),
        pytest.param(
            b"GET /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            400,
            id="two-lengths",
        ),
        pytest.param(b"GET /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx", 400, id="short-body"),
        pytest.param(b"GET /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400, id="coding"),
        pytest.param(
            b"GET /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
            400,
            id="length-and-chunks",
        ),
        pytest.param(
            b"GET /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n",
            400,
            id="no-chunk-size",
        ),
        pytest.param(
            b"GET /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
            400,
            id="chunk-too-long",
        ),
        pytest.param(b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 413, id="long-line"),
        pytest.param(b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 413, id="very-long-line"),
        pytest.param(
            b"GET /echo HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", 413, id="long-header"
        ),
        pytest.param(
            b"GET /echo HTTP/1.1\r\nHost: x\r\n" + b"A: x\r\n" * 20_000 + b"\r\n", 413, id="many-headers"
        ),
        pytest.param(b"GET /echo HTTP/1.1\r\n\r\n", 400, id="no-host"),
        pytest.param(b"GET /echo HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 2_000_000, 413, id="endless-header"),
        pytest.param(b"GET /nowhere HTTP/1.0\r\n\r\n", 404, id="http-1.0"),
        pytest.param(b"GET http://elsewhere/nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404, id="absolute-target"),
    ],
)
def test_what_is_refused_is_refused_in_json(url: str, request_: bytes, status: int) -> None:
    head, _, body = raw(url, request_).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nContent-Type: application/json\r\n" in head + b"\r\n"
    reply = json.loads(body)
    assert (reply["status"], reply["http_status_code"]) == (status, status)
    assert sorted(reply) == ["code", "error", "http_status_code", "message", "status"]


def test_absolute_target_is_its_path(url: str) -> None:
    _, _, body = raw(
        url, b"GET http://elsewhere/echo?a=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    ).partition(b"\r\n\r\n")
    assert json.loads(body)["queryStringParameters"] == {"a": "1"}


def test_expect_continue_is_answered_before_the_body(url: str) -> None:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"{}")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_request_whose_sender_hangs_up_on_its_side_is_answered(url: str) -> None:
    reply = raw(url, b"GET /echo?sleep=0.1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 200 ")


def test_sender_that_goes_away_is_no_call(url: str, called: list[str]) -> None:
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=10) as connection:
        connection.sendall(b"POST /echo?n=gone HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
        time.sleep(0.1)
    raw(url, b"GET /echo?n=here HTTP/1.1\r\nHost: x\r\n\r\n")
    assert "here" in called
    assert "gone" not in called


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_where_none_may_be(connection: HTTPConnection, status: int) -> None:
    for _ in range(2):
        connection.request("GET", f"/echo?status={status}", headers={"Accept-Encoding": "gzip"})
        response = connection.getresponse()
        assert (response.status, response.read()) == (status, b"")
        assert response.headers["Content-Length"] is None
        assert response.headers["Content-Encoding"] is None


def test_compressed_on_the_wire(connection: HTTPConnection) -> None:
    sent = {}
    for coding in ("gzip", "identity"):
        connection.request("GET", "/echo", headers={"Accept-Encoding": coding})
        response = connection.getresponse()
        sent[coding] = response.read()
        assert int(response.headers["Content-Length"]) == len(sent[coding])
        assert response.headers["Vary"] == "Accept-Encoding"
        assert response.headers["Content-Encoding"] == ("gzip" if coding == "gzip" else None)
    assert len(sent["gzip"]) < len(sent["identity"])
    assert json.loads(gzip.decompress(sent["gzip"])).keys() == json.loads(sent["identity"]).keys()


def test_head_says_what_get_would_send(connection: HTTPConnection) -> None:
    for _ in range(2):
        connection.request("HEAD", "/echo", headers={"Accept-Encoding": "gzip"})
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"")
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.headers["Vary"] == "Accept-Encoding"
        assert 0 < int(response.headers["Content-Length"]) < 1024


def test_many_at_once(url: str) -> None:
    parts = urlsplit(url)

    def ask(number: int) -> Any:
        with contextlib.closing(HTTPConnection(parts.hostname or "", parts.port, timeout=10)) as connection:
            connection.request("GET", f"/echo?n={number}")
            return answer(connection.getresponse())["queryStringParameters"]["n"]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(64))) == [str(number) for number in range(64)]


def test_a_taken_port_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(PortTakenError, match=f"^port {port} of 127.0.0.1 is taken[^\n]*$"),
            running(Gateway({}), port=port),
        ):
            pass


def test_a_taken_port_is_found_before_anything_is_loaded(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(PortTakenError),
        running(tmp_path / "nothing-here", port=taken.getsockname()[1]),
    ):
        pass


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com", ""])  # noqa: S104 - refused
def test_only_loopback(host: str) -> None:
    with pytest.raises(NotLoopbackError), running(Gateway({}), host):
        pass


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2"])
def test_loopback(host: str) -> None:
    with running(Gateway({}), host) as url:
        assert urlsplit(url).hostname == ("127.0.0.1" if host == "localhost" else host)


@pytest.mark.parametrize("port", [-1, 65_536])
def test_no_such_port_is_one_line(port: int) -> None:
    with (
        pytest.raises(ServerError, match=f"^there is no port {port}: [^\n]*$"),
        running(Gateway({}), port=port),
    ):
        pass


def test_stopping_finishes_what_is_under_way_and_closes_the_rest() -> None:
    gateway = Gateway({"/echo": Echo()})
    statuses: list[int] = []

    def ask(parts: Any) -> None:
        connection = HTTPConnection(parts.hostname, parts.port, timeout=10)
        connection.request("GET", "/echo?sleep=0.3")
        statuses.append(connection.getresponse().status)
        connection.close()

    with (
        running(gateway) as url,
        socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as idle,
    ):
        asking = threading.Thread(target=ask, args=(urlsplit(url),))
        asking.start()
        time.sleep(0.1)
        started = time.monotonic()
        idle.settimeout(10)
    asking.join()
    assert statuses == [200]
    assert time.monotonic() - started < 3
    port = urlsplit(url).port
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    with running(gateway, port=port or 0):
        pass


def test_what_takes_longer_than_stopping_waits_is_a_504() -> None:
    replies: list[tuple[int, Any]] = []

    def ask(parts: Any) -> None:
        with contextlib.closing(HTTPConnection(parts.hostname, parts.port, timeout=10)) as connection:
            connection.request("GET", "/echo?sleep=2")
            response = connection.getresponse()
            replies.append((response.status, answer(response)["code"]))

    with running(Gateway({"/echo": Echo()}), grace=0) as url:
        asking = threading.Thread(target=ask, args=(urlsplit(url),))
        asking.start()
        time.sleep(0.2)
        started = time.monotonic()
    asking.join()
    assert replies == [(504, "internal_error")]
    assert time.monotonic() - started < 1.5


TEMPLATE = """
Resources:
  Hello:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: hello/
      Events: {Any: {Type: Api, Properties: {RestApiId: !Ref Api, Path: /hello, Method: ANY}}}
"""
SERVE = """
import sys
from pathlib import Path
from meterstone_cli.devserver import server
server.serve(Path(sys.argv[1]), port=0, on_ready=lambda url: print(url, flush=True))
print("stopped", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_stops_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    app = tmp_path / "hello" / "app.py"
    app.parent.mkdir()
    app.write_text("def handler(event, context): return {'statusCode': 200, 'body': '{}'}\n")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'cli'}:{ROOT / 'layers' / 'pricing'}"}
    with subprocess.Popen(  # noqa: S603 - this interpreter, and a program that stands above
        [sys.executable, "-c", SERVE, str(tmp_path / "template.yaml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        parts = urlsplit(process.stdout.readline().strip())
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        connection.request("GET", "/hello")
        assert connection.getresponse().status == 200
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stdout.read() == "stopped\n"
        assert process.stderr.read() == ""
        connection.close()

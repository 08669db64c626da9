"""A service that hangs or drips is given up in time, over plain sockets and TLS, from one thread and several."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meterstone.store.dynamodb import deadline
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import StoreUnavailableError, Table, key_item
from meterstone.store.events.log import at_once

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: 900\r\n\r\n"
BODY = b'{"Item":{' + b" " * 889 + b"}}"
#: Far shorter than the time-out of each read, so that only a deadline for the whole call ends it.
DRIP = 0.02
SECONDS = 0.5
BESIDE = 0.5

type Sender = Callable[[socket.socket, threading.Event], None]


def hang(_: socket.socket, over: threading.Event) -> None:
    over.wait()


def drip(connection: socket.socket, over: threading.Event, sent: bytes = HEAD + BODY) -> None:
    for number in range(len(sent)):
        if over.wait(DRIP):
            return
        connection.sendall(sent[number : number + 1])


def drip_body(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(HEAD)
    drip(connection, over, BODY)


def answer(connection: socket.socket, _: threading.Event) -> None:
    connection.sendall(HEAD + BODY)


class Service:
    """Answers each connection in one way."""

    def __init__(self, send: Sender, tls: ssl.SSLContext | None) -> None:
        self._send, self._tls = send, tls
        self.over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                while connection.recv(65536):
                    self._send(connection, self.over)
        except OSError:
            pass

    def close(self) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a certificate of 127.0.0.1, with its key in the same file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "service")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "service.pem"
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, plain)
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture(params=["plain", "TLS"])
def open_table(request: pytest.FixtureRequest, certificate: Path) -> Iterator[Callable[[Sender], Table]]:
    """Give a table over a service that answers in one way."""
    services: list[Service] = []
    tables: list[Table] = []

    def opened(send: Sender) -> Table:
        tls = None
        if request.param == "TLS":
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
        services.append(service := Service(send, tls))
        client: Any = boto3.client(
            "dynamodb",
            region_name="eu-central-1",
            endpoint_url=f"{'http' if tls is None else 'https'}://127.0.0.1:{service.port}",
            verify=str(certificate),
            aws_access_key_id="a",
            aws_secret_access_key="b",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=10, max_pool_connections=10),
        )
        tables.append(table := Table(client, "t"))
        return table

    yield opened
    for table in tables:
        table.client.close()
    for service in services:
        service.close()


SLOW = pytest.mark.parametrize("send", [hang, drip, drip_body])


@SLOW
def test_a_request_ends_at_its_deadline(open_table: Callable[[Sender], Table], send: Sender) -> None:
    table = open_table(send)
    began = time.monotonic()
    table.begin(SECONDS)
    with pytest.raises(StoreUnavailableError):
        table.get(Key("p", "s"))
    assert SECONDS / 2 < time.monotonic() - began < SECONDS + BESIDE
    # What begins later fails at once.
    with pytest.raises(StoreUnavailableError, match="no time is left"):
        table.put_new(key_item(Key("p", "s")))
    assert time.monotonic() - began < SECONDS + BESIDE


@SLOW
def test_puts_of_several_threads_end_at_the_deadline(
    open_table: Callable[[Sender], Table], send: Sender
) -> None:
    table = open_table(send)
    began = time.monotonic()
    table.begin(SECONDS)

    def put(name: str) -> bool:
        with pytest.raises(StoreUnavailableError):
            table.put_new(key_item(Key("p", name)))
        return True

    assert all(at_once(put, list("abcdefgh")))
    assert time.monotonic() - began < SECONDS + BESIDE


@SLOW
def test_a_call_that_no_request_waits_for_ends_too(
    open_table: Callable[[Sender], Table], send: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold, or a command: there is a limit for a call, and one for all attempts."""
    table = open_table(send)
    monkeypatch.setattr(deadline, "OPERATION", SECONDS)
    monkeypatch.setattr(table.deadline, "_call", SECONDS / 3)
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        table.get(Key("p", "s"))
    # The last attempt may begin just before the time is over.
    assert time.monotonic() - began < SECONDS + SECONDS / 3 + BESIDE


@SLOW
def test_what_a_thread_does_ends_in_its_own_time_and_others_go_on(
    open_table: Callable[[Sender], Table], send: Sender
) -> None:
    table = open_table(send)
    began = time.monotonic()
    with table.deadline.at_most(60), table.deadline.at_most(SECONDS), pytest.raises(StoreUnavailableError):
        table.get(Key("p", "s"))
    assert time.monotonic() - began < SECONDS + BESIDE
    others: list[float] = []
    with table.deadline.at_most(SECONDS):
        thread = threading.Thread(target=lambda: others.append(table.deadline.of_call()))
        thread.start()
        thread.join()
        assert others[0] > table.deadline.of_call() == table.deadline.of_operation()
    assert table.deadline.of_call() > time.monotonic() + SECONDS


def test_a_good_answer_is_read_in_time_and_its_connection_used_again(
    open_table: Callable[[Sender], Table],
) -> None:
    table = open_table(answer)
    for _ in range(3):
        table.begin(5)
        assert table.get(Key("p", "s")) == {}


def test_a_client_has_one_deadline_however_many_tables(table: Table) -> None:
    other = Table(table.client, "other")
    assert other.deadline is table.deadline
    assert deadline.keep_to_deadline(table.client) is table.deadline

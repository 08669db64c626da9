"""The embedded DynamoDB: ministack, a process of its own on a loopback port, for as long as a block lasts.

It keeps its tables in memory and writes them to its state folder when it is told to end, so that the next start
finds them there.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from meterstone_cli.tree import how_to_make_the_engine

HOST = "127.0.0.1"
REGION = "us-east-1"

_TABLES = "tables"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STARTING_SECONDS = 60.0
_STOPPING_SECONDS = 60.0


class EngineError(Exception):
    """The engine cannot be started; the message is one line for a person."""


def check_port(port: int) -> None:
    """Raise `EngineError` if something listens on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OverflowError:
            raise EngineError(f"there is no port {port}: ports are 0 to 65535") from None
        except OSError as error:
            raise EngineError(
                f"port {port} of {HOST} is taken: stop what listens there or choose another port"
            ) from error


def free_port() -> int:
    """Find a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def forget(state: Path) -> None:
    """Remove the tables that are kept in a state folder."""
    shutil.rmtree(state / _TABLES, ignore_errors=True)


@contextlib.contextmanager
def running(environment: Path, state: Path, port: int) -> Iterator[str]:
    """Run the engine of a virtual environment; gives its URL once it answers. Raises `EngineError`."""
    program = environment / "bin" / "ministack"
    if not program.exists():
        raise EngineError(
            f"there is no engine at {program}: make its environment (`{how_to_make_the_engine(environment)}`), "
            "or name the one that you have with --engine"
        )
    check_port(port)
    state.mkdir(parents=True, exist_ok=True)
    log = state / "engine.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the path is the person's own
            [program],
            env=_environment(state, port),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C at the terminal is for us; the engine is told to end when all requests are done.
            start_new_session=True,
        )
    try:
        url = f"http://{HOST}:{port}"
        _wait(process, url, log)
        yield url
    finally:
        _stop(process)


def environment_of_clients(url: str) -> dict[str, str]:
    """Return the environment variables with which boto3 talks to the engine, and to nothing else."""
    return {
        "AWS_ENDPOINT_URL_DYNAMODB": url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def _environment(state: Path, port: int) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LAMBDA_EXECUTOR": "local",
        "DOCKER_HOST": "unix:///nonexistent",
        "PERSIST_STATE": "1",
        "STATE_DIR": str((state / _TABLES).resolve()),
        "LOG_LEVEL": "WARNING",
    }


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    latest = time.monotonic() + _STARTING_SECONDS
    while time.monotonic() < latest:
        if process.poll() is not None:
            raise EngineError(f"the engine ended with status {process.returncode}: see {log}")
        try:
            with urllib.request.urlopen(f"{url}/_ministack/health", timeout=5) as answer:  # noqa: S310 - http, loopback
                if answer.status == 200:  # noqa: PLR2004
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise EngineError(f"the engine did not answer within {_STARTING_SECONDS:.0f} seconds: see {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    # A second Ctrl-C must not cut short the writing of the tables.
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        process.terminate()
        try:
            process.wait(_STOPPING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

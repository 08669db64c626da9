"""Running an emulator: ministack, a process of its own on a loopback port, for as long as a block lasts.

`start` keeps its tables in a state folder, by the program in `durable`: what was answered is on disk, and the next
start finds it. Tests and benchmarks keep nothing. The deployment to an emulator keeps nothing, either, and runs
functions in it.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from meterstone_cli.devserver import durable
from meterstone_cli.tree import how_to_make_the_engine

HOST = "127.0.0.1"
REGION = "us-east-1"

_TABLES = "tables"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STARTING_SECONDS = 60.0
_STOPPING_SECONDS = 10.0
_BETWEEN_WORDS = 10.0
_NOTICES_SECONDS = 3.0


class EngineError(Exception):
    """The engine cannot be started, or ended by itself; the message is one line for a person."""


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


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


def url_of(port: int) -> str:
    """Return the address of an engine on a loopback port."""
    return f"http://{HOST}:{port}"


def forget(state: Path) -> None:
    """Remove the tables that are kept in a state folder."""
    shutil.rmtree(state / _TABLES, ignore_errors=True)
    (state / durable.JOURNAL).unlink(missing_ok=True)


def await_state(state: Path, tell: Callable[[str], None] = _tell) -> None:
    """Wait while the engine of a start that was killed writes its tables to a state folder.

    Raises `EngineError` if the engine of another start, which is still running, has the folder.
    """
    path = state / durable.LOCK
    latest, told = time.monotonic() + _NOTICES_SECONDS, 0.0
    while path.exists() and not _is_free(path):
        pid, parent, *ending = (*path.read_text().split(), "", "")[:3]
        if ending != [durable.ENDING]:
            # An engine notices at once that the program which started it is gone.
            if time.monotonic() > latest:
                raise EngineError(
                    f"{state} is in use: process {parent} runs there, and its engine is process {pid}; "
                    f"stop it (kill {parent}), or name another folder with --state"
                )
        elif time.monotonic() - told > _BETWEEN_WORDS:
            told = time.monotonic()
            tell(f"Waiting: process {pid}, the engine of a start that was killed, is writing its tables")
        time.sleep(0.1)


def _is_free(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@contextlib.contextmanager
def running(
    environment: Path,
    state: Path,
    port: int,
    *,
    keep: bool = True,
    variables: Mapping[str, str] | None = None,
    interrupt: bool = False,
    tell: Callable[[str], None] = _tell,
) -> Iterator[str]:
    """Run the engine of a virtual environment; gives its URL once it answers.

    ``state`` is a folder for its log, and, with ``keep``, for its tables. ``variables`` are added to the engine's
    environment. With ``interrupt``, this process gets a SIGTERM when the engine ends by itself. Raises
    `EngineError` if the engine cannot be started, and at the end of a block in which it ended by itself. With
    ``keep`` it takes as long as it takes to write the tables; progress is passed to ``tell``.
    """
    if not (environment / "bin" / "ministack").exists():
        raise EngineError(
            f"there is no engine at {environment / 'bin' / 'ministack'}: "
            f"make its environment (`{how_to_make_the_engine(environment)}`), "
            "or name the one that you have with --engine"
        )
    if keep:
        await_state(state, tell)
    check_port(port)
    state.mkdir(parents=True, exist_ok=True)
    log = state / "engine.log"
    program = [str(environment / "bin" / "ministack")]
    if keep:
        folders = [str(state.resolve()), _tables(state)]
        program = [str(environment / "bin" / "python"), durable.__file__, *folders]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the path is the person's own
            program,
            env=_environment(state, port, keep=keep) | dict(variables or {}),
            # When this process is gone, its end of the pipe is, and the engine ends.
            stdin=subprocess.PIPE if keep else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C at the terminal is for us; the engine is told to end when all requests are done.
            start_new_session=True,
        )
    stopping = threading.Event()
    try:
        _wait(process, url_of(port), log, tell, patient=keep)
        if keep:
            _tell_what_was_left(state, tell)
        if interrupt:
            threading.Thread(target=_watch, args=(process, stopping), name="engine", daemon=True).start()
        yield url_of(port)
    except BaseException as error:
        if process.poll() is not None and not isinstance(error, EngineError):
            raise EngineError(_ended(process.returncode, log, keep=keep)) from error
        raise
    else:
        if process.poll() is not None:
            raise EngineError(_ended(process.returncode, log, keep=keep))
    finally:
        stopping.set()
        _stop(process, tell, patient=keep)


def _ended(status: int | None, log: Path, *, keep: bool) -> str:
    """Say that the engine ended by itself, why as far as its status tells, and what is kept."""
    ended = _why(status, log) if status == durable.UNWRITTEN else f"the engine ended by itself: see {log}"
    return f"{ended}; what it had answered is kept, and the next start goes on from there" if keep else ended


def _why(status: int | None, log: Path) -> str:
    match status:
        case durable.UNWRITTEN:
            return f"the engine ended: it could not write to {log.parent}: make room on that disk"
        case durable.UNREADABLE:
            return (
                f"the engine ended: it could not read its tables in {log.parent}; they are left as they are, and "
                f"--fresh forgets them. {log} says more"
            )
        case _:
            return f"the engine ended with status {status}: see {log}"


def _watch(process: subprocess.Popen[bytes], stopping: threading.Event) -> None:
    process.wait()
    if not stopping.is_set():
        os.kill(os.getpid(), signal.SIGTERM)


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


def _environment(state: Path, port: int, *, keep: bool) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        # Functions, where there are any, run as processes of this machine: no container engine is asked.
        "LAMBDA_EXECUTOR": "local",
        "DOCKER_HOST": "unix:///nonexistent",
        "PERSIST_STATE": "1" if keep else "0",
        "STATE_DIR": _tables(state),
        "LOG_LEVEL": "WARNING",
    }


def _tables(state: Path) -> str:
    return str((state / _TABLES).resolve())


def _wait(
    process: subprocess.Popen[bytes], url: str, log: Path, tell: Callable[[str], None], *, patient: bool
) -> None:
    began = told = time.monotonic()
    while patient or time.monotonic() < began + _STARTING_SECONDS:
        if process.poll() is not None:
            raise EngineError(_why(process.returncode, log))
        try:
            with urllib.request.urlopen(f"{url}/_ministack/health", timeout=5) as answer:  # noqa: S310 - http, loopback
                if answer.status == 200:  # noqa: PLR2004
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
        if time.monotonic() - told > _BETWEEN_WORDS:
            told = time.monotonic()
            tell("Waiting: the engine is reading its tables")
    raise EngineError(f"the engine did not answer within {_STARTING_SECONDS:.0f} seconds: see {log}")


def _tell_what_was_left(state: Path, tell: Callable[[str], None]) -> None:
    """Tell that the last run was not stopped, and what was found of it."""
    path = state / durable.RECOVERED
    if not path.exists():
        return
    found = json.loads(path.read_text())
    path.unlink()
    until = _time(found["until"])
    tell(
        f"The last run was not stopped: it ended at {until} or later. All that its tables had answered by then is "
        f"restored from the journal: {found['changes']} changes, {found['events']} of them new events"
    )
    tell(
        f"If the machine itself went down, what came in within a second or two of {until} may be missing. "
        "Send it again: an event that is there counts once"
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _stop(process: subprocess.Popen[bytes], tell: Callable[[str], None], *, patient: bool) -> None:
    """End the engine, and the functions that it started, which share its process group."""
    # A second Ctrl-C must not cut short the writing of the tables.
    with _signals_ignored():
        process.terminate()
        while True:
            try:
                process.wait(_BETWEEN_WORDS if patient else _STOPPING_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if patient:
                    tell("Waiting: the engine is writing its tables")
                else:
                    process.kill()
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    # Signals are the main thread's.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

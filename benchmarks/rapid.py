"""A function as Lambda runs it: AWS's runtime interface emulator around the real runtime client, no container.

Both lie in the SAM command line's environment. The emulator's INIT REPORT has the time from the start of the
process until the handler is loaded; it begins with the first request.
"""

import http.client
import json
import os
import platform
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engine import ROOT

SAM = ROOT / ".venvs/sam/bin"
#: Without its own packages.
PYTHON = (str(SAM / "python"), "-S")

_HOST = "127.0.0.1"
_STARTING_SECONDS = 10.0
_ANSWERING_SECONDS = 30.0
_RUNTIME = (
    *("awslambdaric", "runtime_client.*.so", "simplejson", "snapshot_restore_py.py"),
    *("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six.py", "urllib3"),
)
_INIT = re.compile(r"INIT REPORT\(durationMs: ([0-9.]+)")


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Milliseconds of a first request: until the handler was loaded, and until the answer came."""

    init: float
    request: float
    answer: Any


def build(folder: Path) -> Path:
    """Build the application as it is deployed; give the folder of what was built."""
    built = folder / "build"
    subprocess.run(  # noqa: S603 - our own program
        [SAM / "sam", "build", "--build-dir", built, "--cache-dir", folder / "cache", "--cached"],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{SAM}:{os.environ['PATH']}", "SAM_CLI_TELEMETRY": "0"},
        capture_output=True,
        check=True,
    )
    return built


def runtime(folder: Path) -> Path:
    """Lay out what Lambda's runtime brings, and nothing else: botocore imports more where it finds more."""
    (packages,) = SAM.parent.glob("lib/*/site-packages")
    found = folder / "runtime"
    found.mkdir()
    for pattern in _RUNTIME:
        for package in packages.glob(pattern):
            (found / package.name).symlink_to(package)
    return found


def environment(code: Path, layer: Path | None, runtime: Path) -> dict[str, str]:
    """Give what Lambda sets for a function, and where its code, its layer and the runtime are."""
    kept = {
        name: value for name, value in os.environ.items() if name.startswith("AWS_") or name == "TABLE_NAME"
    }
    return kept | {
        "PATH": os.environ["PATH"],
        "LAMBDA_TASK_ROOT": str(code),
        "PYTHONPATH": os.pathsep.join(str(each) for each in (code, layer, runtime) if each is not None),
        # Lambda's own folders cannot be written to.
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_LAMBDA_FUNCTION_NAME": code.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "POWERTOOLS_SERVICE_NAME": "benchmark",
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "POWERTOOLS_TRACE_DISABLED": "true",
    }


def cold_start(variables: Mapping[str, str], event: object) -> ColdStart:
    """Start a function, send it one request, and stop it."""
    front, back = _free_ports()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(  # noqa: S603 - the emulator and Python of our own environment
            [
                _emulator(),
                *("--runtime-interface-emulator-address", f"{_HOST}:{front}"),
                *("--runtime-api-address", f"{_HOST}:{back}"),
                *(*PYTHON, "-m", "awslambdaric", "app.handler"),
            ],
            cwd=variables["LAMBDA_TASK_ROOT"],
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _await(front)
            started = time.perf_counter()
            answer = _post(front, event)
            took = (time.perf_counter() - started) * 1000
        finally:
            _stop(process)
        log.seek(0)
        written = log.read()
    found = _INIT.search(written)
    if found is None:
        raise RuntimeError(f"the emulator reported no init:\n{written[-2000:]}")
    return ColdStart(float(found[1]), took, answer)


def _emulator() -> Path:
    machine = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
    (found,) = SAM.parent.glob(f"lib/*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}")
    return found


def _post(port: int, event: object) -> Any:
    connection = http.client.HTTPConnection(_HOST, port, timeout=_ANSWERING_SECONDS)
    try:
        connection.request("POST", "/2015-03-31/functions/function/invocations", json.dumps(event))
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind((_HOST, 0))
        other.bind((_HOST, 0))
        return one.getsockname()[1], other.getsockname()[1]


def _await(port: int) -> None:
    latest = time.monotonic() + _STARTING_SECONDS
    while time.monotonic() < latest:
        try:
            socket.create_connection((_HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError("the emulator did not start")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the emulator and the runtime that it started, which are a process group of their own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

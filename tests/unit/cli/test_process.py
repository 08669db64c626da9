"""The command as a process: pipes that are closed, signals, what it logs, completion in a shell."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COMMAND = (sys.executable, "-m", "meterstone_cli")
INSTALLED = (sys.executable, "-c", "from meterstone_cli.launch import main; main()")
ENVIRONMENT = {
    "PATH": os.defpath,
    "PYTHONPATH": os.pathsep.join((str(ROOT / "cli"), str(ROOT / "layers" / "meterstone"))),
    # Nothing listens there.
    "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
}


@contextmanager
def running(*command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(  # noqa: S603 - our own
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT | environment,
        # A shell that runs the tests in the background has its children ignore Ctrl-C.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - one thread
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def catalogue(folder: Path) -> Path:
    (folder / "organization.yaml").write_text("id: 6f9e0e0e-0000-4000-8000-000000000001")
    return folder


@pytest.mark.parametrize("command", [COMMAND, INSTALLED], ids=["module", "installed"])
def test_a_reader_that_has_read_enough_ends_it_without_a_word(tmp_path: Path, command: Sequence[str]) -> None:
    (catalogue(tmp_path) / "plans.yaml").write_text("- {}\n" * 900)
    with running(*command, "catalogue", "check", "--json", str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith('{"file": "plans.yaml"')
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(30) == 128 + signal.SIGPIPE


@pytest.mark.parametrize("command", [COMMAND, INSTALLED], ids=["module", "installed"])
def test_ctrl_c_is_one_word_and_no_traceback(tmp_path: Path, command: Sequence[str]) -> None:
    os.mkfifo(catalogue(tmp_path) / "plans.yaml")
    with running(*command, "catalogue", "check", str(tmp_path)) as process:
        # The writer's end opens when the command reads.
        with (tmp_path / "plans.yaml").open("w"):
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 128 + signal.SIGINT
        assert process.communicate() == ("", "Interrupted\n")


def test_ctrl_c_while_it_is_loaded_leaves_no_traceback() -> None:
    interrupted = (
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'meterstone_cli.__main__': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from meterstone_cli.launch import main\n"
        "main()\n"
    )
    with running(sys.executable, "-c", interrupted) as process:
        assert process.communicate() == ("", "")
        assert process.returncode == 128 + signal.SIGINT


def answer(url: str, key: str | None) -> int:
    request = urllib.request.Request(url, headers={} if key is None else {"authorization": f"Bearer {key}"})  # noqa: S310
    for _ in range(200):
        try:
            with urllib.request.urlopen(request, timeout=60) as answered:  # noqa: S310 - http, loopback
                return int(answered.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            time.sleep(0.1)
    raise AssertionError("nothing answers")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "key", "status", "logged"),
    [((), None, 401, False), (("--verbose",), None, 401, True), ((), "mst_" + "x" * 43, 503, True)],
    ids=["quiet", "verbose", "an error"],
)
def test_a_server_logs_requests_if_it_is_asked_to_and_errors_always(
    options: Sequence[str],
    key: str | None,
    status: int,
    logged: bool,  # noqa: FBT001
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    with running(*COMMAND, "serve", "--port", port, *options) as process:
        assert answer(f"http://127.0.0.1:{port}/api/v1/analytics/usage", key) == status
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert ('{"level":' in out) is logged
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("typed", "place", "offered"),
    [
        ("meterstone ke", 1, ["keys"]),
        ("meterstone keys ", 2, ["create", "list", "revoke"]),
        ("meterstone keys list --j", 3, ["--json"]),
    ],
)
def test_a_shell_completes_what_is_typed(typed: str, place: int, offered: list[str]) -> None:
    words = {"_METERSTONE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(place)}
    script = "import sys; sys.argv = ['meterstone']; from meterstone_cli.launch import main; main()"
    with running(sys.executable, "-c", script, **words) as process:
        assert process.communicate()[0].split() == offered

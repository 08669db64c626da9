"""Starting the embedded engine: what can be wrong is one line, and nothing is left running."""

import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meterstone_cli import __main__ as program
from meterstone_cli.devserver import durable, engine
from meterstone_cli.exit_status import REFUSED
from meterstone_cli.tree import ENGINE_REQUIREMENTS

#: Stands in for the engine: answers every request with 200, until it is told to end, which it then writes down.
SERVING = """
import http.server, os, pathlib, signal, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
def end(*_):
    pathlib.Path(os.environ["STATE_DIR"] + ".ended").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
http.server.HTTPServer((os.environ["BIND_HOST"], int(os.environ["GATEWAY_PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind((engine.HOST, 0))
        listening.listen()
        yield listening.getsockname()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((engine.HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def environment(folder: Path, script: str) -> Path:
    (folder / "bin").mkdir()
    for name in ("ministack", "python"):
        program_ = folder / "bin" / name
        program_.write_text(f"#!{sys.executable}\n{script}")
        program_.chmod(0o700)
    return folder


def test_it_runs_as_long_as_the_block_and_is_told_to_end(tmp_path: Path) -> None:
    state, port = tmp_path / "state", free_port()
    with engine.running(environment(tmp_path, SERVING), state, port) as url:
        assert url == f"http://127.0.0.1:{port}"
        with pytest.raises(engine.EngineError, match="is taken"):
            engine.check_port(port)
    engine.check_port(port)
    assert (state / "tables.ended").exists()


def test_it_is_given_the_time_that_writing_its_tables_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SERVING.replace("def end(*_):", "def end(*_):\n    time.sleep(1)")
    monkeypatch.setattr(engine, "_STOPPING_SECONDS", 0.1)
    monkeypatch.setattr(engine, "_BETWEEN_WORDS", 0.3)
    told: list[str] = []
    with engine.running(environment(tmp_path, slow), tmp_path / "state", free_port(), tell=told.append):
        pass
    assert (tmp_path / "state" / "tables.ended").exists()
    assert "Waiting: the engine is writing its tables" in told


def test_one_that_keeps_nothing_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stubborn = SERVING.replace("def end(*_):", "def end(*_):\n    time.sleep(60)")
    monkeypatch.setattr(engine, "_STOPPING_SECONDS", 0.1)
    with engine.running(environment(tmp_path, stubborn), tmp_path / "state", free_port(), keep=False):
        pass
    assert not (tmp_path / "state" / "tables.ended").exists()


def test_one_that_dies_ends_the_block_with_one_line(tmp_path: Path) -> None:
    mortal = SERVING.replace(
        "self.send_response(200)", "self.path == '/die' and os._exit(9)\n        self.send_response(200)"
    )
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with (
            pytest.raises(
                engine.EngineError, match=r"^the engine ended by itself: see .*engine\.log; what it had"
            ),
            engine.running(
                environment(tmp_path, mortal), tmp_path / "state", free_port(), interrupt=True
            ) as url,
        ):
            _wait_for_the_death_of(url)
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait_for_the_death_of(url: str) -> None:
    with pytest.raises(OSError, match="closed connection"):
        urllib.request.urlopen(f"{url}/die", timeout=5)  # noqa: S310 - http, loopback
    time.sleep(10)
    pytest.fail("nothing interrupted it")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_it_ends_when_the_block_fails(tmp_path: Path) -> None:
    port = free_port()
    with (
        pytest.raises(KeyboardInterrupt),
        engine.running(environment(tmp_path, SERVING), tmp_path / "state", port),
    ):
        raise KeyboardInterrupt
    engine.check_port(port)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (durable.UNWRITTEN, r"^the engine ended: it could not write to .*state: make room on that disk$"),
        (
            durable.UNREADABLE,
            r"^the engine ended: it could not read its tables in .*state; they are left as they",
        ),
    ],
)
def test_an_engine_that_cannot_use_its_folder_says_so(tmp_path: Path, status: int, told: str) -> None:
    unable = environment(tmp_path, f"import sys; sys.exit({status})")
    with (
        pytest.raises(engine.EngineError, match=told),
        engine.running(unable, tmp_path / "state", free_port()),
    ):
        pass


def test_an_engine_that_ends_by_itself_is_one_line(tmp_path: Path) -> None:
    broken = environment(tmp_path, "import sys; sys.exit('no such option')")
    with (
        pytest.raises(engine.EngineError, match=r"^the engine ended with status 1: see .*engine\.log$"),
        engine.running(broken, tmp_path / "state", free_port()),
    ):
        pass
    assert (tmp_path / "state" / "engine.log").read_text() == "no such option\n"


def test_the_engine_knows_nothing_of_the_persons_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    script = (
        "import os, pathlib; pathlib.Path(os.environ['STATE_DIR'] + '.env').write_text(' '.join(os.environ))"
    )
    with (
        pytest.raises(engine.EngineError),
        engine.running(environment(tmp_path, script), tmp_path, free_port()),
    ):
        pass
    assert "AWS_PROFILE" not in (tmp_path / "tables.env").read_text().split()


@pytest.mark.parametrize("option", ["--port", "--engine-port"])
def test_a_taken_port_is_one_line(taken: int, tmp_path: Path, option: str) -> None:
    other = "--engine-port" if option == "--port" else "--port"
    ports = [option, str(taken), other, str(free_port())]
    result = CliRunner().invoke(program.app, ["start", *ports, "--state", str(tmp_path / "state")])
    assert result.exit_code == REFUSED
    assert result.stderr == (
        f"port {taken} of 127.0.0.1 is taken: stop what listens there or choose another port\n"
    )
    assert not (tmp_path / "state").exists()


def test_a_missing_engine_is_one_line(tmp_path: Path) -> None:
    ports = ["--port", str(free_port()), "--engine-port", str(free_port())]
    folders = ["--engine", str(tmp_path / "none"), "--state", str(tmp_path / "state")]
    result = CliRunner().invoke(program.app, ["start", *ports, *folders])
    assert result.exit_code == REFUSED
    assert result.stderr.splitlines()[-1] == (
        f"there is no engine at {tmp_path}/none/bin/ministack: make its environment ("
        f"`python3.13 -m venv {tmp_path}/none && "
        f"{tmp_path}/none/bin/pip install --require-hashes -r {ENGINE_REQUIREMENTS}`), "
        "or name the one that you have with --engine"
    )


def test_forgetting_removes_the_tables_alone(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "dynamodb.json").touch()
    (tmp_path / "mine").touch()
    engine.forget(tmp_path)
    engine.forget(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]

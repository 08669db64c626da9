"""Starting the embedded engine: what can be wrong is one line, and nothing is left running."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meterstone_cli import __main__ as program
from meterstone_cli.devserver import engine
from meterstone_cli.exit_status import REFUSED

#: Stands in for the engine: answers every request with 200, until it is told to end, which it then writes down.
SERVING = """
import http.server, os, pathlib, signal, sys
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
    program_ = folder / "bin" / "ministack"
    program_.parent.mkdir()
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


def test_it_ends_when_the_block_fails(tmp_path: Path) -> None:
    port = free_port()
    with (
        pytest.raises(KeyboardInterrupt),
        engine.running(environment(tmp_path, SERVING), tmp_path / "state", port),
    ):
        raise KeyboardInterrupt
    engine.check_port(port)


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
        f"there is no engine at {tmp_path}/none/bin/ministack: "
        "run `make start`, or name its environment with --engine"
    )


def test_forgetting_removes_the_tables_alone(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "dynamodb.json").touch()
    (tmp_path / "mine").touch()
    engine.forget(tmp_path)
    engine.forget(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]

"""Progress of long steps: a line that moves for a person at a terminal, lines for a log."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from meterstone_cli import progress

ROOT = Path(__file__).parents[3]
STEP = """
from meterstone_cli.progress import follow, say, tell, working
with working("rebuilding"):
    tell("counting the event log: 2000 events so far")
    say("a word")
print("done")
for _ in follow("usage.csv", range(1000), 1000):
    pass
"""


def shown_at_a_terminal(script: str) -> tuple[str, str]:
    """Run a script whose stderr is a terminal; give what stood on stdout and, without colours, on the terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT / "cli"), "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:
        pass  # The other end was closed.
    finally:
        os.close(ours)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return out, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())


def test_at_a_terminal_a_step_shows_how_far_it_is_and_its_time() -> None:
    out, seen = shown_at_a_terminal(STEP)
    assert out == "done\n"
    assert re.search(r"counting the event log: 2000 events so far \d:\d\d:\d\d", seen)
    assert "\ra word\r\n" in seen
    assert re.search(r"usage\.csv .*1000/1000", seen)


def test_in_a_log_nothing_moves(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.working("rebuilding"):
        progress.say("a word")
    assert capsys.readouterr() == ("", "a word\n")


def test_a_log_has_a_line_in_five_seconds_of_one_thing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    for seconds, text in (
        (0.0, "waiting"),
        (1.0, "counting: 1"),
        (2.0, "counting: 2"),
        (6.0, "counting: 3"),
        (6.1, "comparing"),
        (6.2, "counting: 4"),
    ):
        now = 100.0 + seconds
        progress.tell(text)
    assert capsys.readouterr().err.splitlines() == [
        "waiting",
        "counting: 1",
        "counting: 3",
        "comparing",
        "counting: 4",
    ]

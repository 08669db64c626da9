"""How a function starts: what the collector of garbage does meanwhile, and what is imported first."""

import subprocess
import sys
from pathlib import Path

import pytest

import meterstone

CODE = """
import gc
gc.collect()
from meterstone import starting
paused = not gc.isenabled()
starting.loaded()
print(paused, gc.isenabled(), gc.get_freeze_count() > 0)
"""


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        pytest.param({"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}, "True True True", id="in Lambda"),
        pytest.param({}, "False True False", id="elsewhere"),
    ],
)
def test_the_collector_pauses_until_the_function_is_loaded(environment: dict[str, str], found: str) -> None:
    path = str(Path(meterstone.__file__).parents[1])
    ran = subprocess.run(  # noqa: S603 - this interpreter, and code that stands here
        [sys.executable, "-c", CODE],
        env=environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == found


def test_urllib3_is_imported_from_the_outermost_module() -> None:
    path = str(Path(meterstone.__file__).parents[1])
    ran = subprocess.run(
        [sys.executable, "-c", "from meterstone import starting; import sys; print(*sys.modules)"],
        env={"PYTHONPATH": path, "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = ran.stdout.split()
    assert "urllib3.util.url" in imported
    assert not {"botocore", "meterstone.store"} & set(imported)


FUNCTIONS = Path(__file__).parents[2] / "functions"
STARTED = (
    "analytics_usage",
    "customer_usage",
    "explain_usage",
    "find_event",
    "ingest_events",
    "manage_catalogue",
    "read_catalogue",
    "subscription_usage",
)


@pytest.mark.parametrize("function", STARTED)
def test_a_function_that_answers_requests_pauses_first_and_ends_the_pause_last(function: str) -> None:
    lines = (FUNCTIONS / function / "app.py").read_text().splitlines()
    imports = [
        line
        for line in lines
        if line.startswith(("from ", "import ")) and not line.startswith(("from collections", "from typing"))
    ]
    assert imports[0].startswith("from meterstone import ")
    assert "starting" in imports[0]
    assert lines[-1] == "starting.loaded()"

"""Public faults of billing systems, each with the answer that is right: see the README beside this file."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import pytest

from meterstone.usage.instant import parse_instant
from support.golden_run import Run, running

CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/request.json"))
NOW = parse_instant("2026-11-21T12:00:00Z")
SECOND = 1_000_000
EXITS = {"exit": 0}
EVENT = "/api/v1/events/"
#: Not right yet, and why.
WRONG = {"75": "a window that a subscription's span cuts at one end alone is divided by its own length"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_answer_is_right(case: Path, tmp_path: Path) -> None:
    expected = _decoded((case / "expected.json").read_text())
    organization = re.findall(r'id: "(.*)"', (case / "catalogue/organization.yaml").read_text())[0]
    with running(tmp_path) as run:
        run.now = NOW
        run.organization = organization
        command(run, expected.get("_load", EXITS), "load", str(case / "catalogue"))
        run.key = run.command("keys", "create", "--organization", organization).split()[-1]
        for usage in case.glob("usage.*"):
            copy = tmp_path / usage.name
            copy.write_bytes(usage.read_bytes())
            command(run, expected.get("_import", EXITS), "import", "--organization", organization, str(copy))
        for step in json.loads((case / "request.json").read_text()):
            # The stream's records come in the order of their instants: no two steps are at the same.
            run.now += step.get("wait", 0) * SECOND + 1
            run.deliver()
            if "cli" in step:
                name, *words = step["cli"]
                known = [str(case / word) if (case / word).is_dir() else word for word in words]
                whose = [] if name == "load" else ["--organization", organization]
                command(run, expected[step["name"]], name, *whose, *known)
                run.restart()
            else:
                request(run, expected[step["name"]], step)


def command(run: Run, expected: dict[str, Any], *words: str) -> None:
    printed = run.command(*words)
    last = run.transcript[-1]
    assert last["status"] == expected["exit"], last
    for part in expected.get("stdout_contains", []):
        assert part in printed, last


def request(run: Run, expected: dict[str, Any], step: dict[str, Any]) -> None:
    path, _, query = re.sub(r"{{q:(.*?)}}", lambda text: quote(text[1], safe=""), step["path"]).partition("?")
    text = step.get("raw") or (json.dumps(step["body"]) if "body" in step else None)
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    event = run.event(step["method"], path, body=text, queryStringParameters=parameters or None)
    if "/events" in path and step["method"] == "POST":
        function = "ingest_events"
    elif path.startswith(EVENT):
        function = "find_event"
        event |= {
            "resource": EVENT + "{transaction_id}",
            "pathParameters": {"transaction_id": unquote(path.removeprefix(EVENT))},
        }
    else:
        function = "analytics_usage" if step["method"] == "GET" else "subscription_usage"
    reply = run.invoke(function, event)
    headers = {name.lower(): ", ".join(values) for name, values in reply["multiValueHeaders"].items()}
    assert reply["statusCode"] == expected["status"], reply["body"]
    for name, value in expected.get("headers", {}).items():
        assert headers.get(name) == value
    if "body" in expected:
        covers(_decoded(reply["body"]), expected["body"], step["name"])
    for name in expected.get("without", []):
        assert name not in _decoded(reply["body"]), f"{step['name']}.{name} is there"


def covers(found: Any, wanted: Any, where: str) -> None:
    """Compare an answer with what must be in it."""
    match wanted:
        case dict():
            assert isinstance(found, dict), f"{where}: {found!r}"
            for name, value in wanted.items():
                assert name in found, f"{where}.{name} is missing"
                covers(found[name], value, f"{where}.{name}")
        case list():
            assert isinstance(found, list), f"{where}: {found!r}"
            assert len(found) == len(wanted), f"{where}: {found!r}"
            for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
                covers(one, other, f"{where}[{number}]")
        case _:
            assert found == wanted, where


def _decoded(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)

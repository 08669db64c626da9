"""The sign-up of the README, line by line as it stands there, on the demo's catalogue."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from meterstone import clock
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.catalogue.api_keys import create_key
from meterstone_cli.catalogue.folder import read_catalogue
from meterstone_cli.devserver.gateway import ByMethod, Gateway, HttpRequest, Invocable
from meterstone_cli.devserver.template import exceptions, routes
from support.functions import load_over
from support.memory_table import MemoryTable
from support.written import write_stored

ROOT = Path(__file__).parents[2]
FUNCTIONS = ("ingest_events", "manage_catalogue", "read_catalogue", "subscription_usage")
SIGN_UP = (ROOT / "README.md").read_text().partition("Somebody signs up")[2].partition("```console\n")[2]
COMMANDS = SIGN_UP.partition("```")[0].strip().split("\n")
BASE = "http://127.0.0.1:8000"


class Function:
    """A function, called as Lambda calls it."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def invoke(self, event: dict[str, Any], request_id: str) -> object:
        return self._module.handler(event, None)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> tuple[Gateway, str]:
    """Return a gateway over the demo's catalogue, and what `make start` keeps beside its tables."""
    table = MemoryTable()
    catalogue, _ = read_catalogue(ROOT / "examples/demo/catalogue")
    write_stored(table, catalogue)
    assert read_account(table, catalogue.organization.id, consistent=True)
    key, key_id = create_key(table, catalogue.organization.id, "start", clock.now())
    loaded = {name: Function(load_over(name, table, monkeypatch)) for name in FUNCTIONS}
    template = ROOT / "template.yaml"
    paths: dict[str, Invocable] = {
        path: loaded[folder.name] for path, folder in routes(template).items() if folder.name in loaded
    }
    for (path, method), folder in exceptions(template).items():
        if path in paths:
            paths[path] = ByMethod({method: loaded[folder.name]}, paths[path])
    return Gateway(paths), json.dumps({"ends": 0, "key": key, "key_id": key_id})


def test_the_sign_up_of_the_readme_works_as_it_stands(gateway: tuple[Gateway, str]) -> None:
    served, kept = gateway
    first, *calls = [shlex.split(line.removeprefix("$ ")) for line in COMMANDS]
    found = re.fullmatch(r"KEY=\$\(grep -o '(.*)' .meterstone/demo.json\)", COMMANDS[0].removeprefix("$ "))
    assert found is not None, first
    key = re.findall(found[1], kept)
    assert len(key) == 1
    answers = []
    for name, *given in calls:
        assert name == "curl"
        arguments, target, method, body = list(given), "", "", ""
        # What curl says of a body by itself.
        headers = [("Content-Type", "application/x-www-form-urlencoded")]
        while arguments:
            match arguments.pop(0):
                case "-X":
                    method = arguments.pop(0)
                case "-H":
                    header, _, value = arguments.pop(0).replace("$KEY", key[0]).partition(": ")
                    headers.append((header, value))
                case "-d":
                    body = arguments.pop(0)
                case url:
                    assert url.startswith(BASE)
                    target = url.removeprefix(BASE)
        reply = served.handle(
            HttpRequest(method or ("POST" if body else "GET"), target, headers, body.encode())
        )
        answers.append((reply.status, json.loads(reply.body)))

    assert [status for status, _ in answers] == [201, 201, 200, 200], answers
    assert answers[1][1]["record"]["customer"] == "ada"
    assert [charge["meter_id"] for charge in answers[3][1]["charges"]] in (["prompt-tokens"], [])

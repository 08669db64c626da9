"""The own routes of the catalogue, over a table in memory."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from meterstone import clock
from meterstone.store.catalogue.api_keys import create_key
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY
from meterstone.usage.meter import Event
from meterstone.usage.subscription import Organization
from meterstone_cli.devserver.gateway import ByMethod, Gateway, HttpRequest, Invocable
from meterstone_cli.devserver.template import exceptions, routes
from support.functions import load_over
from support.managed import managed
from support.memory_table import MemoryTable
from support.recovering import Clock, Stream
from support.scenario import ORGANIZATION, Usage

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
THEIRS = Organization("7d1f4f0e-3a52-4a53-9d1c-6a0c7f8b9e10", "Theirs")
FUNCTIONS = ("manage_catalogue", "read_catalogue")
#: No clock of a test comes near.
START, LATER, END = "2093-01-01T00:00:00Z", "2093-06-01T00:00:00Z", "2094-01-01T00:00:00Z"
OF_C = {"customer": "c", "plan": "basic", "currency": "EUR", "start": START}
COUNT = {"code": "m", "aggregation": "COUNT"}


class Answer(NamedTuple):
    """A status, a body that was JSON, and headers by their names in lower case."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def record(self) -> dict[str, Any]:
        """The record of the answer to a change."""
        record: dict[str, Any] = self.body["record"]
        return record

    @property
    def faults(self) -> dict[str, str]:
        """What is wrong, by path."""
        return {each["path"]: each["message"] for each in self.body["errors"]}


class _Loaded:
    """A function, called as Lambda calls it."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def invoke(self, event: dict[str, Any], request_id: str) -> object:
        return self._module.handler(json.loads(json.dumps(event)), None)


class Api:
    """Both functions of the catalogue behind a gateway, over a table of two organizations."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.table = MemoryTable()
        self.management = managed(self.table, clock.now)
        managed(self.table, clock.now, THEIRS)
        self.keys = {
            each.id: create_key(self.table, each.id, "test", 0)[0] for each in (ORGANIZATION, THEIRS)
        }
        loaded = {name: _Loaded(load_over(name, self.table, monkeypatch)) for name in FUNCTIONS}
        paths: dict[str, Invocable] = {
            path: loaded[folder.name] for path, folder in routes(TEMPLATE).items() if folder.name in loaded
        }
        for (path, method), folder in exceptions(TEMPLATE).items():
            if path in paths:
                paths[path] = ByMethod({method: loaded[folder.name]}, paths[path])
        self._gateway = Gateway(paths)

    def ask(
        self, method: str, path: str, body: object = None, *, whose: str = ORGANIZATION.id, **headers: str
    ) -> Answer:
        """Send a request of an organization. A body of text is sent as it is; a header's `_` is a `-`."""
        text = body if isinstance(body, str) else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = tuple((named | {"Authorization": f"Bearer {self.keys[whose]}"}).items())
        target = f"/catalogue/v1/{path}"
        reply = self._gateway.handle(
            HttpRequest(method, target, sent, b"" if body is None else text.encode("utf-8", "surrogatepass"))
        )
        return Answer(reply.status, json.loads(reply.body), {k.lower(): v for k, v in reply.headers})

    def put(self, path: str, record: object, **headers: str) -> Answer:
        """Put a record."""
        return self.ask("PUT", path, record, **headers)

    def use(self) -> None:
        """Count an event of the subscription `s`, of a day ago."""
        stream = Stream(self.table, Clock(clock.now()))
        stream.post([Usage(Subject.subscription("s"), Event("e", "calls", clock.now() - DAY, {}))])
        stream.deliver()

    def stored(self) -> Any:
        """Return everything that is stored."""
        return self.table.items()

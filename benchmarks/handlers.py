"""Both functions in this process, and requests to them as API Gateway sends them."""

import importlib.util
import io
import json
import statistics
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from types import ModuleType
from typing import Any
from unittest import mock

from benchmarks import world
from benchmarks.engine import ROOT
from benchmarks.figures import Figure, percentile
from benchmarks.probe import Probe

from meterstone import clock

type Event = dict[str, Any]

_WARMING = 10
#: A slow request is asked so long, or so often at least.
_SECONDS, _FEWEST = 5.0, 20


class Functions:
    """The functions as they ship, on the table that the environment names, each watched by a probe."""

    def __init__(self) -> None:
        """Load both."""
        self._loaded = {name: load(name) for name in ("analytics_usage", "subscription_usage")}
        self._probes = {name: Probe(module.store.table) for name, module in self._loaded.items()}

    def answer(self, name: str, event: Event) -> str:
        """Give the body of a good answer."""
        reply = self._loaded[name].handler(event, None)
        if reply["statusCode"] != 200:  # noqa: PLR2004 - HTTP OK
            raise RuntimeError(f"{name}: {reply}")
        body: str = reply["body"]
        return body

    def measure(
        self, label: str, request: tuple[str, Event], rounds: int, budget: float | None = None
    ) -> Figure:
        """Time one request against the engine, then answered from memory; and count what it reads."""
        name, event = request
        probe = self._probes[name]
        for _ in range(_WARMING):
            self.answer(name, event)
        probe.reset()
        started = perf_counter()
        self.answer(name, event)
        rounds = min(rounds, max(_FEWEST, int(_SECONDS / (perf_counter() - started))))
        reads = probe.reads()
        totals, stores = [], []
        for _ in range(rounds):
            probe.reset()
            started = perf_counter()
            self.answer(name, event)
            totals.append((perf_counter() - started) * 1000)
            stores.append(probe.seconds * 1000)
        own = []
        with probe.replaying():
            for _ in range(rounds * 2):
                started = perf_counter()
                self.answer(name, event)
                own.append((perf_counter() - started) * 1000)
        beside = {
            "p99 ms": percentile(totals, 0.99),
            "store ms": statistics.median(stores),
            "own ms": statistics.median(own),
            "own p99 ms": percentile(own, 0.99),
            "items": reads.items,
            "bytes": reads.bytes,
            "read units": reads.units,
            "pages": reads.pages,
            "calls": reads.calls,
        }
        return Figure(label, statistics.median(totals), "ms", budget, beside)


class Nowhere(io.TextIOBase):
    """Where the log lines go. Never closed: a logger keeps the first stream that it was given."""

    def write(self, text: str) -> int:
        """Throw away."""
        return len(text)


@contextmanager
def loaded() -> Iterator[Functions]:
    """Give the functions, with the clock standing at `world.NOW` and the log lines thrown away."""
    with (
        mock.patch.object(sys, "stdout", Nowhere()),
        mock.patch.object(clock, "now", return_value=world.NOW),
    ):
        yield Functions()


def analytics(key: str, **parameters: str) -> tuple[str, Event]:
    """Give a request for analytics."""
    event = _event("analytics_usage", {"Authorization": f"Bearer {key}"})
    event["queryStringParameters"] = parameters or None
    event["multiValueQueryStringParameters"] = {name: [value] for name, value in parameters.items()} or None
    return "analytics_usage", event


def subscription(key: str, **fields: object) -> tuple[str, Event]:
    """Give a request for a subscription's usage."""
    event = _event("subscription_usage", {"x-api-key": key, "Content-Type": "application/json"})
    event["body"] = json.dumps(fields)
    return "subscription_usage", event


def _event(name: str, headers: Mapping[str, str]) -> Event:
    event: Event = json.loads((ROOT / f"events/{name}.default.json").read_text())
    event["headers"] |= headers
    event["multiValueHeaders"] |= {header: [value] for header, value in headers.items()}
    return event


def load(name: str) -> ModuleType:
    """Load a function as it ships."""
    spec = importlib.util.spec_from_file_location(f"benchmarked_{name}", ROOT / "functions" / name / "app.py")
    if spec is None or spec.loader is None:
        raise RuntimeError(f"there is no function {name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

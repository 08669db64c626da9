"""Events in over HTTP, on the embedded engine: how many a second, how long each waits, and when it shows."""

import json
import statistics
import sys
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from time import perf_counter, sleep
from typing import Any
from unittest import mock
from urllib.parse import urlparse
from uuid import uuid4

from benchmarks import engine, world
from benchmarks.engine import ROOT
from benchmarks.figures import Figure, Part, percentile
from benchmarks.filling import catalogue
from benchmarks.handlers import Nowhere
from benchmarks.posting import Posted, properties

from meterstone.store.catalogue.api_keys import create_key
from meterstone_cli.devserver.follower import following
from meterstone_cli.devserver.server import running

_SUBSCRIPTIONS = 50
_EVERYONE = [world.subscription(number) for number in range(_SUBSCRIPTIONS)]
_COUNTED, _METER = _EVERYONE[0], world.METERS[0]
_RATE, _SECONDS, _BUDGET = 50, 20, 2.0
_PATIENCE = 60.0
_POLL = 0.02
_GOOD = frozenset({200, 202})


class Client:
    """One client with one connection. Not for several threads."""

    def __init__(self, url: str, key: str) -> None:
        """Connect."""
        self._connection = HTTPConnection(urlparse(url).netloc)
        self._headers = {
            "Authorization": f"Bearer {key}",
            "x-api-key": key,
            "Content-Type": "application/json",
        }

    def call(self, method: str, path: str, body: Posted | None = None) -> Any:
        """Give a good answer's body."""
        sent = None if body is None else json.dumps(body)
        self._connection.request(method, path, sent, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status not in _GOOD:
            raise RuntimeError(f"{path}: {answer.status} {content[:500]!r}")
        return json.loads(content)


def run(quick: bool) -> Part:  # noqa: FBT001 - every part is called alike
    """Post with nobody counting; then steadily, while the stream is followed and both endpoints are read."""
    rounds = 20 if quick else 200
    seconds = 5 if quick else _SECONDS
    with _serving() as client:
        figures = [
            _posted(client(), "single events (Lago)", 1, rounds, _lago_event),
            _posted(client(), "single events (Flexprice)", 1, rounds, _flexprice_event),
            _posted(client(), "batches of 100, all or none (Lago)", 100, max(rounds // 5, 5), _lago_batch),
            _posted(client(), "bulks of 1,000 (Flexprice)", 1000, max(rounds // 20, 5), _flexprice_bulk),
        ]
        with following(ROOT / "functions"):
            figures += _freshness(client, seconds)
    return Part(
        "ingest",
        figures,
        notes=[
            "one client on one connection, one request after the other, in one process with the server",
            f"shown: {_RATE} events a second for {seconds} s, posted one by one, both endpoints read all along",
        ],
        limits=[
            "the engine, a Python program on the same cores: a put for each event, 50 at once, or a transaction",
            "shown: the stream is asked ten times a second; then the fold's transactions on the engine",
        ],
    )


@contextmanager
def _serving() -> Iterator[Callable[[], Client]]:
    with engine.running() as table, mock.patch.object(sys, "stdout", Nowhere()):
        catalogue(table, _EVERYONE, world.METERS)
        key, _ = create_key(table, world.ORGANIZATION.id, world.KEY_NAME, world.NOW)
        with running(ROOT / "template.yaml") as url:
            yield lambda: Client(url, key)


def _posted(
    client: Client, label: str, events: int, rounds: int, post: Callable[[Client, int], None]
) -> Figure:
    for _ in range(5):
        post(client, events)
    times = []
    for _ in range(rounds):
        started = perf_counter()
        post(client, events)
        times.append((perf_counter() - started) * 1000)
    beside = {"p50 ms": statistics.median(times), "p99 ms": percentile(times, 0.99)}
    return Figure(label, events * rounds / sum(times) * 1000, "events/s", beside=beside)


def _lago_event(client: Client, _: int) -> None:
    client.call("POST", "/api/v1/events", {"event": _lago(0)})


def _lago_batch(client: Client, events: int) -> None:
    client.call("POST", "/api/v1/events/batch", {"events": [_lago(place) for place in range(events)]})


def _flexprice_event(client: Client, _: int) -> None:
    client.call("POST", "/v1/events", _flexprice(0))


def _flexprice_bulk(client: Client, events: int) -> None:
    client.call("POST", "/v1/events/bulk", {"events": [_flexprice(place) for place in range(events)]})


def _lago(place: int) -> Posted:
    return {
        "transaction_id": uuid4().hex,
        "code": _METER.event_name,
        "external_subscription_id": _EVERYONE[place % _SUBSCRIPTIONS].external_id,
        "properties": properties(_METER),
    }


def _flexprice(place: int) -> Posted:
    return {
        "event_name": _METER.event_name,
        "external_customer_id": _EVERYONE[place % _SUBSCRIPTIONS].customer_id,
        "event_id": uuid4().hex,
        "properties": properties(_METER),
    }


def _freshness(client: Callable[[], Client], seconds: int) -> list[Figure]:
    """Post at a steady rate, and find when each event first shows: they are one subscription's, in order."""
    readers: dict[str, Callable[[Client], float]] = {"analytics": _analytics, "subscription": _subscription}
    # What was posted before the stream was followed is never counted: only what is added matters.
    before = {name: read(client()) for name, read in readers.items()}
    events = _RATE * seconds
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
    deadline = perf_counter() + seconds + _PATIENCE

    def watch(name: str) -> None:
        watching = client()
        while perf_counter() < deadline:
            count = readers[name](watching) - before[name]
            seen[name].append((count, perf_counter()))
            if count >= events:
                return
            sleep(_POLL)

    watchers = [threading.Thread(target=watch, args=(name,), daemon=True) for name in readers]
    for each in watchers:
        each.start()
    accepted = _post_steadily(client(), events)
    for each in watchers:
        each.join()
    figures = []
    for name, found in seen.items():
        counts = [count for count, _ in found]
        if counts[-1] < events:
            raise RuntimeError(f"{name} shows {counts[-1]} of {events} events")
        lags = [found[bisect_left(counts, number + 1)][1] - at for number, at in enumerate(accepted)]
        figures.append(
            Figure(
                f"from accepted to shown by {name}, the longest",
                max(lags),
                "s",
                _BUDGET,
                {"p50 ms": statistics.median(lags) * 1000, "p99 ms": percentile(lags, 0.99) * 1000},
            )
        )
    posted = (len(accepted) - 1) / (accepted[-1] - accepted[0])
    return [*figures, Figure("events accepted meanwhile", posted, "/s", float(_RATE))]


def _post_steadily(client: Client, events: int) -> list[float]:
    """Give when each event was accepted."""
    accepted = []
    started = perf_counter()
    for number in range(events):
        sleep(max(started + number / _RATE - perf_counter(), 0))
        _lago_event(client, 1)
        accepted.append(perf_counter())
    return accepted


def _analytics(client: Client) -> float:
    path = f"/api/v1/analytics/usage?billable_metric_code={_METER.code}"
    return sum(float(row["units"]) for row in client.call("GET", path)["usages"])


def _subscription(client: Client) -> float:
    answer = client.call("POST", "/v1/subscriptions/usage", {"subscription_id": _COUNTED.id})
    return sum(float(each["quantity"]) for each in answer["charges"] if each["meter_id"] == _METER.id)

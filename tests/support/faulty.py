"""A Meterstone whose table stands behind a proxy that spoils calls, and clients that try again.

The events are those of `long_run`. What was stored and counted is looked at on the engine itself, and compared
with the oracle.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock
from uuid import uuid4

from meterstone import clock
from meterstone.pricing.money import plain
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.counting.stream import StreamFold
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST
from meterstone.store.dynamodb.table import StoreUnavailableError, Table, item_of
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import SECOND, format_instant
from meterstone.usage.subscription import Organization, Subscription
from meterstone.usage.window import Window
from support import functions
from support import scenario as scenarios
from support.counting import check_analytics, check_window
from support.fault_proxy import FaultProxy
from support.long_run import END, METERS, START, coming, subscription
from support.scenario import Scenario, Usage, World, oracles

_BATCH = 200
_TRIES = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler answered, and after how many seconds."""

    status: int
    body: Any
    headers: dict[str, str]
    seconds: float


@dataclass(slots=True)
class Figures:
    """How the requests of a test went."""

    answers: list[Answer] = field(default_factory=list)
    sent: int = 0
    counted: int = 0

    def line(self, name: str) -> str:
        """Write them as a row of a table."""
        times = sorted(answer.seconds for answer in self.answers)
        statuses = Counter(answer.status for answer in self.answers)
        several = ", ".join(f"{number} x {status}" for status, number in sorted(statuses.items()))
        half = times[len(times) // 2]
        counted = f"{self.sent} | {self.counted}" if self.sent else " | "
        return f"| {name} | {several} | {half:.2f} | {times[-1]:.2f} | {counted} |"


@dataclass(slots=True)
class Faulty:
    """An organization in the engine's table, and Meterstone's functions, which call the engine through a proxy."""

    proxy: FaultProxy
    engine: Table
    organization: Organization
    key: str
    subscriptions: tuple[Subscription, ...]
    figures: Figures = field(default_factory=Figures)

    @classmethod
    def of(cls, proxy: FaultProxy, engine: Table, customers: int = 3, seed: int = 7) -> "Faulty":
        """Make an organization of its own."""
        random = Random(seed)  # noqa: S311 - nothing secret
        organization = Organization(str(uuid4()))
        subscriptions = tuple(subscription(number, random) for number in range(customers))
        with mock.patch.object(scenarios, "ORGANIZATION", organization):
            World(Scenario(METERS, subscriptions, (), END), engine)
        key, _ = create_key(engine, organization.id, "faults", clock.now())
        return cls(proxy, engine, organization, key, subscriptions)

    def events(self, count: int, seed: int = 7) -> list[Usage]:
        """Make events."""
        random = Random(seed)  # noqa: S311 - nothing secret
        return [each.usage for each in coming(self.subscriptions, random, count)]

    def function(self, name: str) -> Callable[..., Answer]:
        """Load a function that finds its table behind the proxy, and give a call of it."""
        with mock.patch.dict(os.environ, {"AWS_ENDPOINT_URL_DYNAMODB": self.proxy.url}):
            functions.forget_logger(name)
            handler = functions.load(name).handler

        def call(method: str, path: str, body: object = None, **query: str) -> Answer:
            resource = "/api/v1/events/{transaction_id}" if name == "find_event" else path
            event = {
                "resource": resource,
                "path": path,
                "httpMethod": method,
                "headers": {"Authorization": f"Bearer {self.key}", "x-api-key": self.key},
                "queryStringParameters": query or None,
                "pathParameters": {"transaction_id": path.rpartition("/")[2]},
                "requestContext": {"requestId": "r"},
                "body": None if body is None else json.dumps(body),
            }
            began = time.monotonic()
            reply = handler(event, None)
            seconds = time.monotonic() - began
            headers = {header: values[0] for header, values in reply["multiValueHeaders"].items()}
            answer = Answer(reply["statusCode"], json.loads(reply["body"]), headers, seconds)
            self.figures.answers.append(answer)
            return answer

        return call

    def fold(self) -> None:
        """Count what is logged, through the proxy, as the stream does: a batch that fails comes again."""
        with mock.patch.dict(os.environ, {"AWS_ENDPOINT_URL_DYNAMODB": self.proxy.url}):
            folding = StreamFold(Table.from_environment())
        records = list(self.records())
        for begin in range(0, len(records), _BATCH):
            for _ in range(_TRIES):
                try:
                    report = folding.fold(records[begin : begin + _BATCH], "shard-1", END)
                except StoreUnavailableError:
                    continue
                assert (report.poison, report.unmatched) == ([], 0)
                break
            else:
                raise AssertionError("the fold does not get through")

    def check(self, usage: Sequence[Usage]) -> None:
        """Compare what is logged and counted with some events, each of which counts once."""
        logged = [record["dynamodb"]["NewImage"]["id"]["S"] for record in self.records()]
        assert sorted(logged) == sorted(each.event.id for each in usage)
        with mock.patch.object(scenarios, "ORGANIZATION", self.organization):
            world = World(Scenario(METERS, self.subscriptions, (), END), self.engine)
            world.roll(END)
            check_analytics(world, tuple(usage), END)
            for oracle in oracles(world.scenario, usage):
                check_window(world, oracle, Window(START, END), END)
        self.figures.counted = len(logged)

    def records(self) -> Iterator[dict[str, Any]]:
        """Give the log as the table's stream gives it: a record for each event that was put."""
        subjects = [Subject.subscription(each.external_id) for each in self.subscriptions]
        subjects += [Subject.customer(each.customer_id) for each in self.subscriptions]
        found = [
            item_of(row)
            for subject in subjects
            for row in self.engine.query(
                keys.event(self.organization.id, *subject, "").pk, FIRST, LAST, consistent=True
            )
        ]
        found.sort(key=lambda item: (int(item["acc"]["N"]), item["sk"]["S"]))
        for number, item in enumerate(found):
            yield {"eventName": "INSERT", "dynamodb": {"NewImage": item, "SequenceNumber": str(number + 1)}}


def post_until_taken(
    call: Callable[..., Answer], send: "Route", usage: Sequence[Usage], pause: float
) -> list[Answer]:
    """Send events as a client does: the same request again after each 503, until it is taken."""
    answers = []
    for _ in range(_TRIES):
        answer = call("POST", send.path, send.body(usage))
        answers.append(answer)
        if answer.status != 503:
            return answers
        assert answer.headers["Retry-After"] == "5"
        time.sleep(pause)
    raise AssertionError("it does not get through")


@dataclass(frozen=True, slots=True)
class Route:
    """A way in: its path, and the body that says some events."""

    path: str
    body: Callable[[Sequence[Usage]], dict[str, Any]]
    #: How many events a request has at most.
    most: int
    #: The kind of subject whose events it takes.
    kind: str


def _properties(usage: Usage) -> dict[str, Any]:
    return {
        name: plain(value) if isinstance(value, Decimal) else value
        for name, value in usage.event.properties.items()
    }


def _lago(usage: Usage) -> dict[str, Any]:
    seconds = Decimal(usage.event.at) / SECOND
    return {
        "transaction_id": usage.event.id,
        "external_subscription_id": usage.subject.external_id,
        "code": usage.event.name,
        "timestamp": plain(seconds),
        "properties": _properties(usage),
    }


def _flexprice(usage: Usage) -> dict[str, Any]:
    return {
        "event_id": usage.event.id,
        "external_customer_id": usage.subject.external_id,
        "event_name": usage.event.name,
        "timestamp": format_instant(usage.event.at),
        "properties": _properties(usage),
    }


LAGO_ONE = Route("/api/v1/events", lambda usage: {"event": _lago(usage[0])}, 1, "s")
LAGO_BATCH = Route(
    "/api/v1/events/batch", lambda usage: {"events": [_lago(each) for each in usage]}, 100, "s"
)
FLEXPRICE_ONE = Route("/v1/events", lambda usage: _flexprice(usage[0]), 1, "c")
FLEXPRICE_BULK = Route(
    "/v1/events/bulk", lambda usage: {"events": [_flexprice(each) for each in usage]}, 1000, "c"
)


@contextmanager
def figures_of(faulty: Faulty, name: str) -> Iterator[None]:
    """Write the figures of a test to the file that `METERSTONE_FIGURES` names, if it does."""
    yield
    path = os.environ.get("METERSTONE_FIGURES")
    if path is not None and faulty.figures.answers:
        with Path(path).open("a") as file:
            file.write(faulty.figures.line(name) + "\n")

"""`X-Meterstone-Counted-Until`: when the newest event came in that is counted in an answer."""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

from meterstone import clock
from meterstone.store import Store
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.dynamodb.table import Table
from meterstone.usage.calendar import zone
from meterstone.usage.instant import DAY, HOUR, SECOND, format_instant
from support.scenario import Scenario, Usage, World
from support.stored import START, memory, rich
from support.stream import Folding, Stream

type Invoke = Callable[[dict[str, Any]], tuple[int, Any, dict[str, str]]]
type Ask = Callable[..., str | None]

RICH = rich()
FUNCTIONS = Path(__file__).parents[2] / "functions"
#: The account stands in a month that has ended by then; chains have long gone on.
NOW = START + 20 * DAY


def one_meter(number: int) -> Scenario:
    """Leave the rich scenario one of its meters."""
    meter, (subscription,) = RICH.meters[number], RICH.subscriptions
    items = tuple(item for item in subscription.line_items if item.meter == meter)
    return Scenario((meter,), (replace(subscription, line_items=items),), (), NOW)


@pytest.fixture(params=range(len(RICH.meters)), ids=[each.id for each in RICH.meters])
def folding(request: pytest.FixtureRequest) -> Folding:
    return Folding(World(one_meter(request.param)), Stream(Random(5)))  # noqa: S311 - nothing secret


@pytest.fixture
def store(folding: Folding) -> Store:
    """Let the handlers read the table that is folded into."""
    return Store(folding.table)


@pytest.fixture
def ask(folding: Folding, load: Callable[[str], Invoke], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Ask for an answer's freshness: of the organization, of a subscription, or of its usage."""
    key, _ = create_key(folding.table, folding.world.account.organization.id, "test", NOW)
    monkeypatch.setattr(clock, "now", lambda: NOW)
    analytics, usage = load("analytics_usage"), load("subscription_usage")
    days = [zone("UTC").day_of(at) for at in (START, NOW + DAY)]

    def ask(which: str) -> str | None:
        memory(folding.world).settle()
        if which == "usage":
            body = {
                "subscription_id": "sub",
                "start_time": format_instant(START),
                "end_time": format_instant(NOW),
            }
            status, _, headers = usage(
                {
                    "httpMethod": "POST",
                    "path": "/v1/subscriptions/usage",
                    "headers": {"x-api-key": key},
                    "body": json.dumps(body),
                }
            )
        else:
            query = {"from_date": [iso(days[0])], "to_date": [iso(days[1])]}
            if which == "subscription":
                query["external_subscription_id"] = ["ext"]
            status, _, headers = analytics(
                {
                    "httpMethod": "GET",
                    "path": "/api/v1/analytics/usage",
                    "headers": {"Authorization": f"Bearer {key}"},
                    "multiValueQueryStringParameters": query,
                }
            )
        assert status == 200
        return headers.get("X-Meterstone-Counted-Until")

    return ask


def iso(day: int) -> str:
    """Give a day as queries have it."""
    return date.fromordinal(day).isoformat()


def fold_usage(folding: Folding, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the function that folds, over the world's table."""
    monkeypatch.setattr(Table, "from_environment", classmethod(lambda _: memory(folding.world)))
    spec = importlib.util.spec_from_file_location("fold_usage", FUNCTIONS / "fold_usage" / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def usage_at(*accepted: int) -> list[tuple[int, Usage]]:
    """Give events with the times at which they come in; each brings something new."""
    return list(zip(accepted, RICH.usage, strict=False))


@pytest.mark.parametrize("which", ["organization", "subscription", "usage"])
def test_an_answer_says_until_when_it_has_counted(
    folding: Folding, ask: Ask, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    function = fold_usage(folding, monkeypatch)
    (shard,) = folding.stream.shards
    assert ask(which) is None
    for accepted, usage in usage_at(NOW - HOUR, NOW - 3 * SECOND):
        folding.post(usage, accepted)
        function.handler({"Records": shard.records[-1:], "shardId": shard.id}, None)
        assert ask(which) == format_instant(accepted)
    # An event that came in earlier, counted only now, takes nothing back.
    late = RICH.usage[4]
    folding.post(late, NOW - 2 * HOUR)
    function.handler({"Records": shard.records[-1:], "shardId": shard.id}, None)
    assert ask(which) == format_instant(NOW - 3 * SECOND)


@pytest.mark.parametrize("which", ["organization", "subscription", "usage"])
def test_an_import_and_the_clock_take_nothing_back(
    folding: Folding, ask: Ask, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    function = fold_usage(folding, monkeypatch)
    (shard,) = folding.stream.shards
    folding.world.load("before", [RICH.usage[2]], NOW)
    assert ask(which) is None
    folding.post(RICH.usage[0], NOW - HOUR)
    function.handler({"Records": shard.records, "shardId": shard.id}, None)
    folding.world.load("after", [RICH.usage[5]], NOW)
    folding.world.roll(NOW)
    assert ask(which) == format_instant(NOW - HOUR)

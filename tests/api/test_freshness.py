"""`X-Meterstone-Counted-Until`: when the newest event came in that is counted in an answer."""

import json
from collections.abc import Callable
from copy import replace
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import pytest

from meterstone import clock
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.dynamodb.table import Table
from meterstone.usage.calendar import zone
from meterstone.usage.instant import DAY, HOUR, SECOND, format_instant, parse_instant
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from support.functions import load_over
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
def opened() -> Callable[[type], Any]:
    """Let the functions open the table that is folded into."""
    return lambda kind: kind(Table.from_environment())


@pytest.fixture
def ask(folding: Folding, load: Callable[[str], Invoke], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Ask for an answer's freshness at `NOW`: of the organization, of a subscription, or of its usage."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    monkeypatch.setattr(Table, "from_environment", classmethod(lambda _: folding.table))
    return asking(folding, load, START, NOW)


def asking(folding: Folding, load: Callable[[str], Invoke], start: int, end: int) -> Ask:
    """Give a way to ask for an answer's freshness, over the days or the window from one instant to another."""
    key, _ = create_key(folding.table, folding.world.account.organization.id, "test", end)
    analytics, usage = load("analytics_usage"), load("subscription_usage")
    days = [zone("UTC").day_of(at) for at in (start, end + DAY)]

    def ask(which: str) -> str | None:
        memory(folding.world).settle()
        if which == "usage":
            body = {
                "subscription_id": "sub",
                "start_time": format_instant(start),
                "end_time": format_instant(end),
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


def usage_at(*accepted: int) -> list[tuple[int, Usage]]:
    """Give events with the times at which they come in; each brings something new."""
    return list(zip(accepted, RICH.usage, strict=False))


@pytest.mark.parametrize("which", ["organization", "subscription", "usage"])
def test_an_answer_says_until_when_it_has_counted(
    folding: Folding, ask: Ask, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    function = load_over("fold_usage", memory(folding.world), monkeypatch)
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
    function = load_over("fold_usage", memory(folding.world), monkeypatch)
    (shard,) = folding.stream.shards
    folding.world.load("before", [RICH.usage[2]], NOW)
    assert ask(which) is None
    folding.post(RICH.usage[0], NOW - HOUR)
    function.handler({"Records": shard.records, "shardId": shard.id}, None)
    folding.world.load("after", [RICH.usage[5]], NOW)
    folding.world.roll(NOW)
    assert ask(which) == format_instant(NOW - HOUR)


@dataclass
class TurnOfTheMonth:
    """A recurring meter's event at 23:50 on 31 January, folded at once; it is 00:10 on 1 February."""

    meter: Meter
    ask_since: Callable[[str], Ask]
    accepted: int


RECURRING = [meter for meter in RICH.meters if meter.recurring]


def monthly(meter: Meter, end: str) -> Folding:
    """Give a world of one line item on a recurring meter, billed by the month in UTC."""
    (subscription,) = RICH.subscriptions
    item = next(item for item in subscription.line_items if item.meter == meter)
    billed = replace(
        subscription,
        timezone="UTC",
        billing_period=BillingPeriod.MONTHLY,
        billing_cycle=BillingCycle.CALENDAR,
        line_items=(replace(item, end=None, price=replace(item.price, billing_period=None)),),
    )
    return Folding(World(Scenario((meter,), (billed,), (), parse_instant(end))), Stream(Random(5)))  # noqa: S311


def fold(folding: Folding, usage: Usage, accepted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Post an event, and fold it a second later."""
    folding.post(usage, accepted)
    (shard,) = folding.stream.shards
    monkeypatch.setattr(clock, "now", lambda: accepted + SECOND)
    load_over("fold_usage", memory(folding.world), monkeypatch).handler(
        {"Records": shard.records[-1:], "shardId": shard.id}, None
    )


@pytest.fixture(params=RECURRING, ids=[each.id for each in RECURRING])
def turned(
    request: pytest.FixtureRequest, load: Callable[[str], Invoke], monkeypatch: pytest.MonkeyPatch
) -> TurnOfTheMonth:
    at, now = parse_instant("2024-01-31T23:50:00Z"), parse_instant("2024-02-01T00:10:00Z")
    folding = monthly(request.param, "2024-02-01T00:10:00Z")
    usage = RICH.usage[0]
    fold(folding, replace(usage, event=replace(usage.event, at=at)), at + SECOND, monkeypatch)
    monkeypatch.setattr(clock, "now", lambda: now)
    return TurnOfTheMonth(
        request.param, lambda start: asking(folding, load, parse_instant(start), now), at + SECOND
    )


@pytest.mark.parametrize(
    ("which", "start"),
    [
        pytest.param("usage", "2024-02-01T00:00:00Z", id="usage of the month that has begun"),
        pytest.param("usage", "2024-01-20T00:00:00Z", id="usage of both months"),
        pytest.param("usage", "2024-02-01T00:05:00Z", id="usage of minutes of the month that has begun"),
        pytest.param("organization", "2024-01-20T00:00:00Z", id="analytics of the organization"),
        pytest.param("subscription", "2024-01-20T00:00:00Z", id="analytics of the subscription"),
    ],
)
def test_a_value_that_is_carried_into_a_new_month_says_until_when_it_was_counted(
    turned: TurnOfTheMonth, which: str, start: str
) -> None:
    """Before the clock's hourly turn there is no counter of the new month: the old one's value is read."""
    # A level accrues with the clock: the rollups learn of its days when they are over, at the hourly turn.
    unpublished = which == "organization" and turned.meter.aggregation is Aggregation.WEIGHTED_SUM
    assert turned.ask_since(start)(which) == (None if unpublished else format_instant(turned.accepted))

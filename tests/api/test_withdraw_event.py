"""`DELETE /api/v1/events/{transaction_id}`: whose event it is, what is answered, and what is counted then."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from meterstone import clock
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import key_item
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingPeriod
from support.counting import check_analytics
from support.functions import forget_logger, load_over
from support.memory_table import MemoryTable
from support.recovering import Stream, streaming, write
from support.scenario import ORGANIZATION, Batch, Scenario, Usage, World
from support.small_world import FLAT, START, call, meter, subscription

SUM = meter("sum", Aggregation.SUM)
EXT, CUSTOMER = Subject.subscription("ext"), Subject.customer("cust")

type Withdraw = Callable[..., tuple[int, Any]]


def of_customer(ident: str) -> Usage:
    return Usage(CUSTOMER, call(ident, DAY, value=10).event)


ALL = (
    call("a", DAY, value=1),
    call("twice", DAY, value=2),
    of_customer("twice"),
    call("b/c d", DAY, value=4),
)


@pytest.fixture
def world() -> tuple[World, Stream]:
    of = subscription(BillingPeriod.MONTHLY, [(SUM, FLAT)])
    scenario = Scenario((SUM,), (of,), (Batch(START + 10 * DAY, ALL),), START + 10 * DAY)
    world, stream = streaming(scenario, MemoryTable())
    write(world, scenario)
    stream.post(ALL)
    stream.deliver()
    return world, stream


@pytest.fixture
def withdraw(world: tuple[World, Stream], monkeypatch: pytest.MonkeyPatch) -> Withdraw:
    """Give a function that withdraws over HTTP; the stream delivers the mark then."""
    table, stream = world[0].table, world[1]
    key, _ = create_key(table, ORGANIZATION.id, "test", stream.clock.now)
    monkeypatch.setattr(clock, "now", stream.clock)
    monkeypatch.setattr("time.sleep", stream.clock.sleep)
    forget_logger("meterstone")
    handler = load_over("manage_catalogue", table, monkeypatch).handler

    def withdraw(ident: str, **query: str) -> tuple[int, Any]:
        reply = handler(
            {
                "httpMethod": "DELETE",
                "resource": "/api/v1/events/{transaction_id}",
                "path": f"/api/v1/events/{quote(ident, safe='')}",
                "headers": {"Authorization": f"Bearer {key}"},
                "pathParameters": {"transaction_id": quote(ident, safe="")},
                "multiValueQueryStringParameters": {name: [value] for name, value in query.items()},
                "body": None,
            },
            None,
        )
        for subject in (EXT, CUSTOMER):
            stream._take_mark(subject, ident)
        stream.deliver()
        return reply["statusCode"], json.loads(reply["body"])

    return withdraw


def left(world: tuple[World, Stream], *gone: Usage) -> None:
    """Check that all but some events count."""
    check_analytics(world[0], tuple(each for each in ALL if each not in gone), world[1].clock.now)


@pytest.mark.parametrize("ident", ["a", "b/c d"])
def test_an_event_is_withdrawn_and_shown_with_its_mark(
    world: tuple[World, Stream], withdraw: Withdraw, ident: str
) -> None:
    left(world)
    for _ in range(2):
        status, body = withdraw(ident)
        assert (status, body["event"]["transaction_id"]) == (200, ident)
        assert body["event"]["meterstone"] == {
            "state": "not_counted",
            "counts": [],
            "not_counted": [{"reason": "withdrawn"}],
        }
        left(world, *(each for each in ALL if each.event.id == ident))


def test_an_unknown_event_is_404(world: tuple[World, Stream], withdraw: Withdraw) -> None:
    assert withdraw("none")[0] == 404
    assert withdraw("a", external_customer_id="cust")[0] == 404
    left(world)


def test_of_an_id_that_two_have_it_must_be_said_whose_is_meant(
    world: tuple[World, Stream], withdraw: Withdraw
) -> None:
    status, body = withdraw("twice")
    assert (status, body["error_details"].keys()) == (
        422,
        {"external_subscription_id", "external_customer_id"},
    )
    left(world)
    assert withdraw("twice", external_customer_id="cust")[0] == 200
    left(world, ALL[2])
    assert withdraw("twice", external_subscription_id="ext")[0] == 200
    left(world, ALL[1], ALL[2])


def test_while_a_rebuild_runs_nothing_is_withdrawn(world: tuple[World, Stream], withdraw: Withdraw) -> None:
    profile = keys.organization(ORGANIZATION.id, "profile")
    world[0].table.update(
        profile, "SET gen_next = :next, cut_next = :cut", {":next": {"S": "2"}, ":cut": {"N": "1"}}
    )
    status, body = withdraw("a")
    assert (status, body["code"]) == (409, "conflict")
    assert body["reasons"]["base"].startswith("a rebuild is running")
    left(world)


def test_an_event_of_an_import_that_is_not_finished_is_not_withdrawn(
    world: tuple[World, Stream], withdraw: Withdraw
) -> None:
    key = keys.event(ORGANIZATION.id, *EXT, "imported")
    item = {"id": {"S": "imported"}, "e": {"S": '["call",1,{}]'}, "shard": {"S": "i00.1"}, "seq": {"N": "1"}}
    world[0].table.put(key_item(key) | item)
    status, body = withdraw("imported", external_subscription_id="ext")
    assert (status, body["code"]) == (409, "conflict")
    assert "run it again first" in body["reasons"]["base"]

"""The function that looks an event up: every file of events/ for it, and every state of an event."""

import json
from collections.abc import Callable
from copy import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterstone import clock
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.events import lookup
from meterstone.store.events.lookup import EventStore
from meterstone.store.operations.replay import replay
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY
from meterstone.usage.meter import Aggregation, Event, Meter, Properties
from meterstone.usage.period import BillingPeriod
from meterstone.usage.subscription import Subscription
from support.memory_table import MemoryTable
from support.recovering import SECOND, Stream, streaming, write
from support.scenario import ORGANIZATION, Batch, Scenario, Usage, World
from support.small_world import FLAT, START, subscription
from support.written import write_catalogue

EVENTS = Path(__file__).parents[2] / "events"
SUM = Meter("sum", "sum", "", Aggregation.SUM_WITH_MULTIPLIER, "both", "value", multiplier=Decimal("0.25"))
USERS = Meter("users", "users", "", Aggregation.COUNT_UNIQUE, "both", "user")
SEATS = Meter("seats", "seats", "", Aggregation.SUM, "seat", "value", recurring=True)
FAX = Meter("fax", "fax", "", Aggregation.COUNT, "fax")
DUNLIN = replace(
    subscription(BillingPeriod.MONTHLY, [(SUM, FLAT), (USERS, FLAT), (SEATS, FLAT)]),
    external_id="dunlin",
    customer_id="dunlin",
)
EXT, CUSTOMER = Subject.subscription("dunlin"), Subject.customer("dunlin")
PERIOD = {"start": "2023-01-15T09:27:43.123456Z", "end": "2023-02-15T09:27:43.123456Z"}

type Find = Callable[..., tuple[int, Any]]


def event(ident: str, name: str, subject: Subject = EXT, after: int = DAY, **properties: object) -> Usage:
    found: Properties = properties  # type: ignore[assignment]
    return Usage(subject, Event(ident, name, START + after, found))


ALL = (
    event("tx_1", "both", value=8, user="ana"),
    event("ev_1", "both", CUSTOMER, value="many", user="ben"),
    event("seat", "seat", value=3),
    event("comma", "seat", value="1,000"),
    event("unpriced", "fax"),
    event("typo", "nothing"),
    event("early", "both", after=-1),
    event("twice", "seat", value=1),
    event("twice", "seat", CUSTOMER, value=1),
    event("a/b c", "seat", value=1),
    event("nobody", "seat", Subject.subscription("nobody")),
)


def scenario(*more: Subscription) -> Scenario:
    meters = (SUM, USERS, SEATS, FAX)
    return Scenario(meters, (DUNLIN, *more), (Batch(START + 10 * DAY, ALL),), START + 10 * DAY)


@pytest.fixture
def world() -> tuple[World, Stream]:
    world, stream = streaming(scenario(), MemoryTable())
    write(world, scenario())
    return world, stream


@pytest.fixture
def opened(world: tuple[World, Stream]) -> Callable[[type], Any]:
    return lambda _: EventStore(world[0].table)


@pytest.fixture
def find(world: tuple[World, Stream], load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Find:
    key, _ = create_key(world[0].table, ORGANIZATION.id, "test", world[1].clock.now)
    monkeypatch.setattr(clock, "now", lambda: world[1].clock.now)
    invoke = load("find_event")

    def find(ident: str, with_key: str = key, **query: str) -> tuple[int, Any]:
        asked = json.loads((EVENTS / "find_event.default.json").read_text())
        asked |= {"path": f"/api/v1/events/{ident}", "pathParameters": {"transaction_id": ident}}
        asked["multiValueQueryStringParameters"] = {name: [value] for name, value in query.items()}
        asked["multiValueHeaders"]["Authorization"] = [f"Bearer {with_key}"]
        asked["headers"]["Authorization"] = f"Bearer {with_key}"
        status, body, _ = invoke(asked)
        return status, body

    return find


@pytest.fixture
def fate(find: Find) -> Callable[..., tuple[str, list[Any], list[Any]]]:
    def fate(ident: str, **query: str) -> tuple[str, list[Any], list[Any]]:
        status, body = find(ident, **query)
        assert status == 200, body
        told = body["event"]["meterstone"]
        return told["state"], told["counts"], told["not_counted"]

    return fate


def deliver(stream: Stream) -> None:
    stream.post(ALL)
    stream.deliver()


def count(meter: str, quantity: str | None, **more: str) -> dict[str, Any]:
    return {
        "subscription_id": "sub",
        "line_item_id": f"item {meter}",
        "meter": meter,
        "billing_period": PERIOD,
        "quantity": quantity,
    } | more


UNREADABLE = {"meter": "sum", "property": "value", "reason": "value"}


def test_an_event_of_a_subscription_that_counts(world: tuple[World, Stream], find: Find) -> None:
    deliver(world[1])
    status, body = find("tx_1")
    found = body["event"]
    told = found.pop("meterstone")
    assert status == 200
    for name in ("lago_id", "lago_subscription_id"):
        assert len(found.pop(name)) == 36
    assert found == {
        "transaction_id": "tx_1",
        "lago_customer_id": None,
        "code": "both",
        "timestamp": "2023-01-16T09:27:43.123Z",
        "precise_total_amount_cents": None,
        "properties": {"user": "ana", "value": 8},
        "external_subscription_id": "dunlin",
        "created_at": "2023-01-25T09:27:43Z",
    }
    assert told == {
        "state": "counted",
        "counts": [count("sum", "2"), count("users", None, distinct_value="ana")],
        "not_counted": [],
    }


def test_an_event_of_a_customer_that_one_meter_cannot_read(world: tuple[World, Stream], find: Find) -> None:
    deliver(world[1])
    _, body = find("ev_1")
    found = body["event"]
    assert (found["external_customer_id"], found["external_subscription_id"]) == ("dunlin", "")
    assert found["lago_subscription_id"] is None
    assert found["meterstone"]["state"] == "counted"
    assert found["meterstone"]["counts"] == [count("users", None, distinct_value="ben")]
    (fault,) = found["meterstone"]["not_counted"]
    assert fault.pop("detail").startswith("property 'value': ")
    assert fault == UNREADABLE


@pytest.mark.parametrize(
    ("ident", "reason"),
    [
        pytest.param("unpriced", "line_item", id="not priced"),
        pytest.param("typo", "code", id="no meter"),
        pytest.param("early", "time", id="before the subscription"),
        pytest.param("comma", "value", id="no number"),
    ],
)
def test_an_event_that_counts_nowhere_says_why(
    world: tuple[World, Stream], fate: Callable[..., Any], ident: str, reason: str
) -> None:
    deliver(world[1])
    state, counts, ((first,)) = fate(ident)
    assert (state, counts, first["reason"]) == ("not_counted", [], reason)


def test_an_event_is_pending_until_the_counters_have_it(
    world: tuple[World, Stream], fate: Callable[..., Any]
) -> None:
    """Also a later one, when an earlier one of the same tally was counted."""
    stream = world[1]
    stream.post(ALL[:1])
    assert fate("tx_1") == ("pending", [count("sum", "2"), count("users", None, distinct_value="ana")], [])
    stream.deliver()
    assert fate("tx_1")[0] == "counted"
    stream.clock.now += SECOND
    stream.post([event("later", "both", value=1, user="ana")])
    assert fate("later")[0] == "pending"
    stream.deliver()
    assert fate("later")[0] == "counted"


def test_a_recurring_meter_s_event_counts_in_its_chain(
    world: tuple[World, Stream], fate: Callable[..., Any]
) -> None:
    deliver(world[1])
    assert fate("seat") == ("counted", [count("seats", "3")], [])


def test_an_imported_event_counts_when_its_import_has_passed_it(
    world: tuple[World, Stream], find: Find
) -> None:
    world[0].load("file", ALL[:1], world[1].clock.now)
    _, body = find("tx_1")
    assert body["event"]["meterstone"]["state"] == "counted"
    assert body["event"]["created_at"] == "2023-01-16T09:27:43Z"


def test_an_event_that_waits_is_pending_once_the_catalogue_has_caught_up(
    world: tuple[World, Stream], fate: Callable[..., Any]
) -> None:
    (table, stream) = world[0].table, world[1]
    deliver(stream)
    nobody = replace(DUNLIN, id="n", external_id="nobody", customer_id="n")
    write_catalogue(table, ORGANIZATION, scenario().meters, [DUNLIN, nobody], ())
    # Its meter cannot read it: it waits for nothing, and is not counted.
    assert fate("nobody")[0] == "not_counted"
    items = subscription(BillingPeriod.MONTHLY, [(FAX, FLAT)]).line_items
    priced = replace(DUNLIN, line_items=(*DUNLIN.line_items, *items))
    write_catalogue(table, ORGANIZATION, scenario().meters, [priced], ())
    assert fate("unpriced")[0] == "pending"
    replay(table, ORGANIZATION.id, stream.clock)
    assert fate("unpriced")[0] == "counted"


def test_a_withdrawn_event_says_so(world: tuple[World, Stream], fate: Callable[..., Any]) -> None:
    deliver(world[1])
    world[1].withdraw(EXT, ["tx_1"])
    assert fate("tx_1") == ("not_counted", [], [{"reason": "withdrawn"}])


def test_whose_event_it_is_can_be_said_and_must_be_where_several_have_it(
    world: tuple[World, Stream], find: Find
) -> None:
    deliver(world[1])
    status, body = find("twice")
    assert (status, body["error_details"]) == (
        422,
        {
            "external_subscription_id": ["value_is_mandatory"],
            "external_customer_id": ["value_is_mandatory"],
        },
    )
    reason = "give one of the two: the id alone does not tell whose event is meant"
    assert body["reasons"] == dict.fromkeys(body["error_details"], reason)
    assert (
        find("twice", external_subscription_id="dunlin")[1]["event"]["external_subscription_id"] == "dunlin"
    )
    assert find("twice", external_customer_id="dunlin")[1]["event"]["external_customer_id"] == "dunlin"
    assert find("tx_1", external_customer_id="dunlin")[0] == 404


@pytest.mark.parametrize(
    ("subject", "query", "reason"),
    [
        pytest.param(Subject.subscription("n"), {}, "subscription", id="a subscription's id alone"),
        pytest.param(
            Subject.subscription("n"), {"external_subscription_id": "n"}, "subscription", id="a subscription"
        ),
        pytest.param(Subject.customer("n#1"), {}, "customer", id="a customer's id alone"),
        pytest.param(Subject.customer("x" * 255), {}, "customer", id="a long external id"),
    ],
)
@pytest.mark.parametrize("others", [0, 250], ids=["one event", "more than are read at once"])
def test_an_event_of_somebody_unknown_is_found(
    world: tuple[World, Stream], find: Find, subject: Subject, query: dict[str, str], reason: str, others: int
) -> None:
    of_one = [event(f"a{each}", "seat", Subject.customer("a"), value=1) for each in range(others)]
    of_many = [event(f"b{each}", "seat", Subject.customer(f"b{each}"), value=1) for each in range(others)]
    world[1].post([*of_one, *of_many, event("zero", "seat", subject, value=1)])
    world[1].deliver()
    status, body = find("zero", **query)
    assert status == 200, body
    told = body["event"]["meterstone"]
    assert (told["state"], told["not_counted"]) == ("not_counted", [{"reason": reason}])
    assert find("absent")[0] == 404


def test_whose_event_it_is_must_be_said_where_somebody_unknown_has_its_id_too(
    world: tuple[World, Stream], find: Find
) -> None:
    world[1].post([*ALL, event("tx_1", "seat", Subject.subscription("nobody"), value=1)])
    world[1].deliver()
    assert find("tx_1")[0] == 422
    assert find("tx_1", external_subscription_id="dunlin")[0] == 200


@pytest.mark.parametrize(
    ("most", "status"),
    [
        pytest.param(3, 200, id="as many as there are"),
        pytest.param(2, 422, id="one is unknown and too many"),
        pytest.param(1, 422, id="the catalogue alone has too many"),
    ],
)
def test_an_id_alone_is_looked_for_under_so_many_external_ids(
    world: tuple[World, Stream], find: Find, monkeypatch: pytest.MonkeyPatch, most: int, status: int
) -> None:
    deliver(world[1])
    monkeypatch.setattr(lookup, "MOST_SUBJECTS", most)
    assert find("tx_1")[0] == status
    assert find("tx_1", external_subscription_id="dunlin")[0] == 200


@pytest.mark.parametrize("ident", ["a/b c", "a%2Fb%20c"], ids=["decoded", "as it was sent"])
def test_an_id_of_other_characters(world: tuple[World, Stream], find: Find, ident: str) -> None:
    deliver(world[1])
    assert find(ident)[1]["event"]["transaction_id"] == "a/b c"


@pytest.mark.parametrize("ident", ["", "x" * 256, "a\nb"], ids=["empty", "too long", "a control character"])
def test_what_is_no_id_is_not_found(find: Find, ident: str) -> None:
    assert find(ident) == (404, {"status": 404, "error": "Not Found"})


def test_another_organization_s_event_is_not_found(world: tuple[World, Stream], find: Find) -> None:
    deliver(world[1])
    other = replace(ORGANIZATION, id="0c9d1c52-8f0e-4d0b-9d5c-6b1f6c1f0aff")
    write_catalogue(world[0].table, other, (), [DUNLIN], ())
    key, _ = create_key(world[0].table, other.id, "other", 0)
    assert [find("tx_1")[0], find("tx_1", key)[0]] == [200, 404]
    assert find("tx_1", key, external_subscription_id="dunlin")[0] == 404


@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("default", 200),
        ("subscription", 200),
        ("customer", 200),
        ("both", 422),
        ("unknown_id", 404),
        ("no_key", 401),
        ("wrong_method", 405),
    ],
)
def test_every_file_of_events(
    world: tuple[World, Stream], load: Callable[[str], Any], case: str, status: int
) -> None:
    deliver(world[1])
    key, _ = create_key(world[0].table, ORGANIZATION.id, "test", 0)
    asked = (EVENTS / f"find_event.{case}.json").read_text().replace("events-key", key)
    found, body, headers = load("find_event")(json.loads(asked))
    assert found == status, body
    assert headers.get("Allow") == ("GET, DELETE" if status == 405 else None)

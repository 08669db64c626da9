"""Flexprice's events, field by field; `tests/api` has the answers."""

import json
from typing import Any

import pytest

from meterstone.contracts import flexprice_events
from meterstone.contracts.flexprice_events import Bulk
from meterstone.contracts.message import Problem, Request, RequestRefusedError
from meterstone.usage.arrival import Arrival, Outcome, Receipt, Subject
from meterstone.usage.instant import parse_instant
from support.flexprice import refused

NOW = parse_instant("2024-03-01T12:00:00.000001Z")
FIELDS = {"event_name": "n", "external_customer_id": "c", "event_id": "e"}


def request(body: str | None) -> Request:
    return Request.of({"httpMethod": "POST", "path": "/", "body": body})


def parse(**fields: Any) -> Arrival:
    return flexprice_events.parse_event(request(json.dumps(FIELDS | fields)), NOW, lambda: "made")


def details(**fields: Any) -> dict[str, str]:
    return refused(lambda: parse(**fields))


@pytest.mark.parametrize(
    ("timestamp", "instant"),
    [
        pytest.param("2024-03-01T11:00:00Z", "2024-03-01T11:00:00Z", id="UTC"),
        pytest.param("2024-03-01T11:00:00.1234567+02:00", "2024-03-01T09:00:00.123456Z", id="offset"),
        pytest.param("2024-03-01t11:00:00", "2024-03-01T11:00:00Z", id="no offset"),
        pytest.param("2024-03-01T12:05:00Z", "2024-03-01T12:05:00Z", id="five minutes ahead"),
        pytest.param("0001-01-01T00:00:00.000001Z", "0001-01-01T00:00:00.000001Z", id="long ago"),
    ],
)
def test_a_given_time(timestamp: str, instant: str) -> None:
    arrival = parse(timestamp=timestamp)
    assert (arrival.event.at, arrival.dated) == (parse_instant(instant), True)


@pytest.mark.parametrize("timestamp", [None, "", "0001-01-01T00:00:00Z"])
def test_no_time_is_now(timestamp: object) -> None:
    arrival = parse(timestamp=timestamp)
    assert (arrival.event.at, arrival.dated) == (NOW, False)


@pytest.mark.parametrize(
    "timestamp",
    ["2024-03-01", "now", " ", True, [], "2023-02-29T00:00:00Z", "0000-01-01T00:00:00Z", "1709290800000"],
)
def test_what_is_no_time(timestamp: object) -> None:
    assert details(timestamp=timestamp) == {"timestamp": "must be an RFC 3339 date and time"}


@pytest.mark.parametrize(
    "timestamp", [1709290800, 1709290800.5, 1709290800000], ids=["seconds", "a fraction", "milliseconds"]
)
def test_a_number_is_no_time(timestamp: float) -> None:
    reason = "must be an RFC 3339 date and time, not a number of seconds or milliseconds"
    assert details(timestamp=timestamp) == {"timestamp": reason}


def test_more_than_five_minutes_ahead() -> None:
    ahead = details(timestamp="2024-03-01T12:05:00.000002Z")
    assert ahead == {"timestamp": "is more than 5 minutes ahead of the clock"}


@pytest.mark.parametrize("name", ["event_name", "external_customer_id"])
@pytest.mark.parametrize("value", [None, ""])
def test_what_is_required(name: str, value: object) -> None:
    assert details(**{name: value}) == {name: "is required"}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(5, "must be a string", id="number"),
        pytest.param(0, "must be a string", id="zero"),
        pytest.param(False, "must be a string", id="false"),
        pytest.param([], "must be a string", id="list"),
        pytest.param({}, "must be a string", id="object"),
        pytest.param("x" * 256, "has 256 characters, 255 are allowed", id="long"),
        pytest.param("a\0", "must not hold the control character U+0000", id="NUL"),
        pytest.param("\udfff", "must not hold the control character U+DFFF", id="half a pair"),
        pytest.param(" ", "must not begin or end with white space", id="blank"),
    ],
)
def test_ids(name: str, value: object, reason: str) -> None:
    assert details(**{name: value}) == {name: reason}


@pytest.mark.parametrize("event_id", [None, ""])
def test_an_id_is_made_up(event_id: object) -> None:
    assert parse(event_id=event_id).event.id == "made"


def test_ids_that_are_made_up_differ() -> None:
    assert len({flexprice_events.made_id() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        pytest.param(None, {}, id="none"),
        pytest.param("", {}, id="empty"),
        pytest.param("api", {"source": "api"}, id="a name"),
        pytest.param("x" * 1000, {"source": "x" * 1000}, id="1000 characters"),
    ],
)
def test_the_source_is_kept(source: object, kept: dict[str, str]) -> None:
    assert parse(source=source).notes == kept


@pytest.mark.parametrize("source", [5, [], "x" * 1001, "\0", "\ud800"])
def test_what_is_no_source(source: object) -> None:
    assert details(source=source).keys() == {"source"}


def test_whose_event_it_is() -> None:
    assert parse(customer_id="other").subject == Subject.customer("c")


@pytest.mark.parametrize(
    "body", [None, "", "{", "[]", "7", '{"event_name": "a", "event_name": "a"}', "[" * 100_000]
)
def test_bodies_that_are_none(body: str | None) -> None:
    for parse_body in (flexprice_events.parse_event, flexprice_events.parse_bulk):
        with pytest.raises(RequestRefusedError) as caught:
            parse_body(request(body), NOW)
        answer = json.loads(caught.value.reply.body)
        assert (caught.value.reply.status, answer["code"]) == (400, "validation_error")
        assert "details" not in answer


@pytest.mark.parametrize(
    ("events", "fields"),
    [
        pytest.param(None, {"events"}, id="null"),
        pytest.param([], {"events"}, id="empty"),
        pytest.param({}, {"events"}, id="object"),
        pytest.param([FIELDS] * 1001, {"events"}, id="too many"),
        pytest.param([{}], {"0"}, id="one that is none"),
        pytest.param([7, None, [], "x"], {"0", "1", "2", "3"}, id="none that is one"),
    ],
)
def test_bulks_that_are_none(events: object, fields: set[str]) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        flexprice_events.parse_bulk(request(json.dumps({"events": events})), NOW)
    assert json.loads(caught.value.reply.body)["details"].keys() == fields


def test_a_bad_event_does_not_spoil_the_others() -> None:
    text = json.dumps({"events": [FIELDS, FIELDS | {"properties": {"n": 7}}, 5, FIELDS | {"event_id": None}]})
    bulk = flexprice_events.parse_bulk(request(text.replace("7", "1e400")), NOW, lambda: "made")
    assert (list(bulk.arrivals), list(bulk.rejected)) == ([0, 3], [1, 2])
    assert bulk.rejected[1].startswith("properties cannot be taken: the number 1e400")
    assert bulk.made == {3: "made"}


def test_a_full_bulk() -> None:
    text = json.dumps({"events": [FIELDS | {"event_id": str(number)} for number in range(1000)]})
    assert len(flexprice_events.parse_bulk(request(text), NOW).arrivals) == 1000


@pytest.mark.parametrize("problem", Problem)
def test_problems(problem: Problem) -> None:
    reply = flexprice_events.refuse(problem)
    body = json.loads(reply.body)
    assert body == {"error": "Unauthorized"} or body["http_status_code"] == reply.status
    assert ("Retry-After" in reply.headers) is (problem is Problem.UNAVAILABLE)


NEW, DUPLICATE, CONFLICT = Outcome.NEW, Outcome.DUPLICATE, Outcome.CONFLICT
ARRIVAL = parse()


@pytest.mark.parametrize(
    ("outcome", "unmatched", "status", "called"),
    [
        pytest.param(NEW, None, 202, "accepted", id="new"),
        pytest.param(NEW, "code", 202, "accepted", id="new, but nothing counts it"),
        pytest.param(DUPLICATE, None, 202, "duplicate", id="known"),
        pytest.param(CONFLICT, None, 409, "already_exists", id="known as another"),
    ],
)
def test_answer_event(outcome: Outcome, unmatched: str | None, status: int, called: str) -> None:
    receipt = Receipt({0: outcome}, {0: unmatched} if unmatched else {})
    reply = flexprice_events.answer_event(ARRIVAL, receipt)
    body = json.loads(reply.body)

    assert reply.status == status
    assert body["code" if status == 409 else "status"] == called
    assert body.get("event_id") == (None if status == 409 else "e")
    assert body.get("unmatched") == unmatched
    assert reply.headers.get("x-meterstone-unmatched") == ("0=code" if unmatched else None)


def test_a_bulk_says_of_each_item_why_it_counts_nowhere() -> None:
    """Every value of the answer is text, for official clients read it as a map of texts."""
    bulk = flexprice_events.Bulk({0: ARRIVAL, 1: ARRIVAL, 2: ARRIVAL}, {3: "is none"}, {})
    receipt = Receipt({0: NEW, 1: NEW, 2: DUPLICATE}, {0: "time", 2: "value"})
    body = json.loads(flexprice_events.answer_bulk(bulk, receipt).body)

    assert {name: value for name, value in body.items() if "unmatched" in name} == {
        "unmatched": "2",
        "0.unmatched": "time",
        "2.unmatched": "value",
    }
    assert {type(value) for value in body.values()} == {str}


@pytest.mark.parametrize(
    ("outcomes", "rejected", "made", "answer"),
    [
        pytest.param(
            {0: NEW, 1: NEW},
            {},
            {},
            {"message": "Events accepted for processing", "accepted": "2", "0": "accepted", "1": "accepted"},
            id="all accepted",
        ),
        pytest.param(
            {0: NEW, 1: NEW},
            {},
            {1: "made"},
            {
                "message": "Events accepted for processing",
                "accepted": "2",
                "0": "accepted",
                "1": "accepted",
                "1.event_id": "made",
            },
            id="an id is made up",
        ),
        pytest.param(
            {3: CONFLICT, 0: NEW, 1: DUPLICATE},
            {2: "event_name is required"},
            {},
            {
                "message": "Events: 1 accepted, 1 duplicate, 1 conflict, 1 rejected",
                "accepted": "1",
                "duplicate": "1",
                "conflict": "1",
                "rejected": "1",
                "0": "accepted",
                "1": "duplicate",
                "2": "rejected",
                "2.reason": "event_name is required",
                "3": "conflict",
            },
            id="one of each",
        ),
        pytest.param(
            {0: DUPLICATE, 1: DUPLICATE},
            {},
            {},
            {"message": "Events: 2 duplicate", "duplicate": "2", "0": "duplicate", "1": "duplicate"},
            id="what there is none of is not in the message",
        ),
    ],
)
def test_answer_bulk(
    outcomes: dict[int, Outcome], rejected: dict[int, str], made: dict[int, str], answer: dict[str, str]
) -> None:
    bulk = Bulk(dict.fromkeys(outcomes, ARRIVAL), rejected, made)
    reply = flexprice_events.answer_bulk(bulk, Receipt(outcomes))
    counts = dict.fromkeys(("accepted", "duplicate", "conflict", "rejected"), "0")

    assert reply.status == 202
    assert json.loads(reply.body) == counts | answer


def test_a_bulk_that_was_stored_in_part_is_503_and_says_which_part() -> None:
    """A client that looks at the status alone sends it again. The counts and outcomes are those of a 202."""
    arrival = parse()
    outcomes = {0: Outcome.NEW, 1: Outcome.UNAVAILABLE, 2: Outcome.DUPLICATE, 4: Outcome.UNAVAILABLE}
    bulk = Bulk(dict.fromkeys(outcomes, arrival), {3: "event must be an object"}, {0: "made"})
    reply = flexprice_events.answer_bulk(bulk, Receipt(outcomes, {0: "customer"}))
    body = json.loads(reply.body)
    assert (reply.status, reply.headers["Retry-After"], reply.headers["x-meterstone-unmatched"]) == (
        503,
        "5",
        "0=customer",
    )
    assert (body["code"], body["http_status_code"]) == ("service_unavailable", 503)
    assert body["details"] == {
        "message": "Events: 1 accepted, 1 duplicate, 2 unavailable, 1 rejected",
        "accepted": "1",
        "duplicate": "1",
        "conflict": "0",
        "unavailable": "2",
        "rejected": "1",
        "unmatched": "1",
        "0": "accepted",
        "0.event_id": "made",
        "0.unmatched": "customer",
        "1": "unavailable",
        "2": "duplicate",
        "3": "rejected",
        "3.reason": "event must be an object",
        "4": "unavailable",
    }

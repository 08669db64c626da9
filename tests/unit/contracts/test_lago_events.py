"""Lago's events, field by field; `tests/api` has the answers."""

import json
from copy import replace
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest

from meterstone.contracts import lago_events
from meterstone.contracts.message import Request, RequestRefusedError
from meterstone.usage.arrival import Arrival, Outcome, Receipt, Subject
from meterstone.usage.instant import parse_instant
from support import lago
from support.lago import BAD_IDS

NOW = parse_instant("2024-03-01T12:00:00.000001Z")
FIELDS = {"transaction_id": "t", "code": "c", "external_subscription_id": "s"}


def request(body: str | None, *, is_base64: bool = False) -> Request:
    return Request.of({"httpMethod": "POST", "path": "/", "body": body, "isBase64Encoded": is_base64})


def parse(**fields: Any) -> Arrival:
    return lago_events.parse_event(request(json.dumps({"event": FIELDS | fields})), NOW)


def refused(body: str | None, *, is_base64: bool = False) -> tuple[int, dict[str, Any]]:
    return lago.refused(lambda: lago_events.parse_event(request(body, is_base64=is_base64), NOW))


def details(**fields: Any) -> Any:
    return lago.details(lambda: parse(**fields))


@pytest.mark.parametrize(
    ("timestamp", "instant"),
    [
        pytest.param(1709290800, 1_709_290_800_000_000, id="integer"),
        pytest.param(1709290800.25, 1_709_290_800_250_000, id="float"),
        pytest.param("1709290800", 1_709_290_800_000_000, id="text"),
        pytest.param("1709290800.123456789", 1_709_290_800_123_456, id="text, cut to the microsecond"),
        pytest.param(0, 0, id="epoch"),
        pytest.param(-1, -1_000_000, id="before the epoch"),
        pytest.param(1709294699, 1_709_294_699_000_000, id="five minutes ahead, not more"),
    ],
)
def test_a_given_time(timestamp: object, instant: int) -> None:
    arrival = parse(timestamp=timestamp)
    assert (arrival.event.at, arrival.dated, arrival.accepted) == (instant, True, NOW)


@pytest.mark.parametrize("fields", [{}, {"timestamp": None}])
def test_no_time_is_now(fields: dict[str, None]) -> None:
    arrival = parse(**fields)
    assert (arrival.event.at, arrival.dated) == (NOW, False)
    assert arrival.content == '["c",null,{}]'


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "now",
        "2024-03-01T12:00:00Z",
        "1e101",
        "1_000",
        " 1",
        "NaN",
        "-",
        True,
        [],
        {},
        [1],
        "9" * 16,
        10**20,
    ],
)
def test_what_is_no_time(timestamp: object) -> None:
    assert details(timestamp=timestamp) == {"timestamp": ["invalid_format"]}


@pytest.mark.parametrize("timestamp", [1_709_290_800_000, "1709290800000.5"])
def test_milliseconds_are_called_so(timestamp: object) -> None:
    assert details(timestamp=timestamp) == {"timestamp": ["invalid_format", "in_milliseconds"]}


@pytest.mark.parametrize("timestamp", ["1e400", "1e15", "1" * 101])
def test_what_is_no_time_as_a_number(timestamp: str) -> None:
    body = json.dumps({"event": FIELDS | {"timestamp": 7}}).replace("7", timestamp)
    status, answer = refused(body)
    assert (status, answer["error_details"]) == (422, {"timestamp": ["invalid_format"]})


def test_more_than_five_minutes_ahead() -> None:
    assert details(timestamp=1709294701) == {"timestamp": ["value_is_out_of_range"]}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(("value", "code"), BAD_IDS)
def test_ids(name: str, value: object, code: str) -> None:
    assert details(**{name: value}) == {name: [code]}


@pytest.mark.parametrize(
    ("value", "kept"),
    [(None, None), ("12.50", "12.5"), (7, "7"), ("0", "0"), (0.1, "0.1"), ("-3", "-3")],
)
def test_the_amount_of_an_event_s_own(value: object, kept: str | None) -> None:
    arrival = parse(precise_total_amount_cents=value)
    assert arrival.notes.get("precise_total_amount_cents") == kept
    written = json.loads(
        lago_events.answer_event("o", arrival, Receipt({0: Outcome.NEW})).body, parse_float=Decimal
    )
    assert written["event"]["precise_total_amount_cents"] == kept


@pytest.mark.parametrize("value", ["", "much", True, [], "1e101", "1" * 101])
def test_what_is_no_amount(value: object) -> None:
    assert details(precise_total_amount_cents=value) == {"precise_total_amount_cents": ["value_is_invalid"]}


def reasons(fields: dict[str, Any]) -> Any:
    status, body = refused(json.dumps({"event": FIELDS | fields}))
    assert status == 422
    return body["reasons"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"code": None}, "is required"),
        ({"code": 5}, "must be a string"),
        ({"code": "x" * 256}, "has 256 characters, 255 are allowed"),
        ({"code": "a\0"}, "must not hold the control character U+0000"),
        ({"code": " a"}, "must not begin or end with white space"),
        ({"timestamp": "now"}, "must be a number of seconds since 1970, or its text"),
        ({"timestamp": "2024-03-01T12:00:00Z"}, "must be a number of seconds since 1970, or its text"),
        ({"timestamp": True}, "must be a number of seconds since 1970, or its text"),
        ({"timestamp": 1709294701}, "is more than 5 minutes ahead of the clock"),
        ({"timestamp": 1709290800000}, "is in milliseconds: give seconds"),
        ({"timestamp": "1709290800000000"}, "is in microseconds: give seconds"),
        ({"timestamp": 1709290800000000000}, "is in nanoseconds: give seconds"),
        ({"timestamp": 10**15 - 1}, "outside the years 1 to 9999"),
        ({"properties": [1]}, "cannot be taken: properties must be an object"),
        (
            {"properties": {"a": "\ud800"}},
            "cannot be taken: holds half of a surrogate pair, which is no text",
        ),
        ({"properties": {"a": "x" * 65_536}}, "cannot be taken: has more than 65536 bytes"),
        ({"precise_total_amount_cents": "much"}, "not a number of the form -12.5"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_the_reason_beside_a_code(fields: dict[str, Any], reason: str) -> None:
    assert reasons(fields) == dict.fromkeys(fields, reason)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome.DUPLICATE, "this event was taken before"),
        (Outcome.CONFLICT, "was used for an event that says something else, or was withdrawn"),
    ],
)
def test_the_reason_why_an_id_is_taken(outcome: Outcome, reason: str) -> None:
    one = lago_events.answer_event("o", parse(), Receipt({0: outcome}))
    assert json.loads(one.body)["reasons"] == {"transaction_id": reason}
    several = lago_events.answer_batch("o", {0: parse(), 1: parse()}, Receipt({0: Outcome.NEW, 1: outcome}))
    assert json.loads(several.body)["reasons"] == {"1": {"transaction_id": reason}}


def test_whose_event_it_is() -> None:
    assert parse(external_customer_id="c").subject == Subject.subscription("s")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(None, id="no body"),
        pytest.param("", id="empty"),
        pytest.param("{", id="cut off"),
        pytest.param("[]", id="list"),
        pytest.param("null", id="null"),
        pytest.param("{}", id="no event"),
        pytest.param('{"event": null}', id="null event"),
        pytest.param('{"event": {}}', id="empty event"),
        pytest.param('{"event": []}', id="event is a list"),
        pytest.param('{"event": "x"}', id="event is text"),
        pytest.param('{"event": {"code": "a", "code": "a"}}', id="repeated key"),
        pytest.param('{"event": {"timestamp": NaN}}', id="NaN"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param('{"event": "' + "x" * 1_000_000, id="huge"),
    ],
)
def test_bodies_that_are_none(body: str | None) -> None:
    status, answer = refused(body)
    assert (status, answer["status"]) == (400, 400)
    assert answer["error"].startswith("BadRequest: ")
    assert len(answer["error"]) < 200


def test_a_body_that_is_no_base64() -> None:
    assert refused("?", is_base64=True)[0] == 400


def test_numbers_are_answered_as_they_came() -> None:
    body = '{"event": {"transaction_id": "t", "code": "c", "external_subscription_id": "s", "properties": '
    arrival = lago_events.parse_event(request(body + '{"n": 999999999999999.123456789012345}}}'), NOW)
    answer = lago_events.answer_event("o", arrival, Receipt({0: Outcome.NEW})).body
    assert '"properties":{"n":999999999999999.123456789012345}' in answer


def test_the_same_event_has_the_same_ids_and_no_other_has() -> None:
    def ids(organization: str, **fields: str) -> tuple[str, str]:
        reply = lago_events.answer_event(organization, parse(**fields), Receipt({0: Outcome.NEW}))
        event = json.loads(reply.body)["event"]
        return event["lago_id"], event["lago_subscription_id"]

    first = ids("o")
    assert ids("o", code="other") == first
    others = [
        ids("p"),
        ids("o", transaction_id="u"),
        ids("o", external_subscription_id="u"),
        ids("o", external_subscription_id="s,t"),
    ]
    assert len({first[0], *(other[0] for other in others)}) == 5
    assert len({first[1], others[0][1], others[2][1], others[3][1]}) == 4


def test_answer_event_keeps_its_ids_and_is_cut_to_the_second_and_the_millisecond() -> None:
    """Clients keep these ids: they are made of the names in this order, for ever."""
    space = uuid5(NAMESPACE_URL, "meterstone:lago")
    arrival = replace(parse(), accepted=parse_instant("2024-03-01T12:00:01.999999Z"))
    reply = lago_events.answer_event("o", arrival, Receipt({0: Outcome.NEW}))
    event = json.loads(reply.body)["event"]

    assert event["lago_id"] == str(uuid5(space, f'["o", "event", "s", "{arrival.event.id}"]'))
    assert event["lago_subscription_id"] == str(uuid5(space, '["o", "subscription", "s"]'))
    assert event["created_at"] == "2024-03-01T12:00:01Z"
    assert len(event["timestamp"]) == len("2024-03-01T12:00:01.999Z")


def parse_batch(events: object) -> dict[int, Arrival]:
    return lago_events.parse_batch(request(json.dumps({"events": events})), NOW)


@pytest.mark.parametrize(
    ("events", "answer"),
    [
        pytest.param(None, {"events": ["no_events"]}, id="null"),
        pytest.param([], {"events": ["no_events"]}, id="empty"),
        pytest.param({}, {"events": ["value_is_invalid"]}, id="object"),
        pytest.param("x", {"events": ["value_is_invalid"]}, id="text"),
        pytest.param([{}] * 101, {"events": ["too_many_events"]}, id="too many"),
        pytest.param([FIELDS, 7], {"1": {"event": ["value_is_invalid"]}}, id="a number"),
        pytest.param([None], {"0": {"event": ["value_is_invalid"]}}, id="a null"),
        pytest.param(
            [FIELDS, FIELDS | {"timestamp": "x"}], {"1": {"timestamp": ["invalid_format"]}}, id="second"
        ),
        pytest.param(
            [FIELDS | {"transaction_id": str(i), "properties": {"a": "x" * 60_000}} for i in range(51)],
            {"events": ["value_is_too_long"]},
            id="more than 3 MB",
        ),
    ],
)
def test_batches_that_are_none(events: object, answer: object) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        parse_batch(events)
    assert caught.value.reply.status == 422
    assert json.loads(caught.value.reply.body)["error_details"] == answer


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([], {"events": "there must be at least one event"}),
        ("x", {"events": "must be a list"}),
        ([{}] * 101, {"events": "has 101 events, 100 are allowed"}),
        ([FIELDS, 7], {"1": {"event": "must be an object"}}),
        (
            [FIELDS | {"code": ""}, FIELDS, FIELDS | {"timestamp": "x"}],
            {
                "0": {"code": "is required"},
                "2": {"timestamp": "must be a number of seconds since 1970, or its text"},
            },
        ),
    ],
    ids=["empty", "text", "too many", "a number", "two of three"],
)
def test_the_reasons_of_a_batch(events: object, why: object) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        parse_batch(events)
    assert json.loads(caught.value.reply.body)["reasons"] == why


def test_a_full_batch() -> None:
    found = parse_batch([FIELDS | {"transaction_id": str(number)} for number in range(100)])
    assert [arrival.event.id for arrival in found.values()] == [str(number) for number in range(100)]
    assert list(found) == list(range(100))

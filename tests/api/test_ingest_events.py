"""The function that takes events in: every file of events/ for it, and what its four routes do in a row."""

import json
from collections.abc import Callable
from copy import replace
from pathlib import Path
from typing import Any

import pytest

from meterstone import clock
from meterstone.store.dynamodb.table import key_item
from meterstone.usage.instant import SECOND, parse_instant
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.subscription import Organization
from support.one_subscription import item_of, subscription_of
from support.written import write_catalogue

EVENTS = Path(__file__).parents[2] / "events"
ORGANIZATION = "7d1f4f0e-3a52-4a53-9d1c-6a0c7f8b9e10"
NOW = parse_instant("2023-12-05T03:00:00.25Z")
REQUEST = Meter("request", "request", "Requests", Aggregation.COUNT, "request")

type Ask = Callable[[str, Any], tuple[int, Any, dict[str, str]]]


@pytest.fixture(autouse=True)
def _catalogue(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)
    store.meters = (REQUEST,)
    subscribe(store, REQUEST)


def subscribe(store: Any, *meters: Meter) -> None:
    """Give the customer `dunlin` the subscription `dunlin`, with a line item for each meter."""
    items = [item_of(meter, start="2023-01-01", name=meter.id) for meter in meters]
    found = subscription_of(*items, start="2023-01-01")
    found = replace(found, external_id="dunlin", customer_id="dunlin")
    write_catalogue(store.table, Organization(ORGANIZATION), store.meters, [found])


@pytest.fixture
def run(load: Callable[[str], Any]) -> Callable[[str], tuple[int, Any, dict[str, str]]]:
    """Put a file of events/ through the handler."""
    invoke = load("ingest_events")
    return lambda case: invoke(json.loads((EVENTS / f"ingest_events.{case}.json").read_text()))


def asking(load: Callable[[str], Any]) -> Ask:
    """Load the function; post a body to a path with a good key."""
    invoke = load("ingest_events")
    headers = {"Authorization": "Bearer events-key", "x-api-key": "events-key"}

    def ask(path: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        event = {"httpMethod": "POST", "path": path, "headers": headers, "body": json.dumps(body)}
        status, answer, found = invoke(event)
        assert found.pop("Content-Type") == "application/json"
        return status, answer, found

    return ask


@pytest.fixture
def ask(load: Callable[[str], Any]) -> Ask:
    return asking(load)


def logged(store: Any) -> dict[str, dict[str, Any]]:
    return {item["id"]["S"]: item for item in store.table.items().values() if "e" in item}


LAGO_EVENT = {
    "lago_id": "dae5391d-831b-5efd-bfa5-76cced0eac17",
    "transaction_id": "tx_1",
    "lago_customer_id": None,
    "code": "request",
    "timestamp": "2023-12-04T14:26:40.000Z",
    "precise_total_amount_cents": None,
    "properties": {"tokens": 12.5, "model": "large"},
    "lago_subscription_id": "3ee6d82d-370a-5d43-8a97-21ac3198651f",
    "external_subscription_id": "dunlin",
    "created_at": "2023-12-05T03:00:00Z",
}


@pytest.mark.parametrize(
    ("case", "changes", "unmatched"),
    [
        pytest.param("lago_event", {}, None, id="event"),
        pytest.param(
            "lago_nulls", {"timestamp": "2023-12-05T03:00:00.250Z", "properties": {}}, None, id="nulls"
        ),
        pytest.param(
            "lago_decimal_text",
            {"timestamp": "2023-12-04T14:26:40.123Z", "precise_total_amount_cents": "1234.5678"},
            None,
            id="decimal text",
        ),
        pytest.param(
            "lago_unmatched",
            {"external_subscription_id": "nobody", "code": "nothing"},
            "0=subscription",
            id="unmatched",
        ),
    ],
)
def test_a_lago_event(run: Any, case: str, changes: dict[str, Any], unmatched: str | None) -> None:
    status, body, headers = run(case)
    assert status == 200
    if case == "lago_unmatched":
        changes |= {name: body["event"][name] for name in ("lago_id", "lago_subscription_id")}
    assert body == {"event": LAGO_EVENT | changes}
    assert headers.get("x-meterstone-unmatched") == unmatched
    assert headers.get("x-meterstone-unmatched-count") == (unmatched and "1")


@pytest.mark.parametrize(
    ("case", "details"),
    [
        ("lago_iso_timestamp", {"timestamp": ["invalid_format"]}),
        ("lago_ahead", {"timestamp": ["value_is_out_of_range"]}),
        (
            "lago_missing_fields",
            {
                "transaction_id": ["value_is_mandatory"],
                "code": ["value_is_mandatory"],
                "external_subscription_id": ["value_is_mandatory"],
            },
        ),
        (
            "lago_wrong_types",
            {
                "transaction_id": ["value_is_invalid"],
                "code": ["value_is_invalid"],
                "external_subscription_id": ["value_is_invalid"],
                "timestamp": ["invalid_format"],
                "precise_total_amount_cents": ["value_is_invalid"],
                "properties": ["value_is_invalid"],
            },
        ),
        ("lago_huge_id", {"transaction_id": ["value_is_too_long"]}),
        ("lago_huge_number", {"properties": ["value_is_invalid"]}),
        ("lago_huge_event", {"properties": ["value_is_too_long"]}),
        (
            "lago_batch_bad_event",
            {
                "1": {"timestamp": ["invalid_format"]},
                "2": {
                    "transaction_id": ["value_is_mandatory"],
                    "code": ["value_is_mandatory"],
                    "external_subscription_id": ["value_is_mandatory"],
                },
            },
        ),
        (
            "lago_batch_repeated",
            {"1": {"transaction_id": ["value_already_exist"]}, "2": {"transaction_id": ["conflict"]}},
        ),
        ("lago_batch_empty", {"events": ["no_events"]}),
        ("lago_batch_too_many", {"events": ["too_many_events"]}),
    ],
)
def test_what_lago_s_shape_refuses(run: Any, store: Any, case: str, details: dict[str, Any]) -> None:
    status, body, _ = run(case)
    assert status == 422
    assert body.pop("reasons").keys() == details.keys()
    assert body == {
        "status": 422,
        "error": "Unprocessable Entity",
        "code": "validation_errors",
        "error_details": details,
    }
    assert logged(store) == {}


@pytest.mark.parametrize(
    ("case", "status", "error"),
    [
        ("lago_no_event", 400, "BadRequest: param is missing or the value is empty: event"),
        ("lago_malformed_json", 400, "BadRequest: the body is not JSON: Expecting value (column 10)"),
        ("lago_no_key", 401, "Unauthorized"),
        ("lago_unknown_key", 401, "Unauthorized"),
        ("lago_wrong_method", 405, "Method Not Allowed"),
        ("lago_batch_wrong_method", 405, "Method Not Allowed"),
        ("unknown_route", 404, "Not Found"),
    ],
)
def test_other_errors_in_lago_s_shape(run: Any, store: Any, case: str, status: int, error: str) -> None:
    found, body, headers = run(case)
    assert (found, body) == (status, {"status": status, "error": error})
    assert headers.get("Allow") == ("POST" if status == 405 else None)
    assert logged(store) == {}


def test_a_lago_batch(run: Any, store: Any) -> None:
    status, body, _ = run("lago_batch")
    assert status == 200
    assert [event["transaction_id"] for event in body["events"]] == ["tx_0", "tx_1", "tx_2"]
    assert body["events"][1] == LAGO_EVENT
    assert logged(store).keys() == {"tx_0", "tx_1", "tx_2"}


@pytest.mark.parametrize(
    ("case", "unmatched"),
    [("flexprice_event", None), ("flexprice_base64", None), ("flexprice_unmatched", "0=customer")],
)
def test_a_flexprice_event(run: Any, store: Any, case: str, unmatched: str | None) -> None:
    status, body, headers = run(case)
    said = {} if unmatched is None else {"unmatched": "customer"}
    assert (status, body) == (
        202,
        {"message": "Event accepted for processing", "event_id": "ev_1", "status": "accepted"} | said,
    )
    assert headers.get("x-meterstone-unmatched") == unmatched
    assert logged(store).keys() == {"ev_1"}


@pytest.mark.parametrize("case", ["flexprice_without_id", "flexprice_nulls"])
def test_an_id_is_made_up(run: Any, store: Any, case: str) -> None:
    (status, one, _), (_, other, _) = run(case), run(case)
    assert (status, one["status"], other["status"]) == (202, "accepted", "accepted")
    assert logged(store).keys() == {one["event_id"], other["event_id"]}
    assert len(logged(store)) == 2


@pytest.mark.parametrize(
    ("case", "details"),
    [
        ("flexprice_missing_fields", {"event_name", "external_customer_id"}),
        (
            "flexprice_wrong_types",
            {"event_name", "external_customer_id", "event_id", "timestamp", "source", "properties"},
        ),
        ("flexprice_ahead", {"timestamp"}),
        ("flexprice_malformed_json", None),
        ("flexprice_repeated_key", None),
        ("flexprice_no_body", None),
        ("flexprice_bulk_all_bad", {"0", "1"}),
        ("flexprice_bulk_empty", {"events"}),
        ("flexprice_bulk_too_many", {"events"}),
    ],
)
def test_what_flexprice_s_shape_refuses(run: Any, store: Any, case: str, details: set[str] | None) -> None:
    status, body, _ = run(case)
    assert (status, body["code"], body["http_status_code"]) == (400, "validation_error", 400)
    assert body.get("details", {}).keys() == (details or set())
    assert all(isinstance(detail["reason"], str) for detail in body.get("details", {}).values())
    assert logged(store) == {}


@pytest.mark.parametrize(
    ("case", "status", "body"),
    [
        ("flexprice_no_key", 401, {"error": "Unauthorized"}),
        ("flexprice_unknown_key", 401, {"error": "Unauthorized"}),
        (
            "flexprice_wrong_method",
            405,
            {
                "code": "invalid_operation",
                "message": "This path does not take that method.",
                "http_status_code": 405,
            },
        ),
    ],
)
def test_other_errors_in_flexprice_s_shape(run: Any, case: str, status: int, body: dict[str, Any]) -> None:
    assert run(case)[:2] == (status, body)


def test_a_flexprice_bulk(run: Any, store: Any) -> None:
    counts = {"accepted": "3", "duplicate": "0", "conflict": "0", "rejected": "0"}
    each = {"0": "accepted", "1": "accepted", "2": "accepted"}
    status, body, _ = run("flexprice_bulk")
    assert (status, body) == (202, {"message": "Events accepted for processing"} | counts | each)
    assert logged(store).keys() == {"ev_0", "ev_1", "ev_2"}


def test_a_bulk_tells_of_each_event(run: Any, store: Any) -> None:
    status, body, _ = run("flexprice_bulk_mixed")
    made = body.pop("5.event_id")
    assert status == 202
    assert body == {
        "message": "Events: 2 accepted, 1 duplicate, 1 conflict, 2 rejected",
        "accepted": "2",
        "duplicate": "1",
        "conflict": "1",
        "rejected": "2",
        "0": "accepted",
        "1": "duplicate",
        "2": "conflict",
        "3": "rejected",
        "3.reason": "timestamp must be an RFC 3339 date and time",
        "4": "rejected",
        "4.reason": "event must be an object",
        "5": "accepted",
    }
    assert logged(store).keys() == {"ev_1", made}


def test_a_stream_record_alone_says_whose_event_it_is(run: Any, store: Any) -> None:
    run("lago_decimal_text")
    run("flexprice_nulls")
    items = logged(store).values()
    assert [{name: value for name, value in item.items() if name not in {"id", "by"}} for item in items] == [
        {
            "e": {"S": '["request",1701700000123456,{"model":"large","tokens":12.5}]'},
            "acc": {"N": str(NOW)},
            "at": {"N": "1701700000123456"},
            "org": {"S": ORGANIZATION},
            "k": {"S": "s"},
            "x": {"S": "dunlin"},
            "n": {"S": '{"precise_total_amount_cents":"1234.5678"}'},
        },
        {
            "e": {"S": '["request",null,{}]'},
            "acc": {"N": str(NOW)},
            "at": {"N": str(NOW)},
            "org": {"S": ORGANIZATION},
            "k": {"S": "c"},
            "x": {"S": "dunlin"},
        },
    ]


LAGO = {
    "transaction_id": "t",
    "code": "request",
    "external_subscription_id": "dunlin",
    "timestamp": 1701700000,
}
FLEX = {"event_id": "t", "event_name": "request", "external_customer_id": "dunlin"}


@pytest.mark.parametrize(
    ("first", "second", "answer"),
    [
        pytest.param(LAGO, LAGO, "value_already_exist", id="the same"),
        pytest.param(LAGO, LAGO | {"timestamp": "1701700000.000"}, "value_already_exist", id="another text"),
        pytest.param(LAGO, LAGO | {"properties": None}, "value_already_exist", id="null for none"),
        pytest.param(LAGO, LAGO | {"extra": 1}, "value_already_exist", id="an unknown field"),
        pytest.param(
            LAGO | {"timestamp": None}, LAGO | {"timestamp": None}, "value_already_exist", id="undated"
        ),
        pytest.param(LAGO | {"timestamp": None}, LAGO, "conflict", id="undated, then dated"),
        pytest.param(LAGO, LAGO | {"code": "other"}, "conflict", id="another code"),
        pytest.param(LAGO, LAGO | {"timestamp": 1701700001}, "conflict", id="another time"),
        pytest.param(LAGO, LAGO | {"properties": {"a": 1}}, "conflict", id="other properties"),
        pytest.param(LAGO, LAGO | {"external_subscription_id": "other"}, None, id="another subscription"),
    ],
)
@pytest.mark.parametrize("batched", [0, 1], ids=["event", "batch"])
def test_a_transaction_id_counts_once_in_lago_s_shape(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, first: Any, second: Any, answer: str | None, batched: int
) -> None:
    assert (
        ask(
            "/api/v1/events",
            {"event": first},
        )[0]
        == 200
    )
    monkeypatch.setattr(clock, "now", lambda: NOW + 60 * SECOND)
    path, body = ("/api/v1/events", {"event": second})
    if batched:
        path, body = "/api/v1/events/batch", {"events": [LAGO | {"transaction_id": "new"}, second]}
    status, found, _ = ask(path, body)
    if answer is None:
        assert status == 200
        return
    details = {"transaction_id": [answer]}
    assert (status, found["error_details"]) == (422, {"1": details} if batched else details)


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        pytest.param(FLEX, FLEX, "duplicate", id="undated"),
        pytest.param(FLEX, FLEX | {"timestamp": "0001-01-01T00:00:00Z"}, "duplicate", id="zero time"),
        pytest.param(
            FLEX | {"timestamp": "2023-12-04T01:00:00+01:00"},
            FLEX | {"timestamp": "2023-12-04T00:00:00Z"},
            "duplicate",
            id="another offset",
        ),
        pytest.param(FLEX, FLEX | {"source": "elsewhere"}, "duplicate", id="another source"),
        pytest.param(FLEX, FLEX | {"properties": {}}, "duplicate", id="no properties"),
        pytest.param(FLEX, FLEX | {"timestamp": "2023-12-04T00:00:00Z"}, "conflict", id="another time"),
        pytest.param(FLEX, FLEX | {"event_name": "other"}, "conflict", id="another name"),
        pytest.param(FLEX, FLEX | {"properties": {"a": "1"}}, "conflict", id="other properties"),
        pytest.param(FLEX, FLEX | {"external_customer_id": "other"}, "accepted", id="another customer"),
    ],
)
def test_an_event_id_counts_once_in_flexprice_s_shape(
    ask: Ask, store: Any, monkeypatch: pytest.MonkeyPatch, first: Any, second: Any, outcome: str
) -> None:
    assert ask("/v1/events", first)[0] == 202
    before = logged(store)["t"]
    monkeypatch.setattr(clock, "now", lambda: NOW + 60 * SECOND)
    status, single, _ = ask("/v1/events", second)
    if outcome == "conflict":
        assert (status, single["code"]) == (409, "already_exists")
        assert single["details"] == {"event_id": {"reason": "conflict"}}
    else:
        assert (status, single["status"]) == (202, outcome)
    status, bulk, _ = ask("/v1/events/bulk", {"events": [second]})
    assert (status, bulk["0"]) == (202, "duplicate" if outcome == "accepted" else outcome)
    assert outcome == "accepted" or logged(store) == {"t": before}


def test_lago_s_and_flexprice_s_ids_are_apart(ask: Ask) -> None:
    """One is a subscription's, the other a customer's, whatever both are called."""
    assert ask("/api/v1/events", {"event": LAGO})[0] == 200
    assert ask("/v1/events", FLEX)[1]["status"] == "accepted"


def test_a_withdrawn_id_is_not_free_again(ask: Ask, store: Any) -> None:
    ask("/api/v1/events", {"event": LAGO})
    ask("/v1/events", FLEX)
    for key, item in store.table.items().items():
        if "e" in item:
            store.table.put(key_item(key) | item | {"w": {"N": "1"}})
    assert ask("/api/v1/events", {"event": LAGO})[1]["error_details"] == {"transaction_id": ["conflict"]}
    batch = ask("/api/v1/events/batch", {"events": [LAGO]})
    assert batch[1]["error_details"] == {"0": {"transaction_id": ["conflict"]}}
    assert ask("/v1/events", FLEX)[0] == 409
    assert ask("/v1/events/bulk", {"events": [FLEX]})[1]["0"] == "conflict"


@pytest.mark.parametrize(
    ("path", "body", "contract"),
    [
        pytest.param("/api/v1/events", {"event": LAGO}, "lago", id="lago"),
        pytest.param("/api/v1/events/batch", {"events": [LAGO]}, "lago", id="lago batch"),
        pytest.param("/v1/events", FLEX, "flexprice", id="flexprice"),
        pytest.param("/v1/events/bulk", {"events": [FLEX]}, "flexprice", id="flexprice bulk"),
    ],
)
@pytest.mark.parametrize("lost", [0, 1], ids=["not written", "written, answer lost"])
def test_an_outage_is_503_and_the_retry_is_safe(
    ask: Ask, store: Any, path: str, body: Any, contract: str, lost: int
) -> None:
    if lost:
        store.table.faults.lost = lambda _: True
    else:
        store.table.faults.unavailable = lambda _: True
    status, answer, headers = ask(path, body)
    assert (status, headers["Retry-After"]) == (503, "5")
    assert answer.keys() == (
        {"status", "error"} if contract == "lago" else {"code", "message", "http_status_code"}
    )
    assert len(logged(store)) == lost
    store.table.faults.lost = store.table.faults.unavailable = lambda _: False
    again = ask(path, body)[0]
    assert again == ((422 if lost else 200) if contract == "lago" else 202)
    assert len(logged(store)) == 1


def test_what_a_bulk_wrote_before_an_outage_answers_duplicate(ask: Ask, store: Any) -> None:
    bulk = {"events": [FLEX | {"event_id": f"t{number}"} for number in range(40)]}
    begin = store.table.writes
    store.table.faults.unavailable = lambda number: number >= begin + 25
    status, body, headers = ask("/v1/events/bulk", bulk)
    assert (status, headers["Retry-After"]) == (503, "5")
    assert (body["details"]["accepted"], body["details"]["unavailable"]) == ("25", "15")
    assert len(logged(store)) == 25
    store.table.faults.unavailable = lambda _: False
    status, body, _ = ask("/v1/events/bulk", bulk)
    assert (status, body["accepted"], body["duplicate"]) == (202, "15", "25")


def test_each_contract_has_its_own_failures(ask: Ask, store: Any) -> None:
    store.failure = ZeroDivisionError()
    assert ask("/api/v1/events", {"event": LAGO})[1] == {"status": 500, "error": "Internal Server Error"}
    assert ask("/v1/events", FLEX)[1]["code"] == "internal_error"


def test_metrics_tell_of_events(load: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    ask = asking(load)
    ask("/v1/events/bulk", {"events": [FLEX, FLEX, FLEX | {"event_name": "x"}, {}, FLEX | {"event_id": "u"}]})
    ask("/v1/events/bulk", {"events": [FLEX | {"external_customer_id": "nobody"}]})
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    names = [f"Events{name}" for name in ("Accepted", "Duplicate", "Conflicting", "Rejected", "Unmatched")]
    assert [first[name] for name in names] == [[2.0], [1.0], [1.0], [1.0], [0.0]]
    assert [second[name] for name in names] == [[1.0], [0.0], [0.0], [0.0], [1.0]]
    assert first["route"] == "POST /v1/events/bulk"


def test_a_deleted_metric_s_code_is_unknown_from_then_on(ask: Ask, store: Any) -> None:
    deleted = replace(REQUEST, deleted_at=NOW)
    store.meters = (deleted,)
    subscribe(store, deleted)
    assert "x-meterstone-unmatched" not in ask("/api/v1/events", {"event": LAGO})[2]
    late = LAGO | {"transaction_id": "late", "timestamp": NOW // SECOND + 1}
    assert ask("/api/v1/events", {"event": late})[2]["x-meterstone-unmatched"] == "0=code"


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/api/v1/events", lambda lago, _: {"event": lago}, 0),
        ("/api/v1/events/batch", lambda lago, _: {"events": [LAGO, lago]}, 1),
        ("/v1/events", lambda _, flex: flex, 0),
        ("/v1/events/bulk", lambda _, flex: {"events": [FLEX, flex]}, 1),
    ],
)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"external": "nobody"}, {"subscription", "customer"}, id="nobody"),
        pytest.param({"at": "2022-12-31T23:59:59Z"}, {"time"}, id="before the subscription"),
        pytest.param({"name": "other"}, {"code"}, id="no meter"),
        pytest.param({"name": "unpriced"}, {"line_item"}, id="not priced"),
        pytest.param({"name": "sum", "properties": {"v": "1,000"}}, {"value"}, id="no number"),
    ],
)
def test_every_route_says_why_an_event_counts_nowhere(
    ask: Ask, store: Any, path: str, body: Any, place: int, change: dict[str, Any], reason: set[str]
) -> None:
    summed = Meter("sum", "sum", "", Aggregation.SUM, "sum", "v")
    unpriced = Meter("unpriced", "unpriced", "", Aggregation.COUNT, "unpriced")
    store.meters = (REQUEST, summed, unpriced)
    subscribe(store, REQUEST, summed)
    name, external = change.get("name", "request"), change.get("external", "dunlin")
    at, properties = change.get("at", "2023-12-04T00:00:00Z"), change.get("properties", {})
    seconds = parse_instant(at) // SECOND
    lago = {"transaction_id": "u", "code": name, "external_subscription_id": external, "timestamp": seconds}
    flex = {"event_id": "u", "event_name": name, "external_customer_id": external, "timestamp": at}
    _, answer, headers = ask(path, body(lago | {"properties": properties}, flex | {"properties": properties}))
    (said,) = reason if len(reason) == 1 else reason & {"subscription" if "api" in path else "customer"}
    assert headers["x-meterstone-unmatched"] == f"{place}={said}"
    assert headers["x-meterstone-unmatched-count"] == "1"
    if path == "/v1/events/bulk":
        assert (answer["1.unmatched"], answer.get("0.unmatched")) == (said, None)


def test_many_unmatched_events_fit_the_headers(ask: Ask) -> None:
    events = [FLEX | {"event_id": str(number), "external_customer_id": "nobody"} for number in range(1000)]
    _, _, headers = ask("/v1/events/bulk", {"events": events})
    assert headers["x-meterstone-unmatched-count"] == "1000"
    assert headers["x-meterstone-unmatched"].startswith("0=customer, 1=customer, ")
    assert len(headers["x-meterstone-unmatched"]) < 1000

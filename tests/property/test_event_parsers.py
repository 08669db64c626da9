"""Whatever is posted, events are read or refused in their contract's own shape, and what is read can be stored."""

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from meterstone.contracts import flexprice_events, lago_events
from meterstone.contracts.message import Reply, Request, RequestRefusedError
from meterstone.store.events.log import EventLog
from meterstone.usage.arrival import AHEAD, LARGEST_EVENT, Arrival, Outcome, Receipt
from meterstone.usage.identifier import LONGEST_ID
from meterstone.usage.instant import ZERO_TIME, parse_instant
from support.memory_table import MemoryTable

NOW = parse_instant("2024-03-01T12:00:00Z")

# Halves of surrogate pairs, control characters and digits of other alphabets included.
ANY_TEXT = st.text(st.characters(), max_size=20)
ANY_NUMBER = st.one_of(
    st.integers(), st.integers(-(10**40), 10**40), st.floats(), st.sampled_from([0, -0.0, 1e400, 1e15, 1e-16])
)
ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), ANY_NUMBER, ANY_TEXT),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
IDS = st.text("ab#%é", min_size=1, max_size=3) | ANY_TEXT | st.integers(253, 258).map("x".__mul__) | ANY_JSON
PROPERTIES = st.none() | st.dictionaries(ANY_TEXT, ANY_JSON, max_size=5) | ANY_JSON
SECONDS = st.one_of(
    st.none(),
    st.integers(1_700_000_000, 1_709_400_000),
    st.decimals(-(10**12), 10**12, places=6).map(str),
    st.floats(1.6e9, 1.8e9),
    ANY_JSON,
)
TIMES = st.datetimes().map(lambda at: at.isoformat() + "Z") | ANY_JSON
LAGO = st.fixed_dictionaries(
    {},
    optional={
        "transaction_id": IDS,
        "code": IDS,
        "external_subscription_id": IDS,
        "timestamp": SECONDS,
        "properties": PROPERTIES,
        "precise_total_amount_cents": ANY_JSON,
    },
)
FLEXPRICE = st.fixed_dictionaries(
    {},
    optional={
        "event_name": IDS,
        "external_customer_id": IDS,
        "event_id": IDS,
        "timestamp": TIMES,
        "properties": PROPERTIES,
        "source": ANY_JSON,
    },
)


def post(body: object) -> Request:
    return Request.of({"httpMethod": "POST", "path": "/", "body": json.dumps(body)})


def raw(body: str) -> Request:
    return Request.of({"httpMethod": "POST", "path": "/", "body": body})


def check_stored(arrivals: Mapping[int, Arrival]) -> None:
    """Check that what is read can be stored, and is a duplicate when it comes again."""
    table = MemoryTable()
    log = EventLog(table, "o")
    outcomes = log.append_each(arrivals)
    assert outcomes.keys() == arrivals.keys()
    assert Outcome.NEW in outcomes.values()
    again = log.append_each(arrivals)
    assert set(again.values()) <= {Outcome.DUPLICATE, Outcome.CONFLICT}
    assert all(again[place] is Outcome.DUPLICATE for place in outcomes if outcomes[place] is Outcome.NEW)
    for arrival in arrivals.values():
        assert ZERO_TIME <= arrival.event.at <= NOW + AHEAD
        assert len(arrival.content.encode()) <= LARGEST_EVENT
        assert 1 <= len(arrival.event.id) <= LONGEST_ID
        assert 1 <= len(arrival.event.name) <= LONGEST_ID
        assert arrival.dated or arrival.event.at == arrival.accepted == NOW
        json.loads(arrival.content, parse_constant=int)


def check_lago(reply: Reply, *, batch: bool) -> None:
    body = json.loads(reply.body)
    reply.body.encode()
    if reply.status == 400:
        assert body.keys() == {"status", "error"}
        return
    assert reply.status == body["status"] == 422
    details: dict[str, Any] = body["error_details"]
    assert details
    reasons: dict[str, Any] = body["reasons"]
    assert reasons.keys() == details.keys()
    for place, faults in details.items():
        if batch and place != "events":
            assert place.isdecimal()
            assert all(isinstance(code, str) for codes in faults.values() for code in codes)
            assert reasons[place].keys() == faults.keys()
        else:
            assert all(isinstance(code, str) for code in faults)


def check_flexprice(reply: Reply) -> None:
    body = json.loads(reply.body)
    reply.body.encode()
    assert (reply.status, body["code"], body["http_status_code"]) == (400, "validation_error", 400)
    assert all(detail.keys() == {"reason"} for detail in body.get("details", {}).values())


@given(st.fixed_dictionaries({}, optional={"event": LAGO}) | ANY_JSON)
def test_lago_event(body: object) -> None:
    try:
        arrival = lago_events.parse_event(post(body), NOW)
    except RequestRefusedError as refused:
        check_lago(refused.reply, batch=False)
        return
    check_stored({0: arrival})
    answer = json.loads(lago_events.answer_event("o", arrival, Receipt({0: Outcome.NEW})).body)
    assert answer["event"]["transaction_id"] == arrival.event.id
    assert isinstance(answer["event"]["properties"], dict)


@given(st.fixed_dictionaries({}, optional={"events": st.lists(LAGO | ANY_JSON, max_size=4)}) | ANY_JSON)
def test_lago_batch(body: object) -> None:
    try:
        arrivals = lago_events.parse_batch(post(body), NOW)
    except RequestRefusedError as refused:
        check_lago(refused.reply, batch=True)
        return
    check_stored(arrivals)
    table = MemoryTable()
    outcomes = EventLog(table, "o").append_all_or_none(arrivals)
    whole = set(outcomes.values()) == {Outcome.NEW}
    assert len(table.items()) == (len(arrivals) if whole else 0)
    reply = lago_events.answer_batch("o", arrivals, Receipt(outcomes))
    assert (reply.status == 200) is whole


@given(FLEXPRICE | ANY_JSON)
def test_flexprice_event(body: object) -> None:
    try:
        arrival = flexprice_events.parse_event(post(body), NOW)
    except RequestRefusedError as refused:
        check_flexprice(refused.reply)
        return
    check_stored({0: arrival})


@given(st.fixed_dictionaries({}, optional={"events": st.lists(FLEXPRICE | ANY_JSON, max_size=5)}) | ANY_JSON)
def test_flexprice_bulk(body: Any) -> None:
    try:
        bulk = flexprice_events.parse_bulk(post(body), NOW)
    except RequestRefusedError as refused:
        check_flexprice(refused.reply)
        return
    assert bulk.arrivals.keys() | bulk.rejected.keys() == set(range(len(body["events"])))
    assert not bulk.arrivals.keys() & bulk.rejected.keys()
    check_stored(bulk.arrivals)
    outcomes = EventLog(MemoryTable(), "o").append_each(bulk.arrivals)
    answer = json.loads(flexprice_events.answer_bulk(bulk, Receipt(outcomes)).body)
    assert all(isinstance(value, str) for value in answer.values())
    assert all(str(place) in answer for place in range(len(body["events"])))
    counts = sum(int(answer[name]) for name in ("accepted", "duplicate", "conflict", "rejected"))
    assert counts == len(body["events"])


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text('{}[]",:\\u0d8f1eE-+. ', max_size=40))
@example('{"event":' * 5000)
@example('{"events":[' * 5000)
@example('{"event": {"properties": {"a": ' + "1" * 100_000 + "}}}")
def test_any_text(text: str) -> None:
    for parse in (lago_events.parse_event, lago_events.parse_batch):
        try:
            parse(raw(text), NOW)
        except RequestRefusedError as refused:
            check_lago(refused.reply, batch=parse is lago_events.parse_batch)
    for parse_flexprice in (flexprice_events.parse_event, flexprice_events.parse_bulk):
        try:
            parse_flexprice(raw(text), NOW)
        except RequestRefusedError as refused:
            check_flexprice(refused.reply)

"""What is posted while the table fails, with the contract's retries: each event counts once.

Clients wait for as long as `Retry-After` says. Here they come again almost at once, so that the table still fails.
"""

import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from flexprice import Flexprice
from flexprice.models import errors
from flexprice.utils import BackoffStrategy, RetryConfig

from meterstone.edge import application
from meterstone.store.dynamodb import deadline
from meterstone.store.events import log as event_log
from support.counting import SCALE
from support.fault_proxy import Fault, Mode
from support.faulty import (
    FLEXPRICE_BULK,
    FLEXPRICE_ONE,
    LAGO_BATCH,
    LAGO_ONE,
    Answer,
    Faulty,
    Route,
    post_until_taken,
)
from support.long_run import long_run
from support.scenario import Usage

PAUSE = 0.02
#: What a busy machine may take beside the store's calls.
BESIDE = 1.5
#: One of each kind, and in `make prove` all of them.
FAILING = [
    Mode.SLOW,
    Mode.HANGING,
    Mode.DRIPPING_BODY,
    Mode.THROTTLED,
    Mode.BAD_GATEWAY,
    Mode.CUT,
    Mode.TRUNCATED,
    Mode.CHECKSUM,
    Mode.EMPTY,
    Mode.HTML,
]
if SCALE > 1:
    # To most writes the service's own answer is an object without content.
    FAILING = [mode for mode in Mode if mode not in (Mode.GOOD, Mode.AWAY, Mode.NOTHING)]

type Call = Callable[..., Answer]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a call that hangs end sooner, so that a test is over sooner."""
    monkeypatch.setattr(deadline, "CALL_OF_A_REQUEST", 0.3)
    monkeypatch.setattr(deadline, "CALL", 0.3)


def post_all(faulty: Faulty, usage: Sequence[Usage]) -> None:
    """Post each kind of subject's events half in ones, and half in as large requests as there are."""
    ingest = faulty.function("ingest_events")
    for one, many in ((LAGO_ONE, LAGO_BATCH), (FLEXPRICE_ONE, FLEXPRICE_BULK)):
        several = [each for each in usage if each.subject.kind == one.kind]
        ones = min(len(several) // 2, 4 * SCALE)
        post_in(ingest, one, several[:ones])
        post_in(ingest, many, several[ones:])
    faulty.figures.sent = len(usage)


def post_in(ingest: Call, route: Route, usage: Sequence[Usage]) -> None:
    for begin in range(0, len(usage), route.most):
        several = usage[begin : begin + route.most]
        *_, last = post_until_taken(ingest, route, several, PAUSE)
        # A batch whose answer was lost was stored as a whole, or not at all.
        assert last.status in {200, 202} or was_taken(last), last
        if route is FLEXPRICE_BULK:
            assert {last.body[str(place)] for place in range(len(several))} <= {"accepted", "duplicate"}


def was_taken(answer: Answer) -> bool:
    """Tell whether Lago's client learns that the events were taken before, by a request that had 503."""
    return answer.status == 422 and "value_already_exist" in str(answer.body)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("mode", FAILING)
def test_one_call_in_three_fails(faulty: Faulty, mode: Mode) -> None:
    usage = faulty.events(1000 if SCALE > 1 else 30)
    faulty.proxy.fault(Fault(mode, 1 if mode is Mode.SLOW else 3, 0.05))
    post_all(faulty, usage)
    faulty.fold()
    faulty.proxy.fault(Fault())
    faulty.check(usage)


@pytest.mark.usefixtures("short")
def test_the_table_is_away_for_a_while(faulty: Faulty) -> None:
    usage = faulty.events(20)
    faulty.proxy.fault(Fault(Mode.AWAY))
    back = threading.Timer(1.0, faulty.proxy.fault, [Fault()])
    back.start()
    post_all(faulty, usage)
    back.join()
    faulty.fold()
    faulty.check(usage)


def bulk_of(faulty: Faulty, count: int) -> list[Usage]:
    """Give events of customers."""
    return [each for each in faulty.events(8 * count) if each.subject.kind == "c"][:count]


@pytest.mark.parametrize(
    ("fault", "tries"),
    [
        pytest.param(Fault(Mode.SLOW, 1, 0.2), 2, id="200 ms a call"),
        pytest.param(Fault(Mode.THROTTLED, 3), 2, id="one in three throttled"),
    ],
)
@long_run(120, 1000)
def test_a_bulk_gets_through(faulty: Faulty, fault: Fault, tries: int, seed: int, events: int) -> None:
    usage = bulk_of(faulty, events)
    ingest = faulty.function("ingest_events")
    faulty.proxy.fault(fault)
    answers = post_until_taken(ingest, FLEXPRICE_BULK, usage, PAUSE)
    assert len(answers) <= tries
    assert all(answer.seconds < application.INGESTION + BESIDE for answer in answers)
    faulty.figures.sent = len(usage)
    faulty.proxy.fault(Fault())
    faulty.fold()
    faulty.check(usage)


def few_at_once(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> list[Usage]:
    """Let so few puts run at once, for so short a time, that the bulk given takes several requests."""
    monkeypatch.setattr(event_log, "IN_FLIGHT", 10)
    monkeypatch.setattr(application, "INGESTION", 2.0)
    return bulk_of(faulty, 70)


def durable(body: dict[str, Any]) -> set[str]:
    """Give the places of those events that an answer calls stored."""
    return {place for place, outcome in body.items() if outcome in {"accepted", "duplicate"}}


def test_a_bulk_goes_on_where_it_was(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table can take a part of it in the time of a request. No event is said to be stored that is not."""
    usage = few_at_once(faulty, monkeypatch)
    ingest = faulty.function("ingest_events")
    # The account is read, and remembered.
    assert ingest("POST", FLEXPRICE_BULK.path, FLEXPRICE_BULK.body(usage[:1])).status == 202
    faulty.proxy.fault(Fault(Mode.SLOW, 1, 0.4))
    stored: list[int] = []
    for answer in post_until_taken(ingest, FLEXPRICE_BULK, usage, PAUSE):
        if answer.status == 503:
            details = answer.body["details"]
            assert len(durable(details)) == int(details["accepted"]) + int(details["duplicate"])
            assert len(durable(details)) + int(details["unavailable"]) == len(usage)
            stored.append(len(durable(details)))
    assert 1 <= len(stored) <= 3
    assert stored == sorted(set(stored)), "each time more is stored"
    faulty.proxy.fault(Fault())
    faulty.figures.sent = len(usage)
    faulty.fold()
    faulty.check(usage)


def test_what_is_called_stored_is_stored(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that is unavailable may have been stored, too. Sent alone, the rest completes the bulk."""
    usage = few_at_once(faulty, monkeypatch)
    ingest = faulty.function("ingest_events")
    assert ingest("POST", FLEXPRICE_BULK.path, FLEXPRICE_BULK.body(usage[:1])).status == 202
    faulty.proxy.fault(Fault(Mode.SLOW, 1, 0.4))
    answer = ingest("POST", FLEXPRICE_BULK.path, FLEXPRICE_BULK.body(usage))
    if "details" not in answer.body:
        # The machine stood still: no time was left before the first put, and nothing is said to be stored.
        assert len(list(faulty.records())) == 1
        answer = ingest("POST", FLEXPRICE_BULK.path, FLEXPRICE_BULK.body(usage))
    faulty.proxy.fault(Fault())
    assert answer.status == 503
    assert 0 < len(durable(answer.body["details"])) < len(usage)
    # What was under way is through by now.
    time.sleep(0.6)
    left = [each for place, each in enumerate(usage) if str(place) not in durable(answer.body["details"])]
    ids = {record["dynamodb"]["NewImage"]["id"]["S"] for record in faulty.records()}
    assert {usage[int(place)].event.id for place in durable(answer.body["details"])} <= ids
    assert ingest("POST", FLEXPRICE_BULK.path, FLEXPRICE_BULK.body(left)).status == 202
    faulty.fold()
    faulty.check(usage)


class Handler(httpx.BaseTransport):
    """The way from a client to the function, without a socket."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.statuses: list[int] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.call(
            request.method, request.url.path, httpx.Response(200, content=request.read()).json()
        )
        self.statuses.append(answer.status)
        return httpx.Response(answer.status, json=answer.body, headers=answer.headers)


@pytest.mark.parametrize("retries", [True, False], ids=["with retries", "without retries"])
def test_flexprice_s_client_never_takes_for_stored_what_is_not(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch, *, retries: bool
) -> None:
    """It looks at the status alone: some events of the bulk are unavailable, so it must not be 202."""
    usage = few_at_once(faulty, monkeypatch)
    waited: list[float] = []
    # Its own alone: threads of other tests may sleep meanwhile.
    monkeypatch.setattr("flexprice.utils.retries.time", SimpleNamespace(time=time.time, sleep=waited.append))
    events = FLEXPRICE_BULK.body(usage)["events"]
    transport = Handler(faulty.function("ingest_events"))
    config = RetryConfig("backoff", BackoffStrategy(1, 1, 1, 60_000), retry_connection_errors=True)
    with (
        httpx.Client(transport=transport) as http,
        Flexprice(server_url="http://meterstone/v1", api_key_auth=faulty.key, client=http) as client,
    ):
        assert client.events.ingest_events_bulk(events=events[:1])["accepted"] == "1"
        faulty.proxy.fault(Fault(Mode.SLOW, 1, 0.4))
        if not retries:
            with pytest.raises(errors.FlexpriceDefaultError) as refused:
                client.events.ingest_events_bulk(events=events)
            assert refused.value.status_code == 503
            assert '"unavailable"' in refused.value.body
            return
        answer = client.events.ingest_events_bulk(events=events, retries=config)
    assert transport.statuses[-2:] == [503, 202]
    assert transport.statuses.count(503) == len(waited)
    assert set(waited) == {5.0}
    assert {answer[str(place)] for place in range(len(events))} <= {"accepted", "duplicate"}
    faulty.proxy.fault(Fault())
    faulty.fold()
    faulty.check(usage)

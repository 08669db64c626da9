"""What is read while the table fails: the right answer, or 503 with `Retry-After`, and either in time."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from meterstone.edge import application
from meterstone.store.dynamodb.table import Table
from meterstone.usage.instant import DAY, HOUR, format_instant
from support.counting import SCALE
from support.fault_proxy import Fault, Mode, fault_proxy
from support.faulty import FLEXPRICE_BULK, Answer, Faulty, figures_of
from support.long_run import END, START

#: Seconds that a request is given in the small run. `make prove` leaves it as it is.
SHORT = 0.7
#: What a busy machine may take beside the store's calls.
BESIDE = 1.0
HANGING = frozenset({Mode.HANGING, Mode.DRIPPING_HEADERS, Mode.DRIPPING_BODY})
SPOILT = [mode for mode in Mode if mode not in (Mode.GOOD, Mode.SLOW)]

type Question = Callable[[], Answer]


def questions(faulty: Faulty) -> list[Question]:
    """Give a question to each function that reads. Each function is new: it remembers no key and no account."""
    analytics = faulty.function("analytics_usage")
    usage = faulty.function("subscription_usage")
    find = faulty.function("find_event")
    # The window cuts through days and hours, so that counters, hours and events are read.
    window = {
        "subscription_id": "sub 1",
        "start_time": format_instant(START + 3 * DAY + 7),
        "end_time": format_instant(END - 5 * DAY - HOUR - 7),
    }
    days = {"from_date": "2024-01-20", "to_date": "2024-03-01", "external_customer_id": "cust 1"}
    customer = {"external_customer_id": faulty.subscriptions[0].customer_id}
    found = next(each for each in stored(faulty) if each.subject.external_id == "cust 0")
    return [
        partial(analytics, "GET", "/api/v1/analytics/usage", **days),
        partial(usage, "POST", "/v1/subscriptions/usage", window),
        partial(find, "GET", f"/api/v1/events/{found.event.id}", **customer),
    ]


def stored(faulty: Faulty) -> list[Any]:
    return [each for each in faulty.events(200) if each.subject.kind == "c"]


@pytest.fixture(scope="module")
def world(engine: Table) -> Iterator[tuple[Faulty, list[Any]]]:
    """Store and count some events. Give them with the answers of a table that does not fail."""
    with fault_proxy(os.environ["AWS_ENDPOINT_URL_DYNAMODB"]) as proxy:
        faulty = Faulty.of(proxy, engine)
        ingest = faulty.function("ingest_events")
        assert ingest("POST", FLEXPRICE_BULK.path, FLEXPRICE_BULK.body(stored(faulty))).status == 202
        faulty.fold()
        answers = [ask() for ask in questions(faulty)]
        assert [answer.status for answer in answers] == [200, 200, 200]
        yield faulty, [answer.body for answer in answers]


@pytest.fixture
def asked(
    world: tuple[Faulty, list[Any]], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[Question]]:
    """Give the questions, asked of functions that are new: they remember no key and no account."""
    faulty, _ = world
    if SCALE == 1 and request.function is test_every_call_fails:
        monkeypatch.setattr(application, "READING", SHORT)
    asked = questions(faulty)
    faulty.figures.answers.clear()
    with figures_of(faulty, f"read: {request.node.callspec.id}"):
        yield asked
    faulty.proxy.fault(Fault())


def ask_all(asked: list[Question]) -> list[Answer]:
    """Ask all at once, and once more if an answer is late: the machine was busy, or the call hangs again."""
    answers = _ask_all(asked)
    late = any(answer.seconds >= application.READING + BESIDE for answer in answers)
    return _ask_all(asked) if late else answers


def _ask_all(asked: list[Question]) -> list[Answer]:
    with ThreadPoolExecutor(len(asked)) as pool:
        return [future.result() for future in [pool.submit(ask) for ask in asked]]


def check(answers: list[Answer], right: list[Any]) -> None:
    for answer, wanted in zip(answers, right, strict=True):
        assert answer.seconds < application.READING + BESIDE
        if answer.status == 200:
            assert answer.body == wanted
        else:
            assert answer.status == 503, answer.body
            assert answer.headers["Retry-After"] == "5"
            assert "503" in str(answer.body)


@pytest.mark.parametrize("mode", SPOILT)
def test_every_call_fails(world: tuple[Faulty, list[Any]], asked: list[Question], mode: Mode) -> None:
    faulty, right = world
    faulty.proxy.fault(Fault(mode))
    answers = ask_all(asked)
    check(answers, right)
    assert {answer.status for answer in answers} == {503}


@pytest.mark.parametrize("mode", [mode for mode in SPOILT if mode is not Mode.AWAY])
def test_one_call_in_three_fails(world: tuple[Faulty, list[Any]], asked: list[Question], mode: Mode) -> None:
    """What hangs takes the time that further attempts would need. Everything else gets through by them."""
    faulty, right = world
    faulty.proxy.fault(Fault(mode, 3))
    answers = ask_all(asked)
    check(answers, right)
    if mode not in HANGING:
        assert {answer.status for answer in answers} == {200}


@pytest.mark.parametrize("seconds", [0.1, 5.0])
def test_every_call_is_slow(world: tuple[Faulty, list[Any]], asked: list[Question], seconds: float) -> None:
    faulty, right = world
    faulty.proxy.fault(Fault(Mode.SLOW, 1, seconds))
    answers = ask_all(asked)
    check(answers, right)
    assert {answer.status for answer in answers} == ({200} if seconds < 1 else {503})

"""How soon an event shows while the catalogue changes: `meterstone serve` and the embedded engine, over HTTP."""

import os
import statistics
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from itertools import count, cycle
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, NamedTuple
from uuid import uuid4

from benchmarks.figures import Figure, Part, percentile

from soak import Books, Client, served

_SUBSCRIPTIONS, _EVENTS, _CHANGES = 200, 50, 2
_SECONDS, _QUICK = 60, 10
_BUDGET: Final = 2.0
#: One event of so many is looked for. One look is taken every so many seconds, and none for longer than that.
_WATCHED, _LOOK, _PATIENCE = 25, 0.1, 120.0
_POSTING = 8
_COUNTRIES: Final = ("US", "DE", "FR", "JP", "BR")
_PLANS: Final = ("team", "business")


def run(quick: bool) -> Part:  # noqa: FBT001 - every part is called alike
    """Post steadily: first with a catalogue at rest, then with one that changes."""
    seconds = _QUICK if quick else _SECONDS
    with _serving() as live:
        at_rest = live.phase(seconds / 3, changing=False)
        changing = live.phase(seconds, changing=True)
        live.account()
    refused = sum(live.refused.values())
    return Part(
        "living",
        [
            *_figures("at rest", at_rest),
            *_figures("changing", changing),
            Figure("changing: events accepted", changing.events_a_second, "/s", float(_EVENTS)),
            Figure("at rest: CPU of the server that a second takes", at_rest.cpu / at_rest.seconds, "s"),
            Figure("changing: CPU of the server that a second takes", changing.cpu / changing.seconds, "s"),
            Figure("changing: changes made", changing.changes_a_second, "/s", float(_CHANGES)),
            *(
                Figure(f"{name}, median", statistics.median(took) * 1000, "ms", None, _beside(took))
                for name, took in sorted(live.took.items())
            ),
        ],
        notes=[
            f"{_EVENTS} events a second, one a request, of {_SUBSCRIPTIONS} subscriptions; each counts once",
            f"shown by POST /v1/subscriptions/usage: one event of {_WATCHED}, {1 / _LOOK:.0f} looks a second",
            f"changing: {changing.events:,} events, {changing.changes} changes, {refused} of them refused",
        ],
        limits=[
            "the engine, a Python program on the same cores; the stream is asked ten times a second",
            "changing: an event of a subject that changes meanwhile is matched again",
        ],
    )


class _Awaited(NamedTuple):
    """An event that is to show: then its subscription has at least this quantity."""

    place: int
    quantity: int
    answered: float


@dataclass
class _Phase:
    """What was measured for some seconds: how long events took to show, and how many events and changes came."""

    shown: list[float] = field(default_factory=list)
    awaited: deque[_Awaited] = field(default_factory=deque)
    over: bool = False
    seconds: float = 0.0
    events: int = 0
    changes: int = 0
    cpu: float = 0.0

    @property
    def events_a_second(self) -> float:
        return self.events / self.seconds

    @property
    def changes_a_second(self) -> float:
        return self.changes / self.seconds


def _figures(name: str, phase: _Phase) -> Iterator[Figure]:
    shown = f"{name}: from answered to shown"
    yield Figure(f"{shown}, median", statistics.median(phase.shown), "s")
    yield Figure(f"{shown}, 95th percentile", percentile(phase.shown, 0.95), "s")
    yield Figure(f"{shown}, the longest of {len(phase.shown)}", max(phase.shown), "s", _BUDGET)


def _beside(took: list[float]) -> dict[str, float]:
    return {"p99 ms": percentile(took, 0.99) * 1000}


@contextmanager
def _serving() -> Iterator["_Live"]:
    with tempfile.TemporaryDirectory(prefix="meterstone-bench-") as place:
        write(Path(place))
        with served(Path(place), quiet=True) as (url, key, pid):
            yield _Live(url, key, pid)


def write(folder: Path) -> None:
    """Write the catalogue: two plans, and subscriptions that follow them, each of a customer of its own."""
    many = range(_SUBSCRIPTIONS)
    files = {
        "organization": ["id: 6d1f7f0e-3f0c-4a63-9a55-0b8c1f2e7a42", "name: Living"],
        "meters": ["- {id: calls, code: calls, aggregation: COUNT, event_name: call}"],
        "prices": [f"- {{id: price-0, {_inline(_price(0))}}}"],
        "plans": [f"- {{code: {code}, prices: [price-0]}}" for code in _PLANS],
        "customers": [f"- {{id: customer-{n}, country: {_COUNTRIES[n % 5]}}}" for n in many],
        "subscriptions": [
            f"- {{id: sub-{n}, customer: customer-{n}, plan: {_PLANS[n % 2]}, currency: usd,"
            ' start: "2025-01-01T00:00:00Z"}'
            for n in many
        ],
    }
    for kind, lines in files.items():
        (folder / f"{kind}.yaml").write_text("\n".join(lines) + "\n")


def _price(number: int) -> dict[str, str]:
    amount = f"0.{number % 99 + 1:02}"
    return {"currency": "usd", "billing_model": "FLAT_FEE", "amount": amount, "meter_id": "calls"}


def _inline(record: dict[str, str]) -> str:
    return ", ".join(f'{name}: "{value}"' for name, value in record.items())


class _Live:
    """The clients of one organization: those that post, one that changes the catalogue, and those that look."""

    def __init__(self, url: str, key: str, server: int) -> None:
        self._server = Path(f"/proc/{server}/stat")
        self._url, self._key = url, key
        self._own = threading.local()
        self._posted: Counter[int] = Counter()
        self._numbers, self._changed = count(), count(1)
        self._change = cycle(
            [self._sign_up, self._move, self._upgrade, self._offer, self._end, self._delete_meter]
        )
        #: Seconds of each change that was made, by what it was, and how many were refused.
        self.took: dict[str, list[float]] = {}
        self.refused: Counter[str] = Counter()

    def phase(self, seconds: float, *, changing: bool) -> _Phase:
        """Post for so long, and change the catalogue meanwhile, or not."""
        phase, began, spent = _Phase(), monotonic(), self._cpu()
        until = began + seconds
        changer = threading.Thread(target=self._change_steadily, args=(phase, began, until))
        if changing:
            changer.start()
        posts = []
        watcher = threading.Thread(target=self._watch, args=(phase,))
        watcher.start()
        with ThreadPoolExecutor(_POSTING) as posting:
            for number in range(round(_EVENTS * seconds)):
                sleep(max(began + number / _EVENTS - monotonic(), 0))
                posts.append(posting.submit(self._post, phase))
        phase.events, phase.seconds = len(posts), monotonic() - began
        phase.over = True
        watcher.join()
        if changing:
            changer.join()
        # Until all is counted, nearly: what the server could not do meanwhile, it has done by now.
        phase.cpu = self._cpu() - spent
        for each in posts:
            each.result()
        return phase

    def account(self) -> None:
        """Raise `RuntimeError` if an event is lost or counted twice."""
        until = monotonic() + _PATIENCE
        for place, posted in self._posted.items():
            while (found := self._quantity(place)) != posted:
                if found > posted or monotonic() > until:
                    raise RuntimeError(f"sub-{place} has {found} of {posted} events")
                sleep(_LOOK)

    def _post(self, phase: _Phase) -> None:
        number = next(self._numbers)
        place = number % _SUBSCRIPTIONS
        event = uuid4().hex
        if number % 3:
            path = "/api/v1/events"
            body = {"transaction_id": event, "code": "call", "external_subscription_id": f"sub-{place}"}
            self._good("POST", path, {"event": body})
        else:
            body = {"event_id": event, "event_name": "call", "external_customer_id": f"customer-{place}"}
            self._good("POST", "/v1/events", body)
        answered = monotonic()
        self._posted[place] += 1
        # Of other subscriptions in each round.
        if number % _WATCHED == number // _SUBSCRIPTIONS % _WATCHED:
            phase.awaited.append(_Awaited(place, self._posted[place], answered))

    def _watch(self, phase: _Phase) -> None:
        """Look for the awaited events in turn: looking takes no more of the server the longer they take."""
        while phase.awaited or not phase.over:
            began = monotonic()
            if phase.awaited:
                event = phase.awaited.popleft()
                if self._quantity(event.place) >= event.quantity:
                    phase.shown.append(monotonic() - event.answered)
                else:
                    phase.awaited.append(event)
                    if began - event.answered > _PATIENCE:
                        raise RuntimeError(f"an event of sub-{event.place} has not shown")
            sleep(max(began + _LOOK - monotonic(), 0))

    def _cpu(self) -> float:
        """Return the seconds of processor time that the server has taken, by Linux's account of it."""
        _, fields = self._server.read_text().rsplit(")", maxsplit=1)
        return sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")

    def _quantity(self, place: int) -> float:
        answer = self._good("POST", "/v1/subscriptions/usage", {"subscription_id": f"sub-{place}"})
        return sum(float(each["quantity"]) for each in answer["charges"] if each["meter_id"] == "calls")

    def _change_steadily(self, phase: _Phase, began: float, until: float) -> None:
        while (at := began + phase.changes / _CHANGES) < until:
            sleep(max(at - monotonic(), 0))
            change: Callable[[int], None] = next(self._change)
            name, started = change.__name__.strip("_").replace("_", " "), monotonic()
            change(next(self._changed))
            self.took.setdefault(name, []).append(monotonic() - started)
            phase.changes += 1

    def _sign_up(self, number: int) -> None:
        self._put(f"customers/new-{number}", {"country": "NO"})
        record = {"customer": f"new-{number}", "plan": _PLANS[number % 2], "currency": "usd"}
        self._put(f"subscriptions/new-{number}", record)

    def _move(self, number: int) -> None:
        self._put(f"customers/customer-{number % _SUBSCRIPTIONS}", {"country": _COUNTRIES[number // 7 % 5]})

    def _upgrade(self, number: int) -> None:
        self._patch(number, {"plan": _PLANS[number // 6 % 2], "at": _ahead(days=1, seconds=number)})

    def _end(self, number: int) -> None:
        self._patch(number, {"end": _ahead(days=100, seconds=number)})

    def _offer(self, number: int) -> None:
        self._put(f"prices/price-{number}", _price(number))
        self._put(f"plans/{_PLANS[number % 2]}", {"prices": [f"price-{number}"]})

    def _delete_meter(self, number: int) -> None:
        meter = {"code": f"spare-{number}", "aggregation": "COUNT", "event_name": "call"}
        self._put(f"meters/spare-{number}", meter)
        self._ask("delete a meter", "DELETE", f"/catalogue/v1/meters/spare-{number}")

    def _put(self, path: str, record: dict[str, Any]) -> None:
        self._ask(path.split("/", maxsplit=1)[0], "PUT", f"/catalogue/v1/{path}", record)

    def _patch(self, number: int, record: dict[str, Any]) -> None:
        path = f"/catalogue/v1/subscriptions/sub-{number * 37 % _SUBSCRIPTIONS}"
        self._ask(", ".join(record), "PATCH", path, record)

    def _good(self, method: str, path: str, body: Any) -> Any:
        status, found = self._call(method, path, body)
        if not status or not HTTPStatus(status).is_success:
            raise RuntimeError(f"{method} {path}: {status} {str(found)[:300]}")
        return found

    def _ask(self, kind: str, method: str, path: str, body: Any = None) -> None:
        status, found = self._call(method, path, body)
        if status == HTTPStatus.CONFLICT:
            self.refused[kind] += 1
        elif not status or not HTTPStatus(status).is_success:
            raise RuntimeError(f"{method} {path}: {status} {str(found)[:300]}")

    def _call(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if not hasattr(self._own, "client"):
            self._own.client = Client(self._url, self._key, Books())
        client: Client = self._own.client
        return client.ask(path, method, path, body)


def _ahead(*, days: int, seconds: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days, seconds=seconds)).isoformat()

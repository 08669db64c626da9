"""How soon a change of the past shows: a subscription of many events counted anew, in the engine of `start`.

In real time, with the waiting for what is under way. Events come from an import, which logs and counts them.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from time import perf_counter, sleep
from typing import Final

from benchmarks import engine
from benchmarks.figures import Figure, Part

from meterstone import clock
from meterstone.catalogue.errors import Put
from meterstone.catalogue.recounting import carry_on
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.catalogue.recounts import Recount
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.imports import Importer, Source, SourceLine
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, HOUR, MINUTE, SECOND, format_instant
from meterstone.usage.meter import Event
from meterstone.usage.terms import Terms
from support.managed import managed
from support.scenario import ORGANIZATION

_EVENTS, _QUICK = 100_000, 5_000
_BUDGET: Final = 60.0
_OWN: Final = Subject.subscription("s")
_DAYS: Final = 20


def run(quick: bool) -> Part:  # noqa: FBT001 - every part is called alike
    """Import events, then put one change after another that has all of them counted anew."""
    events = _QUICK if quick else _EVENTS
    now = clock.now()
    record = {"customer": "c", "plan": "basic", "currency": "EUR"}
    # Within the subscription's time, so that no event is left without it.
    earlier, earliest = (format_instant(now - days * DAY) for days in (40, 400))
    with engine.running(keep=True) as table:
        management = managed(table, clock.now)
        management.put("subscription", "s", record | {"start": earlier})
        _import(table, events, now)
        changes: dict[str, Callable[[], Put[Terms]]] = {
            "another start": lambda: management.put("subscription", "s", record | {"start": earliest}),
            "another plan": lambda: management.change_plan("s", "pro", now - _DAYS * DAY),
            "an end amid the events": lambda: management.end("s", now - _DAYS * DAY // 2),
        }
        figures = []
        for name, change in changes.items():
            began = perf_counter()
            recount = change().recount
            put = perf_counter() - began
            _carry_on(table, recount)
            label = f"{events:,} events, {name}"
            figures += [
                Figure(f"{label}: the put", put, "s"),
                Figure(f"{label}: from the put to done", perf_counter() - began, "s", _BUDGET),
            ]
    return Part(
        "anew",
        figures,
        notes=["one line item; every event is read for each change"],
        limits=[
            "25 s of it: waiting until what was accepted up to the cut is in the log",
            "the engine, a Python program on the same cores: its pages of the log, and its transactions",
            "an end amid the events: half of them are listed as unmatched, one item each",
        ],
    )


def _import(table: Table, events: int, now: int) -> None:
    account = read_account(table, ORGANIZATION.id)
    if account is None:
        raise RuntimeError("there is no organization")
    lines = list(_lines(events, now))
    Importer(table, account).run(Source("usage", "0"), iter(lines), now, _refuse)


def _lines(events: int, now: int) -> Iterator[SourceLine]:
    for number in range(events):
        at = now - _DAYS * DAY + number * (_DAYS * DAY - HOUR) // events
        yield SourceLine(number + 1, _OWN, Event(f"event-{number:06}", "calls", at, {"n": Decimal(number)}))


def _refuse(line: int, _: object, reason: str) -> None:
    raise RuntimeError(f"event {line} {reason}")


def _carry_on(table: Table, recount: Recount | None) -> None:
    """Do what the function `recount_usage` does, which is told of a recount when it is due."""
    if recount is None:
        raise RuntimeError("nothing is counted anew")
    sleep(max(recount.ready_at - clock.now(), 0) / SECOND)
    found = carry_on(table, keys.recount(ORGANIZATION.id, recount.id), clock.now, clock.now() + 15 * MINUTE)
    if found is None or found.done_at is None:
        raise RuntimeError("the recount is not done")

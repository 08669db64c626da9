"""How far one has to walk through the files to follow a request or an event: `python -m benchmarks.walks`.

Each walk is done once in memory, by the functions as they ship. Counted are the files of `layers/` and
`functions/` in which anything runs, and the calls from one of these files to another. Going on with a generator is
no call. `--pairs` lists the calls by caller's file and callee.
"""

import argparse
import inspect
import io
import sys
from collections import Counter
from collections.abc import Callable
from copy import replace
from dataclasses import dataclass, field
from functools import partial
from types import CodeType, FrameType
from typing import Any
from unittest import mock

from benchmarks import handlers, world
from benchmarks.engine import ROOT

from meterstone import clock
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import Table, key_item
from meterstone.store.events.log import EventLog
from meterstone.store.operations.imports import Importer, Source
from meterstone.store.operations.rebuild import Surroundings, rebuild
from meterstone.usage.arrival import Arrival
from meterstone.usage.instant import MINUTE, SECOND
from support.memory_table import MemoryTable
from support.scenario import Usage
from support.stream import record
from support.written import write_catalogue

_OURS = tuple(str(ROOT / folder) for folder in ("layers", "functions"))
_EVENTS = 15


@dataclass(slots=True)
class Walk:
    """The files in which anything ran, and the calls between them, by the caller's file and the callee."""

    files: set[str] = field(default_factory=set)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    _going_on: set[FrameType] = field(default_factory=set)

    def note(self, frame: FrameType, event: str, _: Any) -> None:
        """Take down a call, as `sys.setprofile` tells of it."""
        if event != "call" or not _is_ours(frame.f_code):
            return
        self.files.add(frame.f_code.co_filename)
        if frame.f_code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE):
            if frame in self._going_on:
                return
            self._going_on.add(frame)
        caller = frame.f_back
        if (
            caller is not None
            and _is_ours(caller.f_code)
            and caller.f_code.co_filename != frame.f_code.co_filename
        ):
            self.calls[_short(caller.f_code), f"{_short(frame.f_code)}:{frame.f_code.co_qualname}"] += 1


def walk(action: Callable[[], object]) -> Walk:
    """Follow what an action calls."""
    found = Walk()
    sys.setprofile(found.note)
    try:
        action()
    finally:
        sys.setprofile(None)
    return found


def walks() -> dict[str, Walk]:
    """Do all walks: of one subscription with a line item on each of four meters, and few events."""
    table, subscription = MemoryTable(), world.subscription(0)
    write_catalogue(table, world.ORGANIZATION, world.METERS, [subscription], [])
    key, _ = create_key(table, world.ORGANIZATION.id, world.KEY_NAME, world.NOW)
    with (
        mock.patch.object(Table, "from_environment", classmethod(lambda _: table)),
        mock.patch.object(clock, "now", return_value=world.NOW),
        mock.patch.object(sys, "stdout", io.StringIO()),
        mock.patch.object(sys, "stderr", io.StringIO()),
    ):
        loaded = {
            name: handlers.load(name) for name in ("analytics_usage", "subscription_usage", "fold_usage")
        }
        account = loaded["analytics_usage"].store.account(key)
        for each in loaded.values():
            if hasattr(each, "store"):
                each.store.account(key)
        lines = list(world.usage(_EVENTS, 1))
        Importer(table, account).run(Source("events", "0" * 64), lines, world.NOW, _refuse)
        requests = {
            "subscription usage": handlers.subscription(key, subscription_id=subscription.id),
            "analytics": handlers.analytics(key),
        }
        found = {
            label: walk(partial(_answer, loaded[name].handler, event))
            for label, (name, event) in requests.items()
        }
        posted = next(world.usage(1, 1, seed=1))
        batch = {
            "Records": [_posted(table, Usage(posted.subject, replace(posted.event, id="posted")))],
            "shardId": "shardId-1",
        }
        found["fold of one event"] = walk(partial(loaded["fold_usage"].handler, batch, None))
        now = [world.NOW + MINUTE]

        def sleep(seconds: float) -> None:
            now[0] += round(seconds * SECOND)

        around = Surroundings(lambda: now[0], sleep)
        found[f"rebuild of {_EVENTS} events"] = walk(
            partial(rebuild, table, world.ORGANIZATION.id, around, swap=False)
        )
    return found


def _posted(table: MemoryTable, usage: Usage) -> dict[str, Any]:
    """Log an event as the API does, and give the stream's record of it."""
    arrival = Arrival.of(usage.subject, usage.event, world.NOW, {}, dated=True)
    EventLog(table, world.ORGANIZATION.id).append_each({0: arrival})
    key = keys.event(world.ORGANIZATION.id, *usage.subject, usage.event.id)
    return record(table.items()[key] | key_item(key), 1)


def _answer(handler: Callable[[Any, Any], dict[str, Any]], event: handlers.Event) -> None:
    reply = handler(event, None)
    if reply["statusCode"] != 200:  # noqa: PLR2004 - HTTP OK
        raise RuntimeError(f"{reply}")


def _refuse(line: int, _: object, reason: str) -> None:
    raise RuntimeError(f"line {line}: {reason}")


def _is_ours(code: CodeType) -> bool:
    return code.co_filename.startswith(_OURS)


def _short(code: CodeType) -> str:
    return code.co_filename.removeprefix(str(ROOT) + "/").removeprefix("layers/meterstone/meterstone/")


def main(arguments: list[str]) -> int:
    """Print each walk's files and calls."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.walks", description=__doc__)
    parser.add_argument("--pairs", action="store_true", help="list the calls, too")
    asked = parser.parse_args(arguments)
    for label, found in walks().items():
        print(f"{label}: {len(found.files)} files, {found.calls.total()} calls between them")
        if asked.pairs:
            for (caller, callee), times in found.calls.most_common():
                print(f"  {times:5}  {caller} → {callee}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

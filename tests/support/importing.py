"""A file of usage, imported by a catalogue that lacks some line items or is complete, stopped and closed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import replace
from unittest import mock

import pytest

from meterstone.store.dynamodb import keys
from meterstone.store.events.unmatched import list_unmatched
from meterstone.store.operations import imports
from meterstone.store.operations.import_records import ImportRecord, Records
from meterstone.store.operations.imports import (
    Closed,
    ImportReport,
    Source,
    close_import,
)
from meterstone.store.operations.rebuild import rebuild
from meterstone.usage.instant import DAY, HOUR
from support.counting import check_analytics
from support.memory_table import Faults, Killed
from support.recovering import Stream, refresh, write
from support.scenario import ORGANIZATION, Batch, Scenario, Usage, World, digest
from support.stored import START, memory, rich

FILE = "file"
OFFSETS = (12, 200, 30, 170, 100, 300, 99, 400, 20, 250)


def usage_of() -> tuple[Usage, ...]:
    """Give a file's events: of two names, on both sides of where the first line items end."""
    return tuple(
        replace(
            each,
            event=replace(
                each.event, name="call" if number % 3 else "text", at=START + OFFSETS[number] * HOUR
            ),
        )
        for number, each in enumerate(rich().usage[: len(OFFSETS)])
    )


#: Those that a line item is for before the catalogue is complete.
MATCHED = {"e1", "e5", "e7"}


def complete() -> Scenario:
    """Give a catalogue that has a line item for every event of the file: chains, buckets and distinct values."""
    scenario = rich()
    (subscription,) = scenario.subscriptions
    names = {"meter 1": "call", "meter 2": "text", "meter 5": "call"}
    meters = {
        each.id: replace(each, event_name=names[each.id]) for each in scenario.meters if each.id in names
    }
    items = tuple(
        replace(item, meter=meters[item.meter.id])
        for item in subscription.line_items
        if item.meter is not None and item.meter.id in meters
    )
    return replace(
        scenario,
        meters=tuple(meters.values()),
        subscriptions=(replace(subscription, line_items=items),),
        batches=(Batch(START + 20 * DAY, usage_of()),),
        end=START + 20 * DAY,
    )


def incomplete() -> Scenario:
    """Give the same without one name, and of the other without the first halves: chains go on with the second."""
    scenario = complete()
    (subscription,) = scenario.subscriptions
    items = tuple(
        each
        for each in subscription.line_items
        if each.id.endswith("b") and each.meter and each.meter.event_name == "call"
    )
    return replace(scenario, subscriptions=(replace(subscription, line_items=items),))


@contextmanager
def batches_of(lines: int) -> Iterator[None]:
    with mock.patch.object(imports, "_BATCH", lines):
        yield


def waiting(world: World) -> set[str]:
    return {each.event.id for each in list_unmatched(world.table, ORGANIZATION.id)}


def logged(world: World, usage: tuple[Usage, ...]) -> tuple[Usage, ...]:
    """Give those that are in the log, by a plain look at each."""
    there = memory(world).items()
    return tuple(each for each in usage if keys.event(ORGANIZATION.id, *each.subject, each.event.id) in there)


def record(world: World, name: str = FILE) -> ImportRecord:
    return Records.read(world.table, ORGANIZATION.id).find(Source(name, digest(name)), 0)


def close(world: World, stream: Stream, name: str = FILE) -> Closed | None:
    return close_import(world.table, ORGANIZATION.id, Source(name, digest(name)), stream.clock.now)


def load(
    world: World, stream: Stream, usage: tuple[Usage, ...] | None = None, name: str = FILE
) -> ImportReport:
    with batches_of(4):
        report, refused = world.load_refusing(name, usage_of() if usage is None else usage, stream.clock.now)
    assert refused == []
    return report


def catch_up(world: World) -> None:
    write(world, complete())
    world.scenario = complete()


def writes_of(do: Callable[[World, Stream], object], world: World, stream: Stream) -> int:
    first = memory(world).writes
    do(world, stream)
    return memory(world).writes - first


def killed(do: Callable[[World, Stream], object], world: World, stream: Stream, number: int) -> None:
    """Do something that is killed before its write of this number."""
    table = memory(world)
    table.faults = Faults(before=table.writes + number)
    with pytest.raises(Killed):
        do(world, stream)
    table.faults = Faults()


def check(world: World, stream: Stream, usage: tuple[Usage, ...]) -> None:
    """Check that all of it is counted once, that nothing is left over, and that a rebuild finds the same."""
    refresh(world).roll(stream.clock.now)
    check_analytics(world, usage, stream.clock.now)
    assert waiting(world) == set()
    assert not [key for key in memory(world).items() if "#unmatched" in key.pk]
    assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).differences == []

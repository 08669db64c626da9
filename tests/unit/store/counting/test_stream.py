"""What a batch of the stream's records is taken for: events to count, events put by, poison, or nothing."""

from collections.abc import Iterable, Iterator
from copy import deepcopy, replace
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from meterstone.store.counting.stream import StreamFold, StreamReport
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import WRITERS, Key
from meterstone.store.dynamodb.table import Row
from meterstone.store.events.log import Subject
from meterstone.store.events.positions import part_of, stream_shard
from meterstone.store.events.uncounted import read_numbers, read_unreadable
from meterstone.store.reading.analytics import AnalyticsStore
from meterstone.usage.analytics import UsageQuery
from meterstone.usage.calendar import Granularity
from meterstone.usage.instant import DAY, HOUR, MINUTE
from meterstone.usage.meter import Event
from support.batches import (
    CALLS,
    NOW,
    SCENARIO,
    START,
    SUBSCRIPTION,
    call,
    fold,
    parse_day,
    partition,
    records_of,
    spoil,
    subscription,
)
from support.counting import check_analytics
from support.memory_table import MemoryTable
from support.scenario import ORGANIZATION, Scenario, Usage, World
from support.stream import Folding, Stream, record
from support.written import write_catalogue

UNMATCHED = f"{ORGANIZATION.id}#unmatched"


@pytest.mark.parametrize(
    ("stranger", "why"),
    [
        pytest.param(call("x", ext="nobody"), "subscription", id="unknown subscription"),
        pytest.param(
            Usage(Subject.customer("nobody"), Event("x", "call", START + 2 * DAY, {"value": 1})),
            "customer",
            id="unknown customer",
        ),
        pytest.param(call("x", name="other"), "code", id="unknown code"),
        pytest.param(call("x", START - 1), "time", id="before the subscription"),
        pytest.param(call("x", START + HOUR), "line_item", id="before the line item"),
        pytest.param(call("x", START + 20 * DAY), "line_item", id="after the line item"),
    ],
)
def test_an_event_that_no_line_item_is_for_is_unmatched(folding: Folding, stranger: Usage, why: str) -> None:
    now = START + 30 * DAY
    usage = [call("one"), stranger, call("two")]
    records = records_of(folding, usage, now)
    report = fold(folding, records, now)
    assert (report.events, report.counted, report.unmatched, report.poison) == (3, 2, 1, [])
    ((sk, item),) = partition(folding.table, UNMATCHED).items()
    kind, external_id = stranger.subject
    assert Key(UNMATCHED, sk) == keys.unmatched(ORGANIZATION.id, kind, external_id, "x")
    image = records[1]["dynamodb"]["NewImage"]
    kept = {name: value for name, value in image.items() if name not in {"pk", "sk"}}
    assert item == kept | {"put_at": image["acc"], "why": {"S": why}}
    assert numbers(folding) == {why: 1}
    check_analytics(folding.world, (usage[0], usage[2]), now)
    before = folding.table.items()
    fold(folding, records, now)
    assert folding.table.items() == before


def test_an_event_that_the_meter_cannot_use_is_not_unmatched(folding: Folding) -> None:
    report = fold(folding, records_of(folding, [call("text", value="many")]))
    assert (report.counted, report.uncounted, report.unmatched) == (0, 1, 0)
    assert not partition(folding.table, UNMATCHED)
    (listed,) = read_unreadable(folding.table, ORGANIZATION.id)
    assert (listed.id, listed.since, listed.elsewhere) == ("text", NOW, False)
    ((meter, name, reason),) = listed.faults
    assert (meter, name) == ("calls", "value")
    assert reason.startswith("property 'value': ")
    assert numbers(folding) == {"value": 1}


def numbers(folding: Folding) -> dict[str, int]:
    found = read_numbers(folding.table, ORGANIZATION.id, "1")
    return {name: number for name, number in found.items() if number}


def test_an_organization_without_a_catalogue_loses_nothing() -> None:
    table = MemoryTable()
    world = World(SCENARIO)
    records = records_of(Folding(world, Stream(Random(5))), [call("one")])  # noqa: S311 - nothing secret
    report = StreamFold(table).fold(records, "shard", NOW)
    assert (report.counted, report.unmatched) == (0, 1)
    assert len(partition(table, UNMATCHED)) == 1


def test_what_is_no_new_event_is_ignored(folding: Folding) -> None:
    """Every item that a life of the table leaves behind comes along the stream, whatever was done to it."""
    world = folding.world
    world.load("file", [call("imported")], NOW)
    counted = records_of(folding, [call("counted"), call("stranger", ext="nobody")])
    poison = deepcopy(records_of(folding, [call("poison")]))
    spoil("at", None)(poison[0])
    fold(folding, [*counted, *poison])
    new = {"counted", "stranger", "poison"}
    others = [
        {"pk": {"S": key.pk}, "sk": {"S": key.sk}} | item
        for key, item in folding.table.items().items()
        if not ("#events#" in key.pk and item["id"]["S"] in new)
    ]
    kinds = {"#usage#", "#rollup#", "#unmatched", "#imports", "#events#", "poison", "#organization"}
    assert {kind for kind in kinds for item in others if kind in item["pk"]["S"]} == kinds
    records = [record(item, 10**22 + number) for number, item in enumerate(others)]
    for name in ("MODIFY", "REMOVE"):
        records += [
            record(each["dynamodb"]["NewImage"], 10**23 + number, name) for number, each in enumerate(counted)
        ]
    before = folding.table.items()
    assert fold(folding, records) == StreamReport()
    assert folding.table.items() == before


def test_the_catalogue_as_it_is_now_decides(folding: Folding) -> None:
    """A subscription that was unknown a moment ago is looked up again when the catalogue has changed."""
    assert fold(folding, records_of(folding, [call("early", ext="ext b")])).unmatched == 1
    assert fold(folding, records_of(folding, [call("still", ext="ext b")])).unmatched == 1
    item = replace(SUBSCRIPTION.line_items[0], id="item b")
    both = (SUBSCRIPTION, subscription("b", item))
    write_catalogue(folding.table, ORGANIZATION, (CALLS,), both, ())
    late = [call("late", ext="ext b", value=3)]
    report = fold(folding, records_of(folding, late))
    assert (report.counted, report.unmatched) == (1, 0)
    assert folding.world.days(external_subscription_id="ext b") == {
        (parse_day(START + 2 * DAY), "usd", "calls"): (Decimal(3), 75)
    }


def test_a_subscription_that_changed_is_looked_at_anew(folding: Folding) -> None:
    """What was found of it is remembered from batch to batch, and does not outlive it."""
    after = call("one", START + 21 * DAY)
    assert fold(folding, records_of(folding, [call("zero"), after], NOW + 12 * DAY)).unmatched == 1
    longer = replace(SUBSCRIPTION.line_items[0], end=None)
    write_catalogue(folding.table, ORGANIZATION, (CALLS,), (replace(SUBSCRIPTION, line_items=(longer,)),), ())
    more = [call("two"), call("three", START + 21 * DAY)]
    report = fold(folding, records_of(folding, more, NOW + 12 * DAY))
    assert (report.counted, report.unmatched) == (2, 0)


class Consistent(MemoryTable):
    """Refuses reads that may be out of date."""

    def get(self, key: Key, *, consistent: bool = False) -> Row | None:
        assert consistent, key
        return super().get(key, consistent=consistent)

    def batch_get(self, keys: Iterable[Key], *, consistent: bool = False) -> dict[Key, Row]:
        keys = list(keys)
        # What a price counts by never changes.
        assert consistent or all(key.sk.startswith("price#") for key in keys)
        return {key: row for key in keys if (row := super(Consistent, self).get(key)) is not None}

    def query(self, pk: str, low: str, high: str, *, consistent: bool = False) -> Iterator[Row]:
        assert consistent, pk
        return super().query(pk, low, high, consistent=consistent)


@pytest.mark.parametrize("subject", [Subject.subscription("ext a"), Subject.customer("cust a")])
def test_what_decides_a_count_is_read_consistently(subject: Subject) -> None:
    """A stale answer would stay in memory under the new catalogue's version."""
    usage = replace(call("one"), subject=subject)
    folding = Folding(World(SCENARIO), Stream(Random(5)))  # noqa: S311 - nothing secret
    records = records_of(folding, [usage])
    table = Consistent()
    write_catalogue(table, ORGANIZATION, SCENARIO.meters, SCENARIO.subscriptions, ())
    assert StreamFold(table).fold(records, "shard", NOW).counted == 1


class Reading(MemoryTable):
    """Remembers what was read by key."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[Key] = []

    def get(self, key: Key, *, consistent: bool = False) -> Row | None:
        self.read.append(key)
        return super().get(key, consistent=consistent)


def test_a_tally_is_read_once(folding: Folding) -> None:
    """A plain one is a month and the day's hours: its head stands in the month's item."""
    table = Reading()
    write_catalogue(table, ORGANIZATION, SCENARIO.meters, SCENARIO.subscriptions, ())
    fold = StreamFold(table)
    for ident in ("first", "second"):
        table.read.clear()
        assert fold.fold(records_of(folding, [call(ident)]), "shard", NOW).counted == 1
        assert [key.sk[:2] for key in table.read if "#usage#" in key.pk] == ["C#", "H#"]


def test_what_an_import_adds_does_not_hide_a_newer_event() -> None:
    """Two subscriptions share the rollups, and the import of one's usage writes to the items of the other's."""
    items = [replace(SUBSCRIPTION.line_items[0], id=f"item {name}") for name in "ab"]
    both = tuple(subscription(name, item) for name, item in zip("ab", items, strict=True))
    folding = Folding(World(Scenario((CALLS,), both, (), NOW)), Stream(Random(5)))  # noqa: S311 - nothing secret
    # The writer is made of the shard's name; that of an import is 0.
    shard = next(name for name in map(str, range(100)) if part_of(stream_shard(name), WRITERS) == 0)
    fold(folding, records_of(folding, [call("old")], NOW - HOUR), NOW, shard)
    fold(folding, records_of(folding, [call("new", ext="ext b")], NOW - MINUTE), NOW, shard)
    folding.world.load("file", [call("imported", START + 3 * DAY)], NOW)
    query = UsageQuery(Granularity.DAILY, *folding.world.range())
    found = list(AnalyticsStore(folding.world.settled).daily_usage(folding.world.account, query, NOW))
    assert sum(each.units for item in found for each in item.days) == 3
    assert max(item.counted_until for item in found) == NOW - MINUTE


@pytest.mark.parametrize(
    ("subject", "corrected"),
    [
        pytest.param(Subject.subscription("ext a"), {"external_id": "ext c"}, id="external id"),
        pytest.param(Subject.customer("cust a"), {"customer_id": "cust c"}, id="customer"),
    ],
)
def test_a_subscription_is_found_by_what_it_is_called_now(
    folding: Folding, subject: Subject, corrected: dict[str, Any]
) -> None:
    """While nothing is counted, a catalogue may give it another name, and the old one to another subscription."""
    other = replace(
        subscription("b", replace(SUBSCRIPTION.line_items[0], id="item b")),
        external_id="ext a",
        customer_id="cust a",
    )
    both = (replace(SUBSCRIPTION, **corrected), other)
    if "customer_id" in corrected:
        both = (both[0], replace(other, external_id="ext b"))
    write_catalogue(folding.table, ORGANIZATION, (CALLS,), both, ())
    folding.world.scenario = replace(SCENARIO, subscriptions=both)
    usage = replace(call("one"), subject=subject)
    assert fold(folding, records_of(folding, [usage])).counted == 1
    check_analytics(folding.world, (usage,), NOW)


def test_a_batch_tells_when_its_newest_event_came_in() -> None:
    """Two subscriptions share the rollups, which are written once."""
    items = [replace(SUBSCRIPTION.line_items[0], id=f"item {name}") for name in "ab"]
    both = tuple(subscription(name, item) for name, item in zip("ab", items, strict=True))
    folding = Folding(World(Scenario((CALLS,), both, (), NOW)), Stream(Random(5)))  # noqa: S311 - nothing secret
    records = records_of(folding, [call("new", ext="ext a")], NOW - MINUTE)
    records += records_of(folding, [call("old", ext="ext b")], NOW - HOUR)
    fold(folding, records)
    query = UsageQuery(Granularity.DAILY, *folding.world.range())
    found = list(AnalyticsStore(folding.world.settled).daily_usage(folding.world.account, query, NOW))
    assert sum(each.units for item in found for each in item.days) == 2
    assert max(item.counted_until for item in found) == NOW - MINUTE

"""What a batch of the stream's records is taken for: events to count, events put by, poison, or nothing."""

import json
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy, replace
from decimal import Decimal, Inexact
from random import Random
from types import ModuleType
from typing import Any

import pytest

from meterstone.pricing.price import BillingModel, Price
from meterstone.store.counting.fold import WRITERS
from meterstone.store.counting.stream import StreamFold, StreamReport
from meterstone.store.counting.writing import TallyTransaction, TallyUpdate
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Row
from meterstone.store.events.log import Subject
from meterstone.store.events.positions import part_of, stream_shard
from meterstone.store.events.uncounted import read_numbers, read_unreadable
from meterstone.store.reading.analytics import AnalyticsStore
from meterstone.usage.analytics import UsageQuery
from meterstone.usage.calendar import Granularity
from meterstone.usage.instant import DAY, HOUR, MINUTE, parse_instant
from meterstone.usage.meter import Aggregation, Event, Meter, Properties
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.subscription import Dated, LineItem, Subscription
from support.counting import check_analytics
from support.functions import load_over
from support.memory_table import Faults, MemoryTable
from support.scenario import ORGANIZATION, Scenario, Usage, World
from support.stored import memory
from support.stream import Folding, Record, Stream, record
from support.written import write_catalogue

START = parse_instant("2024-03-01T00:00:00Z")
NOW = START + 10 * DAY
CALLS = Meter("calls", "calls", "", Aggregation.SUM, "call", "value")
PRICE = Price("flat", "usd", BillingModel.FLAT_FEE, amount=Decimal("0.25"), meter_id="calls")


def subscription(name: str, *items: LineItem) -> Subscription:
    """Give a subscription from the start on."""
    return Subscription(
        name, f"ext {name}", f"cust {name}", "usd", "UTC", START, None, BillingPeriod.MONTHLY, 1,
        BillingCycle.CALENDAR, START, (Dated("basic"),), (Dated("DE"),), (Dated("company"),), None, items,
    )  # fmt: skip


SUBSCRIPTION = subscription("a", LineItem("item", PRICE, START + DAY, START + 20 * DAY, CALLS))
SCENARIO = Scenario((CALLS,), (SUBSCRIPTION,), (), NOW)


def call(ident: str, at: int = START + 2 * DAY, name: str = "call", ext: str = "ext a", **more: Any) -> Usage:
    """Give an event of the subscription's."""
    properties: Properties = {"value": 1} | more
    return Usage(Subject.subscription(ext), Event(ident, name, at, properties))


@pytest.fixture
def folding() -> Folding:
    return Folding(World(SCENARIO), Stream(Random(5)))  # noqa: S311 - nothing secret


def fold(folding: Folding, records: list[Record], now: int = NOW, shard: str = "shard") -> StreamReport:
    return folding.folds[0].fold(records, shard, now)


def records_of(folding: Folding, usage: Iterable[Usage], now: int = NOW) -> list[Record]:
    """Post events; give their records."""
    (shard,) = folding.stream.shards
    begin = len(shard.records)
    for each in usage:
        folding.post(each, now)
    return shard.records[begin:]


def partition(table: MemoryTable, pk: str) -> dict[str, dict[str, dict[str, str]]]:
    """Give a partition's items by sort key."""
    return {key.sk: item for key, item in table.items().items() if key.pk == pk}


UNMATCHED = f"{ORGANIZATION.id}#unmatched"


def spoil(name: str, value: dict[str, str] | None) -> Callable[[Record], None]:
    """Set an attribute of the image, or take it away."""

    def change(made: Record) -> None:
        image = made["dynamodb"]["NewImage"]
        if value is None:
            del image[name]
        else:
            image[name] = value

    return change


def without_number(made: Record) -> None:
    del made["dynamodb"]["SequenceNumber"]


@pytest.mark.parametrize(
    ("spoiled", "reason"),
    [
        pytest.param(spoil("e", {"S": '["call",1,{"value":1}'}), "JSONDecodeError", id="cut off"),
        pytest.param(spoil("e", {"S": ""}), "JSONDecodeError", id="empty"),
        pytest.param(spoil("e", {"N": "1"}), "KeyError: 'S'", id="of another type"),
        pytest.param(spoil("e", {"S": "5"}), "TypeError", id="no list"),
        pytest.param(spoil("e", {"S": '["call",{"value":1}]'}), "ValueError", id="too short"),
        pytest.param(spoil("e", {"S": '[["call"],1,{"value":1}]'}), "TypeError", id="name is a list"),
        pytest.param(spoil("e", {"S": '["call",1,null]'}), "TypeError", id="no properties"),
        pytest.param(spoil("e", {"S": '["call",1,{"value":NaN}]'}), "ValueError: NaN", id="not a number"),
        pytest.param(
            spoil("e", {"S": '["call",1,{"value":1e9999999999999999999}]'}),
            "InvalidOperation",
            id="exponent out of range",
        ),
        pytest.param(
            spoil("e", {"S": f'["call",1,{{"value":{"9" * 5000}}}]'}), "ValueError", id="5000 digits"
        ),
        pytest.param(
            spoil("e", {"S": '["call",1,{"value":' + "[" * 30_000 + "]" * 30_000 + "}]"}),
            "RecursionError",
            id="nested without end",
        ),
        *(
            pytest.param(spoil(name, None), f"KeyError: '{name}'", id=f"without {name}")
            for name in ("at", "id", "org", "k", "x")
        ),
        pytest.param(spoil("at", {"N": "soon"}), "ValueError", id="time is no number"),
        pytest.param(spoil("at", {"N": "1.5"}), "ValueError", id="time is no whole number"),
        pytest.param(spoil("at", {"N": "9" * 30}), "ValueError: the time", id="time out of range"),
        pytest.param(spoil("acc", {"N": ""}), "ValueError", id="acceptance is no number"),
        pytest.param(spoil("k", {"S": "z"}), "ValueError: the kind", id="unknown kind of subject"),
        pytest.param(without_number, "KeyError: 'SequenceNumber'", id="without sequence number"),
    ],
)
def test_poison_is_quarantined_and_the_rest_counts(
    folding: Folding, spoiled: Callable[[Record], None], reason: str
) -> None:
    usage = [call("before"), call("bad", value=99), call("after", value=7)]
    records = deepcopy(records_of(folding, usage))
    spoiled(records[1])
    report = fold(folding, records)
    assert (report.events, report.counted, len(report.poison)) == (3, 2, 1)
    check_analytics(folding.world, (usage[0], usage[2]), NOW)
    (item,) = partition(folding.table, "poison").values()
    assert json.loads(item["record"]["S"]) == records[1]
    assert item["reason"]["S"].startswith(reason)
    assert item["put_at"] == {"N": str(NOW)}
    before = folding.table.items()
    fold(folding, records)
    assert folding.table.items() == before


def test_the_content_and_the_reason_of_poison_are_told(folding: Folding) -> None:
    told: list[str] = []
    (poison,) = deepcopy(records_of(folding, [call("poison")]))
    spoil("at", None)(poison)

    StreamFold(folding.table, told.append).fold([poison], "shard", NOW)

    (message,) = map(json.loads, told)
    assert message["record"] == poison
    assert message["reason"].startswith("KeyError")


def test_poison_is_quarantined_before_the_position_moves_past_it(folding: Folding) -> None:
    """Stopped at the first write that counts, what cannot be read is already kept."""
    records = deepcopy(records_of(folding, [call("bad"), call("good")]))
    spoil("at", None)(records[0])
    begin = folding.table.writes
    folding.table.faults.unavailable = lambda number: number > begin
    with pytest.raises(Exception, match="injected"):
        fold(folding, records)
    assert len(partition(folding.table, "poison")) == 1
    assert not [key for key in folding.table.items() if "#usage#" in key.pk]


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


def head(folding: Folding) -> dict[str, Any]:
    (found,) = (item for item in folding.table.items().values() if "pos" in item)
    return {name: json.loads(found[name]["S"]) for name in ("pos", "mov") if name in found}


@pytest.mark.parametrize(
    ("rested", "kept"),
    [
        pytest.param(47 * HOUR, True, id="rested 47 hours"),
        pytest.param(48 * HOUR, True, id="rested 48 hours"),
        pytest.param(48 * HOUR + 1, False, id="rested longer"),
    ],
)
def test_a_position_is_dropped_when_it_rested_48_hours(folding: Folding, *, rested: int, kept: bool) -> None:
    folding.world.load("file", [call("imported")], NOW)
    (importing,) = head(folding)["pos"]
    fold(folding, records_of(folding, [call("old")]), NOW, "ended")
    later = NOW + rested
    again = records_of(folding, [call("new", value=2)], later)
    fold(folding, again, later, "child")
    found = head(folding)
    assert found["pos"].keys() == {importing, stream_shard("child")} | (
        {stream_shard("ended")} if kept else set()
    )
    assert found["mov"].keys() == found["pos"].keys() - {importing}
    before = folding.table.items()
    fold(folding, again, later, "child")
    assert folding.table.items() == before


def test_a_shard_that_goes_on_keeps_its_position(folding: Folding) -> None:
    """Its rest begins anew each time: redelivered, nothing of it counts twice."""
    records: list[Record] = []
    for number in range(5):
        now = NOW + number * 30 * HOUR
        more = records_of(folding, [call(f"e{number}")], now)
        records += more
        fold(folding, more, now)
    fold(folding, records[3:], NOW + 121 * HOUR)
    assert head(folding)["pos"].keys() == {stream_shard("shard")}
    check_analytics(folding.world, tuple(call(f"e{number}") for number in range(5)), NOW + 121 * HOUR)


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


def parse_day(at: int) -> int:
    return keys.parse_day("2024-03-01") + (at - START) // DAY


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
    found = list(AnalyticsStore(folding.world.settled).daily_usage(folding.world.account, query))
    assert sum(each.units for item in found for each in item.days) == 3
    assert max(item.counted_until for item in found) == NOW - MINUTE


@pytest.fixture
def fold_usage(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the function over a table in memory."""
    return load_over("fold_usage", memory(World(SCENARIO)), monkeypatch)


@pytest.mark.parametrize(
    ("event", "engine", "shard"),
    [
        pytest.param({"shardId": "shardId-1"}, None, "shardId-1", id="Lambda"),
        pytest.param({"shardId": "shardId-1"}, "http://127.0.0.1:1", "shardId-1", id="Lambda on an engine"),
        pytest.param({}, "http://127.0.0.1:1", "local", id="a local engine"),
    ],
)
def test_a_batch_names_its_shard(
    fold_usage: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    event: dict[str, Any],
    engine: str | None,
    shard: str,
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_DYNAMODB", raising=False)
    if engine is not None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", engine)
    assert fold_usage.shard_of({"Records": [], **event}) == shard


def test_a_batch_that_does_not_name_its_shard_is_refused(
    fold_usage: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folded under a shared name, the positions of two shards would be compared, and events lost."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_DYNAMODB", raising=False)
    with pytest.raises(ValueError, match="tumbling window"):
        fold_usage.handler({"Records": []}, None)


def test_shards_have_names_of_their_own() -> None:
    names = {stream_shard(f"shardId-{number:020}-{number:08x}") for number in range(2000)}
    assert len(names) == 2000
    assert all(name.startswith("s") and len(name) == 9 for name in names)


TOO_LONG = 123456789012345678


@pytest.fixture
def short_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a number of the table have 17 digits: 38 are only reached by many events of the largest numbers."""
    monkeypatch.setattr("support.memory_table.DIGITS", 17)


@pytest.mark.usefixtures("short_numbers")
@pytest.mark.parametrize("place", [0, 3, 6], ids=["first", "in the midst", "last"])
def test_an_event_that_the_table_does_not_take_is_quarantined_and_the_rest_counts(place: int) -> None:
    """Halved until it is found: each of the others counts, before it and after it, those of other tallies too."""
    both = tuple(subscription(name, replace(SUBSCRIPTION.line_items[0], id=f"item {name}")) for name in "ab")
    folding = Folding(World(Scenario((CALLS,), both, (), NOW)), Stream(Random(5)))  # noqa: S311 - nothing secret
    usage = [call(f"e{number}", ext=f"ext {'ab'[number % 2]}", value=number) for number in range(6)]
    bad = call("bad", value=TOO_LONG)
    records = records_of(folding, [*usage[:place], bad, *usage[place:]])
    report = fold(folding, records)
    assert (report.events, report.counted, report.uncounted, len(report.poison)) == (7, 7, 1, 1)
    (item,) = partition(folding.table, "poison").values()
    assert json.loads(item["record"]["S"]) == records[place]
    assert item["reason"]["S"].startswith(
        "meter calls: the table would not take it: a number of more than 17"
    )
    check_analytics(folding.world, tuple(usage), NOW)
    before = folding.table.items()
    fold(folding, records)
    assert folding.table.items() == before


@pytest.mark.usefixtures("short_numbers")
def test_what_the_table_would_not_take_is_kept_before_its_position_is_passed() -> None:
    """Killed at each write and delivered again, it is set aside once, and the others count once."""
    usage = [call("a"), call("bad", value=TOO_LONG), call("b", value=2)]
    stop, killed = -1, True
    while killed:
        stop += 1
        folding = Folding(World(SCENARIO), Stream(Random(5)))  # noqa: S311 - nothing secret
        records_of(folding, usage)
        folding.table.faults.before = folding.table.writes + stop
        folding.drain(NOW)
        killed = folding.table.faults.before is None
        folding.table.faults = Faults()
        assert len(partition(folding.table, "poison")) == 1
        check_analytics(folding.world, (usage[0], usage[2]), NOW)
    assert stop >= 5, "three together, one and then two of them, the record, and the last one"


def test_a_number_that_cannot_be_exact_is_quarantined_too(
    folding: Folding, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(opened: TallyUpdate, *arguments: Any) -> TallyTransaction | None:
        if any(counted.observation.id == "bad" for counted in opened.batch):
            raise Inexact
        return plainly(opened, *arguments)

    plainly = TallyUpdate.change
    monkeypatch.setattr(TallyUpdate, "change", change)
    usage = [call("a"), call("bad", value=9), call("b", value=2)]
    report = fold(folding, records_of(folding, usage))
    assert report.poison == ["meter calls: the table would not take it: a number is out of range: Inexact"]
    check_analytics(folding.world, (usage[0], usage[2]), NOW)


@pytest.mark.usefixtures("short_numbers")
def test_a_tally_that_cannot_be_published_does_not_keep_the_clock_from_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a level comes to by the clock alone is no event's: nothing is set aside, and it is told of."""
    level = Meter("level", "level", "", Aggregation.WEIGHTED_SUM, "call", "value")
    names = "abc"
    items = [replace(SUBSCRIPTION.line_items[0], id=f"item {name}", meter=level) for name in names]
    scenario = Scenario((level,), tuple(map(subscription, names, items)), (), NOW)
    folding = Folding(World(scenario), Stream(Random(5)))  # noqa: S311 - nothing secret
    # A day of March brings a 31st, the amount of which has 18 digits.
    usage = [call(name, START + DAY, ext=f"ext {name}", value=31_000) for name in "ac"]
    usage.append(call("b", START + DAY, ext="ext b", value=10**18 - 1))
    fold(folding, records_of(folding, usage), START + DAY)
    roll_usage = load_over("roll_usage", folding.table, monkeypatch)
    monkeypatch.setattr("meterstone.clock.now", lambda: START + 2 * DAY)
    reason = f"^{ORGANIZATION.id}: b, meter level: a number of more than 17 digits"
    with pytest.raises(roll_usage.TurnsFailedError, match=reason):
        roll_usage.handler({}, None)
    worth = {name: folding.world.days(external_subscription_id=f"ext {name}") for name in names}
    day = (parse_day(START + DAY), "usd", "level")
    assert worth == {"a": {day: (Decimal(1000), 25000)}, "b": {}, "c": {day: (Decimal(1000), 25000)}}
    assert not partition(folding.table, "poison")


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


def test_an_import_whose_clock_is_wrong_makes_no_tally_forget_its_shards(folding: Folding) -> None:
    """It runs on a person's machine, and what the stream delivers again is to be known all the same."""
    records = records_of(folding, [call("one")])
    fold(folding, records)
    folding.world.load("file", [call("imported", value=2)], NOW + 3 * DAY)
    fold(folding, records)
    check_analytics(folding.world, (call("one"), call("imported", value=2)), NOW + 3 * DAY)


def test_a_position_is_that_of_the_last_event_whichever_day_it_is_for(folding: Folding) -> None:
    """A batch is counted day by day: the last one counted may not be the last one that came."""
    usage = [
        call("a", START + 3 * DAY),
        call("b", START + 2 * DAY, value=10),
        call("c", START + 3 * DAY + 1, value=100),
    ]
    records = records_of(folding, usage)
    fold(folding, records)
    fold(folding, records)
    check_analytics(folding.world, tuple(usage), NOW)


def test_a_batch_tells_when_its_newest_event_came_in() -> None:
    """Two subscriptions share the rollups, which are written once."""
    items = [replace(SUBSCRIPTION.line_items[0], id=f"item {name}") for name in "ab"]
    both = tuple(subscription(name, item) for name, item in zip("ab", items, strict=True))
    folding = Folding(World(Scenario((CALLS,), both, (), NOW)), Stream(Random(5)))  # noqa: S311 - nothing secret
    records = records_of(folding, [call("new", ext="ext a")], NOW - MINUTE)
    records += records_of(folding, [call("old", ext="ext b")], NOW - HOUR)
    fold(folding, records)
    query = UsageQuery(Granularity.DAILY, *folding.world.range())
    found = list(AnalyticsStore(folding.world.settled).daily_usage(folding.world.account, query))
    assert sum(each.units for item in found for each in item.days) == 2
    assert max(item.counted_until for item in found) == NOW - MINUTE

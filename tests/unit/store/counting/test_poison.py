"""Records of the stream that cannot be read or counted: quarantined, and the rest of their batch counts."""

import json
from collections.abc import Callable
from copy import deepcopy, replace
from decimal import Decimal, Inexact
from random import Random
from typing import Any

import pytest

from meterstone.store.counting.stream import StreamFold
from meterstone.store.counting.writing import TallyTransaction, TallyUpdate
from meterstone.usage.instant import DAY
from meterstone.usage.meter import Aggregation, Meter
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
from support.functions import load_over
from support.memory_table import Faults
from support.scenario import ORGANIZATION, Scenario, World
from support.stream import Folding, Record, Stream


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

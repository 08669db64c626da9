"""A tally: what its head remembers, which charges are in its chain, and which clock it goes by."""

from decimal import Decimal

import pytest

from meterstone.usage.charge import Counter
from meterstone.usage.instant import HOUR
from meterstone.usage.meter import Aggregation, Observation
from meterstone.usage.tally import Counted, Head, Position, Tally, chain, identity, restate, tally_key
from support.one_subscription import FLAT, at, charge_at, item_of, meter_of, subscription_of

NOW = at("03-15")


def counted(number: int, accepted: int = 0, shard: str = "s") -> Counted:
    return Counted(Position(shard, number), Observation(NOW, f"e{number}", Decimal(1)), accepted, 0, 0)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        pytest.param("", True, id="empty"),
        pytest.param("user 1", True, id="short"),
        pytest.param("x" * 64, True, id="64 letters"),
        pytest.param("x" * 65, False, id="65 letters"),
        pytest.param("é", False, id="not ASCII"),
        pytest.param("~" + "0" * 64, False, id="as long as a digest's name"),
    ],
)
def test_a_short_text_stands_for_itself_and_any_other_for_its_digest(text: str, *, kept: bool) -> None:
    named = identity(text)
    assert (named == text) is kept
    assert kept or (len(named), named[0]) == (65, "~")


@pytest.mark.parametrize(
    ("accepted", "newest"),
    [
        pytest.param([5, 9], 9, id="the newest last"),
        pytest.param([9, 5], 9, id="the newest first"),
        pytest.param([0], 7, id="an import's"),
        pytest.param([3], 7, id="older than what was counted"),
    ],
)
def test_a_head_knows_when_its_newest_event_came_in(accepted: list[int], newest: int) -> None:
    head = Head(accepted=7)
    head.take([counted(number, at) for number, at in enumerate(accepted)])
    assert head.accepted == newest


@pytest.mark.parametrize(
    ("position", "unseen"),
    [
        pytest.param(3, [], id="the last"),
        pytest.param(2, [3], id="the one before"),
        pytest.param(4, [], id="one after"),
    ],
)
def test_an_event_at_the_position_of_its_shard_is_seen(position: int, unseen: list[int]) -> None:
    head = Head(positions={"s": position})
    assert [each.position.number for each in head.unseen([counted(3)])] == unseen
    assert head.unseen([counted(3, shard="other")]), "another shard has its own"


@pytest.mark.parametrize(
    ("rested", "kept"),
    [pytest.param(48 * HOUR, True, id="48 hours"), pytest.param(48 * HOUR + 1, False, id="longer")],
)
def test_a_position_that_rested_for_more_than_48_hours_is_dropped(rested: int, *, kept: bool) -> None:
    head = Head(positions={"s": 1, "import": 2}, moved={"s": NOW - rested})
    head.forget(frozenset(), NOW)
    assert head.positions == ({"s": 1, "import": 2} if kept else {"import": 2})
    assert head.moved.keys() == head.positions.keys() - {"import"}


@pytest.mark.parametrize(
    ("start", "end", "first"),
    [
        pytest.param("02-10", "02-05", [], id="ends before it starts"),
        pytest.param("02-10", "02-10", [], id="ends when it starts"),
        pytest.param("02-10", "02-11", ["02-10"], id="a day long"),
        pytest.param("02-10", None, ["02-10", "03-01"], id="without an end"),
    ],
)
def test_a_line_item_without_any_time_is_in_no_chain(start: str, end: str | None, first: list[str]) -> None:
    meter = meter_of(Aggregation.SUM, recurring=True)
    subscription = subscription_of(item_of(meter, FLAT, start, end))
    found = chain(subscription, meter.id, subscription.start, NOW)
    assert [charge.counted_span.start for charge in found] == [at(each) for each in first]


def test_a_clock_that_is_behind_takes_back_nothing_that_was_published() -> None:
    meter = meter_of(Aggregation.SUM, recurring=True)
    charge = charge_at(subscription_of(item_of(meter)), "03-01")
    tally = Tally(tally_key(charge), meter, Head(), [charge], [Counter(carry=Decimal(2))])
    published = restate(tally, NOW)
    assert published.series[0]
    assert restate(tally, at("03-02")) == published
    assert tally.head.through == NOW

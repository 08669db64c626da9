"""Tallies as items: heads, the days of a counter in their chunks, and what days are worth as published.

How states look in these items: `test_stored_states.py`.
"""

from decimal import Decimal
from typing import Any

import pytest

from meterstone.store.dynamodb.packing import (
    add_beside,
    beside_of,
    chunk_of,
    chunks,
    first_day,
    pack_counter,
    pack_head,
    pack_hours,
    published,
    unpack_beside,
    unpack_buckets,
    unpack_counter,
    unpack_detail,
    unpack_head,
    unpack_hours,
    unpack_tally_key,
)
from meterstone.store.dynamodb.table import Attribute, Item
from meterstone.usage.charge import ChargePeriod, Counter, DayAmount
from meterstone.usage.meter import Aggregation, Observation
from meterstone.usage.period import BillingPeriod
from meterstone.usage.tally import Head, Tally, TallyKey
from support.one_subscription import at, charge_at, item_of, meter_of, subscription_of
from support.stored import row_of

SUM = meter_of(Aggregation.SUM)
PLAIN = TallyKey("sub", "m", "item", 0)
CHAIN = TallyKey("sub", "m", None, 0)
NAMES = {"s": {"S": "sub"}, "m": {"S": "m"}, "b": {"N": "0"}}
NEW = {"v": {"N": "0"}, "pos": {"S": "{}"}, "th": {"N": "0"}} | NAMES


def due(when: str) -> Item:
    return {"due_pk": {"S": "org#2#due"}, "due_at": {"S": when}}


@pytest.mark.parametrize(
    ("key", "head", "due_at", "item"),
    [
        pytest.param(PLAIN, Head(), None, NEW | {"i": {"S": "item"}}, id="new"),
        pytest.param(CHAIN, Head(), None, NEW, id="of a chain"),
        pytest.param(CHAIN, Head(version=7), None, NEW | {"v": {"N": "7"}}, id="version"),
        pytest.param(
            CHAIN,
            Head(positions={"s0": 3, "p": 10**22}, moved={"s0": 5}),
            None,
            NEW | {"pos": {"S": '{"s0":3,"p":10000000000000000000000}'}, "mov": {"S": '{"s0":5}'}},
            id="positions, and when they moved",
        ),
        pytest.param(CHAIN, Head(accepted=9), None, NEW | {"acc": {"N": "9"}}, id="newest event"),
        pytest.param(CHAIN, Head(first=0, last=0), None, NEW | {"f": {"N": "0"}, "l": {"N": "0"}}, id="ends"),
        pytest.param(
            CHAIN, Head(through=4), at("03-01"), NEW | {"th": {"N": "4"}} | due("2024-03-01T00:00:00.000000Z"),
            id="due",
        ),
        pytest.param(
            CHAIN,
            Head(through=at("03-02"), stale_from=at("02-01")),
            at("04-01"),
            NEW
            | {"th": {"N": str(at("03-02"))}, "st": {"S": "2024-02-01T00:00:00.000000Z"}}
            | due("2024-03-02T00:00:00.000000Z"),
            id="partly published: due since it was published last",
        ),
    ],
)  # fmt: skip
def test_a_head_is_packed_and_read_back(key: TallyKey, head: Head, due_at: int | None, item: Item) -> None:
    packed = pack_head("org", "2", Tally(key, SUM, head, [], []), due_at)

    assert packed == item
    assert unpack_head(row_of(packed)) == head
    assert unpack_tally_key(row_of(packed)) == key


def test_what_is_not_stored_is_new_or_empty() -> None:
    assert unpack_head(None) == Head()
    assert unpack_hours(SUM, None) == {}
    assert unpack_buckets(None) == {}
    assert list(unpack_detail(SUM, 0, None)) == []
    assert unpack_beside(SUM, 0, beside_of(None)) == []


def test_hours_stand_alone_where_no_events_stand_beside_them() -> None:
    row = row_of(pack_hours(SUM, {9: Decimal(2), 7: Decimal(1)}))

    assert row == {"h": Attribute(S='{"7":"1","9":"2"}')}
    assert unpack_beside(SUM, 738_946, beside_of(row)) == []


def test_events_beside_the_hours_are_numbered_from_midnight_in_utc() -> None:
    """The hours are those of the subscription's clock; an event of its day may lie before midnight in UTC."""
    day = charge_of(BillingPeriod.MONTHLY).zone.day_of(at("03-01"))
    seen = [Observation(at("02-29T23:00"), "", Decimal(1)), Observation(at("03-01T00:01"), "", Decimal(2))]
    packed = pack_hours(SUM, {}, add_beside(SUM, day, "", seen))

    assert packed["e"] == {"S": '[[-3600000000,"1",""],[60000000,"2",""]]'}
    assert unpack_beside(SUM, day, beside_of(row_of(packed))) == seen


def charge_of(period: BillingPeriod, end: str | None = None) -> ChargePeriod:
    return charge_at(subscription_of(item_of(SUM, end=end), period=period), "01-01")


JANUARY_FIRST = charge_of(BillingPeriod.MONTHLY).zone.day_of(at("01-01"))


@pytest.mark.parametrize(
    ("charge", "until", "number"),
    [
        pytest.param(charge_of(BillingPeriod.MONTHLY), "12-31", 1, id="a month"),
        pytest.param(charge_of(BillingPeriod.QUARTERLY), "12-31", 2, id="a quarter: 91 days"),
        pytest.param(charge_of(BillingPeriod.ANNUAL), "12-31", 6, id="a year: 366 days"),
        pytest.param(charge_of(BillingPeriod.ANNUAL), "03-02", 1, id="until its 62nd day"),
        pytest.param(charge_of(BillingPeriod.ANNUAL), "03-03", 2, id="until its 63rd day"),
        pytest.param(
            charge_of(BillingPeriod.ANNUAL, end="03-03"), "12-31", 1, id="it ends with its 62nd day"
        ),
        pytest.param(charge_of(BillingPeriod.ANNUAL, end="03-03T00:01"), "12-31", 2, id="a minute later"),
        pytest.param(charge_of(BillingPeriod.ANNUAL), "2023-06-01", 1, id="not begun: the first"),
    ],
)
def test_a_counter_has_a_chunk_for_every_62_days(charge: ChargePeriod, until: str, number: int) -> None:
    assert chunks(charge, at(until)) == number


@pytest.mark.parametrize(("offset", "chunk"), [(0, 0), (61, 0), (62, 1), (123, 1), (124, 2)])
def test_a_day_is_in_the_chunk_of_its_stretch(offset: int, chunk: int) -> None:
    charge = charge_of(BillingPeriod.ANNUAL)

    assert first_day(charge) == JANUARY_FIRST
    assert chunk_of(charge, JANUARY_FIRST + offset) == chunk


ONE = DayAmount(Decimal(1), 100)


def days(by_number: dict[int, Any]) -> dict[int, Any]:
    """Count days from the first of January, which is 0."""
    return {JANUARY_FIRST + number: value for number, value in by_number.items()}


@pytest.mark.parametrize(
    ("counter", "items"),
    [
        pytest.param(Counter(), [{"d": "{}"}], id="nothing: the first chunk is there"),
        pytest.param(
            Counter(days({0: Decimal(3), 61: Decimal(4)})), [{"d": '{"0":"3","61":"4"}'}], id="one chunk"
        ),
        pytest.param(
            Counter(days({62: Decimal(3), 124: Decimal(4)})),
            [{"d": "{}"}, {"d": '{"0":"3"}'}, {"d": '{"0":"4"}'}],
            id="later chunks number their days anew",
        ),
        pytest.param(
            Counter(days({0: Decimal(3)}), days({0: DayAmount(Decimal(3), 300), 62: ONE})),
            [{"d": '{"0":"3"}', "p": "@0 3 300"}, {"p": "@0 1 100"}],
            id="published days without counted ones",
        ),
        pytest.param(
            Counter({}, days({1: ONE, 2: ONE, 5: ONE})),
            [{"d": "{}", "p": "@1 1 100 1 100 @5 1 100"}],
            id="runs of published days",
        ),
        pytest.param(
            Counter(days({62: Decimal(3)}), {}, Decimal(7)),
            [{"d": "{}", "c": '"7"'}, {"d": '{"0":"3"}'}],
            id="carried: not in later chunks",
        ),
        pytest.param(
            Counter({}, {}, Decimal(7)), [{"d": "{}", "c": '"7"'}], id="carried: in the first chunk"
        ),
    ],
)
def test_a_counter_is_packed_in_chunks_and_read_back(counter: Counter, items: list[dict[str, str]]) -> None:
    charge = charge_of(BillingPeriod.ANNUAL)
    packed = pack_counter(charge, counter)

    assert list(packed) == [f"C#ANNUAL.1#2024-01-01T00:00:00.000000Z#item#{n:05}" for n in range(len(items))]
    assert list(packed.values()) == [{name: {"S": text} for name, text in item.items()} for item in items]
    assert unpack_counter(charge, dict(enumerate(map(row_of, packed.values())))) == counter


def test_what_is_published_is_read_only_where_it_is_wanted() -> None:
    charge = charge_of(BillingPeriod.MONTHLY)
    (packed,) = pack_counter(charge, Counter(days({0: Decimal(3)}), days({0: ONE}))).values()
    found = unpack_counter(charge, {0: row_of(packed)}, as_published=False)

    assert found == Counter(days({0: Decimal(3)}))


@pytest.mark.parametrize(
    ("text", "worth"),
    [
        pytest.param("", {}, id="nothing"),
        pytest.param("@0 1 100", {100: ONE}, id="the first day"),
        pytest.param("@5 1 100 1 100", {105: ONE, 106: ONE}, id="a run of days"),
        pytest.param("@5 1 100 @9 1 100", {105: ONE, 109: ONE}, id="a gap"),
        pytest.param("@0 -0.5 -12", {100: DayAmount(Decimal("-0.5"), -12)}, id="less than the day before"),
    ],
)
def test_what_days_are_worth_is_read_from_runs(text: str, worth: dict[int, DayAmount]) -> None:
    assert dict(published({"p": Attribute(S=text)}, 100)) == worth

"""What a counter keeps of a stretch of time, how two stretches merge, and what they stand for."""

from decimal import Decimal
from typing import Any

import pytest

from meterstone.pricing.lines import Cost, Line
from meterstone.usage.calendar import BucketSize
from meterstone.usage.meter import Aggregation, Meter, Observation
from meterstone.usage.state import (
    Json,
    State,
    accrued,
    decode,
    encode,
    keeps_hours,
    merge_all_states,
    merge_into,
    merge_states,
    quantity,
    shorter_than_a_day,
    state_of,
)
from support.one_subscription import meter_of

COUNT, SUM, MAX = Aggregation.COUNT, Aggregation.SUM, Aggregation.MAX
MULTIPLIED, UNIQUE = Aggregation.SUM_WITH_MULTIPLIER, Aggregation.COUNT_UNIQUE
LATEST, AVG, WEIGHTED_SUM = Aggregation.LATEST, Aggregation.AVG, Aggregation.WEIGHTED_SUM
HOURLY = meter_of(SUM, bucket_size=BucketSize.HOUR)
D = Decimal


def line(units: str, subtotal: str, to: str | None = None, from_: str = "0") -> Line:
    return Line(D(from_), None if to is None else D(to), D(units), D(2), D(0), D(subtotal))


@pytest.mark.parametrize(
    ("aggregation", "state"),
    [
        (COUNT, D(3)),
        (SUM, D(3)),
        (MULTIPLIED, D(3)),
        (MAX, D(3)),
        (UNIQUE, D(1)),
        (LATEST, (500, "e1", D(3))),
        (AVG, (D(3), 1)),
        (WEIGHTED_SUM, (D(3), D(1500))),
    ],
)
def test_state_of_an_event(aggregation: Aggregation, state: State) -> None:
    assert state_of(meter_of(aggregation), Observation(500, "e1", D(3))) == state


@pytest.mark.parametrize(
    ("meter", "one", "other", "merged"),
    [
        pytest.param(meter_of(COUNT), D(2), D(3), D(5), id="COUNT"),
        pytest.param(meter_of(SUM), D("0.1"), D("-0.3"), D("-0.2"), id="SUM"),
        pytest.param(meter_of(MULTIPLIED, multiplier=D(10)), D(2), D(3), D(5), id="SUM_WITH_MULTIPLIER"),
        pytest.param(meter_of(UNIQUE), D(2), D(3), D(5), id="COUNT_UNIQUE"),
        pytest.param(meter_of(MAX), D(2), D(3), D(3), id="MAX"),
        pytest.param(meter_of(MAX), D(-2), D(-3), D(-2), id="MAX below zero"),
        pytest.param(meter_of(LATEST), (5, "b", D(9)), (6, "a", D(1)), (6, "a", D(1)), id="LATEST"),
        pytest.param(
            meter_of(LATEST), (5, "b", D(1)), (5, "a", D(9)), (5, "b", D(1)), id="LATEST at one time: by id"
        ),
        pytest.param(meter_of(AVG), (D(6), 2), (D(-1), 1), (D(5), 3), id="AVG"),
        pytest.param(
            meter_of(WEIGHTED_SUM), (D(6), D(60)), (D(-2), D(-30)), (D(4), D(30)), id="WEIGHTED_SUM"
        ),
        pytest.param(
            HOURLY,
            Cost(D(5), (line("5", "10"),)),
            Cost(D(-2), ()),
            Cost(D(3), (line("5", "10"),)),
            id="buckets",
        ),
        pytest.param(
            HOURLY,
            Cost(D(5), (line("5", "10"),)),
            Cost(D(1), (line("1", "2"),)),
            Cost(D(6), (line("6", "12"),)),
            id="buckets of one tier",
        ),
        pytest.param(HOURLY, D(5), D(1), D(6), id="one bucket"),
        pytest.param(meter_of(SUM), D(0), None, D(0), id="nothing counted changes nothing"),
        pytest.param(meter_of(SUM), None, None, None, id="nothing at all"),
    ],
)
def test_merge_states_in_any_order(
    meter: Meter, one: State | None, other: State | None, merged: State | None
) -> None:
    assert merge_states(meter, one, other) == merge_states(meter, other, one) == merged
    assert merge_all_states(meter, [None, one, None, other]) == merged
    if other is not None:
        assert merge_into(meter, one, other) == merged


def test_merge_all_states_of_none_is_nothing() -> None:
    assert merge_all_states(meter_of(SUM), []) is None


@pytest.mark.parametrize(
    ("meter", "state", "units"),
    [
        pytest.param(meter_of(COUNT), D(2), D(2), id="COUNT"),
        pytest.param(meter_of(SUM), D("-2.5"), D("-2.5"), id="SUM"),
        pytest.param(meter_of(MULTIPLIED, multiplier=D("0.5")), D(5), D("2.5"), id="SUM_WITH_MULTIPLIER"),
        pytest.param(meter_of(MAX), D(2), D(2), id="MAX"),
        pytest.param(meter_of(UNIQUE), D(2), D(2), id="COUNT_UNIQUE"),
        pytest.param(meter_of(LATEST), (5, "b", D(9)), D(9), id="LATEST"),
        pytest.param(meter_of(AVG), (D(5), 3), D("1.6666666666666667"), id="AVG"),
        pytest.param(meter_of(WEIGHTED_SUM), (D(4), D(30)), D(4), id="WEIGHTED_SUM: its level"),
        pytest.param(HOURLY, Cost(D(5), (line("5", "10"),)), D(5), id="buckets"),
        *(pytest.param(meter_of(each), None, D(0), id=f"{each}: nothing") for each in Aggregation),
    ],
)
def test_quantity_that_a_state_stands_for(meter: Meter, state: State | None, units: Decimal) -> None:
    assert quantity(meter, state) == units


@pytest.mark.parametrize(
    ("steps", "carried", "start", "until", "length", "units"),
    [
        pytest.param([], 0, 0, 10, 10, "0", id="no level"),
        pytest.param([], 6, 0, 10, 10, "6", id="a level that stays"),
        pytest.param([], 6, 5, 10, 10, "3", id="for half of the length"),
        pytest.param([], 6, 5, 10, 5, "6", id="from a later start"),
        pytest.param([(4, 5)], 0, 0, 10, 10, "3", id="a step counts from its instant on"),
        pytest.param([(0, 5)], 0, 0, 10, 10, "5", id="a step at the start"),
        pytest.param([(2, 5), (6, -5)], 0, 0, 10, 10, "2", id="a level that falls"),
        pytest.param([(6, 5)], 2, 0, 10, 10, "4", id="a step on a carried level"),
        pytest.param([(15, 6)], 2, 10, 20, 10, "5", id="a step after a later start"),
        pytest.param([(0, 1)], 0, 0, 2, 3, "0.6666666666666667", id="rounded to 16 decimals"),
        pytest.param([(0, 1)], 0, 0, 10, 0, "0", id="no length"),
        pytest.param([(0, 1)], 7, 10, 10, 10, "0", id="no time"),
        pytest.param([(0, 1)], 7, 10, 9, 10, "0", id="less than no time"),
        pytest.param([(0, 1)], 0, 0, 1, 1, "1", id="a microsecond"),
    ],
)
def test_accrued_is_level_times_time_held(
    steps: list[tuple[int, int]], carried: int, start: int, until: int, length: int, units: str
) -> None:
    meter = meter_of(WEIGHTED_SUM)
    state = merge_all_states(meter, [state_of(meter, Observation(at, "e", D(step))) for at, step in steps])

    assert accrued(state, D(carried), start, until, length) == D(units)


@pytest.mark.parametrize(
    ("meter", "state", "packed"),
    [
        pytest.param(meter_of(SUM), D("1E+3"), "1000", id="a sum"),
        pytest.param(meter_of(SUM), D("-0.50"), "-0.5", id="a sum below zero"),
        pytest.param(meter_of(LATEST), (500, "e1", D("3.0")), [500, "e1", "3"], id="LATEST"),
        pytest.param(meter_of(LATEST), (500, "12", D(3)), [500, "12", "3"], id="LATEST: an id of digits"),
        pytest.param(meter_of(AVG), (D(6), 2), ["6", 2], id="AVG"),
        pytest.param(
            meter_of(WEIGHTED_SUM), (D(6), D("1.5E+16")), ["6", "15000000000000000"], id="WEIGHTED_SUM"
        ),
        pytest.param(HOURLY, Cost(D(0), ()), ["0", []], id="buckets that cost nothing"),
        pytest.param(
            HOURLY,
            Cost(D(6), (line("5", "10", to="5"), Line(D(5), None, D(1), D(3), D("0.1"), D("3.1")))),
            ["6", [["0", "5", "5", "2", "0", "10"], ["5", None, "1", "3", "0.1", "3.1"]]],
            id="buckets of two tiers",
        ),
    ],
)
def test_encode_is_read_back_by_decode(meter: Meter, state: State, packed: Json) -> None:
    assert encode(meter, state) == packed
    assert decode(meter, packed) == state


@pytest.mark.parametrize("packed", [5, None, [], ["6"], [5, 6, 7], ["6", None]], ids=repr)
def test_decode_refuses_what_is_no_state(packed: Any) -> None:
    with pytest.raises(ValueError, match="no state of Sum"):
        decode(meter_of(SUM), packed)


@pytest.mark.parametrize(
    ("size", "shorter"),
    [
        (None, False),
        (BucketSize.MINUTE, True),
        (BucketSize.FIFTEEN_MINUTES, True),
        (BucketSize.HOUR, True),
        (BucketSize.TWELVE_HOURS, True),
        (BucketSize.DAY, False),
        (BucketSize.WEEK, False),
        (BucketSize.MONTH, False),
    ],
)
def test_buckets_shorter_than_a_day_keep_no_hours(size: BucketSize | None, shorter: bool) -> None:  # noqa: FBT001
    meter = meter_of(SUM, bucket_size=size)

    assert shorter_than_a_day(meter) is shorter
    assert keeps_hours(meter) is not shorter


@pytest.mark.parametrize("aggregation", Aggregation)
def test_keeps_hours_unless_it_keeps_values(aggregation: Aggregation) -> None:
    assert keeps_hours(meter_of(aggregation)) is (aggregation is not UNIQUE)

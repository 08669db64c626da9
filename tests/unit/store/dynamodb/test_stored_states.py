"""What is stored of every kind of state: what was written once must be read, and written, alike for ever.

Each text below was written by the fold. It is read as the value beside it, and that value is written as the text.
"""

from collections.abc import Callable
from decimal import Decimal

import pytest

from meterstone.pricing.lines import Cost, Line
from meterstone.store.dynamodb.packing import (
    add_beside,
    beside_of,
    pack_buckets,
    pack_counter,
    pack_detail,
    pack_hours,
    unpack_beside,
    unpack_buckets,
    unpack_counter,
    unpack_detail,
    unpack_hours,
)
from meterstone.store.dynamodb.table import Item, Row
from meterstone.usage.calendar import BucketSize
from meterstone.usage.charge import ChargePeriod, Counter
from meterstone.usage.instant import utc_midnight
from meterstone.usage.meter import Aggregation, Meter, Observation
from meterstone.usage.period import BillingPeriod
from meterstone.usage.state import State
from support.small_world import FLAT, START, meter, subscription
from support.stored import row_of

COUNT = meter("count", Aggregation.COUNT)
SUM = meter("sum", Aggregation.SUM)
SEATS = meter("seats", Aggregation.SUM, recurring=True)
TIMES = meter("times", Aggregation.SUM_WITH_MULTIPLIER, multiplier=Decimal("1.5"))
MAX = meter("max", Aggregation.MAX)
LATEST = meter("latest", Aggregation.LATEST)
AVG = meter("avg", Aggregation.AVG)
UNIQUE = meter("unique", Aggregation.COUNT_UNIQUE)
EVER = meter("ever", Aggregation.COUNT_UNIQUE, recurring=True)
LEVEL = meter("level", Aggregation.WEIGHTED_SUM)
CHAINED = meter("chained", Aggregation.WEIGHTED_SUM, recurring=True)
DAILY_SUM = meter("daily", Aggregation.SUM, bucket_size=BucketSize.DAY)
WEEKLY_MAX = meter("weekly", Aggregation.MAX, bucket_size=BucketSize.WEEK)
HOURLY_SUM = meter("hoursum", Aggregation.SUM, bucket_size=BucketSize.HOUR)
HOURLY_MAX = meter("hourmax", Aggregation.MAX, bucket_size=BucketSize.HOUR)

BIG = Decimal("12345678901.000001")
MOMENT = Decimal("20665087012676592571273919.123456")

STATES = [
    pytest.param(COUNT, '{"0":"3","1":"1"}', {0: Decimal(3), 1: Decimal(1)}, id="COUNT"),
    pytest.param(SUM, '{"0":"8.75","1":"12345678901.000001"}', {0: Decimal("8.75"), 1: BIG}, id="SUM"),
    pytest.param(SEATS, '{"0":"0","61":"-2.5"}', {0: Decimal(0), 61: Decimal("-2.5")}, id="SUM, recurring"),
    pytest.param(TIMES, '{"0":"8.75"}', {0: Decimal("8.75")}, id="SUM_WITH_MULTIPLIER, not multiplied"),
    pytest.param(MAX, '{"0":"7","1":"-0.75"}', {0: Decimal(7), 1: Decimal("-0.75")}, id="MAX"),
    pytest.param(
        LATEST,
        '{"0":[1673782123123456,"e-3","-0.75"],"1":[1673872063123456,"12","7"]}',
        {0: (1673782123123456, "e-3", Decimal("-0.75")), 1: (1673872063123456, "12", Decimal(7))},
        id="LATEST, an id of digits too",
    ),
    pytest.param(
        AVG,
        '{"0":["8.75",3],"1":["12345678901.000001",1]}',
        {0: (Decimal("8.75"), 3), 1: (BIG, 1)},
        id="AVG",
    ),
    pytest.param(UNIQUE, '{"0":"2","1":"1"}', {0: Decimal(2), 1: Decimal(1)}, id="COUNT_UNIQUE"),
    pytest.param(EVER, '{"0":"2"}', {0: Decimal(2)}, id="COUNT_UNIQUE, recurring"),
    pytest.param(
        LEVEL,
        '{"0":["8.75","14645584007330240"],"1":["12345678901.000001","20665087012676592571273919.123456"]}',
        {0: (Decimal("8.75"), Decimal(14645584007330240)), 1: (BIG, MOMENT)},
        id="WEIGHTED_SUM",
    ),
    pytest.param(
        CHAINED,
        '{"1":["1","1676539663123456"]}',
        {1: (Decimal(1), Decimal(1676539663123456))},
        id="WEIGHTED_SUM, recurring",
    ),
    pytest.param(DAILY_SUM, '{"0":"8.75"}', {0: Decimal("8.75")}, id="SUM in buckets of a day"),
    pytest.param(WEEKLY_MAX, '{"0":"7"}', {0: Decimal(7)}, id="MAX in buckets of a week"),
]
COSTS = [
    pytest.param(
        HOURLY_SUM,
        '{"0":["8.75",[["0",null,"8.75","0.25","0","2.1875"]]],"3":["0",[]]}',
        {
            0: Cost(
                Decimal("8.75"),
                (Line(Decimal(0), None, Decimal("8.75"), Decimal("0.25"), Decimal(0), Decimal("2.1875")),),
            ),
            3: Cost(Decimal(0), ()),
        },
        id="SUM in buckets of an hour: costs, one of nothing too",
    ),
    pytest.param(
        HOURLY_MAX,
        '{"0":["9.5",[["0","5","7.5","2","0","15"],["5",null,"2","0.333","1","1.666"]]]}',
        {
            0: Cost(
                Decimal("9.5"),
                (
                    Line(Decimal(0), Decimal(5), Decimal("7.5"), Decimal(2), Decimal(0), Decimal(15)),
                    Line(Decimal(5), None, Decimal(2), Decimal("0.333"), Decimal(1), Decimal("1.666")),
                ),
            )
        },
        id="MAX in buckets of an hour: the costs of two tiers",
    ),
]
CARRIED = [
    pytest.param(SEATS, '"12345678901.000001"', BIG, id="SUM"),
    pytest.param(EVER, '"3"', Decimal(3), id="COUNT_UNIQUE"),
    pytest.param(CHAINED, '["12345678901.000001","0"]', (BIG, Decimal(0)), id="WEIGHTED_SUM"),
]
_MIDNIGHT = utc_midnight(738_535)
EVENTS = [
    pytest.param(
        LATEST,
        '[[37663123456,"2.5","e-1"],[41263123456,"7","e-2"]]',
        [
            Observation(_MIDNIGHT + 37663123456, "e-1", Decimal("2.5")),
            Observation(_MIDNIGHT + 41263123456, "e-2", Decimal(7)),
        ],
        id="LATEST: ids",
    ),
    pytest.param(
        UNIQUE,
        '[[1663123456,"0","blue"]]',
        [Observation(_MIDNIGHT + 1663123456, "", Decimal(0), "blue")],
        id="COUNT_UNIQUE: texts",
    ),
    *(
        pytest.param(
            it,
            '[[37663123456,"2.5",""],[41323123456,"-0.75",""]]',
            [
                Observation(_MIDNIGHT + 37663123456, "", Decimal("2.5")),
                Observation(_MIDNIGHT + 41323123456, "", Decimal("-0.75")),
            ],
            id=f"{it.id}: values alone",
        )
        for it in (SUM, TIMES, MAX, AVG, LEVEL, HOURLY_SUM)
    ),
    pytest.param(
        COUNT,
        '[[37663123456,"1",""]]',
        [Observation(_MIDNIGHT + 37663123456, "", Decimal(1))],
        id="COUNT: ones",
    ),
]


def charge_of(it: Meter) -> ChargePeriod:
    found = subscription(BillingPeriod.MONTHLY, [(it, FLAT)])
    item = found.line_items[0]
    return ChargePeriod(found, item, found.cadence(item).period_at(START))


def exactly(found: object) -> str:
    """Tell 1 from 1.0 too, which are equal."""
    return repr(found)


def test_states_of_every_aggregation_are_here() -> None:
    assert {case.values[0].aggregation for case in STATES} == set(Aggregation)  # type: ignore[union-attr]


@pytest.mark.parametrize(("it", "text", "states"), STATES + COSTS)
def test_a_counters_days(it: Meter, text: str, states: dict[int, State]) -> None:
    charge = charge_of(it)
    days = {charge.origin + number: state for number, state in states.items()}

    (packed,) = pack_counter(charge, Counter(days)).values()
    assert packed == {"d": {"S": text}}
    assert exactly(unpack_counter(charge, {0: row_of(packed)}).days) == exactly(days)


@pytest.mark.parametrize(("it", "text", "state"), CARRIED)
def test_what_a_recurring_meter_carries_into_a_period(it: Meter, text: str, state: State) -> None:
    charge = charge_of(it)

    (packed,) = pack_counter(charge, Counter(carry=state)).values()
    assert packed == {"d": {"S": "{}"}, "c": {"S": text}}
    assert exactly(unpack_counter(charge, {0: row_of(packed)}).carry) == exactly(state)


@pytest.mark.parametrize(("it", "text", "states"), STATES)
def test_the_hours_of_a_day(it: Meter, text: str, states: dict[int, State]) -> None:
    packed = pack_hours(it, states)

    assert packed == {"h": {"S": text}}
    assert exactly(unpack_hours(it, row_of(packed))) == exactly(states)


@pytest.mark.parametrize(
    ("pack", "unpack"),
    [
        pytest.param(
            lambda it, events: pack_hours(it, {}, add_beside(it, 738_535, "", events)),
            lambda it, row: unpack_beside(it, 738_535, beside_of(row)),
            id="beside the hours",
        ),
        pytest.param(
            lambda it, events: pack_detail(it, _MIDNIGHT, events),
            lambda it, row: unpack_detail(it, _MIDNIGHT, row),
            id="in a detail",
        ),
    ],
)
@pytest.mark.parametrize(("it", "text", "events"), EVENTS)
def test_events(
    it: Meter,
    text: str,
    events: list[Observation],
    pack: Callable[[Meter, list[Observation]], Item],
    unpack: Callable[[Meter, Row], list[Observation]],
) -> None:
    packed = pack(it, events)

    assert packed["e"] == {"S": text}
    assert exactly(list(unpack(it, row_of(packed)))) == exactly(events)


@pytest.mark.parametrize(
    ("it", "written"),
    [
        pytest.param(SUM, '[[5,"2",""]]', id="SUM: no id, no text"),
        pytest.param(COUNT, '[[5,"2",""]]', id="COUNT: no id, no text"),
        pytest.param(LATEST, '[[5,"2","an id"]]', id="LATEST: the id"),
        pytest.param(UNIQUE, '[[5,"2","a%23text"]]', id="COUNT_UNIQUE: the text, as in a key"),
    ],
)
def test_what_a_detail_keeps_of_an_event(it: Meter, written: str) -> None:
    seen = Observation(_MIDNIGHT + 5, "an id", Decimal("2.0"), "a#text")

    assert pack_detail(it, _MIDNIGHT, [seen]) == {"e": {"S": written}}


def test_the_buckets_of_a_day() -> None:
    buckets = {1673776800000000: Decimal("2.5"), 1673780400000000: Decimal("6.25")}
    packed = pack_buckets(buckets)

    assert packed == {"b": {"S": '{"1673776800000000":"2.5","1673780400000000":"6.25"}'}}
    assert exactly(unpack_buckets(row_of(packed))) == exactly(buckets)

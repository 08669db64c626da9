"""What each aggregation makes of events: what it reads, how states merge, what they come to, what is stored."""

from decimal import Decimal
from typing import Any

import pytest

from meterstone.pricing.lines import Cost, Line
from meterstone.usage.aggregation import AGGREGATORS, BUCKET_COSTS, observe
from meterstone.usage.aggregation.base import DetailKeeps, FineParts, Json, Reads, State, StateKind
from meterstone.usage.calendar import BucketSize
from meterstone.usage.meter import Aggregation, Event, Meter, Observation, Property, Uncounted
from meterstone.usage.state import fine_parts, keeps_hours
from meterstone.usage.state import quantity as quantity_of

NUMBER_READERS = [
    Aggregation.SUM,
    Aggregation.SUM_WITH_MULTIPLIER,
    Aggregation.MAX,
    Aggregation.LATEST,
    Aggregation.AVG,
    Aggregation.WEIGHTED_SUM,
]


def numbers(*texts: str) -> tuple[Decimal, ...]:
    return tuple(Decimal(text) for text in texts)


def meter(aggregation: Aggregation, bucket_size: BucketSize | None = None) -> Meter:
    return Meter("m", "m", "", aggregation, "call", "q", multiplier=Decimal("1.5"), bucket_size=bucket_size)


def seen(aggregation: Aggregation, properties: dict[str, Property]) -> Observation | Uncounted | None:
    return observe(meter(aggregation), Event("e-1", "call", 7, properties))


def test_every_aggregation_has_an_aggregator_of_its_own() -> None:
    assert set(AGGREGATORS) == set(Aggregation)
    assert len({type(each) for each in AGGREGATORS.values()}) == len(Aggregation)


# What an aggregation reads of an event.


@pytest.mark.parametrize("aggregation", NUMBER_READERS)
@pytest.mark.parametrize(
    ("value", "observed"),
    [
        pytest.param(5, Decimal(5), id="an integer"),
        pytest.param("-12.50", Decimal("-12.50"), id="a number as text"),
        pytest.param(Decimal("0.1"), Decimal("0.1"), id="a decimal"),
        pytest.param("many", "property 'q': ", id="a word"),
        pytest.param(10**18, "property 'q': ", id="too many digits"),
        pytest.param(True, "property 'q' is absent or not a number", id="a truth value"),
        pytest.param([1], "property 'q' is absent or not a number", id="a list"),
        pytest.param(None, "property 'q' is absent or not a number", id="null"),
    ],
)
def test_what_has_a_value_reads_a_number(
    aggregation: Aggregation, value: Property, observed: Decimal | str
) -> None:
    found = seen(aggregation, {"q": value})

    if isinstance(observed, Decimal):
        assert found == Observation(7, "e-1", observed)
    else:
        assert isinstance(found, Uncounted)
        assert found.reason.startswith(observed)


@pytest.mark.parametrize("properties", [{}, {"q": "many"}, {"q": None}], ids=["none", "a word", "null"])
def test_count_reads_no_property(properties: dict[str, Property]) -> None:
    assert seen(Aggregation.COUNT, properties) == Observation(7, "e-1", Decimal(1))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("blue", "blue", id="text"),
        pytest.param("", "", id="empty text"),
        pytest.param(Decimal("5.0"), "5", id="a number, normalised"),
        pytest.param(True, "true", id="a truth value"),
        pytest.param(None, None, id="null"),
        pytest.param(["a"], None, id="a list"),
    ],
)
def test_count_unique_reads_a_text(value: Property, text: str | None) -> None:
    expected = (
        Uncounted("property 'q' is absent or not a scalar")
        if text is None
        else Observation(7, "e-1", Decimal(0), text)
    )
    assert seen(Aggregation.COUNT_UNIQUE, {"q": value}) == expected


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        pytest.param("666666666666666666.2", True, id="a product of 18 digits"),
        pytest.param("666666666666666667", False, id="a product of 19 digits"),
        pytest.param("0.000000000000000001", True, id="a product of 19 decimals, which is rounded"),
    ],
)
def test_a_product_that_is_no_number_does_not_count(value: str, counts: bool) -> None:  # noqa: FBT001
    found = seen(Aggregation.SUM_WITH_MULTIPLIER, {"q": value})

    assert found == Observation(7, "e-1", Decimal(value)) if counts else isinstance(found, Uncounted)
    assert isinstance(seen(Aggregation.SUM, {"q": value}), Observation)


@pytest.mark.parametrize("aggregation", Aggregation)
def test_an_event_of_another_name_means_nothing(aggregation: Aggregation) -> None:
    assert observe(meter(aggregation), Event("e-1", "other", 7, {"q": 1})) is None


# The state of one event, of three, and the quantity that the three come to.

OBSERVED = [
    Observation(3, "b", Decimal("2.5"), "blue"),
    Observation(5, "c", Decimal(7), "red"),
    Observation(5, "d", Decimal("-0.5"), "green"),
]


@pytest.mark.parametrize(
    ("aggregation", "first", "all_three", "quantity"),
    [
        pytest.param(
            Aggregation.COUNT, Decimal("2.5"), Decimal(9), "9", id="COUNT: each observation has its number"
        ),
        pytest.param(Aggregation.SUM, Decimal("2.5"), Decimal(9), "9", id="SUM"),
        pytest.param(Aggregation.SUM_WITH_MULTIPLIER, Decimal("2.5"), Decimal(9), "13.5", id="times 1.5"),
        pytest.param(Aggregation.MAX, Decimal("2.5"), Decimal(7), "7", id="MAX"),
        pytest.param(
            Aggregation.LATEST,
            (3, "b", Decimal("2.5")),
            (5, "d", Decimal("-0.5")),
            "-0.5",
            id="LATEST: of one time the greater id, not the greater value",
        ),
        pytest.param(Aggregation.AVG, (Decimal("2.5"), 1), (Decimal(9), 3), "3", id="AVG"),
        pytest.param(
            Aggregation.COUNT_UNIQUE, Decimal(1), Decimal(3), "3", id="COUNT_UNIQUE: each is a first"
        ),
        pytest.param(
            Aggregation.WEIGHTED_SUM, numbers("2.5", "7.5"), numbers("9", "40"), "9", id="WEIGHTED_SUM"
        ),
    ],
)
def test_events_become_states_and_a_quantity(
    aggregation: Aggregation, first: State, all_three: State, quantity: str
) -> None:
    it = AGGREGATORS[aggregation]
    one, two, three = (it.state_of(each) for each in OBSERVED)

    assert one == first
    assert it.merge(it.merge(one, two), three) == all_three
    assert it.merge(one, it.merge(three, two)) == all_three, "neither order nor grouping matters"
    assert it.quantity(all_three, meter(aggregation)) == Decimal(quantity)


@pytest.mark.parametrize(
    ("size", "aggregation"),
    [(BucketSize.HOUR, Aggregation.SUM), (None, Aggregation.MAX), (BucketSize.WEEK, Aggregation.MAX)],
)
def test_nothing_counted_is_a_quantity_of_0(size: BucketSize | None, aggregation: Aggregation) -> None:
    assert quantity_of(meter(aggregation, size), None) == 0


def test_an_average_is_rounded_to_16_decimals() -> None:
    found = AGGREGATORS[Aggregation.AVG].quantity((Decimal(2), 3), meter(Aggregation.AVG))

    assert str(found) == "0.6666666666666667"


@pytest.mark.parametrize(
    ("aggregation", "state", "carried"),
    [
        pytest.param(Aggregation.SUM, Decimal(9), Decimal(9), id="SUM: the sum"),
        pytest.param(
            Aggregation.COUNT_UNIQUE, Decimal(3), Decimal(3), id="COUNT_UNIQUE: the number of values"
        ),
        pytest.param(
            Aggregation.WEIGHTED_SUM,
            numbers("9", "40"),
            numbers("9", "0"),
            id="WEIGHTED_SUM: the level alone",
        ),
    ],
)
def test_what_a_recurring_meter_carries_into_the_next_period(
    aggregation: Aggregation, state: State, carried: State
) -> None:
    assert AGGREGATORS[aggregation].carry(state) == carried
    assert AGGREGATORS[aggregation].traits.can_recur


# What is stored of a state.

COST = Cost(
    Decimal("9.0"), (Line(Decimal(0), None, Decimal(9), Decimal("0.25"), Decimal(0), Decimal("2.25")),)
)
STORED = [
    *(
        pytest.param(AGGREGATORS[each], Decimal("8.50"), "8.5", id=each)
        for each in (
            Aggregation.COUNT,
            Aggregation.SUM,
            Aggregation.SUM_WITH_MULTIPLIER,
            Aggregation.MAX,
            Aggregation.COUNT_UNIQUE,
        )
    ),
    pytest.param(AGGREGATORS[Aggregation.LATEST], (5, "d", Decimal("8.50")), [5, "d", "8.5"], id="LATEST"),
    pytest.param(AGGREGATORS[Aggregation.AVG], (Decimal("8.50"), 3), ["8.5", 3], id="AVG"),
    pytest.param(
        AGGREGATORS[Aggregation.WEIGHTED_SUM], numbers("8.50", "1E+2"), ["8.5", "100"], id="WEIGHTED_SUM"
    ),
    pytest.param(BUCKET_COSTS, COST, ["9", [["0", None, "9", "0.25", "0", "2.25"]]], id="costs of buckets"),
]


@pytest.mark.parametrize(("kind", "state", "packed"), STORED)
def test_a_state_is_stored_as_exact_text_and_read_back(
    kind: StateKind[Any], state: State, packed: Json
) -> None:
    assert kind.encode(state) == packed
    assert kind.decode(packed) == state


_NUMBER, _LATEST, _AVERAGE, _WEIGHTED, _COST = (
    "8.5",
    [5, "d", "8.5"],
    ["8.5", 3],
    ["8.5", "100"],
    ["9", []],
)


@pytest.mark.parametrize(
    ("kind", "others"),
    [
        *(
            pytest.param(AGGREGATORS[each], [_LATEST, _AVERAGE, _WEIGHTED, _COST, None, 8], id=each)
            for each in (
                Aggregation.COUNT,
                Aggregation.SUM,
                Aggregation.SUM_WITH_MULTIPLIER,
                Aggregation.MAX,
                Aggregation.COUNT_UNIQUE,
            )
        ),
        pytest.param(AGGREGATORS[Aggregation.LATEST], [_NUMBER, _AVERAGE, _WEIGHTED, _COST], id="LATEST"),
        pytest.param(AGGREGATORS[Aggregation.AVG], [_NUMBER, _LATEST, _WEIGHTED, _COST], id="AVG"),
        pytest.param(
            AGGREGATORS[Aggregation.WEIGHTED_SUM], [_NUMBER, _LATEST, _AVERAGE, _COST], id="WEIGHTED_SUM"
        ),
        pytest.param(BUCKET_COSTS, [_NUMBER, _LATEST, _AVERAGE, _WEIGHTED], id="costs of buckets"),
    ],
)
def test_a_state_that_looks_like_another_kinds_is_refused(kind: StateKind[Any], others: list[Json]) -> None:
    for packed in others:
        with pytest.raises(ValueError, match="no state of"):
            kind.decode(packed)


# The traits: what other code asks for.


@pytest.mark.parametrize(
    ("aggregation", "reads", "detail", "parts", "accrues", "recurs", "has_buckets", "multiplies"),
    [
        (Aggregation.COUNT, "NOTHING", "NOTHING", "HOURS", False, False, False, False),
        (Aggregation.SUM, "NUMBER", "NOTHING", "HOURS", False, True, True, False),
        (Aggregation.SUM_WITH_MULTIPLIER, "NUMBER", "NOTHING", "HOURS", False, False, False, True),
        (Aggregation.MAX, "NUMBER", "NOTHING", "HOURS", False, False, True, False),
        (Aggregation.LATEST, "NUMBER", "ID", "HOURS", False, False, False, False),
        (Aggregation.AVG, "NUMBER", "NOTHING", "HOURS", False, False, False, False),
        (Aggregation.COUNT_UNIQUE, "TEXT", "TEXT", "VALUES", False, True, False, False),
        (Aggregation.WEIGHTED_SUM, "NUMBER", "NOTHING", "HOURS", True, True, False, False),
    ],
    ids=str,
)
def test_traits(
    aggregation: Aggregation,
    reads: str,
    detail: str,
    parts: str,
    *,
    accrues: bool,
    recurs: bool,
    has_buckets: bool,
    multiplies: bool,
) -> None:
    expected = Reads[reads], DetailKeeps[detail], FineParts[parts], accrues, recurs, has_buckets, multiplies
    assert AGGREGATORS[aggregation].traits == expected


@pytest.mark.parametrize(
    ("aggregation", "size", "parts"),
    [
        (Aggregation.SUM, None, FineParts.HOURS),
        (Aggregation.COUNT_UNIQUE, None, FineParts.VALUES),
        *(
            (Aggregation.MAX, size, FineParts.HOURS)
            for size in (BucketSize.DAY, BucketSize.WEEK, BucketSize.MONTH)
        ),
        *(
            (Aggregation.MAX, size, FineParts.BUCKETS)
            for size in (BucketSize.MINUTE, BucketSize.TWELVE_HOURS)
        ),
    ],
    ids=str,
)
def test_what_is_kept_of_a_day(aggregation: Aggregation, size: BucketSize | None, parts: FineParts) -> None:
    assert fine_parts(meter(aggregation, size)) is parts
    assert keeps_hours(meter(aggregation, size)) is (parts is FineParts.HOURS)

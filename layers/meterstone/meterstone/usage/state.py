"""Aggregations as values that merge: what a counter keeps of a stretch of time, so that any union is answered.

A state is what some events of one meter come to. Nothing counted is no state, `None`. States of one meter
merge in any order and grouping. They are stored as JSON text in which every number is exact decimal text.

| aggregation | state |
|---|---|
| COUNT, SUM, SUM_WITH_MULTIPLIER | the sum |
| COUNT_UNIQUE | how many values were seen for the first time (in the billing period; if recurring, ever) |
| MAX | the maximum |
| LATEST | time, id and value of the latest event; equal times are told apart by id |
| AVG | the sum and the number of events |
| WEIGHTED_SUM | Σδ and Σδ·t, t in microseconds since the epoch |
| buckets shorter than a day | the cost of each whole bucket, added up (quantity and lines) |
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import assert_never, cast

from meterstone.pricing.lines import Cost, Line, merge
from meterstone.pricing.money import ZERO, add, multiply, plain, quotient, rounded_quantity, subtract
from meterstone.usage.calendar import BucketSize
from meterstone.usage.meter import Aggregation, Meter, Observation

type Latest = tuple[int, str, Decimal]
type Average = tuple[Decimal, int]
type Weighted = tuple[Decimal, Decimal]
type State = Decimal | Latest | Average | Weighted | Cost
type Json = str | int | list[Json] | None

_ONE = Decimal(1)


def shorter_than_a_day(meter: Meter) -> bool:
    """Tell whether the meter is costed by buckets of which a day holds several."""
    return meter.bucket_size is not None and meter.bucket_size not in (
        BucketSize.DAY,
        BucketSize.WEEK,
        BucketSize.MONTH,
    )


def keeps_hours(meter: Meter) -> bool:
    """Tell whether a meter's days are kept by the hour, not by value nor by bucket."""
    return meter.aggregation is not Aggregation.COUNT_UNIQUE and not shorter_than_a_day(meter)


def state_of(meter: Meter, observation: Observation) -> State:
    """Give the state of one event. For COUNT_UNIQUE it is that of a value seen for the first time."""
    match meter.aggregation:
        case Aggregation.COUNT | Aggregation.SUM | Aggregation.SUM_WITH_MULTIPLIER | Aggregation.MAX:
            return observation.value
        case Aggregation.COUNT_UNIQUE:
            return _ONE
        case Aggregation.LATEST:
            return observation.at, observation.id, observation.value
        case Aggregation.AVG:
            return observation.value, 1
        case Aggregation.WEIGHTED_SUM:
            return observation.value, multiply(observation.value, Decimal(observation.at))
        case _:
            assert_never(meter.aggregation)


def merge_states(meter: Meter, one: State | None, other: State | None) -> State | None:
    """Give the state of both parts together."""
    return one if other is None else merge_into(meter, one, other)


def merge_into(meter: Meter, one: State | None, other: State) -> State:
    """Give the state of both parts together, where the second is not nothing."""
    if one is None:
        return other
    if isinstance(one, Cost) and isinstance(other, Cost):
        return merge(one, other)
    match meter.aggregation:
        case Aggregation.COUNT | Aggregation.SUM | Aggregation.SUM_WITH_MULTIPLIER | Aggregation.COUNT_UNIQUE:
            return add(cast("Decimal", one), cast("Decimal", other))
        case Aggregation.MAX:
            return max(cast("Decimal", one), cast("Decimal", other))
        case Aggregation.LATEST:
            return max(cast("Latest", one), cast("Latest", other))
        case Aggregation.AVG:
            (total, count), (more, further) = cast("Average", one), cast("Average", other)
            return add(total, more), count + further
        case Aggregation.WEIGHTED_SUM:
            (level, moment), (step, shift) = cast("Weighted", one), cast("Weighted", other)
            return add(level, step), add(moment, shift)
        case _:
            assert_never(meter.aggregation)


def merge_all_states(meter: Meter, states: Iterable[State | None]) -> State | None:
    """Give the state of all parts together."""
    merged: State | None = None
    for state in states:
        merged = merge_states(meter, merged, state)
    return merged


def quantity(meter: Meter, state: State | None) -> Decimal:
    """Give the quantity that a state stands for; of a WEIGHTED_SUM, its level (see `accrued`).

    A SUM_WITH_MULTIPLIER's product is rounded to 18 decimals here, and nowhere else.
    """
    if state is None:
        return ZERO
    if isinstance(state, Cost):
        return state.quantity
    match meter.aggregation:
        case Aggregation.COUNT | Aggregation.SUM | Aggregation.MAX | Aggregation.COUNT_UNIQUE:
            return cast("Decimal", state)
        case Aggregation.SUM_WITH_MULTIPLIER:
            return rounded_quantity(multiply(cast("Decimal", state), meter.multiplier))
        case Aggregation.LATEST:
            return cast("Latest", state)[2]
        case Aggregation.AVG:
            total, count = cast("Average", state)
            return quotient(total, Decimal(count))
        case Aggregation.WEIGHTED_SUM:
            return cast("Weighted", state)[0]
        case _:
            assert_never(meter.aggregation)


def accrued(state: State | None, carried: Decimal, start: int, until: int, length: int) -> Decimal:
    """Give a WEIGHTED_SUM: Σ level x time held, over `[start, until)`, by the length of what was asked for.

    ``carried`` is the level at ``start``. The level of an event counts from its instant on. All times are in
    microseconds; the quotient is rounded to 16 decimals. Nothing has a length: nothing accrues.

    >>> accrued((Decimal(60), Decimal(0)), Decimal(0), 0, 10, 20)
    Decimal('30.0000000000000000')
    """
    if length <= 0 or until <= start:
        return ZERO
    held = multiply(carried, Decimal(until - start))
    if state is not None:
        level, moment = cast("Weighted", state)
        held = add(held, subtract(multiply(level, Decimal(until)), moment))
    return quotient(held, Decimal(length))


def encode(state: State) -> Json:
    """Give the JSON form of a state: numbers as exact text, times and counts as they are."""
    if isinstance(state, Decimal):
        return plain(state)
    if isinstance(state, Cost):
        return [plain(state.quantity), [_encode_line(line) for line in state.lines]]
    return [plain(part) if isinstance(part, Decimal) else part for part in state]


def decode(meter: Meter, packed: Json) -> State:
    """Read back what `encode` gave for a state of this meter."""
    match packed:
        case str():
            return Decimal(packed)
        case [str(total), [*lines]]:
            return Cost(Decimal(total), tuple(_decode_line(cast("list[Json]", line)) for line in lines))
        case [int(at), str(ident), str(value)]:
            return at, ident, Decimal(value)
        case [str(total), int(count)]:
            return Decimal(total), count
        case [str(level), str(moment)]:
            return Decimal(level), Decimal(moment)
        case _:
            raise ValueError(f"no state of meter {meter.id}: {packed!r}")


def _encode_line(line: Line) -> Json:
    numbers = (line.from_, line.to, line.quantity, line.unit_amount, line.flat_amount, line.subtotal)
    return [None if number is None else plain(number) for number in numbers]


def _decode_line(numbers: list[Json]) -> Line:
    from_, to, *rest = numbers
    each, unit_amount, flat_amount, subtotal = (Decimal(cast("str", number)) for number in rest)
    return Line(
        Decimal(cast("str", from_)),
        None if to is None else Decimal(cast("str", to)),
        each,
        unit_amount,
        flat_amount,
        subtotal,
    )

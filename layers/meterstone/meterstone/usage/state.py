"""States of a meter: the results of its events, which can be merged, turned into a quantity, and stored.

Each function takes the meter and asks the meter's aggregation (see `meterstone.usage.aggregation`). A meter whose
buckets are shorter than a day has two kinds of state: a `Cost` for a day, and a state of its aggregation for a
bucket.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from meterstone.pricing.lines import Cost
from meterstone.pricing.money import ZERO
from meterstone.usage.aggregation import AGGREGATORS, BUCKET_COSTS
from meterstone.usage.aggregation.base import (
    DetailKeeps,
    FineParts,
    Json,
    State,
    StateKind,
    Traits,
)
from meterstone.usage.aggregation.weighted_sum import accrued
from meterstone.usage.calendar import BucketSize
from meterstone.usage.meter import Meter, Observation

__all__ = [
    "DetailKeeps",
    "FineParts",
    "Json",
    "State",
    "accrued",
    "carry",
    "decode",
    "decode_all",
    "encode",
    "fine_parts",
    "follows_clock",
    "keeps_hours",
    "merge_all_states",
    "merge_into",
    "merge_states",
    "quantity",
    "shorter_than_a_day",
    "state_of",
    "stored_kind",
    "traits",
    "without",
]


def traits(meter: Meter) -> Traits:
    """Return what other code must know of the meter's aggregation."""
    return AGGREGATORS[meter.aggregation].traits


def follows_clock(meter: Meter) -> bool:
    """Return whether time alone changes the meter's usage: a recurring value is restated, a level accrues."""
    return meter.recurring or traits(meter).accrues


def shorter_than_a_day(meter: Meter) -> bool:
    """Return whether the meter has buckets that are shorter than a day."""
    return meter.bucket_size is not None and meter.bucket_size not in (
        BucketSize.DAY,
        BucketSize.WEEK,
        BucketSize.MONTH,
    )


def fine_parts(meter: Meter) -> FineParts:
    """Return what is kept of a day of the meter, so that a part of the day can be answered."""
    if shorter_than_a_day(meter):
        return FineParts.BUCKETS
    return AGGREGATORS[meter.aggregation].traits.fine_parts


def keeps_hours(meter: Meter) -> bool:
    """Return whether the meter's days are kept by the hour, and not by value or by bucket."""
    return fine_parts(meter) is FineParts.HOURS


def state_of(meter: Meter, observation: Observation) -> State:
    """Return the state of one event. For COUNT_UNIQUE it is the state of a value seen for the first time."""
    state: State = AGGREGATORS[meter.aggregation].state_of(observation)
    return state


def merge_states(meter: Meter, one: State | None, other: State | None) -> State | None:
    """Return the state of both parts together."""
    return one if other is None else merge_into(meter, one, other)


def merge_into(meter: Meter, one: State | None, other: State) -> State:
    """Return the state of both parts together, like `merge_states`, where the second part is never None."""
    if one is None:
        return other
    merged: State = _kind_of(meter, other).merge(one, other)
    return merged


def without(meter: Meter, state: State, event: State) -> State | None:
    """Return the state of an hour or a bucket less that of one of its events (see `Aggregator.without`)."""
    left: State | None = AGGREGATORS[meter.aggregation].without(state, event)
    return left


def merge_all_states(meter: Meter, states: Iterable[State | None]) -> State | None:
    """Return the state of all parts together."""
    found = [state for state in states if state is not None]
    if not found:
        return None
    # Days, hours and buckets are never merged with each other: all states are of one kind.
    merged: State = _kind_of(meter, found[0]).merge_all(found)
    return merged


def quantity(meter: Meter, state: State | None) -> Decimal:
    """Return the quantity that a state stands for; of a WEIGHTED_SUM, its level (see `accrued`)."""
    return ZERO if state is None else _kind_of(meter, state).quantity(state, meter)


def carry(meter: Meter, state: State | None) -> State | None:
    """Return what the next billing period of a recurring meter begins with, after this state."""
    carried: State | None = None if state is None else AGGREGATORS[meter.aggregation].carry(state)
    return carried


def stored_kind(meter: Meter) -> StateKind[Any]:
    """Return the kind of the states in a meter's counters and hours. Code that writes many states asks once."""
    return BUCKET_COSTS if shorter_than_a_day(meter) else AGGREGATORS[meter.aggregation]


def encode(meter: Meter, state: State) -> Json:
    """Return the JSON form of a state of this meter: of a day, of an hour, or of all before a billing period."""
    return stored_kind(meter).encode(state)


def decode(meter: Meter, packed: Json) -> State:
    """Read back what `encode` returned. Raises ValueError for the form of another kind's state."""
    state: State = stored_kind(meter).decode(packed)
    return state


def decode_all(meter: Meter, packed: str) -> dict[int, State]:
    """Read a JSON object of the meter's states by number, such as a counter's days."""
    states: dict[int, State] = stored_kind(meter).decode_all(packed)
    return states


def _kind_of(meter: Meter, state: State) -> StateKind[Any]:
    """Return the kind of a given state: days and buckets of one meter may be of two kinds."""
    return BUCKET_COSTS if isinstance(state, Cost) else AGGREGATORS[meter.aggregation]

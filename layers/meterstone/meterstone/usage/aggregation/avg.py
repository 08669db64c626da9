"""AVG: the mean of the events' values. The state is their sum and their number."""

from decimal import Decimal
from typing import override

import msgspec

from meterstone.pricing.money import add, plain, quotient, subtract
from meterstone.usage.aggregation.base import (
    Aggregator,
    Average,
    DetailKeeps,
    FineParts,
    Json,
    Reads,
    Traits,
    not_a_state,
)
from meterstone.usage.aggregation.number import observe_number
from meterstone.usage.meter import Event, Meter, Observation, Uncounted

#: The states of a counter's days are made while the text is read.
_AVERAGES = msgspec.json.Decoder(dict[int, Average])


class Avg(Aggregator[Average]):
    """Averages the values of events."""

    traits = Traits(
        reads=Reads.NUMBER,
        detail_keeps=DetailKeeps.NOTHING,
        fine_parts=FineParts.HOURS,
        accrues=False,
        can_recur=False,
        can_have_buckets=False,
        multiplies=False,
    )

    @override
    def observe(self, meter: Meter, event: Event) -> Observation | Uncounted:
        """Read the field's number."""
        return observe_number(meter, event)

    @override
    def state_of(self, observation: Observation) -> Average:
        """Return the event's value, and 1."""
        return observation.value, 1

    @override
    def merge(self, one: Average, other: Average) -> Average:
        """Add both sums and both numbers."""
        return add(one[0], other[0]), one[1] + other[1]

    @override
    def without(self, state: Average, event: Average) -> Average | None:
        """Subtract from the sum and from the number."""
        number = state[1] - event[1]
        return (subtract(state[0], event[0]), number) if number else None

    @override
    def quantity(self, state: Average, meter: Meter) -> Decimal:
        """Return the mean, rounded to 16 decimals."""
        total, count = state
        return quotient(total, Decimal(count))

    @override
    def carry(self, state: Average) -> Average:
        """Return the state itself."""
        return state

    @override
    def encode(self, state: Average) -> Json:
        """Return `[sum, number of events]`."""
        total, count = state
        return [plain(total), count]

    @override
    def decode_all(self, packed: str) -> dict[int, Average]:
        """Read several states at once."""
        return _AVERAGES.decode(packed)

    @override
    def decode(self, packed: Json) -> Average:
        """Read `[sum, number of events]`."""
        match packed:
            case [str(total), int(count)]:
                return Decimal(total), count
            case _:
                raise not_a_state(self, packed)

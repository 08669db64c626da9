"""WEIGHTED_SUM: a level that events raise and lower, weighted by how long it is held.

The state is Σδ and Σδ·t, where δ is an event's value and t its time in microseconds since the epoch. The two sums
give the level, and the level weighted by time until any instant.
"""

from decimal import Decimal
from typing import cast, override

from meterstone.pricing.money import ZERO, add, multiply, plain, quotient, subtract
from meterstone.usage.aggregation.base import (
    Aggregator,
    DetailKeeps,
    FineParts,
    Json,
    Reads,
    State,
    Traits,
    Weighted,
    not_a_state,
)
from meterstone.usage.aggregation.number import observe_number
from meterstone.usage.meter import Event, Meter, Observation, Uncounted


class WeightedSum(Aggregator[Weighted]):
    """Weights a level by the time for which it is held."""

    traits = Traits(
        reads=Reads.NUMBER,
        detail_keeps=DetailKeeps.NOTHING,
        fine_parts=FineParts.HOURS,
        accrues=True,
        can_recur=True,
        can_have_buckets=False,
        multiplies=False,
    )

    @override
    def observe(self, meter: Meter, event: Event) -> Observation | Uncounted:
        """Read the field's number, by which the level changes."""
        return observe_number(meter, event)

    @override
    def state_of(self, observation: Observation) -> Weighted:
        """Return the event's value δ, and δ·t."""
        return observation.value, multiply(observation.value, Decimal(observation.at))

    @override
    def merge(self, one: Weighted, other: Weighted) -> Weighted:
        """Add both sums."""
        return add(one[0], other[0]), add(one[1], other[1])

    @override
    def without(self, state: Weighted, event: Weighted) -> Weighted | None:
        """Subtract from both sums."""
        left = subtract(state[0], event[0]), subtract(state[1], event[1])
        return left if any(left) else None

    @override
    def quantity(self, state: Weighted, meter: Meter) -> Decimal:
        """Return the level, Σδ. Its weight over time is calculated by `accrued`."""
        return state[0]

    @override
    def carry(self, state: Weighted) -> Weighted:
        """Return the level alone: in the next billing period it counts from the period's start."""
        return state[0], ZERO

    @override
    def encode(self, state: Weighted) -> Json:
        """Return `[Σδ, Σδ·t]`."""
        level, moment = state
        return [plain(level), plain(moment)]

    @override
    def decode(self, packed: Json) -> Weighted:
        """Read `[Σδ, Σδ·t]`."""
        match packed:
            case [str(level), str(moment)]:
                return Decimal(level), Decimal(moment)
            case _:
                raise not_a_state(self, packed)


def accrued(state: State | None, carried: Decimal, start: int, until: int, length: int) -> Decimal:
    """Return a WEIGHTED_SUM: Σ level x time held, over `[start, until)`, divided by ``length``.

    ``state`` belongs to an aggregation that accrues. ``carried`` is the level at ``start``. An event changes the
    level from its instant on. All times are in microseconds. The quotient is rounded to 16 decimals; it is 0 if
    ``length`` is 0.

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

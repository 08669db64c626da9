"""LATEST: the value of the latest event. The state is its time, id and value: equal times are told apart by id."""

from decimal import Decimal
from typing import override

from meterstone.pricing.money import plain
from meterstone.usage.aggregation.base import (
    Aggregator,
    DetailKeeps,
    FineParts,
    Json,
    Latest,
    Reads,
    Traits,
    not_a_state,
)
from meterstone.usage.aggregation.number import observe_number
from meterstone.usage.meter import Event, Meter, Observation, Uncounted


class LatestValue(Aggregator[Latest]):
    """Keeps the latest event."""

    traits = Traits(
        reads=Reads.NUMBER,
        detail_keeps=DetailKeeps.ID,
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
    def state_of(self, observation: Observation) -> Latest:
        """Return the event's time, id and value."""
        return observation.at, observation.id, observation.value

    @override
    def merge(self, one: Latest, other: Latest) -> Latest:
        """Keep the later; of one time, the one whose id is greater."""
        return max(one, other)

    @override
    def without(self, state: Latest, event: Latest) -> Latest | None:
        """Return the latest event, unless it is this one."""
        return state if event < state else None

    @override
    def quantity(self, state: Latest, meter: Meter) -> Decimal:
        """Return the latest value."""
        return state[2]

    @override
    def carry(self, state: Latest) -> Latest:
        """Return the state itself."""
        return state

    @override
    def encode(self, state: Latest) -> Json:
        """Return `[time, id, value]`."""
        at, ident, value = state
        return [at, ident, plain(value)]

    @override
    def decode(self, packed: Json) -> Latest:
        """Read `[time, id, value]`."""
        match packed:
            case [int(at), str(ident), str(value)]:
                return at, ident, Decimal(value)
            case _:
                raise not_a_state(self, packed)

"""MAX: the greatest value of any event. The state is that value."""

from decimal import Decimal
from typing import override

from meterstone.usage.aggregation.base import DetailKeeps, FineParts, Reads, Traits
from meterstone.usage.aggregation.number import NumberAggregator, observe_number
from meterstone.usage.meter import Event, Meter, Observation, Uncounted


class Max(NumberAggregator):
    """Keeps the greatest value."""

    traits = Traits(
        reads=Reads.NUMBER,
        detail_keeps=DetailKeeps.NOTHING,
        fine_parts=FineParts.HOURS,
        accrues=False,
        can_recur=False,
        can_have_buckets=True,
        multiplies=False,
    )

    @override
    def observe(self, meter: Meter, event: Event) -> Observation | Uncounted:
        """Read the field's number."""
        return observe_number(meter, event)

    @override
    def state_of(self, observation: Observation) -> Decimal:
        """Return the event's value."""
        return observation.value

    @override
    def merge(self, one: Decimal, other: Decimal) -> Decimal:
        """Keep the greater."""
        return max(one, other)

    @override
    def without(self, state: Decimal, event: Decimal) -> Decimal | None:
        """Return the greatest value, unless it may have been this event's."""
        return state if event < state else None

    @override
    def quantity(self, state: Decimal, meter: Meter) -> Decimal:
        """Return the greatest value."""
        return state

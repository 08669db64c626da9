"""SUM: the sum of the events' values. The state is that sum."""

from collections.abc import Iterable
from decimal import Decimal
from functools import reduce
from typing import override

from meterstone.pricing.money import add
from meterstone.usage.aggregation.base import DetailKeeps, FineParts, Reads, Traits
from meterstone.usage.aggregation.number import NumberAggregator, less, observe_number
from meterstone.usage.meter import Event, Meter, Observation, Uncounted


class Sum(NumberAggregator):
    """Adds the values of events."""

    traits = Traits(
        reads=Reads.NUMBER,
        detail_keeps=DetailKeeps.NOTHING,
        fine_parts=FineParts.HOURS,
        accrues=False,
        can_recur=True,
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
        """Add."""
        return add(one, other)

    @override
    def merge_all(self, states: Iterable[Decimal]) -> Decimal:
        """Add up."""
        return reduce(add, states)

    @override
    def without(self, state: Decimal, event: Decimal) -> Decimal | None:
        """Subtract."""
        return less(state, event)

    @override
    def quantity(self, state: Decimal, meter: Meter) -> Decimal:
        """Return the sum."""
        return state

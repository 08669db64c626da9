"""COUNT: how many events there are. The state is that number."""

from collections.abc import Iterable
from decimal import Decimal
from functools import reduce
from typing import override

from meterstone.pricing.money import add
from meterstone.usage.aggregation.base import DetailKeeps, FineParts, Reads, Traits
from meterstone.usage.aggregation.number import NumberAggregator, less
from meterstone.usage.meter import Event, Meter, Observation, Uncounted

_ONE = Decimal(1)


class Count(NumberAggregator):
    """Counts events."""

    traits = Traits(
        reads=Reads.NOTHING,
        detail_keeps=DetailKeeps.NOTHING,
        fine_parts=FineParts.HOURS,
        accrues=False,
        can_recur=False,
        can_have_buckets=False,
        multiplies=False,
    )

    @override
    def observe(self, meter: Meter, event: Event) -> Observation | Uncounted:
        """Return 1, whatever the event's properties are."""
        return Observation(event.at, event.id, _ONE)

    @override
    def state_of(self, observation: Observation) -> Decimal:
        """Return 1."""
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
        """Return the number of events."""
        return state

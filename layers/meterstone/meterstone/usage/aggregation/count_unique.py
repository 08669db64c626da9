"""COUNT_UNIQUE: how many distinct values the events have.

The state of a stretch of time is the number of values that were first seen in it: first in the billing period, or,
for a recurring meter, first ever. Such states add up over whole periods. The values themselves are kept beside the
states, for windows that do not begin with a period.
"""

from decimal import Decimal
from typing import override

from meterstone.pricing.money import ZERO, add
from meterstone.usage.aggregation.base import DetailKeeps, FineParts, Reads, Traits
from meterstone.usage.aggregation.number import NumberAggregator, less
from meterstone.usage.meter import Event, Meter, Observation, Uncounted, property_text

_ONE = Decimal(1)


class CountUnique(NumberAggregator):
    """Counts distinct values."""

    traits = Traits(
        reads=Reads.TEXT,
        detail_keeps=DetailKeeps.TEXT,
        fine_parts=FineParts.VALUES,
        accrues=False,
        can_recur=True,
        can_have_buckets=False,
        multiplies=False,
    )

    @override
    def observe(self, meter: Meter, event: Event) -> Observation | Uncounted:
        """Read the field's text; the value of the observation is 0."""
        text = property_text(event.properties.get(meter.field or ""))
        if text is None:
            return Uncounted(f"property {meter.field!r} is absent or not a scalar")
        return Observation(event.at, event.id, ZERO, text)

    @override
    def state_of(self, observation: Observation) -> Decimal:
        """Return 1: the state of a value that is seen for the first time."""
        return _ONE

    @override
    def merge(self, one: Decimal, other: Decimal) -> Decimal:
        """Add: a value is seen for the first time once."""
        return add(one, other)

    @override
    def without(self, state: Decimal, event: Decimal) -> Decimal | None:
        """Subtract."""
        return less(state, event)

    @override
    def quantity(self, state: Decimal, meter: Meter) -> Decimal:
        """Return the number of values that were seen for the first time."""
        return state

"""SUM_WITH_MULTIPLIER: the sum of the events' values times the meter's multiplier. The state is the bare sum."""

from decimal import Decimal
from typing import override

from meterstone.pricing.money import QUANTITY_DIGITS, add, multiply, rounded_quantity
from meterstone.usage.aggregation.base import DetailKeeps, FineParts, Reads, Traits
from meterstone.usage.aggregation.number import NumberAggregator, less, observe_number
from meterstone.usage.meter import Event, Meter, Observation, Uncounted


class SumWithMultiplier(NumberAggregator):
    """Adds the values of events, and multiplies the sum."""

    traits = Traits(
        reads=Reads.NUMBER,
        detail_keeps=DetailKeeps.NOTHING,
        fine_parts=FineParts.HOURS,
        accrues=False,
        can_recur=False,
        can_have_buckets=False,
        multiplies=True,
    )

    @override
    def observe(self, meter: Meter, event: Event) -> Observation | Uncounted:
        """Read the field's number, unless its product with the multiplier has too many digits.

        A product of 36 integer digits is no quantity, and no number that the table holds.
        """
        seen = observe_number(meter, event)
        if (
            isinstance(seen, Observation)
            and multiply(seen.value, meter.multiplier).adjusted() >= QUANTITY_DIGITS
        ):
            return Uncounted(
                f"property {meter.field!r}: its product has more than {QUANTITY_DIGITS} integer digits"
            )
        return seen

    @override
    def state_of(self, observation: Observation) -> Decimal:
        """Return the event's value, not multiplied."""
        return observation.value

    @override
    def merge(self, one: Decimal, other: Decimal) -> Decimal:
        """Add."""
        return add(one, other)

    @override
    def without(self, state: Decimal, event: Decimal) -> Decimal | None:
        """Subtract."""
        return less(state, event)

    @override
    def quantity(self, state: Decimal, meter: Meter) -> Decimal:
        """Return the sum times the multiplier, rounded once to the 18 decimals of a quantity."""
        return rounded_quantity(multiply(state, meter.multiplier))

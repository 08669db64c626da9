"""What several aggregations share: states that are one number, and events that bear a number."""

from decimal import Decimal
from typing import override

import msgspec

from meterstone.pricing.errors import NotANumberError, NumberOutOfRangeError
from meterstone.pricing.money import plain, reading, subtract
from meterstone.usage.aggregation.base import Aggregator, Json, not_a_state
from meterstone.usage.meter import Event, Meter, Observation, Uncounted

#: A page has tens of thousands of these states: they are made while the text is read.
_NUMBERS = msgspec.json.Decoder(dict[int, Decimal])


class NumberAggregator(Aggregator[Decimal]):
    """An aggregation whose state is one number, stored as exact decimal text."""

    @override
    def encode(self, state: Decimal) -> Json:
        """Return the number as text."""
        return plain(state)

    @override
    def decode(self, packed: Json) -> Decimal:
        """Read the number."""
        if not isinstance(packed, str):
            raise not_a_state(self, packed)
        return Decimal(packed)

    @override
    def decode_all(self, packed: str) -> dict[int, Decimal]:
        """Read several numbers at once."""
        return _NUMBERS.decode(packed)

    @override
    def carry(self, state: Decimal) -> Decimal:
        """Return the number itself: it goes on as it is."""
        return state


def less(state: Decimal, event: Decimal) -> Decimal | None:
    """Return a sum less the value of one of its events; None if nothing is left of it.

    A sum of 0 does not tell whether any event remains.

    >>> less(Decimal("8.75"), Decimal("0.75")), less(Decimal(5), Decimal(5))
    (Decimal('8.00'), None)
    """
    return subtract(state, event) or None


def observe_number(meter: Meter, event: Event) -> Observation | Uncounted:
    """Return the number that the meter's field has in an event; an event without one does not count."""
    found = event.properties.get(meter.field or "")
    if found is None or isinstance(found, bool | list | dict):
        return Uncounted(f"property {meter.field!r} is absent or not a number")
    try:
        return Observation(event.at, event.id, reading(found))
    except (NotANumberError, NumberOutOfRangeError) as error:
        return Uncounted(f"property {meter.field!r}: {error}")

"""Days of a meter whose buckets are shorter than a day: the cost of each bucket of the day, added up.

The buckets of a day are costed one by one. The quantity of the whole day cannot be priced afterwards, so the day's
state is the cost itself: its quantity, and its lines.
"""

from decimal import Decimal
from typing import cast, override

from meterstone.pricing.lines import Cost, Line, merge
from meterstone.pricing.money import plain
from meterstone.usage.aggregation.base import Json, StateKind, not_a_state
from meterstone.usage.meter import Meter


class BucketCosts(StateKind[Cost]):
    """Adds the costs of buckets."""

    @override
    def merge(self, one: Cost, other: Cost) -> Cost:
        """Add both costs, line by line."""
        return merge(one, other)

    @override
    def quantity(self, state: Cost, meter: Meter) -> Decimal:
        """Return the sum of the buckets' quantities."""
        return state.quantity

    @override
    def encode(self, state: Cost) -> Json:
        """Return `[quantity, lines]`, each line with its six numbers."""
        return [plain(state.quantity), [_encode_line(line) for line in state.lines]]

    @override
    def decode(self, packed: Json) -> Cost:
        """Read `[quantity, lines]`."""
        match packed:
            case [str(quantity), [*lines]]:
                return Cost(
                    Decimal(quantity), tuple(_decode_line(cast("list[Json]", line)) for line in lines)
                )
            case _:
                raise not_a_state(self, packed)


def _encode_line(line: Line) -> Json:
    numbers = (line.from_, line.to, line.quantity, line.unit_amount, line.flat_amount, line.subtotal)
    return [None if number is None else plain(number) for number in numbers]


def _decode_line(numbers: list[Json]) -> Line:
    from_, to, *rest = numbers
    each, unit_amount, flat_amount, subtotal = (Decimal(cast("str", number)) for number in rest)
    return Line(
        Decimal(cast("str", from_)),
        None if to is None else Decimal(cast("str", to)),
        each,
        unit_amount,
        flat_amount,
        subtotal,
    )

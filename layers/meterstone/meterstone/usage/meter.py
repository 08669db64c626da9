"""What a meter counts: its events, its filters, its aggregation.

A meter (Flexprice) and a billable metric (Lago) are one thing: one id, one code, one name.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

import msgspec

from meterstone.pricing.money import plain
from meterstone.usage.calendar import BucketSize

type Property = str | int | bool | Decimal | list[Property] | dict[str, Property] | None
type Properties = Mapping[str, Property]


class Aggregation(StrEnum):
    """How the events of a window become one quantity: each is described in `meterstone.usage.aggregation`."""

    COUNT = "COUNT"
    SUM = "SUM"
    SUM_WITH_MULTIPLIER = "SUM_WITH_MULTIPLIER"
    MAX = "MAX"
    LATEST = "LATEST"
    AVG = "AVG"
    COUNT_UNIQUE = "COUNT_UNIQUE"
    WEIGHTED_SUM = "WEIGHTED_SUM"


class Filter(msgspec.Struct, frozen=True):
    """Passes an event whose property ``key`` is one of ``values``, as text (see ``property_text``)."""

    key: str
    values: tuple[str, ...]


class Event(msgspec.Struct, frozen=True):
    """One thing that happened, as it came in.

    ``id`` is the transaction id (Lago) or event id (Flexprice); ``name`` the code or event name;
    ``at`` an instant in microseconds since the epoch.
    """

    id: str
    name: str
    at: int
    properties: Properties


class Observation(NamedTuple):
    """What one event means to one meter.

    ``value`` is the field's number, of at most 18 decimals. For COUNT it is 1. For COUNT_UNIQUE it is 0, and
    ``text`` is the value that is distinct or not. This is a tuple, since there are many observations, and a tuple
    is made in a third of the time.
    """

    at: int
    id: str
    value: Decimal
    text: str = ""


class Uncounted(msgspec.Struct, frozen=True):
    """Why a meter cannot count an event that has the meter's name and passes its filters."""

    reason: str


class Meter(msgspec.Struct, frozen=True):
    """A billable metric.

    ``deleted_at`` is the instant from which on events no longer count for the meter; earlier usage stays.
    With a ``bucket_size``, each bucket of time is costed by itself. Not every aggregation can have one.
    """

    id: str
    code: str
    name: str
    aggregation: Aggregation
    event_name: str
    field: str | None = None
    multiplier: Decimal = Decimal(1)
    filters: tuple[Filter, ...] = ()
    recurring: bool = False
    bucket_size: BucketSize | None = None
    deleted_at: int | None = None

    @property
    def names(self) -> frozenset[str]:
        """The names of the meter's events: its event name, and its code, which is what Lago's clients send."""
        return frozenset((self.event_name, self.code))


def property_text(value: Property) -> str | None:
    """Return the text by which filters and COUNT_UNIQUE compare a property.

    >>> property_text("a"), property_text(Decimal("5.0")), property_text(5), property_text(True)
    ('a', '5', '5', 'true')

    Null, lists and objects have no such text (None): they match no filter, and COUNT_UNIQUE does not count them.
    """
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal():
            return plain(value) if value.is_finite() else None
        case _:
            return None


def passes(filters: tuple[Filter, ...], properties: Properties) -> bool:
    """Return whether the properties pass every filter (AND over keys, OR over a key's values).

    >>> filters = (Filter("country", ("DE", "FR")), Filter("tier", ("1",)))
    >>> passes(filters, {"country": "FR", "tier": 1}), passes(filters, {"country": "FR", "tier": 2})
    (True, False)
    """
    return not filters or all(property_text(properties.get(each.key)) in each.values for each in filters)

"""The interface of every aggregation: how its states work, and the traits that other code asks for."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from decimal import Decimal
from enum import Enum, auto
from functools import reduce
from typing import Any, Literal, NamedTuple

import msgspec

from meterstone.pricing.lines import Cost
from meterstone.usage.meter import Event, Meter, Observation, Uncounted

#: Of a LATEST: time, id and value of the latest event.
type Latest = tuple[int, str, Decimal]
#: Of an AVG: the sum of the values, and how many there are.
type Average = tuple[Decimal, int]
#: Of a WEIGHTED_SUM: Σδ and Σδ·t.
type Weighted = tuple[Decimal, Decimal]
type State = Decimal | Latest | Average | Weighted | Cost

type Json = str | int | list[Json] | None

_STATES: msgspec.json.Decoder[dict[int, Json]] = msgspec.json.Decoder(dict[int, Any])


class Reads(Enum):
    """What an aggregation reads of an event's property, the meter's field."""

    #: No property: the meter has no field.
    NOTHING = auto()
    NUMBER = auto()
    TEXT = auto()


class DetailKeeps(Enum):
    """What is kept of an event beside its time and value, so that a window which cuts an hour can be answered."""

    NOTHING = auto()
    #: The event's id.
    ID = auto()
    #: The event's text, which is one of the distinct values.
    TEXT = auto()


class FineParts(Enum):
    """What is kept of a day beside its state, so that a window which cuts the day can be answered."""

    #: The state of each hour.
    HOURS = auto()
    #: The quantity of each bucket: of a meter whose buckets are shorter than a day.
    BUCKETS = auto()
    #: Each distinct value, with the hours in which it was seen.
    VALUES = auto()


class Traits(NamedTuple):
    """What other code must know of an aggregation. No trait has a default: a new aggregation has to state each."""

    reads: Reads
    detail_keeps: DetailKeeps
    #: What is kept of a day, unless the meter's buckets are shorter than a day.
    fine_parts: Literal[FineParts.HOURS, FineParts.VALUES]
    #: Whether the quantity grows with the clock, without an event. The state is then a `Weighted` and its quantity
    #: a level; `weighted_sum.accrued` returns the level weighted by time.
    accrues: bool
    #: Whether a meter may be recurring: its value then carries on into the next billing period.
    can_recur: bool
    #: Whether a meter may have buckets, each of which is costed by itself.
    can_have_buckets: bool
    #: Whether the meter has a multiplier.
    multiplies: bool


class StateKind[S: State](ABC):
    """How states of one kind are merged, turned into a quantity, and stored."""

    @abstractmethod
    def merge(self, one: S, other: S) -> S:
        """Return the state of both parts together. Neither order nor grouping matters."""

    def merge_all(self, states: Iterable[S]) -> S:
        """Return the state of all parts together. There is at least one."""
        return reduce(self.merge, states)

    @abstractmethod
    def quantity(self, state: S, meter: Meter) -> Decimal:
        """Return the quantity that a state stands for."""

    @abstractmethod
    def encode(self, state: S) -> Json:
        """Return the JSON form of a state: numbers as exact text, times and counts as they are."""

    @abstractmethod
    def decode(self, packed: Json) -> S:
        """Read what `encode` returned. Raises ValueError for the form of another kind's state."""

    def decode_all(self, packed: str) -> dict[int, S]:
        """Read a JSON object of states by number, such as those of a counter's days."""
        return {number: self.decode(state) for number, state in _STATES.decode(packed).items()}


class Aggregator[S: State](StateKind[S]):
    """How the events of one meter become a state. Each aggregator has a file of this package."""

    @property
    @abstractmethod
    def traits(self) -> Traits:
        """What other code must know of the aggregation."""

    @abstractmethod
    def observe(self, meter: Meter, event: Event) -> Observation | Uncounted:
        """Return the observation that the meter makes of one of its events, or why the event does not count."""

    @abstractmethod
    def state_of(self, observation: Observation) -> S:
        """Return the state of one event."""

    @abstractmethod
    def without(self, state: S, event: S) -> S | None:
        """Return a state less the state of one of its events; None if only the events that remain tell it.

        A sum of 0 does not tell whether any event remains, and the greatest value does not tell the next one.
        """

    @abstractmethod
    def carry(self, state: S) -> S:
        """Return what the next billing period of a recurring meter begins with, after this state."""


def not_a_state(kind: object, packed: Json) -> ValueError:
    """Return the error for a stored text that is no state of a kind."""
    return ValueError(f"no state of {type(kind).__name__}: {packed!r}")

"""Records with their versions, as contracts write them, whoever has stored them."""

from typing import Protocol


class Stamp(Protocol):
    """The version of a record, when it was made, and when it was last put; in microseconds since the epoch."""

    @property
    def rev(self) -> int:
        """The version, which goes up with each change."""

    @property
    def made_at(self) -> int:
        """When it was made; 0 if that was not kept."""

    @property
    def put_at(self) -> int:
        """When it was last put; 0 if that was not kept."""


class Stored[T](Protocol):
    """A record as it is stored."""

    @property
    def value(self) -> T:
        """The record itself."""

    @property
    def stamp(self) -> Stamp:
        """Its version, and when it was made and put."""

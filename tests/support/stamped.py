"""Records with their versions, as contracts are given them to show."""

from typing import Final, NamedTuple

from meterstone.usage.instant import parse_instant

MADE: Final = parse_instant("2026-01-01T00:00:00Z")
PUT: Final = parse_instant("2026-02-01T00:00:00.5Z")


class Stamp(NamedTuple):
    """A version, when the record was made, and when it was last put; in microseconds since the epoch."""

    rev: int = 3
    made_at: int = MADE
    put_at: int = PUT


class Stored[T](NamedTuple):
    """A record and its version."""

    value: T
    stamp: Stamp = Stamp()

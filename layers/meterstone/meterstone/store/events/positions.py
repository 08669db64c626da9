"""The names of shards: the one place that makes and reads them.

A shard is a sequence of events in which each has a number that grows. A tally remembers of each shard up to which
number it has counted (see `Position`). The names are stored, in positions and in the log, and stay as they are.

| name | is | a number is |
|---|---|---|
| `s` and 8 digits | a shard of the table's stream, named after the SHA-256 of its id | its sequence number |
| `i`, 16 digits, `.` and a run | a run of an import, named after the SHA-256 of the content | a line |
| `p` | all replays together | the number that a replay gave to the event |
| `r` and a generation | the rebuild that filled the generation | a place in the order in which it read the log |
"""

from hashlib import sha256
from typing import NamedTuple, Self

REPLAYS = "p"

_STREAM, _IMPORT, _REBUILD = "s", "i", "r"
_STREAM_DIGITS, _CONTENT_DIGITS = 8, 16


class ImportShard(NamedTuple):
    """The shard that is a run of an import: the first digits of its content's SHA-256, and the run's number."""

    content: str
    run: int

    @classmethod
    def of(cls, digest: str, run: int) -> Self:
        """Return the shard of a run of an import, by its content's SHA-256."""
        return cls(digest[:_CONTENT_DIGITS], run)

    @classmethod
    def read(cls, name: str) -> Self:
        """Read a shard's name back. Raises `ValueError` if it is no import's.

        >>> ImportShard.read(ImportShard.of("0123456789abcdef" * 4, 12).name)
        ImportShard(content='0123456789abcdef', run=12)
        """
        content, _, run = name.partition(".")
        if not content.startswith(_IMPORT) or not run.isdecimal():
            raise ValueError(f"{name!r} is no shard of an import")
        return cls(content.removeprefix(_IMPORT), int(run))

    @property
    def name(self) -> str:
        """The shard's name."""
        return f"{_IMPORT}{self.content}.{self.run}"


def stream_shard(shard_id: str) -> str:
    """Return the name of a shard of the table's stream.

    The name is short: a tally keeps it for as long as the shard delivers.

    >>> stream_shard("shardId-00000001605549423000-7b1c0e1f")
    's2901a0b1'
    """
    return _STREAM + sha256(shard_id.encode()).hexdigest()[:_STREAM_DIGITS]


def ends_by_itself(shard: str) -> bool:
    """Return whether a shard is one of the table's stream: it ends after some hours, and nobody says so."""
    return shard.startswith(_STREAM)


def part_of(shard: str, parts: int) -> int:
    """Return to which of some equal parts a shard of the table's stream belongs, from 0."""
    return int(shard.removeprefix(_STREAM), 16) % parts


def rebuild_shard(generation: str) -> str:
    """Return the name of the shard as which a rebuild counts the log into a generation."""
    return _REBUILD + generation

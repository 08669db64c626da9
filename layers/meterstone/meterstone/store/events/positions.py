"""The names of shards: the one place that makes and reads them.

A shard is a sequence of events whose numbers grow. A tally stores, for each shard, the number up to which it has
counted (see `Position`). The names are stored in positions and in the log, so they must not change.

| name | is | a number is |
|---|---|---|
| `s` and 8 digits | a shard of the table's stream, named after the SHA-256 of its id | its sequence number |
| `i`, 16 digits, `.` and a run | a run of an import, named after the SHA-256 of the content | a line |
| `p` | all replays together | the number that a replay gave to the event |
| `e` | the recount that fills an edition | a place in the order in which it read the logs |
| `r` and a generation | the rebuild that filled the generation | a place in the order in which it read the log |
"""

from hashlib import sha256
from typing import NamedTuple, Self

REPLAYS = "p"
RECOUNTS = "e"
"""The shard as which a recount counts the log into an edition: each edition is filled by one reading alone."""

_STREAM, _IMPORT, _REBUILD = "s", "i", "r"
_STREAM_DIGITS, _CONTENT_DIGITS = 8, 16


class ImportShard(NamedTuple):
    """The shard of a run of an import: the first digits of the content's SHA-256, and the run's number."""

    content: str
    run: int

    @classmethod
    def of(cls, digest: str, run: int) -> Self:
        """Return the shard of a run of an import, by its content's SHA-256."""
        return cls(digest[:_CONTENT_DIGITS], run)

    @classmethod
    def read(cls, name: str) -> Self:
        """Parse a shard's name. Raises `ValueError` if it is not the name of an import's shard.

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
    """Return whether a shard belongs to the table's stream: it ends after some hours, without notice."""
    return shard.startswith(_STREAM)


def part_of(shard: str, parts: int) -> int:
    """Return which of ``parts`` equal parts, from 0, a shard of the table's stream belongs to."""
    return int(shard.removeprefix(_STREAM), 16) % parts


def rebuild_shard(generation: str) -> str:
    """Return the name of the shard as which a rebuild counts the log into a generation."""
    return _REBUILD + generation

"""A follower's bookmark: up to where it has followed the table's stream. It is an item of the table itself.

So it goes where the table goes, and two followers of one table share it. Only the one that holds it follows. The
shards that it delivers have the bookmark's incarnation in their names. Another incarnation is another stream: none
of its events is at or below a position of the one before.
"""

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from secrets import token_hex
from typing import Final, Self

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import Row, Table, integer, text

HELD_SECONDS: Final = 30
"""For how long a follower holds the bookmark that does not renew it. If its process is gone, it holds nothing."""

_INCARNATION: Final = 4
_MARK: Final = 4


class TakenOverError(Exception):
    """Another follower holds the bookmark now."""


@dataclass(slots=True)
class ShardPlace:
    """Up to which record a shard was followed. ``at`` is its sequence number, empty for the shard's begin."""

    at: str = ""
    ended: bool = False


@dataclass(slots=True)
class Place:
    """Up to where a stream was followed.

    ``stream`` is the stream's ARN, empty if none was found yet. With ``gap``, events that came in before this
    incarnation may not be counted: a rebuild is due.
    """

    stream: str = ""
    incarnation: str = field(default_factory=lambda: token_hex(_INCARNATION))
    gap: bool = False
    shards: dict[str, ShardPlace] = field(default_factory=dict)

    @classmethod
    def parse(cls, doc: str) -> Self:
        """Read a place back from JSON."""
        read = json.loads(doc)
        return cls(**read | {"shards": {name: ShardPlace(**shard) for name, shard in read["shards"].items()}})

    def name_of(self, shard: str) -> str:
        """Return the name under which a shard's records are delivered."""
        return f"{shard}@{self.incarnation}"


class Bookmark:
    """The bookmark of a table, as one follower sees it."""

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        """Keep the bookmark in a table."""
        self._table = table
        self._clock = clock
        self._me = f"{socket.gethostname()} {os.getpid()} {token_hex(_MARK)}"

    def read(self) -> Place | None:
        """Return the place; None if the table was never followed."""
        row = self._table.get(keys.follower(), consistent=True)
        return None if row is None or "doc" not in row else Place.parse(text(row, "doc"))

    def take(self) -> str | None:
        """Hold the bookmark. Return None, or the process that holds it."""
        row = self._table.get(keys.follower(), consistent=True)
        holder = "" if row is None else text(row, "held_by")
        if holder and holder != self._me and not self._is_over(holder, row):
            return " ".join(holder.split()[:2])
        held = {":was": {"S": holder}} if holder else {}
        taken = self._table.update(
            keys.follower(),
            "SET held_by = :me, held_until = :until",
            self._own() | held,
            condition="held_by = :was" if holder else "attribute_not_exists(held_by)",
        )
        return None if taken else "another process"

    def save(self, place: Place) -> None:
        """Store the place, and hold the bookmark for longer. Raises `TakenOverError`."""
        saved = self._table.update(
            keys.follower(),
            "SET doc = :doc, held_until = :until",
            self._own() | {":doc": {"S": json.dumps(asdict(place))}},
            condition="held_by = :me",
        )
        if not saved:
            raise TakenOverError("another process follows the table's stream")

    def release(self) -> None:
        """Let others hold the bookmark."""
        own = {":me": {"S": self._me}}
        self._table.update(keys.follower(), "REMOVE held_by, held_until", own, condition="held_by = :me")

    def _own(self) -> dict[str, dict[str, str]]:
        return {":me": {"S": self._me}, ":until": {"N": str(int(self._clock()) + HELD_SECONDS)}}

    def _is_over(self, holder: str, row: Row | None) -> bool:
        host, pid, _ = holder.split()
        if host == socket.gethostname() and not _is_alive(int(pid)):
            return True
        return row is not None and integer(row, "held_until") < self._clock()


def begin() -> None:
    """Say of the environment's table, just made, that nothing was posted before its stream is followed."""
    bookmark = Bookmark(Table.from_environment())
    if bookmark.take() is None:
        bookmark.save(Place())
        bookmark.release()


def _is_alive(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True

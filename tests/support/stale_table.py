"""The table in memory that answers an older state to every read that does not ask for a consistent one.

DynamoDB promises of an eventually consistent read only that it gives what stood there at some recent moment: two
reads, one after the other, may go back in time, two items of one batch may be of different moments, and what one
transaction wrote may be seen in part. Here every item that is read by its key, and every page of a query, is as of
a moment of its own, up to `MOST_BEHIND` writes ago. Consistent reads, conditions and transactions see what was
written last, as they do there.

The moments are worked out from the seed, from what is read and from how often it was: a test that is run again is
answered the same, also where several threads read.
"""

from collections.abc import Callable, Mapping
from hashlib import blake2b

from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item
from support.memory_table import MemoryTable

_BEHIND = (0, 1, 2, 4, 8, 16, 32)
MOST_BEHIND = max(_BEHIND)
_MOST_STILL = 5000


class StaleTable(MemoryTable):
    """A table of one test, some of whose reads are up to `MOST_BEHIND` writes behind, as the seed has it."""

    def __init__(self, name: str = "memory", *, page_items: int = 1000, seed: int = 0) -> None:
        super().__init__(name, page_items=page_items)
        self._seed = seed
        #: How many writes have happened; a transaction is one.
        self._moment = 0
        #: What the writes since then have changed may not be seen yet.
        self._known_since = 0
        self._still_at: int | None = None
        self._still: Callable[[Key], bool] = lambda _: True
        #: Of each partition, what was changed: the write, the sort key, and the item before it.
        self._changes: dict[str, list[tuple[int, str, Item | None]]] = {}
        self._asked: dict[str, int] = {}
        #: How many reads were answered with an older state.
        self.stale_reads = 0

    def copy(self) -> "StaleTable":
        """Give a table of the same content, without faults, in which everything is known."""
        other = StaleTable(self.name, page_items=self._page_items, seed=self._seed)
        other._take(self)
        return other

    def settle(self) -> None:
        """Let a moment pass: all that was written until now is seen by every read."""
        self._known_since = self._moment
        self._still_at = None
        self._changes.clear()

    def stand_still(self, items: Callable[[Key], bool] = lambda _: True) -> None:
        """Answer every read that is not consistent as of now, whatever is written, until the table settles.

        It is the oldest answer that there may be, at the one read that ought to have been consistent. Of some
        ``items`` alone, if it is said of which: of the others then every read sees what was written last.
        """
        self.settle()
        self._still_at, self._still = self._moment, items

    def _seen(self, pk: str, *, consistent: bool) -> Mapping[str, Item]:
        now = super()._seen(pk, consistent=consistent)
        changes = self._changes.get(pk)
        if consistent or not changes:
            return now
        moment = self._moment_of(pk)
        items = dict(now)
        for at, sk, before in reversed(changes):
            if at < moment:
                break
            if self._still_at is not None and not self._still(Key(pk, sk)):
                continue
            if before is None:
                items.pop(sk, None)
            else:
                items[sk] = before
        self.stale_reads += items != now
        return items

    def _moment_of(self, place: str) -> int:
        if self._still_at is not None:
            return self._still_at
        asked = self._asked[place] = self._asked.get(place, 0) + 1
        chosen = blake2b(f"{self._seed} {place} {asked}".encode(), digest_size=1).digest()[0]
        return max(self._moment - _BEHIND[chosen % len(_BEHIND)], self._known_since)

    def _store(self, key: Key, item: Item | None) -> None:
        changes = self._changes.setdefault(key.pk, [])
        changes.append((self._moment, key.sk, self._items.get(key.pk, {}).get(key.sk)))
        if self._still_at is None and len(changes) > 2 * MOST_BEHIND:
            oldest = self._moment - MOST_BEHIND
            self._changes[key.pk] = [each for each in changes if each[0] >= oldest]
        super()._store(key, item)

    def _written(self) -> None:
        self._moment += 1
        if self._still_at is not None and self._moment > self._still_at + _MOST_STILL:
            raise AssertionError("what is read does not change, and something waits for ever until it does")
        super()._written()

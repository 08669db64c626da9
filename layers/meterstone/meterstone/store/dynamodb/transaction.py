"""What one call to DynamoDB may carry: the one place that knows its limits, and what is left of them.

DynamoDB takes at most 100 actions and 4 MB in a transaction, no item twice, and no item of more than 400 KB.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import NamedTuple

MOST_ACTIONS = 100
"""Actions of a transaction. A condition on an item that is not written is one, too."""

MOST_BYTES = 3_000_000
"""Bytes of a transaction's items, as `item_bytes` has them: DynamoDB takes 4 MB, and counts otherwise."""

MOST_CONTENT = 2_000_000
"""Bytes of the contents of a transaction's events. The other attributes of an event have fewer than 2 KB."""

ACTIONS_FOR_EVENTS = 66
"""Of a tally's actions, those for its events.

The rest is for the head, a condition on the catalogue, and at least one month of rollups.
"""

READ_TOGETHER = 100
"""Keys of a batch read."""

WRITTEN_TOGETHER = 25
"""Items of a batch write, which is no transaction."""


def item_bytes(item: Mapping[str, Mapping[str, str]]) -> int:
    """Return the bytes of an item's names and values, a number's as those of its text.

    >>> item_bytes({"e": {"S": "né"}, "v": {"N": "10"}})
    7
    """
    return sum(
        [
            len(name) + (len(value) if value.isascii() else len(value.encode()))
            for name, typed in item.items()
            for value in typed.values()
        ]
    )


class TransactionBudget:
    """What a transaction still has room for.

    An item to which several contributors add is one action, however many they are.

    >>> budget = TransactionBudget(beside=98)
    >>> budget.has_room(1, shared={"a"}), budget.has_room(2, shared={"a"})
    (True, False)
    >>> budget.take(1, shared={"a"})
    >>> budget.has_room(0, shared={"a"}), budget.has_room(0, shared={"b"})
    (True, False)
    """

    def __init__(self, most_bytes: int = MOST_BYTES, *, beside: int = 0) -> None:
        """Start with an empty transaction; ``beside`` are actions that it has anyway."""
        self._actions = MOST_ACTIONS - beside
        self._bytes = most_bytes
        self._shared: set[Hashable] = set()

    def has_room(self, actions: int, size: int = 0, shared: Iterable[Hashable] = ()) -> bool:
        """Return whether there is room for actions of a size, and for the shared items that are new."""
        return actions + len(self._new(shared)) <= self._actions and size <= self._bytes

    def take(self, actions: int, size: int = 0, shared: Iterable[Hashable] = ()) -> None:
        """Take room, whether or not there is any: what fits no transaction is tried alone."""
        new = self._new(shared)
        self._actions -= actions + len(new)
        self._bytes -= size
        self._shared |= new

    def _new(self, shared: Iterable[Hashable]) -> set[Hashable]:
        return set(shared) - self._shared


class Needs(NamedTuple):
    """What something takes of a transaction (see `TransactionBudget.take`)."""

    actions: int
    size: int
    shared: Iterable[Hashable] = ()


def packed[T](
    things: Iterable[T],
    needs: Callable[[T], Needs],
    empty: Callable[[], TransactionBudget] = TransactionBudget,
) -> Iterator[list[T]]:
    """Put things together, in their order, as long as one transaction holds them.

    What no transaction holds stands alone. ``empty`` makes the budget of a new transaction.

    >>> list(packed([60, 40, 1, 120, 2], lambda actions: Needs(actions, 0)))
    [[60, 40], [1], [120], [2]]
    """
    pack: list[T] = []
    budget = empty()
    for thing in things:
        needed = needs(thing)
        if pack and not budget.has_room(*needed):
            yield pack
            pack, budget = [], empty()
        pack.append(thing)
        budget.take(*needed)
    if pack:
        yield pack

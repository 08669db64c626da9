"""What fits in one call to DynamoDB: the one place that knows the limits, and how much of them is left.

A transaction may have at most 100 actions and 4 MB, no item twice, and no item of more than 400 KB.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import NamedTuple

MOST_ACTIONS = 100
"""Actions of a transaction. A condition on an item that is not written counts as an action."""

MOST_BYTES = 3_000_000
"""Bytes of a transaction's items, as `item_bytes` counts them. DynamoDB's limit is 4 MB; it counts differently."""

MOST_CONTENT = 2_000_000
"""Bytes of the contents of a transaction's events. All other attributes of an event have less than 2 KB."""

GUARDS = 2
"""Conditions of a tally's transaction on the catalogue, at most: on the external id's item and the customer's."""

ACTIONS_FOR_EVENTS = 65
"""Actions of a tally's transaction for its events.

The rest is for the head, the conditions on the catalogue, and at least one month of rollups.
"""

READ_TOGETHER = 100
"""Keys of a batch read."""

WRITTEN_TOGETHER = 25
"""Items of a batch write, which is no transaction."""


def item_bytes(item: Mapping[str, Mapping[str, str]]) -> int:
    """Return the number of bytes of an item's names and values; a number has the bytes of its text.

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

    An item that several contributors add to is one action, however many contributors there are.

    >>> budget = TransactionBudget(beside=98)
    >>> budget.has_room(1, shared={"a"}), budget.has_room(2, shared={"a"})
    (True, False)
    >>> budget.take(1, shared={"a"})
    >>> budget.has_room(0, shared={"a"}), budget.has_room(0, shared={"b"})
    (True, False)
    """

    def __init__(self, most_bytes: int = MOST_BYTES, *, beside: int = 0) -> None:
        """Start with an empty transaction; ``beside`` is the number of actions that it has anyway."""
        self._actions = MOST_ACTIONS - beside
        self._bytes = most_bytes
        self._shared: set[Hashable] = set()

    def has_room(self, actions: int, size: int = 0, shared: Iterable[Hashable] = ()) -> bool:
        """Return whether there is room for some actions, their bytes, and the shared items not taken before."""
        return actions + len(self._new(shared)) <= self._actions and size <= self._bytes

    def take(self, actions: int, size: int = 0, shared: Iterable[Hashable] = ()) -> None:
        """Take room, even if there is none: a thing that fits no transaction is tried alone."""
        new = self._new(shared)
        self._actions -= actions + len(new)
        self._bytes -= size
        self._shared |= new

    def _new(self, shared: Iterable[Hashable]) -> set[Hashable]:
        return set(shared) - self._shared


class Needs(NamedTuple):
    """The room that a thing needs in a transaction (see `TransactionBudget.take`)."""

    actions: int
    size: int
    shared: Iterable[Hashable] = ()


def packed[T](
    things: Iterable[T],
    needs: Callable[[T], Needs],
    empty: Callable[[], TransactionBudget] = TransactionBudget,
) -> Iterator[list[T]]:
    """Divide things, in their order, into groups that each fit in one transaction.

    A thing that fits in no transaction is a group of its own. ``empty`` makes the budget of a new transaction.

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

"""What fits in one call to DynamoDB: the one place that knows the limits, and how much of them is left.

A transaction may have at most 100 actions and 4 MB, no item twice, and no item of more than 400 KB.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
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
    # Joined, since one text is measured in half the time of many.
    text = "".join([*item, *[value for typed in item.values() for value in typed.values()]])
    return len(text) if text.isascii() else len(text.encode())


class TransactionBudget:
    """What a transaction still has room for.

    An item that several contributors add to is one action, however many contributors there are.

    >>> budget = TransactionBudget(beside=98)
    >>> budget.take(2, shared={"a"}), budget.take(1, shared={"a"})
    (False, True)
    >>> budget.take(0, shared={"a"}), budget.take(0, shared={"b"})
    (True, False)
    """

    def __init__(self, most_bytes: int = MOST_BYTES, *, beside: int = 0) -> None:
        """Start with an empty transaction; ``beside`` is the number of actions that it has anyway."""
        self._actions = MOST_ACTIONS - beside
        self._bytes = most_bytes
        self._shared: set[Hashable] = set()

    def take(
        self,
        actions: int,
        size: int = 0,
        shared: AbstractSet[Hashable] = frozenset(),
        *,
        anyway: bool = False,
    ) -> bool:
        """Take room for some actions, their bytes, and the shared items not taken before. Return whether it did.

        Without room none is taken, but ``anyway``: a thing that fits no transaction is tried alone.
        """
        new = shared - self._shared
        actions += len(new)
        if not anyway and (actions > self._actions or size > self._bytes):
            return False
        self._actions -= actions
        self._bytes -= size
        self._shared |= new
        return True


class Needs(NamedTuple):
    """The room that a thing needs in a transaction (see `TransactionBudget.take`)."""

    actions: int
    size: int
    shared: AbstractSet[Hashable] = frozenset()


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
        if not budget.take(*needed, anyway=not pack):
            yield pack
            pack, budget = [], empty()
            budget.take(*needed, anyway=True)
        pack.append(thing)
    if pack:
        yield pack

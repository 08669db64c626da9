"""Editions: which counting of a line item, or of a recurring meter's chain, is the one that is read.

Where a change moves usage that was counted, the tallies concerned are counted anew, in a new edition, beside those
that are read. When it is complete, the subscription's item says that it is the one that is read. The edition is
part of a tally's name, so that no item belongs to two. The first edition is 0, and does not show in names.

An edition has a cut: its recount has counted from the log what was accepted up to the cut, and the table's stream
counts what was accepted later. So the stream never counts into an edition what was accepted before its cut.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

#: Stands between an id and an edition. No id holds it (see `usage.identifier.checked_id`).
SEPARATOR: Final = "\x1f"


class Edition(msgspec.Struct, frozen=True, array_like=True):
    """An edition of the tallies of a scope, from the billing period on that begins at ``since``.

    ``scope`` is the id of a line item, or for a chain the id of the recurring meter; empty for all of a
    subscription. A chain has one edition as a whole.
    """

    scope: str
    since: int
    number: int


class Cut(msgspec.Struct, frozen=True, array_like=True):
    """Up to when an edition was counted from the log.

    ``at``: what was accepted up to then was counted from the log, in microseconds. ``by_id`` and ``by_customer``
    are the numbers of the readings of the log of the external id and of the customer: an event that was withdrawn
    by an earlier reading was left out.
    """

    number: int
    at: int
    by_id: int = 0
    by_customer: int = 0


class Editions(NamedTuple):
    """The editions of a subscription's tallies, and their cuts.

    ``filling`` is the edition that is being counted anew, in one ``generation``, for the subscription as it will
    be: nothing is counted by that into other editions. None for the subscription as it is read.
    """

    entries: tuple[Edition, ...] = ()
    cuts: tuple[Cut, ...] = ()
    filling: int | None = None
    generation: str = ""

    def of(self, scope: str, since: int) -> int:
        """Return the edition of a tally by its scope and the start of its billing period."""
        return max(
            (
                each.number
                for each in self.entries
                if each.scope in ("", scope) and (each.since <= since or not each.scope)
            ),
            default=0,
        )

    def numbers(self, scope: str) -> list[int]:
        """Return the editions that the tallies of a scope are in, some of them perhaps no more."""
        return sorted({0, *(each.number for each in self.entries if each.scope in ("", scope))})

    def cut(self, number: int) -> Cut | None:
        """Return the cut of an edition. The first has none."""
        return next((each for each in self.cuts if each.number == number), None)

    def concern(self, number: int) -> bool:
        """Return whether the subscription counts into an edition: what is filled counts into no other."""
        return self.filling is None or number == self.filling

    def take(self, number: int, accepted: int, generation: str) -> bool:
        """Return whether the stream counts an event that was accepted at an instant into a tally of an edition."""
        if not self.concern(number) or (self.filling is not None and self.generation != generation):
            return False
        cut = self.cut(number) if number else None
        return cut is None or accepted > cut.at

    def take_out(self, number: int, accepted: int, generation: str, kind: str, readings: int) -> bool:
        """Return whether the stream takes a withdrawn event out of tallies of an edition: whether it is in them.

        ``kind`` is that of the event's subject, and ``readings`` how often the subject's log had been read when
        the event was withdrawn. What fills an edition from the log leaves out what is withdrawn, and nothing is
        withdrawn meanwhile.

        >>> editions = Editions((Edition("", 0, 1),), (Cut(1, 60, by_id=4),))
        >>> [editions.take_out(1, 50, "1", "s", readings) for readings in (3, 4)]
        [False, True]
        >>> editions.take_out(1, 61, "1", "s", 3)
        True
        """
        if self.take(number, accepted, generation):
            return True
        cut = self.cut(number)
        if self.filling is not None or cut is None:
            return False
        return readings >= (cut.by_id if kind == "s" else cut.by_customer)

    def beside(self, added: Iterable[Edition], cut: Cut) -> "Editions":
        """Return the editions with a newer one. What it covers of older ones is left out."""
        new = tuple(added)
        kept = tuple(
            each
            for each in self.entries
            if not any(
                other.scope == "" or (other.scope == each.scope and other.since <= each.since)
                for other in new
            )
        )
        entries = (*kept, *new)
        numbers = {each.number for each in entries}
        return Editions(entries, tuple(each for each in (*self.cuts, cut) if each.number in numbers))


ONE_EDITION: Final = Editions()
"""The editions of a subscription of which nothing was ever counted anew."""


def stored_as(name: str, edition: int) -> str:
    r"""Return the text by which the keys of a tally's items name a line item, or the meter of a chain.

    >>> stored_as("seats", 0), stored_as("seats", 2)
    ('seats', 'seats\x1f2')
    """
    return f"{name}{SEPARATOR}{edition}" if edition else name

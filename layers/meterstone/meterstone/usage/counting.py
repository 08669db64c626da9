"""How a subscription's usage is counted, where that is not simply by its terms: it is, or was, counted anew.

| | by which terms | which tallies |
|---|---|---|
| what is read | `live`, else the subscription's terms | those of `entries` |
| what is being filled | those of `filling` | its edition, beside those of `entries` |
| what was read before, and is to leave the rollups | those of `former` | those of its entries |

A put that moves counted usage begins to fill an edition by the new terms. When all is counted, one write makes it
the one that is read. So an answer is as before, or as after, and never a mixture.
"""

from collections.abc import Iterable
from copy import replace

import msgspec

from meterstone.usage.edition import ONE_EDITION, Cut, Edition, Editions
from meterstone.usage.subscription import NOT_MOVED, Moves
from meterstone.usage.terms import Terms


class Filling(msgspec.Struct, frozen=True, omit_defaults=True):
    """An edition that is being filled, by the terms as they will be, in one generation, for a recount."""

    terms: Terms
    entries: tuple[Edition, ...]
    cut: Cut
    generation: str
    recount: str

    @property
    def number(self) -> int:
        """The edition's number."""
        return self.cut.number


class Former(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a subscription was counted before: the rollups still have what came of it."""

    terms: Terms
    entries: tuple[Edition, ...] = ()
    cuts: tuple[Cut, ...] = ()

    @property
    def editions(self) -> Editions:
        """The editions that were read."""
        return Editions(self.entries, self.cuts)


class Counting(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a subscription is counted (see above). ``last`` is the highest number that an edition was given.

    ``live`` is None if the terms that are read are the subscription's own. ``renamings`` says how often the names
    of its plan were changed for a time of which usage was counted.
    """

    live: Terms | None = None
    entries: tuple[Edition, ...] = ()
    cuts: tuple[Cut, ...] = ()
    last: int = 0
    filling: Filling | None = None
    former: Former | None = None
    renamings: Moves = NOT_MOVED

    @property
    def editions(self) -> Editions:
        """The editions that are read."""
        return Editions(self.entries, self.cuts) if self.entries else ONE_EDITION

    @property
    def editions_filling(self) -> Editions:
        """The editions as they are for what is counted by the terms of `filling`."""
        if self.filling is None:
            raise TypeError("nothing is being filled")
        beside = self.editions.beside(self.filling.entries, self.filling.cut)
        return beside._replace(filling=self.filling.number, generation=self.filling.generation)

    def begun(
        self,
        live: Terms,
        terms: Terms,
        scopes: Iterable[tuple[str, int]],
        at: int,
        generation: str,
        recount: str,
    ) -> "Counting":
        """Return the counting that begins to fill a new edition of some scopes, by new terms.

        ``at`` is its cut. ``live`` are the terms that are read until then. A scope comes with the start of the
        billing period from which on it is counted anew.
        """
        number = self.last + 1
        entries = tuple(Edition(scope, since, number) for scope, since in scopes)
        filling = Filling(terms, entries, Cut(number, at), generation, recount)
        return replace(self, live=live, last=number, filling=filling)

    def read(self, by_id: int, by_customer: int) -> "Counting":
        """Return the counting in which the log is being read, under numbers of readings of both subjects."""
        if self.filling is None:
            raise TypeError("nothing is being filled")
        cut = replace(self.filling.cut, by_id=by_id, by_customer=by_customer)
        return replace(self, filling=replace(self.filling, cut=cut))

    def flipped(self, terms: Terms, live: Terms) -> "Counting":
        """Return the counting by which what was filled is what is read.

        ``terms`` are the subscription's own by now, and ``live`` those that were read.
        """
        if self.filling is None:
            raise TypeError("nothing is being filled")
        editions = self.editions_filling
        return Counting(
            live=None if self.filling.terms == terms else self.filling.terms,
            entries=editions.entries,
            cuts=editions.cuts,
            last=self.last,
            former=Former(live, self.entries, self.cuts),
            renamings=self.renamings,
        )


def decode_counting(document: str) -> Counting:
    """Read a counting from its stored JSON text."""
    return _COUNTING.decode(document)


_COUNTING = msgspec.json.Decoder(Counting)

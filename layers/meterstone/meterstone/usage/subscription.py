"""A subscription with all that counting and pricing it needs: line items, meters, prices, dated facts."""

from collections.abc import Iterable, Mapping, Sequence
from copy import replace
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from meterstone.pricing.commitment import Commitment
from meterstone.pricing.price import Detail, Price
from meterstone.usage.edition import ONE_EDITION, Editions
from meterstone.usage.meter import Meter
from meterstone.usage.period import BillingCycle, BillingPeriod, Cadence

_CADENCES_REMEMBERED = 1024


class Dated(msgspec.Struct, frozen=True):
    """A fact that holds from an instant on (None: from the beginning), until the next one."""

    value: str
    since: int | None = None


def in_force(facts: Sequence[Dated], at: int) -> str | None:
    """Return the fact in force at an instant; None before the first. The facts are ordered by ``since``.

    >>> plans = (Dated("basic"), Dated("pro", 100))
    >>> in_force(plans, 99), in_force(plans, 100)
    ('basic', 'pro')
    """
    value = None
    for fact in facts:
        if fact.since is not None and fact.since > at:
            break
        value = fact.value
    return value


class Span(msgspec.Struct, frozen=True):
    """A half-open span of instants; ``end`` is None if it never ends."""

    start: int
    end: int | None

    def holds(self, at: int) -> bool:
        """Return whether the instant lies in the span."""
        return self.start <= at and (self.end is None or at < self.end)

    def meets(self, start: int, end: int | None) -> bool:
        """Return whether the span overlaps ``[start, end)``.

        An empty stretch overlaps a span if it lies inside; an empty span overlaps nothing.
        """
        if self.end is not None and self.end <= max(start, self.start):
            return False
        return end is None or self.start < end


def covered(span: Span, by: Iterable[Span]) -> bool:
    """Return whether other spans hold all of a span."""
    at = span.start
    if span.end is not None and span.end <= at:
        return True
    for each in sorted(by, key=lambda each: each.start):
        if each.start > at:
            return False
        if each.end is None:
            return True
        at = max(at, each.end)
        if span.end is not None and at >= span.end:
            return True
    return False


class LineItem(msgspec.Struct, frozen=True):
    """One price of a subscription over a span of time. A line item with a FIXED price has no meter."""

    id: str
    price: Price
    start: int
    end: int | None = None
    meter: Meter | None = None


class FormerFacts(msgspec.Struct, frozen=True, array_like=True):
    """The dated facts that were said until the move of a number: a customer's, or a subscription's plan."""

    until: int
    country: tuple[Dated, ...] = ()
    customer_type: tuple[Dated, ...] = ()
    plan: tuple[Dated, ...] = ()


class Moves(msgspec.Struct, frozen=True, omit_defaults=True):
    """How often facts were changed for a time of which usage was counted already.

    A customer's facts are its country and type. That of a subscription whose line items are its own is the name of
    its plan. What was counted is in the rollups by the facts as they were after some number of moves. ``former``
    has, the oldest first, those by which some of it may still be there, until it has followed.
    """

    number: int = 0
    former: tuple[FormerFacts, ...] = ()

    def next(
        self,
        country: tuple[Dated, ...] = (),
        customer_type: tuple[Dated, ...] = (),
        plan: tuple[Dated, ...] = (),
    ) -> "Moves":
        """Return the moves with one more, given the facts before it."""
        number = self.number + 1
        return Moves(number, (*self.former, FormerFacts(number, country, customer_type, plan)))

    def facts_after(self, number: int) -> FormerFacts | None:
        """Return the facts by which something is there that has followed some number of moves; None: the present.

        >>> moves = Moves().next(plan=(Dated("basic"),)).next(plan=(Dated("team"),))
        >>> [moves.facts_after(number).plan[0].value for number in (0, 1)], moves.facts_after(2)
        (['basic', 'team'], None)
        """
        return next((each for each in self.former if each.until > number), None)

    def followed(self, number: int) -> "Moves":
        """Return the moves when everything that was counted has followed those up to a number."""
        return Moves(self.number, tuple(each for each in self.former if each.until > number))


NOT_MOVED: Final = Moves()
"""The moves of facts that were never changed for a time of which usage was counted."""


class Placed(NamedTuple):
    """How many moves of its customer, and renamings of its plan, something has followed that is in the rollups.

    Both only go up. So of two places of one tally, the later one is the greater.
    """

    customer: int = 0
    plan: int = 0

    def is_beyond(self, known: "Placed") -> bool:
        """Return whether it has followed a move that is not among those that are known."""
        return self.customer > known.customer or self.plan > known.plan


NOWHERE: Final = Placed()
"""The place of what has followed no move."""


class Facts(NamedTuple):
    """What a customer's charges are grouped and filtered by: dated facts, and how often they moved."""

    country: tuple[Dated, ...] = ()
    customer_type: tuple[Dated, ...] = ()
    moves: Moves = NOT_MOVED

    def after(self, moves: int) -> "Facts":
        """Return the facts by which something is in the rollups that has followed some number of moves.

        >>> moved = Moves().next((Dated("DE"),), ()).next((Dated("NO"),), ())
        >>> facts = Facts((Dated("SE"),), (), moved)
        >>> [facts.after(number).country[0].value for number in range(3)]
        ['DE', 'NO', 'SE']
        """
        found = self.moves.facts_after(moves)
        return self if found is None else Facts(found.country, found.customer_type, self.moves)


NO_FACTS: Final = Facts()
"""Those of a customer of whom nothing is said."""


class Customer(msgspec.Struct, frozen=True):
    """Who subscribes. ``id`` is the external id; country and type are dated.

    ``timezone`` is that of subscriptions that are made for the customer and have none of their own. ``currency``
    is lower case. ``details`` is what clients store with a customer (address, names, metadata): it is given back,
    and nothing computes with it.
    """

    id: str
    name: str = ""
    timezone: str | None = None
    country: tuple[Dated, ...] = ()
    customer_type: tuple[Dated, ...] = ()
    currency: str | None = None
    details: Mapping[str, Detail] = msgspec.field(default_factory=dict)

    @property
    def facts(self) -> Facts:
        """What its charges are grouped and filtered by."""
        return Facts(self.country, self.customer_type)


class Subscription(msgspec.Struct, frozen=True):
    """What a customer has agreed to.

    This is a subscription as counting and pricing need it, with everything looked up that its `Terms` refer to.
    ``customer_id`` is the customer's external id. ``country`` and ``customer_type`` are dated facts of the
    customer, and ``moves`` says how often they moved; ``renamings`` says it of ``plan``. ``timezone`` decides the
    subscription's days: it was its own, the customer's or the organization's when it was made. ``currency`` is
    lower case. Instants are microseconds since the epoch. ``editions`` say which counting of its usage is the one
    that is read.
    """

    id: str
    external_id: str
    customer_id: str
    currency: str
    timezone: str
    start: int
    end: int | None
    billing_period: BillingPeriod
    billing_period_count: int
    billing_cycle: BillingCycle
    anchor: int
    plan: tuple[Dated, ...]
    country: tuple[Dated, ...] = ()
    customer_type: tuple[Dated, ...] = ()
    commitment: Commitment | None = None
    line_items: tuple[LineItem, ...] = ()
    editions: Editions = ONE_EDITION
    moves: Moves = NOT_MOVED
    renamings: Moves = NOT_MOVED

    @property
    def facts(self) -> Facts:
        """What its charges are grouped and filtered by, beside its plan."""
        return Facts(self.country, self.customer_type, self.moves)

    @property
    def placed(self) -> Placed:
        """The place in the rollups of what has followed all moves."""
        return Placed(self.moves.number, self.renamings.number)

    def plan_after(self, renamings: int) -> tuple[Dated, ...]:
        """Return the names of the plan by which something is in the rollups that has followed some renamings."""
        found = self.renamings.facts_after(renamings)
        return self.plan if found is None else found.plan

    def of_customer(self, facts: Facts) -> "Subscription":
        """Return the subscription with its customer's facts; itself if it has them already."""
        if facts == self.facts:
            return self
        country, customer_type, moves = facts
        return replace(self, country=country, customer_type=customer_type, moves=moves)

    @property
    def span(self) -> Span:
        """The subscription's own span: nothing counts outside it."""
        return Span(self.start, self.end)

    def cadence(self, item: LineItem | None = None) -> Cadence:
        """Return the billing periods of the subscription, or of a line item whose price has its own."""
        period, count = self.billing_period, self.billing_period_count
        if item is not None and item.price.billing_period is not None:
            period, count = BillingPeriod(item.price.billing_period), item.price.billing_period_count
        return _cadence(period, count, self.billing_cycle, self.anchor, self.timezone, self.start, self.end)

    def shown(self, item: LineItem) -> Span:
        """Return the span in which a line item has rows: the line item's own, within the subscription's."""
        return _intersection(self.span, Span(item.start, item.end))

    def counted(self, item: LineItem) -> Span:
        """Return the counted span of a line item: the span in which it is shown, until its meter is deleted."""
        shown = self.shown(item)
        if item.meter is None or item.meter.deleted_at is None:
            return shown
        return _intersection(shown, Span(shown.start, max(item.meter.deleted_at, shown.start)))


@lru_cache(_CADENCES_REMEMBERED)
def _cadence(
    period: BillingPeriod,
    count: int,
    cycle: BillingCycle,
    anchor: int,
    zone: str,
    start: int,
    end: int | None,
) -> Cadence:
    """Return one cadence for all line items that are billed alike, since it remembers the period found last."""
    return Cadence(period, count, cycle, anchor, zone, start, end)


def _intersection(one: Span, other: Span) -> Span:
    ends = [span.end for span in (one, other) if span.end is not None]
    start = max(one.start, other.start)
    return Span(start, max(min(ends), start) if ends else None)


class Organization(msgspec.Struct, frozen=True):
    """The owner of a catalogue and its usage. ``id`` is a UUID; ``timezone`` decides which day is today."""

    id: str
    name: str = ""
    timezone: str = "UTC"

"""A subscription's terms: the form in which it is stored, which refers to plans, prices and meters by their ids.

What terms refer to does not change (a price, a version of a plan, what a meter counts), or is read anew each time
(when a meter was deleted, a customer's country). `resolve` looks everything up, and makes the `Subscription` that
counting and pricing work with.

A subscription that follows its plan names the version that it follows, and since when. It has a line item for each
of the version's prices in its currency that `fits`. Where another version has the same price, the line item goes
on. Where another plan follows, all line items end and others begin.
"""

from collections.abc import Iterable, Iterator, Mapping
from copy import replace
from typing import Final, NamedTuple

import msgspec

from meterstone.pricing.commitment import Commitment
from meterstone.pricing.price import Detail, Price
from meterstone.usage.edition import ONE_EDITION, Editions
from meterstone.usage.meter import Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import (
    NO_FACTS,
    NOT_MOVED,
    Dated,
    Facts,
    LineItem,
    Moves,
    Subscription,
)

MOST_LINE_ITEMS: Final = 1000
"""How many line items a subscription has at most, those of its plan included."""

_MONTHS: Final = {
    BillingPeriod.MONTHLY: 1,
    BillingPeriod.QUARTERLY: 3,
    BillingPeriod.HALF_YEARLY: 6,
    BillingPeriod.ANNUAL: 12,
}
_DAYS: Final = {BillingPeriod.DAILY: 1, BillingPeriod.WEEKLY: 7}


class PlanTerm(msgspec.Struct, frozen=True, omit_defaults=True):
    """The plan that a subscription has from an instant on (None: from its beginning), until the next one.

    ``version`` is the version of the plan whose prices the subscription follows; None if it has line items of its
    own alone, and the plan is but a name.
    """

    value: str
    since: int | None = None
    version: int | None = None


class ItemTerm(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line item of the subscription's own. ``id`` empty: made of the subscription's and the price's."""

    price: str
    id: str = ""
    start: int | None = None
    end: int | None = None


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a customer has agreed to, as it is stored. The fields are those of `Subscription`."""

    id: str
    customer_id: str
    currency: str
    timezone: str
    start: int
    plan: tuple[PlanTerm, ...]
    #: Empty: the id.
    external_id: str = ""
    end: int | None = None
    billing_period: BillingPeriod = BillingPeriod.MONTHLY
    billing_period_count: int = 1
    billing_cycle: BillingCycle = BillingCycle.CALENDAR
    #: None: the start.
    anchor: int | None = None
    commitment: Commitment | None = None
    line_items: tuple[ItemTerm, ...] = ()
    #: Of the plan's prices only these, by id; None: all.
    chosen: tuple[str, ...] | None = None
    #: When it was called off before it began: it has no span then.
    canceled_at: int | None = None
    name: str = ""
    #: What the record carries beside, and nothing computes with.
    details: Mapping[str, Detail] = msgspec.field(default_factory=dict)

    @property
    def events_by(self) -> str:
        """The external id, by which events name the subscription."""
        return self.external_id or self.id

    def price_ids(self, plans: Mapping[tuple[str, int], Plan]) -> Iterator[str]:
        """Yield the ids of all prices that are needed to `resolve` the terms; some may stand twice."""
        for item in self.line_items:
            yield item.price
        for plan in self.versions():
            yield from plans[plan].prices

    def versions(self) -> Iterator[tuple[str, int]]:
        """Yield the versions of plans that the terms follow, each as the plan's code and the version's number."""
        return ((each.value, each.version) for each in self.plan if each.version is not None)


class Run(NamedTuple):
    """A stretch of time in which a subscription has a price of its plan: one line item."""

    price: Price
    start: int
    end: int | None
    #: At which of the plans the stretch begins.
    place: int


def fits(price: Price, plan: Plan, currency: str, period: BillingPeriod, count: int) -> bool:
    """Return whether a plan's price is for subscriptions in a currency that are billed in such periods.

    That is so if the price's own billing period, else the plan's, equals the subscription's or divides it.
    """
    if price.currency != currency:
        return False
    own, own_count = _period_of(price, plan)
    return own is None or divides(own, own_count, period, count)


def divides(inner: BillingPeriod, inner_count: int, outer: BillingPeriod, outer_count: int) -> bool:
    """Return whether each of the outer billing periods is made of whole inner ones.

    >>> divides(BillingPeriod.MONTHLY, 1, BillingPeriod.QUARTERLY, 1)
    True
    >>> divides(BillingPeriod.WEEKLY, 1, BillingPeriod.MONTHLY, 1)
    False
    >>> divides(BillingPeriod.DAILY, 1, BillingPeriod.MONTHLY, 1)
    True
    """
    if (inner, inner_count) == (outer, outer_count):
        return True
    for lengths in (_MONTHS, _DAYS):
        if inner in lengths and outer in lengths:
            return (lengths[outer] * outer_count) % (lengths[inner] * inner_count) == 0
    return (inner, inner_count) == (BillingPeriod.DAILY, 1) and outer in _MONTHS


def resolve(
    terms: Terms,
    plans: Mapping[tuple[str, int], Plan],
    prices: Mapping[str, Price],
    meters: Mapping[str, Meter],
    facts: Facts = NO_FACTS,
    editions: Editions = ONE_EDITION,
    renamings: Moves = NOT_MOVED,
) -> Subscription:
    """Make a subscription of its terms and of what these refer to, each by its id.

    ``facts``, those of its customer, may be left out where nobody asks for them.
    """
    own = (
        LineItem(
            item.id or line_item_id(terms.id, item.price),
            prices[item.price],
            terms.start if item.start is None else item.start,
            item.end,
            meters.get(prices[item.price].meter_id),
        )
        for item in terms.line_items
    )
    of_plans = (
        LineItem(
            line_item_id(terms.id, run.price.id, run.place),
            run.price,
            run.start,
            run.end,
            meters.get(run.price.meter_id),
        )
        for run in runs(terms, plans, prices)
    )
    return Subscription(
        id=terms.id,
        external_id=terms.events_by,
        customer_id=terms.customer_id,
        currency=terms.currency,
        timezone=terms.timezone,
        start=terms.start,
        end=terms.end if terms.canceled_at is None else terms.start,
        billing_period=terms.billing_period,
        billing_period_count=terms.billing_period_count,
        billing_cycle=terms.billing_cycle,
        anchor=terms.start if terms.anchor is None else terms.anchor,
        plan=tuple(_named(terms.plan)),
        country=facts.country,
        customer_type=facts.customer_type,
        commitment=terms.commitment,
        line_items=(*own, *of_plans),
        editions=editions,
        moves=facts.moves,
        renamings=renamings,
    )


def following(terms: Terms, code: str, version: int, at: int) -> Terms:
    """Return terms that follow a version of a plan from an instant on, wherever they followed an older one.

    What they have before the instant, other plans, and newer versions stay. So do terms that end by then. Done
    again it changes nothing, and of several versions each instant has the newest, in whatever order they come.
    """
    if terms.canceled_at is not None or (terms.end is not None and terms.end <= at):
        return terms
    starts = [terms.start if each.since is None else max(each.since, terms.start) for each in terms.plan]
    ends = [*starts[1:], None]
    found: list[PlanTerm] = []
    for term, start, end in zip(terms.plan, starts, ends, strict=True):
        is_older = term.value == code and term.version is not None and term.version < version
        if not is_older or (end is not None and end <= at):
            found.append(term)
        elif start < at:
            found += term, PlanTerm(code, at, version)
        else:
            found.append(replace(term, version=version))
    if tuple(found) == terms.plan:
        return terms
    # Two that are the same now are one.
    plan = found[:1]
    for term in found[1:]:
        if (term.value, term.version) != (plan[-1].value, plan[-1].version):
            plan.append(term)
    return replace(terms, plan=tuple(plan))


def terms_of(subscription: Subscription) -> Terms:
    """Return the terms of a subscription that was stored whole: its line items are its own."""
    start = subscription.start
    return Terms(
        id=subscription.id,
        customer_id=subscription.customer_id,
        currency=subscription.currency,
        timezone=subscription.timezone,
        start=start,
        plan=tuple(PlanTerm(each.value, each.since) for each in subscription.plan),
        external_id="" if subscription.external_id == subscription.id else subscription.external_id,
        end=subscription.end,
        billing_period=subscription.billing_period,
        billing_period_count=subscription.billing_period_count,
        billing_cycle=subscription.billing_cycle,
        anchor=None if subscription.anchor == start else subscription.anchor,
        commitment=subscription.commitment,
        line_items=tuple(
            ItemTerm(
                item.price.id,
                "" if item.id == line_item_id(subscription.id, item.price.id) else item.id,
                None if item.start == start else item.start,
                item.end,
            )
            for item in subscription.line_items
        ),
    )


def line_item_id(subscription_id: str, price_id: str, place: int = 0) -> str:
    """Return the id of a line item that was given none.

    ``place`` is at which of the subscription's plans it begins: a price may end with one plan, and come again with
    a later one.
    """
    return f"{subscription_id}.{price_id}.{place}" if place else f"{subscription_id}.{price_id}"


def runs(terms: Terms, plans: Mapping[tuple[str, int], Plan], prices: Mapping[str, Price]) -> list[Run]:
    """List the line items that a subscription has of the plans that it follows, by their beginnings."""
    done: list[Run] = []
    open_: dict[Price, Run] = {}
    before = ""
    for place, term in enumerate(terms.plan):
        start = terms.start if term.since is None else max(term.since, terms.start)
        wanted = {} if term.version is None else _wanted(terms, plans[term.value, term.version], prices)
        over = [each for each in open_ if term.value != before or each not in wanted.values()]
        done += [open_.pop(price)._replace(end=start) for price in over]
        for price in wanted.values():
            if price not in open_:
                open_[price] = Run(price, start, None, place)
        before = term.value
    done += open_.values()
    # A plan that ends as it begins has no line items.
    return [run for run in done if run.end is None or run.start < run.end]


def _wanted(terms: Terms, plan: Plan, prices: Mapping[str, Price]) -> dict[str, Price]:
    found: dict[str, Price] = {}
    for name in plan.prices:
        price = prices[name]
        if (terms.chosen is None or name in terms.chosen) and fits(
            price, plan, terms.currency, terms.billing_period, terms.billing_period_count
        ):
            found[name] = _with_period(price, plan, terms)
    return found


def _with_period(price: Price, plan: Plan, terms: Terms) -> Price:
    """Return a plan's price, with the plan's billing period if it has none and the subscription another."""
    period, count = _period_of(price, plan)
    if price.billing_period is not None or period is None:
        return price
    if (period, count) == (terms.billing_period, terms.billing_period_count):
        return price
    return replace(price, billing_period=str(period), billing_period_count=count)


def _period_of(price: Price, plan: Plan) -> tuple[BillingPeriod | None, int]:
    if price.billing_period is not None:
        return BillingPeriod(price.billing_period), price.billing_period_count
    return plan.billing_period, plan.billing_period_count


def _named(plans: Iterable[PlanTerm]) -> Iterator[Dated]:
    """Yield the names of plans, one for all versions of a plan that follow each other."""
    before = None
    for each in plans:
        if each.value != before:
            yield Dated(each.value, each.since)
        before = each.value


def decode_terms(document: str) -> Terms:
    """Read terms from their stored JSON text."""
    return _TERMS.decode(document)


_TERMS = msgspec.json.Decoder(Terms)

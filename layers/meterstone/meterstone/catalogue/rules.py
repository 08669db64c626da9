"""Rules of the catalogue that need several records: what never changes, what overlaps, what a change moves.

A change of a subscription *moves* usage if the subscription counts, prices or groups events otherwise from some
instant on. The functions here are pure: each takes records as values, and returns what is wrong with them as
findings, or the instant from which something is moved.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import replace
from typing import Final, NamedTuple

import msgspec

from meterstone.pricing.price import Price
from meterstone.usage.arrival import AHEAD
from meterstone.usage.identifier import LONGEST_ID
from meterstone.usage.instant import END_OF_TIME, ZERO_TIME
from meterstone.usage.meter import Meter
from meterstone.usage.period import BillingPeriod
from meterstone.usage.plan import Plan
from meterstone.usage.state import traits
from meterstone.usage.subscription import Dated, LineItem, Span, Subscription, covered, in_force
from meterstone.usage.terms import MOST_LINE_ITEMS, Terms, line_item_id, runs

type Versions = Mapping[tuple[str, int], Plan]

_IMMUTABLE: Final = "cannot change: make a new price, and end the line items of this one"
_COUNTS: Final = "cannot change: make a new meter"


class Finding(NamedTuple):
    """What is wrong with a record: where in it, such as `line_items[1].price`, and why."""

    path: str
    reason: str


class Moved(NamedTuple):
    """From when on a change moves usage, and the first field of the record that does."""

    at: int
    path: str


def _fields(record: type[msgspec.Struct], *, free: Iterable[str]) -> tuple[str, ...]:
    """List the fields of a record that may not change, in their order: all but the free ones.

    A field that is added to a record cannot change until it is said here to be free.
    """
    names = record.__struct_fields__
    if unknown := set(free).difference(names):
        raise TypeError(f"{record.__name__} has no field {', '.join(sorted(unknown))}")
    return tuple(name for name in names if name not in free)


_PRICE_FIELDS: Final = _fields(Price, free=("id", "details"))
_METER_FIELDS: Final = _fields(Meter, free=("id", "name", "deleted_at"))
#: Country, customer type and moves are the customer's. The others have rules of their own below.
_WHOLE_FIELDS: Final = _fields(
    Subscription,
    free=(
        "id",
        "start",
        "end",
        "plan",
        "renamings",
        "country",
        "customer_type",
        "moves",
        "line_items",
        "editions",
    ),
)
#: How a field of a subscription is called in its record, where that differs.
_CALLED: Final = {"customer_id": "customer"}


def changed_price(before: Price, after: Price) -> Iterator[Finding]:
    """Yield what of a price may never change, and would: all that it is computed with."""
    for name in _PRICE_FIELDS:
        if getattr(before, name) != getattr(after, name):
            yield Finding(name, _IMMUTABLE)


def changed_meter(before: Meter, after: Meter) -> Iterator[Finding]:
    """Yield what of a meter may never change, and would: all that decides what it counts."""
    for name in _METER_FIELDS:
        if getattr(before, name) != getattr(after, name):
            yield Finding(name, _COUNTS)


def moved_deletion(before: Meter, after: Meter) -> int | None:
    """Return from when on a meter counts otherwise, since its deletion is another; None if it does not."""
    return _earlier(before.deleted_at, after.deleted_at)


def shared_names(meters: Sequence[Meter], put: Meter) -> Iterator[Finding]:
    """Yield why a meter may not be put beside the others: a code is the event name of another meter.

    A meter counts events of its code beside those of its event name. So an event named by such a code would be for
    both. It is allowed if the code is the meter's own event name, too.
    """
    for other in meters:
        if other.id == put.id:
            continue
        if put.code != put.event_name and put.code == other.event_name:
            yield Finding(
                "code", f"{put.code!r} is the event_name of meter {other.id!r}, but not of this one"
            )
        if other.code != other.event_name and other.code == put.event_name:
            yield Finding(
                "event_name", f"{put.event_name!r} is the code of meter {other.id!r}, but not its event_name"
            )


def line_items(
    terms: Terms, plans: Versions, prices: Mapping[str, Price], meters: Mapping[str, Meter]
) -> Iterator[Finding]:
    """Yield what is wrong with a subscription's line items, those of its plans included.

    What terms refer to must be there, but for prices of own line items that are unknown: these are passed over.
    """
    own = [item for item in terms.line_items if item.price in prices]
    ids: dict[str, str] = {}
    spans: list[tuple[str, LineItem]] = []
    for index, item in enumerate(terms.line_items):
        path = f"line_items[{index}]"
        price = prices.get(item.price)
        identity = item.id or line_item_id(terms.id, item.price)
        if len(identity) > LONGEST_ID:
            yield Finding(f"{path}.id", f"would have {len(identity)} characters: give it an id")
        if identity in ids:
            yield Finding(f"{path}.id", f"{identity!r} is the id of {ids[identity]} already")
        ids.setdefault(identity, path)
        start = terms.start if item.start is None else item.start
        end = terms.end if item.end is None else item.end
        if end is not None and end <= start:
            yield Finding(path, "must end after it starts")
        if price is None:
            continue
        if price.currency != terms.currency:
            currencies = price.currency.upper(), terms.currency.upper()
            yield Finding(
                f"{path}.price", f"{price.id!r} is in {currencies[0]}, the subscription in {currencies[1]}"
            )
        spans.append((path, LineItem(identity, price, start, item.end, meters.get(price.meter_id))))
    followed = runs(terms, plans, prices)
    for run in followed:
        identity = line_item_id(terms.id, run.price.id, run.place)
        if identity in ids:
            yield Finding(f"{ids[identity]}.id", f"{identity!r} is the id of a line item of the plan already")
        if len(identity) > LONGEST_ID:
            yield Finding("id", f"is too long for a line item of price {run.price.id!r}")
        of_plan = LineItem(identity, run.price, run.start, run.end, meters.get(run.price.meter_id))
        spans.append((f"price {run.price.id!r} of the plan", of_plan))
    yield from _unpriced(terms, plans, prices)
    count = len(own) + len(followed)
    if count > MOST_LINE_ITEMS:
        yield Finding(
            "line_items",
            f"are {count} with those of the plan, {MOST_LINE_ITEMS} are allowed: "
            "divide them among several subscriptions of the customer",
        )
    else:
        yield from _overlaps(spans)


def _unpriced(terms: Terms, plans: Versions, prices: Mapping[str, Price]) -> Iterator[Finding]:
    """Yield the plans that a subscription follows although none of their prices is for it."""
    if terms.chosen is not None:
        names = {name for key in terms.versions() for name in plans[key].prices}
        for index, name in enumerate(terms.chosen):
            if name not in names:
                yield Finding(f"prices[{index}]", f"{name!r} is no price of the plan")
        return
    for index, term in enumerate(terms.plan):
        if term.version is None:
            continue
        alone = replace(terms, plan=(replace(term, since=None),), end=None)
        if not runs(alone, plans, prices):
            period = f"{terms.billing_period_count} {terms.billing_period}"
            yield Finding(
                f"plan[{index}].value" if len(terms.plan) > 1 else "plan",
                f"{term.value!r} has no price in {terms.currency.upper()} for a billing period of {period}",
            )


def _overlaps(spans: Sequence[tuple[str, LineItem]]) -> Iterator[Finding]:
    last: dict[str, tuple[str, int]] = {}
    for path, item in sorted(spans, key=lambda each: each[1].start):
        if item.meter is None:
            continue
        before = last.get(item.meter.id)
        if before is not None and item.start < before[1]:
            where = path if path.startswith("line_items") else "plan"
            what = "" if where == path else f"{path} "
            yield Finding(where, f"{what}overlaps {before[0]} on the meter {item.meter.id!r}")
        if before is None or _end(item.end) > before[1]:
            last[item.meter.id] = path, _end(item.end)


def one_external_id(put: Subscription, others: Iterable[Subscription]) -> Iterator[Finding]:
    """Yield the subscriptions that have the same external id at the same time: events could not be told apart."""
    for other in others:
        if other.id != put.id and other.external_id == put.external_id and _meet(put.span, other.span):
            yield Finding(
                "external_id", f"{put.external_id!r} is that of subscription {other.id!r} at the same time"
            )


def _meet(one: Span, other: Span) -> bool:
    if one.start == one.end or other.start == other.end:
        return False
    return one.start < _end(other.end) and other.start < _end(one.end)


def moved_from(before: Subscription | None, after: Subscription | None) -> Moved | None:
    """Return from when on a subscription counts, prices or groups events otherwise; None if it never does.

    None stands for no subscription. Both have the same meters, as they are now.
    """
    if before is None or after is None:
        there = before or after
        return None if there is None or there.start == there.end else Moved(there.start, "start")
    return min(_moves(before, after), default=None, key=lambda each: each.at)


def _moves(before: Subscription, after: Subscription) -> Iterator[Moved]:
    start = min(before.start, after.start)
    if before.start == before.end and after.start == after.end:
        return
    # Of what is moved from the same instant on, the first is told: the anchor may be the start.
    if before.start != after.start:
        yield Moved(start, "start")
    for name in _WHOLE_FIELDS:
        if getattr(before, name) != getattr(after, name):
            yield Moved(start, _CALLED.get(name, name))
    end = _earlier(before.end, after.end)
    if end is not None:
        yield Moved(end, "end")
    plan = _first_difference(before.plan, after.plan, start)
    if plan is not None and plan < max(_end(before.end), _end(after.end)):
        yield Moved(plan, "plan")
    kept = {item.id: item for item in after.line_items}
    known = {item.id: item for item in before.line_items}
    for index, item in enumerate(after.line_items):
        path = f"line_items[{index}]"
        if item.id not in known:
            yield from _whole_item(after, item, path)
            continue
        was = known[item.id]
        if was.price.id != item.price.id or any(changed_price(was.price, item.price)):
            yield Moved(min(was.start, item.start), f"{path}.price")
        yield from _moved_item(before.shown(was), after.shown(item), path)
    for item in before.line_items:
        if item.id not in kept:
            yield from _whole_item(before, item, "line_items")


def concerned(before: Subscription, after: Subscription) -> list[tuple[str, int]]:
    """Return the scopes of the tallies that count, price or group events otherwise, each with a beginning.

    A scope is a line item, a recurring meter's chain, or empty for all (see `meterstone.usage.edition`); the
    beginning is the start of the first billing period that is concerned. A chain is concerned as a whole. A
    commitment concerns no tally: it is worked out where it is read.
    """
    whole = ("start", *(name for name in _WHOLE_FIELDS if name != "commitment"))
    if any(getattr(before, name) != getattr(after, name) for name in whole):
        return [("", ZERO_TIME)]
    found: dict[str, int] = {}
    for subscription, item, at in _concerned_items(before, after):
        if item.meter is None:
            continue
        scope, since = item.meter.id, ZERO_TIME
        if not item.meter.recurring:
            scope, since = item.id, subscription.cadence(item).period_at(at).start
        found[scope] = min(found.get(scope, since), since)
    return sorted(found.items())


def _concerned_items(
    before: Subscription, after: Subscription
) -> Iterator[tuple[Subscription, LineItem, int]]:
    """Yield the line items that count otherwise, each with the subscription that has it, and from when on."""
    known = {item.id: item for item in before.line_items}
    kept = {item.id for item in after.line_items}
    for item in after.line_items:
        was, shown = known.get(item.id), after.shown(item)
        if was is None:
            yield after, item, shown.start
            continue
        old = before.shown(was)
        if old.start == old.end and shown.start == shown.end:
            continue
        if was.price != item.price or old.start != shown.start:
            # A price may have a billing period of its own: the one of before may have begun earlier.
            yield before, was, min(old.start, shown.start)
            yield after, item, min(old.start, shown.start)
        elif (end := _earlier(old.end, shown.end)) is not None:
            # By the one that goes on longer, the earlier end lies in a billing period.
            yield (before, was, end) if _end(old.end) > _end(shown.end) else (after, item, end)
        plan = _first_difference(before.plan, after.plan, shown.start)
        if plan is not None and plan < _end(shown.end):
            yield after, item, plan
        if _shares_the_whole_time(before, after, item):
            yield after, item, shown.start
    for item in before.line_items:
        if item.id not in kept:
            yield before, item, before.shown(item).start


def _shares_the_whole_time(before: Subscription, after: Subscription, item: LineItem) -> bool:
    """Return whether a line item's level is divided by the length of a one-time period, and that has changed."""
    if item.meter is None or before.end == after.end:
        return False
    return after.cadence(item).period is BillingPeriod.ONETIME and traits(item.meter).accrues


def takes_in(before: Subscription, after: Subscription) -> bool:
    """Return whether a subscription counts events after a change that it did not count before."""
    owners = ("external_id", "customer_id")
    if any(getattr(before, name) != getattr(after, name) for name in owners):
        return True
    known = [(item.meter, before.counted(item)) for item in before.line_items if item.meter is not None]
    return any(
        item.meter is not None
        and not covered(after.counted(item), [span for meter, span in known if meter.id == item.meter.id])
        for item in after.line_items
    )


def _whole_item(subscription: Subscription, item: LineItem, path: str) -> Iterator[Moved]:
    shown = subscription.shown(item)
    if item.meter is not None and shown.start != shown.end:
        yield Moved(shown.start, path)


def _moved_item(before: Span, after: Span, path: str) -> Iterator[Moved]:
    if before.start == before.end and after.start == after.end:
        return
    if before.start != after.start:
        yield Moved(min(before.start, after.start), f"{path}.start")
    end = _earlier(before.end, after.end)
    if end is not None:
        yield Moved(end, f"{path}.end")


class Bounds(NamedTuple):
    """What is known of the usage that a change of a subscription could move.

    ``last`` is the time of the latest event that was counted by the subjects concerned, None if none was.
    ``unknown`` says that it is not known, though usage was counted. ``clocked`` says that usage was counted that
    time alone changes.
    """

    last: int | None = None
    unknown: bool = False
    clocked: bool = False

    def counted_from(self, moved: int, now: int) -> bool:
        """Return whether usage was counted that a change would move, which it does from an instant on."""
        if self.last is not None and moved <= self.last:
            return True
        return (self.unknown or self.clocked) and moved < now + AHEAD


def _earlier(old: int | None, new: int | None) -> int | None:
    """Return the instant from which two bounds differ, None if they do not; as a bound, None is never."""
    return None if old == new else min(_end(old), _end(new))


def _first_difference(old: Sequence[Dated], new: Sequence[Dated], since: int = ZERO_TIME) -> int | None:
    """Return the first instant from ``since`` on at which two dated facts differ, None if they never do."""
    turns = sorted({since, *(fact.since for fact in (*old, *new) if fact.since is not None)})
    return next((at for at in turns if at >= since and in_force(old, at) != in_force(new, at)), None)


def moved_facts(old: Sequence[Dated], new: Sequence[Dated]) -> int | None:
    """Return the first instant at which a customer's dated facts differ, None if they never do."""
    return _first_difference(old, new)


def facts_from_now(old: Sequence[Dated], new: Sequence[Dated], now: int) -> tuple[Dated, ...]:
    """Return the facts that a record stands for, given the stored ones.

    One value without a date is what holds from now on. The first ever holds from the beginning.

    >>> facts_from_now((Dated("NO"),), (Dated("SE"),), 100)
    (Dated(value='NO', since=None), Dated(value='SE', since=100))
    """
    if len(new) != 1 or new[0].since is not None or not old:
        return tuple(new)
    if in_force(old, now) == new[0].value:
        return tuple(fact for fact in old if fact.since is None or fact.since <= now)
    kept = tuple(fact for fact in old if fact.since is None or fact.since < now)
    if not kept:
        return tuple(new)
    return kept if kept[-1].value == new[0].value else (*kept, Dated(new[0].value, now))


def _end(end: int | None) -> int:
    return END_OF_TIME if end is None else end

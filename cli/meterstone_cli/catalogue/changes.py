"""What a catalogue would change in the one that is stored, and which of that cannot be.

Answers are made from counters, and a catalogue change does not recount. So whatever would change the
meaning of usage that was counted is refused; what only adds, renames, or takes effect from now on is taken.

What is taken may still begin in the past: a line item of a subscription of which nothing is counted. Its events
may have come already, and may count by another line item or subscription: which these are is told.

A new line item that begins in the past changes nothing that was counted, if its tallies are its own: until all is
counted again, answers lack some of its events, and are right in all else. So a recompute takes it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from copy import replace
from dataclasses import dataclass, field
from itertools import batched, chain
from typing import NamedTuple

import msgspec

from meterstone.catalogue.building import Plan
from meterstone.pricing.price import Price
from meterstone.usage.arrival import AHEAD
from meterstone.usage.instant import END_OF_TIME, MINUTE, ZERO_TIME
from meterstone.usage.meter import Meter
from meterstone.usage.subscription import Customer, Dated, LineItem, Subscription, in_force
from meterstone_cli.catalogue.catalogue import Catalogue
from meterstone_cli.catalogue.folder import Places
from meterstone_cli.problem import InputProblem

type Kept = Customer | Plan | Meter | Price | Subscription

_IMMUTABLE = "prices are immutable: end the line item and add one with a new price"
_COUNTED = "usage has been counted"
#: Of a meter's subscriptions, for how many it is asked at once whether usage was counted.
_ASKED_TOGETHER = 100
_CHAINED = "not even --recompute takes it, for another line item has the same recurring meter"


def _fields(record: type[msgspec.Struct], *, free: Iterable[str]) -> tuple[str, ...]:
    """List the fields of a record that may not change once they mean something, in their order.

    These are all but the free ones, so that a field which is added to a record cannot change until it is said to
    be free. A free field may change, or has a rule of its own below.
    """
    names = record.__struct_fields__
    if unknown := set(free).difference(names):
        raise TypeError(f"{record.__name__} has no field {', '.join(sorted(unknown))}")
    return tuple(name for name in names if name not in free)


_PRICE_FIELDS = _fields(Price, free=("id", "details"))
_METER_FIELDS = _fields(Meter, free=("id", "name", "deleted_at"))
#: Country and customer type are the customer's, and are compared there.
_SUBSCRIPTION_FIELDS = _fields(
    Subscription, free=("id", "end", "plan", "country", "customer_type", "line_items")
)


class Beginning(NamedTuple):
    """A line item by which events count now that did not before, since an instant of which some may have come."""

    subscription: Subscription
    line_item: LineItem
    since: int


@dataclass(frozen=True, slots=True)
class Changes:
    """The outcome of a comparison: how many records of each kind are new or changed, and what is refused.

    ``recomputable`` are those of the ``problems`` that are none if all is counted again. ``beginnings`` has what
    begins in the past, or so soon that events of then may have come.
    """

    added: Mapping[str, int] = field(default_factory=dict)
    changed: Mapping[str, int] = field(default_factory=dict)
    problems: Sequence[InputProblem] = ()
    recomputable: Sequence[InputProblem] = ()
    beginnings: Sequence[Beginning] = ()

    @property
    def nothing(self) -> bool:
        """Whether both are the same."""
        return not self.added and not self.changed and not self.problems


class _Finding(NamedTuple):
    kind: str
    key: str
    path: str
    reason: str
    recomputable: bool = False


def compare(
    old: Catalogue | None,
    new: Catalogue,
    *,
    now: int,
    with_usage: Callable[[AbstractSet[str]], AbstractSet[str]],
    places: Places | None = None,
) -> Changes:
    """Compare the stored catalogue with a new one.

    `with_usage` returns those of some subscriptions, by their ids, for which usage was counted. It is asked for
    many at once, and only where that matters: where nothing changes, it is not asked at all.
    `places` name the files of the new catalogue in the problems.
    """
    added: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    if old is None or old.organization != new.organization:
        (added if old is None else changed)["organization"] += 1
    before, after = _records(old), _records(new)
    for key, record in after.items():
        if key not in before:
            added[key[0]] += 1
        elif before[key] != record:
            changed[key[0]] += 1
    refused = () if old is None else _Comparison(old, new, now, with_usage).findings()
    findings = list(chain(_removed(before, after), refused))
    where = places or Places({})
    problems = [where.problem(each.kind, each.key, each.path, each.reason) for each in findings]
    recomputable = [problem for problem, of in zip(problems, findings, strict=True) if of.recomputable]
    beginnings = () if old is None else tuple(_beginnings(old, new, now))
    return Changes(added, changed, tuple(problems), tuple(recomputable), beginnings)


def _records(catalogue: Catalogue | None) -> dict[tuple[str, str], Kept]:
    if catalogue is None:
        return {}
    records: dict[tuple[str, str], Kept] = {("plans", plan.code): plan for plan in catalogue.plans}
    kinds: Mapping[str, Iterable[Customer | Meter | Price | Subscription]] = {
        "customers": catalogue.customers,
        "meters": catalogue.meters,
        "prices": catalogue.prices,
        "subscriptions": catalogue.subscriptions,
    }
    return records | {(kind, each.id): each for kind, all_ in kinds.items() for each in all_}


def _removed(before: Iterable[tuple[str, str]], after: Mapping[tuple[str, str], Kept]) -> Iterator[_Finding]:
    for kind, key in before:
        if (kind, key) not in after:
            yield _Finding(
                kind, key, "", "is stored and cannot be removed: history may need it; end it instead"
            )


def _beginnings(old: Catalogue, new: Catalogue, now: int) -> Iterator[Beginning]:
    known = {subscription.id: subscription for subscription in old.subscriptions}
    for subscription in new.subscriptions:
        was = known.get(subscription.id)
        if was == subscription:
            continue
        items = {} if was is None else {item.id: (was, item) for item in was.line_items}
        for item in subscription.line_items:
            since = _gained(items.get(item.id), subscription, item)
            # Events may lie ahead of the clock, too.
            if since is not None and since < now + AHEAD:
                yield Beginning(subscription, item, since)


def _gained(
    before: tuple[Subscription, LineItem] | None, subscription: Subscription, item: LineItem
) -> int | None:
    """Return the first instant of which a line item counts events that it did not count before."""
    span = subscription.counted(item)
    if item.meter is None or span.start == span.end:
        return None
    if before is None or _whose(*before) != _whose(subscription, item):
        return span.start
    was = before[0].counted(before[1])
    if span.start < was.start or was.start == was.end:
        return span.start
    if was.end is None or (span.end is not None and span.end <= was.end):
        return None
    return max(was.end, span.start)


def _whose(subscription: Subscription, item: LineItem) -> tuple[object, ...]:
    """Return what decides which events a line item counts, at any time."""
    counts = None if item.meter is None else [getattr(item.meter, name) for name in ("id", *_METER_FIELDS)]
    return subscription.external_id, subscription.customer_id, counts


class _Comparison:
    """A stored catalogue beside a new one: what differs is looked for first, then whose usage it would change."""

    def __init__(
        self,
        old: Catalogue,
        new: Catalogue,
        now: int,
        with_usage: Callable[[AbstractSet[str]], AbstractSet[str]],
    ) -> None:
        self._now = now
        self._with_usage = with_usage
        self._asked: set[str] = set()
        self._found: set[str] = set()
        self._prices = _both(old.prices, new.prices)
        self._meters = [
            (meter, other)
            for meter, other in _both(old.meters, new.meters)
            if replace(meter, name=other.name) != other
        ]
        self._customers = [
            (customer, names)
            for customer, other in _both(old.customers, new.customers)
            if (names := list(self._moved(customer, other)))
        ]
        self._subscriptions = [
            pair for pair in _both(old.subscriptions, new.subscriptions) if pair[0] != pair[1]
        ]
        self._of_meter: dict[str, set[str]] = {meter.id: set() for meter, _ in self._meters}
        self._of_customer: dict[str, set[str]] = {customer.id: set() for customer, _ in self._customers}
        if self._of_meter or self._of_customer:
            self._note_whose(old.subscriptions)
        concerned = {subscription.id for subscription, _ in self._subscriptions}
        self._ask(concerned.union(*self._of_customer.values()))

    def _ask(self, ids: AbstractSet[str]) -> None:
        if unknown := ids - self._asked:
            self._found |= self._with_usage(unknown)
            self._asked |= unknown

    def _counted(self, ids: AbstractSet[str]) -> bool:
        """Return whether usage was counted for one of some subscriptions: one that was found answers for all."""
        for some in batched(sorted(ids - self._asked), _ASKED_TOGETHER, strict=False):
            if not self._found.isdisjoint(ids):
                break
            self._ask(set(some))
        return not self._found.isdisjoint(ids)

    def _note_whose(self, subscriptions: Iterable[Subscription]) -> None:
        """Note the stored subscriptions of the meters, and of the customers, that would change."""
        for subscription in subscriptions:
            if subscription.customer_id in self._of_customer:
                self._of_customer[subscription.customer_id].add(subscription.id)
            for item in subscription.line_items:
                if item.meter is not None and item.meter.id in self._of_meter:
                    self._of_meter[item.meter.id].add(subscription.id)

    def findings(self) -> Iterator[_Finding]:
        """Return everything that is refused."""
        yield from self._refused_prices()
        yield from self._refused_meters()
        yield from self._refused_customers()
        yield from self._refused_subscriptions()

    def _refused_prices(self) -> Iterator[_Finding]:
        for price, other in self._prices:
            for name in _differing(_PRICE_FIELDS, price, other):
                yield _Finding("prices", price.id, name, _IMMUTABLE)

    def _refused_meters(self) -> Iterator[_Finding]:
        for meter, other in self._meters:
            if not self._counted(self._of_meter[meter.id]):
                continue
            for name in _differing(_METER_FIELDS, meter, other):
                yield _Finding("meters", meter.id, name, f"cannot change: {_COUNTED} by it; make a new meter")
            for reason in self._too_early("deletion", _earlier(meter.deleted_at, other.deleted_at)):
                yield _Finding("meters", meter.id, "deleted_at", reason)

    def _moved(self, customer: Customer, other: Customer) -> Iterator[str]:
        """Name the dated facts of a customer that would change before now."""
        for name, facts, others in (
            ("country", customer.country, other.country),
            ("customer_type", customer.customer_type, other.customer_type),
        ):
            if facts != others and self._effective(_first_difference(facts, others)):
                yield name

    def _refused_customers(self) -> Iterator[_Finding]:
        for customer, names in self._customers:
            if self._counted(self._of_customer[customer.id]):
                for name in names:
                    yield _Finding("customers", customer.id, name, _past("change"))

    def _refused_subscriptions(self) -> Iterator[_Finding]:
        for subscription, other in self._subscriptions:
            if subscription.id not in self._found:
                continue
            for path, reason in self._subscription(subscription, other):
                yield _Finding("subscriptions", subscription.id, path, reason)
            yield from self._new_line_items(subscription, other)
            kept = _ids(other)
            for item in subscription.line_items:
                if item.id not in kept:
                    reason = f"{item.id!r} cannot be removed: {_COUNTED}; give it an end"
                    yield _Finding("subscriptions", subscription.id, "line_items", reason)

    def _subscription(self, old: Subscription, new: Subscription) -> Iterator[tuple[str, str]]:
        for name in _differing(_SUBSCRIPTION_FIELDS, old, new):
            yield name, f"cannot change: {_COUNTED}; end the subscription and make a new one"
        for reason in self._too_early("change", _earlier(old.end, new.end)):
            yield "end", reason
        if self._effective(_first_difference(old.plan, new.plan)):
            yield "plan", _past("change")
        items = {item.id: item for item in old.line_items}
        for index, item in enumerate(new.line_items):
            for name, reason in self._line_item(items.get(item.id, item), item):
                yield f"line_items[{index}]{name}", reason

    def _new_line_items(self, old: Subscription, new: Subscription) -> Iterator[_Finding]:
        known = _ids(old)
        chained = {
            item.meter.id for item in old.line_items if item.meter is not None and item.meter.recurring
        }
        for index, item in enumerate(new.line_items):
            if item.id in known:
                continue
            # In a chain that was counted, those after it would be carried on from what it has not counted yet.
            joins = item.meter is not None and item.meter.id in chained
            for reason in self._too_early("new line item", item.start):
                yield _Finding(
                    "subscriptions",
                    old.id,
                    f"line_items[{index}].start",
                    f"{reason}; {_CHAINED}" if joins else reason,
                    recomputable=item.meter is not None and not joins,
                )

    def _line_item(self, old: LineItem, new: LineItem) -> Iterator[tuple[str, str]]:
        if old.price.id != new.price.id:
            yield ".price", "cannot change: end the line item and add one with the new price"
        for name, bounds in (("start", (old.start, new.start)), ("end", (old.end, new.end))):
            for reason in self._too_early("change", _earlier(*bounds)):
                yield f".{name}", reason

    def _effective(self, at: int | None) -> bool:
        """Return whether something that changes from an instant on would change the past."""
        return at is not None and at < self._now

    def _too_early(self, what: str, at: int | None) -> Iterator[str]:
        """Say why a span may not be changed from an instant on, if it may not.

        Events lie ahead of the clock, too: counted by what the catalogue was, they would be in the wrong span.
        """
        if at is not None and at < self._now:
            yield _past(what)
        elif at is not None and at < self._now + AHEAD:
            yield f"this {what} would take effect within {AHEAD // MINUTE} minutes, and {_COUNTED} so far ahead"


def _both[T: (Customer, Meter, Price, Subscription)](old: Iterable[T], new: Iterable[T]) -> list[tuple[T, T]]:
    """Return the records that are in both catalogues, as before and after."""
    after = {each.id: each for each in new}
    return [(each, after[each.id]) for each in old if each.id in after]


def _ids(subscription: Subscription) -> set[str]:
    return {item.id for item in subscription.line_items}


def _past(what: str) -> str:
    return f"this {what} would take effect before now, and {_COUNTED}"


def _differing(names: Iterable[str], old: object, new: object) -> Iterator[str]:
    return (name for name in names if getattr(old, name) != getattr(new, name))


def _earlier(old: int | None, new: int | None) -> int | None:
    """Return the instant from which two bounds differ, None if they do not; as a bound, None is never."""
    if old == new:
        return None
    return min(END_OF_TIME if old is None else old, END_OF_TIME if new is None else new)


def _first_difference(old: Sequence[Dated], new: Sequence[Dated]) -> int | None:
    """Return the first instant at which two dated facts differ, None if they never do."""
    turns = sorted({ZERO_TIME if fact.since is None else fact.since for fact in (*old, *new)})
    return next((at for at in turns if in_force(old, at) != in_force(new, at)), None)

"""What a folder's catalogue would change in the stored one: which records are new, and which differ.

Whether a change can be made is a rule of `meterstone.catalogue`, which is asked record by record as they are put.
What can never be made is found before anything is put: a price that would cost otherwise, a meter that would
count otherwise. Records that are stored and not in the folder stay as they are.

What is put may begin in the past: a line item of a subscription of which nothing is counted. Its events may have
come already, and may count by another line item or subscription: which these are is told.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import replace
from dataclasses import dataclass, field
from typing import Final, NamedTuple, assert_never

from meterstone.catalogue import rules
from meterstone.catalogue.building import (
    checked_price,
    customer_of,
    meter_of,
    offer_of,
    planned_commitment,
    terms_of,
)
from meterstone.catalogue.management import KindOfRecord
from meterstone.catalogue.models import (
    CustomerRecord,
    MeterRecord,
    OrganizationRecord,
    PlanRecord,
    SubscriptionRecord,
)
from meterstone.catalogue.prices import PriceRecord
from meterstone.catalogue.record import Record
from meterstone.pricing.price import Price
from meterstone.store.catalogue.recounts import Recount
from meterstone.store.operations.load import StoredCatalogue
from meterstone.usage.arrival import AHEAD
from meterstone.usage.meter import Meter
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Customer, LineItem, Subscription
from meterstone.usage.terms import Terms
from meterstone_cli.catalogue.catalogue import Catalogue
from meterstone_cli.catalogue.folder import Places
from meterstone_cli.problem import InputProblem

type Value = Customer | Plan | Meter | Price | Terms

FOLDERS: Final[Mapping[KindOfRecord, str]] = {
    "meter": "meters",
    "price": "prices",
    "plan": "plans",
    "customer": "customers",
    "subscription": "subscriptions",
}
"""How the files of each kind of records are called, in the order in which records refer to each other."""

#: What decides which events a meter counts.
_COUNTS: Final = tuple(name for name in Meter.__struct_fields__ if name not in ("name", "deleted_at"))


class Beginning(NamedTuple):
    """A line item by which events count now that did not before, since an instant of which some may have come."""

    subscription: Subscription
    line_item: LineItem
    since: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What a load has changed: how many records of each kind are new or differ, and what was refused.

    ``recounts`` are what these changes have begun to count anew. ``beginnings`` has what else begins in the past,
    or so soon that events of then may have come.
    """

    added: Mapping[str, int] = field(default_factory=dict)
    changed: Mapping[str, int] = field(default_factory=dict)
    problems: Sequence[InputProblem] = ()
    beginnings: Sequence[Beginning] = ()
    recounts: Sequence[Recount] = ()

    @property
    def nothing(self) -> bool:
        """Whether there was nothing to change."""
        return not self.added and not self.changed and not self.problems


class Differing(NamedTuple):
    """A record that is new, or that differs from the stored one."""

    kind: KindOfRecord
    name: str
    raw: Mapping[str, object]
    new: bool


def differing(stored: StoredCatalogue | None, catalogue: Catalogue, now: int) -> list[Differing]:
    """List the records that are to be put, in the order in which they refer to each other."""
    records = catalogue.records()
    kinds = {folder: kind for kind, folder in FOLDERS.items()}
    found = []
    for folder, kind in ((folder, kinds[folder]) for folder in FOLDERS.values()):
        for (of, name), (raw, record) in records.items():
            if of != folder:
                continue
            before = None if stored is None else _stored(stored, kind, name)
            unwoken = stored is not None and kind == "subscription" and name in stored.unwoken
            if before is None or stored is None or unwoken or _value(stored, record, before, now) != before:
                found.append(Differing(kind, name, raw, before is None))
    return found


def never(stored: StoredCatalogue, catalogue: Catalogue, places: Places) -> Iterator[InputProblem]:
    """Yield what can never be changed, and would be."""
    for price in catalogue.prices:
        before = stored.prices.get(price.id)
        for path, reason in () if before is None else rules.changed_price(before, price):
            yield places.problem("prices", price.id, path, reason)
    meters = {meter.id: meter for meter in stored.account.meters}
    for meter in catalogue.meters:
        known = meters.get(meter.id)
        for path, reason in () if known is None else rules.changed_meter(known, meter):
            yield places.problem("meters", meter.id, path, reason)


def counted(differing: Iterable[Differing]) -> tuple[Counter[str], Counter[str]]:
    """Count new and changed records, by the kind as their files are called."""
    added: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    for each in differing:
        (added if each.new else changed)[FOLDERS[each.kind]] += 1
    return added, changed


def beginnings(pairs: Iterable[tuple[Subscription | None, Subscription]], now: int) -> Iterator[Beginning]:
    """Yield what begins in the past, or soon, of subscriptions as they were and as they are."""
    for was, subscription in pairs:
        items = {} if was is None else {item.id: (was, item) for item in was.line_items}
        for item in subscription.line_items:
            since = _gained(items.get(item.id), subscription, item)
            # Events may lie ahead of the clock, too.
            if since is not None and since < now + AHEAD:
                yield Beginning(subscription, item, since)


def _stored(stored: StoredCatalogue, kind: KindOfRecord, name: str) -> Value | None:
    match kind:
        case "meter":
            return next((meter for meter in stored.account.meters if meter.id == name), None)
        case "price":
            return stored.prices.get(name)
        case "plan":
            return stored.plans.get(name)
        case "customer":
            return stored.customers.get(name)
        case "subscription":
            return stored.terms.get(name)
        case _:
            assert_never(kind)


def _value(stored: StoredCatalogue, record: Record, before: Value, now: int) -> Value:
    """Return the value that would be stored if a record were put."""
    match record, before:
        case MeterRecord(), _:
            return meter_of(record)
        case PriceRecord(), _:
            return checked_price(record, frozenset())[0]
        case PlanRecord(), Plan():
            plan = offer_of(record)
            # In the first stored format a plan is but a name, and has no version.
            return replace(plan, version=before.version) if plan.offers_the_same(before) else plan
        case CustomerRecord(), Customer():
            customer = customer_of(record)
            return replace(
                customer,
                country=rules.facts_from_now(before.country, customer.country, now),
                customer_type=rules.facts_from_now(before.customer_type, customer.customer_type, now),
            )
        case SubscriptionRecord(), Terms():
            present = {code: plan.version for code, plan in stored.plans.items()}
            terms = terms_of(record, "", present, before)
            first, version = terms.plan[0].value, terms.plan[0].version
            if "commitment" not in record.model_fields_set and version is not None:
                followed = stored.versions.get((first, version))
                terms = replace(terms, commitment=planned_commitment(terms, followed))
            return terms
        case OrganizationRecord(), _:
            raise TypeError("an organization is no record of a kind")
        case _:
            raise TypeError(f"no such record: {type(record).__name__}")


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
    counts = None if item.meter is None else [getattr(item.meter, name) for name in _COUNTS]
    return subscription.external_id, subscription.customer_id, counts

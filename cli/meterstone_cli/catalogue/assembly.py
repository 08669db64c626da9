"""From records to a catalogue: everything that a record alone cannot tell.

References, ids that stand twice, spans that overlap, prices that do not fit their subscription: all of it is
reported, of a record that is broken by itself as far as its other fields tell. What follows from another problem
is not reported: a broken record is there for those that refer to it, and where a file's ids could not all be read,
that is said once for all references that lead nowhere.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import replace
from dataclasses import dataclass, field
from typing import NamedTuple

from meterstone.catalogue import rules
from meterstone.catalogue.building import (
    checked_price,
    customer_of,
    meter_of,
    offer_of,
    organization_of,
    planned_commitment,
    terms_of,
)
from meterstone.catalogue.models import (
    CustomerRecord,
    LineItemRecord,
    MeterRecord,
    OrganizationRecord,
    PlanRecord,
    SubscriptionRecord,
)
from meterstone.catalogue.prices import PriceRecord
from meterstone.catalogue.record import Record
from meterstone.pricing.price import Price
from meterstone.usage.identifier import LONGEST_ID
from meterstone.usage.instant import END_OF_TIME, ZERO_TIME
from meterstone.usage.meter import Meter
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Customer, LineItem, Organization, Subscription
from meterstone.usage.terms import Terms, resolve
from meterstone_cli.catalogue.catalogue import Catalogue, Written
from meterstone_cli.catalogue.document import Value
from meterstone_cli.problem import InputProblem


class CatalogueEntry(NamedTuple):
    """One record of a file; `record` is None if it is no mapping, and has no value of its ``broken`` fields."""

    kind: str
    file: str
    path: str
    raw: Value
    record: Record | None
    broken: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """The id (of a plan, the code) as it is written, empty if there is none."""
        if not isinstance(self.raw, dict):
            return ""
        written = self.raw.get("code" if self.kind == "plans" else "id")
        return written if isinstance(written, str) else ""

    def problem(self, path: str, reason: str) -> InputProblem:
        """Make a problem of this record."""
        return InputProblem(self.file, f"{self.path}.{path}" if path else self.path, reason, id=self.key)


def assemble(
    entries: Sequence[CatalogueEntry], unread: Mapping[str, str], problems: list[InputProblem]
) -> Catalogue | None:
    """Make the catalogue, adding all that is wrong to `problems`; None if there is no organization.

    ``unread`` names the kinds of which not all records could be read, each with the file that has them.
    """
    assembly = _Assembly(problems, dict(unread))
    for entry in entries:
        assembly.register(entry)
    # In the order of what refers to what.
    for kind in ("organization", "customers", "meters", "prices", "plans", "subscriptions"):
        for entry in entries:
            if entry.kind == kind and entry.record is not None:
                assembly.add(entry)
    assembly.check_codes()
    assembly.check_external_ids()
    assembly.tell_unchecked()
    return assembly.catalogue()


@dataclass(slots=True)
class _Assembly:
    problems: list[InputProblem]
    unread: dict[str, str]
    #: How many references lead to no record that could be read, by the kind that they lead to.
    unchecked: Counter[str] = field(default_factory=Counter)
    written: dict[tuple[str, str], CatalogueEntry] = field(default_factory=dict)
    line_items: dict[str, tuple[CatalogueEntry, str]] = field(default_factory=dict)
    organization: Organization | None = None
    customers: dict[str, Customer] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    meters: dict[str, Meter] = field(default_factory=dict)
    prices: dict[str, Price] = field(default_factory=dict)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    sound: dict[tuple[str, str], Written] = field(default_factory=dict)
    #: What is wrong with line items that subscriptions have of their plans, as these are in the folder.
    of_plans: list[InputProblem] = field(default_factory=list)
    #: Meters with their codes and event names.
    counting: list[tuple[CatalogueEntry, str, str]] = field(default_factory=list)
    spans: list[tuple[str, int, int, CatalogueEntry]] = field(default_factory=list)

    def register(self, entry: CatalogueEntry) -> None:
        """Note the id, also of a record that cannot be read: others may refer to it."""
        if entry.kind == "organization":
            return
        if not entry.key:
            self.unread.setdefault(entry.kind, entry.file)
            return
        first = self.written.setdefault((entry.kind, entry.key), entry)
        if first is not entry:
            name = "code" if entry.kind == "plans" else "id"
            where = first.path if first.file == entry.file else f"{first.path} of {first.file}"
            self.problems.append(entry.problem(name, f"{entry.key!r} is the {name} of {where} already"))

    def add(self, entry: CatalogueEntry) -> None:
        """Make the value of a record; of one that is broken, check what its other fields say."""
        if entry.kind != "organization" and not entry.broken and isinstance(entry.raw, dict) and entry.record:
            self.sound[entry.kind, entry.key] = Written(entry.raw, entry.record)
        match entry.record:
            case PriceRecord() as record:
                self._add_price(entry, record)
            case SubscriptionRecord() as record:
                self._add_subscription(entry, record)
            case MeterRecord() as record:
                self._add_meter(entry, record)
            case PlanRecord() as record:
                self._add_plan(entry, record)
            case _ if entry.broken:
                pass
            case OrganizationRecord() as record:
                self.organization = organization_of(record)
            case CustomerRecord() as record:
                self.customers[record.id] = customer_of(record)
            case _:
                raise TypeError(f"no such record: {type(entry.record).__name__}")

    def catalogue(self) -> Catalogue | None:
        """Return what was made, each kind ordered by id."""
        if self.organization is None:
            return None
        return Catalogue(
            self.organization,
            tuple(self.customers[key] for key in sorted(self.customers)),
            tuple(self.plans[key] for key in sorted(self.plans)),
            tuple(self.meters[key] for key in sorted(self.meters)),
            tuple(self.prices[key] for key in sorted(self.prices)),
            tuple(self.subscriptions[key] for key in sorted(self.subscriptions)),
            self.sound,
            tuple(self.of_plans),
        )

    def check_codes(self) -> None:
        """Refuse a code that is another meter's event name, unless it is the meter's own, too.

        A meter counts events of its code beside those of its event name: the other one's would be for both.
        """
        others = {event_name: entry.key for entry, _, event_name in reversed(self.counting)}
        for entry, code, event_name in self.counting:
            if code != event_name and code in others:
                reason = f"{code!r} is the event_name of meter {others[code]!r}, but not of this one"
                self.problems.append(entry.problem("code", reason))

    def check_external_ids(self) -> None:
        """Refuse one external id at the same time for two subscriptions: events could not be told apart."""
        last: dict[str, tuple[int, CatalogueEntry]] = {}
        for external_id, start, end, entry in sorted(self.spans, key=lambda each: each[:2]):
            before = last.get(external_id)
            if before is not None and start < before[0]:
                other = before[1]
                self.problems.append(
                    entry.problem(
                        "external_id",
                        f"{external_id!r} is that of {other.path} ({other.key!r}) at the same time",
                    )
                )
            if before is None or end > before[0]:
                last[external_id] = end, entry

    def tell_unchecked(self) -> None:
        """Say once for each kind that there are references which could not be checked."""
        for kind, count in self.unchecked.items():
            references = f"{count} references to {kind} were" if count > 1 else f"1 reference to {kind} was"
            reason = f"{references} not checked: not all ids in this file could be read"
            self.problems.append(InputProblem(self.unread[kind], "", reason))

    def _known(self, entry: CatalogueEntry, path: str, kind: str, key: str) -> bool:
        if (kind, key) in self.written:
            return True
        if kind in self.unread:
            self.unchecked[kind] += 1
            return False
        self.problems.append(entry.problem(path, f"there is no {kind.removesuffix('s')} {key!r}"))
        return False

    def _add_meter(self, entry: CatalogueEntry, record: MeterRecord) -> None:
        if not entry.broken & {"code", "event_name"}:
            self.counting.append((entry, record.code, record.event_name or record.code))
        if not entry.broken:
            self.meters[record.id] = meter_of(record)

    def _add_price(self, entry: CatalogueEntry, record: PriceRecord) -> None:
        if record.meter_id is not None:
            self._known(entry, "meter_id", "meters", record.meter_id)
        price, problems = checked_price(record, entry.broken)
        self.problems += [entry.problem(each.path, each.message) for each in problems]
        if not entry.broken:
            self.prices[record.id] = price

    def _add_plan(self, entry: CatalogueEntry, record: PlanRecord) -> None:
        if "prices" not in entry.broken:
            for index, price in enumerate(record.prices):
                self._known(entry, f"prices[{index}]", "prices", price)
        if not entry.broken:
            self.plans[record.code] = offer_of(record)

    def _add_subscription(self, entry: CatalogueEntry, record: SubscriptionRecord) -> None:
        self._check_references(entry, record)
        items = self._line_items(entry, record)
        # One that was called off has no time at all.
        if not entry.broken & {"start", "end", "external_id", "canceled_at"} and record.canceled_at is None:
            self._add_span(entry, record)
        if entry.broken:
            return
        customer = self.customers.get(record.customer) or Customer(record.customer)
        timezone = customer.timezone or (self.organization.timezone if self.organization else "UTC")
        # A plan of a folder has no version yet: 0 stands for the one that it will have.
        terms = terms_of(record, timezone, {})
        versions = {(code, 0): plan for code, plan in self.plans.items()}
        if "commitment" not in record.model_fields_set and record.follows_plan:
            terms = replace(terms, commitment=planned_commitment(terms, self.plans.get(terms.plan[0].value)))
        if record.follows_plan and not self._followed(entry, terms, versions):
            return
        whole = terms if record.follows_plan else replace(terms, line_items=())
        resolved = resolve(whole, versions, self.prices, self.meters, customer.facts)
        if not record.follows_plan:
            resolved = replace(resolved, line_items=items)
        self.subscriptions[record.id] = resolved

    def _followed(self, entry: CatalogueEntry, terms: Terms, versions: rules.Versions) -> bool:
        """Check the line items that a subscription has of its plans. Return whether they can be made."""
        if any(
            each not in versions or not self.prices.keys() >= set(versions[each].prices)
            for each in terms.versions()
        ):
            return False  # that is a problem of its own
        told = {each.path for each in self.problems if each.file == entry.file}
        self.of_plans += [
            problem
            for path, reason in rules.line_items(terms, versions, self.prices, self.meters)
            if (problem := entry.problem(path, reason)).path not in told
        ]
        return all(item.price in self.prices for item in terms.line_items)

    def _check_references(self, entry: CatalogueEntry, record: SubscriptionRecord) -> None:
        if "customer" not in entry.broken:
            self._known(entry, "customer", "customers", record.customer)
        if "plan" in entry.broken:
            return
        for index, fact in enumerate(record.plan):
            written = isinstance(entry.raw, dict) and isinstance(entry.raw["plan"], list)
            self._known(entry, f"plan[{index}].value" if written else "plan", "plans", fact.value)

    def _add_span(self, entry: CatalogueEntry, record: SubscriptionRecord) -> None:
        # Without an external id the id is it. One that stands twice, or cannot be read, is a problem already.
        own = "id" not in entry.broken and self._first(entry)
        external_id = record.external_id or (record.id if own else None)
        if external_id is not None:
            self.spans.append((external_id, record.start, _end(record.end), entry))

    def _first(self, entry: CatalogueEntry) -> bool:
        """Return whether a record is the first that has its id."""
        return self.written.get((entry.kind, entry.key)) is entry

    def _line_items(self, entry: CatalogueEntry, subscription: SubscriptionRecord) -> tuple[LineItem, ...]:
        """Make the line items that can be made, and check the others as far as they can be read."""
        # A broken record has None in the place of a line item that cannot be read.
        records: Sequence[LineItemRecord | None] = subscription.line_items
        items = []
        for index, record in enumerate(records):
            if record is None:
                continue
            item = self._line_item(entry, f"line_items[{index}]", subscription, record)
            if item is not None:
                items.append((index, item))
        self._check_overlaps(entry, items)
        return tuple(item for _, item in items)

    def _check_overlaps(self, entry: CatalogueEntry, items: Sequence[tuple[int, LineItem]]) -> None:
        last: dict[str, tuple[int, int]] = {}
        for index, item in sorted(items, key=lambda each: (each[1].start, each[0])):
            if item.meter is None:
                continue
            before = last.get(item.meter.id)
            if before is not None and item.start < before[1]:
                path, reason = f"line_items[{index}]", f"overlaps line_items[{before[0]}] on the meter"
                self.problems.append(entry.problem(path, f"{reason} {item.meter.id!r}"))
            if before is None or _end(item.end) > before[1]:
                last[item.meter.id] = index, _end(item.end)

    def _line_item(
        self, entry: CatalogueEntry, path: str, subscription: SubscriptionRecord, record: LineItemRecord
    ) -> LineItem | None:
        identity = record.id
        if identity is None and self._first(entry) and "id" not in entry.broken:
            identity = f"{subscription.id}.{record.price}"
        if identity is not None:
            self._claim_line_item(entry, path, identity)
        first = ZERO_TIME if "start" in entry.broken else subscription.start
        start = first if record.start is None else record.start
        last = None if "end" in entry.broken else subscription.end
        end = last if record.end is None else record.end
        if end is not None and end <= start:
            self.problems.append(entry.problem(path, "must end after it starts"))
        if not self._known(entry, f"{path}.price", "prices", record.price):
            return None
        price = self.prices.get(record.price)
        if price is None:
            return None
        meter = self.meters.get(price.meter_id)
        if "currency" not in entry.broken and price.currency != subscription.currency:
            currencies = price.currency.upper(), subscription.currency.upper()
            reason = f"{price.id!r} is in {currencies[0]}, the subscription in {currencies[1]}"
            self.problems.append(entry.problem(f"{path}.price", reason))
        return LineItem(identity or "", price, start, record.end, meter)

    def _claim_line_item(self, entry: CatalogueEntry, path: str, identity: str) -> None:
        if len(identity) > LONGEST_ID:
            reason = f"would have {len(identity)} characters: give it an id"
            self.problems.append(entry.problem(f"{path}.id", reason))
        other, where = self.line_items.setdefault(identity, (entry, path))
        if (other, where) != (entry, path):
            self.problems.append(
                entry.problem(f"{path}.id", f"{identity!r} is the id of {other.path}.{where} already")
            )


def _end(end: int | None) -> int:
    return END_OF_TIME if end is None else end

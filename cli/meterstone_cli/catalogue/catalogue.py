"""The catalogue as one value: whose usage, who pays, for what, at which prices."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from meterstone.catalogue.reading import read_record
from meterstone.catalogue.record import Record
from meterstone.contracts.catalogue_records import record_of
from meterstone.pricing.price import Price
from meterstone.usage.meter import Meter
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Customer, Organization, Subscription
from meterstone.usage.terms import terms_of
from meterstone_cli.problem import InputProblem


class Written(NamedTuple):
    """A record as it is written, in plain values, and as it was read."""

    raw: Mapping[str, object]
    record: Record


@dataclass(frozen=True, slots=True)
class Catalogue:
    """An organization's whole catalogue, each kind ordered by id.

    Subscriptions are as new ones would be: they carry what they refer to, their customer's dated facts, the prices
    and meters of their line items and of their plan. ``written`` has the records by kind and id; without them,
    records are made of the values.

    ``of_plans`` has what is wrong with line items that subscriptions would have of their plans as these are here.
    It is wrong for new subscriptions alone: others follow a version of before.
    """

    organization: Organization
    customers: tuple[Customer, ...] = ()
    plans: tuple[Plan, ...] = ()
    meters: tuple[Meter, ...] = ()
    prices: tuple[Price, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
    written: Mapping[tuple[str, str], Written] = field(default_factory=dict, compare=False, repr=False)
    of_plans: tuple[InputProblem, ...] = ()

    def records(self) -> dict[tuple[str, str], Written]:
        """Return all records but the organization's, by kind and id."""
        if self.written:
            return dict(self.written)
        values: dict[str, Mapping[str, Customer | Plan | Meter | Price | Subscription]] = {
            "meters": {each.id: each for each in self.meters},
            "prices": {each.id: each for each in self.prices},
            "plans": {each.code: each for each in self.plans},
            "customers": {each.id: each for each in self.customers},
            "subscriptions": {each.id: each for each in self.subscriptions},
        }
        return {
            (kind, name): _made(kind, value)
            for kind, found in values.items()
            for name, value in found.items()
        }


def _made(kind: str, value: Customer | Plan | Meter | Price | Subscription) -> Written:
    raw = record_of(terms_of(value) if isinstance(value, Subscription) else value)
    read = read_record(kind, raw)
    if read.record is None or read.problems:
        raise ValueError(f"{kind}: {read.problems}")
    return Written(raw, read.record)

"""The catalogue as one value: whose usage, who pays, for what, at which prices."""

from dataclasses import dataclass

from meterstone.catalogue.building import Plan
from meterstone.pricing.price import Price
from meterstone.usage.meter import Meter
from meterstone.usage.subscription import Customer, Organization, Subscription


@dataclass(frozen=True, slots=True)
class Catalogue:
    """An organization's whole catalogue, each kind ordered by id.

    Subscriptions carry what they refer to: their customer's dated facts and zone, and the prices and
    meters of their line items.
    """

    organization: Organization
    customers: tuple[Customer, ...] = ()
    plans: tuple[Plan, ...] = ()
    meters: tuple[Meter, ...] = ()
    prices: tuple[Price, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()

"""The catalogue as one value: whose usage, who pays, for what, at which prices."""

from dataclasses import dataclass

import msgspec

from meterstone.pricing.price import Price
from meterstone.usage.meter import Meter
from meterstone.usage.subscription import Customer, Organization, Subscription


class Plan(msgspec.Struct, frozen=True):
    """A named offer. What a subscription pays stands in its own line items."""

    code: str
    name: str = ""
    description: str = ""


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

"""Plans: what a subscription that lists no line items of its own pays, and the versions that a plan has had."""

from collections.abc import Iterable, Mapping

import msgspec

from meterstone.pricing.commitment import Commitment
from meterstone.pricing.price import Price, PriceType
from meterstone.usage.instant import parse_instant
from meterstone.usage.period import BillingPeriod

_PUBLISHED = "published"

type Prices = Mapping[str, Price]
"""Prices by their ids."""


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """A named offer: its prices, by id, in every currency in which it is sold.

    ``version`` goes up whenever its offer changes, which is all but its name, description and details. A version
    is kept for ever, as it was: subscriptions name the one that they follow. Version 0 has never been stored.
    ``billing_period`` is that of its prices that have none of their own; None: the subscription's.
    """

    code: str
    name: str = ""
    description: str = ""
    currency: str | None = None
    billing_period: BillingPeriod | None = None
    billing_period_count: int = 1
    commitment: Commitment | None = None
    prices: tuple[str, ...] = ()
    version: int = 0
    #: What the record carries beside, and nothing computes with.
    details: Mapping[str, str] = msgspec.field(default_factory=dict)

    def offers_the_same(self, other: "Plan") -> bool:
        """Return whether another version of the plan would be the same offer."""
        return _offer(self) == _offer(other)


def _offer(plan: Plan) -> tuple[object, ...]:
    return (
        plan.currency,
        plan.billing_period,
        plan.billing_period_count,
        plan.commitment,
        plan.prices,
    )


def decode_plan(document: str) -> Plan:
    """Read a plan, or a version of one, from its stored JSON text."""
    return _PLAN.decode(document)


def decode_price(document: str) -> Price:
    """Read a price from its stored JSON text."""
    return _PRICE.decode(document)


_PLAN = msgspec.json.Decoder(Plan)
_PRICE = msgspec.json.Decoder(Price)


class PlanPrices(msgspec.Struct, frozen=True):
    """A plan and its prices for usage, in every currency in which it is offered, in the order of their ids."""

    code: str
    prices: tuple[Price, ...]

    def in_force(self, currency: str, at: int) -> Mapping[str, tuple[Price, ...]]:
        """Return the prices in a currency that are offered at an instant, by meter id.

        A price says by its ``start_date``, ``end_date`` and ``status`` whether it is. If more than one is offered
        for a meter, nothing tells which one the plan means.
        """
        found: dict[str, tuple[Price, ...]] = {}
        for price in self.prices:
            if price.currency == currency and _offered(price, at):
                found[price.meter_id] = (*found.get(price.meter_id, ()), price)
        return found


def price_list(code: str, prices: Iterable[Price]) -> PlanPrices:
    """Make the list of a plan's prices for usage."""
    usage = (each for each in prices if each.type is PriceType.USAGE)
    return PlanPrices(code, tuple(sorted(usage, key=lambda each: each.id)))


def _offered(price: Price, at: int) -> bool:
    start, end = price.details.get("start_date"), price.details.get("end_date")
    begun = not isinstance(start, str) or parse_instant(start) <= at
    ended = isinstance(end, str) and parse_instant(end) <= at
    return begun and not ended and price.details.get("status", _PUBLISHED) == _PUBLISHED

"""A plan's price list: the prices of the catalogue that say they belong to the plan."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from meterstone.pricing.price import Price, PriceType

_PLAN = "PLAN"


@dataclass(frozen=True, slots=True)
class PlanPrices:
    """A plan and its prices for usage, in every currency in which it is offered, in the order of their ids."""

    code: str
    prices: tuple[Price, ...]

    def in_currency(self, currency: str) -> Mapping[str, Price]:
        """Return the prices in a currency by meter id. Of several prices for one meter, the first id is taken."""
        found: dict[str, Price] = {}
        for price in self.prices:
            if price.currency == currency:
                found.setdefault(price.meter_id, price)
        return found


_PRICE = msgspec.json.Decoder(Price)


def plan_prices(code: str, documents: Iterable[str]) -> PlanPrices:
    """Read the price list of a plan from the stored documents of all prices of a catalogue.

    A price belongs to the plan that it names: its ``entity_type`` is ``PLAN`` and its ``entity_id`` the plan's
    code. These are the fields by which Flexprice's price object says so.
    """
    prices = [_PRICE.decode(each) for each in documents if _PLAN in each]
    own = [each for each in prices if each.type is PriceType.USAGE and _belongs(each, code)]
    return PlanPrices(code, tuple(sorted(own, key=lambda each: each.id)))


def _belongs(price: Price, code: str) -> bool:
    return price.details.get("entity_type") == _PLAN and price.details.get("entity_id") == code

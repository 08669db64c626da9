"""A plan's price list: the prices of the catalogue that say they belong to the plan."""

from collections.abc import Iterable, Mapping

import msgspec

from meterstone.pricing.price import Price, PriceType
from meterstone.usage.instant import parse_instant

_PLAN = "PLAN"
_PUBLISHED = "published"


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


def _offered(price: Price, at: int) -> bool:
    start, end = price.details.get("start_date"), price.details.get("end_date")
    begun = not isinstance(start, str) or parse_instant(start) <= at
    ended = isinstance(end, str) and parse_instant(end) <= at
    return begun and not ended and price.details.get("status", _PUBLISHED) == _PUBLISHED

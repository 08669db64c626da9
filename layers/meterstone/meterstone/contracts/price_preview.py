"""`POST /v1/prices/preview` on the wire: what quantities cost under a price, with no subscription.

The body is `{"price", "quantities"}`: a price object by the rules of the catalogue, whose id and meter may be
absent, and at most 100 quantities. Each is priced by itself.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from meterstone.contracts import explain, flexprice
from meterstone.contracts.explain import LineObject, PackagesObject
from meterstone.contracts.fields import Fields
from meterstone.contracts.message import Reply, Request, number
from meterstone.contracts.preview import read_number, read_quantity, refuse_faults
from meterstone.contracts.price_object import read_price
from meterstone.contracts.sentence import sentence
from meterstone.pricing.currency import precision
from meterstone.pricing.lines import Cost
from meterstone.pricing.money import display_amount, round_money
from meterstone.pricing.price import BillingModel, Price

MOST_QUANTITIES: Final = 100
"""Quantities of a request. A price has up to 50 tiers, and each quantity has a line for every tier it reaches."""


class PriceRequest(msgspec.Struct, frozen=True):
    """A request: a price, and the quantities to price."""

    price: Price
    quantities: tuple[Decimal, ...]


class PricedObject(msgspec.Struct, frozen=True, kw_only=True):
    """What a quantity costs."""

    quantity: Raw
    amount: Raw
    display_amount: str
    lines: list[LineObject]
    packages: PackagesObject | UnsetType = UNSET
    unrounded: Raw
    rounded_to: int
    sentence: str


class PricesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: the quantities in the order of the request."""

    currency: str
    prices: list[PricedObject]


def parse(request: Request) -> PriceRequest:
    """Read the body. Raises `RequestRefusedError` with all bad fields at once."""
    return read(flexprice.read_object(request, read_number))


def read(body: Mapping[str, Any]) -> PriceRequest:
    """Read a body that is decoded. Raises `RequestRefusedError` with all bad fields at once."""
    faults: dict[str, str] = {}
    fields = Fields(body, "", faults)
    faults |= {name: "is required" for name in ("price", "quantities") if name not in body}
    inner = fields.inner("price")
    price = Price("", "", BillingModel.FLAT_FEE) if inner is None else read_price(inner, with_currency=True)
    listed = fields.each("quantities")
    if len(listed) > MOST_QUANTITIES:
        faults["quantities"] = f"has {len(listed)} quantities, {MOST_QUANTITIES} are allowed"
        listed = []
    quantities = []
    for path, raw in listed:
        try:
            quantities.append(read_quantity(raw))
        except ValueError as error:
            faults[path] = str(error)
    if faults:
        refuse_faults(faults)
    return PriceRequest(price, tuple(quantities))


def answer(price: Price, costs: Sequence[Cost]) -> Reply:
    """Write what each quantity costs, as the reply."""
    return Reply.of(200, priced(price, costs))


def priced(price: Price, costs: Sequence[Cost]) -> PricesAnswer:
    """Write what each quantity costs, as the body."""
    return PricesAnswer(currency=price.currency, prices=[_priced(price, cost) for cost in costs])


def _priced(price: Price, cost: Cost) -> PricedObject:
    currency, rounded = price.currency, round_money(cost.amount, price.currency)
    return PricedObject(
        quantity=number(cost.quantity),
        amount=number(rounded),
        display_amount=display_amount(rounded, currency),
        lines=explain.lines(cost),
        packages=explain.packages(price, cost),
        unrounded=number(cost.amount),
        rounded_to=precision(currency),
        sentence=sentence(price, None, cost, currency),
    )

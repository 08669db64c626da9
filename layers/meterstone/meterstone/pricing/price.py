"""A price as the catalogue has it, and the reasons for a catalogue to refuse it.

The fields have the names of Flexprice's price object, so that a price can be sent without translation.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

import msgspec

from meterstone.pricing.currency import is_currency
from meterstone.pricing.errors import NumberError
from meterstone.pricing.money import PRICE_DIGITS, QUANTITY_DIGITS, ZERO, number

type Scalar = str | int | bool | None
type Detail = Scalar | dict[str, Scalar] | list[dict[str, Scalar]]


class BillingModel(StrEnum):
    """How a quantity becomes an amount."""

    FLAT_FEE = "FLAT_FEE"
    PACKAGE = "PACKAGE"
    TIERED = "TIERED"


class TierMode(StrEnum):
    """Whether one tier prices the whole quantity (VOLUME), or each tier the part within its bounds (SLAB)."""

    VOLUME = "VOLUME"
    SLAB = "SLAB"


class RoundType(StrEnum):
    """Whether a package that is only partly used counts as a package."""

    UP = "up"
    DOWN = "down"


class PriceType(StrEnum):
    """Whether a price is for metered usage or is a fixed charge. No answer about usage shows a fixed charge."""

    USAGE = "USAGE"
    FIXED = "FIXED"


class Tier(msgspec.Struct, frozen=True):
    """One tier of a TIERED price."""

    #: The last quantity that belongs to this tier; None on the last tier.
    up_to: int | None
    unit_amount: Decimal
    #: Due once when the tier is entered.
    flat_amount: Decimal = ZERO


class TransformQuantity(msgspec.Struct, frozen=True):
    """How a PACKAGE price turns units into packages."""

    #: Units in a package.
    divide_by: int
    round: RoundType = RoundType.UP


class Price(msgspec.Struct, frozen=True):
    """The price of a meter's usage. Amounts are in the currency's main unit: 12.5 dollars, not cents."""

    id: str
    #: ISO 4217, lower case.
    currency: str
    billing_model: BillingModel
    #: For each unit under FLAT_FEE, for each package under PACKAGE. TIERED does not use it.
    amount: Decimal = ZERO
    type: PriceType = PriceType.USAGE
    meter_id: str = ""
    tier_mode: TierMode | None = None
    tiers: tuple[Tier, ...] = ()
    transform_quantity: TransformQuantity | None = None
    #: None: the subscription's billing period.
    billing_period: str | None = None
    billing_period_count: int = 1
    #: The descriptive fields of Flexprice's price object (display_name, metadata), passed on unchanged.
    details: Mapping[str, Detail] = msgspec.field(default_factory=dict)

    def __hash__(self) -> int:
        """Hash what names the price: the details have no hash."""
        return hash((self.id, self.currency))


class PriceProblem(NamedTuple):
    """One reason to refuse a price."""

    #: Where in the price, such as `tiers[1].up_to`.
    path: str
    message: str


def check(price: Price, *, currency: str | None = None) -> list[PriceProblem]:
    """Return everything that is wrong with a price; an empty list if a catalogue may hold it.

    `currency` is the currency of the price's subscription, in upper or lower case; None if it is not known.
    """
    problems = [*_amount_problems("amount", price.amount), *_tier_problems(price), *_package_problems(price)]
    if not is_currency(price.currency):
        problems.append(PriceProblem("currency", "is not an ISO 4217 currency"))
    elif price.currency != price.currency.lower():
        problems.append(PriceProblem("currency", "must be lower case"))
    elif currency is not None and price.currency != currency.lower():
        problems.append(PriceProblem("currency", f"must be that of the subscription, {currency.lower()}"))
    if price.billing_period_count < 1:
        problems.append(PriceProblem("billing_period_count", "must be at least 1"))
    return problems


#: A bucketed meter's counter keeps a line for each tier and day, and an item has at most 400 KB.
_MOST_TIERS = 50


def _tier_problems(price: Price) -> Iterator[PriceProblem]:
    if len(price.tiers) > _MOST_TIERS:
        yield PriceProblem("tiers", f"must be at most {_MOST_TIERS}")
    if price.billing_model is BillingModel.TIERED:
        if price.tier_mode is None:
            yield PriceProblem("tier_mode", "is required for a TIERED price")
        if not price.tiers:
            yield PriceProblem("tiers", "is required for a TIERED price")
    for index, tier in enumerate(price.tiers):
        path = f"tiers[{index}]"
        yield from _amount_problems(f"{path}.unit_amount", tier.unit_amount)
        yield from _amount_problems(f"{path}.flat_amount", tier.flat_amount)
        yield from _bound_problems(f"{path}.up_to", tier.up_to, last=index == len(price.tiers) - 1)
    for index, (before, tier) in enumerate(pairwise(price.tiers), start=1):
        if before.up_to is not None and tier.up_to is not None and tier.up_to <= before.up_to:
            yield PriceProblem(f"tiers[{index}].up_to", f"must be above the tier before, {before.up_to}")


def _bound_problems(path: str, up_to: int | None, *, last: bool) -> Iterator[PriceProblem]:
    if last:
        if up_to is not None:
            yield PriceProblem(path, "must be null: the last tier is unbounded")
    elif up_to is None:
        yield PriceProblem(path, "must not be null: only the last tier is unbounded")
    else:
        yield from _count_problems(path, up_to)


def _package_problems(price: Price) -> Iterator[PriceProblem]:
    if price.transform_quantity is not None:
        yield from _count_problems("transform_quantity.divide_by", price.transform_quantity.divide_by)
    elif price.billing_model is BillingModel.PACKAGE:
        yield PriceProblem("transform_quantity", "is required for a PACKAGE price")


def _count_problems(path: str, count: int) -> Iterator[PriceProblem]:
    if count < 1:
        yield PriceProblem(path, "must be at least 1")
    else:
        yield from _amount_problems(path, count, QUANTITY_DIGITS)


def _amount_problems(
    path: str, amount: Decimal | int, integer_digits: int = PRICE_DIGITS
) -> Iterator[PriceProblem]:
    try:
        if number(amount, integer_digits) < 0:
            yield PriceProblem(path, "must not be negative")
    except NumberError as error:
        yield PriceProblem(path, str(error))

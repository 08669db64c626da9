"""FLAT_FEE: an amount for each unit."""

from decimal import Decimal

from meterstone.pricing.lines import Cost, Line
from meterstone.pricing.money import ZERO, multiply
from meterstone.pricing.price import Price


def flat_fee(price: Price, quantity: Decimal) -> Cost:
    """Return amount times quantity, also for a quantity below zero."""
    if not quantity:
        return Cost(quantity, ())
    return Cost(quantity, (Line(ZERO, None, quantity, price.amount, ZERO, multiply(price.amount, quantity)),))

"""Exact decimal arithmetic, and the places where a value is rounded.

`add`, `subtract`, `multiply` and `total` raise `decimal.Inexact` rather than lose a digit: their one context
has 80 digits, room for a quantity times a price of 30 digits each, and for sums of that. Only `quotient` and
the functions that take a currency round, always half away from zero. The first three are bound methods of the
context because that is the fastest way to be exact: about as fast as an operator, where entering
`decimal.localcontext` takes six times as long as the operation.
"""

import re
from collections.abc import Iterable
from decimal import (
    ROUND_DOWN,
    ROUND_HALF_UP,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
)

from meterstone.pricing.currency import is_currency, precision, symbol
from meterstone.pricing.errors import NotANumberError, NumberOutOfRangeError

ZERO = Decimal(0)

_PRECISION = 80
_TRAPS = [InvalidOperation, DivisionByZero, Overflow]

#: The context of all arithmetic on money and quantities. What decimal calls "half up" is half away from zero.
CONTEXT = Context(prec=_PRECISION, rounding=ROUND_HALF_UP, traps=[*_TRAPS, Inexact])
_ROUNDING = Context(prec=_PRECISION, rounding=ROUND_HALF_UP, traps=_TRAPS)
# A quotient is cut at 80 digits, then rounded: rounded twice, a little less than a half could become one.
_CUTTING = Context(prec=_PRECISION, rounding=ROUND_DOWN, traps=_TRAPS)

add = CONTEXT.add
subtract = CONTEXT.subtract
multiply = CONTEXT.multiply

_DIGITS = 15
_LIMIT = 10**_DIGITS
_FINEST = Decimal(1).scaleb(-_DIGITS)
_QUOTIENT = Decimal(1).scaleb(-16)
_PLAIN_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_SHORT_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_UNITS = tuple(Decimal(1).scaleb(-decimals) for decimals in range(5))
# Flexprice prints an amount in a currency that it does not know to two decimals.
_UNKNOWN_CURRENCY_PRECISION = 2


def total(values: Iterable[Decimal]) -> Decimal:
    """Sum exactly; nothing sums to 0."""
    result = ZERO
    for value in values:
        result = add(result, value)
    return result


def quotient(numerator: Decimal, denominator: Decimal) -> Decimal:
    """Divide, rounded half away from zero to 16 decimals.

    Raises `decimal.DivisionByZero` (or `InvalidOperation`, for 0 by 0).

    >>> quotient(Decimal(2), Decimal(3))
    Decimal('0.6666666666666667')
    """
    return _CUTTING.divide(numerator, denominator).quantize(_QUOTIENT, context=_ROUNDING)


def round_money(amount: Decimal, currency: str) -> Decimal:
    """Round half away from zero to the currency's smallest unit, with as many decimals as the currency has.

    >>> round_money(Decimal("-10.125"), "usd"), round_money(Decimal("0.5"), "jpy")
    (Decimal('-10.13'), Decimal('1'))
    """
    return _rounded(amount, precision(currency))


def minor_units(amount: Decimal, currency: str) -> int:
    """Return the amount in the currency's smallest unit (cents, whole yen), rounded as `round_money` does.

    >>> minor_units(Decimal("12.345"), "usd"), minor_units(Decimal("12.5"), "jpy")
    (1235, 13)
    """
    return int(amount.scaleb(precision(currency), CONTEXT).to_integral_value(ROUND_HALF_UP))


def plain(value: Decimal) -> str:
    """Return the decimal text without exponent, trailing zeros or a negative zero.

    >>> plain(Decimal("1E+3")), plain(Decimal("10.50")), plain(Decimal("-0.0"))
    ('1000', '10.5', '0')
    """
    text = f"{value:f}" if value else "0"
    return text.rstrip("0").rstrip(".") if "." in text else text


def display_amount(amount: Decimal, currency: str) -> str:
    """Return the rounded amount behind its currency's symbol, if it has one, as Flexprice does.

    A code that is no currency is displayed with two decimals.

    >>> [display_amount(Decimal("-5.50"), currency) for currency in ("usd", "jpy", "aed")]
    ['$-5.5', '¥-6', '-5.5']
    """
    decimals = precision(currency) if is_currency(currency) else _UNKNOWN_CURRENCY_PRECISION
    return symbol(currency) + plain(_rounded(amount, decimals))


def price_display_amount(amount: Decimal, currency: str) -> str:
    """Return a price's own amount, never rounded, behind the symbol, or the upper-case code if there is none.

    >>> price_display_amount(Decimal("0.003333"), "usd"), price_display_amount(Decimal(10), "aed")
    ('$0.003333', 'AED10')
    """
    return (symbol(currency) or currency.upper()) + plain(amount)


def number(value: object) -> Decimal:
    """Read a number at the door: a price, a quantity, a property of an event.

    Taken are integers, finite decimals, and text of ASCII digits such as `-12.5`, if the value has at most 15
    integer and 15 decimal digits (zeros that do not matter are not counted). The result has no exponent above
    0 and zero has no sign. Raises `NumberOutOfRangeError`, and `NotANumberError` for anything else: floats,
    booleans.

    >>> number("12.50"), number(Decimal("1E+3"))
    (Decimal('12.50'), Decimal('1000'))
    """
    match value:
        case bool():
            raise NotANumberError("a boolean is not a number")
        case str():
            if not _SHORT_NUMBER.fullmatch(value):
                return _unusual(_parsed(value))
            decimal = Decimal(value)
        case Decimal():
            if not _SHORT_NUMBER.fullmatch(str(value)):
                return _unusual(value)
            decimal = value
        case int():
            if not -_LIMIT < value < _LIMIT:
                raise NumberOutOfRangeError(_OUT_OF_RANGE)
            return Decimal(value)
        case _:
            raise NotANumberError(_NOT_A_NUMBER)
    return decimal or ZERO


_NOT_A_NUMBER = "not a number of the form -12.5"
_OUT_OF_RANGE = f"a number has at most {_DIGITS} integer and {_DIGITS} decimal digits"


def _parsed(text: str) -> Decimal:
    if not _PLAIN_NUMBER.fullmatch(text):
        raise NotANumberError(_NOT_A_NUMBER)
    return Decimal(text)


def _unusual(value: Decimal) -> Decimal:
    """Bring a number that is not written in 15 and 15 digits into that form, if its value allows it."""
    if not value.is_finite():
        raise NotANumberError(_NOT_A_NUMBER)
    if not value:
        return ZERO
    # The exponent is looked at first: writing out 1E+999999 would take a megabyte.
    if value.adjusted() >= _DIGITS:
        raise NumberOutOfRangeError(_OUT_OF_RANGE)
    try:
        fixed = value.quantize(_FINEST, context=CONTEXT)
    except Inexact:
        raise NumberOutOfRangeError(_OUT_OF_RANGE) from None
    return Decimal(plain(fixed))


def _rounded(amount: Decimal, decimals: int) -> Decimal:
    # Unary plus takes the sign from a zero: -0.004 is 0.00.
    return _ROUNDING.plus(amount.quantize(_UNITS[decimals], context=_ROUNDING))

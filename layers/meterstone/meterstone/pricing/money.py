"""Exact decimal arithmetic, and the places where a value is rounded.

`add`, `subtract`, `multiply` and `total` raise `decimal.Inexact` rather than lose a digit. Their context has 120
digits: enough for a quantity times a price times an overage factor, and for sums of such products. Only `reading`,
`rounded_quantity`, `quotient` and the functions that take a currency round, always half away from zero.

`add`, `subtract` and `multiply` are bound methods of the context, which is the fastest exact way: about as fast as
an operator. Entering `decimal.localcontext` takes six times as long as the operation itself.
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
from typing import Final, cast

from meterstone.pricing.currency import is_currency, precision, symbol
from meterstone.pricing.errors import NotANumberError, NumberOutOfRangeError

ZERO = Decimal(0)
_ONE = Decimal(1)

_PRECISION = 120
_TRAPS = [InvalidOperation, DivisionByZero, Overflow]

#: The context of all arithmetic on money and quantities. What decimal calls "half up" is half away from zero.
CONTEXT = Context(prec=_PRECISION, rounding=ROUND_HALF_UP, traps=[*_TRAPS, Inexact])
_ROUNDING = Context(prec=_PRECISION, rounding=ROUND_HALF_UP, traps=_TRAPS)
# A quotient is cut at 120 digits, then rounded. If it were rounded twice, a little less than a half could become a
# half, and be rounded up.
_CUTTING = Context(prec=_PRECISION, rounding=ROUND_DOWN, traps=_TRAPS)

add = CONTEXT.add
subtract = CONTEXT.subtract
multiply = CONTEXT.multiply

LONGEST_NUMBER: Final = 100
"""How many characters the text of a number may have."""

LARGEST_EXPONENT: Final = 100
"""The largest exponent, after an `e`, of a number's text; its negative is the smallest."""

QUANTITY_DIGITS: Final = 18
"""Integer digits of a number that a meter reads, of a multiplier, of a tier's bound and of a package's size."""

PRICE_DIGITS: Final = 12
"""Integer digits of a price."""

DECIMALS: Final = 18
"""Decimals of all these numbers, and of a quantity."""

_FINEST = Decimal(1).scaleb(-DECIMALS)
_FRACTIONS = 10**DECIMALS
_SCALE = Decimal(-DECIMALS)
_QUOTIENT = Decimal(1).scaleb(-16)
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE]([+-]?[0-9]+))?")
#: A number in this form needs neither rounding nor rewriting. Nearly all numbers have it.
_SHORT_NUMBER = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,18})?")
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
    """Round half away from zero to the currency's minor unit, with as many decimals as the currency has.

    >>> round_money(Decimal("-10.125"), "usd"), round_money(Decimal("0.5"), "jpy")
    (Decimal('-10.13'), Decimal('1'))
    """
    return _rounded(amount, precision(currency))


def minor_units(amount: Decimal, currency: str) -> int:
    """Return the amount in the currency's minor unit (cents, whole yen), rounded as `round_money` does.

    >>> minor_units(Decimal("12.345"), "usd"), minor_units(Decimal("12.5"), "jpy")
    (1235, 13)
    """
    return int(amount.scaleb(precision(currency), CONTEXT).to_integral_value(ROUND_HALF_UP))


def plain(value: Decimal) -> str:
    """Return the decimal text without exponent, trailing zeros or a negative zero.

    >>> plain(Decimal("1E+3")), plain(Decimal("10.50")), plain(Decimal("-0.0"))
    ('1000', '10.5', '0')
    """
    text = str(value)
    if text.isdigit():
        # Most quantities are whole, and this takes half the time.
        return text
    if not value:
        return "0"
    if "E" in text:
        # Formatting takes twice as long as `str`, which has an exponent only in very small or very rough numbers.
        text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def display_amount(amount: Decimal, currency: str) -> str:
    """Return the rounded amount, with its currency's symbol before it if there is one, as Flexprice does.

    A code that is no currency is displayed with two decimals.

    >>> [display_amount(Decimal("-5.50"), currency) for currency in ("usd", "jpy", "aed")]
    ['$-5.5', '¥-6', '-5.5']
    """
    decimals = precision(currency) if is_currency(currency) else _UNKNOWN_CURRENCY_PRECISION
    return symbol(currency) + plain(_rounded(amount, decimals))


def price_display_amount(amount: Decimal, currency: str) -> str:
    """Return a price's own amount, never rounded, after the symbol or, if there is none, the upper-case code.

    >>> price_display_amount(Decimal("0.003333"), "usd"), price_display_amount(Decimal(10), "aed")
    ('$0.003333', 'AED10')
    """
    return (symbol(currency) or currency.upper()) + plain(amount)


_METERED: Final = 10**QUANTITY_DIGITS


def exact_number(value: object) -> Decimal:
    """Read a number exactly, with all its digits, as filters compare it and the event log keeps it.

    Integers, finite decimals, and text of at most 100 characters such as `-12.5` or `1.5E-7` are numbers. Zero has
    no sign. Raises `NotANumberError` for anything else: floats, booleans, exponents beyond 100.

    >>> exact_number("1.5E-7"), exact_number(10**20)
    (Decimal('1.5E-7'), Decimal('100000000000000000000'))
    """
    match value:
        case bool():
            raise NotANumberError("a boolean is not a number")
        case str():
            if len(value) > LONGEST_NUMBER:
                raise NumberOutOfRangeError(f"a number has at most {LONGEST_NUMBER} characters")
            found = _NUMBER.fullmatch(value)
            if found is None:
                raise NotANumberError(_NOT_A_NUMBER)
            if found[1] is not None and abs(int(found[1])) > LARGEST_EXPONENT:
                raise NotANumberError(f"the exponent of a number is at most {LARGEST_EXPONENT}")
            return Decimal(value) or ZERO
        case Decimal():
            if not value.is_finite():
                raise NotANumberError(_NOT_A_NUMBER)
            return value or ZERO
        case int():
            return Decimal(value)
        case _:
            raise NotANumberError(_NOT_A_NUMBER)


def number(value: object, integer_digits: int = PRICE_DIGITS) -> Decimal:
    """Read a number that must not be rounded: a price or, with more ``integer_digits``, a multiplier.

    The number may have ``integer_digits`` integer and 18 decimal digits; leading and trailing zeros are not
    counted. The result has no exponent above 0, and zero has no sign. Raises `NumberOutOfRangeError` for more
    digits, and the errors of `exact_number`.

    >>> number("12.50"), number(Decimal("1E+3")), number("7.6234102728e-08")
    (Decimal('12.50'), Decimal('1000'), Decimal('7.6234102728E-8'))
    """
    found = exact_number(value)
    if _SHORT_NUMBER.fullmatch(str(found)):
        return found
    # The exponent is looked at first: writing out 1E+999999 would take a megabyte.
    if found.adjusted() < integer_digits:
        try:
            return Decimal(plain(found.quantize(_FINEST, context=CONTEXT)))
        except Inexact:
            pass
    raise NumberOutOfRangeError(
        f"a number has at most {integer_digits} integer and {DECIMALS} decimal digits"
    )


def reading(value: object) -> Decimal:
    """Read a number as a meter does, rounded to 18 decimals.

    The result has no exponent above 0, and zero has no sign. Raises `NumberOutOfRangeError` if the number has more
    than 18 integer digits, and the errors of `exact_number`.

    >>> reading("0.0289999999999999985"), reading(5)
    (Decimal('0.028999999999999999'), Decimal('5'))
    """
    if type(value) is int and -_METERED < value < _METERED:
        # Most events have small integers: there is nothing to round.
        return Decimal(value)
    found = exact_number(value)
    if _SHORT_NUMBER.fullmatch(str(found)):
        return found
    if found.adjusted() >= QUANTITY_DIGITS:
        raise NumberOutOfRangeError(f"a number that is metered has at most {QUANTITY_DIGITS} integer digits")
    return Decimal(plain(found.quantize(_FINEST, context=_ROUNDING)))


def in_two(value: Decimal) -> tuple[int, int]:
    """Split a quantity into its integer part and its fraction times 10^18, both with the quantity's sign.

    DynamoDB can add the two exactly, each as a number of its own: the 36 digits of a sum do not fit in one. Raises
    `decimal.Inexact` if the quantity has more than 18 decimals.

    >>> in_two(Decimal("-12.5")), whole(-12, -500_000_000_000_000_000)
    ((-12, -500000000000000000), Decimal('-12.500000000000000000'))
    """
    integer = int(value)
    if value == integer:
        # Most quantities are whole.
        return integer, 0
    scaled = subtract(value, Decimal(integer)).scaleb(DECIMALS, CONTEXT)
    return integer, int(scaled.quantize(_ONE, context=CONTEXT))


def whole(integer: Decimal | int, fraction: Decimal | int) -> Decimal:
    """Return the quantity of an integer part and a fraction made by `in_two`, or of sums of both."""
    if type(integer) is type(fraction) is int:
        return CONTEXT.scaleb(integer * _FRACTIONS + fraction, _SCALE)
    return add(Decimal(integer), Decimal(fraction).scaleb(-DECIMALS, CONTEXT))


def rounded_quantity(value: Decimal) -> Decimal:
    """Round half away from zero to the 18 decimals that a quantity has at most.

    >>> rounded_quantity(Decimal("0.5") * Decimal("1E-18")), rounded_quantity(Decimal("2.50"))
    (Decimal('1E-18'), Decimal('2.50'))
    """
    if cast("int", value.as_tuple().exponent) >= -DECIMALS:
        return value
    return _ROUNDING.plus(value.quantize(_FINEST, context=_ROUNDING))


_NOT_A_NUMBER = "not a number of the form -12.5"


def _rounded(amount: Decimal, decimals: int) -> Decimal:
    # Unary plus takes the sign from a zero: -0.004 is 0.00.
    return _ROUNDING.plus(amount.quantize(_UNITS[decimals], context=_ROUNDING))

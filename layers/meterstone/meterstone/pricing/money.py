"""Exact decimal arithmetic, and the places where a value is rounded.

`add`, `subtract`, `multiply` and `total` raise `decimal.Inexact` rather than lose a digit: their one context
has 120 digits, room for a quantity times a price times an overage factor, and for sums of that. Only `reading`,
`rounded_quantity`, `quotient` and the functions that take a currency round, always half away from zero. The first
three are bound methods of the context because that is the fastest way to be exact: about as fast as an operator,
where entering `decimal.localcontext` takes six times as long as the operation.
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
# A quotient is cut at 120 digits, then rounded: rounded twice, a little less than a half could become one.
_CUTTING = Context(prec=_PRECISION, rounding=ROUND_DOWN, traps=_TRAPS)

add = CONTEXT.add
subtract = CONTEXT.subtract
multiply = CONTEXT.multiply

LONGEST_NUMBER: Final = 100
"""Characters of a number, as it is written."""

LARGEST_EXPONENT: Final = 100
"""What stands behind an `e`: a text with a larger one, or a smaller one than its negative, is no number."""

QUANTITY_DIGITS: Final = 18
"""Integer digits of what a meter reads, of a multiplier, of a tier's bound and of a package's size."""

PRICE_DIGITS: Final = 12
"""Integer digits of a price."""

DECIMALS: Final = 18
"""Decimals of all of these, and of a quantity."""

_FINEST = Decimal(1).scaleb(-DECIMALS)
_QUOTIENT = Decimal(1).scaleb(-16)
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE]([+-]?[0-9]+))?")
#: Nothing is to be rounded or written otherwise: true of nearly all.
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


def exact_number(value: object) -> Decimal:
    """Read a number as it is, however many digits it has: what filters compare, and the log keeps.

    Taken are integers, finite decimals, and text of at most 100 characters such as `-12.5` or `1.5E-7`. Zero has
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

    It has at most so many integer and 18 decimal digits (zeros that do not matter are not counted). The result
    has no exponent above 0 and zero has no sign. Raises `NumberOutOfRangeError`, and what `exact_number` does.

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
    """Read a number as a meter does: what is finer than 18 decimals is rounded.

    The result has no exponent above 0 and zero has no sign. Raises `NumberOutOfRangeError` if the number has more
    than 18 integer digits, and what `exact_number` does.

    >>> reading("0.0289999999999999985"), reading(5)
    (Decimal('0.028999999999999999'), Decimal('5'))
    """
    found = exact_number(value)
    if _SHORT_NUMBER.fullmatch(str(found)):
        return found
    if found.adjusted() >= QUANTITY_DIGITS:
        raise NumberOutOfRangeError(f"a number that is metered has at most {QUANTITY_DIGITS} integer digits")
    return Decimal(plain(found.quantize(_FINEST, context=_ROUNDING)))


def in_two(value: Decimal) -> tuple[int, int]:
    """Part a quantity of at most 18 decimals: its integer part, and its fraction x 10^18, with the value's sign.

    So the table adds it exactly: 36 digits do not fit one number that is added to. Raises `decimal.Inexact`.

    >>> in_two(Decimal("-12.5")), whole(-12, -500_000_000_000_000_000)
    ((-12, -500000000000000000), Decimal('-12.500000000000000000'))
    """
    integer = int(value)
    scaled = subtract(value, Decimal(integer)).scaleb(DECIMALS, CONTEXT)
    return integer, int(scaled.quantize(_ONE, context=CONTEXT))


def whole(integer: Decimal | int, fraction: Decimal | int) -> Decimal:
    """Put together what `in_two` gave, or what sums of that came to."""
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

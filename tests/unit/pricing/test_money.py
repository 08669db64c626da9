from decimal import Decimal, DivisionByZero, Inexact, InvalidOperation
from fractions import Fraction

import pytest

from meterstone.pricing.errors import NotANumberError, NumberOutOfRangeError, UnknownCurrencyError
from meterstone.pricing.money import (
    CONTEXT,
    add,
    display_amount,
    minor_units,
    multiply,
    number,
    plain,
    price_display_amount,
    quotient,
    round_money,
    subtract,
    total,
)

WIDEST = Decimal("999999999999999.999999999999999")


def test_arithmetic_at_the_door_s_limits_is_exact() -> None:
    assert Fraction(multiply(WIDEST, WIDEST)) == Fraction(WIDEST) ** 2
    assert subtract(add(WIDEST, WIDEST), WIDEST) == WIDEST
    assert total([WIDEST] * 1000) == Decimal("999999999999999999.999999999999")
    assert total([]) == 0


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(lambda: add(Decimal("1E+80"), Decimal(1)), id="sum of 81 digits"),
        pytest.param(lambda: multiply(Decimal("1" * 41), Decimal("1" * 41)), id="product"),
        pytest.param(lambda: CONTEXT.divide(1, 3), id="quotient"),
    ],
)
def test_a_lost_digit_is_an_error(operation: object) -> None:
    assert callable(operation)
    with pytest.raises(Inexact):
        operation()


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [
        pytest.param("1", "3", "0.3333333333333333", id="repeating"),
        pytest.param("2", "3", "0.6666666666666667", id="up"),
        pytest.param("-2", "3", "-0.6666666666666667", id="away from zero"),
        pytest.param("1", "2E+16", "1E-16", id="half is away from zero"),
        pytest.param("-1", "2E+16", "-1E-16", id="negative half too"),
        pytest.param(
            "4.9999999999999999999999999999999999999999999999999999999999999999",
            "1E+17",
            "0",
            id="below half",
        ),
        pytest.param("1", str(2 * 10**16 + 1), "0", id="a little below half"),
        pytest.param("10", "4", "2.5", id="exact"),
    ],
)
def test_quotient_has_16_decimals(numerator: str, denominator: str, expected: str) -> None:
    assert quotient(Decimal(numerator), Decimal(denominator)) == Decimal(expected)


def test_quotient_is_not_rounded_twice() -> None:
    # One half of the last decimal, less 5E-99: to 80 digits the quotient itself would round up to the half.
    almost_half = Decimal("0.00000000000000004" + "9" * 80)

    assert quotient(almost_half, Decimal(1)) == 0


@pytest.mark.parametrize(("numerator", "error"), [(1, DivisionByZero), (0, InvalidOperation)])
def test_quotient_by_zero(numerator: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        quotient(Decimal(numerator), Decimal(0))


@pytest.mark.parametrize(
    ("amount", "currency", "expected", "units"),
    [
        pytest.param("0.005", "usd", "0.01", 1, id="half a cent"),
        pytest.param("-0.005", "usd", "-0.01", -1, id="half a cent back"),
        pytest.param("0.00499999999999999999999", "usd", "0.00", 0, id="not quite half a cent"),
        pytest.param("-0.004", "usd", "0.00", 0, id="zero has no sign"),
        pytest.param("1E+3", "usd", "1000.00", 100000, id="exponent"),
        pytest.param("10.5", "JPY", "11", 11, id="yen"),
        pytest.param("10.5555", "kwd", "10.556", 10556, id="dinar"),
        pytest.param("10.55555", "clf", "10.5556", 105556, id="unidad de fomento"),
        pytest.param("10.555", "HUF", "10.56", 1056, id="forint"),
        pytest.param("10.555", "SLL", "10.56", 1056, id="withdrawn"),
        pytest.param(
            "123456789012345678901234567890.125",
            "usd",
            "123456789012345678901234567890.13",
            12345678901234567890123456789013,
            id="large",
        ),
    ],
)
def test_money_is_rounded_half_away_from_zero(amount: str, currency: str, expected: str, units: int) -> None:
    assert str(round_money(Decimal(amount), currency)) == expected
    assert minor_units(Decimal(amount), currency) == units


@pytest.mark.parametrize("rounding", [round_money, minor_units])
def test_money_of_no_currency_cannot_be_rounded(rounding: object) -> None:
    assert callable(rounding)
    with pytest.raises(UnknownCurrencyError):
        rounding(Decimal(1), "xyz")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("-0.00", "0"),
        ("0E+7", "0"),
        ("100", "100"),
        ("1E+3", "1000"),
        ("1.50", "1.5"),
        ("-1.00", "-1"),
        ("1E-7", "0.0000001"),
        ("1E+30", "1" + "0" * 30),
        ("12345678901234567890123456789012345.6789", "12345678901234567890123456789012345.6789"),
    ],
)
def test_plain(value: str, expected: str) -> None:
    assert plain(Decimal(value)) == expected


@pytest.mark.parametrize(
    ("amount", "currency", "expected", "of_a_price"),
    [
        pytest.param("10", "usd", "$10", "$10", id="whole"),
        pytest.param("10.50", "usd", "$10.5", "$10.5", id="trailing zero"),
        pytest.param("0", "usd", "$0", "$0", id="zero"),
        pytest.param("-5.5", "usd", "$-5.5", "$-5.5", id="negative"),
        pytest.param("1234567.891", "usd", "$1234567.89", "$1234567.891", id="no separators"),
        pytest.param("1000000", "krw", "₩1000000", "₩1000000", id="zeros before the point stay"),
        pytest.param("1.005", "aed", "1.01", "AED1.005", id="no symbol"),
        pytest.param("1.005", "xyz", "1.01", "XYZ1.005", id="no currency"),
    ],
)
def test_display(amount: str, currency: str, expected: str, of_a_price: str) -> None:
    assert display_amount(Decimal(amount), currency) == expected
    assert price_display_amount(Decimal(amount), currency) == of_a_price


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("12.5", "12.5"),
        ("-12.50", "-12.50"),
        ("0", "0"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("007", "7"),
        ("999999999999999.999999999999999", "999999999999999.999999999999999"),
        ("0000000000000000000000000000000000001", "1"),
        ("1.5000000000000000000000000000", "1.5"),
        (7, "7"),
        (-999999999999999, "-999999999999999"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-15"), "0.000000000000001"),
        (Decimal("0E+999999"), "0"),
        (Decimal("0E-999999"), "0"),
        (Decimal("-0"), "0"),
    ],
)
def test_number(value: object, expected: str) -> None:
    result = number(value)

    assert f"{result:f}" == expected
    assert result == result.quantize(Decimal("1E-15"), context=CONTEXT)
    assert "E+" not in str(result)


@pytest.mark.parametrize(
    "value",
    [
        "1000000000000000",
        "-1000000000000000",
        "0.0000000000000001",
        "1" * 39,
        "9" * 5000,
        10**15,
        -(10**15),
        10**5000,
        Decimal("1E+15"),
        Decimal("1E-16"),
        Decimal("1E+400"),
        Decimal("1E+999999"),
        Decimal("1E-999999"),
    ],
    ids=lambda value: f"{type(value).__name__} {str(value)[:12] if isinstance(value, str | Decimal) else ''}",
)
def test_a_number_has_at_most_15_and_15_digits(value: object) -> None:
    with pytest.raises(NumberOutOfRangeError, match="15 integer and 15 decimal digits"):
        number(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "-",
        "+1",
        "1.",
        ".5",
        "1e3",
        "1_000",
        "1,000",
        "1 ",
        "1\n",
        " 1",
        "NaN",
        "Infinity",
        "0x10",
        "\u0661\u0662",
        "\uff11",
        "1\x00",
        "--1",
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        Decimal("-Infinity"),
        True,
        False,
        None,
        1.5,
        [],
        {},
    ],
    ids=repr,
)
def test_anything_else_is_not_a_number(value: object) -> None:
    with pytest.raises(NotANumberError):
        number(value)

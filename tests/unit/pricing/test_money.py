from collections.abc import Callable
from decimal import Decimal, DivisionByZero, Inexact, InvalidOperation
from fractions import Fraction
from functools import partial

import pytest

from meterstone.pricing.errors import NotANumberError, NumberOutOfRangeError, UnknownCurrencyError
from meterstone.pricing.money import (
    CONTEXT,
    add,
    display_amount,
    exact_number,
    in_two,
    minor_units,
    multiply,
    number,
    plain,
    price_display_amount,
    quotient,
    reading,
    round_money,
    rounded_quantity,
    subtract,
    total,
    whole,
)

WIDEST = Decimal("999999999999999999.999999999999999999")


def test_arithmetic_at_the_door_s_limits_is_exact() -> None:
    assert Fraction(multiply(WIDEST, WIDEST)) == Fraction(WIDEST) ** 2
    assert subtract(add(WIDEST, WIDEST), WIDEST) == WIDEST
    assert total([WIDEST] * 1000) == Decimal("999999999999999999999.999999999999999")
    assert total([]) == 0


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(lambda: add(Decimal("1E+120"), Decimal(1)), id="sum of 121 digits"),
        pytest.param(lambda: multiply(Decimal("1" * 61), Decimal("1" * 61)), id="product"),
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
    # One half of the last decimal, less 5E-139: to 120 digits the quotient itself would round up to the half.
    almost_half = Decimal("0.00000000000000004" + "9" * 120)

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


SAME = [
    ("12.5", "12.5"),
    ("-12.50", "-12.50"),
    ("0", "0"),
    ("-0", "0"),
    ("-0.0", "0"),
    ("007", "7"),
    ("0000000000000000000000000000000000001", "1"),
    ("1.5000000000000000000000000000", "1.5"),
    ("1e3", "1000"),
    ("1.5E-7", "0.00000015"),
    ("25e-1", "2.5"),
    ("7.6234102728e-08", "0.000000076234102728"),
    ("1E+2", "100"),
    ("0e100", "0"),
    ("0.028999999999999998", "0.028999999999999998"),
    ("999999999999.999999999999999999", "999999999999.999999999999999999"),
    (7, "7"),
    (-999999999999, "-999999999999"),
    (Decimal("1E+3"), "1000"),
    (Decimal("1E-18"), "0.000000000000000001"),
    (Decimal("0E+999999"), "0"),
    (Decimal("0E-999999"), "0"),
    (Decimal("-0"), "0"),
]


@pytest.mark.parametrize(("value", "expected"), SAME)
@pytest.mark.parametrize("read", [number, reading], ids=["at the door", "metered"])
def test_a_number_is_read_as_it_is(read: Callable[[object], Decimal], value: object, expected: str) -> None:
    result = read(value)

    assert f"{result:f}" == expected
    assert result == result.quantize(Decimal("1E-18"), context=CONTEXT)
    assert "E+" not in str(result)


HALF = "0.0000000000000000005"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("0.0000000001396983861923", "0.000000000139698386", id="22 decimals of a cost report"),
        pytest.param("0.17777777777777778434", "0.177777777777777784", id="a float's 20 decimals"),
        pytest.param("42259901212262400", "42259901212262400", id="17 digits of byte-hours"),
        pytest.param("999999999999999999", "999999999999999999", id="18 digits"),
        pytest.param(-(10**18) + 1, "-999999999999999999", id="18 digits below zero"),
        pytest.param("1E+17", "100000000000000000", id="18 digits by an exponent"),
        pytest.param(HALF, "0.000000000000000001", id="a half goes away from zero"),
        pytest.param("-" + HALF, "-0.000000000000000001", id="a half below zero goes away from it"),
        pytest.param("0.00000000000000000049", "0", id="less than a half goes to zero"),
        pytest.param("-0.00000000000000000049", "0", id="zero has no sign"),
        pytest.param("0.0000000000000000015", "0.000000000000000002", id="not to the even one"),
        pytest.param("0.0000000000000000025", "0.000000000000000003", id="nor from it"),
        pytest.param("1E-100", "0", id="the least that is a number"),
        pytest.param(Decimal("1E-999999"), "0", id="less than that"),
        pytest.param(
            "999999999999999999." + "4" * 80, "999999999999999999.444444444444444444", id="99 digits"
        ),
        pytest.param("0." + "9" * 98, "1", id="up to the next integer"),
        pytest.param("999999999999999999." + "9" * 19, "1000000000000000000", id="up beyond 18 digits"),
    ],
)
def test_what_a_meter_reads(value: object, expected: str) -> None:
    assert f"{reading(value):f}" == expected


@pytest.mark.parametrize("read", [partial(number, integer_digits=18), reading], ids=["multiplier", "metered"])
@pytest.mark.parametrize(
    "value",
    [
        "1000000000000000000",
        "-1000000000000000000.5",
        "1E+18",
        "9" * 100,
        10**18,
        -(10**18),
        10**5000,
        Decimal("1E+400"),
        Decimal("1E+999999"),
    ],
    ids=lambda value: f"{type(value).__name__} {str(value)[:12] if isinstance(value, str | Decimal) else ''}",
)
def test_no_quantity_has_more_than_18_integer_digits(
    read: Callable[[object], Decimal], value: object
) -> None:
    with pytest.raises(NumberOutOfRangeError, match="at most 18 integer"):
        read(value)


@pytest.mark.parametrize(
    "value",
    [
        "1000000000000",
        "-1000000000000",
        "1E12",
        "0.0000000000000000001",
        "1.1234567890123456789",
        10**12,
        Decimal("1E-19"),
        Decimal("1E-999999"),
    ],
    ids=lambda value: f"{type(value).__name__} {value}",
)
def test_a_price_has_at_most_12_and_18_digits(value: object) -> None:
    with pytest.raises(NumberOutOfRangeError, match="at most 12 integer and 18 decimal digits"):
        number(value)


@pytest.mark.parametrize("read", [exact_number, number, reading])
@pytest.mark.parametrize("text", ["1" * 101, "0." + "0" * 99, "9" * 5000, "0" * 101])
def test_no_text_of_more_than_100_characters_is_read(read: Callable[[object], Decimal], text: str) -> None:
    with pytest.raises(NumberOutOfRangeError, match="at most 100 characters"):
        read(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0." + "1" * 98, "0." + "1" * 98),
        ("1" * 100, "1" * 100),
        ("1e100", "1" + "0" * 100),
        ("1e-100", "0." + "0" * 99 + "1"),
        (1234567890123456789, "1234567890123456789"),
    ],
)
def test_what_is_compared_is_not_rounded(value: object, expected: str) -> None:
    assert plain(exact_number(value)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("12.5", "12.5", id="few decimals stay"),
        pytest.param("1.0000000000000000005", "1.000000000000000001", id="a half goes away from zero"),
        pytest.param("-1.0000000000000000005", "-1.000000000000000001", id="also below zero"),
        pytest.param("-0.0000000000000000004", "0.000000000000000000", id="zero has no sign"),
        pytest.param("1E+20", "100000000000000000000", id="a whole number stays"),
    ],
)
def test_a_product_is_rounded_to_18_decimals(value: str, expected: str) -> None:
    assert f"{rounded_quantity(Decimal(value)):f}" == expected


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        pytest.param("0", (0, 0), id="nothing"),
        pytest.param("1500", (1500, 0), id="whole"),
        pytest.param("1E+3", (1000, 0), id="an exponent"),
        pytest.param("12.5", (12, 5 * 10**17), id="a half"),
        pytest.param("-12.5", (-12, -5 * 10**17), id="both parts have the sign"),
        pytest.param("-0.000000000000000001", (0, -1), id="a fraction alone has it"),
        pytest.param(
            "9999999999999999999999.999999999999999999",
            (10**22 - 1, 10**18 - 1),
            id="the largest, 10,000 times",
        ),
    ],
)
def test_units_are_two_numbers(value: str, parts: tuple[int, int]) -> None:
    assert in_two(Decimal(value)) == parts
    assert whole(*parts) == Decimal(value)
    assert all(len(str(abs(part))) <= 28 for part in parts)


def test_units_of_more_than_18_decimals_are_not_added() -> None:
    with pytest.raises(Inexact):
        in_two(Decimal("1E-19"))


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "-",
        "+1",
        "1.",
        ".5",
        "1e101",
        "1e-101",
        "1e",
        "e1",
        "1e1.5",
        "1e+-1",
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
@pytest.mark.parametrize("read", [exact_number, number, reading])
def test_anything_else_is_not_a_number(read: Callable[[object], Decimal], value: object) -> None:
    with pytest.raises(NotANumberError):
        read(value)

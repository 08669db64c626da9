import iso4217
import pytest

from meterstone.pricing.currency import is_currency, precision, symbol
from meterstone.pricing.errors import UnknownCurrencyError
from meterstone.pricing.iso4217 import CURRENT, WITHDRAWN

# The Currency enum of Lago's API.
LAGO = (
    "USD AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BIF BMD BND BOB BRL BSD BWP BYN BZD CAD "
    "CDF CHF CLF CLP CNY COP CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ "
    "GYD HKD HNL HRK HTG HUF IDR ILS INR ISK JMD JPY KES KGS KHR KMF KRW KYD KZT LAK LBP LKR LRD LSL MAD "
    "MDL MGA MKD MMK MNT MOP MRO MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN "
    "PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD SHP SLL SOS SRD STD SZL THB TJS TOP TRY TTD TWD TZS UAH "
    "UGX USD UYU UZS VND VUV WST XAF XCD XOF XPF YER ZAR ZMW"
)


def test_the_table_is_iso_s_own() -> None:
    published = {
        code: row["CcyMnrUnts"]
        for code, row in iso4217.raw_table.items()
        if code and row["CcyMnrUnts"] != "N.A."
    }

    assert {code: str(decimals) for decimals, codes in CURRENT.items() for code in codes.split()} == published


def test_withdrawn_codes_are_those_that_lago_lists_and_iso_does_not() -> None:
    assert WITHDRAWN.split() == sorted(set(LAGO.split()) - iso4217.raw_table.keys())


@pytest.mark.parametrize("code", LAGO.split())
def test_lago_s_currencies_are_known(code: str) -> None:
    assert is_currency(code)
    assert precision(code) == precision(code.lower())


@pytest.mark.parametrize(
    ("code", "decimals"),
    [
        ("JPY", 0),
        ("usd", 2),
        ("Huf", 2),
        ("KWD", 3),
        ("clf", 4),
        ("ANG", 2),
        ("stn", 2),
        ("ugx", 0),
        ("ISK", 0),
    ],
)
def test_precision(code: str, decimals: int) -> None:
    assert precision(code) == decimals


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("", id="empty"),
        pytest.param("us", id="two letters"),
        pytest.param("usd ", id="space"),
        pytest.param("XXX", id="no currency"),
        pytest.param("XAU", id="gold has no minor unit"),
        pytest.param("btc", id="not of ISO"),
        pytest.param("\u0131nr", id="dotless i"),
        pytest.param("\u017far", id="long s"),
        pytest.param("u\x00sd", id="control character"),
        pytest.param("usd" * 10000, id="long"),
    ],
)
def test_what_is_no_currency(code: str) -> None:
    assert not is_currency(code)
    assert symbol(code) == ""
    with pytest.raises(UnknownCurrencyError) as raised:
        precision(code)
    assert len(str(raised.value)) < 100


@pytest.mark.parametrize(("code", "expected"), [("usd", "$"), ("AUD", "AUS"), ("clp", "CLP$"), ("aed", "")])
def test_symbol(code: str, expected: str) -> None:
    assert symbol(code) == expected

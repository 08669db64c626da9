"""Currencies: decimals by ISO 4217, symbols as Flexprice prints them. Codes may be in upper or lower case."""

from meterstone.pricing.errors import UnknownCurrencyError
from meterstone.pricing.iso4217 import CURRENT, WITHDRAWN

_WITHDRAWN_PRECISION = 2

_PRECISION = {code: decimals for decimals, codes in CURRENT.items() for code in codes.split()}
_PRECISION |= dict.fromkeys(WITHDRAWN.split(), _WITHDRAWN_PRECISION)

# Flexprice's symbols: the table of its internal/types/currency.go, and what its answers show for KWD and CLF.
_SYMBOLS = {
    "AUD": "AUS",
    "BRL": "R$",
    "CAD": "CAD",
    "CHF": "CHF",
    "CLF": "CLF",
    "CLP": "CLP$",
    "CNY": "CN¥",
    "CZK": "CZK",
    "DKK": "DKK",
    "EUR": "€",
    "GBP": "£",
    "HKD": "HK$",
    "HUF": "HUF",
    "IDR": "Rp",
    "ILS": "₪",
    "INR": "₹",
    "JPY": "¥",
    "KRW": "₩",
    "KWD": "KD",
    "MXN": "MX$",
    "MYR": "RM",
    "NOK": "NOK",
    "NZD": "NZ$",
    "PHP": "₱",
    "PLN": "PLN",
    "RON": "RON",
    "RUB": "₽",
    "SAR": "SAR",
    "SEK": "SEK",
    "SGD": "S$",
    "THB": "฿",
    "TRY": "TRY",
    "TWD": "NT$",
    "USD": "$",
    "VND": "₫",
    "ZAR": "ZAR",
}


def precision(code: str) -> int:
    """Return how many decimals the currency's amounts have: JPY 0, USD 2, KWD 3, CLF 4.

    Withdrawn codes have 2. Raises `UnknownCurrencyError` for a code for which ISO 4217 has no minor unit.

    >>> precision("usd"), precision("JPY")
    (2, 0)
    """
    decimals = _PRECISION.get(_upper(code))
    if decimals is None:
        raise UnknownCurrencyError(f"not an ISO 4217 currency: {code[:8]!r}")
    return decimals


def is_currency(code: str) -> bool:
    """Return whether `precision` knows the currency, so that its amounts can be rounded."""
    return _upper(code) in _PRECISION


def symbol(code: str) -> str:
    """Return the symbol that stands before an amount, such as `$` or `CN¥`; empty if Flexprice has none.

    >>> symbol("cny"), symbol("aed")
    ('CN¥', '')
    """
    return _SYMBOLS.get(_upper(code), "")


def _upper(code: str) -> str:
    # upper() maps some letters beyond ASCII onto ASCII letters: a dotless i followed by "nr" would pass for INR.
    return code.upper() if code.isascii() else code

"""Quantities and amounts in the words and numbers of a sentence, for people. The exact ones stand beside it."""

from decimal import ROUND_HALF_UP, Context, Decimal
from typing import assert_never

from meterstone.pricing.currency import precision, symbol
from meterstone.pricing.money import plain
from meterstone.usage.meter import Aggregation, Meter

_SHOWN = Decimal("0.000001")
_ROUNDING = Context(prec=120, rounding=ROUND_HALF_UP)
#: A shorter word that ends in an s is no plural: gas, bus.
_SHORTEST_PLURAL = 4


def used(meter: Meter | None, quantity: Decimal) -> str:
    """Return a quantity as a phrase, with the meter's display name as its unit.

    >>> calls = Meter("calls", "calls", "API calls", Aggregation.COUNT, "call")
    >>> used(calls, Decimal(1)), used(calls, Decimal(1200))
    ('1 API call', '1,200 API calls')
    """
    number = amount_of(quantity)
    if meter is None:
        return f"{number} {units('units', quantity)}"
    name = meter.name
    match meter.aggregation:
        case Aggregation.COUNT | Aggregation.SUM | Aggregation.SUM_WITH_MULTIPLIER:
            phrase = f"{number} {units(name, quantity)}"
            if meter.recurring:
                phrase += " held"
        case Aggregation.COUNT_UNIQUE:
            phrase = f"{number} different {units(name, quantity)}"
            if meter.recurring:
                phrase += " so far"
        case Aggregation.WEIGHTED_SUM:
            phrase = f"{number} {units(name, quantity)} on average over the time"
        case Aggregation.MAX if meter.bucket_size is not None:
            return f"The highest values of “{name}” come to {number}"
        case Aggregation.MAX:
            return f"“{name}” has a highest value of {number}"
        case Aggregation.AVG:
            return f"“{name}” has an average value of {number}"
        case Aggregation.LATEST:
            return f"“{name}” has a latest value of {number}"
        case never:
            assert_never(never)
    return phrase


def is_clause(meter: Meter | None) -> bool:
    """Return whether what was used is a clause with the meter's name in it: the name is not what is counted."""
    return meter is not None and meter.aggregation in (Aggregation.MAX, Aggregation.AVG, Aggregation.LATEST)


def whole(meter: Meter | None, quantity: Decimal) -> str:
    """Return the quantity of which a row has a part."""
    if meter is not None and is_clause(meter):
        return f"{amount_of(quantity)} of “{meter.name}”"
    return used(meter, quantity)


def amount_of(quantity: Decimal) -> str:
    """Return a quantity for people; one with more than 6 decimals is rounded, and says so.

    >>> amount_of(Decimal("109783")), amount_of(Decimal("-1.50")), amount_of(Decimal("0.66666667"))
    ('109,783', '-1.5', 'about 0.666667')
    """
    rounded = quantity.quantize(_SHOWN, context=_ROUNDING)
    text = plain(rounded)
    if rounded == quantity:
        return _separated(text)
    if not rounded:
        return _separated(plain(quantity))
    return f"about {_separated(text)}"


def money(amount: Decimal, currency: str) -> str:
    """Return a rounded amount, with all the decimals of its currency.

    >>> money(Decimal("1234.5"), "usd"), money(Decimal(-3), "jpy"), money(Decimal(1), "kwd")
    ('$1,234.50', '-¥3', 'KD 1.000')
    """
    return _with_symbol(f"{amount.copy_abs():,.{precision(currency)}f}", currency, negative=amount < 0)


def unit_price(amount: Decimal, currency: str) -> str:
    """Return an amount that is not rounded, with at least the decimals of its currency.

    >>> unit_price(Decimal("0.00001"), "usd"), unit_price(Decimal("12.5"), "usd"), unit_price(Decimal(5), "jpy")
    ('$0.00001', '$12.50', '¥5')
    """
    integer, _, decimals = plain(amount.copy_abs()).partition(".")
    decimals = decimals.ljust(precision(currency), "0")
    text = f"{int(integer):,}.{decimals}" if decimals else f"{int(integer):,}"
    return _with_symbol(text, currency, negative=amount < 0)


def _with_symbol(text: str, currency: str, *, negative: bool) -> str:
    sign = symbol(currency) or currency.upper()
    space = " " if sign[-1].isalpha() else ""
    return f"{'-' if negative else ''}{sign}{space}{text}"


def grouped(value: Decimal) -> str:
    """Return a quantity with all its digits, and separators of thousands.

    >>> grouped(Decimal("-1234567.00000001"))
    '-1,234,567.00000001'
    """
    return _separated(plain(value))


def _separated(text: str) -> str:
    integer, point, decimals = text.partition(".")
    sign = "-" if integer.startswith("-") else ""
    return f"{sign}{int(integer.removeprefix('-')):,}{point}{decimals}"


def units(name: str, quantity: Decimal) -> str:
    """Return a name as a unit: in lower case unless it begins with an abbreviation, singular for 1.

    >>> units("Prompt tokens", Decimal(2)), units("API calls", Decimal(1)), units("Queries", Decimal(1))
    ('prompt tokens', 'API call', 'query')
    """
    first, rest = name[:1], name[1:]
    if rest[:1].islower():
        first = first.lower()
    return _singular(first + rest) if quantity == 1 else first + rest


def _singular(name: str) -> str:
    """Return a name with its last English plural in the singular; as it is, if there is none.

    >>> _singular("stored answers"), _singular("models in use"), _singular("storage GB"), _singular("gas used")
    ('stored answer', 'model in use', 'storage GB', 'gas used')
    """
    words = name.split(" ")
    for place in range(len(words) - 1, -1, -1):
        word = words[place]
        if len(word) >= _SHORTEST_PLURAL and word.endswith("s") and not word.endswith(("ss", "us", "is")):
            return " ".join((*words[:place], _singular_word(word), *words[place + 1 :]))
    return name


def _singular_word(word: str) -> str:
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-2] if word.endswith(("ches", "shes", "sses", "xes")) else word[:-1]

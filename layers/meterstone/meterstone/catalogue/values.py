"""The values of a catalogue's fields: how each is read, and how the reference and the JSON Schema describe it.

Types are strict: text is text, and a number may also be written as text (`"0.10"`). Instants are RFC 3339,
and UTC if they have no offset. A value of a closed set may be written in either case; it is kept as the set
spells it.

A type's `WithJsonSchema` has two readers. Its title is what `docs/catalogue.md` calls the type, the rest is what
an editor checks.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_before_validator_function

from meterstone.catalogue.countries import COUNTRIES
from meterstone.contracts.fields import (
    LONGEST_TEXT,
    amount,
    currency_code,
    instant,
    instant_text,
    label,
    money_text,
    quantity_text,
    spelled,
)
from meterstone.pricing.iso4217 import CURRENT, WITHDRAWN
from meterstone.pricing.money import DECIMALS, LARGEST_EXPONENT, PRICE_DIGITS, QUANTITY_DIGITS, number
from meterstone.usage.calendar import zone
from meterstone.usage.identifier import LONGEST_ID, checked_id
from meterstone.usage.instant import LONGEST_TEXT as LONGEST_INSTANT
from meterstone.usage.meter import property_text

# In the patterns of JSON Schema: characters that no text holds, and those that no text of several lines holds.
_CONTROL: Final = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
_CONTROL_IN_LINES: Final = r"\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029"


def _multiplier(value: Any) -> Decimal:
    return number(value, QUANTITY_DIGITS)


def _zone(name: str) -> str:
    zone(name)
    return name


def _country(code: str) -> str:
    # upper() maps some letters beyond ASCII onto ASCII letters.
    upper = code.upper() if code.isascii() else code
    if upper not in COUNTRIES:
        raise ValueError("is not an ISO 3166-1 alpha-2 country, such as NO")
    return upper


def _filter_value(value: Any) -> str:
    if isinstance(value, Decimal) and abs(value.adjusted()) > LARGEST_EXPONENT:
        # No event has such a number; written out, it could have millions of digits.
        raise ValueError(f"the exponent of a number is at most {LARGEST_EXPONENT}")
    text = None if isinstance(value, list | dict) else property_text(value)
    if text is None:
        raise ValueError("must be text, a number or true or false")
    return text


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError("must be a UUID") from None


def _text(title: str, **schema: Any) -> WithJsonSchema:
    return WithJsonSchema({"title": title, "type": "string", **schema})


def _number(title: str, digits: int, *, negative: bool = False) -> WithJsonSchema:
    """Describe a number that may be written as text, of at most so many integer digits and 18 decimals."""
    bounds = {"exclusiveMaximum": 10**digits} | ({"exclusiveMinimum": -(10**digits)} if negative else {})
    as_number = {"type": "number", **({} if negative else {"minimum": 0}), **bounds}
    # Which digits a text has is counted without leading and trailing zeros: with an exponent any may be fine.
    plainly = rf"0*[0-9]{{1,{digits}}}(?:\.[0-9]{{1,{DECIMALS}}}0*)?"
    pattern = rf"^{'-?' if negative else ''}(?:{plainly}|[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]{{1,3}})$"
    as_text = {"type": "string", "maxLength": LARGEST_EXPONENT, "pattern": pattern}
    return WithJsonSchema({"title": title, "anyOf": [as_number, as_text]})


def _codes(title: str, codes: Iterable[str]) -> WithJsonSchema:
    return WithJsonSchema({"title": title, **either_case(sorted(codes))})


def either_case(values: Iterable[str]) -> dict[str, Any]:
    """Return a JSON Schema that takes texts in either case; an editor offers them as they are given."""
    offered = [str(value) for value in values]
    return {"anyOf": [{"enum": offered}, {"type": "string", "pattern": f"^(?:{_any_case(offered)})$"}]}


def _any_case(values: Iterable[str]) -> str:
    """Return a pattern of texts in any case: JSON Schema has no flag that makes a pattern ignore it.

    >>> _any_case(["up", "15MIN"])
    '[Uu][Pp]|15[Mm][Ii][Nn]'
    """
    return "|".join(re.sub("[A-Za-z]", _both_cases, value) for value in values)


def _both_cases(letter: re.Match[str]) -> str:
    return f"[{letter[0].upper()}{letter[0].lower()}]"


@dataclass(frozen=True, slots=True)
class EitherCase:
    """Reads a text of a closed set in either case, and gives it as the set spells it."""

    values: tuple[str, ...]

    @classmethod
    def of(cls, values: Iterable[str]) -> "EitherCase":
        """Make one of an enum of texts, or of a list of them."""
        return cls(tuple(values))

    def spelled(self, value: Any) -> Any:
        """Return a text as the set spells it, and anything else as it is."""
        return spelled(value, self.values)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Spell the text before it is checked."""
        return no_info_before_validator_function(self.spelled, handler(source))

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe the set by its values."""
        return {"title": " · ".join(f"`{value}`" for value in self.values), **either_case(self.values)}


_ID_PATTERN = rf"^[^\s{_CONTROL}](?:[^{_CONTROL}]*[^\s{_CONTROL}])?$"
_INSTANT_PATTERN = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?$"
)
_INSTANT_TEXT = _text("instant", maxLength=LONGEST_INSTANT, pattern=_INSTANT_PATTERN)
_HEX = "[0-9A-Fa-f]"

Uuid = Annotated[
    str, AfterValidator(_uuid), _text("UUID", pattern=f"^{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}$")
]
Id = Annotated[
    str, AfterValidator(checked_id), _text("id", minLength=1, maxLength=LONGEST_ID, pattern=_ID_PATTERN)
]
Label = Annotated[
    str, AfterValidator(label), _text("text", maxLength=LONGEST_TEXT, pattern=f"^[^{_CONTROL_IN_LINES}]*$")
]
Instant = Annotated[int, BeforeValidator(instant), _INSTANT_TEXT]
InstantText = Annotated[str, BeforeValidator(instant_text), _INSTANT_TEXT]
Multiplier = Annotated[
    Decimal, BeforeValidator(_multiplier), _number("number", QUANTITY_DIGITS, negative=True)
]
#: A price's amounts: that they are not negative is checked with all that a price must be.
Number = Annotated[Decimal, BeforeValidator(number), _number("amount", PRICE_DIGITS)]
Amount = Annotated[Decimal, BeforeValidator(amount), _number("amount", PRICE_DIGITS)]
MoneyText = Annotated[str, BeforeValidator(money_text), _number("number", PRICE_DIGITS, negative=True)]
QuantityText = Annotated[
    str, BeforeValidator(quantity_text), _number("number", QUANTITY_DIGITS, negative=True)
]
TimeZone = Annotated[
    str,
    AfterValidator(_zone),
    _text("time zone", pattern="^[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,2}$"),
]
Country = Annotated[str, AfterValidator(_country), _codes("country", COUNTRIES)]
Currency = Annotated[
    str, AfterValidator(currency_code), _codes("currency", " ".join((*CURRENT.values(), WITHDRAWN)).split())
]
FilterValue = Annotated[
    str,
    BeforeValidator(_filter_value),
    WithJsonSchema({"title": "text, number or boolean", "type": ["string", "number", "boolean"]}),
]
Count = Annotated[
    int,
    Field(ge=1, le=10_000),
    WithJsonSchema({"title": "1 to 10000", "type": "integer", "minimum": 1, "maximum": 10_000}),
]
Whole = Annotated[int, WithJsonSchema({"title": "whole number", "type": "integer"})]

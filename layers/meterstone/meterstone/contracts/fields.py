"""Reading the fields of a JSON object, by the rules and in the words of the catalogue's files.

`Fields` reads an object field by field, and gathers what is wrong with it by path. The functions read single
values; each raises `ValueError` with the reason. The catalogue's models, which are pydantic's, use the same
functions: the rules are written once, and a request hears what `catalogue check` says.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from meterstone.pricing.currency import is_currency
from meterstone.pricing.money import QUANTITY_DIGITS, number, plain
from meterstone.usage.identifier import refuse_control
from meterstone.usage.instant import format_instant, parse_instant

LONGEST_TEXT: Final = 10_000
"""Characters of a text that describes something."""

NOT_TEXT: Final = "must be text; a number or a boolean is text in quotes"
NOT_WHOLE: Final = "must be a whole number"
NOT_A_LIST: Final = "must be a list"
NOT_A_MAPPING: Final = "must be a mapping"
REQUIRED: Final = "is required"
UNKNOWN_FIELD: Final = "is not a known field"


def label(text: str) -> str:
    """Check a text that describes something. Raises `ValueError`."""
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"has {len(text)} characters, {LONGEST_TEXT} are allowed")
    refuse_control(text, "\n\t")
    return text


def currency_code(code: str) -> str:
    """Return a currency in lower case. Raises `ValueError`."""
    if not is_currency(code):
        raise ValueError("is not an ISO 4217 currency")
    return code.lower()


def instant(value: object) -> int:
    """Read an instant. Raises `ValueError`."""
    if not isinstance(value, str):
        raise ValueError("must be an RFC 3339 date and time, such as 2026-01-31T00:00:00Z")  # noqa: TRY004 - as the catalogue's models need it
    return parse_instant(value)


def instant_text(value: object) -> str:
    """Read an instant, and return it as it is written. Raises `ValueError`."""
    return format_instant(instant(value))


def money_text(value: object) -> str:
    """Read an amount that is only shown, and return its text. Raises `ValueError`."""
    return plain(number(value))


def quantity_text(value: object) -> str:
    """Read a quantity that is only shown, and return its text. Raises `ValueError`."""
    return plain(number(value, QUANTITY_DIGITS))


def amount(value: object) -> Decimal:
    """Read an amount that is not below zero. Raises `ValueError`."""
    found = number(value)
    if found < 0:
        raise ValueError("must not be negative")
    return found


class Fields:
    """A JSON object whose fields are read one by one. What is wrong with them is added to ``faults`` by path."""

    def __init__(self, raw: object, path: str, faults: dict[str, str]) -> None:
        """Read an object at a path, which is empty at the root."""
        self._raw = raw if isinstance(raw, dict) else {}
        self._path = path
        self._faults = faults
        self._read: set[str] = set()
        #: The fields that were wrong, and have the value for their absence.
        self.broken: set[str] = set()
        self._refused = not isinstance(raw, dict)
        if self._refused:
            faults[path] = NOT_A_MAPPING

    def at(self, name: str) -> str:
        """Return the path of a field."""
        return f"{self._path}.{name}" if self._path else name

    def has(self, name: str) -> bool:
        """Return whether the object has a field."""
        return name in self._raw

    def fault(self, name: str, reason: str) -> None:
        """Say what is wrong with a field."""
        self.broken.add(name)
        self._faults[self.at(name)] = reason

    def get[Value](
        self, name: str, read: Callable[[Any], Value], absent: Value, *, nullable: bool = False
    ) -> Value:
        """Read a field by a function that raises `ValueError`; an absent one is ``absent``."""
        self._read.add(name)
        if name not in self._raw or (nullable and self._raw[name] is None):
            return absent
        try:
            return read(self._raw[name])
        except ValueError as error:
            self.fault(name, str(error))
            return absent

    def require[Value](self, name: str, read: Callable[[Any], Value], absent: Value) -> Value:
        """Read a field that must be there."""
        if name not in self._raw:
            self._read.add(name)
            if not self._refused:
                self.fault(name, REQUIRED)
            return absent
        return self.get(name, read, absent)

    def each(self, name: str, *, nullable: bool = False) -> list[tuple[str, Any]]:
        """Return the elements of a list, each with its path; none if the field is absent or no list."""
        self._read.add(name)
        found = self._raw.get(name)
        if name not in self._raw or (nullable and found is None):
            return []
        if not isinstance(found, list):
            self.fault(name, NOT_A_LIST)
            return []
        return [(f"{self.at(name)}[{index}]", value) for index, value in enumerate(found)]

    def inner(self, name: str, *, nullable: bool = False) -> "Fields | None":
        """Return the fields of an object in the object; None if the field is absent."""
        self._read.add(name)
        if name not in self._raw or (nullable and self._raw[name] is None):
            return None
        found = Fields(self._raw[name], self.at(name), self._faults)
        if self.at(name) in self._faults:
            self.broken.add(name)
        return found

    def element(self, name: str, raw: object, path: str) -> "Fields":
        """Return the fields of an object in a list of the object."""
        found = Fields(raw, path, self._faults)
        if path in self._faults:
            self.broken.add(name)
        return found

    def close(self, name: str, inner: "Fields") -> None:
        """End the reading of an inner object: refuse what was not read, and note whether it was wrong."""
        inner.refuse_others()
        if inner.broken:
            self.broken.add(name)

    def items(self) -> list[tuple[str, Any]]:
        """Return all fields, for an object whose names are free."""
        self._read.update(self._raw)
        return list(self._raw.items())

    def refuse_others(self) -> None:
        """Refuse the fields that nothing has asked for."""
        for name in self._raw:
            if name not in self._read:
                self.fault(name, UNKNOWN_FIELD)


def text_of(read: Callable[[str], str]) -> Callable[[object], str]:
    """Return a reader of texts that follow a rule."""

    def reader(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(NOT_TEXT)  # noqa: TRY004 - every reason is a ValueError
        return read(value)

    return reader


def one_of[Choice: StrEnum](kind: type[Choice]) -> Callable[[object], Choice]:
    """Return a reader of an enumeration's values."""
    read = choice([str(each) for each in kind])
    return lambda value: kind(read(value))


def whole(at_least: int | None = None, at_most: int | None = None) -> Callable[[object], int]:
    """Return a reader of whole numbers within bounds."""

    def reader(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(NOT_WHOLE)  # noqa: TRY004 - every reason is a ValueError
        if at_least is not None and value < at_least:
            raise ValueError(f"should be greater than or equal to {at_least}")
        if at_most is not None and value > at_most:
            raise ValueError(f"should be less than or equal to {at_most}")
        return value

    return reader


def choice(values: list[str]) -> Callable[[object], str]:
    """Return a reader of texts that are one of some values in either case, given as the set spells them."""
    *most, last = [f"'{each}'" for each in values]
    listed = f"{', '.join(most)} or {last}" if most else last

    def reader(given: object) -> str:
        value = spelled(given, values)
        if not isinstance(value, str) or value not in values:
            raise ValueError(f"should be {listed}")
        return value

    return reader


def spelled(value: object, values: Iterable[str]) -> object:
    """Return a text that is one of some values in either case as the set spells it, and anything else as it is.

    >>> spelled("flat_fee", ["FLAT_FEE"]), spelled("none", ["FLAT_FEE"])
    ('FLAT_FEE', 'none')
    """
    # upper() maps some letters beyond ASCII onto ASCII letters.
    if not isinstance(value, str) or not value.isascii():
        return value
    return {each.upper(): each for each in values}.get(value.upper(), value)

"""Reading the fields of Flexprice's objects, each wrong one with its path and the reason.

Flexprice's clients leave a field out, or write `null`, an empty text or Go's zero time: all mean that the field is
not given. Unknown fields are ignored. Known fields that cannot be honoured are refused by name if they ask for
something: `null`, `false`, 0 and what is empty do not.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from meterstone.contracts import flexprice
from meterstone.contracts.fields import Fields, amount, choice, currency_code, instant, label, text_of
from meterstone.contracts.lago import COUNTRIES
from meterstone.contracts.message import Request
from meterstone.contracts.preview import read_number
from meterstone.pricing.money import plain
from meterstone.usage.calendar import zone
from meterstone.usage.identifier import checked_id
from meterstone.usage.instant import ZERO_TIME, format_instant

LONGEST_BODY: Final = 1_000_000
"""Characters of a body: a subscription may list 1,000 line items."""

LONGEST_TEXT: Final = 1000
"""Characters of a text that is kept and given back: with all of them, a record must fit into one item."""

MOST_KEYS: Final = 50
"""Keys of an object's metadata."""


class Reader:
    """Reads the fields of an object one by one, and gathers what is wrong with them by their paths."""

    def __init__(self, raw: object, path: str = "", faults: dict[str, str] | None = None) -> None:
        """Read an object at a path, which is empty at the root."""
        self.faults: dict[str, str] = {} if faults is None else faults
        given = (
            {name: value for name, value in raw.items() if value is not None}
            if isinstance(raw, dict)
            else raw
        )
        self.fields = Fields(given, path, self.faults)
        self._raw: Mapping[str, Any] = given if isinstance(given, dict) else {}

    @classmethod
    def of(cls, request: Request) -> "Reader":
        """Read a request's body. Raises `RequestRefusedError` (400) if it is no JSON object."""
        return cls(flexprice.read_object(request, read_number, LONGEST_BODY))

    def has(self, name: str) -> bool:
        """Return whether a field is there and not null. It may be empty."""
        return name in self._raw

    def given(self, name: str) -> bool:
        """Return whether a field is there, and neither null nor an empty text."""
        return bool(self._raw.get(name, "") != "")

    def get[Value](self, name: str, read: Callable[[Any], Value]) -> Value | None:
        """Read a field; None if it is not given, or wrong."""
        return self.fields.get(name, read, None) if self.given(name) else None

    def require[Value](self, name: str, read: Callable[[Any], Value], absent: Value) -> Value:
        """Read a field that must be given; ``absent`` if it is not, or wrong."""
        if not self.given(name):
            self.fault(name, "is required")
            return absent
        return self.fields.get(name, read, absent)

    def texts(self, name: str, most: int) -> list[str] | None:
        """Read a list of ids; None if it is not given, or wrong."""
        if not self.has(name):
            return None
        listed = self.fields.each(name)
        if len(listed) > most:
            self.fault(name, f"has {len(listed)} entries, {most} are allowed")
            return None
        found = []
        for path, raw in listed:
            try:
                found.append(text_of(checked_id)(raw))
            except ValueError as error:
                self.faults[path] = str(error)
        return found

    def each(self, name: str, most: int) -> "list[Reader]":
        """Return readers of the objects in a list; none if it is not given, or wrong."""
        listed = self.fields.each(name) if self.has(name) else []
        if len(listed) > most:
            self.fault(name, f"has {len(listed)} entries, {most} are allowed")
            return []
        return [Reader(raw, path, self.faults) for path, raw in listed]

    def metadata(self, name: str = "metadata") -> dict[str, str] | None:
        """Read a map of text to text; None if it is not given, or wrong."""
        inner = self.fields.inner(name) if self.has(name) else None
        if inner is None:
            return None
        pairs = inner.items()
        if len(pairs) > MOST_KEYS:
            self.fault(name, f"has {len(pairs)} keys, {MOST_KEYS} are allowed")
            return None
        found: dict[str, str] = {}
        for key, value in pairs:
            try:
                found[checked_id(key)] = short_text(value)
            except ValueError as error:
                self.faults[self.fields.at(name)] = f"has a bad entry: {error}"
        return found

    def refuse(self, names: Mapping[str, str]) -> None:
        """Refuse the fields that cannot be honoured, each with the reason, if they ask for something."""
        for name, reason in names.items():
            if asks(self._raw.get(name)):
                self.fault(name, f"is not supported: {reason}")

    def fault(self, name: str, reason: str) -> None:
        """Say what is wrong with a field."""
        self.fields.fault(name, reason)

    def check(self) -> None:
        """Raise `RequestRefusedError` (400) with all that is wrong."""
        if self.faults:
            flexprice.refuse_fields(self.faults)


def asks(value: object) -> bool:
    """Return whether a field asks for anything.

    >>> asks(False), asks([]), asks(0), asks("0"), asks({"a": 1})
    (False, False, False, True, True)
    """
    return bool(value)


def short_text(value: object) -> str:
    """Read a text that is kept and given back. Raises `ValueError`."""
    found = text_of(label)(value)
    if len(found) > LONGEST_TEXT:
        raise ValueError(f"has {len(found)} characters, {LONGEST_TEXT} are allowed")
    return found


def boolean(value: object) -> bool:
    """Read true or false. Raises `ValueError`."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - every reason is a ValueError
    return value


def moment(value: object) -> int | None:
    """Read an instant; None for Go's zero time. Raises `ValueError`."""
    found = instant(value)
    return None if found == ZERO_TIME else found


def country(value: object) -> str:
    """Read a country, and return it in upper case. Raises `ValueError`."""
    # upper() would map some letters beyond ASCII onto ASCII letters.
    if not isinstance(value, str) or not value.isascii() or value.upper() not in COUNTRIES:
        raise ValueError("is not an ISO 3166-1 alpha-2 country, such as NO")
    return value.upper()


def timezone(value: object) -> str:
    """Read the name of a time zone. Raises `ValueError`."""
    return zone(text_of(str)(value)).name


def money(value: object) -> str:
    """Read an amount that is not below zero, as the text that the catalogue's files have. Raises `ValueError`."""
    return plain(amount(value))


identifier: Final = text_of(checked_id)
currency: Final = text_of(currency_code)


def one_of(values: Sequence[str]) -> Callable[[object], str]:
    """Return a reader of texts that are one of some values, in either case."""
    return choice([str(each) for each in values])


def written_moment(at: int | None) -> str | None:
    """Write an instant for the catalogue's files; None if there is none."""
    return None if at is None else format_instant(at)

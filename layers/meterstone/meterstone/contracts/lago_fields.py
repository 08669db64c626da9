"""Reading the fields of Lago's objects one by one, each wrong one with Lago's code and the reason in words."""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from meterstone.contracts import lago
from meterstone.contracts.lago import Fault, ValueFaultError, unprocessable
from meterstone.contracts.message import RequestRefusedError
from meterstone.pricing.currency import is_currency
from meterstone.usage.calendar import zone
from meterstone.usage.identifier import LONGEST_ID, checked_id, refuse_control
from meterstone.usage.instant import parse_instant

NOT_SUPPORTED: Final = "not_supported"
ALREADY_EXISTS: Final = "value_already_exist"

LONGEST_TEXT: Final = 1000
"""Characters of a text that is kept and given back: with all its fields, a record must fit into one item."""


class Reader:
    """Reads the fields of an object one by one, and gathers what is wrong with them by their paths."""

    def __init__(
        self, raw: Mapping[str, Any], path: str = "", faults: dict[str, Fault] | None = None
    ) -> None:
        """Read an object at a path, which is empty at the root."""
        self._raw = raw
        self._path = path
        self.faults: dict[str, Fault] = {} if faults is None else faults

    def at(self, name: str) -> str:
        """Return the path of a field."""
        return f"{self._path}.{name}" if self._path else name

    @property
    def names(self) -> AbstractSet[str]:
        """The names of the object's fields."""
        return self._raw.keys()

    def has(self, name: str) -> bool:
        """Return whether the object has a field, be it null."""
        return name in self._raw

    def get[Value](self, name: str, read: Callable[[Any], Value]) -> Value | None:
        """Read a field; None if it is absent, null or wrong."""
        value = self._raw.get(name)
        if value is None:
            return None
        try:
            return read(value)
        except ValueFaultError as error:
            self.faults[self.at(name)] = error.fault
            return None

    def require(self, name: str, read: Callable[[Any], str]) -> str:
        """Read a text that must be there; empty if it is not, or wrong."""
        value = self._raw.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            self.faults[self.at(name)] = Fault(lago.MISSING, "is required")
            return ""
        return self.get(name, read) or ""

    def given[Value](self, readers: Mapping[str, Callable[[Any], Value]]) -> dict[str, Value | None]:
        """Read the fields that are there: null ones are None, wrong ones are left out."""
        found = {name: self.get(name, read) for name, read in readers.items() if name in self._raw}
        return {name: value for name, value in found.items() if self.at(name) not in self.faults}

    def inner(self, name: str) -> "Reader | None":
        """Return a reader of an object in the object; None if it is absent, null or no object."""
        raw = self._raw.get(name)
        if raw is None:
            return None
        if not isinstance(raw, dict):
            self.faults[self.at(name)] = Fault(lago.INVALID, "must be an object")
            return None
        return Reader(raw, self.at(name), self.faults)

    def each(self, name: str, most: int) -> "list[Reader]":
        """Return readers of the objects in a list; none if it is absent or null."""
        raw = self._raw.get(name)
        if raw is None:
            return []
        if not isinstance(raw, list):
            self.faults[self.at(name)] = Fault(lago.INVALID, "must be a list")
            return []
        if len(raw) > most:
            self.faults[self.at(name)] = Fault(lago.TOO_LONG, f"has {len(raw)} entries, {most} are allowed")
            return []
        found = []
        for place, value in enumerate(raw):
            path = f"{self.at(name)}[{place}]"
            if isinstance(value, dict):
                found.append(Reader(value, path, self.faults))
            else:
                self.faults[path] = Fault(lago.INVALID, "must be an object")
        return found

    def refuse(self, names: Mapping[str, str]) -> None:
        """Refuse the fields that cannot be honoured, each with the reason, if they ask for anything."""
        for name, reason in names.items():
            if _asks(self._raw.get(name)):
                self.faults[self.at(name)] = unsupported(reason)

    def refuse_all(self, name: str, reason: str, but: Iterable[str] = ()) -> None:
        """Refuse every field of an object in the object, but for some."""
        inner = self.inner(name)
        if inner is not None:
            inner.refuse(dict.fromkeys(sorted(inner.names - set(but)), reason))

    def check(self) -> None:
        """Raise `RequestRefusedError` (422) with all that is wrong, in the order of the fields' names."""
        if self.faults:
            raise RequestRefusedError(unprocessable(dict(sorted(self.faults.items()))))


def unsupported(reason: str) -> Fault:
    """Return what is wrong with a field or a parameter that cannot be honoured."""
    return Fault(lago.INVALID, f"is not supported: {reason}", NOT_SUPPORTED)


def identifier(value: object) -> str:
    """Read an id that is to be stored. Raises `ValueFaultError`."""
    found = text_of(LONGEST_ID)(value)
    try:
        return checked_id(found)
    except ValueError as error:
        raise ValueFaultError(lago.INVALID, str(error)) from error


def text_of(longest: int) -> Callable[[object], str]:
    """Return a reader of texts of at most so many characters."""

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise ValueFaultError(lago.INVALID, "must be a string")
        if len(value) > longest:
            raise ValueFaultError(lago.TOO_LONG, f"has {len(value)} characters, {longest} are allowed")
        try:
            refuse_control(value, "\n\t")
        except ValueError as error:
            raise ValueFaultError(lago.INVALID, str(error)) from error
        return value

    return read


def one_of(*values: str) -> Callable[[object], str]:
    """Return a reader of texts that are one of some."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in values:
            raise ValueFaultError(lago.INVALID, f"must be one of {', '.join(values)}")
        return value

    return read


def whole(most: int) -> Callable[[object], int]:
    """Return a reader of whole numbers from 0 to a greatest."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueFaultError(lago.INVALID, "must be a whole number")
        if not 0 <= value <= most:
            raise ValueFaultError(lago.OUT_OF_RANGE, f"must be from 0 to {most}")
        return value

    return read


def boolean(value: object) -> bool:
    """Read true or false. Raises `ValueFaultError`."""
    if not isinstance(value, bool):
        raise ValueFaultError(lago.INVALID, "must be true or false")
    return value


def currency(value: object) -> str:
    """Read a currency, and return it in lower case. Raises `ValueFaultError`."""
    if not isinstance(value, str) or not is_currency(value):
        raise ValueFaultError(lago.INVALID, "is not an ISO 4217 currency, such as USD")
    return value.lower()


def country(value: object) -> str:
    """Read a country, and return it in upper case. Raises `ValueFaultError`."""
    # upper() would map some letters beyond ASCII onto ASCII letters.
    if not isinstance(value, str) or not value.isascii() or value.upper() not in lago.COUNTRIES:
        raise ValueFaultError(lago.INVALID_COUNTRY, "is not an ISO 3166-1 alpha-2 country, such as NO")
    return value.upper()


def timezone(value: object) -> str:
    """Read the name of a time zone. Raises `ValueFaultError`."""
    try:
        return zone(value).name if isinstance(value, str) else _no_zone()
    except ValueError as error:
        raise ValueFaultError(lago.INVALID, str(error)) from error


def instant(value: object) -> int:
    """Read an instant. Raises `ValueFaultError`."""
    if isinstance(value, str):
        try:
            return parse_instant(value)
        except ValueError:
            pass
    raise ValueFaultError(lago.INVALID_DATE, "must be a date and time, such as 2026-01-31T00:00:00Z")


def _no_zone() -> str:
    raise ValueFaultError(lago.INVALID, "must be the name of a time zone, such as Europe/Berlin")


def _asks(value: object) -> bool:
    """Return whether a field asks for anything: null, false and what is empty do not."""
    return value is not None and value is not False and value not in ("", [], {})

"""Events on their way in: what each must be, the same whether it stands in a file or comes over HTTP.

Text is read by `decode`, which keeps every number as it came. What comes out of it may hold numbers that no
property may be (`Unusable`), of more than 100 characters or with an exponent beyond 100, and halves of surrogate
pairs. `checked_properties` and the readers of ids and times refuse them one event at a time, so that the events
beside a bad one can still be taken. How many digits a meter reads is the meter's affair: a long number in a
property that nobody meters is let in.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from math import floor
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

from meterstone.pricing.errors import NumberError
from meterstone.pricing.money import CONTEXT, LONGEST_NUMBER, exact_number, plain
from meterstone.usage.instant import END_OF_TIME, MINUTE, SECOND, ZERO_TIME
from meterstone.usage.meter import Event, Property

LARGEST_EVENT: Final = 65_536
"""Bytes of an event's name, time and properties as JSON."""

AHEAD: Final = 5 * MINUTE
"""How far ahead of the clock an event may lie, in microseconds: clocks differ."""

DEEPEST: Final = 32
"""Lists and objects that may stand inside each other in a property."""

_SHOWN = 40
#: A number of at most 15 integer and 15 decimal digits is plain in an event's content, however it was written.
_PLAIN_DIGITS = 15
_PLAIN = re.compile(rf"-?[0-9]{{1,{_PLAIN_DIGITS}}}(?:\.[0-9]{{1,{_PLAIN_DIGITS}}})?")
_MILLISECONDS = 1000
#: More than the milliseconds of all years. Writing out the microseconds of 1e100 seconds would be of no use.
_PAST_ALL_SECONDS = Decimal(10) ** 15
#: Units in which such a large number is a time from 2001 on, and how many of them are a second.
_FINER_UNITS = (("microseconds", 10**6), ("nanoseconds", 10**9))
_SINCE = 10**9
_FLAT = frozenset({str, int, bool, Decimal, type(None)})
_encode = msgspec.json.Encoder(order="deterministic", decimal_format="number").encode


class InadmissibleError(ValueError):
    """What is not let in; the message says why."""


class TooFarAheadError(InadmissibleError):
    """The event's time is more than `AHEAD` after the clock's."""


class InMillisecondsError(InadmissibleError):
    """A time in milliseconds where seconds are asked for."""


class Outcome(StrEnum):
    """What the log says of an event."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class Subject(NamedTuple):
    """Whose event it is: a subscription's or a customer's, by its external id."""

    kind: str
    external_id: str

    @classmethod
    def subscription(cls, external_id: str) -> "Subject":
        """Name a subscription."""
        return cls("s", external_id)

    @classmethod
    def customer(cls, external_id: str) -> "Subject":
        """Name a customer."""
        return cls("c", external_id)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event that came over HTTP at the instant ``accepted``.

    ``dated`` tells whether the client gave its time; if not, the event's time is that instant, and is no part of
    its ``content``. ``notes`` are what the client said beside the event: kept with it, part of nothing.
    """

    subject: Subject
    event: Event
    content: str
    accepted: int
    dated: bool = True
    notes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, subject: Subject, event: Event, now: int, notes: Mapping[str, str], *, dated: bool
    ) -> "Arrival":
        """Take an event in. Raises `TooFarAheadError`, and `InadmissibleError` if it is too large."""
        if event.at > now + AHEAD:
            raise TooFarAheadError("is more than 5 minutes ahead of the clock")
        text = content(event, dated=dated)
        if too_large(text):
            raise InadmissibleError(f"has more than {LARGEST_EVENT} bytes")
        return cls(subject, event, text, now, dated, notes)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a request's arrivals, by their places in it.

    ``unmatched`` says of those that count nowhere why (see `receipt.Reason`): they are logged all the same.
    """

    outcomes: Mapping[int, Outcome]
    unmatched: Mapping[int, str] = field(default_factory=dict)


class Unusable:
    """A JSON number that no property may be, and why."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


def content(event: Event, *, dated: bool = True) -> str:
    """Give what an event says, as text that is the same for the same content.

    An event that the client did not date says nothing of its time, so that a retry of it says the same.

    >>> content(Event("t1", "calls", 0, {"b": Decimal("1.50"), "a": None}), dated=False)
    '["calls",null,{"a":null,"b":1.50}]'
    """
    return _encode([event.name, event.at if dated else None, event.properties]).decode()


def too_large(text: str) -> bool:
    """Tell whether an event's content has more bytes than are stored."""
    # No character has more than four bytes, most have one.
    return len(text) > LARGEST_EVENT or (
        len(text) * 4 > LARGEST_EVENT and not text.isascii() and len(text.encode()) > LARGEST_EVENT
    )


def decode(text: str) -> Any:
    """Read JSON: numbers are `int`, `Decimal` or `Unusable`.

    Raises `InadmissibleError`, also for a repeated key.
    """
    try:
        return _decode(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise InadmissibleError(f"is not JSON: {error.msg} ({line}column {error.colno})") from error
    except RecursionError:
        raise InadmissibleError("is nested too deeply") from None


def escapes(text: str) -> bool:
    """Tell whether what `decode` makes of the text could hold halves of surrogate pairs."""
    return "\\u" in text or not text.isascii()


def checked_properties(value: object, *, escaped: bool) -> dict[str, Property]:
    """Give an event's properties; null is none. ``escaped`` is what `escapes` said. Raises `InadmissibleError`."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InadmissibleError("properties must be an object")
    for inner in value.values():
        if type(inner) not in _FLAT:
            _check(inner, DEEPEST)
    if escaped:
        check_text(value)
    return value


def check_text(value: object) -> None:
    """Refuse halves of surrogate pairs, which JSON can escape and no UTF-8 text can hold."""
    match value:
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InadmissibleError("holds half of a surrogate pair, which is no text") from None
        case list():
            for inner in value:
                check_text(inner)
        case dict():
            for key, inner in value.items():
                check_text(key)
                check_text(inner)
        case _:
            pass


def instant_of_seconds(value: object) -> int:
    """Read an instant from seconds since the Unix epoch, a number or its text, to the microsecond.

    Raises `InadmissibleError` (`InMillisecondsError`), and `NotANumberError` for text that is no number.

    >>> instant_of_seconds("1.5000009"), instant_of_seconds(-1)
    (1500000, -1000000)
    """
    if isinstance(value, Unusable):
        raise InadmissibleError(value.reason)
    seconds = exact_number(value)
    if seconds.copy_abs() < _PAST_ALL_SECONDS:
        at = floor(seconds.scaleb(6, CONTEXT))
        if ZERO_TIME <= at < END_OF_TIME:
            return at
        if ZERO_TIME <= at // _MILLISECONDS < END_OF_TIME:
            raise InMillisecondsError("is in milliseconds: give seconds")
    for unit, in_a_second in _FINER_UNITS:
        if _SINCE * in_a_second <= seconds < END_OF_TIME // SECOND * in_a_second:
            raise InadmissibleError(f"is in {unit}: give seconds")
    raise InadmissibleError("outside the years 1 to 9999")


def _check(value: object, depth: int) -> None:
    match value:
        case Unusable():
            raise InadmissibleError(value.reason)
        case list() | dict():
            if depth == 0:
                raise InadmissibleError("properties are nested too deeply")
            for inner in value if isinstance(value, list) else value.values():
                _check(inner, depth - 1)
        case _:
            pass


def _integer(text: str) -> int | Unusable:
    # Checked before it is read: reading a number of 60,000 digits would take long.
    return Unusable(_too_long(text)) if len(text) > LONGEST_NUMBER else int(text)


def _decimal(text: str) -> Decimal | Unusable:
    if len(text) > LONGEST_NUMBER:
        return Unusable(_too_long(text))
    try:
        return _as_logged(exact_number(text))
    except NumberError as error:
        return Unusable(f"the number {text[:_SHOWN]}: {error}")


def _as_logged(value: Decimal) -> Decimal:
    """Give a number as the log has it: as it came, or plain if it is short.

    Events were logged when only short numbers were let in, all of them plain: come again, they must say the same.
    """
    if _PLAIN.fullmatch(str(value)) or value.adjusted() >= _PLAIN_DIGITS:
        return value
    text = plain(value)
    return Decimal(text) if _PLAIN.fullmatch(text) else value


def _too_long(text: str) -> str:
    return f"a number has {len(text)} characters, {LONGEST_NUMBER} are allowed"


def _constant(text: str) -> NoReturn:
    raise InadmissibleError(f"holds {text}, which is not a number of the form -12.5")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        raise InadmissibleError(f"repeats the key {next(key for key in keys if keys.count(key) > 1)!r}")
    return fields


_decode: Callable[[str], Any] = json.JSONDecoder(
    parse_int=_integer, parse_float=_decimal, parse_constant=_constant, object_pairs_hook=_object
).decode

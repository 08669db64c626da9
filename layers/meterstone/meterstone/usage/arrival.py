"""Events on their way in: the rules for an event, the same in a file and over HTTP.

`decode` reads the JSON text and keeps every number as it came. Its result may still hold values that no property
may have: numbers of more than 100 characters or with an exponent beyond 100 (as `Unusable`), and halves of
surrogate pairs. `checked_properties` and the readers of ids and times refuse such values event by event, so that
the other events of a request or file can be taken. How many digits a meter reads is decided by the meter: a long
number in a property that no meter reads is let in.
"""

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import StrEnum
from math import floor
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

from meterstone.pricing.errors import NumberError
from meterstone.pricing.money import CONTEXT, LONGEST_NUMBER, exact_number, plain
from meterstone.usage.identifier import quoted, repeated_key
from meterstone.usage.instant import END_OF_TIME, MINUTE, SECOND, ZERO_TIME
from meterstone.usage.meter import Event, Property

LARGEST_EVENT: Final = 65_536
"""Bytes of an event's name, time and properties as JSON."""

AHEAD: Final = 5 * MINUTE
"""How far ahead of the clock an event's time may be, in microseconds, since clocks differ."""

DEEPEST: Final = 32
"""How deep lists and objects may be nested in a property."""

_SHOWN = 40
#: A number of at most 15 integer and 15 decimal digits is written plainly (no exponent) in an event's content.
_PLAIN_DIGITS = 15
_PLAIN = re.compile(rf"-?[0-9]{{1,{_PLAIN_DIGITS}}}(?:\.[0-9]{{1,{_PLAIN_DIGITS}}})?")
_MILLISECONDS = 1000
#: More than the milliseconds of all years. A number beyond it is no time, and is not converted to microseconds.
_PAST_ALL_SECONDS = Decimal(10) ** 15
#: Units in which such a large number is a time from 2001 on, and how many of them are a second.
_FINER_UNITS = (("microseconds", 10**6), ("nanoseconds", 10**9))
_SINCE = 10**9
_FLAT = frozenset({str, int, bool, Decimal, type(None)})
_encode = msgspec.json.Encoder(order="deterministic", decimal_format="number").encode


class InadmissibleError(ValueError):
    """An event, or a part of one, is not let in. The message says why."""


class TooFarAheadError(InadmissibleError):
    """The event's time is more than `AHEAD` after the clock's time."""


class InMillisecondsError(InadmissibleError):
    """A time is given in milliseconds, where seconds are expected."""


class Outcome(StrEnum):
    """Whether an event was new to the event log.

    A conflict is a known transaction id with another content. Of an event that is unavailable it is not known
    whether it is in the log: the table did not say so in time. It can be sent again.
    """

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    UNAVAILABLE = "unavailable"


class Subject(NamedTuple):
    """Whose event it is: a subscription's or a customer's, by its external id."""

    kind: str
    external_id: str

    @classmethod
    def subscription(cls, external_id: str) -> "Subject":
        """Return a subscription as a subject."""
        return cls("s", external_id)

    @classmethod
    def customer(cls, external_id: str) -> "Subject":
        """Return a customer as a subject."""
        return cls("c", external_id)


class Arrival(msgspec.Struct, frozen=True):
    """An event that came over HTTP at the instant ``accepted``.

    ``dated`` says whether the client gave the event's time. If not, the time is ``accepted``, and the ``content``
    has no time. ``notes`` is what the client sent beside the event: logged, but neither compared nor counted.
    """

    subject: Subject
    event: Event
    content: str
    accepted: int
    dated: bool = True
    notes: Mapping[str, str] = msgspec.field(default_factory=dict)

    @classmethod
    def of(
        cls, subject: Subject, event: Event, now: int, notes: Mapping[str, str], *, dated: bool
    ) -> "Arrival":
        """Make an arrival of an event. Raises `TooFarAheadError`, and `InadmissibleError` if it is too large."""
        if event.at > now + AHEAD:
            raise TooFarAheadError("is more than 5 minutes ahead of the clock")
        text = content(event, dated=dated)
        if too_large(text):
            raise InadmissibleError(f"has more than {LARGEST_EVENT} bytes")
        return cls(subject, event, text, now, dated, notes)


class Receipt(msgspec.Struct, frozen=True):
    """What became of a request's arrivals, by their places in it.

    ``unmatched`` has the reasons why events count nowhere (see `receipt.Reason`). They are logged all the same.
    """

    outcomes: Mapping[int, Outcome]
    unmatched: Mapping[int, str] = msgspec.field(default_factory=dict)


class Unusable:
    """A JSON number that no property may have, and the reason."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


def content(event: Event, *, dated: bool = True) -> str:
    """Return an event's content, as text that is equal for equal content.

    The content has the time only if the client gave it: a retry of an event without a time has the same content.

    >>> content(Event("t1", "calls", 0, {"b": Decimal("1.50"), "a": None}), dated=False)
    '["calls",null,{"a":null,"b":1.50}]'
    """
    return _encode([event.name, event.at if dated else None, event.properties]).decode()


def too_large(text: str) -> bool:
    """Return whether an event's content has more than `LARGEST_EVENT` bytes."""
    # A character has at most four bytes, and mostly one: few texts need to be encoded to be measured.
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
    """Return whether the values that `decode` reads from the text could hold halves of surrogate pairs."""
    return "\\u" in text or not text.isascii()


def checked_properties(value: object, *, escaped: bool) -> dict[str, Property]:
    """Return an event's properties, checked. Raises `InadmissibleError`.

    Null stands for no properties. ``escaped`` is what `escapes` said of the text that they were read from.
    """
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
    """Return a number as the event log keeps it: as it came, or without an exponent if it is short.

    Older events were logged when only short numbers were let in, all without an exponent. When such an event comes
    again, its content must be the same.
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
    if len(fields) < len(pairs) and (repeated := repeated_key(key for key, _ in pairs)) is not None:
        raise InadmissibleError(f"repeats the key {quoted(repeated)}")
    return fields


_decode: Callable[[str], Any] = json.JSONDecoder(
    parse_int=_integer, parse_float=_decimal, parse_constant=_constant, object_pairs_hook=_object
).decode

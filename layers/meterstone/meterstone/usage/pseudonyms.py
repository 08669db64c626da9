"""Pseudonyms: what stands for a customer's ids and texts once the customer is purged.

A pseudonym is the keyed hash of a text (HMAC-SHA256, 128 bits of it). The key is random, and is thrown away when
the purge is over: then nobody can tell the text, or that two purges had the same one. Within a purge equal texts
have equal pseudonyms, and different texts different ones.

What meters read stays as far as it decides a count: numbers that a meter adds up, and values that a filter asks
for. A value that COUNT_UNIQUE counts becomes a pseudonym, of which there are as many. By property, not by meter: a
property has one rule for all events, so that two of its values are equal afterwards if they were before.
"""

import hmac
from collections.abc import Iterable
from hashlib import sha256

from meterstone.pricing.errors import NotANumberError, NumberOutOfRangeError
from meterstone.pricing.money import reading
from meterstone.usage.aggregation import AGGREGATORS
from meterstone.usage.aggregation.base import Reads
from meterstone.usage.meter import Event, Meter, Property, property_text

_DIGITS = 32
#: The texts of the truth values, which are numbers to no meter and name nobody.
_TRUTH = frozenset({"true", "false"})


class Pseudonyms:
    """The pseudonyms of one purge, by its secret key and the organization's meters."""

    def __init__(self, secret: bytes, meters: Iterable[Meter] = ()) -> None:
        """Take the key, and all meters that may ever count the customer's events."""
        self._secret = secret
        #: The properties that meters read, by the name of an event.
        self._read: dict[str, set[str]] = {}
        self._numbers: set[str] = set()
        self._asked_for: dict[str, set[str]] = {}
        for meter in meters:
            keys = {each.key for each in meter.filters} | ({meter.field} if meter.field else set())
            for name in meter.names:
                self._read.setdefault(name, set()).update(keys)
            for each in meter.filters:
                self._asked_for.setdefault(each.key, set()).update(each.values)
            if meter.field and AGGREGATORS[meter.aggregation].traits.reads is Reads.NUMBER:
                self._numbers.add(meter.field)

    def of(self, kind: str, text: str) -> str:
        """Return the pseudonym of a text; texts of two kinds are apart.

        >>> Pseudonyms(b"key").of("customer", "acme") == Pseudonyms(b"key").of("customer", "acme")
        True
        >>> len({Pseudonyms(key).of(kind, "acme") for key in (b"key", b"other") for kind in ("customer", "name")})
        4
        """
        return hmac.new(self._secret, f"{kind}\0{text}".encode(), sha256).hexdigest()[:_DIGITS]

    def event(self, event: Event, transaction_id: str, *, withdrawn: bool = False) -> Event:
        """Return what stays of an event under another id; of a withdrawn one, nothing that it says."""
        known = event.name in self._read
        name = event.name if known else self.of("event name", event.name)
        properties: dict[str, Property] = {}
        if known and not withdrawn:
            properties = {
                key: self._value(key, value)
                for key, value in event.properties.items()
                if key in self._read[event.name]
            }
        return Event(transaction_id, name, event.at, properties)

    def _value(self, key: str, value: Property) -> Property:
        if isinstance(value, list):
            return []
        if isinstance(value, dict):
            return {}
        text = property_text(value)
        if text is None or text in _TRUTH or text in self._asked_for.get(key, ()):
            return value
        if key in self._numbers and (not isinstance(value, str) or _is_number(value)):
            return value
        return self.of(f"property {key}", text)


def _is_number(text: str) -> bool:
    try:
        reading(text)
    except (NotANumberError, NumberOutOfRangeError):
        return False
    return True

"""A price object in a request: Flexprice's fields, by the rules of the catalogue's files.

A catalogue is checked on a person's machine by pydantic, which no function has: importing it takes longer than an
answer. So the fields are read here by hand, and say what `catalogue check` says, word for word. The rules that are
more than a type are written once: `meterstone.pricing.price.check` for what a price must be, and the functions of
this module for single values, which the catalogue's models use, too. A test gives both the same prices.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, cast

from meterstone.pricing.currency import is_currency
from meterstone.pricing.money import QUANTITY_DIGITS, ZERO, number, plain
from meterstone.pricing.price import (
    BillingModel,
    Detail,
    Price,
    PriceType,
    RoundType,
    Tier,
    TierMode,
    TransformQuantity,
    check,
)
from meterstone.usage.identifier import checked_id, refuse_control
from meterstone.usage.instant import format_instant, parse_instant
from meterstone.usage.period import BillingPeriod

LONGEST_TEXT: Final = 10_000
"""Characters of a text that describes something."""

MOST_PERIODS: Final = 10_000
"""The largest count of billing periods that make one."""

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
    read = _choice([str(each) for each in kind])
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


def read_price(fields: Fields, *, with_currency: bool) -> Price:
    """Read a price object.

    Its id and meter may be absent: the request says whose price it is. ``with_currency`` says that nothing else
    tells the currency. The price is of no use if the fields have faults.
    """
    price = Price(
        id=fields.get("id", text_of(checked_id), ""),
        currency=(fields.require if with_currency else fields.get)("currency", text_of(currency_code), ""),
        billing_model=fields.require("billing_model", one_of(BillingModel), BillingModel.FLAT_FEE),
        amount=fields.get("amount", number, ZERO),
        type=fields.get("type", one_of(PriceType), PriceType.USAGE),
        meter_id=fields.get("meter_id", text_of(checked_id), "", nullable=True),
        tier_mode=fields.get("tier_mode", one_of(TierMode), None, nullable=True),
        tiers=_tiers(fields),
        transform_quantity=_transform(fields),
        billing_period=fields.get("billing_period", one_of(BillingPeriod), None, nullable=True),
        billing_period_count=fields.get("billing_period_count", whole(1, MOST_PERIODS), 1),
        details=_details(fields),
    )
    if price.type is not PriceType.USAGE:
        fields.fault("type", "must be USAGE: only usage is priced here")
    if (
        fields.has("billing_period_count")
        and price.billing_period is None
        and "billing_period" not in fields.broken
    ):
        fields.fault("billing_period_count", "needs a billing_period")
    fields.refuse_others()
    # What is absent here is not missing: a currency that can be read stands in for it.
    checked = price if price.currency else Price(**_with_currency(price))
    for problem in check(checked):
        if problem.path.partition(".")[0].partition("[")[0] not in fields.broken:
            fields.fault(problem.path, problem.message)
    return price


def _with_currency(price: Price) -> dict[str, Any]:
    return {name: getattr(price, name) for name in Price.__slots__} | {"currency": "usd"}


def _tiers(fields: Fields) -> tuple[Tier, ...]:
    found = []
    for path, raw in fields.each("tiers"):
        tier = fields.element("tiers", raw, path)
        found.append(
            Tier(
                tier.require("up_to", _bound, None),
                tier.require("unit_amount", number, ZERO),
                tier.get("flat_amount", number, ZERO),
            )
        )
        fields.close("tiers", tier)
    return tuple(found)


def _bound(value: object) -> int | None:
    return None if value is None else whole()(value)


def _transform(fields: Fields) -> TransformQuantity | None:
    inner = fields.inner("transform_quantity", nullable=True)
    if inner is None:
        return None
    found = TransformQuantity(
        inner.require("divide_by", whole(), 1), inner.get("round", one_of(RoundType), RoundType.UP)
    )
    fields.close("transform_quantity", inner)
    return found


def _choice(values: list[str]) -> Callable[[object], str]:
    *most, last = [f"'{each}'" for each in values]
    listed = f"{', '.join(most)} or {last}" if most else last

    def reader(value: object) -> str:
        if not isinstance(value, str) or value not in values:
            raise ValueError(f"should be {listed}")
        return value

    return reader


_LABEL = text_of(label)

#: The fields that describe a price and are only shown. Each may be null, which is the same as absent.
_DESCRIPTIVE: Mapping[str, Callable[[Any], object]] = {
    **dict.fromkeys(
        (
            *("display_name", "description", "lookup_key", "entity_id", "environment_id", "tenant_id"),
            *("group_id", "parent_price_id", "price_unit", "price_unit_id", "display_price_unit_amount"),
            *("created_by", "updated_by"),
        ),
        _LABEL,
    ),
    **dict.fromkeys(("start_date", "end_date", "created_at", "updated_at"), instant_text),
    **dict.fromkeys(("price_unit_amount", "conversion_rate"), money_text),
    "min_quantity": quantity_text,
    "trial_period_days": whole(0),
    "billing_cadence": _choice(["RECURRING"]),
    "invoice_cadence": _choice(["ARREAR", "ADVANCE"]),
    "entity_type": _choice(["PLAN", "SUBSCRIPTION", "ADDON", "PRICE", "COSTSHEET"]),
    "status": _choice(["published", "deleted", "archived"]),
    "price_unit_type": _choice(["FIAT", "CUSTOM"]),
}


def _details(fields: Fields) -> Mapping[str, Detail]:
    found: dict[str, object] = {}
    for name, read in _DESCRIPTIVE.items():
        value = fields.get(name, read, None, nullable=True)
        if value is not None:
            found[name] = value
    metadata = fields.inner("metadata", nullable=True)
    if metadata is not None:
        found["metadata"] = {name: metadata.get(name, _LABEL, "") for name, _ in metadata.items()}
        fields.close("metadata", metadata)
    units = fields.each("price_unit_tiers", nullable=True)
    if units:
        found["price_unit_tiers"] = [_unit_tier(fields, path, raw) for path, raw in units]
    return cast("Mapping[str, Detail]", found)


def _unit_tier(fields: Fields, path: str, raw: object) -> dict[str, object]:
    """Read a tier in a custom price unit, which is shown and never computed with."""
    tier = fields.element("price_unit_tiers", raw, path)
    found = {
        "up_to": tier.get("up_to", _bound, None),
        "unit_amount": tier.require("unit_amount", money_text, ""),
        "flat_amount": tier.get("flat_amount", money_text, None, nullable=True),
    }
    fields.close("price_unit_tiers", tier)
    return {name: value for name, value in found.items() if value is not None}

"""One record of the catalogue, read from what a person wrote, with everything that is wrong with it.

pydantic's errors are told in our own words, each with the place in what was written. A record that is broken is
read as far as it can be, so that its sound fields are checked, too. What only other records can tell is not
looked at here: whether ids lead anywhere, whether they stand twice.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any, NamedTuple

from pydantic import ConfigDict, TypeAdapter, ValidationError

from meterstone.catalogue.models import (
    CustomerRecord,
    LineItemRecord,
    MeterRecord,
    OrganizationRecord,
    PlanRecord,
    SubscriptionRecord,
)
from meterstone.catalogue.prices import PriceRecord
from meterstone.catalogue.record import Conflict, Record
from meterstone.contracts.fields import (
    NOT_A_LIST,
    NOT_A_MAPPING,
    NOT_TEXT,
    NOT_WHOLE,
    REQUIRED,
    UNKNOWN_FIELD,
)

KINDS: Mapping[str, type[Record]] = {
    "organization": OrganizationRecord,
    "customers": CustomerRecord,
    "plans": PlanRecord,
    "meters": MeterRecord,
    "prices": PriceRecord,
    "subscriptions": SubscriptionRecord,
}
"""The kinds of records, as the catalogue's files are called, each with its model."""

_REASONS = {
    "missing": REQUIRED,
    "extra_forbidden": UNKNOWN_FIELD,
    "string_type": NOT_TEXT,
    "int_type": NOT_WHOLE,
    "bool_type": "must be true or false",
    "list_type": NOT_A_LIST,
    "dict_type": NOT_A_MAPPING,
    "model_type": NOT_A_MAPPING,
}


class RecordProblem(NamedTuple):
    """Something that is wrong with a record: where in it, such as `tiers[0].up_to`, and why.

    The path is empty if the record as a whole is meant.
    """

    path: str
    reason: str


class ReadRecord(NamedTuple):
    """What was read of a record, and what is wrong with it: with no ``problems``, the record is whole."""

    #: None if what was written is no mapping. A field that cannot be read has no value, and in the place of a line
    #: item that cannot be read stands None.
    record: Record | None
    #: The names of the fields that are missing or unknown, cannot be read, or do not fit to others.
    broken: frozenset[str]
    problems: tuple[RecordProblem, ...]


def read_record(kind: str, raw: object) -> ReadRecord:
    """Read a record of one of the `KINDS` from plain values, as a JSON document has them.

    A number is an `int` or the `Decimal` of its text, never a float. Whether a price can be computed with is not
    looked at: `meterstone.catalogue.building.checked_price` says that.

    >>> read_record("plans", {"code": "team", "colour": "red"}).problems
    (RecordProblem(path='colour', reason='is not a known field'),)
    """
    model = KINDS[kind]
    record: Record | None = None
    broken: set[str] = set()
    problems: list[RecordProblem] = []
    try:
        record = model.model_validate(raw)
    except ValidationError as error:
        for found in error.errors(include_url=False, include_input=False):
            location = found["loc"]
            broken.update(str(step) for step in location[:1])
            path = _path(raw, location, missing=found["type"] in {"missing", "extra_forbidden"})
            problems.append(RecordProblem(path, _reason(found["type"], location, found["msg"])))
        if isinstance(raw, dict):
            record = _what_is_sound(model, raw, broken)
    conflicts: list[Conflict] = [] if record is None else list(record.conflicts(broken))
    problems += [RecordProblem(each.field, each.reason) for each in conflicts]
    broken.update(each.field.partition(".")[0] for each in conflicts)
    return ReadRecord(record, frozenset(broken), tuple(problems))


def _what_is_sound(model: type[Record], raw: Mapping[str, Any], broken: AbstractSet[str]) -> Record:
    """Make a record of the fields that can be read, so that they are checked too; the others have no value."""
    sound: dict[str, Any] = {}
    for name in raw.keys() & model.model_fields.keys():
        if name not in broken:
            sound[name] = _field(model, name).validate_python(raw[name])
        elif name == "line_items" and isinstance(items := raw[name], list):
            sound[name] = [_line_item(item) for item in items]
    return model.model_construct(**sound)


def _line_item(raw: object) -> LineItemRecord | None:
    try:
        return LineItemRecord.model_validate(raw)
    except ValidationError:
        return None


@cache
def _field(model: type[Record], name: str) -> TypeAdapter[Any]:
    return TypeAdapter(model.model_fields[name].rebuild_annotation(), config=ConfigDict(strict=True))


def _reason(code: str, location: Sequence[int | str], message: str) -> str:
    if code == "extra_forbidden" and location[-1] == "group_by":
        return "is not supported: make a meter with filters for each group"
    return _REASONS.get(code) or message.removeprefix("Value error, ").removeprefix("Input ")


def _path(raw: object, location: Sequence[int | str], *, missing: bool) -> str:
    """Follow a location through what was written: steps that validation added lead nowhere there."""
    path = ""
    for step in location[:-1] if missing else location:
        if isinstance(raw, dict) and isinstance(step, str) and step in raw:
            raw, path = raw[step], f"{path}.{step}"
        elif isinstance(raw, list) and isinstance(step, int) and step < len(raw):
            raw, path = raw[step], f"{path}[{step}]"
    return (f"{path}.{location[-1]}" if missing else path).removeprefix(".")

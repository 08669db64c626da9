"""Usage as files of events: CSV and JSONL, plain or gzipped, read line by line.

JSONL, one object a line:

    {"transaction_id": "t1", "code": "api_calls", "external_subscription_id": "s1",
     "timestamp": "2026-01-31T12:00:00Z", "properties": {"region": "eu", "size": 12.5}}

`event_id` and `event_name` (Flexprice) mean the same as `transaction_id` and `code` (Lago), and an event
may name its `external_customer_id` instead of the subscription. `timestamp` is RFC 3339, or seconds since the
Unix epoch as a number or as its text. Numbers are read exactly. Other keys are left alone.

CSV has the same names in its header row. Columns called `properties.NAME` are the properties; if there are
none of these, all columns with other names are. A cell is text, an empty one is absent. A quoted cell may hold
line breaks; its row has the number of its first line. Where a quote is not closed, its line alone is a bad row.

A row that is not an event becomes a `BadRow` in its place: none is skipped. `Aside` keeps such rows in a
file, from which they can be loaded once their `row` has been corrected.
"""

import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import IO, Any, Self, cast

from meterstone.pricing.errors import NotANumberError, NumberOutOfRangeError
from meterstone.usage.arrival import (
    AHEAD,
    InadmissibleError,
    check_text,
    checked_properties,
    decode,
    escapes,
    instant_of_seconds,
)
from meterstone.usage.identifier import checked_id, quoted, repeated_key
from meterstone.usage.instant import SECOND, InvalidInstantError, parse_instant
from meterstone.usage.meter import Event, Properties, Property
from meterstone_cli.files.csv_rows import csv_rows, is_empty

#: The longest row, in bytes: with its keys an event must fit an item of the table.
LONGEST_ROW = 256 * 1024

_JSON_SUFFIXES = (".jsonl", ".ndjson")
_CSV_SUFFIXES = (".csv",)
_NAMES = {
    "id": ("transaction_id", "event_id"),
    "name": ("code", "event_name"),
    "subscription": ("external_subscription_id",),
    "customer": ("external_customer_id",),
    "at": ("timestamp",),
}
_KNOWN = frozenset(name for names in _NAMES.values() for name in names) | {"properties"}
_PROPERTY = "properties."
_ENDS = b"\r\n"


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """An event and whose it is: the external id of a subscription, of a customer, or both."""

    subscription: str | None
    customer: str | None
    event: Event


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is not an event: why, and what it is.

    Bytes that are not UTF-8 stand in `row` as lone surrogates. `header` is a CSV file's header row. Of a row
    longer than `LONGEST_ROW` only the beginning is kept.
    """

    reason: str
    row: str
    header: str | None = None


class UnreadableUsageError(ValueError):
    """The file cannot be read, or not to its end; the message says why."""


def read_usage(path: Path, now: int) -> Iterator[tuple[int, UsageEvent | BadRow]]:
    """Read a file's rows in order, each with its line number, counted from 1; empty lines are no rows.

    Memory does not grow with the file. Raises `UnreadableUsageError`: at once if not even the first row can be
    read,
    so that nothing is begun with such a file, and else at the point where reading fails.
    """
    rows = _read_csv(path, now) if _kind(path) == "csv" else _read_json(path, now)
    first = next(rows, None)
    return rows if first is None else chain((first,), rows)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal. Raises `UnreadableUsageError`."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UnreadableUsageError(f"cannot be read: {error.strerror}") from error


class Aside(AbstractContextManager["Aside"]):
    """A file for rejected rows. It is made when the first row is rejected."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: IO[str] | None = None

    def put(self, line: int, bad: BadRow) -> None:
        """Add one row."""
        if self._file is None:
            self._file = self.path.open("w", encoding="ascii")
        kept = {"line": line, "reason": bad.reason}
        if bad.header is not None:
            kept["header"] = bad.header
        self._file.write(json.dumps(kept | {"row": bad.row}) + "\n")
        self.count += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def row_of(usage: UsageEvent) -> str:
    """Write an event as a row of JSONL that reads back as the same event."""
    event = usage.event
    row: dict[str, Any] = {"transaction_id": event.id, "code": event.name}
    if usage.subscription is not None:
        row["external_subscription_id"] = usage.subscription
    if usage.customer is not None:
        row["external_customer_id"] = usage.customer
    seconds, rest = divmod(event.at, SECOND)
    row["timestamp"] = f"{Decimal(event.at).scaleb(-6):f}" if rest else seconds
    row["properties"] = dict(event.properties)
    return _dumps(row)


def _dumps(value: Property | Mapping[str, Any]) -> str:
    """Write JSON in which a Decimal is a number with its own digits; `json` can only write floats."""
    match value:
        case Mapping():
            return (
                "{" + ", ".join(f"{json.dumps(key)}: {_dumps(inner)}" for key, inner in value.items()) + "}"
            )
        case list():
            return "[" + ", ".join(map(_dumps, value)) + "]"
        case Decimal():
            return str(value)
        case _:
            return json.dumps(value)


def _kind(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    if suffixes and suffixes[-1] in _JSON_SUFFIXES:
        return "jsonl"
    if suffixes and suffixes[-1] in _CSV_SUFFIXES:
        return "csv"
    raise UnreadableUsageError("is neither .csv nor .jsonl, plain or with .gz")


def _lines(path: Path) -> Iterator[tuple[int, str | BadRow]]:
    """Read the lines of a file, with their ends."""
    line = 0
    try:
        with _opened(path) as file:
            while raw := file.readline(LONGEST_ROW + 2):
                line += 1
                if len(raw) > LONGEST_ROW and not raw.endswith(b"\n"):
                    length = len(raw) + _skip_line(file)
                    reason = f"has {length} bytes, {LONGEST_ROW} are allowed; it is not copied in full"
                    yield line, BadRow(reason, _text(raw[:1024]))
                    continue
                if line == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                try:
                    yield line, raw.decode()
                except UnicodeDecodeError as error:
                    yield line, BadRow(f"is not UTF-8 (byte {error.start})", _text(raw.rstrip(_ENDS)))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableUsageError(f"breaks off after line {line}: {error}") from error
    except OSError as error:
        raise UnreadableUsageError(f"cannot be read: {error.strerror or error}") from error


def _opened(path: Path) -> IO[bytes]:
    if path.suffix.lower() == ".gz":
        return cast("IO[bytes]", gzip.open(path))
    return path.open("rb")


def _skip_line(file: IO[bytes]) -> int:
    skipped = 0
    while part := file.readline(LONGEST_ROW):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _read_json(path: Path, now: int) -> Iterator[tuple[int, UsageEvent | BadRow]]:
    for line, row in _lines(path):
        if isinstance(row, BadRow):
            yield line, row
            continue
        if is_empty(row):
            continue
        text = row.rstrip("\r\n")
        try:
            yield line, _json_event(text, now + AHEAD)
        except InadmissibleError as error:
            yield line, BadRow(str(error), text)


def _json_event(row: str, latest: int) -> UsageEvent:
    fields = _parse(row)
    if type(inner := fields.get("row")) is str and "reason" in fields:  # a row that was rejected before
        if type(header := fields.get("header")) is str:
            check_text([header, inner])
            return _Columns(_cells(header)).event(_cells(inner), latest)
        row, fields = inner, _parse(inner)
    return _event(fields, checked_properties(fields.get("properties"), escaped=escapes(row)), latest)


def _parse(row: str) -> dict[str, Any]:
    fields = decode(row)
    if type(fields) is not dict:
        raise InadmissibleError("must be an object")
    return fields


def _read_csv(path: Path, now: int) -> Iterator[tuple[int, UsageEvent | BadRow]]:
    columns: _Columns | None = None
    header = ""
    for line, row in csv_rows(_lines(path), LONGEST_ROW):
        if isinstance(row, BadRow):
            if columns is None:
                raise UnreadableUsageError(f"its header row {row.reason}")
            yield line, BadRow(row.reason, row.row, header)
            continue
        try:
            if columns is None:
                columns, header = _Columns(_cells(row)), row
            else:
                yield line, columns.event(_cells(row), now + AHEAD)
        except InadmissibleError as error:
            if columns is None:
                raise UnreadableUsageError(f"its header row {error}") from error
            yield line, BadRow(str(error), row, header)


def _cells(row: str) -> list[str]:
    try:
        return next(csv.reader((row,), strict=True))
    except csv.Error as error:
        raise InadmissibleError(f"is not a row of CSV: {error}") from error


class _Columns:
    """What the columns of a CSV file are."""

    def __init__(self, names: Sequence[str]) -> None:
        names = [name.strip() for name in names]
        if (repeated := repeated_key(names)) is not None:
            raise InadmissibleError(f"repeats the column {quoted(repeated)}")
        for choice in (
            _NAMES["id"],
            _NAMES["name"],
            _NAMES["at"],
            (*_NAMES["subscription"], *_NAMES["customer"]),
        ):
            if not set(choice) & set(names):
                raise InadmissibleError(f"has no column {' or '.join(choice)}")
        self._count = len(names)
        self._fields = [(index, name) for index, name in enumerate(names) if name in _KNOWN]
        marked = [
            (i, name.removeprefix(_PROPERTY)) for i, name in enumerate(names) if name.startswith(_PROPERTY)
        ]
        others = [(i, name) for i, name in enumerate(names) if name not in _KNOWN and name]
        self._properties = marked or others

    def event(self, cells: Sequence[str], latest: int) -> UsageEvent:
        """Read a row of cells. Raises `InadmissibleError`."""
        if len(cells) != self._count:
            raise InadmissibleError(f"has {len(cells)} cells, the header row has {self._count}")
        fields: dict[str, object] = {name: cells[index] for index, name in self._fields if cells[index]}
        properties: Properties = {name: cells[index] for index, name in self._properties if cells[index]}
        return _event(fields, properties, latest)


def _event(fields: Mapping[str, object], properties: Properties, latest: int) -> UsageEvent:
    subscription, customer = _id(fields, "subscription"), _id(fields, "customer")
    if subscription is None and customer is None:
        raise InadmissibleError("has neither external_subscription_id nor external_customer_id")
    identity = _id(fields, "id")
    if identity is None:
        raise InadmissibleError(
            "has no transaction_id (or event_id), without which a repeat could not be told from a new event"
        )
    name = _id(fields, "name")
    if name is None:
        raise InadmissibleError("has no code (or event_name)")
    at = _timestamp(fields.get("timestamp"))
    if at > latest:
        raise InadmissibleError("its timestamp is more than 5 minutes ahead of the clock")
    return UsageEvent(subscription, customer, Event(identity, name, at, properties))


def _id(fields: Mapping[str, object], what: str) -> str | None:
    found: str | None = None
    for name in _NAMES[what]:
        value = fields.get(name)
        if value is None:
            continue
        if type(value) is not str:
            raise InadmissibleError(f"{name} must be text")
        try:
            checked_id(value)
        except ValueError as error:
            raise InadmissibleError(f"{name} {error}") from error
        if found is not None and found != value:
            raise InadmissibleError(f"{' and '.join(_NAMES[what])} differ")
        found = value
    return found


def _timestamp(value: object) -> int:
    if value is None:
        raise InadmissibleError("has no timestamp")
    try:
        return instant_of_seconds(value)
    except NotANumberError:
        if not isinstance(value, str):
            raise InadmissibleError("timestamp must be RFC 3339 or a number of seconds") from None
    except (InadmissibleError, NumberOutOfRangeError) as error:
        raise InadmissibleError(f"timestamp: {error}") from error
    try:
        return parse_instant(value)
    except InvalidInstantError as error:
        raise InadmissibleError(f"timestamp: {error}") from error

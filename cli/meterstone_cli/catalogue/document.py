"""Reading one YAML 1.2 or JSON file into plain values, exactly.

A number is an `int` or the `Decimal` of its text, never a float. YAML's plain scalars are read by the core
schema of YAML 1.2 (`NO`, `on` and `2024-01-01` are text). What a catalogue has no use for, and what would
make a file cost more than its size, is refused: tags, merge keys, keys that are no text, repeated keys,
infinities and NaN, negative zero, deep nesting, and aliases that would expand to more than `MOST_VALUES`.

Two parsers read YAML. The one in C (libyaml) takes a fifteenth of the time, and follows YAML 1.1. The one in
Python follows YAML 1.2, and says more exactly what is wrong. A text that has nothing which the two versions read
differently is read by the first. All other texts, and those that the first refuses, are read by the second.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NoReturn

import yaml
from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from meterstone.usage.identifier import repeated_key
from meterstone_cli.catalogue.lines import json_line

type Value = str | int | bool | Decimal | list[Value] | dict[str, Value] | None

MOST_BYTES = 32 * 1024 * 1024
MOST_VALUES = 2_000_000
DEEPEST = 24
MOST_DIGITS = 40

SUFFIXES = (".yaml", ".yml", ".json")

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_DECIMAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
#: With what a text begins that one of these expressions fits. Most texts of a catalogue begin otherwise.
_NUMERIC = frozenset("-+.0123456789")


#: What the two parsers may not read alike: tabs and escapes, line breaks of other systems and scripts, directives,
#: a document's end; and where a value may begin: anchors, aliases and tags, complex keys, block scalars.
_UNUSUAL = re.compile(
    r"[\t\\\x85\u2028\u2029\ufeff]|\r(?!\n)|^%|^\.\.\."
    r"|(?:^|[\s\[\]{},:-])(?:[&*!]\S|\?|[|>][-+0-9]*[ ]*(?:\x23[^\r\n]*)?(?=[\r\n]|\Z))",
    re.MULTILINE,
)


class UnreadableFileError(ValueError):
    """The file is not such a document; the message says where and why."""


def read_document(path: Path) -> Value:
    """Read one file. Raises `UnreadableFileError`."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UnreadableFileError(
                f"is larger than {MOST_BYTES // 1024 // 1024} MiB: split it into a folder of files"
            )
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFileError(f"is not UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise UnreadableFileError(f"cannot be read: {error.strerror}") from error
    return parse_json(text) if path.suffix == ".json" else parse_yaml(text)


def parse_json(text: str) -> Value:
    """Read a JSON text. Raises `UnreadableFileError`."""
    try:
        value: Value = json.loads(
            text,
            parse_int=_number,
            parse_float=_number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        raise UnreadableFileError(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except UnreadableFileError as error:
        reason = str(error)
        line = json_line(text, lambda inner, repeated: _json_reason(inner, repeated=repeated) == reason)
        raise UnreadableFileError(f"line {line}: {reason}" if line else reason) from error
    except RecursionError:
        raise UnreadableFileError("is nested too deeply") from None
    _check_depth(value, DEEPEST)
    return value


def parse_yaml(text: str) -> Value:
    """Read a YAML text of one document. Raises `UnreadableFileError`."""
    if not _UNUSUAL.search(text):
        # What is refused is read again, to be told by the other parser.
        with suppress(yaml.YAMLError, ValueError, RecursionError):
            return _Composer(yaml.parse(text, Loader=yaml.CSafeLoader)).document()
    try:
        return _Composer(YAML(typ="safe", pure=True).parse(text)).document()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UnreadableFileError(f"{where}{error.problem or error.context}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, UnreadableFileError):
            raise
        reason = str(error) or type(error).__name__
        raise UnreadableFileError(f"is not YAML: {reason.splitlines()[0]}") from error


#: The events of both parsers, which are called alike.
_Alias = events.AliasEvent, yaml.AliasEvent
_DocumentStart = events.DocumentStartEvent, yaml.DocumentStartEvent
_MappingStart = events.MappingStartEvent, yaml.MappingStartEvent
_MappingEnd = events.MappingEndEvent, yaml.MappingEndEvent
_Node = events.NodeEvent, yaml.NodeEvent
_Scalar = events.ScalarEvent, yaml.ScalarEvent
_SequenceStart = events.SequenceStartEvent, yaml.SequenceStartEvent
_SequenceEnd = events.SequenceEndEvent, yaml.SequenceEndEvent


class _Composer:
    """Turns YAML events into values. Each anchor is kept with the number of values it stands for."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, tuple[Value, int]] = {}
        self._count = 0

    def document(self) -> Value:
        value: Value = None
        documents = 0
        for event in self._events:
            if isinstance(event, _DocumentStart):
                documents += 1
                if documents > 1:
                    self._refuse(event, "a file holds one document")
                value = self._value(next(self._events), DEEPEST)
        return value

    def _value(self, event: Any, depth: int) -> Value:
        if not depth:
            self._refuse(event, f"is nested more than {DEEPEST} levels deep")
        before = self._count
        self._grow(event, 1)
        if isinstance(event, _Alias):
            if event.anchor not in self._anchors:
                self._refuse(event, f"no anchor is called {event.anchor} here")
            value, size = self._anchors[event.anchor]
            self._grow(event, size)
            return value
        if not isinstance(event, _Node):
            self._refuse(event, "a value is missing here")
        if event.tag is not None and event.tag != "!":  # type: ignore[union-attr]
            self._refuse(event, "tags are not supported")
        value = self._untagged(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._count - before
        return value

    def _untagged(self, event: Any, depth: int) -> Value:
        if isinstance(event, _Scalar):
            return self._scalar(event)
        if isinstance(event, _SequenceStart):
            items: list[Value] = []
            while not isinstance(inner := next(self._events), _SequenceEnd):
                items.append(self._value(inner, depth - 1))
            return items
        if not isinstance(event, _MappingStart):
            self._refuse(event, "a value is missing here")
        entries: dict[str, Value] = {}
        while not isinstance(inner := next(self._events), _MappingEnd):
            key = self._key(inner)
            if key in entries:
                self._refuse(inner, _repeated(key))
            entries[key] = self._value(next(self._events), depth - 1)
        return entries

    def _key(self, event: Any) -> str:
        if not isinstance(event, _Scalar) or event.anchor is not None:
            self._refuse(event, "a key must be plain text")
        if event.value == "<<" and not event.style:
            self._refuse(event, "merge keys are not part of YAML 1.2")
        key = self._scalar(event)
        if not isinstance(key, str):
            self._refuse(event, f"the key {_shown(event.value)} is not text: quote it")
        return key

    def _scalar(self, event: Any) -> Value:
        text: str = event.value
        if event.style:
            return text
        if text in _NULL:
            return None
        if text in _BOOLEAN:
            return _BOOLEAN[text]
        if text[0] not in _NUMERIC:
            return text
        if _INTEGER.fullmatch(text) or _DECIMAL.fullmatch(text):
            try:
                return _number(text)
            except UnreadableFileError as error:
                self._refuse(event, str(error))
        if _NOT_FINITE.fullmatch(text) or _OTHER_BASE.fullmatch(text):
            self._refuse(event, f"{_shown(text)} is not a number of the form -12.5")
        return text

    def _grow(self, event: Any, by: int) -> None:
        self._count += by
        if self._count > MOST_VALUES:
            self._refuse(event, f"holds more than {MOST_VALUES} values, aliases expanded")

    def _refuse(self, event: Any, reason: str) -> NoReturn:
        mark = event.start_mark
        raise UnreadableFileError(f"line {mark.line + 1}, column {mark.column + 1}: {reason}")


def _number(text: str) -> int | Decimal:
    if len(text) > MOST_DIGITS:
        raise UnreadableFileError(f"the number {_shown(text)} has too many digits")
    if _INTEGER.fullmatch(text):
        value: int | Decimal = int(text)
    else:
        try:
            value = Decimal(text)
        except InvalidOperation:
            raise UnreadableFileError(f"the number {_shown(text)} is out of range") from None
    if not value and text.startswith("-"):
        raise UnreadableFileError(f"{text} is a negative zero: write 0")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise UnreadableFileError(f"{text} is not a number of the form -12.5")


def _object(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    entries = dict(pairs)
    if len(entries) < len(pairs) and (repeated := repeated_key(key for key, _ in pairs)) is not None:
        raise UnreadableFileError(_repeated(repeated))
    return entries


def _json_reason(text: str, *, repeated: bool) -> str:
    """Say why a scalar, or a key that is repeated, is refused; empty if it is not."""
    if repeated:
        return _repeated(text)
    try:
        if text in {"NaN", "Infinity", "-Infinity"}:
            _refuse_constant(text)
        if text not in {"true", "false", "null"}:
            _number(text)
    except UnreadableFileError as error:
        return str(error)
    return ""


def _repeated(key: str) -> str:
    return f"the key {_shown(key)} is repeated"


def _check_depth(value: Value, depth: int) -> None:
    if not isinstance(value, list | dict):
        return
    if not depth:
        raise UnreadableFileError(f"is nested more than {DEEPEST} levels deep")
    for inner in value.values() if isinstance(value, dict) else value:
        _check_depth(inner, depth - 1)


def _shown(text: str) -> str:
    return repr(text if len(text) <= MOST_DIGITS else text[:MOST_DIGITS] + "…")

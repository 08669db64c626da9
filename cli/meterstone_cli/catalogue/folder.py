"""A catalogue as a folder of files that a person can read and review.

One file per kind, or a folder per kind with any number of files, in YAML (`.yaml`, `.yml`) or JSON (`.json`):

    organization.yaml     one mapping
    customers.yaml        lists of records, see docs/catalogue.md
    plans.yaml
    meters.yaml
    prices/starter.yaml   several files of one kind
    prices/team.json
    subscriptions.yaml

Files of other types are left alone. The whole folder is read and checked before anything is done with it:
`read_catalogue` gives the catalogue, or raises `InputRefusedError` with every problem of every file.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from meterstone.catalogue.models import (
    CustomerRecord,
    LineItemRecord,
    MeterRecord,
    OrganizationRecord,
    PlanRecord,
    Record,
    SubscriptionRecord,
)
from meterstone.catalogue.prices import PriceRecord
from meterstone.contracts.fields import (
    NOT_A_LIST,
    NOT_A_MAPPING,
    NOT_TEXT,
    NOT_WHOLE,
    REQUIRED,
    UNKNOWN_FIELD,
)
from meterstone_cli.catalogue.assembly import CatalogueEntry, assemble
from meterstone_cli.catalogue.catalogue import Catalogue
from meterstone_cli.catalogue.document import SUFFIXES, UnreadableFileError, Value, read_document
from meterstone_cli.catalogue.lines import Lines
from meterstone_cli.problem import InputProblem, InputRefusedError

KINDS: Mapping[str, type[Record]] = {
    "organization": OrganizationRecord,
    "customers": CustomerRecord,
    "plans": PlanRecord,
    "meters": MeterRecord,
    "prices": PriceRecord,
    "subscriptions": SubscriptionRecord,
}

#: More would hide the first ones, and a file of garbage could have millions.
MOST_PROBLEMS = 1_000

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


@dataclass(frozen=True, slots=True)
class Places:
    """Where in the folder each record stands, by kind and id."""

    found: Mapping[tuple[str, str], tuple[str, str]]
    lines: Lines = field(default_factory=lambda: Lines(Path()))

    def problem(self, kind: str, key: str, path: str, reason: str) -> InputProblem:
        """Make a problem of a record; one that the folder does not hold is named by its kind and id."""
        if (kind, key) not in self.found:
            return InputProblem("", f"{kind} {key!r}" + (f".{path}" if path else ""), reason)
        file, record = self.found[kind, key]
        where = f"{record}.{path}" if path else record
        return InputProblem(file, where, reason, self.lines.of(file, where), key)


def read_catalogue(folder: Path) -> tuple[Catalogue, Places]:
    """Read and check a folder. Raises `InputRefusedError` with everything that is wrong in it."""
    problems: list[InputProblem] = []
    entries: list[CatalogueEntry] = []
    unread: dict[str, str] = {}
    order: dict[str, int] = {}
    for kind, file in _files(folder, problems, unread):
        name = str(file.relative_to(folder))
        order[name] = len(order)
        try:
            document = read_document(file)
        except UnreadableFileError as error:
            problems.append(InputProblem(name, "", str(error)))
            unread.setdefault(kind, name)
            continue
        if document is not None and kind != "organization" and not isinstance(document, list):
            problems.append(InputProblem(name, kind, "must be a list"))
            unread.setdefault(kind, name)
            continue
        entries += _records(kind, name, document, problems)
    catalogue = assemble(entries, unread, problems)
    lines = Lines(folder)
    if problems or catalogue is None:
        raise InputRefusedError(_shown(problems, order, lines))
    places = {(entry.kind, entry.key): (entry.file, entry.path) for entry in entries}
    return catalogue, Places(places, lines)


def _shown(problems: Iterable[InputProblem], order: Mapping[str, int], lines: Lines) -> list[InputProblem]:
    """Say each problem once, file by file and line by line, and not more than somebody reads."""
    found = list(dict.fromkeys(problems))
    found.sort(key=lambda each: order.get(each.file, -1))
    shown = [
        each._replace(line=lines.of(each.file, each.path)) if each.path else each
        for each in found[:MOST_PROBLEMS]
    ]
    # What is wrong with a file as a whole comes after what is wrong with its lines, and may follow from it.
    shown.sort(key=lambda each: (order.get(each.file, -1), not each.path, each.line))
    if len(found) > MOST_PROBLEMS:
        shown.append(InputProblem("", "", f"and {len(found) - MOST_PROBLEMS} more"))
    return shown


def _hint(folder: Path) -> str:
    """Return where the catalogue may be meant to be, if it is a folder further in."""
    inside = folder / "catalogue"
    return f"; is it the folder {inside} that you mean?" if inside.is_dir() else ""


def _files(folder: Path, problems: list[InputProblem], unread: dict[str, str]) -> Iterator[tuple[str, Path]]:
    if not folder.is_dir():
        problems.append(InputProblem(str(folder), "", "is not a folder"))
        return
    kinds: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    strangers: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and path.name in kinds:
            inside = sorted(path.rglob("*"))
            kinds[path.name] += [inner for inner in inside if inner.suffix in SUFFIXES and inner.is_file()]
        elif path.suffix in SUFFIXES:
            if path.stem in kinds:
                kinds[path.stem].append(path)
            else:
                strangers.append(path.name)
                problems.append(
                    InputProblem(path.name, "", f"is none of a catalogue's files: {', '.join(KINDS)}")
                )
    if strangers:
        # Their records may be those of a kind that seems to have none.
        unread.update((kind, strangers[0]) for kind, paths in kinds.items() if not paths)
    for kind, paths in kinds.items():
        yield from ((kind, path) for path in paths)
    organization = kinds["organization"]
    if not organization:
        problems.append(
            InputProblem(
                "organization.yaml", "", f"is missing: a catalogue belongs to one organization{_hint(folder)}"
            )
        )
    problems += [
        InputProblem(str(path.relative_to(folder)), "", "is a second organization: a catalogue has one")
        for path in organization[1:]
    ]


def _records(kind: str, file: str, document: Value, problems: list[InputProblem]) -> Iterator[CatalogueEntry]:
    if kind == "organization":
        yield _record(kind, file, kind, document, problems)
    elif document is None:
        return  # a file in which everything is commented out
    elif isinstance(document, list):
        for index, raw in enumerate(document):
            yield _record(kind, file, f"{kind}[{index}]", raw, problems)


def _record(kind: str, file: str, path: str, raw: Value, problems: list[InputProblem]) -> CatalogueEntry:
    model = KINDS[kind]
    entry = CatalogueEntry(kind, file, path, raw, None)
    try:
        entry = entry._replace(record=model.model_validate(raw))
    except ValidationError as error:
        broken: set[str] = set()
        for found in error.errors(include_url=False, include_input=False):
            location = found["loc"]
            broken.update(str(step) for step in location[:1])
            inner = _path(raw, location, missing=found["type"] in {"missing", "extra_forbidden"})
            problems.append(entry.problem(inner, _reason(found["type"], location, found["msg"])))
        if isinstance(raw, dict):
            entry = entry._replace(record=_what_is_sound(model, raw, broken), broken=frozenset(broken))
    conflicts = [] if entry.record is None else list(entry.record.conflicts(entry.broken))
    problems += [entry.problem(each.field, each.reason) for each in conflicts]
    return entry._replace(broken=entry.broken.union(each.field.partition(".")[0] for each in conflicts))


def _what_is_sound(model: type[Record], raw: Mapping[str, Value], broken: AbstractSet[str]) -> Record:
    """Make a record of the fields that can be read, so that they are checked too; the others have no value."""
    sound: dict[str, Any] = {}
    for name in raw.keys() & model.model_fields.keys():
        if name not in broken:
            sound[name] = _field(model, name).validate_python(raw[name])
        elif name == "line_items" and isinstance(items := raw[name], list):
            sound[name] = [_line_item(item) for item in items]
    return model.model_construct(**sound)


def _line_item(raw: Value) -> LineItemRecord | None:
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


def _path(raw: Value, location: Sequence[int | str], *, missing: bool) -> str:
    """Follow a location through what stands in the file: steps that validation added lead nowhere there."""
    path = ""
    for step in location[:-1] if missing else location:
        if isinstance(raw, dict) and isinstance(step, str) and step in raw:
            raw, path = raw[step], f"{path}.{step}"
        elif isinstance(raw, list) and isinstance(step, int) and step < len(raw):
            raw, path = raw[step], f"{path}[{step}]"
    return (f"{path}.{location[-1]}" if missing else path).removeprefix(".")

"""A catalogue as a folder of files that a person can read and review.

One file per kind, or a folder per kind with any number of files, in YAML (`.yaml`, `.yml`) or JSON (`.json`):

    organization.yaml     one mapping: id (a UUID), name, timezone
    customers.yaml        lists of records, see `meterstone_cli.catalogue.models`
    plans.yaml
    meters.yaml
    prices/starter.yaml   several files of one kind
    prices/team.json
    subscriptions.yaml

Files of other types are left alone. The whole folder is read and checked before anything is done with it:
`read_catalogue` gives the catalogue, or raises `InputRefusedError` with every problem of every file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from meterstone_cli.catalogue.assembly import CatalogueEntry, assemble
from meterstone_cli.catalogue.catalogue import Catalogue
from meterstone_cli.catalogue.document import SUFFIXES, UnreadableFileError, Value, read_document
from meterstone_cli.catalogue.models import (
    CustomerRecord,
    MeterRecord,
    OrganizationRecord,
    PlanRecord,
    PriceRecord,
    Record,
    SubscriptionRecord,
)
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
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "string_type": "must be text; a number or a boolean is text in quotes",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
}


@dataclass(frozen=True, slots=True)
class Places:
    """Where in the folder each record stands, by kind and id."""

    found: Mapping[tuple[str, str], tuple[str, str]]

    def problem(self, kind: str, key: str, path: str, reason: str) -> InputProblem:
        """Make a problem of a record; one that the folder does not hold is named by its kind and id."""
        file, record = self.found.get((kind, key), ("", f"{kind} {key!r}"))
        return InputProblem(file, f"{record}.{path}" if path else record, reason)


def read_catalogue(folder: Path) -> tuple[Catalogue, Places]:
    """Read and check a folder. Raises `InputRefusedError` with everything that is wrong in it."""
    problems: list[InputProblem] = []
    entries: list[CatalogueEntry] = []
    for kind, file in _files(folder, problems):
        name = str(file.relative_to(folder))
        try:
            document = read_document(file)
        except UnreadableFileError as error:
            problems.append(InputProblem(name, "", str(error)))
            continue
        entries += _records(kind, name, document, problems)
    catalogue = assemble(entries, problems)
    if problems or catalogue is None:
        hidden = len(problems) - MOST_PROBLEMS
        shown = problems[:MOST_PROBLEMS]
        if hidden > 0:
            shown.append(InputProblem("", "", f"and {hidden} more"))
        raise InputRefusedError(shown)
    return catalogue, Places({(entry.kind, entry.key): (entry.file, entry.path) for entry in entries})


def _files(folder: Path, problems: list[InputProblem]) -> Iterator[tuple[str, Path]]:
    if not folder.is_dir():
        problems.append(InputProblem(str(folder), "", "is not a folder"))
        return
    kinds: dict[str, list[Path]] = {kind: [] for kind in KINDS}
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
                problems.append(
                    InputProblem(path.name, "", f"is none of a catalogue's files: {', '.join(KINDS)}")
                )
    for kind, paths in kinds.items():
        yield from ((kind, path) for path in paths)
    organization = kinds["organization"]
    if not organization:
        problems.append(
            InputProblem("organization.yaml", "", "is missing: a catalogue belongs to one organization")
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
    else:
        problems.append(InputProblem(file, kind, "must be a list"))


def _record(kind: str, file: str, path: str, raw: Value, problems: list[InputProblem]) -> CatalogueEntry:
    try:
        return CatalogueEntry(kind, file, path, raw, KINDS[kind].model_validate(raw))
    except ValidationError as error:
        for found in error.errors(include_url=False, include_input=False):
            inner = _path(raw, found["loc"], missing=found["type"] in {"missing", "extra_forbidden"})
            problems.append(
                InputProblem(file, path + inner, _reason(found["type"], found["loc"], found["msg"]))
            )
        return CatalogueEntry(kind, file, path, raw, None)


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
    return f"{path}.{location[-1]}" if missing else path

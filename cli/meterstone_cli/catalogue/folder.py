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

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from meterstone.catalogue.reading import KINDS, read_record
from meterstone_cli.catalogue.assembly import CatalogueEntry, assemble
from meterstone_cli.catalogue.catalogue import Catalogue
from meterstone_cli.catalogue.document import SUFFIXES, UnreadableFileError, Value, read_document
from meterstone_cli.catalogue.lines import Lines
from meterstone_cli.problem import InputProblem, InputRefusedError

#: More would hide the first ones, and a file of garbage could have millions.
MOST_PROBLEMS = 1_000


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
    """Read and check a folder. Raises `InputRefusedError` with everything that is wrong in it.

    What is wrong for new subscriptions alone stands in the catalogue (`Catalogue.of_plans`).
    """
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
    if catalogue.of_plans:
        catalogue = replace(catalogue, of_plans=tuple(_shown(catalogue.of_plans, order, lines)))
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
    read = read_record(kind, raw)
    entry = CatalogueEntry(kind, file, path, raw, read.record, read.broken)
    problems += [entry.problem(each.path, each.reason) for each in read.problems]
    return entry

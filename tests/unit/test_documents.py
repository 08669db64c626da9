"""That the documents are right about the tree: links lead somewhere, and what they name in the code is there."""

import ast
import re
import tomllib
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest

from vectors.flexprice import Difference

ROOT = Path(__file__).parents[2]
#: Where a path in a document may start: at the top, among the tests, or in the layer's package.
STARTS = (ROOT, ROOT / "tests", ROOT / "layers/meterstone/meterstone")

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_NAMED = re.compile(r"`([\w./…-]*?)::([\w.]+)`")
_PATH = re.compile(r"`([\w.*-]+(?:/[\w.*-]+)*\.(?:py|md|toml|yaml|json|csv|txt)|(?:[\w.*-]+/)+)`")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


@cache
def _files() -> tuple[str, ...]:
    """List all files of the tree, without what tools keep in hidden folders."""
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return tuple(sorted(str(path) for path in found if not any(part[0] == "." for part in path.parts)))


DOCUMENTS = [ROOT / name for name in _files() if name.endswith(".md")]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
#: The documents that are about the code.
GUIDES = [
    path
    for path in DOCUMENTS
    if path.parent in {ROOT, ROOT / "docs", ROOT / "docs/decisions"} and path.name != "CHANGELOG.md"
]
GUIDE_NAMES = [str(path.relative_to(ROOT)) for path in GUIDES]


def _prose(path: Path) -> str:
    return _FENCE.sub("", path.read_text())


@cache
def _anchors(path: Path) -> frozenset[str]:
    """Give the anchors of a document's headings, as GitHub makes them."""
    headings = (heading.replace("`", "").lower() for heading in _HEADING.findall(_prose(path)))
    return frozenset(re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in headings)


@cache
def _names(path: Path) -> frozenset[str]:
    """Give the names that a module defines: functions, classes, their methods and fields, constants."""
    return frozenset(_defined(ast.parse(path.read_text()).body, ""))


def _defined(body: list[ast.stmt], prefix: str) -> list[str]:
    found = []
    for node in body:
        match node:
            case ast.FunctionDef(name=name):
                found.append(prefix + name)
            case ast.ClassDef(name=name, body=inner):
                found += [prefix + name, *_defined(inner, f"{prefix}{name}.")]
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found.append(prefix + name)
            case _:
                pass
    return found


def _named(text: str) -> list[tuple[str, str]]:
    """List what a text names as `path::name`; `…` stands for the path before."""
    found: list[tuple[str, str]] = []
    path = ""
    for given, name in _NAMED.findall(text):
        path = path if given in {"…", ""} else given
        found.append((path, name))
    return found


def _missing(text: str) -> list[str]:
    """List what a text names as `path::name` and is not in the tree."""
    missing = []
    for path, name in _named(text):
        files = [start / path for start in STARTS if (start / path).is_file()]
        if not any(name in _names(file) for file in files):
            missing.append(f"{path}::{name}")
    return missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_links_lead_to_files_and_headings_that_are_there(document: Path) -> None:
    broken = []
    for link in _LINK.findall(_prose(document)):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        linked = (document.parent / path).resolve() if path else document
        if not linked.exists() or (anchor and anchor not in _anchors(linked)):
            broken.append(link)

    assert not broken


@pytest.mark.parametrize("document", GUIDES, ids=GUIDE_NAMES)
def test_functions_and_tests_that_are_named_are_there(document: Path) -> None:
    assert not _missing(_prose(document))


@pytest.mark.parametrize("document", GUIDES, ids=GUIDE_NAMES)
def test_paths_that_are_named_are_there(document: Path) -> None:
    missing = [
        path
        for path in _PATH.findall(_prose(document))
        if not any(f"/{each}".endswith(f"/{path}") for each in _files())
        and not any(True for start in (*STARTS, document.parent) for _ in start.glob(path.rstrip("/")))
    ]

    assert not missing


def test_what_is_missing_is_noticed() -> None:
    text = "`store/counting/fold.py::Fold.fold`, `…::Fold.unfold`, `unit/test_gone.py::test_gone`"

    assert _missing(text) == ["store/counting/fold.py::Fold.unfold", "unit/test_gone.py::test_gone"]


def test_the_readme_fits_in_150_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_licence_is_apache_2_0_word_for_word() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["license"] == "Apache-2.0"
    assert sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == (
        "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    )


def test_the_notice_names_every_file_of_data_that_others_published() -> None:
    notice = (ROOT / "NOTICE").read_text()
    published = [*(ROOT / "examples/demo/usage").iterdir(), ROOT / "tests/vectors/flexprice.json"]
    published += (ROOT / "tests/contract/facts").iterdir()

    assert not [path for path in published if str(path.relative_to(ROOT)) not in notice]


@pytest.mark.parametrize("difference", Difference)
def test_every_difference_from_flexprice_that_tests_name_is_explained(difference: Difference) -> None:
    assert f"\n| {difference} |" in (ROOT / "docs/differences.md").read_text()


COUNTING = (ROOT / "docs/counting.md").read_text()
INVARIANTS = re.findall(r"^\*\*(C\d+)\. ", COUNTING, re.MULTILINE)
#: Of each invariant what enforces it and what shows it.
STANDS = re.findall(r"^\| (C\d+) \| (.*) \| (.*) \|$", COUNTING, re.MULTILINE)


def test_invariants_are_numbered_in_order() -> None:
    assert [f"C{number + 1}" for number in range(len(INVARIANTS))] == INVARIANTS
    assert INVARIANTS


def test_the_table_of_invariants_has_each_of_them_in_order() -> None:
    assert [invariant for invariant, _, _ in STANDS] == INVARIANTS


@pytest.mark.parametrize(("_", "enforced", "shown"), STANDS, ids=[invariant for invariant, _, _ in STANDS])
def test_an_invariant_names_what_enforces_it_and_what_shows_it(_: str, enforced: str, shown: str) -> None:
    assert all(path.startswith(("store/", "usage/", "catalogue/", "cli/")) for path, _ in _named(enforced))
    assert all(name.startswith("test_") for _, name in _named(shown))
    assert _named(enforced)
    assert _named(shown)


def test_the_glossary_defines_each_word_once_in_order() -> None:
    rows = (ROOT / "docs/glossary.md").read_text().splitlines()
    words = [row.split("|")[1].strip() for row in rows if row.startswith("| ")][1:]

    assert words == sorted(words)
    assert len(words) == len(set(words))


ROOMS = {
    room: set(re.findall(r"`([\w/]+)`", allowed))
    for room, allowed in re.findall(
        r"^\| `([\w/]+)` \|[^|]*\|([^|]*)\|$", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE
    )
}


def _room(module: str) -> str:
    """Name the room of a module such as `meterstone.store.events.log`."""
    _, room, *inner = module.split(".")
    folder = (ROOT / "layers/meterstone/meterstone/store" / inner[0]) if room == "store" and inner else None
    return f"store/{inner[0]}" if folder is not None and folder.is_dir() else room


def _imported(file: Path) -> set[str]:
    """Name the rooms that a file imports from."""
    modules: list[str] = []
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.ImportFrom(module="meterstone", names=names):
                modules += [f"meterstone.{each.name}" for each in names]
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("meterstone."):
                modules += (
                    [f"{module}.{each.name}" for each in names] if module == "meterstone.store" else [module]
                )
            case ast.Import(names=names):
                modules += [each.name for each in names if each.name.startswith("meterstone.")]
            case _:
                pass
    return {_room(module) for module in modules}


def _files_of(room: str) -> list[Path]:
    if room == "functions":
        return sorted(ROOT.glob("functions/*/app.py"))
    place = ROOT / "layers/meterstone/meterstone" / room
    return sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


def test_every_room_of_the_layer_is_described() -> None:
    layer = ROOT / "layers/meterstone/meterstone"
    files = (
        file for file in layer.rglob("*.py") if file.name != "__init__.py" or file.parent.parent != layer
    )
    rooms = {
        _room(".".join(("meterstone", *file.relative_to(layer).with_suffix("").parts))) for file in files
    }

    assert rooms - {"__init__"} == ROOMS.keys() - {"functions"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_those_that_the_document_allows(room: str) -> None:
    files = _files_of(room)
    imported = {(str(file.relative_to(ROOT)), other) for file in files for other in _imported(file)}

    assert files
    assert not {(file, other) for file, other in imported if other not in ROOMS[room] | {room}}


def test_no_function_but_one_that_changes_the_catalogue_imports_its_records() -> None:
    """They need pydantic, which takes longer to import than an answer, and which the layer does not bring."""
    importing = {file.parent.name for file in _files_of("functions") if "catalogue" in _imported(file)}

    assert importing <= {"manage_catalogue", "recount_usage"}

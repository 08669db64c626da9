"""Mutants: one small change of one file each, named in a list or drawn from what a file's syntax allows.

A list is JSON: an array of objects with `file`, `old`, `new` and `why`; `kind` (a word for what is changed) and
`equivalent` may be left out. `old` is text that stands in the file exactly once. `equivalent` is true where no
test can notice the change because nothing observable differs; `why` then says so.
"""

import ast
import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple


class StaleError(Exception):
    """A named change no longer fits the file that it names, or its list is not one; the message says where."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One file with one change."""

    #: From the root of the repository, with forward slashes.
    file: str
    kind: str
    why: str
    before: str
    after: str
    equivalent: bool = False

    @property
    def line(self) -> int:
        """The first line that differs, counted from 1."""
        pairs = zip(self.before.splitlines(), self.after.splitlines(), strict=False)
        return next((number for number, (old, new) in enumerate(pairs, start=1) if old != new), 1)

    def diff(self) -> str:
        """Return the change as a unified diff with one line around it."""
        before, after = self.before.splitlines(keepends=True), self.after.splitlines(keepends=True)
        return "".join(difflib.unified_diff(before, after, self.file, self.file, n=1))


_REQUIRED: Final = {"file": str, "old": str, "new": str, "why": str}
_OPTIONAL: Final = {"kind": str, "equivalent": bool}


def read_named(path: Path, root: Path) -> list[Mutant]:
    """Return the mutants of a list of named changes. Raises one `StaleError` for all entries that do not fit."""
    try:
        entries = json.loads(path.read_text())
    except ValueError as error:
        raise StaleError(f"{path}: is not JSON: {error}") from None
    if not isinstance(entries, list):
        raise StaleError(f"{path}: is not an array")
    mutants, problems = [], []
    for index, entry in enumerate(entries):
        try:
            mutants.append(named(entry, root))
        except StaleError as error:
            problems.append(f"{path}: entry {index}: {error}")
    if problems:
        raise StaleError("\n".join(problems))
    return mutants


def named(entry: object, root: Path) -> Mutant:
    """Return the mutant that an entry of a list describes. Raises `StaleError` if it does not fit its file."""
    if not isinstance(entry, dict):
        raise StaleError("is not an object")
    known = _REQUIRED | _OPTIONAL
    if unknown := entry.keys() - known:
        raise StaleError(f"has unknown keys: {', '.join(sorted(unknown))}")
    for key, kind in known.items():
        if key in _REQUIRED and key not in entry:
            raise StaleError(f"has no `{key}`")
        if key in entry and not isinstance(entry[key], kind):
            raise StaleError(f"`{key}` is not a {kind.__name__}")
    file, old, new = entry["file"], entry["old"], entry["new"]
    if not (root / file).is_file():
        raise StaleError(f"there is no file {file}")
    before = (root / file).read_text()
    if (count := before.count(old)) != 1:
        raise StaleError(f"{file}: `old` stands there {count} times, not once: {old!r}")
    after = before.replace(old, new)
    if after == before:
        raise StaleError(f"{file}: `new` is the same as `old`: {old!r}")
    if not compiles(after):
        raise StaleError(f"{file}: with `new` it is no Python: {new!r}")
    return Mutant(
        file, entry.get("kind", "named"), entry["why"], before, after, entry.get("equivalent", False)
    )


def refit(path: Path, root: Path) -> tuple[int, list[str]]:
    """Mend a list's entries whose `old` stands in the file, but folded or indented differently.

    The entry's `old` becomes the text as it stands there now. Returns how many entries were mended, and a line for
    each that does not fit its file any more: a person writes those anew.
    """
    entries = json.loads(path.read_text())
    mended, stale = 0, []
    for index, entry in enumerate(entries):
        try:
            named(entry, root)
        except StaleError as error:
            found = _refitted(entry, root)
            if found is None:
                stale.append(f"{path}: entry {index}: {error}")
            else:
                entries[index] = found
                mended += 1
    if mended:
        path.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n")
    return mended, stale


def _refitted(entry: Any, root: Path) -> dict[str, Any] | None:
    """Return an entry with `old` as its file folds it today; None unless it stands there once and `new` fits."""
    try:
        source = (root / entry["file"]).read_text()
        spans = _spans(source, entry["old"])
    except (OSError, KeyError, TypeError):
        return None
    if len(spans) != 1:
        return None
    start, end = spans[0]
    found: dict[str, Any] = entry | {"old": source[start:end], "new": entry["new"].strip()}
    if not found["new"]:
        # Whole lines go with their line ends.
        start, end = source.rfind("\n", 0, start) + 1, source.find("\n", end) + 1
        found["old"] = source[start:end]
    try:
        named(found, root)
    except StaleError:
        return None
    return found


def _spans(source: str, old: str) -> list[tuple[int, int]]:
    """Return where a text stands in a source, no matter how either is folded."""
    wanted = [word for word, _, _ in _words(old)]
    words = _words(source)
    count = len(wanted)
    return [
        (words[index][1], words[index + count - 1][2])
        for index in range(len(words) - count + 1)
        if wanted and [word for word, _, _ in words[index : index + count]] == wanted
    ]


def _words(text: str) -> list[tuple[str, int, int]]:
    """Return the words and signs of a text with their places, without the comma that ends a folded list."""
    words = [(found[0], found.start(), found.end()) for found in re.finditer(r"\w+|[^\w\s]", text)]
    ends = {start for (_, start, _), (after, _, _) in pairwise(words) if after in {")", "]", "}"}}
    return [(word, start, end) for word, start, end in words if word != "," or start not in ends]


def compiles(source: str) -> bool:
    """Tell whether a text is Python, by syntax alone."""
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def sample(files: Sequence[str], root: Path, count: int, seed: int) -> list[Mutant]:
    """Draw mutants of some files, all different; the same ones for the same files, texts and seed."""
    every = [
        mutant for file in sorted(set(files)) for mutant in every_mutant(file, (root / file).read_text())
    ]
    drawn = Random(seed).sample(every, min(count, len(every)))  # noqa: S311 - a draw that repeats is the point
    return sorted(drawn, key=lambda mutant: (mutant.file, mutant.line))


def every_mutant(file: str, before: str) -> Iterator[Mutant]:
    """Yield every change that the rules below make of a file, in the order of its text."""
    tree = ast.parse(before)
    text = before.encode()
    seen = set()
    for edit in sorted(_edits(tree, _Source(text))):
        after = (text[: edit.start] + edit.new.encode() + text[edit.end :]).decode()
        if after != before and after not in seen and compiles(after):
            seen.add(after)
            yield Mutant(file, edit.kind, "drawn by its syntax", before, after)


class Edit(NamedTuple):
    """Bytes of a source to replace. `ast` counts columns in bytes too."""

    start: int
    end: int
    new: str
    kind: str


class _Source:
    """A source's bytes, found by the positions of syntax nodes."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self._lines = [0]
        for line in text.split(b"\n"):
            self._lines.append(self._lines[-1] + len(line) + 1)

    def start(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        return self._lines[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        assert node.end_lineno is not None  # noqa: S101 - `ast.parse` sets it on each of these
        assert node.end_col_offset is not None  # noqa: S101
        return self._lines[node.end_lineno - 1] + node.end_col_offset

    def of(self, node: ast.expr | ast.stmt) -> str:
        return self.text[self.start(node) : self.end(node)].decode()

    def replaced(self, node: ast.expr | ast.stmt | ast.keyword, new: str, kind: str) -> Edit:
        return Edit(self.start(node), self.end(node), new, kind)

    def between(self, left: ast.expr, right: ast.expr, old: str, new: str, kind: str) -> Iterator[Edit]:
        """Replace an operator that stands between its operands, perhaps beside parentheses and comments."""
        start = self.end(left)
        gap = re.sub(
            rb"#[^\n]*", lambda comment: b" " * len(comment[0]), self.text[start : self.start(right)]
        )
        pattern = rb"\s+".join(re.escape(word.encode()) for word in old.split())
        if found := re.search(pattern, gap):
            yield Edit(start + found.start(), start + found.end(), new, kind)


_COMPARISONS: Final[dict[type[ast.cmpop], tuple[str, str]]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
_ARITHMETIC: Final[dict[type[ast.operator], tuple[str, str]]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"),
}
_EXTREMES: Final = {"min": "max", "max": "min"}


def _edits(node: ast.AST, source: _Source) -> Iterator[Edit]:
    if isinstance(node, ast.expr):
        yield from _edits_of_expression(node, source)
    if isinstance(node, ast.stmt):
        yield from _edits_of_statement(node, source)
    if isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(node.test, ast.UnaryOp):
        yield source.replaced(node.test, f"(not ({source.of(node.test)}))", "negation")
    for child in _code_in(node):
        yield from _edits(child, source)


def _code_in(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node's children but for types, decorators and formats, which change no figure."""
    for name, value in ast.iter_fields(node):
        if name not in {"annotation", "returns", "decorator_list", "type_params", "format_spec"}:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not isinstance(child, ast.TypeAlias):
                    yield child


def _edits_of_expression(node: ast.expr, source: _Source) -> Iterator[Edit]:
    match node:
        case ast.Compare():
            operands = [node.left, *node.comparators]
            for left, operator, right in zip(operands, node.ops, node.comparators, strict=False):
                yield from source.between(left, right, *_COMPARISONS[type(operator)], "comparison")
        case ast.BoolOp():
            words = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            for left, right in zip(node.values, node.values[1:], strict=False):
                yield from source.between(left, right, *words, "and/or")
        case ast.BinOp() if type(node.op) in _ARITHMETIC and not _is_text(node):
            yield from source.between(node.left, node.right, *_ARITHMETIC[type(node.op)], "arithmetic")
        case ast.UnaryOp(op=ast.Not()):
            yield source.replaced(node, f"({source.of(node.operand)})", "dropped not")
        case ast.Constant(value=bool(value)):
            yield source.replaced(node, str(not value), "constant")
        case ast.Constant(value=int(value)):
            yield source.replaced(node, str(value + 1), "constant")
            yield source.replaced(node, str(value - 1) if value else "(-1)", "constant")
        case ast.Call():
            yield from _edits_of_call(node, source)
        case _:
            pass


def _edits_of_statement(node: ast.stmt, source: _Source) -> Iterator[Edit]:
    match node:
        case ast.AugAssign() if type(node.op) in _ARITHMETIC:
            old, new = _ARITHMETIC[type(node.op)]
            yield from source.between(node.target, node.value, f"{old}=", f"{new}=", "arithmetic")
        case ast.FunctionDef():
            yield from _early_return(node, source)
        case _:
            pass
    if _can_go(node):
        yield source.replaced(node, "pass", "removed statement")


def _is_text(node: ast.BinOp) -> bool:
    """Tell whether an operand is text in quotes: another operator fails at once, and proves nothing."""
    return any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes))
        for side in (node.left, node.right)
    )


def _edits_of_call(call: ast.Call, source: _Source) -> Iterator[Edit]:
    if isinstance(call.func, ast.Name) and call.func.id in _EXTREMES:
        yield source.replaced(call.func, _EXTREMES[call.func.id], "min/max")
    given: list[ast.expr | ast.keyword] = sorted([*call.args, *call.keywords], key=source.start)
    for index, argument in enumerate(given):
        if isinstance(argument, ast.keyword) and argument.arg == "consistent":
            # With the comma before it, or after it where it is the first.
            start, end = source.start(argument), source.end(argument)
            if index > 0:
                start = source.text.rindex(b",", source.end(given[index - 1]), start)
            elif len(given) > 1:
                end = source.start(given[1])
            yield Edit(start, end, "", "dropped consistent")


def _early_return(function: ast.FunctionDef, source: _Source) -> Iterator[Edit]:
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    if body and body[0].lineno > function.lineno and not _is_trivial(body):
        start = source.start(body[0])
        yield Edit(start, start, f"return None\n{' ' * body[0].col_offset}", "early return")


def _is_trivial(body: list[ast.stmt]) -> bool:
    return isinstance(body[0], ast.Pass | ast.Raise) or (
        isinstance(body[0], ast.Return)
        and (
            body[0].value is None or (isinstance(body[0].value, ast.Constant) and body[0].value.value is None)
        )
    )


def _can_go(statement: ast.stmt) -> bool:
    """Tell whether the program still runs without a statement; a name that is never given fails at once."""
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Name(id="assert_never"))):
            return False
        case ast.Expr(value=ast.Constant()):
            return False
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Delete() | ast.Continue() | ast.Break():
            return True
        case ast.Assign():
            return all(isinstance(target, ast.Attribute | ast.Subscript) for target in statement.targets)
        case _:
            return False

"""On which line of a file a value stands: looked up only when something is wrong with it.

Reading a file keeps values alone. A file that holds a problem is read once more, as a tree of marks.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

_PLACE = re.compile(r"\[(\d+)\]")
_JSON_SPACE = re.compile(r"[ \t\n\r]*")
_JSON_SCALAR = re.compile(r"[^\s,\]}]+")


@dataclass(slots=True)
class Lines:
    """The lines of the files of one folder."""

    folder: Path
    _trees: dict[str, "_Tree | None"] = field(default_factory=dict)

    def of(self, file: str, path: str) -> int:
        """Return the line, counted from 1, of a path such as `prices[2].tiers[0].up_to`.

        What is absent is said to stand where the value stands that lacks it. 0 if the file is none, or cannot be
        read.
        """
        if file not in self._trees:
            self._trees[file] = _read(self.folder / file)
        tree = self._trees[file]
        if tree is None:
            return 0
        # The path begins with the kind of records, which stands in the file's name.
        rest = path[re.match(r"\w*", path).end() :]  # type: ignore[union-attr]
        while rest:
            step = _step(tree, rest)
            if step is None:
                break
            tree, rest = tree.inner[step], rest[len(step) :]
        return tree.line


def json_line(text: str, is_it: Callable[[str, bool], bool]) -> int:
    """Return the line of the first value, or repeated key, of a JSON text that a predicate says it is.

    The predicate is given a scalar's text and False, or a key and True. 0 if there is none.
    """
    reader = _Json(text, is_it)
    with suppress(ValueError, IndexError, RecursionError):
        reader.tree(reader.beginning())
    return reader.found


class _Tree:
    """A value's line, and the values inside it by the steps that lead there: `[0]`, or `.name`."""

    __slots__ = ("inner", "line")

    def __init__(self, line: int) -> None:
        self.line = line
        self.inner: dict[str, _Tree] = {}


def _step(tree: _Tree, rest: str) -> str | None:
    """Return the step that a path begins with. A key may hold dots and brackets: the longest one is it."""
    if (place := _PLACE.match(rest)) is not None:
        return place[0] if place[0] in tree.inner else None
    fitting = [step for step in tree.inner if rest == step or rest.startswith((step + ".", step + "["))]
    return max(fitting, key=len, default=None)


def _read(path: Path) -> _Tree | None:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if path.suffix == ".json":
            reader = _Json(text)
            return reader.tree(reader.beginning())[0]
        return _yaml(text)
    except (OSError, ValueError, IndexError, RecursionError, YAMLError):
        return None  # What is wrong with the file as a whole says where by itself.


def _yaml(text: str) -> _Tree | None:
    root = YAML(typ="safe", pure=True).compose(text)
    return None if root is None else _yaml_tree(root, root.start_mark.line + 1, {})


def _yaml_tree(node: Node, line: int, known: dict[int, _Tree]) -> _Tree:
    """Make the tree of a node; one with an anchor, which stands in several places, is made once."""
    if (before := known.get(id(node))) is not None:
        return before
    tree = known[id(node)] = _Tree(line)
    if isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            tree.inner[f"[{index}]"] = _yaml_tree(item, item.start_mark.line + 1, known)
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            tree.inner[f".{key.value}"] = _yaml_tree(value, key.start_mark.line + 1, known)
    return tree


class _Json:
    """Reads the tree of a JSON text that is known to be JSON."""

    def __init__(self, text: str, is_it: Callable[[str, bool], bool] = lambda *_: False) -> None:
        self._text = text
        self._is_it = is_it
        self._seen, self._line = 0, 1
        self.found = 0

    def beginning(self) -> int:
        """Return where the text's value begins."""
        return self._next(0)

    def tree(self, at: int) -> tuple[_Tree, int]:
        """Read the value that begins at a place; tell where it ends."""
        tree = _Tree(self._line_at(at))
        match self._text[at]:
            case "[":
                return tree, self._list(tree, at)
            case "{":
                return tree, self._mapping(tree, at)
            case '"':
                return tree, scanstring(self._text, at + 1)[1]
            case _:
                end = self._end(_JSON_SCALAR, at)
                self._look(self._text[at:end], tree.line, repeated=False)
                return tree, end

    def _list(self, tree: _Tree, at: int) -> int:
        at, count = self._next(at + 1), 0
        while self._text[at] != "]":
            tree.inner[f"[{count}]"], at = self.tree(at)
            at, count = self._after_comma(at), count + 1
        return at + 1

    def _mapping(self, tree: _Tree, at: int) -> int:
        at = self._next(at + 1)
        while self._text[at] != "}":
            line = self._line_at(at)
            key, at = scanstring(self._text, at + 1)
            inner, at = self.tree(self._next(self._next(at) + 1))
            inner.line = line
            if f".{key}" in tree.inner:
                self._look(key, line, repeated=True)
            tree.inner[f".{key}"] = inner
            at = self._after_comma(at)
        return at + 1

    def _look(self, text: str, line: int, *, repeated: bool) -> None:
        if not self.found and self._is_it(text, repeated):
            self.found = line

    def _after_comma(self, at: int) -> int:
        at = self._next(at)
        return self._next(at + 1) if self._text[at] == "," else at

    def _next(self, at: int) -> int:
        return self._end(_JSON_SPACE, at)

    def _end(self, pattern: re.Pattern[str], at: int) -> int:
        found = pattern.match(self._text, at)
        if found is None:
            raise ValueError("no JSON")
        return found.end()

    def _line_at(self, at: int) -> int:
        self._line += self._text.count("\n", self._seen, at)
        self._seen = at
        return self._line

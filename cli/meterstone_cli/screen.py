"""Tables and bars of text, as wide as the terminal is.

A terminal says how wide it is; ``COLUMNS`` says it for one that does not, and for a file or a pipe. Where nothing
says it, tables are as wide as their cells, and nothing is cut. Bars are drawn with blocks at a terminal, and with
``#`` elsewhere, or where ``NO_COLOR`` is set (https://no-color.org).
"""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Final, NamedTuple

from rich.cells import cell_len, set_cell_size

_USUAL_WIDTH: Final = 80
_NARROWEST_BAR: Final = 8
_WIDEST_BAR: Final = 60
#: A cell that may be cut keeps so many characters, the last of them being an ellipsis.
_NARROWEST_CELL: Final = 8
_GAP: Final = "  "
#: What a bar is made of without blocks. By its number, since only keys have the sign in texts.
_PLAIN: Final = chr(35)
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


class Screen(NamedTuple):
    """What text is written on."""

    #: How many characters a line has.
    width: int = _USUAL_WIDTH
    #: Whether longer lines would be broken, so that tables must fit.
    bounded: bool = False
    #: Whether bars are drawn with blocks.
    blocks: bool = False

    @classmethod
    def of_stdout(cls) -> "Screen":
        """Return what stdout is."""
        terminal = sys.stdout.isatty()
        bounded = terminal or os.environ.get("COLUMNS", "").isdecimal()
        width = shutil.get_terminal_size((_USUAL_WIDTH, 24)).columns if bounded else _USUAL_WIDTH
        unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        return cls(max(width, 1), bounded, terminal and unicode and not os.environ.get("NO_COLOR"))


class Column(NamedTuple):
    """A column of a table. Numbers stand at the right; a text that is ``cut`` may lose its end to fit."""

    name: str
    right: bool = False
    cut: bool = False


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], screen: Screen) -> Iterator[str]:
    """Return the lines of a table, headed by the names of its columns.

    Where not even the shortest form of its lines fits, each row becomes a block of lines, one a cell.
    """
    cells = [list(row) for row in rows]
    widths = [
        max([cell_len(column.name), *(cell_len(row[place]) for row in cells)])
        for place, column in enumerate(columns)
    ]
    if screen.bounded:
        over = sum(widths) + len(_GAP) * (len(columns) - 1) - screen.width
        for place in sorted(range(len(columns)), key=lambda place: -widths[place]):
            if columns[place].cut and over > 0:
                kept = max(min(widths[place], _NARROWEST_CELL), widths[place] - over)
                over, widths[place] = over - (widths[place] - kept), kept
        if over > 0:
            yield from _blocks(columns, cells)
            return
    for row in ([column.name for column in columns], *cells):
        parts = (_fitted(*each) for each in zip(row, columns, widths, strict=True))
        yield _GAP.join(parts).rstrip()


def _fitted(text: str, column: Column, width: int) -> str:
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    space = " " * (width - cell_len(text))
    return space + text if column.right else text + space


def _blocks(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for number, row in enumerate(rows):
        if number:
            yield ""
        for column, cell in zip(columns, row, strict=True):
            if cell:
                yield f"{column.name}: {cell}" if column.name else cell


def wrapped(text: str, screen: Screen, indent: str = "") -> Iterator[str]:
    """Return a text as lines that fit."""
    room = max(screen.width - len(indent), 1) if screen.bounded else len(text) or 1
    yield from (indent + line for line in textwrap.wrap(text, room, break_long_words=False))


def chart(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], values: Sequence[int], screen: Screen
) -> Iterator[str]:
    """Return a table with a bar beside each row, in proportion to the row's value.

    Where values are below zero, bars go to the left and the right of a common line. There are no bars where there
    is no room for them.
    """
    lines = list(table(columns, rows, screen._replace(bounded=False)))
    used = max(map(cell_len, lines)) + len(_GAP)
    room = min(screen.width - used, _WIDEST_BAR)
    if room < _NARROWEST_BAR:
        yield from table(columns, rows, screen)
        return
    for line, bar in zip_longest(lines, ("", *bars(values, room, blocks=screen.blocks)), fillvalue=""):
        space = " " * (used - cell_len(line))
        yield f"{line}{space}{bar}".rstrip()


def bars(values: Sequence[int], width: int, *, blocks: bool) -> Iterator[str]:
    """Return a bar for each value. What is not 0 has a bar, however short.

    >>> list(bars([0, 50, 100], 8, blocks=False)), list(bars([-50, 100], 9, blocks=False))
    (['', '####', '########'], [' --', '   #####'])
    >>> list(bars([33, 100, 1], 4, blocks=True))
    ['█▎', '████', '▏']
    """
    most, least = max([0, *values]), min([0, *values])
    scale = most - least
    left = -(-(width - 1) * -least // scale) if least else 0
    room = width - 1 if least and most else width
    for value in values:
        if value < 0:
            yield _leftward(-value * room, scale, blocks=blocks).rjust(left)
        elif value > 0:
            yield " " * left + _rightward(value * room, scale, blocks=blocks)
        else:
            yield ""


def _rightward(length: int, scale: int, *, blocks: bool) -> str:
    if not blocks:
        return _PLAIN * max(1, length // scale)
    full, rest = divmod(max(1, length * 8 // scale), 8)
    return "█" * full + _EIGHTHS[rest].strip()


def _leftward(length: int, scale: int, *, blocks: bool) -> str:
    if not blocks:
        return "-" * max(1, length // scale)
    full, rest = divmod(max(1, length * 2 // scale), 2)
    return "▐" * rest + "█" * full

"""The rows of a CSV file whose quoted cells may hold line breaks, read line by line.

A quote that is never closed must not take the rest of the file with it. So the lines behind it are read again, as
rows of their own.
"""

import csv
from collections import deque
from collections.abc import Iterator
from itertools import count

#: A line with its number: its text with its end, or what is wrong with it.
type Line[Bad] = tuple[int, str | Bad]


def csv_rows[Bad](lines: Iterator[Line[Bad]], longest: int) -> Iterator[Line[Bad]]:
    """Put the lines of quoted cells together to rows of at most so many characters; empty lines are no rows.

    A row has the number of its first line, and no line end. A line that is bad by itself is passed on.
    """
    ahead: deque[Line[Bad]] = deque()
    while (each := ahead.popleft() if ahead else next(lines, None)) is not None:
        line, row = each
        if not isinstance(row, str):
            yield line, row
        elif not is_empty(row):
            whole = _with_continuation(row, ahead, lines, longest) if '"' in row else row
            yield line, whole.rstrip("\r\n")


def is_empty(line: str) -> bool:
    """Return whether a line has nothing but spaces of ASCII; with any other character it is a row."""
    return not line.strip(" \t\n\r\x0b\f")


def _with_continuation[Bad](
    row: str, ahead: deque[Line[Bad]], lines: Iterator[Line[Bad]], longest: int
) -> str:
    """Return the row that begins with a line.

    `ahead` has the lines that were read before and belong to no row yet; those of the row are taken from it. If
    the row's quotes are not closed in time, the row is the line alone, and the others stay in `ahead`.
    """
    parts = [row]

    def given() -> Iterator[str]:
        yield row
        size = len(row)
        for index in count():
            if index == len(ahead):
                if (following := next(lines, None)) is None:
                    return
                ahead.append(following)
            _, part = ahead[index]
            if not isinstance(part, str) or (size := size + len(part)) > longest:
                return
            parts.append(part)
            yield part

    try:
        next(csv.reader(given(), strict=True))
    except csv.Error:
        return row
    for _ in parts[1:]:
        ahead.popleft()
    return "".join(parts)

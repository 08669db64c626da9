"""What is wrong with something that a person wrote, and where."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

_LONGEST_PART = 500


class InputProblem(NamedTuple):
    """One reason to refuse a file."""

    #: The file as the person would name it.
    file: str
    #: Where in the file, such as `[3].line_items[0].price`; empty for the file as a whole.
    path: str
    reason: str
    #: The line in the file, counted from 1; 0 if it is not known.
    line: int = 0
    #: The id of the record that is meant, empty if it has none.
    id: str = ""

    def __str__(self) -> str:
        """One line: `prices.yaml:12: prices[2].amount (id 'calls'): must not be negative`."""
        file = f"{_shown(self.file)}:{self.line}" if self.line else _shown(self.file)
        record = f" (id '{_shown(self.id)}')" if self.id and self.path else ""
        return ": ".join(part for part in (file, _shown(self.path) + record, _shown(self.reason)) if part)


def _shown(text: str) -> str:
    """Keep what the file says from moving the cursor or filling the screen."""
    cut = text if len(text) <= _LONGEST_PART else text[:_LONGEST_PART] + "…"
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in cut)


class InputRefusedError(Exception):
    """Input that is not taken, with every reason at once."""

    def __init__(self, problems: Iterable[InputProblem]) -> None:
        self.problems: Sequence[InputProblem] = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

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

    def __str__(self) -> str:
        """One line: `prices.yaml: prices[2].amount: must not be negative`."""
        return ": ".join(_shown(part) for part in self if part)


def _shown(text: str) -> str:
    """Keep what the file says from moving the cursor or filling the screen."""
    cut = text if len(text) <= _LONGEST_PART else text[:_LONGEST_PART] + "…"
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in cut)


class InputRefusedError(Exception):
    """Input that is not taken, with every reason at once."""

    def __init__(self, problems: Iterable[InputProblem]) -> None:
        self.problems: Sequence[InputProblem] = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

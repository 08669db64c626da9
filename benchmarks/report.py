"""The table that a run prints and the JSON that it writes."""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.figures import COLUMNS, Figure, Part

_PACKAGES = ("aws-lambda-powertools", "boto3", "botocore", "msgspec", "pydantic")


def machine() -> dict[str, Any]:
    """Say on what a run was made, without what would tell whose machine it is."""
    return {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "load at start": round(os.getloadavg()[0], 1),
    }


def lines(part: Part) -> Iterator[str]:
    """Write a part as lines of text."""
    columns = [name for name in COLUMNS if any(name in figure.beside for figure in part.figures)]
    header = ["", "figure", "budget", *columns]
    rows = [header, *(_row(figure, columns) for figure in part.figures)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(header))]
    yield part.name.upper()
    for row in rows:
        first, *rest = (
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  " + "  ".join([first, *rest]).rstrip()
    for note in part.notes:
        yield f"  {note}"
    for limit in part.limits:
        yield f"  limited by: {limit}"
    yield ""


def write(path: Path, facts: dict[str, Any], part: Part) -> None:
    """Write a part as JSON; what the file has of other parts stays."""
    known: dict[str, Any] = {}
    if path.is_file() and path.stat().st_size:
        known = json.loads(path.read_text())["parts"]
    known[part.name] = {
        "machine": facts,
        "figures": [_figure(figure) for figure in part.figures],
        "notes": list(part.notes),
        "limits": list(part.limits),
    }
    path.write_text(json.dumps({"parts": known}, indent=1, ensure_ascii=False) + "\n")


def read(path: Path) -> Iterator[Part]:
    """Read the parts of a written run, in the order of their running."""
    for name, part in json.loads(path.read_text())["parts"].items():
        figures = [
            Figure(
                figure.pop("name"),
                figure.pop("value"),
                figure.pop("unit"),
                figure.pop("budget", None),
                figure,
            )
            for figure in part["figures"]
        ]
        yield Part(name, figures, part["limits"], part["notes"])


def _row(figure: Figure, columns: Sequence[str]) -> list[str]:
    budget = "" if figure.budget is None else f"{_number(figure.budget)} {figure.unit}"
    beside = [_number(figure.beside[name]) if name in figure.beside else "" for name in columns]
    return [figure.name, f"{_number(figure.value)} {figure.unit}", budget, *beside]


def _number(value: float) -> str:
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"  # noqa: PLR2004 - digits that a reader uses


def _figure(figure: Figure) -> dict[str, Any]:
    written: dict[str, Any] = {"name": figure.name, "value": round(figure.value, 4), "unit": figure.unit}
    if figure.budget is not None:
        written["budget"] = figure.budget
    return written | {name: round(value, 4) for name, value in figure.beside.items()}

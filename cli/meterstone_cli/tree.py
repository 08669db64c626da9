"""Where the files are that commands need and that are no Python modules: functions, template, demo.

In a checkout they stand where they are. A wheel carries them beside this module, in `data`, in the same order.
"""

import os
from pathlib import Path
from typing import Final

_DATA: Final = Path(__file__).resolve().parent / "data"

INSTALLED: Final = _DATA.is_dir()
"""Whether this is an installed wheel, and no checkout."""

ROOT: Final = _DATA if INSTALLED else Path(__file__).resolve().parents[2]
FUNCTIONS: Final = ROOT / "functions"
TEMPLATE: Final = ROOT / "template.yaml"
DEMO: Final = ROOT / "examples" / "demo"
ENGINE_REQUIREMENTS: Final = ROOT / "requirements" / "engine.txt"


def _own() -> Path:
    """Return the folder of what an installed command keeps: the XDG base directory of state."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state") / "meterstone"


STATE: Final = _own() if INSTALLED else ROOT / ".meterstone"
"""Where `start` keeps its tables and its key, unless it is told otherwise."""

ENGINE: Final = _own() / "engine" if INSTALLED else ROOT / ".venvs" / "engine"
"""The virtual environment of the embedded DynamoDB, unless `start` is told otherwise."""


def how_to_make_the_engine(environment: Path) -> str:
    """Return the commands that make the virtual environment of the embedded DynamoDB."""
    if not INSTALLED and environment == ENGINE:
        return "make environments"
    pip = environment / "bin" / "pip"
    return f"python3.13 -m venv {environment} && {pip} install --require-hashes -r {ENGINE_REQUIREMENTS}"

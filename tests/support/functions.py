"""The functions, each loaded from its own folder, as Lambda loads it."""

import importlib.util
import logging
import sys
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

from meterstone.store.dynamodb.table import Table

FUNCTIONS = Path(__file__).parents[2] / "functions"

_number = count()


def load(name: str) -> ModuleType:
    """Load a function anew: what it made when it was loaded before is forgotten."""
    name_of_its_own = f"function_{name}_{next(_number)}"
    # Modules beside `app.py` are found, as Lambda finds them.
    if str(FUNCTIONS / name) not in sys.path:
        sys.path.append(str(FUNCTIONS / name))
    spec = importlib.util.spec_from_file_location(name_of_its_own, FUNCTIONS / name / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_over(name: str, table: Table, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load a function over a table. It is the one that the tests' streams are of."""
    monkeypatch.setattr(Table, "from_environment", classmethod(lambda _: table))
    monkeypatch.setenv("TABLE_NAME", "memory")
    return load(name)


class Remaining:
    """What Lambda says of a call that has just begun."""

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


def forget_logger(name: str) -> None:
    """Let the next logger of a name be a new one: this one would go on writing to an earlier test's output."""
    logging.Logger.manager.loggerDict.pop(name, None)

"""The embedded engine for as long as a part runs, and the environment in which functions find it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.load import create_table
from meterstone_cli.devserver import engine
from meterstone_cli.devserver.bookmark import begin

ROOT = Path(__file__).parents[1]

_NAME = "meterstone-benchmark"


@contextmanager
def running(*, keep: bool = False) -> Iterator[Table]:
    """Run the engine on a free loopback port, with an empty table; the environment names both.

    With ``keep`` it is the engine of `start`, which keeps a journal.
    """
    with (
        tempfile.TemporaryDirectory(prefix="meterstone-bench-") as folder,
        engine.running(ROOT / ".venvs/engine", Path(folder), engine.free_port(), keep=keep) as url,
        mock.patch.dict(os.environ, engine.environment_of_clients(url) | {"TABLE_NAME": _NAME}),
    ):
        table = Table.from_environment()
        create_table(table)
        begin()
        yield table

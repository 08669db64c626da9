"""The same tests on every engine: the table in memory, and the one that the environment names or ministack."""

from collections.abc import Iterator

import pytest

from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.load import create_table
from support.memory_table import MemoryTable
from support.stack import database


@pytest.fixture(scope="session")
def engine() -> Iterator[Table]:
    """Give a table of a real engine, for all tests: each keeps to keys of its own."""
    with database() as table:
        create_table(table)
        yield table


@pytest.fixture(params=["memory", pytest.param("engine", marks=pytest.mark.engine)])
def table(request: pytest.FixtureRequest) -> Table:
    """Give an engine's table."""
    found: Table = (
        MemoryTable(page_items=40) if request.param == "memory" else request.getfixturevalue("engine")
    )
    return found

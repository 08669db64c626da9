"""An engine behind a proxy that spoils calls, and Meterstone's functions before it."""

import os
from collections.abc import Iterator

import pytest

from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.load import create_table
from support.fault_proxy import FaultProxy, fault_proxy
from support.faulty import Faulty, figures_of
from support.stack import database


@pytest.fixture(scope="session")
def engine() -> Iterator[Table]:
    """Give a table of an engine, for all tests: each has an organization of its own."""
    with database() as table:
        create_table(table)
        yield table


@pytest.fixture
def proxy(engine: Table) -> Iterator[FaultProxy]:
    """Give a proxy before the engine, which spoils nothing until it is told to."""
    with fault_proxy(os.environ["AWS_ENDPOINT_URL_DYNAMODB"]) as proxy:
        yield proxy


@pytest.fixture
def faulty(proxy: FaultProxy, engine: Table, request: pytest.FixtureRequest) -> Iterator[Faulty]:
    """Give an organization with Meterstone's functions, which see the engine through the proxy."""
    faulty = Faulty.of(proxy, engine)
    name = request.node.callspec.id if hasattr(request.node, "callspec") else request.node.name
    with figures_of(faulty, name):
        yield faulty

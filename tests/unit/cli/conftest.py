"""What every test of the command line has."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Put the environment back: a command says by it which table is meant, and what functions log."""
    before = dict(os.environ)
    # Nothing says how wide a terminal is: parallel test runs do.
    os.environ.pop("COLUMNS", None)
    yield
    os.environ.clear()
    os.environ.update(before)

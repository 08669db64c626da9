"""What tests of several rooms share."""

from collections.abc import Iterator

import pytest

from stack import Stack, stack


@pytest.fixture(scope="session")
def api() -> Iterator[Stack]:
    """Run Meterstone with `tests/small` in it."""
    with stack() as running:
        yield running

"""What tests of several rooms share."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from support.stack import Stack, stack

# The same examples everywhere, so that a change is judged by what it changes; `HYPOTHESIS_PROFILE=deep` looks for
# others, and for more of them.
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@pytest.fixture(scope="session")
def api() -> Iterator[Stack]:
    """Run Meterstone with `tests/small` in it."""
    with stack() as running:
        yield running

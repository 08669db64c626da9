"""What tests of several rooms share."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings

from support.stack import Stack, stack

# The same examples everywhere, so that a change is judged by what it changes; `HYPOTHESIS_PROFILE=deep` looks for
# others, and for more of them. `first-failure` is steady but does not look for the simplest example that fails.
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "first-failure", settings.get_profile("steady"), phases=(Phase.explicit, Phase.generate)
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

#: Runs in the environment of the SAM command line, which has what it imports.
collect_ignore = ["support/sam_transform.py"]

#: Fixtures that run an embedded DynamoDB, here and in `tests/store`.
ENGINES = frozenset({"api", "engine", "living"})


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that asks for an engine, itself or through its fixtures, before `-m` selects by marker."""
    for item in items:
        if isinstance(item, pytest.Function) and needs_engine(item):
            item.add_marker(pytest.mark.engine)


def needs_engine(test: pytest.Function) -> bool:
    """Tell whether a test asks for a fixture that runs an engine; a parameter of the same name is none."""
    parameters = test.callspec.params.keys() if hasattr(test, "callspec") else set()
    return not ENGINES.isdisjoint(set(test.fixturenames) - parameters)


@pytest.fixture(scope="session")
def api() -> Iterator[Stack]:
    """Run Meterstone with `tests/small` in it."""
    with stack() as running:
        yield running

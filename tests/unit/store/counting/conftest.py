"""What each test folds into: one subscription, and nothing counted of it."""

from random import Random

import pytest

from support.batches import SCENARIO
from support.scenario import World
from support.stream import Folding, Stream


@pytest.fixture
def folding() -> Folding:
    return Folding(World(SCENARIO), Stream(Random(5)))  # noqa: S311 - nothing secret

"""An organization of its own for each test of Flexprice's client on the catalogue, and the client."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flexprice import Flexprice

from support.flexprice_client import World, make_world
from support.stack import Stack


@pytest.fixture
def world(api: Stack, tmp_path: Path) -> World:
    return make_world(api.base_url, tmp_path)


@pytest.fixture
def client(world: World) -> Iterator[Flexprice]:
    with world.client() as client:
        yield client

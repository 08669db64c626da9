"""An organization of its own for each test of Lago's client on the catalogue, and the client."""

from pathlib import Path
from typing import Any

import pytest

from support.lago_client import World, make_world
from support.stack import Stack


@pytest.fixture
def world(api: Stack, tmp_path: Path) -> World:
    return make_world(api.base_url, tmp_path)


@pytest.fixture
def client(world: World) -> Any:
    return world.client

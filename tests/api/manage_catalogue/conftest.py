"""The own routes of the catalogue over a table of each test's own."""

import pytest

from support.own_api import Api


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    return Api(monkeypatch)

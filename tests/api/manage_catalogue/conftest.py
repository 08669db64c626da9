"""The own routes of the catalogue over a table of each test's own."""

import pytest

from meterstone import clock
from meterstone.usage.instant import DAY, format_instant
from support.own_api import OF_C, Api


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    return Api(monkeypatch)


@pytest.fixture
def used(api: Api) -> Api:
    """Give an API with a subscription of which an event was counted a day ago."""
    api.put("subscriptions/s", OF_C | {"start": format_instant(clock.now() - 10 * DAY)})
    api.use()
    return api

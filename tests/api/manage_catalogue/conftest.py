"""The own routes of the catalogue over a table of each test's own."""

import pytest

from meterstone import clock
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, format_instant
from meterstone.usage.meter import Event
from support.own_api import OF_C, Api
from support.recovering import Clock, Stream
from support.scenario import Usage


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    return Api(monkeypatch)


@pytest.fixture
def used(api: Api) -> Api:
    """Give an API with a subscription of which an event was counted a day ago."""
    api.put("subscriptions/s", OF_C | {"start": format_instant(clock.now() - 10 * DAY)})
    stream = Stream(api.table, Clock(clock.now()))
    stream.post([Usage(Subject.subscription("s"), Event("e", "calls", clock.now() - DAY, {}))])
    stream.deliver()
    return api

"""Counting on every engine: what is read back is what the raw events come to."""

from random import Random
from unittest import mock
from uuid import uuid4

import pytest

from meterstone.store.dynamodb.table import Table
from meterstone.usage.subscription import Organization
from meterstone.usage.window import Window
from support import scenario as scenarios
from support.counting import check_analytics, check_window
from support.scenario import World, make, oracles


@pytest.mark.parametrize("seed", [3, 10, 17, 24])
def test_a_scenario_is_counted_exactly(table: Table, seed: int) -> None:
    random = Random(seed)  # noqa: S311 - nothing secret
    scenario = make(random, 24, 3)
    # An organization of the test's own keeps the tests of one table apart.
    organization = Organization(str(uuid4()))
    with mock.patch.object(scenarios, "ORGANIZATION", organization):
        world = World(scenario, table).run()
        assert world.roll(scenario.end) >= 0
        assert world.roll(scenario.end) == 0
        check_analytics(world, scenario.usage, scenario.end)
        for oracle in oracles(scenario, scenario.usage):
            start = oracle.subscription.start
            length = scenario.end - start
            for begin, end in ((0, length), (length // 3, length // 2), (7, length - 11), (0, 0)):
                check_window(world, oracle, Window(start + begin, start + max(begin, end)), scenario.end)
        again = world.load_refusing("again", scenario.usage, scenario.end)
        assert (again[0].counted, again[0].duplicates, again[1]) == (0, len(scenario.usage), [])
        check_analytics(world, scenario.usage, scenario.end)

"""What is counted and published is what the raw events come to, however and whenever they come."""

from hypothesis import given
from hypothesis import strategies as st

from meterstone.usage.window import Window, window_for
from support.counting import check_analytics, check_periods, check_window, describe, examples
from support.scenario import Scenario, Usage, World, expected, filters, oracles, scenarios, windows


@examples(60)
@given(scenarios())
def test_every_view_of_the_analytics_is_what_the_events_come_to(scenario: Scenario) -> None:
    describe(scenario)
    world = World(scenario)
    usage: tuple[Usage, ...] = ()
    for number, batch in enumerate(scenario.batches):
        world.load(f"batch {number}", batch.usage, batch.now)
        usage += batch.usage
        check_analytics(world, usage, batch.now)
    world.roll(scenario.end)
    check_analytics(world, usage, scenario.end)


@examples(60)
@given(st.data())
def test_any_window_is_what_its_events_come_to(data: st.DataObject) -> None:
    scenario = data.draw(scenarios())
    describe(scenario)
    world = World(scenario).run()
    if data.draw(st.booleans()):
        world.roll(scenario.end)
    for oracle in oracles(scenario):
        for _ in range(4):
            window = Window(*data.draw(windows(scenario, oracle.subscription)))
            check_window(world, oracle, window, scenario.end)
        lifetime = window_for(oracle.subscription, None, None, lifetime=True, now=scenario.end)
        check_window(world, oracle, lifetime, scenario.end)


@examples(60)
@given(st.data())
def test_any_filters_keep_what_passes_them_all(data: st.DataObject) -> None:
    scenario = data.draw(scenarios())
    describe(scenario)
    world = World(scenario).run()
    world.roll(scenario.end)
    found = oracles(scenario)
    for _ in range(8):
        chosen = data.draw(filters(world))
        wanted = [
            day
            for oracle in found
            for day in chosen.keep(scenario, oracle.subscription, oracle.days(scenario.end))
        ]
        assert world.days(**chosen.query) == expected(scenario, wanted), chosen


@examples(60)
@given(scenarios())
def test_a_billing_period_costs_what_its_days_add_up_to(scenario: Scenario) -> None:
    describe(scenario)
    world = World(scenario).run()
    for oracle in oracles(scenario):
        check_periods(world, oracle, scenario.end)

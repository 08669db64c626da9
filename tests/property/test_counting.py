"""What is counted and published is what the raw events come to, however and whenever they come."""

import os

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from meterstone.pricing.money import round_money
from meterstone.usage.statement import rate
from meterstone.usage.window import Window
from oracle import Oracle
from scenario import (
    Scenario,
    Usage,
    World,
    expected,
    oracles,
    scenarios,
    views,
    windows,
)

SCALE = 50 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 1


def examples(count: int) -> settings:
    """Run so many examples, in the profile `deep` fifty times as many."""
    return settings(
        max_examples=count * SCALE,
        deadline=None,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ],
    )


def describe(scenario: Scenario) -> None:
    """Print a scenario that fails."""
    for each in (*scenario.meters, *scenario.subscriptions, *scenario.batches, scenario.end):
        note(repr(each))


def check_analytics(world: World, usage: tuple[Usage, ...], now: int) -> None:
    """Compare every view of the rollups, and the counters of each subscription, with the oracle."""
    scenario = world.scenario
    found = oracles(scenario, usage)
    days = {oracle.subscription.id: oracle.days(now) for oracle in found}
    for view in views():
        wanted = [
            day
            for each in days.values()
            for day in each
            if view.get("plan_code") in {None, day.plan}
            and view.get("customer_country") in {None, day.country}
            and view.get("customer_type") in {None, day.customer_type}
        ]
        assert world.days(**view) == expected(scenario, wanted), view
    for subscription in scenario.subscriptions:
        assert world.days(external_subscription_id=subscription.external_id) == expected(
            scenario, days[subscription.id]
        ), subscription.id


def check_window(world: World, oracle: Oracle, window: Window, now: int) -> None:
    """Compare the measurement of a window with the oracle's."""
    subscription = oracle.subscription
    usage = world.store.window_usage(world.account, subscription, window, now)
    found = {
        each: (cost.quantity, round_money(cost.amount, subscription.currency)) for each, cost in usage.items()
    }
    assert found == oracle.measured(window.start, window.end, now), window
    sources = {row.source.key.id: row.source for row in rate(subscription, window, usage).settlement.rows}
    assert {each: (source.quantity, source.amount) for each, source in sources.items()} == found


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

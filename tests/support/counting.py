"""What tests of counting have in common: how they compare a world with the oracle, and how much they try."""

import os

from hypothesis import HealthCheck, note, settings

from meterstone.pricing.money import minor_units, round_money, total
from meterstone.usage.window import Window
from support.oracle import Oracle
from support.scenario import DayTotals, Scenario, Usage, World, expected, oracles, views

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
    wanted = right_answers(world.scenario, usage, now)
    for name, days in answers(world).items():
        assert days == wanted[name], name


def answers(world: World) -> dict[str, DayTotals]:
    """Give every view of the rollups, and what the counters of each subscription say."""
    found = {str(view): world.days(**view) for view in views()}
    for subscription in world.scenario.subscriptions:
        name = subscription.external_id
        found[name] = world.days(external_subscription_id=name)
    return found


def right_answers(scenario: Scenario, usage: tuple[Usage, ...], now: int) -> dict[str, DayTotals]:
    """Give what the oracle answers in the place of `answers`."""
    days = [(oracle.subscription.external_id, oracle.days(now)) for oracle in oracles(scenario, usage)]
    every = [day for _, several in days for day in several]
    wanted = {
        str(view): [
            day
            for day in every
            if view.get("plan_code") in {None, day.plan}
            and view.get("customer_country") in {None, day.country}
            and view.get("customer_type") in {None, day.customer_type}
        ]
        for view in views()
    }
    for subscription in scenario.subscriptions:
        name = subscription.external_id
        wanted[name] = [day for of, several in days for day in several if of == name]
    return {name: expected(scenario, several) for name, several in wanted.items()}


def check_window(world: World, oracle: Oracle, window: Window, now: int) -> None:
    """Compare the measurement of a window with the oracle's."""
    subscription = oracle.subscription
    statement = world.statement(subscription, window, now)
    found = {
        each: (cost.quantity, round_money(cost.amount, subscription.currency))
        for each, cost in statement.lines.items()
    }
    assert found == oracle.measured(window.start, window.end, now, lifetime=window.lifetime), window
    sources = {row.source.key.id: row.source for row in statement.settlement.rows}
    assert {each: (source.quantity, source.amount) for each, source in sources.items()} == found


def check_periods(world: World, oracle: Oracle, now: int) -> None:
    """Compare each line item's amount over a billing period that has ended with the sum of its days."""
    subscription = oracle.subscription
    for item in subscription.line_items:
        for start, end in oracle.periods(item, now)[:9]:
            usage = world.usage(subscription, Window(start, end), now)
            days = oracle.period_days(item, start, end, now)
            units = total(day.units for day in days)
            cents = sum(day.cents for day in days)
            assert usage[item.id].quantity == units, (item.id, start, end)
            assert minor_units(usage[item.id].amount, subscription.currency) == cents, (item.id, start, end)

"""Catalogues that change when usage was counted: the clock goes by what they are now."""

from dataclasses import replace
from decimal import Decimal

import pytest

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item, Row
from meterstone.store.operations.rebuild import rebuild
from meterstone.usage.calendar import zone
from meterstone.usage.instant import DAY, HOUR
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingPeriod
from meterstone.usage.subscription import Subscription
from support.memory_table import Faults, MemoryTable
from support.recovering import Clock, refresh, write
from support.scenario import ORGANIZATION, World
from support.small_world import FLAT, START, call, check, meter, table_of, world_of
from support.stale_table import StaleTable

NOW, CHANGE, END = START + 10 * DAY, START + 14 * DAY + HOUR, START + 45 * DAY


def load(world: World, subscription: Subscription) -> None:
    """Store a subscription as a load does that has begun, whatever begins meanwhile."""
    world.scenario = replace(world.scenario, subscriptions=(subscription,))
    write(world, world.scenario)


def roll_daily(world: World, until: int) -> None:
    for now in range(NOW, until, DAY):
        world.roll(now)
    world.roll(until)


def test_a_recurring_value_is_restated_when_its_subscription_is_renewed() -> None:
    """As it was counted, the subscription was to end, and nothing was to come after that."""
    it = meter("seats", Aggregation.SUM, recurring=True)
    world = world_of(BillingPeriod.MONTHLY, [(it, FLAT)], END)
    (renewed,) = world.scenario.subscriptions
    load(world, replace(renewed, end=CHANGE))
    usage = [call("a", DAY, value=40)]
    world.load("all", usage, NOW)
    load(world, renewed)
    roll_daily(world, END)
    check(world, usage)
    assert [units for units, _ in world.days().values()] == [40, 40]


@pytest.mark.parametrize(
    "period", [BillingPeriod.MONTHLY, BillingPeriod.ANNUAL, BillingPeriod.ONETIME], ids=str
)
def test_a_recurring_value_is_restated_when_a_price_follows(period: BillingPeriod) -> None:
    """On the day on which the new line item begins, long before the billing period ends."""
    it = meter("seats", Aggregation.SUM, recurring=True)
    end = CHANGE + HOUR
    world = world_of(period, [(it, FLAT)], end)
    usage = [call("a", DAY, value=40)]
    world.load("all", usage, NOW)
    (subscription,) = world.scenario.subscriptions
    (first,) = subscription.line_items
    second = replace(
        first, id="second", price=replace(FLAT, id="dearer", amount=Decimal("0.5")), start=CHANGE
    )
    load(world, replace(subscription, line_items=(replace(first, end=CHANGE), second)))
    roll_daily(world, end)
    check(world, usage)
    day = zone(subscription.timezone).day_of(CHANGE)
    assert world.days()[day, "usd", "seats"] == (Decimal(40), 2000)


@pytest.mark.parametrize("ends", [True, False], ids=["is to end", "goes on"])
def test_a_weighted_sum_is_divided_by_what_its_period_is_now(*, ends: bool) -> None:
    """Its level is back at 0: neither an event nor the clock would bring up what it was."""
    it = meter("level", Aggregation.WEIGHTED_SUM)
    world = world_of(BillingPeriod.MONTHLY, [(it, FLAT)], END)
    (subscription,) = world.scenario.subscriptions
    both = [subscription, replace(subscription, end=CHANGE)]
    before, after = both if ends else reversed(both)
    load(world, before)
    usage = [call("a", DAY, value=40), call("b", 3 * DAY, value=-40)]
    world.load("all", usage, NOW)
    load(world, after)
    roll_daily(world, END)
    check(world, usage, (0, 31 * DAY))


@pytest.mark.parametrize(
    ("aggregation", "ends"),
    [(Aggregation.SUM, False), (Aggregation.WEIGHTED_SUM, False), (Aggregation.WEIGHTED_SUM, True)],
    ids=["a recurring value", "a level, renewed", "a level, ended"],
)
def test_a_rebuild_goes_by_a_catalogue_that_changes_meanwhile(
    aggregation: Aggregation, *, ends: bool
) -> None:
    """At any of its writes: it may have read a subscription before the change, and count by it after."""
    moment, changed = -1, True
    while changed:
        moment += 1
        it = meter("it", aggregation, recurring=aggregation is Aggregation.SUM)
        world = world_of(BillingPeriod.MONTHLY, [(it, FLAT)], END)
        (subscription,) = world.scenario.subscriptions
        both = [subscription, replace(subscription, end=CHANGE)]
        before, after = both if ends else reversed(both)
        load(world, before)
        usage = [call("a", DAY, value=40)]
        if aggregation is Aggregation.WEIGHTED_SUM:
            usage.append(call("b", 3 * DAY, value=-40))
        world.load("all", usage, NOW)
        table, clock = table_of(world), Clock(NOW)
        assert isinstance(table, StaleTable)
        table.stand_still()
        changed = False

        def change(
            number: int,
            first: int = table.writes + moment,
            table: MemoryTable = table,
            world: World = world,
            after: Subscription = after,
        ) -> bool:
            nonlocal changed
            if number >= first:
                table.faults = Faults()
                load(world, after)
                changed = True
            return False

        table.faults = Faults(unavailable=change)
        assert rebuild(table, ORGANIZATION.id, clock.around).swapped
        table.faults = Faults()
        load(world, after)
        refresh(world)
        roll_daily(world, END)
        check(world, usage)
    assert moment > 10


@pytest.mark.parametrize("written", range(14))
def test_a_rebuild_waits_for_a_catalogue_that_is_being_written(
    written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun before the rebuild counts, a subscription of it is written meanwhile, and its end much later."""
    it = meter("seats", Aggregation.SUM, recurring=True)
    world = world_of(BillingPeriod.MONTHLY, [(it, FLAT)], END)
    (renewed,) = world.scenario.subscriptions
    load(world, replace(renewed, end=CHANGE))
    usage = [call("a", DAY, value=40)]
    world.load("all", usage, NOW)
    table, clock = table_of(world), Clock(NOW)
    plainly, moment = table.update, -1
    profile = keys.organization(ORGANIZATION.id, "profile")
    ends: list[tuple[str, Item]] = []

    def update(key: Key, expression: str, values: Item, *, condition: str | None = None) -> bool:
        if expression.startswith("SET loading_at"):
            return True
        if key == profile and "REMOVE loading_at" in expression:
            ends.append((expression, values))
            return True
        return plainly(key, expression, values, condition=condition)

    def meanwhile(_: int) -> bool:
        nonlocal moment
        moment += 1
        table.faults = Faults()
        if moment == written:
            load(world, renewed)
        elif moment == written + 30:
            plainly(profile, *ends[0])
            ends.append(ends[0])
        if len(ends) < 2:
            plainly(profile, "SET loading_at = :now", {":now": {"N": str(clock.now)}})
        table.faults = Faults(unavailable=meanwhile)
        return False

    monkeypatch.setattr("meterstone.clock.now", clock)
    began: Item = {":now": {"N": str(NOW)}, ":one": {"N": "1"}}
    plainly(profile, "SET loading_at = :now ADD ver :one", began)
    table.update = update  # type: ignore[method-assign]
    table.faults = Faults(unavailable=meanwhile)
    assert rebuild(table, ORGANIZATION.id, clock.around).swapped
    table.faults = Faults()
    assert len(ends) == 2
    refresh(world)
    roll_daily(world, END)
    check(world, usage)


def test_the_clock_goes_by_the_catalogue_as_it_is() -> None:
    """Not by what a reader that need not be up to date may still be told of a subscription just renewed."""
    it = meter("seats", Aggregation.SUM, recurring=True)
    world = world_of(BillingPeriod.MONTHLY, [(it, FLAT)], END)
    (renewed,) = world.scenario.subscriptions
    load(world, replace(renewed, end=CHANGE))
    usage = [call("a", DAY, value=40)]
    world.load("all", usage, NOW)
    table = table_of(world)
    plainly, behind = table.get, table.copy()

    def get(key: Key, *, consistent: bool = False) -> Row | None:
        return plainly(key) if consistent else behind.get(key)

    load(world, renewed)
    table.get = get  # type: ignore[method-assign]
    world.load("nothing", [], NOW)
    table.get = plainly  # type: ignore[method-assign]
    roll_daily(world, END)
    check(world, usage)

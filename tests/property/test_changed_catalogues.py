"""Catalogues that change when usage was counted: the clock goes by what they are now."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from copy import replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from meterstone.store.counting.waking import wake_changed
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Item, Row, StoreUnavailableError
from meterstone.store.operations.import_records import Source
from meterstone.store.operations.imports import close_import
from meterstone.store.operations.load import have_usage
from meterstone.store.operations.rebuild import rebuild
from meterstone.store.operations.replay import replay
from meterstone.usage.calendar import zone
from meterstone.usage.instant import DAY, HOUR
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingPeriod
from meterstone.usage.subscription import LineItem, Subscription
from support import first_format
from support.first_format import in_first_format
from support.memory_table import Faults, Killed, MemoryTable
from support.recovering import WAIT, Clock, Stream, refresh, write
from support.scenario import ORGANIZATION, Usage, World, digest
from support.small_world import FLAT, START, call, check, meter, price_of, world_of
from support.stale_table import StaleTable
from support.stored import memory

NOW, CHANGE, END = START + 10 * DAY, START + 14 * DAY + HOUR, START + 45 * DAY


def load(world: World, subscription: Subscription) -> None:
    """Store a subscription, whatever is under way, and the meters of its line items."""
    meters = {each.id: each for each in world.scenario.meters}
    meters |= {item.meter.id: item.meter for item in subscription.line_items if item.meter is not None}
    world.scenario = replace(world.scenario, meters=tuple(meters.values()), subscriptions=(subscription,))
    write(world, world.scenario)


def roll_daily(world: World, until: int) -> None:
    for now in range(NOW, until, DAY):
        world.roll(now)
    world.roll(until)


def counted_before_a_renewal() -> tuple[World, Subscription, list[Usage]]:
    """Count seats while their subscription is to end. Return it also as it is renewed, and what was used."""
    it = meter("seats", Aggregation.SUM, recurring=True)
    world = world_of(BillingPeriod.MONTHLY, [(it, FLAT)], END)
    (renewed,) = world.scenario.subscriptions
    load(world, replace(renewed, end=CHANGE))
    usage = [call("a", DAY, value=40)]
    world.load("all", usage, NOW)
    return world, renewed, usage


def test_a_recurring_value_is_restated_when_its_subscription_is_renewed() -> None:
    """As it was counted, the subscription was to end, and nothing was to come after that."""
    world, renewed, usage = counted_before_a_renewal()
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
        first, id="second", price=replace(first.price, id="dearer", amount=Decimal("0.5")), start=CHANGE
    )
    load(world, replace(subscription, line_items=(replace(first, end=CHANGE), second)))
    roll_daily(world, end)
    check(world, usage)
    day = zone(subscription.timezone).day_of(CHANGE)
    assert world.days()[day, "usd", "seats"] == (Decimal(40), 2000)


@pytest.mark.parametrize("ends", [True, False], ids=["is to end", "goes on"])
@pytest.mark.parametrize("recurring", [False, True], ids=["", "recurring"])
@pytest.mark.parametrize("period", [BillingPeriod.MONTHLY, BillingPeriod.ONETIME], ids=str)
def test_a_weighted_sum_is_divided_by_what_its_period_is_now(
    period: BillingPeriod, *, recurring: bool, ends: bool
) -> None:
    """Its level is back at 0: neither an event nor the clock would bring up what it was.

    A one-time period is divided by its own length, which changes with its end, also for a line item that is over.
    """
    it = meter("level", Aggregation.WEIGHTED_SUM, recurring=recurring)
    world = world_of(period, [(it, FLAT)], END)
    (subscription,) = world.scenario.subscriptions
    (first,) = subscription.line_items
    second = replace(first, id="second", start=START + 5 * DAY)
    subscription = replace(subscription, line_items=(replace(first, end=second.start), second))
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
        table, clock = memory(world), Clock(NOW)
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
def test_a_rebuild_waits_for_a_catalogue_of_the_first_format_that_is_being_written(
    written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun before the rebuild counts, a subscription of it is written meanwhile, and its end much later."""
    world, renewed, usage = counted_before_a_renewal()
    table, clock = memory(in_first_format(world)), Clock(NOW)
    moment, ended = -1, False

    def meanwhile(_: int) -> bool:
        nonlocal moment, ended
        moment += 1
        table.faults = Faults()
        if moment == written:
            first_format.put_subscription(table, renewed)
        elif moment == written + 30:
            first_format.end_load(table)
            # The load of then woke what the change moves.
            account = refresh(world).account
            wake_changed(table, ORGANIZATION.id, [(replace(renewed, end=CHANGE), renewed)])
            ended = account.loading_at is None
        if not ended:
            profile = keys.organization(ORGANIZATION.id, "profile")
            table.update(profile, "SET loading_at = :now", {":now": {"N": str(clock.now)}})
        table.faults = Faults(unavailable=meanwhile)
        return False

    monkeypatch.setattr("meterstone.clock.now", clock)
    first_format.begin_load(table, NOW)
    table.faults = Faults(unavailable=meanwhile)
    assert rebuild(table, ORGANIZATION.id, clock.around).swapped
    table.faults = Faults()
    assert ended
    world.scenario = replace(world.scenario, subscriptions=(renewed,))
    refresh(world)
    roll_daily(world, END)
    check(world, usage)


def test_the_clock_goes_by_the_catalogue_as_it_is() -> None:
    """Not by what a reader that need not be up to date may still be told of a subscription just renewed."""
    world, renewed, usage = counted_before_a_renewal()
    table = memory(world)
    plainly, behind = table.get, table.copy()

    def get(key: Key, *, consistent: bool = False) -> Row | None:
        return plainly(key) if consistent else behind.get(key)

    load(world, renewed)
    table.get = get  # type: ignore[method-assign]
    world.load("nothing", [], NOW)
    table.get = plainly  # type: ignore[method-assign]
    roll_daily(world, END)
    check(world, usage)


class Interrupted(MemoryTable):
    """Lets something happen just before it is asked for the next thing, or for one after that."""

    def __init__(self) -> None:
        super().__init__()
        self.do: Callable[[], object] | None = None
        self.wait = 0

    def interrupt(self, after: int, do: Callable[[], object]) -> None:
        """Do something before the access of this number from now, the next one being 0."""
        self.wait, self.do = after, do

    def get(self, key: Key, *, consistent: bool = False) -> Row | None:
        self._accessed()
        return super().get(key, consistent=consistent)

    def _pages(self, pk: str, low: str, high: str, *, consistent: bool) -> Iterator[list[Item]]:
        for page in super()._pages(pk, low, high, consistent=consistent):
            yield page
            self._accessed()

    def _fault(self, *, versioned: bool = False) -> None:
        self._accessed()
        super()._fault(versioned=versioned)

    def _accessed(self) -> None:
        self.wait -= 1
        if self.wait < 0 and self.do is not None:
            do, self.do = self.do, None
            do()


def by_import(world: World, usage: list[Usage]) -> Callable[[], object]:
    """Give what counts the events now; so do the ways below."""
    return lambda: world.load("second", usage, NOW)


def by_closing_an_import(world: World, usage: list[Usage]) -> Callable[[], object]:
    """Stop an import when its events are in the log and not counted."""
    table = memory(world)
    table.faults = Faults(after=table.writes + 2)
    with pytest.raises(Killed):
        world.load("second", usage, NOW)
    table.faults = Faults()
    return lambda: close_import(table, ORGANIZATION.id, Source("second", digest("second")), NOW)


def by_stream(world: World, usage: list[Usage]) -> Callable[[], object]:
    """Log the events."""
    stream = Stream(world.table, Clock(NOW))
    stream.post(usage)
    return stream.deliver


def by_replay(world: World, usage: list[Usage]) -> Callable[[], object]:
    """Deliver the events before the subscription has a line item."""
    (subscription,) = world.scenario.subscriptions
    known = world.scenario
    load(world, replace(subscription, line_items=()))
    stream = Stream(world.table, Clock(NOW))
    stream.post(usage)
    stream.deliver()
    write(world, known)
    world.scenario = known
    return lambda: replay(world.table, ORGANIZATION.id, Clock(NOW))


def by_clock(world: World, usage: list[Usage]) -> Callable[[], object]:
    """Count the events when their first day is not over."""
    world.load("second", usage, START + DAY // 2)
    return lambda: world.roll(NOW)


@pytest.mark.parametrize(
    "way", [by_import, by_closing_an_import, by_stream, by_replay, by_clock], ids=lambda way: way.__name__
)
@pytest.mark.parametrize("aggregation", [Aggregation.SUM, Aggregation.WEIGHTED_SUM], ids=str)
@pytest.mark.parametrize(
    ("counted", "contended"),
    [(True, False), (False, False), (False, True)],
    ids=["counted before", "new", "new, and contended"],
)
def test_who_counts_goes_by_a_catalogue_that_changes_meanwhile(
    way: Callable[[World, list[Usage]], Callable[[], object]],
    aggregation: Aggregation,
    *,
    counted: bool,
    contended: bool,
) -> None:
    """A renewal is loaded at any read or write of whoever counts: it may have read the subscription before.

    A WEIGHTED_SUM is divided by the length of its period, which the renewal changes where the period is one-time.
    """
    moment, changed = -1, True
    while changed:
        moment += 1
        it = meter("it", aggregation, recurring=aggregation is Aggregation.SUM)
        period = BillingPeriod.WEEKLY if it.recurring else BillingPeriod.ONETIME
        world = world_of(period, [(it, FLAT)], END)
        (renewed,) = world.scenario.subscriptions
        world = World(world.scenario, Interrupted())
        load(world, replace(renewed, end=CHANGE))
        before = [call("a", HOUR, value=4)] if counted else []
        # A level is back at 0, so that the clock alone does not come to it any more.
        back = -41 - 4 * counted if aggregation is Aggregation.WEIGHTED_SUM else -5
        usage = [call("b", 2 * HOUR, value=41), call("c", 3 * HOUR, value=back)]
        world.load("first", before, START + DAY // 2)
        run, table = way(world, usage), memory(world)
        assert isinstance(table, Interrupted)
        table.interrupt(moment, partial(load, world, renewed))
        conflicts = [contended]
        table.faults = Faults(conflict=lambda _, left=conflicts: bool(left) and left.pop())  # type: ignore[misc]
        with suppress(BusyError, StoreUnavailableError):
            run()
        changed = table.do is None
        table.do = None
        load(world, renewed)
        run()
        roll_daily(world, END)
        check(world, [*before, *usage], (0, 31 * DAY))
    assert moment > 3


@pytest.mark.parametrize(
    "way", [by_import, by_closing_an_import, by_stream, by_replay], ids=lambda way: way.__name__
)
def test_an_event_whose_line_item_goes_while_it_is_counted_is_counted_when_it_is_back(
    way: Callable[[World, list[Usage]], Callable[[], object]],
) -> None:
    """Of a subscription of which nothing is counted yet, a catalogue may take any line item."""
    moment, changed = -1, True
    while changed:
        moment += 1
        it = meter("seats", Aggregation.SUM, recurring=True)
        world = world_of(BillingPeriod.WEEKLY, [(it, FLAT)], NOW)
        known = world.scenario
        (subscription,) = known.subscriptions
        world = World(known, Interrupted())
        usage = [call("a", 2 * HOUR, value=41), call("b", 3 * HOUR, value=-5)]
        run, table = way(world, usage), memory(world)
        assert isinstance(table, Interrupted)

        def take(world: World = world, subscription: Subscription = subscription) -> None:
            if not have_usage(world.table, ORGANIZATION.id, "1", [subscription.id]):
                load(world, replace(subscription, line_items=()))

        table.interrupt(moment, take)
        try:
            run()
        except (BusyError, StoreUnavailableError):
            run()
        changed = table.do is None
        table.do = None
        load(world, subscription)
        replay(world.table, ORGANIZATION.id, Clock(NOW))
        check(world, usage)
    assert moment > 3


LEVEL = meter("level", Aggregation.WEIGHTED_SUM)
FOLLOWED = (
    LineItem("item level", price_of(LEVEL, FLAT), START, START + DAY, LEVEL),
    LineItem("another", price_of(LEVEL, FLAT), START + DAY, None, LEVEL),
)
OTHER = meter("other", Aggregation.WEIGHTED_SUM, field="other")


@pytest.mark.parametrize(
    ("item", "terms"),
    [
        pytest.param({"start": START + 3 * DAY}, {}, id="begins later"),
        pytest.param({"id": "another"}, {}, id="is another"),
        pytest.param({}, {"line_items": FOLLOWED}, id="ends, and another follows"),
        pytest.param({"meter": OTHER, "price": price_of(OTHER, FLAT)}, {}, id="counts another property"),
        pytest.param({}, {"billing_period": BillingPeriod.WEEKLY}, id="is billed at other times"),
        pytest.param({}, {"timezone": "Asia/Kolkata"}, id="has other days"),
        pytest.param({"meter": replace(LEVEL, name="Level")}, {}, id="is called otherwise"),
    ],
)
def test_events_are_matched_again_when_their_line_item_has_changed(
    item: dict[str, Any], terms: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A catalogue is stored when they were matched and before they are counted: they count by it."""
    world = world_of(BillingPeriod.MONTHLY, [(LEVEL, FLAT)], NOW)
    (subscription,) = world.scenario.subscriptions
    (line_item,) = subscription.line_items
    changed = replace(subscription, **({"line_items": (replace(line_item, **item),)} | terms))
    usage = [call("a", 2 * DAY, value=41, other=7), call("b", 3 * DAY - HOUR, value=-5, other=3)]
    table = memory(world)
    plainly, changes = table.batch_get, [changed]

    def batch_get(wanted: Iterable[Key], *, consistent: bool = False) -> dict[Key, Row]:
        known = list(wanted)
        if changes and any("#usage#" in key.pk for key in known):
            load(world, changes.pop())
        return plainly(known, consistent=consistent)

    monkeypatch.setattr(table, "batch_get", batch_get)
    report = world.load("all", usage, NOW)
    assert not changes
    assert report.counted + report.unmatched == len(usage)
    check(refresh(world), usage)


def test_a_replay_numbers_an_event_anew_whose_line_item_was_gone_meanwhile() -> None:
    """It was stopped when it had numbered two. The later one counts first, and the tally is past both numbers."""
    it = meter("sum", Aggregation.SUM)
    usage = [call("a", DAY, value=1), call("b", 5 * DAY, value=10)]
    stop = 0
    while True:
        world = world_of(BillingPeriod.MONTHLY, [(it, FLAT)], NOW)
        (subscription,) = world.scenario.subscriptions
        (item,) = subscription.line_items
        by_replay(world, usage)
        table, clock = memory(world), Clock(NOW)
        table.faults = Faults(after=table.writes + stop)
        with suppress(Killed):
            replay(table, ORGANIZATION.id, clock)
        table.faults = Faults()
        if have_usage(table, ORGANIZATION.id, "1", [subscription.id]):
            break
        stop += 1
        clock.now += WAIT
        load(world, replace(subscription, line_items=(replace(item, start=START + 3 * DAY),)))
        replay(table, ORGANIZATION.id, clock)
        load(world, subscription)
        replay(table, ORGANIZATION.id, clock)
        check(world, usage)
    assert stop >= 2

"""What is counted anew of a subscription is counted once, whatever happens at any call of the table meanwhile."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from meterstone.catalogue.management import CatalogueConflictError
from meterstone.store.catalogue.recounts import read_recounts
from meterstone.usage.instant import DAY, HOUR, MINUTE, format_instant
from meterstone.usage.window import Window
from support.counting import check_window
from support.recounts import (
    CUSTOMERS,
    NAMES,
    SECOND,
    Scene,
    answered,
    everywhere,
    read_world,
    subscribed,
    watched,
)
from support.scenario import ORGANIZATION, oracles
from support.uncounted import check_lists

OTHER: dict[str, Any] = {"line_items": [{"price": f"{name} at 7"} for name in ("bytes", "seats", "calls")]}


CHANGES: dict[str, Callable[[Scene], object]] = {
    "another plan since two days": lambda scene: scene.management.change_plan(
        "sub 1", "seven", scene.clock.now - 2 * DAY
    ),
    "another plan now": lambda scene: scene.management.change_plan("sub 1", "seven", None),
    "it has ended": lambda scene: scene.management.end("sub 1", scene.clock.now - 2 * HOUR),
    "it began earlier": lambda scene: scene.sign_up(start=-25 * DAY),
    "other line items": lambda scene: scene.sign_up(**OTHER),
    "another external id": lambda scene: scene.sign_up(external_id="ext 2"),
    "another customer": lambda scene: scene.sign_up(customer="cust 1"),
    "another subscription since two days": lambda scene: scene.management.succeed(
        "sub 1", {"id": "sub 2", "plan": "seven", "currency": "USD"}, scene.clock.now - 2 * DAY
    ),
    "a second one of the customer": lambda scene: scene.sign_up("2", external_id="ext 2"),
}


TWO_CHARGES = ("another plan since two days", "other line items", "another subscription since two days")


def changed(scene: Scene, change: str) -> None:
    """Put a change; some events come before its cut, and some after."""
    CHANGES[change](scene)
    scene.clock.now += SECOND
    scene.event("bytes", HOUR)
    scene.event("known", 3 * DAY, CUSTOMERS)
    scene.clock.now += 10 * SECOND
    scene.event("bytes", MINUTE)
    scene.event("level", 3 * DAY)


def put_and_recounted(change: str) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        changed(scene, change)
        scene.through()

    return act


@pytest.mark.parametrize("change", CHANGES)
def test_an_event_counts_once_whenever_the_stream_delivers_it(change: str) -> None:
    """It is in the log at the put, or comes before or after the cut, and is delivered at any call from then on."""
    act = put_and_recounted(change)
    assert everywhere(lambda: subscribed(delivered=False), act, Scene.deliver) > 50


@pytest.mark.parametrize("warm", [0, 1], ids=["a cold function", "a warm function"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_fold_that_holds_the_old_record_counts_once(change: str, warm: int) -> None:
    """A put, and all that its recount does, happen at any call of a delivery; function 0 has delivered before."""

    def beside(scene: Scene) -> None:
        with suppress(CatalogueConflictError):
            changed(scene, change)
        scene.through()

    everywhere(
        lambda: subscribed(delivered=False), lambda scene: scene.deliver(1 - warm), beside, closely=True
    )


@pytest.mark.parametrize("change", ["another plan since two days", "it has ended", "another customer"])
def test_a_recount_within_a_delivery_counts_once(change: str) -> None:
    """The put was before the delivery. What the function has read of it is old when the flip is made."""

    def make() -> Scene:
        scene = subscribed()
        changed(scene, change)
        return scene

    everywhere(make, Scene.deliver, Scene.through, closely=True)


@pytest.mark.parametrize(
    "items",
    [["calls at 1"], ["calls at 1", "heat at 1"], ["calls at 1", "seats at 7"]],
    ids=["on another meter", "on two", "on a chain that is there"],
)
def test_a_line_item_is_added_while_events_are_counted_into_others(items: list[str]) -> None:
    def of(scene: Scene, *more: str) -> dict[str, Any]:
        ended = {"end": format_instant(scene.begun + 2 * MINUTE)} if "seats at 7" in more else {}
        known = [{"price": "bytes at 1"}, {"price": "seats at 1", **ended}]
        start = format_instant(scene.begun + 2 * MINUTE)
        return {"line_items": [*known, *({"price": each, "start": start} for each in more)]}

    def make() -> Scene:
        scene = Scene()
        scene.sign_up(**of(scene))
        scene.event("bytes")
        scene.event("seats")
        scene.deliver()
        scene.clock.now += 3 * MINUTE
        for name in ("bytes", "seats", "calls", "heat"):
            scene.event(name, 0)
            scene.event(name, 2 * MINUTE)
        return scene

    def add(scene: Scene) -> None:
        scene.sign_up(**of(scene, *items))
        scene.through()

    everywhere(make, Scene.deliver, add, closely=True)
    everywhere(make, add, Scene.deliver, closely=True)


@pytest.mark.parametrize("change", ["another plan since two days", "it has ended", "it began earlier"])
def test_the_clock_finds_old_and_new_heads(change: str) -> None:
    """A day and a billing period begin, and the clock rolls, at any call of a recount; and the other way round."""

    def make() -> Scene:
        scene = subscribed()
        changed(scene, change)
        scene.deliver()
        scene.clock.now += 8 * DAY
        return scene

    everywhere(make, Scene.through, Scene.roll)
    everywhere(make, Scene.roll, Scene.through)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda scene: scene.sign_up(**OTHER, **commitment(50)), ["sub 1"]),
        (CHANGES["another plan since two days"], ["sub 1"]),
        (CHANGES["another subscription since two days"], ["sub 1", "sub 2"]),
    ],
    ids=["two charges and the commitment", "another plan", "another subscription"],
)
def test_an_answer_is_as_before_or_as_after(change: Callable[[Scene], object], names: list[str]) -> None:
    """A commitment makes one amount of all charges: a mixture of old and new ones is a third amount."""
    scene = Scene()
    scene.sign_up(**commitment(100))
    for name in NAMES:
        scene.event(name, 15 * DAY, value=10)
        scene.event(name, HOUR, value=20)
    scene.deliver()
    scene.clock.now += MINUTE
    seen = [answered(scene, *names)]

    def look() -> None:
        found = answered(scene, *names)
        if found != seen[-1]:
            seen.append(found)

    with watched(scene, look):
        change(scene)
        scene.through()
    assert len(seen) == 2
    scene.check()


def commitment(amount: int) -> dict[str, Any]:
    return {"commitment": {"amount": amount, "overage_factor": "1.5"}}


@pytest.mark.parametrize("change", CHANGES)
def test_each_charge_in_the_analytics_is_as_before_or_as_after(change: str) -> None:
    scene = subscribed()
    filters: tuple[dict[str, str], ...] = (
        {},
        {"external_customer_id": "cust 0"},
        {"external_subscription_id": "ext 1"},
    )
    seen: dict[tuple[str, Any], list[object]] = {}

    def look() -> None:
        world = read_world(scene)
        for query in filters:
            days = world.days(**query)
            for key in {*days, *(each[1] for each in seen if each[0] == str(query))}:
                values = seen.setdefault((str(query), key), [days.get(key)])
                if values[-1] != days.get(key):
                    values.append(days.get(key))

    look()
    with watched(scene, look):
        CHANGES[change](scene)
        scene.through()
    # Where a line item takes the place of another within a day, that day has two charges, which turn one by one.
    assert max(map(len, seen.values())) == (3 if change in TWO_CHARGES else 2)
    scene.check()


def test_an_end_in_the_past_lists_what_lies_after_it_and_is_undone() -> None:
    scene = subscribed()
    before = listed(scene)
    scene.management.end("sub 1", scene.clock.now - 2 * HOUR)
    scene.through()
    scene.deliver()
    after = listed(scene)
    late = {each.event.id for each in scene.usage if each.event.at >= scene.begun - 2 * HOUR}
    assert {after[each] for each in late} == {"time"}
    scene.check()
    scene.sign_up()
    scene.through()
    assert listed(scene) == before
    scene.check()


def listed(scene: Scene) -> dict[str, str]:
    return check_lists(scene.table)


def test_a_late_catalogue_counts_what_has_waited_of_a_subscription_and_its_customer() -> None:
    """Both reach one tally, and some of them are delivered at any call of the recount."""

    def make() -> Scene:
        scene = Scene()
        for name in NAMES:
            scene.event(name, 15 * DAY)
            scene.event(name, 15 * DAY, CUSTOMERS)
        scene.deliver()
        scene.event("seats", 14 * DAY, CUSTOMERS)
        scene.event("seats", 16 * DAY)
        return scene

    def act(scene: Scene) -> None:
        scene.sign_up()
        scene.through()

    assert everywhere(make, act, Scene.deliver) > 15


def test_what_waits_is_counted_once_though_the_clock_counts_it_at_any_call() -> None:
    def make() -> Scene:
        scene = subscribed()
        scene.management.end("sub 1", scene.clock.now - 2 * HOUR)
        scene.through()
        scene.clock.now += MINUTE
        return scene

    def act(scene: Scene) -> None:
        scene.sign_up()
        scene.through()

    everywhere(make, act, Scene.roll)
    everywhere(make, Scene.roll, act)


@pytest.mark.parametrize("second", CHANGES)
def test_a_second_put_at_any_call_of_a_recount_takes_effect_after_it(second: str) -> None:
    """It waits, or is refused; a third one takes its place, and the newest is what counts in the end."""

    def beside(scene: Scene) -> None:
        with suppress(CatalogueConflictError):
            CHANGES[second](scene)
        with suppress(CatalogueConflictError):
            scene.management.change_plan("sub 1", "seven", scene.clock.now - 3 * DAY)

    def check(scene: Scene) -> None:
        scene.through()
        scene.check()

    everywhere(subscribed, put_and_recounted("another plan since two days"), beside, check)


def test_a_put_that_undoes_the_one_that_is_counted() -> None:
    def beside(scene: Scene) -> None:
        scene.sign_up()
        with pytest.raises(CatalogueConflictError):
            scene.management.delete("subscription", "sub 1")

    def check(scene: Scene) -> None:
        scene.through()
        scene.check()

    everywhere(subscribed, put_and_recounted("it has ended"), beside, check)


def test_of_two_puts_that_wait_the_newest_takes_effect() -> None:
    scene = subscribed()
    CHANGES["another plan since two days"](scene)
    scene.sign_up(line_items=[{"price": "calls at 7"}])
    scene.sign_up(line_items=[{"price": "bytes at 7"}])
    with pytest.raises(CatalogueConflictError, match="counted anew"):
        scene.management.delete("subscription", "sub 1")
    scene.through()
    scene.deliver()
    scene.check()
    (found,) = scene.world.scenario.subscriptions
    assert [item.price.id for item in found.line_items] == ["bytes at 7"]
    assert len(read_recounts(scene.table, ORGANIZATION.id)) == 2


@pytest.mark.parametrize("name", NAMES)
def test_what_is_deleted_after_a_recount_is_read_by_nobody(name: str) -> None:
    """A billing period begins within an hour, and its events of that hour are read for a window that cuts it."""
    scene = Scene()
    start = -20 * DAY + 12 * MINUTE
    scene.sign_up(start=start, billing_period="MONTHLY")
    begins = scene.begun + start
    for minutes in (5, 10, 15, 26 * 60):
        scene.event(name, scene.clock.now - begins - minutes * MINUTE)
    scene.deliver()
    scene.management.change_plan("sub 1", "seven", begins + DAY)
    scene.through()
    for _ in range(3):
        scene.clock.now += 20 * MINUTE
        scene.recount_once()
    scene.check()
    for oracle in oracles(scene.world.scenario, scene.usage):
        for minutes in (7, 12, 20):
            window = Window(begins - HOUR, begins + minutes * MINUTE)
            check_window(scene.world, oracle, window, scene.clock.now)

"""A customer moves for a time of which usage was counted, or a plan has another name: the rollups follow.

They have each charge once at any time.
"""

from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any
from unittest import mock

import pytest

from meterstone.catalogue.management import CatalogueConflictError
from meterstone.catalogue.recounting import carry_all_on
from meterstone.store.catalogue.countings import read_countings
from meterstone.store.catalogue.recounts import read_recounts
from meterstone.store.catalogue.stamped import read_customer
from meterstone.store.counting.fold import Fold
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import StoreUnavailableError
from meterstone.store.operations.rebuild import abandon, rebuild
from meterstone.store.operations.recount import Recounting
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, HOUR, MINUTE, format_instant
from support.life import at_call
from support.memory_table import Killed
from support.moves import CHANGES, ITEMS, asked_of, before_it, facts, named
from support.recounts import (
    CUSTOMERS,
    EVERY,
    SECOND,
    Scene,
    everywhere,
    read_world,
    stopped_at,
    subscribed,
    watched,
)
from support.recovering import WAIT
from support.scenario import ORGANIZATION


def moved(scene: Scene, change: str) -> None:
    """Put a move; some events come before it, and some after."""
    scene.event("bytes", 3 * DAY)
    CHANGES[change](scene)
    scene.clock.now += SECOND
    scene.event("bytes", HOUR)
    scene.event("known", 3 * DAY, CUSTOMERS)
    scene.event("level", 9 * DAY)


def put(change: str) -> Callable[[], Scene]:
    def make() -> Scene:
        scene = before_it(change, delivered=False)
        moved(scene, change)
        return scene

    return make


def moved_and_followed(change: str) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        moved(scene, change)
        scene.through()

    return act


@pytest.mark.parametrize("change", CHANGES)
def test_a_delivery_at_any_call_of_a_move(change: str) -> None:
    def make() -> Scene:
        return before_it(change, delivered=False)

    assert everywhere(make, moved_and_followed(change), Scene.deliver) > 20


@pytest.mark.parametrize("warm", [0, 1], ids=["a cold function", "a warm function"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_move_at_any_call_of_a_delivery(change: str, warm: int) -> None:
    """The function has read the customer as it was, and makes tallies, when all has followed."""
    everywhere(
        lambda: before_it(change, delivered=False),
        lambda scene: scene.deliver(1 - warm),
        moved_and_followed(change),
        closely=True,
    )


@pytest.mark.parametrize("change", CHANGES)
def test_the_clock_rolls_at_any_call_of_a_move(change: str) -> None:
    """A billing period begins meanwhile: a chain has one charge more, which nobody has read of."""

    def roll(scene: Scene) -> None:
        scene.clock.now += 7 * DAY + HOUR
        scene.roll()

    everywhere(put(change), Scene.through, roll)


@pytest.mark.parametrize("change", CHANGES)
def test_a_move_at_any_call_of_the_clock(change: str) -> None:
    def roll(scene: Scene) -> None:
        scene.clock.now += 7 * DAY + HOUR
        scene.roll()

    everywhere(lambda: before_it(change), roll, moved_and_followed(change), closely=True)


def test_a_move_by_a_clock_that_is_behind_at_any_call_of_the_clock() -> None:
    """A day ends that all that follows has not seen yet: the clock adds it, and has read the customer before."""

    def midnight(scene: Scene) -> None:
        scene.clock.now += 5 * HOUR
        scene.roll()

    def move(scene: Scene) -> None:
        before = scene.clock.now
        scene.clock.now -= 2 * HOUR
        facts(scene, "NO", 400 * DAY)
        with suppress(StoreUnavailableError):
            scene.recount_once(lambda seconds: scene.pass_time(60 * seconds))
        scene.clock.now = before

    everywhere(subscribed, midnight, move, each=True)


def test_a_tally_is_made_by_facts_of_before_at_any_call() -> None:
    """It is in no list yet when the tallies are listed that are to follow, and would be in NO."""

    def make() -> Scene:
        scene = subscribed()
        for name in ("bytes", "users", "calls", "peak"):
            scene.event(name, 5 * DAY)
        return scene

    def move(scene: Scene) -> None:
        facts(scene, "NO", 400 * DAY)
        scene.through()

    assert everywhere(make, Scene.deliver, move, each=True) > 5


def flipped(number: int) -> Scene:
    """Give a recount that was killed at a write."""
    scene = subscribed()
    scene.management.change_plan("sub 1", "seven", scene.clock.now - 12 * DAY)
    scene.clock.now += MINUTE
    stopped_at(scene, number, Scene.recount_once, before=False)
    scene.clock.now += 3 * MINUTE
    return scene


def turning(scene: Scene) -> bool:
    (seen,) = read_countings(scene.table, ORGANIZATION.id, ["sub 1"])
    return seen.counting.former is not None


def test_a_move_follows_at_any_call_of_a_recount_that_turns() -> None:
    """What the recount takes out is in the rollups by the facts of before. What it brings in follows at once."""
    first = next(number for number in range(1, 99) if turning(flipped(number)))

    def move(scene: Scene) -> None:
        facts(scene, "NO", 400 * DAY)
        with suppress(StoreUnavailableError):
            scene.recount_once(lambda seconds: scene.pass_time(60 * seconds))

    assert everywhere(lambda: flipped(first), Scene.through, move, closely=True) > 20


def at_each_write(
    change: str, act: Callable[[Scene], object], then: Callable[[Scene], object], *, before: bool = True
) -> None:
    """Kill an act at one of its writes after another, until it has no more, and check what comes then."""
    for number in range(1, 200, max(EVERY // 6, 1)):
        scene = put(change)()
        stopped = stopped_at(scene, number, act, before=before)
        then(scene)
        scene.check()
        if not stopped:
            return
    raise AssertionError("it has more writes")


@pytest.mark.parametrize("before", [True, False], ids=["before a write", "after a write"])
@pytest.mark.parametrize("change", CHANGES)
def test_killed_at_any_write_it_is_gone_on_with(change: str, *, before: bool) -> None:
    at_each_write(change, Scene.through, Scene.deliver, before=before)


@pytest.mark.parametrize("change", CHANGES)
def test_a_delivery_killed_at_any_write_while_all_follows(change: str) -> None:
    at_each_write(change, Scene.deliver, Scene.through)


@pytest.mark.parametrize("change", CHANGES)
def test_another_move_at_any_call_of_the_first(change: str) -> None:
    def again(scene: Scene) -> None:
        with suppress(CatalogueConflictError):
            facts(scene, "DE", 5 * DAY)
            if "name" in change:
                named(scene, "one", 5 * DAY)

    everywhere(put(change), Scene.through, again)

    def once_more(scene: Scene) -> None:
        again(scene)
        scene.through()

    everywhere(put(change), Scene.through, once_more)


def test_a_customer_moves_there_and_back_before_anything_has_followed() -> None:
    scene = subscribed()
    facts(scene, "NO", 2 * DAY)
    facts(scene, "NO", 9 * DAY)
    scene.deliver()
    facts(scene, "DE", 9 * DAY)
    scene.event("bytes", HOUR)
    scene.deliver()
    assert len(read_customer(scene.table, ORGANIZATION.id, "cust 0").moves.former) == 3
    scene.through()
    scene.check()
    moves = read_customer(scene.table, ORGANIZATION.id, "cust 0").moves
    assert (moves.number, moves.former) == (3, ()), "nothing is in the rollups by facts of before"


@pytest.mark.parametrize("beside", ["another plan", "another customer", "it has ended", "it began earlier"])
def test_a_move_and_a_recount_of_the_same_usage(beside: str) -> None:
    """What a recount takes out of the rollups is there by the facts of before, or of after."""
    changes: dict[str, Callable[[Scene], object]] = {
        "another plan": lambda scene: scene.management.change_plan(
            "sub 1", "seven", scene.clock.now - 2 * DAY
        ),
        "another customer": lambda scene: scene.sign_up(customer="cust 1"),
        "it has ended": lambda scene: scene.management.end("sub 1", scene.clock.now - 2 * HOUR),
        "it began earlier": lambda scene: scene.sign_up(start=-25 * DAY),
    }

    def change(scene: Scene) -> None:
        with suppress(CatalogueConflictError):
            changes[beside](scene)

    def act(scene: Scene) -> None:
        change(scene)
        scene.event("bytes", HOUR)
        scene.through()

    def move(scene: Scene) -> None:
        facts(scene, "NO", 2 * DAY)

    everywhere(subscribed, act, move)

    def move_and_follow(scene: Scene) -> None:
        move(scene)
        scene.through()

    everywhere(subscribed, move_and_follow, change, closely=True)


def test_a_rebuild_at_any_call_of_a_move_and_a_move_at_any_call_of_a_rebuild() -> None:
    def anew(scene: Scene) -> None:
        with suppress(BusyError, StoreUnavailableError):
            rebuild(scene.table, ORGANIZATION.id, scene.clock.around)

    def check(scene: Scene) -> None:
        abandon(scene.table, ORGANIZATION.id, scene.clock.around)
        scene.check()

    everywhere(put("since two days"), Scene.through, anew, check)
    everywhere(subscribed, anew, lambda scene: moved(scene, "since two days"), check)


def test_two_functions_follow_at_once() -> None:
    scene = put("since two days")()
    scene.deliver()
    threads = [Thread(target=lambda: scene.recount_once(lambda _: None)) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(WAIT)
    scene.through()
    scene.check()


STAYS: dict[str, tuple[Callable[[Scene], object], dict[str, str], dict[str, str]]] = {
    "countries": (
        lambda scene: facts(scene, "NO", 9 * DAY),
        {"customer_country": "NO"},
        {"external_customer_id": "cust 0"},
    ),
    "names": (
        lambda scene: named(scene, "seven", 9 * DAY),
        {"plan_code": "seven"},
        {"external_subscription_id": "ext 1"},
    ),
}


@pytest.mark.parametrize("what", STAYS)
def test_the_total_of_all_stays_and_what_moves_is_right_by_itself_at_once(what: str) -> None:
    change, there, whose = STAYS[what]
    scene = before_it(what)
    scene.roll()
    change(scene)
    before, its_own = read_world(scene).days(), read_world(scene).days(**whose, **there)
    assert its_own

    def look() -> None:
        assert read_world(scene).days() == before
        assert read_world(scene).days(**whose, **there) == its_own

    with watched(scene, look):
        scene.through()
    assert read_world(scene).days(**there) == its_own
    scene.check()


@pytest.mark.parametrize("renamed", [False, True], ids=["a customer", "the names of plans"])
def test_a_charge_of_many_months_and_a_chain_of_many_charges_follow_in_steps(*, renamed: bool) -> None:
    """At no moment is anything of them missing."""
    scene = Scene()
    two: dict[str, dict[str, Any]] = {
        "1": {"start": -900 * DAY, "billing_period": "ONETIME", "line_items": ITEMS},
        "2": {"start": -900 * DAY, "billing_period": "DAILY", "line_items": ITEMS, "external_id": "ext 2"},
    }
    for name, record in two.items():
        scene.sign_up(name, **record)
    for days in range(1, 880, 20):
        scene.event("bytes", days * DAY)
    scene.event("seats", 300 * DAY, Subject.subscription("ext 2"))
    scene.deliver()
    scene.roll()
    if renamed:
        since = {"value": "seven", "since": format_instant(scene.begun - 600 * DAY)}
        for name, record in two.items():
            # Nothing of the first begins after that: it has the other name all the time.
            scene.sign_up(name, **record, plan=[{"value": "one"}, since] if name == "2" else "seven")
    else:
        facts(scene, "NO", 600 * DAY)
    before = read_world(scene).days()
    writes = scene.table.writes

    def look() -> None:
        assert read_world(scene).days() == before

    with watched(scene, look):
        scene.recount_once()
    assert scene.table.writes - writes > 8, "they take several transactions"
    scene.event("bytes", 800 * DAY)
    scene.event("seats", 400 * DAY, Subject.subscription("ext 2"))
    scene.deliver()
    scene.check()


@pytest.mark.parametrize("period", ["ONETIME", "DAILY"])
def test_what_is_new_while_a_tally_follows_in_steps_is_added_once(period: str) -> None:
    """Chunks, and charges of a chain, are made by the facts of now before the others have followed."""
    scene = Scene()
    scene.sign_up(start=-900 * DAY, billing_period=period)
    scene.event("bytes", 890 * DAY)
    scene.event("seats", 10 * DAY)
    scene.deliver()
    scene.roll()
    facts(scene, "NO", 1000 * DAY)
    for days in range(1, 860, 25):
        scene.event("bytes", days * DAY)
    scene.event("seats", 600 * DAY)
    scene.deliver()
    scene.through()
    scene.check()


def test_a_move_that_has_lost_its_lease_forgets_nothing() -> None:
    """Meanwhile a recount flips, and is to take out what is there by the facts of before."""
    for number in range(30):
        scene = subscribed()
        scene.roll()
        scene.management.change_plan("sub 1", "seven", scene.clock.now - 12 * DAY)
        facts(scene, "NO", 400 * DAY)

        def flip(scene: Scene = scene) -> None:
            scene.clock.now += 5 * MINUTE
            with (
                mock.patch.object(Recounting, "_settle_lists", side_effect=Killed),
                suppress(Killed, StoreUnavailableError),
            ):
                scene.recount_once()

        with at_call(scene.table, number, flip):
            scene.recount_once()
        scene.clock.now += 5 * MINUTE
        scene.through()
        scene.check()


def test_a_customer_is_not_deleted_while_a_recount_takes_out_what_was_its_own() -> None:
    scene = subscribed()
    facts(scene, "NO", 2 * DAY)
    scene.through()
    scene.sign_up(customer="cust 1")
    scene.clock.now += MINUTE
    with mock.patch.object(Recounting, "_settle_lists", side_effect=Killed), suppress(Killed):
        scene.recount_once()
    with pytest.raises(CatalogueConflictError, match="is the customer's"):
        scene.management.delete("customer", "cust 0")
    scene.clock.now += 5 * MINUTE
    scene.through()
    scene.management.delete("customer", "cust 0")
    scene.check()


def test_a_move_stops_when_time_is_up_and_goes_on() -> None:
    scene = subscribed()
    for number in range(2, 60):
        scene.sign_up(f"{number}", external_id=f"ext {number}", start=0)
    facts(scene, "NO", 2 * DAY)
    calls = 0

    def clock() -> int:
        scene.clock.now += SECOND // 10
        return scene.clock.now

    while any(each.done_at is None for each in read_recounts(scene.table, ORGANIZATION.id)):
        begun = scene.clock.now
        carry_all_on(scene.table, clock, begun + 3 * SECOND, scene.pass_time)
        assert scene.clock.now < begun + 10 * SECOND
        calls += 1
    scene.check()


def test_what_the_rollups_do_not_take_is_told_and_tried_again() -> None:
    scene = subscribed()
    facts(scene, "NO", 2 * DAY)
    with mock.patch.object(Fold, "publish", return_value=["sub 1, meter bytes: out of range"]):
        scene.recount_once()
    (recount,) = read_recounts(scene.table, ORGANIZATION.id)
    assert (recount.done_at, recount.refused) == (None, 1)
    assert recount.reasons == (("sub 1", "meter bytes: out of range"),)
    scene.through()
    (recount,) = read_recounts(scene.table, ORGANIZATION.id)
    assert (recount.done_at is not None, recount.refused, recount.reasons) == (True, 0, ())
    scene.check()


def test_no_event_is_read_for_it() -> None:
    scene = subscribed()
    facts(scene, "NO", 2 * DAY)
    asked = asked_of(scene)
    scene.through()
    assert asked
    assert not any("#events#" in pk for pk in asked)
    (recount,) = read_recounts(scene.table, ORGANIZATION.id)
    assert (recount.customer, recount.events, recount.done, recount.refused) == ("cust 0", 0, 1, 0)

"""The plan of a subscription has another name for a time of which usage was counted: what differs from a move."""

from collections.abc import Callable
from contextlib import suppress

import pytest

from meterstone.catalogue.customers import MOST_MOVES
from meterstone.catalogue.management import CatalogueConflictError
from meterstone.store.catalogue.countings import read_countings
from meterstone.store.catalogue.recounts import read_recounts
from meterstone.usage.instant import DAY, HOUR, MINUTE, format_instant
from meterstone.usage.subscription import NOT_MOVED, Moves
from support.life import START
from support.moves import ITEMS, asked_of, before_it, named
from support.recounts import (
    NAMES,
    Scene,
    everywhere,
)
from support.scenario import ORGANIZATION


@pytest.mark.parametrize("follow", [True, False], ids=["and all follows", "and nothing follows yet"])
def test_another_name_at_every_call_of_the_clock(*, follow: bool) -> None:
    """The clock reads the subscription once more after a tally's head, and by then its plan has another name."""

    def roll(scene: Scene) -> None:
        scene.clock.now += 7 * DAY + HOUR
        scene.roll()

    def rename(scene: Scene) -> None:
        named(scene, "seven", 9 * DAY)
        if follow:
            scene.through()

    def check(scene: Scene) -> None:
        scene.through()
        scene.check()

    everywhere(lambda: before_it("name"), roll, rename, check, each=True)


CORRECTED: dict[str, Callable[[Scene], object]] = {
    "there and back": lambda scene: named(scene, "one"),
    "since another time": lambda scene: named(scene, "seven", HOUR),
}


@pytest.mark.parametrize("act", ["the clock", "all follows"])
@pytest.mark.parametrize("corrected", CORRECTED)
def test_a_name_is_corrected_at_every_call_of(act: str, corrected: str) -> None:
    """A tally that follows the first name has charges that stay where they are by the second."""

    def make() -> Scene:
        scene = before_it("name")
        named(scene, "seven", 9 * DAY)
        return scene

    def roll(scene: Scene) -> None:
        scene.clock.now += 7 * DAY + HOUR
        scene.roll()

    def check(scene: Scene) -> None:
        scene.through()
        scene.check()

    doing = roll if act == "the clock" else Scene.through
    everywhere(make, doing, CORRECTED[corrected], check, each=True)


def test_no_event_is_read_for_another_name_of_a_plan() -> None:
    scene = before_it("name")
    named(scene, "seven", 9 * DAY)
    since = scene.clock.now - 9 * DAY
    (name,) = [each.id for each in read_recounts(scene.table, ORGANIZATION.id)]
    asked = asked_of(scene)
    scene.through()
    assert asked
    assert not any("#events#" in pk for pk in asked)
    (recount,) = read_recounts(scene.table, ORGANIZATION.id)
    assert (recount.id, recount.renamed, recount.customer, recount.subscriptions) == (name, "sub 1", "", ())
    assert (recount.since, recount.events, recount.done, recount.refused) == (since, 0, 1, 0)
    scene.check()


def renamings(scene: Scene) -> Moves:
    """Return what the subscription's item says of the names of its plan."""
    (seen,) = read_countings(scene.table, ORGANIZATION.id, ["sub 1"])
    return seen.counting.renamings


def test_a_plan_is_renamed_there_and_back_before_anything_has_followed() -> None:
    scene = before_it("name")
    named(scene, "seven", 2 * DAY)
    named(scene, "seven")
    scene.deliver()
    named(scene, "one")
    scene.event("bytes", HOUR)
    scene.deliver()
    assert [each.plan[-1].value for each in renamings(scene).former] == ["one", "seven", "seven"]
    scene.through()
    scene.check()
    assert renamings(scene) == Moves(3), "nothing is in the rollups by names of before"
    (seen,) = read_countings(scene.table, ORGANIZATION.id, ["sub 1"])
    assert seen.counting.last == 0, "and nothing was counted anew"


def test_as_many_renamings_wait_as_moves() -> None:
    scene = before_it("name")
    for number in range(MOST_MOVES):
        named(scene, ("seven", "one")[number % 2])
    with pytest.raises(CatalogueConflictError, match="still to follow"):
        named(scene, "seven", 2 * DAY)
    scene.through()
    named(scene, "seven", 2 * DAY)
    scene.through()
    scene.check()


def test_put_again_it_names_the_recount_that_is_under_way() -> None:
    scene = before_it("name")
    record = {"plan": "seven"}
    first = scene.management.merge("subscription", "sub 1", record).recount
    scene.clock.now += MINUTE
    scene.management.merge("subscription", "sub 1", {"name": "Ours"})
    again = scene.management.merge("subscription", "sub 1", record)
    assert first is not None
    assert (again.changed, again.recount) == (False, first)
    scene.through()
    assert scene.management.merge("subscription", "sub 1", record).recount is None


@pytest.mark.parametrize("beside", ["a dearer line item", "it has ended", "another customer"])
def test_a_renaming_and_a_recount_of_the_same_usage(beside: str) -> None:
    """A recount that is put while usage follows, and a name that is put while usage is counted anew."""
    items = [{**each, "price": each["price"].replace("bytes at 1", "bytes at 7")} for each in ITEMS]
    changes: dict[str, dict[str, object]] = {
        "a dearer line item": {"line_items": items},
        "it has ended": {"end": format_instant(START + 14 * DAY - 2 * HOUR)},
        "another customer": {"customer": "cust 1"},
    }

    def change(scene: Scene) -> None:
        with suppress(CatalogueConflictError):
            scene.management.merge("subscription", "sub 1", changes[beside])

    def rename(scene: Scene) -> None:
        plans = [{"value": "one"}, {"value": "seven", "since": format_instant(scene.begun - 9 * DAY)}]
        scene.management.merge("subscription", "sub 1", {"plan": plans})

    def act(scene: Scene) -> None:
        change(scene)
        scene.event("bytes", HOUR)
        scene.through()

    everywhere(lambda: before_it("name"), act, rename)

    def rename_and_follow(scene: Scene) -> None:
        rename(scene)
        scene.through()

    everywhere(lambda: before_it("name"), rename_and_follow, change, closely=True)


def test_another_name_that_waits_for_a_recount_moves_what_was_counted() -> None:
    scene = before_it("name")
    items = [{"price": f"{name} at 7"} for name in NAMES]
    scene.management.merge("subscription", "sub 1", {"line_items": items})
    scene.management.merge("subscription", "sub 1", {"plan": "seven"})
    assert renamings(scene) == NOT_MOVED
    scene.clock.now += MINUTE
    scene.recount_once()
    assert len(renamings(scene).former) == 1
    asked = asked_of(scene)
    scene.through()
    assert not any("#events#" in pk for pk in asked)
    assert renamings(scene) == Moves(1)
    assert read_countings(scene.table, ORGANIZATION.id, ["sub 1"])[0].counting.live is None, "nothing waits"
    scene.check()


def test_a_name_that_comes_with_another_price_is_counted_anew_with_it() -> None:
    scene = before_it("name")
    items = [{"price": f"{name} at 7"} for name in NAMES]
    put = scene.management.merge("subscription", "sub 1", {"line_items": items, "plan": "seven"})
    assert put.recount is not None
    assert (put.recount.renamed, put.recount.subscriptions) == ("", ("sub 1",))
    scene.through()
    assert renamings(scene) == NOT_MOVED
    scene.check()


@pytest.mark.parametrize("instant", [-21 * DAY, DAY], ids=["before it begins", "after it has ended"])
def test_a_name_that_is_another_while_there_is_no_usage_moves_nothing(instant: int) -> None:
    scene = before_it("name")
    scene.management.end("sub 1", scene.begun - HOUR)
    scene.through()
    at = format_instant(scene.begun + instant)
    plans = [{"value": "seven"}, {"value": "one", "since": at}]
    if instant > 0:
        plans = [{"value": "one"}, {"value": "seven", "since": at}]
    put = scene.management.merge("subscription", "sub 1", {"plan": plans})
    assert (put.changed, put.recount, renamings(scene)) == (True, None, NOT_MOVED)
    scene.check()

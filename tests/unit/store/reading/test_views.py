"""A view of the rollups that is added to the code: it answers in a generation that has it from its beginning."""

import json
from collections.abc import Callable, Iterator
from copy import replace
from typing import Any

import pytest

from meterstone.store.catalogue.accounts import read_account
from meterstone.store.dynamodb import keys
from meterstone.store.operations.rebuild import RebuildReport, rebuild
from meterstone.store.reading.analytics import ViewNotBuiltError
from meterstone.usage.instant import DAY, MINUTE
from support.memory_table import MemoryTable
from support.recovering import Clock
from support.scenario import ORGANIZATION, DayTotals, World, views
from support.stored import memory, rich

RICH = rich()
#: What the added view answers.
FINEST = {"plan_code": "pro", "customer_country": "DE", "customer_type": "company"}
NAMES = "T,P,C,PC,PCY"


@pytest.fixture
def add_view(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Add a view by all three dimensions to the code."""

    def add() -> None:
        monkeypatch.setitem(keys.VIEWS, "PCY", ("plan", "country", "customer_type"))
        keys.rollups.cache_clear()

    yield add
    keys.rollups.cache_clear()


@pytest.fixture
def world() -> World:
    """Give a world whose first half was counted when there were four views."""
    world = World(RICH)
    world.load("first", RICH.batches[0].usage, RICH.end)
    return world


def rebuild_now(world: World, *, now: int = RICH.end, swap: bool = True) -> RebuildReport:
    report = rebuild(world.table, ORGANIZATION.id, Clock(now).around, swap=swap)
    account = read_account(world.table, ORGANIZATION.id)
    assert account is not None
    world.account = account
    return report


def answered(world: World) -> dict[str, DayTotals | str]:
    """Give the answer to every combination of filters, or the name of the view that it lacks."""

    def answer(filters: dict[str, str]) -> DayTotals | str:
        try:
            return world.days(**filters)
        except ViewNotBuiltError as error:
            return error.view

    return {json.dumps(filters): answer(filters) for filters in views()}


def named(world: World) -> str | None:
    """Give the views that the organization's profile names."""
    profile = memory(world).items()[keys.organization(ORGANIZATION.id, "profile")]
    return profile["rollup_views"]["S"] if "rollup_views" in profile else None


def test_a_view_that_was_added_is_refused_and_all_else_is_answered_as_before(
    world: World, add_view: Callable[[], None]
) -> None:
    before = answered(world)
    add_view()
    finest = {name for name in before if json.loads(name).keys() == FINEST.keys()}
    assert answered(world) == before | dict.fromkeys(finest, "PCY")
    assert before[json.dumps(FINEST)], "there was an answer"


def test_a_view_that_was_added_is_refused_though_it_has_what_came_since(
    world: World, add_view: Callable[[], None]
) -> None:
    add_view()
    world.load("second", RICH.batches[1].usage, RICH.end)
    assert any(key.pk.startswith(f"{ORGANIZATION.id}#1#rollup#PCY#") for key in memory(world).items())
    with pytest.raises(ViewNotBuiltError, match="no view PCY"):
        world.days(**FINEST)


def test_a_rebuild_brings_the_view_with_all_that_was_counted_before(
    world: World, add_view: Callable[[], None]
) -> None:
    world.load("second", RICH.batches[1].usage, RICH.end)
    # The rebuild takes two minutes; the clock has brought them before.
    now = RICH.end + DAY
    world.roll(now + 5 * MINUTE)
    before = answered(world)
    add_view()
    report = rebuild_now(world, now=now)
    world.roll(now + 5 * MINUTE)
    assert (report.swapped, report.differences, named(world)) == (True, [], NAMES)
    assert answered(world) == before


def test_a_rebuild_compares_only_the_views_that_both_generations_have(
    world: World, add_view: Callable[[], None]
) -> None:
    add_view()
    world.load("second", RICH.batches[1].usage, RICH.end)
    assert rebuild_now(world, swap=False).differences == []
    assert named(world) is None
    key = next(key for key in memory(world).items() if key.pk == f"{ORGANIZATION.id}#1#rollup#PC#pro#DE")
    memory(world).delete_all([key])
    assert {each.group for each in rebuild_now(world, swap=False).differences} == {
        "plan pro, country DE, type company"
    }


def test_a_rebuild_names_no_views_while_there_are_the_first_four(world: World) -> None:
    rebuild_now(world)
    assert (named(world), world.account.views) == (None, ("T", "P", "C", "PC"))


def test_a_rebuild_without_a_view_that_was_taken_away_names_it_no_more(
    world: World, add_view: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = answered(world)
    add_view()
    rebuild_now(world)
    monkeypatch.delitem(keys.VIEWS, "PCY")
    keys.rollups.cache_clear()
    rebuild_now(world)
    assert (named(world), answered(world)) == (None, before)


def test_a_new_organization_has_the_view_from_its_beginning(add_view: Callable[[], None]) -> None:
    before = answered(World(RICH).run())
    add_view()
    world = World(RICH).run()
    assert (named(world), answered(world)) == (NAMES, before)


def test_a_catalogue_that_is_written_again_brings_no_view(world: World, add_view: Callable[[], None]) -> None:
    add_view()
    again = World(replace(RICH, batches=()), world.table)
    assert named(again) is None
    with pytest.raises(ViewNotBuiltError):
        again.days(**FINEST)


def test_a_new_organization_s_profile_names_no_views_while_there_are_the_first_four(world: World) -> None:
    assert named(world) is None


def test_only_the_profile_says_which_views_there_are() -> None:
    table = MemoryTable()
    world = World(RICH, table)
    profile = keys.organization(ORGANIZATION.id, "profile")
    table.update(profile, "SET rollup_views = :views", {":views": {"S": "T,P"}})
    account: Any = read_account(table, ORGANIZATION.id)
    assert account.views == ("T", "P")
    world.account = account
    assert answered(world) == {
        json.dumps(filters): {True: "PC", False: "C"}["plan_code" in filters]
        if "customer_country" in filters
        else {}
        for filters in views()
    }

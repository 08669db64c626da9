"""Rollups of months that are over are merged: whatever happens beside, they add up to the same."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import cycle, groupby
from typing import Any
from unittest import mock

import pytest
from msgspec import structs

from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.stored_format import FIRST_FORMAT
from meterstone.store.counting import stream
from meterstone.store.counting.merging import REST, Merged, merge
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Action, ConflictError, StoreUnavailableError, integer, key_item
from meterstone.store.operations.rebuild import rebuild
from meterstone.store.reading import analytics
from meterstone.store.reading.analytics import AnalyticsStore
from meterstone.usage.instant import DAY, END_OF_TIME, HOUR, MINUTE, SECOND, format_instant, key_instant
from support.counting import answers
from support.recounts import CUSTOMERS, NAMES, Scene, everywhere, read_world, stopped_at, subscribed
from support.recovering import WAIT
from support.scenario import ORGANIZATION, DayTotals, listed, totals, views

MONTH = 31 * DAY


@pytest.fixture(autouse=True)
def _many_writers() -> Iterator[None]:
    """Have each batch added by another writer than the one before."""
    turns = cycle(range(4))
    with mock.patch.object(stream, "part_of", lambda _, parts: next(turns) % parts):
        yield


def counted(**more: Any) -> Scene:
    """Give months that are over, to whose rollups several writers have added."""
    scene = subscribed(**more)
    for before in (2 * DAY, 16 * DAY, 17 * DAY, 18 * DAY):
        for name in NAMES:
            scene.event(name, before)
        scene.event("bytes", before, CUSTOMERS, "2.25")
        scene.deliver()
    scene.clock.now += MONTH
    with mock.patch("support.life.merge", return_value=Merged()):
        scene.roll()
    assert len(of_others(scene)) > 20
    return scene


def of_others(scene: Scene) -> list[Key]:
    """List the rollups of all writers but the first that are to be merged."""
    due = keys.merging(ORGANIZATION.id, account_of(scene).generation)
    return list(scene.table.due(due, key_instant(END_OF_TIME - 1)))


def account_of(scene: Scene) -> Account:
    account = read_account(scene.table, ORGANIZATION.id, consistent=True)
    assert account is not None
    return account


def merge_now(scene: Scene) -> int:
    return merge(scene.table, account_of(scene), scene.clock).items


def merge_all(scene: Scene) -> None:
    merge_now(scene)
    scene.clock.now += REST
    merge_now(scene)


def late(scene: Scene) -> None:
    """Have events come in for months that are over."""
    for name in NAMES:
        scene.event(name, MONTH + DAY)
        scene.event(name, MONTH + 18 * DAY, CUSTOMERS)
    scene.deliver()


def roll(scene: Scene) -> None:
    scene.clock.now += 7 * DAY
    scene.roll()


def rebuilt(scene: Scene) -> None:
    assert rebuild(scene.table, ORGANIZATION.id, scene.clock.around).swapped


def test_the_first_writer_has_all_in_the_end() -> None:
    scene = counted()
    before, items = answers(read_world(scene)), len(of_others(scene))
    assert merge_now(scene) == items
    assert answers(read_world(scene)) == before
    scene.clock.now += REST - 1
    assert merge_now(scene) == 0
    assert len(of_others(scene)) == items
    scene.clock.now += 1
    assert merge_now(scene) == items
    assert of_others(scene) == []
    assert answers(read_world(scene)) == before
    scene.check()


def test_months_that_are_not_over_are_left_alone() -> None:
    scene = subscribed()
    kept = of_others(scene)
    assert kept
    assert merge_now(scene) == 0
    assert of_others(scene) == kept


def test_a_merged_month_is_read_as_if_one_writer_had_counted_it() -> None:
    scene = counted()

    def read() -> int:
        world = read_world(scene)
        world.table.cost.reset()
        world.days()
        return world.table.cost.items

    before = read()
    merge_all(scene)
    first = {key for key in scene.table.items() if "#rollup#T" in key.pk}
    assert all(key.sk == keys.rollup_of_first_writer(key.sk) for key in first)
    assert read() == len(first) < before


def test_when_the_newest_event_came_in_is_moved_too() -> None:
    def newest(scene: Scene) -> int:
        world = read_world(scene)
        found = AnalyticsStore(world.table).daily_usage(world.account, world.query(), scene.clock.now)
        return max(each.counted_until for each in found)

    for order in ((0, 1), (1, 0)):
        turns = iter(order)
        scene = subscribed()
        with mock.patch.object(stream, "part_of", lambda *_, turns=turns: next(turns)):
            for _ in order:
                scene.clock.now += MINUTE
                scene.event("bytes", HOUR)
                scene.deliver()
        scene.clock.now += 2 * MONTH
        before = newest(scene)
        merge_all(scene)
        assert newest(scene) == before


def test_of_what_came_to_nothing_the_time_is_moved_before_it_is_deleted() -> None:
    scene = counted()
    merge_now(scene)
    key = of_others(scene)[0]
    scene.table.update(key, "SET acc = :acc", {":acc": {"N": str(scene.clock.now)}})
    scene.clock.now += REST
    merge_now(scene)
    assert key in of_others(scene)
    scene.clock.now += REST
    merge_now(scene)
    assert of_others(scene) == []
    row = scene.table.get(Key(key.pk, keys.rollup_of_first_writer(key.sk)), consistent=True)
    assert row is not None
    assert integer(row, "acc") == scene.clock.now - 2 * REST


def test_the_time_of_what_comes_in_meanwhile_stays() -> None:
    scene = counted()
    key = of_others(scene)[0]
    first = Key(key.pk, keys.rollup_of_first_writer(key.sk))
    at, transact = scene.clock.now, scene.table.transact
    scene.table.update(key, "SET acc = :acc", {":acc": {"N": str(at)}})
    came_in: list[bool] = []

    def come_in(actions: Sequence[Action]) -> None:
        if not came_in and any(key_item(first) == body["Key"] for each in actions for body in each.values()):
            came_in.append(scene.table.update(first, "SET acc = :acc", {":acc": {"N": str(at + 1)}}))
        transact(actions)

    for merging in (come_in, transact):
        with mock.patch.object(scene.table, "transact", merging):
            merge_now(scene)
        row = scene.table.get(first, consistent=True)
        assert row is not None
        assert integer(row, "acc") == at + 1
    assert came_in


def test_a_move_or_deletion_that_is_sent_once_more_finds_that_it_was() -> None:
    scene = counted()
    transact, sent = scene.table.transact, 0

    def twice(actions: Sequence[Action]) -> None:
        nonlocal sent
        transact(actions)
        sent += 1
        with pytest.raises(ConflictError):
            transact(actions)

    with mock.patch.object(scene.table, "transact", twice):
        merge_all(scene)
    assert of_others(scene) == []
    assert sent > 20


def test_an_item_that_was_deleted_meanwhile_is_not_made_anew() -> None:
    scene = counted()
    before, kept = answers(read_world(scene)), of_others(scene)
    transact = scene.table.transact
    stood_still: list[bool] = []

    def stand_still(actions: Sequence[Action]) -> None:
        if not stood_still:
            stood_still.append(True)
            merge_all(scene)
        transact(actions)

    with mock.patch.object(scene.table, "transact", stand_still):
        assert merge_now(scene) == 0
    assert stood_still
    assert scene.table.batch_get(kept, consistent=True) == {}
    assert answers(read_world(scene)) == before


def test_in_the_first_stored_format_nothing_is_merged() -> None:
    scene = counted()
    account = structs.replace(account_of(scene), stored_format=FIRST_FORMAT)
    assert merge(scene.table, account, scene.clock) == Merged()


@pytest.mark.parametrize("before", [True, False], ids=["before it", "after it"])
def test_killed_at_any_write_nothing_is_lost_or_there_twice(*, before: bool) -> None:
    scene = counted()
    right = answers(read_world(scene))
    number = 0
    while of_others(scene):
        stopped_at(scene, number % 3, merge_now, before=before)
        assert answers(read_world(scene)) == right
        number += 1
        scene.clock.now += REST if number % 2 else 0
    assert number > 5
    scene.check()


def test_two_at_once() -> None:
    everywhere(counted, merge_all, merge_now)


BESIDE: dict[str, Callable[[Scene], object]] = {"late events": late, "the clock": roll, "a rebuild": rebuilt}


@pytest.mark.parametrize("beside", BESIDE)
def test_something_else_at_any_call_of_it(beside: str) -> None:
    everywhere(counted, merge_all, BESIDE[beside])


@pytest.mark.parametrize("beside", BESIDE)
def test_at_any_call_of_something_else(beside: str) -> None:
    everywhere(counted, BESIDE[beside], merge_all)


def test_a_generation_that_is_gone_gets_no_items_anew() -> None:
    """The account was read before a rebuild has swapped, and deleted what was live until then."""
    scene = counted()
    before, listed_before = account_of(scene), of_others(scene)
    held = scene.table.batch_get(listed_before[:1], consistent=True)
    rebuilt(scene)
    scene.clock.now += WAIT
    rebuilt(scene)
    assert not [key for key in scene.table.items() if key.pk.startswith(f"{ORGANIZATION.id}#1#")]
    # The index lags: it lists the items still, and they are read as they were.
    with (
        mock.patch.object(scene.table, "due", return_value=listed_before[:1]),
        mock.patch.object(scene.table, "batch_get", return_value=held),
    ):
        assert merge(scene.table, before, scene.clock) == Merged()
    assert not [key for key in scene.table.items() if key.pk.startswith(f"{ORGANIZATION.id}#1#")]


@pytest.mark.parametrize("named", [False, True], ids=["the first generation", "a later one"])
def test_nothing_is_merged_while_a_rebuild_compares(*, named: bool) -> None:
    scene = counted()
    if named:
        rebuilt(scene)
        scene.clock.now += WAIT
        late(scene)
        assert of_others(scene)
    made: list[int] = []
    before, transact = account_of(scene), scene.table.transact

    def merge_before(actions: Sequence[Action]) -> None:
        if account_of(scene).next is not None:
            # Who has read the organization before it begins does not know of it.
            with mock.patch.object(scene.table, "transact", transact):
                made.extend(
                    merge(scene.table, each, scene.clock).items for each in (before, account_of(scene))
                )
        transact(actions)

    with mock.patch.object(scene.table, "transact", merge_before):
        report = rebuild(scene.table, ORGANIZATION.id, scene.clock.around)
    assert made
    assert not any(made)
    assert report.differences == []


def read_while(
    scene: Scene,
    at: int,
    do: Callable[[], object],
    view: Mapping[str, object] | None = None,
    *,
    at_the_end: Callable[[], object] = lambda: None,
) -> DayTotals:
    """Read, one item a page, while something happens after so many items, and when the query is answered."""
    scene.table.settle()
    world, query = read_world(scene), scene.table.query_as

    def queried(*arguments: Any) -> Iterator[Any]:
        for number, item in enumerate(query(*arguments), start=1):
            yield item
            if number == at:
                do()
                scene.table.settle()
        at_the_end()
        scene.table.settle()

    with (
        mock.patch.object(scene.table, "query_as", queried),
        mock.patch.object(scene.table, "_page_items", 1),
    ):
        found = AnalyticsStore(scene.table).daily_usage(
            world.account, world.query(**(view or {})), scene.clock.now
        )
        return totals(listed(found))


@pytest.mark.parametrize("view", list(views()), ids=str)
def test_a_query_that_is_under_way_sees_all_once(view: dict[str, object]) -> None:
    right = read_world(counted()).days(**view)
    for at in range(1, 40, 3):
        scene = counted()
        assert read_while(scene, at, lambda scene=scene: merge_now(scene), view) == right  # type: ignore[misc]


def test_who_did_not_look_again_would_be_wrong() -> None:
    right = read_world(counted()).days()
    wrong = 0
    with mock.patch.object(analytics, "RECENT", -HOUR):
        for at in range(10, 14):
            scene = counted()
            wrong += read_while(scene, at, lambda scene=scene: merge_now(scene)) != right  # type: ignore[misc]
    assert wrong


def test_a_query_of_stale_pages_sees_all_once() -> None:
    """Each page is as of a moment of its own, up to 32 writes ago."""
    scene = counted()
    right = read_world(scene).days()
    world = read_world(scene)
    # What was counted before is known everywhere.
    scene.table.settle()
    of_all = [key for key in of_others(scene) if key.pk.endswith("#rollup#T")]
    with mock.patch.object(scene.table, "_page_items", 1):
        for name, several in groupby(of_all, lambda key: keys.rollup_of_all_writers(key.sk)):
            with mock.patch.object(scene.table, "due", return_value=list(several)):
                assert merge_now(scene), name
            found = AnalyticsStore(scene.table).daily_usage(world.account, world.query(), scene.clock.now)
            assert totals(listed(found)) == right
            scene.clock.now += SECOND


@pytest.mark.parametrize("facts", [{}, {"customer_type": "company"}], ids=["no type", "a company"])
def test_a_first_rollup_that_was_not_there_yet_is_looked_for(facts: dict[str, str]) -> None:
    """It is made by the move, behind the query's back: what the others lost is nowhere else."""
    with mock.patch.object(stream, "part_of", return_value=1):
        scene = counted(facts={"country": "DE", **facts})
    for key in [key for key in scene.table.items() if "#rollup#" in key.pk]:
        # Whatever the clock or an import has added for the first writer is another's, too.
        if key.sk == keys.rollup_of_first_writer(key.sk):
            scene.table.delete_all([key])
    right = read_world(scene).days()
    stale = read_world(scene)
    merge(scene.table, account_of(scene), scene.clock)
    scene.table.settle()
    first = {key for key in scene.table.items() if key.sk == keys.rollup_of_first_writer(key.sk)}
    query = scene.table.query_as

    def behind(*arguments: Any) -> Iterator[Any]:
        return (item for item in query(*arguments) if Key(arguments[1], item.sk.S) not in first)

    with mock.patch.object(scene.table, "query_as", behind):
        found = AnalyticsStore(scene.table).daily_usage(stale.account, stale.query(), scene.clock.now)
        assert totals(listed(found)) == right


def test_a_generation_that_goes_before_it_is_looked_again_is_no_answer() -> None:
    def read() -> None:
        for at in range(10, 14):
            scene = counted()
            with mock.patch.object(scene.table, "get_together", return_value={}):
                read_while(scene, at, lambda scene=scene: merge_now(scene))  # type: ignore[misc]

    with pytest.raises(StoreUnavailableError, match="is gone"):
        read()


def test_nobody_looks_again_when_numbers_have_been_moved() -> None:
    scene = counted()
    merge_now(scene)
    world = read_world(scene)
    with mock.patch.object(world.table, "get_together", side_effect=AssertionError):
        days = AnalyticsStore(world.table).daily_usage(world.account, world.query(), scene.clock.now)
        assert totals(listed(days)) == read_world(scene).days()


def test_nobody_looks_again_for_long() -> None:
    """An event has come late, by a writer that had no rollup."""
    scene = counted()
    merge_all(scene)
    scene.clock.now += analytics.RECENT
    late(scene)
    test = read_world(scene)
    with mock.patch.object(test.table, "get_together", side_effect=AssertionError):
        assert test.days()


def test_a_customer_s_type_changes_before_it_is_looked_again() -> None:
    """The rollups that its usage has gone to were not there when the query was answered."""
    right = read_world(counted()).days()
    for at in range(10, 14):
        scene = counted()
        since = format_instant(scene.begun - 60 * DAY)
        types = [{"value": "company"}, {"value": "individual", "since": since}]

        def change(scene: Scene = scene, types: list[dict[str, str]] = types) -> None:
            scene.management.merge("customer", "cust 0", {"customer_type": types})
            scene.through()

        found = read_while(scene, at, lambda scene=scene: merge_now(scene), at_the_end=change)  # type: ignore[misc]
        assert read_world(scene).days() == right
        assert found == right


def test_writers_that_had_no_rollup_count_before_it_is_looked_again() -> None:
    for at in range(1, 14):
        with mock.patch.object(stream, "part_of", return_value=1):
            scene = counted()
        seen = [read_world(scene).days()]

        def count(writer: int, value: int, before: int, scene: Scene = scene, seen: list[Any] = seen) -> None:
            with mock.patch.object(stream, "part_of", return_value=writer):
                scene.event("bytes", MONTH + before, value=value)
                scene.deliver()
            scene.table.settle()
            seen.append(read_world(scene).days())

        def come_late(count: Callable[..., None] = count) -> None:
            count(3, 1000, 2 * DAY - HOUR)
            count(1, -999, 2 * DAY - 2 * HOUR)

        found = read_while(scene, at, lambda scene=scene: merge_now(scene), at_the_end=come_late)  # type: ignore[misc]
        days = {each for answer in seen for each in answer if each[2] == "bytes"}
        for each in days:
            assert found.get(each) in [answer.get(each) for answer in seen]


def test_what_was_moved_since_it_was_read_is_not_deleted_yet() -> None:
    """Two merge at once, and one of them has found nothing in a rollup before the other has moved something."""
    scene = counted()
    merge_now(scene)
    scene.clock.now += REST
    key, transact = of_others(scene)[0], scene.table.transact

    def withdrawn_and_moved(actions: Sequence[Action]) -> None:
        with mock.patch.object(scene.table, "transact", transact):
            # A withdrawal says of no event when it came in.
            scene.table.update(key, "ADD u05 :less", {":less": {"N": "-3"}})
            merge_now(scene)
        with suppress(ConflictError):
            transact(actions)
        raise ConflictError({})

    with mock.patch.object(scene.table, "transact", withdrawn_and_moved):
        merge_now(scene)
    rows = scene.table.batch_get([key], consistent=True)
    assert integer(rows[key], "moved_at") == scene.clock.now


def test_a_move_says_when_it_was_and_not_when_the_call_began() -> None:
    scene = counted()
    batch_get = scene.table.batch_get

    def slow(*arguments: Any, **more: Any) -> Any:
        scene.clock.now += HOUR
        return batch_get(*arguments, **more)

    with mock.patch.object(scene.table, "batch_get", slow):
        merge_now(scene)
    moved = {integer(row, "moved_at") for row in batch_get(of_others(scene), consistent=True).values()}
    assert max(moved) == scene.clock.now


def test_what_is_behind_is_waited_for_before_an_item_is_deleted() -> None:
    assert REST >= 2 * analytics.RECENT


def test_a_sum_that_the_table_does_not_take_is_left_where_it_is() -> None:
    scene = counted()
    key = of_others(scene)[0]
    first = Key(key.pk, keys.rollup_of_first_writer(key.sk))
    numbers = {"u05": {"N": "9" * 38}}
    for each in (key, first):
        scene.table.update(each, "SET u05 = :u", {":u": numbers["u05"]})
    items = len(of_others(scene))
    assert merge(scene.table, account_of(scene), scene.clock).refused == 1
    merge_all(scene)
    (kept,) = {keys.rollup_of_all_writers(each.sk) for each in of_others(scene)}
    assert kept == keys.rollup_of_all_writers(key.sk)
    assert items > len(of_others(scene))
    row = scene.table.get(key)
    assert row is not None
    assert row["u05"].N == "9" * 38


def test_numbers_of_more_digits_than_a_context_are_moved_to_the_last_digit() -> None:
    scene = counted()
    key = of_others(scene)[0]
    first = Key(key.pk, keys.rollup_of_first_writer(key.sk))
    scene.table.update(key, "SET u05 = :u", {":u": {"N": "1" + "0" * 33 + "7"}})
    scene.table.update(first, "SET u05 = :u", {":u": {"N": "5"}})
    merge_all(scene)
    row = scene.table.get(first)
    assert row is not None
    assert row["u05"].N.endswith("0012")  # type: ignore[union-attr]
    assert scene.table.get(key) is None


def test_it_stops_when_it_is_told_to() -> None:
    scene = counted()
    assert merge(scene.table, account_of(scene), scene.clock, stop=lambda: True) == Merged()
    assert merge_now(scene) > 0

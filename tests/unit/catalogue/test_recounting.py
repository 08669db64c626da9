"""A plan that is put for all: who follows its new version, from when on, and what a stopped recount leaves."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import pytest

from meterstone.catalogue import recounting
from meterstone.catalogue.management import Recount
from meterstone.catalogue.recounting import carry_all_on, carry_on
from meterstone.store.catalogue.recounts import KEPT, MOST_REASONS, SETTLED, read_recounts
from meterstone.store.catalogue.stamped import read_terms
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import StoreUnavailableError, WriteRefusedError
from meterstone.usage.instant import DAY, HOUR, MINUTE, SECOND
from meterstone.usage.terms import PlanTerm, Terms, following
from support.managed import NOW, OF_C, PRICE, WeighedTable, at, at_each_call, count_event, managed
from support.memory_table import Faults, Killed, MemoryTable
from support.recovering import Clock
from support.scenario import ORGANIZATION

THEN: Final = at(1)
FULL: Final = {"prices": ["dear call", "seat"]}

type Plans = tuple[PlanTerm, ...]


def terms(*plans: PlanTerm, **more: Any) -> Terms:
    return Terms("s", "c", "EUR", "UTC", at(-30), plans, **more)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            [PlanTerm("a", None, 1)], [PlanTerm("a", None, 1), PlanTerm("a", THEN, 3)], id="from then on"
        ),
        pytest.param([PlanTerm("b", None, 1)], [PlanTerm("b", None, 1)], id="another plan"),
        pytest.param([PlanTerm("a", None, 3)], [PlanTerm("a", None, 3)], id="the version itself"),
        pytest.param([PlanTerm("a", None, 4)], [PlanTerm("a", None, 4)], id="a newer one"),
        pytest.param([PlanTerm("a")], [PlanTerm("a")], id="a plan that is but a name"),
        pytest.param(
            [PlanTerm("a", None, 1), PlanTerm("b", THEN, 1)],
            [PlanTerm("a", None, 1), PlanTerm("b", THEN, 1)],
            id="replaced by then",
        ),
        pytest.param(
            [PlanTerm("a", None, 1), PlanTerm("b", at(2), 1)],
            [PlanTerm("a", None, 1), PlanTerm("a", THEN, 3), PlanTerm("b", at(2), 1)],
            id="replaced later",
        ),
        pytest.param(
            [PlanTerm("b", None, 1), PlanTerm("a", at(2), 1)],
            [PlanTerm("b", None, 1), PlanTerm("a", at(2), 3)],
            id="planned for later",
        ),
        pytest.param(
            [PlanTerm("b", None, 1), PlanTerm("a", THEN, 1)],
            [PlanTerm("b", None, 1), PlanTerm("a", THEN, 3)],
            id="planned for that instant",
        ),
        pytest.param(
            [PlanTerm("a", None, 1), PlanTerm("a", at(2), 2)],
            [PlanTerm("a", None, 1), PlanTerm("a", THEN, 3)],
            id="an older version that was to come later",
        ),
        pytest.param(
            [PlanTerm("a", None, 1), PlanTerm("a", at(2), 4)],
            [PlanTerm("a", None, 1), PlanTerm("a", THEN, 3), PlanTerm("a", at(2), 4)],
            id="a newer version comes later",
        ),
    ],
)
def test_an_older_version_is_followed_by_the_new_one(before: list[PlanTerm], after: list[PlanTerm]) -> None:
    found = following(terms(*before), "a", 3, THEN)

    assert found.plan == tuple(after)
    assert following(found, "a", 3, THEN) == found


@pytest.mark.parametrize(
    ("more", "after"),
    [
        pytest.param({"end": THEN}, (PlanTerm("a", None, 1),), id="ends then"),
        pytest.param({"canceled_at": NOW}, (PlanTerm("a", None, 1),), id="called off"),
        pytest.param({"end": THEN + 1}, (PlanTerm("a", None, 1), PlanTerm("a", THEN, 3)), id="ends later"),
    ],
)
def test_what_is_over_by_then_stays(more: dict[str, Any], after: Plans) -> None:
    assert following(terms(PlanTerm("a", None, 1), **more), "a", 3, THEN).plan == after


def test_one_that_begins_later_follows_from_its_beginning() -> None:
    later = Terms("s", "c", "EUR", "UTC", at(3), (PlanTerm("a", None, 1),))

    assert following(later, "a", 3, THEN).plan == (PlanTerm("a", None, 3),)


@pytest.mark.parametrize("instants", [(at(1), at(2)), (at(2), at(1)), (at(1), at(1))])
def test_two_versions_come_to_the_same_in_either_order(instants: tuple[int, int]) -> None:
    second = partial(following, code="a", version=2, at=instants[0])
    third = partial(following, code="a", version=3, at=instants[1])
    old = terms(PlanTerm("a", None, 1), PlanTerm("b", at(3), 1), PlanTerm("a", at(4), 1))

    assert second(third(old)) == third(second(old))


@dataclass
class World:
    """A catalogue with a clock that is moved."""

    clock: Clock = field(default_factory=lambda: Clock(NOW))
    table: MemoryTable = field(default_factory=MemoryTable)

    def __post_init__(self) -> None:
        self.management = managed(self.table, self.clock)

    def sign_up(self, *names: str, **more: Any) -> None:
        for name in names:
            self.management.put("subscription", name, OF_C | more)

    def offer(self, record: Any = FULL, since: int | None = None) -> Recount:
        return self.management.offer_to_all("basic", record, since)[1]

    def recount(self) -> list[Recount]:
        self.clock.now += SETTLED
        return carry_all_on(self.table, self.clock, self.clock.now + HOUR, self.clock.sleep)

    def plans(self, name: str) -> list[tuple[str, int | None, int | None]]:
        seen = read_terms(self.table, ORGANIZATION.id, name)
        assert seen is not None
        return [(each.value, each.since, each.version) for each in seen.stored.value.plan]

    def recounts(self) -> list[Recount]:
        return read_recounts(self.table, ORGANIZATION.id)


@pytest.fixture
def world() -> World:
    return World()


def test_the_subscriptions_that_follow_the_plan_follow_its_new_version(world: World) -> None:
    world.sign_up("s1", "s2")
    world.sign_up("other", plan="pro")
    world.sign_up("own", line_items=[{"price": "call"}])

    recount = world.offer(since=THEN)
    (done,) = world.recount()

    assert world.plans("s1") == world.plans("s2") == [("basic", None, 1), ("basic", THEN, 2)]
    assert world.plans("other") == [("pro", None, 1)]
    assert world.plans("own") == [("basic", None, None)]
    assert done == recount._replace(done=2, put_at=NOW + SETTLED, done_at=NOW + SETTLED)
    assert world.recounts() == [done]
    assert world.recount() == []


def test_line_items_of_prices_that_both_versions_have_go_on(world: World) -> None:
    world.sign_up("s")
    world.offer(since=THEN)
    world.recount()

    seen = world.management.get("subscription", "s")
    assert seen is not None
    items = {item.id: (item.start, item.end) for item in world.management.resolved(seen).line_items}
    start = seen.value.start
    assert items == {"s.seat": (start, None), "s.call": (start, THEN), "s.dear call.1": (THEN, None)}


def test_prices_that_were_left_out_stay_left_out(world: World) -> None:
    world.management.put("price", "other", PRICE)
    world.sign_up("s", prices=["call"])
    world.offer({"prices": ["other", "seat"]}, THEN)
    world.recount()

    seen = world.management.get("subscription", "s")
    assert seen is not None
    assert [item.price.id for item in world.management.resolved(seen).line_items] == ["call", "other"]


def test_a_commitment_stays(world: World) -> None:
    record = {"commitment": {"amount": "10", "overage_factor": "2"}, "currency": "EUR"}
    world.sign_up("s")
    world.offer({**FULL, **record}, THEN)
    world.recount()

    seen = world.management.get("subscription", "s")
    assert seen is not None
    assert seen.value.commitment is None
    assert world.plans("s") == [("basic", None, 1), ("basic", THEN, 2)]


@pytest.mark.parametrize(
    ("since", "at"),
    [(None, NOW), (NOW - 5 * MINUTE, NOW - 5 * MINUTE), (NOW + 1, NOW + 1)],
    ids=["left out", "in the past", "soon"],
)
def test_it_takes_effect_now_or_at_any_instant(world: World, since: int | None, at: int) -> None:
    world.sign_up("s")
    assert world.offer(since=since).since == at
    world.recount()
    assert world.plans("s") == [("basic", None, 1), ("basic", at, 2)]


def test_one_of_which_usage_moves_has_a_recount_of_its_own_and_the_others_have_none(world: World) -> None:
    world.sign_up("s1", "s2", "s3")
    world.management.put("customer", "d", {})
    world.sign_up("s4", customer="d", prices=["call"])
    count_event(world.management, "s2", NOW - HOUR)
    count_event(world.management, "s4", NOW - DAY)
    of_plan = world.offer(since=NOW - 2 * HOUR)
    (done,) = world.recount()
    assert (done.id, done.done, done.refused) == (of_plan.id, 4, 0)
    (own,) = [each for each in world.recounts() if each.subscriptions]
    assert (own.subscriptions, own.since, own.done_at) == (("s2",), NOW - 2 * HOUR, None)
    assert own.line_items == ("s2.call", "s2.dear call.1"), "the seats go on"
    (counted,) = world.recount()
    assert counted.id == own.id
    assert counted.done_at is not None


@pytest.mark.parametrize("since", [None, THEN], ids=["as soon as it can", "at an instant"])
def test_a_put_that_is_repeated_makes_no_other_recount(world: World, since: int | None) -> None:
    world.sign_up("s")
    first = world.offer(since=since)
    world.clock.now += HOUR
    again = world.offer(since=since)
    world.recount()
    world.clock.now = THEN
    later = world.offer(since=since)

    assert first == again
    assert later.id == first.id
    assert len(world.recounts()) == 1


def test_a_version_that_is_there_already_can_be_put_for_all_later(world: World) -> None:
    world.sign_up("old")
    world.management.put("plan", "basic", FULL)
    world.sign_up("new")
    put, recount = world.management.offer_to_all("basic", FULL, THEN)
    world.recount()

    assert (put.changed, put.stored.stamp.rev, recount.version) == (False, 2, 2)
    assert world.plans("old") == [("basic", None, 1), ("basic", THEN, 2)]
    assert world.plans("new") == [("basic", None, 2)]


def test_a_plan_put_alone_concerns_nobody_who_follows_it(world: World) -> None:
    world.sign_up("s")
    world.management.put("plan", "basic", FULL)

    assert world.recount() == []
    assert world.plans("s") == [("basic", None, 1)]


def test_who_cannot_follow_is_listed_with_the_reason(world: World) -> None:
    """The new version has no price in euros, but one in dollars."""
    world.management.put("price", "usd", PRICE | {"currency": "USD"})
    world.sign_up(*(f"s{number:02}" for number in range(MOST_REASONS + 1)))
    world.offer({"prices": ["usd"]}, THEN)
    (done,) = world.recount()

    assert (done.done, done.refused, len(done.reasons)) == (0, MOST_REASONS + 1, MOST_REASONS)
    assert done.reasons[0] == (
        "s00",
        "plan[1].value: 'basic' has no price in EUR for a billing period of 1 MONTHLY",
    )
    assert world.plans("s00") == [("basic", None, 1)]
    # Mended, it is another version, for all.
    world.offer(FULL, THEN)
    assert world.recount()[0].done == MOST_REASONS + 1


def test_those_that_were_refused_are_tried_again_by_another_put(world: World) -> None:
    world.management.put("price", "usd", PRICE | {"currency": "USD"})
    world.sign_up("s")
    first = world.offer({"prices": ["usd"]})
    world.recount()
    world.clock.now += SECOND

    assert world.offer({"prices": ["usd"]}).id != first.id


def test_it_waits_until_changes_that_read_the_old_version_are_over(world: World) -> None:
    world.sign_up("s")
    recount = world.offer()
    key = keys.recount(ORGANIZATION.id, recount.id)
    world.clock.now += SETTLED - 1

    assert carry_all_on(world.table, world.clock, world.clock.now + HOUR) == []
    assert carry_on(world.table, key, world.clock, world.clock.now + HOUR) is None
    world.clock.now += 1
    assert [each.done for each in carry_all_on(world.table, world.clock, world.clock.now + HOUR)] == [1]


def test_what_is_done_is_deleted_after_a_while(world: World) -> None:
    world.sign_up("s")
    first = world.offer(since=THEN)
    (done,) = world.recount()
    world.clock.now += KEPT - 1
    assert world.recounts() == [done]
    second = world.offer({"prices": ["call"]})
    assert carry_all_on(world.table, world.clock, world.clock.now) == []
    assert [each.id for each in world.recounts()] == [first.id, second.id]
    # One that is not done stays, however old it is.
    world.clock.now += 2 * KEPT
    assert carry_all_on(world.table, world.clock, world.clock.now) == []
    assert [each.id for each in world.recounts()] == [second.id]
    key = keys.recount(ORGANIZATION.id, second.id)
    assert carry_on(world.table, key, world.clock, world.clock.now + HOUR) is not None
    assert carry_on(world.table, key, world.clock, world.clock.now + HOUR) is None, "it is done"


@pytest.mark.parametrize("error", [WriteRefusedError("a number"), ValueError("a document"), KeyError("doc")])
def test_whatever_one_fails_by_the_others_have_their_turns(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    world.sign_up("s")
    first = world.offer()
    world.management.put("plan", "other", FULL)
    world.management.put("subscription", "t", OF_C | {"plan": "other", "external_id": "t"})
    world.clock.now += SECOND
    second = world.management.offer_to_all("other", {"prices": ["call"]}, None)[1]
    step = recounting._step

    def fail_for_one(*given: Any) -> Recount:
        if given[-1].id == first.id:
            raise error
        return step(*given)

    def tell(organization_id: str, recount: Recount) -> None:
        told.append((organization_id, recount.id))

    monkeypatch.setattr(recounting, "_step", fail_for_one)
    told: list[tuple[str, str]] = []
    world.clock.now += SETTLED
    with pytest.raises(type(error)) as raised:
        carry_all_on(world.table, world.clock, world.clock.now + HOUR, world.clock.sleep, tell)
    assert told == [(ORGANIZATION.id, second.id)]
    assert raised.value.__notes__ == [f"recount {first.id} of organization {ORGANIZATION.id}"]
    # Nobody has to wait for its lease.
    monkeypatch.setattr(recounting, "_step", step)
    assert [each.id for each in world.recount()] == [first.id]


def test_it_goes_on_while_a_rebuild_is_running(world: World) -> None:
    world.sign_up("s")
    world.offer()
    profile = keys.organization(ORGANIZATION.id, "profile")
    world.table.update(profile, "SET gen_next = :g, cut_next = :c", {":g": {"S": "2"}, ":c": {"N": "1"}})

    assert [(each.done, each.refused) for each in world.recount()] == [(1, 0)]


def test_it_stops_when_its_time_is_up_and_goes_on_from_its_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterstone.catalogue.recounting.TOGETHER", 2)
    world.sign_up(*(f"s{number}" for number in range(5)))
    world.offer(since=THEN)
    world.clock.now += SETTLED
    shown: list[tuple[str, int]] = []

    def clock() -> int:
        # Each look at the clock takes a second.
        world.clock.now += SECOND
        return world.clock.now

    while world.recounts()[0].done_at is None:
        (found,) = carry_all_on(world.table, clock, world.clock.now + 8 * SECOND)
        shown.append((found.place, found.done))

    assert shown[-1] == ("", 5)
    assert shown[:-1] == sorted(shown[:-1])
    assert shown[0][1] in (2, 4)


def states(world: World, names: list[str]) -> list[object]:
    return [world.plans(name) for name in names]


def _killed(which: str, write: int) -> Faults:
    return Faults(before=write) if which == "before" else Faults(after=write)


def test_killed_at_any_write_it_is_carried_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meterstone.catalogue.recounting.TOGETHER", 2)
    names = [f"s{number}" for number in range(5)]
    wanted = [[("basic", None, 1), ("basic", THEN, 2)]] * len(names)
    for which in ("before", "after"):
        for write in range(40):
            world = World()
            world.sign_up(*names)
            world.table.faults = _killed(which, world.table.writes + write)
            through = True
            try:
                world.offer(since=THEN)
                world.recount()
            except Killed:
                through = False
            world.table.faults = Faults()
            world.clock.now += SECOND
            world.offer(since=THEN)
            # A lease that nobody ends is over in 2 minutes.
            world.clock.now += 3 * MINUTE
            world.recount()
            (recount,) = world.recounts()
            assert (recount.done, recount.refused) == (5, 0)
            assert recount.done_at is not None
            assert states(world, names) == wanted
            if through:
                break
        else:
            raise AssertionError("it makes more writes")


def _late(world: World) -> None:
    world.clock.now += 3 * MINUTE
    carry_all_on(world.table, world.clock, world.clock.now + HOUR)


CHANGES: dict[str, Callable[[World], object]] = {
    "another runner": lambda world: carry_all_on(world.table, world.clock, world.clock.now + HOUR),
    "another runner, when the lease is over": _late,
    "a sign-up": lambda world: world.sign_up("new"),
    "another plan": lambda world: world.management.change_plan("s2", "pro", at(2)),
    "another plan before": lambda world: world.management.change_plan("s2", "pro", at(0.5)),
    "the plan from another": lambda world: world.management.change_plan("p", "basic", at(2)),
    "an end": lambda world: world.management.end("s2", at(3)),
    "called off": lambda world: world.management.delete("subscription", "s3"),
    "a next version": lambda world: world.management.offer_to_all("basic", {"prices": ["call"]}, at(2)),
}


def of(world: World, name: str, instant: int) -> int | None:
    """Return the version of the plan that a subscription follows at an instant."""
    if world.management.get("subscription", name) is None:
        return None
    code, _, version = [each for each in world.plans(name) if each[1] is None or each[1] <= instant][-1]
    return version if code == "basic" else None


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "when", ["in the recount", "in the put", "in the change", "put and recounted in the change"]
)
def test_what_happens_at_any_call_of_it(change: str, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever follows the plan in the end, follows its newest version from the instant on."""
    monkeypatch.setattr("meterstone.catalogue.recounting.TOGETHER", 2)
    number, through = 0, False
    while not through:
        number += 1
        world = World()
        world.sign_up("s1", "s2", "s3", "s4")
        world.sign_up("p", plan="pro")

        def put(world: World = world) -> None:
            world.offer(since=THEN)

        def carry(world: World = world) -> None:
            world.recount()

        def put_and_carry(world: World = world) -> None:
            world.offer(since=THEN)
            world.recount()

        def other(world: World = world) -> None:
            CHANGES[change](world)

        calls: Mapping[str, tuple[Callable[[], None], Callable[[], None]]] = {
            "in the put": (put, other),
            "in the recount": (carry, other),
            "in the change": (other, put),
            "put and recounted in the change": (other, put_and_carry),
        }
        first, second = calls[when]
        if when == "in the recount":
            put()
        end = at_each_call(world.table, number, second)
        # What stands still for too long gives up, and what is left is carried on.
        with suppress(StoreUnavailableError):
            first()
        through = not end()
        if through:
            second()
        for _ in range(3):
            world.clock.now += 3 * MINUTE
            world.recount()
        recounts = world.recounts()
        # A put that stood still for too long has changed nothing.
        assert recounts or (when, change) == ("in the put", "another runner, when the lease is over")
        assert all(each.done_at is not None for each in recounts)
        for instant in (THEN - 1, THEN, at(1.5), at(2), at(2.5)):
            wanted = max((each.version for each in recounts if each.since <= instant), default=1)
            for name in ("s1", "s2", "s3", "s4", "p", "new"):
                followed = of(world, name, instant)
                if followed is not None:
                    # Who signs up, or comes from another plan, follows the version of that moment.
                    assert followed >= wanted if name in ("p", "new") else followed == wanted


def test_one_runner_takes_the_lease_and_the_other_leaves(world: World) -> None:
    world.sign_up("s")
    recount = world.offer()
    key = keys.recount(ORGANIZATION.id, recount.id)
    world.clock.now += SETTLED
    met: list[object] = []

    def other() -> None:
        met.append(carry_on(world.table, key, world.clock, world.clock.now + HOUR))

    end = at_each_call(world.table, 3, other)
    assert carry_on(world.table, key, world.clock, world.clock.now + HOUR) is not None
    assert end()
    assert met == [None]


@pytest.mark.parametrize(
    ("prices", "writes", "units"),
    [
        pytest.param(["dear call"], 1, 6, id="one transaction of three items"),
        pytest.param(["dear call", "seat"], 3, 9, id="with a recurring meter, whose tallies are woken"),
    ],
)
def test_what_two_hundred_followers_cost(prices: list[str], writes: int, units: int) -> None:
    table = WeighedTable()
    world = World(table=table)
    world.management.put("plan", "basic", {"prices": ["call", *prices[1:]]})
    for number in range(200):
        world.management.put("customer", f"c{number}", {})
        world.sign_up(f"s{number}", customer=f"c{number}")
    before = table.writes, table.units
    world.offer({"prices": prices}, THEN)
    put = table.writes - before[0], table.units - before[1]
    before = table.writes, table.units
    (done,) = world.recount()

    assert done.done == 200
    assert put == (2, 6)
    # The lease, the place and the end are written beside. Threads add up the units, and may lose some.
    assert table.writes - before[0] == 200 * writes + 3
    assert table.units - before[1] <= 200 * units + 9

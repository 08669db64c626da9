"""Small cases of recounts in which an event was once lost, counted twice, or listed wrongly."""

from collections.abc import Callable
from typing import Any

import pytest

from meterstone.catalogue.recounting import carry_on
from meterstone.store.catalogue.recounts import read_recounts
from meterstone.store.dynamodb import keys
from meterstone.usage.instant import DAY, HOUR, MINUTE, format_instant
from support.life import at_call
from support.recounts import CUSTOMERS, SECOND, Scene
from support.scenario import ORGANIZATION


def of(*prices: str, **more: Any) -> dict[str, Any]:
    return {"line_items": [{"price": f"{each} at 1"} for each in prices], **more}


def test_an_event_that_no_line_item_was_for_when_the_log_was_read() -> None:
    """It is delivered after a later change took it in: it was accepted before the cut of the recount before."""
    scene = Scene()
    scene.sign_up(**of("calls"))
    scene.event("calls", 2 * HOUR)
    scene.deliver()
    scene.clock.now += MINUTE
    scene.event("bytes", 0)
    scene.clock.now += SECOND
    scene.sign_up(start=-21 * DAY, **of("calls"))
    scene.through()
    start = format_instant(scene.clock.now - HOUR)
    items = [{"price": "calls at 1"}, {"price": "bytes at 1", "start": start}]
    scene.sign_up(start=-21 * DAY, line_items=items)
    scene.deliver()
    scene.check()


@pytest.mark.parametrize("number", range(0, 30, 2))
def test_a_put_that_takes_longer_than_its_cut_lies_ahead(number: int) -> None:
    """An event comes meanwhile, and is delivered before the put is there."""
    scene = Scene()
    scene.sign_up()
    scene.event("bytes")
    scene.deliver()
    scene.clock.now += MINUTE

    def be_slow() -> None:
        # The last transaction itself is not sent any more after three seconds.
        scene.clock.now += (4 if made[-1] == "transact" else 8) * SECOND
        scene.event("bytes", MINUTE)
        scene.deliver(1)

    with at_call(scene.table, number, be_slow) as made:
        scene.management.change_plan("sub 1", "seven", scene.clock.now - 2 * HOUR)
    scene.through()
    scene.check()


@pytest.mark.parametrize(("old", "new"), [("MONTHLY", "DAILY"), ("DAILY", "MONTHLY"), ("WEEKLY", "DAILY")])
def test_a_line_item_has_another_price_with_a_billing_period_of_its_own(old: str, new: str) -> None:
    scene = Scene()
    for period in (old, new):
        scene.price(f"by {period}", "bytes", "1", billing_period=period)

    def put(period: str) -> None:
        start = format_instant(scene.begun - 28 * DAY)
        scene.sign_up(start=-40 * DAY, line_items=[{"price": f"by {period}", "id": "b", "start": start}])

    put(old)
    for before in (2 * HOUR, 27 * DAY):
        scene.event("bytes", before)
    scene.deliver()
    scene.clock.now += MINUTE
    put(new)
    scene.through()
    scene.check()


def test_of_two_subscriptions_one_gets_a_meter_that_cannot_read_an_event() -> None:
    """The other one still counts it: it is listed as read in part. When that ends, as not read at all."""
    scene = Scene()
    scene.sign_up(**of("packets"))
    scene.sign_up("2", external_id="ext 2", **of("packets"))
    scene.event("bytes", subject=CUSTOMERS, value="no number")
    scene.deliver()
    scene.clock.now += MINUTE
    scene.sign_up(**of("bytes"))
    scene.through()
    scene.check()
    scene.management.end("sub 2", scene.begun - 3 * HOUR)
    scene.through()
    scene.check()


def test_what_no_meter_could_read_counts_by_another_line_item() -> None:
    scene = Scene()
    scene.sign_up(**of("bytes"))
    scene.event("bytes", value="no number")
    scene.deliver()
    scene.clock.now += MINUTE
    scene.sign_up(**of("packets"))
    scene.through()
    scene.check()


def test_what_is_listed_for_a_line_item_to_come_stays_listed_when_another_recount_ends() -> None:
    """Two subscriptions of a customer: one gets a meter that cannot read an event, and the other loses it."""
    scene = Scene()
    scene.sign_up(**of("packets", "level"))
    scene.sign_up("2", external_id="ext 2", **of("packets"))
    for name in ("bytes", "level"):
        scene.event(name, 2 * DAY, CUSTOMERS)
    scene.deliver()
    scene.clock.now += MINUTE
    begun = [{"price": f"{name} at 1"} for name in ("packets", "level")]
    scene.management.merge("subscription", "sub 2", {"line_items": begun})
    scene.pass_time(10)
    scene.event("level", HOUR, CUSTOMERS, value="no number")
    scene.deliver()
    ended = scene.management.merge("subscription", "sub 1", {"line_items": begun[:1]}).recount
    assert ended is not None
    scene.clock.now += MINUTE
    until = scene.clock.now + HOUR
    carry_on(scene.table, keys.recount(ORGANIZATION.id, ended.id), scene.clock, until, scene.pass_time)
    scene.through()
    scene.check()


@pytest.mark.parametrize("counted_anew", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda scene: scene.management.merge("subscription", "sub 1", {"end": None}),
        lambda scene: scene.management.merge(
            "subscription", "sub 1", {"end": format_instant(scene.begun + 9 * DAY)}
        ),
    ],
    ids=["goes on", "ends later"],
)
def test_the_clock_goes_by_the_edition_that_is_read(
    change: Callable[[Scene], object], *, counted_anew: bool
) -> None:
    """What recurs comes to an end before the next billing period, as it is known: it must be woken to go on."""
    scene = Scene()
    scene.sign_up(end=format_instant(scene.begun + DAY))
    for name in ("seats", "level", "known", "flow"):
        scene.event(name)
    scene.deliver()
    scene.clock.now += MINUTE
    if counted_anew:
        scene.management.change_plan("sub 1", "seven", scene.clock.now - 2 * HOUR)
        scene.through()
    change(scene)
    scene.clock.now += 12 * DAY
    scene.check()


def test_what_the_rollups_do_not_take_keeps_the_recount_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the new price an amount has more digits than the table keeps: that is told, and tried again."""
    monkeypatch.setattr("support.memory_table.DIGITS", 16)
    scene = Scene()
    scene.sign_up(**of("bytes"))
    scene.event("bytes", 2 * HOUR)
    large = scene.event("bytes", value=3 * 10**15 + 1)
    scene.deliver()
    scene.clock.now += MINUTE
    scene.sign_up(line_items=[{"price": "bytes at 7"}])
    for _ in range(2):
        scene.clock.now += MINUTE
        scene.recount_once()
        (recount,) = read_recounts(scene.table, ORGANIZATION.id)
        ((name, reason),) = recount.reasons
        assert (recount.done_at, recount.refused, name) == (None, 1, "sub 1")
        assert reason.startswith("meter bytes: a number of more than 16")
    scene.folding.withdraw(large, scene.clock.now)
    scene.usage.remove(large)
    scene.deliver()
    scene.through()
    (recount,) = read_recounts(scene.table, ORGANIZATION.id)
    assert (recount.refused, recount.reasons) == (0, ())
    scene.check()


def test_what_a_recount_waits_for_is_told_and_the_others_do_not_wait_behind_it() -> None:
    scene = Scene()
    for name in ("1", "2"):
        scene.sign_up(name, external_id=f"ext {name}", **of("bytes"))
    scene.event("bytes", 2 * HOUR, CUSTOMERS)
    scene.deliver()
    scene.clock.now += MINUTE
    for name in ("1", "2"):
        scene.management.end(f"sub {name}", scene.clock.now - 3 * HOUR)
    scene.clock.now += MINUTE
    profile = keys.organization(ORGANIZATION.id, "profile")
    scene.table.update(profile, "SET gen_next = :g, cut_next = :c", {":g": {"S": "2"}, ":c": {"N": "1"}})
    begun = scene.clock.now
    scene.recount_once()
    assert scene.clock.now - begun < 2 * MINUTE, "one of them has waited"
    waiting = [each for each in read_recounts(scene.table, ORGANIZATION.id) if each.waits_for]
    assert [each.waits_for for each in waiting] == [
        "a rebuild was stopped: run rebuild again, or give it up, first"
    ]
    scene.table.update(profile, "REMOVE gen_next, cut_next", {})
    scene.through()
    assert [each.waits_for for each in read_recounts(scene.table, ORGANIZATION.id)] == ["", ""]
    scene.check()

"""Events of a customer that is purged, which the stream delivers late, or somebody else has the ids of by then."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from meterstone.store.catalogue.accounts import read_account
from meterstone.store.dynamodb.lease import BusyError, Lease
from meterstone.store.events.log import read_log
from meterstone.store.events.unmatched import list_unmatched
from meterstone.store.operations.purge import PurgeReport, _Purge, purge
from meterstone.store.operations.purge_records import read_purges
from meterstone.store.operations.rebuild import Surroundings, rebuild
from meterstone.usage.arrival import AHEAD, Subject
from meterstone.usage.instant import DAY, HOUR, MINUTE, format_instant
from meterstone.usage.meter import Event
from support.life import START, at_call
from support.memory_table import Faults, Killed
from support.purged import RECORD, deliver, first_format, purge_meanwhile, to_be_purged, used_again
from support.recounts import EVERY, OWN, Scene
from support.scenario import ORGANIZATION, Usage


def rebuilt_alike(scene: Scene) -> bool:
    """Tell whether a rebuild finds nothing else."""
    clock = type(scene.clock)(scene.clock.now)
    return rebuild(scene.table.copy(), ORGANIZATION.id, clock.around).differences == []


@pytest.mark.parametrize("moment", range(0, 24, 2))
@pytest.mark.parametrize("ahead", [0, AHEAD], ids=["in time", "by a clock that is ahead"])
def test_an_event_that_was_purged_is_delivered_when_another_has_the_id(ahead: int, moment: int) -> None:
    """The next owner has the id from before the event on. It stays the event of who was purged."""
    scene, known = to_be_purged()
    began = scene.clock.now

    def come() -> None:
        scene.clock.now += ahead
        scene.event("bytes", ahead)
        scene.clock.now -= ahead

    report = purge_meanwhile(scene, moment, come)
    used_again(scene, report, known, start=began - HOUR)
    deliver(scene)
    scene.event("bytes", 0)
    deliver(scene)
    scene.check()


@pytest.mark.parametrize("owner", [True, False], ids=["another has the id", "nobody has the id"])
@pytest.mark.parametrize("value", [3, 1], ids=["the same event", "another event"])
def test_an_event_of_the_same_transaction_is_another_one(value: int, *, owner: bool) -> None:
    """The transaction id of a purged event is free. Old and new event come in one batch."""
    scene, known = to_be_purged()
    began, old = scene.clock.now, list[Usage]()
    report = purge_meanwhile(scene, 8, lambda: old.append(scene.event("bytes", 0)))
    moved = [Usage(new, each.event) for _, new in report.names.subjects for each in read(scene, new)]
    if owner:
        used_again(scene, report, known, start=began - HOUR)
    scene.clock.now += MINUTE
    at = old[0].event.at if value == 3 else scene.clock.now
    again = Usage(OWN, Event(old[0].event.id, "bytes", at, {"value": value, "who": "w"}))
    scene.folding.post(again, scene.clock.now)
    other = scene.event("bytes", HOUR, Subject.subscription("ext 9"))
    deliver(scene)
    assert all(shard.acknowledged == len(shard.records) for shard in scene.folding.stream.shards)
    assert rebuilt_alike(scene)
    if owner:
        scene.usage = [*moved, again, other]
        scene.clock.now += MINUTE
        scene.check()


def read(scene: Scene, subject: Subject) -> list[Any]:
    return list(read_log(scene.table, ORGANIZATION.id, subject))


def test_a_withdrawal_that_is_delivered_late_is_not_that_of_the_next_owner_s_event() -> None:
    scene = Scene()
    scene.sign_up()
    withdrawn = scene.event("bytes")
    deliver(scene)
    scene.clock.now += 10 * MINUTE
    scene.management.end("sub 1", scene.clock.now)
    scene.through()
    scene.clock.now += 49 * HOUR
    scene.folding.withdraw(withdrawn, scene.clock.now)
    purge(scene.table, ORGANIZATION.id, "cust 0", scene.clock.around)
    scene.clock.now += 6 * MINUTE
    scene.folding.post(withdrawn, scene.clock.now)
    deliver(scene)
    scene.management.put("customer", "cust 0", {"country": "DE", "customer_type": "company"})
    record = RECORD | {"start": format_instant(scene.clock.now - 60 * DAY)}
    scene.management.put("subscription", "sub 2", record)
    scene.through()
    scene.roll()
    scene.usage = [withdrawn]
    scene.clock.now += MINUTE
    scene.check()


@pytest.mark.slow
def test_killed_at_any_write_it_counts_what_it_has_moved() -> None:
    """What comes in after the log was moved is moved once more: killed then, a purge rebuilds when it goes on."""
    gone_on = 0
    for number in range(400):
        scene, _ = to_be_purged()
        waits: list[float] = []

        def sleep(seconds: float, scene: Scene = scene, waits: list[float] = waits) -> None:
            scene.pass_time(seconds)
            waits.append(seconds)
            if len(waits) == 9:
                scene.event("bytes", 50 * HOUR)

        begun = scene.table.writes
        scene.table.faults = Faults(before=begun + number)
        with suppress(Killed):
            purge(scene.table, ORGANIZATION.id, "cust 0", Surroundings(scene.clock, sleep))
        scene.table.faults = Faults()
        scene.clock.now += 3 * MINUTE
        if len(waits) >= 9 and read_purges(scene.table, ORGANIZATION.id):
            purge(scene.table, ORGANIZATION.id, "cust 0", scene.clock.around)
            deliver(scene)
            assert rebuilt_alike(scene), number
            gone_on += 1
        if scene.table.writes - begun < number:
            break
    assert gone_on > 30


@pytest.mark.slow
def test_in_stored_format_1_a_function_that_remembers_the_customer_counts_nothing_for_it() -> None:
    """The version by which that format counts is the catalogue's."""
    left = 0
    for number in range(0, 3000, min(EVERY, 5)):
        scene = first_format(end=format_instant(START + 14 * DAY + HOUR))
        scene.clock.now += 3 * DAY
        scene.folding.drain(scene.clock.now, 50)
        for shard in scene.folding.stream.shards:
            # Of an event of each subject: the function remembers them then.
            last = len(shard.records)
            scene.folding.deliver(shard, max(shard.acknowledged - 6, 0), last, scene.clock.now, 0)

        def come(scene: Scene = scene) -> None:
            scene.event("bytes", 4 * DAY)
            deliver(scene)

        with at_call(scene.table, number, come) as made, suppress(BusyError):
            purge(scene.table, ORGANIZATION.id, "cust 0", scene.clock.around)
        if len(made) <= number:
            break
        account = read_account(scene.table, ORGANIZATION.id, consistent=True)
        if account is None or not account.purges:
            continue
        deliver(scene)
        waiting = [
            each.event.id for each in list_unmatched(scene.table, ORGANIZATION.id) if each.subject == OWN
        ]
        assert waiting == [each.event.id for each in read(scene, OWN)], number
        assert rebuilt_alike(scene), number
        assert not [key for key in scene.table.items() if key.pk.endswith("#usage#sub 1")], number
        left += len(waiting)
    assert left


def all_but_the_end(
    scene: Scene, patched: pytest.MonkeyPatch
) -> tuple[PurgeReport, list[Callable[[], object]]]:
    """Purge the customer, and give what the purge does last."""
    kept: list[Callable[[], object]] = []
    close, release = _Purge._close, Lease.release
    patched.setattr(_Purge, "_close", lambda *given: kept.append(lambda: close(*given)))
    patched.setattr(Lease, "release", lambda lease: kept.append(lambda: release(lease)))
    return purge(scene.table, ORGANIZATION.id, "cust 0", scene.clock.around), kept


def test_the_next_owner_is_put_at_any_call_of_a_delivery_that_began_before_the_purge_was_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The function has read the profile, and comes to the next owner by the version that the one before had."""
    for number in range(20):
        scene = Scene()
        scene.sign_up()
        scene.event("bytes")
        deliver(scene)
        scene.clock.now += 10 * MINUTE
        scene.management.end("sub 1", scene.clock.now)
        scene.through()
        ended = scene.clock.now
        scene.clock.now += 49 * HOUR
        with monkeypatch.context() as patched:
            report, kept = all_but_the_end(scene, patched)
        scene.usage = [
            Usage(new, each.event) for _, new in report.names.subjects for each in read(scene, new)
        ]
        scene.event("bytes", scene.clock.now - ended + MINUTE)

        def end(scene: Scene = scene, kept: list[Callable[[], object]] = kept) -> None:
            for step in kept:
                step()
            scene.management.put("customer", "cust 0", {"country": "DE", "customer_type": "company"})
            record = RECORD | {"start": format_instant(scene.clock.now - 60 * DAY)}
            scene.management.put("subscription", "sub 2", record)

        with at_call(scene.table, number, end) as made:
            deliver(scene)
        if len(made) <= number:
            return
        scene.roll()
        scene.clock.now += MINUTE
        scene.check()
    raise AssertionError("a delivery makes more calls than were tried")


def test_the_latest_of_one_instant_stays_the_latest_if_one_came_in_before_the_names_were_changed() -> None:
    scene = Scene()
    scene.sign_up()
    at = scene.clock.now - HOUR

    def come(transaction: str, value: int) -> None:
        scene.folding.post(
            Usage(OWN, Event(transaction, "latest", at, {"value": value, "who": "w"})), scene.clock.now
        )
        deliver(scene)

    come("b", 5)
    scene.clock.now += 10 * MINUTE
    scene.management.end("sub 1", scene.clock.now)
    scene.through()
    scene.clock.now += 49 * HOUR
    report = purge_meanwhile(scene, 0, lambda: come("a", 9))
    scene.usage = [Usage(new, each.event) for _, new in report.names.subjects for each in read(scene, new)]
    assert [
        each.event.properties["value"] for each in sorted(scene.usage, key=lambda each: each.event.id)
    ] == [9, 5]
    scene.check()

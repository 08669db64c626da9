"""A customer is purged while usage is counted anew, or something is put by who has not seen that."""

from typing import Any

import pytest

from meterstone.catalogue.errors import CatalogueBusyError
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.catalogue.recounts import read_recounts
from meterstone.store.dynamodb.lease import BusyError, leased
from meterstone.store.operations.purge import _Purge, purge
from meterstone.store.operations.purge_records import read_purges
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, HOUR, MINUTE, format_instant
from support.life import START, at_call
from support.recounts import Scene, stopped_at, subscribed
from support.scenario import ORGANIZATION

END = format_instant(START + 14 * DAY + HOUR)
PUTS: dict[str, dict[str, Any]] = {
    "another external id": {"external_id": "ext 2"},
    "line items": {"line_items": [{"price": f"{name} at 7"} for name in ("bytes", "seats", "calls")]},
    "another customer": {"customer": "cust 1"},
    "another plan": {"plan": "seven"},
}


def ended() -> Scene:
    """Give a subscription that has ended, and whose last event came in three days ago."""
    scene = subscribed(end=END)
    scene.through()
    scene.clock.now += 3 * DAY
    scene.folding.drain(scene.clock.now, 50)
    scene.roll()
    return scene


def refused(scene: Scene, customer: str) -> None:
    """Purge a customer, which is refused, and nothing is left of it."""
    with pytest.raises(BusyError, match="is being counted anew"):
        purge(scene.table, ORGANIZATION.id, customer, scene.clock.around)
    assert not read_purges(scene.table, ORGANIZATION.id)


@pytest.mark.parametrize("put", PUTS)
def test_a_purge_waits_until_usage_is_counted_anew(put: str) -> None:
    scene = ended()
    scene.sign_up(end=END, **PUTS[put])
    refused(scene, "cust 0")
    scene.through()
    scene.check()


def test_a_purge_waits_for_what_is_on_its_way_to_the_customer() -> None:
    scene = ended()
    scene.sign_up("9", customer="cust 1", external_id="ext 9", end=END)
    scene.through()
    scene.sign_up(customer="cust 1", end=END)
    refused(scene, "cust 1")
    scene.through()
    scene.check()


@pytest.mark.parametrize("write", range(3, 24, 4))
def test_a_purge_waits_for_a_recount_that_was_stopped(write: int) -> None:
    """What counts no more after its flip is listed by it, and by nobody else."""
    scene = ended()
    scene.sign_up(end=END, external_id="ext 2")
    scene.clock.now += MINUTE
    assert stopped_at(scene, write, Scene.recount_once)
    scene.clock.now += 5 * MINUTE
    refused(scene, "cust 0")
    scene.through()
    scene.check()


def test_a_purge_does_not_wait_for_recounts_of_other_customers() -> None:
    scene = ended()
    scene.sign_up("9", customer="cust 1", external_id="ext 9")
    scene.event("bytes", subject=Subject.subscription("ext 9"))
    scene.deliver()
    scene.clock.now += MINUTE
    scene.sign_up("9", customer="cust 1", external_id="ext 9", plan="seven")
    assert any(each.done_at is None for each in read_recounts(scene.table, ORGANIZATION.id))
    assert purge(scene.table, ORGANIZATION.id, "cust 0", scene.clock.around).rebuilt


@pytest.mark.parametrize("put", [*PUTS, "its end is taken back", "one more"])
def test_a_purge_is_given_up_if_something_is_put_by_who_has_not_seen_it(put: str) -> None:
    """The purge writes its record at each call of the table that a put makes, is stopped, and goes on later."""
    name, fields = "1", PUTS.get(put, {})
    if put == "one more":
        # It has ended, too, and there is no event that could be counted anew.
        name, fields = "2", {"external_id": "ext 7", "start": 50 * MINUTE}
    end: dict[str, Any] = {} if put == "its end is taken back" else {"end": END}
    given_up = 0
    for number in range(100):
        scene = ended()

        def begin(scene: Scene = scene) -> None:
            with leased(scene.table, ORGANIZATION.id, "purge", scene.clock) as lease:
                begun = _Purge(scene.table, ORGANIZATION.id, lease, scene.clock.around)
                record = begun._new_record("cust 0")
                begun._transact([{"Put": {"TableName": scene.table.name, "Item": record.item()}}])

        with at_call(scene.table, number, begin) as made:
            try:
                scene.sign_up(name, **end, **fields)
            except CatalogueBusyError:
                # It has seen it.
                continue
        if len(made) <= number:
            assert given_up > 0
            return
        scene.clock.now += 3 * MINUTE
        with pytest.raises(BusyError):
            purge(scene.table, ORGANIZATION.id, "cust 0", scene.clock.around)
        assert not read_purges(scene.table, ORGANIZATION.id)
        # No event that comes in from now on is looked for in the log.
        account = read_account(scene.table, ORGANIZATION.id)
        assert account is not None
        assert account.purged_until < scene.clock.now + HOUR
        scene.through()
        scene.check()
        given_up += 1
    raise AssertionError("a put makes more calls")

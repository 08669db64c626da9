"""Warm functions remember subscriptions by a version: where versions begin anew, they must read again."""

from collections.abc import Callable

import pytest

from meterstone.store.catalogue.accounts import read_account
from meterstone.store.catalogue.records import encode_document
from meterstone.store.catalogue.subscriptions import list_subscriptions, read_meters
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import key_item
from meterstone.store.events.log import read_log
from meterstone.store.operations.purge import PurgeReport, purge
from meterstone.usage.instant import HOUR, MINUTE, format_instant
from meterstone.usage.subscription import Customer, Dated
from support.first_format import in_first_format
from support.life import at_call
from support.recounts import NAMES, OWN, SECOND, Scene, subscribed
from support.scenario import ORGANIZATION, Scenario, Usage

RECORD = {"customer": "cust 0", "external_id": "ext 1", "currency": "USD", "plan": "one"}


def version(scene: Scene) -> int:
    """Return the version of the subscription's external id."""
    row = scene.table.get(keys.subject(ORGANIZATION.id, *OWN), consistent=True) or {}
    return int(row["ver"].N or 0) if "ver" in row else 0


def deliver(scene: Scene, container: int = 0) -> None:
    """Deliver what was not delivered yet, and nothing again."""
    for shard in scene.folding.stream.shards:
        if shard.acknowledged < len(shard.records):
            now, records = scene.clock.now, len(shard.records)
            scene.folding.deliver(shard, shard.acknowledged, records, now, container)


def to_be_purged() -> tuple[Scene, int]:
    """Give a subscription that has ended long ago, and by which version a warm function has counted for it."""
    scene = Scene()
    scene.sign_up()
    scene.event("bytes")
    deliver(scene)
    known = version(scene)
    scene.clock.now += 10 * MINUTE
    scene.management.end("sub 1", scene.clock.now)
    scene.through()
    scene.clock.now += 49 * HOUR
    return scene, known


def used_again(scene: Scene, report: PurgeReport, known: int, start: int | None = None) -> None:
    """Have the ids used by another, whose external id comes to the version that is known."""
    scene.usage = [
        Usage(new, each.event)
        for _, new in report.names.subjects
        for each in read_log(scene.table, ORGANIZATION.id, new)
    ]
    scene.management.put("customer", "cust 0", {"country": "DE", "customer_type": "company"})
    record = RECORD | {"start": format_instant(scene.clock.now if start is None else start)}
    scene.management.put("subscription", "sub 2", record)
    while version(scene) < known:
        scene.management.put("subscription", "sub 2", record | {"name": f"{version(scene)}"})
    assert version(scene) == known
    scene.clock.now += MINUTE


def test_an_id_of_a_purged_customer_is_used_again() -> None:
    scene, known = to_be_purged()
    used_again(scene, purge(scene.table, ORGANIZATION.id, "cust 0", scene.clock.around), known)
    scene.event("bytes", 0)
    deliver(scene)
    scene.check()


def purge_meanwhile(scene: Scene, moment: int, do: Callable[[], object]) -> PurgeReport:
    """Purge the customer, and do something in one of the pauses."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        scene.pass_time(seconds)
        waits.append(seconds)
        if len(waits) == moment + 1:
            do()

    around = type(scene.clock.around)(scene.clock, sleep)
    return purge(scene.table, ORGANIZATION.id, "cust 0", around)


@pytest.mark.parametrize("moment", range(0, 24, 3))
def test_an_event_comes_for_the_old_id_while_it_is_purged(moment: int) -> None:
    """The function remembers then that nobody has the id, by a version that the next owner comes to, too."""
    scene, _ = to_be_purged()
    seen: list[int] = []

    def come() -> None:
        scene.event("bytes", 0)
        deliver(scene)
        seen.append(version(scene))

    report = purge_meanwhile(scene, moment, come)
    if not seen:
        return
    used_again(scene, report, max(seen[0], 2))
    scene.event("nothing", 0)
    deliver(scene, 1)
    scene.roll()
    scene.clock.now += MINUTE
    scene.event("bytes", 0)
    deliver(scene)
    scene.check()


@pytest.mark.parametrize("moment", range(0, 24, 2))
def test_an_event_that_was_purged_is_delivered_when_another_has_the_id(moment: int) -> None:
    """The next owner has the id from before the event on. It stays the event of who was purged."""
    scene, known = to_be_purged()
    began = scene.clock.now
    report = purge_meanwhile(scene, moment, lambda: scene.event("bytes", 0))
    used_again(scene, report, known, start=began - HOUR)
    deliver(scene)
    scene.event("bytes", 0)
    deliver(scene)
    scene.check()


def first_format() -> Scene:
    """Give a subscription that was counted by code of before, in stored format 1."""
    scene = subscribed()
    subscriptions = tuple(list_subscriptions(scene.table, ORGANIZATION.id))
    meters = read_meters(scene.table, ORGANIZATION.id, consistent=True)
    scene.world.scenario = Scenario(meters, subscriptions, (), scene.clock.now)
    scene.table.settle()
    in_first_format(scene.world)
    for name in ("cust 0", "cust 1", "cust 2"):
        customer = Customer(name, "", None, (Dated("DE"),), (Dated("company"),))
        item = {"id": {"S": name}, "doc": {"S": encode_document(customer)}}
        scene.table.put(key_item(keys.catalogue(ORGANIZATION.id, "customer", name)) | item)
    scene.folding.folds = [type(each)(scene.table) for each in scene.folding.folds]
    account = read_account(scene.table, ORGANIZATION.id, consistent=True)
    assert account is not None
    scene.world.account = account
    scene.clock.now += 2 * MINUTE
    return scene


@pytest.mark.parametrize("loaded", [2, 3, 4])
def test_the_version_of_a_subject_is_not_taken_for_that_of_the_catalogue_of_before(loaded: int) -> None:
    """An organization is upgraded, and usage is counted anew: an event comes after the cut."""
    for call in range(0, 100, 9):
        scene = first_format()
        profile = keys.organization(ORGANIZATION.id, "profile")
        scene.table.update(profile, "SET ver = :v", {":v": {"N": str(loaded)}})
        scene.event("bytes")
        deliver(scene)
        scene.clock.now += MINUTE
        for name in (*NAMES, "packets"):
            for amount in ("1", "7"):
                scene.price(f"{name} at {amount}", name, amount)
        scene.sign_up(line_items=[{"price": f"{name} at 7"} for name in ("bytes", "calls", "peak")])
        scene.clock.now += 10 * SECOND
        scene.event("bytes", 0)
        with at_call(scene.table, call, lambda scene=scene: deliver(scene)) as made:  # type: ignore[misc]
            scene.through()
        scene.check()
        if len(made) <= call:
            return

"""A customer that is purged beside its stream, and one that was counted by code of before."""

from collections.abc import Callable
from typing import Any

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
from support.recounts import OWN, Scene, subscribed
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


def first_format(**more: Any) -> Scene:
    """Give a subscription that was counted by code of before, in stored format 1."""
    scene = subscribed(**more)
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

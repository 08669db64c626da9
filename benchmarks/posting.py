"""Events through the whole way in, in this process: the ingest function as it ships, the fold of the stream."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any
from unittest import mock

from benchmarks import world
from benchmarks.engine import ROOT
from benchmarks.filling import catalogue
from benchmarks.handlers import Nowhere, load

from meterstone import clock
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.counting.stream import StreamFold, StreamReport
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item, key_item
from meterstone.store.events.ingest import Intake
from meterstone.usage.instant import SECOND, format_instant
from meterstone.usage.meter import Meter
from meterstone.usage.subscription import Subscription
from support.memory_table import MemoryTable

type Posted = dict[str, Any]

#: As Lambda names them.
SHARD = "shardId-00000001700000000000-0a1b2c3d"
_GOOD = frozenset({200, 202})
_FIRST = 7_000_000_000_000_000_000_000


class StreamedTable(MemoryTable):
    """A table with a stream: it keeps new events until they are taken."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: list[Item] = []

    def _store(self, key: Key, item: Item | None) -> None:
        if item is not None and "#events#" in key.pk:
            self.arrived.append(key_item(key) | item)
        super()._store(key, item)


class WayIn:
    """One organization: its events are posted to the ingest function and folded from what that stored."""

    def __init__(
        self,
        table: StreamedTable,
        subscriptions: Sequence[Subscription],
        meters: tuple[Meter, ...] = world.METERS,
    ) -> None:
        """Write the catalogue into an empty table."""
        catalogue(table, subscriptions, meters)
        self.table = table
        self._key, _ = create_key(table, world.ORGANIZATION.id, world.KEY_NAME, world.NOW)
        self._function = _ingest(table)
        self._fold = StreamFold(table)
        self._delivered = _FIRST
        self._subscriptions = subscriptions
        self._meter = meters[0]

    def post(self, name: str, body: Posted, now: int) -> None:
        """Post a body as the example ``events/ingest_events.<name>.json`` is posted."""
        with mock.patch.object(clock, "now", return_value=now):
            reply = self._function.handler(request(name, body, self._key), None)
        if reply["statusCode"] not in _GOOD:
            raise RuntimeError(reply["body"])

    def lago(self, place: int, at: int) -> Posted:
        """Give an event in Lago's shape, of each subscription in turn, for the first meter."""
        subscription, meter = self._subscriptions[place % len(self._subscriptions)], self._meter
        return {
            "transaction_id": f"{at}-{place}",
            "code": meter.event_name,
            "external_subscription_id": subscription.external_id,
            "timestamp": at // SECOND,
            "properties": properties(meter),
        }

    def flexprice(self, place: int, at: int) -> Posted:
        """Give an event in Flexprice's shape, of each customer in turn, for the first meter."""
        subscription, meter = self._subscriptions[place % len(self._subscriptions)], self._meter
        return {
            "event_name": meter.event_name,
            "external_customer_id": subscription.customer_id,
            "event_id": f"{at}-{place}",
            "timestamp": format_instant(at),
            "properties": properties(meter),
        }

    def fold(self, now: int) -> StreamReport:
        """Deliver all that was logged since the last time, in one batch."""
        images, self.table.arrived = self.table.arrived, []
        self._delivered += len(images)
        return self._fold.fold(records(images, self._delivered), SHARD, now)


def records(images: Iterable[Item], first: int = _FIRST) -> list[dict[str, Any]]:
    """Give images of new items as the stream's records."""
    return [
        {
            "eventID": f"{number:032x}",
            "eventName": "INSERT",
            "eventSource": "aws:dynamodb",
            "dynamodb": {
                "Keys": {"pk": image["pk"], "sk": image["sk"]},
                "NewImage": image,
                "SequenceNumber": str(number),
                "StreamViewType": "NEW_IMAGE",
            },
        }
        for number, image in enumerate(images, first)
    ]


def properties(meter: Meter) -> Posted:
    """Give what a meter counts of an event, beside what events often have."""
    return ({} if meter.field is None else {meter.field: 1234}) | {"region": "eu-central-1", "model": "large"}


def request(name: str, body: Posted, key: str) -> dict[str, Any]:
    """Give a request as API Gateway sends it."""
    event: dict[str, Any] = json.loads((ROOT / f"events/ingest_events.{name}.json").read_text())
    headers: Mapping[str, str] = {"Authorization": f"Bearer {key}", "x-api-key": key}
    for header, value in headers.items():
        if header in event["headers"]:
            event["headers"][header] = value
            event["multiValueHeaders"][header] = [value]
    return event | {"body": json.dumps(body), "isBase64Encoded": False}


def _ingest(table: MemoryTable) -> ModuleType:
    with (
        mock.patch.object(sys, "stdout", Nowhere()),
        mock.patch.object(Intake, "from_environment", return_value=Intake(table)),
    ):
        return load("ingest_events")

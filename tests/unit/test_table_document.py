"""That every item which `docs/table.md` shows stands in a table in which just that happened which it tells."""

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterstone.catalogue.management import KindOfRecord, Management
from meterstone.contracts.catalogue_records import record_of
from meterstone.store.catalogue import api_keys
from meterstone.store.counting.stream import StreamFold
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item
from meterstone.store.events import log
from meterstone.store.events.log import EventLog
from meterstone.store.operations.rebuild import rebuild
from meterstone.usage.arrival import Arrival, Subject
from meterstone.usage.calendar import BucketSize
from meterstone.usage.instant import SECOND, parse_instant
from meterstone.usage.meter import Aggregation, Event, Meter, Property
from support.memory_table import MemoryTable
from support.recovering import Clock, refresh
from support.scenario import ORGANIZATION, Scenario, Usage, World

DOCUMENT = Path(__file__).parents[2] / "docs/table.md"
SHARD = "shardId-00000001605549423000-7b1c0e1f"
FIRST_NUMBER = 100_000_000_003_498_069_978

START = parse_instant("2024-01-01T00:00:00+01:00")
TOKENS = Meter("tokens", "tokens", "Tokens", Aggregation.SUM, "request", "tokens")
USERS = Meter("users", "users", "Users", Aggregation.COUNT_UNIQUE, "request", "user")
PEAKS = Meter("peaks", "peaks", "Peaks", Aggregation.MAX, "request", "tokens", bucket_size=BucketSize.HOUR)
SEATS = Meter("seats", "seats", "Seats", Aggregation.SUM, "seats", "seats", recurring=True)
PRICES = {"tokens": "0.01", "users": "1", "peaks": "0.001", "seats": "10"}
METERS = (TOKENS, USERS, PEAKS, SEATS)
OF_PRO: dict[str, object] = {
    "customer": "acme-corp",
    "plan": "pro",
    "currency": "EUR",
    "start": "2024-01-01T00:00:00+01:00",
}


def _price(meter: str, amount: str) -> dict[str, object]:
    return {"currency": "EUR", "billing_model": "FLAT_FEE", "amount": amount, "meter_id": meter}


RECORDS: list[tuple[KindOfRecord, str, dict[str, object]]] = [
    *(("meter", meter.id, record_of(meter)) for meter in METERS),
    *(("price", meter, _price(meter, amount)) for meter, amount in PRICES.items()),
    ("plan", "pro", {"name": "Pro", "prices": ["tokens"]}),
    ("customer", "acme-corp", {"country": "DE", "customer_type": "company", "timezone": "Europe/Berlin"}),
    (
        "subscription",
        "acme",
        OF_PRO | {"external_id": "acme-ext", "line_items": [{"price": each} for each in PRICES]},
    ),
    ("subscription", "probe", OF_PRO | {"external_id": "probe-ext"}),
]
OF_ACME = Subject.subscription("acme-ext")


def usage(ident: str, name: str, at: str, subject: Subject = OF_ACME, **properties: Property) -> Usage:
    return Usage(subject, Event(ident, name, parse_instant(at), properties))


class Story:
    """A table in which all that the document tells has happened, in its order."""

    def __init__(self) -> None:
        self.clock = Clock(parse_instant("2024-01-10T09:00:00Z"))
        self.table = MemoryTable()
        self.world = World(Scenario((), (), (), START), self.table)
        management = Management(self.table, ORGANIZATION.id, self.clock)
        for kind, name, record in RECORDS:
            management.put(kind, name, record)
        refresh(self.world)
        self._number = FIRST_NUMBER

    def post(self, now: str, *several: Usage) -> None:
        """Take events in over HTTP, and deliver them a second later."""
        self.clock.now = parse_instant(now)
        records = []
        for each in several:
            arrival = Arrival.of(each.subject, each.event, self.clock.now, {}, dated=True)
            EventLog(self.table, ORGANIZATION.id).append_each({0: arrival})
            image = self.table.items()[keys.event(ORGANIZATION.id, *each.subject, each.event.id)]
            records.append(self._record(image))
        self.clock.now += SECOND
        self.deliver(records)

    def deliver(self, records: Sequence[dict[str, Any]]) -> None:
        StreamFold(self.table).fold(records, SHARD, self.clock.now)

    def poison(self) -> None:
        """Deliver a record whose event has lost its name."""
        self.deliver([self._record({"e": {"S": "[]"}, "acc": {"N": "0"}})])

    def load(self, now: str, *several: Usage) -> None:
        """Import a file."""
        self.clock.now = parse_instant(now)
        self.world.load("usage.csv", several, self.clock.now)

    def roll(self, now: str) -> None:
        """Let the clock publish, as it does every hour."""
        self.clock.now = parse_instant(now)
        self.world.roll(self.clock.now)

    def _record(self, image: Item) -> dict[str, Any]:
        self._number += 1
        return {"eventName": "INSERT", "dynamodb": {"SequenceNumber": str(self._number), "NewImage": image}}


@pytest.fixture(scope="module")
def items() -> dict[str, list[dict[str, Any]]]:
    """Give the items of the table, and those of a rebuild, by their kind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secrets.token_bytes", bytes)
        patch.setattr("secrets.token_hex", lambda _: "5e2f0c7a91d3")
        patch.setattr(log, "token_hex", lambda _: "c0ffee42")
        story = Story()
        _, key_id = api_keys.create_key(story.table, ORGANIZATION.id, "ci", story.clock.now)
        api_keys.revoke_key(story.table, key_id, parse_instant("2024-03-01T12:00:00Z"))
        story.post(
            "2024-01-10T09:20:00Z",
            usage("seats-1", "seats", "2024-01-10T08:00:00Z", seats=3),
            usage("r-1", "request", "2024-01-10T09:15:00Z", tokens=1200, user="ana"),
            usage("r-2", "request", "2024-01-10T09:18:30Z", tokens=300, user="ben"),
            usage("r-3", "request", "2024-01-10T09:19:00Z", Subject.customer("newcomer"), tokens=7),
        )
        story.poison()
        story.load(
            "2024-01-12T06:00:00Z",
            usage("f-1", "request", "2024-01-11T11:00:00Z", tokens=500, user="ana"),
        )
        story.roll("2024-02-01T00:30:00Z")
        story.post(
            "2024-02-05T10:00:00Z",
            usage("seats-2", "seats", "2024-02-05T09:00:00Z", seats=2),
            usage("seats-3", "seats", "2024-02-05T09:30:00Z"),
        )
        story.roll("2024-03-01T00:30:00Z")
        found = dict(story.table.items())
        rebuild(story.table, ORGANIZATION.id, story.clock.around)
        after = {
            key: item for key, item in story.table.items().items() if _kind(key) in ("scanned", "profile")
        }
    several: dict[str, list[dict[str, Any]]] = {}
    for key, item in (*found.items(), *after.items()):
        several.setdefault(_kind(key), []).append({"pk": key.pk, "sk": key.sk} | _plain(item))
    return several


def _kind(key: Key) -> str:
    """Name the kind of an item: the part of its partition key that says it, or the letter of its sort key."""
    parts = [each for each in key.pk.split("#") if each != ORGANIZATION.id and not each.isdigit()]
    if parts[0] == "organization":
        return key.sk
    return f"usage {key.sk[0]}" if parts[0] == "usage" else parts[0]


def _plain(item: Item) -> dict[str, Any]:
    """Give an item as the document shows it: documents as JSON, not as its text."""
    return {
        name: _json(value["S"])
        if name in ("doc", "terms", "revs")
        else value["S"]
        if "S" in value
        else Decimal(value["N"])
        for name, value in item.items()
    }


def _json(text: str) -> Any:
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


SHOWN = [
    _json(block)
    for block in re.findall(r"^```json\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
]


@pytest.mark.parametrize("shown", SHOWN, ids=[f"{each['pk']} {each['sk']}" for each in SHOWN])
def test_what_is_shown_stands_in_the_table(
    items: dict[str, list[dict[str, Any]]], shown: dict[str, Any]
) -> None:
    assert shown in items[_kind(Key(shown["pk"], shown["sk"]))]


def test_one_of_each_kind_is_shown(items: dict[str, list[dict[str, Any]]]) -> None:
    assert {_kind(Key(each["pk"], each["sk"])) for each in SHOWN} == items.keys()

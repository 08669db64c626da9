"""One subscription that counts calls, and batches of the stream's records that are folded for it."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from meterstone.pricing.price import BillingModel, Price
from meterstone.store.counting.stream import StreamReport
from meterstone.store.dynamodb import keys
from meterstone.store.events.log import Subject
from meterstone.usage.instant import DAY, parse_instant
from meterstone.usage.meter import Aggregation, Event, Meter, Properties
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.subscription import Dated, LineItem, Subscription
from support.memory_table import MemoryTable
from support.scenario import Scenario, Usage
from support.stream import Folding, Record

START = parse_instant("2024-03-01T00:00:00Z")
NOW = START + 10 * DAY
CALLS = Meter("calls", "calls", "", Aggregation.SUM, "call", "value")
PRICE = Price("flat", "usd", BillingModel.FLAT_FEE, amount=Decimal("0.25"), meter_id="calls")


def subscription(name: str, *items: LineItem) -> Subscription:
    """Give a subscription from the start on."""
    return Subscription(
        name, f"ext {name}", f"cust {name}", "usd", "UTC", START, None, BillingPeriod.MONTHLY, 1,
        BillingCycle.CALENDAR, START, (Dated("basic"),), (Dated("DE"),), (Dated("company"),), None, items,
    )  # fmt: skip


SUBSCRIPTION = subscription("a", LineItem("item", PRICE, START + DAY, START + 20 * DAY, CALLS))
SCENARIO = Scenario((CALLS,), (SUBSCRIPTION,), (), NOW)


def call(ident: str, at: int = START + 2 * DAY, name: str = "call", ext: str = "ext a", **more: Any) -> Usage:
    """Give an event of the subscription's."""
    properties: Properties = {"value": 1} | more
    return Usage(Subject.subscription(ext), Event(ident, name, at, properties))


def fold(folding: Folding, records: list[Record], now: int = NOW, shard: str = "shard") -> StreamReport:
    return folding.folds[0].fold(records, shard, now)


def records_of(folding: Folding, usage: Iterable[Usage], now: int = NOW) -> list[Record]:
    """Post events; give their records."""
    (shard,) = folding.stream.shards
    begin = len(shard.records)
    for each in usage:
        folding.post(each, now)
    return shard.records[begin:]


def partition(table: MemoryTable, pk: str) -> dict[str, dict[str, dict[str, str]]]:
    """Give a partition's items by sort key."""
    return {key.sk: item for key, item in table.items().items() if key.pk == pk}


def parse_day(at: int) -> int:
    return keys.parse_day("2024-03-01") + (at - START) // DAY


def spoil(name: str, value: dict[str, str] | None) -> Callable[[Record], None]:
    """Set an attribute of the image, or take it away."""

    def change(made: Record) -> None:
        image = made["dynamodb"]["NewImage"]
        if value is None:
            del image[name]
        else:
            image[name] = value

    return change

"""What both suites of stopped counting share: a rich scenario, and all that is stored of one."""

import json
from collections import defaultdict
from copy import replace
from decimal import Decimal
from typing import Any

from meterstone.pricing.money import add, whole
from meterstone.pricing.price import BillingModel, Price, Tier, TierMode
from meterstone.store.dynamodb.table import Attribute, Item, Row
from meterstone.store.events.log import Subject
from meterstone.usage.calendar import BucketSize
from meterstone.usage.instant import DAY, HOUR, parse_instant
from meterstone.usage.meter import Aggregation, Event, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.subscription import Dated, LineItem, Subscription
from support.memory_table import MemoryTable
from support.scenario import ORGANIZATION, Batch, Scenario, Usage, World

START = parse_instant("2024-01-15T09:27:43.123456Z")

_HOW_IT_CAME_TO_BE = {"v", "pos", "mov", "acc", "th", "l", "due_pk"}
#: A carried value, or level, of 0.
_NOTHING = ({"S": '"0"'}, {"S": '["0","0"]'})


def memory(world: World) -> MemoryTable:
    """Give the world's table."""
    assert isinstance(world.table, MemoryTable)
    return world.table


def row_of(item: Item) -> Row:
    """Return an item as it is read."""
    return {name: Attribute(**typed) for name, typed in item.items()}


def stored(table: MemoryTable, generation: str = "1") -> dict[str, Any]:
    """Return all that a generation has counted and published, without how it came to be.

    Left out are versions, positions, and how events are grouped in details; rollups are added up over their
    writers. How far a chain was carried on while its value was 0, which brings nothing, is left out, too.
    """
    found: dict[str, Any] = {}
    details: dict[str, list[Any]] = defaultdict(list)
    rollups: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    prefix = f"{ORGANIZATION.id}#{generation}#"
    for key, item in table.items().items():
        if not key.pk.startswith((prefix + "usage#", prefix + "rollup#")):
            continue
        pk = key.pk.removeprefix(prefix)
        name, kind = f"{pk} {key.sk}", key.sk.partition("#")[0]
        if pk.startswith("rollup#"):
            into = rollups[name.rpartition("#")[0]]
            for attribute in item.keys() - {"acc", "moved_at", "due_pk", "due_at"}:
                counted, worth = rolled_up(attribute, item[attribute]["N"])
                into[counted] = add(into[counted], worth)
        elif kind in ("E", "H"):
            _, item_id, *when = key.sk.split("#")
            start = parse_instant(when[0] if kind == "E" else f"{when[1]}T00:00:00Z")
            events = json.loads(item.get("e", {"S": "[]"})["S"])
            details[f"{pk} {item_id}"] += [[start + at, *rest] for at, *rest in events]
            if kind == "H":
                found[name] = {"h": item["h"]}
        else:
            kept = {each: item[each] for each in item.keys() - _HOW_IT_CAME_TO_BE}
            carries_nothing = kept.get("c") in _NOTHING and kept.keys() <= {"c", "d"}
            found[name] = {} if carries_nothing and kept.get("d") == {"S": "{}"} else kept
    found |= {name: {day: worth for day, worth in days.items() if worth} for name, days in rollups.items()}
    return {name: item for name, item in found.items() if item} | {
        name: sorted(events) for name, events in details.items()
    }


def rolled_up(attribute: str, number: str) -> tuple[str, Decimal]:
    """Give what a rollup's attribute is of, and what it adds: fractions of units are units.

    How units are parted depends on what came first: 1.5 is 1 and a half, or none and three halves.
    """
    if attribute[0] == "f":
        return "u" + attribute[1:], whole(0, Decimal(number))
    return attribute, Decimal(number)


def rich() -> Scenario:
    """Give a scenario with everything: chains, buckets, distinct values, two line items on each meter."""
    price = Price(
        "volume",
        "usd",
        BillingModel.TIERED,
        tier_mode=TierMode.VOLUME,
        tiers=(Tier(5, Decimal(2)), Tier(None, Decimal("0.333"), Decimal(1))),
    )
    daily = replace(price, id="daily", billing_period="DAILY")
    kinds: list[tuple[Aggregation, bool, BucketSize | None, Price]] = [
        (Aggregation.SUM, False, None, price),
        (Aggregation.SUM, True, None, daily),
        (Aggregation.COUNT_UNIQUE, True, None, daily),
        (Aggregation.COUNT_UNIQUE, False, None, price),
        (Aggregation.WEIGHTED_SUM, True, None, price),
        (Aggregation.MAX, False, BucketSize.HOUR, price),
    ]
    found = [
        Meter(
            f"meter {number}",
            f"code {number}",
            "",
            aggregation,
            "call",
            field="text" if aggregation is Aggregation.COUNT_UNIQUE else "value",
            recurring=recurring,
            bucket_size=size,
        )
        for number, (aggregation, recurring, size, _) in enumerate(kinds)
    ]
    items = [
        LineItem(
            f"{meter.id} {half}",
            replace(kind[3], id=f"{kind[3].id} {meter.id}", meter_id=meter.id),
            begin,
            end,
            meter,
        )
        for meter, kind in zip(found, kinds, strict=True)
        for half, begin, end in (("a", START, START + 6 * DAY + HOUR), ("b", START + 6 * DAY + HOUR, None))
    ]
    subscription = Subscription(
        "sub", "ext", "cust", "usd", "America/Chicago", START, None, BillingPeriod.WEEKLY, 1,
        BillingCycle.ANNIVERSARY, START, (Dated("basic"), Dated("pro", START + 8 * DAY)), (Dated("DE"),),
        (Dated("company"),), None, tuple(items),
    )  # fmt: skip
    offsets = [12, 0, 30, 170, 100, 3, 99, 400, 20, 0, 1000, 700]
    usage = [
        Usage(
            Subject.subscription("ext"),
            Event(
                f"e{number}", "call", START + offset * HOUR, {"value": number - 3, "text": f"t{number % 3}"}
            ),
        )
        for number, offset in enumerate(offsets)
    ]
    end = START + 90 * DAY
    return Scenario(
        tuple(found), (subscription,), (Batch(end, tuple(usage[:6])), Batch(end, tuple(usage[6:]))), end
    )

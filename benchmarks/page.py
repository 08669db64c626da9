"""A full page of 1 MB: what reading and decoding it takes beyond the transport.

The page comes over a kept-alive connection from a process that gives the same bytes to every request. The same
request by `http.client`, its body read and left alone, is the transport; what the store takes more is its own.
"""

import http.client
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from random import Random
from unittest import mock

import msgspec
from benchmarks import world
from benchmarks.figures import Figure, Part, cpu_ms
from benchmarks.sizes import item_size

from meterstone.store.catalogue.accounts import Account
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.packing import counter_key, pack_counter, pack_head, published, unpack_counter
from meterstone.store.dynamodb.table import Item, Table, key_item, text
from meterstone.store.reading.analytics import AnalyticsStore
from meterstone.usage.analytics import UsageQuery
from meterstone.usage.calendar import Granularity
from meterstone.usage.charge import ChargePeriod, Counter, DayAmount
from meterstone.usage.tally import Head, Tally, tally_key
from meterstone_cli.devserver import engine

_PAGE = 1024 * 1024
_BUDGET_MS = 15.0
_GENERATION = "1"
_DAYS = 31
_ALL_DAYS = UsageQuery(Granularity.MONTHLY, 1, 3_650_000)


def run(quick: bool) -> Part:  # noqa: FBT001 - every part is called alike
    """Both kinds of pages: counters and rollups."""
    rounds = 10 if quick else 50
    charges, counters = _counters()
    rollups = _rollups()
    by_name = {counter_key(charge, 0): charge for charge in charges}
    pk = keys.usage(world.ORGANIZATION.id, _GENERATION, charges[0].subscription.id)
    figures = []
    with _table(counters) as (table, transport):

        def rows() -> None:
            for _ in table.query(pk, "C#", "C$"):
                pass

        def states() -> None:
            for row in table.query(pk, "C#", "C$"):
                unpack_counter(by_name[text(row, "sk")], {0: row}, as_published=False)

        def worth() -> None:
            for row in table.query(pk, "C#", "C$"):
                for _ in published(row, 0):
                    pass

        figures += _beyond(
            transport,
            rounds,
            _page_of("counters", counters),
            [
                ("read and decoded", rows, _BUDGET_MS),
                ("and every day's state unpacked, to be measured", states, None),
                ("and every day's worth unpacked, to be listed", worth, None),
            ],
        )
    with _table(rollups) as (table, transport):
        store, account = AnalyticsStore(table), Account(world.ORGANIZATION, _GENERATION, world.METERS)

        def none() -> None:
            for _ in store.daily_usage(Account(world.ORGANIZATION, _GENERATION, ()), _ALL_DAYS, world.NOW):
                pass

        def days() -> None:
            for _ in store.daily_usage(account, _ALL_DAYS, world.NOW):
                pass

        figures += _beyond(
            transport,
            rounds,
            _page_of("rollups", rollups),
            [
                ("read and decoded", none, _BUDGET_MS),
                ("and every day's worth given, to be listed", days, None),
            ],
        )
    return Part(
        "page",
        figures,
        limits=[
            "counters: copying text out of JSON; unpacked, a Decimal for each of its 24,000 days",
            "rollups: 62 attributes an item, each a name to be matched and a number to be made",
        ],
    )


def _page_of(kind: str, items: list[Item]) -> tuple[str, dict[str, float]]:
    return f"page of {kind}", {"items": len(items), "bytes": sum(item_size(item) for item in items)}


def _beyond(
    transport: Callable[[], object],
    rounds: int,
    page: tuple[str, dict[str, float]],
    calls: list[tuple[str, Callable[[], object], float | None]],
) -> list[Figure]:
    """Time calls in turn with the transport alone, and give what each takes more."""
    name, beside = page
    alone: list[float] = []
    times: dict[str, list[float]] = {what: [] for what, _, _ in calls}
    for _ in range(rounds):
        alone += cpu_ms(transport, 1)
        for what, call, _ in calls:
            times[what] += cpu_ms(call, 1)
    figures = [Figure(f"{name}: transport alone", statistics.median(alone), "ms CPU")]
    figures += [
        Figure(
            f"{name}: {what}",
            statistics.median(times[what]) - statistics.median(alone),
            "ms CPU",
            budget,
            beside if place == 0 else {},
        )
        for place, (what, _, budget) in enumerate(calls)
    ]
    return figures


def _counters() -> tuple[list[ChargePeriod], list[Item]]:
    """Fill a page with monthly counters of one subscription, each day counted and published."""
    random = Random(4711)  # noqa: S311 - the same page in every run
    subscription = world.subscription(0, items=700)
    charges: list[ChargePeriod] = []
    items: list[Item] = []
    size = 0
    for item in subscription.line_items:
        for period in subscription.cadence(item).periods(world.START, world.NOW):
            charge = ChargePeriod(subscription, item, period)
            first = charge.zone.day_of(period.start)
            counter = Counter()
            for day in range(first, first + 30):
                units = Decimal(random.randrange(1000, 10_000_000))
                counter.days[day] = (units, 17) if charge.meter.aggregation == "AVG" else units
                counter.published[day] = DayAmount(units, random.randrange(10, 100_000))
            tally = Tally(
                tally_key(charge),
                charge.meter,
                Head(3, {"i0123456789abcdef": 4711}, {}, world.NOW),
                [charge],
                [],
            )
            pk = keys.usage(world.ORGANIZATION.id, _GENERATION, subscription.id)
            for sk, body in pack_counter(charge, counter).items():
                packed = (
                    key_item(Key(pk, sk)) | body | pack_head(world.ORGANIZATION.id, _GENERATION, tally, None)
                )
                size += item_size(packed)
                if size > _PAGE:
                    return charges, items
                items.append(packed)
            charges.append(charge)
    raise RuntimeError("a page holds more than there is")


def _rollups() -> list[Item]:
    """Fill a page with months of rollups in which every day has units and an amount."""
    random = Random(4711)  # noqa: S311 - the same page in every run
    pk = keys.rollup_partition(world.ORGANIZATION.id, _GENERATION, "PC", ("business", "DE"))
    items: list[Item] = []
    size = 0
    for number in range(100_000):
        month = f"{2000 + number // 12 % 50}-{number % 12 + 1:02}"
        sk = keys.rollup(month, "usd", world.METERS[number % len(world.METERS)].id, "company", number // 600)
        item = key_item(Key(pk, sk))
        for day in range(1, _DAYS + 1):
            item[f"u{day:02}"] = {"N": str(random.randrange(1000, 10_000_000))}
            item[f"a{day:02}"] = {"N": str(random.randrange(10, 100_000))}
        size += item_size(item)
        if size > _PAGE:
            break
        items.append(item)
    return items


@contextmanager
def _table(items: list[Item]) -> Iterator[tuple[Table, Callable[[], object]]]:
    """Give a table whose every query answers with these items, and the transport of one such answer alone."""
    with tempfile.NamedTemporaryFile(prefix="meterstone-bench-") as file:
        answer = {"Count": len(items), "Items": items, "ScannedCount": len(items)}
        file.write(msgspec.json.encode(answer))
        file.flush()
        with subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "benchmarks.canned", file.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            try:
                if server.stdout is None:
                    raise RuntimeError("the endpoint has no output")
                port = int(server.stdout.readline())
                connection = http.client.HTTPConnection("127.0.0.1", port)

                def transport() -> None:
                    connection.request("POST", "/", b"{}")
                    connection.getresponse().read()

                variables = engine.environment_of_clients(f"http://127.0.0.1:{port}") | {
                    "TABLE_NAME": "canned"
                }
                with mock.patch.dict("os.environ", variables):
                    yield Table.from_environment(), transport
                connection.close()
            finally:
                server.communicate()

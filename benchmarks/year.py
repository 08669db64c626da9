"""A year of 20 metrics by the day, of a whole organization; and the bill of a subscription with 20 line items."""

from copy import replace

from benchmarks import engine, handlers, world
from benchmarks.figures import Part
from benchmarks.filling import fill_memory, merged, take

from meterstone.store.dynamodb.keys import WRITERS
from meterstone.store.dynamodb.table import Table
from meterstone.usage.meter import Meter
from meterstone.usage.subscription import Subscription
from support.memory_table import MemoryTable

_METRICS = 20
_SUBSCRIPTIONS = 5
START = world.instant(2024, 6, 1)
_DAYS = 365
_BUDGET_PAGES = 2

METERS: tuple[Meter, ...] = tuple(
    replace(
        meter, id=f"{meter.id}_{number:02}", code=f"{meter.code}_{number:02}", event_name=f"event_{number:02}"
    )
    for number in range(_METRICS)
    for meter in [world.METERS[number % len(world.METERS)]]
)


def subscriptions(many: int) -> list[Subscription]:
    """Give subscriptions that hold a year and have a line item for every metric."""
    return [world.subscription(number, METERS, start=START) for number in range(many)]


def count_year(writers: int = 1) -> MemoryTable:
    """Give a year in which every writer counts every metric every day."""
    events = _DAYS * _METRICS * _SUBSCRIPTIONS * writers
    everyone = subscriptions(_SUBSCRIPTIONS)
    return fill_memory(everyone, events, meters=METERS, start=START, writers=writers)


def fill_year(table: Table) -> str:
    """Fill an empty table with a year that one writer has counted; give an API key."""
    return take(table, count_year(), frozenset())


def request(key: str) -> tuple[str, handlers.Event]:
    """Give the request for the year."""
    return handlers.analytics(key, time_granularity="daily", from_date="2024-06-01", to_date="2025-05-31")


def run(quick: bool) -> Part:  # noqa: FBT001 - every part is called alike
    """Pages, items, bytes and time."""
    with engine.running() as table:
        key = fill_year(table)
        with handlers.loaded() as functions:
            rounds = 10 if quick else 100
            figure = functions.measure("a year, daily, 20 metrics", request(key), rounds)
            rows = functions.answer(*request(key)).count("billable_metric_code")
            current = handlers.subscription(key, subscription_id="sub_00001")
            bill = functions.measure("subscription, current period, 20 line items", current, 2 * rounds)
    by_many, counted = f"the same, counted by {WRITERS} writers", count_year(WRITERS)
    with engine.running() as table:
        key = take(table, merged(counted), frozenset())
        with handlers.loaded() as functions:
            over = functions.measure(by_many, request(key), rounds)
    with engine.running() as table:
        key = take(table, counted, frozenset())
        with handlers.loaded() as functions:
            busy = functions.measure(f"{by_many}, before its months are merged", request(key), rounds)
    return Part(
        "year",
        [figure, over, busy, bill],
        notes=[f"{rows:,} rows from {figure.beside['pages']:.0f} page(s); budget {_BUDGET_PAGES} pages"],
        limits=[
            "own: decoding, adding up and writing the rows; store: the engine, on the same cores",
            "own, of the bill: botocore for each of two calls; a Decimal for each day of each line item",
        ],
    )

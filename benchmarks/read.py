"""Both functions, warm, as events and subscriptions grow; what they read, beside what they take."""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from hashlib import sha256

from benchmarks import engine, handlers, world
from benchmarks.figures import Figure, Part
from benchmarks.filling import account, catalogue, fill, given
from benchmarks.handlers import Event, Functions

from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.imports import Importer, Source
from meterstone.usage.subscription import Subscription

#: Events and subscriptions. 10,000 of each would be an event a subscription.
_STORES = (
    (10_000, 10),
    (10_000, 1000),
    (100_000, 10),
    (100_000, 1000),
    (100_000, 10_000),
    (1_000_000, 1000),
)
_QUICK = ((2000, 10), (2000, 100))
_ASKED = "sub_00007"
_CUSTOMER = "customer_00007"
_ROUNDS = 200


def run(quick: bool) -> Part:  # noqa: FBT001 - every part is called alike
    """Fill a store of each size, and ask it everything."""
    stores = _QUICK if quick else _STORES
    figures: list[Figure] = []
    reads: dict[str, list[Figure]] = defaultdict(list)
    for events, subscriptions in stores:
        print(f"  … {events:,} events, {subscriptions:,} subscriptions", file=sys.stderr, flush=True)
        with engine.running() as table:
            key = fill(table, _subscriptions(subscriptions), events, asked=frozenset({_ASKED}))
            with handlers.loaded() as functions:
                for what, request in _requests(key).items():
                    label = f"{events:,} events, {subscriptions:,} subscriptions: {what}"
                    figure = functions.measure(label, request, 20 if quick else _ROUNDS)
                    figures.append(figure)
                    reads[what].append(figure)
    return Part(
        "read",
        figures,
        notes=[*_growth(reads), _checked(*stores[0])],
        limits=[
            "store: the engine, a Python program on the same cores that looks through a whole partition each time",
            "own, answered from memory in this process: botocore for each call, the log line",
            "a window cut in mid-hour also reads the events of the hours that it cuts: these alone grow",
        ],
    )


def _subscriptions(many: int) -> list[Subscription]:
    return [world.subscription(number) for number in range(many)]


def _requests(key: str) -> Mapping[str, tuple[str, Event]]:
    both_months = {"from_date": "2025-04-01", "to_date": "2025-05-31"}
    return {
        "organization, 31 days": handlers.analytics(key),
        "organization, 61 days of a plan in a country": handlers.analytics(
            key, plan_code="enterprise", customer_country="FR", **both_months
        ),
        "customer, 61 days": handlers.analytics(key, external_customer_id=_CUSTOMER, **both_months),
        "subscription, current period": handlers.subscription(key, subscription_id=_ASKED),
        "subscription, window cut in mid-hour": handlers.subscription(
            key,
            subscription_id=_ASKED,
            start_time="2025-05-10T09:13:27.5Z",
            end_time="2025-05-20T17:41:03.250001Z",
        ),
    }


def _growth(reads: Mapping[str, Sequence[Figure]]) -> list[str]:
    """Say over which range the reads of each request lie, of all stores."""
    return [
        f"over all stores, {what}: "
        + ", ".join(
            f"{_range([figure.beside[column] for figure in found])} {column}"
            for column in ("items", "bytes", "read units")
        )
        for what, found in reads.items()
    ]


def _range(values: Sequence[float]) -> str:
    least, most = min(values), max(values)
    return f"{least:,g}" if least == most else f"{least:,g} to {most:,g}"


def _checked(events: int, subscriptions: int) -> str:
    """Compare the answers of a store that was filled in bulk with those of one that events were imported into."""
    answers: list[list[str]] = []
    for imported in (False, True):
        with engine.running() as table:
            everyone = _subscriptions(subscriptions)
            key = (
                _import(table, everyone, events)
                if imported
                else fill(table, everyone, events, asked=frozenset({_ASKED}))
            )
            with handlers.loaded() as functions:
                answers.append(_answers(functions, key))
    if answers[0] != answers[1]:
        raise RuntimeError("a store filled in bulk answers otherwise than one that was imported into")
    return (
        f"the smallest store, imported through the importer instead, gives the same {len(answers[0])} answers"
    )


def _answers(functions: Functions, key: str) -> list[str]:
    return [functions.answer(*request) for request in _requests(key).values()]


def _import(table: Table, subscriptions: Sequence[Subscription], events: int) -> str:
    catalogue(table, subscriptions, world.METERS)
    source = Source("benchmark", sha256(b"benchmark").hexdigest())
    report = Importer(table, account(table)).run(source, given(subscriptions, events), world.NOW, _refuse)
    if report.counted != events:
        raise RuntimeError(f"{report.counted} of {events} events were counted")
    return create_key(table, world.ORGANIZATION.id, world.KEY_NAME, world.NOW)[0]


def _refuse(line: int, _: object, reason: str) -> None:
    raise RuntimeError(f"event {line} {reason}")

"""Handlers loaded as Lambda loads them, over a store that answers from memory."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterstone.scope import ALL_SCOPES
from meterstone.store import Account, StoreUnavailableError, UnknownSubscriptionError
from meterstone.store.catalogue.accounts import AccountStore
from meterstone.store.events.ingest import Intake
from meterstone.store.events.lookup import EventStore
from meterstone.store.reading.analytics import AnalyticsStore
from meterstone.store.reading.window import StoredUsageReader, WindowStore
from meterstone.usage.analytics import CountedDays, DayUsage, UsageQuery
from meterstone.usage.arrival import Arrival, Receipt
from meterstone.usage.charge import ChargePeriod, Counter
from meterstone.usage.meter import Meter, Observation
from meterstone.usage.state import State
from meterstone.usage.subscription import Organization, Subscription
from meterstone.usage.window import WindowPlan
from support import functions
from support.functions import forget_logger
from support.memory_table import MemoryTable

ROOT = Path(__file__).parents[2]
KEY = "events-key"
KEY_ID = "4f1c2d3e5a6b"
ORGANIZATION = Organization("7d1f4f0e-3a52-4a53-9d1c-6a0c7f8b9e10", "Events Inc", "America/Chicago")


@dataclass
class Reads:
    items: int = 0
    read_units: float = 0

    def add(self, items: int) -> None:
        self.items += items
        self.read_units += items / 2


@dataclass
class MemoryStore:
    """Knows one key, and answers what a test puts into it. `failure` is raised by whatever is asked next."""

    days: list[DayUsage] = field(default_factory=list)
    meters: tuple[Meter, ...] = ()
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    #: What the counters of each line item come to.
    usage: dict[str, Decimal] = field(default_factory=dict)
    failure: Exception | None = None
    cost: Reads = field(default_factory=Reads)
    queries: list[UsageQuery] = field(default_factory=list)
    plans: list[WindowPlan] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    #: Where events are logged.
    table: MemoryTable = field(default_factory=MemoryTable)

    def begin(self, seconds: float) -> None:
        self.cost.items = 0
        self.cost.read_units = 0

    def account(self, api_key: str | None) -> Account | None:
        self.keys.append(api_key or "")
        self._read()
        if api_key != KEY:
            return None
        return Account(ORGANIZATION, "g1", self.meters, key_id=KEY_ID, scopes=ALL_SCOPES)

    def subscription(self, account: Account, subscription_id: str) -> Subscription:
        self._read()
        if subscription_id not in self.subscriptions:
            raise UnknownSubscriptionError(subscription_id)
        return self.subscriptions[subscription_id]

    def daily_usage(self, account: Account, query: UsageQuery, now: int) -> Iterator[CountedDays]:
        self.queries.append(query)
        self._read()
        yield CountedDays(0, self.days if query.external_customer_id != "nobody" else [])

    def reader(self, account: Account, subscription: Subscription, now: int) -> StoredUsageReader:
        self._read()
        return MemoryReader(self, account, subscription, now)

    def take_each(self, account: Account, arrivals: Mapping[int, Arrival]) -> Receipt:
        self._read()
        return Intake(self.table).take_each(account, arrivals)

    def take_all_or_none(self, account: Account, arrivals: Mapping[int, Arrival]) -> Receipt:
        self._read()
        return Intake(self.table).take_all_or_none(account, arrivals)

    def _read(self) -> None:
        self.cost.add(1)
        if self.failure is not None:
            raise self.failure


class MemoryReader(StoredUsageReader):
    """Has all of a line item's usage in the first counter, or part of an hour, that is asked for."""

    def __init__(self, store: MemoryStore, account: Account, subscription: Subscription, now: int) -> None:
        super().__init__(store.table, account.organization.id, account.generation, subscription, now)
        self._store = store
        self._usage = dict(store.usage)

    def read_ahead(self, plans: Sequence[WindowPlan]) -> None:
        self._store.plans += plans

    def counter(self, charge: ChargePeriod) -> Counter | None:
        usage = self._usage.pop(charge.item.id, None)
        return None if usage is None else Counter({charge.first_day: usage})

    def hours(self, charge: ChargePeriod, day: int) -> dict[int, State]:
        return {hour: Decimal(0) for hour in range(24)}

    def events(self, charge: ChargePeriod, day: int, start: int, end: int) -> Iterator[Observation]:
        yield Observation(start, "id", self._usage.pop(charge.item.id))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@dataclass
class Context:
    aws_request_id: str = "c1d2e3f4-0000-4000-8000-000000000001"
    function_name: str = "function"
    memory_limit_in_mb: str = "512"
    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:123456789012:function:function"


type Invoke = Callable[[dict[str, Any]], tuple[int, Any, dict[str, str]]]


@pytest.fixture
def opened(store: MemoryStore) -> Callable[[type], Any]:
    """Give what a function finds in the place of a store of a kind."""
    return lambda _: store


@pytest.fixture
def load(opened: Callable[[type], Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Invoke]:
    """Give a function by its name: event in; status, body (decoded if it is JSON) and headers out."""

    def load(name: str) -> Invoke:
        for kind in (AccountStore, AnalyticsStore, WindowStore, Intake, EventStore):
            monkeypatch.setattr(kind, "from_environment", classmethod(opened))
        monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", name)
        forget_logger(name)
        module = functions.load(name)

        def invoke(event: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
            reply = module.handler(event, Context())
            assert reply["isBase64Encoded"] is False
            json.dumps(reply, allow_nan=False)
            headers = {header: ", ".join(values) for header, values in reply["multiValueHeaders"].items()}
            is_json = headers["Content-Type"] == "application/json"
            body = (json.loads(reply["body"]) if is_json else reply["body"]) if reply["body"] else None
            return reply["statusCode"], body, headers

        return invoke

    return load


@pytest.fixture
def unavailable() -> StoreUnavailableError:
    return StoreUnavailableError("throttled")

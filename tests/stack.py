"""The whole of Meterstone as a client meets it: a base URL, keys, and what is known to be there.

What is there is `tests/small`, whose README has the figures. `stack` is the one place that says what runs
behind the URL.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memory import MemoryStore, Tenant, UnknownSubscription
from meterstone import clock
from meterstone.contracts import flexprice, lago
from meterstone.contracts.http import Application
from meterstone.contracts.message import Problem, Reply, Request
from meterstone.usage.calendar import zone
from meterstone.usage.meter import Event
from meterstone.usage.statement import rate
from meterstone.usage.window import window_for
from meterstone_cli.catalogue.folder import read_catalogue
from meterstone_cli.gateway import Gateway
from meterstone_cli.server import running
from meterstone_cli.usage_files import UsageEvent, read_usage

SMALL = Path(__file__).parent / "small"


@dataclass(frozen=True, slots=True)
class Stack:
    """A running Meterstone with `tests/small` in it. Each key is good for both contracts."""

    base_url: str
    key: str
    revoked_key: str
    #: The key of an organization that has a subscription of its own, and no usage.
    other_key: str
    other_subscription_id: str
    organization_id: str = "0c9d1c52-8f0e-4d0b-9d5c-6b1f6c1f0a01"
    subscription_id: str = "sub_acme"
    #: A subscription that has no usage.
    quiet_subscription_id: str = "sub_shy"


@contextlib.contextmanager
def stack() -> Iterator[Stack]:
    """Run Meterstone on a loopback port as long as the block lasts."""
    store = MemoryStore({"key_small": _tenant("catalogue"), "key_other": _tenant("other")})
    with running(Gateway(_functions(store))) as url:
        yield Stack(url, "key_small", "key_revoked", "key_other", "sub_stranger")


def _tenant(folder: str) -> Tenant:
    catalogue, _ = read_catalogue(SMALL / folder)
    events: dict[str, list[Event]] = defaultdict(list)
    if folder == "catalogue":
        for _, row in read_usage(SMALL / "usage.csv", clock.now()):
            assert isinstance(row, UsageEvent)
            assert row.subscription is not None
            events[row.subscription].append(row.event)
    return Tenant(
        catalogue.organization,
        catalogue.meters,
        catalogue.subscriptions,
        {name: tuple(found) for name, found in events.items()},
    )


@dataclass(frozen=True, slots=True)
class _Called:
    application: Application[Tenant]

    def invoke(self, event: dict[str, Any], request_id: str) -> object:
        return self.application.handler(event, None)


def _functions(store: MemoryStore) -> dict[str, _Called]:
    analytics = Application(lago, store, {})
    pricing = Application(flexprice, store, {UnknownSubscription: Problem.NOT_FOUND})

    @analytics.route("GET", "/api/v1/analytics/usage")
    def analytics_usage(tenant: Tenant, request: Request) -> Reply:
        query = lago.parse(request, zone(tenant.organization.timezone).day_of(clock.now()))
        return lago.answer(
            tenant.organization.id, query, store.daily_usage(tenant, query), store.deleted_codes(tenant)
        )

    @pricing.route("POST", "/v1/subscriptions/usage")
    def subscription_usage(tenant: Tenant, request: Request) -> Reply:
        asked, now = flexprice.parse(request), clock.now()
        subscription = store.subscription(tenant, asked.subscription_id)
        window = window_for(subscription, asked.start, asked.end, lifetime=asked.lifetime, now=now)
        usage = store.window_usage(tenant, subscription, window, now)
        return flexprice.answer(rate(subscription, window, usage))

    return {
        "/api/v1/analytics/usage": _Called(analytics),
        "/v1/subscriptions/usage": _Called(pricing),
    }

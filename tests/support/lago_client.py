"""Lago's own client on an organization of its own: customers signed up and subscribed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from lago_python_client.client import Client
from lago_python_client.exceptions import LagoApiError
from lago_python_client.models import customer as customer_models
from lago_python_client.models import plan as plan_models
from lago_python_client.models import subscription as subscription_models

from support.own_organization import Records, make_organization

# The client builds on pydantic's first API and on libraries that warn of their own future.
WARNINGS: Final = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

# mypy would have every optional field of the client's models named.
Address: Any = customer_models.Address
Customer: Any = customer_models.Customer
Metadata: Any = customer_models.Metadata
MetadataList: Any = customer_models.MetadataList
PlanOverrides: Any = plan_models.PlanOverrides
Subscription: Any = subscription_models.Subscription

METERS: Final[Records] = {
    "calls": {"code": "api_calls", "name": "Calls", "aggregation": "COUNT"},
    "storage": {"code": "storage", "aggregation": "SUM", "field": "gb", "filters": {"region": ["eu"]}},
}
TIERS: Final = [
    {"up_to": 1000, "unit_amount": "0.0000000001"},
    {"up_to": None, "unit_amount": "0.1", "flat_amount": 2},
]
PRICES: Final[Records] = {
    "call": {"currency": "EUR", "billing_model": "FLAT_FEE", "amount": "0.10", "meter_id": "calls"},
    "call-usd": {"currency": "USD", "billing_model": "FLAT_FEE", "amount": "0.11", "meter_id": "calls"},
    "calls": {
        "currency": "EUR",
        "billing_model": "PACKAGE",
        "amount": 5,
        "transform_quantity": {"divide_by": 1000},
        "meter_id": "calls",
    },
    "gb": {
        "currency": "EUR",
        "billing_model": "TIERED",
        "tier_mode": "SLAB",
        "tiers": TIERS,
        "meter_id": "storage",
    },
}
PLANS: Final[Records] = {
    "basic": {"name": "Basic", "currency": "EUR", "prices": ["call", "call-usd"]},
    "everywhere": {"prices": ["call", "call-usd"]},
    "team": {"name": "Team", "currency": "EUR", "billing_period": "MONTHLY", "prices": ["calls", "gb"]},
    "yearly": {"currency": "EUR", "billing_period": "ANNUAL", "prices": ["call"]},
}


@dataclass(frozen=True, slots=True)
class World:
    """An organization of its own, with meters, prices and plans, behind the address of a server."""

    url: str
    key: str
    organization_id: str

    @property
    def client(self) -> Any:
        """Return a client with the organization's key."""
        return self.with_key(self.key)

    def with_key(self, key: str) -> Any:
        """Return a client with another key. It is of no type that mypy could check: its mixins are not."""
        return Client(api_key=key, api_url=f"{self.url}/")


def make_world(url: str, folder: Path) -> World:
    """Make an organization with the meters, prices and plans above, behind an address."""
    organization_id, key = make_organization(folder, meters=METERS, prices=PRICES, plans=PLANS)
    return World(url, key, organization_id)


def at(**ahead: float) -> str:
    """Write an instant so far from now, to the second."""
    return (datetime.now(UTC) + timedelta(**ahead)).strftime("%Y-%m-%dT%H:%M:%SZ")


def sign_up(client: Any, customer: str = "acme", **fields: Any) -> Any:
    """Make a customer, or change one."""
    return client.customers.create(Customer(external_id=customer, **fields))


def subscribe(client: Any, plan: str = "basic", external_id: str = "acme-main", **fields: Any) -> Any:
    """Subscribe the customer `acme` to a plan, or as the fields say."""
    given = {"external_id": external_id, "external_customer_id": "acme", "plan_code": plan}
    return client.subscriptions.create(Subscription(**given | fields))


def refusal(call: Callable[[], object]) -> tuple[int, Any]:
    """Return the status with which the client is refused, and what it is told of it."""
    with pytest.raises(LagoApiError) as refused:
        call()
    response: Any = refused.value.response
    return refused.value.status_code, response.get("error_details") or response.get("code") or response


def listed(client: Any, **options: Any) -> list[tuple[str, str, str]]:
    """List subscriptions: external id, plan and status of each."""
    found = client.subscriptions.find_all(options)["subscriptions"]
    return [(each.external_id, each.plan_code, each.status) for each in found]

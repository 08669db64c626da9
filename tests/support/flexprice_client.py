"""Flexprice's own client on an organization of its own: customers signed up, subscribed, changed and cancelled."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from flexprice import Flexprice, models
from flexprice.models import errors

from support.own_organization import Records, make_organization

METERS: Final[Records] = {
    "calls": {"code": "api_calls", "name": "Calls", "aggregation": "COUNT"},
    "seats": {"code": "seats", "name": "Seats", "aggregation": "MAX", "field": "n"},
}
PRICES: Final[Records] = {
    "call": {"currency": "USD", "billing_model": "FLAT_FEE", "amount": "0.10", "meter_id": "calls"},
    "call-pro": {"currency": "USD", "billing_model": "FLAT_FEE", "amount": "0.05", "meter_id": "calls"},
    "call-eur": {"currency": "EUR", "billing_model": "FLAT_FEE", "amount": "0.09", "meter_id": "calls"},
    "seat": {
        "currency": "USD",
        "billing_model": "TIERED",
        "tier_mode": "SLAB",
        "tiers": [{"up_to": 10, "unit_amount": "5"}, {"up_to": None, "unit_amount": "4", "flat_amount": 1}],
        "meter_id": "seats",
    },
}
PLANS: Final[Records] = {
    "basic": {"name": "Basic", "description": "To begin with", "prices": ["call", "call-eur"]},
    "pro": {"name": "Pro", "prices": ["call-pro"], "details": {"tier": "2"}},
    "year": {"billing_period": "ANNUAL", "prices": ["call"]},
}
SUBSCRIPTION: Final[Mapping[str, Any]] = {"plan_id": "basic", "currency": "usd", "billing_period": "MONTHLY"}


@dataclass(frozen=True, slots=True)
class World:
    """An organization of its own, with meters, prices and plans, behind the address of a server."""

    url: str
    key: str
    organization_id: str

    def client(self, key: str = "") -> Flexprice:
        """Return a client with the organization's key, or with another."""
        return Flexprice(server_url=f"{self.url}/v1", api_key_auth=key or self.key, timeout_ms=30_000)


def make_world(url: str, folder: Path) -> World:
    """Make an organization with the meters, prices and plans above, behind an address."""
    organization_id, key = make_organization(folder, meters=METERS, prices=PRICES, plans=PLANS)
    return World(url, key, organization_id)


def ahead(**time: float) -> datetime:
    """Return an instant so far from now, to the second."""
    return (datetime.now(UTC) + timedelta(**time)).replace(microsecond=0)


def sign_up(client: Flexprice, customer: str = "acme", **fields: Any) -> models.CustomerResponse:
    """Make a customer."""
    return client.customers.create_customer(external_id=customer, **{"name": "Acme", **fields})


def subscribe(client: Flexprice, **fields: Any) -> models.SubscriptionResponse:
    """Subscribe the customer `acme` to the basic plan, or as the fields say."""
    given = {**SUBSCRIPTION, "customer_id": "acme", **fields}
    return client.subscriptions.create_subscription(**given)


def refusal(ask: Callable[[], object]) -> tuple[int, str, dict[str, Any]]:
    """Return the status, the code and the details with which the client is refused."""
    with pytest.raises((errors.ErrorResponse, errors.FlexpriceDefaultError)) as refused:
        ask()
    body = json.loads(refused.value.body)
    assert body["http_status_code"] == refused.value.status_code
    return refused.value.status_code, body["code"], body.get("details", {})


def items_of(subscription: models.SubscriptionResponse) -> list[tuple[str | None, str | None]]:
    """List a subscription's prices, each with whether it is the plan's or its own."""
    return [(item.price_id, item.entity_type) for item in subscription.line_items or ()]


def same(one: datetime | None, other: datetime, *, within: float = 30) -> bool:
    """Tell whether an instant is another one, but for the seconds that a test takes."""
    return one is not None and abs((one - other).total_seconds()) <= within


def cancel(
    client: Flexprice, subscription: models.SubscriptionResponse, kind: Any, **fields: Any
) -> models.CancelSubscriptionResponse:
    """Cancel a subscription."""
    assert subscription.id is not None
    return client.subscriptions.cancel_subscription(id=subscription.id, cancellation_type=kind, **fields)


def again(client: Flexprice, subscription: models.SubscriptionResponse) -> models.SubscriptionResponse:
    """Return a subscription as it is now."""
    assert subscription.id is not None
    return client.subscriptions.get_subscription(id=subscription.id)


def change(
    client: Flexprice, subscription: models.SubscriptionResponse, target: str, **fields: Any
) -> models.SubscriptionChangeExecuteResponse:
    """Change the plan of a subscription: it ends, and another one follows."""
    assert subscription.id is not None
    given = {"billing_period": "MONTHLY", "billing_cycle": "anniversary", "proration_behavior": "none"}
    return client.subscriptions.execute_subscription_change(
        **{"id": subscription.id, "billing_cadence": "RECURRING", "target_plan_id": target, **given, **fields}
    )


def both(
    changed: models.SubscriptionChangeExecuteResponse,
) -> tuple[models.SubscriptionSummary, models.SubscriptionSummary]:
    """Return the subscription that a change ends, and the one that follows it."""
    assert changed.old_subscription is not None
    assert changed.new_subscription is not None
    return changed.old_subscription, changed.new_subscription


def change_in_place(
    client: Flexprice, subscription: models.SubscriptionResponse, target: str, **fields: Any
) -> models.SubscriptionChangeV2Response:
    """Change the plan of a subscription, which goes on."""
    assert subscription.id is not None
    return client.subscriptions.execute_subscription_plan_change_v2(
        id=subscription.id, proration_behavior="none", target_plan_id=target, **fields
    )

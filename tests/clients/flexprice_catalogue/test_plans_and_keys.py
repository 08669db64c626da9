"""Flexprice's own Python client reads plans and prices, and is refused what its key may not do."""

import pytest
from flexprice import Flexprice
from flexprice.models import errors

from meterstone import clock
from meterstone.scope import Scope
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.dynamodb.table import Table
from support.flexprice_client import (
    World,
    again,
    cancel,
    change,
    change_in_place,
    refusal,
    sign_up,
    subscribe,
)
from support.over_http import call
from support.stack import Stack


def test_plans_and_prices(client: Flexprice) -> None:
    plan = client.plans.get_plan(id="basic")
    assert (plan.id, plan.lookup_key, plan.name, plan.description) == (
        "basic",
        "basic",
        "Basic",
        "To begin with",
    )
    assert [price.id for price in plan.prices or ()] == ["call", "call-eur"]
    assert client.plans.get_plan(id="pro").metadata == {"tier": "2"}
    assert refusal(lambda: client.plans.get_plan(id="none"))[:2] == (404, "not_found")
    price = client.prices.get_price(id="seat")
    assert (price.id, price.currency, price.tier_mode, price.meter_id) == ("seat", "usd", "SLAB", "seats")
    assert [(tier.up_to, tier.unit_amount, tier.flat_amount) for tier in price.tiers or ()] == [
        (10, "5", "0"),
        (None, "4", "1"),
    ]
    assert refusal(lambda: client.prices.get_price(id="none"))[:2] == (404, "not_found")


def test_what_is_another_organizations_is_not_there(world: World, client: Flexprice, api: Stack) -> None:
    sign_up(client)
    made = subscribe(client)
    with world.client(api.other_key) as other:
        assert made.id is not None
        for ask in (
            lambda: other.customers.get_customer(id="acme"),
            lambda: other.subscriptions.get_subscription(id=made.id),
            lambda: cancel(other, made, "immediate"),
            lambda: change(other, made, "pro"),
            lambda: change_in_place(other, made, "pro"),
            lambda: other.customers.update_customer(id="acme", name="Mine"),
            lambda: other.customers.get_subscriptions_for_customer(external_id="acme"),
        ):
            assert refusal(ask)[:2] == (404, "not_found")
    assert again(client, made) == made


def test_bad_keys(world: World) -> None:
    with world.client("wrong") as client:
        with pytest.raises(errors.FlexpriceDefaultError) as refused:
            client.customers.get_customer(id="acme")
        assert (refused.value.status_code, refused.value.body) == (401, '{"error":"Unauthorized"}')
    key, _ = create_key(
        Table.from_environment(), world.organization_id, "reads", clock.now(), {Scope.READ, Scope.INGEST}
    )
    with world.client(key) as client:
        assert refusal(lambda: sign_up(client))[:2] == (403, "permission_denied")


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH"])
def test_a_wrong_method(world: World, method: str) -> None:
    status, body = call(f"{world.url}/v1/subscriptions", method=method, headers={"x-api-key": world.key})
    assert (status, body["code"]) == (405, "invalid_operation")

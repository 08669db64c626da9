"""Flexprice's own Python client, as its users have it, asks for a subscription's usage."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from flexprice import Flexprice, models
from flexprice.models import errors

from meterstone.scope import Scope
from support.stack import Stack

FEBRUARY = {"start_time": datetime(2024, 2, 1, tzinfo=UTC), "end_time": datetime(2024, 3, 1, tzinfo=UTC)}
ZERO_TIME = datetime(1, 1, 1, tzinfo=UTC)

type Row = tuple[str | None, float | None, float | None, bool | None]


@pytest.fixture
def client(api: Stack) -> Iterator[Flexprice]:
    with Flexprice(server_url=f"{api.base_url}/v1", api_key_auth=api.key) as client:
        yield client


def usage(client: Flexprice, api: Stack, **parameters: Any) -> models.GetUsageBySubscriptionResponse:
    parameters.setdefault("subscription_id", api.subscription_id)
    return client.subscriptions.get_subscription_usage(**parameters)


def rows(answer: models.GetUsageBySubscriptionResponse) -> list[Row]:
    assert answer.charges is not None
    return [(row.meter_display_name, row.quantity, row.amount, row.is_overage) for row in answer.charges]


def test_a_month(client: Flexprice, api: Stack) -> None:
    answer = usage(client, api, **FEBRUARY)
    assert rows(answer) == [
        ("API calls", 6, 1.5, False),
        ("Faxes", 3, 1.0, False),
        ("Seats", 1, 10.0, False),
        ("Tokens", 833.6111111111111, 7.5, False),
        ("Tokens", 666.8888888888889, 9.0, True),
    ]
    whole = answer.model_dump(exclude={"charges"})
    assert whole == {
        "amount": 29.0,
        "commitment_amount": 20.0,
        "commitment_utilized": 20.0,
        "currency": "eur",
        "display_amount": "€29",
        "end_time": FEBRUARY["end_time"],
        "has_overage": True,
        "overage_amount": 9.0,
        "overage_factor": 1.5,
        "start_time": FEBRUARY["start_time"],
    }


def test_a_row_has_its_price_and_filters(client: Flexprice, api: Stack) -> None:
    answer = usage(client, api, **FEBRUARY)
    assert answer.charges is not None
    calls, faxes, _, _, overage = answer.charges
    assert (calls.subscription_line_item_id, calls.meter_id, calls.currency) == (
        "li_calls",
        "meter_calls",
        "eur",
    )
    assert (calls.filter_values, calls.display_amount, calls.overage_factor) == ({}, "€1.5", None)
    assert (overage.filter_values, overage.overage_factor) == ({"model": ["large", "huge"]}, 1.5)
    assert calls.price is not None
    assert (calls.price.id, calls.price.amount, calls.price.billing_model) == (
        "price_calls",
        "0.25",
        "FLAT_FEE",
    )
    assert faxes.price is not None
    assert faxes.price.transform_quantity is not None
    assert faxes.price.transform_quantity.divide_by == 10
    price = overage.price
    assert price is not None
    assert price.tiers is not None
    assert (price.tier_mode, price.min_quantity, price.metadata) == ("SLAB", "0", {"team": "growth"})
    assert price.start_date == datetime(2024, 1, 1, tzinfo=UTC)
    assert [(tier.up_to, tier.unit_amount) for tier in price.tiers] == [(1000, "0.01"), (None, "0.005")]


@pytest.mark.parametrize(
    ("start", "end", "calls"),
    [
        pytest.param("2024-02-01T00:00:00Z", "2024-02-01T00:00:00Z", 0, id="empty"),
        pytest.param("2024-02-01T00:00:00Z", "2024-02-01T00:00:00.000001Z", 1, id="start-included"),
        pytest.param("2024-02-01T10:00:00Z", "2024-02-01T10:00:00.000001Z", 1, id="a-microsecond"),
        pytest.param("2024-02-01T10:00:00.000001Z", "2024-02-01T23:59:59.999999Z", 1, id="end-excluded"),
        pytest.param("2024-02-01T11:00:00+01:00", "2024-02-01T11:00:00.000002+01:00", 2, id="offset"),
        pytest.param("2024-01-01T00:00:00Z", "2024-04-01T00:00:00Z", 6, id="several-periods"),
        pytest.param("2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z", 6, id="beyond-the-subscription"),
    ],
)
def test_windows(client: Flexprice, api: Stack, start: str, end: str, calls: int) -> None:
    answer = usage(
        client, api, start_time=datetime.fromisoformat(start), end_time=datetime.fromisoformat(end)
    )
    counted = {name: quantity for name, quantity, _, _ in rows(answer)}
    assert counted.get("API calls", 0) == calls
    assert answer.start_time == datetime.fromisoformat(start)
    assert answer.end_time == datetime.fromisoformat(end)


def test_lifetime_overrides_both_bounds(client: Flexprice, api: Stack) -> None:
    answer = usage(client, api, lifetime_usage=True, **FEBRUARY)
    assert answer.start_time == datetime(2024, 1, 1, tzinfo=UTC)
    # It has ended: a lifetime ends then, at midnight in the customer's zone.
    assert answer.end_time == datetime(2024, 3, 31, 23, tzinfo=UTC)
    assert rows(answer)[0] == ("API calls", 6, 1.5, False)


@pytest.mark.parametrize(
    "bounds", [{}, {"start_time": ZERO_TIME, "end_time": ZERO_TIME}], ids=["absent", "zero"]
)
def test_defaults_are_the_current_period(client: Flexprice, api: Stack, bounds: dict[str, Any]) -> None:
    answer = usage(client, api, subscription_id=api.quiet_subscription_id, **bounds)
    now = datetime.now(UTC)
    assert answer.start_time is not None
    assert answer.end_time is not None
    assert answer.start_time <= now < answer.end_time
    assert (answer.start_time.day, answer.end_time.day) == (1, 1)


def test_one_bound_is_enough(client: Flexprice, api: Stack) -> None:
    answer = usage(client, api, end_time=datetime(2024, 2, 3, tzinfo=UTC))
    assert answer.start_time == datetime(2024, 2, 1, tzinfo=UTC)
    assert rows(answer)[0] == ("API calls", 4, 1.0, False)


def test_without_usage_and_commitment(client: Flexprice, api: Stack) -> None:
    answer = usage(client, api, subscription_id=api.quiet_subscription_id, **FEBRUARY)
    assert rows(answer) == [("API calls", 0, 0.0, False)]
    assert (answer.amount, answer.display_amount, answer.has_overage) == (0.0, "€0", False)
    assert answer.commitment_amount is None
    assert answer.overage_factor is None


@pytest.mark.parametrize("key", ["wrong", "KEY_SMALL", "x" * 1000, ""])
def test_bad_key(api: Stack, key: str) -> None:
    with (
        Flexprice(server_url=f"{api.base_url}/v1", api_key_auth=key) as client,
        pytest.raises(errors.FlexpriceDefaultError) as refused,
    ):
        usage(client, api)
    assert refused.value.status_code == 401
    assert refused.value.body == '{"error":"Unauthorized"}'


def test_revoked_key(api: Stack) -> None:
    with (
        Flexprice(server_url=f"{api.base_url}/v1", api_key_auth=api.revoked_key) as client,
        pytest.raises(errors.FlexpriceDefaultError) as refused,
    ):
        usage(client, api)
    assert refused.value.status_code == 401


def test_a_key_without_the_scope(api: Stack) -> None:
    with Flexprice(server_url=f"{api.base_url}/v1", api_key_auth=api.scoped_keys[Scope.READ]) as reader:
        assert usage(reader, api).charges
    with (
        Flexprice(server_url=f"{api.base_url}/v1", api_key_auth=api.scoped_keys[Scope.INGEST]) as sender,
        pytest.raises(errors.FlexpriceDefaultError) as refused,
    ):
        usage(sender, api)
    assert refused.value.status_code == 403
    assert '"details":{"scope":{"missing":"read"}}' in refused.value.body


@pytest.mark.parametrize("subscription_id", ["nothing", "SUB_ACME", "x" * 256, "a#b/é\u2028", "acme-main"])
def test_unknown_subscription(client: Flexprice, api: Stack, subscription_id: str) -> None:
    with pytest.raises(errors.FlexpriceDefaultError) as refused:
        usage(client, api, subscription_id=subscription_id)
    assert refused.value.status_code == 404
    assert '"code":"not_found"' in refused.value.body


def test_another_organizations_subscription_is_unknown(client: Flexprice, api: Stack) -> None:
    bodies = []
    for subscription_id in (api.other_subscription_id, "nothing"):
        with pytest.raises(errors.FlexpriceDefaultError) as refused:
            usage(client, api, subscription_id=subscription_id)
        assert refused.value.status_code == 404
        bodies.append(refused.value.body)
    assert bodies[0] == bodies[1]
    with Flexprice(server_url=f"{api.base_url}/v1", api_key_auth=api.other_key) as other:
        assert rows(usage(other, api, subscription_id=api.other_subscription_id, **FEBRUARY)) == [
            ("API calls", 0, 0.0, False)
        ]


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({"subscription_id": ""}, id="empty-id"),
        pytest.param({"subscription_id": "a\x00b"}, id="control-character"),
        pytest.param(
            {"start_time": FEBRUARY["end_time"], "end_time": FEBRUARY["start_time"]}, id="end-before-start"
        ),
    ],
)
def test_bad_parameters(client: Flexprice, api: Stack, parameters: dict[str, Any]) -> None:
    with pytest.raises(errors.ErrorResponse) as refused:
        usage(client, api, **parameters)
    assert refused.value.status_code == 400
    assert refused.value.data.code == "validation_error"
    assert refused.value.data.http_status_code == 400
    assert refused.value.data.message

"""Lago's own Python client, as its users have it, reads the analytics."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from lago_python_client.client import Client
from lago_python_client.exceptions import LagoApiError

from meterstone.scope import Scope
from support.stack import Stack

# The client builds on pydantic's first API and on libraries that warn of their own future.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

SPRING = {"from_date": "2024-01-01", "to_date": "2024-04-30"}

type Row = tuple[str, str, str, int, float]

SEATS_JANUARY: Row = ("2024-01-20", "EUR", "seats", 1000, 1.0)
CALLS: Row = ("2024-02-01", "EUR", "api_calls", 100, 4.0)
SEATS: Row = ("2024-02-01", "EUR", "seats", 1000, 1.0)
TOKENS: Row = ("2024-02-01", "EUR", "tokens", 800, 800.0)
MORE_TOKENS: Row = ("2024-02-02", "EUR", "tokens", 550, 700.5)
CALLS_JPY: Row = ("2024-02-02", "JPY", "api_calls", 6, 2.0)
FAXES: Row = ("2024-02-03", "EUR", "faxes", 100, 3.0)
MORE_CALLS: Row = ("2024-02-05", "EUR", "api_calls", 50, 2.0)
SEATS_MARCH: Row = ("2024-03-01", "EUR", "seats", 1000, 1.0)
ALL = [SEATS_JANUARY, CALLS, SEATS, TOKENS, MORE_TOKENS, CALLS_JPY, FAXES, MORE_CALLS, SEATS_MARCH]
EURO = [row for row in ALL if row[1] == "EUR"]


def find(api: Stack, options: Mapping[str, Any] | None = None, key: str | None = None) -> list[Any]:
    # The client joins paths as a browser does: without the slash it would drop the stage of a deployed API.
    client = Client(api_key=api.key if key is None else key, api_url=f"{api.base_url}/")
    found = client.usages.find_all(options={} if options is None else options)
    assert found["meta"] is None
    usages: list[Any] = list(found["usages"])
    return usages


def rows(api: Stack, options: Mapping[str, Any]) -> list[Row]:
    return [
        (
            row.start_of_period_dt,
            row.amount_currency,
            row.billable_metric_code,
            row.amount_cents,
            row.units,
        )
        for row in find(api, options)
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, ALL, id="all"),
        pytest.param({"currency": "JPY"}, [CALLS_JPY], id="currency"),
        pytest.param({"currency": "eur"}, EURO, id="currency-lower-case"),
        pytest.param({"currency": "KWD"}, [], id="currency-of-nobody"),
        pytest.param({"from_date": "2024-02-02"}, ALL[4:], id="from"),
        pytest.param({"to_date": "2024-02-02"}, ALL[:6], id="to"),
        pytest.param({"from_date": "2024-02-03", "to_date": "2024-02-03"}, [FAXES], id="one-day"),
        pytest.param({"customer_type": "individual"}, [CALLS_JPY], id="customer-type"),
        pytest.param({"external_customer_id": "acme"}, EURO, id="customer"),
        pytest.param({"external_customer_id": "nobody"}, [], id="unknown-customer"),
        pytest.param({"external_customer_id": "stranger"}, [], id="another-organizations-customer"),
        pytest.param({"external_customer_id": "shy"}, [], id="customer-without-usage"),
        pytest.param({"customer_country": "JP"}, [CALLS_JPY], id="country"),
        pytest.param({"external_subscription_id": "acme-main"}, EURO, id="subscription"),
        pytest.param({"external_subscription_id": "nothing"}, [], id="unknown-subscription"),
        pytest.param(
            {"is_billable_metric_recurring": True}, [SEATS_JANUARY, SEATS, SEATS_MARCH], id="recurring"
        ),
        pytest.param(
            {"is_billable_metric_recurring": "false"},
            [row for row in ALL if row[2] != "seats"],
            id="not-recurring",
        ),
        pytest.param({"plan_code": "solo"}, [CALLS_JPY], id="plan"),
        pytest.param({"plan_code": "none"}, [], id="unknown-plan"),
        pytest.param({"billable_metric_code": "tokens"}, [TOKENS, MORE_TOKENS], id="metric"),
        pytest.param({"billable_metric_code": "a#b%/é"}, [], id="unknown-metric"),
        pytest.param(
            {
                "time_granularity": "daily",
                "currency": "EUR",
                "customer_type": "company",
                "external_customer_id": "acme",
                "customer_country": "PT",
                "external_subscription_id": "acme-main",
                "is_billable_metric_recurring": False,
                "plan_code": "team",
                "billable_metric_code": "api_calls",
            },
            [CALLS, MORE_CALLS],
            id="all-eleven",
        ),
        pytest.param({"unknown": "1"}, ALL, id="unknown-parameter"),
    ],
)
def test_filters(api: Stack, options: dict[str, Any], expected: list[Row]) -> None:
    assert rows(api, SPRING | options) == expected


@pytest.mark.parametrize(
    ("granularity", "expected"),
    [
        pytest.param(
            "weekly",
            [
                ("2024-01-15", "EUR", "seats", 1000, 1.0),
                ("2024-01-29", "EUR", "api_calls", 100, 4.0),
                ("2024-01-29", "EUR", "faxes", 100, 3.0),
                ("2024-01-29", "EUR", "seats", 1000, 1.0),
                ("2024-01-29", "EUR", "tokens", 1350, 1500.5),
                ("2024-01-29", "JPY", "api_calls", 6, 2.0),
                ("2024-02-05", "EUR", "api_calls", 50, 2.0),
                ("2024-02-26", "EUR", "seats", 1000, 1.0),
            ],
            id="weekly",
        ),
        pytest.param(
            "monthly",
            [
                ("2024-01-01", "EUR", "seats", 1000, 1.0),
                ("2024-02-01", "EUR", "api_calls", 150, 6.0),
                ("2024-02-01", "EUR", "faxes", 100, 3.0),
                ("2024-02-01", "EUR", "seats", 1000, 1.0),
                ("2024-02-01", "EUR", "tokens", 1350, 1500.5),
                ("2024-02-01", "JPY", "api_calls", 6, 2.0),
                ("2024-03-01", "EUR", "seats", 1000, 1.0),
            ],
            id="monthly",
        ),
        pytest.param(
            "yearly",
            [
                ("2024-01-01", "EUR", "api_calls", 150, 6.0),
                ("2024-01-01", "EUR", "faxes", 100, 3.0),
                ("2024-01-01", "EUR", "seats", 3000, 3.0),
                ("2024-01-01", "EUR", "tokens", 1350, 1500.5),
                ("2024-01-01", "JPY", "api_calls", 6, 2.0),
            ],
            id="yearly",
        ),
    ],
)
def test_granularities(api: Stack, granularity: str, expected: list[Row]) -> None:
    assert rows(api, SPRING | {"time_granularity": granularity}) == expected


def test_every_field_is_there(api: Stack) -> None:
    (row,) = find(api, SPRING | {"billable_metric_code": "faxes", "time_granularity": "weekly"})
    assert row.dict() == {
        "organization_id": api.organization_id,
        "start_of_period_dt": "2024-01-29",
        "end_of_period_dt": "2024-02-04",
        "amount_currency": "EUR",
        "amount_cents": 100,
        "billable_metric_code": "faxes",
        "units": 3.0,
        "is_billable_metric_deleted": True,
    }


def test_defaults_answer(api: Stack) -> None:
    assert find(api) == []


@pytest.mark.parametrize(
    "key", ["wrong", "KEY_SMALL", "key_small%20", "key_small,key_small", "x" * 1000, "Bearer"]
)
def test_bad_key(api: Stack, key: str) -> None:
    with pytest.raises(LagoApiError) as refused:
        find(api, key=key)
    assert refused.value.status_code == 401
    assert refused.value.response == {"status": 401, "error": "Unauthorized"}


def test_revoked_key(api: Stack) -> None:
    with pytest.raises(LagoApiError) as refused:
        find(api, key=api.revoked_key)
    assert refused.value.status_code == 401


def test_a_key_without_the_scope(api: Stack) -> None:
    assert find(api, SPRING, key=api.scoped_keys[Scope.READ]) == find(api, SPRING)
    with pytest.raises(LagoApiError) as refused:
        find(api, key=api.scoped_keys[Scope.INGEST])
    assert refused.value.status_code == 403
    assert refused.value.response is not None
    assert refused.value.response["code"] == "missing_scope"
    assert refused.value.response["error_details"] == {"scope": ["read"]}


def test_another_organization_sees_its_own_alone(api: Stack) -> None:
    assert find(api, SPRING, key=api.other_key) == []


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        pytest.param({"time_granularity": "hourly"}, {"time_granularity"}, id="granularity"),
        pytest.param({"currency": "EURO"}, {"currency"}, id="currency"),
        pytest.param({"from_date": "2023-02-29"}, {"from_date"}, id="no-such-day"),
        pytest.param({"from_date": "0000-01-01"}, {"from_date"}, id="year-0"),
        pytest.param({"from_date": "2024-05-01"}, {"from_date"}, id="from-after-to"),
        pytest.param({"from_date": "2020-01-01"}, {"from_date"}, id="too-many-days"),
        pytest.param({"to_date": "yesterday"}, {"to_date"}, id="no-date"),
        pytest.param({"customer_type": "robot"}, {"customer_type"}, id="customer-type"),
        pytest.param({"customer_country": "XX"}, {"customer_country"}, id="country"),
        pytest.param(
            {"is_billable_metric_recurring": "maybe"}, {"is_billable_metric_recurring"}, id="boolean"
        ),
        pytest.param({"plan_code": "x" * 256}, {"plan_code"}, id="long-code"),
        pytest.param({"plan_code": "a\x00b"}, {"plan_code"}, id="control-character"),
        pytest.param({"plan_code": ""}, {"plan_code"}, id="empty"),
        pytest.param({"plan_code": ["team", "solo"]}, {"plan_code"}, id="repeated"),
        pytest.param(
            {"currency": "1e400", "to_date": "NaN", "customer_type": "-0"},
            {"currency", "to_date", "customer_type"},
            id="every-one-at-once",
        ),
    ],
)
def test_bad_parameters(api: Stack, options: dict[str, Any], fields: set[str]) -> None:
    with pytest.raises(LagoApiError) as refused:
        find(api, SPRING | options)
    assert refused.value.status_code == 422
    assert refused.value.response["code"] == "validation_errors"
    assert refused.value.response["error_details"].keys() == fields


def test_the_client_waits_five_seconds(api: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the benchmark's figures are held against."""
    seen: list[Any] = []
    send = httpx.Client.send

    def spy(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        seen.append(request.extensions["timeout"])
        return send(client, request, **options)

    monkeypatch.setattr(httpx.Client, "send", spy)
    find(api, SPRING)
    assert [timeout["read"] for timeout in seen] == [5.0]

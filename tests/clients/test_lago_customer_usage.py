"""Lago's own Python client, as its users have it, reads current, past and projected usage."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from lago_python_client.client import Client
from lago_python_client.exceptions import LagoApiError

from support.stack import Stack

# The client builds on pydantic's first API and on libraries that warn of their own future.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

MARCH = ("2024-03-01T00:00:00Z", "2024-03-31T22:59:59.999999Z", "2024-04-01")
FEBRUARY = ("2024-02-01T00:00:00Z", "2024-02-29T23:59:59.999999Z", "2024-03-01")
JANUARY = ("2024-01-01T00:00:00Z", "2024-01-31T23:59:59.999999Z", "2024-02-01")


@pytest.fixture
def client(api: Stack) -> Client:
    return Client(api_key=api.key, api_url=f"{api.base_url}/")


def bounds(period: Any) -> tuple[str, str, str]:
    return period.from_datetime, period.to_datetime, period.issuing_date


def past(client: Client, **options: Any) -> tuple[list[Any], dict[str, Any]]:
    found = client.customers.past_usage("acme", "acme-main", options)
    return found["usage_periods"], found["meta"]


def refusal(call: Callable[[], object]) -> tuple[int, Any]:
    with pytest.raises(LagoApiError) as refused:
        call()
    response: Any = refused.value.response
    return refused.value.status_code, response.get("error_details", response)


def test_past_usage_has_every_field(client: Client) -> None:
    """Before the commitment: with it, February is 29.00."""
    periods, meta = past(client)
    assert [bounds(each) for each in periods] == [MARCH, FEBRUARY, JANUARY]
    assert [each.amount_cents for each in periods] == [1000, 2600, 1000]
    february = periods[1].dict()
    tokens = february["charges_usage"].pop()
    assert [(each["charge"]["charge_model"], each["units"]) for each in february["charges_usage"]] == [
        ("standard", "6"),
        ("package", "3"),
        ("standard", "1"),
    ]
    assert next(each["events_count"] for each in february["charges_usage"]) == 6
    for each in (tokens["charge"], tokens["billable_metric"]):
        assert len(each.pop("lago_id")) == 36
    assert february | {"charges_usage": []} == {
        "from_datetime": FEBRUARY[0],
        "to_datetime": FEBRUARY[1],
        "issuing_date": FEBRUARY[2],
        "lago_invoice_id": None,
        "currency": "EUR",
        "amount_cents": 2600,
        "total_amount_cents": 2600,
        "taxes_amount_cents": 0,
        "charges_usage": [],
    }
    assert tokens == {
        "units": "1500.5",
        "total_aggregated_units": "1500.5",
        "events_count": 0,
        "amount_cents": 1350,
        "amount_currency": "EUR",
        "charge": {
            "charge_model": "graduated",
            "invoice_display_name": tokens["charge"]["invoice_display_name"],
        },
        "billable_metric": {"name": "Tokens", "code": "tokens", "aggregation_type": "sum_agg"},
        "filters": [],
        "grouped_usage": [],
        "pricing_unit_details": None,
        "presentation_breakdowns": None,
    }
    assert meta == {
        "current_page": 1,
        "next_page": None,
        "prev_page": None,
        "total_pages": 1,
        "total_count": 3,
    }


@pytest.mark.parametrize(
    ("options", "expected", "numbers"),
    [
        pytest.param({"per_page": 2}, [MARCH, FEBRUARY], (1, 2, None, 2, 3), id="first of two pages"),
        pytest.param({"per_page": 2, "page": 2}, [JANUARY], (2, None, 1, 2, 3), id="last page"),
        pytest.param({"per_page": 2, "page": 9}, [], (9, None, None, 2, 3), id="beyond the last page"),
        pytest.param({"page": 999_999_999}, [], (999_999_999, None, None, 1, 3), id="far beyond"),
        pytest.param({"periods_count": 1}, [MARCH], (1, None, None, 1, 1), id="the latest alone"),
        pytest.param(
            {"periods_count": 10_000}, [MARCH, FEBRUARY, JANUARY], (1, None, None, 1, 3), id="more than all"
        ),
        pytest.param(
            {"periods_count": 2, "per_page": 1, "page": 2}, [FEBRUARY], (2, None, 1, 2, 2), id="both"
        ),
    ],
)
def test_pages(
    client: Client, options: dict[str, int], expected: list[tuple[str, str, str]], numbers: tuple[Any, ...]
) -> None:
    periods, meta = past(client, **options)
    assert [bounds(each) for each in periods] == expected
    names = ("current_page", "next_page", "prev_page", "total_pages", "total_count")
    assert meta == dict(zip(names, numbers, strict=True))


def test_a_filter_leaves_charges_out_and_their_amounts(client: Client) -> None:
    by_metric, _ = past(client, billable_metric_code="tokens")
    assert [(each.amount_cents, len(each.charges_usage)) for each in by_metric] == [(0, 1), (1350, 1), (0, 1)]
    by_charge = client.customers.current_usage("acme", "acme-main", charge_code="li_seats")
    assert [each.billable_metric.code for each in by_charge.charges_usage] == ["seats"]
    lago_id = by_charge.charges_usage[0].charge.lago_id
    assert client.customers.current_usage("acme", "acme-main", charge_id=lago_id) == by_charge
    assert client.customers.current_usage("acme", "acme-main", filter_by_charge_code="li_seats") == by_charge
    both = client.customers.current_usage("acme", "acme-main", charge_id=lago_id, charge_code="li_calls")
    assert (both.charges_usage, both.amount_cents) == ([], 0)


def test_current_usage_of_a_subscription_that_has_ended_is_its_last_period(client: Client) -> None:
    found = client.customers.current_usage("acme", "acme-main", apply_taxes="true", full_usage=True)
    assert bounds(found) == MARCH
    assert found.amount_cents == 1000
    projected = client.customers.projected_usage("acme", "acme-main", apply_taxes="false")
    assert (bounds(projected), projected.projected_amount_cents) == (MARCH, 1000)
    assert [each.projected_units for each in projected.charges_usage] == ["0", "0", "1", "0"]


def test_usage_of_a_subscription_that_runs(client: Client) -> None:
    """It has no usage, and no charge of it is left out."""
    found = client.customers.current_usage("shy", "shy-main")
    projected = client.customers.projected_usage("shy", "shy-main")
    now = datetime.now(UTC)
    assert found.from_datetime <= now.isoformat() <= found.to_datetime
    assert (found.amount_cents, [each.units for each in found.charges_usage]) == (0, ["0"])
    assert bounds(projected) == bounds(found)
    assert projected.charges_usage[0].dict()["projected_amount_cents"] == 0


@pytest.mark.parametrize(
    ("customer", "subscription"),
    [
        pytest.param("nobody", "acme-main", id="unknown customer"),
        pytest.param("acme", "nothing", id="unknown subscription"),
        pytest.param("shy", "acme-main", id="another customer's subscription"),
        pytest.param("stranger", "stranger-main", id="another organization's"),
        pytest.param("x" * 256, "acme-main", id="no id of a customer"),
        pytest.param("äcme-ö 🐦", "acme-main", id="letters beyond ASCII"),
        pytest.param("a%00b", "acme-main", id="a control character"),
    ],
)
@pytest.mark.parametrize("kind", ["current_usage", "past_usage", "projected_usage"])
def test_what_there_is_not_is_not_found(client: Client, kind: str, customer: str, subscription: str) -> None:
    ask = getattr(client.customers, kind)
    assert refusal(lambda: ask(customer, subscription)) == (404, {"status": 404, "error": "Not Found"})


def test_another_organization_s_key_finds_nothing(api: Stack) -> None:
    client = Client(api_key=api.other_key, api_url=f"{api.base_url}/")
    assert refusal(lambda: client.customers.past_usage("acme", "acme-main"))[0] == 404
    revoked = Client(api_key=api.revoked_key, api_url=f"{api.base_url}/")
    assert refusal(lambda: revoked.customers.current_usage("acme", "acme-main"))[0] == 401


@pytest.mark.parametrize(
    ("subscription", "options", "details"),
    [
        pytest.param("", {}, {"external_subscription_id": ["value_is_mandatory"]}, id="no subscription"),
        pytest.param("x" * 256, {}, {"external_subscription_id": ["value_is_too_long"]}, id="long id"),
        pytest.param("a\x1b", {}, {"external_subscription_id": ["value_is_invalid"]}, id="control character"),
        pytest.param("acme-main", {"periods_count": 0}, {"periods_count": ["value_is_out_of_range"]}, id="0"),
        pytest.param(
            "acme-main", {"per_page": 101}, {"per_page": ["value_is_out_of_range"]}, id="page of 101"
        ),
        pytest.param(
            "acme-main",
            {"page": -1, "per_page": "1e2", "periods_count": "\u0661", "charge_code": ""},
            {
                "charge_code": ["value_is_mandatory"],
                "page": ["value_is_invalid"],
                "per_page": ["value_is_invalid"],
                "periods_count": ["value_is_invalid"],
            },
            id="every one at once",
        ),
        pytest.param("acme-main", {"page": "9" * 5000}, {"page": ["value_is_out_of_range"]}, id="huge page"),
        pytest.param("acme-main", {"page": [1, 2]}, {"page": ["value_is_invalid"]}, id="repeated"),
        pytest.param("acme-main", {"group[region]": "eu"}, {"group": ["value_is_invalid"]}, id="grouped"),
    ],
)
def test_bad_parameters(client: Client, subscription: str, options: Any, details: dict[str, Any]) -> None:
    assert refusal(lambda: client.customers.past_usage("acme", subscription, options)) == (422, details)


def test_past_usage_as_csv(api: Stack) -> None:
    answer = httpx.get(
        f"{api.base_url}/api/v1/customers/acme/past_usage",
        params={"external_subscription_id": "acme-main", "billable_metric_code": "tokens", "per_page": 2},
        headers={"Authorization": f"Bearer {api.key}", "Accept": "text/csv"},
        timeout=10,
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert (answer.headers["vary"], answer.headers["x-meterstone-next-page"]) == ("Accept", "2")
    assert answer.text == (
        "from_datetime,to_datetime,issuing_date,charge_code,charge_model,billable_metric_code,"
        "billable_metric_name,aggregation_type,units,events_count,amount_cents,amount_currency\r\n"
        f"{','.join(MARCH)},li_tokens,graduated,tokens,Tokens,sum_agg,0,0,0,EUR\r\n"
        f"{','.join(FEBRUARY)},li_tokens,graduated,tokens,Tokens,sum_agg,1500.5,0,1350,EUR\r\n"
    )


def test_analytics_as_csv(api: Stack) -> None:
    answer = httpx.get(
        f"{api.base_url}/api/v1/analytics/usage",
        params={"from_date": "2024-02-01", "to_date": "2024-02-02", "billable_metric_code": "tokens"},
        headers={"Authorization": f"Bearer {api.key}", "Accept": "text/csv, */*;q=0.1"},
        timeout=10,
    )
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.text.split("\r\n") == [
        (
            "organization_id,start_of_period_dt,end_of_period_dt,amount_currency,amount_cents,"
            "billable_metric_code,units,is_billable_metric_deleted"
        ),
        f"{api.organization_id},2024-02-01,2024-02-01,EUR,800,tokens,800,false",
        f"{api.organization_id},2024-02-02,2024-02-02,EUR,550,tokens,700.5,false",
        "",
    ]

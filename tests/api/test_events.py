"""Every file of events/ through its handler."""

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterstone import clock
from meterstone.pricing.price import BillingModel, Price
from meterstone.usage.analytics import DayUsage
from meterstone.usage.calendar import Granularity
from meterstone.usage.instant import DAY, parse_instant
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.subscription import Dated, LineItem, Subscription

EVENTS = Path(__file__).parents[2] / "events"
# In Chicago, the organization's zone, it is still the day before.
NOW = parse_instant("2023-12-05T03:00:00Z")
YESTERDAY = date(2023, 12, 4)

START = parse_instant("2023-01-01T00:00:00Z")
PRICE = Price("price", "usd", BillingModel.FLAT_FEE, Decimal("0.25"), meter_id="tokens")
TOKENS = Meter("tokens", "tokens", "Tokens", Aggregation.SUM, "request", "tokens")
SUBSCRIPTION = Subscription(
    id="sub_dunlin",
    external_id="dunlin",
    customer_id="dunlin",
    currency="usd",
    timezone="UTC",
    start=START,
    end=None,
    billing_period=BillingPeriod.MONTHLY,
    billing_period_count=1,
    billing_cycle=BillingCycle.CALENDAR,
    anchor=START,
    plan=(Dated("business"),),
    line_items=(LineItem("line-item", PRICE, START, meter=TOKENS),),
)

ALLOWED = {"analytics_usage": "GET", "subscription_usage": "POST"}


@pytest.fixture(autouse=True)
def _usage(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)
    store.days = [DayUsage(date(2023, 11, 15).toordinal(), "usd", "tokens", Decimal(5), 125)]
    store.meters = (TOKENS,)
    store.subscriptions = {"sub_dunlin": SUBSCRIPTION, "sub_dunlin_shifted": SUBSCRIPTION}
    store.usage = {"line-item": Decimal(10)}


def event(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return read


def invoke(load: Callable[[str], Any], name: str) -> tuple[int, Any, dict[str, str]]:
    status, body, headers = load(name.partition(".")[0])(event(name))
    assert headers.pop("Content-Type") == "application/json"
    return status, body, headers


LAGO = [
    pytest.param("default", "2023-11-15", "2023-11-15", id="default"),
    pytest.param("filters", "2023-11-01", "2023-11-30", id="filters"),
    pytest.param("weekly", "2023-11-13", "2023-11-19", id="weekly"),
    pytest.param("yearly", "2023-01-01", "2023-12-31", id="yearly"),
    pytest.param("customer", "2023-11-15", "2023-11-15", id="customer"),
    pytest.param("unknown_parameter", "2023-11-15", "2023-11-15", id="unknown parameter"),
]


@pytest.mark.parametrize(("case", "start", "end"), LAGO)
def test_analytics(load: Callable[[str], Any], case: str, start: str, end: str) -> None:
    status, body, headers = invoke(load, f"analytics_usage.{case}")
    assert (status, headers) == (200, {"Vary": "Accept"})
    assert body == {
        "usages": [
            {
                "organization_id": "7d1f4f0e-3a52-4a53-9d1c-6a0c7f8b9e10",
                "start_of_period_dt": start,
                "end_of_period_dt": end,
                "amount_currency": "USD",
                "amount_cents": 125,
                "billable_metric_code": "tokens",
                "units": "5",
                "is_billable_metric_deleted": False,
            }
        ]
    }


def test_analytics_of_nobody(load: Callable[[str], Any]) -> None:
    assert invoke(load, "analytics_usage.empty") == (200, {"usages": []}, {"Vary": "Accept"})


def test_analytics_as_csv(load: Callable[[str], Any], store: Any) -> None:
    """A code that a spreadsheet could run is quoted; units below zero are a number."""
    day = date(2023, 11, 15).toordinal()
    store.days += [DayUsage(day, "usd", "=1+1", Decimal("-2.50"), -3)]
    status, body, headers = load("analytics_usage")(event("analytics_usage.csv"))
    assert (status, headers["Content-Type"], headers["Vary"]) == (200, "text/csv; charset=utf-8", "Accept")
    assert body.split("\r\n")[1:] == [
        '7d1f4f0e-3a52-4a53-9d1c-6a0c7f8b9e10,2023-11-15,2023-11-15,USD,-3,"\'=1+1",-2.5,false',
        "7d1f4f0e-3a52-4a53-9d1c-6a0c7f8b9e10,2023-11-15,2023-11-15,USD,125,tokens,5,false",
        "",
    ]


def test_an_error_is_json_where_csv_is_asked_for(load: Callable[[str], Any]) -> None:
    status, body, _ = invoke(load, "analytics_usage.csv_refused")
    assert (status, body["error_details"]) == (422, {"currency": ["value_is_invalid"]})


def test_today_is_the_organizations(load: Callable[[str], Any], store: Any) -> None:
    invoke(load, "analytics_usage.default")
    assert store.queries[0].to_day == YESTERDAY.toordinal()
    assert store.queries[0].from_day == YESTERDAY.toordinal() - 30


def test_all_filters_reach_the_store(load: Callable[[str], Any], store: Any) -> None:
    invoke(load, "analytics_usage.filters")
    (query,) = store.queries
    assert (query.granularity, query.recurring) == (Granularity.MONTHLY, False)
    assert (query.currency, query.customer_country, query.customer_type) == ("eur", "DE", "company")
    assert (query.external_customer_id, query.external_subscription_id) == ("dunlin", "dunlin")
    assert (query.plan_code, query.metric_code) == ("business", "prompt_tokens")


LAGO_ERRORS = {401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed"}


@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("no_key", 401),
        ("unknown_key", 401),
        ("malformed_key", 401),
        ("wrong_method", 405),
        ("options", 405),
        ("unknown_route", 404),
    ],
)
def test_analytics_refused(load: Callable[[str], Any], case: str, status: int) -> None:
    found, body, headers = invoke(load, f"analytics_usage.{case}")
    assert (found, body) == (status, {"status": status, "error": LAGO_ERRORS[status]})
    assert headers.get("Allow") == ("GET" if status == 405 else None)


def test_a_head_request_has_no_body(load: Callable[[str], Any]) -> None:
    assert invoke(load, "analytics_usage.head") == (405, None, {"Allow": "GET"})


@pytest.mark.parametrize(
    ("case", "details"),
    [
        ("bad_dates", {"from_date": ["invalid_date"], "to_date": ["invalid_date"]}),
        ("reversed_dates", {"from_date": ["invalid_date_range"]}),
        ("too_long_a_range", {"from_date": ["value_is_out_of_range"]}),
        ("repeated_parameter", {"currency": ["value_is_invalid"]}),
        ("list_parameter", {"currency": ["value_is_invalid"]}),
        ("huge_id", {"external_customer_id": ["value_is_too_long"]}),
        (
            "bad_everything",
            {
                "time_granularity": ["value_is_invalid"],
                "currency": ["value_is_invalid"],
                "from_date": ["invalid_date"],
                "to_date": ["invalid_date"],
                "customer_type": ["value_is_invalid"],
                "external_customer_id": ["value_is_invalid"],
                "customer_country": ["not_a_valid_country_code"],
                "external_subscription_id": ["value_is_mandatory"],
                "is_billable_metric_recurring": ["value_is_invalid"],
                "plan_code": ["value_is_too_long"],
                "billable_metric_code": ["value_is_invalid"],
            },
        ),
    ],
)
def test_analytics_of_bad_parameters(
    load: Callable[[str], Any], store: Any, case: str, details: dict[str, list[str]]
) -> None:
    status, body, _ = invoke(load, f"analytics_usage.{case}")
    assert (status, body["error_details"]) == (422, details)
    assert store.queries == []


@pytest.mark.parametrize(
    ("case", "start", "end"),
    [
        ("default", "2023-12-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("zero_times", "2023-12-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("base64", "2023-12-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("lifetime", "2023-01-01T00:00:00Z", "2023-12-05T03:00:00Z"),
        ("window", "2023-11-16T18:30:00.000001Z", "2023-11-16T19:00:00Z"),
    ],
)
def test_subscription_usage(load: Callable[[str], Any], store: Any, case: str, start: str, end: str) -> None:
    status, body, headers = invoke(load, f"subscription_usage.{case}")
    assert (status, headers) == (200, {})
    assert (body["start_time"], body["end_time"]) == (start, end)
    assert (body["amount"], body["display_amount"], body["currency"]) == (2.5, "$2.5", "usd")
    assert [(row["quantity"], row["amount"]) for row in body["charges"]] == [(10, 2.5)]
    (plan,) = store.plans
    assert (plan.start, plan.end) == (parse_instant(start), min(parse_instant(end), NOW + DAY))


def test_subscription_usage_of_an_empty_window(load: Callable[[str], Any]) -> None:
    status, body, _ = invoke(load, "subscription_usage.empty_window")
    assert (status, body["start_time"], body["end_time"]) == (
        200,
        "2023-11-15T00:00:00Z",
        "2023-11-15T00:00:00Z",
    )


@pytest.mark.parametrize(
    ("case", "status", "code"),
    [
        *[
            (case, 400, "validation_error")
            for case in (
                "no_body",
                "malformed_json",
                "repeated_key",
                "not_a_number",
                "nested",
                "list",
                "missing_id",
                "empty_id",
                "wrong_types",
                "bare_date",
                "no_such_day",
                "reversed_bounds",
            )
        ],
        ("unknown_id", 404, "not_found"),
        ("separator_in_id", 404, "not_found"),
        ("huge_id", 404, "not_found"),
        ("unknown_route", 404, "not_found"),
        ("wrong_method", 405, "invalid_operation"),
    ],
)
def test_subscription_usage_refused(load: Callable[[str], Any], case: str, status: int, code: str) -> None:
    found, body, headers = invoke(load, f"subscription_usage.{case}")
    assert (found, body["code"], body["http_status_code"]) == (status, code, status)
    assert isinstance(body["message"], str)
    assert headers.get("Allow") == ("POST" if status == 405 else None)


@pytest.mark.parametrize("case", ["no_key", "unknown_key"])
def test_subscription_usage_without_a_good_key(load: Callable[[str], Any], case: str) -> None:
    assert invoke(load, f"subscription_usage.{case}") == (401, {"error": "Unauthorized"}, {})


def test_every_event_is_listed_in_the_readme_and_run_here() -> None:
    files = {path.stem for path in EVENTS.glob("*.json")}
    readme = (EVENTS / "README.md").read_text()
    tests = "".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py"))
    assert files
    for name in files:
        case = name.partition(".")[2]
        assert f"`{case}`" in readme
        assert f'"{case}"' in tests or f"{name}" in tests

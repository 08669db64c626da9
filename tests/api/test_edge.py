"""What all functions have in common: the log line, outages, failures, odd events."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from meterstone.store.reading.analytics import ViewNotBuiltError

FUNCTIONS = {
    "analytics_usage": ("GET", "/api/v1/analytics/usage", {"Authorization": "Bearer events-key"}, None),
    "subscription_usage": (
        "POST",
        "/v1/subscriptions/usage",
        {"X-API-KEY": "events-key"},
        '{"subscription_id": "sub", "name": "Jane Roe"}',
    ),
    "ingest_events": (
        "POST",
        "/api/v1/events",
        {"Authorization": "Bearer events-key"},
        '{"event": {"transaction_id": "t", "code": "c", "external_subscription_id": "Jane Roe"}}',
    ),
}
EVENT_METRICS = {f"Events{outcome}" for outcome in ("Accepted", "Duplicate", "Conflicting", "Unmatched")}
FAILURES = {
    "analytics_usage": {"status": 500, "error": "Internal Server Error"},
    "subscription_usage": {
        "code": "internal_error",
        "message": "Something went wrong on our side.",
        "http_status_code": 500,
    },
    "ingest_events": {"status": 500, "error": "Internal Server Error"},
}


def event(function: str, **changes: Any) -> dict[str, Any]:
    method, path, headers, body = FUNCTIONS[function]
    return {
        "httpMethod": method,
        "path": path,
        "headers": headers,
        "body": body,
        "queryStringParameters": {"plan_code": "secret-plan"},
        "requestContext": {"requestId": "r-1", "stage": "prod", "path": "/prod" + path},
    } | changes


def log_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


each_function = pytest.mark.parametrize("function", FUNCTIONS)


@each_function
def test_one_log_line(load: Callable[[str], Any], function: str, capsys: pytest.CaptureFixture[str]) -> None:
    invoke = load(function)
    for cold in (True, False):
        status, _, _ = invoke(event(function))
        (line,) = log_lines(capsys)
        assert (line["level"], line["message"], line["service"]) == ("INFO", "request", function)
        assert line["route"] == " ".join(FUNCTIONS[function][:2])
        assert line["organization"] == "7d1f4f0e-3a52-4a53-9d1c-6a0c7f8b9e10"
        assert (line["status"], line["request_id"], line["cold_start"]) == (status, "r-1", cold)
        assert line["items"] == 2
        assert line["read_units"] == 1
        assert line["milliseconds"] > 0
        assert "location" not in line
        assert not {"events-key", "secret-plan", "Jane Roe"} & set(json.dumps(line).split('"'))


@each_function
def test_the_log_line_carries_metrics(
    load: Callable[[str], Any], function: str, capsys: pytest.CaptureFixture[str]
) -> None:
    load(function)(event(function))
    (line,) = log_lines(capsys)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    names = {metric["Name"] for metric in directive["Metrics"]}
    assert directive["Namespace"] == "Meterstone"
    assert directive["Dimensions"] == [["route", "service"]]
    assert names - EVENT_METRICS == {"Latency", "ItemsRead", "ReadUnits", "Failures"}
    assert names & EVENT_METRICS == (EVENT_METRICS if function == "ingest_events" else set())
    assert names <= line.keys()


@each_function
def test_an_outage_is_503_with_retry_after(
    load: Callable[[str], Any], store: Any, unavailable: Exception, function: str
) -> None:
    store.failure = unavailable
    status, body, headers = load(function)(event(function))
    assert (status, headers["Retry-After"]) == (503, "5")
    assert body in ({"status": 503, "error": "Service Unavailable"}, body | {"code": "service_unavailable"})


def test_a_view_that_is_not_built_is_422_for_good_and_the_log_says_which(
    load: Callable[[str], Any], store: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    store.failure = ViewNotBuiltError("PCY")
    status, body, headers = load("analytics_usage")(event("analytics_usage"))
    assert (status, body["code"], body["error_details"]) == (
        422,
        "view_not_built",
        {"base": ["view_not_built"]},
    )
    assert "Retry-After" not in headers
    (line,) = log_lines(capsys)
    assert line["reason"] == "the live generation has no view PCY: rebuild the organization"


@each_function
def test_a_failure_says_nothing_of_its_cause(
    load: Callable[[str], Any], store: Any, function: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store.failure = ZeroDivisionError("the cause")
    status, body, headers = load(function)(event(function))
    assert (status, body, headers) == (500, FAILURES[function], {"Content-Type": "application/json"})
    (line,) = log_lines(capsys)
    assert (line["level"], line["status"], line["exception_name"]) == ("ERROR", 500, "ZeroDivisionError")
    assert "the cause" in line["exception"]


@each_function
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"path": None}, id="no path"),
        pytest.param({"httpMethod": None}, id="no method"),
        pytest.param({"headers": {"Authorization": 5, "x-api-key": 5}}, id="a header that is no text"),
    ],
)
def test_what_no_gateway_sends_is_a_failure_in_shape(
    load: Callable[[str], Any], function: str, changes: dict[str, Any]
) -> None:
    status, body, _ = load(function)(event(function, **changes))
    assert (status, body) == (500, FAILURES[function])


@each_function
@pytest.mark.parametrize("stage", ["prod", "$default", ""])
def test_the_stage_is_no_part_of_the_path(
    load: Callable[[str], Any], store: Any, function: str, stage: str
) -> None:
    path = FUNCTIONS[function][1]
    context = {"requestId": "r-1", "stage": stage, "path": f"/{stage}{path}".replace("//", "/")}
    load(function)(event(function, requestContext=context))
    assert store.keys == ["events-key"]


@each_function
@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/", id="root"),
        pytest.param("", id="empty"),
        pytest.param("/x" * 4000, id="huge"),
        pytest.param("/api/v1/analytics/usage/x", id="longer"),
        pytest.param("/v1/subscriptions/usage%00", id="with a NUL"),
        pytest.param("/ü\n", id="odd"),
    ],
)
def test_unknown_paths(
    load: Callable[[str], Any], function: str, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, body, _ = load(function)(event(function, path=path))
    assert status == 404
    assert {"status", "http_status_code"} & body.keys()
    (line,) = log_lines(capsys)
    assert (line["route"], line["organization"], line["items"]) == ("unknown", "unknown", 0)


@each_function
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "get", "TRACE"])
def test_other_methods(load: Callable[[str], Any], function: str, method: str) -> None:
    status, body, headers = load(function)(event(function, httpMethod=method))
    if method.upper() == FUNCTIONS[function][0]:
        assert status == 200
        return
    assert (status, headers["Allow"]) == (405, FUNCTIONS[function][0])
    assert (body is None) is (method == "HEAD")


def test_two_functions_in_one_process_do_not_mix_their_requests_up(load: Callable[[str], Any]) -> None:
    invokes = {function: load(function) for function in FUNCTIONS}

    def answers(function: str) -> set[str]:
        return {json.dumps(invokes[function](event(function))[1]) for _ in range(300)}

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor() as threads:
            found = dict(zip(FUNCTIONS, threads.map(answers, FUNCTIONS), strict=True))
    finally:
        sys.setswitchinterval(interval)
    assert found["analytics_usage"] == {'{"usages": []}'}
    (unknown,) = found["subscription_usage"]
    assert json.loads(unknown)["message"] == "There is no such subscription."


@each_function
def test_a_slash_at_the_end_makes_no_difference(
    load: Callable[[str], Any], store: Any, function: str
) -> None:
    path = FUNCTIONS[function][1] + "/"
    load(function)(event(function, path=path))
    assert store.keys == ["events-key"]
    assert load(function)(event(function, path=path, httpMethod="PUT"))[0] == 405


@each_function
def test_a_malformed_key_is_not_looked_up(load: Callable[[str], Any], store: Any, function: str) -> None:
    status, _, _ = load(function)(event(function, headers={"Authorization": "Bearer ключ", "x-api-key": "к"}))
    assert (status, store.keys) == (401, [])


@each_function
def test_the_key_may_come_in_the_multi_valued_headers_alone(
    load: Callable[[str], Any], store: Any, function: str
) -> None:
    several = {name: [value] for name, value in (FUNCTIONS[function][2] or {}).items()}
    load(function)(event(function, headers=None, multiValueHeaders=several))
    assert store.keys == ["events-key"]


def test_a_bad_key_is_told_before_bad_parameters(load: Callable[[str], Any]) -> None:
    bad = event("analytics_usage", headers={}, queryStringParameters={"from_date": "yesterday"})
    assert load("analytics_usage")(bad)[0] == 401


def test_the_edge_and_the_contracts_do_without_what_is_slow_to_import() -> None:
    """Pydantic alone would take a fifth of a cold start, and Powertools' event handler brings asyncio."""
    contracts = (
        "lago",
        "flexprice",
        "lago_events",
        "flexprice_events",
        "explain",
        "preview",
        "price_preview",
    )
    found = imported("meterstone.edge.application", *(f"meterstone.contracts.{name}" for name in contracts))
    assert "aws_lambda_powertools.logging" in found
    assert not {"aws_lambda_powertools.event_handler", "asyncio", "multiprocessing", "pydantic"} & found


@pytest.mark.parametrize(
    ("room", "others"),
    [
        pytest.param(
            "analytics", {"store.reading.window", "usage.measure", "usage.statement"}, id="analytics"
        ),
        pytest.param("window", {"store.reading.analytics", "usage.analytics"}, id="subscription usage"),
    ],
)
def test_what_one_endpoint_reads_from_imports_nothing_of_the_other_s(room: str, others: set[str]) -> None:
    """Each import is part of a cold start."""
    found = imported(f"meterstone.store.reading.{room}")
    assert "meterstone.store.dynamodb.table" in found
    assert not found & {f"meterstone.{other}" for other in others}


def test_the_usage_functions_import_nothing_of_the_views() -> None:
    """What explains and previews has a function of its own, and its own cold start."""
    endpoints = ("store.reading.window", "contracts.flexprice", "usage.measure", "usage.statement")
    found = imported("meterstone.edge.application", *(f"meterstone.{each}" for each in endpoints))
    views = {
        *("contracts.explain", "contracts.fields", "contracts.preview", "contracts.price_object"),
        *("contracts.price_preview", "contracts.sentence", "contracts.wording", "pricing.consumption"),
        *("store.catalogue.plans", "usage.explanation", "usage.preview", "usage.recorded"),
    }
    assert not found & {f"meterstone.{each}" for each in views}
    own = imported("meterstone.contracts.price_preview", "meterstone.store.catalogue.plans")
    assert own >= {f"meterstone.{each}" for each in views - {"usage.recorded"}}


def imported(*modules: str) -> set[str]:
    """Import modules in a fresh interpreter, and give all that was imported by that."""
    found = subprocess.run(  # noqa: S603 - this interpreter, and code that stands here
        [sys.executable, "-c", f"import sys, {', '.join(modules)}; print(*sys.modules)"],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(found.stdout.split())

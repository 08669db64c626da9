"""Generated requests, good and bad, to the running API: its answers are what openapi.yaml says.

Each operation is tried twice: with what schemathesis makes of the description, of which little reaches any
usage, and with known ids and days put in its place. Every check of schemathesis is on but for

- `positive_data_acceptance`: what one schema cannot say is refused all the same, as `from_date` after
  `to_date`, too many days, an end before its start, and an id that nobody has.

Requests are the same on every run.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from schemathesis.specs.openapi.schemas import OpenApiSchema

from support.stack import Stack

type Case = schemathesis.Case[Any]
type Check = Callable[[Case], None]

pytestmark = pytest.mark.slow


def described(*modes: GenerationMode) -> OpenApiSchema:
    """Read openapi.yaml, for requests of some modes. Keys are the fixture's, not generated."""
    schema = schemathesis.openapi.from_path(Path(__file__).parents[2] / "openapi.yaml")
    schema.config.generation.update(modes=list(modes), deterministic=True, with_security_parameters=False)
    # A condition that does not hold, and a body that is too large, are refused like any other wrong request.
    rejected = schema.config.checks.negative_data_rejection
    rejected.expected_statuses = [*rejected.expected_statuses, "412", "413"]
    return schema


GENERATED = described(GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
KNOWN = described(GenerationMode.POSITIVE)

bounded = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.function_scoped_fixture,
    ],
)


@pytest.fixture(scope="module")
def check(api: Stack) -> Check:
    def check(case: Case) -> None:
        case.call_and_validate(
            base_url=api.base_url,
            headers={"Authorization": f"Bearer {api.key}", "x-api-key": api.key},
            timeout=10,
            excluded_checks=[positive_data_acceptance],
        )

    return check


@GENERATED.parametrize()
@bounded
def test_generated(case: Case, check: Check) -> None:
    check(case)


DAYS = {"from_date": "2024-01-01", "to_date": "2024-04-30"}
VALUES = {
    "currency": "eur",
    "customer_type": "company",
    "external_customer_id": "acme",
    "customer_country": "PT",
    "external_subscription_id": "acme-main",
    "plan_code": "team",
    "billable_metric_code": "tokens",
}


LONG_AGO = {"timestamp": "2001-01-01T00:00:00Z", "external_customer_id": "acme"}
LONG_AGO_IN_SECONDS = {"timestamp": 978307200, "external_subscription_id": "acme-main"}


def past(body: Any) -> Any:
    """Give a body whose events are those of a known customer, long ago."""
    if isinstance(body, dict):
        if "transaction_id" in body:
            return body | LONG_AGO_IN_SECONDS
        if "event_name" in body:
            return body | LONG_AGO
        return {name: past(value) for name, value in body.items()}
    return [past(each) for each in body] if isinstance(body, list) else body


@KNOWN.parametrize()
@bounded
def test_known(case: Case, check: Check, api: Stack) -> None:
    match case.path:
        case "/api/v1/analytics/usage":
            given = {name: value for name, value in VALUES.items() if name in case.query}
            case.query = {**case.query, **given, **DAYS}
        case path if path.startswith("/v1/subscriptions/usage"):
            assert isinstance(case.body, dict)
            case.body["subscription_id"] = api.subscription_id
        case path if path.startswith("/api/v1/customers/"):
            case.path_parameters["external_customer_id"] = "acme"
            case.query["external_subscription_id"] = "acme-main"
        case _:
            # No test asks for the usage of these years.
            case.body = past(case.body)
    check(case)

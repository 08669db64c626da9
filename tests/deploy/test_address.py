"""Any deployed address: `make test-deployed` with `URL` and `KEY` in the environment.

`URL` is the address of a stage. `KEY` is a key of the organization of `tests/deploy/catalogue`, which somebody who
has rights on the table has loaded there once. Nothing else is needed: no rights in AWS, no other organization.

The tests leave every figure as it was. The one event that counts is taken back by an event of the opposite
amount, also if the test fails in between. Both stay in the log of that organization, since the log keeps every
event; their ids begin with `deployment-test-`. Records of the catalogue are put exactly as they are stored, which
changes nothing. All other requests read, or are refused, and store nothing.

The function that carries recounts on (`recount_usage`) is not asked: no request reaches it, and only a change that
moves counted usage begins a recount, which would stay in the table. Its schedule calls it every five minutes, also
if nothing is due. If it cannot be loaded, `RecountUsageVersionAlarm` and `RecountUsageErrorsAlarm` ring.
"""

import json
import os
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import SystemRandom
from typing import Any
from uuid import uuid4

import pytest
import yaml

from support.over_http import call

pytestmark = pytest.mark.deploy

GATEWAY_KEYS = {"status", "error", "code", "message", "http_status_code"}
CODE = "deployment_test"
EXTERNAL_ID = "deployment-tests"
SUBSCRIPTION_ID = "sub_deployment_tests"
ORGANIZATION_ID = "7f1d7c1e-5b0a-4a39-9d0c-3f0c2d5e8a11"
#: One of each kind.
RECORDS = (
    "customers/deployment-tests",
    "meters/meter_deployment_test",
    "plans/deployment-tests",
    "prices/price_deployment_test",
    "subscriptions/sub_deployment_tests",
)
#: How long an event may take until it is counted. A first event also starts the function that counts.
COUNTED_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Address:
    url: str
    #: Not shown by a test that fails.
    key: str = field(repr=False)

    def lago(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key or self.key}", "content-type": "application/json"}
        return call(self.url + path, method=method, headers=headers, body=_encoded(body))

    def flexprice(self, path: str, body: Any, *, key: str | None = None) -> tuple[int, Any]:
        headers = {"x-api-key": key or self.key, "content-type": "application/json"}
        return call(self.url + path, method="POST", headers=headers, body=_encoded(body))

    def own(self, method: str, path: str, body: Any = None, *, version: int | None = None) -> tuple[int, Any]:
        """Send a request to the catalogue; a record is put only if it has the version."""
        headers = {"x-api-key": self.key, "content-type": "application/json"}
        headers |= {} if version is None else {"If-Match": f'"{version}"'}
        return call(f"{self.url}/catalogue/v1/{path}", method=method, headers=headers, body=_encoded(body))

    def counted(self, day: date) -> tuple[Decimal, int, Decimal]:
        """Return the day's units and cents as the analytics have them, and the subscription's quantity."""
        query = urllib.parse.urlencode(
            {"from_date": day, "to_date": day, "time_granularity": "daily", "billable_metric_code": CODE}
        )
        status, analytics = self.lago("GET", f"/api/v1/analytics/usage?{query}")
        assert status == 200, analytics
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        window = {"start_time": start.isoformat(), "end_time": (start + timedelta(days=1)).isoformat()}
        status, usage = self.flexprice(
            "/v1/subscriptions/usage", {"subscription_id": SUBSCRIPTION_ID} | window
        )
        assert status == 200, usage
        return (
            sum((Decimal(row["units"]) for row in analytics["usages"]), Decimal(0)),
            sum(row["amount_cents"] for row in analytics["usages"]),
            sum((Decimal(str(row["quantity"])) for row in usage["charges"]), Decimal(0)),
        )


def _encoded(body: Any) -> bytes | None:
    return None if body is None else json.dumps(body).encode()


@pytest.fixture(scope="module")
def address() -> Address:
    return Address(os.environ["URL"].rstrip("/"), os.environ["KEY"])


@pytest.fixture
def catalogue(address: Address) -> Address:
    """Return the address, if the key opens the catalogue there."""
    status, body = address.own("GET", "organization")
    if status == 403 and "catalogue" in str(body):
        pytest.skip("KEY has not the scope `catalogue`: the functions of the catalogue are not tested")
    assert status == 200, body
    return address


@pytest.fixture
def day() -> date:
    """Choose a day of 2025, so that two runs at once hardly ever meet on one."""
    return date(2025, 1, 1) + timedelta(days=SystemRandom().randrange(365))


def until(expected: Any, read: Callable[[], Any]) -> Any:
    """Read until it is what is expected, or the time for counting is over. Return what was read last."""
    latest = time.monotonic() + COUNTED_SECONDS
    while (found := read()) != expected and time.monotonic() < latest:
        time.sleep(0.5)
    return found


def test_the_address_describes_itself(address: Address) -> None:
    status, description = call(address.url + "/openapi.yaml")

    assert status == 200
    assert yaml.safe_load(description)["paths"].keys() >= {
        "/api/v1/analytics/usage",
        "/v1/subscriptions/usage",
    }


def test_an_unknown_route_is_404_in_the_words_of_both_contracts(address: Address) -> None:
    status, body = call(address.url + "/api/v1/analytics/nothing")

    assert status == 404
    assert body.keys() == GATEWAY_KEYS


@pytest.mark.parametrize("key", ["wrong", "mst_" + "0" * 43], ids=["no key of ours", "nobody's key"])
def test_a_wrong_key_is_refused_by_both_contracts(address: Address, key: str) -> None:
    lago, _ = address.lago("GET", "/api/v1/analytics/usage", key=key)
    flexprice, _ = address.flexprice("/v1/subscriptions/usage", {"subscription_id": SUBSCRIPTION_ID}, key=key)

    assert (lago, flexprice) == (401, 401)


def test_events_that_are_none_are_refused_by_both_contracts(address: Address) -> None:
    lago, _ = address.lago("POST", "/api/v1/events", {"event": {"transaction_id": "deployment-test"}})
    flexprice, _ = address.flexprice("/v1/events", {"event_id": "deployment-test"})

    assert (lago, flexprice) == (422, 400)


def test_an_event_is_counted_once_in_both_endpoints_and_taken_back(address: Address, day: date) -> None:
    run = f"deployment-test-{uuid4().hex}"
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    event = {
        "transaction_id": run,
        "code": CODE,
        "external_subscription_id": EXTERNAL_ID,
        "timestamp": str(int(noon.timestamp())),
        "properties": {"n": "7"},
    }
    back = {
        "event_id": f"{run}-back",
        "event_name": CODE,
        "external_customer_id": EXTERNAL_ID,
        "timestamp": noon.isoformat(),
        "properties": {"n": "-7"},
    }
    units, cents, quantity = before = address.counted(day)
    more = (units + 7, cents + 7, quantity + 7)
    try:
        answers = [address.lago("POST", "/api/v1/events", {"event": event})[0] for _ in range(2)]
        assert answers == [200, 422]
        assert until(more, lambda: address.counted(day)) == more
        status, found = address.lago("GET", f"/api/v1/events/{run}?external_subscription_id={EXTERNAL_ID}")
        assert (status, found["event"]["meterstone"]["state"]) == (200, "counted")
    finally:
        status, _ = address.flexprice("/v1/events", back)
    assert status == 202
    assert until(before, lambda: address.counted(day)) == before


def test_the_catalogue_says_whose_it_is(catalogue: Address) -> None:
    _, organization = catalogue.own("GET", "organization")

    assert organization["id"] == ORGANIZATION_ID


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_that_is_put_as_it_is_stored_changes_nothing(catalogue: Address, record: str) -> None:
    status, stored = catalogue.own("GET", record)
    assert status == 200, stored
    status, put = catalogue.own("PUT", record, stored, version=stored["version"])

    assert (status, put) == (200, {"record": stored})
    assert catalogue.own("GET", record) == (200, stored)

"""Lago's own Python client, as its users have it, goes with a customer from the first day to the last."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from lago_python_client.exceptions import LagoApiError
from lago_python_client.models.event import Event

from meterstone.usage.instant import format_instant, parse_instant
from support.lago_client import WARNINGS, at, make_world, sign_up, subscribe
from support.own_organization import counting

pytestmark = WARNINGS


@pytest.fixture
def living(tmp_path: Path) -> Iterator[Any]:
    """Give a client of an organization whose events are counted as they come."""
    with counting() as url:
        yield make_world(url, tmp_path).client


def counted(client: Any, units: int, model: str | None = None) -> tuple[str, int]:
    """Wait until the current billing period has so many calls, and return the charge's price and its amount.

    If a charge model is named, that is waited for, too.
    """
    give_up = time.monotonic() + 90
    while True:
        found = client.customers.current_usage("acme", "acme-main", billable_metric_code="api_calls")
        (charge,) = found.charges_usage
        charged = charge.charge.charge_model, charge.amount_cents
        if (charge.units == str(units) and model in {None, charged[0]}) or time.monotonic() > give_up:
            return charged
        time.sleep(0.2)


def settled(change: Callable[[], Any]) -> Any:
    """Make a change as soon as usage that is being counted anew is counted."""
    give_up = time.monotonic() + 60
    while True:
        try:
            return change()
        except LagoApiError as error:
            if error.status_code != 409 or time.monotonic() > give_up:
                raise
        time.sleep(0.2)


def test_a_customers_life(living: Any) -> None:
    """Signed up, used, upgraded now and ahead of time, ended: each event counts where it belongs."""
    client = living

    def use(count: int) -> None:
        for _ in range(count):
            event: dict[str, Any] = {
                "transaction_id": str(uuid4()),
                "external_subscription_id": "acme-main",
                "code": "api_calls",
            }
            client.events.create(Event(**event))

    sign_up(client)
    made = subscribe(client, "basic")
    use(3)
    assert counted(client, 3) == ("standard", 30)
    # It was to be on another plan from its beginning: what was used is counted anew.
    turn = format_instant(parse_instant(made.started_at) + 1)
    corrected = subscribe(client, "team", subscription_at=turn)
    assert (corrected.status, corrected.previous_plan_code) == ("active", "basic")
    assert counted(client, 3, "package") == ("package", 500)
    changed = settled(lambda: subscribe(client, "basic"))
    assert (changed.status, changed.previous_plan_code) == ("active", "team")
    use(2)
    assert counted(client, 2) == ("standard", 20)
    ahead = settled(lambda: subscribe(client, "yearly", subscription_at=at(days=7)))
    assert ahead.status == "pending"
    use(1)
    assert counted(client, 3) == ("standard", 30)
    ended = client.subscriptions.destroy("acme-main")
    assert (ended.lago_id, ended.status) == (changed.lago_id, "terminated")
    use(1)
    assert counted(client, 3) == ("standard", 30)
    # An end so soon after a recount has one of its own: until then the event behind it counts.
    give_up = time.monotonic() + 90
    while _of_plan(client, "basic") != [(3, 30)] and time.monotonic() < give_up:
        time.sleep(0.2)
    assert [_of_plan(client, plan) for plan in ("basic", "team")] == [[(3, 30)], [(3, 500)]]
    (row,) = client.usages.find_all({"time_granularity": "yearly"})["usages"]
    assert (row.billable_metric_code, row.units, row.amount_cents) == ("api_calls", 6, 530)


def _of_plan(client: Any, plan: str) -> list[tuple[float, int]]:
    """Return the units and the amount of each row of a plan."""
    found = client.usages.find_all({"time_granularity": "yearly", "plan_code": plan})["usages"]
    return [(each.units, each.amount_cents) for each in found]

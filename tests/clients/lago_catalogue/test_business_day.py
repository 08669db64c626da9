"""A business's whole day through Lago's own Python client, as its users have it; totals by hand."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lago_python_client.models.event import Event

from meterstone.usage.instant import SECOND, format_instant, parse_instant
from support.business_day import Bill, Books, last_month
from support.lago_client import METERS, WARNINGS, World, make_world, sign_up, subscribe
from support.own_organization import counting

pytestmark = WARNINGS

#: A call is 0.10 EUR on the plan `basic`; on `team`, calls are 5.00 for each thousand that has begun.
BEFORE: Bill = {"basic": {"api_calls": (5, 50)}}
#: 1,000 gigabytes for next to nothing, ten at 0.10, and once 2.00.
UPGRADED: Bill = BEFORE | {"team": {"api_calls": (2, 500), "storage": (1010, 300)}}
#: A late call that came before the end, and one of last month that was wrong.
CLOSED: Bill = {"basic": {"api_calls": (4, 40)}, "team": {"api_calls": (3, 500), "storage": (1010, 300)}}


@pytest.fixture
def living(tmp_path: Path) -> Iterator[World]:
    """Give an organization whose events are counted as they come."""
    with counting() as url:
        yield make_world(url, tmp_path)


def books(world: World) -> Books:
    return Books(world.url, world.key, {name: meter["code"] for name, meter in METERS.items()})


def use(client: Any, name: str, at: int | None = None, code: str = "api_calls", **properties: Any) -> None:
    """Send an event of an instant, in microseconds; of now without one."""
    fields: dict[str, Any] = {"transaction_id": name, "external_subscription_id": "acme-main", "code": code}
    if at is not None:
        fields["timestamp"] = f"{at // SECOND}.{at % SECOND:06}"
    client.events.create(Event(**fields, properties=properties))


def micros(instant: datetime) -> int:
    return parse_instant(instant.isoformat())


def moment(micros: int) -> datetime:
    return datetime.fromisoformat(format_instant(micros))


def test_a_whole_day(living: World) -> None:
    """Signed up since last month, used, upgraded now, ended now, corrected: both endpoints at each step."""
    client, ours = living.client, books(living)
    sign_up(client)
    made = subscribe(client, "basic", subscription_at=f"{last_month(2):%Y-%m-%dT%H:%M:%SZ}")
    assert made.status == "active"
    for name in ("early", "wrong"):
        use(client, name, micros(last_month(15, hour=9)))
    for name in ("one", "two", "three"):
        use(client, name)
    ours.come_to(BEFORE)

    upgraded = subscribe(client, "team")
    assert (upgraded.status, upgraded.previous_plan_code) == ("active", "basic")
    for name in ("four", "five"):
        use(client, name)
    use(client, "disk", code="storage", gb=1010, region="eu")
    ours.come_to(UPGRADED)
    turn = moment(parse_instant(upgraded.started_at))
    assert ours.usage(last_month(1), turn) == BEFORE
    assert ours.usage(turn, turn + timedelta(days=2)) == {"team": UPGRADED["team"]}

    ended = client.subscriptions.destroy("acme-main")
    assert (ended.lago_id, ended.status) == (upgraded.lago_id, "terminated")
    end = parse_instant(ended.terminated_at)
    use(client, "late", end - 1)
    use(client, "too late", end)
    ours.withdraw("wrong", external_subscription_id="acme-main")
    ours.come_to(CLOSED)
    assert ours.uncounted() == [("too late", "time")]
    (last,) = client.customers.past_usage("acme", "acme-main", {"periods_count": 1})["usage_periods"]
    assert last.amount_cents == 800


def test_an_upgrade_since_an_hour_ago(living: World) -> None:
    """What was used since then is counted anew, at the prices of the plan that it was to be on."""
    client, ours = living.client, books(living)
    sign_up(client)
    subscribe(client, "basic", subscription_at=f"{last_month(2):%Y-%m-%dT%H:%M:%SZ}")
    since = datetime.now(UTC) - timedelta(hours=1)
    use(client, "before", micros(since) - 1)
    use(client, "at", micros(since))
    use(client, "after")
    ours.come_to({"basic": {"api_calls": (3, 30)}})

    upgraded = subscribe(client, "team", subscription_at=format_instant(micros(since)))
    assert (upgraded.status, upgraded.previous_plan_code) == ("active", "basic")
    use(client, "meanwhile")
    (recount,) = ours.recounted()
    assert (recount["kind"], recount["done"], recount["at"]) == ("usage", True, upgraded.started_at)
    ours.come_to({"basic": {"api_calls": (1, 10)}, "team": {"api_calls": (3, 500)}})
    assert ours.usage(since, since + timedelta(days=2)) == {"team": {"api_calls": (3, 500)}}

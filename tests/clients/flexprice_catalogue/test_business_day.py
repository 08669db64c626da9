"""A business's whole day through Flexprice's own Python client, as its users have it; totals by hand."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flexprice import Flexprice

from support.business_day import Bill, Books, last_month
from support.flexprice_client import (
    METERS,
    World,
    again,
    both,
    cancel,
    change,
    make_world,
    sign_up,
    subscribe,
)
from support.own_organization import counting

#: A call is 0.10 USD on the plan `basic`, 0.05 on `pro`.
BEFORE: Bill = {"basic": {"api_calls": (5.0, 50)}}
UPGRADED: Bill = BEFORE | {"pro": {"api_calls": (3.0, 15)}}
#: A late call that came before the end, and one of last month that was wrong.
CLOSED: Bill = {"basic": {"api_calls": (4.0, 40)}, "pro": {"api_calls": (4.0, 20)}}

TICK = timedelta(microseconds=1)


@pytest.fixture
def living(tmp_path: Path) -> Iterator[World]:
    """Give an organization whose events are counted as they come."""
    with counting() as url:
        yield make_world(url, tmp_path)


def books(world: World) -> Books:
    return Books(world.url, world.key, {name: meter["code"] for name, meter in METERS.items()})


def use(client: Flexprice, name: str, at: datetime | None = None) -> None:
    """Send an event of an instant; of now without one."""
    client.events.ingest_event(
        event_name="api_calls",
        external_customer_id="acme",
        event_id=name,
        timestamp=None if at is None else at.isoformat(),
    )


def test_a_whole_day(living: World) -> None:
    """Signed up since last month, used, upgraded now, ended now, corrected: both endpoints at each step."""
    ours = books(living)
    with living.client() as client:
        sign_up(client)
        made = subscribe(client, start_date=last_month(2), lookup_key="main")
        assert made.subscription_status == "active"
        for name in ("early", "wrong"):
            use(client, name, last_month(15, hour=9))
        for name in ("one", "two", "three"):
            use(client, name)
        ours.come_to(BEFORE)

        old, new = both(changed := change(client, made, "pro"))
        assert (old.id, old.status, new.plan_id) == (made.id, "cancelled", "pro")
        for name in ("four", "five", "six"):
            use(client, name)
        ours.come_to(UPGRADED)
        turn = changed.effective_date
        assert turn is not None
        assert ours.usage(last_month(1), turn) == BEFORE
        assert ours.usage(turn, turn + timedelta(days=2)) == {"pro": UPGRADED["pro"]}

        assert new.id is not None
        cancelled = cancel(client, client.subscriptions.get_subscription(id=new.id), "immediate")
        assert cancelled.status == "cancelled"
        assert cancelled.effective_date is not None
        use(client, "late", cancelled.effective_date - TICK)
        use(client, "too late", cancelled.effective_date)
        ours.withdraw("wrong", external_customer_id="acme")
        ours.come_to(CLOSED)
        assert ours.uncounted() == [("too late", "time")]


def test_an_upgrade_since_an_hour_ago(living: World) -> None:
    """Cancelled then and subscribed anew from then on: what was used since is counted at the other prices."""
    ours = books(living)
    with living.client() as client:
        sign_up(client)
        made = subscribe(client, start_date=last_month(2))
        since = datetime.now(UTC) - timedelta(hours=1)
        use(client, "before", since - TICK)
        use(client, "at", since)
        use(client, "after")
        ours.come_to({"basic": {"api_calls": (3.0, 30)}})

        assert cancel(client, made, "immediate", cancel_at=since).status == "cancelled"
        subscribed = subscribe(client, plan_id="pro", start_date=since)
        assert subscribed.subscription_status == "active"
        use(client, "meanwhile")
        recounts = ours.recounted()
        assert all(each["done"] for each in recounts)
        assert {name for each in recounts for name in each["subscriptions"]} == {made.id, subscribed.id}
        assert again(client, made).end_date == since
        ours.come_to({"basic": {"api_calls": (1.0, 10)}, "pro": {"api_calls": (3.0, 15)}})
        assert ours.usage(since, since + timedelta(days=2)) == {"pro": {"api_calls": (3.0, 15)}}

"""Flexprice's own Python client, as its users have it, goes with a customer from the first day to the last."""

import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from flexprice import Flexprice

from support.flexprice_client import (
    World,
    again,
    both,
    cancel,
    change,
    change_in_place,
    make_world,
    sign_up,
    subscribe,
)
from support.own_organization import counting


def counted(client: Flexprice, subscription_id: str, quantity: int) -> list[tuple[str | None, float | None]]:
    """Wait until a subscription's rows have a quantity together, and return them: price and quantity."""
    give_up = time.monotonic() + 30
    while True:
        usage = client.subscriptions.get_subscription_usage(
            subscription_id=subscription_id, lifetime_usage=True
        )
        rows = [(row.price.id if row.price else None, row.quantity) for row in usage.charges or ()]
        if sum(each or 0 for _, each in rows) >= quantity or time.monotonic() > give_up:
            return rows
        time.sleep(0.2)


@pytest.fixture
def living(tmp_path: Path) -> Iterator[World]:
    """Give an organization whose events are counted as they come."""
    with counting() as url:
        yield make_world(url, tmp_path)


def test_a_customers_life(living: World) -> None:
    """Signed up, used, changed in both ways, cancelled: each event counts where it belongs."""
    with living.client() as client:
        use = partial(client.events.ingest_event, event_name="api_calls", external_customer_id="acme")
        sign_up(client)
        made = subscribe(client, lookup_key="main")
        assert made.id is not None
        assert made.start_date is not None
        assert "unmatched" not in use(event_id="one")
        assert counted(client, made.id, 1) == [("call", 1)]
        swapped = change_in_place(client, made, "pro")
        use(event_id="two")
        assert sorted(counted(client, made.id, 2)) == [("call", 1), ("call-pro", 1)]
        _, new = both(change(client, again(client, made), "basic"))
        assert new.id is not None
        use(event_id="three")
        assert counted(client, new.id, 1) == [("call", 1)]
        cancelled = cancel(client, client.subscriptions.get_subscription(id=new.id), "immediate")
        assert cancelled.status == "cancelled"
        # One that is cancelled in the past has its usage counted anew.
        other = subscribe(client, lookup_key="other")
        assert other.id is not None
        assert other.start_date is not None
        use(event_id="four")
        assert counted(client, other.id, 1) == [("call", 1)]
        begun = other.start_date + timedelta(microseconds=1)
        assert cancel(client, other, "immediate", cancel_at=begun).status == "cancelled"
        give_up = time.monotonic() + 90
        while any(each for _, each in counted(client, other.id, 0)) and time.monotonic() < give_up:
            time.sleep(0.2)
        assert not any(each for _, each in counted(client, other.id, 0))
        assert sorted(counted(client, made.id, 2)) == [("call", 1), ("call-pro", 1)]
    assert swapped.effective_at is not None
    assert cancelled.effective_date is not None
    assert swapped.effective_at < cancelled.effective_date

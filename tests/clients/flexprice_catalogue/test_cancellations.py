"""Flexprice's own Python client, as its users have it, cancels subscriptions."""

from datetime import timedelta

from flexprice import Flexprice

from support.flexprice_client import again, ahead, cancel, refusal, same, sign_up, subscribe


def test_a_cancellation_now(client: Flexprice) -> None:
    sign_up(client)
    made = subscribe(client)
    cancelled = cancel(client, made, "immediate", reason="moved")
    assert (cancelled.status, cancelled.cancellation_type, cancelled.reason) == (
        "cancelled",
        "immediate",
        "moved",
    )
    found = again(client, made)
    assert found.subscription_status == "cancelled"
    assert found.end_date == found.cancelled_at == cancelled.effective_date
    assert same(found.cancelled_at, ahead())
    assert cancel(client, made, "immediate").effective_date == cancelled.effective_date
    status, code, details = refusal(lambda: cancel(client, made, "scheduled_date", cancel_at=ahead(days=1)))
    assert (status, code, set(details)) == (400, "invalid_operation", {"cancel_at"})


def test_a_cancellation_with_the_period(client: Flexprice) -> None:
    sign_up(client)
    made = subscribe(client)
    cancelled = cancel(client, made, "end_of_period")
    assert (cancelled.status, cancelled.effective_date) == ("active", made.current_period_end)
    found = again(client, made)
    assert (found.subscription_status, found.cancel_at_period_end) == ("active", True)
    assert found.cancel_at == found.end_date == made.current_period_end
    assert cancel(client, made, "end_of_period").effective_date == cancelled.effective_date
    endless = subscribe(client, billing_period="ONETIME", start_date=ahead(days=1))
    status, code, details = refusal(lambda: cancel(client, endless, "end_of_period"))
    assert (status, code, set(details)) == (400, "invalid_operation", {"billing_period"})


def test_a_cancellation_at_an_instant(client: Flexprice) -> None:
    sign_up(client)
    made = subscribe(client)
    at = ahead(days=3)
    for _ in range(2):
        cancelled = cancel(client, made, "scheduled_date", cancel_at=at)
        assert (cancelled.status, cancelled.effective_date) == ("active", at)
    found = again(client, made)
    assert (found.cancel_at, found.cancel_at_period_end, found.version) == (at, False, 2)
    status, code, _ = refusal(
        lambda: cancel(client, made, "scheduled_date", cancel_at=at + timedelta(days=1))
    )
    assert (status, code) == (400, "invalid_operation")
    earlier = at - timedelta(days=1)
    assert cancel(client, made, "scheduled_date", cancel_at=earlier).effective_date == earlier


def test_one_that_has_not_begun_is_called_off(client: Flexprice) -> None:
    sign_up(client)
    made = subscribe(client, start_date=ahead(days=3))
    assert cancel(client, made, "immediate").status == "cancelled"
    found = again(client, made)
    assert (found.subscription_status, found.end_date) == ("cancelled", None)
    assert same(found.cancelled_at, ahead())
    assert cancel(client, made, "immediate").effective_date == found.cancelled_at

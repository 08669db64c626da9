"""Which of the subscriptions of an external id is meant, and which of their billing periods have ended."""

from copy import replace

import pytest

from meterstone.usage.past import current, past_periods
from meterstone.usage.period import BillingPeriod
from meterstone.usage.subscription import Subscription
from meterstone.usage.window import Window
from support.one_subscription import at, subscription_of

FIRST = replace(subscription_of(start="01-01", end="02-11"), id="first")
SECOND = replace(subscription_of(start="03-05"), id="second")


@pytest.mark.parametrize(
    ("now", "name"),
    [
        pytest.param("2023-12-01", "first", id="before both"),
        pytest.param("01-01", "first", id="the first runs"),
        pytest.param("02-11", "first", id="between the two"),
        pytest.param("03-05", "second", id="the second runs"),
        pytest.param("2030-01-01", "second", id="long after"),
    ],
)
def test_the_subscription_that_is_meant(now: str, name: str) -> None:
    assert current([SECOND, FIRST], at(now)).id == name


@pytest.mark.parametrize(
    ("now", "periods"),
    [
        pytest.param("01-15", [], id="in the first period"),
        pytest.param("02-01", ["01-01"], id="the second begins"),
        pytest.param("02-10T23:59:59.999999", ["01-01"], id="the last, that is cut, has not ended"),
        pytest.param("02-11", ["02-01", "01-01"], id="the subscription has ended"),
        pytest.param("03-05", ["02-01", "01-01"], id="another begins"),
        pytest.param("05-06", ["04-05", "03-05", "02-01", "01-01"], id="of both, latest first"),
    ],
)
def test_the_periods_that_have_ended(now: str, periods: list[str]) -> None:
    found = past_periods([FIRST, SECOND], at(now), 0, 100)
    assert [window.start for _, windows in found.page for window in windows] == [at(each) for each in periods]
    assert found.total == len(periods)


def test_a_page_of_ten_thousand_days_looks_at_its_own_days_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    daily = subscription_of(start="1996-08-16", period=BillingPeriod.DAILY)
    looked: list[int] = []
    numbered = type(daily.cadence()).numbered

    def counted(cadence: object, number: int) -> object:
        looked.append(number)
        return numbered(cadence, number)  # type: ignore[arg-type]

    monkeypatch.setattr(type(daily.cadence()), "numbered", counted)
    found = past_periods([daily], at("2024-01-01"), 5000, 2)
    assert found.total == 9999
    assert looked == [4998, 4997]
    assert found.page == (
        (daily, (Window(at("2010-04-23"), at("2010-04-24")), Window(at("2010-04-22"), at("2010-04-23")))),
    )


@pytest.mark.parametrize(
    "subscription",
    [
        pytest.param(subscription_of(start="01-01", end="01-01"), id="an empty span"),
        pytest.param(subscription_of(period=BillingPeriod.ONETIME), id="a period that never ends"),
    ],
)
def test_what_has_no_past(subscription: Subscription) -> None:
    assert past_periods([subscription], at("2030-01-01"), 0, 9) == ((), 0)

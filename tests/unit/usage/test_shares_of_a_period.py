"""What a level costs that was held for a part of a billing period: the same wherever one looks, and why ever."""

from decimal import Decimal

import pytest

from meterstone.pricing.money import minor_units, plain
from meterstone.pricing.price import BillingModel, Price
from meterstone.usage.charge import ChargePeriod, day_series
from meterstone.usage.measure import measure_line_item
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.statement import price_measured
from meterstone.usage.subscription import Subscription
from meterstone.usage.window import Window, plan_window, window_for
from support.one_subscription import CountedUsage, at, calls, item_of, meter_of, subscription_of

LATER = "2024-12-31T12:00"
MONTHLY, QUARTERLY, ANNUAL, ONETIME = (
    BillingPeriod.MONTHLY,
    BillingPeriod.QUARTERLY,
    BillingPeriod.ANNUAL,
    BillingPeriod.ONETIME,
)


def held(
    start: str,
    end: str | None,
    item_start: str,
    item_end: str | None,
    *,
    period: BillingPeriod = MONTHLY,
    dollars: int = 31,
    recurring: bool = False,
) -> Subscription:
    """Make a subscription with one line item for levels, at a price for a whole period."""
    price = Price("price", "usd", BillingModel.FLAT_FEE, amount=Decimal(dollars))
    item = item_of(meter_of(Aggregation.WEIGHTED_SUM, recurring=recurring), price, item_start, item_end)
    return subscription_of(item, start=start, end=end, period=period, cycle=BillingCycle.CALENDAR)


def usage(subscription: Subscription, now: str = LATER) -> CountedUsage:
    """Hold a level of 1 from where the line item begins to count."""
    (event,) = calls(("01-01", 1))
    start = subscription.counted(subscription.line_items[0]).start
    event = type(event)(event.id, event.name, start, event.properties)
    return CountedUsage(subscription, [event], at(now))


def days(subscription: Subscription, instant: str, now: str = LATER) -> str:
    """Add up the days of the billing period that holds an instant."""
    item = subscription.line_items[0]
    charge = ChargePeriod(subscription, item, subscription.cadence(item).period_at(at(instant)))
    counter = usage(subscription, now).counter(charge)
    assert counter is not None
    series = day_series(charge, counter, at(now)).days.values()
    units = sum((day.units for day in series), Decimal(0))
    return f"{plain(units.quantize(Decimal('0.0001')))} for {sum(day.cents for day in series)}"


def row(subscription: Subscription, window: Window, now: str = LATER) -> str:
    """Measure a window."""
    item = subscription.line_items[0]
    covered = plan_window(subscription, item, window, at(now))
    measured = measure_line_item(usage(subscription, now), covered, window, at(now))
    cost = price_measured(item.price, measured)
    return f"{plain(cost.quantity.quantize(Decimal('0.0001')))} for {minor_units(cost.amount, 'usd')}"


TEN_DAYS = [
    pytest.param(held("01-22", None, "01-22", None), id="the subscription begins late"),
    pytest.param(held("01-01", "01-11", "01-01", None), id="the subscription ends early"),
    pytest.param(held("01-01", None, "01-22", None), id="the line item begins late"),
    pytest.param(held("01-01", None, "01-01", "01-11"), id="the line item ends early"),
    pytest.param(held("01-12", "01-22", "01-12", None), id="the subscription does both"),
    pytest.param(held("01-12", None, "01-12", "01-22"), id="one begins late, the other ends early"),
]


@pytest.mark.parametrize("subscription", TEN_DAYS)
def test_ten_of_january_s_31_days_at_31_dollars_are_10_dollars(subscription: Subscription) -> None:
    span = subscription.span
    whole = Window(at("01-01"), at("02-01"))
    cut = Window(max(whole.start, span.start), min(whole.end, span.end or whole.end))
    default = window_for(subscription, None, None, lifetime=False, now=at("01-30"))
    until = window_for(subscription, None, at("02-01"), lifetime=False, now=at("01-30"))
    since = window_for(subscription, at("01-01"), None, lifetime=False, now=at("01-30"))

    assert days(subscription, "01-15") == "0.3226 for 1000"
    assert [row(subscription, window) for window in (whole, cut, default)] == ["0.3226 for 1000"] * 3
    assert default == cut
    for window in (until, since):
        if window in (whole, cut):
            assert row(subscription, window) == "0.3226 for 1000"


@pytest.mark.parametrize(
    ("subscription", "instant", "total"),
    [
        pytest.param(
            held("05-20", None, "05-20", None, period=QUARTERLY, dollars=91), "06-01", "0.4615 for 4200",
            id="a quarter from 20 May: 42 of 91 days",
        ),
        pytest.param(
            held("05-20", None, "05-20", None, period=QUARTERLY, dollars=92, recurring=True),
            "07-01", "1 for 9200",
            id="the quarter after it, into which the level is carried",
        ),
        pytest.param(
            held("01-01", "02-10", "01-01", None, dollars=29, recurring=True), "02-05", "0.3103 for 900",
            id="February until the 10th: 9 of 29 days",
        ),
        pytest.param(
            held("11-01", "12-01", "11-01", None, period=ANNUAL, dollars=366), "11-10", "0.082 for 3000",
            id="a year of which the subscription has November: 30 of 366 days",
        ),
        pytest.param(
            held("01-22", "02-10", "01-22", None, period=ONETIME, dollars=19), "01-25", "1 for 1900",
            id="once: the subscription's own span",
        ),
        pytest.param(
            held("01-22", "02-10", "01-31", None, period=ONETIME, dollars=19), "01-31", "0.5263 for 1000",
            id="once, the line item begins late: 10 of 19 days",
        ),
        pytest.param(
            held("01-22", None, "01-22", None, period=ONETIME, dollars=19), "01-25", "0 for 0",
            id="once, without an end: nothing to divide by",
        ),
    ],
)  # fmt: skip
def test_days_are_shares_of_the_whole_billing_period(
    subscription: Subscription, instant: str, total: str
) -> None:
    assert days(subscription, instant) == total


@pytest.mark.parametrize(
    ("subscription", "now", "total"),
    [
        pytest.param(
            held("01-22", None, "01-22", None), "02-01", "1 for 3100", id="begun late: all its days"
        ),
        pytest.param(held("01-01", "01-11", "01-01", None), LATER, "1 for 3100", id="ended: all its days"),
        pytest.param(held("01-01", "01-11", "01-01", None), "01-06", "1 for 3100", id="is to end: until now"),
        pytest.param(
            held("01-01", "01-11", "01-01", "01-06"), LATER, "0.5 for 1550", id="the line item has half of it"
        ),
        pytest.param(
            held("01-22", None, "01-22", None, period=ONETIME),
            "02-01",
            "1 for 3100",
            id="once, without an end",
        ),
    ],
)
def test_a_lifetime_s_share_is_one_of_its_own_length(
    subscription: Subscription, now: str, total: str
) -> None:
    window = window_for(subscription, None, None, lifetime=True, now=at(now))

    assert row(subscription, window, now) == total


@pytest.mark.parametrize(
    ("window", "total"),
    [
        pytest.param("01-22 02-01", "0.3226 for 1000", id="the first period: 10 of 31 days"),
        pytest.param("01-22 03-01", "0.65 for 2015", id="the first two: 39 of 60 days"),
        pytest.param("01-22 03-20", "0.6374 for 1976", id="up to the end: 58 of 91 days, cut at both"),
        pytest.param("02-01 03-20", "0.8 for 2480", id="the last two: 48 of 60 days"),
        pytest.param("03-01 03-20", "0.6129 for 1900", id="the last: 19 of 31 days"),
        pytest.param("01-22 01-27", "1 for 3100", id="five days: their own"),
        pytest.param("01-22 02-15", "1 for 3100", id="over a bound: its own"),
        pytest.param("01-17 01-27", "0.5 for 1550", id="from before the subscription: its own"),
        pytest.param("01-22 01-22", "0 for 0", id="nothing"),
    ],
)
def test_a_window_s_share_is_one_of_its_own_length_or_of_whole_billing_periods(
    window: str, total: str
) -> None:
    subscription = held("01-22", "03-20", "01-22", None, recurring=True)
    start, end = (at(bound) for bound in window.split())

    assert row(subscription, Window(start, end)) == total


def test_a_line_item_s_own_billing_period_decides() -> None:
    """The default window is the subscription's cut year; the price is for a month."""
    price = Price("monthly", "usd", BillingModel.FLAT_FEE, amount=Decimal(31), billing_period="MONTHLY")
    item = item_of(meter_of(Aggregation.WEIGHTED_SUM), price, "01-22")
    subscription = subscription_of(item, start="01-22", period=ANNUAL, cycle=BillingCycle.CALENDAR)

    assert days(subscription, "01-25") == "0.3226 for 1000"
    assert row(subscription, Window(at("01-22"), at("02-01"))) == "0.3226 for 1000"
    # 345 days of the 366 that all twelve months have.
    assert row(subscription, Window(at("01-22"), at("2025-01-01")), "2025-01-02") == "0.9426 for 2922"

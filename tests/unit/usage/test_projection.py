"""Projection to the end of a billing period, worked out by hand: 10 days of a period of 31 have passed."""

from collections.abc import Iterable
from copy import replace
from decimal import Decimal

import pytest

from meterstone.pricing.price import BillingModel, Price, Tier, TierMode, TransformQuantity
from meterstone.usage.calendar import BucketSize
from meterstone.usage.meter import Aggregation, Event, Meter
from meterstone.usage.period import BillingPeriod
from meterstone.usage.projection import ProjectedCharge, Projection, project
from meterstone.usage.subscription import LineItem, Subscription
from meterstone.usage.window import window_for
from support.one_subscription import FLAT, CountedUsage, at, calls, item_of, meter_of, subscription_of

NOW = "01-11"
#: One dollar each up to 20, half a dollar each beyond.
SLAB = Price(
    "slab",
    "usd",
    BillingModel.TIERED,
    tier_mode=TierMode.SLAB,
    tiers=(Tier(20, Decimal(1)), Tier(None, Decimal("0.5"), Decimal(3))),
)
PACKAGE = Price("package", "usd", BillingModel.PACKAGE, Decimal(5), transform_quantity=TransformQuantity(10))
#: On the second and on the fifth.
TWO = (("01-02T12:00", 4), ("01-05T18:00", 6))


def projections(
    subscription: Subscription, events: Iterable[Event], now: str = NOW
) -> dict[str, ProjectedCharge]:
    window = window_for(subscription, None, None, lifetime=False, now=at(now))
    found = project(subscription, window, CountedUsage(subscription, events, at(now)), at(now))
    return {each.charge.key.id: each for each in found.projected}


def projection(
    meter: Meter, price: Price = FLAT, given: Iterable[tuple[str, object]] = TWO, now: str = NOW
) -> tuple[str, str, Projection]:
    ((charge, by),) = projections(subscription_of(item_of(meter, price)), calls(*given), now).values()
    return str(charge.quantity.normalize() + 0), f"{charge.amount:.2f}", by


@pytest.mark.parametrize(
    ("aggregation", "quantity", "amount", "by"),
    [
        pytest.param(Aggregation.COUNT, "6.2", "6.20", "pace", id="2 calls x 31/10"),
        pytest.param(Aggregation.SUM, "31", "31.00", "pace", id="10 x 31/10"),
        pytest.param(Aggregation.SUM_WITH_MULTIPLIER, "31", "31.00", "pace", id="multiplied"),
        pytest.param(Aggregation.MAX, "6", "6.00", "none", id="a maximum"),
        pytest.param(Aggregation.LATEST, "6", "6.00", "none", id="the latest"),
        pytest.param(Aggregation.AVG, "5", "5.00", "none", id="an average"),
        # 4 for 29.5 days and 6 for 26.25 days, of 31.
        pytest.param(Aggregation.WEIGHTED_SUM, "8.8870967741935484", "8.89", "level", id="a level"),
    ],
)
def test_each_aggregation(aggregation: Aggregation, quantity: str, amount: str, by: str) -> None:
    assert projection(meter_of(aggregation)) == (quantity, amount, by)


def test_distinct_values_stay_as_they_are() -> None:
    seen = (("01-02", "ana"), ("01-03", "ben"), ("01-04", "ana"))
    assert projection(meter_of(Aggregation.COUNT_UNIQUE), given=seen) == ("2", "2.00", "none")


@pytest.mark.parametrize(
    ("aggregation", "quantity", "by"),
    [
        pytest.param(Aggregation.SUM, "10", "none", id="SUM is what it is"),
        pytest.param(Aggregation.WEIGHTED_SUM, "8.8870967741935484", "level", id="WEIGHTED_SUM is held"),
    ],
)
def test_recurring_values(aggregation: Aggregation, quantity: str, by: str) -> None:
    assert projection(meter_of(aggregation, recurring=True))[::2] == (quantity, by)


@pytest.mark.parametrize(
    ("price", "quantity", "amount"),
    [
        pytest.param(SLAB, "31", "28.50", id="20 at 1.00, 11 at 0.50, and 3.00 for the tier"),
        pytest.param(replace(SLAB, tier_mode=TierMode.VOLUME), "31", "18.50", id="31 at 0.50 and 3.00"),
        pytest.param(PACKAGE, "31", "20.00", id="four packages of ten"),
    ],
)
def test_the_projected_quantity_is_priced_as_one(price: Price, quantity: str, amount: str) -> None:
    assert projection(meter_of(Aggregation.SUM), price) == (quantity, amount, "pace")


@pytest.mark.parametrize(
    ("now", "quantity"),
    [
        pytest.param("01-01", "10", id="nothing has elapsed"),
        pytest.param("01-01T00:00:00.000001", "26784000000000", id="a microsecond has"),
        pytest.param("01-16T12:00", "20", id="half the period"),
        pytest.param("01-08", "44.2857142857142857", id="a quotient of 16 decimals"),
        pytest.param("01-31T23:59:59.999999", "10.0000000000037336", id="all but a microsecond"),
    ],
)
def test_the_pace_is_that_of_the_time_that_has_elapsed(now: str, quantity: str) -> None:
    """Events may lie ahead of the clock, by a little."""
    found = projection(meter_of(Aggregation.SUM), given=(("01-01T00:00", 10),), now=now)
    assert Decimal(found[0]) == Decimal(quantity)


def test_each_line_item_goes_on_over_its_own_part_of_the_period() -> None:
    """The price changed on the 6th: the first line item has ended, the second has 5 days of 26 behind it."""
    meter = meter_of(Aggregation.SUM)
    items = (
        item_of(meter, end="01-06", name="before"),
        item_of(meter, start="01-06", name="after"),
        item_of(replace(meter, id="n", code="n"), start="01-20", name="later"),
    )
    found = projections(subscription_of(*items), calls(("01-02", 4), ("01-07", 10)))
    assert {name: str(each.charge.amount) for name, each in found.items()} == {
        "before": "4.00", "after": "52.00", "later": "0.00"
    }  # fmt: skip


def test_a_deleted_meter_s_usage_does_not_grow() -> None:
    meter = meter_of(Aggregation.SUM, deleted_at=at("01-06"))
    assert projection(meter, given=(("01-02", 4),))[0] == "4"


def test_a_period_that_has_ended_is_not_rounded() -> None:
    subscription = subscription_of(item_of(meter_of(Aggregation.SUM)), end="02-01")
    found = projections(subscription, calls(("01-02", Decimal("0.000000000000000001"))), now="02-01")
    assert found["item"].charge.quantity == Decimal("0.000000000000000001")


def test_a_period_that_never_ends_is_what_it_is() -> None:
    subscription = subscription_of(item_of(meter_of(Aggregation.SUM)), period=BillingPeriod.ONETIME)
    assert projections(subscription, calls(*TWO))["item"].charge.quantity == 10


@pytest.mark.parametrize(
    ("aggregation", "size", "price", "quantity", "amount"),
    [
        # 4 and 6 in two buckets of a day, of ten and a half days of 31: 12.00 and 18.00 if priced one by one.
        pytest.param(
            Aggregation.SUM, BucketSize.DAY, SLAB, "31", "31.00", id="SUM by day, no bucket over 20"
        ),
        pytest.param(Aggregation.SUM, BucketSize.HOUR, SLAB, "31", "31.00", id="SUM by hour"),
        pytest.param(Aggregation.SUM, BucketSize.MONTH, SLAB, "31", "28.50", id="SUM of the one bucket"),
        pytest.param(Aggregation.MAX, BucketSize.HOUR, FLAT, "31", "31.00", id="MAX by hour"),
        pytest.param(Aggregation.MAX, BucketSize.MONTH, FLAT, "6", "6.00", id="MAX of the one bucket"),
    ],
)
def test_buckets_are_priced_by_themselves(
    aggregation: Aggregation, size: BucketSize, price: Price, quantity: str, amount: str
) -> None:
    now = "01-10T23:30" if (aggregation, size) == (Aggregation.MAX, BucketSize.HOUR) else NOW
    found = projection(meter_of(aggregation, bucket_size=size), price, now=now)
    assert found == (quantity, amount, "pace")


def test_a_line_item_without_a_meter_has_no_projection() -> None:
    fixed = LineItem("fixed", FLAT, at("01-01"))
    assert projections(subscription_of(fixed, item_of(meter_of(Aggregation.SUM))), calls()).keys() == {"item"}

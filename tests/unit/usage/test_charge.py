"""What a charge's days are worth: the period priced to the end of a day, less to the end of the day before."""

from copy import replace
from datetime import date
from decimal import Decimal

import pytest

from meterstone.pricing.cost import cost_buckets
from meterstone.pricing.price import BillingModel, Price
from meterstone.usage.calendar import BucketSize
from meterstone.usage.charge import ChargePeriod, Counter, DayAmount, Dimensions, add_amounts, day_series
from meterstone.usage.instant import DAY
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.state import State
from meterstone.usage.subscription import Dated, Subscription
from support.one_subscription import FALLING, FLAT, at, charge_at, item_of, meter_of, subscription_of

SUM, MAX, LATEST, AVG = Aggregation.SUM, Aggregation.MAX, Aggregation.LATEST, Aggregation.AVG
WEIGHTED_SUM = Aggregation.WEIGHTED_SUM
PENNIES = replace(FLAT, amount=Decimal("0.004"))


def day(number: int) -> int:
    """Name a day of March."""
    return date(2024, 3, number).toordinal()


def number_of(shown: int) -> int:
    return date.fromordinal(shown).day


def counter_of(days: dict[int, State], carry: State | None = None) -> Counter:
    return Counter({day(number): state for number, state in days.items()}, carry=carry)


def sums(**days: str) -> dict[int, State]:
    """Read states of a SUM: `d3="5"` for 5 on 3 March."""
    return {int(name[1:]): Decimal(value) for name, value in days.items()}


def march(meter: Meter, price: Price = FLAT, start: str = "03-01", end: str | None = None) -> ChargePeriod:
    """Give a charge over March, or the part of March in which the line item counts."""
    return charge_at(subscription_of(item_of(meter, price, start, end)), "03-15")


def worth(charge: ChargePeriod, counter: Counter, now: str = "05-01") -> list[str]:
    """Print the days of a series, each with its units and cents."""
    return [
        f"{number_of(shown)}: {amount.units.normalize():f} for {amount.cents}"
        for shown, amount in day_series(charge, counter, at(now)).days.items()
    ]


@pytest.mark.parametrize(
    ("price", "days", "expected"),
    [
        pytest.param(FLAT, {}, [], id="nothing"),
        pytest.param(FLAT, sums(d1="10", d3="2.5"), ["1: 10 for 1000", "3: 2.5 for 250"], id="flat"),
        pytest.param(FLAT, sums(d3="2", d1="10"), ["1: 10 for 1000", "3: 2 for 200"], id="in any order"),
        pytest.param(
            FALLING, sums(d1="10", d2="5"), ["1: 10 for 2000", "2: 5 for -500"], id="a price that falls"
        ),
        pytest.param(
            PENNIES,
            sums(d1="1", d2="1", d3="1", d4="1"),
            ["1: 1 for 0", "2: 1 for 1", "3: 1 for 0", "4: 1 for 1"],
            id="the period is rounded, not the day",
        ),
        pytest.param(
            FLAT, sums(d1="5", d2="-5"), ["1: 5 for 500", "2: -5 for -500"], id="a charge falls back to zero"
        ),
        pytest.param(
            FLAT,
            sums(d1="5", d2="0", d3="1"),
            ["1: 5 for 500", "3: 1 for 100"],
            id="a day that brings nothing",
        ),
        pytest.param(
            FALLING, sums(d1="-3", d2="5"), ["1: -3 for 0", "2: 5 for 400"], id="below zero costs nothing"
        ),
    ],
)
def test_day_series_of_a_sum(price: Price, days: dict[int, State], expected: list[str]) -> None:
    charge = march(meter_of(SUM), price)

    assert worth(charge, counter_of(days)) == expected
    assert day_series(charge, counter_of(days), at("05-01")).due is None


@pytest.mark.parametrize(
    ("aggregation", "days", "expected"),
    [
        pytest.param(MAX, sums(d1="5", d2="3", d3="7"), ["1: 5 for 500", "3: 2 for 200"], id="MAX"),
        pytest.param(
            LATEST,
            {1: (at("03-01T09:00"), "a", Decimal(5)), 2: (at("03-02T09:00"), "b", Decimal(3))},
            ["1: 5 for 500", "2: -2 for -200"],
            id="LATEST falls",
        ),
        pytest.param(
            AVG,
            {1: (Decimal(6), 2), 2: (Decimal(3), 1), 3: (Decimal(11), 1)},
            ["1: 3 for 300", "3: 2 for 200"],
            id="AVG",
        ),
    ],
)
def test_day_series_of_other_aggregations(
    aggregation: Aggregation, days: dict[int, State], expected: list[str]
) -> None:
    assert worth(march(meter_of(aggregation)), counter_of(days)) == expected


@pytest.mark.parametrize(
    ("start", "now", "days", "expected", "due"),
    [
        pytest.param("03-01", "03-03T00:00", sums(d1="5", d3="2"), 2, None, id="the day begins now"),
        pytest.param("03-01", "2024-03-02T23:59:59.999999", sums(d1="5", d3="2"), 1, "03-03", id="it has not"),
        pytest.param("03-01", "03-01T12:00", sums(d3="2", d4="5"), 0, "03-03", id="none has: the first is due"),
        pytest.param("03-05T09:30", "03-05T09:30", sums(d5="2"), 1, None, id="the charge begins now"),
        pytest.param("03-05T09:30", "03-05T09:29", sums(d5="2"), 0, "03-05T09:30", id="its day has"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [None, BucketSize.DAY, BucketSize.MONTH], ids=str)
def test_day_series_knows_days_that_have_begun(
    size: BucketSize | None, start: str, now: str, days: dict[int, State], expected: int, due: str | None
) -> None:
    charge = march(meter_of(SUM, bucket_size=size), start=start)
    series = day_series(charge, counter_of(days), at(now))

    assert len(series.days) == expected
    assert series.due == (None if due is None else at(due))


@pytest.mark.parametrize(
    ("price", "carry", "days", "expected"),
    [
        pytest.param(FLAT, "7", {}, ["1: 7 for 700"], id="restated on the first day"),
        pytest.param(
            FLAT, "7", sums(d1="2", d3="1"), ["1: 9 for 900", "3: 1 for 100"], id="usage adds to it"
        ),
        pytest.param(FLAT, "7", sums(d3="-7"), ["1: 7 for 700", "3: -7 for -700"], id="usage takes it away"),
        pytest.param(FALLING, "8", sums(d3="3"), ["1: 8 for 1600", "3: 3 for -500"], id="priced together"),
        pytest.param(FLAT, None, sums(d3="3"), ["3: 3 for 300"], id="nothing is carried"),
    ],
)
def test_day_series_of_a_recurring_sum(
    price: Price, carry: str | None, days: dict[int, State], expected: list[str]
) -> None:
    counter = counter_of(days, None if carry is None else Decimal(carry))

    assert worth(march(meter_of(SUM, recurring=True), price), counter) == expected


def test_day_series_restates_on_the_day_on_which_the_line_item_begins() -> None:
    charge = march(meter_of(SUM, recurring=True), start="03-05T09:30")

    assert worth(charge, counter_of({}, Decimal(7))) == ["5: 7 for 700"]


def test_day_series_shows_a_day_whose_units_cancel_out_but_cost_money() -> None:
    """A bucket of +5 costs 10 dollars, a bucket of -5 nothing."""
    buckets = cost_buckets(FALLING, [Decimal(5), Decimal(-5)])
    charge = march(meter_of(SUM, bucket_size=BucketSize.HOUR), FALLING)

    assert worth(charge, counter_of({4: buckets})) == ["4: 0 for 1000"]


def test_day_series_of_buckets_within_days_adds_up_their_costs() -> None:
    days: dict[int, State] = {
        1: cost_buckets(FALLING, [Decimal(10), Decimal(10)]),
        2: cost_buckets(FALLING, [Decimal(11)]),
    }
    charge = march(meter_of(SUM, bucket_size=BucketSize.HOUR), FALLING)

    assert worth(charge, counter_of(days)) == ["1: 20 for 4000", "2: 11 for 1100"]


@pytest.mark.parametrize(
    ("aggregation", "size", "days", "expected"),
    [
        # 1 March is a Friday, 4 March a Monday.
        pytest.param(
            SUM,
            BucketSize.DAY,
            sums(d1="10", d2="10", d4="11"),
            ["1: 10 for 2000", "2: 10 for 2000", "4: 11 for 1100"],
            id="days",
        ),
        pytest.param(
            SUM,
            BucketSize.WEEK,
            sums(d1="8", d3="4", d4="6", d10="4", d11="1"),
            ["1: 8 for 1600", "3: 4 for -400", "4: 6 for 1200", "10: 4 for 800", "11: 1 for 200"],
            id="weeks from Monday",
        ),
        pytest.param(
            SUM, BucketSize.MONTH, sums(d1="8", d31="4"), ["1: 8 for 1600", "31: 4 for -400"], id="months"
        ),
        pytest.param(
            MAX,
            BucketSize.WEEK,
            sums(d1="3", d2="8", d3="5", d5="4"),
            ["1: 3 for 600", "2: 5 for 1000", "5: 4 for 800"],
            id="the maximum of each week",
        ),
        pytest.param(
            SUM,
            BucketSize.WEEK,
            sums(d11="1", d3="4", d1="8"),
            ["1: 8 for 1600", "3: 4 for -400", "11: 1 for 200"],
            id="in any order",
        ),
    ],
)
def test_day_series_of_buckets_of_a_day_and_more(
    aggregation: Aggregation, size: BucketSize, days: dict[int, State], expected: list[str]
) -> None:
    assert worth(march(meter_of(aggregation, bucket_size=size), FALLING), counter_of(days)) == expected


def levels(*steps: tuple[str, str]) -> dict[int, State]:
    """Make states of a WEIGHTED_SUM of the steps of its level, each at an instant of its own day."""
    return {
        number_of(at(when) // 86_400_000_000 + 719_163): (Decimal(step), Decimal(step) * at(when))
        for when, step in steps
    }


@pytest.mark.parametrize(
    ("steps", "carried", "now", "expected", "due"),
    [
        # March has 31 days: a level of 31 brings one unit a day.
        pytest.param([], None, "03-04", [], None, id="no level"),
        pytest.param([], None, "03-01T12:00", [], None, id="no level: nothing is due on the first day"),
        pytest.param(
            [("03-02T00:00", "31")],
            None,
            "03-04T00:00",
            ["2: 1 for 100", "3: 1 for 100"],
            "03-05",
            id="a level accrues until the last midnight",
        ),
        pytest.param(
            [("03-02T00:00", "31")],
            None,
            "2024-03-03T23:59:59.999999",
            ["2: 1 for 100"],
            "03-04",
            id="a day that has not ended is not known",
        ),
        pytest.param(
            [("03-02T12:00", "31")],
            None,
            "03-04",
            ["2: 0.5 for 50", "3: 1 for 100"],
            "03-05",
            id="from noon on",
        ),
        pytest.param(
            [("03-01T00:00", "31"), ("03-03T12:00", "-31")],
            None,
            "05-01",
            ["1: 1 for 100", "2: 1 for 100", "3: 0.5 for 50"],
            None,
            id="a level of 0 for good accrues no more",
        ),
        pytest.param(
            [("03-01T00:00", "31"), ("03-02T00:00", "-31"), ("03-04T00:00", "62"), ("03-05T00:00", "-62")],
            None,
            "05-01",
            ["1: 1 for 100", "4: 2 for 200"],
            None,
            id="a level of 0 for some days",
        ),
        pytest.param(
            [], "31", "03-03", ["1: 1 for 100", "2: 1 for 100"], "03-04", id="a carried level, no event"
        ),
        pytest.param(
            [("03-03T00:00", "-31")],
            "31",
            "05-01",
            ["1: 1 for 100", "2: 1 for 100"],
            None,
            id="a carried level that falls",
        ),
        pytest.param(
            [("03-02T00:00", "31")],
            "31",
            "03-03",
            ["1: 1 for 100", "2: 2 for 200"],
            "03-04",
            id="a step on a carried level",
        ),
    ],
)
def test_day_series_of_a_weighted_sum(
    steps: list[tuple[str, str]], carried: str | None, now: str, expected: list[str], due: str | None
) -> None:
    charge = march(meter_of(WEIGHTED_SUM, recurring=carried is not None))
    counter = counter_of(levels(*steps), None if carried is None else (Decimal(carried), Decimal(0)))

    assert worth(charge, counter, now) == expected
    assert day_series(charge, counter, at(now)).due == (None if due is None else at(due))


@pytest.mark.parametrize(
    ("start", "end", "units"),
    [
        pytest.param("03-01", None, [1] * 31, id="the whole month"),
        pytest.param("03-01", "03-03T12:00", [1, 1, 0.5], id="until the line item's end, at noon"),
        pytest.param("03-01", "03-03", [1, 1], id="until the line item's end, at midnight"),
        pytest.param("03-30T12:00", None, [0.5, 1], id="from the line item's start, at noon"),
    ],
)
def test_day_series_of_a_level_that_stays(start: str, end: str | None, units: list[float]) -> None:
    """Of 31 carried, each whole day of the month brings 1, however long the line item lasts."""
    charge = march(meter_of(WEIGHTED_SUM, recurring=True), start=start, end=end)
    series = day_series(charge, counter_of({}, (Decimal(31), Decimal(0))), at("05-01"))

    assert [amount.units for amount in series.days.values()] == units
    assert series.due is None


@pytest.mark.parametrize(
    ("meter", "days", "carry", "closing"),
    [
        pytest.param(meter_of(SUM, recurring=True), {}, None, None, id="nothing"),
        pytest.param(meter_of(SUM, recurring=True), {}, Decimal(7), Decimal(7), id="what was carried"),
        pytest.param(meter_of(SUM, recurring=True), sums(d1="2", d5="3"), None, Decimal(5), id="the days"),
        pytest.param(meter_of(SUM, recurring=True), sums(d1="2", d5="-3"), Decimal(7), Decimal(6), id="both"),
        pytest.param(
            meter_of(WEIGHTED_SUM, recurring=True),
            levels(("03-02", "5"), ("03-03", "-2")),
            (Decimal(4), Decimal(0)),
            (Decimal(7), Decimal(0)),
            id="a level, without its moments",
        ),
        pytest.param(meter_of(WEIGHTED_SUM, recurring=True), {}, None, None, id="no level"),
    ],
)
def test_closing_is_what_the_next_period_carries(
    meter: Meter, days: dict[int, State], carry: State | None, closing: State | None
) -> None:
    assert counter_of(days, carry).closing(meter) == closing


def test_add_amounts_adds_units_and_cents() -> None:
    assert add_amounts(DayAmount(Decimal("1.5"), 20), DayAmount(Decimal(-4), -7)) == DayAmount(
        Decimal("-2.5"), 13
    )


@pytest.mark.parametrize(
    ("start", "end", "instant", "region", "first_day"),
    [
        pytest.param("01-01", None, "03-15", "03-01 04-01", "03-01", id="the whole period"),
        pytest.param(
            "03-05T09:30", None, "03-15", "03-05T09:30 04-01", "03-05", id="the line item begins in it"
        ),
        pytest.param("01-01", "03-20T18:15", "03-15", "03-01 03-20T18:15", "03-01", id="it ends in it"),
    ],
)
def test_a_charge_s_region_is_where_it_counts(
    start: str, end: str | None, instant: str, region: str, first_day: str
) -> None:
    charge = charge_at(subscription_of(item_of(meter_of(SUM), start=start, end=end)), instant)

    assert (charge.counted_span.start, charge.counted_span.end) == tuple(
        at(bound) for bound in region.split()
    )
    assert charge.first_day == charge.zone.day_of(at(first_day))
    assert charge.origin == day(1)
    assert charge.length == at("04-01") - at("03-01")
    assert charge.cadence_code == "MONTHLY.1"


def test_a_charge_that_never_ends_has_no_length() -> None:
    charge = charge_at(subscription_of(item_of(meter_of(SUM)), period=BillingPeriod.ONETIME), "03-15")

    assert charge.counted_span.end is None
    assert charge.length == 0


def test_a_charge_s_days_are_its_subscription_s() -> None:
    charge = charge_at(subscription_of(item_of(meter_of(SUM)), zone="Asia/Tokyo"), "03-01T02:00")

    assert charge.zone.name == "Asia/Tokyo"
    assert charge.meter is charge.item.meter


@pytest.mark.parametrize(
    ("instant", "dimensions"),
    [
        pytest.param("01-10", Dimensions("basic", "DE", None), id="at first"),
        pytest.param("02-10", Dimensions("basic", "DE", None), id="what changes within a period"),
        pytest.param("03-10", Dimensions("pro", "FR", "company"), id="is in force in the next"),
    ],
)
def test_dimensions_are_those_in_force_where_the_period_begins(instant: str, dimensions: Dimensions) -> None:
    subscription: Subscription = replace(
        subscription_of(item_of(meter_of(SUM))),
        plan=(Dated("basic"), Dated("pro", at("03-01"))),
        country=(Dated("DE", at("01-01")), Dated("FR", at("02-15"))),
        customer_type=(Dated("company", at("02-05")),),
    )

    assert charge_at(subscription, instant).dimensions == dimensions


@pytest.mark.parametrize(
    ("item", "instant", "plan"),
    [
        pytest.param("old", "01-10", "basic", id="the old plan's line item"),
        pytest.param("new", "01-20", "pro", id="the new plan's, in the month of the upgrade"),
        pytest.param("new", "02-10", "pro", id="the new plan's, in the next"),
        pytest.param("both", "01-20", "basic", id="one that goes on, in the month of the upgrade"),
        pytest.param("both", "02-10", "pro", id="one that goes on, in the next"),
    ],
)
def test_an_upgrade_in_mid_month_takes_effect_with_the_new_plan_s_line_items(
    item: str, instant: str, plan: str
) -> None:
    meter = meter_of(SUM)
    items = {
        "old": item_of(meter, end="01-15", name="old"),
        "new": item_of(meter, start="01-15", name="new"),
        "both": item_of(replace(meter, id="other"), name="both"),
    }
    subscription = replace(subscription_of(*items.values()), plan=(Dated("basic"), Dated("pro", at("01-15"))))

    assert charge_at(subscription, instant, items[item]).dimensions.plan == plan


@pytest.mark.parametrize(
    ("start", "end", "instant", "days"),
    [
        pytest.param("01-01", None, "01-10", 31, id="a whole month"),
        pytest.param("01-22", None, "01-25", 31, id="the subscription begins late"),
        pytest.param("01-01", "01-11", "01-05", 31, id="the subscription ends early"),
        pytest.param("01-12", "01-22", "01-15", 31, id="both in one month"),
        pytest.param("01-12", "02-22", "02-15", 29, id="the next month"),
    ],
)
def test_a_charge_s_length_is_that_of_its_billing_period_uncut(
    start: str, end: str | None, instant: str, days: int
) -> None:
    subscription = subscription_of(item_of(meter_of(SUM)), start=start, end=end, cycle=BillingCycle.CALENDAR)

    assert charge_at(subscription, instant).length == days * DAY


def test_a_line_item_without_a_meter_is_no_charge() -> None:
    fixed = item_of(None, Price("fixed", "usd", BillingModel.FLAT_FEE))
    with pytest.raises(TypeError, match="has no meter"):
        _ = charge_at(subscription_of(fixed), "03-15").meter

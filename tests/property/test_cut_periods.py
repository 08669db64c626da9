"""A level held in billing periods that the subscription or the line item cuts: they cost what their days do."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from meterstone.pricing.money import minor_units
from meterstone.pricing.price import BillingModel, Price
from meterstone.usage.calendar import zone
from meterstone.usage.charge import ChargePeriod, day_series
from meterstone.usage.instant import DAY, parse_instant
from meterstone.usage.measure import measure_line_item
from meterstone.usage.meter import Aggregation, Event, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod, Period
from meterstone.usage.statement import price_measured
from meterstone.usage.subscription import LineItem, Subscription
from meterstone.usage.window import Window, plan_window
from support.counting import examples
from support.one_subscription import CountedUsage

MIDDLE = parse_instant("2024-03-10T08:00:00Z")  # in Chicago, an hour is skipped there
LATER = MIDDLE + 800 * DAY
PRICE = Price("price", "usd", BillingModel.FLAT_FEE, amount=Decimal("30.01"))

near = st.integers(-40 * DAY, 40 * DAY) | st.integers(-40, 40).map(lambda days: days * DAY)
lengths = st.integers(1, 100 * DAY) | st.integers(1, 100).map(lambda days: days * DAY)
units = st.sampled_from([each for each in BillingPeriod if each is not BillingPeriod.ONETIME])


@st.composite
def subscriptions(draw: st.DrawFn) -> Subscription:
    """Draw a subscription that ends, with one line item, which may begin later or end earlier."""
    meter = Meter("m", "m", "M", Aggregation.WEIGHTED_SUM, "m", "value", recurring=draw(st.booleans()))
    start = MIDDLE + draw(near)
    end = start + draw(lengths)
    item_start = min(start + draw(st.just(0) | lengths), end - 1)
    item_end = draw(st.none() | lengths.map(lambda length: item_start + length))
    return Subscription(
        "sub", "ext", "cust", "usd", draw(st.sampled_from(["UTC", "America/Chicago"])), start, end,
        draw(units), draw(st.integers(1, 3)), draw(st.sampled_from(BillingCycle)), MIDDLE + draw(near),
        (), line_items=(LineItem("item", PRICE, item_start, item_end, meter),),
    )  # fmt: skip


def whole(subscription: Subscription, period: Period) -> int:
    """Give a cut period's length as it is for a subscription that began in the same unit and has not ended.

    By the anniversary, any earlier start will do; on the calendar, the units of a count run from the start's.
    """
    cadence = subscription.cadence()
    months = {BillingPeriod.QUARTERLY: 3, BillingPeriod.HALF_YEARLY: 6, BillingPeriod.ANNUAL: 12}
    clock = zone(cadence.zone)
    shown = clock.local(cadence.start)
    if cadence.cycle is BillingCycle.ANNIVERSARY:
        start = cadence.start - 1100 * DAY
    elif cadence.period is BillingPeriod.DAILY:
        start = clock.day_start(shown.toordinal())
    elif cadence.period is BillingPeriod.WEEKLY:
        start = clock.day_start(shown.toordinal() - shown.weekday())
    else:
        step = months.get(cadence.period, 1)
        first = (shown.month - 1) // step * step + 1
        start = clock.day_start(shown.replace(month=first, day=1).toordinal())
    uncut = type(cadence)(
        cadence.period, cadence.count, cadence.cycle, cadence.anchor, cadence.zone, start, None
    ).period_at(period.start)  # fmt: skip
    assert uncut.end is not None
    assert (uncut.start, uncut.end) == (period.whole_start, period.whole_end)
    return uncut.end - uncut.start


@examples(200)
@given(subscriptions(), st.lists(st.tuples(st.integers(0, 100 * DAY), st.integers(-3, 9)), max_size=6))
def test_a_cut_period_s_row_is_its_days_and_its_share_of_the_whole_period(
    subscription: Subscription, steps: list[tuple[int, int]]
) -> None:
    (item,) = subscription.line_items
    meter, counted = item.meter, subscription.counted(item)
    assert meter is not None
    assert counted.end is not None
    events = [
        Event(f"e{number}", "m", at, {"value": step})
        for number, (after, step) in enumerate(steps)
        if counted.holds(at := counted.start + after)
    ]
    usage = CountedUsage(subscription, events, LATER)
    for period in subscription.cadence().periods(counted.start, counted.end):
        assert period.end is not None
        charge = ChargePeriod(subscription, item, period)
        counter = usage.counter(charge)
        days = {} if counter is None else day_series(charge, counter, LATER).days
        window = Window(period.start, period.end)
        plan = plan_window(subscription, item, window, LATER)
        cost = price_measured(item.price, measure_line_item(usage, plan, window, LATER))

        assert cost.quantity == sum((day.units for day in days.values()), Decimal(0))
        assert minor_units(cost.amount, "usd") == sum(day.cents for day in days.values())

        begin, end = max(period.start, counted.start), min(period.end, counted.end)
        held = sum(
            int(str(event.properties["value"])) * (end - max(event.at, begin))
            for event in events
            if event.at < end and (meter.recurring or event.at >= begin)
        )
        assert abs(Fraction(cost.quantity) - Fraction(held, whole(subscription, period))) <= Fraction(
            1, 2 * 10**16
        )

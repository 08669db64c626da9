"""How many events one transaction counts, which details hold them, and which stand beside a day's hours."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

import pytest

from meterstone.store.counting.limits import (
    by_detail,
    events_in_a_detail,
    events_in_a_transaction,
    events_that_fit,
    pack_fine_state,
)
from meterstone.store.dynamodb.packing import add_beside, pack_hours
from meterstone.usage.charge import ChargePeriod, Counter
from meterstone.usage.instant import DAY, HOUR, MINUTE, SECOND, format_instant
from meterstone.usage.meter import Aggregation, Meter, Observation
from meterstone.usage.period import BillingPeriod
from meterstone.usage.tally import Counted, Head, Position, Tally, count, tally_key, touched
from support.one_subscription import at, charge_at, item_of, meter_of, subscription_of

SUM = meter_of(Aggregation.SUM)
LATEST = meter_of(Aggregation.LATEST)
UNIQUE = meter_of(Aggregation.COUNT_UNIQUE)
SEATS = meter_of(Aggregation.SUM, recurring=True)
SEEN = meter_of(Aggregation.COUNT_UNIQUE, recurring=True)
#: From here, 32 days are of one stretch of 62, which may lie in two chunks of a counter; then the next begins.
BEGIN = at("03-01")


def charge_of(meter: Meter, period: BillingPeriod = BillingPeriod.MONTHLY) -> ChargePeriod:
    return charge_at(subscription_of(item_of(meter), period=period), "03-01")


def counted(charge: ChargePeriod, seen: Iterable[Observation]) -> list[Counted]:
    return [
        Counted(Position("shard", number), each, 0, *charge.zone.hour_of(each.at))
        for number, each in enumerate(seen)
    ]


def seen_at(instants: Iterable[int], texts: Sequence[str] = ("",)) -> list[Observation]:
    """Make events of 1, whose texts are the given ones, one after the other, again and again."""
    return [
        Observation(at, f"e{number}", Decimal(1), texts[number % len(texts)])
        for number, at in enumerate(instants)
    ]


def in_one_hour(events: int) -> list[int]:
    return [BEGIN + number for number in range(events)]


def daily(days: int, hours: int = 1) -> list[int]:
    """List instants on so many days, in so many hours of each."""
    return [BEGIN + day * DAY + hour * HOUR for day in range(days) for hour in range(hours)]


@pytest.mark.parametrize(
    ("aggregation", "in_a_transaction", "in_a_detail"),
    [
        (Aggregation.COUNT, 4000, 1500),
        (Aggregation.SUM, 4000, 1500),
        (Aggregation.SUM_WITH_MULTIPLIER, 4000, 1500),
        (Aggregation.AVG, 4000, 1500),
        (Aggregation.MAX, 4000, 1500),
        (Aggregation.WEIGHTED_SUM, 4000, 1500),
        pytest.param(Aggregation.COUNT_UNIQUE, 4000, 800, id="COUNT_UNIQUE keeps texts"),
        pytest.param(Aggregation.LATEST, 1500, 250, id="LATEST keeps ids"),
    ],
)
def test_what_is_kept_of_an_event_limits_how_many_there_may_be(
    aggregation: Aggregation, in_a_transaction: int, in_a_detail: int
) -> None:
    meter = meter_of(aggregation)

    assert events_in_a_transaction(meter) == in_a_transaction
    assert events_in_a_detail(meter) == in_a_detail


NAMES = [f"name {number}" for number in range(100)]


@pytest.mark.parametrize(
    ("charge", "seen", "fit"),
    [
        pytest.param(charge_of(SUM), seen_at([]), 0, id="none"),
        pytest.param(charge_of(SUM), seen_at(in_one_hour(5000)), 4000, id="an hour: 3 details"),
        pytest.param(
            charge_of(LATEST), seen_at(in_one_hour(5000)), 1500, id="an hour of a LATEST: 7 details"
        ),
        pytest.param(charge_of(SUM), seen_at(daily(13)), 13, id="13 days: never too many"),
        pytest.param(charge_of(SUM), seen_at(daily(60)), 31, id="a detail and the hours for each day"),
        pytest.param(
            charge_of(SUM),
            seen_at(each + 10 * DAY for each in daily(60)),
            30,
            id="days of two stretches: two more chunks",
        ),
        pytest.param(charge_of(SUM), seen_at(daily(60, 2)), 42, id="2 details and the hours for each day"),
        pytest.param(
            charge_of(SUM), seen_at(daily(60, 4)), 30 * 4 + 2, id="a day of 4 hours or more has one detail"
        ),
        pytest.param(
            charge_of(SEATS), seen_at(daily(60)), 21, id="recurring: each day may be of another charge"
        ),
        pytest.param(charge_of(UNIQUE), seen_at(in_one_hour(5000), "a"), 4000, id="one text: 2 items"),
        pytest.param(charge_of(UNIQUE), seen_at(in_one_hour(5000), NAMES), 31, id="texts: 2 items each"),
        pytest.param(charge_of(UNIQUE), seen_at(daily(60), NAMES), 21, id="a text a day: 3 items each"),
        pytest.param(
            charge_of(UNIQUE, BillingPeriod.QUARTERLY),
            seen_at(in_one_hour(5000), NAMES),
            21,
            id="texts of a quarter: 3 items each, of two chunks",
        ),
        pytest.param(
            charge_of(SEEN),
            seen_at(in_one_hour(5000), NAMES),
            21,
            id="texts, recurring: 3 items each, of two counters",
        ),
    ],
)
def test_as_many_events_fit_as_their_65_items(
    charge: ChargePeriod, seen: list[Observation], fit: int
) -> None:
    events = counted(charge, seen)

    assert events_that_fit(charge, events) == events[:fit]


def halves_of_days(meter: Meter) -> ChargePeriod:
    """Make line items of half a day each, from midnight and from noon; give the first one's charge."""
    halves = [
        item_of(meter, start=f"03-{day:02}T{start}", end=end, name=f"{day} {start}")
        for day in range(1, 29)
        for start, end in (("00:00", f"03-{day:02}T12:00"), ("12:00", f"03-{day + 1:02}"))
    ]
    return charge_at(subscription_of(*halves), "03-01")


def test_a_day_that_two_line_items_share_has_items_of_both() -> None:
    charge = halves_of_days(SEATS)
    of_both = counted(charge, seen_at(each + hour * HOUR for each in daily(28) for hour in (0, 12)))
    of_one = counted(charge, seen_at(each + hour * HOUR for each in daily(28) for hour in (0, 1)))

    assert len(events_that_fit(charge, of_both)) == 21, "a detail, hours and a counter for each half"
    assert len(events_that_fit(charge, of_one)) == 32, "2 details, hours and a counter for each day"


def test_a_day_of_texts_that_two_line_items_share_has_details_of_its_own() -> None:
    charge = halves_of_days(SEEN)
    events = counted(charge, seen_at(each + hour * HOUR for each in daily(28) for hour in (0, 1, 12, 13)))

    assert len(events_that_fit(charge, events)) == 4 * 7, "a detail, and a counter and 3 items for each half"


def details_of(meter: Meter, seen: list[Observation]) -> dict[str, int]:
    """Print what details events go to, and how many to each."""
    tally, events = tally_of(meter, seen)
    return shown(by_detail(tally, events).items())


def shown(
    details: Iterable[tuple[tuple[str, int, str], tuple[Position, list[Observation]]]],
) -> dict[str, int]:
    return {
        f"{kind} {format_instant(start)[5:16]} of {position.number}": len(events)
        for (_, start, kind), (position, events) in details
    }


def tally_of(meter: Meter, seen: list[Observation]) -> tuple[Tally, list[Counted]]:
    charge = charge_of(meter)
    return Tally(tally_key(charge), meter, Head(), [charge], [Counter()]), counted(charge, seen)


@pytest.mark.parametrize(
    ("instants", "details"),
    [
        pytest.param([], {}, id="none"),
        pytest.param(in_one_hour(1500), {"hour 03-01T00:00 of 0": 1500}, id="an hour"),
        pytest.param(
            daily(1, 3),
            {f"hour 03-01T0{hour}:00 of {hour}": 1 for hour in range(3)},
            id="three hours of a day: by the hour",
        ),
        pytest.param(daily(1, 4), {"day 03-01T00:00 of 0": 4}, id="four hours of a day: all in one"),
        pytest.param(
            daily(2, 4), {"day 03-01T00:00 of 0": 4, "day 03-02T00:00 of 4": 4}, id="each day by itself"
        ),
        pytest.param(
            [BEGIN + 9 * HOUR, BEGIN + MINUTE, BEGIN + 9 * HOUR + MINUTE],
            {"hour 03-01T09:00 of 0": 2, "hour 03-01T00:00 of 1": 1},
            id="named by the first that came",
        ),
        pytest.param(
            [BEGIN + hour * HOUR + number for number in range(50) for hour in range(4)],
            {"day 03-01T00:00 of 0": 200},
            id="200 events of a day: all in one",
        ),
        pytest.param(
            [BEGIN + hour * HOUR + number for number in range(51) for hour in range(4)][:201],
            {f"hour 03-01T0{hour}:00 of {hour}": 50 + (hour == 0) for hour in range(4)},
            id="more events of a day: by the hour",
        ),
    ],
)
def test_details_are_of_an_hour_or_of_a_day_that_has_few_events(
    instants: list[int], details: dict[str, int]
) -> None:
    assert details_of(SUM, seen_at(instants)) == details


@pytest.mark.parametrize(
    ("earlier", "came", "beside", "details"),
    [
        pytest.param(0, [5 * MINUTE], 1, {}, id="one event"),
        pytest.param(10, [HOUR], 11, {}, id="a few more"),
        pytest.param(
            60, [5 * MINUTE], 0, {"hour 03-01T00:00 of 0": 61}, id="no room: with those before, by the hour"
        ),
        pytest.param(
            60, [HOUR], 0, {"day 03-01T00:00 of 0": 61}, id="no room: with those before, of two hours"
        ),
        pytest.param(
            10,
            [HOUR + number for number in range(200)],
            10,
            {"hour 03-01T01:00 of 0": 200},
            id="many: those before stay",
        ),
    ],
)
def test_events_stand_beside_their_hours_while_there_is_room(
    earlier: int, came: list[int], beside: int, details: dict[str, int]
) -> None:
    before = seen_at(BEGIN + number * SECOND for number in range(earlier))
    tally, events = tally_of(SUM, seen_at(BEGIN + each for each in came))
    days = tally.by_day(events)
    ((_, day),) = days
    parts = touched(tally, days)
    ((where, _),) = parts.hours.items()
    count(tally, parts, days)
    there = {where: stored(day, before)}

    packed = pack_fine_state(tally, parts, there, events, days)

    kept = (before + [each.observation for each in events])[:beside]
    assert packed.hours == {where: pack_hours(SUM, parts.hours[where], stored(day, kept))}
    assert shown(packed.details) == details


def stored(day: int, events: list[Observation]) -> str:
    return add_beside(SUM, day, "", events) if events else ""


def test_a_meter_without_hours_has_details_alone() -> None:
    tally, events = tally_of(UNIQUE, seen_at(daily(1, 2), ["a", "b"]))
    days = tally.by_day(events)

    packed = pack_fine_state(tally, touched(tally, days), {}, events, days)

    assert packed.hours == {}
    assert shown(packed.details) == {"hour 03-01T00:00 of 0": 1, "hour 03-01T01:00 of 1": 1}

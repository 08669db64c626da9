"""In which part of a window a line item counts, why it is cut, and how its quantity was measured."""

from collections.abc import Sequence
from copy import replace
from decimal import Decimal

import pytest

from meterstone.store.reading.window import WindowStore
from meterstone.usage.calendar import BucketSize
from meterstone.usage.explanation import BucketsPriced, Cut, LineItemExplanation, Periods, Share, explain
from meterstone.usage.instant import DAY, HOUR, MINUTE
from meterstone.usage.measure import measure
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.period import BillingPeriod
from meterstone.usage.recorded import PartsRead, RecordedReader
from meterstone.usage.statement import rate
from meterstone.usage.subscription import Subscription
from meterstone.usage.window import Window
from support.scenario import Batch, Scenario, Usage, World
from support.small_world import FLAT, START, call, meter, subscription

NOW = START + 40 * DAY
SUM = meter("sum", Aggregation.SUM)
SEATS = meter("seats", Aggregation.SUM, recurring=True)
STORED = meter("stored", Aggregation.WEIGHTED_SUM)
USERS = meter("users", Aggregation.COUNT_UNIQUE)
HOURLY = meter("hourly", Aggregation.SUM, bucket_size=BucketSize.HOUR)
USAGE = (
    call("a", HOUR, value=3, text="a"),
    call("b", 2 * HOUR, value=4, text="b"),
    call("c", 5 * DAY, value=5, text="a"),
    call("d", 35 * DAY, value=6, text="c"),
)


def explained(
    of: Meter, window: tuple[int, int], usage: Sequence[Usage] = USAGE, **changes: object
) -> LineItemExplanation:
    """Explain a line item on a meter over a window, in time after the start of its monthly subscription."""
    own = {name.removeprefix("item_"): value for name, value in changes.items() if name.startswith("item_")}
    others = {name: value for name, value in changes.items() if not name.startswith("item_")}
    changed: Subscription = subscription(BillingPeriod.MONTHLY, [(of, FLAT)])
    item = replace(changed.line_items[0], **own)  # type: ignore[arg-type]
    changed = replace(changed, line_items=(item,), **others)  # type: ignore[arg-type]
    world = World(Scenario((of,), (changed,), (Batch(NOW, tuple(usage)),), NOW)).run()
    reader = RecordedReader(WindowStore(world.settled).reader(world.account, changed, NOW))
    found = measure(changed, Window(START + window[0], START + window[1]), reader, NOW)
    return explain(found, rate(found), reader, NOW).items[item.id]


CUTS = [
    ("the whole window", SUM, (0, 20 * DAY), {}, (0, 20 * DAY), (None, None)),
    ("the subscription begins", SUM, (-DAY, 20 * DAY), {}, (0, 20 * DAY), (Cut.SUBSCRIPTION, None)),
    (
        "the subscription ends",
        SUM,
        (0, 20 * DAY),
        {"end": START + 9 * DAY},
        (0, 9 * DAY),
        (None, Cut.SUBSCRIPTION),
    ),
    (
        "the line item begins and ends",
        SUM,
        (0, 20 * DAY),
        {"item_start": START + DAY, "item_end": START + 2 * DAY},
        (DAY, 2 * DAY),
        (Cut.LINE_ITEM, Cut.LINE_ITEM),
    ),
    (
        "both end at once",
        SUM,
        (0, 20 * DAY),
        {"item_end": START + DAY, "end": START + DAY},
        (0, DAY),
        (None, Cut.SUBSCRIPTION),
    ),
    (
        "the meter is deleted",
        replace(SUM, deleted_at=START + 3 * DAY),
        (0, 20 * DAY),
        {"item_end": START + 9 * DAY},
        (0, 3 * DAY),
        (None, Cut.METER_DELETED),
    ),
    (
        "the meter was deleted before",
        replace(SUM, deleted_at=START + 3 * DAY),
        (5 * DAY, 20 * DAY),
        {},
        (5 * DAY, 5 * DAY),
        (None, Cut.METER_DELETED),
    ),
    ("the window goes on", SUM, (0, 90 * DAY), {}, (0, 90 * DAY), (None, None)),
    ("time that is to come accrues nothing", STORED, (0, 90 * DAY), {}, (0, 40 * DAY), (None, Cut.NOW)),
]


@pytest.mark.parametrize(
    ("of", "window", "changes", "share", "cuts"), [row[1:] for row in CUTS], ids=[row[0] for row in CUTS]
)
def test_the_part_of_a_window_in_which_a_line_item_counts(
    of: Meter,
    window: tuple[int, int],
    changes: dict[str, object],
    share: tuple[int, int],
    cuts: tuple[Cut | None, Cut | None],
) -> None:
    found = explained(of, window, (), **changes)
    assert found.share == Share(START + share[0], START + share[1], *cuts)


def test_the_billing_periods_of_a_share() -> None:
    """Periods begin on the 15th, at the time of day in Chicago, where the clock changes on 12 March."""
    assert explained(SUM, (0, 20 * DAY), ()).periods == Periods(1, START, START + 31 * DAY)
    assert explained(SUM, (0, 39 * DAY), ()).periods == Periods(2, START, START + 59 * DAY - HOUR)
    assert explained(SUM, (DAY, DAY), ()).periods == Periods(0, START + DAY, START + DAY)


PARTS = [
    ("whole days", SUM, (0, 31 * DAY), PartsRead(2, 0, 0), "12"),
    ("a day and whole hours", SUM, (HOUR + 32 * MINUTE, 31 * DAY), PartsRead(1, 1, 0), "9"),
    ("single events", SUM, (HOUR - MINUTE, HOUR + MINUTE), PartsRead(0, 0, 1), "3"),
    ("values of whole days", USERS, (DAY, 40 * DAY), PartsRead(2, 0, 0), "2"),
    ("values of a day and hours", USERS, (HOUR + 32 * MINUTE, 31 * DAY), PartsRead(1, 1, 0), "2"),
    ("first values", USERS, (0, 31 * DAY), PartsRead(1, 0, 0), "2"),
    ("costed days", HOURLY, (0, 31 * DAY), PartsRead(2, 0, 0), "12"),
]


@pytest.mark.parametrize(
    ("of", "window", "parts", "quantity"), [row[1:] for row in PARTS], ids=[row[0] for row in PARTS]
)
def test_from_how_many_parts_a_quantity_was_put_together(
    of: Meter, window: tuple[int, int], parts: PartsRead, quantity: str
) -> None:
    found = explained(of, window)
    assert (found.parts, found.cost.quantity) == (parts, Decimal(quantity))
    assert found.carried is None


@pytest.mark.parametrize(
    ("start", "end", "parts", "carried", "quantity"),
    [
        pytest.param(0, 20 * DAY, PartsRead(2, 0, 0), "0", "12", id="the first period"),
        pytest.param(9 * DAY, 20 * DAY, PartsRead(2, 0, 0), "0", "12", id="from before the window"),
        pytest.param(0, 39 * DAY, PartsRead(1, 0, 0), "12", "18", id="carried into the second"),
        pytest.param(0, 33 * DAY, PartsRead(0, 0, 0), "12", "12", id="carried, and nothing new"),
    ],
)
def test_a_recurring_meter_tells_what_it_carried(
    start: int, end: int, parts: PartsRead, carried: str, quantity: str
) -> None:
    found = explained(SEATS, (start, end))
    assert (found.parts, found.carried) == (parts, Decimal(carried))
    assert found.cost.quantity == Decimal(quantity)


def test_a_weighted_sum_tells_by_what_it_is_divided() -> None:
    assert explained(STORED, (0, 31 * DAY)).length == 31 * DAY
    assert explained(SUM, (0, 31 * DAY)).length is None


def test_buckets_that_were_priced_before_are_told_by_day() -> None:
    assert explained(HOURLY, (0, 31 * DAY)).buckets == BucketsPriced(0, 2)
    assert explained(HOURLY, (HOUR + 33 * MINUTE, 31 * DAY)).buckets == BucketsPriced(1, 1)
    assert explained(SUM, (0, 31 * DAY)).buckets is None

"""The reader of a subscription's stored parts: what it gives of them, and that it reads nothing twice."""

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from random import Random

import pytest

from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Row, StoreUnavailableError
from meterstone.store.reading.window import StoredUsageReader, WindowStore
from meterstone.usage.arrival import Subject
from meterstone.usage.calendar import BucketSize
from meterstone.usage.charge import ChargePeriod
from meterstone.usage.instant import MINUTE
from meterstone.usage.measure import measure_all
from meterstone.usage.meter import Aggregation, Event, Meter, Observation
from meterstone.usage.state import quantity
from meterstone.usage.subscription import LineItem, Subscription
from meterstone.usage.tally import tally_key
from meterstone.usage.window import Window, plan_window
from support.memory_table import MemoryTable
from support.one_subscription import at, charge_at, item_of, meter_of, subscription_of
from support.scenario import Scenario, Usage, World
from support.stream import Folding, Stream

NOW = at("03-10T12:00")
SUM, SEATS, PEAKS, USERS, LATEST = METERS = tuple(
    meter_of(aggregation, id=name, code=name, **more)
    for name, aggregation, more in (
        ("sum", Aggregation.SUM, {}),
        ("seats", Aggregation.SUM, {"recurring": True}),
        ("peaks", Aggregation.MAX, {"bucket_size": BucketSize.HOUR}),
        ("users", Aggregation.COUNT_UNIQUE, {}),
        ("latest", Aggregation.LATEST, {}),
    )
)
SUBSCRIPTION = subscription_of(*(item_of(each, name=each.id) for each in METERS))
#: Every meter counts each of these; they come in a minute after they have happened.
CALLS = (
    ("e0", "02-10T09:15", 2, "a"),
    ("e1", "02-10T09:45", 3, "b"),
    ("e2", "03-01T10:10", 5, "a"),
    ("e3", "03-01T11:20", -1, "c"),
)


class Watched(MemoryTable):
    """Counts what is asked of it, and lets something happen just before each query of details."""

    asked = 0
    disturb: Callable[[], None] | None = None

    def get(self, key: Key, *, consistent: bool = False) -> Row | None:
        self.asked += 1
        return super().get(key, consistent=consistent)

    def batch_get(self, keys: Iterable[Key], *, consistent: bool = False) -> dict[Key, Row]:
        wanted = list(keys)
        self.asked += bool(wanted)
        return super().batch_get(wanted, consistent=consistent)

    def query(self, pk: str, low: str, high: str, *, consistent: bool = False) -> Iterator[Row]:
        self.asked += 1
        return super().query(pk, low, high, consistent=consistent)

    def query_prefix(self, pk: str, prefix: str, *, consistent: bool = False) -> Iterator[Row]:
        if self.disturb is not None:
            self.disturb()
        return super().query_prefix(pk, prefix, consistent=consistent)


def post(folding: Folding, ident: str, when: int, value: int, text: str) -> None:
    event = Event(ident, "call", when, {"value": value, "text": text})
    folding.post(Usage(Subject.subscription("ext"), event), when + MINUTE)
    folding.drain(when + MINUTE)


def watched(folding: Folding) -> Watched:
    assert isinstance(folding.table, Watched)
    return folding.table


def folding_of(subscription: Subscription) -> Folding:
    world = World(Scenario(METERS, (subscription,), (), NOW), Watched())
    return Folding(world, Stream(Random(5)))  # noqa: S311 - nothing secret


@pytest.fixture
def folding() -> Folding:
    """Return a world in which the calls were counted as they came."""
    folding = folding_of(SUBSCRIPTION)
    for ident, when, value, text in CALLS:
        post(folding, ident, at(when), value, text)
    return folding


def reader_of(folding: Folding) -> StoredUsageReader:
    return WindowStore(folding.table).reader(folding.world.account, SUBSCRIPTION, NOW)


@pytest.fixture
def reader(folding: Folding) -> StoredUsageReader:
    return reader_of(folding)


def item(meter: Meter) -> LineItem:
    return next(each for each in SUBSCRIPTION.line_items if each.meter is meter)


def charge(meter: Meter, month: str) -> ChargePeriod:
    return charge_at(SUBSCRIPTION, f"{month}-01", item(meter))


def day(when: str) -> int:
    return charge(SUM, "01").zone.day_of(at(when))


@pytest.mark.parametrize(
    ("meter", "month", "days"),
    [
        pytest.param(SUM, "02", {"02-10": 5}, id="SUM"),
        pytest.param(SUM, "03", {"03-01": 4}, id="SUM, the next billing period"),
        pytest.param(SUM, "04", None, id="SUM, a billing period without events"),
        pytest.param(SEATS, "03", {"03-01": 4}, id="recurring: without what is carried"),
        pytest.param(PEAKS, "03", {"03-01": 4}, id="buckets: the sum of the day's"),
        pytest.param(USERS, "03", {"03-01": 2}, id="COUNT_UNIQUE: each billing period anew"),
        pytest.param(LATEST, "02", {"02-10": 3}, id="LATEST"),
    ],
)
def test_a_counter_has_the_days_of_its_billing_period(
    reader: StoredUsageReader, meter: Meter, month: str, days: dict[str, int] | None
) -> None:
    counter = reader.counter(charge(meter, month))

    if days is None:
        assert counter is None
    else:
        assert counter is not None
        found = {number: quantity(meter, state) for number, state in counter.days.items()}
        assert found == {day(when): Decimal(value) for when, value in days.items()}


@pytest.mark.parametrize(
    ("month", "carried"),
    [
        pytest.param("01", None, id="before its first event"),
        pytest.param("02", None, id="the billing period of its first event"),
        pytest.param("03", Decimal(5), id="the next"),
        pytest.param("04", Decimal(9), id="one that the clock has not brought yet"),
        pytest.param("06", Decimal(9), id="a later one"),
    ],
)
def test_a_recurring_meter_carries_what_came_before_a_billing_period(
    reader: StoredUsageReader, month: str, carried: Decimal | None
) -> None:
    assert reader.carried(charge(SEATS, month)) == carried


def test_hours_and_buckets_are_those_of_a_day(reader: StoredUsageReader) -> None:
    march = charge(SUM, "03")
    assert reader.hours(march, day("03-01")) == {10: Decimal(5), 11: Decimal(-1)}
    assert reader.hours(march, day("03-02")) == {}
    assert reader.buckets(charge(PEAKS, "03"), day("03-01")) == {
        at("03-01T10:00"): Decimal(5),
        at("03-01T11:00"): Decimal(-1),
    }
    assert reader.buckets(charge(PEAKS, "03"), day("03-02")) == {}


E2, E3 = at("03-01T10:10"), at("03-01T11:20")


@pytest.mark.parametrize(
    ("meter", "start", "end", "events"),
    [
        pytest.param(SUM, "10:00", "12:00", [(E2, "", 5, ""), (E3, "", -1, "")], id="two hours"),
        pytest.param(SUM, "10:10", "11:20", [(E2, "", 5, "")], id="the end is not included"),
        pytest.param(SUM, "10:11", "11:20", [], id="between two events"),
        pytest.param(LATEST, "10:00", "11:00", [(E2, "e2", 5, "")], id="LATEST: with its id"),
        pytest.param(USERS, "10:00", "11:00", [(E2, "", 0, "a")], id="COUNT_UNIQUE: its text alone"),
    ],
)
def test_events_are_those_of_a_part_of_a_day(
    reader: StoredUsageReader, meter: Meter, start: str, end: str, events: list[tuple[int, str, int, str]]
) -> None:
    bounds = (at(f"03-01T{each}") for each in (start, end))
    found = reader.events(charge(meter, "03"), day("03-01"), *bounds)

    assert list(found) == [
        Observation(when, name, Decimal(value), text) for when, name, value, text in events
    ]


def test_values_have_a_bit_for_each_hour_in_which_they_were_seen(reader: StoredUsageReader) -> None:
    february, march = {"a": 1 << 9, "b": 1 << 9}, {"a": 1 << 10, "c": 1 << 11}

    assert reader.values(item(USERS), day("02-10"), day("03-01")) == {
        day("02-10"): february,
        day("03-01"): march,
    }
    assert reader.values(item(USERS), day("02-10"), day("02-29")) == {day("02-10"): february}
    assert reader.values(item(USERS), day("02-11"), day("02-29")) == {}


def test_a_value_s_hours_are_those_of_both_billing_periods_that_share_a_day() -> None:
    noon = subscription_of(item_of(USERS), start="01-10T12:00")
    folding = folding_of(noon)
    for ident, when in (("before", "02-10T09:00"), ("after", "02-10T13:00")):
        post(folding, ident, at(when), 1, "a")
    reader = WindowStore(folding.table).reader(folding.world.account, noon, NOW)

    found = reader.values(noon.line_items[0], day("02-10"), day("02-10"))
    assert found == {day("02-10"): {"a": 1 << 9 | 1 << 13}}


@pytest.mark.parametrize(
    ("month", "firsts"),
    [
        pytest.param("02", {"a": "02-10T09:15", "b": "02-10T09:45"}, id="one billing period"),
        pytest.param("03", {"a": "03-01T10:10", "c": "03-01T11:20"}, id="the next, anew"),
        pytest.param("04", {}, id="none"),
    ],
)
def test_values_were_first_seen_in_each_billing_period(
    reader: StoredUsageReader, month: str, firsts: dict[str, str]
) -> None:
    found = reader.firsts(tally_key(charge(USERS, month)), ["a", "b", "c", "never"])

    assert found == {value: at(when) for value, when in firsts.items()}


@pytest.mark.parametrize(
    "months", [("02", "03"), ("03", "02")], ids=["the older counter first", "the newer counter first"]
)
def test_it_has_counted_until_the_newest_event_of_the_counters_that_were_read(
    reader: StoredUsageReader, months: tuple[str, str]
) -> None:
    until = {"02": at("02-10T09:46"), "03": at("03-01T11:21")}
    assert reader.counted_until == 0
    for read in (months[:1], months):
        reader.counter(charge(SUM, read[-1]))
        assert reader.counted_until == max(until[month] for month in read)


def test_what_was_read_ahead_is_not_read_again(folding: Folding, reader: StoredUsageReader) -> None:
    window = Window(at("02-10T09:30"), at("03-01T10:30"))
    reader.read_ahead([plan_window(SUBSCRIPTION, each, window, NOW) for each in SUBSCRIPTION.line_items])
    watched(folding).asked = 0

    for meter in METERS:
        for month in ("02", "03") if meter is not SEATS else ("03",):
            assert reader.counter(charge(meter, month)) is not None
    assert reader.hours(charge(SUM, "02"), day("02-10")) == {9: Decimal(5)}
    assert reader.hours(charge(SUM, "03"), day("03-01")) == {10: Decimal(5), 11: Decimal(-1)}
    assert len(reader.buckets(charge(PEAKS, "03"), day("03-01"))) == 2
    assert watched(folding).asked == 0


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda reader: reader.counter(charge(SUM, "02")), id="counter"),
        pytest.param(lambda reader: reader.counter(charge(SUM, "04")), id="counter that is not there"),
        pytest.param(lambda reader: reader.hours(charge(SUM, "02"), day("02-10")), id="hours"),
        pytest.param(lambda reader: reader.hours(charge(SUM, "02"), day("02-11")), id="hours of no event"),
        pytest.param(lambda reader: reader.values(item(USERS), day("02-10"), day("03-01")), id="values"),
    ],
)
def test_nothing_is_read_twice(
    folding: Folding, reader: StoredUsageReader, read: Callable[[StoredUsageReader], object]
) -> None:
    first = read(reader)
    watched(folding).asked = 0

    assert read(reader) == first
    assert watched(folding).asked == 0


def test_a_counter_is_read_anew_where_that_is_asked_for_five_times(folding: Folding) -> None:
    reader, march = reader_of(folding), charge(SUM, "03")
    totals = []
    for number in range(6):
        counter = reader.counter(march)
        assert counter is not None
        totals.append(counter.days[day("03-01")])
        post(folding, f"more {number}", at("03-01T12:00") + number, 10, "a")
        if number < 5:
            reader.read_again(march, number + 1)

    assert totals == [Decimal(4 + 10 * number) for number in range(6)]
    with pytest.raises(StoreUnavailableError, match="values are being moved"):
        reader.read_again(march, 6)


def test_any_number_of_windows_may_cut_days_of_one_billing_period() -> None:
    """As the periods of an answer on the past do, where a charge is billed by longer ones."""
    known = meter_of(Aggregation.COUNT_UNIQUE, id="known", code="known", recurring=True)
    subscription = subscription_of(item_of(known, name="known"))
    folding = Folding(World(Scenario((known,), (subscription,), (), NOW)), Stream(Random(5)))  # noqa: S311 - nothing secret
    windows = [Window(at("03-01T00:00"), at(f"03-{number:02}T12:00")) for number in range(2, 10)]
    for name, when, who in (
        ("e0", "03-01T10:00", "a"),
        ("e1", "03-05T09:00", "b"),
        ("e2", "03-05T13:00", "c"),
    ):
        post(folding, name, at(when), 1, who)
    reader = WindowStore(folding.table).reader(folding.world.account, subscription, NOW)
    usages = measure_all(subscription, windows, reader, NOW)

    assert [measured for usage in usages for _, measured in usage.measured] == [1, 1, 1, 2, 3, 3, 3, 3]


def test_events_that_are_packed_while_they_are_read_come_once(folding: Folding) -> None:
    """What stood beside the hours when these were read has a detail of its own when the details are read."""
    reader, march = reader_of(folding), charge(SUM, "03")
    reader.hours(march, day("03-01"))
    for number in range(40):
        post(folding, f"more {number}", at("03-01T10:30") + number, 1, "a")
    assert [key.sk for key in folding.table.items() if key.sk.startswith("E#sum#2024-03-01")], "put away"

    found = [seen.at for seen in reader.events(march, day("03-01"), at("03-01T10:00"), at("03-01T11:00"))]

    assert sorted(found) == [E2, *(at("03-01T10:30") + number for number in range(40))]


def test_events_that_are_packed_again_and_again_are_unavailable(folding: Folding) -> None:
    numbers = iter(range(1000))

    def disturb() -> None:
        number = next(numbers)
        post(folding, f"more {number}", at("03-01T10:30") + number, 1, "a")

    reader = reader_of(folding)
    watched(folding).disturb = disturb
    with pytest.raises(StoreUnavailableError, match="events are being packed"):
        list(reader.events(charge(SUM, "03"), day("03-01"), at("03-01T10:00"), at("03-01T11:00")))

"""What two do at the same time: count and answer, change the catalogue and count, two functions on one batch."""

from collections.abc import Callable, Iterator
from copy import replace
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from meterstone.pricing.price import BillingModel, Price
from meterstone.store.counting.stream import StreamFold
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import StoreUnavailableError
from meterstone.store.operations.import_records import Source
from meterstone.store.operations.imports import Importer, SourceLine
from meterstone.store.operations.load import have_usage
from meterstone.store.operations.replay import replay
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, MINUTE, parse_instant
from meterstone.usage.meter import Aggregation, Event, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.subscription import Dated, LineItem, Subscription
from meterstone.usage.window import Window
from support import first_format
from support.counting import check_analytics, check_window
from support.first_format import in_first_format
from support.managed import at_each_call
from support.memory_table import Faults, MemoryTable
from support.recovering import Clock, write
from support.scenario import ORGANIZATION, Scenario, Usage, World, digest, oracles
from support.stale_table import StaleTable
from support.stream import Folding, Stream

START = parse_instant("2024-03-01T00:00:00Z")
NOW = START + 10 * DAY
PRICE = Price("flat", "usd", BillingModel.FLAT_FEE, amount=Decimal(1), meter_id="m")
SUM = Meter("m", "m", "", Aggregation.SUM, "call", "value")
SUBSCRIPTION = Subscription(
    "a", "ext a", "cust a", "usd", "UTC", START, None, BillingPeriod.MONTHLY, 1, BillingCycle.CALENDAR, START,
    (Dated("basic"),), (Dated("DE"),), (Dated("company"),), None, (LineItem("item", PRICE, START, None, SUM),),
)  # fmt: skip
KNOWN = Scenario((SUM,), (SUBSCRIPTION,), (), NOW)
UNKNOWN = replace(KNOWN, subscriptions=())


def call(ident: str, at: int = START + DAY, value: int | Decimal = 1) -> Usage:
    return Usage(Subject.subscription("ext a"), Event(ident, "call", at, {"value": value}))


def folding(scenario: Scenario) -> Folding:
    return Folding(World(scenario), Stream(Random(1)))  # noqa: S311 - nothing secret


def before_once(table: MemoryTable, name: str, when: Callable[..., bool], do: Callable[[], object]) -> None:
    """Do something just before a call of the table that is one of those meant, the first time."""
    plain = getattr(table, name)

    def interrupted(*arguments: Any, **more: Any) -> Any:
        if when(*arguments, **more):
            setattr(table, name, plain)
            do()
        return plain(*arguments, **more)

    setattr(table, name, interrupted)


def stand_still(table: MemoryTable) -> None:
    """Let no read that is not consistent see what comes."""
    assert isinstance(table, StaleTable)
    table.stand_still()


def puts_by(actions: Any) -> bool:
    return any("#unmatched" in repr(action) for action in actions)


def reads_details(_: str, low: str, *__: object, **___: object) -> bool:
    return low.startswith("E#")


def reads_hours_again(key: Key, *, consistent: bool = False) -> bool:
    return consistent and key.sk.startswith("H#")


@pytest.mark.parametrize(
    ("read", "when"),
    [
        pytest.param("query", reads_details, id="before the details are read"),
        pytest.param("get", reads_hours_again, id="when the details were read"),
    ],
)
@pytest.mark.parametrize("more", [15, 40], ids=["a detail", "several"])
def test_events_that_are_packed_while_they_are_read_count_once(
    more: int, read: str, when: Callable[..., bool]
) -> None:
    """They stood beside the day's hours, which were read, and move into the details, which are read next."""
    it = folding(KNOWN)
    long = Decimal("123456.789012")
    early = [call(f"e{number}", START + DAY + number * MINUTE, value=long) for number in range(12)]
    later = [call(f"f{number}", START + DAY + (20 + number) * MINUTE, value=long) for number in range(more)]
    for each in early:
        it.post(each, NOW)
    it.drain(NOW)
    for each in later:
        it.post(each, NOW)
    before_once(it.table, read, when, lambda: it.drain(NOW))
    window = Window(START, START + DAY + 15 * MINUTE)
    (oracle,) = oracles(KNOWN, [*early, *later])
    check_window(it.world, oracle, window, NOW)
    assert not it.stream.waiting(), "they were counted meanwhile"


@pytest.mark.parametrize("seen_at", [0, 3], ids=["in an earlier billing period", "on an earlier day"])
def test_a_value_that_moves_while_it_is_read_counts_once(seen_at: int) -> None:
    """A late event saw it first: it leaves the day that the window cuts, when the days before were read."""
    users = replace(SUM, aggregation=Aggregation.COUNT_UNIQUE, recurring=True)
    weekly = replace(
        SUBSCRIPTION,
        billing_period=BillingPeriod.WEEKLY,
        line_items=(replace(SUBSCRIPTION.line_items[0], meter=users),),
    )
    it = folding(Scenario((users,), (weekly,), (), NOW))
    monday = START + 3 * DAY
    usage = [call("e", monday + 4 * DAY + 10 * MINUTE), call("f", START + seen_at * DAY)]
    it.post(usage[0], NOW)
    it.drain(NOW)
    it.post(usage[1], NOW)
    before_once(it.table, "query", lambda _, low, *__, **___: low.startswith("U#"), lambda: it.drain(NOW))
    window = Window(START, monday + 4 * DAY + 15 * MINUTE)
    (oracle,) = oracles(it.world.scenario, usage)
    check_window(it.world, oracle, window, NOW)
    assert not it.stream.waiting(), "the event was counted meanwhile"


def test_an_event_that_another_function_has_counted_is_not_saved_as_unmatched() -> None:
    """Both are on one batch; this one has read the catalogue before it knew whose the event is."""
    it = folding(UNKNOWN)
    usage = (call("e"),)
    it.post(usage[0], NOW)
    (shard,) = it.stream.shards

    def meanwhile() -> None:
        write(it.world, KNOWN)
        it.deliver(shard, 0, 1, NOW, 1)

    before_once(it.table, "transact", puts_by, meanwhile)
    it.deliver(shard, 0, 1, NOW)
    it.world.scenario = KNOWN
    it.deliver(shard, 0, 1, NOW)
    assert replay(it.table, ORGANIZATION.id, Clock(NOW)).counted == 0
    check_analytics(it.world, usage, NOW)


def test_an_event_that_is_unmatched_first_is_not_counted_by_another_function() -> None:
    it = folding(UNKNOWN)
    usage = (call("e"),)
    it.post(usage[0], NOW)
    (shard,) = it.stream.shards
    it.deliver(shard, 0, 1, NOW)
    write(it.world, KNOWN)
    it.world.scenario = KNOWN
    it.deliver(shard, 0, 1, NOW, 1)
    assert it.world.days() == {}
    assert replay(it.table, ORGANIZATION.id, Clock(NOW)).counted == 1
    check_analytics(it.world, usage, NOW)


TWO = tuple(
    replace(
        SUBSCRIPTION,
        id=name,
        customer_id="c",
        line_items=(LineItem(f"item {name}", PRICE, START, None, SUM),),
    )
    for name in "ab"
)
BOTH = replace(KNOWN, subscriptions=TWO)
NEITHER = replace(KNOWN, subscriptions=tuple(replace(each, line_items=()) for each in TWO))
CUSTOMERS = (replace(call("e"), subject=Subject.customer("c")),)


def changes(it: Folding, how: str) -> Callable[[], object]:
    """Return what stores the catalogue of both subscriptions, in a stored format."""
    if how == "first format":
        in_first_format(it.world)
        return lambda: first_format.load(it.table, BOTH, NOW)
    return lambda: write(it.world, BOTH)


@pytest.mark.parametrize("how", ["first format", "present format"])
def test_a_customers_event_counts_by_one_catalogue(how: str) -> None:
    """One subscription of the customer was read when the catalogue is written, and then another is."""
    it = folding(NEITHER)
    change = changes(it, how)
    it.post(CUSTOMERS[0], NOW)
    (shard,) = it.stream.shards
    stand_still(it.table)
    second = keys.subscription(ORGANIZATION.id, "b")
    before_once(it.table, "get", lambda key, **_: key == second, change)
    report = it.deliver(shard, 0, 1, NOW)
    assert report is not None
    assert (report.counted, report.unmatched) == (1, 0), "it was matched again"
    it.world.scenario = BOTH
    check_analytics(it.world, CUSTOMERS, NOW)


@pytest.mark.parametrize("by", ["first format", "present format"])
@pytest.mark.parametrize("how", ["import", "replay"])
def test_a_command_counts_a_customers_event_by_one_catalogue(how: str, by: str) -> None:
    """It matches the event again, and counts it by the new one."""
    it = folding(NEITHER)
    if how == "replay":
        it.post(CUSTOMERS[0], NOW)
        it.drain(NOW)

    def run() -> int:
        if how == "replay":
            return replay(it.table, ORGANIZATION.id, Clock(NOW)).counted
        return it.world.load("file", CUSTOMERS, NOW).counted

    one = replace(BOTH, subscriptions=(TWO[0], NEITHER.subscriptions[1]))
    write(it.world, one)
    it.world.scenario = one
    change = changes(it, by)
    stand_still(it.table)
    second = keys.subscription(ORGANIZATION.id, "b")
    before_once(it.table, "get", lambda key, **_: key == second, change)
    assert run() == 1
    it.world.scenario = BOTH
    check_analytics(it.world, CUSTOMERS, NOW)


def half_loaded() -> Folding:
    """Give a customer's event, and a load of the first format that has stored one of two subscriptions."""
    it = folding(NEITHER)
    in_first_format(it.world)
    it.post(CUSTOMERS[0], NOW)
    first_format.begin_load(it.table, NOW)
    first_format.put_subscription(it.table, TWO[0])
    return it


def test_no_event_counts_while_half_of_a_catalogue_of_the_first_format_is_written() -> None:
    it = half_loaded()
    (shard,) = it.stream.shards
    with pytest.raises(StoreUnavailableError, match="is being written"):
        StreamFold(it.table).fold(shard.records, shard.id, NOW + MINUTE)
    assert it.deliver(shard, 0, 1, NOW + MINUTE) is None
    first_format.put_subscription(it.table, TWO[1])
    first_format.end_load(it.table)
    it.world.scenario = BOTH
    it.deliver(shard, 0, 1, NOW + MINUTE)
    check_analytics(it.world, CUSTOMERS, NOW + MINUTE)


def test_a_load_of_the_first_format_that_was_stopped_does_not_hold_the_stream_up_for_ever() -> None:
    """Nothing raises the version any more: all functions count by what stands, and remember nothing else."""
    it = half_loaded()
    (shard,) = it.stream.shards
    assert it.deliver(shard, 0, 1, NOW) is None
    first_format.put_subscription(it.table, TWO[1])
    for container in (0, 1):
        report = it.deliver(shard, 0, 1, NOW + 10 * MINUTE, container)
        assert report is not None
        assert (report.counted, report.unmatched) == (1, 0)
    it.world.scenario = BOTH
    check_analytics(it.world, CUSTOMERS, NOW + 10 * MINUTE)


def test_no_command_counts_by_half_a_catalogue_of_the_first_format() -> None:
    it = half_loaded()
    with pytest.raises(BusyError, match="was not to its end: load it again first"):
        it.world.load("file", CUSTOMERS, NOW)
    first_format.put_subscription(it.table, TWO[1])
    first_format.end_load(it.table)
    it.world.scenario = BOTH
    assert it.world.load("file", CUSTOMERS, NOW).duplicates == 1, "it came over HTTP"
    it.drain(NOW)
    check_analytics(it.world, CUSTOMERS, NOW)


def test_an_import_counts_by_the_catalogue_as_it_is_with_each_batch() -> None:
    world = World(KNOWN)
    weekly = replace(SUBSCRIPTION, billing_period=BillingPeriod.WEEKLY)
    usage = [call("e"), call("f")]

    def lines() -> Iterator[SourceLine]:
        # A batch has 5000 lines: what stands in the first has the import look the subscription up.
        for line in range(1, 5001):
            yield SourceLine(line, usage[0].subject, replace(usage[0].event, at=START - DAY))
        write(world, replace(KNOWN, subscriptions=(weekly,)))
        yield from (SourceLine(line, each.subject, each.event) for line, each in enumerate(usage, 5001))

    Importer(world.table, world.account).run(Source("f", digest("f")), lines(), NOW, lambda *_: None)
    world.scenario = replace(KNOWN, subscriptions=(weekly,))
    check_analytics(world, tuple(usage), NOW)


def test_an_event_that_could_not_be_saved_as_unmatched_is_matched_again() -> None:
    """Somebody's line item is for it by the time that it would be put by."""
    it = folding(UNKNOWN)
    usage = (call("e"),)
    it.post(usage[0], NOW)
    (shard,) = it.stream.shards
    before_once(it.table, "transact", puts_by, lambda: write(it.world, KNOWN))
    report = it.deliver(shard, 0, 1, NOW)
    assert report is not None
    assert (report.counted, report.unmatched) == (1, 0)
    it.world.scenario = KNOWN
    check_analytics(it.world, usage, NOW)


def test_an_event_is_saved_as_unmatched_before_a_tally_goes_past_it() -> None:
    """Its line item was to end before it. Stopped at any write, the batch comes again to one that lasts longer."""
    (item,) = SUBSCRIPTION.line_items
    short = replace(
        KNOWN, subscriptions=(replace(SUBSCRIPTION, line_items=(replace(item, end=START + 2 * DAY),)),)
    )
    usage = (call("after it", START + 3 * DAY, value=10), call("counted"))
    stop, stopped = -1, True
    while stopped:
        stop += 1
        it = folding(short)
        for each in usage:
            it.post(each, NOW)
        (shard,) = it.stream.shards
        it.table.faults = Faults(before=it.table.writes + stop)
        stopped = it.deliver(shard, 0, 2, NOW) is None
        it.table.faults = Faults()
        write(it.world, KNOWN)
        it.world.scenario = KNOWN
        it.deliver(shard, 0, 2, NOW)
        replay(it.table, ORGANIZATION.id, Clock(NOW))
        check_analytics(it.world, usage, NOW)
    assert stop >= 2


LEVEL = replace(SUM, aggregation=Aggregation.WEIGHTED_SUM)
SEATS = replace(SUM, recurring=True)


def changed_terms(meter: Meter, **terms: object) -> Scenario:
    """Give a catalogue whose line item counts by a meter, and whose subscription has other terms."""
    item = LineItem("item", PRICE, START, None, meter)
    changed = replace(SUBSCRIPTION, **({"line_items": (item,)} | terms))  # type: ignore[arg-type]
    return Scenario((meter,), (changed,), (), NOW)


@pytest.mark.parametrize("meter", [SUM, LEVEL, SEATS], ids=["a plain meter", "a level", "a chain"])
@pytest.mark.parametrize(
    "terms",
    [
        pytest.param({"billing_period": BillingPeriod.WEEKLY}, id="the cadence changes"),
        pytest.param({"external_id": "ext b"}, id="the subscription has another external id"),
        pytest.param({"line_items": ()}, id="the line item is removed"),
        pytest.param(
            {"line_items": (LineItem("item", PRICE, START + 2 * DAY, None, SUM),)}, id="it begins later"
        ),
        pytest.param({"line_items": (LineItem("other", PRICE, START, None, SUM),)}, id="another replaces it"),
    ],
)
def test_a_change_at_any_moment_of_the_first_fold_is_counted_by_or_comes_too_late(
    terms: dict[str, Any], meter: Meter
) -> None:
    """All is counted by the catalogue that holds in the end. What was counted before keeps the change away."""
    if terms.get("line_items"):
        terms = {"line_items": tuple(replace(each, meter=meter) for each in terms["line_items"])}
    before, after = changed_terms(meter), changed_terms(meter, **terms)
    usage = (call("e"), call("f", START + 3 * DAY))
    outcomes = set()
    moment, through = 0, False
    while not through:
        moment += 1
        it = folding(before)
        for each in usage:
            it.post(each, NOW)
        (shard,) = it.stream.shards

        def change(it: Folding = it) -> None:
            too_late = have_usage(it.table, ORGANIZATION.id, "1", [SUBSCRIPTION.id])
            outcomes.add("too late" if too_late else "changed")
            if not too_late:
                write(it.world, after)
                it.world.scenario = after

        end = at_each_call(it.table, moment, change)
        assert it.deliver(shard, 0, 2, NOW) is not None
        through = not end()
        if through:
            change()
        for container in (0, 1):
            assert it.deliver(shard, 0, 2, NOW, container) is not None
        it.world.roll(NOW)
        (oracle,) = oracles(it.world.scenario, usage)
        check_window(it.world, oracle, Window(START, START + 9 * DAY), NOW)
        check_analytics(it.world, usage, NOW)
    assert outcomes == {"too late", "changed"}

"""What two do at the same time: count and answer, change the catalogue and count, two functions on one batch."""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from copy import replace
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any

import pytest

from meterstone.pricing.price import BillingModel, Price
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.counting.stream import StreamFold
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import StoreUnavailableError
from meterstone.store.operations.import_records import Source
from meterstone.store.operations.imports import Importer, SourceLine
from meterstone.store.operations.load import have_usage
from meterstone.store.operations.rebuild import rebuild
from meterstone.store.operations.replay import replay
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, MINUTE, parse_instant
from meterstone.usage.meter import Aggregation, Event, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.subscription import Dated, LineItem, Subscription
from meterstone.usage.window import Window
from meterstone_cli.catalogue import Catalogue, compare
from meterstone_cli.catalogue.folder import Places
from meterstone_cli.catalogue.stored import half_written, read_stored, write_stored
from meterstone_cli.files.loading import load_catalogue
from support.counting import check_analytics, check_window
from support.memory_table import Faults, Killed, MemoryTable
from support.recovering import Clock, refresh, write
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


CATALOGUE = Catalogue(ORGANIZATION, (), (), (SUM,), (PRICE,), (SUBSCRIPTION,))


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


def test_no_event_becomes_unmatched_while_the_catalogue_is_being_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half of it is there: another function may know whose the event is, under the same version."""
    it = folding(UNKNOWN)
    it.post(call("e"), NOW)
    (shard,) = it.stream.shards
    monkeypatch.setattr("meterstone.clock.now", lambda: NOW)
    it.table.faults = Faults(before=it.table.writes + 1)
    with pytest.raises(Killed):
        write(it.world, KNOWN)
    it.table.faults = Faults()
    with pytest.raises(StoreUnavailableError, match="is being written"):
        StreamFold(it.table).fold(shard.records, shard.id, NOW + MINUTE)
    later = StreamFold(it.table).fold(shard.records, shard.id, NOW + 10 * MINUTE)
    assert later.unmatched == 1, "a load that was stopped does not hold the stream up for ever"


def test_what_is_read_while_the_catalogue_is_being_written_is_not_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The load is stopped, and nothing raises the version any more: this function and others must agree."""
    it = folding(UNKNOWN)
    usage = (call("e"),)
    it.post(usage[0], NOW)
    (shard,) = it.stream.shards
    monkeypatch.setattr("meterstone.clock.now", lambda: NOW)

    def while_it_is_written() -> None:
        assert it.deliver(shard, 0, 1, NOW) is None
        # The subscription is written, and what comes after it is not.
        it.table.faults = Faults(before=it.table.writes + 4)

    before_once(it.table, "put_all", lambda _: True, while_it_is_written)
    with pytest.raises(Killed):
        write(it.world, KNOWN)
    it.table.faults = Faults()
    it.world.scenario = KNOWN
    for container in (0, 1):
        report = it.deliver(shard, 0, 1, NOW + 10 * MINUTE, container)
        assert report is not None
        assert report.unmatched == 0
    it.world.roll(NOW + 10 * MINUTE)
    check_analytics(it.world, usage, NOW + 10 * MINUTE)


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


def test_a_customers_event_counts_by_one_catalogue() -> None:
    """One subscription of the customer was read when the catalogue is written, and then another is."""
    it = folding(NEITHER)
    it.post(CUSTOMERS[0], NOW)
    (shard,) = it.stream.shards
    stand_still(it.table)
    second = keys.subscription(ORGANIZATION.id, "b")
    before_once(it.table, "get", lambda key, **_: key == second, lambda: write(it.world, BOTH))
    assert it.deliver(shard, 0, 1, NOW) is None
    it.world.scenario = BOTH
    it.deliver(shard, 0, 1, NOW)
    check_analytics(it.world, CUSTOMERS, NOW)


@pytest.mark.parametrize("how", ["import", "replay"])
def test_a_command_counts_a_customers_event_by_one_catalogue(how: str) -> None:
    """It is told to run again, and does so by the new one."""
    it = folding(NEITHER)
    if how == "replay":
        it.post(CUSTOMERS[0], NOW)
        it.drain(NOW)

    def run() -> object:
        if how == "replay":
            return replay(it.table, ORGANIZATION.id, Clock(NOW))
        return it.world.load("file", CUSTOMERS, NOW)

    one = replace(BOTH, subscriptions=(TWO[0], NEITHER.subscriptions[1]))
    write(it.world, one)
    stand_still(it.table)
    second = keys.subscription(ORGANIZATION.id, "b")
    before_once(it.table, "get", lambda key, **_: key == second, lambda: write(it.world, BOTH))
    with pytest.raises(BusyError, match="the catalogue has changed meanwhile"):
        run()
    it.world.scenario = BOTH
    run()
    check_analytics(it.world, CUSTOMERS, NOW)


def test_no_catalogue_is_loaded_while_a_rebuild_counts_by_the_one_before() -> None:
    it = folding(KNOWN)
    clock_of_rebuild = Clock(NOW)
    changed = replace(CATALOGUE, subscriptions=(replace(SUBSCRIPTION, end=NOW + 60 * DAY),))
    refused: list[str] = []

    def load(_: str) -> None:
        try:
            write_stored(it.table, changed)
        except BusyError as error:
            refused.append(str(error))

    rebuild(it.table, ORGANIZATION.id, replace(clock_of_rebuild.around, progress=load))
    assert refused
    assert {each.partition(":")[0] for each in refused} == {"a rebuild is running, or was stopped"}
    write_stored(it.table, changed)


def test_no_command_counts_by_half_a_catalogue() -> None:
    it = folding(NEITHER)
    it.table.faults = Faults(before=it.table.writes + 4)
    with pytest.raises(Killed):
        write(it.world, BOTH)
    it.table.faults = Faults()
    with pytest.raises(BusyError, match="was not to its end: load it again first"):
        it.world.load("file", CUSTOMERS, NOW)
    write(it.world, BOTH)
    it.world.scenario = BOTH
    it.world.load("file", CUSTOMERS, NOW)
    check_analytics(it.world, CUSTOMERS, NOW)


def test_no_event_counts_while_half_of_the_catalogue_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    it = folding(NEITHER)
    it.post(CUSTOMERS[0], NOW)
    (shard,) = it.stream.shards
    monkeypatch.setattr("meterstone.clock.now", lambda: NOW)
    # The first subscription's document is there, and the second one's is not.
    it.table.faults = Faults(before=it.table.writes + 4)
    with pytest.raises(Killed):
        write(it.world, BOTH)
    it.table.faults = Faults()
    assert it.deliver(shard, 0, 1, NOW + MINUTE) is None
    write(it.world, BOTH)
    it.world.scenario = BOTH
    it.deliver(shard, 0, 1, NOW + MINUTE)
    check_analytics(it.world, CUSTOMERS, NOW + MINUTE)


def test_a_load_that_was_stopped_is_completed_by_the_next() -> None:
    """Killed at any write: what warm functions remember must go, and what the clock keeps be looked at anew."""
    seats = replace(SUM, recurring=True)
    item = LineItem("item", PRICE, START, None, seats)
    ending = replace(SUBSCRIPTION, end=START + 60 * DAY, line_items=(item,))
    lasting = replace(ending, end=START + 150 * DAY)
    usage = (call("e"),)
    later = START + 100 * DAY
    versions = []
    for number in range(100):
        it = folding(Scenario((seats,), (ending,), (), later))
        it.post(usage[0], NOW)
        it.drain(NOW)
        it.world.roll(START + 70 * DAY)
        write_stored(it.table, replace(CATALOGUE, meters=(seats,), subscriptions=(ending,)))
        before = read_account(it.table, ORGANIZATION.id, consistent=True)
        assert before is not None
        it.table.faults = Faults(before=it.table.writes + number)
        changed = replace(CATALOGUE, meters=(seats,), subscriptions=(lasting,))
        try:
            write_stored(it.table, changed)
        except Killed:
            it.table.faults = Faults()
            stored = read_stored(it.table, ORGANIZATION.id)
            nothing = compare(stored, changed, now=START + 50 * DAY, with_usage=lambda _: set()).nothing
            if not nothing or half_written(it.table, ORGANIZATION.id):
                write_stored(it.table, changed)
            killed = True
        else:
            it.table.faults = Faults()
            killed = False
        assert not half_written(it.table, ORGANIZATION.id)
        it.world.scenario = Scenario((seats,), (lasting,), (), later)
        it.world.roll(later)
        check_analytics(it.world, usage, later)
        after = read_account(it.table, ORGANIZATION.id, consistent=True)
        assert after is not None
        versions.append(after.version - before.version)
        if not killed:
            break
    assert len(versions) > 4
    assert min(versions) >= 2


def test_an_import_counts_by_the_catalogue_as_it_is_with_each_batch() -> None:
    world = World(KNOWN)
    weekly = replace(SUBSCRIPTION, billing_period=BillingPeriod.WEEKLY)
    usage = [call("e"), call("f")]

    def lines() -> Iterator[SourceLine]:
        # A batch has 5000 lines: what stands in the first has the import look the subscription up.
        for line in range(1, 5001):
            yield SourceLine(line, usage[0].subject, replace(usage[0].event, at=START - DAY))
        write_stored(world.table, replace(CATALOGUE, subscriptions=(weekly,)))
        yield from (SourceLine(line, each.subject, each.event) for line, each in enumerate(usage, 5001))

    Importer(world.table, world.account).run(Source("f", digest("f")), lines(), NOW, lambda *_: None)
    world.scenario = replace(KNOWN, subscriptions=(weekly,))
    check_analytics(world, tuple(usage), NOW)


def test_an_event_that_could_not_be_saved_as_unmatched_comes_again() -> None:
    """Somebody's line item is for it by the time that it would be put by."""
    it = folding(UNKNOWN)
    usage = (call("e"),)
    it.post(usage[0], NOW)
    (shard,) = it.stream.shards
    before_once(it.table, "transact", puts_by, lambda: write(it.world, KNOWN))
    assert it.deliver(shard, 0, 1, NOW) is None
    it.world.scenario = KNOWN
    it.deliver(shard, 0, 1, NOW)
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


WEEKLY = replace(CATALOGUE, subscriptions=(replace(SUBSCRIPTION, billing_period=BillingPeriod.WEEKLY),))


@pytest.mark.parametrize("deliveries", [1, 2], ids=["delivered again", "delivered again, twice"])
def test_the_first_event_of_a_subscription_counts_by_the_catalogue_that_stands_when_it_is_written(
    deliveries: int,
) -> None:
    """A load changes the cadence, as nothing is counted, when the fold has asked for the catalogue's version."""
    it = folding(KNOWN)
    write_stored(it.table, CATALOGUE)
    usage = (call("e"),)
    it.post(usage[0], NOW)
    (shard,) = it.stream.shards

    def problems() -> object:
        return compare(
            CATALOGUE, WEEKLY, now=NOW, with_usage=lambda ids: have_usage(it.table, ORGANIZATION.id, "1", ids)
        ).problems

    def load() -> None:
        assert not problems()
        write_stored(it.table, WEEKLY)
        assert not problems(), "and the load does not tell that a rebuild is needed"

    before_once(it.table, "transact", lambda actions: "#usage#" in repr(actions), load)
    assert it.deliver(shard, 0, 1, NOW) is None, "the batch is to be delivered again"
    for _ in range(deliveries):
        it.deliver(shard, 0, 1, NOW)
    it.world.scenario = replace(KNOWN, subscriptions=WEEKLY.subscriptions)
    (oracle,) = oracles(it.world.scenario, usage)
    check_window(it.world, oracle, Window(START, START + 3 * DAY), NOW)
    check_analytics(it.world, usage, NOW)


LEVEL = replace(SUM, aggregation=Aggregation.WEIGHTED_SUM)
SEATS = replace(SUM, recurring=True)


def changed_terms(meter: Meter, **terms: object) -> Catalogue:
    """Give a catalogue whose line item counts by a meter, and whose subscription has other terms."""
    item = LineItem("item", PRICE, START, None, meter)
    return replace(
        CATALOGUE,
        meters=(meter,),
        subscriptions=(replace(SUBSCRIPTION, **({"line_items": (item,)} | terms)),),  # type: ignore[arg-type]
    )


def before_call(table: MemoryTable, number: int, do: Callable[[], object]) -> Callable[[], bool]:
    """Do something just before a read or write of the table, by its number.

    Returns what is to be called when all is over: it tells whether it was done.
    """
    names = ("get", "batch_get", "query", "has_any", "transact", "put")
    plain = {name: getattr(table, name) for name in names}
    calls = 0

    def end() -> bool:
        for name in names:
            setattr(table, name, plain[name])
        return calls >= number

    def counted(name: str, *arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            end()
            do()
        return plain[name](*arguments, **more)

    for name in names:
        setattr(table, name, partial(counted, name))
    return end


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
def test_a_load_at_any_moment_of_the_first_fold_is_refused_or_counted_by(
    terms: dict[str, Any], meter: Meter
) -> None:
    """Once the batch has come again, all is counted by the catalogue that holds in the end."""
    if terms.get("line_items"):
        terms = {"line_items": tuple(replace(each, meter=meter) for each in terms["line_items"])}
    before, after = changed_terms(meter), changed_terms(meter, **terms)
    usage = (call("e"), call("f", START + 3 * DAY))
    outcomes = set()
    moment, through = 0, False
    while not through:
        moment += 1
        it = folding(Scenario((meter,), before.subscriptions, (), NOW))
        write_stored(it.table, before)
        for each in usage:
            it.post(each, NOW)
        (shard,) = it.stream.shards

        def load(it: Folding = it) -> None:
            def counted(ids: AbstractSet[str]) -> AbstractSet[str]:
                return have_usage(it.table, ORGANIZATION.id, "1", ids)

            refused = compare(before, after, now=NOW, with_usage=counted).problems
            outcomes.add("refused" if refused else "loaded")
            if not refused:
                write_stored(it.table, after)
                it.world.scenario = Scenario((meter,), after.subscriptions, (), NOW)

        end = before_call(it.table, moment, load)
        first = it.deliver(shard, 0, 2, NOW)
        through = not end()
        if through:
            load()
        for container in (0, 1):
            assert it.deliver(shard, 0, 2, NOW, container) is not None
        outcomes.add("matched again" if first is None else "counted at once")
        it.world.roll(NOW)
        (oracle,) = oracles(it.world.scenario, usage)
        check_window(it.world, oracle, Window(START, START + 9 * DAY), NOW)
        check_analytics(it.world, usage, NOW)
    assert outcomes == {"refused", "loaded", "matched again", "counted at once"}


def stores(subscription_id: str) -> Callable[..., bool]:
    """Return whether a put is that of a subscription's document."""
    return lambda item: item["pk"]["S"] == keys.subscription(ORGANIZATION.id, subscription_id).pk


def test_no_event_counts_by_half_a_catalogue_when_another_load_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other load has changed a name. It began before this one, and ends when this one is half way."""
    monkeypatch.setattr("meterstone.clock.now", lambda: NOW)
    it = folding(NEITHER)
    it.post(CUSTOMERS[0], NOW)
    (shard,) = it.stream.shards
    plain = it.table.update
    ends: list[Callable[[], object]] = []

    def is_the_end(key: Key, expression: str, *arguments: Any, **more: Any) -> bool:
        ends.append(partial(plain, key, expression, *arguments, **more))
        return key.sk == "profile" and "REMOVE loading_at" in expression

    def half_way() -> None:
        ends[-1]()
        assert it.deliver(shard, 0, 1, NOW) is None, "the batch is to be delivered again"

    def this_one() -> None:
        before_once(it.table, "put", stores("b"), half_way)
        write(it.world, BOTH)

    before_once(it.table, "update", is_the_end, this_one)
    with pytest.raises(BusyError, match="another load of the organization has begun"):
        write(it.world, NEITHER)
    it.world.scenario = BOTH
    it.deliver(shard, 0, 1, NOW)
    check_analytics(it.world, CUSTOMERS, NOW)


@pytest.mark.parametrize("known", [True, False], ids=["a known organization", "a new one"])
def test_of_two_loads_at_once_the_earlier_writes_its_profile_no_more(*, known: bool) -> None:
    """The other goes all the way, at any write of this one. Run again, this one's catalogue holds."""
    profile = keys.organization(ORGANIZATION.id, "profile")
    number, outcomes = 0, set[str]()
    while True:
        it = folding(NEITHER)
        if not known:
            it.table.delete_all(it.table.items())
        began = it.table.writes + number
        others: list[object] = []

        def other(at: int, began: int = began, it: Folding = it, others: list[object] = others) -> bool:
            if at > began and not others:
                others.append(None)
                write(it.world, KNOWN)
                others[0] = it.table.items()[profile]
            return False

        it.table.faults = Faults(unavailable=other)
        try:
            write(it.world, BOTH)
        except BusyError:
            outcomes.add("stopped")
            assert it.table.items()[profile] == others[0]
        else:
            outcomes.add("through")
        if not others:
            break
        number += 1
        it.table.faults = Faults()
        write(it.world, BOTH)
        it.world.scenario = BOTH
        it.post(CUSTOMERS[0], NOW)
        it.drain(NOW)
        check_analytics(it.world, CUSTOMERS, NOW)
    assert number > 4
    assert outcomes == {"stopped", "through"}


def test_a_load_that_was_silent_for_longer_than_two_minutes_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine slept between two subscriptions. The stream has taken the catalogue as it stood."""
    it = folding(NEITHER)
    clock = Clock(NOW)
    monkeypatch.setattr("meterstone.clock.now", lambda: clock.now)
    write_stored(it.table, replace(CATALOGUE, subscriptions=NEITHER.subscriptions))

    def sleep() -> None:
        clock.now += 10 * MINUTE
        it.post(CUSTOMERS[0], clock.now)
        it.drain(clock.now)

    before_once(it.table, "put", stores("b"), sleep)
    with pytest.raises(BusyError, match="run it again, then run rebuild"):
        write_stored(it.table, replace(CATALOGUE, subscriptions=TWO))
    assert half_written(it.table, ORGANIZATION.id)


@pytest.mark.parametrize("slept", [3 * MINUTE, 10 * MINUTE], ids=["for 3 minutes", "for 10 minutes"])
def test_a_load_that_slept_at_any_of_its_writes_says_so(slept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event comes meanwhile. The load is run again, then all is counted again."""
    clock = Clock(NOW)
    monkeypatch.setattr("meterstone.clock.now", lambda: clock.now)
    number, awake = 0, False
    while not awake:
        number += 1
        clock.now = NOW
        it = folding(NEITHER)
        sleeps_at = it.table.writes + number

        def sleep(at: int, it: Folding = it, sleeps_at: int = sleeps_at) -> bool:
            if at == sleeps_at:
                clock.now += slept
                it.post(CUSTOMERS[0], clock.now)
                it.drain(clock.now)
            return False

        it.table.faults = Faults(unavailable=sleep)
        try:
            write(it.world, BOTH)
        except BusyError as error:
            assert str(error).endswith("run it again, then run rebuild")  # noqa: PT017 - it is not always raised
            it.table.faults = Faults()
            write(it.world, BOTH)
            assert rebuild(it.table, ORGANIZATION.id, clock.around).swapped
            refresh(it.world)
            replay(it.table, ORGANIZATION.id, clock)
            it.world.scenario = BOTH
            check_analytics(it.world, CUSTOMERS, clock.now)
        else:
            awake = clock.now == NOW
            assert awake, "it slept, and said nothing"
    assert number > 6


def test_a_load_that_wakes_many_tallies_goes_on_saying_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes: it is never silent for so long that the stream takes the catalogue as it stands."""
    clock = Clock(NOW)
    monkeypatch.setattr("meterstone.clock.now", lambda: clock.now)
    level = replace(SUM, recurring=True)
    several = tuple(
        replace(
            each,
            id=f"{each.id} {number}",
            external_id=f"{each.id} {number}",
            line_items=(LineItem(f"item {each.id} {number}", PRICE, START, None, level),),
        )
        for each in TWO
        for number in range(10)
    )
    it = folding(Scenario((level,), several, (), NOW))
    plain = it.table.update
    profile = keys.organization(ORGANIZATION.id, "profile")

    def slowly(key: Key, *arguments: Any, **more: Any) -> bool:
        clock.now += MINUTE // 6
        stored = read_account(it.table, ORGANIZATION.id, consistent=True)
        assert stored is not None
        assert key == profile or stored.unsettled(clock.now)
        return plain(key, *arguments, **more)

    it.table.update = slowly  # type: ignore[method-assign]
    write(it.world, Scenario((level,), tuple(replace(each, end=NOW + 60 * DAY) for each in several), (), NOW))
    assert clock.now > NOW + 3 * MINUTE


def test_a_load_that_took_long_tells_of_events_that_lie_behind_a_new_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The end lay 5 minutes ahead when the load began. A minute later an event came that lies 5 minutes ahead."""
    clock = Clock(NOW)
    monkeypatch.setattr("meterstone.clock.now", lambda: clock.now)
    it = folding(KNOWN)
    write_stored(it.table, CATALOGUE)
    it.post(call("e"), NOW)
    it.drain(NOW)
    (item,) = SUBSCRIPTION.line_items
    ending = replace(SUBSCRIPTION, line_items=(replace(item, end=NOW + 5 * MINUTE),))
    changed = replace(CATALOGUE, subscriptions=(ending,))

    def meanwhile() -> None:
        clock.now += MINUTE
        it.post(call("f", NOW + 6 * MINUTE), clock.now)
        it.drain(clock.now)

    before_once(it.table, "update", lambda _, expression, *__, **___: "loading_at" in expression, meanwhile)
    changes = load_catalogue(it.table, changed, Places({}), NOW, clock.around)
    assert changes.changed
    assert changes.problems


def test_a_load_that_took_long_tells_of_events_that_lie_behind_a_new_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The line item was to begin 330 seconds ahead when the load began, and 290 when it was through."""
    clock = Clock(NOW)
    monkeypatch.setattr("meterstone.clock.now", lambda: clock.now)
    without = replace(SUBSCRIPTION, line_items=())
    it = folding(replace(KNOWN, subscriptions=(without,)))
    write_stored(it.table, replace(CATALOGUE, subscriptions=(without,)))
    item = replace(SUBSCRIPTION.line_items[0], start=NOW + 5 * MINUTE + MINUTE // 2)
    changed = replace(CATALOGUE, subscriptions=(replace(SUBSCRIPTION, line_items=(item,)),))

    def meanwhile() -> None:
        clock.now += 2 * MINUTE // 3
        it.post(call("f", NOW + 5 * MINUTE + MINUTE // 2), clock.now)
        it.drain(clock.now)

    before_once(it.table, "update", lambda _, expression, *__, **___: "loading_at" in expression, meanwhile)
    changes = load_catalogue(it.table, changed, Places({}), NOW, clock.around)
    assert [each.subscription.id for each in changes.beginnings] == [SUBSCRIPTION.id]
    assert not changes.problems

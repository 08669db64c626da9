"""What counts, recovers and loads reads consistently: here every other read is answered as in the beginning.

The table stands still before anything has happened. One read that ought to be consistent and is not would find
none of what the command goes by.
"""

from copy import replace

import pytest

from meterstone.store.catalogue.api_keys import create_key, list_keys, revoke_key
from meterstone.store.catalogue.stamped import read_terms
from meterstone.store.catalogue.subscriptions import read_subscription
from meterstone.store.counting.stream import StreamFold
from meterstone.store.dynamodb.lease import BusyError, leased
from meterstone.store.dynamodb.table import Table
from meterstone.store.events.log import EventLog, Outcome
from meterstone.store.events.quarantine import list_poison
from meterstone.store.events.unmatched import list_unmatched
from meterstone.store.operations import replay as replaying
from meterstone.store.operations.imports import ImportReport, Source, close_import
from meterstone.store.operations.load import have_events, have_usage
from meterstone.store.operations.rebuild import abandon, rebuild
from meterstone.store.operations.replay import replay
from meterstone.usage.arrival import Arrival, Subject
from meterstone.usage.instant import DAY, HOUR
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingPeriod
from meterstone.usage.subscription import Subscription
from support.counting import check_analytics
from support.functions import load_over
from support.memory_table import Faults, Killed
from support.recovering import WAIT, Clock, Stream, check, generations, refresh, small, streaming, write
from support.scenario import ORGANIZATION, Batch, Scenario, World, digest
from support.small_world import FLAT, START, call, meter, world_of
from support.small_world import check as check_small
from support.stale_table import StaleTable
from support.stored import memory

SUBJECT = Subject.subscription("ext")
NOBODY = replace(small(), subscriptions=())


def still(scenario: Scenario) -> tuple[World, Stream]:
    """Give a world whose table stands still, before anything has happened in it."""
    world, stream = streaming(scenario)
    stand_still(world)
    return world, stream


def stand_still(world: World) -> None:
    table = memory(world)
    assert isinstance(table, StaleTable)
    table.stand_still()


def put_by(scenario: Scenario) -> tuple[World, Stream]:
    """Have events come in before the catalogue has anything for them, which it then has."""
    world, stream = still(replace(scenario, subscriptions=()))
    stream.post(scenario.usage)
    stream.deliver()
    write(world, scenario)
    world.scenario = scenario
    return world, stream


def without(usage_of: Scenario, *ids: str) -> Scenario:
    """Give a scenario without some events."""
    left = tuple(each for each in usage_of.usage if each.event.id not in ids)
    return replace(usage_of, batches=(Batch(usage_of.end, left),))


def waiting(world: World) -> set[str]:
    return {each.event.id for each in list_unmatched(world.table, ORGANIZATION.id)}


def test_the_stream_leaves_unmatched_events_to_the_replay() -> None:
    world, stream = put_by(small())
    stream.delivered = 0
    stream.deliver()
    assert waiting(world) == {each.event.id for each in small().usage}
    assert replay(world.table, ORGANIZATION.id, stream.clock).counted == len(small().usage)
    check(world, stream, small())


def test_the_stream_leaves_out_what_a_rebuild_has_counted() -> None:
    world, stream = still(small())
    stream.post(small().usage)
    assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).swapped
    stream.deliver()
    check(world, stream, small())


@pytest.mark.parametrize("subject", [SUBJECT, Subject.customer("cust")], ids=["subscription", "customer"])
def test_the_stream_goes_by_the_catalogue_as_it_is(subject: Subject) -> None:
    theirs = tuple(replace(each, subject=subject) for each in small().usage)
    world, stream = still(NOBODY)
    write(world, small())
    world.scenario = replace(small(), batches=(Batch(small().end, theirs),))
    stream.post(theirs)
    stream.deliver()
    assert waiting(world) == set()
    check(world, stream, world.scenario)


def test_a_replay_gives_no_number_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "_NUMBERED_TOGETHER", 2)
    world, stream = put_by(small())
    assert replay(world.table, ORGANIZATION.id, stream.clock).counted == len(small().usage)
    numbers = [item["num"]["N"] for item in memory(world).items().values() if "num" in item]
    assert sorted(numbers) == [str(number) for number in range(1, len(small().usage) + 1)]
    check(world, stream, small())


def test_a_replay_counts_into_the_generation_that_is_live() -> None:
    world, stream = put_by(small())
    assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).swapped
    replay(world.table, ORGANIZATION.id, stream.clock)
    check(world, stream, small())


def test_a_replay_counts_nothing_that_was_withdrawn_before_it_was_saved_as_unmatched() -> None:
    """The stream saves the event behind its mark, and a replay finds it there before the mark comes."""
    world, stream = still(replace(small(), subscriptions=()))
    stream.post(small().usage)
    gone = small().usage[0].event.id
    stream.withdraw(SUBJECT, [gone])
    stream.deliver(len(small().usage))
    write(world, small())
    world.scenario = small()
    assert replay(world.table, ORGANIZATION.id, stream.clock).withdrawn == 1
    stream.deliver()
    check(world, stream, without(small(), gone))


def test_a_withdrawal_finds_what_was_just_logged() -> None:
    world, stream = still(small())
    stream.post(small().usage)
    stream.deliver()
    gone = [each.event.id for each in small().usage[:2]]
    report = stream.withdraw(SUBJECT, gone)
    assert (report.withdrawn, report.unknown) == (gone, [])
    stream.deliver()
    check(world, stream, without(small(), *gone))


def test_an_unmatched_event_of_an_import_waits_no_longer_when_it_is_withdrawn() -> None:
    world, stream = still(replace(small(), subscriptions=tuple(bare(each) for each in small().subscriptions)))
    usage = small().usage
    assert world.load("file", usage, stream.clock.now).unmatched == len(usage)
    ids = [each.event.id for each in usage]
    stream.withdraw(SUBJECT, ids)
    assert waiting(world) == set()


def bare(subscription: Subscription) -> Subscription:
    """Give a subscription without line items."""
    return replace(subscription, line_items=())


def test_an_import_knows_what_it_and_others_have_done() -> None:
    world, stream = still(small())
    now, usage = stream.clock.now, small().usage
    table = memory(world)
    table.faults = Faults(before=table.writes + 3)
    with pytest.raises(Killed):
        world.load("file", usage, now)
    table.faults = Faults()
    with pytest.raises(BusyError, match="the import of file is running, or was stopped"):
        rebuild(table, ORGANIZATION.id, stream.clock.around)
    stream.clock.now += WAIT
    assert world.load("file", usage, now).counted == len(usage)
    assert world.load("file", usage, now) == ImportReport(finished_before=True)
    assert close_import(table, ORGANIZATION.id, Source("file", digest("file")), now) is None
    assert world.load("other", usage, now).duplicates == len(usage)
    check(world, stream, small())


@pytest.mark.parametrize("stop", range(3, 8))
def test_an_import_that_goes_on_leaves_its_unmatched_events_to_the_replay(stop: int) -> None:
    world, stream = still(replace(small(), subscriptions=tuple(bare(each) for each in small().subscriptions)))
    table, now, usage = memory(world), stream.clock.now, small().usage
    table.faults = Faults(before=table.writes + stop)
    try:
        world.load("file", usage, now)
    except Killed:
        table.faults = Faults()
    table.faults = Faults()
    write(world, small())
    world.scenario = small()
    world.load("file", usage, now)
    replay(table, ORGANIZATION.id, stream.clock)
    check(world, stream, small())


def test_an_import_keeps_out_of_the_way_of_a_rebuild() -> None:
    world, stream = still(small())
    table = memory(world)
    table.faults = Faults(before=table.writes + 6)
    with pytest.raises(Killed):
        rebuild(table, ORGANIZATION.id, stream.clock.around)
    table.faults = Faults()
    with pytest.raises(BusyError, match="a rebuild is running, or was stopped"):
        world.load("file", small().usage, stream.clock.now)


def test_a_rebuild_counts_all_that_there_is() -> None:
    world, stream = still(NOBODY)
    write(world, small())
    world.scenario = small()
    half = len(small().usage) // 2
    world.load("file", small().usage[:half], small().end)
    stream.post(small().usage[half:])
    stream.deliver()
    report = rebuild(world.table, ORGANIZATION.id, stream.clock.around)
    assert (report.events, report.differences, report.swapped) == (len(small().usage), [], True)
    check(world, stream, small())


def test_a_rebuild_finds_what_differs() -> None:
    world, stream = still(small())
    stream.post(small().usage)
    stream.deliver()
    (subject,) = {each.subject for each in small().usage}
    stream.withdraw(subject, [small().usage[0].event.id])
    report = rebuild(world.table, ORGANIZATION.id, stream.clock.around, swap=False)
    # The stream has not delivered the mark.
    assert report.differences
    check(world, stream, small())


def test_a_name_of_a_generation_that_was_given_up_is_not_used_again() -> None:
    world, stream = still(small())
    table = memory(world)
    for name in ("2", "3"):
        table.faults = Faults(unavailable=lambda _: stop_when_begun(world))
        with pytest.raises(Killed):
            rebuild(table, ORGANIZATION.id, stream.clock.around)
        table.faults = Faults()
        assert generation_begun(world) == name
        stream.clock.now += WAIT
        abandon(table, ORGANIZATION.id, stream.clock.around)
    assert rebuild(table, ORGANIZATION.id, stream.clock.around).generation == "4"
    check(world, stream, replace(small(), batches=()))


def generation_begun(world: World) -> str | None:
    following = refresh(world).account.next
    return None if following is None else following.name


def stop_when_begun(world: World) -> bool:
    if generation_begun(world) is not None:
        raise Killed
    return False


def test_what_a_stopped_deletion_left_is_deleted_by_the_next() -> None:
    stopped = 0
    for number in range(200):
        world, stream = still(small())
        stream.post(small().usage)
        stream.deliver()
        table = memory(world)
        table.faults = Faults(before=table.writes + number)
        try:
            rebuild(table, ORGANIZATION.id, stream.clock.around)
        except Killed:
            table.faults = Faults()
        else:
            break
        if generations(table) == {"1", "2"} and generation_begun(world) is None:
            stopped += 1
            stream.clock.now += WAIT
            abandon(table, ORGANIZATION.id, stream.clock.around)
            check(world, stream, small())
    assert stopped > 1


def roll_usage(table: Table, monkeypatch: pytest.MonkeyPatch, now: int) -> None:
    """Let the function run that the clock calls every hour."""
    monkeypatch.setattr("meterstone.clock.now", lambda: now)
    load_over("roll_usage", table, monkeypatch).handler({}, None)


@pytest.mark.parametrize("rebuilt", [False, True], ids=["", "rebuilt before"])
@pytest.mark.parametrize("then", ["the clock", "the function", "an import", "a rebuild"])
def test_a_recurring_value_goes_on_when_its_subscription_was_just_renewed(
    monkeypatch: pytest.MonkeyPatch, then: str, *, rebuilt: bool
) -> None:
    change, end = START + 14 * DAY, START + 45 * DAY
    world = world_of(BillingPeriod.MONTHLY, [(meter("seats", Aggregation.SUM, recurring=True), FLAT)], end)
    (renewed,) = world.scenario.subscriptions
    write(world, replace(world.scenario, subscriptions=(replace(renewed, end=change),)))
    clock = Clock(START + 10 * DAY)
    stand_still(world)
    usage = [call("a", DAY, value=40)]
    world.load("all", usage, clock.now)
    world.roll(clock.now)
    if rebuilt:
        assert rebuild(world.table, ORGANIZATION.id, clock.around).swapped
        refresh(world)
    write(world, world.scenario)
    clock.now = end
    match then:
        case "an import":
            world.load("nothing", [], clock.now)
        case "a rebuild":
            assert rebuild(world.table, ORGANIZATION.id, clock.around).differences == []
            refresh(world)
        case "the function":
            roll_usage(world.table, monkeypatch, clock.now)
        case _:
            world.roll(clock.now)
    check_small(world, usage)


def test_a_load_wakes_what_the_clock_keeps_by_a_catalogue_that_was_just_written() -> None:
    """Of the first catalogue, too, a read that is not consistent sees nothing."""
    end = START + 45 * DAY
    seats = meter("seats", Aggregation.SUM, recurring=True)
    scenario = world_of(BillingPeriod.MONTHLY, [(seats, FLAT)], end).scenario
    ending = tuple(replace(each, end=START + 14 * DAY) for each in scenario.subscriptions)
    table = StaleTable()
    table.stand_still()
    world = World(replace(scenario, subscriptions=ending), table)
    usage = [call("a", DAY, value=40)]
    world.load("all", usage, START + 10 * DAY)
    write(world, scenario)
    world.scenario = scenario
    world.roll(end)
    check_small(world, usage)


def test_unmatched_events_of_a_rebuild_are_listed_when_it_is_finished() -> None:
    world, stream = still(replace(small(), subscriptions=tuple(bare(each) for each in small().subscriptions)))
    stream.post(small().usage)
    assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).swapped
    assert waiting(world) == {each.event.id for each in small().usage}


def test_a_quarantined_record_is_listed_at_once() -> None:
    world, stream = still(small())
    stream.post(small().usage[:1])
    ((_, record),) = stream.records
    del record["dynamodb"]["NewImage"]["e"]
    record["dynamodb"]["NewImage"]["e"] = {"S": "[cut off"}
    StreamFold(world.table).fold([record], "shard", stream.clock.now)
    assert [each.since for each in list_poison(world.table)] == [stream.clock.now]


def test_a_key_is_listed_and_revoked_at_once() -> None:
    world, _ = still(small())
    _, key_id = create_key(world.table, ORGANIZATION.id, "a name", 1)
    assert [each.id for each in list_keys(world.table)] == [key_id]
    assert revoke_key(world.table, key_id, 2)
    assert [each.revoked_at for each in list_keys(world.table)] == [2]


def test_a_put_compares_with_what_was_just_written_counted_and_logged() -> None:
    world, stream = still(NOBODY)
    (subscription,) = small().subscriptions
    write(world, small())
    stored = read_terms(world.table, ORGANIZATION.id, subscription.id)
    assert stored is not None
    assert stored.stored.value.id == subscription.id
    resolved = read_subscription(world.table, ORGANIZATION.id, subscription.id, consistent=True)
    assert resolved == subscription
    world.load("file", small().usage, stream.clock.now)
    ids = {subscription.id}
    assert have_usage(world.table, ORGANIZATION.id, world.account.generation, ids) == ids
    subject = Subject.subscription(subscription.external_id)
    assert have_events(world.table, ORGANIZATION.id, [subject]) == {subject}


def test_it_is_told_who_holds_the_lease() -> None:
    world, stream = still(small())
    with (
        leased(world.table, ORGANIZATION.id, "rebuild", stream.clock),
        pytest.raises(BusyError, match="a rebuild is running, or was stopped: try again after"),
    ):
        replay(world.table, ORGANIZATION.id, stream.clock)


def test_a_request_with_a_repeat_is_told_of_what_was_logged_just_before() -> None:
    world, stream = still(small())
    log = EventLog(world.table, ORGANIZATION.id)
    arrivals = [
        Arrival.of(SUBJECT, call(name, HOUR).event, stream.clock.now, {}, dated=True) for name in "aabb"
    ]
    assert log.append_each({0: arrivals[0]}) == {0: Outcome.NEW}
    found = log.append_all_or_none(dict(enumerate(arrivals)))
    assert found == {0: Outcome.DUPLICATE, 1: Outcome.DUPLICATE, 3: Outcome.DUPLICATE}


def test_a_tally_is_written_as_it_is() -> None:
    """Values that were first seen, days and positions are those of the events that came just before."""
    it = [meter("users", Aggregation.COUNT_UNIQUE), meter("ever", Aggregation.COUNT_UNIQUE, recurring=True)]
    world = world_of(BillingPeriod.WEEKLY, [(each, FLAT) for each in it], START + 20 * DAY)
    stand_still(world)
    usage = [call(f"e{number}", (9 - number) * DAY, text=f"t{number % 3}") for number in range(9)]
    for number, each in enumerate(usage):
        world.load(f"file {number}", [each], START + 20 * DAY)
    check_analytics(world, tuple(usage), START + 20 * DAY)
    assert isinstance(memory(world), StaleTable)

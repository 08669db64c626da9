"""Every event that does not count is listed with its reason, and the numbers are those of the lists, always."""

import runpy
from collections.abc import Callable, Sequence
from copy import replace
from pathlib import Path
from typing import Any

import pytest

from meterstone.store.dynamodb.lease import leased
from meterstone.store.dynamodb.table import Table
from meterstone.store.events.uncounted import PARTLY, UnreadableEvent, keep_unreadable, read_unreadable
from meterstone.store.operations.rebuild import rebuild
from meterstone.store.operations.replay import KEPT, catch_up, replay
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, HOUR
from meterstone.usage.meter import Aggregation, Event, Filter, Meter, Properties
from meterstone.usage.period import BillingPeriod
from meterstone.usage.receipt import Fault
from meterstone.usage.subscription import Subscription
from support.counting import check_analytics
from support.memory_table import Faults, Killed
from support.recovering import WAIT, Stream, refresh, streaming, write
from support.scenario import ORGANIZATION, Batch, Scenario, Usage, World
from support.small_world import FLAT, START, meter, subscription
from support.stored import memory
from support.uncounted import check_lists, lists, numbers

ROLL_USAGE = Path(__file__).parents[2] / "functions" / "roll_usage" / "app.py"
SIZE = meter("size", Aggregation.SUM)
COUNT = Meter("count", "count", "", Aggregation.COUNT, "both")
SUM = Meter("sum", "sum", "", Aggregation.SUM, "both", "value")
EUROPE = Meter("europe", "europe", "", Aggregation.COUNT, "visit", filters=(Filter("region", ("eu",)),))
FAX = Meter("fax", "fax", "", Aggregation.COUNT, "fax")
PRICED = (SIZE, COUNT, SUM, EUROPE)
END = START + 10 * DAY


def event(ident: str, name: str, subject: Subject, after: int = DAY, **properties: object) -> Usage:
    found: Properties = properties  # type: ignore[assignment]
    return Usage(subject, Event(ident, name, START + after, found))


EXT, NOBODY, STRANGER = (
    Subject.subscription("ext"),
    Subject.subscription("nobody"),
    Subject.customer("stranger"),
)
ALL = (
    event("counts", "call", EXT, value=5),
    event("comma", "call", EXT, value="1,000"),
    event("absent", "call", EXT),
    event("half", "both", EXT, value="many"),
    event("unpriced", "fax", EXT),
    event("filtered", "visit", EXT, region="us"),
    event("unheard", "typo", EXT),
    event("early", "call", EXT, -1, value=5),
    event("nobody's", "call", NOBODY, value=5),
    event("stranger's", "call", STRANGER, value=5),
)
LISTED = {
    "comma": "value",
    "absent": "value",
    "half": PARTLY,
    "unpriced": "line_item",
    "filtered": "line_item",
    "unheard": "code",
    "early": "time",
    "nobody's": "subscription",
    "stranger's": "customer",
}


def scenario(*more: Subscription, priced: tuple[Meter, ...] = PRICED, start: int = START) -> Scenario:
    found = subscription(BillingPeriod.MONTHLY, [(each, FLAT) for each in priced])
    items = tuple(replace(each, start=start) for each in found.line_items)
    first = replace(found, start=start, line_items=items)
    return Scenario((*PRICED, FAX), (first, *more), (Batch(END, ALL),), END)


def complete() -> Scenario:
    """Give the catalogue that has caught up: only what no meter can read, and an unheard name, counts nowhere."""
    of_nobody, of_stranger = (
        replace(
            subscription(BillingPeriod.MONTHLY, [(SIZE, FLAT)]), id=name, external_id=name, customer_id=whose
        )
        for name, whose in (("nobody", "x"), ("other", "stranger"))
    )
    anywhere = Meter("anywhere", "anywhere", "", Aggregation.COUNT, "visit")
    found = scenario(of_nobody, of_stranger, priced=(*PRICED, FAX, anywhere), start=START - DAY)
    return replace(found, meters=(*found.meters, anywhere))


LEFT = {"comma": "value", "absent": "value", "half": PARTLY, "unheard": "code"}


def posted() -> tuple[World, Stream]:
    world, stream = streaming(scenario())
    write(world, scenario())
    stream.post(ALL)
    return world, stream


def delivered() -> tuple[World, Stream]:
    world, stream = posted()
    stream.deliver()
    return world, stream


def late() -> tuple[World, Stream]:
    world, stream = delivered()
    write(world, complete())
    return refresh(world), stream


def killed_at_every_write(
    prepared: Callable[[], tuple[World, Stream]],
    act: Callable[[World, Stream], object],
    check: Callable[[World, Stream], None],
) -> int:
    """Kill an act at each of its writes, before and after it; do it again, and check. Return their number."""
    number, killed = 0, True
    while killed:
        for when in ("before", "after"):
            world, stream = prepared()
            table = memory(world)
            at = table.writes + number
            table.faults = Faults(before=at) if when == "before" else Faults(after=at)
            try:
                act(world, stream)
                killed = False
            except Killed:
                killed = True
            table.faults = Faults()
            check_lists(table)
            stream.clock.now += WAIT
            act(refresh(world), stream)
            check(world, stream)
        number += 1
    return number


def test_every_reason_is_listed_and_counted() -> None:
    world, stream = delivered()
    assert check_lists(world.table) == LISTED
    stream.delivered = 0
    stream.deliver()
    assert check_lists(world.table) == LISTED
    assert numbers(world.table) == {
        "value": 2, PARTLY: 1, "line_item": 2, "code": 1, "time": 1, "subscription": 1, "customer": 1,
    }  # fmt: skip


def test_an_unreadable_event_says_which_meter_which_property_and_why() -> None:
    world, _ = delivered()
    found = {each.id: each for each in read_unreadable(world.table, ORGANIZATION.id)}
    assert [(fault.meter, fault.field) for fault in found["half"].faults] == [("sum", "value")]
    assert found["comma"].faults[0].reason.startswith("property 'value': ")
    assert found["absent"].faults[0].reason == "property 'value' is absent or not a number"
    assert (found["comma"].subject, found["comma"].at, found["comma"].code) == (EXT, START + DAY, "call")


def test_killed_at_any_write_of_the_stream_s_fold_the_lists_are_right() -> None:
    def check(world: World, _: Stream) -> None:
        assert check_lists(world.table) == LISTED

    def deliver(_: World, stream: Stream) -> None:
        stream.delivered = 0
        stream.deliver()

    assert killed_at_every_write(posted, deliver, check) > 4


def test_killed_at_any_write_of_an_import_the_lists_are_right() -> None:
    def prepared() -> tuple[World, Stream]:
        world, stream = streaming(scenario())
        write(world, scenario())
        return refresh(world), stream

    def load(world: World, stream: Stream) -> None:
        # A file is refused what has no subscription at its time.
        world.load(
            "file", [each for each in ALL if LISTED.get(each.event.id) not in REFUSED], stream.clock.now
        )

    def check(world: World, _: Stream) -> None:
        wanted = {each: reason for each, reason in LISTED.items() if reason not in REFUSED}
        assert check_lists(world.table) == wanted

    assert killed_at_every_write(prepared, load, check) > 4


REFUSED = {"time", "subscription", "customer"}


def test_killed_at_any_write_of_a_replay_the_lists_are_right() -> None:
    def act(world: World, stream: Stream) -> None:
        replay(world.table, ORGANIZATION.id, stream.clock)

    def check(world: World, stream: Stream) -> None:
        assert check_lists(world.table) == LEFT
        stream.delivered = 0
        stream.deliver()
        assert check_lists(world.table) == LEFT

    assert killed_at_every_write(late, act, check) > 5


def test_killed_at_any_write_of_a_withdrawal_the_lists_are_right() -> None:
    ids = ["comma", "half", "unpriced", "early"]

    def act(world: World, stream: Stream) -> None:
        stream.withdraw(EXT, ids)

    def check(world: World, stream: Stream) -> None:
        stream.deliver()
        wanted = {each: reason for each, reason in LISTED.items() if each not in ids}
        assert check_lists(world.table) == wanted
        stream.delivered = 0
        stream.deliver()
        assert check_lists(world.table) == wanted

    # One transaction for each event.
    assert killed_at_every_write(delivered, act, check) >= len(ids)


def test_what_is_withdrawn_before_it_is_delivered_is_never_listed() -> None:
    world, stream = posted()
    stream.withdraw(EXT, ["comma", "unpriced"])
    stream.deliver()
    assert not {"comma", "unpriced"} & check_lists(world.table).keys()


@pytest.mark.parametrize("deliver", [True, False], ids=["delivered before", "delivered after"])
def test_killed_at_any_write_of_a_rebuild_the_lists_are_right(*, deliver: bool) -> None:
    """Also where the list had been lost, or was never written: a rebuild lists what it finds."""

    def prepared() -> tuple[World, Stream]:
        world, stream = posted()
        if deliver:
            stream.deliver()
        return world, stream

    def act(world: World, stream: Stream) -> None:
        rebuild(world.table, ORGANIZATION.id, stream.clock.around)

    def check(world: World, stream: Stream) -> None:
        stream.delivered = 0
        stream.deliver()
        assert check_lists(world.table) == LISTED

    assert killed_at_every_write(prepared, act, check) > 5


def test_a_rebuild_lists_by_the_catalogue_as_it_is() -> None:
    """A line item that has ended makes an unreadable event one that is not priced."""
    world, stream = delivered()
    write(world, scenario(priced=(COUNT, SUM, EUROPE)))
    rebuild(refresh(world).table, ORGANIZATION.id, stream.clock.around)
    assert check_lists(world.table) == LISTED | {
        "counts": "line_item", "comma": "line_item", "absent": "line_item"
    }  # fmt: skip


def test_a_rebuild_that_only_compares_leaves_the_lists_as_they_are() -> None:
    world, stream = posted()
    before = lists(world.table)
    rebuild(world.table, ORGANIZATION.id, stream.clock.around, swap=False)
    assert (check_lists(world.table), before) == ({}, {})


def test_an_event_that_waits_has_the_reason_of_the_catalogue_as_it_is() -> None:
    world, stream = delivered()
    of_nobody = replace(
        subscription(BillingPeriod.MONTHLY, [(COUNT, FLAT)]), id="n", external_id="nobody", customer_id="n"
    )
    write(world, scenario(of_nobody))
    report = replay(world.table, ORGANIZATION.id, stream.clock)
    assert (report.counted, report.waiting) == (0, 6)
    assert check_lists(world.table) == LISTED | {"nobody's": "line_item"}


def test_an_event_that_was_stored_without_a_reason_gets_one_when_it_is_tried() -> None:
    """Tables of before have no reasons, and no numbers."""
    world, stream = delivered()
    table = memory(world)
    for key, item in table.items().items():
        if key.pk.endswith("#unmatched"):
            kept = {name: value for name, value in item.items() if name != "why"}
            table.put({"pk": {"S": key.pk}, "sk": {"S": key.sk}} | kept)
        elif key.pk.endswith("#uncounted"):
            table.delete_all([key])
    replay(table, ORGANIZATION.id, stream.clock)
    found = lists(table)
    assert found == LISTED
    assert numbers(table) == {"line_item": 2, "code": 1, "time": 1, "subscription": 1, "customer": 1}


def test_what_waits_is_tried_when_the_catalogue_has_changed_and_not_before() -> None:
    world, stream = delivered()

    def tried() -> tuple[int, int] | None:
        report = catch_up(world.table, ORGANIZATION.id, stream.clock, stream.clock.now + HOUR)
        return None if report is None else (report.counted, report.waiting)

    assert tried() == (0, 6)
    before = memory(world).writes
    assert tried() is None
    assert memory(world).writes == before
    write(world, complete())
    assert tried() == (5, 1)
    assert tried() is None
    assert check_lists(world.table) == LEFT


def test_a_try_goes_on_where_its_time_was_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most two events of one subject a slice, each event counted once."""
    monkeypatch.setattr("meterstone.store.operations.replay._COUNTED_TOGETHER", 2)
    world, stream = late()
    counted = []
    for _ in range(20):
        report = catch_up(world.table, ORGANIZATION.id, stream.clock, stream.clock.now)
        if report is None:
            break
        counted.append(report.counted)
        assert report.unfinished is (len(counted) < 4)
        check_lists(world.table)
    # Four of one subject wait, and one of each of two others; nobody's meter is for one of them.
    assert (len(counted), sum(counted)) == (4, 5)
    assert check_lists(world.table) == LEFT


def test_a_change_of_the_catalogue_in_the_middle_of_a_try_is_tried_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a slice has passed by under the old catalogue is not forgotten."""
    monkeypatch.setattr("meterstone.store.operations.replay._COUNTED_TOGETHER", 2)
    world, stream = delivered()
    report = catch_up(world.table, ORGANIZATION.id, stream.clock, stream.clock.now)
    assert report is not None
    assert report.unfinished
    write(world, complete())
    for _ in range(10):
        catch_up(world.table, ORGANIZATION.id, stream.clock, stream.clock.now)
    assert catch_up(world.table, ORGANIZATION.id, stream.clock, stream.clock.now) is None
    assert check_lists(world.table) == LEFT


def test_an_import_saves_nothing_as_unmatched_by_a_catalogue_that_has_changed() -> None:
    """A replay that has been through would not come again for it."""
    world, stream = streaming(scenario())
    write(world, scenario())
    table = memory(refresh(world))
    taken = table.transact

    def change(actions: Sequence[Any]) -> None:
        # Between the look at the catalogue and the put of what is unmatched.
        if any("#unmatched" in each["Put"]["Item"]["pk"]["S"] for each in actions if "Put" in each):
            table.transact = taken  # type: ignore[method-assign]
            write(world, complete())
            catch_up(table, ORGANIZATION.id, stream.clock, stream.clock.now + HOUR)
        taken(actions)

    table.transact = change  # type: ignore[method-assign]
    report = world.load("file", [ALL[4]], stream.clock.now)
    assert (report.counted, report.unmatched) == (1, 0), "it was matched again"
    assert check_lists(table) == {}


def test_what_counts_leaves_the_lists_for_good() -> None:
    world, stream = late()
    replay(world.table, ORGANIZATION.id, stream.clock)
    stream.clock.now += KEPT + HOUR
    replay(world.table, ORGANIZATION.id, stream.clock)
    assert check_lists(world.table) == LEFT
    assert not [key for key, item in memory(world).items().items() if "done" in item]


def every_hour(table: Table, monkeypatch: pytest.MonkeyPatch, now: int) -> list[dict[str, Any]]:
    """Let the function run that the clock calls every hour; give what it logs of what it has tried again."""
    monkeypatch.setattr(Table, "from_environment", classmethod(lambda _: table))
    monkeypatch.setattr("meterstone.clock.now", lambda: now)
    told: list[dict[str, Any]] = []
    function = runpy.run_path(str(ROLL_USAGE))
    for level in ("info", "warning"):
        monkeypatch.setattr(
            function["logger"], level, lambda text, extra: told.append({"text": text} | extra), raising=False
        )
    function["handler"]({}, None)
    return [each for each in told if each["text"] not in ("rolled", "uncounted")]


def test_nobody_has_to_run_anything_once_the_catalogue_has_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    world, stream = delivered()
    (first,) = every_hour(world.table, monkeypatch, stream.clock.now)
    assert (first["text"], first["counted"], first["waiting"]) == ("tried again", 0, 6)
    assert every_hour(world.table, monkeypatch, stream.clock.now + HOUR) == []
    write(world, complete())
    (second,) = every_hour(world.table, monkeypatch, stream.clock.now + 2 * HOUR)
    assert (second["counted"], second["waiting"], second["unfinished"]) == (5, 1, False)
    assert check_lists(world.table) == LEFT
    world.scenario = complete()
    check_analytics(refresh(world), ALL, stream.clock.now)


def test_what_another_command_keeps_busy_is_tried_an_hour_later(monkeypatch: pytest.MonkeyPatch) -> None:
    world, stream = late()
    now = stream.clock.now
    with leased(world.table, ORGANIZATION.id, "rebuild", stream.clock):
        (told,) = every_hour(world.table, monkeypatch, now)
        assert told["text"] == "events that wait were not tried again"
        assert told["reason"].startswith("a rebuild is running")
    (told,) = every_hour(world.table, monkeypatch, now + HOUR)
    assert told["counted"] == 5


def comma(*, elsewhere: bool = False) -> UnreadableEvent:
    """Describe the event that no meter can read, as it is listed."""
    fault = Fault("size", "value", "not a number")
    return UnreadableEvent.of(EXT, ALL[1].event, START + DAY, [fault], elsewhere=elsewhere)


def test_an_event_is_not_listed_that_is_withdrawn_already() -> None:
    world, stream = posted()
    stream.withdraw(EXT, ["comma"])
    keep_unreadable(world.table, ORGANIZATION.id, [comma()])
    assert check_lists(world.table) == {}


def test_an_event_is_not_listed_that_is_withdrawn_at_that_moment() -> None:
    """A fold that has begun before the withdrawal puts nothing on the list behind it."""
    world, stream = posted()
    table = memory(world)
    taken = table.transact

    def interrupt(actions: Sequence[Any]) -> None:
        table.transact = taken  # type: ignore[method-assign]
        stream.withdraw(EXT, ["comma"])
        taken(actions)

    table.transact = interrupt  # type: ignore[method-assign]
    keep_unreadable(table, ORGANIZATION.id, [comma()])
    assert check_lists(table) == {}


def test_an_event_that_another_meter_counts_by_now_changes_its_number() -> None:
    world, _ = posted()
    for elsewhere in (False, True, True, False):
        keep_unreadable(world.table, ORGANIZATION.id, [comma(elsewhere=elsewhere)])
        assert check_lists(world.table) == {"comma": PARTLY if elsewhere else "value"}

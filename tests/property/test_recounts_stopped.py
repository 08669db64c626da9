"""Recounts that are killed, beside imports and rebuilds, or twice at once: what they count is counted once."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event as Signal
from threading import Thread
from typing import Any
from unittest import mock

import pytest

from meterstone.catalogue.management import CatalogueConflictError
from meterstone.catalogue.recounting import carry_all_on, carry_on
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.catalogue.countings import read_countings
from meterstone.store.catalogue.recounts import read_recounts
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import StoreUnavailableError
from meterstone.store.operations import imports, log_counting
from meterstone.store.operations.imports import Importer, Source, SourceLine
from meterstone.store.operations.rebuild import Surroundings, abandon, rebuild
from meterstone.usage.instant import DAY, HOUR, MINUTE
from meterstone.usage.meter import Event
from support.life import at_call
from support.recounts import (
    CUSTOMERS,
    EVERY,
    MOST_CALLS,
    OWN,
    SECOND,
    Scene,
    everywhere,
    stopped_at,
    subscribed,
)
from support.recovering import WAIT
from support.scenario import ORGANIZATION, Usage, digest

FILE = "file"


def changed(scene: Scene) -> None:
    """Put a plan in the past that the end of an hour ago takes back in part; some events come around the cut."""
    scene.management.change_plan("sub 1", "seven", scene.clock.now - 2 * DAY)
    scene.clock.now += SECOND
    scene.event("bytes", HOUR)
    scene.event("seats", 3 * DAY, CUSTOMERS)
    scene.clock.now += 10 * SECOND
    scene.event("bytes", MINUTE)
    scene.event("users", 3 * DAY)


def ended(scene: Scene) -> None:
    """Put an end in the past: what lies after it is listed."""
    scene.management.end("sub 1", scene.clock.now - 2 * HOUR)
    scene.clock.now += 10 * SECOND
    scene.event("bytes", 3 * HOUR)


CHANGES: dict[str, Callable[[Scene], None]] = {"another plan": changed, "it has ended": ended}


def put(change: str) -> Callable[[], Scene]:
    def make() -> Scene:
        scene = subscribed(delivered=False)
        CHANGES[change](scene)
        return scene

    return make


def file(scene: Scene) -> list[Usage]:
    """Give the lines of a file: of many meters, before and after what changes."""
    if FILE not in scene.files:
        scene.files[FILE] = [
            Usage(
                OWN if number % 3 else CUSTOMERS,
                Event(
                    f"line {number}",
                    ("bytes", "seats", "users", "calls")[number % 4],
                    scene.begun - (HOUR, 3 * DAY, 15 * DAY)[number % 3],
                    {"value": "no number" if number == 7 else number, "who": f"w{number % 5}"},
                ),
            )
            for number in range(14)
        ]
        scene.usage += scene.files[FILE]
    return scene.files[FILE]


def load(scene: Scene) -> None:
    account = read_account(scene.table, ORGANIZATION.id, consistent=True)
    assert account is not None
    lines = [SourceLine(line, each.subject, each.event) for line, each in enumerate(file(scene), start=1)]
    with mock.patch.object(imports, "_BATCH", 4):
        Importer(scene.table, account).run(
            Source(FILE, digest(FILE)), lines, scene.clock.now, lambda *_: None
        )


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a recount come to a place after every few events."""
    monkeypatch.setattr(log_counting, "COUNTED_TOGETHER", 4)


@pytest.mark.parametrize("change", CHANGES)
def test_an_import_begins_at_any_call_of_a_recount(change: str) -> None:
    everywhere(put(change), Scene.through, load)


@pytest.mark.parametrize("change", CHANGES)
def test_a_recount_at_any_call_of_an_import(change: str) -> None:
    """The import has logged a batch and not counted it, or counted it and not moved its record."""

    def beside(scene: Scene) -> None:
        CHANGES[change](scene)
        scene.through()

    everywhere(subscribed, load, beside, closely=True)
    everywhere(put(change), load, Scene.through, closely=True)


@pytest.mark.parametrize("change", CHANGES)
def test_a_recount_at_any_of_the_last_calls_of_an_import(change: str) -> None:
    """The record names the last line, and is not closed yet: what a recount has read is not counted again."""
    whole = subscribed()
    with at_call(whole.table, MOST_CALLS, lambda: None) as made:
        load(whole)
    for number in range(len(made) - 12, len(made)):
        scene = subscribed()

        def beside(scene: Scene = scene) -> None:
            CHANGES[change](scene)
            scene.through()

        with at_call(scene.table, number, beside):
            load(scene)
        scene.check()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("then", ["gone on with at once", "gone on with after the recount", "closed"])
def test_an_import_was_killed_at_any_write_before_a_recount(change: str, then: str) -> None:
    writes = writes_of(lambda: subscribed(delivered=False), load)
    assert writes > 10
    for number in range(0, writes, 1 + EVERY // 10):
        scene = subscribed(delivered=False)
        stopped_at(scene, number, load, before=number % 2 == 0)
        CHANGES[change](scene)
        if then == "gone on with at once":
            load(scene)
        scene.through()
        if then == "closed":
            imports.close_import(scene.table, ORGANIZATION.id, Source(FILE, digest(FILE)), scene.clock.now)
        file(scene)
        scene.check()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("change", CHANGES)
def test_killed_at_any_write_it_is_gone_on_with(change: str, when: str) -> None:
    """A put, all of its recount, and what waits for its end, are killed; who comes next goes on."""

    def act(scene: Scene) -> None:
        with suppress(CatalogueConflictError):
            CHANGES[change](scene)
            scene.management.change_plan("sub 1", "one", scene.clock.now - DAY)
        scene.through()

    writes = writes_of(lambda: subscribed(delivered=False), act)
    assert writes > 25
    for number in range(0, writes, 1 + EVERY // 10):
        scene = subscribed(delivered=False)
        stopped_at(scene, number, act, before=when == "before")
        if number % 2:
            scene.deliver()
        scene.clock.now += WAIT
        if number % 3:
            scene.roll()
        scene.through()
        scene.check()


def edition(scene: Scene) -> int:
    """Return the highest number of an edition that was begun."""
    (seen,) = read_countings(scene.table, ORGANIZATION.id, ["sub 1"])
    return seen.counting.last


def place_of(scene: Scene) -> str:
    """Return the place of the recount that is not done."""
    return next((each.place for each in read_recounts(scene.table, ORGANIZATION.id) if not each.done_at), "")


def stopped_on_its_way(change: str, number: int) -> Scene:
    """Give a recount that is stopped at a write, while it reads the log or not."""
    scene = put(change)()
    scene.deliver()
    scene.clock.now += MINUTE
    stopped_at(scene, number, Scene.recount_once, before=number % 2 == 0)
    scene.clock.now += WAIT
    return scene


@pytest.mark.parametrize("change", CHANGES)
def test_it_goes_on_from_its_place(change: str) -> None:
    """Where nothing has changed meanwhile, it reads what is left, into the same edition."""
    gone_on_with = 0
    whole = writes_of(put(change), Scene.through)
    for number in range(whole):
        scene = stopped_on_its_way(change, number)
        if place_of(scene):
            before = writes_of(lambda scene=scene: scene, Scene.through)  # type: ignore[misc]
            assert edition(scene) == 1
            gone_on_with += before < whole
        else:
            scene.through()
        scene.check()
    assert gone_on_with > 8


def withdrawn(scene: Scene) -> None:
    """Try to withdraw an event of the subscription, and one of its customer."""
    for subject in (OWN, CUSTOMERS):
        usage = next(each for each in scene.usage if each.subject == subject)
        with suppress(BusyError):
            scene.folding.withdraw(usage, scene.clock.now)
            scene.usage.remove(usage)
    scene.deliver()


def rebuilt(scene: Scene) -> None:
    with suppress(BusyError):
        rebuild(scene.table, ORGANIZATION.id, Surroundings(scene.clock, scene.pass_time))


def of_another(scene: Scene) -> None:
    """Have another subscription of the customer counted anew, that alone, and then withdraw."""
    scene.sign_up("2", start=-18 * DAY, external_id="ext 2")
    other = next(
        each for each in read_recounts(scene.table, ORGANIZATION.id) if "sub 2" in each.subscriptions
    )
    scene.clock.now += MINUTE
    until = scene.clock.now + HOUR
    carry_on(scene.table, keys.recount(ORGANIZATION.id, other.id), scene.clock, until, scene.pass_time)
    withdrawn(scene)


def replayed(scene: Scene) -> None:
    """Have what waits of the customer be for a line item, and counted."""
    scene.event("packets", 3 * DAY, CUSTOMERS)
    scene.deliver()
    scene.sign_up("3", start=-19 * DAY, external_id="ext 3", line_items=[{"price": "packets at 1"}])
    scene.roll()


BETWEEN: dict[str, Callable[[Scene], object]] = {
    "an import begins": load,
    "events come": lambda scene: [scene.event("bytes", days * DAY, OWN) for days in range(9)],
    "events are withdrawn": withdrawn,
    "another reads": of_another,
    "what waits is counted": replayed,
    "a rebuild": rebuilt,
    "another put": lambda scene: scene.management.end("sub 1", scene.clock.now - 3 * DAY),
    "the customer moves": lambda scene: scene.management.put("customer", "cust 0", {}),
}


@pytest.mark.parametrize("then", BETWEEN)
@pytest.mark.parametrize("change", CHANGES)
def test_what_happens_between_a_stop_and_going_on(change: str, then: str) -> None:
    for number in range(8, 44, 1 + EVERY // 10):
        scene = stopped_on_its_way(change, number)
        with suppress(CatalogueConflictError, StoreUnavailableError):
            BETWEEN[then](scene)
        if number % 3:
            scene.deliver()
        scene.through()
        file(scene)
        load(scene)
        scene.check()


def test_an_import_at_any_call_of_a_reading_that_goes_on() -> None:
    """It would be read once more, and nobody knows one by one what was counted before the place."""
    for number in range(12, 40, 1 + EVERY // 8):
        for other in range(0, 60, 1 + EVERY // 6):
            scene = stopped_on_its_way("another plan", number)
            with at_call(scene.table, other, lambda scene=scene: load(scene)):  # type: ignore[misc]
                scene.through()
            file(scene)
            load(scene)
            scene.check()


def test_it_stops_when_time_is_up_and_goes_on() -> None:
    scene = put("another plan")()
    scene.deliver()
    scene.clock.now += MINUTE

    def clock() -> int:
        scene.clock.now += SECOND
        return scene.clock.now

    calls = 0
    while any(each.done_at is None for each in read_recounts(scene.table, ORGANIZATION.id)):
        carry_all_on(scene.table, clock, scene.clock.now + 12 * SECOND, scene.pass_time)
        calls += 1
    assert calls > 3
    assert edition(scene) == 1
    scene.check()


def test_two_long_recounts_of_one_customer_both_come_to_their_ends() -> None:
    """Each needs several calls, and both read the log of the customer in turn."""
    scene = Scene()
    for name in ("1", "2"):
        scene.sign_up(name, external_id=f"ext {name}")
    for number in range(24):
        scene.event("bytes", (1 + number % 9) * DAY, (OWN, CUSTOMERS)[number % 2])
    scene.deliver()
    for name in ("1", "2"):
        scene.management.change_plan(f"sub {name}", "seven", scene.clock.now - 12 * DAY)
    scene.clock.now += MINUTE

    def clock() -> int:
        scene.clock.now += SECOND
        return scene.clock.now

    for _ in range(40):
        carry_all_on(scene.table, clock, scene.clock.now + 12 * SECOND, scene.pass_time)
        if all(each.done_at for each in read_recounts(scene.table, ORGANIZATION.id)):
            break
    else:
        raise AssertionError("they are never done")
    assert edition(scene) == 1
    scene.check()


def writes_of(make: Callable[[], Scene], act: Callable[[Scene], object]) -> int:
    """Return how many writes an act makes."""
    scene = make()
    before = scene.table.writes
    act(scene)
    return scene.table.writes - before


@pytest.mark.parametrize("change", CHANGES)
def test_killed_twice_it_is_gone_on_with(change: str) -> None:
    for number in range(0, 60, 1 + EVERY // 5):
        scene = put(change)()
        stopped_at(scene, number, Scene.through)
        scene.clock.now += WAIT
        stopped_at(scene, (number * 7) % 41, Scene.through, before=False)
        scene.deliver()
        scene.clock.now += WAIT
        scene.through()
        scene.check()


@pytest.mark.parametrize("change", CHANGES)
def test_a_delivery_killed_at_any_write_while_it_counts_into_two_editions(change: str) -> None:
    for number in range(writes_of(put(change), Scene.deliver)):
        scene = put(change)()
        stopped_at(scene, number, Scene.deliver, before=number % 2 == 0)
        scene.through()
        scene.check()


@pytest.mark.parametrize("change", CHANGES)
def test_a_rebuild_at_any_call_of_a_recount(change: str) -> None:
    """Also between the put and its recount: what was begun for a generation is begun anew for the next."""
    everywhere(put(change), Scene.through, rebuilt)


@pytest.mark.parametrize("change", CHANGES)
def test_a_put_and_its_recount_at_any_call_of_a_rebuild(change: str) -> None:
    def beside(scene: Scene) -> None:
        with suppress(CatalogueConflictError):
            CHANGES[change](scene)
        with suppress(StoreUnavailableError, BusyError):
            scene.recount_once()

    def check(scene: Scene) -> None:
        scene.clock.now += WAIT
        scene.through()
        scene.check()

    everywhere(subscribed, rebuilt, beside, check)
    everywhere(put(change), rebuilt, Scene.deliver, check)


@pytest.mark.parametrize("change", CHANGES)
def test_a_recount_beside_a_rebuild_that_was_killed_at_any_write(change: str) -> None:
    for number in range(0, 60, 1 + EVERY // 8):
        scene = put(change)()
        stopped_at(scene, number, rebuilt)
        scene.clock.now += WAIT
        with suppress(CatalogueConflictError):
            scene.management.change_plan("sub 1", "one", scene.clock.now - DAY)
        with suppress(StoreUnavailableError, BusyError):
            scene.recount_once()
        scene.deliver()
        scene.clock.now += WAIT
        if number % 2:
            rebuilt(scene)
        else:
            abandon(scene.table, ORGANIZATION.id, scene.clock.around)
        scene.through()
        scene.check()


@pytest.mark.parametrize("change", CHANGES)
def test_two_recounting_functions_at_once(change: str) -> None:
    """The other one begins at any call of the first: within its lease, or when it has lost it."""
    for later in (0, WAIT):

        def beside(scene: Scene, later: int = later) -> None:
            scene.clock.now += later
            with suppress(StoreUnavailableError, BusyError):
                scene.recount_once()

        everywhere(put(change), Scene.through, beside)


@dataclass
class Paused:
    """An act in a thread of its own, which is stopped at a call of the table until it is let go on."""

    scene: Scene
    act: Callable[[Scene], object]
    reached: Signal = field(default_factory=Signal)
    released: Signal = field(default_factory=Signal)
    failed: list[BaseException] = field(default_factory=list)

    def start(self, number: int) -> None:
        def pause() -> None:
            self.reached.set()
            assert self.released.wait(60)

        def run() -> None:
            try:
                with at_call(self.scene.table, number, pause):
                    self.act(self.scene)
            except (StoreUnavailableError, BusyError, AssertionError) as error:
                self.failed.append(error)
            finally:
                self.reached.set()

        self.thread = Thread(target=run)
        self.thread.start()
        assert self.reached.wait(60)

    def go_on(self) -> None:
        self.released.set()
        self.thread.join(60)
        assert not self.thread.is_alive()


def test_an_import_goes_on_in_the_middle_of_a_recount() -> None:
    """It has begun before; at any call of the recount it counts what is left, and moves its record."""
    for number in range(20, 90, max(EVERY // 2, 4)):
        for other in range(4, 110, max(EVERY // 4, 4)):
            scene = put("another plan")()
            paused = Paused(scene, load)
            paused.start(number)
            with at_call(scene.table, other, paused.go_on) as made:
                scene.through()
            if len(made) <= other:
                paused.go_on()
            scene.check()


def test_one_that_has_lost_its_lease_goes_on_in_the_middle_of_another() -> None:
    """It sleeps at any call for longer than its lease; the other goes on from its place, and is not through."""
    for number in range(0, 160, max(EVERY // 4, 1)):
        for other in range(10, 90, max(EVERY // 2, 7)):
            scene = put("another plan")()
            paused = Paused(scene, Scene.recount_once)
            paused.start(number)
            scene.clock.now += WAIT + 30 * SECOND
            with (
                at_call(scene.table, other, paused.go_on) as made,
                suppress(StoreUnavailableError, BusyError),
            ):
                scene.recount_once()
            if len(made) <= other:
                paused.go_on()
            scene.clock.now += WAIT
            scene.through()
            scene.check()


def test_a_recount_of_many_events_and_line_items() -> None:
    """3,000 events over 60 days into 20 line items, of which each has another price from a month ago on."""
    scene = Scene()
    names = [f"meter {number}" for number in range(20)]
    for name in names:
        kind: dict[str, Any] = {"aggregation": "SUM", "field": "value"}
        if name.endswith("3"):
            kind = {"aggregation": "COUNT_UNIQUE", "field": "who", "recurring": True}
        scene.management.put("meter", name, {"code": name, **kind})
        scene.price(f"{name} at 1", name, "1")
        scene.price(f"{name} at 7", name, "7")
    for code, amount in (("many 1", 1), ("many 7", 7)):
        prices = [f"{name} at {amount}" for name in names]
        scene.management.put("plan", code, {"prices": prices, "currency": "USD"})
    scene.sign_up(start=-70 * DAY, plan="many 1", billing_period="MONTHLY")
    for number in range(3000):
        scene.event(names[number % 20], (number * 28) * MINUTE)
    scene.deliver()
    scene.management.change_plan("sub 1", "many 7", scene.clock.now - 30 * DAY)
    scene.through()
    assert scene.table.most_actions <= 100
    scene.check()


@pytest.mark.parametrize("number", [None, 0, 1, 2, 3, 5, 8])
def test_a_chain_of_more_charges_than_a_transaction_takes(number: int | None) -> None:
    """150 days; a delivery into the edition that is filled is killed between two of its transactions, or not."""
    scene = Scene()
    scene.sign_up(start=-150 * DAY, billing_period="DAILY")
    scene.event("seats", 149 * DAY)
    scene.event("known", 149 * DAY)
    scene.deliver()
    scene.roll()
    scene.clock.now += MINUTE
    scene.management.change_plan("sub 1", "seven", scene.clock.now - 20 * DAY)
    scene.clock.now += 10 * SECOND
    scene.event("seats", 148 * DAY)
    scene.event("known", 147 * DAY)
    if number is not None:
        stopped_at(scene, number, Scene.deliver)
    scene.through()
    scene.check()

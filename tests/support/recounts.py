"""Small worlds in which a subscription is counted anew, and what may happen between any two calls of the table."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from meterstone.catalogue.recounting import carry_all_on
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.catalogue.recounts import read_recounts
from meterstone.store.catalogue.subscriptions import list_subscriptions, read_subscriptions
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import StoreUnavailableError
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, HOUR, MINUTE, format_instant
from meterstone.usage.meter import Event
from meterstone.usage.window import Window
from support.counting import SCALE
from support.life import START, TABLE_CALLS, Life, at_call
from support.memory_table import Faults, Killed
from support.scenario import ORGANIZATION, Scenario, Usage, World

SECOND = 1_000_000
OWN = Subject.subscription("ext 1")
CUSTOMERS = Subject.customer("cust 0")
#: Of the calls of the table at which something may happen, every so manyth is tried.
EVERY = int(os.environ.get("METERSTONE_EVERY", "3" if SCALE > 1 else "31"))
MOST_CALLS = 3000

METERS: tuple[dict[str, Any], ...] = (
    {"id": "latest", "code": "latest", "aggregation": "LATEST", "field": "value"},
    {"id": "mean", "code": "mean", "aggregation": "AVG", "field": "value"},
    {"id": "rush", "code": "rush", "aggregation": "MAX", "field": "value", "bucket_size": "HOUR"},
    {"id": "heat", "code": "heat", "aggregation": "SUM", "field": "value", "bucket_size": "WEEK"},
    {"id": "known", "code": "known", "aggregation": "COUNT_UNIQUE", "field": "who", "recurring": True},
    {"id": "flow", "code": "flow", "aggregation": "WEIGHTED_SUM", "field": "value"},
    {"id": "packets", "code": "packets", "event_name": "bytes", "aggregation": "COUNT"},
)
#: The names of events that some meter is for.
NAMES = ("calls", "bytes", "peak", "users", "seats", "level", *(each["id"] for each in METERS[:-1]))


class Scene(Life):
    """A world in which everything happens when it is said, and whose clock is in the middle of a month."""

    def __init__(self) -> None:
        super().__init__(1)
        self.clock.now += 14 * DAY
        for meter in METERS:
            self.management.put("meter", meter["id"], meter)
        for name in (*NAMES, "packets"):
            self.price(f"{name} at 1", name, "1")
            self.price(f"{name} at 7", name, "7")
        for code, amount in (("one", 1), ("seven", 7)):
            prices = [f"{name} at {amount}" for name in NAMES]
            self.management.put("plan", code, {"prices": prices, "currency": "USD"})
        for name in ("cust 0", "cust 1"):
            self.management.put("customer", name, {"country": "DE", "customer_type": "company"})

    def price(self, name: str, meter: str, amount: str, **more: Any) -> None:
        """Put a price."""
        fields = {"type": "USAGE", "meter_id": meter, "currency": "USD", "billing_model": "FLAT_FEE"}
        self.management.put("price", name, {**fields, "amount": amount, **more})

    def sign_up(self, name: str = "1", start: int = -20 * DAY, **more: Any) -> None:
        """Put a subscription that begins so long from the begin of the scene."""
        known = {"customer": "cust 0", "external_id": "ext 1", "currency": "USD", "billing_period": "WEEKLY"}
        begins = format_instant(self.begun + start)
        self.management.put("subscription", f"sub {name}", {**known, "plan": "one", "start": begins, **more})

    @property
    def begun(self) -> int:
        """When the scene began."""
        return START + 14 * DAY

    def event(self, name: str, before: int = HOUR, subject: Subject = OWN, value: Any = 3) -> Usage:
        """Take an event in that has happened so long before now."""
        number = len(self.usage)
        properties = {"value": value, "who": f"w{number % 3}"}
        found = Usage(subject, Event(f"e{number}", name, self.clock.now - before, properties))
        self.usage.append(found)
        # What is to be killed is the recount: an event that is in the log is in the stream.
        faults, self.table.faults = self.table.faults, Faults()
        self.folding.post(found, self.clock.now)
        self.table.faults = faults
        return found

    def deliver(self, container: int = 0) -> None:
        """Deliver all that was not delivered yet, and the last records before that again."""
        for shard in self.folding.stream.shards:
            begin = max(shard.acknowledged - 3, 0)
            if shard.acknowledged < len(shard.records):
                self.folding.deliver(shard, begin, len(shard.records), self.clock.now, container)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in which nothing happens."""
        self.clock.now += int(seconds * SECOND)

    def recount_once(self, sleep: Callable[[float], None] | None = None) -> None:
        """Carry on what there is to be counted anew, as the schedule does."""
        carry_all_on(self.table, self.clock, self.clock.now + 10 * MINUTE, sleep or self.pass_time)

    def through(self) -> None:
        """Carry on until all is counted anew."""
        for _ in range(30):
            try:
                self.recount_once()
            except (StoreUnavailableError, BusyError):
                self.clock.now += MINUTE
            if all(each.done_at is not None for each in read_recounts(self.table, ORGANIZATION.id)):
                return
            self.clock.now += MINUTE
        raise AssertionError("a recount is never done")


def subscribed(*, delivered: bool = True, facts: dict[str, str] | None = None, **more: Any) -> Scene:
    """Give a subscription of every meter that was counted over some weeks, by itself and by its customer.

    ``facts`` are its customer's, if they are to be others.
    """
    scene = Scene()
    if facts is not None:
        scene.management.put("customer", "cust 0", facts)
    scene.sign_up(**more)
    for name in NAMES:
        scene.event(name, 15 * DAY)
        scene.event(name, 26 * HOUR, CUSTOMERS)
    scene.event("bytes", HOUR, value="no number")
    scene.event("nothing", HOUR)
    scene.deliver()
    scene.clock.now += MINUTE
    for name in ("bytes", "seats", "users"):
        scene.event(name, HOUR)
        scene.event(name, 21 * DAY)
    if delivered:
        scene.deliver()
    return scene


def everywhere(
    make: Callable[[], Scene],
    act: Callable[[Scene], object],
    beside: Callable[[Scene], object],
    check: Callable[[Scene], object] = lambda scene: scene.check(),
    *,
    closely: bool = False,
    each: bool = False,
) -> int:
    """Have something happen at each call of the table that an act makes, and check what has come of both.

    ``closely``: an act of few calls is tried at more of them; ``each``: at every one. Return how many calls the
    act makes.
    """
    every = 1 if each else max(EVERY // 6, 1) if closely else EVERY
    # Acts that differ are tried at different calls.
    first = _at_first(make, act) % every
    for number in (0, *range(first or every, MOST_CALLS, every)):
        scene = make()

        def once(scene: Scene = scene) -> None:
            faults, scene.table.faults = scene.table.faults, Faults()
            beside(scene)
            scene.table.faults = faults

        with at_call(scene.table, number, once) as made:
            act(scene)
        if len(made) <= number:
            beside(scene)
        try:
            check(scene)
        except AssertionError as error:
            raise AssertionError(f"at call {number}, {made[-1] if made else ''}: {error}") from error
        if len(made) <= number:
            return len(made)
    raise AssertionError(f"more than {MOST_CALLS} calls")


def _at_first(make: Callable[[], Scene], act: Callable[[Scene], object]) -> int:
    scene = make()
    with at_call(scene.table, MOST_CALLS, lambda: None) as made:
        act(scene)
    return len(made)


def stopped_at(scene: Scene, number: int, act: Callable[[Scene], object], *, before: bool = True) -> bool:
    """Kill an act at one of its writes; return whether it was."""
    at = scene.table.writes + number
    scene.table.faults = Faults(before=at) if before else Faults(after=at)
    try:
        act(scene)
    except Killed:
        return True
    finally:
        scene.table.faults = Faults()
    return False


@contextmanager
def watched(scene: Scene, look: Callable[[], None]) -> Iterator[None]:
    """Look before each call of the table."""
    for name in TABLE_CALLS:
        plain = getattr(scene.table, name)

        def call(*arguments: Any, plain: Callable[..., Any] = plain, **more: Any) -> Any:
            look()
            return plain(*arguments, **more)

        setattr(scene.table, name, call)
    try:
        yield
    finally:
        for name in TABLE_CALLS:
            vars(scene.table).pop(name, None)
    look()


def read_world(scene: Scene) -> World:
    """Return a world to read from: a copy of what is stored now."""
    world = World.__new__(World)
    world.table = scene.table.copy()
    account = read_account(world.table, ORGANIZATION.id, consistent=True)
    assert account is not None
    found = tuple(list_subscriptions(world.table, ORGANIZATION.id))
    world.scenario, world.account = Scenario(account.meters, found, (), scene.clock.now), account
    return world


def answered(scene: Scene, *names: str) -> tuple[object, ...]:
    """Return what the usage of subscriptions comes to over all their time, the commitment applied."""
    world = read_world(scene)
    found = read_subscriptions(world.table, ORGANIZATION.id, names, world.account.meters)
    window = Window(scene.begun - 60 * DAY, scene.begun + 3 * DAY)
    answers: list[object] = []
    for each in found:
        rows = world.statement(each, window, scene.clock.now).settlement.rows
        if rows:
            answers.append((each.id, [(row.source.key.id, row.is_overage, row.amount) for row in rows]))
    return tuple(answers)

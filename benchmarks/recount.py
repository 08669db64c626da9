"""What it costs to count one subscription anew, to withdraw one event, and an event beside that.

The code that the routes, the stream and the function `recount_usage` call, on a table in memory. Units are
DynamoDB's, from the items that are really read and written. Own CPU leaves out what the table takes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from time import process_time
from typing import Any, Final
from unittest import mock

from benchmarks.figures import Figure, Part
from benchmarks.puts import TimedTable

from meterstone.catalogue.management import Management
from meterstone.catalogue.recounting import carry_all_on
from meterstone.store.operations.log_counting import LogCounting
from meterstone.store.operations.recount import Recounting
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, HOUR, MINUTE, SECOND
from meterstone.usage.meter import Aggregation, Event
from support.managed import NOW, OF_C, PRICE, managed
from support.recovering import Clock, Stream
from support.scenario import ORGANIZATION, Usage

_LOGS, _QUICK = (100, 1_000, 10_000, 100_000), (100, 1_000)
_LINES = (1, 20)
_UNFORCED: Final = 50_000
_SINCE: Final = NOW - 9 * DAY
_OWN: Final = Subject.subscription("ext")
_HOUR_FULL, _QUICK_HOUR = 10_000, 1_000
_MIXED: Final = (Aggregation.COUNT, Aggregation.SUM, Aggregation.MAX, Aggregation.AVG)
_BATCH: Final = 100
#: What a recount does, by its methods. Reading is a part of the one that flips.
_STEPS: Final = {
    "reading": (LogCounting, "count"),
    "lists": (Recounting, "_settle_lists"),
    "turning": (Recounting, "_follow"),
    "flip": (Recounting, "_count_and_flip"),
}


@dataclass(slots=True)
class _Spent:
    """What something took: write units, items read, read units, and seconds of our own CPU."""

    values: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, table: TimedTable) -> "_Spent":
        return cls(
            {
                "write units": table.units,
                "items": table.cost.items,
                "read units": table.read,
                "own ms": (process_time() - table.seconds) * 1000,
            }
        )

    def since(self, before: "_Spent") -> "_Spent":
        return _Spent({name: value - before.values[name] for name, value in self.values.items()})

    def and_also(self, other: "_Spent") -> "_Spent":
        return _Spent({name: value + other.values[name] for name, value in self.values.items()})

    def over(self, many: int) -> "_Spent":
        return _Spent({name: value / many for name, value in self.values.items()})

    def figure(self, name: str) -> Figure:
        beside = {other: value for other, value in self.values.items() if other != "write units"}
        return Figure(name, self.values["write units"], "write units", None, beside)


class _Scene:
    """A subscription of one customer, whose events are logged and folded."""

    def __init__(self, aggregations: Iterable[Aggregation]) -> None:
        self.table = TimedTable()
        self.clock = Clock(NOW)
        managed(self.table)
        self.management = Management(self.table, ORGANIZATION.id, self.clock)
        self.stream = Stream(self.table, self.clock)
        self.names: list[str] = []
        for number, aggregation in enumerate(aggregations):
            fields = {} if aggregation is Aggregation.COUNT else {"field": "n"}
            if aggregation is Aggregation.SUM_WITH_MULTIPLIER:
                fields["multiplier"] = "2"
            name = f"meter {number}"
            self.management.put("meter", name, {"code": name, "aggregation": aggregation, **fields})
            for amount in (1, 2):
                self.management.put(
                    "price", f"{name} at {amount}", PRICE | {"meter_id": name, "amount": str(amount)}
                )
            self.names.append(name)
        for amount in (1, 2):
            prices = [f"{name} at {amount}" for name in self.names]
            self.management.put("plan", f"at {amount}", {"prices": prices})
        self.management.put("subscription", "s", OF_C | {"plan": "at 1", "external_id": "ext"})

    def use(self, events: int, start: int, end: int) -> list[Event]:
        """Take events in, spread evenly over a time and the meters, and count them."""
        first = len(self.stream.usage)
        made = [
            Event(
                f"event-{first + number:09}",
                self.names[number % len(self.names)],
                start + number * (end - start) // events,
                {"n": Decimal(number + 1)},
            )
            for number in range(events)
        ]
        self.stream.post(Usage(_OWN, each) for each in made)
        self.clock.now += SECOND
        self.stream.deliver()
        return made

    def spent(self, do: Callable[[], object]) -> _Spent:
        """Return what something takes."""
        before = _Spent.of(self.table)
        do()
        return _Spent.of(self.table).since(before)

    def upgrade(self, *, forced: bool = False) -> None:
        """Have the subscription on the other plan since nine days ago: its usage is to be counted anew."""
        self.management.change_plan("s", "at 2", _SINCE, forced=forced)

    def recount(self) -> int:
        """Count anew. Return how many events were counted."""
        self.clock.now += MINUTE
        (found,) = carry_all_on(self.table, self.clock, self.clock.now + HOUR, self.clock.sleep)
        if found.done_at is None:
            raise RuntimeError("the recount is not done")
        return found.done


def run(quick: bool) -> Part:  # noqa: FBT001 - every part is called alike
    """Count logs of several lengths anew, withdraw one event of each aggregation, and fold beside that."""
    figures = [
        spent.figure(f"{events:,} events, {_lines(lines)}: {step}")
        for lines in _LINES
        for events in (_QUICK if quick else _LOGS)
        for step, spent in _recounted(events, lines).items()
    ]
    many = _QUICK_HOUR if quick else _HOUR_FULL
    for aggregation in Aggregation:
        asked, taken = _withdrawn(aggregation, many)
        if aggregation is Aggregation.COUNT:
            figures.append(asked.figure(f"one event of {many:,} in its hour withdrawn: the call"))
        figures.append(taken.figure(f"one event of {many:,} in its hour withdrawn: {aggregation}"))
    figures += [spent.figure(f"an event, {name}") for name, spent in _beside().items()]
    return Part(
        "recount",
        figures,
        notes=[
            "events lie within nine days of one billing period, evenly over the line items; all are counted anew",
            "withdrawn: the latest event of its hour, which has the largest value, and no other has it",
            f"an event: a share of {_BATCH} of one subscription and line item, logged and folded together",
        ],
        limits=[
            "reading: the log, by the bytes of its events, and the states that are written for them",
            "turning: two tallies of each line item and billing period, and the rollups of each",
        ],
    )


def _lines(many: int) -> str:
    return "1 line item" if many == 1 else f"{many} line items"


def _recounted(events: int, lines: int) -> dict[str, _Spent]:
    """Return what each step of a recount takes, and all together."""
    scene = _Scene(_MIXED[number % len(_MIXED)] for number in range(lines))
    scene.use(events, _SINCE, NOW)
    # A log of more than 20 MB is read by force alone, and not measured by the put.
    steps = {"put": scene.spent(lambda: scene.upgrade(forced=events > _UNFORCED))}
    with ExitStack() as cleanup:
        for step, (owner, method) in _STEPS.items():
            watched = _watched(scene, steps, step, getattr(owner, method))
            cleanup.enter_context(mock.patch.object(owner, method, watched))
        counted = 0

        def through() -> None:
            nonlocal counted
            counted = scene.recount()

        carried = scene.spent(through)
    if counted != events:
        raise RuntimeError(f"{counted} events were counted anew")
    steps["flip"] = steps["flip"].since(steps["reading"])
    ordered = {name: steps[name] for name in ("put", "reading", "flip", "lists", "turning")}
    return ordered | {"all": steps["put"].and_also(carried)}


def _watched(
    scene: _Scene, steps: dict[str, _Spent], step: str, plain: Callable[..., None]
) -> Callable[..., Any]:
    """Return a method of a recount that says what it took."""

    def watched(self: object, *arguments: Any) -> None:
        spent = scene.spent(lambda: plain(self, *arguments))
        steps[step] = spent.and_also(steps[step]) if step in steps else spent

    return watched


def _withdrawn(aggregation: Aggregation, many: int) -> tuple[_Spent, _Spent]:
    """Return what it takes to withdraw an event of a full hour: the call, and the fold of its mark."""
    scene = _Scene([aggregation])
    last = scene.use(many, NOW - DAY, NOW - DAY + HOUR)[-1]
    asked = scene.spent(lambda: scene.stream.withdraw(_OWN, [last.id]))
    return asked, scene.spent(scene.stream.deliver)


def _beside() -> Mapping[str, _Spent]:
    """Return what an event takes, before a recount of its subscription, while it runs, and after it."""
    return dict(_each_event())


def _each_event() -> Iterator[tuple[str, _Spent]]:
    scene = _Scene([Aggregation.COUNT])

    def fold() -> _Spent:
        scene.clock.now += MINUTE
        return scene.spent(lambda: scene.use(_BATCH, _SINCE, _SINCE + HOUR)).over(_BATCH)

    fold()
    yield "never counted anew", fold()
    scene.upgrade()
    scene.clock.now += 10 * SECOND
    fold()
    yield "while its subscription is counted anew", fold()
    scene.recount()
    fold()
    yield "after it", fold()

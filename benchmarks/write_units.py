"""What an event costs in write units, from its acceptance to the rollups: computed from what is really written."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import replace
from typing import Any

from benchmarks import world
from benchmarks.figures import Figure, Part
from benchmarks.posting import StreamedTable, WayIn
from benchmarks.sizes import index_units, put_units

from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item
from meterstone.usage.instant import DAY, HOUR, SECOND
from meterstone.usage.meter import Meter
from meterstone.usage.subscription import Subscription

EVENTS, SUBSCRIPTIONS = 500, 50
BULK, FURTHER, TOGETHER, LONE = 2.05, 0.6, 1.25, 17.0

_KINDS = {
    "C": "counter",
    "R": "chain",
    "H": "hours",
    "B": "buckets",
    "E": "detail",
    "F": "values",
    "U": "values",
}
_MONTH = world.instant(2025, 5, 1)
_FIRST_DAY, _LAST_DAY = _MONTH + 9 * HOUR, _MONTH + 30 * DAY + 9 * HOUR

type Units = Mapping[str, float]
type Post = Callable[[WayIn, int], None]


class WeighedTable(StreamedTable):
    """Adds up what writes cost, by kind of item."""

    def __init__(self) -> None:
        super().__init__()
        self.units: Counter[str] = Counter()
        self._times = 1

    def transact(self, actions: Sequence[Any]) -> None:
        """Write, at twice the cost."""
        self._times = 2
        try:
            super().transact(actions)
        finally:
            self._times = 1

    def _store(self, key: Key, item: Item | None) -> None:
        before = self._items.get(key.pk, {}).get(key.sk)
        self.units[kind_of(key)] += put_units(before, item) * self._times
        self.units["index"] += index_units(before, item)
        super()._store(key, item)


def kind_of(key: Key) -> str:
    """Name what an item is.

    >>> kind_of(Key("org#events#s#ext", "id")), kind_of(Key("org#1#rollup#T", "2025-05#usd#m#0"))
    ('event', 'rollup')
    """
    _, *parts = key.pk.split("#")
    if "usage" in parts[:2]:
        return _KINDS[key.sk.partition("#")[0]]
    if "rollup" in parts[:2]:
        return "rollup"
    if parts[:1] in (["external"], ["customer"]):
        # The condition under which a subject's events are counted: it costs what writing the item would.
        return "catalogue"
    return "event" if parts[:1] == ["events"] else "other"


def subscriptions(*, scattered: bool, meters: tuple[Meter, ...]) -> list[Subscription]:
    """Give the 50: of one plan, country and type, or scattered over all plans, countries and types."""
    model = world.subscription(0, meters)
    everyone = [world.subscription(number, meters) for number in range(SUBSCRIPTIONS)]
    if scattered:
        return everyone
    return [
        replace(each, plan=model.plan, country=model.country, customer_type=model.customer_type)
        for each in everyone
    ]


def meters(many: int) -> tuple[Meter, ...]:
    """Give so many meters that all count the same events."""
    tokens = world.METERS[1]
    return tuple(replace(tokens, id=f"{tokens.id}_{n}", code=f"{tokens.code}_{n}") for n in range(many))


def bulk(*, many: int = 1, scattered: bool = False, full: bool = False) -> Units:
    """Give the units by kind of 500 events over 50 subscriptions in one bulk request, each for ``many`` meters.

    ``scattered``: over plans, countries and types of customers. ``full``: on the last day of a month that had
    usage on every day; otherwise the first usage of all.
    """
    way_in = _way_in(meters(many), scattered=scattered)
    return _measured(way_in, _bulk, EVENTS, full=full)


def all_or_none() -> Units:
    """Give the units of the same events in five of Lago's batches."""
    return _measured(_way_in(meters(1)), _batches, EVENTS)


def lone(*, full: bool = False) -> Units:
    """Give the units of one event alone."""
    return _measured(_way_in(meters(1)), _one, 1, full=full)


def hour_by_hour(folds: int) -> list[Units]:
    """Give the units of so many bulks of one hour, one after the other."""
    ready = _way_in(meters(1))
    return [_measured(ready, _bulk, EVENTS, start=_FIRST_DAY + number) for number in range(folds)]


def _way_in(counted: tuple[Meter, ...], *, scattered: bool = False) -> tuple[WeighedTable, WayIn]:
    table = WeighedTable()
    return table, WayIn(table, subscriptions(scattered=scattered, meters=counted), counted)


def _measured(
    ready: tuple[WeighedTable, WayIn], post: Post, events: int, *, full: bool = False, start: int = _FIRST_DAY
) -> Units:
    table, way_in = ready
    for at in range(_FIRST_DAY, _LAST_DAY, DAY) if full else ():
        post(way_in, at)
        way_in.fold(at + HOUR)
    at = _LAST_DAY if full else start
    table.units.clear()
    post(way_in, at)
    report = way_in.fold(at + HOUR)
    if report.counted != events:
        raise RuntimeError(f"{report.counted} events were counted")
    return {kind: units / events for kind, units in table.units.items() if units}


def _bulk(way_in: WayIn, at: int) -> None:
    events = [way_in.flexprice(place, at + place * SECOND) for place in range(EVENTS)]
    way_in.post("flexprice_bulk", {"events": events}, at + HOUR)


def _batches(way_in: WayIn, at: int) -> None:
    for first in range(0, EVENTS, 100):
        events = [way_in.lago(place, at + place * SECOND) for place in range(first, first + 100)]
        way_in.post("lago_batch", {"events": events}, at + HOUR)


def _one(way_in: WayIn, at: int) -> None:
    way_in.post("lago_event", {"event": way_in.lago(0, at)}, at + HOUR)


def run(quick: bool) -> Part:  # noqa: FBT001, ARG001 - every part is called alike
    """Post the events of each case, fold them, and add up."""
    simple, two = bulk(), bulk(many=2)
    together = all_or_none()
    folds = hour_by_hour(12)
    steady = {
        kind: sum(each.get(kind, 0) for each in folds) / len(folds) for kind in {**folds[0], "detail": 0}
    }
    cases = [
        ("bulk, first of a month", simple, BULK),
        ("bulk, last of a month", bulk(full=True), BULK),
        ("bulk, many plans and countries", bulk(scattered=True), BULK),
        ("bulk, many plans and countries, last of a month", bulk(scattered=True, full=True), BULK),
        ("bulk, a dozen folds of one hour", steady, BULK),
        ("further meter", {kind: two[kind] - simple.get(kind, 0) for kind in two}, FURTHER),
        (
            "all or none, over bulk",
            {kind: together[kind] - simple.get(kind, 0) for kind in together},
            TOGETHER,
        ),
        ("lone, first of a month", lone(), LONE),
        ("lone, last of a month", lone(full=True), LONE),
    ]
    return Part(
        "write_units",
        [
            Figure(f"{name}: write units an event", sum(units.values()), "", budget, units)
            for name, units, budget in cases
        ],
        notes=[
            f"{name}: " + ", ".join(f"{kind} {value:.2f}" for kind, value in units.items() if value)
            for name, units, _ in cases
        ],
        limits=[
            "bulk: the event's own put, which is 1; then, twice each, two items of a tally and a condition",
            "all or none: events that name a subscription have two conditions for a customer's first usage",
            "lone: the rollups of each view, two units each, which a batch shares among its events",
        ],
    )

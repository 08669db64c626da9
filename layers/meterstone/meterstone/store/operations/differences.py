"""The differences between two generations as an operator reads them: customer, metric, day, before and after.

The generations are compared item by item (see `generations`). Every difference is reported: an attribute that
cannot be divided by days is reported as it is stored.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from meterstone.pricing.money import plain
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Kind
from meterstone.store.dynamodb.packing import published
from meterstone.store.dynamodb.table import Attribute
from meterstone.usage.calendar import zone
from meterstone.usage.instant import format_instant
from meterstone.usage.subscription import LineItem, Subscription

_HOURS = 24


@dataclass(frozen=True, slots=True)
class View:
    """A view of the rollups with the values of its dimensions."""

    name: str
    values: tuple[str, ...]


#: A subscription, by its id, or a view of the rollups.
type Place = str | View


class ItemDifference(NamedTuple):
    """The stored values of one attribute of an item in two generations; empty for no value."""

    sk: str
    attribute: str
    live: str
    rebuilt: str


class Difference(NamedTuple):
    """A value that differs; before or after is empty if there is none.

    The value belongs to one subscription, which is given with its customer, or to a ``group`` of all customers,
    such as `plan pro`. The day is empty if the value does not belong to one day.
    """

    group: str
    customer: str
    subscription: str
    line_item: str
    metric: str
    day: str
    what: str
    before: str
    after: str


@dataclass(slots=True)
class _Names:
    """The names that the parts of keys stand for."""

    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    items: dict[tuple[str, str], LineItem] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, subscriptions: Iterable[Subscription]) -> "_Names":
        names = cls()
        for subscription in subscriptions:
            names.subscriptions[subscription.id] = subscription
            for item in subscription.line_items:
                names.items[subscription.id, keys.part(item.id)] = item
                if item.meter is not None:
                    names.metrics[keys.part(item.meter.id)] = item.meter.code
        return names


def described(
    found: Mapping[Place, Iterable[ItemDifference]], subscriptions: Iterable[Subscription]
) -> list[Difference]:
    """Return the differences by customer, then by group of customers, always in the same order."""
    if not found:
        return []
    names = _Names.of(subscriptions)
    told: list[Difference] = []
    for place, several in found.items():
        for each in several:
            told += (
                [_of_view(names, place, each)]
                if isinstance(place, View)
                else _of_subscription(names, place, each)
            )
    return sorted(told)


def _of_view(names: _Names, view: View, found: ItemDifference) -> Difference:
    key = keys.parse_rollup_of_all_writers(found.sk)
    group = [f"{name} {value}" for name, value in zip(keys.VIEWS[view.name], view.values, strict=True)]
    if key.customer_type:
        group.append(f"type {key.customer_type}")
    return Difference(
        group=", ".join(group) or "all",
        customer="",
        subscription="",
        line_item="",
        metric=names.metrics.get(key.meter, key.meter),
        day=f"{key.month}-{found.attribute[1:]}",
        what=_worth("units" if found.attribute[0] == "u" else "amount_cents", key.currency),
        before=found.live,
        after=found.rebuilt,
    )


def _of_subscription(names: _Names, subscription_id: str, found: ItemDifference) -> Iterator[Difference]:
    subscription = names.subscriptions[subscription_id]
    item_part = keys.parse_item(found.sk)
    item = names.items.get((subscription_id, item_part))
    meter = None if item is None else item.meter
    before, after = (
        _values(subscription, found.sk, found.attribute, held) for held in (found.live, found.rebuilt)
    )
    differing = [each for each in before.keys() | after.keys() if before.get(each) != after.get(each)]
    if not differing:
        before, after = {("", found.attribute): found.live}, {("", found.attribute): found.rebuilt}
        differing = list(before)
    for day, what in differing:
        yield Difference(
            group="",
            customer=subscription.customer_id,
            subscription=subscription_id,
            line_item=item_part if item is None else item.id,
            metric=names.metrics.get(item_part, "") if meter is None else meter.code,
            day=day,
            what=what,
            before=before.get((day, what), ""),
            after=after.get((day, what), ""),
        )


def _values(subscription: Subscription, sk: str, attribute: str, held: str) -> dict[tuple[str, str], str]:
    """Divide the stored value of an item's attribute: values, by their day and by what they are."""
    if not held:
        return {}
    kind = keys.parse_usage_kind(sk)
    match kind, attribute:
        case Kind.COUNTER, ("d" | "p"):
            return _of_counter(subscription, sk, attribute, held)
        case Kind.COUNTER, "c":
            day = zone(subscription.timezone).day_of(keys.parse_period_start(sk))
            return {(_iso(day), "carried into the period"): _state(json.loads(held))}
        case Kind.HOURS, _:
            day = keys.parse_item_day(sk)
            return {
                (_iso(day), f"hour {int(hour):02}:00Z"): _state(state)
                for hour, state in json.loads(held).items()
            }
        case Kind.BUCKETS, _:
            day = keys.parse_item_day(sk)
            return {
                (_iso(day), f"bucket from {format_instant(int(start))}"): _state(value)
                for start, value in json.loads(held).items()
            }
        case Kind.VALUE, _:
            key = keys.parse_value(sk)
            hours = [f"{hour:02}" for hour in range(_HOURS) if int(held) >> hour & 1]
            return {(_iso(key.day), f"hours (UTC) of the value {key.value}"): " ".join(hours)}
        case Kind.FIRST_SEEN, _:
            return {("", f"first seen: the value {keys.parse_first_seen(sk)}"): format_instant(int(held))}
        case _:
            return {("", attribute): held}


def _of_counter(subscription: Subscription, sk: str, attribute: str, held: str) -> dict[tuple[str, str], str]:
    start = keys.parse_period_start(sk)
    base = zone(subscription.timezone).day_of(start) + keys.parse_counter(sk).chunk * keys.CHUNK_DAYS
    if attribute == "d":
        return {
            (_iso(base + int(number)), "counted"): _state(state) for number, state in json.loads(held).items()
        }
    found: dict[tuple[str, str], str] = {}
    for day, worth in published({"p": Attribute(S=held)}, base):
        found[_iso(day), _worth("units", subscription.currency)] = plain(worth.units)
        found[_iso(day), _worth("amount_cents", subscription.currency)] = str(worth.cents)
    return found


def _worth(what: str, currency: str) -> str:
    return f"{what} {currency.upper()}"


def _state(state: object) -> str:
    return state if isinstance(state, str) else json.dumps(state, separators=(",", ":"))


def _iso(day: int) -> str:
    return date.fromordinal(day).isoformat()

"""The items of a generation: comparing them with those of another generation, and deleting them.

The items that answers are made of are compared: counters, hours, buckets and values by subscription, and the
rollups, summed over their writers. Versions, positions, and the grouping of events in details are not compared.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import batched, product

from meterstone.pricing.money import ZERO, add, plain, whole
from meterstone.store.catalogue.subscriptions import list_subscriptions, read_subscriptions
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST, Key, Kind
from meterstone.store.dynamodb.table import Row, Table, text
from meterstone.store.operations.differences import ItemDifference, Place, View
from meterstone.store.operations.retired import InUse
from meterstone.usage.arrival import Subject
from meterstone.usage.charge import Dimensions
from meterstone.usage.subscription import Dated, Subscription

#: Kinds of items, by the first part of their sort keys, and the attributes that answers are made of.
_COMPARED: dict[str, tuple[str, ...]] = {
    Kind.BUCKETS: ("b",),
    Kind.COUNTER: ("c", "d", "p"),
    Kind.FIRST_SEEN: ("a",),
    Kind.HOURS: ("h",),
    Kind.VALUE: ("h",),
}
#: Stored values that change no answer. They also show how far a recurring value, or a level, of 0 was carried.
_NOTHING = frozenset({"", "{}", "[]", '"0"', '["0","0"]'})


type _Held = dict[tuple[str, str], str]


class Generations:
    """The generations of one organization. Its catalogue says which items they may have."""

    def __init__(self, table: Table, organization_id: str) -> None:
        """Read from a table."""
        self._table = table
        self._organization_id = organization_id

    def subscriptions(self) -> Iterator[Subscription]:
        """Read all subscriptions of the catalogue."""
        return list_subscriptions(self._table, self._organization_id)

    def subjects(self) -> list[Subject]:
        """List all subjects whose events may count."""
        subjects: dict[Subject, None] = {}
        for subscription in self.subscriptions():
            subjects[Subject.subscription(subscription.external_id)] = None
            subjects[Subject.customer(subscription.customer_id)] = None
        return list(subjects)

    def places(self) -> Iterator[Place]:
        """List the subscriptions that may have counters, then the views that may have rollups."""
        views: dict[View, None] = {}
        for subscription in self.subscriptions():
            yield subscription.id
            for dimensions in product(
                _values(subscription.plan), _values(subscription.country), _values(subscription.customer_type)
            ):
                views.update((View(*view), None) for view in keys.views(Dimensions(*dimensions)))
        yield from views

    def differences(
        self, live: str, rebuilt: str, places: Iterable[Place]
    ) -> dict[Place, list[ItemDifference]]:
        """Compare two generations place by place. Places without a difference are left out."""
        found: dict[Place, list[ItemDifference]] = {}
        for place in places:
            one, other = self._held(live, place), self._held(rebuilt, place)
            different = [
                ItemDifference(sk, attribute, one.get((sk, attribute), ""), other.get((sk, attribute), ""))
                for sk, attribute in sorted(one.keys() | other.keys())
                if one.get((sk, attribute)) != other.get((sk, attribute))
            ]
            if different and not isinstance(place, View):
                different = self._in_use(place, different)
            if different:
                found[place] = different
        return found

    def _in_use(self, subscription_id: str, different: Sequence[ItemDifference]) -> list[ItemDifference]:
        """Leave out what differs of editions that nobody reads: after a recount they are kept for a while."""
        for each in read_subscriptions(
            self._table, self._organization_id, [subscription_id], consistent=True
        ):
            if each.editions.entries:
                in_use = InUse(each)
                return [one for one in different if in_use.holds(one.sk)]
        return list(different)

    def delete(self, generation: str, progress: Callable[[], None]) -> int:
        """Delete all items of a generation. Return how many there were."""
        deleted = 0
        partitions = (self._partition(generation, place) for place in self.places())
        marks = (each(self._organization_id, generation, "", "").pk for each in (keys.scanned, keys.late))
        for pk in (*partitions, *marks):
            rows = self._table.query(pk, FIRST, LAST, consistent=True)
            for some in batched(rows, 500, strict=False):
                self._table.delete_all(Key(text(row, "pk"), text(row, "sk")) for row in some)
                deleted += len(some)
                progress()
        return deleted

    def _partition(self, generation: str, place: Place) -> str:
        if isinstance(place, View):
            return keys.rollup_partition(self._organization_id, generation, place.name, place.values)
        return keys.usage(self._organization_id, generation, place)

    def _held(self, generation: str, place: Place) -> _Held:
        rows = self._table.query(self._partition(generation, place), FIRST, LAST, consistent=True)
        return _rolled_up(rows) if isinstance(place, View) else _counted(rows)


def _counted(rows: Iterable[Row]) -> _Held:
    return {
        (sk, attribute): held
        for row in rows
        for sk in (text(row, "sk"),)
        for attribute in _COMPARED.get(keys.parse_usage_kind(sk), ())
        if (held := _text(row, attribute)) not in _NOTHING
    }


def _rolled_up(rows: Iterable[Row]) -> _Held:
    """Sum rollups over their writers, and put units together that are stored in two numbers."""
    sums: dict[tuple[str, str], Decimal] = {}
    for row in rows:
        sk = keys.rollup_of_all_writers(text(row, "sk"))
        for attribute, value in row.items():
            letter, day = attribute[0], attribute[1:]
            if letter in "ufa" and day.isdigit() and value.N is not None:
                amount = whole(0, Decimal(value.N)) if letter == "f" else Decimal(value.N)
                key = sk, ("u" if letter == "f" else letter) + day
                sums[key] = add(sums.get(key, ZERO), amount)
    return {key: plain(total) for key, total in sums.items() if total}


def _text(row: Row, attribute: str) -> str:
    value = row.get(attribute)
    return "" if value is None else value.S or value.N or ""


def _values(facts: Iterable[Dated]) -> set[str | None]:
    return {None, *(fact.value for fact in facts)}

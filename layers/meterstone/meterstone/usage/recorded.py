"""A reader that keeps note of which stored parts a measurement has read, so that it can be explained."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from meterstone.usage.charge import ChargePeriod, Counter
from meterstone.usage.measure import UsageReader
from meterstone.usage.meter import Observation
from meterstone.usage.state import State, traits
from meterstone.usage.subscription import LineItem
from meterstone.usage.tally import TallyKey
from meterstone.usage.window import Window, WindowPlan, hours_and_partial_hours, plan_window


class PartsRead(NamedTuple):
    """From how many stored parts a quantity was put together. Parts in which nothing was counted are left out.

    ``days`` are whole days. ``hours`` are the whole hours, or buckets of time, of days that the window cuts.
    ``events`` are the single events of hours that the window cuts.
    """

    days: int
    hours: int
    events: int


class Carried(NamedTuple):
    """The state that a recurring meter brought into a billing period, and the charge of that period."""

    charge: ChargePeriod
    state: State | None


class RecordedReader:
    """Reads through another reader, nothing more and nothing less, and notes what was read for each line item."""

    def __init__(self, reader: UsageReader) -> None:
        """Read through a reader; nothing is noted yet."""
        self._reader = reader
        self._days: dict[tuple[str, int], frozenset[int]] = {}
        self._hours: dict[tuple[str, int, int], frozenset[int]] = {}
        self._values: dict[tuple[str, int], int] = {}
        self._events: dict[str, int] = {}
        self._carried: dict[str, Carried] = {}

    @property
    def counted_until(self) -> int:
        """When the newest event in the parts read so far came in, in microseconds; 0 if that is not known."""
        return self._reader.counted_until

    def read_ahead(self, plans: Sequence[WindowPlan]) -> None:
        """Read, in few requests, the parts that most of the plans need."""
        self._reader.read_ahead(plans)

    def counter(self, charge: ChargePeriod) -> Counter | None:
        """Read a charge's counter."""
        found = self._reader.counter(charge)
        days = frozenset(() if found is None else found.days)
        self._days[charge.item.id, charge.period.start] = days
        return found

    def read_again(self, charge: ChargePeriod, times: int) -> None:
        """Have the next `counter` of a charge read from the table anew."""
        self._reader.read_again(charge, times)

    def carried(self, charge: ChargePeriod) -> State | None:
        """Read the state that a recurring meter carries into a charge."""
        state = self._reader.carried(charge)
        self._carried[charge.item.id] = Carried(charge, state)
        return state

    def hours(self, charge: ChargePeriod, day: int) -> Mapping[int, State]:
        """Read the hours of a day."""
        found = self._reader.hours(charge, day)
        self._hours[charge.item.id, charge.period.start, day] = frozenset(found)
        return found

    def buckets(self, charge: ChargePeriod, day: int) -> Mapping[int, Decimal]:
        """Read the buckets of a day, by their starts."""
        found = self._reader.buckets(charge, day)
        hours = frozenset(charge.zone.hour_of(start)[1] for start in found)
        self._hours[charge.item.id, charge.period.start, day] = hours
        return found

    def events(self, charge: ChargePeriod, day: int, start: int, end: int) -> Iterable[Observation]:
        """Read a charge's events in a part of a day."""
        found = list(self._reader.events(charge, day, start, end))
        self._events[charge.item.id] = self._events.get(charge.item.id, 0) + len(found)
        return found

    def values(self, item: LineItem, first: int, last: int) -> Mapping[int, Mapping[str, int]]:
        """Read the values seen on the days `first` to `last`."""
        found = self._reader.values(item, first, last)
        for day, values in found.items():
            for bits in values.values():
                self._values[item.id, day] = self._values.get((item.id, day), 0) | bits
        return found

    def firsts(self, key: TallyKey, values: Iterable[str]) -> Mapping[str, int]:
        """Read when values were first seen."""
        return self._reader.firsts(key, values)

    def carried_into(self, item: LineItem) -> Carried | None:
        """Return what was carried into the billing period that a recurring meter was measured in."""
        return self._carried.get(item.id)

    def parts(self, plan: WindowPlan, now: int) -> PartsRead:
        """Return from how many parts the quantity of a line item was put together, when it has been measured."""
        item, carried = plan.item, self._carried.get(plan.item.id)
        meter = item.meter
        if meter is not None and meter.recurring and not traits(meter).accrues and carried is not None:
            # What is read of a recurring meter is its last billing period, from that period's start on.
            inside = Window(carried.charge.counted_span.start, plan.end)
            plan = plan_window(plan.subscription, item, inside, now) if inside.length > 0 else plan
        days: set[tuple[int, int]] = set()
        for each in plan.days:
            period = each.charge.period.start
            counted = self._days.get((item.id, period), frozenset())
            days |= {(period, day) for day in counted if each.first <= day <= each.last}
        hours = 0
        for cut in plan.cut:
            whole, _ = hours_and_partial_hours(plan, cut)
            known = self._hours.get((item.id, cut.charge.period.start, cut.day), frozenset())
            bits = self._values.get((item.id, cut.day), 0)
            hours += sum(hour in known or bool(bits >> hour & 1) for hour in whole)
        cut_days = {cut.day for cut in plan.cut}
        seen = {day for of, day in self._values if of == item.id and day not in cut_days}
        return PartsRead(max(len(days), len(seen)), hours, self._events.get(item.id, 0))

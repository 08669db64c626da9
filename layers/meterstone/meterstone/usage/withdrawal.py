"""Withdrawing: an event that was counted is taken out of its tally again, as if it had never come.

An event is withdrawn by a mark in the log. The table's stream delivers the mark after the event itself.
`is_counted` says in which countings the event is then, and `take_out` takes it out of a tally.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple, assert_never

from meterstone.pricing.cost import cost_buckets
from meterstone.usage.calendar import bucket_bounds
from meterstone.usage.charge import ChargePeriod
from meterstone.usage.meter import Meter, Observation
from meterstone.usage.state import (
    FineParts,
    State,
    fine_parts,
    merge_all_states,
    merge_into,
    state_of,
    without,
)
from meterstone.usage.tally import Counted, FineState, Tally, add_first, identity


class Mark(NamedTuple):
    """The mark of a withdrawn event: what was so at the moment at which it was withdrawn.

    ``generation`` was live. ``reads`` is how often the log of the event's subject had been read to count it anew.
    ``unmatched``: the event waited for a line item, and so it was counted nowhere.
    """

    generation: str
    reads: int = 0
    unmatched: bool = False


def is_counted(
    mark: Mark,
    accepted: int,
    *,
    generation: str,
    cut: int,
    scanned: bool,
) -> bool:
    """Return whether a withdrawn event was ever counted into a generation.

    An event that was accepted after the cut comes from the stream, before its mark. Another one comes from the
    log; whoever reads the log leaves out the events that were withdrawn before. An imported event was ``accepted``
    at 0. ``scanned``: the generation's rebuild has read the log of the subject. In which editions it is tells
    `meterstone.usage.edition.Editions.take_out`.

    >>> is_counted(Mark("1"), 50, generation="1", cut=0, scanned=False)
    True
    >>> is_counted(Mark("1"), 50, generation="2", cut=60, scanned=True)
    False
    >>> is_counted(Mark("2"), 50, generation="2", cut=60, scanned=True)
    True
    """
    if accepted > cut or int(mark.generation) >= int(generation):
        return True
    # What the stream delivers late of a subject that the rebuild has not read is counted all the same.
    return accepted > 0 and not scanned


class Step(NamedTuple):
    """The events that one transaction takes of a batch.

    ``batch`` are events to be counted, or the one event that is to be taken out. ``passed`` are those that the
    tally's position moves past. ``more``: events are left for another transaction.
    """

    batch: list[Counted]
    passed: list[Counted]
    more: bool


def next_step(unseen: list[Counted], *, empty: bool) -> Step:
    """Return the events that a tally's next transaction takes of those that it has not seen, in their order.

    An event that comes with its own withdrawal is not counted. Other withdrawals have a transaction each, unless
    the tally is ``empty``: nothing that was counted is to be taken out of it then.
    """
    if not any(counted.withdrawn for counted in unseen):
        return Step(unseen, unseen, more=False)
    batch: list[Counted] = []
    for place, counted in enumerate(unseen):
        if not counted.withdrawn:
            batch.append(counted)
            continue
        # Two events of which a meter makes the same observation are the same to it.
        same = next((n for n, each in enumerate(batch) if each.observation == counted.observation), None)
        if same is not None:
            del batch[same]
        elif not empty:
            if place:
                return Step(batch, unseen[:place], more=True)
            return Step([counted], unseen[:1], more=len(unseen) > 1)
    # A tally is made if an event comes with its own withdrawal, too: its position tells that both were seen.
    comes = any(not counted.withdrawn for counted in unseen)
    return Step(batch, unseen if comes or not empty else [], more=False)


class Withdrawal(NamedTuple):
    """An event that is to be taken out of a tally, with what was found of the events that remain.

    ``remaining`` has the events that remain in its hour or its bucket; None if nobody has to know them (see
    `needs_events`). Of a COUNT_UNIQUE, it has those of the same value in the same hour. ``next_seen`` is when the
    value is seen first without the event; None if never, or if the event was not the first.
    """

    counted: Counted
    remaining: tuple[Observation, ...] | None = None
    next_seen: int | None = None


def needs_events(tally: Tally, parts: FineState, counted: Counted) -> bool:
    """Return whether the events that remain in an event's hour or bucket must be known to take the event out."""
    index = tally.index_at(counted.observation.at)
    charge, seen = tally.charges[index], state_of(tally.meter, counted.observation)
    kept = fine_parts(tally.meter)
    match kept:
        case FineParts.HOURS:
            state = parts.hours[charge.stored_as, charge.period.start, counted.day].get(counted.hour)
        case FineParts.BUCKETS:
            start, _ = _bucket(tally.meter, charge, counted)
            state = parts.buckets[charge.period.start, counted.day].get(start)
        case FineParts.VALUES:
            return True
        case _:
            assert_never(kept)
    return state is None or without(tally.meter, state, seen) is None


def take_out(tally: Tally, parts: FineState, withdrawal: Withdrawal) -> None:
    """Take an event out of a tally's counters and finer parts; it must have been counted.

    An hour, a bucket, a value or a day without any event is then as if it had never had one: it is not there. A
    value of `FineState.firsts` is None then, and of `FineState.values` 0.
    """
    counted, meter, kept = withdrawal.counted, tally.meter, fine_parts(tally.meter)
    index = tally.index_at(counted.observation.at)
    charge, days, day = tally.charges[index], tally.counters[index].days, counted.day
    left: State | None
    match kept:
        case FineParts.HOURS:
            hours = parts.hours[charge.stored_as, charge.period.start, day]
            _put(hours, counted.hour, _left(meter, hours.get(counted.hour), withdrawal))
            _put(days, day, merge_all_states(meter, hours.values()))
        case FineParts.BUCKETS:
            buckets = parts.buckets[charge.period.start, day]
            start, _ = _bucket(meter, charge, counted)
            left = _left(meter, buckets.get(start), withdrawal)
            _put(buckets, start, left if isinstance(left, Decimal) else None)
            costs = cost_buckets(charge.item.price, (buckets[at] for at in sorted(buckets)))
            _put(days, day, costs if buckets else None)
        case FineParts.VALUES:
            _take_value(tally, parts, charge, withdrawal)
        case _:
            assert_never(kept)


def _take_value(tally: Tally, parts: FineState, charge: ChargePeriod, withdrawal: Withdrawal) -> None:
    counted, remaining = withdrawal.counted, withdrawal.remaining or ()
    at, text = counted.observation.at, identity(counted.observation.text)
    if not remaining:
        parts.values[charge.stored_as, charge.period.start, counted.day, text] &= ~(1 << counted.hour)
    if is_first(parts, counted, remaining):
        parts.firsts[text] = withdrawal.next_seen
        add_first(tally, at, Decimal(-1))
        if withdrawal.next_seen is not None:
            add_first(tally, withdrawal.next_seen, Decimal(1))


def is_first(parts: FineState, counted: Counted, remaining: Iterable[Observation]) -> bool:
    """Return whether a COUNT_UNIQUE's value was seen first by an event, and by none of those that remain."""
    at = counted.observation.at
    return parts.firsts[identity(counted.observation.text)] == at and all(each.at != at for each in remaining)


def _left(meter: Meter, state: State | None, withdrawal: Withdrawal) -> State | None:
    """Return the state of an hour or a bucket without an event."""
    if withdrawal.remaining is not None:
        found: State | None = None
        for seen in withdrawal.remaining:
            found = merge_into(meter, found, state_of(meter, seen))
        return found
    return None if state is None else without(meter, state, state_of(meter, withdrawal.counted.observation))


def _bucket(meter: Meter, charge: ChargePeriod, counted: Counted) -> tuple[int, int]:
    if meter.bucket_size is None:
        raise TypeError(f"meter {meter.id} has no buckets")
    return bucket_bounds(meter.bucket_size, counted.observation.at, charge.zone)


def _put[K, V](into: dict[K, V], key: K, value: V | None) -> None:
    if value is None:
        into.pop(key, None)
    else:
        into[key] = value

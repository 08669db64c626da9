"""How tallies are packed into items: a day, an hour or a bucket is a few characters of one item's text.

| attribute | of | holds |
|---|---|---|
| `d` | counter | the state of each day, by its number from the billing period's first |
| `p` | counter | the published worth of each day: units and minor units, in runs of days after `@` and a number |
| `c` | counter, first chunk | the state carried into the period, of a recurring meter |
| `v`, `pos`, `th`, `st` | tally's head | version, positions by shard, published through, stale from |
| `mov`, `acc` | tally's head | when positions last moved; when the newest counted event came in |
| `acc` | counter, of a recurring meter | the head's `acc` when the counter was last written |
| `f`, `l` | chain's head | starts of the first and the last billing period |
| `s`, `i`, `m`, `b` | tally's head | subscription, line item, meter, billing period's start |
| `ed` | tally's head | the edition; absent if it is 0 |
| `x` | tally's head | `q`: of an edition that is not read yet; `r`: of one that is not read any more |
| `hm`, `hn` | tally's head | the moves of its customer, and the renamings of its plan, that it has followed |
| `fm`, `fn` | tally's head | those that it has followed in part |
| `cm`, `cn` | counter | those that the chunk has followed, if they are more than the head says |
| `due_pk`, `due_at` | tally's head | index `due`; absent while only events can change the tally |
| `h` | hours; values | the state of each hour; a bit for each hour |
| `b` | buckets | the value of each bucket, by its start |
| `a` | first seen | the instant |
| `e` | detail; hours | events: microseconds from the start, value, and id (LATEST) or text (COUNT_UNIQUE) |

The times of a detail's events are offsets from the start in the detail's key. The times of events beside a day's
hours are offsets from the day's start in UTC.

The head of a plain tally is the first chunk of its counter, so that a month is one item.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, assert_never

import msgspec

from meterstone.pricing.money import plain
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import Item, Row, integer, text
from meterstone.usage.charge import ChargePeriod, Counter, DayAmount
from meterstone.usage.instant import key_instant, parse_key_instant, utc_midnight
from meterstone.usage.meter import Meter, Observation
from meterstone.usage.state import DetailKeeps, Json, State, decode, decode_all, encode, stored_kind, traits
from meterstone.usage.subscription import Placed
from meterstone.usage.tally import Head, Tally, TallyKey, identity

_QUIET, _RETIRED = "q", "r"
_HEAD, _FOLLOWING, _CHUNK = ("hm", "hn"), ("fm", "fn"), ("cm", "cn")

_encode = msgspec.json.Encoder().encode
_STATE: msgspec.json.Decoder[Json] = msgspec.json.Decoder(Any)
_POSITIONS = msgspec.json.Decoder(dict[str, int])
_VALUES = msgspec.json.Decoder(dict[str, Decimal])
_EVENTS = msgspec.json.Decoder(list[tuple[int, Decimal, str]])


def first_day(charge: ChargePeriod) -> int:
    """Return the day that a counter numbers its days from: the day that holds the billing period's start."""
    return charge.origin


def chunks(charge: ChargePeriod, until: int) -> int:
    """Return the number of chunks that a counter may have by an instant."""
    end = until if charge.counted_span.end is None else min(until, charge.counted_span.end - 1)
    return max(charge.zone.day_of(end) - first_day(charge), 0) // keys.CHUNK_DAYS + 1


def chunk_of(charge: ChargePeriod, day: int) -> int:
    """Return the number of the chunk that holds a day."""
    return (day - first_day(charge)) // keys.CHUNK_DAYS


def counter_key(charge: ChargePeriod, chunk: int) -> str:
    """Return the sort key of a chunk of a charge's counter."""
    return keys.counter(charge.cadence_code, charge.period.start, charge.stored_as, chunk)


def pack_counter(charge: ChargePeriod, counter: Counter) -> dict[str, Item]:
    """Pack a counter into its chunks, by sort key. There is always a first chunk."""
    kind, origin, size = stored_kind(charge.meter), first_day(charge), keys.CHUNK_DAYS
    days: dict[int, dict[str, Json]] = {0: {}}
    for day in sorted(counter.days):
        chunk, number = divmod(day - origin, size)
        days.setdefault(chunk, {})[str(number)] = kind.encode(counter.days[day])
    published: dict[int, dict[int, DayAmount]] = {}
    for day in sorted(counter.published):
        chunk, number = divmod(day - origin, size)
        published.setdefault(chunk, {})[number] = counter.published[day]
    items: dict[str, Item] = {}
    for chunk in sorted(days.keys() | published.keys()):
        item = items[counter_key(charge, chunk)] = {}
        if chunk in days:
            item["d"] = {"S": _encode(days[chunk]).decode()}
        if chunk in published:
            item["p"] = {"S": _pack_published(published[chunk])}
        if chunk == 0 and counter.carry is not None:
            item["c"] = {"S": _encode(encode(charge.meter, counter.carry)).decode()}
    return items


def unpack_counter(charge: ChargePeriod, rows: Mapping[int, Row], *, as_published: bool = True) -> Counter:
    """Unpack a counter from its chunks, given by number; its published worth only if ``as_published``."""
    meter, origin = charge.meter, first_day(charge)
    counter = Counter()
    for chunk, row in rows.items():
        base = origin + chunk * keys.CHUNK_DAYS
        if packed := text(row, "d"):
            counter.days |= {base + number: state for number, state in decode_all(meter, packed).items()}
        if as_published:
            counter.published.update(published(row, base))
        if carried := text(row, "c"):
            counter.carry = decode(meter, _STATE.decode(carried))
    return counter


def published(row: Row, base: int) -> Iterator[tuple[int, DayAmount]]:
    """Yield the published worth of each day of a chunk; ``base`` is the chunk's first day."""
    day = base
    words = iter(text(row, "p").split())
    for word in words:
        if word[0] == "@":
            day = base + int(word[1:])
        else:
            yield day, DayAmount(Decimal(word), int(next(words)))
            day += 1


def _pack_published(days: Mapping[int, DayAmount]) -> str:
    words: list[str] = []
    for number, worth in days.items():
        if number - 1 not in days:
            words.append(f"@{number}")
        words += (plain(worth.units), str(worth.cents))
    return " ".join(words)


def pack_head(organization_id: str, generation: str, tally: Tally, due: int | None) -> Item:
    """Pack a tally's head."""
    head, key = tally.head, tally.key
    item: Item = {
        "v": {"N": str(head.version)},
        "pos": {"S": _encode(head.positions).decode()},
        "th": {"N": str(head.through)},
        "s": {"S": key.subscription_id},
        "m": {"S": key.meter_id},
        "b": {"N": str(key.period_start)},
    }
    if head.moved:
        item["mov"] = {"S": _encode(head.moved).decode()}
    if head.accepted:
        item["acc"] = {"N": str(head.accepted)}
    if key.item_id is not None:
        item["i"] = {"S": key.item_id}
    if key.edition:
        item["ed"] = {"N": str(key.edition)}
    if head.stale_from is not None:
        item["st"] = {"S": key_instant(head.stale_from)}
        due = head.through
    if head.quiet or head.retired:
        item["x"] = {"S": _QUIET if head.quiet else _RETIRED}
        due = None
    item |= _pack_placed(_HEAD, head.placed) | _pack_placed(_FOLLOWING, head.following)
    if head.first is not None and head.last is not None:
        item |= {"f": {"N": str(head.first)}, "l": {"N": str(head.last)}}
    if due is not None:
        item |= {"due_pk": {"S": keys.due(organization_id, generation)}, "due_at": {"S": key_instant(due)}}
    return item


def unpack_head(row: Row | None) -> Head:
    """Unpack a tally's head; a new head if nothing is stored."""
    if row is None:
        return Head()
    stale = text(row, "st")
    return Head(
        version=integer(row, "v"),
        positions=_POSITIONS.decode(text(row, "pos") or "{}"),
        moved=_POSITIONS.decode(text(row, "mov") or "{}"),
        accepted=integer(row, "acc"),
        through=integer(row, "th"),
        stale_from=parse_key_instant(stale) if stale else None,
        first=integer(row, "f") if "f" in row else None,
        last=integer(row, "l") if "l" in row else None,
        quiet=text(row, "x") == _QUIET,
        retired=text(row, "x") == _RETIRED,
        placed=placed_of(row),
        following=_placed(row, _FOLLOWING),
    )


def placed_of(row: Row) -> Placed:
    """Return the moves that all of a tally has followed in the rollups, by the row of its head."""
    return _placed(row, _HEAD)


def _placed(row: Row, names: tuple[str, str]) -> Placed:
    customer, plan = names
    return Placed(integer(row, customer), integer(row, plan))


def pack_chunk_placed(placed: Placed) -> Item:
    """Pack the moves that a chunk has followed, which are more than its head says."""
    return _pack_placed(_CHUNK, placed)


def unpack_chunk_placed(item: Item) -> Placed:
    """Unpack the moves that a chunk has followed; none if it is as its head says."""
    return Placed(*(int(item[name]["N"]) if name in item else 0 for name in _CHUNK))


def _pack_placed(names: tuple[str, str], placed: Placed) -> Item:
    return {name: {"N": str(number)} for name, number in zip(names, placed, strict=True) if number}


def unpack_tally_key(row: Row) -> TallyKey:
    """Unpack the key of the tally that a head belongs to."""
    return TallyKey(
        text(row, "s"), text(row, "m"), text(row, "i") or None, integer(row, "b"), integer(row, "ed")
    )


def pack_hours(meter: Meter, hours: Mapping[int, State], beside: str = "") -> Item:
    """Pack the hours of a day, and the events of the day that are in no detail (see `add_beside`)."""
    kind = stored_kind(meter)
    states = {str(hour): kind.encode(hours[hour]) for hour in sorted(hours)}
    item: Item = {"h": {"S": _encode(states).decode()}}
    if beside:
        item["e"] = {"S": beside}
    return item


def unpack_hours(meter: Meter, row: Row | None) -> dict[int, State]:
    """Unpack the hours of a day."""
    return {} if row is None else decode_all(meter, text(row, "h"))


def beside_of(row: Row | None) -> str:
    """Return the events that lie beside the hours of a day as they are stored; empty if there are none."""
    return "" if row is None else text(row, "e")


def add_beside(meter: Meter, day: int, beside: str, events: Iterable[Observation]) -> str:
    """Return the stored form of events beside a day's hours and more events. What is stored is not decoded."""
    more = _events_text(meter, utc_midnight(day), events)
    return f"{beside[:-1]},{more[1:]}" if beside else more


def repack_beside(day: int, events: Sequence[Observation]) -> str:
    """Return the stored form of events that were read from beside a day's hours; empty if there are none left."""
    return _repacked(utc_midnight(day), events) if events else ""


def unpack_beside(meter: Meter, day: int, beside: str) -> list[Observation]:
    """Unpack the events that lie beside the hours of a day."""
    return _events(meter, utc_midnight(day), beside) if beside else []


def pack_buckets(buckets: Mapping[int, Decimal]) -> Item:
    """Pack the buckets of a day."""
    return {"b": {"S": _encode({str(start): plain(buckets[start]) for start in sorted(buckets)}).decode()}}


def unpack_buckets(row: Row | None) -> dict[int, Decimal]:
    """Unpack the buckets of a day, by their starts."""
    if row is None:
        return {}
    return {int(start): value for start, value in _VALUES.decode(text(row, "b")).items()}


def pack_detail(meter: Meter, start: int, events: Iterable[Observation]) -> Item:
    """Pack events, as offsets from ``start``."""
    return {"e": {"S": _events_text(meter, start, events)}}


def repack_detail(start: int, events: Iterable[Observation]) -> Item:
    """Pack events that were read from a detail: what is kept of them is as it is stored already."""
    return {"e": {"S": _repacked(start, events)}}


def _repacked(start: int, events: Iterable[Observation]) -> str:
    return _encode([(seen.at - start, plain(seen.value), seen.id or seen.text) for seen in events]).decode()


def _events_text(meter: Meter, start: int, events: Iterable[Observation]) -> str:
    keeps = traits(meter).detail_keeps
    if keeps is DetailKeeps.NOTHING:
        return _encode([(seen.at - start, plain(seen.value), "") for seen in events]).decode()
    return _encode([(seen.at - start, plain(seen.value), _kept(keeps, seen)) for seen in events]).decode()


def _kept(keeps: DetailKeeps, seen: Observation) -> str:
    match keeps:
        case DetailKeeps.NOTHING:
            return ""
        case DetailKeeps.ID:
            return seen.id
        case DetailKeeps.TEXT:
            return keys.part(identity(seen.text))
        case _:
            assert_never(keeps)


def kept_of(meter: Meter, seen: Observation) -> Observation:
    """Return an event as it is read back from a detail: without what is not kept of it."""
    kept = _kept(traits(meter).detail_keeps, seen)
    if traits(meter).detail_keeps is DetailKeeps.TEXT:
        return Observation(seen.at, "", seen.value, kept)
    return Observation(seen.at, kept, seen.value)


def unpack_detail(meter: Meter, start: int, row: Row | None) -> list[Observation]:
    """Unpack events; the text of a COUNT_UNIQUE's event is its value as a part of a key."""
    return [] if row is None or "e" not in row else _events(meter, start, text(row, "e"))


def _events(meter: Meter, start: int, packed: str) -> list[Observation]:
    events = _EVENTS.decode(packed)
    keeps = traits(meter).detail_keeps
    match keeps:
        case DetailKeeps.NOTHING | DetailKeeps.ID:
            return [Observation(start + offset, more, value) for offset, value, more in events]
        case DetailKeeps.TEXT:
            return [Observation(start + offset, "", value, more) for offset, value, more in events]
        case _:
            assert_never(keeps)

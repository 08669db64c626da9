"""The events that do not count: all of them, or one page at a bounded cost however many there are.

The lists are those of `uncounted`: first the unmatched events, then the unreadable ones. Events that are not
priced stand among the unmatched ones, and are listed only if they are asked for.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST
from meterstone.store.dynamodb.table import Row, Table, text
from meterstone.store.events.uncounted import read_numbers, unreadable_event_of, why
from meterstone.store.events.unmatched import unmatched_event_of
from meterstone.usage.receipt import Reason
from meterstone.usage.uncounted import UncountedEvent, UncountedPage

MOST_EVENTS: Final = 100
"""How many events a page has at most."""

MOST_QUERIES: Final = 10
"""How many queries a page costs at most, each of at most 100 items and 1 MB."""

#: How much text the faults of a page may have, before the last event of the page.
_MOST_FAULTS: Final = 1_000_000
_UNMATCHED, _UNREADABLE = "unmatched", "unreadable"


def read_page(
    table: Table, organization_id: str, live: str, reason: Reason | None, after: tuple[str, str] | None
) -> UncountedPage:
    """Read the page that begins ``after`` a place, of one reason, or of all reasons but that of not being priced.

    Where few of the items that are read are listed, a page has few events, or none, and yet is not the last.
    Cost: 1 get, and up to `MOST_QUERIES` queries.
    """
    events, after = _read(table, organization_id, live, reason, after)
    numbers: Mapping[str, int] = read_numbers(table, organization_id, live)
    return UncountedPage(tuple(events), after, numbers)


def list_events(
    table: Table, organization_id: str, live: str, reason: Reason | None = None
) -> Iterator[UncountedEvent]:
    """List every event of one reason, or of all reasons but that of not being priced.

    They are read a page at a time, so that few are held at once. Cost: 1 query for every 100 items.
    """
    after: tuple[str, str] | None = None
    while True:
        events, after = _read(table, organization_id, live, reason, after)
        yield from events
        if after is None:
            return


def _read(
    table: Table, organization_id: str, live: str, reason: Reason | None, after: tuple[str, str] | None
) -> tuple[list[UncountedEvent], tuple[str, str] | None]:
    """Read the events of a page, and where the next one begins."""
    lists = _lists(reason)
    name, begin = after or (lists[0], FIRST)
    if name not in lists or begin > LAST:
        # No page ends there: somebody has made up a place.
        return [], None
    found: list[UncountedEvent] = []
    faults = 0
    for _ in range(MOST_QUERIES):
        rows = table.query_first(_partition(organization_id, name), begin, LAST, MOST_EVENTS, consistent=True)
        for row in rows:
            begin = _after(row)
            each = _listed(name, row, live)
            if each is None or (each.reason != reason if reason else each.reason == Reason.LINE_ITEM):
                continue
            found.append(each)
            faults += len(text(row, "faults"))
            if len(found) == MOST_EVENTS or faults > _MOST_FAULTS:
                return found, (name, begin)
        if not rows:
            later = lists[lists.index(name) + 1 :]
            if not later:
                return found, None
            name, begin = later[0], FIRST
    return found, (name, begin)


def _lists(reason: Reason | None) -> tuple[str, ...]:
    """Return the lists in which there may be events of a reason."""
    if reason is None:
        return _UNMATCHED, _UNREADABLE
    return (_UNREADABLE,) if reason is Reason.VALUE else (_UNMATCHED,)


def _partition(organization_id: str, name: str) -> str:
    of = keys.unreadable if name == _UNREADABLE else keys.unmatched
    return of(organization_id, "", "", "").pk


def _after(row: Row) -> str:
    """Return a text that is above a row's sort key, and not above the next: no key has a lower character."""
    return text(row, "sk") + FIRST


def _listed(name: str, row: Row, live: str) -> UncountedEvent | None:
    if name == _UNREADABLE:
        found = unreadable_event_of(row)
        subject, identity, code, at, since, faults, elsewhere = found
        return UncountedEvent(subject, identity, code, at, since, Reason.VALUE, faults, elsewhere)
    each = unmatched_event_of(row)
    if not each.waiting(live):
        return None
    return UncountedEvent(each.subject, each.event.id, each.event.name, each.event.at, each.since, why(row))

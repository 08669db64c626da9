"""One subscription as it is asked for on the command line: which, in which window, and what was measured in it.

What is measured and priced, and how, is the endpoints' code.
"""

from datetime import date
from typing import NamedTuple

from meterstone.store.catalogue.accounts import Account
from meterstone.store.catalogue.subscriptions import UnknownSubscriptionError, subscriptions_by_external_id
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Table
from meterstone.store.reading.window import WindowStore
from meterstone.usage.calendar import zone
from meterstone.usage.identifier import is_text
from meterstone.usage.instant import InvalidInstantError, format_instant, parse_instant
from meterstone.usage.measure import WindowUsage, measure
from meterstone.usage.recorded import RecordedReader
from meterstone.usage.statement import Statement, rate
from meterstone.usage.subscription import Subscription
from meterstone.usage.window import Window, window_for


class WindowError(ValueError):
    """A bound of a window is not understood. The message names the option."""


class Asked(NamedTuple):
    """A subscription by its id or its external id, and the bounds of the window as they were typed."""

    name: str
    begin: str | None = None
    end: str | None = None
    lifetime: bool = False


class Bill(NamedTuple):
    """What a subscription used and owes, and the record of what was read for it, as of ``now``."""

    usage: WindowUsage
    statement: Statement
    reader: RecordedReader
    now: int


def find_subscription(table: Table, account: Account, name: str) -> Subscription:
    """Read the subscription of an id or, if there is none, the only one of an external id.

    Raises `UnknownSubscriptionError`, and `BusyError` if several have the external id.
    """
    if not is_text(name):
        raise UnknownSubscriptionError(name)
    try:
        return WindowStore(table).subscription(account, name)
    except UnknownSubscriptionError:
        found = sharing(table, account, name)
        if not found:
            raise
        if len(found) > 1:
            ids = ", ".join(each.id for each in found)
            raise BusyError(f"several subscriptions have the external id {name}: name one of {ids}") from None
        return found[0]


def sharing(table: Table, account: Account, external_id: str) -> list[Subscription]:
    """Read the subscriptions of an external id."""
    return subscriptions_by_external_id(table, account.organization.id, external_id)


def measured(table: Table, account: Account, asked: Asked, now: int) -> Bill:
    """Measure and price a subscription over the window that is asked for. Raises `WindowError`."""
    subscription = find_subscription(table, account, asked.name)
    return bill_of(table, account, subscription, window_of(subscription, asked, now), now)


def bill_of(table: Table, account: Account, subscription: Subscription, window: Window, now: int) -> Bill:
    """Measure and price a subscription over a window."""
    reader = RecordedReader(WindowStore(table).reader(account, subscription, now))
    usage = measure(subscription, window, reader, now)
    return Bill(usage, rate(usage), reader, now)


def window_of(subscription: Subscription, asked: Asked, now: int) -> Window:
    """Return the window between two bounds as they were typed; the defaults are the endpoint's."""
    start = None if asked.begin is None else _bound("--from", asked.begin, subscription.timezone)
    end = None if asked.end is None else _bound("--to", asked.end, subscription.timezone, later=1)
    if start is not None and end is not None and end < start:
        raise WindowError("--to must not be before --from")
    return window_for(subscription, start, end, lifetime=asked.lifetime, now=now)


def _bound(option: str, text: str, timezone: str, later: int = 0) -> int:
    """Read an instant, or the start of a day in a time zone, so many days later."""
    try:
        if len(text) == len("2026-01-31"):
            return zone(timezone).day_start(date.fromisoformat(text).toordinal() + later)
        return parse_instant(text)
    except (InvalidInstantError, ValueError):
        raise WindowError(
            f"{option} must be a day such as 2026-01-31, or an instant such as 2026-01-31T12:00:00Z"
        ) from None


def freshness(counted_until: int) -> str:
    """Say how fresh numbers are: when the newest event in them came in."""
    if not counted_until:
        return "When the newest event in it came in is not known: it was imported, or there is none."
    return f"The newest event counted in it came in at {format_instant(counted_until)}."

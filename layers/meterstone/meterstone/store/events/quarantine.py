"""What is wrong, for a person to look at: events that nobody's line item is for, and records set aside."""

from collections.abc import Iterator
from typing import NamedTuple

from meterstone.store.catalogue.records import read_account
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST
from meterstone.store.dynamodb.table import Table, integer, text
from meterstone.store.events.unmatched import UnmatchedEvent, read_unmatched


class Poison(NamedTuple):
    """A record of the stream that was set aside, for it could not be read, or the table would not take its event.

    ``record`` is its content as JSON, ``since`` when it was set aside.
    """

    digest: str
    reason: str
    record: str
    since: int


def list_unmatched(table: Table, organization_id: str) -> Iterator[UnmatchedEvent]:
    """List the events that were put by and are still to be counted. Cost: 2 queries."""
    account = read_account(table, organization_id, consistent=True)
    live = "0" if account is None else account.generation
    return (each for each in read_unmatched(table, organization_id) if each.waiting(live))


def list_poison(table: Table) -> Iterator[Poison]:
    """List the records that were set aside. Cost: 1 query."""
    for row in table.query(keys.poison("").pk, FIRST, LAST, consistent=True):
        yield Poison(text(row, "sk"), text(row, "reason"), text(row, "record"), integer(row, "put_at"))

"""The lists of events that do not count: what stands in them, and that their numbers are right."""

from collections import Counter

from meterstone.store.catalogue.accounts import read_account
from meterstone.store.dynamodb.table import Table
from meterstone.store.events.uncounted import PARTLY, read_numbers, read_unreadable, why
from meterstone.store.events.unmatched import list_unmatched
from meterstone.usage.receipt import Reason
from support.scenario import ORGANIZATION


def lists(table: Table) -> dict[str, str]:
    """Give the reason of each event that is listed, by its id; no event stands in both lists."""
    unmatched = {each.event.id: why(each.row) for each in list_unmatched(table, ORGANIZATION.id)}
    unreadable = {
        each.id: PARTLY if each.elsewhere else Reason.VALUE
        for each in read_unreadable(table, ORGANIZATION.id)
    }
    assert not unmatched.keys() & unreadable.keys()
    return unmatched | unreadable


def numbers(table: Table) -> dict[str, int]:
    """Give the numbers by reason that are not 0."""
    account = read_account(table, ORGANIZATION.id, consistent=True)
    found = read_numbers(table, ORGANIZATION.id, "1" if account is None else account.generation)
    return {name: number for name, number in found.items() if number}


def check_lists(table: Table) -> dict[str, str]:
    """Check that the numbers are those of the lists; give these."""
    found = lists(table)
    assert numbers(table) == Counter(found.values())
    return found

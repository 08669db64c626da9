"""Subjects: their subscriptions are looked up in the catalogue, and remembered until the catalogue changes."""

from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.subscriptions import subscriptions_by_external_id, subscriptions_of_customer
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Table
from meterstone.usage.arrival import Subject
from meterstone.usage.meter import Event
from meterstone.usage.subscription import Subscription

_MOST_SUBJECTS = 20_000


class Subjects:
    """Looks up the subscriptions of subjects whose events are to be counted."""

    def __init__(self, table: Table) -> None:
        """Look subjects up in a table; nothing is remembered yet."""
        self._table = table
        self._known: dict[tuple[str, Subject], tuple[int, list[Subscription]]] = {}
        self._unproven = False

    def owning(self, account: Account, subject: Subject, event: Event) -> list[Subscription]:
        """Return the subscriptions of a subject whose span holds an event's time."""
        return [each for each in self.subscriptions(account, subject) if each.span.holds(event.at)]

    def subscriptions(self, account: Account, subject: Subject) -> list[Subscription]:
        """Return the subscriptions of a subject."""
        known = self._known.get((account.organization.id, subject))
        if known is not None and known[0] == account.version:
            return known[1]
        read = subscriptions_by_external_id if subject.kind == "s" else subscriptions_of_customer
        # Read consistently: subscriptions that are remembered under a version must not be older than the version.
        self._unproven = True
        found = read(self._table, account.organization.id, subject.external_id, consistent=True)
        if account.loading_at is None:
            if len(self._known) >= _MOST_SUBJECTS:
                self._known.clear()
            self._known[account.organization.id, subject] = account.version, found
        return found

    def agree(self, account: Account) -> bool:
        """Return whether everything that was looked up belongs to the catalogue that the account was read with.

        A customer's subscriptions are several items. While a catalogue is written, some may be old and some new.
        Ask this before anything is counted by subscriptions that were looked up. Cost: 1 query, if anything was
        looked up since the last time.
        """
        if self._unproven:
            again = read_account(self._table, account.organization.id, consistent=True)
            self._unproven = again is None or again.version != account.version
        return not self._unproven

    def agree_or_busy(self, account: Account) -> None:
        """Raise `BusyError` if the subscriptions do not `agree`, or the catalogue is half written."""
        if account.loading_at is not None:
            raise BusyError("the catalogue is being written, or was not to its end: load it again first")
        if not self.agree(account):
            raise BusyError("the catalogue has changed meanwhile: run this again")

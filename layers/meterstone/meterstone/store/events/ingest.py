"""What ingestion does to the table: it looks keys and subjects up, and logs events. It counts nothing."""

from collections.abc import Mapping

from meterstone.store.catalogue.accounts import Account, AccountStore
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import Table
from meterstone.store.events.log import EventLog, at_once
from meterstone.usage.arrival import Arrival, Receipt, Subject
from meterstone.usage.instant import END_OF_TIME

_MOST_REMEMBERED = 20_000


class Intake(AccountStore):
    """The write side of the table, for events. Answers one request at a time."""

    def __init__(self, table: Table) -> None:
        """Log to a table."""
        super().__init__(table)
        self._known: set[tuple[str, Subject]] = set()

    def take_all_or_none(self, account: Account, arrivals: Mapping[int, Arrival]) -> Receipt:
        """Log up to 100 arrivals if all are new (see `EventLog.append_all_or_none`).

        Cost: 2 write units for each event and KB of it; 1 query for each subject that was not met before.
        """
        unmatched = self._unmatched(account, arrivals)
        log = EventLog(self.table, account.organization.id)
        return Receipt(log.append_all_or_none(arrivals), unmatched)

    def take_each(self, account: Account, arrivals: Mapping[int, Arrival]) -> Receipt:
        """Log arrivals, each for itself (see `EventLog.append_each`).

        Cost: 1 write unit for each event and KB of it; 1 query for each subject that was not met before.
        """
        unmatched = self._unmatched(account, arrivals)
        return Receipt(EventLog(self.table, account.organization.id).append_each(arrivals), unmatched)

    def _unmatched(self, account: Account, arrivals: Mapping[int, Arrival]) -> dict[int, tuple[str, ...]]:
        """Return what the catalogue does not know of each arrival, by its place: such an event is unmatched."""
        ends: dict[str, int] = {}
        for meter in account.meters:
            deleted_at = END_OF_TIME if meter.deleted_at is None else meter.deleted_at
            for name in meter.names:
                ends[name] = max(deleted_at, ends.get(name, deleted_at))
        unknown = self._unknown(account.organization.id, {each.subject for each in arrivals.values()})
        unmatched: dict[int, tuple[str, ...]] = {}
        for place, arrival in arrivals.items():
            found = []
            if arrival.subject in unknown:
                found.append("subscription" if arrival.subject.kind == "s" else "customer")
            if arrival.event.at >= ends.get(arrival.event.name, arrival.event.at):
                found.append("code")
            if found:
                unmatched[place] = tuple(found)
        return unmatched

    def _unknown(self, organization_id: str, subjects: set[Subject]) -> set[Subject]:
        """Pick the subjects that have no subscription. One that has is remembered: it stays."""
        wanted = [each for each in subjects if (organization_id, each) not in self._known]
        answers = at_once(
            lambda subject: self.table.has_any(
                keys.by_external_id(organization_id, subject.external_id).pk
                if subject.kind == "s"
                else keys.of_customer(organization_id, subject.external_id).pk
            ),
            wanted,
        )
        self.cost.items += len(answers)
        self.cost.read_units += sum(units for _, units in answers)
        if len(self._known) + len(wanted) > _MOST_REMEMBERED:
            self._known.clear()
        self._known.update(
            (organization_id, each) for each, (held, _) in zip(wanted, answers, strict=True) if held
        )
        return {each for each, (held, _) in zip(wanted, answers, strict=True) if not held}

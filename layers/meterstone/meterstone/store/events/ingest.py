"""Ingestion of events over HTTP: keys and subjects are looked up, and events are logged. Nothing is counted."""

import time
from collections.abc import Iterable, Mapping
from itertools import batched

from meterstone.store.catalogue.accounts import Account, AccountStore
from meterstone.store.catalogue.subscriptions import read_subscriptions
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import REMEMBERED, StoreUnavailableError, Table
from meterstone.store.dynamodb.transaction import READ_TOGETHER
from meterstone.store.events.log import EventLog, at_once
from meterstone.usage.arrival import Arrival, Outcome, Receipt, Subject
from meterstone.usage.matching import Matching
from meterstone.usage.receipt import Reason, judge
from meterstone.usage.subscription import Subscription

#: How many subscriptions are remembered, each of 1 to 5 KB. A subject without any counts as one.
_MOST_REMEMBERED = 10_000


class Intake(AccountStore):
    """Logs events for the functions that take them in. It answers one request at a time."""

    def __init__(self, table: Table) -> None:
        """Log to a table."""
        super().__init__(table)
        self._matching = Matching()
        self._known: dict[tuple[str, Subject], tuple[float, list[Subscription]]] = {}
        self._remembered = 0

    def take_all_or_none(self, account: Account, arrivals: Mapping[int, Arrival]) -> Receipt:
        """Log up to 100 arrivals if all are new (see `EventLog.append_all_or_none`).

        Cost: for each event, 2 write units for each KB; and the cost of `_look_up`.
        """
        log = EventLog(self.table, account.organization.id)
        outcomes = log.append_all_or_none(arrivals)
        return _receipt(outcomes, self._unmatched(account, arrivals))

    def take_each(self, account: Account, arrivals: Mapping[int, Arrival]) -> Receipt:
        """Log arrivals, each independently of the others (see `EventLog.append_each`).

        Cost: for each event, 1 write unit for each KB; and the cost of `_look_up`.
        """
        outcomes = EventLog(self.table, account.organization.id).append_each(arrivals)
        return _receipt(outcomes, self._unmatched(account, arrivals))

    def _unmatched(self, account: Account, arrivals: Mapping[int, Arrival]) -> dict[int, Reason]:
        """Return why arrivals count nowhere, by their places, as far as the remembered catalogue tells.

        The events were logged before this is asked. So a table that is too slow for both has stored them, and what
        it does not say in time, the answer leaves out: the lists of uncounted events will have it.
        """
        try:
            known = self._look_up(account, {each.subject for each in arrivals.values()})
        except StoreUnavailableError:
            return {}
        unmatched: dict[int, Reason] = {}
        for place, arrival in arrivals.items():
            verdict = judge(
                arrival.event, arrival.subject, account.meters, known[arrival.subject], self._matching
            )
            if verdict.reason is not None:
                unmatched[place] = verdict.reason
        return unmatched

    def _look_up(self, account: Account, subjects: Iterable[Subject]) -> dict[Subject, list[Subscription]]:
        """Return the subscriptions of subjects, each looked up at most once in `REMEMBERED` seconds.

        Cost: 1 query for each subject that is not remembered, and 1 get for each of its subscriptions.
        """
        organization_id = account.organization.id
        # The time of day is used, since a monotonic clock may stand still while the function is frozen.
        clock = time.time()
        found: dict[Subject, list[Subscription]] = {}
        wanted: list[Subject] = []
        for subject in subjects:
            known = self._known.get((organization_id, subject))
            if known is not None and 0 <= clock - known[0] < REMEMBERED:
                found[subject] = known[1]
            else:
                wanted.append(subject)
        if not wanted:
            return found
        mentions = at_once(lambda subject: self.table.ids_in(_mentions(organization_id, subject)), wanted)
        self.cost.items += sum(len(ids) for ids, _ in mentions)
        self.cost.read_units += sum(units for _, units in mentions)
        ids = dict.fromkeys(each for ids, _ in mentions for each in ids)
        documents = {each.id: each for each in self._documents(account, ids)}
        for subject, (mentioned, _) in zip(wanted, mentions, strict=True):
            held = [documents[each] for each in mentioned if each in documents]
            # The item that lists a subscription under a subject stays when the subscription is given to another
            # subject. The document says to whom it belongs.
            found[subject] = [each for each in held if _whose(each, subject) == subject.external_id]
            self._remember(organization_id, subject, clock, found[subject])
        return found

    def _documents(self, account: Account, ids: Iterable[str]) -> list[Subscription]:
        """Read subscriptions by id, several batches at once."""
        some = list(batched(ids, READ_TOGETHER, strict=False))
        found = at_once(
            lambda each: read_subscriptions(
                self.table, account.organization.id, each, account.meters, facts=False
            ),
            some,
        )
        return [each for batch in found for each in batch]

    def _remember(
        self, organization_id: str, subject: Subject, clock: float, found: list[Subscription]
    ) -> None:
        size = max(len(found), 1)
        if self._remembered + size > _MOST_REMEMBERED:
            self._known.clear()
            self._remembered = 0
        before = self._known.get((organization_id, subject))
        self._remembered += size - (0 if before is None else max(len(before[1]), 1))
        self._known[organization_id, subject] = clock, found


def _receipt(outcomes: Mapping[int, Outcome], unmatched: Mapping[int, Reason]) -> Receipt:
    """Make a receipt of outcomes and reasons. An event has no reason that is not known to be in the log."""
    absent = (Outcome.CONFLICT, Outcome.UNAVAILABLE)
    taken = (place for place in unmatched if outcomes.get(place) not in absent)
    return Receipt(outcomes, {place: unmatched[place] for place in taken})


def _mentions(organization_id: str, subject: Subject) -> str:
    if subject.kind == "s":
        return keys.by_external_id(organization_id, subject.external_id).pk
    return keys.of_customer(organization_id, subject.external_id).pk


def _whose(subscription: Subscription, subject: Subject) -> str:
    return subscription.external_id if subject.kind == "s" else subscription.customer_id

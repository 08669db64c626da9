"""Looking an event up by its transaction id: what the log holds, where the event counts, and where not.

Nothing is stored for this. The log is keyed by subject and transaction id. Where the event counts follows from the
catalogue, the lists of uncounted events, and how far the counters have counted.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import batched

import msgspec

from meterstone.store.catalogue.accounts import Account, AccountStore
from meterstone.store.catalogue.subscriptions import (
    read_subscriptions,
    subscriptions_by_external_id,
    subscriptions_of_customer,
)
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST, Key
from meterstone.store.dynamodb.packing import counter_key
from meterstone.store.dynamodb.table import StoreError, integer, text
from meterstone.store.events.listing import read_page
from meterstone.store.events.log import LoggedEvent, logged_event_of
from meterstone.store.events.unmatched import list_unmatched_subjects, unmatched_event_of
from meterstone.usage.arrival import Subject
from meterstone.usage.matching import Match, Matching
from meterstone.usage.meter import Event
from meterstone.usage.receipt import Fault, Reason, judge
from meterstone.usage.uncounted import UncountedPage

MOST_SUBJECTS = 2000
"""Under how many external ids of an organization an event is looked for, if its subject is not given."""

_SUBSCRIPTIONS_AT_ONCE = 100


class TooManySubjectsError(StoreError):
    """The organization has too many external ids to look under all of them. The subject must be given."""


class AmbiguousEventError(StoreError):
    """Several external ids have an event of this transaction id. The subject must be given."""


class State(StrEnum):
    """Whether an event counts."""

    #: Every line item that is for the event has counted it.
    COUNTED = "counted"
    #: A line item is for the event, and its counter has not come so far yet.
    PENDING = "pending"
    NOT_COUNTED = "not_counted"


class FoundEvent(msgspec.Struct, frozen=True):
    """A logged event, and where it counts. ``reason`` is None if the event counts, or was withdrawn."""

    logged: LoggedEvent
    state: State
    counts: Sequence[Match]
    faults: Sequence[Fault]
    reason: Reason | None

    @property
    def subject(self) -> Subject:
        """The event's subject."""
        return self.logged.subject

    @property
    def event(self) -> Event:
        """The event itself."""
        return self.logged.event

    @property
    def accepted(self) -> int:
        """When the event came in over HTTP, in microseconds; 0 if it was imported."""
        return self.logged.accepted

    @property
    def notes(self) -> dict[str, str]:
        """What the client said beside the event."""
        return self.logged.notes

    @property
    def why(self) -> str | None:
        """Why the event counts nowhere; None if it counts."""
        return "withdrawn" if self.logged.withdrawn else self.reason


class _Place(msgspec.Struct, frozen=True):
    """Where an event would be logged."""

    subject: Subject
    key: Key


class EventStore(AccountStore):
    """Reads single events, and the lists of those that do not count. Each thread needs one of its own."""

    def find(self, account: Account, ids: Iterable[str], subject: Subject | None) -> FoundEvent | None:
        """Return the event of the first of some transaction ids that is in the log; None if none is.

        Without a ``subject``, the event is looked for under all external ids of the organization. Raises
        `TooManySubjectsError` and `AmbiguousEventError`. Cost: 1 get with a subject; without one, 1 get for each
        external id, all subscriptions are read, and 1 item at least of each subject that has unmatched events.
        Some gets more show where the event counts.
        """
        subjects = [subject] if subject is not None else self._subjects(account)
        for identity in ids:
            found = self._logged(account, identity, subjects)
            if len(found) > 1:
                raise AmbiguousEventError(identity)
            if found:
                return self._judged(account, found[0])
        return None

    def uncounted(
        self, account: Account, reason: Reason | None, after: tuple[str, str] | None
    ) -> UncountedPage:
        """Return a page of the events that do not count (see `listing.read_page`)."""
        return read_page(self.table, account.organization.id, account.generation, reason, after)

    def _subjects(self, account: Account) -> list[Subject]:
        organization_id = account.organization.id
        subjects: dict[Subject, None] = {}
        of_subscriptions = keys.catalogue_kind(organization_id, "subscription")
        mentions = (text(row, "id") for row in self.table.query_prefix(*of_subscriptions))
        for some in batched(mentions, _SUBSCRIPTIONS_AT_ONCE, strict=False):
            for each in read_subscriptions(self.table, organization_id, some, account.meters, facts=False):
                subjects[Subject.subscription(each.external_id)] = None
                subjects[Subject.customer(each.customer_id)] = None
            if len(subjects) > MOST_SUBJECTS:
                raise TooManySubjectsError(organization_id)
        # Events of an external id that the catalogue does not know are in the list of the unmatched ones.
        for subject in list_unmatched_subjects(self.table, organization_id):
            subjects[subject] = None
            if len(subjects) > MOST_SUBJECTS:
                raise TooManySubjectsError(organization_id)
        return list(subjects)

    def _logged(self, account: Account, identity: str, subjects: Sequence[Subject]) -> list[LoggedEvent]:
        places = [_Place(each, keys.event(account.organization.id, *each, identity)) for each in subjects]
        rows = self.table.batch_get((each.key for each in places), consistent=True)
        return [logged_event_of(each.subject, rows[each.key]) for each in places if each.key in rows]

    def _judged(self, account: Account, logged: LoggedEvent) -> FoundEvent:
        if logged.withdrawn:
            return FoundEvent(logged, State.NOT_COUNTED, (), (), None)
        organization_id, subject = account.organization.id, logged.subject
        read = subscriptions_by_external_id if subject.kind == "s" else subscriptions_of_customer
        subscriptions = read(self.table, organization_id, subject.external_id, account.meters, facts=False)
        verdict = judge(logged.event, subject, account.meters, subscriptions, Matching())
        if verdict.reason is not None:
            return FoundEvent(logged, State.NOT_COUNTED, (), verdict.faults, verdict.reason)
        counted = not self._waits(account, logged) and self._reached(account, logged, verdict.counts)
        state = State.COUNTED if counted else State.PENDING
        return FoundEvent(logged, state, verdict.counts, verdict.faults, None)

    def _waits(self, account: Account, logged: LoggedEvent) -> bool:
        """Return whether an event is still listed as unmatched, although a line item is there for it now."""
        key = keys.unmatched(account.organization.id, *logged.subject, logged.event.id)
        row = self.table.get(key, consistent=True)
        return row is not None and unmatched_event_of(row).waiting(account.generation)

    def _reached(self, account: Account, logged: LoggedEvent, counts: Sequence[Match]) -> bool:
        """Return whether the event's import, or each counter that it is for, has counted as far as the event."""
        if logged.position is not None:
            return self._imported(account, logged.position.shard, logged.position.number)
        heads = {
            Key(
                keys.usage(account.organization.id, account.generation, each.key.subscription_id),
                keys.chain(each.key.stored_as) if each.key.item_id is None else counter_key(each.charge, 0),
            )
            for each in counts
        }
        rows = self.table.batch_get(heads)
        return len(rows) == len(heads) and all(
            integer(row, "acc") >= logged.accepted for row in rows.values()
        )

    def _imported(self, account: Account, shard: str, line: int) -> bool:
        stream, _, run = shard.partition(".")
        for row in self.table.query(keys.imported(account.organization.id, "").pk, FIRST, LAST):
            if text(row, "sk").startswith(stream[1:]):
                settled = integer(row, "run") if "done" in row else integer(row, "closed")
                return int(run) <= settled or line <= integer(row, "line")
        return False

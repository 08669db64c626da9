"""Subjects: whose events they are, and by which version of the catalogue a batch of events is counted.

A subject is a subscription's external id, or a customer. Its item has a version, which goes up whenever one of its
subscriptions changes. A batch reads the versions of its subjects first and their subscriptions then, and whatever
it writes is under the condition that the versions are still the same (see `Standing.guards`). So it does not
matter if one subscription was read before a change and another after it: nothing is written then. No change of
one subject's subscriptions holds up the events of others.

An organization in stored format 1 was written by code that raised one version for the whole catalogue. Its batches
are under the condition that this version is the same.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import replace
from functools import cached_property
from typing import Final

import msgspec

from meterstone.store.catalogue.accounts import Account
from meterstone.store.catalogue.guards import Guard
from meterstone.store.catalogue.stored_format import FIRST_FORMAT
from meterstone.store.catalogue.subscriptions import (
    By,
    facts_of,
    read_subscriptions,
    subscriptions_by_external_id,
    subscriptions_of_customer,
)
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import CatalogueChangedError
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Row, Table, integer
from meterstone.usage.arrival import AHEAD, Subject
from meterstone.usage.meter import Event, Meter
from meterstone.usage.subscription import Facts, Subscription

_MOST_SUBJECTS: Final = 20_000
_LATEST: Final = "latest_at"
_BEGUN: Final = "begun_at"


class SubjectState(msgspec.Struct):
    """What a subject's item said: its version, and the time of the latest event that was counted by it.

    None stands for an attribute that the item does not have. In stored format 1 the item is the organization's
    profile, and nothing is noted in it.
    """

    key: Key
    version: int | None
    latest: int | None = None
    notes: bool = True


class CustomerState(msgspec.Struct):
    """What a customer's record said: its version, what was noted of its charges, and the facts.

    ``counted``: whether anything was counted for the customer. ``begun``: when the latest charge begins that was
    young when it was counted or published. A customer that is not stored in the present format has no version, and
    ``facts`` is None: the subscriptions hold them.
    """

    key: Key
    version: int | None
    counted: bool
    begun: int | None
    facts: Facts | None


class Standing:
    """The catalogue as a batch of events found it, as far as the batch needs it."""

    def __init__(self, table: Table, at: int) -> None:
        """Begin with nothing, at the instant ``at``: whatever is read is read later."""
        self._table = table
        self._at = at
        self.subjects: dict[Subject, SubjectState] = {}
        self.customers: dict[str, CustomerState] = {}
        self.held: dict[Subject, list[Subscription]] = {}

    def subscriptions(self, subject: Subject) -> list[Subscription]:
        """Return the subscriptions of a subject, as they are read."""
        return [each for each in self.held[subject] if each.editions.filling is None]

    def owning(self, subject: Subject, event: Event, *, filling: bool = False) -> list[Subscription]:
        """Return the subscriptions of a subject whose span holds an event's time, as they are read.

        With ``filling``, also as they will be, where an edition is being filled.
        """
        return [
            each
            for each in self.held[subject]
            if each.span.holds(event.at) and (filling or each.editions.filling is None)
        ]

    def unmatched_guard(self, subject: Subject) -> Guard:
        """Return the condition under which events of a subject are saved as unmatched."""
        state = self.subjects[subject]
        return Guard(state.key, {"ver": state.version})

    def guards(self, latest: Mapping[Subject, int], customer_id: str, begins: int | None) -> Iterator[Guard]:
        """Yield the conditions under which events are counted into a tally of a customer, or it is published.

        ``latest`` has the time of the latest event of each subject; empty if no event is counted. ``begins`` is
        when the latest charge begins that the tally has.

        A customer's country and type change from now on, once anything was counted, or there is a move. So what
        was read of them holds for all charges that began before it was read, up to the next move. When a charge
        begins that is younger, is noted: it is younger if it begins later than `AHEAD` before, since clocks may
        differ.
        """
        yield from self.notes(latest)
        customer = self.customers.get(customer_id)
        if customer is None:
            return
        first, young = self._concerns(customer, latest, begins)
        expects: dict[str, int | None] = {"rev": customer.version}
        notes: dict[str, int] = {}
        if first:
            expects["counted"], notes["counted"] = None, 1
        if young and begins is not None and (customer.begun is None or customer.begun < begins):
            expects[_BEGUN], notes[_BEGUN] = customer.begun, begins
        if first or young:
            yield Guard(customer.key, expects, notes)

    def guarded(self, latest: Mapping[Subject, int], customer_id: str, begins: int | None) -> Iterator[Key]:
        """Yield the keys of the items that `guards` yields conditions on."""
        for subject in latest:
            yield self.subjects[subject].key
        customer = self.customers.get(customer_id)
        if customer is not None and any(self._concerns(customer, latest, begins)):
            yield customer.key

    def _concerns(
        self, customer: CustomerState, latest: Mapping[Subject, int], begins: int | None
    ) -> tuple[bool, bool]:
        """Return whether something is counted for a customer for the first time, and whether a charge is young."""
        return bool(latest) and not customer.counted, begins is not None and begins > self._at - AHEAD

    def notes(self, latest: Mapping[Subject, int]) -> Iterator[Guard]:
        """Yield the conditions that subjects have not changed, which note the time of the latest event of each."""
        for subject, at in latest.items():
            state = self.subjects[subject]
            if state.notes and (state.latest is None or state.latest < at):
                yield Guard(state.key, {"ver": state.version, _LATEST: state.latest}, {_LATEST: at})
            else:
                yield Guard(state.key, {"ver": state.version})

    def wrote(self, guards: Iterable[Guard]) -> None:
        """Note what a transaction has written with its guards."""
        subjects, owners = self._by_key
        for guard in guards:
            if not guard.notes:
                continue
            if (state := subjects.get(guard.key)) is not None:
                state.latest = guard.notes.get(_LATEST, state.latest)
            if (owner := owners.get(guard.key)) is not None:
                owner.counted = owner.counted or "counted" in guard.notes
                owner.begun = guard.notes.get(_BEGUN, owner.begun)

    def look_again(self) -> None:
        """Find out why a condition did not hold: raise `CatalogueChangedError` if the catalogue has changed.

        If it has not, another batch has noted a later event, or counted first. That is known then.
        """
        states, owners = self._by_key
        rows = self._table.batch_get((*states, *owners), consistent=True)
        for key, state in states.items():
            row = rows.get(key, {})
            if _number(row, "ver") != state.version:
                raise CatalogueChangedError("the catalogue has changed meanwhile")
            state.latest = _number(row, _LATEST) if state.notes else None
        for key, owner in owners.items():
            row = rows.get(key, {})
            if _number(row, "rev") != owner.version:
                raise CatalogueChangedError("the customer has changed meanwhile")
            owner.counted, owner.begun = "counted" in row, _number(row, _BEGUN)

    @cached_property
    def _by_key(self) -> tuple[dict[Key, SubjectState], dict[Key, CustomerState]]:
        """The states of all subjects and customers by their items. All are read before anything is written."""
        return (
            {state.key: state for state in self.subjects.values()},
            {state.key: state for state in self.customers.values()},
        )

    def note_customers(self, rows: Mapping[Key, Row], keyed: Mapping[Key, str]) -> None:
        """Note what the records of customers say."""
        for key, customer_id in keyed.items():
            row = rows.get(key, {})
            facts = facts_of(row) if "doc" in row else None
            self.customers[customer_id] = CustomerState(
                key, _number(row, "rev"), "counted" in row, _number(row, _BEGUN), facts
            )

    def with_facts(self, subscription: Subscription) -> Subscription:
        """Return a subscription with its customer's facts."""
        state = self.customers.get(subscription.customer_id)
        if state is None or state.facts is None:
            return subscription
        return subscription.of_customer(state.facts)


class _Known(msgspec.Struct):
    """The subscriptions of a subject as they were looked up, and by what.

    ``by`` has the item that has the version, which is another one in stored format 1, the version, and the
    profile's number `purges`: after a purge the versions of an id begin anew.
    """

    by: tuple[Key, int | None, int]
    meters: tuple[Meter, ...]
    subscriptions: list[Subscription]


class Subjects:
    """Looks up the subscriptions of subjects whose events are to be counted, and remembers them by version."""

    def __init__(self, table: Table) -> None:
        """Look subjects up in a table; nothing is remembered yet."""
        self._table = table
        self._known: dict[tuple[str, Subject], _Known] = {}
        self._meters: tuple[Meter, ...] = ()

    def standing(self, account: Account, subjects: Iterable[Subject], now: int) -> Standing:
        """Read the versions of subjects, and their subscriptions as far as these are not known by the versions.

        The account must have been read before, consistently. Cost: 1 consistent get for each subject and each
        customer of their subscriptions, in batches; for a subject that is not remembered, 1 query and 1 get for
        each subscription.
        """
        organization_id = account.organization.id
        if account.meters == self._meters:
            # The same objects as before are compared with those that each subject was looked up by in no time.
            account = replace(account, meters=self._meters)
        self._meters = account.meters
        standing = Standing(self._table, now)
        wanted = list(dict.fromkeys(subjects))
        rows = self._read_states(account, wanted, standing)
        for subject in wanted:
            standing.held[subject] = self._subscriptions(account, subject, standing.subjects[subject])
        owners = {
            keys.customer(organization_id, each.customer_id): each.customer_id
            for held in standing.held.values()
            for each in held
        }
        rows |= self._table.batch_get((key for key in owners if key not in rows), consistent=True)
        standing.note_customers(rows, owners)
        for subject, held in standing.held.items():
            with_facts = [standing.with_facts(each) for each in held]
            if any(one is not other for one, other in zip(with_facts, held, strict=True)):
                # Remembered, so that what is known of a subscription by its identity need not be found again.
                standing.held[subject] = self._known[organization_id, subject].subscriptions = with_facts
        return standing

    def _read_states(
        self, account: Account, subjects: Sequence[Subject], standing: Standing
    ) -> dict[Key, Row]:
        organization_id = account.organization.id
        if account.stored_format == FIRST_FORMAT:
            profile = SubjectState(
                keys.organization(organization_id, "profile"), account.version, notes=False
            )
            standing.subjects.update(dict.fromkeys(subjects, profile))
            return {}
        found = {subject: keys.subject(organization_id, *subject) for subject in subjects}
        rows = self._table.batch_get(found.values(), consistent=True)
        for subject, key in found.items():
            row = rows.get(key, {})
            standing.subjects[subject] = SubjectState(key, _number(row, "ver"), _number(row, _LATEST))
        return rows

    def _subscriptions(self, account: Account, subject: Subject, state: SubjectState) -> list[Subscription]:
        by = state.key, state.version, account.purges
        known = self._known.get((account.organization.id, subject))
        if known is not None and known.by == by and known.meters == account.meters:
            return known.subscriptions
        read = subscriptions_by_external_id if subject.kind == "s" else subscriptions_of_customer
        # Read consistently, and after the version: they must not be older than it.
        found = read(
            self._table,
            account.organization.id,
            subject.external_id,
            account.meters,
            consistent=True,
            facts=False,
            by=By.COUNTED,
        )
        if len(self._known) >= _MOST_SUBJECTS:
            self._known.clear()
        self._known[account.organization.id, subject] = _Known(by, account.meters, found)
        return found


def standing_of(
    table: Table, account: Account, subscription_ids: Iterable[str], now: int
) -> tuple[Standing, dict[str, Subscription]]:
    """Read subscriptions whose tallies are to be published, by their ids, and under which conditions they are.

    Cost: 1 consistent get for each subscription and each customer, in batches.
    """
    organization_id = account.organization.id
    standing = Standing(table, now)
    found = read_subscriptions(
        table, organization_id, subscription_ids, account.meters, consistent=True, facts=False
    )
    owners = {keys.customer(organization_id, each.customer_id): each.customer_id for each in found}
    standing.note_customers(table.batch_get(owners, consistent=True), owners)
    return standing, {each.id: standing.with_facts(each) for each in found}


def _number(row: Row, name: str) -> int | None:
    return integer(row, name) if name in row else None

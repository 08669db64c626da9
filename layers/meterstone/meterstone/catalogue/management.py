"""The catalogue, changed one record at a time: what the routes, the commands and the load of a folder call.

Each call reads what it needs, checks the record, and writes it in one step, on the condition that nothing it has
read was changed meanwhile: else it does so again. So a call takes effect as a whole or not at all, and called
again it changes nothing. Where it moves counted usage, that is counted anew afterwards, by a recount that the call
begins and names (see `meterstone.catalogue.recounting`).
"""

from collections.abc import Callable, Mapping, Sequence
from copy import replace
from typing import Any, Final, Literal, assert_never

from meterstone import clock as system_clock
from meterstone.catalogue import customers, offers, subscriptions
from meterstone.catalogue.agreements import resolved_before
from meterstone.catalogue.attempt import Attempt, Wanted, in_turn
from meterstone.catalogue.errors import (
    CatalogueBusyError,
    CatalogueConflictError,
    CatalogueError,
    Put,
    RecordRefusedError,
    StaleRecordError,
    UnknownRecordError,
)
from meterstone.catalogue.many import put_many
from meterstone.contracts.catalogue_records import record_of
from meterstone.pricing.commitment import Commitment
from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.recounts import Recount
from meterstone.store.catalogue.stamped import Revision, Stamp, Stored, read_customer, read_terms
from meterstone.store.dynamodb.table import Table
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Subscription
from meterstone.usage.terms import Terms

__all__ = [
    "KINDS",
    "CatalogueBusyError",
    "CatalogueConflictError",
    "CatalogueError",
    "KindOfRecord",
    "Management",
    "Put",
    "RecordRefusedError",
    "Recount",
    "Revision",
    "StaleRecordError",
    "Stamp",
    "Stored",
    "UnknownRecordError",
]

type KindOfRecord = Literal["meter", "price", "plan", "customer", "subscription"]
type Fields = Mapping[str, object] | offers.Making
KINDS: Final[tuple[KindOfRecord, ...]] = ("meter", "price", "plan", "customer", "subscription")
"""The kinds of records, in the order in which they refer to each other."""


class Management:
    """One organization's catalogue.

    Every method that changes something raises `RecordRefusedError`, `CatalogueConflictError`, `StaleRecordError`,
    `UnknownRecordError`, or `StoreUnavailableError` if others change the same records all the time. Records are
    read and given in the form of the catalogue's files, kind by kind; a plan's id is its code.
    """

    def __init__(
        self, table: Table, account: Account | str, clock: Callable[[], int] = system_clock.now
    ) -> None:
        """Change the catalogue of an organization, given by its account or its id, in a table."""
        self._table = table
        self._organization_id = account if isinstance(account, str) else account.organization.id
        self._clock = clock

    def get(self, kind: KindOfRecord, name: str) -> Stored[Any] | None:
        """Read a record; None if there is none. A subscription is read as its terms. Cost: 1 or 2 gets."""
        return _get(self._reading(), kind, name)

    def put(
        self,
        kind: KindOfRecord,
        name: str,
        record: Mapping[str, object],
        *,
        if_match: Wanted = None,
        forced: bool = False,
    ) -> Put[Any]:
        """Store a record whole: the record says all that there is to say.

        With ``if_match``, it is stored only if the stored record has that version. ``forced``: usage is counted
        anew however much of the log is to be read for it; else more than 20 MB is a `CatalogueConflictError`.
        """
        return self._put(kind, name, lambda _: record, if_match, forced=forced)

    def subscribe(self, name: str, record: Mapping[str, object], unless: Sequence[str]) -> Put[Terms]:
        """Make a subscription. Raises `StaleRecordError` if it is there, or one of those in ``unless``."""
        return self._in_turn(
            lambda attempt: subscriptions.put_subscription(attempt, name, lambda _: record, 0, unless)
        )

    def offer_to_all(
        self, code: str, record: Mapping[str, object], at: int | None = None, *, if_match: Wanted = None
    ) -> tuple[Put[Plan], Recount]:
        """Put a plan, and have the subscriptions that follow it follow its new version from an instant on.

        The instant may be past; None: now. A recount does it, which is made in the same step (see
        `meterstone.catalogue.recounting`). Where a subscription has usage that it moves, another recount of that
        subscription begins then. The same again makes no other one.
        """
        return self._in_turn(lambda attempt: offers.offer_to_all(attempt, code, record, if_match, at))

    def put_many(
        self,
        kind: KindOfRecord,
        records: Sequence[tuple[str, Mapping[str, object]]],
        *,
        forced: bool = False,
    ) -> list[Put[Any] | CatalogueError]:
        """Put records, each by itself, several at once. Return in their order what became of each.

        ``forced``: as of `put`.
        """

        def alone(name: str, record: Mapping[str, object]) -> Put[Any]:
            return self._in_turn(lambda attempt: _put(attempt, kind, name, lambda _: record), forced=forced)

        def putting(attempt: Attempt, name: str, record: Mapping[str, object]) -> Put[Any]:
            return _put(replace(attempt, forced=forced), kind, name, lambda _: record)

        return put_many(self._table, self._organization_id, self._clock, kind, records, putting, alone)

    def merge(self, kind: KindOfRecord, name: str, fields: Fields) -> Put[Any]:
        """Store a record whose other fields stay as they are. If there is none, the fields are the record.

        ``fields`` may be made of what is stored: as it is when the record is written.
        """

        def whole(stored: Stored[Any] | None) -> Mapping[str, object]:
            given = fields(stored) if callable(fields) else fields
            return given if stored is None else {**record_of(stored.value), **given}

        return self._put(kind, name, whole, None)

    def delete(self, kind: KindOfRecord, name: str) -> Stored[Any]:
        """Delete a record that nothing needs. A meter is deleted in 5 minutes; a price never is."""

        def delete(attempt: Attempt) -> Stored[Any]:
            match kind:
                case "meter":
                    return offers.delete_meter(attempt, name)
                case "plan":
                    return offers.delete_plan(attempt, name)
                case "customer":
                    return customers.delete_customer(attempt, name)
                case "subscription":
                    return subscriptions.delete_subscription(attempt, name)
                case "price":
                    if offers.stored_price(attempt, name) is None:
                        raise UnknownRecordError(kind, name)
                    raise CatalogueConflictError(
                        "", "a price stays: take it out of plans and end its line items"
                    )
                case _:
                    assert_never(kind)

        return self._in_turn(delete)

    def end(self, subscription_id: str, at: int | None, *, forced: bool = False) -> Put[Terms]:
        """End a subscription, also in the past; None: now. What is over stays so then. ``forced``: as of `put`."""
        return self._in_turn(lambda attempt: subscriptions.end(attempt, subscription_id, at), forced=forced)

    def cancel_pending(self, subscription_id: str) -> Put[Terms]:
        """Call a subscription off that has not begun: it has no time at all then."""
        return self._in_turn(lambda attempt: subscriptions.cancel_pending(attempt, subscription_id))

    def take_back(self, subscription_id: str, before: str, until: int | None) -> list[Put[Terms]]:
        """Call off what was to succeed a subscription, which goes on until an instant if it ends just for that."""
        return self._in_turn(lambda attempt: subscriptions.take_back(attempt, subscription_id, before, until))

    def change_plan(
        self, subscription_id: str, plan: str, at: int | None, key: str | None = None, *, forced: bool = False
    ) -> Put[Terms]:
        """Have a subscription on another plan from an instant on; None: now. It goes on otherwise.

        Under a ``key`` that is done once, whatever else is changed afterwards. ``forced``: as of `put`.
        """
        return self._in_turn(
            lambda attempt: subscriptions.change_plan(attempt, subscription_id, plan, at, key), forced=forced
        )

    def change_commitment(self, subscription_id: str, commitment: Commitment | None) -> Put[Terms]:
        """Have a subscription commit to another amount over its whole time. No event is counted anew for that."""
        return self._in_turn(
            lambda attempt: subscriptions.change_commitment(attempt, subscription_id, commitment)
        )

    def succeed(
        self, subscription_id: str, record: Mapping[str, object], at: int | None
    ) -> tuple[Put[Terms], Put[Terms]]:
        """End a subscription and begin another, under the same external id, at one instant and in one step.

        The record has an id of its own. Its customer and its external id are those of the first one if it names
        none. None: now.
        """
        return self._in_turn(lambda attempt: subscriptions.succeed(attempt, subscription_id, record, at))

    def resolved(self, stored: Stored[Terms]) -> Subscription:
        """Return the subscription that terms stand for, as it is stored now: line items, prices, meters."""
        attempt = self._reading()
        seen = read_terms(self._table, self._organization_id, stored.value.id)
        if seen is None:
            raise UnknownRecordError("subscription", stored.value.id)
        return resolved_before(attempt, seen)

    def _put(
        self,
        kind: KindOfRecord,
        name: str,
        make: Callable[[Stored[Any] | None], Mapping[str, object]],
        if_match: Wanted,
        *,
        forced: bool = False,
    ) -> Put[Any]:
        return self._in_turn(lambda attempt: _put(attempt, kind, name, make, if_match), forced=forced)

    def _in_turn[T](self, change: Callable[[Attempt], T], *, forced: bool = False) -> T:
        return in_turn(self._table, self._organization_id, self._clock, change, forced=forced)

    def _reading(self) -> Attempt:
        account = read_account(self._table, self._organization_id, consistent=True)
        if account is None:
            raise UnknownRecordError("organization", self._organization_id)
        return Attempt(self._table, account, self._clock(), self._clock)


def _put(
    attempt: Attempt, kind: KindOfRecord, name: str, make: offers.Making, if_match: Wanted = None
) -> Put[Any]:
    match kind:
        case "meter":
            return offers.put_meter(attempt, name, make, if_match)
        case "price":
            return offers.put_price(attempt, name, make, if_match)
        case "plan":
            return offers.put_plan(attempt, name, make, if_match)
        case "customer":
            return customers.put_customer(attempt, name, make, if_match)
        case "subscription":
            return subscriptions.put_subscription(attempt, name, make, if_match)
        case _:
            assert_never(kind)


def _get(attempt: Attempt, kind: KindOfRecord, name: str) -> Stored[Any] | None:
    match kind:
        case "meter":
            return offers.stored_meter(attempt, name)
        case "price":
            return offers.stored_price(attempt, name)
        case "plan":
            return offers.stored_plan(attempt, name)
        case "customer":
            return read_customer(attempt.table, attempt.organization_id, name).stored
        case "subscription":
            return subscriptions.stored_terms(attempt, name)
        case _:
            assert_never(kind)

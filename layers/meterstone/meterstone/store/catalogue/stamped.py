"""Single records of the catalogue with their versions: what a put reads before it writes.

A record of before, in a table of the first stored format, has no version of its own: it is 0, and its instants
are 0.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from meterstone.store.catalogue.plans import unpack_plan
from meterstone.store.catalogue.subscriptions import (
    counting_of,
    decode_customer,
    decode_meters,
    decode_subscription,
    moves_of,
)
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST, Key
from meterstone.store.dynamodb.table import Row, Table, integer, text
from meterstone.usage.counting import Counting
from meterstone.usage.meter import Meter
from meterstone.usage.plan import Plan, decode_plan
from meterstone.usage.subscription import NOT_MOVED, Customer, Moves
from meterstone.usage.terms import Terms, decode_terms, terms_of


class Revision(NamedTuple):
    """The version of a record that a change is for. ``made_at``: of the record made then; None: of any."""

    rev: int
    made_at: int | None = None


class Stamp(NamedTuple):
    """A record's version, which goes up with each change, and when it was made and last put."""

    rev: int
    made_at: int
    put_at: int

    def next(self, now: int) -> "Stamp":
        """Return the stamp of the record's next version."""
        return Stamp(self.rev + 1, self.made_at or now, now)

    @property
    def revision(self) -> Revision:
        """The version of this very record: not that of another one that is made under its id later."""
        return Revision(self.rev, self.made_at)


NEVER = Stamp(0, 0, 0)
"""The stamp of a record that is not stored."""


class Stored[T](NamedTuple):
    """A record as it is stored."""

    value: T
    stamp: Stamp


class SubjectSeen(NamedTuple):
    """A subject's item as it was read; None stands for what the item does not have."""

    key: Key
    version: int | None
    latest: int | None


class CustomerSeen(NamedTuple):
    """A customer's record as it was read, if there is one, and the customer as a subject.

    ``rev`` is that of the item, which goes on when a customer is deleted. ``counted``: whether anything was
    counted for the customer; ``begun``: when the latest of its young charges begins (see `Standing.guards`).
    ``of_before``: the record stands in the catalogue's list, as the first format has it. ``moves``: how often its
    facts were changed for a time of which usage was counted.
    """

    stored: Stored[Customer] | None
    subject: SubjectSeen
    rev: int
    counted: bool
    begun: int | None = None
    of_before: bool = False
    moves: Moves = NOT_MOVED


class MetersSeen(NamedTuple):
    """All meters as they were read, with the version of their list and the stamp of each."""

    meters: tuple[Meter, ...]
    rev: int
    stamps: Mapping[str, Stamp]
    there: bool


class TermsSeen(NamedTuple):
    """A subscription's item as it was read.

    ``of_before``: it is a document of the first stored format, from which the terms were made. ``unwoken``:
    tallies are still to be woken after an earlier change. ``counting``: how it is counted, if it is being counted
    anew, or was.
    """

    stored: Stored[Terms]
    row: Row
    of_before: bool
    unwoken: bool
    counting: Counting

    @property
    def recount(self) -> str | None:
        """The id of the recount that is under way; None if none is. What is put meanwhile waits for its end."""
        counting = self.counting
        if counting.filling is not None:
            return counting.filling.recount
        return "" if counting.former is not None or counting.live is not None else None


def stamp_of(row: Row) -> Stamp:
    """Return the stamp of an item."""
    return Stamp(integer(row, "rev"), integer(row, "made_at"), integer(row, "put_at"))


def read_price(table: Table, organization_id: str, price_id: str) -> Stored[str] | None:
    """Read a price's JSON text (see `meterstone.usage.plan.decode_price`). Cost: 1 consistent get."""
    row = table.get(keys.catalogue(organization_id, "price", price_id), consistent=True)
    return None if row is None else Stored(text(row, "doc"), stamp_of(row))


def read_plan(table: Table, organization_id: str, code: str) -> tuple[Stored[Plan] | None, bool]:
    """Read a plan as it is now, and whether a subscription has ever named it. Cost: 1 consistent get."""
    row = table.get(keys.catalogue(organization_id, "plan", code), consistent=True)
    return (None, False) if row is None else (Stored(unpack_plan(row), stamp_of(row)), "used" in row)


def read_plans(
    table: Table, organization_id: str, codes: Iterable[str]
) -> dict[str, tuple[Stored[Plan], bool]]:
    """Read plans like `read_plan`, by their codes. Cost: 1 consistent get each, in batches."""
    named = {keys.catalogue(organization_id, "plan", each): each for each in codes}
    rows = table.batch_get(named, consistent=True)
    return {named[key]: (Stored(unpack_plan(row), stamp_of(row)), "used" in row) for key, row in rows.items()}


def last_version(table: Table, organization_id: str, code: str) -> Plan | None:
    """Read the last version that a plan has had, also a plan that was deleted. Cost: 1 query of all versions."""
    pk, first = keys.plan_version(organization_id, code, 0)
    _, last = keys.plan_version(organization_id, code, keys.LAST_VERSION)
    rows = list(table.query(pk, first, last, consistent=True))
    return decode_plan(text(rows[-1], "doc")) if rows else None


def read_meters(table: Table, organization_id: str) -> MetersSeen:
    """Read the list of all meters. Cost: 1 consistent get."""
    row = table.get(keys.organization(organization_id, "meters"), consistent=True)
    if row is None:
        return MetersSeen((), 0, {}, there=False)
    stamps = _STAMPS.decode(text(row, "revs")) if "revs" in row else {}
    return MetersSeen(decode_meters(text(row, "doc")), integer(row, "rev"), stamps, there=True)


def read_customer(table: Table, organization_id: str, customer_id: str) -> CustomerSeen:
    """Read a customer. Cost: 2 consistent gets."""
    key = keys.customer(organization_id, customer_id)
    listed = keys.catalogue(organization_id, "customer", customer_id)
    rows = table.batch_get((key, listed), consistent=True)
    return customer_seen(key, rows.get(key, {}), rows.get(listed, {}))


def customer_seen(key: Key, row: Row, listed: Row) -> CustomerSeen:
    """Return what the items of a customer say: the record, and the entry in the catalogue's list."""
    subject = subject_seen(key, row)
    counted, begun = "counted" in row, integer(row, "begun_at") if "begun_at" in row else None
    moves = moves_of(row)
    if "doc" in row:
        stored = Stored(decode_customer(text(row, "doc")), stamp_of(row))
        return CustomerSeen(stored, subject, stored.stamp.rev, counted, begun, moves=moves)
    if "doc" in listed:
        stored = Stored(decode_customer(text(listed, "doc")), NEVER)
        return CustomerSeen(stored, subject, integer(row, "rev"), counted, begun, of_before=True, moves=moves)
    return CustomerSeen(None, subject, integer(row, "rev"), counted, begun, moves=moves)


def subject_seen(key: Key, row: Row) -> SubjectSeen:
    """Return what a subject's item says; an item that is not there is empty."""
    version = integer(row, "ver") if "ver" in row else None
    return SubjectSeen(key, version, integer(row, "latest_at") if "latest_at" in row else None)


def read_terms(table: Table, organization_id: str, subscription_id: str) -> TermsSeen | None:
    """Read a subscription's item. Cost: 1 consistent get."""
    row = table.get(keys.subscription(organization_id, subscription_id), consistent=True)
    if row is None:
        return None
    of_before = "terms" not in row
    terms = terms_of(decode_subscription(text(row, "doc"))) if of_before else decode_terms(text(row, "terms"))
    return TermsSeen(
        Stored(terms, stamp_of(row)), row, of_before, "due_pk" in row, counting_of(row) or Counting()
    )


def mentioned(table: Table, pk: str) -> list[str]:
    """Read the ids of the subscriptions that items of a partition list. Cost: 1 consistent query."""
    return [text(row, "id") for row in table.query(pk, FIRST, LAST, consistent=True) if "id" in row]


_STAMPS = msgspec.json.Decoder(dict[str, Stamp])

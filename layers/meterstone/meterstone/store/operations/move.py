"""Moves: usage that was counted is grouped by other facts, and no event is read for it.

What a charge brings is in the rollups under a plan's name, and a country and a type of customer. Where these
change for a time of which usage was counted, the customer's record, or for the plan the subscription's, says so by
the number of its moves, and keeps the facts of before (see `usage.subscription.Moves`). A tally's head says which
it has followed. Whoever publishes a tally next takes out what it has published by the facts of before, and adds it
by the present ones, in one transaction: an event, the clock, or what is here, which comes to all tallies in turn.

First the versions of the subjects go up. So whoever makes a tally afterwards does so by the present facts (see
`Standing.guards`), and all tallies that were made by others are there when they are listed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from copy import replace
from dataclasses import dataclass, field
from itertools import batched
from typing import Final

import msgspec

from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.countings import CountingSeen, read_countings, step
from meterstone.store.catalogue.puts import moves_followed
from meterstone.store.catalogue.stamped import mentioned, read_customer
from meterstone.store.catalogue.subscriptions import read_subscriptions
from meterstone.store.counting.fold import Fold
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Kind
from meterstone.store.dynamodb.lease import BusyError, Lease
from meterstone.store.dynamodb.packing import placed_of, unpack_tally_key
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.purge_records import refuse_open_purges
from meterstone.store.operations.turns import Surroundings, taking_turns
from meterstone.usage.arrival import Subject
from meterstone.usage.subscription import NOT_MOVED, Moves, Placed, Subscription
from meterstone.usage.tally import TallyKey

_AT_ONCE: Final = 25


@dataclass(slots=True)
class MoveReport:
    """How many subscriptions have followed, whose tallies the rollups do not take, and whether all is done.

    ``place`` is up to where it is, as text. ``waits_for`` says what must be over first.
    """

    place: str = ""
    waits_for: str = ""
    subscriptions: int = 0
    unpublished: list[str] = field(default_factory=list)
    done: bool = False


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Up to which subscription all of a generation has followed a number of moves, and how many that are."""

    generation: str
    number: int
    subscription: str
    followed: int


class Moving(ABC):
    """Has the rollups follow moves."""

    def __init__(
        self,
        table: Table,
        organization_id: str,
        whose: str,
        around: Surroundings,
        place: str = "",
        keep: Callable[[MoveReport], bool] = lambda _: True,
    ) -> None:
        """Write to a table. ``whose`` is the id of what has moved, ``place`` up to where an earlier call has come.

        ``keep`` is called after some subscriptions. If it answers no, another carries the recount on.
        """
        self.report = MoveReport(place=place)
        self._keep = keep
        self._table = table
        self._organization_id = organization_id
        self._whose = whose
        self._around = around

    @abstractmethod
    def _moves(self) -> Moves:
        """Read the moves that are to be followed."""

    @abstractmethod
    def _named(self) -> list[str]:
        """List the ids of the subscriptions that may be concerned, in an order that stays."""

    @abstractmethod
    def _is_concerned(self, subscription: Subscription) -> bool:
        """Return whether a subscription is concerned."""

    @staticmethod
    @abstractmethod
    def _number(placed: Placed) -> int:
        """Return how many of the moves something has followed."""

    @abstractmethod
    def _followed(self, was: Moves, lease: Lease) -> bool:
        """Write that everything has followed some moves. Return False if there is one more by now."""

    def run(self) -> MoveReport:
        """Have everything follow, as far as there is time.

        What a recount takes out of the rollups is published by the facts of before: then it is not done, and is to
        be tried again when that recount has ended. So it is if the rollups do not take what a tally is worth.
        """
        self.report.waits_for = taking_turns(
            self._table, self._organization_id, "move", self._around, self._follow
        )
        return self.report

    def _follow(self, lease: Lease) -> None:
        account = read_account(self._table, self._organization_id, consistent=True)
        if account is None or account.next is not None:
            raise BusyError("a rebuild was stopped: run rebuild again, or give it up, first")
        refuse_open_purges(self._table, self._organization_id)
        moves = self._moves()
        unpublished: list[str] = []
        for ids in batched(self._left(account.generation, moves.number), _AT_ONCE, strict=False):
            if self._around.clock() >= self._around.until:
                return
            lease.renew()
            seen = read_countings(self._table, self._organization_id, ids)
            read = read_subscriptions(
                self._table, self._organization_id, ids, account.meters, consistent=True, facts=False
            )
            self._raise_versions(seen, read)
            for each in read:
                if self._is_concerned(each):
                    unpublished += self._follow_one(account, each.id, moves.number)
                    self.report.subscriptions += 1
            # Read once more: what has turned while they followed was left out.
            seen = read_countings(self._table, self._organization_id, ids)
            if any(each.counting.former is not None for each in seen):
                return
            if not unpublished:
                place = _Place(account.generation, moves.number, ids[-1], self.report.subscriptions)
                self.report.place = msgspec.json.encode(place).decode()
            if not self._keep(self.report):
                return
        self.report.unpublished = unpublished
        if unpublished:
            return
        self.report.done = not moves.former or self._followed(moves, lease)

    def _left(self, generation: str, number: int) -> list[str]:
        """List the subscriptions that are to follow a number of moves in a generation, from the place on."""
        ids = self._named()
        with suppress(msgspec.DecodeError, ValueError):
            place = msgspec.json.decode(self.report.place, type=_Place)
            if (place.generation, place.number) == (generation, number):
                left = ids[ids.index(place.subscription) + 1 :]
                self.report.subscriptions = place.followed
                return left
        self.report.place, self.report.subscriptions = "", 0
        return ids

    def _raise_versions(self, seen: Iterable[CountingSeen], read: Iterable[Subscription]) -> None:
        """Have whoever counts by what was before write nothing."""
        subjects = dict.fromkeys(subject for each in seen for subject in each.subjects)
        # One of the first stored format has no terms.
        subjects |= dict.fromkeys(Subject.subscription(each.external_id) for each in read)
        for subject in subjects:
            key = keys.subject(self._organization_id, *subject)
            self._table.update(key, "ADD ver :one", {":one": {"N": "1"}})

    def _follow_one(self, account: Account, subscription_id: str, moves: int) -> list[str]:
        pk = keys.usage(self._organization_id, account.generation, subscription_id)
        found: list[TallyKey] = []
        for kind in (Kind.COUNTER, Kind.CHAIN):
            rows = self._table.query_prefix(pk, keys.usage_kind(kind), consistent=True)
            heads = (row for row in rows if "v" in row and self._number(placed_of(row)) < moves)
            found += [unpack_tally_key(row) for row in heads]
        fold = Fold(self._table, self._organization_id, account.generation)
        return fold.publish(account, found, self._around.clock())


class CustomerMoving(Moving):
    """Has the rollups follow the moves of one customer."""

    def _moves(self) -> Moves:
        return read_customer(self._table, self._organization_id, self._whose).moves

    def _named(self) -> list[str]:
        return mentioned(self._table, keys.of_customer(self._organization_id, self._whose).pk)

    def _is_concerned(self, subscription: Subscription) -> bool:
        return subscription.customer_id == self._whose

    @staticmethod
    def _number(placed: Placed) -> int:
        return placed.customer

    def _followed(self, was: Moves, lease: Lease) -> bool:
        now = was.followed(was.number)
        return moves_followed(self._table, self._organization_id, self._whose, was, now, lease.action())


class PlanRenaming(Moving):
    """Has the rollups follow the names of one subscription's plan."""

    def _moves(self) -> Moves:
        seen = self._seen()
        return NOT_MOVED if seen is None else seen.counting.renamings

    def _named(self) -> list[str]:
        return [self._whose]

    def _is_concerned(self, subscription: Subscription) -> bool:
        return subscription.id == self._whose

    @staticmethod
    def _number(placed: Placed) -> int:
        return placed.plan

    def _followed(self, was: Moves, lease: Lease) -> bool:
        """Write it, whatever else of the subscription is put meanwhile."""
        while (seen := self._seen()) is not None and seen.counting.renamings == was:
            followed = replace(seen.counting, renamings=was.followed(was.number))
            # Somebody else may have the lease by now: then another carries this on.
            if step(self._table, self._organization_id, [(seen, followed)], beside=[lease.action()]):
                return True
            lease.renew()
        return False

    def _seen(self) -> CountingSeen | None:
        found = read_countings(self._table, self._organization_id, [self._whose])
        return found[0] if found else None

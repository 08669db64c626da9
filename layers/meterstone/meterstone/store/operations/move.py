"""A customer's move: usage that was counted is grouped by other facts, and no event is read for it.

What a charge brings is in the rollups under a country and a type of customer. Where these change for a time of
which usage was counted, the customer's record says so by the number of its moves, and keeps the facts of before
(see `usage.subscription.Moves`). A tally's head says by which number it is published. Whoever publishes a tally
next takes out what it has published by the facts of before, and adds it by the present ones, in one transaction:
an event, the clock, or what is here, which comes to all tallies in turn.

First the versions of the subjects go up. So whoever makes a tally afterwards does so by the present facts (see
`Standing.guards`), and all tallies that were made by others are there when they are listed.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import batched
from typing import Final

import msgspec

from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.countings import CountingSeen, read_countings
from meterstone.store.catalogue.puts import moves_followed
from meterstone.store.catalogue.stamped import mentioned, read_customer
from meterstone.store.catalogue.subscriptions import read_subscriptions
from meterstone.store.counting.fold import Fold
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Kind
from meterstone.store.dynamodb.lease import BusyError, Lease
from meterstone.store.dynamodb.packing import unpack_tally_key
from meterstone.store.dynamodb.table import Table, integer
from meterstone.store.operations.purge_records import refuse_open_purges
from meterstone.store.operations.turns import Surroundings, taking_turns
from meterstone.usage.arrival import Subject
from meterstone.usage.subscription import Subscription
from meterstone.usage.tally import TallyKey

_AT_ONCE: Final = 25


@dataclass(slots=True)
class MoveReport:
    """How many subscriptions have followed, whose tallies the rollups do not take, and whether all is done.

    ``place`` is up to where it is, as text.
    """

    place: str = ""
    subscriptions: int = 0
    unpublished: list[str] = field(default_factory=list)
    done: bool = False


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Up to which subscription all of a generation has followed a number of moves, and how many that are."""

    generation: str
    number: int
    subscription: str
    followed: int


class Moving:
    """Has the rollups follow the moves of one customer."""

    def __init__(
        self,
        table: Table,
        organization_id: str,
        customer_id: str,
        around: Surroundings,
        place: str = "",
        keep: Callable[[MoveReport], bool] = lambda _: True,
    ) -> None:
        """Write to a table. ``place`` is up to where an earlier call has come.

        ``keep`` is called after some subscriptions. If it answers no, another carries the recount on.
        """
        self.report = MoveReport(place=place)
        self._keep = keep
        self._table = table
        self._organization_id = organization_id
        self._customer_id = customer_id
        self._around = around

    def run(self) -> MoveReport:
        """Have everything follow, as far as there is time.

        What a recount takes out of the rollups is published by the facts of before: then it is not done, and is to
        be tried again when that recount has ended. So it is if the rollups do not take what a tally is worth.
        """
        taking_turns(self._table, self._organization_id, "move", self._around, self._follow)
        return self.report

    def _follow(self, lease: Lease) -> None:
        account = read_account(self._table, self._organization_id, consistent=True)
        if account is None or account.next is not None:
            raise BusyError("a rebuild was stopped: run rebuild again, or give it up, first")
        refuse_open_purges(self._table, self._organization_id)
        moves = read_customer(self._table, self._organization_id, self._customer_id).moves
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
                if each.customer_id == self._customer_id:
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
        followed = moves.followed(moves.number)
        self.report.done = not moves.former or moves_followed(
            self._table, self._organization_id, self._customer_id, moves, followed, lease.action()
        )

    def _left(self, generation: str, number: int) -> list[str]:
        """List the subscriptions that are to follow a number of moves in a generation, from the place on."""
        ids = mentioned(self._table, keys.of_customer(self._organization_id, self._customer_id).pk)
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
            found += [unpack_tally_key(row) for row in rows if "v" in row and integer(row, "hm") < moves]
        fold = Fold(self._table, self._organization_id, account.generation)
        return fold.publish(account, found, self._around.clock())

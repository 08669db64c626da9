"""A customer's move: usage that was counted is grouped by other facts, and no event is read for it.

What a charge brings is in the rollups under a country and a type of customer. Where these change for a time of
which usage was counted, the customer's record says so by the number of its moves, and keeps the facts of before
(see `usage.subscription.Moves`). A tally's head says by which number it is published. Whoever publishes a tally
next takes out what it has published by the facts of before, and adds it by the present ones, in one transaction:
an event, the clock, or what is here, which comes to all tallies in turn.

First the versions of the subjects go up. So whoever makes a tally afterwards does so by the present facts (see
`Standing.guards`), and all tallies that were made by others are there when they are listed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import batched
from typing import Final

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
from meterstone.usage.instant import SECOND
from meterstone.usage.subscription import Subscription
from meterstone.usage.tally import TallyKey

_AT_ONCE: Final = 25
_PAUSE: Final = SECOND


@dataclass(slots=True)
class MoveReport:
    """How many subscriptions have followed, whose tallies the rollups do not take, and whether all is done."""

    subscriptions: int = 0
    unpublished: list[str] = field(default_factory=list)
    done: bool = False


class Moving:
    """Has the rollups follow the moves of one customer."""

    def __init__(self, table: Table, organization_id: str, customer_id: str, around: Surroundings) -> None:
        """Write to a table."""
        self.report = MoveReport()
        self._table = table
        self._organization_id = organization_id
        self._customer_id = customer_id
        self._around = around

    def run(self) -> MoveReport:
        """Have everything follow, as far as there is time.

        What a recount takes out of the rollups is published by the facts of before: its end is waited for. Raises
        `BusyError` if something else must be over first.
        """
        while taking_turns(self._table, self._organization_id, "move", self._around, self._follow):
            if self.report.done or self._around.clock() + _PAUSE >= self._around.until:
                break
            self._around.sleep(_PAUSE / SECOND)
        return self.report

    def _follow(self, lease: Lease) -> None:
        account = read_account(self._table, self._organization_id, consistent=True)
        if account is None or account.next is not None:
            raise BusyError("a rebuild was stopped: run rebuild again, or give it up, first")
        refuse_open_purges(self._table, self._organization_id)
        self.report = MoveReport()
        moves = read_customer(self._table, self._organization_id, self._customer_id).moves
        partition = keys.of_customer(self._organization_id, self._customer_id).pk
        turning = False
        for ids in batched(mentioned(self._table, partition), _AT_ONCE, strict=False):
            lease.renew()
            seen = read_countings(self._table, self._organization_id, ids)
            turning = turning or any(each.counting.former is not None for each in seen)
            read = read_subscriptions(
                self._table, self._organization_id, ids, account.meters, consistent=True, facts=False
            )
            self._raise_versions(seen, read)
            for each in read:
                if each.customer_id == self._customer_id:
                    self._follow_one(account, each.id, moves.number)
                    self.report.subscriptions += 1
            self._around.progress(self.report.subscriptions)
        if turning:
            return
        if not self.report.unpublished and moves.former:
            followed = moves.followed(moves.number)
            if not moves_followed(self._table, self._organization_id, self._customer_id, moves, followed):
                # It has moved once more: another recount does that, and this once again.
                return
        self.report.done = True

    def _raise_versions(self, seen: Iterable[CountingSeen], read: Iterable[Subscription]) -> None:
        """Have whoever counts by what was before write nothing."""
        subjects = dict.fromkeys(subject for each in seen for subject in each.subjects)
        # One of the first stored format has no terms.
        subjects |= dict.fromkeys(Subject.subscription(each.external_id) for each in read)
        for subject in subjects:
            key = keys.subject(self._organization_id, *subject)
            self._table.update(key, "ADD ver :one", {":one": {"N": "1"}})

    def _follow_one(self, account: Account, subscription_id: str, moves: int) -> None:
        pk = keys.usage(self._organization_id, account.generation, subscription_id)
        found: list[TallyKey] = []
        for kind in (Kind.COUNTER, Kind.CHAIN):
            rows = self._table.query_prefix(pk, keys.usage_kind(kind), consistent=True)
            found += [unpack_tally_key(row) for row in rows if "v" in row and integer(row, "hm") < moves]
        fold = Fold(self._table, self._organization_id, account.generation)
        self.report.unpublished += fold.publish(account, found, self._around.clock())

"""Withdrawing events: they stay in the log with a mark, and count nowhere any more.

An event is marked by one transaction, without a lease. The table's stream delivers the mark, and the fold takes
the event out of what was counted (see `store.counting.stream`). So nothing else waits, and nobody reads the log.

Three kinds of work must not be in the middle of an event when it is marked: a rebuild and a recount read the log,
and a replay gives the event a number. Then the call looks again for some seconds, and gives up with the reason. An
import that is not finished may count what it has logged at any time, and so its events are not withdrawn yet.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from meterstone.store.catalogue.accounts import Account, generation_alone, read_account
from meterstone.store.catalogue.countings import READING, READS
from meterstone.store.catalogue.guards import Guard
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Action, ConflictError, Item, Row, Table, integer, key_item, text
from meterstone.store.events.marks import mark_values
from meterstone.store.events.positions import ImportShard
from meterstone.store.events.uncounted import delisting
from meterstone.store.events.unmatched import UnmatchedEvent, unmatched_event_of
from meterstone.store.operations.import_records import Records
from meterstone.store.operations.purge_records import refuse_open_purges
from meterstone.store.operations.rebuild import Surroundings
from meterstone.usage.arrival import Subject
from meterstone.usage.withdrawal import Mark

LOOKS = 20
"""How often a call looks whether something else has the event in hand: for 4 seconds, all together."""

_BETWEEN_LOOKS = 0.2


class Outcome(StrEnum):
    """What became of an event that was to be withdrawn."""

    WITHDRAWN = "withdrawn"
    #: It was withdrawn before.
    BEFORE = "before"
    #: It is not in the log.
    UNKNOWN = "unknown"


@dataclass(slots=True)
class WithdrawReport:
    """The ids that were marked now, were marked before, or are not in the log."""

    withdrawn: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def withdraw(
    table: Table, organization_id: str, subject: Subject, ids: Sequence[str], around: Surroundings
) -> WithdrawReport:
    """Withdraw events of a subscription or a customer by their transaction ids, each for itself.

    Raises `BusyError` if an event cannot be withdrawn now; those before it are withdrawn then. Raises
    `StoredFormatError` if the organization is stored in another format than this code's.
    """
    report = WithdrawReport()
    for each in dict.fromkeys(ids):
        match withdraw_event(table, organization_id, subject, each, around):
            case Outcome.WITHDRAWN:
                report.withdrawn.append(each)
            case Outcome.BEFORE:
                report.before.append(each)
            case Outcome.UNKNOWN:
                report.unknown.append(each)
    return report


def withdraw_event(
    table: Table, organization_id: str, subject: Subject, transaction_id: str, around: Surroundings
) -> Outcome:
    """Withdraw one event. Raises `BusyError` and `StoredFormatError` as `withdraw` does.

    Cost: 1 batch of 4 gets and 2 or 3 queries; 1 transaction of 5 or 6 items.
    """
    reason = ""
    for look in range(LOOKS):
        if look:
            around.sleep(_BETWEEN_LOOKS)
        account = read_account(table, organization_id, consistent=True)
        if account is None:
            raise BusyError(f"the organization {organization_id} has no catalogue: load one first")
        found = _Found.read(table, account, subject, transaction_id)
        if found.logged is None or "moved" in found.logged:
            return Outcome.UNKNOWN
        if "w" in found.logged:
            return Outcome.BEFORE
        _refuse_unsettled(table, account, found.logged)
        in_hand = found.in_hand(account)
        if in_hand is not None:
            reason = in_hand
            continue
        try:
            table.transact(list(found.actions(table, account, around.clock())))
        except ConflictError:
            reason = "the event is in other hands all the time: try again"
        else:
            return Outcome.WITHDRAWN
    raise BusyError(reason)


def _refuse_unsettled(table: Table, account: Account, logged: Row) -> None:
    """Raise `BusyError` if an event's import is not finished, or if a customer's events get other names."""
    organization_id = account.organization.id
    if shard := text(logged, "shard"):
        records = Records.read(table, organization_id)
        if not records.settled(shard):
            owner = records.owner(shard)
            name = ImportShard.read(shard).content if owner is None else owner.source.name
            raise BusyError(
                f"the event is of the import of {name}, which is running, or was stopped: run it again first, or "
                "close it if its file is lost (imports --close)"
            )
    refuse_open_purges(table, organization_id)


class _Found(NamedTuple):
    """An event to be withdrawn, as the table has it, and what else the transaction is conditional on."""

    subject: Subject
    #: Its item in the log.
    key: Key
    logged: Row | None
    of_subject: Key
    subject_row: Row
    unmatched: Key
    waiting: UnmatchedEvent | None
    unreadable: Key
    listed: Row | None

    @classmethod
    def read(cls, table: Table, account: Account, subject: Subject, transaction_id: str) -> "_Found":
        """Read all at one time, consistently. If any of it is another one by the transaction, that one fails."""
        organization_id = account.organization.id
        key = keys.event(organization_id, *subject, transaction_id)
        of_subject = keys.subject(organization_id, *subject)
        unmatched = keys.unmatched(organization_id, *subject, transaction_id)
        unreadable = keys.unreadable(organization_id, *subject, transaction_id)
        rows = table.batch_get((key, of_subject, unmatched, unreadable), consistent=True)
        waiting = unmatched_event_of(rows[unmatched]) if unmatched in rows else None
        return cls(
            subject,
            key,
            rows.get(key),
            of_subject,
            rows.get(of_subject, {}),
            unmatched,
            waiting,
            unreadable,
            rows.get(unreadable),
        )

    def in_hand(self, account: Account) -> str | None:
        """Return what else has the event in hand, as a sentence for a person; None if nothing has."""
        if account.next is not None:
            return "a rebuild is running, or was stopped: wait for it, run rebuild again, or give it up"
        if READING in self.subject_row:
            return "the usage is being counted anew: wait for it"
        if self._waits(account) and self.waiting is not None and self.waiting.number is not None:
            return "the event is being replayed: run replay first"
        return None

    def actions(self, table: Table, account: Account, now: int) -> Iterator[Action]:
        """Yield the actions of the transaction that marks the event, and takes it off the lists."""
        waits = self._waits(account)
        mark = Mark(account.generation, integer(self.subject_row, READS), waits)
        yield {"Update": self._marking(table, account, mark, now)}
        yield generation_alone(table, account)
        # Whoever begins to read the log raises the version, too.
        version = integer(self.subject_row, "ver") if "ver" in self.subject_row else None
        yield Guard(self.of_subject, {"ver": version, READING: None}).action(table)
        if self.waiting is None:
            yield _check(table, self.unmatched, "attribute_not_exists(pk)", {})
        elif self.waiting.done:
            yield _check(table, self.unmatched, "attribute_exists(done)", {})
        elif not waits:
            # A rebuild that was given up has saved it for itself alone.
            yield _check(
                table,
                self.unmatched,
                "gen = :gen AND attribute_not_exists(done)",
                {":gen": {"S": self.waiting.generation}},
            )
        if self.listed is None:
            yield _check(table, self.unreadable, "attribute_not_exists(pk)", {})
        yield from delisting(
            table, account.organization.id, self.waiting if waits else None, self.listed, now
        )

    def _waits(self, account: Account) -> bool:
        return self.waiting is not None and self.waiting.waiting(account.generation)

    def _marking(self, table: Table, account: Account, mark: Mark, now: int) -> Action:
        kind, external_id = self.subject
        # An imported event does not say whose it is; the stream must know.
        values: Item = mark_values(mark, now) | {
            "org": {"S": account.organization.id},
            "k": {"S": kind},
            "x": {"S": external_id},
        }
        return {
            "TableName": table.name,
            "Key": key_item(self.key),
            "UpdateExpression": "SET " + ", ".join(f"{name} = :{name}" for name in values),
            "ConditionExpression": (
                "attribute_exists(pk) AND attribute_not_exists(w) AND attribute_not_exists(moved)"
            ),
            "ExpressionAttributeValues": {f":{name}": value for name, value in values.items()},
        }


def _check(table: Table, key: Key, condition: str, values: Item) -> Action:
    check: Action = {
        "TableName": table.name,
        "Key": key_item(key),
        "ConditionExpression": condition,
    }
    return {"ConditionCheck": check | ({"ExpressionAttributeValues": values} if values else {})}

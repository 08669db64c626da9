"""Withdrawing events: they stay in the log with a mark, and count nowhere any more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from meterstone.store.catalogue.accounts import read_account
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.lease import BusyError, Lease, leased
from meterstone.store.dynamodb.table import (
    Action,
    ConflictError,
    Item,
    Row,
    Table,
    integer,
    item_of,
    key_item,
)
from meterstone.store.events.uncounted import drop_unreadable, finish
from meterstone.store.events.unmatched import UnmatchedEvent, unmatched_event_of, unmatched_item
from meterstone.store.operations.import_records import refuse_open_imports
from meterstone.store.operations.rebuild import Rebuild, RebuildReport, Surroundings
from meterstone.store.operations.replay import KEPT
from meterstone.usage.arrival import Subject


@dataclass(slots=True)
class WithdrawReport:
    """The ids that were marked now, were marked before, or are not in the log; and the rebuild's report."""

    withdrawn: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    rebuilt: RebuildReport | None = None


def withdraw(
    table: Table,
    organization_id: str,
    subject: Subject,
    ids: Sequence[str],
    around: Surroundings,
    *,
    rebuild: bool = True,
) -> WithdrawReport:
    """Withdraw events of a subscription or a customer by their transaction ids. Raises `BusyError`.

    A rebuild, now or later, removes their effect, since it leaves marked events out. The stream counts no event
    into a rebuilt generation that was accepted before the generation's cut. An unmatched event that is withdrawn
    is not replayed. If no id is known, nothing is done. Raises `StoredFormatError` if the organization is stored
    in another format than this code's.
    """
    read_account(table, organization_id, consistent=True)
    with leased(table, organization_id, "withdraw", around.clock) as lease:
        if rebuild:
            refuse_open_imports(table, organization_id)
        report = _mark(table, organization_id, subject, ids, lease, around.clock())
        if rebuild and (report.withdrawn or report.before):
            report.rebuilt = Rebuild(table, organization_id, lease, around).run()
        return report


def _mark(
    table: Table, organization_id: str, subject: Subject, ids: Sequence[str], lease: Lease, now: int
) -> WithdrawReport:
    report = WithdrawReport()
    logged = {each: keys.event(organization_id, *subject, each) for each in dict.fromkeys(ids)}
    rows = table.batch_get(logged.values(), consistent=True)
    for each, key in logged.items():
        if key not in rows:
            report.unknown.append(each)
        elif "w" in rows[key]:
            report.before.append(each)
        else:
            mark: Action = {
                "TableName": table.name,
                "Key": key_item(key),
                "UpdateExpression": "SET w = :now",
                "ConditionExpression": "attribute_exists(pk) AND attribute_not_exists(w)",
                "ExpressionAttributeValues": {":now": {"N": str(now)}},
            }
            try:
                table.transact([lease.action(), {"Update": mark}])
            except ConflictError as error:
                raise BusyError(
                    "another command took over: look what it does, and run this one again"
                ) from error
            report.withdrawn.append(each)
    _keep_from_the_stream(table, organization_id, subject, [*report.withdrawn, *report.before], rows, now)
    return report


def _keep_from_the_stream(
    table: Table,
    organization_id: str,
    subject: Subject,
    ids: Sequence[str],
    logged: Mapping[Key, Row],
    now: int,
) -> None:
    """Save withdrawn events as unmatched events that are done.

    So they are not listed any more, and the stream, which may deliver them later, does not count them. If the fold
    saves such an event as unmatched only now, the replay still finds in the log that it was withdrawn.
    """
    put_by = table.batch_get(
        (keys.unmatched(organization_id, *subject, each) for each in ids), consistent=True
    )
    items: list[Item] = []
    waiting: list[UnmatchedEvent] = []
    for each in ids:
        row = put_by.get(keys.unmatched(organization_id, *subject, each))
        if row is None:
            row = logged[keys.event(organization_id, *subject, each)]
            accepted = integer(row, "acc")
            if accepted < now - KEPT:  # The event was imported, or delivered long ago.
                continue
            items.append(unmatched_item(organization_id, subject, item_of(row), accepted, done=now))
        elif not (found := unmatched_event_of(row)).done:
            waiting.append(found)
    table.put_all(items)
    finish(table, organization_id, waiting, now, [True] * len(waiting))
    drop_unreadable(table, organization_id, subject, ids)

"""Purging a customer: ids and texts become pseudonyms, and what meters read stays.

The order of the writes keeps every event in the log, and every answer of the organization right, wherever a purge
is stopped. It is run again then, and goes on by its record (see `purge_records`):

1. The record, with the new names and the secret key of the pseudonyms. Whoever was putting a record of the
   catalogue without having seen it is through a minute later.
2. The catalogue: new documents under the new names, and the old ones are found by nobody any more. An event that
   comes in for an old id from now on matches nothing. The old documents stay until the end, since the clock reads
   them for the tallies of the live generation.
3. The log: each event is put under its new subject and id, and the old item gets the mark `moved`, in one
   transaction. The new items have no time of acceptance, so the stream counts none of them.
4. A rebuild: the next generation counts the new items, and the old ones of nobody. Until the swap the live one has
   the customer's counters under the old names.
5. What has an old name goes: counters, unmatched and unreadable events, poison, documents, and items of the log
   that are `moved`.
6. The record, and with it the key.

Events that came in for an old id between 2 and 5 are moved as well, and another rebuild counts them. The stream
may deliver them when all is over, and somebody else has the id. The profile says up to when such events were
accepted (`purged_until`): whoever delivers one looks for it in the log.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from copy import replace
from dataclasses import dataclass, field
from itertools import batched

from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.countings import read_countings
from meterstone.store.catalogue.records import encode_document
from meterstone.store.catalogue.recounts import drop_reasons, read_recounts
from meterstone.store.catalogue.stamped import TermsSeen, read_customer, read_terms
from meterstone.store.catalogue.stored_format import FIRST_FORMAT
from meterstone.store.catalogue.subscription_puts import put_mentions
from meterstone.store.catalogue.subscriptions import (
    decode_subscription,
    subscriptions_by_external_id,
    subscriptions_of_customer,
)
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST, Key
from meterstone.store.dynamodb.lease import BusyError, Lease, leased
from meterstone.store.dynamodb.table import Action, ConflictError, Item, Row, Table, integer, key_item, text
from meterstone.store.dynamodb.transaction import Needs, TransactionBudget, packed
from meterstone.store.events.log import LoggedEvent, put_action, read_log, readable
from meterstone.store.events.quarantine import list_poison
from meterstone.store.events.uncounted import drop_unreadable, finish, read_unreadable
from meterstone.store.events.unmatched import UnmatchedEvent, read_unmatched
from meterstone.store.operations.import_records import refuse_open_imports
from meterstone.store.operations.purge_records import Names, PurgeRecord, new_secret, read_purges
from meterstone.store.operations.rebuild import SETTLES, Rebuild, RebuildReport, Surroundings
from meterstone.store.operations.replay import KEPT, Replay
from meterstone.usage.arrival import Subject, content
from meterstone.usage.instant import END_OF_TIME, format_instant
from meterstone.usage.meter import Aggregation, Event
from meterstone.usage.pseudonyms import Pseudonyms
from meterstone.usage.subscription import Subscription
from meterstone.usage.terms import Terms, line_item_id

_MOST_SUBSCRIPTIONS = 500
_DELETED_TOGETHER = 500
_SECOND = 1_000_000


@dataclass(slots=True)
class PurgeReport:
    """The result of a purge: the names before and after, and how many events there were under the old ones."""

    names: Names
    events: int = 0
    rebuilt: list[RebuildReport] = field(default_factory=list)


def purge(
    table: Table, organization_id: str, customer_id: str, around: Surroundings, *, dry_run: bool = False
) -> PurgeReport:
    """Purge a customer by its external id, or go on with a purge that was stopped. Raises `BusyError`.

    With ``dry_run`` it looks whether the customer can be purged, counts the events, and changes nothing but the
    lease. The names that it reports are then not those of a later purge.
    """
    with leased(table, organization_id, "purge", around.clock) as lease:
        purging = _Purge(table, organization_id, lease, around)
        return purging.look(customer_id) if dry_run else purging.run(customer_id)


class _Purge:
    """Purges one customer, under a lease."""

    def __init__(self, table: Table, organization_id: str, lease: Lease, around: Surroundings) -> None:
        self._table = table
        self._organization_id = organization_id
        self._lease = lease
        self._around = around

    def look(self, customer_id: str) -> PurgeReport:
        refuse_open_imports(self._table, self._organization_id)
        record = self._record(customer_id) or self._new_record(customer_id)
        events = sum(1 for _ in self._events(record))
        return PurgeReport(record.names, events)

    def run(self, customer_id: str) -> PurgeReport:
        refuse_open_imports(self._table, self._organization_id)
        record = self._record(customer_id)
        if record is None:
            Replay(self._table, self._account(), self._lease, self._around.clock).take_up()
            record = self._new_record(customer_id)
            self._transact([{"Put": {"TableName": self._table.name, "Item": record.item()}}])
        self._lease.change("SET purged_until = :until", {":until": {"N": str(END_OF_TIME)}})
        report = PurgeReport(record.names)
        if not record.swapped:
            # Whoever puts a record without having seen this one is through then.
            self._pass(record.at + SETTLES - self._around.clock())
            if not record.renaming:
                record = self._settle(record)
            self._rename(record)
            # What was under way by the old names is in the log then.
            self._pass(SETTLES)
        purged = [new for _, new in record.names.subjects]
        while True:
            moved = self._move(record)
            report.events += moved
            # One that goes on after a stop may have moved events that no rebuild has counted: it makes one, too.
            if report.rebuilt and not moved:
                break
            rebuilding = Rebuild(self._table, self._organization_id, self._lease, self._around, purged=purged)
            report.rebuilt.append(rebuilding.run())
            self._transact([self._marked(record, "swapped", self._around.clock())])
        self._erase(record)
        self._close(record)
        return report

    def _record(self, customer_id: str) -> PurgeRecord | None:
        """Return the customer's purge that was stopped. Raises `BusyError` if it is another customer's."""
        for record in read_purges(self._table, self._organization_id):
            if record.names.customer[0] == customer_id:
                return record
            raise BusyError(f"the purge of {record.names.customer[0]} was stopped: run it again first")
        return None

    def _new_record(self, customer_id: str) -> PurgeRecord:
        """Make the record of a purge. Raises `BusyError` if the customer cannot be purged now."""
        account = self._account()
        if account.loading_at is not None:
            raise BusyError("the catalogue is being written, or was not to its end: load it again first")
        held = subscriptions_of_customer(self._table, self._organization_id, customer_id, consistent=True)
        if not held and read_customer(self._table, self._organization_id, customer_id).stored is None:
            raise BusyError("the catalogue has no customer of that id")
        self._refuse_use(customer_id, held)
        secret = new_secret()
        names = _names(Pseudonyms(secret), customer_id, held)
        record = PurgeRecord(
            keys.purge(self._organization_id, customer_id), names, secret, self._around.clock()
        )
        for logged in self._events(record):
            if logged.accepted >= record.at - KEPT:
                raise BusyError(
                    f"an event of the customer came in at {format_instant(logged.accepted)}: the stream may still "
                    "deliver it; try again 48 hours after the last one"
                )
        return record

    def _settle(self, record: PurgeRecord) -> PurgeRecord:
        """Begin to rename; or give the purge up, nothing changed, if something was put by who had not seen it."""
        customer_id, _ = record.names.customer
        held = subscriptions_of_customer(self._table, self._organization_id, customer_id, consistent=True)
        try:
            self._refuse_use(customer_id, held)
            self._refuse_other_names(record, held)
        except BusyError:
            self._close(record)
            raise
        now = self._around.clock()
        self._transact([self._marked(record, "renaming", now)])
        return record._replace(renaming=now)

    @staticmethod
    def _refuse_other_names(record: PurgeRecord, held: Iterable[Subscription]) -> None:
        """Raise `BusyError` if the customer has other subscriptions or line items than when the purge began."""
        customer_id, _ = record.names.customer
        if _names(Pseudonyms(record.secret), customer_id, held) != record.names:
            raise BusyError("the customer's subscriptions have just changed: run this again")

    def _refuse_recounts(self, customer_id: str, held: Iterable[Subscription]) -> None:
        """Raise `BusyError` while usage of the customer is counted anew, or what is to be the customer's."""
        concerned = {Subject.customer(customer_id)}
        concerned.update(Subject.subscription(each.external_id) for each in held)
        counted = [
            subscription
            for each in read_recounts(self._table, self._organization_id)
            if each.done_at is None
            for subscription in each.subscriptions
        ]
        for seen in read_countings(self._table, self._organization_id, counted):
            if not concerned.isdisjoint(seen.subjects):
                raise BusyError(
                    f"usage of the subscription {seen.id} is being counted anew: run this again when that is done"
                )

    def _refuse_use(self, customer_id: str, held: list[Subscription]) -> None:
        self._refuse_recounts(customer_id, held)
        now = self._around.clock()
        if len(held) > _MOST_SUBSCRIPTIONS:
            raise BusyError(
                f"the customer has more than {_MOST_SUBSCRIPTIONS} subscriptions: that is not built"
            )
        ids = {each.id for each in held}
        for each in held:
            if each.end is None or each.end > now:
                raise BusyError(f"the subscription {each.id} has not ended: end it first")
            sharing = subscriptions_by_external_id(
                self._table, self._organization_id, each.external_id, consistent=True
            )
            for other in sharing:
                if other.id not in ids:
                    raise BusyError(
                        f"the external id {each.external_id} is also that of {other.id}, of another customer: "
                        "their events stand in one log"
                    )

    def _rename(self, record: PurgeRecord) -> None:
        """Write the catalogue under the new names, and have nobody find the old ones."""
        self._around.progress("renaming the customer")
        names, organization_id = record.names, self._organization_id
        old_customer, new_customer = names.customer
        seen = read_customer(self._table, organization_id, old_customer)
        held = [read_terms(self._table, organization_id, each) for each in names.subscriptions]
        self._lease.renew()
        if seen.stored is not None:
            renamed = replace(seen.stored.value, id=new_customer, name="", details={})
            item = {"doc": {"S": encode_document(renamed)}, "rev": {"N": "1"}, "counted": {"N": "1"}}
            mention = keys.catalogue(organization_id, "customer", new_customer)
            self._table.put(key_item(mention) | {"id": {"S": new_customer}})
            self._table.put(key_item(keys.customer(organization_id, new_customer)) | item)
        removed = [keys.catalogue(organization_id, "customer", old_customer)]
        for found in held:
            if found is None:
                continue
            before = found.stored.value
            put_mentions(self._table, organization_id, [_renamed_terms(before, names)])
            key = keys.subscription(organization_id, names.subscriptions[before.id])
            self._table.put(key_item(key) | _renamed_body(found, names))
            removed.append(keys.catalogue(organization_id, "subscription", before.id))
        subjects = [keys.subject(organization_id, *old) for old, _ in names.subjects]
        for key in subjects:
            rows = self._table.query(key.pk, FIRST, LAST, consistent=True)
            # The customer's record stays until the end, as the documents do.
            removed += [each for each in map(_key_of, rows) if each != key]
        self._table.delete_all(removed)
        # Whoever counts by what was found before is refused. Under the old ids versions begin anew: what was known
        # by them is not any more, long before somebody else may have the ids.
        more = ", ver :one" if self._account().stored_format == FIRST_FORMAT else ""
        self._lease.change(f"ADD purges :one{more}", {":one": {"N": "1"}})
        for key in subjects:
            self._table.update(key, "ADD ver :one", {":one": {"N": "1"}})

    def _move(self, record: PurgeRecord) -> int:
        """Put each event that is not moved yet under its new names. Return how many there were."""
        self._around.progress("moving the event log")
        pseudonyms = Pseudonyms(record.secret, self._account().meters)
        ranks = self._ranks(record)
        moved = 0
        for old, new in record.names.subjects:
            events = (each for each in self._log(old) if "moved" not in each.row)
            together = packed(
                ((each, self._item(each, new, pseudonyms, ranks)) for each in events),
                lambda pair: Needs(2, 2 * len(pair[1]["e"]["S"].encode())),
                lambda: TransactionBudget(beside=1),
            )
            for some in together:
                self._transact([action for each, item in some for action in self._moving(each, item)])
                moved += len(some)
        return moved

    def _item(
        self, logged: LoggedEvent, new: Subject, pseudonyms: Pseudonyms, ranks: dict[tuple[int, str], int]
    ) -> Item:
        """Return the item of an event under its new names.

        It has no time of acceptance and no position: neither the stream nor an import delivers it.
        """
        event = logged.event
        transaction_id = pseudonyms.of("transaction", event.id)
        if ranks:
            # Of two events of one instant, LATEST takes the one whose id is greater.
            rank = ranks.get((event.at, event.id))
            transaction_id = f"{'~' if rank is None else f'{rank:06}'}-{transaction_id}"
        kept: Event = pseudonyms.event(event, transaction_id, withdrawn=logged.withdrawn)
        item = key_item(keys.event(self._organization_id, *new, transaction_id)) | {
            "id": {"S": transaction_id},
            "e": {"S": content(kept)},
        }
        if logged.withdrawn:
            item["w"] = {"N": str(integer(logged.row, "w"))}
        return item

    def _moving(self, logged: LoggedEvent, item: Item) -> Iterator[Action]:
        yield put_action(self._table, item)
        yield {
            "Update": {
                "TableName": self._table.name,
                "Key": key_item(_key_of(logged.row)),
                "UpdateExpression": "SET moved = :at",
                "ConditionExpression": "attribute_exists(pk) AND attribute_not_exists(moved)",
                "ExpressionAttributeValues": {":at": {"N": str(self._around.clock())}},
            }
        }

    def _ranks(self, record: PurgeRecord) -> dict[tuple[int, str], int]:
        """Return the places of events among those of the same instant, in the order of their ids.

        They are needed only if a meter takes the latest event, and only of events that were counted by their old
        ids.
        """
        if not any(meter.aggregation is Aggregation.LATEST for meter in self._account().meters):
            return {}
        by_instant: dict[int, set[str]] = defaultdict(set)
        for logged in self._events(record):
            if logged.accepted <= record.renaming:
                by_instant[logged.event.at].add(logged.event.id)
        return {
            (at, identity): rank
            for at, ids in by_instant.items()
            for rank, identity in enumerate(sorted(ids))
        }

    def _erase(self, record: PurgeRecord) -> None:
        """Delete what has an old name. The generation that is read has none."""
        self._around.progress("deleting what has an old name")
        names, organization_id = record.names, self._organization_id
        profile = self._table.get(keys.organization(organization_id, "profile"), consistent=True) or {}
        for subscription in names.subscriptions:
            for generation in range(1, integer(profile, "gen_last") + 1):
                self._delete(keys.usage(organization_id, str(generation), subscription))
        for old, _ in names.subjects:
            unmatched = self._of_the_purged(old)
            waiting = [each for each in unmatched if not each.done]
            finish(self._table, organization_id, waiting, self._around.clock(), [False] * len(waiting))
            self._table.delete_all(each.key for each in unmatched if each.done)
            ids = [each.id for each in read_unreadable(self._table, organization_id, old)]
            drop_unreadable(self._table, organization_id, old, ids)
        drop_reasons(self._table, organization_id, names.customer[0], names.subscriptions.keys())
        subjects = {old for old, _ in names.subjects}
        self._table.delete_all(
            keys.poison(each.digest)
            for each in list_poison(self._table)
            if _subject_of_record(each.record, organization_id) in subjects
        )
        self._table.delete_all(
            keys.subscription(organization_id, subscription) for subscription in names.subscriptions
        )
        self._table.delete_all(keys.subject(organization_id, *old) for old, _ in names.subjects)
        for old, _ in names.subjects:
            rows = self._table.query(keys.event(organization_id, *old, "").pk, FIRST, LAST, consistent=True)
            # One that cannot be read was withdrawn, and counts nowhere.
            gone = (
                _key_of(row) for row in rows if "moved" in row or ("w" in row and readable(old, row) is None)
            )
            for some in batched(gone, _DELETED_TOGETHER, strict=False):
                self._lease.renew()
                self._table.delete_all(some)

    def _of_the_purged(self, old: Subject) -> list[UnmatchedEvent]:
        """Return the unmatched events under an old name that are not of somebody who came by it since.

        What came in when the last event was moved is not the customer's, and goes on waiting.
        """
        unmatched = list(read_unmatched(self._table, self._organization_id, old))
        logged = [keys.event(self._organization_id, *old, each.event.id) for each in unmatched]
        rows = self._table.batch_get(logged, consistent=True)
        return [
            each
            for each, key in zip(unmatched, logged, strict=True)
            if key not in rows or "moved" in rows[key]
        ]

    def _delete(self, pk: str) -> None:
        rows = self._table.query(pk, FIRST, LAST, consistent=True)
        for some in batched(map(_key_of, rows), _DELETED_TOGETHER, strict=False):
            self._lease.renew()
            self._table.delete_all(some)

    def _events(self, record: PurgeRecord) -> Iterator[LoggedEvent]:
        for old, _ in record.names.subjects:
            yield from self._log(old)

    def _log(self, subject: Subject) -> Iterator[LoggedEvent]:
        for number, each in enumerate(read_log(self._table, self._organization_id, subject)):
            if number % _DELETED_TOGETHER == 0:
                self._lease.renew()
            yield each

    def _close(self, record: PurgeRecord) -> None:
        """Delete the record, and change the profile: what is accepted later is not moved.

        Nor is what was known of the old ids since the names were changed known any more.
        """
        # A rebuild has come after the last event was moved, and takes longer than clocks may differ.
        values: Item = {":one": {"N": "1"}, ":until": {"N": str(self._around.clock())}}
        held = self._lease.action("purged_until = :until ADD purges :one", values)
        self._transact([{"Delete": {"TableName": self._table.name, "Key": key_item(record.key)}}], held)

    def _marked(self, record: PurgeRecord, mark: str, now: int) -> Action:
        return {
            "Update": {
                "TableName": self._table.name,
                "Key": key_item(record.key),
                "UpdateExpression": f"SET {mark} = :now",
                "ConditionExpression": "attribute_exists(pk)",
                "ExpressionAttributeValues": {":now": {"N": str(now)}},
            }
        }

    def _transact(self, actions: Iterable[Action], held: Action | None = None) -> None:
        """Write under the lease, which ``held`` may change the profile with. Raises `BusyError` if it is lost."""
        try:
            self._table.transact([held or self._lease.action(), *actions])
        except ConflictError as error:
            raise BusyError("another command took over: look what it does, and run this one again") from error

    def _pass(self, microseconds: int) -> None:
        until = self._around.clock() + microseconds
        while (rest := until - self._around.clock()) > 0:
            self._around.sleep(min(rest / _SECOND, 20))
            self._lease.renew()

    def _account(self) -> Account:
        account = read_account(self._table, self._organization_id, consistent=True)
        if account is None:
            raise BusyError("the organization has no catalogue")
        return account


def _names(pseudonyms: Pseudonyms, customer_id: str, held: Iterable[Subscription]) -> Names:
    subscriptions = sorted(held, key=lambda each: each.id)

    def ordered(kind: str, ids: Iterable[str]) -> dict[str, str]:
        # Line items of one meter are told in the order of their ids.
        return {each: f"p{rank:04}-{pseudonyms.of(kind, each)}" for rank, each in enumerate(sorted(set(ids)))}

    return Names(
        (customer_id, f"p-{pseudonyms.of('customer', customer_id)}"),
        ordered("subscription", (each.id for each in subscriptions)),
        ordered("external id", (each.external_id for each in subscriptions)),
        ordered("line item", (item.id for each in subscriptions for item in each.line_items)),
    )


def _renamed_terms(terms: Terms, names: Names) -> Terms:
    items = tuple(
        replace(each, id=names.line_items[each.id or line_item_id(terms.id, each.price)])
        for each in terms.line_items
    )
    return replace(
        terms,
        id=names.subscriptions[terms.id],
        external_id=names.external_ids[terms.events_by],
        customer_id=names.customer[1],
        line_items=items,
        name="",
        details={},
    )


def _renamed_body(seen: TermsSeen, names: Names) -> Item:
    """Return what a subscription's item holds under the new names, in the form that it has."""
    stamp: Item = {"rev": {"N": "1"}}
    if not seen.of_before:
        return stamp | {"terms": {"S": encode_document(_renamed_terms(seen.stored.value, names))}}
    before = decode_subscription(text(seen.row, "doc"))
    items = tuple(replace(each, id=names.line_items[each.id]) for each in before.line_items)
    renamed = replace(
        before,
        id=names.subscriptions[before.id],
        external_id=names.external_ids[before.external_id],
        customer_id=names.customer[1],
        line_items=items,
    )
    return {"doc": {"S": encode_document(renamed)}}


def _subject_of_record(record: str, organization_id: str) -> Subject | None:
    """Return whose event a quarantined record has, if it can be told."""
    try:
        image = json.loads(record)["dynamodb"]["NewImage"]
        if image["org"]["S"] != organization_id:
            return None
        return Subject(image["k"]["S"], image["x"]["S"])
    except (KeyError, TypeError, ValueError):
        return None


def _key_of(row: Row) -> Key:
    return Key(text(row, "pk"), text(row, "sk"))

"""The backend over DynamoDB: the real table in AWS, or an embedded engine's."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from meterstone import clock
from meterstone.contracts import lago_find
from meterstone.pricing.price import Price
from meterstone.store.catalogue import api_keys
from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.subscriptions import read_subscriptions
from meterstone.store.counting.reading import CatalogueChangedError
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import StoreUnavailableError, Table, WriteRefusedError
from meterstone.store.events.lookup import AmbiguousEventError, EventStore, TooManySubjectsError
from meterstone.store.events.quarantine import list_poison
from meterstone.store.events.uncounted import PARTLY, read_numbers, read_unreadable, why
from meterstone.store.events.unmatched import list_unmatched
from meterstone.store.operations import import_records
from meterstone.store.operations import load as admin
from meterstone.store.operations.generations import Generations
from meterstone.store.operations.import_records import Records
from meterstone.store.operations.imports import Importer, Source, SourceLine, close_import
from meterstone.store.operations.rebuild import RebuildReport, Surroundings, abandon, make_way, rebuild
from meterstone.store.operations.replay import replay
from meterstone.store.operations.withdraw import withdraw
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import SECOND
from meterstone.usage.receipt import Reason
from meterstone.usage.subscription import Customer, Subscription
from meterstone_cli.backend import (
    BackendBusyError,
    BackendUnavailableError,
    ClosedImport,
    Difference,
    ImportRecord,
    ImportReport,
    ImportState,
    KeyRecord,
    NewKey,
    PoisonRecord,
    Rebuilt,
    Refuse,
    Replayed,
    Tell,
    UncountedEvent,
    UncountedNumbers,
    Withdrawn,
)
from meterstone_cli.catalogue.catalogue import Catalogue, Plan
from meterstone_cli.files.usage_files import UsageEvent

#: By how much clocks may differ; whatever waits for all clocks to have passed an instant waits for longer.
_CLOCKS_DIFFER = 20 * SECOND


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn what the table's service says into one line for a person."""
    try:
        yield
    except BusyError as error:
        raise BackendBusyError(str(error)) from error
    except CatalogueChangedError as error:
        raise BackendBusyError(f"{error}: run this again") from error
    except StoreUnavailableError as error:
        # That there are no credentials, or which address does not answer, is said by the client alone.
        reason = error.__cause__ if isinstance(error.__cause__, BotoCoreError) else error
        raise BackendUnavailableError(f"the table does not answer: {reason}") from error
    except WriteRefusedError as error:
        raise BackendUnavailableError(f"the table would not take it: {error}") from error
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            raise BackendUnavailableError(
                "there is no table of that name here: say which with --table or TABLE_NAME, or `table create` it"
            ) from error
        raise BackendUnavailableError(str(error)) from error
    except BotoCoreError as error:
        raise BackendUnavailableError(str(error)) from error


class DynamoDB:
    """A `Backend` over one table."""

    def __init__(self, table: Table, around: Surroundings | None = None) -> None:
        """Work on a table; ``around`` is by whose clock to recover, and how to wait."""
        self.table = table
        self._around = around or Surroundings()

    @_one_line_errors()
    def create_table(self) -> bool:
        """Make the table; False if it is there already."""
        return admin.create_table(self.table)

    @_one_line_errors()
    def has_catalogue(self, organization_id: str) -> bool:
        """Return whether a catalogue of the organization is stored."""
        return read_account(self.table, organization_id, consistent=True) is not None

    @_one_line_errors()
    def organization_catalogue(self, organization_id: str) -> Catalogue | None:
        """Return the stored catalogue, None if the organization has none."""
        account = read_account(self.table, organization_id, consistent=True)
        if account is None:
            return None
        entries = admin.read_entries(self.table, organization_id)
        subscriptions = read_subscriptions(
            self.table, organization_id, entries.get("subscription", {}), consistent=True
        )
        return Catalogue(
            account.organization,
            customers=_decoded(entries, "customer", Customer),
            plans=_decoded(entries, "plan", Plan),
            meters=tuple(sorted(account.meters, key=lambda meter: meter.id)),
            prices=_decoded(entries, "price", Price),
            subscriptions=tuple(sorted(subscriptions, key=lambda subscription: subscription.id)),
        )

    @_one_line_errors()
    def half_written(self, organization_id: str) -> bool:
        """Return whether a catalogue was not written to its end: the same one must be written again."""
        account = read_account(self.table, organization_id, consistent=True)
        return account is not None and account.loading_at is not None

    @_one_line_errors()
    def outdated(self, organization_id: str) -> bool:
        """Return whether usage was counted by older rules than those of this code."""
        account = read_account(self.table, organization_id, consistent=True)
        return account is not None and account.outdated

    @_one_line_errors()
    def write_catalogue(self, catalogue: Catalogue) -> None:
        """Store a catalogue that was compared with the stored one, adding and replacing."""
        self._refuse_a_wrong_clock()
        account = read_account(self.table, catalogue.organization.id, consistent=True)
        if account is not None and account.next is not None:
            # It does not come back to the events that it has counted by the catalogue as it was.
            raise BackendBusyError(
                "a rebuild is running, or was stopped: load when it is through, or given up"
            )
        entries: list[tuple[str, str, object]] = [("customer", each.id, each) for each in catalogue.customers]
        entries += [("plan", plan.code, plan) for plan in catalogue.plans]
        entries += [("price", price.id, price) for price in catalogue.prices]
        admin.write_catalogue(
            self.table, catalogue.organization, catalogue.meters, catalogue.subscriptions, entries
        )

    @_one_line_errors()
    def has_usage(self, organization_id: str, subscription_id: str) -> bool:
        """Return whether any usage was counted for a subscription."""
        account = self._account(organization_id)
        return admin.has_usage(self.table, organization_id, account.generation, subscription_id)

    @_one_line_errors()
    def with_events(self, organization_id: str, subscriptions: Sequence[Subscription]) -> set[str]:
        """Return the ids of those subscriptions of which, or of whose customers, events have come in."""
        subjects = {each.id: _subjects(each) for each in subscriptions}
        asked = {subject for several in subjects.values() for subject in several}
        logged = admin.have_events(self.table, organization_id, asked)
        return {each for each, several in subjects.items() if not logged.isdisjoint(several)}

    @_one_line_errors()
    def import_events(
        self,
        organization_id: str,
        source: tuple[str, str],
        events: Iterable[tuple[int, UsageEvent]],
        *,
        now: int,
        refuse: Refuse,
    ) -> ImportReport:
        """Count events, each at most once for ever, and publish the rollups up to `now`."""
        self._refuse_a_wrong_clock()
        importer = Importer(self.table, self._account(organization_id))
        refused = 0

        def refused_one(line: int, given: SourceLine, reason: str) -> None:
            nonlocal refused
            refused += 1
            external_id = given.subject.external_id
            by_subscription = given.subject.kind == "s"
            event = UsageEvent(
                external_id if by_subscription else None,
                None if by_subscription else external_id,
                given.event,
            )
            refuse(line, event, reason)

        report = importer.run(Source(*source), _given(events), now, refused_one)
        return ImportReport(
            taken=report.counted + report.counts.nowhere.total(),
            counted=report.counted,
            unmatched=report.unmatched,
            duplicates=report.duplicates,
            refused=refused,
            uncounted=Counter(reason for _, reason in report.uncounted),
            nowhere=report.counts.nowhere + report.refused,
            rows=report.counts.first,
            already_imported=report.finished_before,
        )

    @_one_line_errors()
    def imports(self, organization_id: str) -> Sequence[ImportRecord]:
        """List the imports, in the order in which they were last run."""
        return [_import(each) for each in Records.read(self.table, organization_id).all]

    @_one_line_errors()
    def close_import(self, organization_id: str, source: tuple[str, str]) -> ClosedImport | None:
        """Count what an import has logged, and be done with it; None if it was read to its end."""
        self._refuse_a_wrong_clock()
        closed = close_import(self.table, organization_id, Source(*source), clock.now())
        if closed is None:
            return None
        counts = closed.counts
        reasons = Counter(reason for _, reason in counts.uncounted)
        return ClosedImport(closed.record.taken, counts.counted, counts.unmatched, reasons)

    @_one_line_errors()
    def create_key(self, organization_id: str, name: str) -> NewKey:
        """Make an API key of an organization."""
        key, key_id = api_keys.create_key(self.table, organization_id, name, clock.now())
        return NewKey(key, key_id)

    @_one_line_errors()
    def list_keys(self) -> Sequence[KeyRecord]:
        """Return all keys, revoked ones among them."""
        return [
            KeyRecord(key.id, key.organization_id, key.name, key.created_at, key.revoked_at)
            for key in api_keys.list_keys(self.table)
        ]

    @_one_line_errors()
    def revoke_key(self, key_id: str) -> bool:
        """Revoke a key; False if there is no such key."""
        return api_keys.revoke_key(self.table, key_id, clock.now())

    def uncounted(self, organization_id: str) -> Iterator[UncountedEvent]:
        """List the events that do not count, or not for a meter of a line item: first those that wait."""
        with _one_line_errors():
            for each in list_unmatched(self.table, organization_id):
                whose = _whose(each.subject)
                yield UncountedEvent(
                    each.event.id, *whose, each.event.name, each.event.at, each.since, why(each.row)
                )
            for found in read_unreadable(self.table, organization_id):
                yield UncountedEvent(
                    found.id,
                    *_whose(found.subject),
                    found.code,
                    found.at,
                    found.since,
                    Reason.VALUE,
                    [
                        {"meter": fault.meter, "property": fault.field, "why": fault.reason}
                        for fault in found.faults
                    ],
                    found.elsewhere,
                )

    @_one_line_errors()
    def uncounted_numbers(self, organization_id: str) -> UncountedNumbers:
        """Return how many events do not count, by reason, and which meters nothing prices now."""
        account = read_account(self.table, organization_id, consistent=True)
        live = "0" if account is None else account.generation
        numbers = read_numbers(self.table, organization_id, live)
        now = clock.now()
        meters = () if account is None else account.meters
        used = {
            meter.id: meter.code for meter in meters if meter.deleted_at is None or now < meter.deleted_at
        }
        for subscription in Generations(self.table, organization_id).subscriptions():
            for item in subscription.line_items:
                if item.meter is not None and subscription.counted(item).holds(now):
                    used.pop(item.meter.id, None)
        partly = numbers.pop(PARTLY)
        return UncountedNumbers(numbers, partly, sorted(used.values()))

    @_one_line_errors()
    def find_event(
        self, organization_id: str, identity: str, whose: tuple[str, str] | None
    ) -> Mapping[str, Any] | None:
        """Return an event with what became of it, as the API answers it; None if there is none of that id."""
        account = self._account(organization_id)
        try:
            subject = None if whose is None else Subject(*whose)
            found = EventStore(self.table).find(account, [identity], subject)
        except (TooManySubjectsError, AmbiguousEventError) as error:
            raise BackendBusyError("say whose event it is: --subscription or --customer") from error
        if found is None:
            return None
        event: Mapping[str, Any] = json.loads(lago_find.answer(organization_id, found).body)["event"]
        return event

    @_one_line_errors()
    def poison(self) -> Sequence[PoisonRecord]:
        """List the stream's records that could not be read, and those of events that the table would not take."""
        return [
            PoisonRecord(each.digest, each.reason, each.since, each.record)
            for each in list_poison(self.table)
        ]

    @_one_line_errors()
    def replay(self, organization_id: str) -> Replayed:
        """Count the events that a line item is for by now."""
        self._refuse_a_wrong_clock()
        report = replay(self.table, organization_id, self._around.clock)
        reasons = Counter(reason for _, reason in report.uncounted)
        return Replayed(report.counted, report.withdrawn, report.waiting, reasons)

    @_one_line_errors()
    def make_way(self, organization_id: str, tell: Tell) -> None:
        """See that a replay and a rebuild can be run; a rebuild that was stopped is given up."""
        self._refuse_a_wrong_clock()
        if read_account(self.table, organization_id, consistent=True) is not None:
            make_way(self.table, organization_id, self._telling(tell))

    @_one_line_errors()
    def rebuild(self, organization_id: str, tell: Tell, *, swap: bool) -> Rebuilt:
        """Count all events anew, compare, and swap if it is wanted."""
        self._refuse_a_wrong_clock()
        return _rebuilt(rebuild(self.table, organization_id, self._telling(tell), swap=swap))

    @_one_line_errors()
    def abandon_rebuild(self, organization_id: str, tell: Tell) -> None:
        """Give up a rebuild that was stopped."""
        abandon(self.table, organization_id, self._telling(tell))

    @_one_line_errors()
    def withdraw(
        self, organization_id: str, whose: tuple[str, str], ids: Sequence[str], tell: Tell, *, rebuild: bool
    ) -> Withdrawn:
        """Withdraw events of `whose`: `s` or `c`, and the subscription's or customer's id."""
        self._refuse_a_wrong_clock()
        around = self._telling(tell)
        report = withdraw(self.table, organization_id, Subject(*whose), ids, around, rebuild=rebuild)
        rebuilt = None if report.rebuilt is None else _rebuilt(report.rebuilt)
        return Withdrawn(report.withdrawn, report.before, report.unknown, rebuilt)

    def _telling(self, tell: Tell) -> Surroundings:
        return replace(self._around, progress=tell)

    def _refuse_a_wrong_clock(self) -> None:
        """Raise `BackendBusyError` unless this machine's clock is the table's.

        Which events a rebuild counts, and which days have begun, is told by the time of day.
        """
        before, served, after = clock.now(), self.table.service_time(), clock.now()
        if served is None:
            return
        # The service tells the second that has begun.
        ahead = before - (served + SECOND) if before > served + SECOND else min(after - served, 0)
        if abs(ahead) > _CLOCKS_DIFFER:
            which = "ahead of" if ahead > 0 else "behind"
            raise BackendBusyError(
                f"this machine's clock is {abs(ahead) // SECOND} seconds {which} the table's: set it right first"
            )

    def _account(self, organization_id: str) -> Account:
        account = read_account(self.table, organization_id, consistent=True)
        if account is None:
            raise BackendBusyError(f"the organization {organization_id} has no catalogue: load one first")
        return account


def _import(record: import_records.ImportRecord) -> ImportRecord:
    source = record.source.name, record.source.digest
    if record.open:
        return ImportRecord(source, record.at, record.line, ImportState.OPEN)
    if record.done:
        return ImportRecord(source, record.at, record.line, ImportState.FINISHED)
    return ImportRecord(source, record.at, record.taken, ImportState.CLOSED)


def _subjects(subscription: Subscription) -> tuple[Subject, Subject]:
    return Subject.subscription(subscription.external_id), Subject.customer(subscription.customer_id)


def _whose(subject: Subject) -> tuple[str | None, str | None]:
    """Return the external ids of a subject's subscription and of its customer, one of which is None."""
    is_subscription = subject.kind == "s"
    return subject.external_id if is_subscription else None, None if is_subscription else subject.external_id


def _rebuilt(report: RebuildReport) -> Rebuilt:
    return Rebuilt(report.events, [Difference(*each) for each in report.differences], report.swapped)


def _decoded[T](entries: dict[str, dict[str, str]], kind: str, value: type[T]) -> tuple[T, ...]:
    decoder = msgspec.json.Decoder(value)
    found = entries.get(kind, {})
    return tuple(decoder.decode(found[name]) for name in sorted(found))


def _given(events: Iterable[tuple[int, UsageEvent]]) -> Iterator[SourceLine]:
    for line, event in events:
        if event.subscription is not None:
            yield SourceLine(line, Subject.subscription(event.subscription), event.event)
        elif event.customer is not None:
            yield SourceLine(line, Subject.customer(event.customer), event.event)

"""A backend that keeps everything in memory."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meterstone.usage.instant import format_instant
from meterstone.usage.subscription import Subscription
from meterstone_cli.backend import (
    BackendBusyError,
    BackendUnavailableError,
    ClosedImport,
    Difference,
    ImportRecord,
    ImportReport,
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
from meterstone_cli.catalogue import Catalogue
from meterstone_cli.files.usage_files import UsageEvent


class FakeBackend:
    """Counts events by their ids and prices nothing."""

    def __init__(self) -> None:
        self.made = False
        self.down = False
        self.written = 0
        self.catalogues: dict[str, Catalogue] = {}
        self.events: dict[tuple[str, str | None, str], UsageEvent] = {}
        #: Organizations whose catalogue was not written to its end.
        self.stopped: set[str] = set()
        #: Those of which usage was counted by older rules.
        self.old: set[str] = set()
        self.imported: set[tuple[str, tuple[str, str]]] = set()
        #: Of the events of the next import, how many no line item is for, and why others are not counted.
        self.strangers = 0
        self.unusable: dict[str, int] = {}
        #: The ids of its events that no meter can read, each with the number 1.
        self.unreadable: dict[str, int] = {}
        self.keys: dict[str, KeyRecord] = {}
        #: Why a recovery is refused, if it is.
        self.busy = ""
        #: The events that are found, by id and whose they are.
        self.found: dict[tuple[str, tuple[str, str] | None], Mapping[str, Any]] = {}
        self.numbers = UncountedNumbers({}, 0, ())
        self.put_by: list[UncountedEvent] = []
        self.quarantine: list[PoisonRecord] = []
        self.differences: list[Difference] = []
        self.withdrawn: list[str] = []
        self.abandoned = 0
        #: What was done of which the order matters.
        self.calls: list[str] = []
        self.records: list[ImportRecord] = []
        #: By source, what closing it comes to.
        self.closings: dict[tuple[str, str], ClosedImport] = {}

    def _check(self) -> None:
        if self.down:
            raise BackendUnavailableError("the table does not answer")
        if self.busy:
            raise BackendBusyError(self.busy)

    def create_table(self) -> bool:
        self._check()
        made, self.made = self.made, True
        return not made

    def has_catalogue(self, organization_id: str) -> bool:
        self._check()
        return organization_id in self.catalogues

    def organization_catalogue(self, organization_id: str) -> Catalogue | None:
        self._check()
        return self.catalogues.get(organization_id)

    def half_written(self, organization_id: str) -> bool:
        self._check()
        return organization_id in self.stopped

    def outdated(self, organization_id: str) -> bool:
        self._check()
        return organization_id in self.old

    def write_catalogue(self, catalogue: Catalogue) -> None:
        self.written += 1
        self.calls.append("write")
        self.catalogues[catalogue.organization.id] = catalogue

    def has_usage(self, organization_id: str, subscription_id: str) -> bool:
        external = {each.id: each.external_id for each in self.catalogues[organization_id].subscriptions}
        return any(key[:2] == (organization_id, external[subscription_id]) for key in self.events)

    def with_events(self, organization_id: str, subscriptions: Sequence[Subscription]) -> set[str]:
        logged = {external for organization, external, _ in self.events if organization == organization_id}
        return {each.id for each in subscriptions if each.external_id in logged}

    def import_events(
        self,
        organization_id: str,
        source: tuple[str, str],
        events: Iterable[tuple[int, UsageEvent]],
        *,
        now: int,
        refuse: Refuse,
    ) -> ImportReport:
        if (organization_id, source) in self.imported:
            return ImportReport(already_imported=True)
        known = {each.external_id for each in self.catalogues[organization_id].subscriptions}
        told: Counter[str] = Counter()
        for line, usage in events:
            key = organization_id, usage.subscription, usage.event.id
            if usage.subscription not in known:
                refuse(line, usage, f"there is no subscription {usage.subscription!r}")
                told["refused"] += 1
            elif key not in self.events:
                self.events[key] = usage
                told["counted"] += 1
            elif self.events[key] == usage:
                told["duplicates"] += 1
            else:
                refuse(line, usage, "another event has this transaction id")
                told["refused"] += 1
        self.imported.add((organization_id, source))
        unmatched, uncounted = self.strangers, self.unusable
        counted = told["counted"] - unmatched - sum(self.unreadable.values())
        nowhere = {"line_item": unmatched} if unmatched else {}
        rows = [(1, ident, "value", "meter m: no value") for ident in self.unreadable]
        return ImportReport(
            told["counted"],
            counted,
            unmatched,
            told["duplicates"],
            told["refused"],
            uncounted,
            nowhere | ({"value": len(rows)} if rows else {}),
            rows,
        )

    def imports(self, organization_id: str) -> Sequence[ImportRecord]:
        self._check()
        return self.records

    def close_import(self, organization_id: str, source: tuple[str, str]) -> ClosedImport | None:
        self._check()
        return self.closings.get(source)

    def create_key(self, organization_id: str, name: str) -> NewKey:
        self._check()
        identity = f"key{len(self.keys) + 1}"
        self.keys[identity] = KeyRecord(identity, organization_id, name, 0)
        return NewKey(f"secret of {identity}", identity)

    def list_keys(self) -> Sequence[KeyRecord]:
        self._check()
        return list(self.keys.values())

    def revoke_key(self, key_id: str) -> bool:
        self._check()
        if key_id not in self.keys:
            return False
        old = self.keys[key_id]
        self.keys[key_id] = KeyRecord(old.id, old.organization_id, old.name, old.created_at, 1_000_000)
        return True

    def uncounted(self, organization_id: str) -> Sequence[UncountedEvent]:
        self._check()
        return self.put_by

    def find_event(
        self, organization_id: str, identity: str, whose: tuple[str, str] | None
    ) -> Mapping[str, Any] | None:
        self._check()
        return self.found.get((identity, whose))

    def uncounted_numbers(self, organization_id: str) -> UncountedNumbers:
        self._check()
        return self.numbers

    def poison(self) -> Sequence[PoisonRecord]:
        self._check()
        return self.quarantine

    def replay(self, organization_id: str) -> Replayed:
        self._check()
        self.calls.append("replay")
        return Replayed(3, 1, len(self.put_by), {"meter m: no value": 2})

    def make_way(self, organization_id: str, tell: Tell) -> None:
        self._check()
        self.calls.append("make way")

    def rebuild(self, organization_id: str, tell: Tell, *, swap: bool) -> Rebuilt:
        self._check()
        self.calls.append("rebuild")
        tell("counting the event log")
        return Rebuilt(7, self.differences, swap)

    def abandon_rebuild(self, organization_id: str, tell: Tell) -> None:
        self._check()
        self.abandoned += 1

    def withdraw(
        self, organization_id: str, whose: tuple[str, str], ids: Sequence[str], tell: Tell, *, rebuild: bool
    ) -> Withdrawn:
        self._check()
        unknown = [each for each in ids if each.startswith("no")]
        now = [each for each in ids if each not in unknown and each not in self.withdrawn]
        before = [each for each in ids if each in self.withdrawn]
        self.withdrawn += now
        rebuilt = self.rebuild(organization_id, tell, swap=True) if rebuild and (now or before) else None
        return Withdrawn(now, before, unknown, rebuilt)


def shown(usage: UsageEvent) -> tuple[str | None, str, str]:
    """Name an event shortly."""
    return usage.subscription, usage.event.id, format_instant(usage.event.at)

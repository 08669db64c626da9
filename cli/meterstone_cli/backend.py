"""What the commands need of a store. They know no more of it than this."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from meterstone.usage.subscription import Subscription
from meterstone_cli.catalogue.catalogue import Catalogue
from meterstone_cli.files.usage_files import UsageEvent

#: Is told of a row that the store does not take: its line, its event, and why.
type Refuse = Callable[[int, UsageEvent, str], None]


class BackendUnavailableError(Exception):
    """The store does not answer, or the table is not there; the message is one line for a person."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of the events of one source.

    ``taken`` were new. Of these ``counted`` count somewhere, and ``unmatched`` wait for a line item.
    ``duplicates`` were there already, the same in every way. ``refused`` were told to `Refuse`: another event has
    the transaction id, or no subscription holds the timestamp. ``uncounted`` says how many new events a meter
    could not read, by what it says of them. ``nowhere`` says by reason how many events, taken or refused, count
    nowhere, and ``rows`` names the first that were taken: line, id, reason, and which meter cannot read it.
    ``already_imported`` means that the whole source was imported before, so that none of its events were read.
    """

    taken: int = 0
    counted: int = 0
    unmatched: int = 0
    duplicates: int = 0
    refused: int = 0
    uncounted: Mapping[str, int] = field(default_factory=dict)
    nowhere: Mapping[str, int] = field(default_factory=dict)
    rows: Sequence[tuple[int, str, str, str]] = ()
    already_imported: bool = False


class ImportState(StrEnum):
    """How an import stands: it is running or was stopped, was read to its end, or was closed."""

    OPEN = "open"
    FINISHED = "finished"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ImportRecord:
    """How far an import has come.

    ``source`` is its name and SHA-256. ``began`` is when it was last run, in microseconds. Up to ``line``
    everything is counted; of one that was closed, it is the last line that was taken.
    """

    source: tuple[str, str]
    began: int
    line: int
    state: ImportState


@dataclass(frozen=True, slots=True)
class ClosedImport:
    """The events that an import had logged after its record's line, and the last ``line`` of them.

    ``unmatched`` is how many no line item is for yet, and ``counted`` how many count. ``uncounted`` says how many
    of these a meter could not use, by reason.
    """

    line: int
    counted: int
    unmatched: int
    uncounted: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewKey:
    """An API key as it is shown once; only its SHA-256 is stored."""

    key: str
    id: str


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is known of an API key. Instants are microseconds since the epoch."""

    id: str
    organization_id: str
    name: str
    created_at: int
    revoked_at: int | None = None


class BackendBusyError(Exception):
    """Something else must be done first, or be over; the message is one line for a person."""


@dataclass(frozen=True, slots=True)
class UncountedEvent:
    """An event that does not count, or not for a meter of a line item, and the ``reason`` of it.

    ``time`` and ``since``, when it was accepted, are microseconds. ``meters`` has, of each meter that cannot read
    it, the code, the property and why. ``counts`` tells that another meter counts it.
    """

    id: str
    subscription: str | None
    customer: str | None
    code: str
    time: int
    since: int
    reason: str
    meters: Sequence[Mapping[str, str | None]] = ()
    counts: bool = False


@dataclass(frozen=True, slots=True)
class UncountedNumbers:
    """How many events do not count, by reason; see `UncountedEvent`.

    ``partly`` is how many of them another meter counts. ``unpriced`` names the codes of meters that no line item
    of a subscription prices now.
    """

    by_reason: Mapping[str, int]
    partly: int
    unpriced: Sequence[str]


@dataclass(frozen=True, slots=True)
class PoisonRecord:
    """A quarantined record of the stream, as JSON; the reason, and since when (microseconds)."""

    id: str
    reason: str
    since: int
    record: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of the events that no line item was for; ``uncounted`` has reasons with their numbers."""

    counted: int
    withdrawn: int
    waiting: int
    uncounted: Mapping[str, int] = field(default_factory=dict)


class Difference(NamedTuple):
    """A value that a rebuild has found to differ; before or after is empty where there is none.

    It is a subscription's, or that of a ``group`` of all customers, such as `plan pro`.
    """

    group: str
    customer: str
    subscription: str
    line_item: str
    metric: str
    day: str
    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild counted, and every value that differed, in an order that is always the same."""

    events: int
    differences: Sequence[Difference]
    swapped: bool


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """What became of transaction ids: withdrawn now, withdrawn before, or not in the log."""

    now: Sequence[str]
    before: Sequence[str]
    unknown: Sequence[str]
    rebuilt: Rebuilt | None = None


#: Is told how far a long step has come.
type Tell = Callable[[str], None]


class Backend(Protocol):
    """A store of catalogues, usage and keys. Every method raises `BackendUnavailableError`."""

    def create_table(self) -> bool:
        """Make the table; False if it is there already."""

    def has_catalogue(self, organization_id: str) -> bool:
        """Return whether a catalogue of the organization is stored."""

    def organization_catalogue(self, organization_id: str) -> Catalogue | None:
        """Return the stored catalogue, None if the organization has none."""

    def half_written(self, organization_id: str) -> bool:
        """Return whether a catalogue was not written to its end: the same one must be written again."""

    def outdated(self, organization_id: str) -> bool:
        """Return whether usage was counted by older rules than those of this code."""

    def write_catalogue(self, catalogue: Catalogue) -> None:
        """Store a catalogue that was compared with the stored one, adding and replacing."""

    def has_usage(self, organization_id: str, subscription_id: str) -> bool:
        """Return whether any usage was counted for a subscription."""

    def with_events(self, organization_id: str, subscriptions: Sequence[Subscription]) -> AbstractSet[str]:
        """Return the ids of those subscriptions of which, or of whose customers, events have come in."""

    def import_events(
        self,
        organization_id: str,
        source: tuple[str, str],
        events: Iterable[tuple[int, UsageEvent]],
        *,
        now: int,
        refuse: Refuse,
    ) -> ImportReport:
        """Count events, each at most once for ever, and publish the rollups up to `now`.

        `source` is the name and SHA-256 of what the events come from: one that was imported to its end is not
        read again. Events come with their line. May be stopped at any point and run again. What reading the
        events raises passes through, and the source then counts as not imported.
        """

    def imports(self, organization_id: str) -> Sequence[ImportRecord]:
        """List the imports, in the order in which they were last run."""

    def close_import(self, organization_id: str, source: tuple[str, str]) -> ClosedImport | None:
        """Count what an import has logged, and be done with it; None if it was read to its end.

        Raises `BackendBusyError`. May be stopped at any point and done again.
        """

    def create_key(self, organization_id: str, name: str) -> NewKey:
        """Make an API key of an organization."""

    def list_keys(self) -> Sequence[KeyRecord]:
        """Return all keys, revoked ones among them."""

    def revoke_key(self, key_id: str) -> bool:
        """Revoke a key; False if there is no such key."""

    def uncounted(self, organization_id: str) -> Iterable[UncountedEvent]:
        """List the events that do not count, or not for a meter of a line item: first those that wait."""

    def uncounted_numbers(self, organization_id: str) -> UncountedNumbers:
        """Return how many events do not count, by reason."""

    def find_event(
        self, organization_id: str, identity: str, whose: tuple[str, str] | None
    ) -> Mapping[str, Any] | None:
        """Return an event with what became of it, as the API answers it; None if there is none of that id.

        ``whose`` is `s` or `c` and an external id. Raises `BackendBusyError` if it must be said whose event it is.
        """

    def poison(self) -> Iterable[PoisonRecord]:
        """List the stream's records that could not be read, and those of events that the table would not take."""

    def replay(self, organization_id: str) -> Replayed:
        """Count the events that a line item is for by now. Raises `BackendBusyError`."""

    def make_way(self, organization_id: str, tell: Tell) -> None:
        """See that a replay and a rebuild can be run; a rebuild that was stopped is given up.

        Raises `BackendBusyError`. Of an organization without a catalogue, nothing is in the way.
        """

    def rebuild(self, organization_id: str, tell: Tell, *, swap: bool) -> Rebuilt:
        """Count all events anew, compare, and swap if it is wanted. Raises `BackendBusyError`."""

    def abandon_rebuild(self, organization_id: str, tell: Tell) -> None:
        """Give up a rebuild that was stopped. Raises `BackendBusyError`."""

    def withdraw(
        self, organization_id: str, whose: tuple[str, str], ids: Sequence[str], tell: Tell, *, rebuild: bool
    ) -> Withdrawn:
        """Withdraw events of `whose`: `s` or `c`, and a subscription's or customer's id.

        Raises `BackendBusyError`.
        """


def demand_catalogue(backend: Backend, organization_id: str) -> None:
    """Raise `BackendBusyError` if the organization has no catalogue: its id may be mistyped."""
    if not backend.has_catalogue(organization_id):
        raise BackendBusyError(f"the organization {organization_id} has no catalogue: load one first")

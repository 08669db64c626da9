"""What the commands need of a store. They know no more of it than this."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from meterstone_cli.catalogue.catalogue import Catalogue
from meterstone_cli.usage_files import UsageEvent

#: Is told of a row that the store does not take: its line, its event, and why.
type Refuse = Callable[[int, UsageEvent, str], None]


class BackendUnavailable(Exception):  # noqa: N818 - it says what the store is
    """The store does not answer, or the table is not there; the message is one line for a person."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of the events of one source.

    ``counted`` were new. ``duplicates`` were there already, the same in every way. ``refused`` were told to
    `Refuse`: another event has the transaction id, or no subscription holds the timestamp. ``uncounted`` says
    how many of the counted events a meter could not use, or none is for, by reason. ``already_imported`` means
    that the whole source was imported before, so that none of its events were read.
    """

    counted: int = 0
    duplicates: int = 0
    refused: int = 0
    uncounted: Mapping[str, int] = field(default_factory=dict)
    already_imported: bool = False


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


class Backend(Protocol):
    """A store of catalogues, usage and keys. Every method raises `BackendUnavailable`."""

    def create_table(self) -> bool:
        """Make the table; False if it is there already."""

    def organization_catalogue(self, organization_id: str) -> Catalogue | None:
        """Give the stored catalogue, None if the organization has none."""

    def write_catalogue(self, catalogue: Catalogue) -> None:
        """Store a catalogue that was compared with the stored one, adding and replacing."""

    def has_usage(self, organization_id: str, subscription_id: str) -> bool:
        """Tell whether any usage was counted for a subscription."""

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

    def create_key(self, organization_id: str, name: str) -> NewKey:
        """Make an API key of an organization."""

    def list_keys(self) -> Sequence[KeyRecord]:
        """Give all keys, revoked ones among them."""

    def revoke_key(self, key_id: str) -> bool:
        """Revoke a key; False if there is no such key."""

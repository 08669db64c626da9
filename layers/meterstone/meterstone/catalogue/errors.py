"""What a change of the catalogue ends in: the record as it is stored, or the reason why it was not changed."""

from collections.abc import Iterable
from typing import NamedTuple

from meterstone.store.catalogue.recounts import Recount
from meterstone.store.catalogue.stamped import Stored
from meterstone.usage.instant import format_instant


class Put[T](NamedTuple):
    """The record as it is stored now, and whether this call has made it, or changed it.

    ``recount``: what is counted anew because of it, if anything is.
    """

    stored: Stored[T]
    created: bool
    changed: bool
    recount: Recount | None = None


class CatalogueError(Exception):
    """The base of all errors by which a change of the catalogue is refused. Nothing was changed."""


class RecordRefusedError(CatalogueError):
    """The record is wrong. ``errors`` has everything that is: where, such as `line_items[1].price`, and why."""

    def __init__(self, errors: Iterable[tuple[str, str]]) -> None:
        """Keep the errors, each once."""
        self.errors = list(dict.fromkeys((path, reason) for path, reason in errors))
        super().__init__("; ".join(f"{path}: {reason}" if path else reason for path, reason in self.errors))


class CatalogueConflictError(CatalogueError):
    """The record is right, and yet cannot be stored now. The reason says what to do instead.

    ``earliest`` is the first instant from which the change could be made, if there is one.
    """

    def __init__(self, path: str, reason: str, earliest: int | None = None) -> None:
        """Keep the field that cannot change, and why."""
        when = "" if earliest is None else f"; the earliest possible instant is {format_instant(earliest)}"
        self.path, self.reason, self.earliest = path, f"{reason}{when}", earliest
        super().__init__(f"{path}: {self.reason}" if path else self.reason)


class CatalogueBusyError(CatalogueConflictError):
    """No record can be changed now, whatever it says: a rebuild, a purge or a load is running."""


class StaleRecordError(CatalogueError):
    """The record has another version than the one that the change is conditional on."""


class UnknownRecordError(CatalogueError):
    """There is no such record."""

    def __init__(self, kind: str, name: str) -> None:
        """Keep the kind and the id that were asked for."""
        super().__init__(f"there is no {kind} {name!r}")
        self.kind, self.id = kind, name


class LostError(Exception):
    """Another writer was faster: all must be read again. Only `meterstone.catalogue` sees it."""

"""What can go wrong between the store and its table. `meterstone.store` shows the whole tree."""

from collections.abc import Mapping

type Found = dict[str, dict[str, str]]


class StoreError(Exception):
    """The base of all errors that the store raises on purpose."""


class StoreUnavailableError(StoreError):
    """The table could not be reached, or is throttled. The same call may succeed later."""


class StoredFormatError(StoreUnavailableError):
    """An organization is stored in another format than this code's. Another version of the code must be used.

    The stream's batch is delivered again until that is so, and a client is told to try again: no event is lost.
    """


class UnreadableItemError(StoreError):
    """An item of the log cannot be read. The message names its event.

    Nothing is counted anew from the log that it is in until code that can read it runs, or it is withdrawn.
    """


class CatalogueChangedError(StoreUnavailableError):
    """Events were matched by records of the catalogue that have changed since. They must be matched again."""


class PassingError(StoreUnavailableError):
    """One attempt has failed in a way that the next attempt need not."""


class ConflictError(StoreError):
    """A condition of a transaction did not hold. Nothing was written.

    ``found`` has the item that did not fit the condition, by the action's place, if the action asked for it.
    """

    def __init__(self, found: Mapping[int, Found]) -> None:
        """Keep the items found."""
        super().__init__("a condition did not hold")
        self.found = found


class WriteRefusedError(StoreError):
    """The table will never take this write: it has a number of over 38 digits, say, or an item over 400 KB."""

"""By what exit status a script can tell what became of a command, and the line that a person reads about it."""

import signal
from typing import Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from meterstone.catalogue.errors import CatalogueError, RecordRefusedError
from meterstone.store.catalogue.subscriptions import UnknownSubscriptionError
from meterstone.store.dynamodb.errors import CatalogueChangedError, StoredFormatError, UnreadableItemError
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import StoreUnavailableError, WriteRefusedError
from meterstone.store.reading.analytics import ViewNotBuiltError
from meterstone_cli.devserver.engine import EngineError
from meterstone_cli.devserver.server import ServerError
from meterstone_cli.problem import InputRefusedError
from meterstone_cli.progress import printable

REFUSED: Final = 1
NOT_UNDERSTOOD: Final = 2
UNAVAILABLE: Final = 3
INTERRUPTED: Final = 128 + signal.SIGINT
UNREAD: Final = 128 + signal.SIGPIPE

_NO_TABLE = "there is no table of that name here: say which with --table or TABLE_NAME, or `table create` it"


class TableNotOpenedError(Exception):
    """The environment does not say where the table is, or with which credentials; the message is one line."""


class Failure(NamedTuple):
    """The exit status of a command that failed, and what to tell a person: one problem a line."""

    status: int
    lines: tuple[str, ...]


def failure_of(error: BaseException) -> Failure | None:
    """Return the failure that an error means, None if nobody expected it."""
    match error:
        case InputRefusedError():
            return Failure(REFUSED, tuple(map(str, error.problems)))
        case CatalogueError():
            return Failure(REFUSED, tuple(map(printable, _reasons(error))))
        case CatalogueChangedError():
            return Failure(REFUSED, (f"{error}: run this again",))
        case UnknownSubscriptionError():
            unknown = f"there is no subscription {printable(str(error))} in this organization"
            return Failure(REFUSED, (f"{unknown}: its catalogue's subscriptions have the ids",))
        case ViewNotBuiltError():
            return Failure(REFUSED, (f"{error}; these filters together are answered only then",))
        case BusyError() | StoredFormatError() | UnreadableItemError() | EngineError() | ServerError():
            return Failure(REFUSED, (str(error),))
        case BrokenPipeError():
            # Whoever read the output, such as `head`, has read enough.
            return Failure(UNREAD, ())
        case OSError():
            return Failure(REFUSED, (f"{error.filename or 'a file'}: {error.strerror or error}",))
        case KeyboardInterrupt():
            return Failure(INTERRUPTED, ("Interrupted",))
        case _:
            unavailable = _unavailable(error)
            return None if unavailable is None else Failure(UNAVAILABLE, (unavailable,))


def _reasons(error: CatalogueError) -> list[str]:
    if not isinstance(error, RecordRefusedError):
        return [str(error)]
    return [f"{path}: {reason}" if path else reason for path, reason in error.errors]


def _unavailable(error: BaseException) -> str | None:
    """Say why the table cannot be used, if that is what an error says."""
    match error:
        case StoreUnavailableError():
            # That there are no credentials, or which address does not answer, is said by the client alone.
            reason = error.__cause__ if isinstance(error.__cause__, BotoCoreError) else error
            return f"the table does not answer: {reason}"
        case WriteRefusedError():
            return f"the table would not take it: {error}"
        case ClientError() if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return _NO_TABLE
        case ClientError() | BotoCoreError() | TableNotOpenedError():
            return str(error)
        case _:
            return None

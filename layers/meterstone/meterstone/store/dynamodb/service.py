"""Calls of the table's service: attempts within the deadline, answers taken whole, failures told apart.

botocore takes 110 to 180 ms of CPU to parse a page of 1 MB, nearly all of it for walking the service model. Its
`before-parse` event lets us take the body as it came, and decode it straight into typed rows.

There, too, an answer is refused that is not the service's own. botocore takes any text under status 200, an empty
one or a page of HTML, for an answer without content: a put would count as done, and a query as empty.

The event is not a documented interface. If it does not fire, rows are converted from the result of botocore's
parser, which is slower and as correct for the answers that the service gives.
"""

import time
from collections.abc import Callable
from random import SystemRandom
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError

from meterstone.store.dynamodb.deadline import Deadline
from meterstone.store.dynamodb.errors import (
    ConflictError,
    PassingError,
    StoreUnavailableError,
    WriteRefusedError,
)

if TYPE_CHECKING:
    from typing import Protocol

    from mypy_boto3_dynamodb import DynamoDBClient

    class Decoder[T](Protocol):
        """What makes a value of an answer's body, such as a `msgspec.json.Decoder`."""

        @property
        def type(self) -> type[T]:
            """The type of the value, for an answer that was decoded by botocore."""

        def decode(self, body: bytes, /) -> T:
            """Decode a body. Raises `msgspec.DecodeError`."""


#: What is wrong with the set-up or with a request of ours. Asking again does not help, and the message says why.
_OURS = frozenset(
    {
        "AccessDeniedException",
        "IdempotentParameterMismatchException",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "ResourceNotFoundException",
        "SerializationException",
        "UnknownOperationException",
        "UnrecognizedClientException",
    }
)
_THROTTLED_REASONS = frozenset({"ProvisionedThroughputExceeded", "ThrottlingError", "RequestLimitExceeded"})
_INVALID_REASON = "ValidationError"
_ATTEMPTS = 12
_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 1.0

#: All that `meterstone.store.dynamodb.table` calls.
_OPERATIONS = (
    "BatchGetItem",
    "BatchWriteItem",
    "GetItem",
    "PutItem",
    "Query",
    "TransactGetItems",
    "TransactWriteItems",
    "UpdateItem",
)
_OK = 200
_SERVER_ERRORS = 500
_CHECKSUM = "x-amz-crc32"
#: Under this name an answer carries the bytes of its body.
_BODY = "Body"


class CancelledError(PassingError):
    """A transaction met another one, or a limit. Nothing was written."""


class _Error(msgspec.Struct, gc=False):
    """The least that the service says of an error."""

    type: str = msgspec.field(name="__type")


_ERROR = msgspec.json.Decoder(_Error)
#: What decoding raises. Text that is no UTF-8 is an error of its own.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def take_bodies(client: "DynamoDBClient") -> None:
    """Have each answer of a client checked, and its body taken as it came. Once or more often is the same."""
    for operation in _OPERATIONS:
        event = f"before-parse.dynamodb.{operation}"
        client.meta.events.register(event, before_parse, unique_id=f"meterstone-{operation}")


def within[T](deadline: Deadline, attempt: Callable[[], T]) -> T:
    """Call a function, and again while it raises `PassingError` and there is time. Pauses have full jitter.

    The last failure is raised.
    """
    until = deadline.of_operation()
    if time.monotonic() >= until:
        raise StoreUnavailableError("no time is left")
    random = SystemRandom()
    for number in range(1, _ATTEMPTS + 1):
        try:
            return attempt()
        except PassingError:
            pause = random.uniform(0, min(_FIRST_PAUSE * 2 ** (number - 1), _LONGEST_PAUSE))
            if number == _ATTEMPTS or time.monotonic() + pause >= until:
                raise
        time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def sent(call: Callable[..., Any], request: dict[str, Any]) -> dict[str, Any]:
    """Call the service once. Return what botocore makes of the answer. Raises the store's errors."""
    try:
        answer: dict[str, Any] = call(**request)
    except ClientError as error:
        raise told_apart(error) from error
    except BotoCoreError as error:
        passes = isinstance(error, HTTPClientError | NoConnectionError)
        raise (PassingError if passes else StoreUnavailableError)("the table did not answer") from error
    return answer


def ask[T](call: Callable[..., Any], decoder: "Decoder[T]", request: dict[str, Any]) -> T:
    """Call the service once, and decode the body of its answer. Raises the store's errors."""
    answer = sent(call, request)
    body = answer.get(_BODY)
    try:
        if body is None:
            converted: T = msgspec.convert(answer, decoder.type, strict=False)
            return converted
        return decoder.decode(body)
    except _UNREADABLE as error:
        raise PassingError("the table's answer cannot be read") from error


def told_apart(error: ClientError) -> Exception:
    """Return what an error of the service means."""
    code, status = error.response["Error"].get("Code", ""), _status(error)
    if status >= _SERVER_ERRORS:
        return PassingError(f"{code or status}")
    if code == "ConditionalCheckFailedException":
        found: Any = error.response.get("Item")
        return ConflictError({} if found is None else {0: found})
    if code == "TransactionCanceledException":
        return _cancelled(error)
    if code == "ValidationException":
        return WriteRefusedError(error.response["Error"].get("Message", code))
    return error if code in _OURS else PassingError(code)


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0


def _cancelled(error: ClientError) -> Exception:
    """Return why a transaction was cancelled."""
    reasons: list[dict[str, Any]] = error.response.get("CancellationReasons") or []  # type: ignore[assignment]
    codes = {reason.get("Code") for reason in reasons}
    if "ConditionalCheckFailed" in codes:
        return ConflictError(
            {place: reason["Item"] for place, reason in enumerate(reasons) if reason.get("Item")}
        )
    invalid = [reason.get("Message") for reason in reasons if reason.get("Code") == _INVALID_REASON]
    if invalid:
        return WriteRefusedError(", ".join(each or "invalid" for each in invalid))
    if "TransactionConflict" in codes or codes & _THROTTLED_REASONS:
        return CancelledError("the table is contended or throttled")
    return CancelledError("the transaction was cancelled")


def before_parse(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
) -> None:
    """Check an answer that botocore is about to parse, and take its body. Raises `PassingError`."""
    status, body, headers = (response_dict[name] for name in ("status_code", "body", "headers"))
    checksum = headers.get(_CHECKSUM)
    if checksum is not None and checksum != str(crc32(body)):
        raise PassingError("the table's answer does not have its checksum")
    if status == _OK:
        # An object, and no more: the caller's decoder reads the rest of it.
        if not body.startswith(b"{"):
            raise PassingError("the table's answer cannot be read")
        customized_response_dict[_BODY] = body
        response_dict["body"] = b"{}"
        return
    try:
        _ERROR.decode(body)
    except _UNREADABLE as error:
        raise PassingError(f"an answer of status {status} that is not the table's") from error

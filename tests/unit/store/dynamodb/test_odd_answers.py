"""What is taken for an answer of the service, and what is not, whatever its status says."""

from typing import Any, cast
from zlib import crc32

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from meterstone.store.dynamodb.errors import (
    ConflictError,
    PassingError,
    StoreUnavailableError,
    WriteRefusedError,
)
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.service import told_apart
from meterstone.store.dynamodb.table import Table, key_item

KEY = Key("p", "s")
ITEM = key_item(KEY)
HTML = b"<html><body>Bad Gateway</body></html>"
NO_TEXT = b'{"Item":{"pk":{"S":"\xff"}},"Items":[{"pk":{"S":"\xff"}}],"UnprocessedItems":{"t":["\xff"]}}'
CALLS = {
    "get": lambda table: table.get(KEY),
    "batch_get": lambda table: table.batch_get([KEY]),
    "get_together": lambda table: table.get_together([KEY]),
    "query": lambda table: list(table.query("p", "a", "z")),
    "has_any": lambda table: table.has_any("p"),
    "count_in": lambda table: table.count_in("p", 1),
    "ids_in": lambda table: table.ids_in("p"),
    "put": lambda table: table.put(ITEM),
    "put_new": lambda table: table.put_new(ITEM),
    "put_all": lambda table: table.put_all([ITEM]),
    "update": lambda table: table.update(KEY, "SET a = :a", {":a": {"N": "1"}}),
    "transact": lambda table: table.transact([{"Put": {"TableName": "t", "Item": ITEM}}]),
}


class Raw:
    """A body as `botocore.awsrequest.AWSResponse` reads it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> list[bytes]:
        return [self._body]


def answer(table: Table, *answers: tuple[int, bytes, dict[str, str]]) -> list[Any]:
    """Let calls be answered so, in order, and the last one so for ever. Give the calls."""
    left, calls = list(answers), []

    def send(request: Any, **_: Any) -> Any:
        calls.append(request)
        status, body, headers = left.pop(0) if len(left) > 1 else left[0]
        return AWSResponse(request.url, status, cast("Any", headers), Raw(body))

    table.client.meta.events.register_first("before-send.dynamodb", cast("Any", send))
    return calls


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(200, b"", id="empty"),
        pytest.param(200, b"null", id="null"),
        pytest.param(200, b"[]", id="list"),
        pytest.param(200, b'"ok"', id="text"),
        pytest.param(200, HTML, id="HTML"),
        pytest.param(200, b'{"Items":[{"pk":{"S":"p', id="broken off"),
        pytest.param(200, b'{"Items":[]} {}', id="two"),
        pytest.param(200, NO_TEXT, id="no UTF-8"),
        pytest.param(204, b"", id="another good status"),
        pytest.param(302, b"", id="elsewhere"),
        pytest.param(400, HTML, id="400 HTML"),
        pytest.param(400, b"[]", id="400 list"),
        pytest.param(400, b'{"message":"?"}', id="400 without a code"),
        pytest.param(400, b'{"__type":"x#ThrottlingException"}', id="throttled"),
        pytest.param(400, b'{"__type":"x#NobodyKnowsException"}', id="unknown code"),
        pytest.param(404, b"", id="404"),
        pytest.param(500, b"null", id="500 null"),
        pytest.param(500, b'{"__type":"x#ValidationException"}', id="500 with another's code"),
        pytest.param(502, HTML, id="502"),
        pytest.param(503, b"", id="503"),
    ],
)
def test_what_is_not_the_service_s_own_is_unavailable(
    table: Table, call: Any, status: int, body: bytes
) -> None:
    calls = answer(table, (status, body, {}))
    with pytest.raises(StoreUnavailableError):
        call(table)
    assert len(calls) == 12, "it may pass"


@pytest.mark.parametrize("status", [200, 400])
def test_a_body_that_is_not_what_its_checksum_says_is_asked_for_again(table: Table, status: int) -> None:
    good = b'{"Item":{"pk":{"S":"p"}}}'
    wrong = b'{"Item":{"pk":{"S":"q"}}}' if status == 200 else b'{"__type":"x#ValidationException"}'
    checksum = {"x-amz-crc32": str(crc32(good))}
    calls = answer(table, (status, wrong, checksum), (200, good, checksum))
    row = table.get(KEY)
    assert row is not None
    assert row["pk"].S == "p"
    assert len(calls) == 2


def test_an_answer_that_says_nothing_is_not_taken_for_nothing_found(table: Table) -> None:
    answer(table, (200, b'{"Count":0}', {}))
    with pytest.raises(StoreUnavailableError):
        list(table.query("p", "a", "z"))
    with pytest.raises(StoreUnavailableError):
        table.get(KEY)
    with pytest.raises(StoreUnavailableError):
        table.batch_get([KEY])
    with pytest.raises(StoreUnavailableError):
        table.get_together([KEY])


def test_a_transaction_whose_answer_was_lost_is_the_same_transaction(table: Table) -> None:
    """Cancelled, it is another one: the service would answer the first one's outcome again."""
    cancelled = (
        b'{"__type":"x#TransactionCanceledException","CancellationReasons":[{"Code":"ThrottlingError"}]}'
    )
    calls = answer(table, (502, HTML, {}), (200, b"", {}), (400, cancelled, {}), (200, b"{}", {}))
    table.transact([{"Put": {"TableName": "t", "Item": ITEM}}])
    tokens = [call.body.partition(b'"ClientRequestToken": "')[2][:32] for call in calls]
    assert len(tokens[0]) == 32
    assert tokens[0] == tokens[1] == tokens[2] != tokens[3]


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ConditionalCheckFailedException", 400, ConflictError),
        ("ValidationException", 400, WriteRefusedError),
        ("AccessDeniedException", 400, ClientError),
        ("ResourceNotFoundException", 400, ClientError),
        ("AccessDeniedException", 500, PassingError),
        ("InternalServerError", 500, PassingError),
        ("TransactionInProgressException", 400, PassingError),
        ("ExpiredTokenException", 400, PassingError),
    ],
)
def test_errors_are_told_apart(code: str, status: int, kind: type[Exception]) -> None:
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    assert type(told_apart(ClientError(response, "PutItem"))) is kind

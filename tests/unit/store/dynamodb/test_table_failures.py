"""How the table's failures are told apart: what passes, what another writer did, what it will never take."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from botocore.stub import Stubber

from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import (
    ConflictError,
    StoreUnavailableError,
    Table,
    WriteRefusedError,
    key_item,
)

KEY = Key("p", "s")
ACTION = {"Put": {"TableName": "t", "Item": key_item(KEY)}}


def cancelled(answers: Stubber, *reasons: dict[str, Any]) -> None:
    answers.add_client_error(
        "transact_write_items",
        "TransactionCanceledException",
        "cancelled",
        modeled_fields={"CancellationReasons": list(reasons)},
    )


@pytest.mark.parametrize(
    "code",
    ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"],
)
def test_a_transaction_that_met_another_or_a_limit_is_tried_again(
    table: Table, answers: Stubber, code: str
) -> None:
    cancelled(answers, {"Code": "None"}, {"Code": code})
    cancelled(answers, {"Code": code}, {"Code": "None"})
    answers.add_response("transact_write_items", {})
    table.transact([ACTION])


def test_a_transaction_is_not_tried_for_ever(table: Table, answers: Stubber) -> None:
    for _ in range(12):
        cancelled(answers, {"Code": "TransactionConflict"})
    with pytest.raises(StoreUnavailableError, match="contended or throttled"):
        table.transact([ACTION])


def test_a_condition_that_fails_tells_what_stands_in_the_way(table: Table, answers: Stubber) -> None:
    """It does even where another action of the transaction met a conflict that would pass."""
    item = key_item(KEY) | {"v": {"N": "3"}}
    cancelled(answers, {"Code": "TransactionConflict"}, {"Code": "ConditionalCheckFailed", "Item": item})
    with pytest.raises(ConflictError) as conflict:
        table.transact([ACTION, ACTION])
    assert conflict.value.found == {1: item}


def test_what_the_table_will_never_take_is_refused(table: Table, answers: Stubber) -> None:
    cancelled(answers, {"Code": "None"}, {"Code": "ValidationError", "Message": "Number overflow."})
    with pytest.raises(WriteRefusedError, match=r"Number overflow\."):
        table.transact([ACTION, ACTION])
    answers.add_client_error("transact_write_items", "ValidationException", "Item size has exceeded")
    with pytest.raises(WriteRefusedError, match="Item size has exceeded"):
        table.transact([ACTION])
    answers.add_client_error("put_item", "ValidationException", "Item size has exceeded")
    with pytest.raises(WriteRefusedError, match="Item size has exceeded"):
        table.put(key_item(KEY))


def test_a_condition_comes_before_what_is_refused(table: Table, answers: Stubber) -> None:
    """What was worked out from an old version says nothing of what the new one would take."""
    cancelled(answers, {"Code": "ConditionalCheckFailed"}, {"Code": "ValidationError", "Message": "overflow"})
    with pytest.raises(ConflictError):
        table.transact([ACTION, ACTION])


def test_an_update_tells_whether_its_condition_held(table: Table, answers: Stubber) -> None:
    """A lease that another holds is not taken, and a generation under another catalogue not swapped in."""

    def update() -> bool:
        return table.update(KEY, "SET a = :a", {":a": {"N": "1"}}, condition="attribute_exists(pk)")

    answers.add_client_error("update_item", "ConditionalCheckFailedException")
    assert update() is False
    answers.add_response("update_item", {})
    assert update() is True


def test_what_is_wrong_with_the_set_up_is_not_blamed_on_the_data(table: Table, answers: Stubber) -> None:
    """Nothing may be set aside for it: the batch must come again when it is mended."""
    for code in ("AccessDeniedException", "ResourceNotFoundException", "UnrecognizedClientException"):
        answers.add_client_error("transact_write_items", code)
        with pytest.raises(ClientError, match=code):
            table.transact([ACTION])


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerError", "RequestLimitExceeded"])
def test_a_service_that_is_throttled_or_down_is_unavailable(
    table: Table, answers: Stubber, code: str
) -> None:
    answers.add_client_error("transact_write_items", code)
    with pytest.raises(StoreUnavailableError):
        table.transact([ACTION])
    answers.add_client_error("get_item", code)
    with pytest.raises(StoreUnavailableError):
        table.get(KEY)


def test_no_answer_is_unavailable_whether_or_not_it_was_written(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_out(**_: object) -> None:
        raise ReadTimeoutError(endpoint_url="http://127.0.0.1")

    monkeypatch.setattr(table.client, "transact_write_items", time_out)
    with pytest.raises(StoreUnavailableError, match="did not answer"):
        table.transact([ACTION])


def test_items_that_were_left_unwritten_are_written_again(table: Table, answers: Stubber) -> None:
    requests = [{"PutRequest": {"Item": key_item(Key("p", name))}} for name in "ab"]
    answers.add_response(
        "batch_write_item", {"UnprocessedItems": {"t": requests[1:]}}, {"RequestItems": {"t": requests}}
    )
    answers.add_response("batch_write_item", {}, {"RequestItems": {"t": requests[1:]}})
    table.put_all(key_item(Key("p", name)) for name in "ab")


def test_keys_that_were_left_unread_are_read_again(table: Table, answers: Stubber) -> None:
    """The service ends a batch at 16 MB, or where it is throttled; an engine answers it whole."""
    items = [key_item(Key("p", name)) for name in "ab"]

    def asked(*keys: Any) -> dict[str, Any]:
        wanted = {"t": {"Keys": list(keys), "ConsistentRead": True}}
        return {"RequestItems": wanted, "ReturnConsumedCapacity": "TOTAL"}

    left = {"t": {"Keys": items[1:], "ConsistentRead": True}}
    answers.add_response(
        "batch_get_item", {"Responses": {"t": items[:1]}, "UnprocessedKeys": left}, asked(*items)
    )
    answers.add_response("batch_get_item", {"Responses": {"t": items[1:]}}, asked(items[1]))
    keys = [Key("p", name) for name in "ab"]
    assert table.batch_get(keys, consistent=True).keys() == set(keys)


def test_what_is_left_every_time_is_unavailable(table: Table, answers: Stubber) -> None:
    """What was left out is not taken for what is not there."""
    item = key_item(KEY)
    for _ in range(12):
        answers.add_response("batch_get_item", {"UnprocessedKeys": {"t": {"Keys": [item]}}})
    with pytest.raises(StoreUnavailableError, match="keys were left"):
        table.batch_get([KEY])
    for _ in range(12):
        left = {"t": [{"PutRequest": {"Item": item}}]}
        answers.add_response("batch_write_item", {"UnprocessedItems": left})
    with pytest.raises(StoreUnavailableError, match="items were left"):
        table.put_all([item])

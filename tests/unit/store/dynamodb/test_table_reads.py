"""What the table asks of the service when it reads: consistently if it is told so, and not otherwise."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from botocore.stub import ANY, Stubber

from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import (
    OneByOne,
    Page,
    Row,
    StoreUnavailableError,
    Table,
    key_item,
    page_decoder,
)

KEY = Key("p", "s")
ITEM = key_item(KEY)


@pytest.mark.parametrize("consistent", [True, False])
def test_an_item_is_read_as_consistently_as_it_is_asked_for(
    table: Table, answers: Stubber, *, consistent: bool
) -> None:
    asked = {"TableName": "t", "Key": ITEM, "ConsistentRead": consistent, "ReturnConsumedCapacity": "TOTAL"}
    answers.add_response("get_item", {"Item": ITEM}, asked)
    assert table.get(KEY, consistent=consistent) is not None


@pytest.mark.parametrize("consistent", [True, False])
def test_a_batch_is_read_as_consistently_as_it_is_asked_for(
    table: Table, answers: Stubber, *, consistent: bool
) -> None:
    wanted = {"t": {"Keys": [ITEM], "ConsistentRead": consistent}}
    answers.add_response(
        "batch_get_item",
        {"Responses": {"t": [ITEM]}},
        {"RequestItems": wanted, "ReturnConsumedCapacity": "TOTAL"},
    )
    assert set(table.batch_get([KEY], consistent=consistent)) == {KEY}


def test_items_are_read_together_once_no_transaction_is_in_the_way(table: Table, answers: Stubber) -> None:
    other = Key("p", "other")
    asked = {
        "TransactItems": [{"Get": {"TableName": "t", "Key": key_item(key)}} for key in (KEY, other)],
        "ReturnConsumedCapacity": "TOTAL",
    }
    answers.add_client_error(
        "transact_get_items",
        "TransactionCanceledException",
        modeled_fields={"CancellationReasons": [{"Code": "TransactionConflict"}, {"Code": "None"}]},
        expected_params=asked,
    )
    units = [{"TableName": "t", "CapacityUnits": 4.0}]
    answers.add_response(
        "transact_get_items", {"Responses": [{"Item": ITEM}, {}], "ConsumedCapacity": units}, asked
    )
    assert set(table.get_together([KEY, other])) == {KEY}
    assert (table.cost.items, table.cost.read_units) == (1, 4)


def queried(table: Table, *, consistent: bool) -> list[Any]:
    return list(table.query("p", "a", "z", consistent=consistent))


def queried_by_prefix(table: Table, *, consistent: bool) -> list[Any]:
    return list(table.query_prefix("p", "s#", consistent=consistent))


def queried_as(table: Table, *, consistent: bool) -> list[Any]:
    return list(table.query_as(page_decoder(Page[Row]), "p", "a", "z", consistent=consistent))


def queried_one_by_one(table: Table, *, consistent: bool) -> list[Any]:
    return list(table.query_as(OneByOne(Only), "p", "a", "z", consistent=consistent))


class Only(msgspec.Struct):
    sk: dict[str, str]


def test_items_are_decoded_one_by_one_and_counted_together() -> None:
    items = (
        OneByOne(Only).decode(b'{"Items": [{"sk": {"S": "a"}}, {"sk": {"S": 1}}, {"sk": {"S": "c"}}]}').Items
    )
    assert len(items) == 3
    each = iter(items)
    assert next(each) == Only({"S": "a"})
    with pytest.raises(StoreUnavailableError, match="an item of the table cannot be read"):
        next(each)


@pytest.mark.parametrize("consistent", [True, False])
@pytest.mark.parametrize("read", [queried, queried_by_prefix, queried_as, queried_one_by_one])
def test_every_page_is_read_as_consistently_as_it_is_asked_for(
    table: Table, answers: Stubber, read: Callable[..., list[Any]], *, consistent: bool
) -> None:
    asked = {
        "TableName": "t",
        "KeyConditionExpression": ANY,
        "ExpressionAttributeValues": ANY,
        "ConsistentRead": consistent,
        "ReturnConsumedCapacity": "TOTAL",
    }
    answers.add_response("query", {"Items": [ITEM], "LastEvaluatedKey": ITEM}, asked)
    answers.add_response("query", {"Items": [ITEM]}, asked | {"ExclusiveStartKey": ITEM})
    assert len(read(table, consistent=consistent)) == 2


@pytest.mark.parametrize("consistent", [True, False])
def test_whether_there_is_anything_is_read_as_consistently_as_it_is_asked_for(
    table: Table, answers: Stubber, *, consistent: bool
) -> None:
    asked = {
        "TableName": "t",
        "KeyConditionExpression": ANY,
        "ExpressionAttributeValues": ANY,
        "Limit": 1,
        "ConsistentRead": consistent,
        "ProjectionExpression": ANY,
        "ReturnConsumedCapacity": "TOTAL",
    }
    answers.add_response("query", {"Items": [{"pk": ITEM["pk"]}]}, asked)
    assert table.has_any("p", consistent=consistent)[0]


def test_items_are_counted_page_by_page_up_to_a_bound(table: Table, answers: Stubber) -> None:
    """An eventually consistent read of 8 KB costs a unit, so that the cost says how large they are."""
    asked = {
        "TableName": "t",
        "KeyConditionExpression": ANY,
        "ExpressionAttributeValues": ANY,
        "Select": "COUNT",
        "ReturnConsumedCapacity": "TOTAL",
    }

    def page(count: int, units: float) -> dict[str, Any]:
        cost = {"TableName": "t", "CapacityUnits": units}
        return {"Count": count, "ScannedCount": count, "ConsumedCapacity": cost}

    answers.add_response("query", page(3, 1.0) | {"LastEvaluatedKey": ITEM}, asked)
    answers.add_response("query", page(4, 0.5), asked | {"ExclusiveStartKey": ITEM})
    assert table.count_in("p", 20_000) == (7, 12_288)
    answers.add_response("query", page(3, 3.0) | {"LastEvaluatedKey": ITEM}, asked)
    assert table.count_in("p", 20_000) == (3, 24_576)

"""The engine of `start` answers queries of large partitions as it does by itself, only sooner."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pytest

from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.load import create_table
from meterstone_cli.devserver import engine
from support.stack import ENGINE

#: The items of a partition, by sort key, in the order of their bytes. Some pages of 1 MB.
NAMES = [f"event#{number:04}" for number in range(300)] + ["ever", "f", "é", "￿", "\U0001f600"]
TEXT = "x" * 10_000

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    state: Path = tmp_path_factory.mktemp("state")
    with (
        engine.running(ENGINE, state, engine.free_port(), tell=lambda _: None) as url,
        mock.patch.dict(os.environ, engine.environment_of_clients(url) | {"TABLE_NAME": "large"}),
    ):
        table = Table.from_environment()
        create_table(table)
        table.put_all(
            {"pk": {"S": pk}, "sk": {"S": sk}, "text": {"S": TEXT}}
            for pk in ("one", "other")
            # Put in another order than that of the keys.
            for sk in reversed(NAMES)
        )
        yield table


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("event#0000", "event#0299"),
        ("event#00005", "event#0100"),
        ("event#0100", "event#0100"),
        ("a", "b"),
        ("ever", "\U0001f600"),
        ("￿", "\U0001f600"),
    ],
)
def test_a_range_has_both_its_ends_and_all_pages_between(table: Table, low: str, high: str) -> None:
    found = [row["sk"].S for row in table.query("one", low, high, consistent=True)]
    assert found == [name for name in NAMES if low <= name <= high]


def test_a_partition_is_counted_page_by_page(table: Table) -> None:
    assert table.count_in("one", 10_000_000)[0] == len(NAMES)
    assert table.count_in("none", 10_000_000)[0] == 0


def test_a_partition_is_read_backwards_page_by_page(table: Table) -> None:
    request: dict[str, Any] = {
        "TableName": table.name,
        "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
        "ExpressionAttributeValues": {":pk": {"S": "one"}, ":low": {"S": "event#0003"}, ":high": {"S": "f"}},
        "ScanIndexForward": False,
    }
    # Not the table's own client, which leaves answers as they came.
    pages = list(boto3.client("dynamodb").get_paginator("query").paginate(**request))
    assert len(pages) > 1
    found = [item["sk"]["S"] for page in pages for item in page["Items"]]
    assert found == [name for name in reversed(NAMES) if "event#0003" <= name <= "f"]


def test_a_query_that_cannot_be_is_refused(table: Table) -> None:
    with pytest.raises(table.client.exceptions.ClientError, match="upper bound"):
        table.client.query(
            TableName=table.name,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :low AND :high",
            ExpressionAttributeValues={":pk": {"S": "one"}, ":low": {"S": "f"}, ":high": {"S": "e"}},
        )

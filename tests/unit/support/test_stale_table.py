"""The table whose reads may be behind: as far as a service's may, and no further."""

from collections.abc import Callable

import pytest

from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import integer
from support.stale_table import MOST_BEHIND, StaleTable

ONE, TWO = Key("p", "a"), Key("p", "b")


def put(table: StaleTable, key: Key, number: int) -> None:
    table.put({"pk": {"S": key.pk}, "sk": {"S": key.sk}, "n": {"N": str(number)}})


def got(table: StaleTable, *, consistent: bool = False) -> int:
    row = table.get(ONE, consistent=consistent)
    return 0 if row is None else integer(row, "n")


def in_a_batch(table: StaleTable, *, consistent: bool = False) -> int:
    row = table.batch_get([ONE], consistent=consistent).get(ONE, {})
    return integer(row, "n")


def queried(table: StaleTable, *, consistent: bool = False) -> int:
    return next((integer(row, "n") for row in table.query("p", "a", "a", consistent=consistent)), 0)


def had(table: StaleTable, *, consistent: bool = False) -> int:
    """Tell by whether there is anything at all how many writes there were, of one."""
    return int(table.has_any("p", consistent=consistent)[0])


WAYS = [got, in_a_batch, queried]


@pytest.mark.parametrize("read", WAYS)
def test_a_read_gives_what_stood_there_at_some_moment_not_long_ago(read: Callable[..., int]) -> None:
    table = StaleTable()
    for number in range(1, 201):
        put(table, ONE, number)
    found = [read(table) for _ in range(300)]
    assert max(found) == 200
    assert min(found) == 200 - MOST_BEHIND
    assert len(set(found)) > 4
    assert found != sorted(found), "a read may go back behind the one before"
    assert found == [read(again) for again in [rewritten()] for _ in found], "the same again"


def rewritten() -> StaleTable:
    table = StaleTable()
    for number in range(1, 201):
        put(table, ONE, number)
    return table


@pytest.mark.parametrize("read", [*WAYS, had])
def test_a_consistent_read_gives_what_was_written_last(read: Callable[..., int]) -> None:
    table = StaleTable()
    put(table, ONE, 1)
    assert {read(table, consistent=True) for _ in range(50)} == {1}
    assert {read(table) for _ in range(50)} == {0, 1}


@pytest.mark.parametrize("read", [*WAYS, had])
def test_a_moment_later_every_read_sees_what_was_written(read: Callable[..., int]) -> None:
    table = StaleTable()
    put(table, ONE, 1)
    table.settle()
    assert {read(table) for _ in range(50)} == {1}


@pytest.mark.parametrize("read", [*WAYS, had])
def test_a_table_that_stands_still_answers_as_of_then(read: Callable[..., int]) -> None:
    table = StaleTable()
    table.stand_still()
    for number in range(1, 3 * MOST_BEHIND):
        put(table, ONE, number)
    assert read(table) == 0
    table.settle()
    assert read(table) > 0


def test_what_was_deleted_is_still_read_and_what_came_is_not_yet() -> None:
    table = StaleTable()
    put(table, ONE, 1)
    table.stand_still()
    table.delete_all([ONE])
    put(table, TWO, 2)
    assert [row["sk"].S for row in table.query("p", "a", "z")] == ["a"]
    assert [row["sk"].S for row in table.query("p", "a", "z", consistent=True)] == ["b"]
    assert [table.get(key) is None for key in (ONE, TWO)] == [False, True]


def test_items_that_one_transaction_wrote_may_be_seen_in_part() -> None:
    table = StaleTable()
    for key in (ONE, TWO):
        put(table, key, 1)
    table.transact(
        [
            {
                "Put": {
                    "TableName": table.name,
                    "Item": {"pk": {"S": key.pk}, "sk": {"S": key.sk}, "n": {"N": "2"}},
                }
            }
            for key in (ONE, TWO)
        ]
    )
    seen = {tuple(integer(row, "n") for row in table.batch_get([ONE, TWO]).values()) for _ in range(50)}
    assert {(1, 2), (2, 1), (2, 2)} <= seen


def test_each_page_of_a_query_is_of_a_moment_of_its_own() -> None:
    table = StaleTable(page_items=1)
    keys = [Key("p", sk) for sk in "abcdef"]
    for key in keys:
        put(table, key, 0)
    table.settle()
    for key in keys:
        put(table, key, 1)
    found = {tuple(integer(row, "n") for row in table.query("p", "a", "z")) for _ in range(50)}
    assert {len(each) for each in found} == {6}
    assert any(0 in each and each != tuple(sorted(each, reverse=True)) for each in found)

"""What the store asks of a table, on every engine: the table in memory must not be kinder than a real one."""

from decimal import Decimal
from typing import Any
from unittest import mock
from uuid import uuid4

import msgspec
import pytest

from meterstone import clock
from meterstone.store.counting.fold import addition
from meterstone.store.dynamodb import keys, service
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import (
    ConflictError,
    Item,
    Page,
    Row,
    Table,
    WriteRefusedError,
    key_item,
    page_decoder,
    text,
)
from meterstone.usage.charge import DayAmount
from meterstone.usage.instant import SECOND

#: The sort key of a rollup.
SUM = keys.rollup("2024-03", "usd", "meter", None, 0)


@pytest.fixture
def pk() -> str:
    """Give a partition of the test's own."""
    return f"test#{uuid4()}"


def put(table: Table, key: Key, condition: str | None = None, **attributes: dict[str, str]) -> dict[str, Any]:
    """Give an action that puts an item."""
    action: dict[str, Any] = {"TableName": table.name, "Item": key_item(key) | attributes}
    if condition is not None:
        action["ConditionExpression"] = condition
    return {"Put": action}


def add(table: Table, key: Key, **steps: str) -> dict[str, Any]:
    """Give an action that adds to numbers."""
    return {
        "Update": {
            "TableName": table.name,
            "Key": key_item(key),
            "UpdateExpression": "ADD " + ", ".join(f"{name} :{name}" for name in steps),
            "ExpressionAttributeValues": {f":{name}": {"N": step} for name, step in steps.items()},
        }
    }


def values(row: Row | None) -> dict[str, str | None]:
    """Give an item's attributes as text."""
    return {} if row is None else {name: each.N if each.S is None else each.S for name, each in row.items()}


def test_what_is_put_is_read_back(table: Table, pk: str) -> None:
    one, other = Key(pk, "a#é"), Key(pk, "b")
    table.put(key_item(one) | {"d": {"S": '{"0":"1.5"}'}, "v": {"N": "3"}})
    assert values(table.get(one, consistent=True)) == {"pk": pk, "sk": "a#é", "d": '{"0":"1.5"}', "v": "3"}
    assert table.get(other, consistent=True) is None
    assert table.batch_get([one, other, one], consistent=True).keys() == {one}


def test_items_are_read_together(table: Table, pk: str) -> None:
    keys = [Key(pk, f"{number:02}") for number in range(100)]
    table.put_all(key_item(key) | {"n": {"N": key.sk}} for key in keys[::2])
    assert set(table.get_together(keys)) == set(keys[::2])
    assert values(table.get_together(keys[4:5])[keys[4]])["n"] == "4"


def test_many_items_are_read_by_key(table: Table, pk: str) -> None:
    keys = [Key(pk, f"{number:04}") for number in range(230)]
    table.put_all(key_item(key) | {"n": {"N": key.sk}} for key in keys[::2])
    assert set(table.batch_get(keys, consistent=True)) == set(keys[::2])


def test_a_range_is_read_in_the_order_of_its_bytes(table: Table, pk: str) -> None:
    names = ["B", "a", "a!", "a#1", "a#2", "a$", "é", "~", "\U0001f600", "\uffee"]
    table.put_all(key_item(Key(pk, name)) for name in names)
    ordered = sorted(names, key=str.encode)
    found = table.query(pk, "A", "\U0010ffff", consistent=True)
    assert [text(row, "sk") for row in found] == ordered
    assert [text(row, "sk") for row in table.query_prefix(pk, "a#", consistent=True)] == ["a#1", "a#2", "a$"]
    assert list(table.query(pk, "b", "c", consistent=True)) == []
    first = table.query_first(pk, "a", "\U0010ffff", 3, consistent=True)
    assert [text(row, "sk") for row in first] == ["a", "a!", "a#1"]
    assert table.query_first(pk, "b", "c", 3, consistent=True) == []


def test_pages_leave_nothing_out(table: Table, pk: str) -> None:
    """3 MB of items are more than one page."""
    names = [f"{number:03}" for number in range(110)]
    table.put_all(key_item(Key(pk, name)) | {"d": {"S": name * 10_000}} for name in names)
    assert [text(row, "sk") for row in table.query(pk, "0", "9", consistent=True)] == names

    class Only(msgspec.Struct):
        sk: dict[str, str]

    pages = table.query_as(page_decoder(Page[Only]), pk, "0", "9", consistent=True)
    assert [item.sk["S"] for item in pages] == names


def test_a_transaction_is_written_whole_or_not_at_all(table: Table, pk: str) -> None:
    first, second = Key(pk, "first"), Key(pk, "second")
    table.transact([put(table, first, "attribute_not_exists(pk)", v={"N": "1"})])
    with pytest.raises(ConflictError):
        table.transact(
            [
                put(table, second),
                put(table, first, "attribute_not_exists(pk)"),
                add(table, Key(pk, "sum"), a="1"),
            ]
        )
    assert table.get(second, consistent=True) is None
    assert table.get(Key(pk, "sum"), consistent=True) is None


def test_a_version_is_checked(table: Table, pk: str) -> None:
    key = Key(pk, "head")

    def write(version: str, value: str) -> None:
        action = put(table, key, "v = :version", v={"N": value})
        action["Put"]["ExpressionAttributeValues"] = {":version": {"N": version}}
        table.transact([action])

    with pytest.raises(ConflictError):
        write("1", "2")
    table.put(key_item(key) | {"v": {"N": "1"}})
    write("1", "2")
    with pytest.raises(ConflictError):
        write("1", "3")
    assert values(table.get(key, consistent=True))["v"] == "2"


def test_a_conflict_shows_what_stands_in_the_way(table: Table, pk: str) -> None:
    keys = [Key(pk, f"{number}") for number in range(4)]
    table.put(key_item(keys[2]) | {"e": {"S": "content"}})
    actions = [put(table, key, "attribute_not_exists(pk)") for key in keys]
    for action in actions:
        action["Put"]["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    with pytest.raises(ConflictError) as conflict:
        table.transact(actions)
    assert conflict.value.found == {2: key_item(keys[2]) | {"e": {"S": "content"}}}


LARGEST = "9999999999999999999999.999999999999999999"


@pytest.mark.parametrize(
    ("steps", "integer", "fraction"),
    [
        pytest.param(("1", "2"), "3", None, id="whole"),
        pytest.param(("0.1", "0.2"), None, "300000000000000000", id="decimal"),
        pytest.param(("5", "-7.25"), "-2", "-250000000000000000", id="below zero"),
        pytest.param(
            ("0.75", "0.75"), None, "1500000000000000000", id="fractions that come to more than one"
        ),
        pytest.param(("4", "-4"), "0", None, id="to nothing"),
        pytest.param(("100000000000000", "1E-15"), "100000000000000", "1000", id="30 digits apart"),
        pytest.param((LARGEST, "-" + LARGEST, "1E-18"), "0", "1", id="the largest there and back"),
        pytest.param(
            (LARGEST,) * 20, "199999999999999999999980", "19999999999999999980", id="the largest 20 times"
        ),
    ],
)
def test_units_are_added_exactly(
    table: Table, pk: str, steps: tuple[str, ...], integer: str | None, fraction: str | None
) -> None:
    """As the fold adds them: with fewer digits than any engine keeps."""
    for step in steps:
        action = addition(table.name, Key(pk, SUM), {1: DayAmount(Decimal(step), 7)}, 0)
        assert action is not None
        table.transact([action])
    found = values(table.get(Key(pk, SUM), consistent=True))
    units = {name: value for name, value in (("u01", integer), ("f01", fraction)) if value is not None}
    known = {name: value for name, value in found.items() if name in units or value != "0"}
    assert known == {"pk": pk, "sk": SUM, "a01": str(7 * len(steps))} | units


def test_a_hundred_items_are_written_in_one_transaction(table: Table, pk: str) -> None:
    keys = [Key(pk, f"{number:03}") for number in range(100)]
    table.transact([put(table, key) for key in keys[:99]] + [add(table, keys[99], a01="1")])
    assert len(list(table.query(pk, "0", "9", consistent=True))) == 100
    table.transact([{"Delete": {"TableName": table.name, "Key": key_item(key)}} for key in keys])
    assert list(table.query(pk, "0", "9", consistent=True)) == []


def test_an_attribute_is_set_and_the_rest_stays(table: Table, pk: str) -> None:
    key = Key(pk, "profile")
    assert table.update(key, "SET doc = :doc", {":doc": {"S": "one"}})
    table.put(key_item(key) | {"doc": {"S": "one"}, "gen": {"S": "2"}})
    assert table.update(key, "SET doc = :doc", {":doc": {"S": "two"}})
    assert values(table.get(key, consistent=True)) == {"pk": pk, "sk": "profile", "doc": "two", "gen": "2"}


def test_an_update_whose_condition_fails_says_so_and_changes_nothing(table: Table, pk: str) -> None:
    key = Key(pk, "profile")

    def take(who: str, condition: str) -> bool:
        return table.update(key, "SET lease_by = :me", {":me": {"S": who}}, condition=condition)

    assert take("one", "attribute_exists(pk)") is False
    assert table.get(key, consistent=True) is None
    assert take("one", "attribute_not_exists(pk)") is True
    assert take("other", "attribute_not_exists(lease_by)") is False
    assert take("other", "lease_by = :me") is False
    assert take("one", "lease_by = :me") is True
    assert values(table.get(key, consistent=True)) == {"pk": pk, "sk": "profile", "lease_by": "one"}


def test_what_is_due_is_listed_by_its_time(table: Table, pk: str) -> None:
    def item(name: str, at: str | None) -> Item:
        due: Item = {} if at is None else {"due_pk": {"S": pk}, "due_at": {"S": at}}
        return key_item(Key(pk, name)) | due

    table.put_all(
        [item("late", "2024-03"), item("early", "2024-01"), item("never", None), item("now", "2024-02")]
    )
    assert list(table.due(pk, "2024-02")) == [Key(pk, "early"), Key(pk, "now")]
    table.put(item("early", None))
    assert list(table.due(pk, "2024-02")) == [Key(pk, "now")]
    assert list(table.due(pk + "#other", "2024-02")) == []


@pytest.mark.parametrize("verb", ["Put", "Update"])
def test_a_number_of_39_digits_is_refused(table: Table, pk: str, verb: str) -> None:
    long = "1" * 39
    key = Key(pk, "a")
    action = put(table, key, n={"N": long}) if verb == "Put" else add(table, key, n=long)
    with pytest.raises(WriteRefusedError):
        table.transact([action])


def test_what_is_read_is_the_same_where_botocore_does_not_ask_first(engine: Table, pk: str) -> None:
    """Its `before-parse` event is not documented: without it, botocore's own answer is converted."""
    other = Table.from_environment()
    for operation in ("Query", "GetItem", "BatchGetItem", "TransactGetItems"):
        event = f"before-parse.dynamodb.{operation}"
        other.client.meta.events.unregister(event, service.before_parse, unique_id=f"meterstone-{operation}")
    keys = [Key(pk, name) for name in "ab"]
    engine.put_all(key_item(key) | {"d": {"S": '{"0":"1.50"}'}, "n": {"N": "1.5"}} for key in keys)

    class Only(msgspec.Struct):
        sk: dict[str, str]
        n: dict[str, str]

    def read(table: Table) -> tuple[object, ...]:
        pages = table.query_as(page_decoder(Page[Only]), pk, "a", "b", consistent=True)
        rows = list(table.query(pk, "a", "b", consistent=True))
        missing = table.get(Key(pk, "c"), consistent=True)
        found = table.batch_get(keys, consistent=True), table.get_together([*keys, Key(pk, "c")])
        return rows, table.get(keys[0], consistent=True), missing, found, list(pages), table.cost.items

    def fires(table: Table) -> bool:
        with mock.patch.object(msgspec, "convert", wraps=msgspec.convert) as convert:
            table.get(keys[0], consistent=True)
        return not convert.called

    assert (fires(engine), fires(other)) == (True, False)
    engine.cost.reset()
    other.cost.reset()
    assert read(engine) == read(other)


def test_the_service_tells_the_time(engine: Table) -> None:
    before, told, after = clock.now(), engine.service_time(), clock.now()
    assert told is not None, "nothing refuses a wrong clock otherwise"
    assert before - 60 * SECOND < told < after + 60 * SECOND

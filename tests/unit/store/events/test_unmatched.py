"""An unmatched event's item: made of the logged one, and read back."""

import pytest

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import Attribute, Item, Row
from meterstone.store.events.unmatched import (
    UnmatchedEvent,
    generation_of,
    is_unmatched,
    unmatched_event_of,
    unmatched_item,
)
from meterstone.usage.arrival import Subject
from meterstone.usage.meter import Event

CUSTOMER = Subject.customer("c#1")
ARRIVED: Item = {
    "pk": {"S": "org#events#c#c%231"},
    "sk": {"S": "t1"},
    "id": {"S": "t1"},
    "e": {"S": '["calls",null,{"n":2}]'},
    "acc": {"N": "70"},
    "at": {"N": "60"},
    "k": {"S": "c"},
    "x": {"S": "c#1"},
}
IMPORTED: Item = {
    "pk": {"S": "org#events#c#c%231"},
    "sk": {"S": "t1"},
    "id": {"S": "t1"},
    "e": {"S": '["calls",60,{"n":2}]'},
    "shard": {"S": "i0123456789abcdef.1"},
    "seq": {"N": "9"},
}


def row_of(item: Item) -> Row:
    return {name: Attribute(**value) for name, value in item.items()}


def read(item: Item) -> UnmatchedEvent:
    return unmatched_event_of(row_of(item))


@pytest.mark.parametrize(
    ("logged", "accepted", "shard"),
    [
        pytest.param(ARRIVED, 70, "", id="over HTTP"),
        pytest.param(IMPORTED, 0, "i0123456789abcdef.1", id="imported"),
    ],
)
def test_an_unmatched_event_is_read_as_it_was_logged(logged: Item, accepted: int, shard: str) -> None:
    item = unmatched_item("org", CUSTOMER, logged, 80)
    found = read(item)

    assert is_unmatched(item)
    assert not is_unmatched(logged)
    assert found.key == keys.unmatched("org", "c", "c#1", "t1")
    assert (found.subject, found.event) == (CUSTOMER, Event("t1", "calls", 60, {"n": 2}))
    assert (found.accepted, found.since, found.shard) == (accepted, 80, shard)
    assert (found.number, found.done, found.generation) == (None, False, "")


@pytest.mark.parametrize(
    ("generation", "waits_for"),
    [
        pytest.param("", {"1", "2", "10"}, id="put by for all"),
        pytest.param("2", {"2", "10"}, id="put by by the rebuild of 2"),
        pytest.param("10", {"10"}, id="put by by the rebuild of 10"),
    ],
)
def test_an_unmatched_event_waits_once_its_generation_is_live(generation: str, waits_for: set[str]) -> None:
    item = unmatched_item("org", CUSTOMER, ARRIVED, 80, generation=generation)

    assert generation_of(item) == generation
    assert {live for live in ("1", "2", "10") if read(item).waiting(live)} == waits_for


def test_an_event_that_was_withdrawn_does_not_wait() -> None:
    withdrawn = read(unmatched_item("org", CUSTOMER, ARRIVED, 80, done=90))
    assert withdrawn.done
    assert not withdrawn.waiting("1")


def test_an_event_that_is_done_keeps_its_number() -> None:
    item = unmatched_item("org", CUSTOMER, ARRIVED, 80)
    numbered = read(item)._replace(number=7)

    assert numbered.item_when_done(90) == item | {"num": {"N": "7"}, "done": {"N": "90"}}
    assert read(item).item_when_done(90) == item | {"done": {"N": "90"}}

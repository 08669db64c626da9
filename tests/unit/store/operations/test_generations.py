"""Two generations are compared item by item: what any answer is made of is told where it differs."""

import pytest

from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item, key_item
from meterstone.store.operations.differences import ItemDifference, Place, View
from meterstone.store.operations.generations import Generations
from support.memory_table import MemoryTable
from support.scenario import ORGANIZATION


def generations(place: Place, one: dict[str, Item], other: dict[str, Item]) -> list[ItemDifference]:
    """Compare two generations of one place, each given by its sort keys."""
    table = MemoryTable()
    it = Generations(table, ORGANIZATION.id)
    for name, items in (("1", one), ("2", other)):
        table.put_all(key_item(Key(it._partition(name, place), sk)) | item for sk, item in items.items())
    return it.differences("1", "2", [place]).get(place, [])


@pytest.mark.parametrize(
    ("sk", "attribute"),
    [
        pytest.param("B#item#2024-01-01#19800", "b", id="buckets"),
        pytest.param("C#item#2024-01-01#0000", "c", id="a carried value"),
        pytest.param("C#item#2024-01-01#0000", "d", id="days"),
        pytest.param("C#item#2024-01-01#0000", "p", id="published days"),
        pytest.param("F#item#value", "a", id="when a value was first seen"),
        pytest.param("H#item#2024-01-01#19800", "h", id="hours"),
        pytest.param("U#item#2024-01-01#19800#value", "h", id="hours of a value"),
    ],
)
def test_a_difference_is_told_of_each_kind_of_item(sk: str, attribute: str) -> None:
    one, other = ({sk: {attribute: {"S": text}}} for text in ("one", "other"))
    assert generations("sub", one, one) == []
    assert generations("sub", one, other) == [ItemDifference(sk, attribute, "one", "other")]
    assert generations("sub", one, {}) == [ItemDifference(sk, attribute, "one", "")]


@pytest.mark.parametrize(
    ("writers", "different"),
    [
        pytest.param({"0": "3"}, [], id="one writer"),
        pytest.param({"0": "1", "1": "2"}, [], id="two writers of the same sum"),
        pytest.param({"0": "3", "1": "3"}, [("3", "6")], id="two writers of another sum"),
        pytest.param({}, [("3", "")], id="nobody"),
    ],
)
def test_rollups_are_compared_by_their_sums_over_all_writers(
    writers: dict[str, str], different: list[tuple[str, str]]
) -> None:
    view = View("organization", ())
    one: dict[str, Item] = {"2024-01#usd#m#0": {"u01": {"N": "3"}}}
    other: dict[str, Item] = {
        f"2024-01#usd#m#{writer}": {"u01": {"N": units}} for writer, units in writers.items()
    }
    assert [(each.live, each.rebuilt) for each in generations(view, one, other)] == different

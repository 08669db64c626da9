"""What an event costs in write units, from its acceptance to the rollups: the budgets of the benchmark's part."""

from collections.abc import Sequence
from typing import Any

import pytest
from benchmarks import world, write_units
from benchmarks.fold import _table, batch_of
from benchmarks.posting import SHARD
from benchmarks.write_units import BULK, FURTHER, LONE, TOGETHER, Units

from meterstone.store.counting.stream import StreamFold
from meterstone.store.dynamodb.errors import ConflictError


def total(units: Units) -> float:
    return sum(units.values())


@pytest.mark.parametrize("full", [False, True], ids=["first of a month", "last of a month"])
@pytest.mark.parametrize("scattered", [False, True], ids=["one plan", "many plans"])
def test_an_event_in_bulk(*, scattered: bool, full: bool) -> None:
    assert total(write_units.bulk(scattered=scattered, full=full)) <= BULK


def test_a_further_meter() -> None:
    assert total(write_units.bulk(many=2)) - total(write_units.bulk()) <= FURTHER


def test_all_or_none() -> None:
    assert total(write_units.all_or_none()) - total(write_units.bulk()) <= TOGETHER


@pytest.mark.parametrize(
    ("full", "conditions"),
    [
        pytest.param(False, 2, id="first of all"),
        pytest.param(True, 1, id="last of a month"),
    ],
)
def test_a_lone_event(conditions: int, *, full: bool) -> None:
    """One for the event; counter and hours; the rollups of the organization, plan, country, and both.

    It counts under a condition on the subscription's external id. The first that counts for a customer notes that
    in the customer's item, too.
    """
    units = write_units.lone(full=full)
    assert units == {"event": 1, "counter": 2, "hours": 2, "rollup": 2 * 4, "catalogue": 2 * conditions}
    assert total(units) <= LONE


def test_events_beside_the_hours_are_packed_when_there_are_many() -> None:
    """Ten events of an hour leave room for ten more, twice; then all go into one detail."""
    assert ["detail" in units for units in write_units.hour_by_hour(5)] == [False, False, False, True, False]


def test_no_transaction_of_a_batch_is_in_the_way_of_the_next() -> None:
    """Four tallies of each subscription stand in several transactions, which note the same latest event."""
    table = _table(50)
    refused = 0
    plain = table.transact

    def transact(actions: Sequence[Any]) -> None:
        nonlocal refused
        try:
            plain(actions)
        except ConflictError:
            refused += 1
            raise

    table.transact = transact  # type: ignore[method-assign]
    folding = StreamFold(table)
    for number in range(2):
        folding.fold(batch_of(1000, 50, number, same=False), SHARD, world.NOW)
    assert refused == 0

"""What an event costs in write units, from its acceptance to the rollups: the budgets of the benchmark's part."""

import pytest
from benchmarks import write_units
from benchmarks.write_units import BULK, FURTHER, LONE, TOGETHER, Units


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

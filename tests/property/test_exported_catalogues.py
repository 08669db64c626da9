"""What is stored is written to a folder that, loaded, changes nothing, and stores the same in an empty table."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given

from meterstone.store.operations.load import StoredCatalogue, read_stored
from meterstone.usage.instant import parse_instant
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Customer
from meterstone_cli.catalogue import Catalogue, Places, read_catalogue
from meterstone_cli.catalogue.stored import written_to
from meterstone_cli.files.loading import load_catalogue
from support.memory_table import MemoryTable
from support.scenario import ORGANIZATION, Scenario, scenarios

ROOT = Path(__file__).parents[2]
NOW = parse_instant("2026-03-01T00:00:00Z")


def stored(table: MemoryTable, organization_id: str) -> StoredCatalogue:
    found = read_stored(table, organization_id)
    assert found is not None
    return found


def exported_and_loaded(table: MemoryTable, organization_id: str) -> None:
    before, items = stored(table, organization_id), table.items()
    with TemporaryDirectory() as place:
        written_to(Path(place), before)
        catalogue, places = read_catalogue(Path(place))
        assert load_catalogue(table, catalogue, places, NOW).nothing
        assert table.items() == items
        other = MemoryTable()
        assert not load_catalogue(other, catalogue, places, NOW).problems
    after = stored(other, organization_id)
    assert (after.customers, after.prices, after.terms) == (before.customers, before.prices, before.terms)
    assert sorted(after.account.meters, key=str) == sorted(before.account.meters, key=str)


@pytest.mark.parametrize("folder", ["examples/demo/catalogue", "examples/small/catalogue"])
def test_an_example_goes_through_the_table_and_back(folder: str) -> None:
    catalogue, places = read_catalogue(ROOT / folder)
    table = MemoryTable()
    assert not load_catalogue(table, catalogue, places, NOW).problems
    exported_and_loaded(table, catalogue.organization.id)


@given(scenario=scenarios(most_events=1))
def test_any_catalogue_goes_through_the_table_and_back(scenario: Scenario) -> None:
    table = MemoryTable()
    codes = sorted({fact.value for each in scenario.subscriptions for fact in each.plan})
    customers = {
        each.customer_id: Customer(each.customer_id, country=each.country, customer_type=each.customer_type)
        for each in scenario.subscriptions
    }
    catalogue = Catalogue(
        ORGANIZATION,
        tuple(customers.values()),
        tuple(map(Plan, codes)),
        tuple(scenario.meters),
        tuple(
            {
                item.price.id: item.price for each in scenario.subscriptions for item in each.line_items
            }.values()
        ),
        tuple(scenario.subscriptions),
    )
    # What the rules refuse is not stored: line items that have no time, subscriptions that overlap.
    load_catalogue(table, catalogue, Places({}), NOW)
    exported_and_loaded(table, ORGANIZATION.id)

"""A catalogue that is written as it is: what a test needs that begins with one, or changes it behind all rules."""

from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.load import write_catalogue
from meterstone_cli.catalogue import Catalogue


def write_stored(table: Table, catalogue: Catalogue) -> None:
    """Store a catalogue's records, each by itself, without asking what they would change."""
    entries: list[tuple[str, str, object]] = [("customer", each.id, each) for each in catalogue.customers]
    entries += [("plan", plan.code, plan) for plan in catalogue.plans]
    entries += [("price", price.id, price) for price in catalogue.prices]
    write_catalogue(table, catalogue.organization, catalogue.meters, catalogue.subscriptions, entries)

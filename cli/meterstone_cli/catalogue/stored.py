"""The catalogue as it is stored, in the form of its files."""

from collections.abc import Mapping

from meterstone.contracts.catalogue_records import record_of
from meterstone.store.operations.load import StoredCatalogue

type Records = Mapping[str, list[dict[str, object]]]


def records_of(stored: StoredCatalogue) -> dict[str, list[dict[str, object]]]:
    """Return all records of a stored catalogue by kind, as the files of the kinds are called, in order of id."""
    customers = sorted(stored.customers.values(), key=lambda each: each.id)
    return {
        "meters": [record_of(each) for each in sorted(stored.account.meters, key=lambda each: each.id)],
        "prices": [record_of(stored.prices[each]) for each in sorted(stored.prices)],
        "plans": [record_of(stored.plans[each]) for each in sorted(stored.plans)],
        "customers": [record_of(each) for each in customers],
        "subscriptions": [record_of(stored.terms[each]) for each in sorted(stored.terms)],
    }

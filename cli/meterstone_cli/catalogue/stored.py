"""The stored catalogue in the form of its files, and written as a folder of them."""

from pathlib import Path
from typing import Any

import yaml

from meterstone.contracts.catalogue_records import record_of
from meterstone.store.operations.load import StoredCatalogue

_WIDTH = 110


def records_of(stored: StoredCatalogue) -> dict[str, list[dict[str, Any]]]:
    """Return all records of a stored catalogue by kind, as the files of the kinds are called, in order of id."""
    return {
        "meters": [record_of(each) for each in sorted(stored.account.meters, key=lambda each: each.id)],
        "prices": [record_of(stored.prices[each]) for each in sorted(stored.prices)],
        "plans": [record_of(stored.plans[each]) for each in sorted(stored.plans)],
        "customers": [record_of(stored.customers[each]) for each in sorted(stored.customers)],
        "subscriptions": [record_of(stored.terms[each]) for each in sorted(stored.terms)],
    }


def written_to(folder: Path, stored: StoredCatalogue) -> dict[str, int]:
    """Write a stored catalogue to a folder, a file for each kind. Return how many records each file has."""
    folder.mkdir(parents=True, exist_ok=True)
    organization = stored.account.organization
    record = {"id": organization.id, "name": organization.name, "timezone": organization.timezone}
    (folder / "organization.yaml").write_text(as_yaml(record), "utf-8")
    found = records_of(stored)
    for kind, records in found.items():
        (folder / f"{kind}.yaml").write_text(as_yaml(records), "utf-8")
    return {kind: len(records) for kind, records in found.items()}


def as_yaml(value: dict[str, Any] | list[dict[str, Any]]) -> str:
    """Write records as YAML. Texts that could be read as anything else are quoted."""
    return yaml.dump(
        value,
        Dumper=yaml.CSafeDumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=_WIDTH,
    )

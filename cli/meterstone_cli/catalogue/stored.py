"""The catalogue as it is stored: read as one value, and written when it was compared with that."""

import msgspec

from meterstone.catalogue.building import Plan
from meterstone.pricing.price import Price
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.load import StoredDocuments, read_documents, write_catalogue
from meterstone.store.operations.purge_records import refuse_open_purges
from meterstone.usage.subscription import Customer, Subscription
from meterstone_cli.catalogue.catalogue import Catalogue
from meterstone_cli.session import refuse_a_wrong_clock


def read_stored(table: Table, organization_id: str) -> Catalogue | None:
    """Read the stored catalogue, None if the organization has none. Cost: that of `read_documents`."""
    documents = read_documents(table, organization_id)
    return None if documents is None else catalogue_of(documents)


def catalogue_of(documents: StoredDocuments) -> Catalogue:
    """Make a catalogue of its documents."""
    return Catalogue(
        documents.account.organization,
        customers=_decoded(documents, "customer", Customer),
        plans=_decoded(documents, "plan", Plan),
        meters=tuple(sorted(documents.account.meters, key=lambda meter: meter.id)),
        prices=_decoded(documents, "price", Price),
        subscriptions=_decoded(documents, "subscription", Subscription),
    )


def half_written(table: Table, organization_id: str) -> bool:
    """Return whether a catalogue was not written to its end: the same one must be written again."""
    account = read_account(table, organization_id, consistent=True)
    return account is not None and account.loading_at is not None


def write_stored(table: Table, catalogue: Catalogue, stored: StoredDocuments | None = None) -> None:
    """Store a catalogue that was compared with the stored one, adding and replacing. Raises `BusyError`.

    Of ``stored`` documents, only those that differ are written.
    """
    refuse_a_wrong_clock(table)
    account = read_account(table, catalogue.organization.id, consistent=True)
    if account is not None and account.next is not None:
        # It does not come back to the events that it has counted by the catalogue as it was.
        raise BusyError("a rebuild is running, or was stopped: load when it is through, or given up")
    refuse_open_purges(table, catalogue.organization.id)
    entries: list[tuple[str, str, object]] = [("customer", each.id, each) for each in catalogue.customers]
    entries += [("plan", plan.code, plan) for plan in catalogue.plans]
    entries += [("price", price.id, price) for price in catalogue.prices]
    write_catalogue(table, catalogue.organization, catalogue.meters, catalogue.subscriptions, entries, stored)


def _decoded[T](documents: StoredDocuments, kind: str, value: type[T]) -> tuple[T, ...]:
    decoder = msgspec.json.Decoder(value)
    found = documents.texts.get(kind, {})
    return tuple(decoder.decode(found[name]) for name in sorted(found))

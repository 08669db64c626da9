"""The catalogue as it is stored: read as one value, and written when it was compared with that."""

import msgspec

from meterstone.pricing.price import Price
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.catalogue.subscriptions import read_subscriptions
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.load import read_entries, write_catalogue
from meterstone.store.operations.purge_records import refuse_open_purges
from meterstone.usage.subscription import Customer
from meterstone_cli.catalogue.catalogue import Catalogue, Plan
from meterstone_cli.session import refuse_a_wrong_clock


def read_stored(table: Table, organization_id: str) -> Catalogue | None:
    """Read the stored catalogue, None if the organization has none. Cost: 1 query, 1 get a subscription."""
    account = read_account(table, organization_id, consistent=True)
    if account is None:
        return None
    entries = read_entries(table, organization_id)
    subscriptions = read_subscriptions(
        table, organization_id, entries.get("subscription", {}), consistent=True
    )
    return Catalogue(
        account.organization,
        customers=_decoded(entries, "customer", Customer),
        plans=_decoded(entries, "plan", Plan),
        meters=tuple(sorted(account.meters, key=lambda meter: meter.id)),
        prices=_decoded(entries, "price", Price),
        subscriptions=tuple(sorted(subscriptions, key=lambda subscription: subscription.id)),
    )


def half_written(table: Table, organization_id: str) -> bool:
    """Return whether a catalogue was not written to its end: the same one must be written again."""
    account = read_account(table, organization_id, consistent=True)
    return account is not None and account.loading_at is not None


def write_stored(table: Table, catalogue: Catalogue) -> None:
    """Store a catalogue that was compared with the stored one, adding and replacing. Raises `BusyError`."""
    refuse_a_wrong_clock(table)
    account = read_account(table, catalogue.organization.id, consistent=True)
    if account is not None and account.next is not None:
        # It does not come back to the events that it has counted by the catalogue as it was.
        raise BusyError("a rebuild is running, or was stopped: load when it is through, or given up")
    refuse_open_purges(table, catalogue.organization.id)
    entries: list[tuple[str, str, object]] = [("customer", each.id, each) for each in catalogue.customers]
    entries += [("plan", plan.code, plan) for plan in catalogue.plans]
    entries += [("price", price.id, price) for price in catalogue.prices]
    write_catalogue(table, catalogue.organization, catalogue.meters, catalogue.subscriptions, entries)


def _decoded[T](entries: dict[str, dict[str, str]], kind: str, value: type[T]) -> tuple[T, ...]:
    decoder = msgspec.json.Decoder(value)
    found = entries.get(kind, {})
    return tuple(decoder.decode(found[name]) for name in sorted(found))

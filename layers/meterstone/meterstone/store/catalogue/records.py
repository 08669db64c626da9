"""Records of the catalogue as they are written: documents, and the items that they are found by."""

from collections.abc import Iterator, Sequence

import msgspec

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item, key_item
from meterstone.usage.meter import Meter
from meterstone.usage.subscription import Organization, Subscription


def organization_items(organization: Organization, meters: Sequence[Meter]) -> Iterator[tuple[Key, str]]:
    """Return an organization's documents."""
    yield keys.organization(organization.id, "meters"), encode_document(tuple(meters))
    yield keys.organization(organization.id, "profile"), encode_document(organization)


def subscription_items(organization_id: str, subscription: Subscription) -> Iterator[Item]:
    """Return a subscription's document and the items that it is found by."""
    found_by = (
        keys.of_customer(organization_id, subscription.customer_id, subscription.id),
        keys.by_external_id(organization_id, subscription.external_id, subscription.id),
    )
    document = {"doc": {"S": encode_document(subscription)}}
    yield key_item(keys.subscription(organization_id, subscription.id)) | document
    for key in found_by:
        yield key_item(key) | {"id": {"S": subscription.id}}


def encode_document(value: object) -> str:
    """Return a domain value as the JSON text that is stored of it."""
    return msgspec.json.encode(value, order="deterministic").decode()

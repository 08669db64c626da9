"""Records of the catalogue as they are written: documents, and items by which the documents are found."""

from collections.abc import Iterator, Sequence

import msgspec

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item, key_item
from meterstone.usage.meter import Meter
from meterstone.usage.subscription import Organization, Subscription


def organization_items(organization: Organization, meters: Sequence[Meter]) -> Iterator[tuple[Key, str]]:
    """Yield the documents of an organization, each with its key."""
    yield keys.organization(organization.id, "meters"), encode_document(tuple(meters))
    yield keys.organization(organization.id, "profile"), encode_document(organization)


def subscription_items(organization_id: str, subscription: Subscription) -> Iterator[Item]:
    """Yield a subscription's document, and the items by which it is found."""
    found_by = (
        keys.of_customer(organization_id, subscription.customer_id, subscription.id),
        keys.by_external_id(organization_id, subscription.external_id, subscription.id),
    )
    document = {"doc": {"S": encode_document(subscription)}}
    yield key_item(keys.subscription(organization_id, subscription.id)) | document
    for key in found_by:
        yield key_item(key) | {"id": {"S": subscription.id}}


def encode_document(value: object) -> str:
    """Return the JSON text under which a domain value is stored."""
    return msgspec.json.encode(value, order="deterministic").decode()

"""Administration of API keys: making, listing and revoking them. `accounts.Accounts` looks them up."""

import secrets
from collections.abc import Collection

import msgspec

from meterstone.api_key import RANDOM_BYTES, key_of
from meterstone.scope import ALL_SCOPES, Scope, format_scopes
from meterstone.store.catalogue.accounts import read_account, scopes_of
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST
from meterstone.store.dynamodb.table import Item, Row, Table, integer, key_item, text

_ID_BYTES = 6


class ApiKey(msgspec.Struct, frozen=True):
    """An API key as it is listed. The key itself is shown once, when it is made, and stored nowhere."""

    id: str
    organization_id: str
    name: str
    created_at: int
    revoked_at: int | None = None
    scopes: frozenset[Scope] = ALL_SCOPES


def create_key(
    table: Table, organization_id: str, name: str, now: int, scopes: Collection[Scope] = ()
) -> tuple[str, str]:
    """Make an API key with some scopes; none given: all. Return the key, which cannot be read again, and its id.

    Raises `StoredFormatError` if the organization is stored in another format than this code's.
    """
    read_account(table, organization_id, consistent=True)
    key, key_id = key_of(secrets.token_bytes(RANDOM_BYTES)), secrets.token_hex(_ID_BYTES)
    found = keys.api_key(key)
    shared: Item = {
        "org": {"S": organization_id},
        "id": {"S": key_id},
        "name": {"S": name},
        "created_at": {"N": str(now)},
    }
    if scopes:
        shared["scopes"] = {"S": format_scopes(scopes)}
    listing = key_item(keys.key_listing(key_id)) | {"digest": {"S": keys.digest_of(found)}}
    put = {"TableName": table.name, "ConditionExpression": "attribute_not_exists(pk)"}
    table.transact([{"Put": put | {"Item": item | shared}} for item in (key_item(found), listing)])
    return key, key_id


def list_keys(table: Table) -> list[ApiKey]:
    """List all API keys, also the revoked ones, oldest first."""
    rows = table.query(keys.key_listing("").pk, FIRST, LAST, consistent=True)
    return sorted((_api_key(row) for row in rows), key=lambda each: (each.created_at, each.id))


def revoke_key(table: Table, key_id: str, now: int) -> bool:
    """Revoke an API key, which stays listed. Return False if there is no key of that id.

    A function that does not remember the key refuses it at once. All refuse it after `accounts.REMEMBERED`
    seconds. Raises `StoredFormatError` if the key's organization is stored in another format than this code's.
    """
    listing = keys.key_listing(key_id)
    row = table.get(listing, consistent=True)
    if row is None:
        return False
    read_account(table, text(row, "org"), consistent=True)
    if "revoked_at" not in row:
        change = {
            "TableName": table.name,
            "UpdateExpression": "SET revoked_at = :now",
            "ExpressionAttributeValues": {":now": {"N": str(now)}},
        }
        both = (listing, keys.api_key_by_digest(text(row, "digest")))
        table.transact([{"Update": change | {"Key": key_item(key)}} for key in both])
    return True


def _api_key(row: Row) -> ApiKey:
    revoked = integer(row, "revoked_at") if "revoked_at" in row else None
    made = integer(row, "created_at")
    return ApiKey(text(row, "id"), text(row, "org"), text(row, "name"), made, revoked, scopes_of(row))

"""The catalogue as it is stored: API keys, organizations, meters, subscriptions with all that prices them."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import msgspec

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST, Key
from meterstone.store.dynamodb.table import (
    Action,
    Item,
    ReadCost,
    Row,
    StoreError,
    Table,
    integer,
    key_item,
    text,
)
from meterstone.usage.instant import MINUTE
from meterstone.usage.meter import Meter
from meterstone.usage.subscription import Organization, Subscription

#: A revoked key works for at most this many seconds more, where it is remembered.
REMEMBERED = 30.0

_MOST_REMEMBERED = 1000
_FIRST_GENERATION = "1"
#: How long a catalogue that is being written may be silent; one that is for longer is taken as it stands.
_LOADS = 2 * MINUTE

_ORGANIZATION = msgspec.json.Decoder(Organization)
_SUBSCRIPTION = msgspec.json.Decoder(Subscription)
_METERS = msgspec.json.Decoder(tuple[Meter, ...])


class UnknownSubscriptionError(StoreError):
    """The organization has no subscription of that id."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One counting of all events. Those accepted up to ``cut`` were left to the rebuild that made it; 0: none."""

    name: str
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """Whose key it is, and which generation of counters is the live one."""

    organization: Organization
    generation: str
    meters: tuple[Meter, ...] = ()
    #: Raised whenever the catalogue is written: what was read of it before may be out of date.
    version: int = 0
    #: The live generation's.
    cut: int = 0
    #: The generation that a rebuild is filling, and the one that another has replaced a moment ago: events are
    #: counted into these, too.
    next: Generation | None = None
    previous: Generation | None = None
    #: When its writer was last heard of, if the catalogue is being written, or was not to its end.
    loading_at: int | None = None
    #: The views of the rollups that the live generation has.
    views: tuple[str, ...] = keys.FIRST_VIEWS

    def unsettled(self, now: int) -> bool:
        """Tell whether what was read of the catalogue may be half old, half new, and will not be in a moment."""
        return self.loading_at is not None and now < self.loading_at + _LOADS

    @property
    def live(self) -> Generation:
        """The generation that is read."""
        return Generation(self.generation, self.cut)

    def deleted_codes(self, now: int) -> frozenset[str]:
        """Name the codes that no live metric has."""
        live = {meter.code for meter in self.meters if meter.deleted_at is None or meter.deleted_at > now}
        return frozenset(meter.code for meter in self.meters) - live


class Accounts:
    """Looks API keys up, and remembers them for `REMEMBERED` seconds."""

    def __init__(self, table: Table) -> None:
        """Look keys up in a table."""
        self._table = table
        self._known: dict[Key, tuple[float, Account]] = {}

    def account(self, api_key: str) -> Account | None:
        """Give the account of a key; None if it is unknown or revoked. Cost: 1 get and 1 query, or nothing."""
        key = keys.api_key(api_key)
        # The time of day: a monotonic clock may stand still while the function is frozen between two requests.
        clock = time.time()
        known = self._known.get(key)
        if known is not None and 0 <= clock - known[0] < REMEMBERED:
            return known[1]
        self._known.pop(key, None)
        row = self._table.get(key)
        if row is None or "revoked_at" in row:
            return None
        account = read_account(self._table, text(row, "org"))
        if account is not None:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[key] = clock, account
        return account


class AccountStore:
    """A table that is opened by API keys: what every function that answers HTTP needs of it. One a thread."""

    def __init__(self, table: Table) -> None:
        """Look keys up in a table."""
        self.table = table
        self._accounts = Accounts(table)

    @classmethod
    def from_environment(cls) -> Self:
        """Open the table named by ``TABLE_NAME``; ``AWS_ENDPOINT_URL_DYNAMODB`` chooses the engine."""
        return cls(Table.from_environment())

    @property
    def cost(self) -> ReadCost:
        """What was read since it was last reset."""
        return self.table.cost

    def account(self, api_key: str) -> Account | None:
        """Return the account of an API key; None if it is unknown or revoked. Remembered for 30 seconds."""
        return self._accounts.account(api_key)


def read_account(table: Table, organization_id: str, *, consistent: bool = False) -> Account | None:
    """Read an organization with its meters; None if there is none. Cost: 1 query."""
    pk = keys.organization(organization_id, "").pk
    rows = {text(row, "sk"): row for row in table.query(pk, "m", "q", consistent=consistent)}
    if "profile" not in rows:
        return None
    meters = _METERS.decode(text(rows["meters"], "doc")) if "meters" in rows else ()
    profile = rows["profile"]
    return Account(
        _ORGANIZATION.decode(text(profile, "doc")),
        text(profile, "gen") or _FIRST_GENERATION,
        meters,
        integer(profile, "ver"),
        integer(profile, "cut"),
        _generation(profile, "next"),
        _generation(profile, "prev"),
        integer(profile, "loading_at") if "loading_at" in profile else None,
        keys.parse_views(text(profile, "views")),
    )


def unchanged(table: Table, organization_id: str, account: Account | None) -> Action:
    """Give the action that lets a transaction happen as long as the catalogue is the one that was read."""
    check: Action = {
        "TableName": table.name,
        "Key": key_item(keys.organization(organization_id, "profile")),
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    if account is None:
        return {"ConditionCheck": check | {"ConditionExpression": "attribute_not_exists(pk)"}}
    version = {":version": {"N": str(account.version)}}
    check |= {"ConditionExpression": "ver = :version", "ExpressionAttributeValues": version}
    return {"ConditionCheck": check}


def _generation(profile: Row, which: str) -> Generation | None:
    name = text(profile, f"gen_{which}")
    return Generation(name, integer(profile, f"cut_{which}")) if name else None


def read_subscription(
    table: Table, organization_id: str, subscription_id: str, *, consistent: bool = False
) -> Subscription:
    """Read a subscription with its line items, meters and prices.

    Raises `UnknownSubscriptionError`. Cost: 1 get.
    """
    row = table.get(keys.subscription(organization_id, subscription_id), consistent=consistent)
    if row is None:
        raise UnknownSubscriptionError(subscription_id)
    return unpack_subscription(row)


def unpack_subscription(row: Row) -> Subscription:
    """Read a subscription from its item."""
    return _SUBSCRIPTION.decode(text(row, "doc"))


def read_subscriptions(
    table: Table, organization_id: str, ids: Iterable[str], *, consistent: bool = False
) -> list[Subscription]:
    """Read subscriptions by id, those that do not exist left out. Cost: 1 get each, in batches."""
    wanted = [keys.subscription(organization_id, each) for each in ids]
    rows = table.batch_get(wanted, consistent=consistent)
    return [unpack_subscription(rows[key]) for key in wanted if key in rows]


def subscriptions_of_customer(
    table: Table, organization_id: str, customer_id: str, *, consistent: bool = False
) -> list[Subscription]:
    """Read a customer's subscriptions. Cost: 1 query, and 1 get each."""
    pk = keys.of_customer(organization_id, customer_id).pk
    ids = _ids(table.query(pk, FIRST, LAST, consistent=consistent))
    found = read_subscriptions(table, organization_id, ids, consistent=consistent)
    # A mention stays when the subscription is given to another customer: the document says whose it is.
    return [each for each in found if each.customer_id == customer_id]


def subscriptions_by_external_id(
    table: Table, organization_id: str, external_id: str, *, consistent: bool = False
) -> list[Subscription]:
    """Read the subscriptions of an external id, which may be used again. Cost: 1 query, and 1 get each."""
    pk = keys.by_external_id(organization_id, external_id).pk
    ids = _ids(table.query(pk, FIRST, LAST, consistent=consistent))
    found = read_subscriptions(table, organization_id, ids, consistent=consistent)
    return [each for each in found if each.external_id == external_id]


def _ids(rows: Iterable[Row]) -> Iterator[str]:
    return (text(row, "id") for row in rows)


def organization_items(organization: Organization, meters: Sequence[Meter]) -> Iterator[tuple[Key, str]]:
    """Give an organization's documents."""
    yield keys.organization(organization.id, "meters"), encode_document(tuple(meters))
    yield keys.organization(organization.id, "profile"), encode_document(organization)


def subscription_items(organization_id: str, subscription: Subscription) -> Iterator[Item]:
    """Give a subscription's document and the items that it is found by."""
    found_by = (
        keys.of_customer(organization_id, subscription.customer_id, subscription.id),
        keys.by_external_id(organization_id, subscription.external_id, subscription.id),
    )
    document = {"doc": {"S": encode_document(subscription)}}
    yield key_item(keys.subscription(organization_id, subscription.id)) | document
    for key in found_by:
        yield key_item(key) | {"id": {"S": subscription.id}}


def encode_document(value: object) -> str:
    """Give a domain value as the JSON text that is stored of it."""
    return msgspec.json.encode(value, order="deterministic").decode()


def list_organizations(table: Table) -> list[str]:
    """List the ids of all organizations that have a catalogue. Cost: 1 query."""
    return [text(row, "sk") for row in table.query(keys.listed("").pk, FIRST, LAST)]

"""Loading a catalogue: making the table, writing the catalogue, and finding what forbids a change."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched

from botocore.exceptions import ClientError

from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.records import encode_document
from meterstone.store.catalogue.stored_format import format_of_new
from meterstone.store.catalogue.subscriptions import decode_customer, decode_subscription
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST, Key, Kind
from meterstone.store.dynamodb.table import Row, Table, key_item, text
from meterstone.store.dynamodb.transaction import READ_TOGETHER
from meterstone.store.events.log import at_once
from meterstone.usage.arrival import Subject
from meterstone.usage.plan import Plan, Prices, decode_plan, decode_price
from meterstone.usage.rules import RULES
from meterstone.usage.subscription import Customer, Organization, Subscription
from meterstone.usage.terms import Terms, decode_terms, resolve, terms_of


def create_table(table: Table) -> bool:
    """Make the table as the template does, for an engine without templates. Return False if it exists."""
    try:
        table.client.create_table(
            TableName=table.name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "due_pk", "due_at")
            ],
            KeySchema=[
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "due",
                    "KeySchema": [
                        {"AttributeName": "due_pk", "KeyType": "HASH"},
                        {"AttributeName": "due_at", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceInUseException":
            raise
        return False
    table.client.get_waiter("table_exists").wait(
        TableName=table.name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    return True


@dataclass(frozen=True, slots=True)
class StoredCatalogue:
    """A catalogue as it is stored: the account, read first, and the records by their ids.

    ``versions`` are those of plans, by code and number. ``before`` has the subscriptions that are stored as
    documents of the first format; ``terms`` has those of all, and ``unwoken`` the ids of those whose tallies are
    still to be woken.
    """

    account: Account
    customers: Mapping[str, Customer]
    plans: Mapping[str, Plan]
    versions: Mapping[tuple[str, int], Plan]
    prices: Prices
    terms: Mapping[str, Terms]
    before: Mapping[str, Subscription]
    unwoken: frozenset[str] = frozenset()

    def subscription(self, name: str) -> Subscription:
        """Return a stored subscription with all that it refers to, but for its customer's country and type."""
        if name in self.before:
            return self.before[name]
        meters = {meter.id: meter for meter in self.account.meters}
        return resolve(self.terms[name], self.versions, self.prices, meters)


def read_stored(table: Table, organization_id: str) -> StoredCatalogue | None:
    """Read a whole catalogue; None if the organization has none.

    Cost: 1 query of plans, their versions, prices, and the lists of customers and subscriptions; 1 get for each
    customer and subscription, in batches, several at once.
    """
    account = read_account(table, organization_id, consistent=True)
    if account is None:
        return None
    rows: dict[str, list[Row]] = {}
    pk = keys.catalogue(organization_id, "", "").pk
    for row in table.query(pk, FIRST, LAST, consistent=True):
        rows.setdefault(keys.parse_catalogue_kind(text(row, "sk")), []).append(row)
    prices = {
        text(row, "id"): decode_price(text(row, "doc")) for row in rows.get("price", ()) if "doc" in row
    }
    plans = {text(row, "id"): decode_plan(text(row, "doc")) for row in rows.get("plan", ()) if "doc" in row}
    versions = [decode_plan(text(row, "doc")) for row in rows.get("version", ())]
    # A customer of the first format stands in the list.
    customers = {
        text(row, "id"): decode_customer(text(row, "doc")) for row in rows.get("customer", ()) if "doc" in row
    }
    listed = [keys.customer(organization_id, text(row, "id")) for row in rows.get("customer", ())]
    mentioned = [keys.subscription(organization_id, text(row, "id")) for row in rows.get("subscription", ())]
    for row in _read_at_once(table, listed):
        if "doc" in row:
            customer = decode_customer(text(row, "doc"))
            customers[customer.id] = customer
    terms: dict[str, Terms] = {}
    before: dict[str, Subscription] = {}
    unwoken: set[str] = set()
    for row in _read_at_once(table, mentioned):
        if "terms" in row:
            found = decode_terms(text(row, "terms"))
        else:
            document = decode_subscription(text(row, "doc"))
            found = terms_of(document)
            before[found.id] = document
        terms[found.id] = found
        if "due_pk" in row:
            unwoken.add(found.id)
    return StoredCatalogue(
        account,
        customers,
        plans,
        {(each.code, each.version): each for each in versions},
        prices,
        terms,
        before,
        frozenset(unwoken),
    )


def _read_at_once(table: Table, wanted: Sequence[Key]) -> Iterator[Row]:
    several = list(batched(wanted, READ_TOGETHER, strict=False))
    for found in at_once(lambda some: table.batch_get(some, consistent=True), several):
        yield from found.values()


def put_organization(table: Table, organization: Organization) -> bool:
    """Store an organization that is new, or has another name or time zone. Return whether it was.

    Stopped half way, it is listed, and is none yet. Cost: 1 query, 1 write unit, and 1 more if it is new.
    """
    account = read_account(table, organization.id, consistent=True)
    if account is not None and account.organization == organization:
        return False
    if account is None:
        table.put(key_item(keys.listed(organization.id)))
    write_organization(table, account, organization)
    return True


def write_organization(table: Table, account: Account | None, organization: Organization) -> None:
    """Write an organization's profile, if it is new or differs from its account. Cost: up to 1 write unit."""
    assignment, values = format_of_new()
    values |= {":doc": {"S": encode_document(organization)}}
    key = keys.organization(organization.id, "profile")
    if account is None:
        named = f", counted_by = :rules, {assignment}"
        values[":rules"] = {"N": str(RULES)}
        if views := keys.views_text():
            named, values[":views"] = f"{named}, rollup_views = :views", {"S": views}
        values[":one"] = {"N": "1"}
        table.update(key, f"SET doc = :doc{named} ADD ver :one", values)
    elif account.organization != organization:
        values = {":doc": values[":doc"], ":one": {"N": "1"}}
        table.update(key, "SET doc = :doc ADD ver :one", values)


def have_usage(table: Table, organization_id: str, generation: str, ids: Iterable[str]) -> set[str]:
    """Return the ids of subscriptions for which anything was counted. Cost: for each, 0.5 or 1 read unit."""
    wanted = list(ids)
    counters = keys.usage_kind(Kind.COUNTER)
    found = at_once(
        lambda each: table.has_any(keys.usage(organization_id, generation, each), counters, consistent=True)[
            0
        ],
        wanted,
    )
    return {each for each, counted in zip(wanted, found, strict=True) if counted}


def have_events(table: Table, organization_id: str, subjects: Iterable[Subject]) -> set[Subject]:
    """Return the subjects that have any event in the log. Cost: for each, 0.5 or 1 read unit."""
    wanted = list(subjects)
    found = at_once(
        lambda subject: table.has_any(keys.event(organization_id, *subject, "").pk, consistent=True)[0],
        wanted,
    )
    return {subject for subject, logged in zip(wanted, found, strict=True) if logged}

"""Loading a catalogue: making the table, writing the catalogue, and finding what forbids a change."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched

from botocore.exceptions import ClientError

from meterstone import clock
from meterstone.store.catalogue.accounts import LOADS, Account, read_account
from meterstone.store.catalogue.records import encode_document, organization_items, subscription_items
from meterstone.store.catalogue.stored_format import format_of_new
from meterstone.store.catalogue.subscriptions import decode_subscription, read_subscriptions
from meterstone.store.counting.waking import wake_changed
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST, Key, Kind
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Item, Table, key_item, text
from meterstone.store.events.log import at_once
from meterstone.usage.arrival import Subject
from meterstone.usage.meter import Meter
from meterstone.usage.rules import RULES
from meterstone.usage.subscription import Organization, Subscription

_ITEMS_BETWEEN_WORDS = 500
_TIME_BETWEEN_WORDS = LOADS // 8
#: A load that was silent for longer stops: clocks may differ, and each word takes a moment to be written.
_LONGEST_SILENCE = LOADS // 2


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
class StoredDocuments:
    """A catalogue as it is stored: the account, read first, and documents as JSON text by kind and id."""

    account: Account
    texts: Mapping[str, Mapping[str, str]]


def write_catalogue(
    table: Table,
    organization: Organization,
    meters: Sequence[Meter],
    subscriptions: Iterable[Subscription],
    entries: Iterable[tuple[str, str, object]],
    stored: StoredDocuments | None = None,
    removed: Iterable[Key] = (),
) -> None:
    """Store a catalogue that has been checked. Storing the same one again changes nothing.

    ``removed`` are items of the stored catalogue that go, when all others are written.

    ``entries`` are its other documents, by kind and id. Only `read_documents` reads them. Each item is written by
    itself. While they are written, the profile says so. If the load is stopped half way, writing the catalogue
    again completes it. Raises `BusyError` as soon as it sees that another load has begun, or that events may have
    counted by half of it.

    ``stored`` are the documents that the catalogue was compared with: only what differs from them is written. All
    is written without them, and after a load that was stopped: a document may have been written then, and not the
    items by which it is found. Cost: 4 writes for each subscription that is written, 1 for each other document.
    """
    before = read_account(table, organization.id, consistent=True)
    known = _known(before, stored)
    kept = known.get("subscription", {})
    written = [each for each in subscriptions if kept.get(each.id) != encode_document(each)]
    changed = _changed(table, before, written, kept)
    writing = _Writing(table, organization.id, before)
    writing.begin()

    def items() -> Iterator[Item]:
        for kind, name, value in entries:
            document = encode_document(value)
            if known.get(kind, {}).get(name) != document:
                item = key_item(keys.catalogue(organization.id, kind, name))
                yield item | {"id": {"S": name}, "doc": {"S": document}}
        for subscription in written:
            yield from subscription_items(organization.id, subscription)
            mention = keys.catalogue(organization.id, "subscription", subscription.id)
            yield key_item(mention) | {"id": {"S": subscription.id}}

    for some in batched(items(), _ITEMS_BETWEEN_WORDS, strict=False):
        table.put_all(some)
        writing.go_on()
    table.delete_all(removed)
    table.put(key_item(keys.listed(organization.id)))
    wake_changed(table, organization.id, writing.along(changed))
    writing.go_on()
    profile = keys.organization(organization.id, "profile")
    for key, document in organization_items(organization, meters):
        # A load does not change the generation. The profile comes last, when everything else is written.
        values: Item = {":doc": {"S": document}, ":one": {"N": "1"}}
        named = ""
        if before is None and key == profile:
            # Nothing was counted yet, so that everything will be counted by these rules.
            assignment, new = format_of_new()
            named, values = f", counted_by = :rules, {assignment}", values | new
            values[":rules"] = {"N": str(RULES)}
            if views := keys.views_text():
                # The first generation of an organization that is new has every view from its beginning.
                named, values[":views"] = f"{named}, rollup_views = :views", {"S": views}
        expression = f"SET doc = :doc{named} REMOVE loading_at ADD ver :one"
        if key == profile:
            writing.end(expression, values)
        else:
            table.update(key, expression, values)


class _Writing:
    """What the profile says of a catalogue that is being written, as long as no other load has begun.

    The version tells whoever remembers subscriptions that there may be others. It goes up at the beginning, too:
    whoever acts under the version that it read must not have read one part before and another after. Each load
    raises it from what it read, so of two loads, the one that began first finds a version that is not its own.

    Once it is silent for `LOADS`, the fold of the stream takes the catalogue as it stands. Nobody knows by what
    part of it events have counted then. So it stops, and the mark stays: commands that count refuse the catalogue.
    """

    def __init__(self, table: Table, organization_id: str, before: Account | None) -> None:
        """Prepare to write the catalogue that follows; there may be none yet, and no profile."""
        self._table = table
        self._profile = keys.organization(organization_id, "profile")
        self._version = None if before is None else before.version
        self._heard = clock.now()

    def begin(self) -> None:
        """Raise the version, and say that the catalogue is being written now."""
        if self._version is None:
            return
        self._tell("SET loading_at = :now ADD ver :one", {":one": {"N": "1"}})
        self._version += 1

    def go_on(self) -> None:
        """Say that it still is. Of a new organization's, nobody reads yet."""
        if self._version is not None:
            self._refuse_silence()
            self._tell("SET loading_at = :now", {})
        elif self._table.get(self._profile, consistent=True) is not None:
            raise _another_load()

    def along[T](self, things: Iterable[T]) -> Iterator[T]:
        """Say that it still is while things are gone through, whenever it is time to."""
        for each in things:
            if clock.now() - self._heard > _TIME_BETWEEN_WORDS:
                self.go_on()
            yield each

    def end(self, expression: str, values: Item) -> None:
        """Write the profile, when all else is written."""
        self._refuse_silence()
        self._change(expression, values)
        self._refuse_silence()

    def _tell(self, expression: str, values: Item) -> None:
        now = clock.now()
        self._change(expression, values | {":now": {"N": str(now)}})
        self._heard = now

    def _refuse_silence(self) -> None:
        if self._version is not None and clock.now() - self._heard > _LONGEST_SILENCE:
            raise BusyError(
                "this load stood still for a while, and events may have counted by half of the catalogue: "
                "run it again, then run rebuild"
            )

    def _change(self, expression: str, values: Item) -> None:
        condition = "attribute_not_exists(pk)"
        if self._version is not None:
            condition, values = "ver = :version", values | {":version": {"N": str(self._version)}}
        if not self._table.update(self._profile, expression, values, condition=condition):
            raise _another_load()


def _another_load() -> BusyError:
    return BusyError("another load of the organization has begun: when it is through, run this again")


def _known(before: Account | None, stored: StoredDocuments | None) -> Mapping[str, Mapping[str, str]]:
    """Return the documents that need not be written if they are the same, as JSON text by kind and id.

    Raises `BusyError` if another load has begun since they were read.
    """
    if stored is None:
        return {}
    if before is None or before.version != stored.account.version:
        raise _another_load()
    return stored.texts if before.loading_at is None else {}


def _changed(
    table: Table, before: Account | None, written: Sequence[Subscription], kept: Mapping[str, str]
) -> list[tuple[Subscription, Subscription]]:
    """Return the subscriptions that differ from what is stored, as before and after.

    ``kept`` are their stored documents, by id, as far as these are known.
    """
    if before is None:
        return []
    if kept:
        known = {each.id: decode_subscription(kept[each.id]) for each in written if each.id in kept}
    else:
        ids = (each.id for each in written)
        stored = read_subscriptions(table, before.organization.id, ids, consistent=True)
        known = {each.id: each for each in stored}
    pairs = [(known[each.id], each) for each in written if each.id in known]
    # After a load that was stopped, it is not known any more what differed before.
    return [(old, new) for old, new in pairs if before.loading_at is not None or old != new]


def read_documents(table: Table, organization_id: str) -> StoredDocuments | None:
    """Read the documents of a catalogue; None if the organization has none.

    Cost: 1 query of all documents but the subscriptions', and 1 get for each of these, in batches.
    """
    account = read_account(table, organization_id, consistent=True)
    if account is None:
        return None
    texts: dict[str, dict[str, str]] = {}
    pk = keys.catalogue(organization_id, "", "").pk
    for row in table.query(pk, FIRST, LAST, consistent=True):
        kind = keys.parse_catalogue_kind(text(row, "sk"))
        texts.setdefault(kind, {})[text(row, "id")] = text(row, "doc")
    # Of a subscription only the id stands there.
    wanted = {keys.subscription(organization_id, each): each for each in texts.get("subscription", {})}
    rows = table.batch_get(wanted, consistent=True)
    texts["subscription"] = {wanted[key]: text(row, "doc") for key, row in rows.items()}
    return StoredDocuments(account, texts)


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

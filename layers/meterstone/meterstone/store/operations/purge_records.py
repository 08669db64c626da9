"""The record of a purge: which customer is being purged, and by which names it is known afterwards.

It stands in the table from before the first change until all is done, so that a purge that was stopped goes on by
the same names. With it goes the secret key of the pseudonyms. The attributes of its item:

| attribute | holds |
|---|---|
| `names` | the ids before and after, as JSON: see `Names` |
| `secret` | the key of the pseudonyms |
| `at` | when the purge began, in microseconds |
| `renaming` | when it was settled that nothing stands in the way, and renaming began; absent before |
| `swapped` | when the generation was swapped in that was counted under the new names; absent before |
"""

from secrets import token_hex
from typing import NamedTuple, Self

import msgspec

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST, Key
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Item, Row, Table, integer, key_item, text
from meterstone.usage.arrival import Subject

_SECRET_BYTES = 32


class Names(msgspec.Struct, frozen=True):
    """Ids before and after: the customer's, and by each former id those of its subscriptions and line items."""

    customer: tuple[str, str]
    subscriptions: dict[str, str]
    external_ids: dict[str, str]
    line_items: dict[str, str]

    @property
    def subjects(self) -> list[tuple[Subject, Subject]]:
        """Whose events the customer's are, before and after."""
        of_subscriptions = [
            (Subject.subscription(old), Subject.subscription(new)) for old, new in self.external_ids.items()
        ]
        old, new = self.customer
        return [(Subject.customer(old), Subject.customer(new)), *of_subscriptions]


_NAMES = msgspec.json.Decoder(Names)


class PurgeRecord(NamedTuple):
    """A purge that is under way."""

    key: Key
    names: Names
    secret: bytes
    at: int
    renaming: int = 0
    swapped: bool = False

    @classmethod
    def of(cls, row: Row) -> Self:
        """Read a record."""
        return cls(
            Key(text(row, "pk"), text(row, "sk")),
            _NAMES.decode(text(row, "names")),
            bytes.fromhex(text(row, "secret")),
            integer(row, "at"),
            integer(row, "renaming"),
            "swapped" in row,
        )

    def item(self) -> Item:
        """Return the item of a record whose generation is not swapped in yet."""
        return key_item(self.key) | {
            "names": {"S": msgspec.json.encode(self.names).decode()},
            "secret": {"S": self.secret.hex()},
            "at": {"N": str(self.at)},
        }


def new_secret() -> bytes:
    """Make a key for pseudonyms."""
    return bytes.fromhex(token_hex(_SECRET_BYTES))


def read_purges(table: Table, organization_id: str) -> list[PurgeRecord]:
    """Read the purges that are under way. Cost: 1 query."""
    pk = keys.purge(organization_id, "").pk
    return [PurgeRecord.of(row) for row in table.query(pk, FIRST, LAST, consistent=True)]


def refuse_open_purges(table: Table, organization_id: str) -> None:
    """Raise `BusyError` if a customer is being purged."""
    # Without the customer's id: the message gets into logs, where it would stay after the purge.
    if read_purges(table, organization_id):
        raise BusyError(
            "the purge of a customer is running, or was stopped: run purge-customer again first "
            "(`meterstone doctor` says of whom)"
        )

"""Quarantine: records of the stream that cannot be counted, kept for a person to look at."""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST
from meterstone.store.dynamodb.table import Item, Table, integer, key_item, text


class Poison(NamedTuple):
    """A quarantined record of the stream: it cannot be read, or the table does not take its event.

    ``record`` is its content as JSON, ``since`` the instant at which it was quarantined.
    """

    digest: str
    reason: str
    record: str
    since: int

    @classmethod
    def of(cls, record: Mapping[str, Any], reason: str, now: int) -> "Poison":
        """Make poison of a record. The same record makes the same poison, however often it is delivered."""
        content = json.dumps(record, default=str, sort_keys=True)
        return cls(sha256(content.encode()).hexdigest(), reason, content, now)

    def item(self) -> Item:
        """Return the item under which the record is stored."""
        return key_item(keys.poison(self.digest)) | {
            "record": {"S": self.record},
            "reason": {"S": self.reason},
            "put_at": {"N": str(self.since)},
        }


def list_poison(table: Table) -> Iterator[Poison]:
    """List the quarantined records. Cost: 1 query."""
    for row in table.query(keys.poison("").pk, FIRST, LAST, consistent=True):
        yield Poison(text(row, "sk"), text(row, "reason"), text(row, "record"), integer(row, "put_at"))

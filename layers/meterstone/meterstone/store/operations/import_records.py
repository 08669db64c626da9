"""What is kept of imports: how far each has come, and which of its runs are settled.

Each run of an import is a shard, named after the content and the run, and an event's position is its line. A run
is settled when everything that it logged is counted, or put by, for good: all runs of an import that was read to
its end are, and all up to the one that closed it. Nobody comes back to the events of a settled run.

The record belongs to the run that began last, and is written under its version. What a run logs and puts by is
written under the condition that no other has begun: an import that was taken for dead does neither any more.
"""

from collections.abc import Mapping
from typing import NamedTuple, Self

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Action, ConflictError, Item, Row, Table, integer, key_item, text
from meterstone.store.events.positions import ImportShard
from meterstone.usage.instant import format_instant, parse_instant


class Source(NamedTuple):
    """What is imported: a name for people, and the SHA-256 of its content."""

    name: str
    digest: str


class ImportRecord(NamedTuple):
    """How far an import has come.

    ``at`` is when its last run began, in microseconds; ``run`` that run's number, from 1. ``line`` is the line up
    to which everything is counted, ``done`` tells that it is the source's last. ``closed`` is the run that closed
    the import, if one did, and ``taken`` the last line that it found in the log. ``version`` is the record's.
    """

    source: Source
    at: int
    run: int = 0
    line: int = 0
    done: bool = False
    closed: int = 0
    taken: int = 0
    version: int = 0

    @property
    def settled(self) -> int:
        """The last run to whose events nobody comes back; 0 if there is none."""
        return self.run if self.done else self.closed

    @property
    def open(self) -> bool:
        """Whether the import is running, or was stopped."""
        return self.settled < self.run

    @property
    def shard(self) -> str:
        """The shard that the last run is."""
        return ImportShard.of(self.source.digest, self.run).name

    @classmethod
    def of(cls, row: Row) -> Self:
        """Read a record."""
        return cls(
            Source(text(row, "name"), text(row, "sk")),
            parse_instant(text(row, "at")),
            integer(row, "run"),
            integer(row, "line"),
            "done" in row,
            integer(row, "closed"),
            integer(row, "taken"),
            integer(row, "v"),
        )

    def item(self, organization_id: str) -> Item:
        """Return it as it is stored."""
        at = {"S": format_instant(self.at)}
        numbers = {
            "run": self.run,
            "line": self.line,
            "closed": self.closed,
            "taken": self.taken,
            "v": self.version,
        }
        item = key_item(keys.imported(organization_id, self.source.digest))
        item |= {"name": {"S": self.source.name}, "at": at} | ({"done": at} if self.done else {})
        return item | {name: {"N": str(number)} for name, number in numbers.items()}

    def write(self, table: Table, organization_id: str) -> Self:
        """Write it over the record that it was made of; give it as it stands then.

        Raises `BusyError` if that one has changed since.
        """
        written = self._replace(version=self.version + 1)
        condition: Action = (
            {
                "ConditionExpression": "v = :version",
                "ExpressionAttributeValues": {":version": {"N": str(self.version)}},
            }
            if self.version
            else {"ConditionExpression": "attribute_not_exists(v)"}
        )
        put: Action = {"TableName": table.name, "Item": written.item(organization_id), **condition}
        try:
            table.transact([{"Put": put}])
        except ConflictError as error:
            raise self.taken_over() from error
        return written

    def guard(self, table: Table, organization_id: str) -> Action:
        """Return the action that lets a transaction happen as long as no other run has begun."""
        return {
            "ConditionCheck": {
                "TableName": table.name,
                "Key": key_item(keys.imported(organization_id, self.source.digest)),
                "ConditionExpression": "run = :run",
                "ExpressionAttributeValues": {":run": {"N": str(self.run)}},
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }

    def taken_over(self) -> BusyError:
        """Return the error of a run that is not the last one any more."""
        return BusyError(f"another run of the import of {self.source.name} has begun: look what it does")


class Records:
    """The records of an organization's imports, as they were at one moment. What was settled then stays so."""

    def __init__(self, records: Mapping[str, ImportRecord]) -> None:
        """Take records by the digests of their sources."""
        self._records = records
        self._contents = {ImportShard.of(digest, 0).content: record for digest, record in records.items()}

    @classmethod
    def read(cls, table: Table, organization_id: str) -> Self:
        """Read all records. Cost: 1 query."""
        rows = table.query(keys.imported(organization_id, "").pk, FIRST, LAST, consistent=True)
        return cls({text(row, "sk"): ImportRecord.of(row) for row in rows})

    @property
    def all(self) -> list[ImportRecord]:
        """All records, in the order in which they were last run."""
        return sorted(self._records.values(), key=lambda each: (each.at, each.source))

    def find(self, source: Source, now: int) -> ImportRecord:
        """Return a source's record; of one that was never imported, that of a run before the first."""
        return self._records.get(source.digest) or ImportRecord(source, now)

    def owner(self, shard: str) -> ImportRecord | None:
        """Return the import that a shard is a run of; None if it began after these were read."""
        return self._contents.get(ImportShard.read(shard).content)

    def settled(self, shard: str) -> bool:
        """Return whether nobody comes back to the events of a shard."""
        owner = self.owner(shard)
        return owner is not None and ImportShard.read(shard).run <= owner.settled

    def settled_shards(self) -> frozenset[str]:
        """List the shards that deliver nothing any more."""
        return frozenset(
            ImportShard.of(digest, run + 1).name
            for digest, record in self._records.items()
            for run in range(record.settled)
        )


def refuse_open_imports(table: Table, organization_id: str) -> None:
    """Raise `BusyError` if an import is not through: its events are counted from where it stopped."""
    for record in Records.read(table, organization_id).all:
        if record.open:
            raise BusyError(
                f"the import of {record.source.name} is running, or was stopped: run it again first, "
                "or close it if its file is lost (imports --close)"
            )

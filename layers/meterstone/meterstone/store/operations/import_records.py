"""The records of imports: how far each import has come, and which of its runs are settled.

Each run of an import is a shard, named after the content and the run. An event's position is its line. A run is
settled when all events that it logged are counted, or saved as unmatched, for good. If an import was read to its
end, all its runs are settled. If it was closed, all runs up to the closing one are settled. The events of a
settled run are never delivered again.

The record belongs to the latest run, and is written under the condition that its version has not changed. A run
logs events, and saves unmatched ones, under the condition that no other run has begun. So an import that was taken
for dead can do neither any more.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Action, ConflictError, Item, Row, Table, integer, key_item, text
from meterstone.store.events.positions import ImportShard
from meterstone.usage.instant import format_instant, parse_instant


class Source(NamedTuple):
    """The source of an import: a name for people, and the SHA-256 of its content."""

    name: str
    digest: str


class ImportRecord(NamedTuple):
    """How far an import has come.

    ``at`` is when the last run began, in microseconds, and ``run`` is that run's number, from 1. ``line`` is the
    line up to which everything is counted; ``done`` says that it is the source's last line. ``closed`` is the
    number of the run that closed the import, or 0, and ``taken`` the last line that this run found in the log.
    ``faulty`` is the number of lines up to ``line`` that were put aside, or that count nowhere because of
    themselves. ``version`` is the version of the record.
    """

    source: Source
    at: int
    run: int = 0
    line: int = 0
    done: bool = False
    closed: int = 0
    taken: int = 0
    version: int = 0
    faulty: int = 0

    @property
    def settled(self) -> int:
        """The last settled run; 0 if there is none. All runs before it are settled, too."""
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
            integer(row, "faulty"),
        )

    def item(self, organization_id: str) -> Item:
        """Return the item of the record."""
        at = {"S": format_instant(self.at)}
        numbers = {
            "run": self.run,
            "line": self.line,
            "closed": self.closed,
            "taken": self.taken,
            "v": self.version,
        }
        if self.faulty:
            numbers["faulty"] = self.faulty
        item = key_item(keys.imported(organization_id, self.source.digest))
        item |= {"name": {"S": self.source.name}, "at": at} | ({"done": at} if self.done else {})
        return item | {name: {"N": str(number)} for name, number in numbers.items()}

    def write(self, table: Table, organization_id: str, guards: Sequence[Action] = ()) -> Self:
        """Replace the stored record, and return the record with its new version.

        Raises `BusyError` if the stored record has changed since it was read, or a condition of ``guards`` fails.
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
            table.transact([{"Put": put}, *guards])
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

    def unchanged(self, table: Table, organization_id: str) -> Action:
        """Return the action that lets a transaction happen as long as the stored record is this one."""
        return {
            "ConditionCheck": {
                "TableName": table.name,
                "Key": key_item(keys.imported(organization_id, self.source.digest)),
                "ConditionExpression": "v = :version",
                "ExpressionAttributeValues": {":version": {"N": str(self.version)}},
            }
        }

    def taken_over(self) -> BusyError:
        """Return the error for a run when another run has begun."""
        return BusyError(f"another run of the import of {self.source.name} has begun: look what it does")


class Records:
    """The records of an organization's imports at one moment. Runs that were settled then stay settled."""

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
        """Return a source's record; if it was never imported, the record of a run before the first."""
        return self._records.get(source.digest) or ImportRecord(source, now)

    def owner(self, shard: str) -> ImportRecord | None:
        """Return the import whose run a shard is; None if it began after the records were read."""
        return self._contents.get(ImportShard.read(shard).content)

    def settled(self, shard: str) -> bool:
        """Return whether a shard is a settled run: its events are never delivered again."""
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
    """Raise `BusyError` if an import is not finished: it still has to count events that it has logged."""
    for record in Records.read(table, organization_id).all:
        if record.open:
            raise BusyError(
                f"the import of {record.source.name} is running, or was stopped: run it again first, "
                "or close it if its file is lost (imports --close)"
            )

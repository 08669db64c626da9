"""Importing usage: events into the log, from the log into the counters, each once however often it is stopped.

Each run of an import is a stream of its own: its shard is named after the content and the run, and an event's
position is its line. A batch is logged, then folded, then the import's record moves past it. Run again after a
stop, the log knows the events of the unfinished batch as this import's own and they are folded again, under the
positions of the run that logged them: those that were counted are at or below what the ledgers remember. What an
earlier run refused and this one takes has a position in this one's shard, where no later line was counted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import batched
from typing import NamedTuple

from meterstone.store import keys
from meterstone.store.catalogue import (
    Account,
    read_account,
    read_subscription,
    subscriptions_by_external_id,
    subscriptions_of_customer,
)
from meterstone.store.event_log import Entry, EventLog
from meterstone.store.fold import Fold, Logged
from meterstone.store.lease import Busy
from meterstone.store.table import Row, Table, integer, key_item, text
from meterstone.usage.arrival import AHEAD, LARGEST_EVENT, Outcome, Target, content, too_large
from meterstone.usage.instant import format_instant
from meterstone.usage.ledger import Position
from meterstone.usage.meter import Event
from meterstone.usage.subscription import Subscription

_BATCH = 5000
_SHARD_DIGITS = 16
_MOST_TARGETS = 20_000


class Source(NamedTuple):
    """What is imported: a name for people, and the SHA-256 of its content."""

    name: str
    digest: str


class Given(NamedTuple):
    """A line of a source: its number, whose event it is, and the event."""

    line: int
    target: Target
    event: Event


@dataclass(slots=True)
class ImportReport:
    """What became of a source's events.

    ``counted`` events are new. ``uncounted`` says by line which meters could not use one of them, or that none is
    for it, and why. ``duplicates`` were logged before with the same content. ``resumed_after`` is the line up to
    which an earlier run had come; ``finished_before`` tells that the whole source had been imported, so that it
    was not read again: only what the clock has brought since was published.
    """

    counted: int = 0
    duplicates: int = 0
    uncounted: list[tuple[int, str]] = field(default_factory=list)
    resumed_after: int = 0
    finished_before: bool = False


class Importer:
    """Imports usage of one organization."""

    def __init__(self, table: Table, account: Account) -> None:
        """Write to a table, into the account's live generation."""
        self._table = table
        self._organization_id = account.organization.id
        self._log = EventLog(table, self._organization_id)
        self._fold = Fold(table, self._organization_id, account.generation)
        self._targets: dict[Target, list[Subscription]] = {}

    def run(
        self,
        source: Source,
        given: Iterable[Given],
        now: int,
        refuse: Callable[[int, Given, str], None],
    ) -> ImportReport:
        """Import a source's events in the order of their lines; `refuse` is told of those that are not logged.

        Raises `Busy` while a rebuild runs.
        """
        report = ImportReport()
        records = {text(row, "sk"): row for row in self._table.query(self._imports, " ", "~")}
        record = records.get(source.digest)
        if record is not None and "done" in record:
            report.finished_before = True
            self._fold.roll(self._subscription, now)
            return report
        run = 1
        self._refuse_beside_a_rebuild()
        if record is not None:
            report.resumed_after, run = integer(record, "line"), integer(record, "run") + 1
        self._fold.forget = frozenset(
            _shard(each, number + 1)
            for each, row in records.items()
            if "done" in row
            for number in range(integer(row, "run"))
        )
        unfinished = {_stream(each): row for each, row in records.items() if "done" not in row}
        self._remember(source, run, report.resumed_after, now)
        # A rebuild that has begun meanwhile is seen here, or has seen that this import is not through.
        self._refuse_beside_a_rebuild()
        new = (each for each in given if each.line > report.resumed_after)
        for batch in batched(new, _BATCH, strict=False):
            for each, reason in self._import(_shard(source.digest, run), batch, unfinished, now, report):
                refuse(each.line, each, reason)
            self._remember(source, run, batch[-1].line, now)
        self._fold.roll(self._subscription, now)
        self._remember(source, run, 0, now, done=True)
        return report

    def _import(
        self,
        shard: str,
        batch: Sequence[Given],
        unfinished: Mapping[str, Row],
        now: int,
        report: ImportReport,
    ) -> list[tuple[Given, str]]:
        """Log and fold a batch; give what was refused, and why."""
        refused: list[tuple[Given, str]] = []
        taken: list[tuple[Given, Entry, list[Subscription]]] = []
        for each in batch:
            held = self._subscriptions(each.target)
            owning = [subscription for subscription in held if subscription.span.holds(each.event.at)]
            reason = _refusal(each, held, owning, now)
            if reason is None:
                taken.append((each, Entry(Position(shard, each.line), each.target, each.event), owning))
            else:
                refused.append((each, reason))
        logged: list[Logged] = []
        for (each, entry, owning), appended in zip(
            taken, self._log.append([entry for _, entry, _ in taken]), strict=True
        ):
            if appended.outcome is Outcome.CONFLICT:
                refused.append((each, "another event has this transaction id"))
                continue
            held_at = appended.position
            if held_at is None:  # It came over HTTP, and is counted from there.
                report.duplicates += 1
                continue
            own = _stream_of(held_at) == _stream_of(entry.position)
            if own and held_at.number == entry.position.number:
                logged.append(Logged(held_at, entry.event, owning))
            elif not own and _stream_of(held_at) in unfinished:
                name = text(unfinished[_stream_of(held_at)], "name")
                refused.append((each, f"belongs to an import that was stopped: run {name} again"))
            else:
                report.duplicates += 1
        folded = self._fold.fold(logged, now)
        report.counted += len(logged)
        report.uncounted += [(position.number, reason) for position, reason in folded.uncounted]
        return refused

    def _refuse_beside_a_rebuild(self) -> None:
        account = read_account(self._table, self._organization_id, consistent=True)
        if account is None or account.next is not None:
            raise Busy("a rebuild is running, or was stopped: import when it is through, or given up")
        self._fold.generation = account.generation

    def _subscriptions(self, target: Target) -> list[Subscription]:
        found = self._targets.get(target)
        if found is None:
            read = subscriptions_by_external_id if target.kind == "s" else subscriptions_of_customer
            if len(self._targets) >= _MOST_TARGETS:
                self._targets.clear()
            found = self._targets[target] = read(self._table, self._organization_id, target.external_id)
        return found

    def _subscription(self, subscription_id: str) -> Subscription:
        return read_subscription(self._table, self._organization_id, subscription_id)

    @property
    def _imports(self) -> str:
        return keys.imported(self._organization_id, "").pk

    def _remember(self, source: Source, run: int, line: int, now: int, *, done: bool = False) -> None:
        item = key_item(keys.imported(self._organization_id, source.digest))
        item |= {"name": {"S": source.name}, "at": {"S": format_instant(now)}}
        item |= {"run": {"N": str(run)}, "line": {"N": str(line)}}
        if done:
            item["done"] = {"S": format_instant(now)}
        self._table.put(item)


def _stream(digest: str) -> str:
    """Name a source's stream, of which each run is a shard."""
    return "i" + digest[:_SHARD_DIGITS]


def _shard(digest: str, run: int) -> str:
    return f"{_stream(digest)}.{run}"


def _stream_of(position: Position) -> str:
    return position.shard.partition(".")[0]


def _refusal(
    given: Given, held: Sequence[Subscription], owning: Sequence[Subscription], now: int
) -> str | None:
    if not held:
        kind = "subscription" if given.target.kind == "s" else "subscription of the customer"
        return f"there is no {kind} {given.target.external_id!r}"
    if not owning:
        return "the subscription does not hold this time"
    if given.event.at > now + AHEAD:
        return "lies more than 5 minutes ahead"
    if too_large(content(given.event)):
        return f"is larger than {LARGEST_EVENT} bytes"
    return None

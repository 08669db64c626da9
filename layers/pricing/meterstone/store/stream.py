"""Folding the table's stream: each event that came in over HTTP is counted once, whatever is delivered again.

The stream hands over every change of the table, in order within a shard, at least once. Taken are events that are
new to the log and have no position of their own (those of an import have: it folds them itself). An event's
position is its sequence number within its shard.

Before a batch's events are counted, what cannot be is set aside: a record that cannot be read, with the reason,
and an event that nobody's line item is for yet, to be counted when the catalogue has caught up. Both are put under
keys made of the record itself, so that the same batch again changes nothing.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

from meterstone.store import keys
from meterstone.store.catalogue import (
    Account,
    read_account,
    subscriptions_by_external_id,
    subscriptions_of_customer,
)
from meterstone.store.fold import WRITERS, Fold, Logged
from meterstone.store.ledgers import STREAM
from meterstone.store.table import Item, Table, key_item
from meterstone.usage.arrival import Target
from meterstone.usage.ledger import Position
from meterstone.usage.meter import Event
from meterstone.usage.subscription import Subscription

_MOST_TARGETS = 20_000
_SHARD_DIGITS = 8
_decode = json.JSONDecoder(parse_float=Decimal).decode


@dataclass(slots=True)
class StreamReport:
    """What became of a batch of records."""

    events: int = 0
    counted: int = 0
    unmatched: int = 0
    uncounted: int = 0
    poison: list[str] = field(default_factory=list)


class _Arrived(NamedTuple):
    """An event as the stream delivers it."""

    position: Position
    organization_id: str
    target: Target
    event: Event
    accepted: int
    image: Item


class StreamFold:
    """Folds batches of stream records into counters and rollups."""

    def __init__(self, table: Table) -> None:
        """Fold into a table."""
        self._table = table
        self._targets: dict[tuple[str, Target], tuple[int, list[Subscription]]] = {}

    def fold(self, records: Sequence[Mapping[str, Any]], shard: str, now: int) -> StreamReport:
        """Count a batch's events, in order. Raises `StoreUnavailable`: the batch is to be delivered again."""
        report = StreamReport()
        arrived: dict[str, list[_Arrived]] = {}
        name = shard_name(shard)
        for record in records:
            image = _new_event(record)
            if image is None:
                continue
            report.events += 1
            try:
                found = _read(record, image, name)
            except (KeyError, ValueError, TypeError) as error:
                self._set_aside(record, f"{type(error).__name__}: {error}", now)
                report.poison.append(str(error))
            else:
                arrived.setdefault(found.organization_id, []).append(found)
        for organization_id, events in arrived.items():
            self._fold(organization_id, events, now, report)
        return report

    def _fold(self, organization_id: str, events: Sequence[_Arrived], now: int, report: StreamReport) -> None:
        account = read_account(self._table, organization_id, consistent=True)
        if account is None:
            # Keys belong to organizations that have a catalogue; should one vanish, nothing of its is lost.
            self._keep(organization_id, events, report)
            return
        writer = int(events[0].position.shard[1:], 16) % WRITERS
        folding = Fold(self._table, organization_id, account.generation, writer=writer)
        logged: list[Logged] = []
        strangers: list[_Arrived] = []
        for each in events:
            held = self._subscriptions(account, each.target)
            owning = [subscription for subscription in held if subscription.span.holds(each.event.at)]
            if folding.expects(each.event, owning):
                logged.append(Logged(each.position, each.event, owning, each.accepted))
            else:
                strangers.append(each)
        self._keep(organization_id, strangers, report)
        folded = folding.fold(logged, now)
        report.counted += folded.counted
        report.uncounted += len(folded.uncounted)

    def _keep(self, organization_id: str, events: Iterable[_Arrived], report: StreamReport) -> None:
        """Put events by that nobody's line item is for."""
        items = [
            each.image
            | key_item(keys.unmatched(organization_id, *each.target, each.event.id))
            | {"put_at": {"N": str(each.accepted)}}
            for each in events
        ]
        self._table.put_all(items)
        report.unmatched += len(items)

    def _subscriptions(self, account: Account, target: Target) -> list[Subscription]:
        """Look a target up; what was found holds until the catalogue changes."""
        known = self._targets.get((account.organization.id, target))
        if known is not None and known[0] == account.version:
            return known[1]
        read = subscriptions_by_external_id if target.kind == "s" else subscriptions_of_customer
        found = read(self._table, account.organization.id, target.external_id)
        if len(self._targets) >= _MOST_TARGETS:
            self._targets.clear()
        self._targets[account.organization.id, target] = account.version, found
        return found

    def _set_aside(self, record: Mapping[str, Any], reason: str, now: int) -> None:
        content = json.dumps(record, default=str, sort_keys=True)
        item = key_item(keys.poison(sha256(content.encode()).hexdigest()))
        item |= {"record": {"S": content}, "reason": {"S": reason}, "put_at": {"N": str(now)}}
        self._table.put(item)


def shard_name(shard: str) -> str:
    """Shorten a shard's id: ledgers keep it while it delivers.

    >>> shard_name("shardId-00000001605549423000-7b1c0e1f")
    's2901a0b1'
    """
    return STREAM + sha256(shard.encode()).hexdigest()[:_SHARD_DIGITS]


def _new_event(record: Mapping[str, Any]) -> Item | None:
    """Give the image of a record that brings a new event to be counted."""
    image: Item = record.get("dynamodb", {}).get("NewImage") or {}
    if record.get("eventName") != "INSERT" or "acc" not in image or "e" not in image or "put_at" in image:
        return None
    return image


def _read(record: Mapping[str, Any], image: Item, shard: str) -> _Arrived:
    name, _, properties = _decode(image["e"]["S"])
    event = Event(image["id"]["S"], name, int(image["at"]["N"]), properties)
    return _Arrived(
        Position(shard, int(record["dynamodb"]["SequenceNumber"])),
        image["org"]["S"],
        Target(image["k"]["S"], image["x"]["S"]),
        event,
        int(image["acc"]["N"]),
        image,
    )

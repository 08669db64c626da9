"""The settings of a table beside its items: the stream, point-in-time recovery and deletion protection.

A table that DynamoDB restores from a backup has its items, its keys and its index, and none of these settings. The
template has no time to live, so there is none to switch on. See
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/pointintimerecovery_restores.html.
"""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Table
from meterstone.usage.instant import SECOND

_KEYS = {"HASH": "pk", "RANGE": "sk"}
_INDEX, _INDEX_KEYS = "due", {"HASH": "due_pk", "RANGE": "due_at"}
_VIEW: Final = "NEW_IMAGE"
_ACTIVE = "ACTIVE"
_LONGEST_CHANGE = 600
_BETWEEN_LOOKS = 1.0


class Setting(StrEnum):
    """A setting that a table in use must have, by its name for people."""

    RECOVERY = "point-in-time recovery"
    PROTECTION = "deletion protection"
    STREAM = "stream"


class TableSettings(msgspec.Struct, frozen=True):
    """What a table has switched on.

    ``created_at`` is when the table was made, or restored, and ``restored_to`` the instant whose items a restored
    table has; both in microseconds. ``stream`` is the ARN of the stream; empty without one.
    """

    created_at: int
    stream: str
    on: frozenset[Setting]
    restored_to: int | None = None

    @property
    def missing(self) -> list[Setting]:
        """The settings that are switched off."""
        return [each for each in Setting if each not in self.on]


def read_settings(table: Table) -> TableSettings:
    """Read a table's settings.

    Raises `BusyError` if the table is not active yet, or is no table of ours: it lacks the keys or the index, or
    has a stream that does not deliver new items whole.
    """
    described = _describe(table)
    if described["TableStatus"] != _ACTIVE:
        raise BusyError(f"the table is {described['TableStatus']}: try again when it is {_ACTIVE}")
    indexes = {each["IndexName"]: each for each in described.get("GlobalSecondaryIndexes", ())}
    if _keys(described) != _KEYS or _INDEX not in indexes or _keys(indexes[_INDEX]) != _INDEX_KEYS:
        raise BusyError(
            "the table does not have the keys and the index of Meterstone: restore it with its index"
        )
    if indexes[_INDEX].get("IndexStatus", _ACTIVE) != _ACTIVE:
        raise BusyError("the table's index is being made: try again when it is active")
    on = set()
    specified = described.get("StreamSpecification", {})
    stream = ""
    if specified.get("StreamEnabled"):
        if specified["StreamViewType"] != _VIEW:
            raise BusyError(f"the table has a stream of {specified['StreamViewType']}: switch it off first")
        on.add(Setting.STREAM)
        stream = described["LatestStreamArn"]
    if described.get("DeletionProtectionEnabled"):
        on.add(Setting.PROTECTION)
    backups = table.client.describe_continuous_backups(TableName=table.name)["ContinuousBackupsDescription"]
    if backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") == "ENABLED":
        on.add(Setting.RECOVERY)
    restored = described.get("RestoreSummary", {}).get("RestoreDateTime")
    return TableSettings(
        _instant(described["CreationDateTime"]),
        stream,
        frozenset(on),
        None if restored is None else _instant(restored),
    )


def switch_on(table: Table, setting: Setting, sleep: Callable[[float], None] = time.sleep) -> None:
    """Switch a setting on, and wait until the table is active again. Raises `BusyError` after ten minutes."""
    match setting:
        case Setting.RECOVERY:
            table.client.update_continuous_backups(
                TableName=table.name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
            )
        case Setting.PROTECTION:
            table.client.update_table(TableName=table.name, DeletionProtectionEnabled=True)
        case Setting.STREAM:
            table.client.update_table(
                TableName=table.name,
                StreamSpecification={"StreamEnabled": True, "StreamViewType": _VIEW},
            )
    for _ in range(_LONGEST_CHANGE):
        if _describe(table)["TableStatus"] == _ACTIVE and setting not in read_settings(table).missing:
            return
        sleep(_BETWEEN_LOOKS)
    raise BusyError(
        f"the table's {setting} is not on after ten minutes: look at the table, and run this again"
    )


def _describe(table: Table) -> Mapping[str, Any]:
    return table.client.describe_table(TableName=table.name)["Table"]


def _keys(described: Mapping[str, Any]) -> dict[str, str]:
    return {each["KeyType"]: each["AttributeName"] for each in described["KeySchema"]}


def _instant(at: datetime) -> int:
    return round(at.timestamp() * SECOND)

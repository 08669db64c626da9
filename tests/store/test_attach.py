"""A table that an engine restores from a backup is attached: settings first, then rebuilds."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from unittest import mock
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from meterstone import clock
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.settings import Setting, read_settings
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.attach import rebuild_each, standing
from meterstone.store.operations.import_records import ImportRecord, Source
from meterstone.store.operations.load import create_table
from meterstone.usage.instant import DAY
from meterstone.usage.subscription import Organization
from meterstone_cli.__main__ import app
from meterstone_cli.exit_status import REFUSED
from support import recovering
from support import scenario as scenarios
from support.counting import check_analytics
from support.memory_table import Killed, MemoryTable
from support.recovering import Clock, Stream, refresh, streaming, write
from support.scenario import World, make

ON = frozenset(Setting)


@dataclass
class Backup:
    """A world of which half of the events is counted, and a table that was restored from its backup."""

    world: World
    stream: Stream
    restored: Table
    clock: Clock


def half_counted(table: Table) -> tuple[World, Stream]:
    """Log a scenario's events, of which the stream delivers the first half alone."""
    scenario = make(Random(41), 24, 3)  # noqa: S311 - nothing secret
    world, stream = streaming(scenario, table)
    write(world, scenario)
    stream.post(scenario.usage)
    stream.deliver(12)
    return world, stream


@pytest.fixture
def backup(engine: Table, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backup]:
    organization, name = Organization(str(uuid4())), f"source-{uuid4().hex[:8]}"
    source = Table(engine.client, name)
    with (
        mock.patch.object(scenarios, "ORGANIZATION", organization),
        mock.patch.object(recovering, "ORGANIZATION", organization),
    ):
        create_table(source)
        world, stream = half_counted(source)
        target = f"restored-{uuid4().hex[:8]}"
        made = engine.client.create_backup(TableName=name, BackupName="before")["BackupDetails"]
        engine.client.restore_table_from_backup(TargetTableName=target, BackupArn=made["BackupArn"])
        world.table = Table(engine.client, target)
        # Pauses take no time, and the clock begins after the table was restored.
        moving = Clock(max(clock.now(), stream.clock.now))
        monkeypatch.setattr("meterstone_cli.session.surroundings", lambda: moving.around)
        yield Backup(world, stream, world.table, moving)


def attach(table: Table, *options: str) -> Result:
    # A command says by the environment which table is meant.
    with mock.patch.dict(os.environ):
        return CliRunner().invoke(app, ["attach", "--table", table.name, "--at-once", "1", *options])


@pytest.mark.engine
def test_a_restored_table_has_no_setting_until_it_is_attached(backup: Backup) -> None:
    assert read_settings(backup.restored).missing == list(Setting)

    told = attach(backup.restored)

    assert told.exit_code == 0, told.output
    after = read_settings(backup.restored)
    assert after.on == ON
    assert f"ExistingTableName={backup.restored.name} ExistingTableStreamArn={after.stream}" in told.stdout
    assert "are not in this table" in told.stderr


@pytest.mark.engine
def test_events_that_were_logged_and_not_counted_at_the_restore_point_count_once_attached(
    backup: Backup,
) -> None:
    assert attach(backup.restored).exit_code == 0
    world, usage = backup.world, backup.world.scenario.usage
    refresh(world).roll(backup.clock.now)
    check_analytics(world, usage, backup.clock.now)


@pytest.mark.engine
def test_a_dry_run_says_what_would_be_done_and_does_nothing(backup: Backup) -> None:
    told = attach(backup.restored, "--dry-run")
    assert told.exit_code == 0
    assert [line for line in told.stdout.splitlines() if "would be" in line] == [
        *(f"{setting}: would be switched on" for setting in Setting),
        f"{scenarios.ORGANIZATION.id}: would be rebuilt",
    ]
    assert "ExistingTableName" not in told.output
    assert read_settings(backup.restored).missing == list(Setting)
    assert refresh(backup.world).account.generation == "1"


@pytest.mark.engine
def test_attached_again_nothing_is_done_twice(backup: Backup) -> None:
    assert attach(backup.restored).exit_code == 0
    told = attach(backup.restored)
    assert told.exit_code == 0
    assert "1 were rebuilt before" in told.stdout
    assert refresh(backup.world).account.generation == "2"


@pytest.mark.engine
def test_an_organization_that_cannot_be_rebuilt_keeps_the_table_from_being_opened(backup: Backup) -> None:
    stopped = ImportRecord(Source("usage.csv", "digest"), 0, run=1)
    stopped.write(backup.restored, scenarios.ORGANIZATION.id)
    told = attach(backup.restored)
    assert told.exit_code == REFUSED
    assert "not rebuilt: the import of usage.csv is running, or was stopped" in told.stdout
    assert "ExistingTableName" not in told.output


@pytest.mark.engine
def test_a_table_that_is_no_table_of_ours_is_refused(engine: Table) -> None:
    name = f"other-{uuid4().hex[:8]}"
    engine.client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    told = attach(Table(engine.client, name))
    assert told.exit_code == REFUSED
    assert "does not have the keys and the index" in told.stderr


@pytest.mark.slow
def test_killed_at_any_write_the_rebuilds_of_an_attachment_go_on() -> None:
    def restored() -> tuple[World, Stream, MemoryTable]:
        world, stream = half_counted(MemoryTable())
        table = world.table
        assert isinstance(table, MemoryTable)
        return world, stream, table.copy()

    def attached(table: Table, stream: Stream, since: int) -> None:
        found = standing(table, since)
        done = list(rebuild_each([table], found.left, stream.clock.around))
        assert [each.refused for each in done] == [""] * len(found.left)

    world, stream, table = restored()
    start = table.writes
    attached(table, stream, stream.clock.now)
    writes = table.writes - start
    assert writes
    for number in range(0, writes, 3):
        world, stream, table = restored()
        since, world.table = stream.clock.now, table
        table.faults.before = table.writes + number
        with pytest.raises(Killed):
            attached(table, stream, since)
        table.faults.before = None
        stream.clock.now += DAY
        attached(table, stream, since)
        assert standing(table, since).left == []
        refresh(world).roll(stream.clock.now)
        check_analytics(world, world.scenario.usage, stream.clock.now)


def test_an_organization_counts_as_rebuilt_only_since_the_table_was_restored() -> None:
    world, stream = half_counted(MemoryTable())
    before = stream.clock.now
    (done,) = rebuild_each([world.table], [scenarios.ORGANIZATION.id], stream.clock.around)
    assert done.report is not None
    assert standing(world.table, before).left == []
    # A backup of now, restored now: the rebuild lies before it.
    assert standing(world.table, stream.clock.now).left == [scenarios.ORGANIZATION.id]


def test_a_catalogue_that_was_half_loaded_at_the_restore_point_is_named() -> None:
    world, stream = half_counted(MemoryTable())
    profile = keys.organization(scenarios.ORGANIZATION.id, "profile")
    assert world.table.update(profile, "SET loading_at = :now", {":now": {"N": str(stream.clock.now)}})
    assert standing(world.table, 0).half_loaded == [scenarios.ORGANIZATION.id]

"""Recovery on every engine: put by, replayed, withdrawn and rebuilt, and counted exactly."""

from copy import replace
from random import Random
from unittest import mock
from uuid import uuid4

import pytest

from meterstone.store.counting.stream import StreamFold
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Table
from meterstone.store.events.quarantine import list_poison
from meterstone.store.events.unmatched import list_unmatched
from meterstone.store.operations import imports
from meterstone.store.operations.import_run import Counts, ImportRun
from meterstone.store.operations.imports import Source, close_import
from meterstone.store.operations.rebuild import rebuild
from meterstone.store.operations.replay import replay
from meterstone.usage.subscription import Organization
from support import recovering
from support import scenario as scenarios
from support.counting import check_analytics
from support.memory_table import Killed
from support.recovering import refresh, streaming, write
from support.scenario import make


def test_unmatched_events_are_replayed_and_withdrawn_ones_do_not_count(table: Table) -> None:
    random = Random(41)  # noqa: S311 - nothing secret
    scenario = make(random, 24, 3)
    # An organization of the test's own keeps the tests of one table apart.
    organization = Organization(str(uuid4()))
    with (
        mock.patch.object(scenarios, "ORGANIZATION", organization),
        mock.patch.object(recovering, "ORGANIZATION", organization),
    ):
        world, stream = streaming(replace(scenario, subscriptions=()), table)
        stream.post(scenario.usage[:12])
        stream.deliver()
        assert len(list(list_unmatched(table, organization.id))) == 12
        write(world, scenario)
        world.scenario = scenario
        stream.post(scenario.usage[12:])
        stream.deliver(again=12)
        replay(table, organization.id, stream.clock)
        assert replay(table, organization.id, stream.clock).counted == 0
        check_analytics(world, scenario.usage, stream.clock.now)
        assert rebuild(table, organization.id, stream.clock.around, swap=False).differences == []
        gone = scenario.usage[3]
        report = stream.withdraw(gone.subject, [gone.event.id, "no"])
        assert (report.withdrawn, report.unknown) == ([gone.event.id], ["no"])
        stream.deliver(again=3)
        refresh(world).roll(stream.clock.now)
        left = tuple(usage for usage in scenario.usage if usage != gone)
        check_analytics(world, left, stream.clock.now)
        assert rebuild(table, organization.id, stream.clock.around).differences == []
        check_analytics(refresh(world), left, stream.clock.now)


def test_an_import_that_was_stopped_is_closed_and_goes_on(table: Table) -> None:
    random = Random(7)  # noqa: S311 - nothing secret
    scenario = make(random, 24, 1)
    known = tuple(
        replace(
            each, line_items=tuple(i for i in each.line_items if i.meter and i.meter.event_name == "call")
        )
        for each in scenario.subscriptions
    )
    organization = Organization(str(uuid4()))
    source = Source("file", scenarios.digest("file"))
    with (
        mock.patch.object(scenarios, "ORGANIZATION", organization),
        mock.patch.object(recovering, "ORGANIZATION", organization),
        mock.patch.object(imports, "_BATCH", 10),
    ):
        world, stream = streaming(replace(scenario, subscriptions=known), table)
        now = stream.clock.now
        # The second batch is logged, and no more.
        count = mock.patch.object(ImportRun, "count", side_effect=[Counts(), Killed])
        with count, pytest.raises(Killed):
            world.load("file", scenario.usage, now)
        with pytest.raises(BusyError, match="the import of file is running, or was stopped"):
            rebuild(table, organization.id, stream.clock.around)
        closed = close_import(table, organization.id, source, now)
        assert closed is not None
        assert (closed.record.line, closed.record.taken) == (10, 20)
        assert closed.counts.counted + closed.counts.unmatched == 10
        assert len(list(list_unmatched(table, organization.id))) == closed.counts.unmatched > 0
        write(world, scenario)
        world.scenario = scenario
        report = world.load("file", scenario.usage, now)
        assert (report.counted + report.unmatched, report.duplicates, report.resumed_after) == (4, 10, 10)
        assert replay(table, organization.id, stream.clock).counted > 0
        world.roll(now)
        check_analytics(world, scenario.usage[10:], now)
        assert close_import(table, organization.id, source, now) is None


def test_a_record_that_cannot_be_read_is_listed(table: Table) -> None:
    record = {"eventName": "INSERT", "dynamodb": {"NewImage": {"acc": {"N": "1"}, "e": {"S": "[]"}}}}
    assert len(StreamFold(table).fold([record], "shard", 5).poison) == 1
    found = [each for each in list_poison(table) if each.since == 5]
    assert [each.reason.partition(":")[0] for each in found] == ["ValueError"]
    assert '"acc": {"N": "1"}' in found[0].record

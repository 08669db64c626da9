"""Recovery on every engine: put by, replayed, withdrawn and rebuilt, and counted exactly."""

from dataclasses import replace
from random import Random
from unittest import mock
from uuid import uuid4

import recovering
import scenario as scenarios
from counting import check_analytics
from meterstone.store.rebuild import rebuild
from meterstone.store.recovery import list_poison, list_unmatched
from meterstone.store.replay import replay
from meterstone.store.stream import StreamFold
from meterstone.store.table import Table
from meterstone.store.withdraw import withdraw
from meterstone.usage.subscription import Organization
from recovering import refresh, streaming, write
from scenario import make


def test_what_was_put_by_counts_and_what_is_withdrawn_does_not(table: Table) -> None:
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
        report = withdraw(table, organization.id, gone.target, [gone.event.id, "no"], stream.clock.around)
        assert (report.withdrawn, report.unknown) == ([gone.event.id], ["no"])
        refresh(world).roll(stream.clock.now)
        left = tuple(usage for usage in scenario.usage if usage != gone)
        check_analytics(world, left, stream.clock.now)
        assert rebuild(table, organization.id, stream.clock.around).differences == []
        check_analytics(refresh(world), left, stream.clock.now)


def test_a_record_that_cannot_be_read_is_listed(table: Table) -> None:
    record = {"eventName": "INSERT", "dynamodb": {"NewImage": {"acc": {"N": "1"}, "e": {"S": "[]"}}}}
    assert len(StreamFold(table).fold([record], "shard", 5).poison) == 1
    found = [each for each in list_poison(table) if each.since == 5]
    assert [each.reason.partition(":")[0] for each in found] == ["ValueError"]
    assert '"acc": {"N": "1"}' in found[0].record

"""A purge on every engine: totals stay, and what had the customer's names is gone."""

from copy import replace
from unittest import mock
from uuid import uuid4

from meterstone.store.catalogue.subscriptions import subscriptions_by_external_id
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST
from meterstone.store.dynamodb.table import Table, text
from meterstone.store.operations.purge import purge
from meterstone.store.operations.rebuild import rebuild
from meterstone.store.operations.replay import KEPT
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import HOUR
from meterstone.usage.subscription import Organization
from support import recovering
from support import scenario as scenarios
from support.counting import check_analytics
from support.recovering import refresh, small, streaming, write


def test_a_customer_is_purged_and_totals_stay(table: Table) -> None:
    scenario = small()
    (held,) = scenario.subscriptions
    scenario = replace(scenario, subscriptions=(replace(held, end=scenario.end),))
    # An organization of the test's own keeps the tests of one table apart.
    organization = Organization(str(uuid4()))
    with (
        mock.patch.object(scenarios, "ORGANIZATION", organization),
        mock.patch.object(recovering, "ORGANIZATION", organization),
    ):
        world, stream = streaming(scenario, table)
        write(world, scenario)
        stream.post(scenario.usage)
        stream.deliver()
        stream.clock.now += KEPT + HOUR
        refresh(world).roll(stream.clock.now)
        check_analytics(world, scenario.usage, stream.clock.now)

        report = purge(table, organization.id, held.customer_id, stream.clock.around)

        assert report.events == len(scenario.usage)
        (external_id,) = report.names.external_ids.values()
        renamed = subscriptions_by_external_id(table, organization.id, external_id, consistent=True)
        world.scenario = replace(scenario, subscriptions=tuple(renamed))
        usage = tuple(replace(each, subject=Subject.subscription(external_id)) for each in scenario.usage)
        check_analytics(refresh(world), usage, stream.clock.now)
        assert rebuild(table, organization.id, stream.clock.around).differences == []
        gone = [
            keys.event(organization.id, "s", held.external_id, "").pk,
            keys.subscription(organization.id, held.id).pk,
            *(keys.usage(organization.id, str(generation), held.id) for generation in (1, 2, 3)),
            keys.purge(organization.id, "").pk,
        ]
        assert [text(row, "pk") for pk in gone for row in table.query(pk, FIRST, LAST, consistent=True)] == []

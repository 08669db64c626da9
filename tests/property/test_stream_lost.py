"""Events that no function counted while the stream had them: a rebuild counts them, as the runbook says."""

from meterstone.store.operations.rebuild import rebuild
from meterstone.usage.instant import DAY
from support.counting import check_analytics
from support.recovering import refresh, streaming, write
from support.scenario import ORGANIZATION
from support.stored import rich


def test_events_that_the_stream_has_lost_are_listed_by_a_dry_run_and_counted_by_a_rebuild() -> None:
    scenario = rich()
    world, stream = streaming(scenario)
    write(world, scenario)
    half = len(scenario.usage) // 2
    stream.post(scenario.usage[:half])
    stream.deliver()
    # For longer than a day no function counts: the stream has given these records up.
    stream.post(scenario.usage[half:-1])
    lost = len(stream.records)
    stream.clock.now += 25 * 60 * 60 * 1_000_000
    stream.delivered = lost
    # What comes in afterwards is counted, beside what is missing.
    stream.post(scenario.usage[-1:])
    stream.deliver()
    counted = (*scenario.usage[:half], scenario.usage[-1])
    refresh(world).roll(stream.clock.now)
    check_analytics(world, counted, stream.clock.now)

    compared = rebuild(world.table, ORGANIZATION.id, stream.clock.around, swap=False)
    assert compared.differences
    assert not compared.swapped
    check_analytics(refresh(world), counted, stream.clock.now)

    rebuilt = rebuild(world.table, ORGANIZATION.id, stream.clock.around)
    assert rebuilt.swapped
    assert rebuilt.differences == compared.differences
    check_analytics(refresh(world), scenario.usage, stream.clock.now)

    # The day after nothing is missing any more.
    stream.clock.now += DAY
    world.roll(stream.clock.now)
    assert rebuild(world.table, ORGANIZATION.id, stream.clock.around, swap=False).differences == []

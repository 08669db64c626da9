"""What is withdrawn is taken out of the answers, as if it had never come in."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from meterstone.usage.window import Window
from support.counting import check_analytics, check_window, describe, examples
from support.recovering import refresh, streaming
from support.scenario import Scenario, oracles, scenarios


@examples(60)
@given(scenarios(), st.integers(0, 2**32))
def test_what_is_withdrawn_counts_nowhere(scenario: Scenario, seed: int) -> None:
    describe(scenario)
    random = Random(seed)  # noqa: S311 - nothing secret
    half = random.choice([0, random.randint(0, len(scenario.usage))])
    world, stream = streaming(scenario)
    refused = dict(world.load_refusing("file", scenario.usage[:half], scenario.end)[1])
    stream.post([usage for line, usage in enumerate(scenario.usage[:half], 1) if line in refused])
    stream.post(scenario.usage[half:])
    stream.deliver(random.randint(0, len(stream.records)))
    chosen = [usage for usage in scenario.usage if random.random() < 0.4] or [scenario.usage[0]]
    for usage in chosen:
        assert stream.withdraw(usage.subject, [usage.event.id]).withdrawn == [usage.event.id]
        if random.random() < 0.3:
            stream.deliver(random.randint(0, len(stream.records)), again=random.randint(0, 3))
    stream.deliver(again=3)
    now = stream.clock.now
    refresh(world).roll(now)
    left = tuple(usage for usage in scenario.usage if usage not in chosen)
    check_analytics(world, left, now)
    for oracle in oracles(scenario, left):
        check_window(world, oracle, Window(oracle.subscription.start, now), now)

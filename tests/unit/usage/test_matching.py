"""Which events a meter counts, by their name."""

import pytest

from meterstone.usage.aggregation import observe
from meterstone.usage.matching import Matching
from meterstone.usage.meter import Aggregation, Event, Meter, Observation
from support.one_subscription import at, item_of, subscription_of

BOTH = Meter("m1", "calls", "Calls", Aggregation.COUNT, "call")
ONE = Meter("m2", "faxes", "Faxes", Aggregation.COUNT, "faxes")


@pytest.mark.parametrize(
    ("meter", "name", "counts"),
    [
        pytest.param(BOTH, "call", True, id="its event name"),
        pytest.param(BOTH, "calls", True, id="its code"),
        pytest.param(BOTH, "m1", False, id="its id"),
        pytest.param(BOTH, "Calls", False, id="another case of its code"),
        pytest.param(BOTH, "faxes", False, id="another meter's code"),
        pytest.param(ONE, "faxes", True, id="its event name, which is its code"),
        pytest.param(ONE, "call", False, id="another meter's event name"),
    ],
)
def test_a_meter_counts_events_of_its_event_name_and_of_its_code(
    meter: Meter, name: str, *, counts: bool
) -> None:
    event = Event("e", name, at("02-10"), {})
    subscription = subscription_of(item_of(meter))
    matching = Matching()

    assert isinstance(observe(meter, event), Observation) is counts
    assert [match.charge.meter for match in matching.matches(event, subscription)] == [meter] * counts
    assert matching.expects(event, [subscription]) is counts


def test_an_event_is_counted_once_by_each_meter_that_it_names() -> None:
    other = Meter("m3", "calls", "Calls, too", Aggregation.COUNT, "call")
    subscription = subscription_of(item_of(BOTH, name="one"), item_of(other, name="other"))

    for name in ("call", "calls"):
        found = Matching().matches(Event("e", name, at("02-10"), {}), subscription)
        assert [match.charge.item.id for match in found] == ["one", "other"]

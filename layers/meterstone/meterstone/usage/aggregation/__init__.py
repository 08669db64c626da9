"""Aggregations: how the events of a meter become one quantity. Each has a file, and an entry in `aggregator`.

An aggregation makes a state of each event, and merges states. A state is the result of some events of one meter.
If nothing was counted there is no state: `None`. A state is stored as JSON in which every number is exact decimal
text. Only its meter tells how to read it back, since many kinds of state look alike as JSON.

| aggregation | quantity | state | as JSON |
|---|---|---|---|
| COUNT | number of events | that number | `"3"` |
| SUM | sum of the values | that sum | `"8.75"` |
| SUM_WITH_MULTIPLIER | that sum, times the meter's multiplier | the sum alone | `"8.75"` |
| MAX | greatest value | that value | `"7"` |
| LATEST | value of the latest event | its time, id and value | `[1673782123123456,"e-3","7"]` |
| AVG | mean of the values | their sum and number | `["8.75",3]` |
| COUNT_UNIQUE | number of distinct values | number of values seen for the first time | `"2"` |
| WEIGHTED_SUM | level, weighted by the time it is held | Σδ and Σδ·t | `["60","100380"]` |

Of two events of one time, the event with the greater id is the latest. For COUNT_UNIQUE, "for the first time"
means within the billing period; for a recurring meter it means ever. For WEIGHTED_SUM, δ is the change of the
level by an event, and t the event's time in microseconds since the epoch.

A meter whose buckets are shorter than a day has such a state for each bucket. Its days have states of another
kind, the costs of their buckets: quantity and lines, stored as `["9",[["0",null,"9","0.25","0","2.25"]]]`.
"""

from typing import Any, Final, assert_never

from meterstone.usage.aggregation.avg import Avg
from meterstone.usage.aggregation.base import Aggregator
from meterstone.usage.aggregation.bucket_costs import BucketCosts
from meterstone.usage.aggregation.count import Count
from meterstone.usage.aggregation.count_unique import CountUnique
from meterstone.usage.aggregation.latest import LatestValue
from meterstone.usage.aggregation.max import Max
from meterstone.usage.aggregation.sum import Sum
from meterstone.usage.aggregation.sum_with_multiplier import SumWithMultiplier
from meterstone.usage.aggregation.weighted_sum import WeightedSum
from meterstone.usage.meter import Aggregation, Event, Meter, Observation, Uncounted, passes


def aggregator(aggregation: Aggregation) -> Aggregator[Any]:
    """Make the aggregator of an aggregation. The type of its states depends on the aggregation: hence `Any`."""
    match aggregation:
        case Aggregation.COUNT:
            return Count()
        case Aggregation.SUM:
            return Sum()
        case Aggregation.SUM_WITH_MULTIPLIER:
            return SumWithMultiplier()
        case Aggregation.MAX:
            return Max()
        case Aggregation.LATEST:
            return LatestValue()
        case Aggregation.AVG:
            return Avg()
        case Aggregation.COUNT_UNIQUE:
            return CountUnique()
        case Aggregation.WEIGHTED_SUM:
            return WeightedSum()
        case _:
            assert_never(aggregation)


AGGREGATORS: Final = {each: aggregator(each) for each in Aggregation}
BUCKET_COSTS: Final = BucketCosts()


def observe(meter: Meter, event: Event) -> Observation | Uncounted | None:
    """Return what an event means to a meter; None if it is none of the meter's events."""
    if event.name not in (meter.event_name, meter.code) or not passes(meter.filters, event.properties):
        return None
    return AGGREGATORS[meter.aggregation].observe(meter, event)

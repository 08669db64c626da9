"""The number of the rules by which usage is counted. It is raised when the same events are to give other results.

Counters and rollups hold the results of the rules of their time until they are rebuilt. The number is stored with
the generation, since nothing else tells by which rules it was counted.

| number | what it changed |
|---|---|
| 1 | the first |
| 2 | a WEIGHTED_SUM is divided by its whole billing period, also where the subscription begins or ends inside it |
| 2 | plan, country and customer type of a charge are those where it begins to count, not where its period begins |
| 2 | events that bear a meter's code count for it, beside those of its event name |
| 2 | rollups keep units as two numbers, the integer part and the fraction |
"""

from typing import Final

RULES: Final = 2
"""The rules of this code."""

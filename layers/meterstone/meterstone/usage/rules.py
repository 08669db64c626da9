"""The number of the rules by which usage is counted: it grows when the same events come to something else.

Counters and rollups hold what events came to by the rules of their time, and keep it until they are rebuilt. Which
rules those were can only be told by their number.

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
"""Those of this code."""

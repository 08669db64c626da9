"""By which rules a generation of counters and rollups was counted.

| rules | what they were |
|---|---|
| 1 | before there were numbers for them |
| 2 | WEIGHTED_SUM: divided by the uncut period; dimensions: where the charge begins; units: in two numbers |

What was counted by older rules is read as it stands, and what is counted anew follows the new ones: only a rebuild
makes all of it right.
"""

from typing import Final

RULES: Final = 2
"""Those of this code."""

"""How many requests a second each API key may make of one container."""

import math
import os
import time
from typing import Final, Self

_SECOND: Final = 1_000_000_000
#: In how many nanoseconds an empty bucket fills: so long a silence lets a key make as many requests at once.
_FILLS_IN: Final = 2 * _SECOND
_MOST_REMEMBERED: Final = 1000


class KeyLimit:
    """A token bucket for each key, in memory: nothing is read or stored for a request.

    A bucket holds the requests of two seconds, and at least one. It is known by the time at which it will be full
    again, in nanoseconds since the epoch. Each request moves that time on. Of more than 1,000 keys, the one that
    was silent for the longest is forgotten. Its bucket is then taken to be full.
    """

    def __init__(self, rate: float) -> None:
        """Let so many requests a second of each key pass; 0: all."""
        self._interval = int(_SECOND // rate) if rate else 0
        self._fills_in = max(_FILLS_IN, self._interval)
        self._full_at: dict[str, int] = {}

    @classmethod
    def from_environment(cls) -> Self:
        """Read the rate from ``METERSTONE_REQUESTS_PER_KEY``. Raises `ValueError` if it is no rate."""
        rate = float(os.environ.get("METERSTONE_REQUESTS_PER_KEY") or 0)
        if not 0 <= rate < math.inf:
            raise ValueError("METERSTONE_REQUESTS_PER_KEY must be a number of requests a second, or 0")
        return cls(rate)

    def take(self, key_id: str) -> int:
        """Take a request out of a key's bucket. Return 0, or if it is empty the whole seconds until it is not."""
        if not self._interval:
            return 0
        # The time of day is used, since a monotonic clock may stand still while the function is frozen.
        now = time.time_ns()
        filling = max(self._full_at.pop(key_id, now) - now, 0)
        if filling > self._fills_in:
            # The clock was set back: no bucket takes that long to fill.
            filling = 0
        wait = filling + self._interval - self._fills_in
        if len(self._full_at) >= _MOST_REMEMBERED:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[key_id] = now + filling + (0 if wait > 0 else self._interval)
        return max(-(-wait // _SECOND), 0)

"""The clock, read in one place, so that everything else takes the time as an argument."""

import time


def now() -> int:
    """Return the present instant, in microseconds since the Unix epoch."""
    return time.time_ns() // 1000

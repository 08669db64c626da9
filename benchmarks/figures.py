"""What a benchmark reports: figures, each with its unit, its budget if it has one, and what limits it."""

import gc
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import process_time

#: The columns beside a figure, where it has them: what the rest of the time is, and what was read.
COLUMNS = ("p50 ms", "p99 ms", "store ms", "own ms", "items", "bytes", "read units", "write units")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table. ``beside`` has the values of `COLUMNS` and, for the JSON alone, anything more."""

    name: str
    value: float
    unit: str
    budget: float | None = None
    beside: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """The figures of one part of the benchmark, and in a line or more what limits them."""

    name: str
    figures: Sequence[Figure]
    limits: Sequence[str]
    notes: Sequence[str] = ()


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value below or at which a share of all values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def cpu_ms(call: Callable[[], object], rounds: int) -> list[float]:
    """Time a call so often, in milliseconds of this process's CPU."""
    call()
    gc.collect()
    times = []
    for _ in range(rounds):
        started = process_time()
        call()
        times.append((process_time() - started) * 1000)
    return times


def per_second(call: Callable[[], object], calls: int, rounds: int = 7) -> float:
    """Give how often a call can be made in a second: the median of some rounds of many calls."""

    def many() -> None:
        for _ in range(calls):
            call()

    return calls / statistics.median(cpu_ms(many, rounds)) * 1000

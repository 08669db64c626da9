"""Importing usage from a file: events per second and memory, into the engine and into a table in memory."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import engine, world
from benchmarks.figures import Figure, Part
from benchmarks.filling import account, catalogue

from meterstone.store.dynamodb.table import Table
from meterstone.store.events.log import Subject
from meterstone.store.operations.imports import Importer, Source, SourceLine
from meterstone.usage.instant import format_instant
from meterstone_cli.files.usage_files import UsageEvent, read_usage, sha256

_EVENTS = 100_000
_SUBSCRIPTIONS = 50
_BUDGET_MIB = 200.0
_ENGINE, _MEMORY = "the engine", "memory"


def run(quick: bool) -> Part:  # noqa: FBT001 - every part is called alike
    """Write a file of events and import it, each time by a process of its own."""
    events = 5000 if quick else _EVENTS
    figures = []
    with tempfile.TemporaryDirectory(prefix="meterstone-bench-") as folder:
        for name, many in ((_ENGINE, events // 10), (_ENGINE, events), (_MEMORY, events)):
            file = Path(folder) / f"usage-{many}.jsonl"
            _write(file, many)
            done = _imported(file, name)
            label, budget = f"{many:,} events into {name}", _BUDGET_MIB if name == _ENGINE else None
            figures += [
                Figure(label, many / done["seconds"], "/s"),
                Figure(f"{label}: peak memory", done["peak"], "MiB", budget),
            ]
    return Part(
        "loader",
        figures,
        notes=["memory keeps all that is written, the event log too: its peak is not the loader's"],
        limits=[
            "into the engine: its transactions, on the same cores, a conditional put for each event among them",
            "into memory: folding, and the table's own checks of every item that is written",
            "events come in order of time, so that each batch of 5,000 touches nearly every tally of the month",
        ],
    )


def _write(file: Path, events: int) -> None:
    with file.open("w") as lines:
        for given in world.usage(events, _SUBSCRIPTIONS):
            row = {
                "transaction_id": given.event.id,
                "code": given.event.name,
                "external_subscription_id": given.subject.external_id,
                "timestamp": format_instant(given.event.at),
                "properties": {name: int(str(value)) for name, value in given.event.properties.items()},
            }
            lines.write(json.dumps(row) + "\n")


def _imported(file: Path, where: str) -> dict[str, float]:
    """Import a file in a process of its own, whose memory is the loader's alone."""
    with _engine(where):
        done = subprocess.run(  # noqa: S603 - ourselves
            [sys.executable, "-m", "benchmarks.loader", str(file), where],
            capture_output=True,
            text=True,
            check=True,
        )
    found: dict[str, float] = json.loads(done.stdout)
    return found


@contextmanager
def _engine(where: str) -> Iterator[None]:
    if where == _MEMORY:
        yield
    else:
        with engine.running():
            yield


def main(file: Path, where: str) -> None:
    """Import a file, and print the seconds and the peak of memory."""
    table = _table(where)
    catalogue(table, [world.subscription(number) for number in range(_SUBSCRIPTIONS)], world.METERS)
    importer = Importer(table, account(table))
    started = time.perf_counter()
    importer.run(Source(file.name, sha256(file)), _given(file), world.NOW, _refuse)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peak": peak_mib()}))


def peak_mib() -> float:
    """Give the most memory that this program has had; what `getrusage` says begins with its parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the system does not tell a process's peak of memory")


def _table(where: str) -> Table:
    if where == _ENGINE:
        return Table.from_environment()
    # Only here: what the tests need is not to count as the loader's memory.
    from support.memory_table import MemoryTable  # noqa: PLC0415

    return MemoryTable()


def _given(file: Path) -> Iterator[SourceLine]:
    for line, row in read_usage(file, world.NOW):
        if not isinstance(row, UsageEvent) or row.subscription is None:
            raise RuntimeError(f"line {line} is no event")
        yield SourceLine(line, Subject.subscription(row.subscription), row.event)


def _refuse(line: int, _: object, reason: str) -> None:
    raise RuntimeError(f"event {line} {reason}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

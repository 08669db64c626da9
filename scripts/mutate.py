"""Change the code in one small way at a time, run the tests nearest to the change, and say what no test noticed.

Without --sample, the changes are those named in `tests/mutations/*.json`, of all files or of those given (a folder
means all in it). With --sample, changes are drawn from the syntax of the files given: the same ones for a seed.
`tests/mutations/rooms.toml` says which room a file belongs to, and which tests a room's changes are run against.

Each change is made in a private copy of the tree, and tested there by processes of its own: first by the tests
nearest to its file, then, if these pass, by the others of its room. The tests must pass unchanged first. A change
is noticed if they fail, or take so long that they hang. The exit status is 1 if a room notices fewer than it must
(--least), and 2 if nothing could be measured: a named change that no longer fits its file, or tests that fail
unchanged.

--refit mends the named changes whose text was only folded differently since, lists those that do not fit any
more, and tests nothing.
"""

import argparse
import importlib.util
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from copy import replace
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from os import environ
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Any, Final, NamedTuple

from mutants import Mutant, StaleError, read_named, refit, sample

ROOT: Final = Path(__file__).resolve().parents[1]
NAMED: Final = "tests/mutations"
ROOMS: Final = "tests/mutations/rooms.toml"

#: What a copy does without: what is made from the tree, and what its tests do not read.
_LEFT_OUT: Final = (
    ".git",
    ".venv",
    ".venvs",
    ".aws-sam",
    ".meterstone",
    ".*_cache",
    ".hypothesis",
    "__pycache__",
)
#: Tests hang that take this many times as long as unchanged, and as many seconds more.
_HANGS_AFTER_TIMES, _HANGS_AFTER_SECONDS = 4.0, 60.0
_ENDING_SECONDS: Final = 30.0
#: Up to the first failure, and without the plugins that take longest to import.
_PYTEST: Final = (
    "-x",
    "-q",
    "--tb=line",
    "--no-header",
    "-pno:cacheprovider",
    "-pno:schemathesis",
    "-pno:xdist",
)
_PYTEST_FAILED: Final = 1
_PYTEST_FOUND_NONE: Final = 5


class MeasureError(Exception):
    """Nothing can be measured; the message is for a person."""


@dataclass(frozen=True, slots=True)
class Room:
    """Files that the same tests look after."""

    name: str
    #: Files, or folders that end with a slash, from the root.
    sources: tuple[str, ...]
    #: Test files and folders, nearest first.
    tests: tuple[str, ...]
    #: Which of those tests run: pytest's -m.
    select: str
    #: By source file or folder, where a file's name does not say them: the tests that its changes meet first.
    nearest: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Outcome(StrEnum):
    """What became of a change."""

    FAILED = "noticed"
    HUNG = "hangs"
    SURVIVED = "SURVIVED"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of tests: what came of it, how long it took, and the first test that failed."""

    outcome: Outcome
    seconds: float
    noticed_by: str = ""
    output: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """A mutant of a room, and the run of its tests."""

    room: str
    mutant: Mutant
    run: Run


def read_rooms(path: Path) -> list[Room]:
    """Read the map of rooms. Raises `MeasureError` if it names what is not there."""
    document = tomllib.loads(path.read_text())
    select = document.pop("select")
    rooms = [
        Room(
            name,
            tuple(room["sources"]),
            tuple(room["tests"]),
            room.get("select", select),
            {file: tuple(tests) for file, tests in room.get("nearest", {}).items()},
        )
        for name, room in document.items()
    ]
    root = path.parents[2]
    missing = [
        each
        for room in rooms
        for each in (*room.sources, *room.tests, *room.nearest, *chain(*room.nearest.values()))
        if not (root / each).exists()
    ]
    if missing:
        raise MeasureError(f"{path} names what is not there: {', '.join(missing)}")
    return rooms


def room_of(file: str, rooms: Iterable[Room]) -> Room:
    """Return the room whose sources name a file most closely. Raises `MeasureError` if none does."""
    found = [
        (len(source), room)
        for room in rooms
        for source in room.sources
        if file == source or (source.endswith("/") and file.startswith(source))
    ]
    if not found:
        raise MeasureError(f"{file} is in no room: name it in {ROOMS}")
    return max(found, key=lambda each: each[0])[1]


class Stages(NamedTuple):
    """The test files that a change is run against: the nearest to its file, then the others of its room."""

    nearest: tuple[str, ...]
    others: tuple[str, ...]


def tests_of(room: Room, file: str, root: Path) -> Stages:
    """Return the test files of a room for a change of a file.

    The nearest are those that the room names for the file or its folder, or else those that bear the file's name.
    """
    every = [
        found.relative_to(root).as_posix()
        for test in room.tests
        for found in (sorted((root / test).rglob("test_*.py")) if (root / test).is_dir() else [root / test])
    ]
    prefix = f"test_{Path(file).stem}"
    folder = file.rpartition("/")[0] + "/"
    nearest = room.nearest.get(file, room.nearest.get(folder)) or [
        test for test in every if Path(test).stem.startswith(prefix)
    ]
    others = [test for test in dict.fromkeys(every) if test not in nearest]
    return Stages(tuple(dict.fromkeys(nearest)), tuple(others))


class Copy:
    """A private copy of the tree, in which one mutant at a time is tested."""

    def __init__(self, root: Path, folder: Path) -> None:
        shutil.copytree(root, folder, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        if (root / ".venvs").exists():
            (folder / ".venvs").symlink_to((root / ".venvs").resolve())
        self.root = folder
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, tests: Sequence[str], select: str, timeout: float | None = None) -> Run:
        """Run tests of the copy, up to the first that fails."""
        started = time.monotonic()
        with tempfile.TemporaryFile("w+") as output:
            process = self._process = subprocess.Popen(  # noqa: S603 - our own tests
                [sys.executable, "-m", "pytest", *_PYTEST, "-m", select, *tests],
                cwd=self.root,
                env={**environ, "HYPOTHESIS_PROFILE": "first-failure"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                status: int | None = process.wait(timeout)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                _end(process)
            output.seek(0)
            said = output.read()
        seconds = time.monotonic() - started
        if status is None:
            return Run(Outcome.HUNG, seconds)
        if status == _PYTEST_FOUND_NONE:
            raise MeasureError(f"no tests were found in {' '.join(tests)}")
        if status == 0:
            return Run(Outcome.SURVIVED, seconds)
        first = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said, re.MULTILINE)
        noticed_by = first[1] if first and status == _PYTEST_FAILED else f"pytest ended with status {status}"
        return Run(Outcome.FAILED, seconds, noticed_by, said)

    def stop(self) -> None:
        """End a run that another thread waits for."""
        if self._process is not None:
            _end(self._process)

    def test(self, mutant: Mutant, tests: Sequence[str], select: str, timeout: float) -> Run:
        """Run tests with a mutant in place, and put the file back."""
        self._write(mutant.file, mutant.after)
        try:
            return self.run(tests, select, timeout)
        finally:
            self._write(mutant.file, mutant.before)

    def _write(self, file: str, text: str) -> None:
        path = self.root / file
        path.write_text(text)
        # Python takes what it compiled for current if size and second are the same, as they can be here.
        Path(importlib.util.cache_from_source(path)).unlink(missing_ok=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a run as Ctrl-C does, so that it stops its engine, and by force if it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Measurement:
    """Copies of the tree, workers on them, and a line for each mutant as it ends."""

    def __init__(self, root: Path, folder: Path, jobs: int, *, nearest: bool = False) -> None:
        self._root = root
        self._jobs = jobs
        self._nearest = nearest
        self._all = [Copy(root, folder / str(number)) for number in range(jobs)]
        self._copies: SimpleQueue[Copy] = SimpleQueue()
        for copy in self._all:
            self._copies.put(copy)
        #: By room and stage: the tests of all files that are changed, and how many seconds they take unchanged.
        self._tests: defaultdict[tuple[str, int], dict[str, None]] = defaultdict(dict)
        self._seconds: dict[tuple[str, int], float] = {}

    def mutants(self, given: Sequence[tuple[Room, Mutant]]) -> list[Result]:
        """Test every mutant; the results are in the order given. Raises `MeasureError` if tests fail unchanged."""
        results = {}
        for room, mutant in given:
            for stage, tests in enumerate(tests_of(room, mutant.file, self._root)):
                self._tests[room.name, stage].update(dict.fromkeys(tests))
        with ThreadPoolExecutor(self._jobs) as workers:
            tasks = {
                workers.submit(self._tested, room, mutant): index
                for index, (room, mutant) in enumerate(given)
            }
            try:
                for done, task in enumerate(as_completed(tasks), start=1):
                    result = results[tasks[task]] = task.result()
                    print(f"[{done:4}/{len(given)}] {_in_short(result)}", flush=True)
            except BaseException:
                workers.shutdown(wait=False, cancel_futures=True)
                for copy in self._all:
                    copy.stop()
                raise
        return [results[index] for index in range(len(given))]

    def _tested(self, room: Room, mutant: Mutant) -> Result:
        copy = self._copies.get()
        try:
            spent = 0.0
            stages = tests_of(room, mutant.file, self._root)
            for stage, tests in enumerate(stages[:1] if self._nearest else stages):
                if not tests:
                    continue
                unchanged = self._seconds_unchanged(copy, room, stage)
                timeout = _HANGS_AFTER_TIMES * unchanged + _HANGS_AFTER_SECONDS
                run = copy.test(mutant, tests, room.select, timeout)
                spent += run.seconds
                if run.outcome is not Outcome.SURVIVED:
                    return Result(room.name, mutant, replace(run, seconds=spent))
            return Result(room.name, mutant, Run(Outcome.SURVIVED, spent))
        finally:
            self._copies.put(copy)

    def _seconds_unchanged(self, copy: Copy, room: Room, stage: int) -> float:
        """Return how long a room's tests take unchanged, those of all files together: an import costs most.

        Raises `MeasureError` if they fail.
        """
        if (room.name, stage) not in self._seconds:
            tests = tuple(self._tests[room.name, stage])
            run = copy.run(tests, room.select)
            if run.outcome is not Outcome.SURVIVED:
                raise MeasureError(f"tests of {room.name} fail without any change:\n{run.output}")
            print(f"{room.name}: {len(tests)} test files pass unchanged in {run.seconds:.0f} s", flush=True)
            self._seconds[room.name, stage] = run.seconds
        return self._seconds[room.name, stage]


def _in_short(result: Result) -> str:
    mutant, run = result.mutant, result.run
    by = f", {run.noticed_by}" if run.noticed_by else ""
    return f"{run.outcome:8} {run.seconds:5.1f} s  {mutant.file}:{mutant.line} ({mutant.kind}){by}"


@dataclass(frozen=True, slots=True)
class Score:
    """How many changes of a room were noticed, of those that can be."""

    noticed: int
    hung: int
    tested: int
    equivalent: int

    @property
    def percent(self) -> float:
        """Those noticed, in percent; where nothing was tested, all."""
        return 100 * self.noticed / self.tested if self.tested else 100.0


def scores(results: Iterable[Result], equivalent: Counter[str]) -> dict[str, Score]:
    """Count each room's results; changes that hang are noticed too."""
    outcomes: defaultdict[str, Counter[Outcome]] = defaultdict(Counter)
    for result in results:
        outcomes[result.room][result.run.outcome] += 1
    return {
        room: Score(
            outcomes[room].total() - outcomes[room][Outcome.SURVIVED],
            outcomes[room][Outcome.HUNG],
            outcomes[room].total(),
            equivalent[room],
        )
        for room in sorted({*outcomes, *equivalent})
    }


def report(results: Sequence[Result], by_room: dict[str, Score]) -> str:
    """Return the report for a person: what was not noticed, then the table of rooms."""
    parts = [
        f"Not noticed: {result.mutant.file}:{result.mutant.line} ({result.mutant.kind}): {result.mutant.why}\n"
        f"{result.mutant.diff()}"
        for result in results
        if result.run.outcome is Outcome.SURVIVED
    ]
    rows = [
        f"{room:<16} {score.noticed:7} {score.tested:7} {score.percent:7.1f} {score.hung:6} {score.equivalent:10}"
        for room, score in by_room.items()
    ]
    table = [f"{'room':<16} noticed      of percent  hangs equivalent", *rows]
    return "\n".join([*parts, *table])


def document(results: Sequence[Result], by_room: dict[str, Score], seed: int | None) -> dict[str, Any]:
    """Return the report as JSON; `seed` is None for named changes."""
    return {
        "seed": seed,
        "rooms": {
            room: {
                "noticed": score.noticed,
                "of": score.tested,
                "percent": round(score.percent, 1),
                "hangs": score.hung,
                "equivalent": score.equivalent,
            }
            for room, score in by_room.items()
        },
        "mutants": [
            {
                "room": result.room,
                "file": result.mutant.file,
                "line": result.mutant.line,
                "kind": result.mutant.kind,
                "why": result.mutant.why,
                "outcome": result.run.outcome.lower(),
                "noticed_by": result.run.noticed_by,
                "seconds": round(result.run.seconds, 1),
                "diff": result.mutant.diff(),
            }
            for result in results
        ],
    }


def files_in(given: Iterable[str], root: Path) -> list[str]:
    """Return the Python files that are given or are in folders given, from the root. Raises `MeasureError`."""
    found: list[Path] = []
    for each in given:
        path = (root / each).resolve()
        if not path.exists() or not path.is_relative_to(root):
            raise MeasureError(f"there is no {each} in {root}")
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return [path.relative_to(root).as_posix() for path in found]


def chosen(options: argparse.Namespace, rooms: Sequence[Room], root: Path) -> list[tuple[Room, Mutant]]:
    """Return the mutants that the options ask for, with their rooms. Raises `MeasureError` and `StaleError`."""
    files = files_in(options.files, root)
    if options.sample is not None:
        if not files:
            raise MeasureError("--sample needs the files to change")
        mutants = sample(files, root, options.sample, options.seed)
    else:
        lists = sorted((root / NAMED).glob("*.json")) if options.named is None else options.named
        mutants = [mutant for each in lists for mutant in read_named(each, root)]
        mutants = [mutant for mutant in mutants if not files or mutant.file in files]
    found = [(room_of(mutant.file, rooms), mutant) for mutant in mutants]
    known = {room.name for room in rooms}
    if unknown := set(options.only or ()) - known:
        raise MeasureError(
            f"there is no room {', '.join(sorted(unknown))}: rooms are {', '.join(sorted(known))}"
        )
    found = [(room, mutant) for room, mutant in found if not options.only or room.name in options.only]
    if options.limit is None or options.limit >= len(found):
        return found
    drawn = Random(options.seed).sample(range(len(found)), options.limit)  # noqa: S311 - a draw that repeats
    return [found[index] for index in sorted(drawn)]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="make mutate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="files or folders, from the root")
    parser.add_argument("--sample", type=int, metavar="N", help="draw N changes of the files given")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the draw (1)")
    parser.add_argument(
        "--named",
        type=Path,
        action="append",
        metavar="LIST",
        help=f"a list of named changes ({NAMED}/*.json)",
    )
    parser.add_argument(
        "--only", action="append", metavar="ROOM", help="changes of this room; may be repeated"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="N of the changes, drawn by the seed")
    parser.add_argument(
        "--nearest", action="store_true", help="run the nearest tests alone: quick, and a lower bound"
    )
    parser.add_argument("--refit", action="store_true", help="mend the lists, and test nothing")
    parser.add_argument(
        "--jobs", type=int, default=2, metavar="N", help="copies of the tree that are tested at once (2)"
    )
    parser.add_argument(
        "--least", type=float, default=95.0, metavar="PERCENT", help="what each room must notice (95)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=ROOT / "build/mutations.json",
        metavar="FILE",
        help="the report as JSON",
    )
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> int:
    """Test the mutants that are asked for, report, and return the exit status."""
    rooms = read_rooms(ROOT / ROOMS)
    found = chosen(options, rooms, ROOT)
    equivalent = Counter(room.name for room, mutant in found if mutant.equivalent)
    tested = [(room, mutant) for room, mutant in found if not mutant.equivalent]
    if not tested:
        raise MeasureError("no changes to test")
    with tempfile.TemporaryDirectory(prefix="meterstone-mutants-") as folder:
        measurement = Measurement(ROOT, Path(folder), options.jobs, nearest=options.nearest)
        results = measurement.mutants(tested)
    by_room = scores(results, equivalent)
    print(report(results, by_room))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    seed = options.seed if options.sample is not None else None
    options.output.write_text(json.dumps(document(results, by_room, seed), indent=1) + "\n")
    return int(any(score.percent < options.least for score in by_room.values()))


def refitted(options: argparse.Namespace) -> int:
    """Mend the lists of named changes, and return the exit status: 2 if an entry does not fit any more."""
    lists = sorted((ROOT / NAMED).glob("*.json")) if options.named is None else options.named
    problems = []
    for each in lists:
        mended, stale = refit(each, ROOT)
        print(f"{each.name}: {mended} mended, {len(stale)} do not fit")
        problems += stale
    if problems:
        raise StaleError("\n".join(problems))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 2 says that nothing could be measured."""
    options = parse(arguments)
    try:
        return refitted(options) if options.refit else measure(options)
    except (MeasureError, StaleError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped before the end: nothing is reported", file=sys.stderr)
        return 130


if __name__ == "__main__":
    # Ctrl-C ends the runs also where a shell started this in its background, and a plain kill leaves no copies.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())

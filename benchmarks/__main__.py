"""`python -m benchmarks [PART …]`: measure, print a table, write it as JSON. A figure never fails the run."""

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from benchmarks import report
from benchmarks.figures import Part

PARTS = (
    "pricing",
    "page",
    "read",
    "year",
    "cold",
    "loader",
    "catalogue",
    "puts",
    "recount",
    "anew",
    "write_units",
    "fold",
    "ingest",
    "living",
    "growth",
    "scale",
    "hour",
)
RESULTS = Path(__file__).parent / "results.json"


def main(arguments: list[str]) -> int:
    """Run the parts that are asked for, all of them by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="smaller stores and fewer rounds")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the JSON goes")
    parser.add_argument(
        "--show", action="store_true", help="print what was last measured, and measure nothing"
    )
    asked = parser.parse_args(arguments)
    if asked.show:
        for part in report.read(asked.output):
            print("\n".join(report.lines(part)))
        return 0
    unknown = [name for name in asked.parts if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}: choose from {', '.join(PARTS)}")
    facts = report.machine()
    for name in asked.parts or PARTS:
        print(f"… {name}", file=sys.stderr, flush=True)
        # Each part's own imports stay out of the others' memory and time.
        run: Callable[[bool], Part] = import_module(f"benchmarks.{name}").run
        part = run(asked.quick)
        print("\n".join(report.lines(part)), flush=True)
        # After each: a part that breaks costs no other.
        report.write(asked.output, facts, part)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

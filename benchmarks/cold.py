"""Cold starts of the built functions, in turn with a function that only makes a boto3 client."""

import statistics
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from benchmarks import engine, handlers, rapid
from benchmarks.figures import Figure, Part, percentile
from benchmarks.rapid import ColdStart
from benchmarks.year import fill_year, request

_BARE = """import boto3

client = boto3.client("dynamodb")


def handler(event, context):
    return {"statusCode": 200}
"""
_ROUNDS = 20
_IMPORT_ROUNDS = 5
_LISTED = 8
_RATIO = 1.0
_FIRST_REQUEST_MS = 5000.0
_BOTO = frozenset({"boto3", "botocore", "s3transfer", "jmespath", "urllib3", "dateutil", "six"})


def run(quick: bool) -> Part:  # noqa: FBT001 - every part is called alike
    """Start each function so often, one after the other, round by round."""
    with tempfile.TemporaryDirectory(prefix="meterstone-bench-") as name, engine.running() as table:
        folder = Path(name)
        built = rapid.build(folder)
        layer = built / "PricingLayer" / "python"
        runtime = rapid.runtime(folder)
        bare = folder / "BareClient"
        bare.mkdir()
        (bare / "app.py").write_text(_BARE)
        key = fill_year(table)
        functions: dict[str, tuple[Mapping[str, str], handlers.Event]] = {
            "boto3 client only": (rapid.environment(bare, None, runtime), {}),
            "AnalyticsUsage": (rapid.environment(built / "AnalyticsUsage", layer, runtime), request(key)[1]),
            "SubscriptionUsage": (
                rapid.environment(built / "SubscriptionUsage", layer, runtime),
                handlers.subscription(key, subscription_id="sub_00001", lifetime_usage=True)[1],
            ),
        }
        _compile_boto3(functions["boto3 client only"][0])
        starts: dict[str, list[ColdStart]] = {function: [] for function in functions}
        for _ in range(3 if quick else _ROUNDS):
            for function, (variables, event) in functions.items():
                started = rapid.cold_start(variables, event)
                if started.answer.get("statusCode") != 200:  # noqa: PLR2004 - HTTP OK
                    raise RuntimeError(f"{function}: {started.answer}")
                starts[function].append(started)
        variables, _ = functions["AnalyticsUsage"]
        costs = _import_costs(variables, 1 if quick else _IMPORT_ROUNDS)
    return Part(
        "cold",
        _figures(starts),
        notes=[
            "init of AnalyticsUsage, ms by package (python -X importtime; app's own is making the client): "
            + ", ".join(f"{package} {ms:.0f}" for package, ms in costs),
        ],
        limits=[
            "init: importing botocore, and making its client out of the endpoints and the service's model",
            "first request: init, which begins with it; then the first connection, the key and the organization",
        ],
    )


def _figures(starts: Mapping[str, list[ColdStart]]) -> list[Figure]:
    inits = {function: statistics.median(each.init for each in found) for function, found in starts.items()}
    figures = []
    for function, found in starts.items():
        times = [each.init for each in found]
        beside = {"p99 ms": percentile(times, 0.99), "least ms": min(times)}
        figures.append(Figure(f"{function}: init", inits[function], "ms", beside=beside))
    bare, *ours = inits
    figures += [
        Figure(f"{function}: init over that of the {bare}", inits[function] / inits[bare], "x", _RATIO)
        for function in ours
    ]
    for function, what in (("AnalyticsUsage", "a year, daily"), ("SubscriptionUsage", "its lifetime")):
        times = [each.request for each in starts[function]]
        beside = {"p99 ms": percentile(times, 0.99)}
        figures.append(
            Figure(
                f"{function}: cold start and {what}",
                statistics.median(times),
                "ms",
                _FIRST_REQUEST_MS,
                beside,
            )
        )
    return figures


def _compile_boto3(variables: Mapping[str, str]) -> None:
    """Have boto3's bytecode written, as Lambda's own is: the environment may have been made without it."""
    environment = {name: value for name, value in variables.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([*rapid.PYTHON, "-c", "import app, awslambdaric.bootstrap"], env=environment, check=True)  # noqa: S603


def _import_costs(variables: Mapping[str, str], rounds: int) -> list[tuple[str, float]]:
    """Give the packages that take longest to import, with their milliseconds, and all of boto3's together."""
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        done = subprocess.run(  # noqa: S603 - Python of our own environment
            [*rapid.PYTHON, "-X", "importtime", "-c", "import app"],
            env=dict(variables),
            capture_output=True,
            text=True,
            check=True,
        )
        spent: dict[str, float] = defaultdict(float)
        for line in done.stderr.splitlines():
            own, _, module = line.removeprefix("import time:").split("|")
            package = module.strip().partition(".")[0]
            if own.strip().isdigit():
                spent["boto3 and what it needs" if package in _BOTO else package] += int(own) / 1000
        for package, ms in spent.items():
            found[package].append(ms)
    costs = [(package, statistics.median(times)) for package, times in found.items()]
    return sorted(costs, key=lambda cost: -cost[1])[:_LISTED]

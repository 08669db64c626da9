"""That the readings of two real meters all count, and add up exactly: see the README beside this file."""

import csv
import json
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from meterstone.usage.instant import parse_instant
from support.golden_run import Run, running

HERE = Path(__file__).parent
ORGANIZATION = "6b0f3d7e-2f6a-4f0e-9a51-3d6c1e8b7a42"
THERMS = Fraction("0.034121416331279")
PRICES = {
    "electricity": Fraction("0.12"),
    "gas": Fraction("7.6234102728e-08"),
    "gas_therms": Fraction("1.05"),
}


def readings(name: str) -> list[dict[str, str]]:
    """Read a file as it is."""
    with (HERE / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def rounded(value: Fraction, decimals: int) -> Fraction:
    """Round half away from zero."""
    scaled = abs(value) * 10**decimals + Fraction(1, 2)
    found = Fraction(scaled.numerator // scaled.denominator, 10**decimals)
    return found if value >= 0 else -found


def by_month(name: str) -> dict[str, Fraction]:
    """Add readings up by the month that they are of, each rounded to 18 decimals."""
    found: defaultdict[str, Fraction] = defaultdict(Fraction)
    for row in readings(name):
        found[row["timestamp"][:7]] += rounded(Fraction(row["kwh"]), 18)
    return found


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Import both files, and ask by the month and for each month's window."""
    folder = tmp_path_factory.mktemp("meters")
    with running(folder) as run:
        run.now, run.organization = parse_instant("2016-12-01T00:00:00Z"), ORGANIZATION
        run.command("load", str(HERE / "catalogue"))
        run.key = run.command("keys", "create", "--organization", ORGANIZATION).split()[-1]
        printed = {}
        for name in ("electricity", "gas"):
            path = folder / f"{name}.csv"
            path.write_bytes((HERE / f"{name}.csv").read_bytes())
            printed[name] = run.command("import", "--organization", ORGANIZATION, str(path))
            assert run.transcript[-1]["status"] == 0
        yield run, printed


@pytest.mark.parametrize("name", ["electricity", "gas"])
def test_every_reading_counts(imported: tuple[Run, dict[str, str]], name: str) -> None:
    count = len(readings(name))
    told = f"{count} taken, {count} counted, 0 not counted, 0 were there already, 0 put aside"
    assert imported[1][name] == f"{name}.csv: {told}\n"


@pytest.mark.parametrize("name", ["electricity", "gas"])
def test_the_files_hold_what_floats_look_like(name: str) -> None:
    texts = [row["kwh"] for row in readings(name)]
    assert sum("e-" in text for text in texts) > 20
    assert sum(len(text.partition(".")[2]) == 22 for text in texts) > 20
    assert sum(len(text.replace(".", "").lstrip("0")) in (16, 17) for text in texts) > 100


def test_months_are_exact(imported: tuple[Run, dict[str, str]]) -> None:
    run, _ = imported
    run.analytics("months", time_granularity="monthly", from_date="2015-11-01", to_date="2016-11-30")
    rows = json.loads(json.dumps(run.answers["months"]["body"]))["usages"]
    found = {(row["start_of_period_dt"][:7], row["billable_metric_code"]): row for row in rows}
    expected = {
        (month, name): units for name in ("electricity", "gas") for month, units in by_month(name).items()
    }
    expected |= {
        (month, "gas_therms"): rounded(units * THERMS, 18) for month, units in by_month("gas").items()
    }
    assert {key: Fraction(row["units"]) for key, row in found.items()} == expected
    cents = {key: row["amount_cents"] for key, row in found.items()}
    assert cents == {key: rounded(units * PRICES[key[1]] * 100, 0) for key, units in expected.items()}

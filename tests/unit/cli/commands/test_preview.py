"""What `preview` and `price` say usage would have cost: of one subscription, of all, and of quantities alone."""

import fcntl
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterstone.store.catalogue.plans import read_plan_prices
from meterstone_cli import plan_preview
from meterstone_cli.files import preview_file
from support.billed import PRICES, SUBSCRIPTIONS, Endpoints, bill
from support.commands import ORGANIZATION, Machine, row

FEBRUARY = {"start_time": "2026-02-01T00:00:00Z", "end_time": "2026-03-01T00:00:00Z"}
DAYS = ("--from", "2026-02-01", "--to", "2026-02-28")
#: They cannot be previewed under the plan q: it has no price in dinars, and of `w` no billing period has ended.
OTHERS = """
- id: u
  customer: c
  plan: p
  currency: KWD
  start: 2026-01-01T00:00:00Z
  line_items: [{id: l, price: load_kwd}]
- id: w
  customer: c
  plan: p
  currency: USD
  start: 2026-02-15T00:00:00Z
  billing_cycle: anniversary
  line_items: [{id: m, price: calls}]
"""
PRICE = {"currency": "usd", "billing_model": "FLAT_FEE", "amount": "0.25"}


@pytest.fixture
def machine(machine: Machine) -> Machine:
    return bill(machine)


@pytest.fixture
def several(machine: Machine) -> Machine:
    """Have subscriptions that cannot be previewed, too."""
    (machine.folder / "subscriptions.yaml").write_text(SUBSCRIPTIONS + OTHERS)
    assert machine.load().exit_code == 0
    return machine


@pytest.fixture
def endpoints(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Endpoints:
    return Endpoints(machine, monkeypatch)


def previewed(endpoints: Endpoints, subscription: str, instead: dict[str, Any]) -> Any:
    """Ask the endpoint for a preview of February."""
    body = {"subscription_id": subscription, "instead": instead} | FEBRUARY
    return endpoints.post("explain_usage", "preview_nothing", "/v1/subscriptions/usage/preview", body)


def written(machine: Machine, name: str, value: object) -> Path:
    path = machine.path / name
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize(
    ("options", "instead"),
    [
        pytest.param(("--plan", "q"), {"plan": "q"}, id="a plan"),
        pytest.param(("--plan", "p"), {"plan": "p"}, id="the plan in force"),
        pytest.param(("--commitment", "none"), {"commitment": None}, id="no commitment"),
        pytest.param(
            ("--commitment", "2", "--overage-factor", "2"),
            {"commitment": {"amount": "2", "overage_factor": "2"}},
            id="another commitment",
        ),
        pytest.param(
            ("--commitment", "2"),
            {"commitment": {"amount": "2", "overage_factor": "1.5"}},
            id="a commitment by the factor of before",
        ),
        pytest.param(("--quantity", "i=109783.5"), {"quantities": {"i": "109783.5"}}, id="a quantity"),
        pytest.param(("--quantity", "calls=3"), {"quantities": {"calls": "3"}}, id="a quantity of a meter"),
        pytest.param((), {}, id="nothing"),
    ],
)
def test_a_preview_is_the_endpoints_answer(
    machine: Machine, endpoints: Endpoints, options: Sequence[str], instead: dict[str, Any]
) -> None:
    found = machine.of("preview", "-s", "s", *DAYS, *options, "--json")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout, parse_float=Decimal) == previewed(endpoints, "s", instead)


def test_other_prices_are_read_from_a_file(machine: Machine, endpoints: Endpoints) -> None:
    prices = written(machine, "prices.json", {"calls": PRICE})
    found = machine.of("preview", "-s", "s", *DAYS, "--prices", prices, "--json")
    assert json.loads(found.stdout, parse_float=Decimal) == previewed(
        endpoints, "s", {"prices": {"calls": PRICE}}
    )


def test_a_preview_shows_each_line_item_now_and_instead(machine: Machine) -> None:
    assert machine.of("preview", "-s", "s", *DAYS, "--plan", "q").stdout.splitlines() == [
        "s of customer c, 2026-02-01T00:00:00Z to 2026-03-01T00:00:00Z",
        "",
        "line item    now  instead  difference",
        "i          $8.00    $3.50      -$4.50",
        "total      $8.00    $3.50      -$4.50",
    ]
    assert machine.of("preview", "-s", "s", *DAYS, "--plan", "q", "--csv").stdout.splitlines() == [
        "subscription_line_item_id,meter_id,currency,now,instead,difference",
        "i,calls,usd,8,3.5,-4.5",
    ]
    explained = machine.of("preview", "-s", "s", *DAYS, "--plan", "q", "--explain").stdout
    assert "7 of 7 x, within the commitment: $3.50" in explained or "7 x at $0.50 each: $3.50" in explained


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        pytest.param(("-s", "x", "--plan", "q"), 1, "there is no subscription x", id="a subscription"),
        pytest.param(("-s", "s", "--plan", "x"), 1, "there is no plan x in this organization", id="a plan"),
        pytest.param(
            ("-s", "t", "--plan", "p"), 1, "--plan: the plan 'p' has no price in KWD", id="another currency"
        ),
        pytest.param(
            ("-s", "s", "--quantity", "z=1"), 1, "--quantity z: is neither a line item", id="a meter"
        ),
        pytest.param(("-s", "s", "--quantity", "i=many"), 1, "--quantity i: not a number", id="a number"),
        pytest.param(("-s", "s", "--quantity", "i"), 2, "--quantity i: must be ID=NUMBER", id="no number"),
        pytest.param(("-s", "s", "--commitment", "x"), 1, "--commitment: not a number", id="a commitment"),
        pytest.param(("-s", "t", "--commitment", "5"), 1, "--overage-factor: is required", id="no factor"),
        pytest.param(
            ("-s", "s", "--split", "X", "--commitment", "1"),
            1,
            "--split: should be 'amount' or",
            id="a split",
        ),
        pytest.param(("-s", "s", "--split", "AMOUNT"), 2, "--split wants a --commitment", id="a split alone"),
        pytest.param(("-s", "s", "--from", "soon"), 2, "--from must be a day such as", id="a day"),
        pytest.param(("--plan", "q"), 2, "name a --subscription, or say --all", id="neither"),
        pytest.param(("-s", "s", "--all"), 2, "name a --subscription, or say --all", id="both"),
        pytest.param(("--all",), 2, "--all wants a --plan", id="all, and no plan"),
        pytest.param(
            ("--all", "--plan", "x"), 1, "there is no plan x in this organization", id="all, a plan"
        ),
        pytest.param(
            ("--all", "--plan", "q", "--from", "2026-01-01"), 2, "--from is for one", id="all, a day"
        ),
        pytest.param(("-s", "s", "--output", "f"), 2, "--output is for --all", id="a file of one"),
    ],
)
def test_what_cannot_be_previewed_is_refused_with_the_option(
    machine: Machine, options: Sequence[str], status: int, said: str
) -> None:
    found = machine.of("preview", *options)
    assert (found.exit_code, found.stdout) == (status, "")
    assert said in found.stderr


def test_a_bad_price_is_told_in_the_words_of_the_catalogue(machine: Machine) -> None:
    prices = written(machine, "prices.json", {"calls": PRICE | {"amount": "-1"}})
    found = machine.of("preview", "-s", "s", "--prices", prices)
    assert (found.exit_code, found.stderr) == (1, "--prices calls.amount: must not be negative\n")
    prices.write_text("{")
    found = machine.of("preview", "-s", "s", "--prices", prices)
    assert found.exit_code == 1
    assert "line 1, column 2" in found.stderr


def test_every_subscription_has_a_row_and_each_currency_a_total(several: Machine) -> None:
    found = several.of("preview", "--all", "--plan", "q")
    assert found.exit_code == 1
    assert found.stdout.splitlines() == [
        "s\tc\t$8.00\t$3.50\t-$4.50",
        "t\td\tKD 1.102\tKD 1.102\tKD 0.000",
        "u\tc\tnot previewed: the plan q has no prices in KWD",
        "w\tc\tnot previewed: no billing period of it has ended",
        "",
        "total  subscriptions       now   instead  difference",
        "KWD                1  KD 1.102  KD 1.102    KD 0.000",
        "USD                1     $8.00     $3.50      -$4.50",
    ]
    assert found.stderr == "2 subscriptions could not be previewed: their rows have the reason\n"


def test_where_all_can_be_previewed_the_status_says_so(machine: Machine) -> None:
    assert machine.of("preview", "--all", "--plan", "q").exit_code == 0


def test_each_row_is_the_endpoints_preview_of_the_last_period(several: Machine, endpoints: Endpoints) -> None:
    rows = [
        json.loads(line, parse_float=Decimal)
        for line in several.of("preview", "--all", "--plan", "q", "--json").stdout.splitlines()
    ]
    assert [each["subscription_id"] for each in rows] == ["s", "t", "u", "w"]
    for each in rows[:2]:
        answer = previewed(endpoints, each["subscription_id"], {"plan": "q"})
        assert (each["now"], each["instead"]) == (answer["now"]["amount"], answer["instead"]["amount"])
        assert each["difference"] == answer["difference"]["amount"]
        assert {name: each[name] for name in FEBRUARY} == FEBRUARY
    assert [each["reason"] for each in rows] == [
        *(None, None, "the plan q has no prices in KWD", "no billing period of it has ended")
    ]


@pytest.fixture(params=["rows.csv", "rows.jsonl"])
def file(request: pytest.FixtureRequest, several: Machine) -> Path:
    return several.path / str(request.param)


def run(machine: Machine, file: Path, plan: str = "q") -> Any:
    return machine.of("preview", "--all", "--plan", plan, "--output", file, "--json")


def test_a_file_has_every_row_and_stdout_the_totals(several: Machine, file: Path) -> None:
    found = run(several, file)
    assert [json.loads(line) for line in found.stdout.splitlines()] == [
        {"currency": "kwd", "subscriptions": 1, "now": 1.102, "instead": 1.102, "difference": 0},
        {"currency": "usd", "subscriptions": 1, "now": 8, "instead": 3.5, "difference": -4.5},
    ]
    form = "--csv" if file.suffix == ".csv" else "--json"
    rows = several.of("preview", "--all", "--plan", "q", form).stdout
    assert file.read_bytes().decode() == rows.replace("\r\n", "\n").replace(
        "\n", "\r\n" if form == "--csv" else "\n"
    )


class KilledError(BaseException):
    """The process is gone."""


def killed_before_a_row(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Kill the process before a row is made."""
    made = iter(range(10))
    row_of = plan_preview.preview_row

    def preview_row(*arguments: Any) -> Any:
        if next(made) == number:
            raise KilledError
        return row_of(*arguments)

    monkeypatch.setattr(plan_preview, "preview_row", preview_row)


def killed_before_the_state(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Kill the process when a row is written, and the state does not say so."""
    kept = iter(range(10))
    replace = Path.replace

    def replaced(path: Path, target: Path) -> Path:
        # The first is of the file with no row yet.
        if next(kept) == number + 1:
            raise KilledError
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", replaced)


def killed_within_a_row(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Kill the process when half of a row is written."""
    made = iter(range(10))
    write = preview_file.PreviewFile.add

    def add(self: Any, row: Any) -> None:
        if next(made) == number:
            self._out.write(b"half a ro")
            self._out.flush()
            raise KilledError
        write(self, row)

    monkeypatch.setattr(preview_file.PreviewFile, "add", add)


@pytest.mark.parametrize("number", range(4), ids="row {}".format)
@pytest.mark.parametrize("kill", [killed_before_a_row, killed_within_a_row, killed_before_the_state])
def test_killed_at_any_row_a_run_goes_on_and_no_row_is_doubled_or_lost(
    several: Machine, kill: Callable[[pytest.MonkeyPatch, int], None], number: int
) -> None:
    file, whole = several.path / "rows.csv", several.path / "whole.csv"
    totals = run(several, whole).stdout
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, number)
        with pytest.raises(KilledError):
            run(several, file)
    # A month later another period is the last: the run goes on with that of its begin.
    several.now += 40 * 86_400_000_000
    assert run(several, file).stdout == totals
    assert file.read_bytes() == whole.read_bytes()
    again = run(several, file)
    assert (again.stdout, again.exit_code) == (totals, 1)
    assert "finished before, 4 rows" in again.stderr
    assert file.read_bytes() == whole.read_bytes()


def test_a_file_of_something_else_is_left_alone(several: Machine, file: Path) -> None:
    file.write_text("mine")
    found = run(several, file)
    assert (found.exit_code, file.read_text()) == (1, "mine")
    assert "is there already" in found.stderr


def test_a_file_is_gone_on_with_by_the_same_run_alone(several: Machine, file: Path) -> None:
    run(several, file)
    found = run(several, file, plan="p")
    assert (found.exit_code, found.stdout) == (1, "")
    assert "is of another plan and prices: name another file" in found.stderr
    file.write_text("")
    found = run(several, file)
    assert found.exit_code == 1
    assert "has 0 of the" in found.stderr


def test_two_runs_do_not_write_one_file(several: Machine, file: Path) -> None:
    with file.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        found = run(several, file)
    assert found.exit_code == 1
    assert "is being written by another run" in found.stderr


def many(path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Have so many subscriptions, each with usage."""
    path.mkdir()
    machine = Machine(path)
    machine.work_here(monkeypatch)
    (machine.folder / "plans.yaml").write_text("- {code: p}\n- {code: q, prices: [q_calls]}\n")
    (machine.folder / "prices.yaml").write_text(PRICES)
    (machine.folder / "subscriptions.yaml").write_text(
        "".join(
            f"- {{id: s{each:03}, customer: c, plan: p, currency: USD, start: 2026-01-01T00:00:00Z,"
            f" line_items: [{{id: i{each:03}, price: calls}}]}}\n"
            for each in range(number)
        )
    )
    assert machine.load().exit_code == 0
    usage = [row(f"e{each}", external_subscription_id=f"s{each:03}") for each in range(number)]
    assert machine.of("import", machine.usage("usage.jsonl", *usage)).exit_code == 0
    return machine


def test_each_subscription_costs_the_same_reads_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = {}
    for number in (10, 20, 100):
        machine = many(tmp_path / str(number), number, monkeypatch)
        machine.table.cost.reset()
        found = machine.of("preview", "--all", "--plan", "q", "--json")
        assert len(found.stdout.splitlines()) == number
        reads[number] = machine.table.cost.items
    each = (reads[20] - reads[10]) // 10
    assert reads[20] == reads[10] + 10 * each
    assert reads[100] == reads[10] + 90 * each
    # Its id, its document, its counter.
    assert each == 3


def test_a_row_is_there_before_the_next_subscriptions_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = many(tmp_path / "many", 250, monkeypatch)
    plan = read_plan_prices(machine.table, ORGANIZATION, "q")
    assert plan is not None
    rows = plan_preview.preview_all(machine.table, machine.account, plan, machine.now)
    machine.table.cost.reset()
    assert next(rows).subscription_id == "s000"
    # A page of ids, 100 documents, and the counter of one.
    read = machine.table.cost.items
    assert len(list(rows)) == 249
    assert machine.table.cost.items - read >= 2 * 149


@pytest.mark.parametrize("name", ["price.json", "price.yaml"])
def test_quantities_are_priced(machine: Machine, endpoints: Endpoints, name: str) -> None:
    price = {
        "currency": "USD",
        "billing_model": "TIERED",
        "tier_mode": "SLAB",
        "tiers": [{"up_to": 100_000, "unit_amount": "0.00001"}, {"up_to": None, "unit_amount": "0.000008"}],
    }
    file = written(machine, name, price)
    arguments = ("price", "--price", file, "-q", "0", "-q", "109783")
    assert machine.run(*arguments).stdout.splitlines() == [
        "quantity    USD",
        "       0  $0.00",
        " 109,783  $1.08",
        "",
        "Nothing was used: nothing to pay",
        "109,783 units: 100,000 at $0.00001 and 9,783 at $0.000008, together $1.08",
    ]
    body = {"price": price, "quantities": ["0", "109783"]}
    answer = endpoints.post("explain_usage", "prices", "/v1/prices/preview", body)
    assert json.loads(machine.run(*arguments, "--json").stdout, parse_float=Decimal) == answer
    assert machine.run(*arguments, "--csv").stdout.splitlines()[2] == (
        '109783,1.08,usd,1.078264,"109,783 units: 100,000 at $0.00001 and 9,783 at $0.000008, together $1.08"'
    )


@pytest.mark.parametrize(
    ("changes", "quantity", "said"),
    [
        pytest.param({"amount": "-1"}, "1", "--price amount: must not be negative", id="the price"),
        pytest.param({"colour": "red"}, "1", "--price colour: is not a known field", id="a field"),
        pytest.param({}, "many", "--quantity [0]: not a number", id="a quantity"),
        pytest.param({}, "9" * 40, "--quantity [0]: ", id="a quantity of 40 digits"),
    ],
)
def test_what_has_no_price_is_refused(
    machine: Machine, changes: dict[str, str], quantity: str, said: str
) -> None:
    found = machine.run("price", "--price", written(machine, "price.json", PRICE | changes), "-q", quantity)
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.startswith(said)

"""What `usage` shows: of an organization by the day, and of a subscription charge by charge."""

import json
from collections.abc import Sequence
from decimal import Decimal

import pytest

from support.billed import Endpoints, bill
from support.commands import Machine

DAYS = ("--from", "2026-02-01", "--to", "2026-02-04")


@pytest.fixture
def machine(machine: Machine) -> Machine:
    return bill(machine)


@pytest.fixture
def endpoints(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Endpoints:
    return Endpoints(machine, monkeypatch)


def test_each_currency_has_its_days_and_its_meters(machine: Machine) -> None:
    found = machine.of("usage", *DAYS)
    assert found.exit_code == 0, found.output
    assert found.stdout.splitlines() == [
        "6f9e0e0e-0000-4000-8000-000000000001, 2026-02-01 to 2026-02-04, days of UTC",
        "",
        "day            load        KWD",
        "2026-02-01        0   KD 0.000",
        "2026-02-02  1,234.5   KD 1.852                #################################",
        "2026-02-03     -500  -KD 0.750   -------------",
        "2026-02-04     0.25   KD 0.000",
        "",
        "meter  quantity       KWD",
        "load     734.75  KD 1.102",
        "total            KD 1.102",
        "",
        "day         x    USD",
        "2026-02-01  2  $2.00  #############################",
        "2026-02-02  1  $1.00  ##############",
        "2026-02-03  0  $0.00",
        "2026-02-04  4  $4.00  ##########################################################",
        "",
        "meter  quantity    USD",
        "x             7  $7.00",
        "total            $7.00",
        "",
        "When the newest event in it came in is not known: it was imported, or there is none.",
    ]


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        pytest.param((), {}, id="the last 30 days"),
        pytest.param(("--by", "week"), {"time_granularity": "weekly"}, id="weeks"),
        pytest.param(("--by", "month"), {"time_granularity": "monthly"}, id="months"),
        pytest.param(("--by", "year"), {"time_granularity": "yearly"}, id="years"),
        pytest.param(DAYS, {"from_date": "2026-02-01", "to_date": "2026-02-04"}, id="days"),
        pytest.param(("--currency", "kwd"), {"currency": "kwd"}, id="a currency"),
        pytest.param(("--customer", "d"), {"external_customer_id": "d"}, id="a customer"),
        pytest.param(("--plan", "p"), {"plan_code": "p"}, id="a plan"),
        pytest.param(("--metric", "x"), {"billable_metric_code": "x"}, id="a meter"),
        pytest.param(
            ("--external-subscription", "first"), {"external_subscription_id": "first"}, id="a subscription"
        ),
        pytest.param(("--recurring",), {"is_billable_metric_recurring": "true"}, id="what carries over"),
        pytest.param(("--not-recurring",), {"is_billable_metric_recurring": "false"}, id="what does not"),
        pytest.param(("--country", "NO"), {"customer_country": "NO"}, id="a country"),
        pytest.param(("--customer-type", "company"), {"customer_type": "company"}, id="a type"),
        pytest.param(
            ("--plan", "q", "--metric", "load", "--by", "month"),
            {"plan_code": "q", "billable_metric_code": "load", "time_granularity": "monthly"},
            id="several",
        ),
    ],
)
def test_the_numbers_are_the_analytics_endpoints(
    machine: Machine, endpoints: Endpoints, options: Sequence[str], parameters: dict[str, str]
) -> None:
    shown = machine.of("usage", *options, "--json")
    answer = endpoints.get("analytics_usage", **parameters)["usages"]
    assert shown.exit_code == 0, shown.output
    assert [json.loads(line) for line in shown.stdout.splitlines()] == answer
    if not {"is_billable_metric_recurring", "customer_country", "customer_type"} & parameters.keys():
        assert answer


@pytest.mark.parametrize(
    ("options", "body"),
    [
        pytest.param((), {}, id="the current billing period"),
        pytest.param(
            ("--from", "2026-02-01", "--to", "2026-02-04"),
            {"start_time": "2026-02-01T00:00:00Z", "end_time": "2026-02-05T00:00:00Z"},
            id="days",
        ),
        pytest.param(
            ("--from", "2026-02-01T10:30:00+00:00", "--to", "2026-02-04T10:00:00Z"),
            {"start_time": "2026-02-01T10:30:00Z", "end_time": "2026-02-04T10:00:00Z"},
            id="instants",
        ),
        pytest.param(("--lifetime",), {"lifetime_usage": True}, id="all of it"),
    ],
)
@pytest.mark.parametrize("explain", [False, True], ids=["usage", "explained"])
def test_a_bill_is_the_usage_endpoints_answer(
    machine: Machine, endpoints: Endpoints, options: Sequence[str], body: dict[str, object], *, explain: bool
) -> None:
    shown = machine.of("usage", "-s", "s", *options, "--json", *(["--explain"] if explain else []))
    assert shown.exit_code == 0, shown.output
    if explain:
        path = "/v1/subscriptions/usage/explain"
        answer = endpoints.post("explain_usage", "explain", path, {"subscription_id": "s"} | body)
    else:
        path = "/v1/subscriptions/usage"
        answer = endpoints.post("subscription_usage", "default", path, {"subscription_id": "s"} | body)
    assert json.loads(shown.stdout, parse_float=Decimal) == answer


def test_a_bill_is_explained(machine: Machine) -> None:
    found = machine.of("usage", "-s", "s", *DAYS, "--explain")
    assert found.stdout.splitlines() == [
        "s of customer c on the plan p, 2026-02-01T00:00:00Z to 2026-02-05T00:00:00Z",
        "",
        "charge       line item  quantity    USD",
        "x            i                 5  $5.00",
        "x (overage)  i                 2  $3.00",
        "total                             $8.00",
        "",
        "x (i)",
        "  5 of 7 x, within the commitment: $5.00",
        "  from  to  quantity  unit price   flat  amount",
        "     0             7       $1.00  $0.00   $7.00",
        "",
        "x (overage) (i)",
        "  2 of 7 x, beyond the commitment: $2.00 at 1.5 times the price, $3.00",
        "",
        "Commitment $5.00, used $5.00, overage $3.00, at 1.5 times the price beyond it",
        "",
        "Of the commitment, $5.00 is offered to the charges in order:",
        "charge       left before  taken  left after  beyond  overage before  amount",
        "x                  $5.00  $5.00       $0.00   $0.00           $0.00   $5.00",
        "x (overage)        $0.00  $0.00       $0.00   $2.00           $0.00   $3.00",
        "",
        "When the newest event in it came in is not known: it was imported, or there is none.",
    ]


def test_an_external_id_names_a_bill_where_one_subscription_has_it(machine: Machine) -> None:
    assert machine.of("usage", "-s", "first").stdout == machine.of("usage", "-s", "s").stdout


@pytest.mark.parametrize("columns", [24, 40, 80, 200])
def test_no_line_of_a_table_is_wider_than_the_terminal(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for arguments in (DAYS, ("-s", "s", *DAYS, "--explain"), ("-s", "t", *DAYS)):
        lines = machine.of("usage", *arguments).stdout.splitlines()[1:]
        assert max(map(len, lines)) <= columns
        assert any("8.00" in line or "1.102" in line or "7.00" in line for line in lines)


def test_csv_has_the_rows_of_json(machine: Machine) -> None:
    head, *lines = machine.of("usage", *DAYS, "--csv").stdout.splitlines()
    objects = [json.loads(line) for line in machine.of("usage", *DAYS, "--json").stdout.splitlines()]
    assert head.split(",") == list(objects[0])
    assert [line.split(",")[4:7] for line in lines] == [
        [str(each["amount_cents"]), each["billable_metric_code"], each["units"]] for each in objects
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        pytest.param(
            ("-s", "nobody"), 1, "there is no subscription nobody in this organization", id="a bill"
        ),
        pytest.param(("-s", "a\x1b[2J"), 1, "there is no subscription a\\x1b[2J in this", id="no text"),
        pytest.param(("--customer", "x"), 1, "there is no customer x in this organization", id="a customer"),
        pytest.param(("--plan", "x"), 1, "there is no plan x in this organization", id="a plan"),
        pytest.param(("--metric", "y"), 1, "there is no meter of the code y", id="a meter"),
        pytest.param(("--external-subscription", "x"), 1, "there is no subscription x in", id="days of one"),
        pytest.param(("--currency", "XQQ"), 2, "--currency is not an ISO 4217 currency", id="a currency"),
        pytest.param(("--from", "2026-02-30"), 2, "--from must be a day of the calendar", id="a day"),
        pytest.param(("--from", "2026-02-02", "--to", "2026-02-01"), 2, "--from is after", id="reversed"),
        pytest.param(
            ("--from", "2020-01-01"), 2, "--from makes a range of more than 400 days", id="too long"
        ),
        pytest.param(("--customer", ""), 2, "--customer is empty", id="empty"),
        pytest.param(("--country", "XX"), 2, "--country is not an ISO 3166-1", id="a country"),
        pytest.param(("-s", "s", "--from", "soon"), 2, "--from must be a day such as", id="an instant"),
        pytest.param(
            ("-s", "s", "--from", "2026-02-02", "--to", "2026-01-01"), 2, "--to must not be", id="window"
        ),
        pytest.param(
            ("-s", "s", "--plan", "p"), 2, "--plan is not for one --subscription", id="a filter of a bill"
        ),
        pytest.param(("--explain",), 2, "--explain is of one subscription", id="nothing to explain"),
        pytest.param(("--csv", "--json"), 2, "give either --json or --csv", id="two forms"),
        pytest.param(("--by", "hour"), 2, "'hour' is not one of", id="hours"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_reason(
    machine: Machine, arguments: Sequence[str], status: int, said: str
) -> None:
    found = machine.of("usage", *arguments)
    assert (found.exit_code, found.stdout) == (status, "")
    assert said in found.stderr


def test_nothing_used_is_no_error(machine: Machine) -> None:
    found = machine.of("usage", "--from", "2026-01-01", "--to", "2026-01-02")
    assert found.exit_code == 0
    assert "No usage." in found.stdout.splitlines()

"""The function of a customer's usage: every file of events/ for it, its reads, and hostile requests."""

import json
from collections.abc import Callable
from copy import replace
from pathlib import Path
from typing import Any

import pytest

from meterstone import clock
from meterstone.contracts import lago
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.reading.window import WindowStore
from meterstone.usage.instant import DAY
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingPeriod
from meterstone.usage.subscription import Subscription
from support.functions import load_over
from support.scenario import ORGANIZATION, Scenario, World
from support.small_world import FALLING, FLAT, START, call, meter, subscription
from support.written import write_catalogue

EVENTS = Path(__file__).parents[2] / "events"
SIZE, CALLS = meter("tokens", Aggregation.SUM), meter("calls", Aggregation.COUNT)
SUB = replace(
    subscription(BillingPeriod.DAILY, [(SIZE, FLAT), (CALLS, FALLING)]),
    external_id="dunlin",
    customer_id="dunlin",
    timezone="UTC",
)
#: In the hundred-and-first day.
NOW = START + 100 * DAY + DAY // 2

type Ask = Callable[..., tuple[int, Any, dict[str, str]]]


@pytest.fixture
def world() -> World:
    world = World(Scenario((SIZE, CALLS), (SUB,), (), NOW))
    of_sub = [call(f"e{day}", day * DAY + 1, value=day) for day in range(101)]
    usage = [replace(each, subject=each.subject._replace(external_id="dunlin")) for each in of_sub]
    world.load("file", usage, NOW)
    world.roll(NOW)
    return world


@pytest.fixture
def opened(world: World) -> Callable[[type], Any]:
    store = WindowStore(world.settled)
    return lambda _: store


@pytest.fixture
def ask(world: World, load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Ask:
    key, _ = create_key(world.table, ORGANIZATION.id, "test", 0)
    world.settled  # noqa: B018 - what was written is there
    monkeypatch.setattr(clock, "now", lambda: NOW)
    invoke = load("customer_usage")

    def ask(case: str, with_key: str = key, **query: str) -> tuple[int, Any, dict[str, str]]:
        asked = json.loads((EVENTS / f"customer_usage.{case}.json").read_text())
        changed = json.loads(json.dumps(asked).replace("events-key", with_key))
        if query:
            changed["multiValueQueryStringParameters"] = {name: [value] for name, value in query.items()}
        found: tuple[int, Any, dict[str, str]] = invoke(changed)
        return found

    return ask


@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("current", 200),
        ("current_filtered", 200),
        ("past", 200),
        ("past_page", 200),
        ("past_many", 200),
        ("projected", 200),
        ("missing", 422),
        ("repeated", 422),
        ("grouped", 422),
        ("past_none", 422),
        ("past_bad", 422),
        ("unknown_customer", 404),
        ("unknown_subscription", 404),
        ("huge_id", 404),
        ("unicode_id", 404),
        ("no_key", 401),
        ("unknown_key", 401),
        ("wrong_method", 405),
    ],
)
def test_every_file_of_events(ask: Ask, case: str, status: int) -> None:
    found, body, headers = ask(case)
    assert found == status, body
    assert headers["Content-Type"] == "application/json"
    assert headers.get("Allow") == ("GET" if status == 405 else None)
    if status != 200:
        assert body["status"] == status


def test_past_usage_as_csv_has_as_many_rows_as_json_has_charges(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = create_key(world.table, ORGANIZATION.id, "test", 0)
    monkeypatch.setattr(clock, "now", lambda: NOW)
    module = load_over("customer_usage", world.settled, monkeypatch)
    asked = (EVENTS / "customer_usage.past_csv.json").read_text().replace("events-key", key)
    reply = module.handler(json.loads(asked), None)
    headers = {name: values[0] for name, values in reply["multiValueHeaders"].items()}
    assert (reply["statusCode"], headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
    header, first, *rows, end = reply["body"].split("\r\n")
    assert (len(rows), end) == (2 * 100 - 1, "")
    assert header.startswith("from_datetime,")
    assert first.split(",")[5:] == ["calls", "calls", "count_agg", "1", "1", "200", "USD"]


def test_an_answer_reads_as_much_as_it_has_periods(world: World, ask: Ask) -> None:
    """One query reads the counters of a page; a later page costs no more than the first."""
    ask("past")
    units = {}
    for per_page, page in (("1", "1"), ("10", "1"), ("1", "90"), ("10", "10")):
        ask("past", external_subscription_id="dunlin", per_page=per_page, page=page)
        units[per_page, page] = world.table.cost.items
    assert units["1", "90"] == units["1", "1"]
    assert units["10", "10"] == units["10", "1"] == units["1", "1"] + 9 * 2


def test_an_answer_of_too_many_bytes_is_refused(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lago, "LARGEST_ANSWER", 20_000)
    assert ask("past", external_subscription_id="dunlin", per_page="10")[0] == 200
    status, body, _ = ask("past")
    assert (status, body["error_details"]) == (422, {"per_page": ["answer_is_too_large"]})


def test_a_projection_grows_with_the_time_that_has_elapsed(ask: Ask) -> None:
    _, body, _ = ask("projected")
    found = body["customer_projected_usage"]
    charges = {each["billable_metric"]["code"]: each for each in found["charges_usage"]}
    # Twelve hours of a day: one call of 100 tokens by now.
    assert (charges["tokens"]["units"], charges["tokens"]["projected_units"]) == ("100", "200")
    assert (charges["calls"]["units"], charges["calls"]["projected_units"]) == ("1", "2")
    assert {each["meterstone"]["projected_by"] for each in charges.values()} == {"pace"}
    assert (found["amount_cents"], found["projected_amount_cents"]) == (2500 + 200, 5000 + 400)


@pytest.mark.parametrize(
    ("filters", "codes", "cents"),
    [
        pytest.param({}, ["calls", "tokens"], 2700, id="none"),
        pytest.param({"billable_metric_code": "tokens"}, ["tokens"], 2500, id="a metric"),
        pytest.param({"charge_code": "item calls"}, ["calls"], 200, id="a charge"),
        pytest.param({"charge_code": "item calls", "billable_metric_code": "tokens"}, [], 0, id="both"),
        pytest.param({"billable_metric_code": "TOKENS"}, [], 0, id="another case"),
        pytest.param({"charge_id": "'; DROP TABLE"}, [], 0, id="no id of a charge"),
    ],
)
@pytest.mark.parametrize("case", ["current", "projected"])
def test_filters(ask: Ask, case: str, filters: dict[str, str], codes: list[str], cents: int) -> None:
    (found,) = ask(case, external_subscription_id="dunlin", **filters)[1].values()
    assert [each["billable_metric"]["code"] for each in found["charges_usage"]] == codes
    assert found["amount_cents"] == found["total_amount_cents"] == cents
    assert found.get("projected_amount_cents", 2 * cents) == 2 * cents


def other_organization(world: World, *subscriptions: Subscription) -> str:
    other = replace(ORGANIZATION, id="0c9d1c52-8f0e-4d0b-9d5c-6b1f6c1f0aff")
    write_catalogue(world.table, other, (), subscriptions, ())
    key, _ = create_key(world.table, other.id, "other", 0)
    world.settled  # noqa: B018 - what was written is there
    return key


def test_another_organization_has_its_own_usage_under_the_same_ids(world: World, ask: Ask) -> None:
    key = other_organization(world, SUB)
    assert ask("current")[1]["customer_usage"]["amount_cents"] == 2700
    assert ask("current", key)[1]["customer_usage"]["amount_cents"] == 0
    lago_ids = {
        ask("current", *with_key)[1]["customer_usage"]["charges_usage"][0]["charge"]["lago_id"]
        for with_key in ((), (key,))
    }
    assert len(lago_ids) == 2


def test_another_organization_s_subscription_is_not_found(world: World, ask: Ask) -> None:
    key = other_organization(world)
    assert [ask(case, key)[0] for case in ("current", "past", "projected")] == [404, 404, 404]

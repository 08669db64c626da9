"""The function that explains and previews: every file of events/ for it, over a table with usage."""

import json
from collections.abc import Callable, Iterator
from copy import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterstone import clock
from meterstone.pricing.commitment import Commitment
from meterstone.pricing.price import BillingModel, Price, Tier, TierMode, TransformQuantity
from meterstone.store import StoreUnavailableError
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.reading.window import WindowStore
from meterstone.usage.arrival import Subject
from meterstone.usage.calendar import BucketSize
from meterstone.usage.instant import DAY, HOUR, parse_instant
from meterstone.usage.meter import Aggregation, Event, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Dated, LineItem, Organization, Subscription
from support.memory_table import MemoryTable
from support.scenario import ORGANIZATION, Batch, Scenario, Usage, World
from support.written import write_catalogue

EVENTS = Path(__file__).parents[2] / "events"
START = parse_instant("2023-11-01T00:00:00Z")
NOW = parse_instant("2023-11-20T12:00:00Z")

PROMPT = Meter("prompt-tokens", "prompt_tokens", "Prompt tokens", Aggregation.SUM, "request", "prompt")
GENERATED = Meter("generated-tokens", "generated_tokens", "Tokens", Aggregation.SUM, "request", "generated")
PEAKS = Meter("peaks", "peaks", "Peaks", Aggregation.MAX, "request", "generated", bucket_size=BucketSize.HOUR)


def flat(name: str, meter: Meter, amount: str, plan: str, currency: str = "eur") -> Price:
    details = {"entity_type": "PLAN", "entity_id": plan}
    return Price(name, currency, BillingModel.FLAT_FEE, Decimal(amount), meter_id=meter.id, details=details)


SLAB = replace(
    flat("business-generated", GENERATED, "0", "business"),
    billing_model=BillingModel.TIERED,
    tier_mode=TierMode.SLAB,
    tiers=(Tier(100_000, Decimal("0.00001")), Tier(None, Decimal("0.000008"))),
)
BUSINESS = (
    flat("business-prompt", PROMPT, "0.00002", "business"),
    SLAB,
    replace(
        flat("business-peaks", PEAKS, "0", "business"),
        billing_model=BillingModel.TIERED,
        tier_mode=TierMode.VOLUME,
        tiers=(Tier(1000, Decimal("0.001")), Tier(None, Decimal("0.0005"))),
    ),
)
TEAM = (
    replace(
        flat("team-generated", GENERATED, "0.02", "team"),
        billing_model=BillingModel.PACKAGE,
        transform_quantity=TransformQuantity(1000),
    ),
    flat("team-models", Meter("models-used", "m", "", Aggregation.COUNT, "m"), "5", "team"),
    flat("team-generated-usd", GENERATED, "9", "team", "usd"),
)
GAS = flat("gas", PROMPT, "1", "residential-gas", "usd")
SUBSCRIPTION = Subscription(
    id="sub_dunlin_shifted",
    external_id="dunlin",
    customer_id="dunlin",
    currency="eur",
    timezone="UTC",
    start=START,
    end=None,
    billing_period=BillingPeriod.MONTHLY,
    billing_period_count=1,
    billing_cycle=BillingCycle.CALENDAR,
    anchor=START,
    plan=(Dated("business"),),
    line_items=tuple(
        LineItem(f"item-{price.meter_id}", price, START, meter=meter)
        for price, meter in zip(BUSINESS, (PROMPT, GENERATED, PEAKS), strict=True)
    ),
)
#: 50,000 prompt tokens, 109,783 generated ones; hourly peaks of 100,000, 9,000 and 783.
USAGE = tuple(
    Usage(
        Subject.subscription("dunlin"),
        Event(f"e{number}", "request", START + after, {"prompt": prompt, "generated": generated}),
    )
    for number, (after, prompt, generated) in enumerate(
        [(DAY, 20_000, 100_000), (DAY + HOUR, 25_000, 9_000), (3 * DAY, 5_000, 783)]
    )
)


@pytest.fixture
def table() -> MemoryTable:
    meters = (PROMPT, GENERATED, PEAKS)
    scenario = Scenario(meters, (SUBSCRIPTION,), (Batch(NOW, USAGE),), NOW)
    world = World(scenario, MemoryTable()).run()
    plans = {"business": BUSINESS, "team": TEAM, "residential-gas": (GAS,)}
    entries: list[tuple[str, str, object]] = [
        ("plan", code, Plan(code, prices=tuple(each.id for each in prices))) for code, prices in plans.items()
    ]
    entries += [("price", price.id, price) for price in (*BUSINESS, *TEAM, GAS)]
    write_catalogue(world.table, ORGANIZATION, meters, (SUBSCRIPTION,), entries)
    assert isinstance(world.table, MemoryTable)
    world.table.settle()
    return world.table


@pytest.fixture
def opened(table: MemoryTable) -> Callable[[type], Any]:
    return lambda _: WindowStore(table)


@pytest.fixture
def ask(
    table: MemoryTable, load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Send an event file, with the fixture's key in the place of the files', and another body if it is given."""
    own, _ = create_key(table, ORGANIZATION.id, "test", NOW)
    monkeypatch.setattr(clock, "now", lambda: NOW)
    invoke = load("explain_usage")

    def ask(
        case: str, body: object = None, function: str = "explain_usage", key: str = own
    ) -> tuple[int, Any]:
        text = (EVENTS / f"{function}.{case}.json").read_text().replace('"events-key"', json.dumps(key))
        event = json.loads(text)
        if body is not None:
            event["body"] = json.dumps(body)
        chosen = invoke if function == "explain_usage" else load(function)
        status, answered, headers = chosen(event)
        assert (headers.get("Allow") == "POST") == (status == 405)
        return status, answered

    return ask


type Ask = Callable[..., tuple[int, Any]]


def explanation(answer: Any, meter: str) -> Any:
    (found,) = [row["explanation"] for row in answer["charges"] if row["meter_id"] == meter]
    return found


def reasons(body: Any) -> dict[str, str]:
    return {path: each["reason"] for path, each in body["details"].items()}


@pytest.mark.parametrize("case", ["explain", "explain_lifetime"])
def test_explained_it_is_the_answer_of_the_usage_endpoint(ask: Ask, case: str) -> None:
    status, body = ask(case)
    usage = ask("lifetime" if case == "explain_lifetime" else "default", function="subscription_usage")
    assert (status, usage[0]) == (200, 200)
    assert [row.pop("explanation")["amount"] for row in body["charges"]] == [55.28, 1.0, 1.08]
    assert body.pop("commitment") is None
    assert body == usage[1]


def test_every_field_of_an_explanation(ask: Ask) -> None:
    told = explanation(ask("explain")[1], "generated-tokens")
    assert told == {
        "aggregation": {
            "name": "SUM",
            "field": "generated",
            "filters": {},
            "recurring": False,
            "bucket_size": None,
        },
        "window": {"start_time": "2023-11-01T00:00:00Z", "end_time": "2023-12-01T00:00:00Z", "cut": []},
        "billing_periods": {
            "billing_period": "MONTHLY",
            "billing_period_count": 1,
            "number": 1,
            "start_time": "2023-11-01T00:00:00Z",
            "end_time": "2023-12-01T00:00:00Z",
        },
        "quantity": 109783,
        "measured": {"given": False, "days": 2, "hours": 0, "events": 0},
        "lines": [
            {
                "from": 0,
                "to": 100000,
                "quantity": 100000,
                "unit_amount": 0.00001,
                "flat_amount": 0,
                "subtotal": 1,
            },
            {
                "from": 100000,
                "to": None,
                "quantity": 9783,
                "unit_amount": 0.000008,
                "flat_amount": 0,
                "subtotal": 0.078264,
            },
        ],
        "unrounded": 1.078264,
        "rounded_to": 2,
        "amount": 1.08,
        "sentence": "109,783 tokens: 100,000 at €0.00001 and 9,783 at €0.000008, together €1.08",
    }


@pytest.mark.parametrize(
    ("start", "end", "measured"),
    [
        ("2023-11-02T00:00:00Z", "2023-11-03T00:00:00Z", {"days": 1, "hours": 0, "events": 0}),
        ("2023-11-02T00:00:00Z", "2023-11-02T02:00:00Z", {"days": 0, "hours": 2, "events": 0}),
        ("2023-11-02T00:00:00Z", "2023-11-02T01:30:00Z", {"days": 0, "hours": 1, "events": 1}),
        ("2023-11-02T00:00:00Z", "2023-11-05T00:00:00Z", {"days": 2, "hours": 0, "events": 0}),
        ("2023-11-10T00:00:00Z", "2023-11-12T00:00:00Z", {"days": 0, "hours": 0, "events": 0}),
    ],
)
def test_from_what_a_quantity_was_put_together(ask: Ask, start: str, end: str, measured: Any) -> None:
    body = {"subscription_id": "sub_dunlin_shifted", "start_time": start, "end_time": end}
    told = explanation(ask("explain", body)[1], "generated-tokens")
    assert told["measured"] == {"given": False} | measured
    assert told["quantity"] == sum(
        each.event.properties["generated"]  # type: ignore[misc]
        for each in USAGE
        if parse_instant(start) <= each.event.at < parse_instant(end)
    )


def test_buckets_are_told(ask: Ask) -> None:
    told = explanation(ask("explain")[1], "peaks")
    assert told["buckets"] == {"size": "HOUR", "single": 0, "days": 2, "merged_lines": 2}
    assert told["sentence"].startswith(
        "The highest values of “Peaks” come to 109,783, each hour priced by itself:"
    )


PREVIEWED = [
    ("preview_nothing", {"prompt-tokens": 1.0, "generated-tokens": 1.08, "peaks": 55.28}, 0),
    ("preview_prices", {"prompt-tokens": 1.0, "generated-tokens": 1.08, "peaks": 55.28}, 0),
    ("preview_plan", {"generated-tokens": 2.2}, -55.16),
    ("preview_quantities", {"prompt-tokens": 1.0, "generated-tokens": 1.08, "peaks": 55.28}, 0),
    ("preview_everything", {"generated-tokens": 1.08}, -56.28),
]


@pytest.mark.parametrize(("case", "amounts", "difference"), PREVIEWED, ids=[row[0] for row in PREVIEWED])
def test_previewed(ask: Ask, case: str, amounts: dict[str, float], difference: float) -> None:
    status, body = ask(case)
    assert status == 200, body
    assert {row["meter_id"]: row["amount"] for row in body["instead"]["charges"]} == amounts
    assert body["now"]["amount"] == 57.36
    assert body["difference"]["amount"] == difference
    by_charge = {row["meter_id"]: row for row in body["difference"]["charges"]}
    assert by_charge.keys() == {"prompt-tokens", "generated-tokens", "peaks"}
    for meter, row in by_charge.items():
        assert row["instead"] == amounts.get(meter, 0)
        assert row["difference"] == pytest.approx(row["instead"] - row["now"])


def test_a_preview_of_a_plan_says_what_it_leaves_out(ask: Ask) -> None:
    _, body = ask("preview_plan")
    assert body["not_priced"] == ["item-peaks", "item-prompt-tokens"]
    assert body["not_counted"] == ["models-used"]
    told = explanation(body["instead"], "generated-tokens")
    assert told["packages"] == {"size": 1000, "count": 110, "round": "up"}
    assert told["sentence"] == (
        "109,783 tokens, in 110 packages of 1,000 at €0.02 each, the last one begun and counted as whole: €2.20"
    )
    assert body["instead"]["charges"][0]["price"]["id"] == "team-generated"


def test_a_preview_of_the_plan_in_force_is_the_answer(ask: Ask) -> None:
    body = {"subscription_id": "sub_dunlin_shifted", "instead": {"plan": "business"}}
    _, found = ask("preview_plan", body)
    assert found["now"] == found["instead"] == ask("explain")[1]


def test_a_preview_of_another_commitment_tells_its_steps(ask: Ask) -> None:
    status, body = ask("preview_commitment")
    assert status == 200
    assert body["now"]["commitment"] is None
    steps = body["instead"]["commitment"]["steps"]
    assert [(each["left_before"], each["taken"], each["beyond"]) for each in steps] == [
        (0.5, 0.5, 0),
        (0, 0, 54.78),
        (0, 0, 1.0),
        (0, 0, 1.08),
    ]
    assert body["instead"]["amount"] == 0.5 + 85.29
    assert [row["instead"] for row in body["difference"]["charges"]] == [82.67, 1.5, 1.62]
    assert body["instead"]["charges"][2]["explanation"]["sentence"] == (
        "50,000 prompt tokens at €0.00002 each: €1.00; all of it is beyond the commitment, at 1.5 times the "
        "price: €1.50"
    )


def test_without_its_commitment_a_subscription_is_priced_alone(ask: Ask, table: MemoryTable) -> None:
    committed = replace(SUBSCRIPTION, commitment=Commitment(Decimal(1), Decimal(3)))
    write_catalogue(table, ORGANIZATION, (PROMPT, GENERATED, PEAKS), (committed,), ())
    table.settle()
    body = {"subscription_id": "sub_dunlin_shifted", "instead": {"commitment": None}}
    _, found = ask("preview_commitment", body)
    assert found["now"]["has_overage"]
    assert (found["instead"]["has_overage"], found["instead"]["amount"]) == (False, 57.36)


def test_another_price_of_a_bucketed_meter_is_worked_out_bucket_by_bucket(ask: Ask) -> None:
    price = {
        "billing_model": "PACKAGE",
        "amount": 1,
        "transform_quantity": {"divide_by": 10_000, "round": "down"},
    }
    body = {"subscription_id": "sub_dunlin_shifted", "instead": {"prices": {"item-peaks": price}}}
    _, found = ask("preview_prices", body)
    told = explanation(found["instead"], "peaks")
    assert (told["buckets"]["single"], told["buckets"]["days"]) == (3, 0)
    assert told["packages"]["count"] == 10
    assert told["amount"] == 10


def test_a_price_of_a_line_item_goes_before_its_meter_s(ask: Ask) -> None:
    prices = {name: {"billing_model": "FLAT_FEE", "amount": amount} for name, amount in FLAT_PRICES.items()}
    body = {"subscription_id": "sub_dunlin_shifted", "instead": {"prices": prices}}
    _, found = ask("preview_prices", body)
    assert explanation(found["instead"], "generated-tokens")["lines"][0]["unit_amount"] == 2
    assert explanation(found["instead"], "prompt-tokens")["lines"][0]["unit_amount"] == 3


FLAT_PRICES = {"item-generated-tokens": 2, "generated-tokens": 1, "prompt-tokens": 3}

REFUSED = [
    ("preview_without_instead", {"instead": "is required"}),
    (
        "preview_bad_price",
        {
            "instead.prices.generated-tokens.colour": "is not a known field",
            "instead.prices.generated-tokens.tier_mode": "is required for a TIERED price",
            "instead.prices.generated-tokens.tiers[0].unit_amount": "must not be negative",
            "instead.prices.generated-tokens.tiers[0].up_to": "must be null: the last tier is unbounded",
        },
    ),
    (
        "preview_wrong_types",
        {
            "subscription_id": "is required",
            "instead.plan": "must be text; a number or a boolean is text in quotes",
            "instead.prices": "must be a mapping",
            "instead.commitment": "must be a mapping",
            "instead.quantities.generated-tokens": "not a number of the form -12.5",
            "instead.colour": "is not a known field",
        },
    ),
    (
        "preview_another_currency",
        {"instead.prices.generated-tokens.currency": "must be that of the subscription, eur"},
    ),
    (
        "preview_unknown_meter",
        {
            "instead.prices.ünknown": "is neither a line item nor a meter with a row in the window",
            "instead.quantities.fax": "is neither a line item nor a meter with a row in the window",
        },
    ),
    ("preview_unknown_plan", {"instead.plan": "is no plan of the catalogue: 'platinum'"}),
    (
        "preview_forty_digits",
        {"instead.quantities.generated-tokens": "a number has at most 18 integer and 18 decimal digits"},
    ),
    (
        "prices_bad_price",
        {
            "price.amount": "not a number of the form -12.5",
            "price.transform_quantity": "is required for a PACKAGE price",
        },
    ),
    (
        "prices_wrong_types",
        {
            "price": "must be a mapping",
            "quantities[0]": "not a number of the form -12.5",
            "quantities[1]": "the exponent of a number is at most 100",
            "quantities[2]": "a boolean is not a number",
        },
    ),
    ("prices_missing_fields", {"price": "is required", "quantities": "is required"}),
    ("prices_too_many", {"quantities": "has 101 quantities, 100 are allowed"}),
]


@pytest.mark.parametrize(("case", "faults"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_wrong_is_told_at_its_path(ask: Ask, case: str, faults: dict[str, str]) -> None:
    status, body = ask(case)
    assert (status, body["code"], body["http_status_code"]) == (400, "validation_error", 400)
    assert reasons(body) == faults


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("explain_malformed_json", "is not valid JSON"),
        ("preview_repeated_key", "repeats the key 'plan'"),
    ],
)
def test_a_body_that_is_no_json_is_refused(ask: Ask, case: str, reason: str) -> None:
    status, body = ask(case)
    assert (status, body["message"]) == (400, f"Invalid request: the body {reason}.")


def test_wrong_types_are_told_as_the_usage_endpoint_tells_them(ask: Ask) -> None:
    status, body = ask("explain_wrong_types")
    assert status == 400
    assert reasons(body).keys() == {"subscription_id", "start_time", "end_time", "lifetime_usage"}


def test_a_plan_without_prices_in_the_currency_is_422(ask: Ask) -> None:
    status, body = ask("preview_plan_without_prices")
    assert (status, body["code"], body["http_status_code"]) == (422, "invalid_operation", 422)
    assert reasons(body) == {
        "instead.plan": "the plan 'residential-gas' has no price in EUR that is offered then: its prices are "
        "those that the plan's record lists"
    }


@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("explain_no_key", 401),
        ("explain_unknown_key", 401),
        ("preview_no_key", 401),
        ("prices_no_key", 401),
        ("explain_unknown_id", 404),
        ("preview_unknown_id", 404),
        ("explain_wrong_method", 405),
        ("preview_wrong_method", 405),
        ("prices_wrong_method", 405),
    ],
)
def test_refused(ask: Ask, case: str, status: int) -> None:
    assert ask(case)[0] == status


def test_a_price_list(ask: Ask) -> None:
    status, body = ask("prices")
    assert (status, body["currency"]) == (200, "usd")
    assert [(row["quantity"], row["amount"], row["display_amount"]) for row in body["prices"]] == [
        (109783, 1.08, "$1.08"),
        (100000, 1.0, "$1"),
        (0, 0, "$0"),
    ]
    first, *_, last = body["prices"]
    assert [line["subtotal"] for line in first["lines"]] == [1, 0.078264]
    assert first["unrounded"] == 1.078264
    assert first["sentence"] == "109,783 units: 100,000 at $0.00001 and 9,783 at $0.000008, together $1.08"
    assert last["sentence"] == "Nothing was used: nothing to pay"


CHANGES: list[tuple[str, Any, dict[str, str]]] = [
    (
        "another meter's price",
        {"prices": {"peaks": {"billing_model": "FLAT_FEE", "meter_id": "prompt-tokens"}}},
        {"instead.prices.peaks.meter_id": "must be that of the line item, peaks"},
    ),
    (
        "another billing period",
        {"prices": {"peaks": {"billing_model": "FLAT_FEE", "billing_period": "DAILY"}}},
        {
            "instead.prices.peaks.billing_period": (
                "must be that of the line item, MONTHLY by 1: its usage is counted by it"
            )
        },
    ),
    (
        "one quantity for buckets",
        {"quantities": {"peaks": 5}},
        {
            "instead.quantities.peaks": (
                "is of a meter that is priced by the hour, so that one quantity has no price"
            )
        },
    ),
    (
        "a fixed price",
        {"prices": {"peaks": {"billing_model": "FLAT_FEE", "type": "FIXED"}}},
        {"instead.prices.peaks.type": "must be USAGE: only usage is priced here"},
    ),
    (
        "a commitment below zero",
        {"commitment": {"amount": -1, "overage_factor": "x", "split": "half"}},
        {
            "instead.commitment.amount": "must not be negative",
            "instead.commitment.overage_factor": "not a number of the form -12.5",
            "instead.commitment.split": "should be 'amount' or 'whole_units'",
        },
    ),
    (
        "half a commitment",
        {"commitment": {"amount": 1}},
        {"instead.commitment.overage_factor": "is required"},
    ),
]


@pytest.mark.parametrize(("instead", "faults"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_a_change_that_does_not_fit_is_told(ask: Ask, instead: Any, faults: dict[str, str]) -> None:
    status, body = ask("preview_nothing", {"subscription_id": "sub_dunlin_shifted", "instead": instead})
    assert (status, reasons(body)) == (400, faults)


def test_a_plan_of_two_prices_for_one_meter_must_be_told_which(ask: Ask, table: MemoryTable) -> None:
    twice = flat("team-generated-2", GENERATED, "0.01", "team")
    both = Plan("team", prices=tuple(each.id for each in (*TEAM, twice)))
    entries: list[tuple[str, str, object]] = [("price", twice.id, twice), ("plan", "team", both)]
    write_catalogue(table, ORGANIZATION, (PROMPT, GENERATED, PEAKS), (SUBSCRIPTION,), entries)
    table.settle()
    status, body = ask("preview_plan")
    assert (status, reasons(body)) == (
        400,
        {
            "instead.plan": (
                "has several prices for the meter generated-tokens, team-generated, team-generated-2: "
                "give one in prices"
            )
        },
    )
    assert ask("preview_everything")[0] == 200


def test_another_organization_sees_neither_the_subscription_nor_its_plans(
    ask: Ask, table: MemoryTable
) -> None:
    other = Organization("0c9d1c52-8f0e-4d0b-9d5c-6b1f6c1f0a02", "Other")
    own = replace(SUBSCRIPTION, id="sub_other")
    write_catalogue(table, other, (PROMPT, GENERATED, PEAKS), (own,), ())
    table.settle()
    key, _ = create_key(table, other.id, "test", NOW)
    plan = {"instead": {"plan": "team"}}
    assert ask("explain", {"subscription_id": "sub_dunlin_shifted"}, key=key)[0] == 404
    assert ask("preview_plan", {"subscription_id": "sub_dunlin_shifted"} | plan, key=key)[0] == 404
    status, body = ask("preview_plan", {"subscription_id": "sub_other"} | plan, key=key)
    assert (status, reasons(body)) == (400, {"instead.plan": "is no plan of the catalogue: 'team'"})


def test_a_preview_stores_nothing(ask: Ask, table: MemoryTable) -> None:
    before = table.items()
    for case, *_ in PREVIEWED:
        ask(case)
    assert table.items() == before


def test_a_table_that_does_not_answer_is_503(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Iterator[Any]:
        raise StoreUnavailableError("throttled")

    ask("explain")
    monkeypatch.setattr(MemoryTable, "query", fail)
    status, body = ask("explain")
    assert (status, body["code"]) == (503, "service_unavailable")

"""Flexprice's vectors on a subscription's usage: through the log, the counters and the measuring of a window."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import count
from typing import Any

import pytest

from meterstone.pricing.price import BillingModel, Price, RoundType, Tier, TierMode, TransformQuantity
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.events.log import Subject
from meterstone.store.operations.imports import Importer, Source, SourceLine
from meterstone.store.reading.window import WindowStore
from meterstone.usage.calendar import BucketSize
from meterstone.usage.instant import DAY, HOUR, MINUTE, parse_instant
from meterstone.usage.measure import measure
from meterstone.usage.meter import Aggregation, Event, Filter, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.statement import Statement, rate
from meterstone.usage.subscription import LineItem, Organization, Subscription
from meterstone.usage.window import window_for
from support.memory_table import MemoryTable
from support.written import write_catalogue
from vectors.flexprice import Difference, section

NOW = parse_instant("2026-01-20T12:00:00Z")
JANUARY = (parse_instant("2026-01-01T00:00:00Z"), parse_instant("2026-02-01T00:00:00Z"))
ORGANIZATION = Organization("0c9d1c52-8f0e-4d0b-9d5c-6b1f6c1f0a02")

CASES = {case["name"]: case for case in section("usage_by_subscription")}
DIFFERENCES = {
    "parent + inherited child: 1500+500 api calls": Difference.NO_CHILDREN,
    "parent rolls up child-only usage (HTTP path)": Difference.NO_CHILDREN,
}


def _instant(text: str) -> int:
    """Read `now`, `now-24h`, `now-30m`, a date, or an instant."""
    if not text.startswith("now"):
        return parse_instant(text if "T" in text else f"{text}T00:00:00Z")
    if text == "now":
        return NOW
    unit = {"h": HOUR, "m": MINUTE}[text[-1]]
    return NOW + int(text[3:-1]) * unit


def _price(name: str, given: dict[str, Any], meter: Meter) -> Price:
    packages = given.get("transform_quantity")
    mode = given.get("tier_mode")
    return Price(
        name,
        given["currency"],
        BillingModel(given["billing_model"]),
        Decimal(given["amount"]),
        meter_id=meter.id,
        tier_mode=TierMode(mode) if mode else None,
        tiers=tuple(Tier(tier["up_to"], Decimal(tier["unit_amount"])) for tier in given.get("tiers", ())),
        transform_quantity=packages
        and TransformQuantity(packages["divide_by"], RoundType(packages["round"])),
    )


def _meter(given: dict[str, Any]) -> Meter:
    aggregation = given["aggregation"]
    size = aggregation.get("bucket_size")
    name = given.get("name", "Usage")
    return Meter(
        given.get("id", "meter"),
        name,
        name,
        Aggregation(aggregation["type"]),
        given.get("event_name", "usage"),
        aggregation.get("field", "value"),
        filters=tuple(Filter(each["key"], tuple(each["values"])) for each in given.get("filters", ())),
        bucket_size=size and BucketSize(size),
    )


def _subscription(case: dict[str, Any]) -> Subscription:
    meters = {meter.id: meter for meter in map(_meter, case.get("meters") or [case["meter"]])}
    given = case.get("subscription", {})
    weekly = given.get("current_period_start") == "now-24h"
    start = _instant(given["current_period_start"]) if given else JANUARY[0]
    price = {"billing_model": "FLAT_FEE", "amount": "1", "currency": "usd"}
    items = []
    for number, item in enumerate(case["line_items"]):
        meter = meters[item["meter"]] if "meter" in item else next(iter(meters.values()))
        begin = _instant(item["start"]) if item.get("start") else start - 365 * DAY
        end = _instant(item["end"]) if item.get("end") else None
        name = f"item-{number}"
        items.append(LineItem(name, _price(name, item.get("price", price), meter), begin, end, meter))
    return Subscription(
        "sub",
        "ext",
        "customer",
        "usd",
        "UTC",
        start - 364 * DAY if weekly else start,
        None,
        BillingPeriod.WEEKLY if weekly else BillingPeriod.MONTHLY,
        1,
        BillingCycle.ANNIVERSARY if weekly else BillingCycle.CALENDAR,
        start,
        (),
        line_items=tuple(items),
    )


def _events(case: dict[str, Any]) -> Iterator[Event]:
    names = (f"event-{number}" for number in count())
    for event in case.get("events", ()):
        name = event.get("event_name", case["meters"][0].get("event_name"))
        if event["at"].startswith("minute"):
            at = NOW - HOUR + int(event["at"].split()[1]) * MINUTE
            yield from (Event(next(names), name, at, {"usage_value": value}) for value in event["values"])
            continue
        for _ in range(event.get("repeat", 1)):
            yield Event(next(names), name, _instant(event["at"]), event["properties"])
    for at, value in case.get("rows", ()):
        yield Event(next(names), "usage", _instant(at), {"value": value})


def _statement(case: dict[str, Any]) -> Statement:
    table, subscription = MemoryTable(), _subscription(case)
    meters = {item.meter.id: item.meter for item in subscription.line_items if item.meter is not None}
    write_catalogue(table, ORGANIZATION, list(meters.values()), [subscription], [])
    account = read_account(table, ORGANIZATION.id)
    assert account is not None
    now = max(NOW, JANUARY[1] + DAY) if "rows" in case else NOW
    given = [
        SourceLine(line, Subject.subscription("ext"), event) for line, event in enumerate(_events(case), 1)
    ]
    report = Importer(table, account).run(Source("events", "0" * 64), given, now, _refuse)
    assert report.counted + report.unmatched == len(given)

    asked = {name: _instant(text) for name, text in case.get("request", {}).items()}
    if "rows" in case:
        asked = {"start_time": JANUARY[0], "end_time": JANUARY[1]}
    window = window_for(subscription, asked.get("start_time"), asked.get("end_time"), lifetime=False, now=now)
    return rate(measure(subscription, window, WindowStore(table).reader(account, subscription, now), now))


def _refuse(line: int, _: SourceLine, reason: str) -> None:
    pytest.fail(f"line {line}: {reason}")


def test_every_case_is_run_or_named() -> None:
    assert len(CASES) == 10
    assert DIFFERENCES.keys() <= CASES.keys()


@pytest.mark.parametrize("name", [name for name in CASES if name not in DIFFERENCES])
def test_usage_by_subscription_as_in_flexprice(name: str) -> None:
    statement, expected = _statement(CASES[name]), CASES[name]["expected"]
    rows = [
        {"meter_display_name": row.source.key.meter.name, "quantity": row.quantity, "amount": row.amount}
        for row in statement.settlement.rows
        if row.source.key.meter is not None
    ]

    for wanted, row in zip(expected.get("charges_sorted", expected.get("charges", ())), rows, strict=False):
        assert row == {field: wanted[field] for field in row}
    if "quantity" in expected:
        assert [row["quantity"] for row in rows] == [expected["quantity"]]
    else:
        assert len(rows) == len(expected.get("charges_sorted", expected.get("charges")))
    if "amount" in expected:
        assert statement.settlement.amount == Decimal(expected["amount"])
    if "start_time" in expected:
        window = (statement.window.start, statement.window.end)
        assert window == (_instant(expected["start_time"]), _instant(expected["end_time"]))


@pytest.mark.parametrize(("name", "difference"), DIFFERENCES.items())
def test_children_are_no_part_of_a_parent(name: str, difference: Difference) -> None:
    # A parent's charge is its own usage: where Flexprice adds the children's 500 calls to the parent's 1500, or
    # shows the 99 of children alone, ours are 1500 and 0.
    assert difference is Difference.NO_CHILDREN
    expected = CASES[name]["expected"]["charge"]
    base = CASES["default window = current period"]
    own = (
        [event for event in base["events"] if event["event_name"] == "api_call"]
        if "amount" in expected
        else []
    )
    statement = _statement(base | {"events": own})
    calls = statement.settlement.rows[0]

    assert calls.source.key.id == "item-2"
    assert calls.quantity == (1500 if own else 0) != expected["quantity"]

"""What differs between two generations is told by customer, metric and day, and all of it is."""

import json
from copy import replace

import pytest

from meterstone.store.dynamodb import keys
from meterstone.store.operations.differences import Difference, ItemDifference, Place, View, described
from meterstone.store.operations.rebuild import rebuild
from meterstone.usage.instant import DAY, HOUR, parse_instant
from meterstone.usage.meter import Aggregation
from meterstone.usage.period import BillingPeriod
from meterstone.usage.subscription import LineItem, Subscription
from support import small_world
from support.recovering import Clock
from support.scenario import ORGANIZATION
from support.small_world import FLAT, START, call, meter, world_of
from support.stored import memory

CALLS = meter("calls", Aggregation.COUNT)
SUM = replace(meter("su#m", Aggregation.SUM, recurring=True), code="sum of n")
SUBSCRIPTION = small_world.subscription(BillingPeriod.MONTHLY, [(CALLS, FLAT), (SUM, FLAT)])
MARCH = parse_instant("2023-03-15T05:00:00Z")  # midnight in Chicago
DAY_OF_MARCH = 738_594  # 2023-03-15


def counter(item: str, chunk: int = 0) -> str:
    return keys.counter("MONTHLY.1", MARCH, item, chunk)


@pytest.mark.parametrize(
    ("sk", "attribute", "live", "rebuilt", "expected"),
    [
        pytest.param(
            counter("item calls"),
            "d",
            '{"0":"2","1":"1"}',
            '{"1":"3","2":"4"}',
            [
                ("item calls", "calls", "2023-03-15", "counted", "2", ""),
                ("item calls", "calls", "2023-03-16", "counted", "1", "3"),
                ("item calls", "calls", "2023-03-17", "counted", "", "4"),
            ],
            id="days, in the customer's zone, those that differ",
        ),
        pytest.param(
            counter("item calls", chunk=1),
            "p",
            "@0 2 50 1 25",
            "@1 1 26",
            [
                ("item calls", "calls", "2023-05-16", "amount_cents USD", "50", ""),
                ("item calls", "calls", "2023-05-16", "units USD", "2", ""),
                ("item calls", "calls", "2023-05-17", "amount_cents USD", "25", "26"),
            ],
            id="what days are worth, 62 days on",
        ),
        pytest.param(
            counter("item su#m"),
            "c",
            '"6"',
            "",
            [("item su#m", "sum of n", "2023-03-15", "carried into the period", "6", "")],
            id="what is carried, of a line item whose id is escaped in keys",
        ),
        pytest.param(
            keys.hours("item calls", MARCH, DAY_OF_MARCH),
            "h",
            '{"8":"1","23":["1",2]}',
            '{"8":"1","23":["1",3]}',
            [("item calls", "calls", "2023-03-15", "hour 23:00Z", '["1",2]', '["1",3]')],
            id="hours",
        ),
        pytest.param(
            keys.buckets("item calls", MARCH, DAY_OF_MARCH),
            "b",
            "",
            json.dumps({str(MARCH): "7"}),
            [("item calls", "calls", "2023-03-15", "bucket from 2023-03-15T05:00:00Z", "", "7")],
            id="buckets",
        ),
        pytest.param(
            keys.value("item calls", MARCH, DAY_OF_MARCH, "a#b"),
            "h",
            "5",
            "4",
            [("item calls", "calls", "2023-03-15", "hours (UTC) of the value a%23b", "00 02", "02")],
            id="values of a day",
        ),
        pytest.param(
            f"F#{keys.part('su#m')}#-#large",
            "a",
            str(MARCH),
            str(MARCH + HOUR),
            [
                (
                    keys.part("su#m"),
                    "sum of n",
                    "",
                    "first seen: the value large",
                    "2023-03-15T05:00:00Z",
                    "2023-03-15T06:00:00Z",
                )
            ],
            id="first seen by a meter of all line items",
        ),
        pytest.param(
            counter("item calls"),
            "d",
            '{"0":"2"}',
            '{"0": "2"}',
            [("item calls", "calls", "", "d", '{"0":"2"}', '{"0": "2"}')],
            id="what differs in how it is written alone",
        ),
        pytest.param(
            counter("gone"),
            "d",
            "",
            '{"0":"2"}',
            [("gone", "", "2023-03-15", "counted", "", "2")],
            id="a line item that is nowhere",
        ),
    ],
)
def test_what_differs_of_a_subscription(
    sk: str, attribute: str, live: str, rebuilt: str, expected: list[tuple[str, ...]]
) -> None:
    found: dict[Place, list[ItemDifference]] = {"sub": [ItemDifference(sk, attribute, live, rebuilt)]}
    assert described(found, [SUBSCRIPTION]) == [Difference("", "cust", "sub", *each) for each in expected]


@pytest.mark.parametrize(
    ("view", "customer_type", "attribute", "expected"),
    [
        (View("T", ()), None, "u07", ("all", "2023-03-07", "units USD")),
        (View("T", ()), "company", "a31", ("type company", "2023-03-31", "amount_cents USD")),
        (View("P", ("pro",)), None, "a01", ("plan pro", "2023-03-01", "amount_cents USD")),
        (
            View("PC", ("pro", "DE")),
            "individual",
            "u01",
            ("plan pro, country DE, type individual", "2023-03-01", "units USD"),
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, View) else None,
)
def test_what_differs_of_all_customers(
    view: View, customer_type: str | None, attribute: str, expected: tuple[str, str, str]
) -> None:
    sk = keys.rollup_of_all_writers(keys.rollup("2023-03", "usd", "su#m", customer_type, 3))
    found: dict[Place, list[ItemDifference]] = {view: [ItemDifference(sk, attribute, "1", "")]}
    group, day, what = expected
    assert described(found, [SUBSCRIPTION]) == [Difference(group, "", "", "", "sum of n", day, what, "1", "")]


def other(customer: str, subscription: str) -> Subscription:
    item = LineItem(f"item {subscription}", FLAT, START, None, CALLS)
    return replace(SUBSCRIPTION, id=subscription, customer_id=customer, line_items=(item,))


def test_the_order_is_customers_subscriptions_metrics_and_days_then_groups() -> None:
    subscriptions = [other("b", "1"), other("a", "3"), other("a", "2")]
    counted = {
        each.id: [ItemDifference(counter(f"item {each.id}"), "d", '{"1":"1","0":"1"}', "")]
        for each in subscriptions
    }
    sk = "2023-03#usd#calls#"
    rolled = {View("T", ()): [ItemDifference(sk, "u02", "1", ""), ItemDifference(sk, "u01", "1", "")]}
    orders = [counted | rolled, dict(reversed((counted | rolled).items()))]
    told = [
        [(each.group, each.customer, each.subscription, each.day[-2:]) for each in described(order, these)]
        for order, these in zip(orders, (subscriptions, subscriptions[::-1]), strict=True)
    ]
    assert told[0] == told[1] == [
        ("", "a", "2", "15"), ("", "a", "2", "16"), ("", "a", "3", "15"), ("", "a", "3", "16"),
        ("", "b", "1", "15"), ("", "b", "1", "16"), ("all", "", "", "01"), ("all", "", "", "02"),
    ]  # fmt: skip


def test_a_rebuild_tells_a_counter_that_was_changed_by_its_customer_and_day() -> None:
    world = world_of(BillingPeriod.MONTHLY, [(CALLS, FLAT)], START + 10 * DAY)
    world.load("file", [call("one", DAY), call("two", 2 * DAY)], START + 10 * DAY)
    table = memory(world)
    (key,) = (key for key in table.items() if key.pk.endswith("1#usage#sub") and key.sk.startswith("C#"))
    table.update(key, "SET d = :d", {":d": {"S": '{"1":"5","2":"1"}'}})
    report = rebuild(table, ORGANIZATION.id, Clock(START + 10 * DAY).around, swap=False)
    assert report.differences == [
        Difference("", "cust", "sub", "item calls", "calls", "2023-01-16", "counted", "5", "1")
    ]

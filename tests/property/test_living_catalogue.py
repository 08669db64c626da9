"""Every total is right in the end, however the catalogue changes while events pour in."""

import os
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from random import Random

import pytest

from meterstone.catalogue.management import CatalogueConflictError, Management
from meterstone.catalogue.recounting import carry_all_on
from meterstone.pricing.price import BillingModel, Price
from meterstone.store.catalogue.records import encode_document
from meterstone.store.catalogue.subscriptions import list_subscriptions
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import key_item
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, HOUR, MINUTE, format_instant
from meterstone.usage.meter import Aggregation, Event, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.subscription import Customer, Dated, LineItem, Subscription
from support.counting import SCALE, check_analytics
from support.first_format import in_first_format
from support.life import START, Life, at_call, deliver, post, sign_up
from support.recovering import Clock
from support.scenario import ORGANIZATION, Scenario, Usage, World
from support.stale_table import StaleTable
from support.stream import Folding, Shard, Stream

SEEDS = int(os.environ.get("METERSTONE_LIVES", str(12 * SCALE)))
#: A delivery makes fewer calls of the table.
CALLS = 60


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_total_is_what_log_and_records_come_to(seed: int) -> None:
    life = Life(seed)
    life.live(150)
    life.check()


CHANGES: dict[str, Callable[[Life], object]] = {
    "it ends now": lambda life: life.management.end("sub 1", None),
    "it ends at the last event": lambda life: life.management.end("sub 1", life.clock.now),
    "it has ended": lambda life: life.management.end("sub 1", life.clock.now - MINUTE),
    "it ends in six minutes": lambda life: life.management.end("sub 1", life.clock.now + 6 * MINUTE),
    "another plan now": lambda life: life.management.change_plan("sub 1", "basic", None),
    "another plan since an hour": lambda life: life.management.change_plan(
        "sub 1", "basic", life.clock.now - HOUR
    ),
    "another subscription now": lambda life: life.management.succeed(
        "sub 1", {"id": "sub 3", "plan": "basic", "currency": "USD"}, None
    ),
    "it is deleted": lambda life: life.management.delete("subscription", "sub 1"),
    "a second one of the customer": lambda life: sign_up(life, "2", life.clock.now - DAY),
    "a second one of the customer, from now on": lambda life: sign_up(life, "2", life.clock.now),
    "its customer moves": lambda life: life.management.merge("customer", "cust 0", {"country": "NO"}),
    "its customer has lived elsewhere since before": lambda life: life.management.merge(
        "customer",
        "cust 0",
        {"country": [{"value": "DE"}, {"value": "NO", "since": format_instant(life.clock.now - DAY)}]},
    ),
    "its plan is put for all": lambda life: life.management.offer_to_all(
        "pro", {"prices": ["peak-1", "calls-1"], "currency": "USD"}, life.clock.now + 5 * MINUTE
    ),
    "its plan was put for all": lambda life: carry_all_on(life.table, life.clock, life.clock.now + HOUR),
    "the meter is deleted": lambda life: life.management.delete("meter", "bytes"),
}


def at_every_call(change: str, kind: str, *, counted: bool, warm: int, within: str) -> None:
    """Have one of a delivery and a change happen at each call of the table that the other makes.

    The subscription begins an hour ago with a new charge, and its events come in until four minutes ahead.
    """
    for number in range(CALLS):
        life = Life(1)
        life.clock.now += DAY
        sign_up(life, "1", life.clock.now - HOUR, billing_period="DAILY")
        subject = Subject.subscription("ext 1") if kind == "s" else Subject.customer("cust 0")
        if counted:
            post(life, subject, "bytes", life.clock.now - 30 * MINUTE)
            deliver(life, warm)
            life.clock.now += 2 * MINUTE
        for at in (-MINUTE, 0, 4 * MINUTE):
            for name in ("bytes", "calls", "peak"):
                post(life, subject, name, life.clock.now + at)

        def changes(life: Life = life) -> None:
            with suppress(CatalogueConflictError):
                CHANGES[change](life)

        def delivers(life: Life = life) -> None:
            deliver(life, warm)

        if change == "its plan was put for all":
            # It comes so late that events may lie at its instant.
            record = {"prices": ["peak-1", "calls-1"], "currency": "USD"}
            life.clock.now -= 5 * MINUTE
            life.management.offer_to_all("pro", record, life.clock.now + 5 * MINUTE)
            life.clock.now += 5 * MINUTE

        first, second = (delivers, changes) if within == "a delivery" else (changes, delivers)
        with at_call(life.table, number, second) as made:
            first()
        life.check()
        if len(made) <= number:
            return
    raise AssertionError(f"{within} made {CALLS} calls")


@pytest.mark.parametrize("warm", [0, 1], ids=["a cold function", "a warm function"])
@pytest.mark.parametrize("counted", [False, True], ids=["its first events", "further events"])
@pytest.mark.parametrize("kind", ["s", "c"], ids=["of its own", "of its customer"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_at_any_call_of_a_delivery(change: str, kind: str, counted: bool, warm: int) -> None:  # noqa: FBT001
    at_every_call(change, kind, counted=counted, warm=warm, within="a delivery")


@pytest.mark.parametrize("counted", [False, True], ids=["its first events", "further events"])
@pytest.mark.parametrize("kind", ["s", "c"], ids=["of its own", "of its customer"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_delivery_at_any_call_of_a_change(change: str, kind: str, counted: bool) -> None:  # noqa: FBT001
    at_every_call(change, kind, counted=counted, warm=0, within="a change")


OF_BEFORE = Subscription(
    "s", "e", "c", "usd", "UTC", START - DAY, None, BillingPeriod.MONTHLY, 1, BillingCycle.CALENDAR, START - DAY,
    (Dated("basic"),), (Dated("DE"),), (Dated("company"),), None,
    (LineItem("item", Price("p", "usd", BillingModel.FLAT_FEE, Decimal(2), meter_id="m"), START - DAY, None,
              Meter("m", "m", "", Aggregation.SUM, "m", "value")),),
)  # fmt: skip
MOVED = {"country": [{"value": "DE"}, {"value": "NO", "since": format_instant(START - 2 * DAY)}]}


@pytest.mark.parametrize("within", ["a delivery", "a change"])
def test_a_customer_of_the_first_format_moves_beside_the_first_event(within: str) -> None:
    """Its record is written anew by that, and nothing said before that anything was counted."""
    meter = OF_BEFORE.line_items[0].meter
    assert meter is not None
    for number in range(CALLS):
        world = in_first_format(World(Scenario((meter,), (OF_BEFORE,), (), START), StaleTable()))
        customer = Customer("c", "", None, OF_BEFORE.country, OF_BEFORE.customer_type)
        entry = key_item(keys.catalogue(ORGANIZATION.id, "customer", "c"))
        world.table.put(entry | {"id": {"S": "c"}, "doc": {"S": encode_document(customer)}})
        clock = Clock(START)
        management = Management(world.table, ORGANIZATION.id, clock)
        management.put("meter", "other", {"code": "other", "aggregation": "COUNT"})
        folding = Folding(world, Stream(Random(1)))  # noqa: S311 - nothing secret
        usage = Usage(Subject.subscription("e"), Event("e", "m", START - MINUTE, {"value": 3}))
        folding.post(usage, START)
        (shard,) = folding.stream.shards

        def delivers(folding: Folding = folding, shard: Shard = shard) -> None:
            folding.deliver(shard, 0, 1, START)

        def changes(management: Management = management) -> None:
            with suppress(CatalogueConflictError):
                management.merge("customer", "c", MOVED)

        first, second = (delivers, changes) if within == "a delivery" else (changes, delivers)
        assert isinstance(world.table, StaleTable)
        with at_call(world.table, number, second) as made:
            first()
        folding.drain(START)
        world.table.settle()
        carry_all_on(world.table, clock, START + HOUR)
        found = tuple(list_subscriptions(world.table, ORGANIZATION.id))
        world.scenario = Scenario((meter,), found, (), START)
        world.table.settle()
        world.roll(START)
        check_analytics(world, (usage,), START)
        if len(made) <= number:
            return
    raise AssertionError(f"{within} made {CALLS} calls")

"""The largest numbers on every engine: 18 and 18 digits, added ten thousand times, and nothing is lost."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import batched
from unittest import mock
from uuid import uuid4

import pytest

from meterstone.pricing.money import add, multiply, rounded_quantity
from meterstone.pricing.price import BillingModel, Price
from meterstone.store.catalogue.subjects import Subjects
from meterstone.store.counting.fold import EventToCount, Fold
from meterstone.store.counting.merging import Merged, merge
from meterstone.store.dynamodb.keys import WRITERS
from meterstone.store.dynamodb.table import Table
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, HOUR, MINUTE, parse_instant
from meterstone.usage.meter import Aggregation, Event, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.subscription import Dated, LineItem, Organization, Subscription
from meterstone.usage.tally import Position
from meterstone.usage.window import Window
from support import scenario as scenarios
from support.scenario import Scenario, World
from support.small_world import price_of

TIMES = 10_000
#: Events of one fold: so many additions come to the sum of all.
TOGETHER = 500
LARGEST = Decimal("999999999999999999.999999999999999999")
LEAST = Decimal("0.000000000000000001")
START = parse_instant("2024-01-01T00:00:00Z")
NOW = START + 20 * HOUR
#: When the month is over.
OVER = START + 40 * DAY
PRICE = Price("price", "usd", BillingModel.FLAT_FEE, amount=Decimal("0.000001"))


def meter(name: str, aggregation: Aggregation = Aggregation.SUM, multiplier: Decimal = Decimal(1)) -> Meter:
    """Give a meter of the property that is called like it."""
    return Meter(name, name, name, aggregation, "call", name, multiplier=multiplier)


METERS = (
    meter("large"),
    meter("below"),
    meter("fine"),
    meter("mixed"),
    meter("product", Aggregation.SUM_WITH_MULTIPLIER, LARGEST),
    meter("peak", Aggregation.MAX),
)
#: What stands in each event, and what all of them come to.
VALUES: dict[str, tuple[Decimal | str, Decimal]] = {
    "large": (LARGEST, multiply(LARGEST, Decimal(TIMES))),
    "below": (str(LARGEST.copy_negate()), multiply(LARGEST.copy_negate(), Decimal(TIMES))),
    "fine": (LEAST, multiply(LEAST, Decimal(TIMES))),
    "product": (
        Decimal("0.999999999999999999"),
        rounded_quantity(multiply(multiply(Decimal("0.999999999999999999"), Decimal(TIMES)), LARGEST)),
    ),
    "peak": (LARGEST, LARGEST),
}


def subscription(name: str) -> Subscription:
    """Give a subscription to all meters."""
    items = tuple(LineItem(f"{name} {each.id}", price_of(each, PRICE), START, None, each) for each in METERS)
    return Subscription(
        f"sub {name}", f"ext {name}", f"cust {name}", "usd", "UTC", START, None, BillingPeriod.MONTHLY, 1,
        BillingCycle.CALENDAR, START, (Dated("basic"),), (Dated("DE"),), (Dated("company"),), None, items,
    )  # fmt: skip


def events(of: Subscription) -> Iterator[EventToCount]:
    """Give events of the largest numbers; of every two, the mixed ones come to the least number that is kept."""
    for number in range(TIMES):
        mixed = LARGEST if number % 2 else add(LEAST, LARGEST.copy_negate())
        properties = {"mixed": mixed} | {name: value for name, (value, _) in VALUES.items()}
        event = Event(f"{of.id} {number}", "call", START + number % 900 * MINUTE, properties)
        yield EventToCount(Position("shard", number + 1), Subject.subscription(of.external_id), event, [of])


@pytest.fixture
def world(table: Table) -> Iterator[World]:
    """Give a world of two customers with all their usage, in an organization of the test's own."""
    organization = Organization(str(uuid4()))
    both = subscription("a"), subscription("b")
    with mock.patch.object(scenarios, "ORGANIZATION", organization):
        world = World(Scenario(METERS, both, (), NOW), table)
        for each in both:
            whose = [Subject.subscription(each.external_id)]
            standing = Subjects(table).standing(world.account, whose, NOW)
            for number, some in enumerate(batched(events(each), TOGETHER, strict=False)):
                fold = Fold(table, organization.id, world.account.generation, writer=number % WRITERS)
                assert fold.fold(some, NOW, standing).counted == len(some)
        yield world


def test_the_largest_numbers_ten_thousand_times(world: World) -> None:
    """Whoever asks is told the same. At a price of a millionth, 10^22 units are 10^18 cents."""
    cents = TIMES * 10**12 * 100
    amounts = {"large": cents, "below": -cents, "product": cents - 1, "peak": 10**14, "fine": 0, "mixed": 0}
    units = {name: total for name, (_, total) in VALUES.items()} | {
        "mixed": multiply(LEAST, Decimal(TIMES // 2))
    }

    def answer(**filters: str) -> dict[str, tuple[Decimal, int]]:
        return {code: worth for (_, _, code), worth in world.days(**filters).items()}

    once = {name: (units[name], amounts[name]) for name in units}
    for letter in "ab":
        assert answer(external_subscription_id=f"ext {letter}") == once
        assert answer(external_customer_id=f"cust {letter}") == once
    twice = {name: (add(units[name], units[name]), 2 * amounts[name]) for name in units}
    assert answer() == answer(plan_code="basic") == answer(customer_country="DE") == twice
    assert answer(plan_code="basic", customer_country="DE", customer_type="company") == twice
    moved = merge(world.table, world.account, lambda: OVER)
    assert answer() == twice
    assert merge(world.table, world.account, lambda: OVER + HOUR) == moved > Merged()
    assert merge(world.table, world.account, lambda: OVER + 2 * HOUR) == Merged()
    assert answer() == answer(plan_code="basic") == answer(customer_country="DE") == twice
    (one, _) = world.scenario.subscriptions
    usage = world.usage(one, Window(START, START + 15 * HOUR), NOW)
    assert {name.removeprefix("a "): cost.quantity for name, cost in usage.items()} == units

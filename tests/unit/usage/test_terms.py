"""Terms: which line items a subscription has of its own and of its plans, and from when to when."""

from copy import replace
from decimal import Decimal

import pytest

from meterstone.pricing.price import BillingModel, Price
from meterstone.store.catalogue.records import encode_document
from meterstone.usage.instant import DAY
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.period import BillingPeriod
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Customer, Dated, Subscription
from meterstone.usage.terms import ItemTerm, PlanTerm, Terms, decode_terms, divides, resolve, terms_of

D, W, M, Q, H, Y, ONE = (
    BillingPeriod.DAILY,
    BillingPeriod.WEEKLY,
    BillingPeriod.MONTHLY,
    BillingPeriod.QUARTERLY,
    BillingPeriod.HALF_YEARLY,
    BillingPeriod.ANNUAL,
    BillingPeriod.ONETIME,
)
METERS = {name: Meter(name, name, name, Aggregation.SUM, name, "value") for name in "xyz"}


def price(
    name: str, meter: str, currency: str = "usd", period: BillingPeriod | None = None, count: int = 1
) -> Price:
    return Price(
        name,
        currency,
        BillingModel.FLAT_FEE,
        Decimal(1),
        meter_id=meter,
        billing_period=period and str(period),
        billing_period_count=count,
    )


PRICES = {
    each.id: each
    for each in (
        price("x1", "x"),
        price("x2", "x"),
        price("y1", "y"),
        price("z1", "z"),
        price("x-eur", "x", "eur"),
        price("daily", "y", period=D),
        price("weekly", "y", period=W),
        price("yearly", "y", period=Y),
    )
}
PLANS = {
    ("pro", 1): Plan("pro", prices=("x1", "y1"), version=1),
    ("pro", 2): Plan("pro", prices=("x2", "y1"), version=2),
    ("max", 1): Plan("max", prices=("x1", "z1"), version=1),
    ("quarters", 1): Plan("quarters", prices=("x1", "daily"), version=1, billing_period=Q),
    ("all", 1): Plan("all", prices=("x1", "x-eur", "daily", "weekly", "yearly"), version=1),
}
TERMS = Terms("s", "c", "usd", "UTC", 0, (PlanTerm("pro", None, 1),))

type Item = tuple[str, str, int, int | None]


def items(terms: Terms) -> list[Item]:
    found = resolve(terms, PLANS, PRICES, METERS).line_items
    return sorted((each.id, each.price.id, each.start, each.end) for each in found)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        pytest.param(
            (PlanTerm("pro", None, 1),), [("s.x1", "x1", 0, None), ("s.y1", "y1", 0, None)], id="one version"
        ),
        pytest.param(
            (PlanTerm("pro", None, 1), PlanTerm("pro", 5, 2)),
            [("s.x1", "x1", 0, 5), ("s.x2.1", "x2", 5, None), ("s.y1", "y1", 0, None)],
            id="a price that both versions have goes on",
        ),
        pytest.param(
            (PlanTerm("pro", None, 1), PlanTerm("max", 5, 1)),
            [
                ("s.x1", "x1", 0, 5),
                ("s.x1.1", "x1", 5, None),
                ("s.y1", "y1", 0, 5),
                ("s.z1.1", "z1", 5, None),
            ],
            id="another plan: even the same price ends and begins",
        ),
        pytest.param(
            (PlanTerm("pro", None, 1), PlanTerm("max", 5, 1), PlanTerm("pro", 9, 1)),
            [
                ("s.x1", "x1", 0, 5),
                ("s.x1.1", "x1", 5, 9),
                ("s.x1.2", "x1", 9, None),
                ("s.y1", "y1", 0, 5),
                ("s.y1.2", "y1", 9, None),
                ("s.z1.1", "z1", 5, 9),
            ],
            id="and back",
        ),
        pytest.param(
            (PlanTerm("pro", None, 1), PlanTerm("pro", 5, 2), PlanTerm("pro", 9, 1)),
            [
                ("s.x1", "x1", 0, 5),
                ("s.x1.2", "x1", 9, None),
                ("s.x2.1", "x2", 5, 9),
                ("s.y1", "y1", 0, None),
            ],
            id="a price that comes again is another line item",
        ),
        pytest.param(
            (PlanTerm("pro", None, 1), PlanTerm("max", 0, 1)),
            [("s.x1.1", "x1", 0, None), ("s.z1.1", "z1", 0, None)],
            id="a plan that ends as it begins has none",
        ),
        pytest.param(
            (PlanTerm("pro"), PlanTerm("max", 5, 1)),
            [("s.x1.1", "x1", 5, None), ("s.z1.1", "z1", 5, None)],
            id="a plan that is but a name",
        ),
    ],
)
def test_the_line_items_of_plans(plan: tuple[PlanTerm, ...], expected: list[Item]) -> None:
    assert items(replace(TERMS, plan=plan)) == expected


@pytest.mark.parametrize(
    ("currency", "period", "count", "expected"),
    [
        ("usd", M, 1, ["daily", "x1"]),
        ("usd", W, 2, ["daily", "weekly", "x1"]),
        ("usd", Y, 1, ["daily", "x1", "yearly"]),
        ("usd", D, 1, ["daily", "x1"]),
        ("usd", ONE, 1, ["x1"]),
        ("eur", M, 1, ["x-eur"]),
        ("jpy", M, 1, []),
    ],
)
def test_which_prices_of_a_plan_fit(
    currency: str, period: BillingPeriod, count: int, expected: list[str]
) -> None:
    terms = replace(
        TERMS,
        plan=(PlanTerm("all", None, 1),),
        currency=currency,
        billing_period=period,
        billing_period_count=count,
    )
    assert sorted(price for _, price, _, _ in items(terms)) == expected


def test_of_a_plan_s_prices_only_those_that_were_chosen() -> None:
    assert items(replace(TERMS, chosen=("y1",))) == [("s.y1", "y1", 0, None)]
    assert items(replace(TERMS, chosen=())) == []


def test_a_price_without_a_period_has_its_plan_s() -> None:
    terms = replace(TERMS, plan=(PlanTerm("quarters", None, 1),), billing_period=Y)
    found = {each.price.id: each.price for each in resolve(terms, PLANS, PRICES, METERS).line_items}
    assert (found["x1"].billing_period, found["x1"].billing_period_count) == ("QUARTERLY", 1)
    assert found["daily"] is PRICES["daily"]
    alike = replace(terms, billing_period=Q)
    assert resolve(alike, PLANS, PRICES, METERS).line_items[0].price is PRICES["x1"]


def test_line_items_of_its_own_beside_those_of_the_plan() -> None:
    terms = replace(TERMS, line_items=(ItemTerm("z1"), ItemTerm("z1", "later", 7, 9)))
    assert items(terms) == [
        ("later", "z1", 7, 9),
        ("s.x1", "x1", 0, None),
        ("s.y1", "y1", 0, None),
        ("s.z1", "z1", 0, None),
    ]


def test_a_subscription_has_what_its_terms_say() -> None:
    customer = Customer("c", country=(Dated("NO"),), customer_type=(Dated("company"),))
    terms = replace(
        TERMS,
        start=DAY,
        end=9 * DAY,
        external_id="e",
        plan=(PlanTerm("pro", None, 1), PlanTerm("pro", 5 * DAY, 2), PlanTerm("max", 6 * DAY)),
    )
    found = resolve(terms, PLANS, PRICES, METERS, customer.facts)
    assert (found.external_id, found.customer_id, found.anchor, found.span.end) == ("e", "c", DAY, 9 * DAY)
    assert found.plan == (Dated("pro"), Dated("max", 6 * DAY)), "a version has no name of its own"
    assert (found.country, found.customer_type) == (customer.country, customer.customer_type)
    assert {each.meter for each in found.line_items} == {METERS["x"], METERS["y"]}
    without = resolve(terms, PLANS, PRICES, METERS)
    assert without == replace(found, country=(), customer_type=())


def test_what_was_called_off_has_no_time() -> None:
    found = resolve(replace(TERMS, start=DAY, end=9 * DAY, canceled_at=5), PLANS, PRICES, METERS)
    assert (found.start, found.end) == (DAY, DAY)


def test_a_whole_subscription_is_what_its_terms_resolve_to() -> None:
    whole: Subscription = resolve(TERMS, PLANS, PRICES, METERS)
    assert resolve(terms_of(whole), {}, PRICES, METERS) == whole


def test_terms_are_read_as_they_were_written_and_say_no_more_than_needed() -> None:
    assert decode_terms(encode_document(TERMS)) == TERMS
    assert encode_document(TERMS) == (
        '{"id":"s","customer_id":"c","currency":"usd","timezone":"UTC","start":0,"plan":[{"value":"pro","version":1}]}'
    )


@pytest.mark.parametrize(
    ("inner", "outer", "yes"),
    [
        ((M, 1), (M, 1), True),
        ((M, 1), (M, 3), True),
        ((M, 2), (M, 3), False),
        ((M, 3), (Q, 1), True),
        ((Q, 1), (M, 3), True),
        ((M, 1), (H, 1), True),
        ((H, 1), (Y, 1), True),
        ((Y, 1), (H, 1), False),
        ((D, 1), (W, 1), True),
        ((D, 7), (W, 1), True),
        ((D, 2), (W, 1), False),
        ((W, 1), (D, 14), True),
        ((D, 1), (Y, 1), True),
        ((D, 2), (M, 1), False),
        ((W, 1), (M, 1), False),
        ((ONE, 1), (ONE, 1), True),
        ((M, 1), (ONE, 1), False),
        ((ONE, 1), (M, 1), False),
    ],
)
def test_which_periods_divide_others(
    inner: tuple[BillingPeriod, int], outer: tuple[BillingPeriod, int], *, yes: bool
) -> None:
    assert divides(*inner, *outer) is yes

"""Which line items have a row, in which order, and in which order they consume the commitment."""

from copy import replace
from decimal import Decimal

import pytest

from meterstone.pricing.commitment import Commitment, CommitmentSplit
from meterstone.pricing.lines import Cost, Line
from meterstone.pricing.money import plain
from meterstone.pricing.price import BillingModel, Price, PriceType
from meterstone.usage.measure import Buckets, WindowUsage, rated_items
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.statement import rate
from meterstone.usage.subscription import LineItem, Subscription
from meterstone.usage.window import Window
from support.one_subscription import FLAT, at, item_of, meter_of, subscription_of

MARCH = Window(at("03-01"), at("04-01"))
ZERO = Decimal(0)


def named(name: str) -> Meter:
    return replace(meter_of(Aggregation.SUM), id=name, name=name)


def item(name: str, meter: str = "calls", start: str = "01-01", end: str | None = None) -> LineItem:
    return item_of(named(meter), FLAT, start, end, name)


def used(quantity: str, amount: str) -> Cost:
    """Measure a quantity that costs so much before it is rounded."""
    due = Decimal(amount)
    return Cost(Decimal(quantity), (Line(ZERO, None, Decimal(quantity), ZERO, due, due),))


@pytest.mark.parametrize(
    ("items", "order"),
    [
        pytest.param([], [], id="none"),
        pytest.param([item("b", "calls"), item("a", "tokens")], ["b", "a"], id="by the meter's name"),
        pytest.param([item("b"), item("a"), item("c")], ["a", "b", "c"], id="then by their own id"),
        pytest.param([item("a", "tokens"), item("b", "Tokens")], ["b", "a"], id="capitals come first"),
    ],
)
def test_rated_items_have_an_order(items: list[LineItem], order: list[str]) -> None:
    assert [each.id for each in rated_items(subscription_of(*items), MARCH)] == order


@pytest.mark.parametrize(
    ("one", "has_a_row"),
    [
        pytest.param(item("a"), True, id="over the whole window"),
        pytest.param(item("a", start="03-31"), True, id="from its last day"),
        pytest.param(item("a", start="04-01"), False, id="after it"),
        pytest.param(item("a", end="03-01T00:01"), True, id="until its first minute"),
        pytest.param(item("a", end="03-01"), False, id="before it"),
        pytest.param(item("a", start="03-10", end="03-10"), False, id="of no length"),
        pytest.param(
            replace(item("a"), price=replace(FLAT, type=PriceType.FIXED)), False, id="a fixed price"
        ),
        pytest.param(replace(item("a"), meter=None), False, id="without a meter"),
        pytest.param(
            replace(item("a"), meter=replace(named("calls"), deleted_at=at("02-01"))),
            True,
            id="a deleted meter",
        ),
    ],
)
def test_rated_items_are_usage_in_the_window(one: LineItem, has_a_row: bool) -> None:  # noqa: FBT001
    assert rated_items(subscription_of(one), MARCH) == ([one] if has_a_row else [])


def test_rated_items_are_cut_to_their_subscription() -> None:
    early = item("a", start="03-01", end="03-10")

    assert rated_items(subscription_of(early, start="03-05"), MARCH) == [early]
    assert rated_items(subscription_of(early, start="03-10"), MARCH) == []


def statement_of(
    usage: dict[str, Cost], commitment: Commitment | None = None, currency: str = "usd"
) -> list[str]:
    """Rate line items `a`, `b` and `c`, of meters that sort as `c`, `a`, `b`; print their rows."""
    meters = {"c": "1", "a": "2", "b": "3"}
    flat = Price("flat", currency, BillingModel.FLAT_FEE, amount=Decimal(1))
    subscription: Subscription = replace(
        subscription_of(*(item_of(named(meters[name]), flat, name=name) for name in usage)),
        currency=currency,
        commitment=commitment,
    )
    # Of buckets the costs are stored, so that any amount can be tried.
    measured = tuple((item, Buckets((), (usage[item.id],))) for item in rated_items(subscription, MARCH))
    statement = rate(WindowUsage(subscription, MARCH, measured, counted_until=7))
    assert (statement.subscription, statement.window, statement.lines) == (subscription, MARCH, usage)
    assert statement.counted_until == 7
    assert statement.settlement.amount == sum(row.amount for row in statement.settlement.rows)
    return [
        f"{row.source.key.id}: {plain(row.quantity)} for {row.amount}{' over' if row.is_overage else ''}"
        for row in statement.settlement.rows
    ]


USED = {"a": used("60", "60"), "b": used("50", "50"), "c": used("40", "40")}


@pytest.mark.parametrize(
    ("usage", "commitment", "rows"),
    [
        pytest.param({}, None, [], id="nothing"),
        pytest.param(
            USED, None, ["c: 40 for 40.00", "a: 60 for 60.00", "b: 50 for 50.00"], id="no commitment"
        ),
        pytest.param(
            USED,
            Commitment(Decimal(70), Decimal(2)),
            ["c: 40 for 40.00", "a: 30 for 30.00", "a: 30 for 60.00 over", "b: 50 for 100.00 over"],
            id="a commitment is consumed in the order of the rows",
        ),
        pytest.param(
            USED,
            Commitment(Decimal(100), Decimal(2), CommitmentSplit.WHOLE_UNITS),
            ["c: 40 for 40.00", "a: 60 for 60.00", "b: 50 for 100.00 over"],
            id="in whole units, too",
        ),
        pytest.param(
            {"a": used("1", "0.005"), "b": used("1", "0.005"), "c": used("0", "0")},
            None,
            ["c: 0 for 0.00", "a: 1 for 0.01", "b: 1 for 0.01"],
            id="each amount is rounded once, by itself",
        ),
        pytest.param(
            {"a": used("1", "0.014"), "b": used("1", "0.014")},
            Commitment(Decimal("0.02"), Decimal(2)),
            ["a: 1 for 0.01", "b: 1 for 0.01"],
            id="a commitment is consumed by rounded amounts",
        ),
        pytest.param({"a": used("-3", "-3")}, None, ["a: -3 for -3.00"], id="below zero"),
    ],
)
def test_rate(usage: dict[str, Cost], commitment: Commitment | None, rows: list[str]) -> None:
    assert statement_of(usage, commitment) == rows


@pytest.mark.parametrize(
    ("currency", "row"), [("usd", "a: 1 for 2.35"), ("jpy", "a: 1 for 2"), ("kwd", "a: 1 for 2.345")]
)
def test_rate_rounds_to_the_subscription_s_currency(currency: str, row: str) -> None:
    assert statement_of({"a": used("1", "2.345")}, currency=currency) == [row]


def test_rate_takes_a_charge_s_price_from_its_line_item() -> None:
    """Of a FLAT_FEE whole units are told apart by its amount, not by what they came to."""
    commitment = Commitment(Decimal("1.5"), Decimal(2), CommitmentSplit.WHOLE_UNITS)

    assert statement_of({"a": used("2", "1.9")}, commitment) == ["a: 1 for 1.00", "a: 1 for 2.00 over"]

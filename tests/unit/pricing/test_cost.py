"""Price lists: a price, a quantity, and the lines that make up the amount."""

from decimal import Decimal
from fractions import Fraction

import pytest

from meterstone.pricing.cost import cost, cost_buckets
from meterstone.pricing.lines import Cost, merge, merge_all
from meterstone.pricing.money import plain
from meterstone.pricing.price import BillingModel, Price, RoundType, Tier, TierMode, TransformQuantity

TIERS = (
    Tier(10, Decimal("0.1"), flat_amount=Decimal(5)),
    Tier(20, Decimal("0.05")),
    Tier(None, Decimal("0.02"), flat_amount=Decimal(1)),
)
FLAT_FEE = Price("flat", "usd", BillingModel.FLAT_FEE, amount=Decimal("0.5"))
VOLUME = Price("volume", "usd", BillingModel.TIERED, tier_mode=TierMode.VOLUME, tiers=TIERS)
BARE_PACKAGE = Price("package", "usd", BillingModel.PACKAGE, amount=Decimal(3))
TO_10 = Tier(10, Decimal(1))
TO_20 = Tier(20, Decimal(2), flat_amount=Decimal(4))
SLAB = Price("slab", "usd", BillingModel.TIERED, tier_mode=TierMode.SLAB, tiers=TIERS)


def package(divide_by: int, rounding: RoundType = RoundType.UP) -> Price:
    transform = TransformQuantity(divide_by, rounding)
    return Price("package", "usd", BillingModel.PACKAGE, amount=Decimal(3), transform_quantity=transform)


def tiered(mode: TierMode | None, *tiers: Tier) -> Price:
    return Price("tiered", "usd", BillingModel.TIERED, tier_mode=mode, tiers=tiers)


def explained(priced: Cost) -> list[str]:
    """Return each line as a person would write it down."""
    return [
        f"{line.from_}-{'' if line.to is None else line.to}: "
        f"{plain(line.quantity)} x {line.unit_amount} + {line.flat_amount} = {plain(line.subtotal)}"
        for line in priced.lines
    ]


@pytest.mark.parametrize(
    ("price", "quantity", "lines"),
    [
        pytest.param(FLAT_FEE, "3", ["0-: 3 x 0.5 + 0 = 1.5"], id="flat"),
        pytest.param(FLAT_FEE, "-3", ["0-: -3 x 0.5 + 0 = -1.5"], id="flat below zero"),
        pytest.param(FLAT_FEE, "0", [], id="flat zero"),
        pytest.param(package(10), "20", ["0-: 2 x 3 + 0 = 6"], id="package full"),
        pytest.param(package(10), "20.0001", ["0-: 3 x 3 + 0 = 9"], id="package begun"),
        pytest.param(package(10, RoundType.DOWN), "29.9", ["0-: 2 x 3 + 0 = 6"], id="package down"),
        pytest.param(package(10, RoundType.DOWN), "9.9", [], id="package down to none"),
        pytest.param(package(10), "0", [], id="package zero"),
        pytest.param(package(10), "-1", [], id="package below zero"),
        pytest.param(package(0), "5", [], id="package of nothing"),
        pytest.param(package(-1), "5", [], id="package of less than nothing"),
        pytest.param(package(3), "9." + "0" * 23 + "1", ["0-: 4 x 3 + 0 = 12"], id="package a hair over"),
        pytest.param(package(3), "8." + "9" * 24, ["0-: 3 x 3 + 0 = 9"], id="package a hair under"),
        pytest.param(
            package(3, RoundType.DOWN), "8." + "9" * 24, ["0-: 2 x 3 + 0 = 6"], id="down a hair under"
        ),
        pytest.param(BARE_PACKAGE, "5", [], id="package of no size"),
        pytest.param(VOLUME, "10", ["0-10: 10 x 0.1 + 5 = 6"], id="volume at the bound"),
        pytest.param(VOLUME, "10.001", ["10-20: 10.001 x 0.05 + 0 = 0.50005"], id="volume beyond the bound"),
        pytest.param(VOLUME, "100", ["20-: 100 x 0.02 + 1 = 3"], id="volume last tier"),
        pytest.param(VOLUME, "0", [], id="volume zero"),
        pytest.param(VOLUME, "-1", [], id="volume below zero"),
        pytest.param(SLAB, "10", ["0-10: 10 x 0.1 + 5 = 6"], id="slab at the bound"),
        pytest.param(
            SLAB,
            "10.001",
            ["0-10: 10 x 0.1 + 5 = 6", "10-20: 0.001 x 0.05 + 0 = 0.00005"],
            id="slab beyond the bound",
        ),
        pytest.param(
            SLAB,
            "25",
            ["0-10: 10 x 0.1 + 5 = 6", "10-20: 10 x 0.05 + 0 = 0.5", "20-: 5 x 0.02 + 1 = 1.1"],
            id="slab every tier",
        ),
        pytest.param(SLAB, "0", [], id="slab zero"),
        pytest.param(SLAB, "-1", [], id="slab below zero"),
        pytest.param(tiered(None, *TIERS), "5", [], id="no tier mode"),
        pytest.param(tiered(TierMode.SLAB), "5", [], id="no tiers"),
        pytest.param(
            tiered(TierMode.SLAB, TO_10), "12", ["0-10: 10 x 1 + 0 = 10"], id="slab beyond the last tier"
        ),
        pytest.param(
            tiered(TierMode.VOLUME, TO_10), "12", ["0-10: 12 x 1 + 0 = 12"], id="volume beyond the last"
        ),
        pytest.param(
            tiered(TierMode.VOLUME, TO_20, TO_10), "5", ["0-10: 5 x 1 + 0 = 5"], id="volume unsorted"
        ),
        pytest.param(
            tiered(TierMode.SLAB, TO_20, TO_10),
            "15",
            ["0-10: 10 x 1 + 0 = 10", "10-20: 5 x 2 + 4 = 14"],
            id="slab unsorted",
        ),
        pytest.param(
            tiered(TierMode.SLAB, TO_10, TO_10, TO_20),
            "11",
            ["0-10: 10 x 1 + 0 = 10", "10-20: 1 x 2 + 4 = 6"],
            id="slab repeated bound",
        ),
    ],
)
def test_cost(price: Price, quantity: str, lines: list[str]) -> None:
    priced = cost(price, Decimal(quantity))

    assert explained(priced) == lines
    assert priced.amount == sum(line.subtotal for line in priced.lines)
    assert priced.quantity == Decimal(quantity)


def test_the_widest_quantity_and_price_are_exact() -> None:
    widest = Decimal("999999999999999.999999999999999")
    price = tiered(TierMode.SLAB, Tier(999999999999998, widest, widest), Tier(None, widest, widest))

    # quantity x price, and two flat amounts
    assert Fraction(cost(price, widest).amount) == Fraction(widest) * Fraction(widest) + 2 * Fraction(widest)


def test_buckets_are_priced_each_by_itself() -> None:
    buckets = [Decimal(15), Decimal(0), Decimal(9), Decimal(15), Decimal(-1)]

    assert explained(cost_buckets(SLAB, buckets)) == [
        "0-10: 29 x 0.1 + 15 = 17.9",
        "10-20: 10 x 0.05 + 0 = 0.5",
    ]
    assert explained(cost_buckets(VOLUME, buckets)) == [
        "0-10: 9 x 0.1 + 5 = 5.9",
        "10-20: 30 x 0.05 + 0 = 1.5",
    ]
    assert explained(cost_buckets(package(10), buckets)) == ["0-: 5 x 3 + 0 = 15"]
    assert explained(cost_buckets(FLAT_FEE, buckets)) == ["0-: 38 x 0.5 + 0 = 19"]
    assert cost_buckets(SLAB, buckets).quantity == 38


def test_no_buckets_cost_nothing() -> None:
    assert cost_buckets(SLAB, []) == merge_all([]) == Cost(Decimal(0), ())
    assert merge_all([]).amount == 0


def test_merge_keeps_lines_of_different_tiers_and_prices_apart() -> None:
    assert explained(merge(cost(FLAT_FEE, Decimal(2)), cost(SLAB, Decimal(12)))) == [
        "0-10: 10 x 0.1 + 5 = 6",
        "0-: 2 x 0.5 + 0 = 1",
        "10-20: 2 x 0.05 + 0 = 0.1",
    ]

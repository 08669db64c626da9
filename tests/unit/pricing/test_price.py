"""What a catalogue refuses in a price, and that a price is what its JSON says."""

from copy import replace
from decimal import Decimal

import msgspec
import pytest

from meterstone.pricing.price import (
    BillingModel,
    Price,
    PriceProblem,
    PriceType,
    RoundType,
    Tier,
    TierMode,
    TransformQuantity,
    check,
)

FLAT_FEE = Price("p", "usd", BillingModel.FLAT_FEE, amount=Decimal("0.5"))
PACKAGE = Price("p", "usd", BillingModel.PACKAGE, amount=Decimal(3), transform_quantity=TransformQuantity(10))
TIERED = Price(
    "p",
    "usd",
    BillingModel.TIERED,
    tier_mode=TierMode.SLAB,
    tiers=(Tier(10, Decimal(2), Decimal(1)), Tier(20, Decimal("1.5")), Tier(None, Decimal(1))),
)
ONE = Decimal(1)
TOO_MANY_DIGITS = "a number has at most 12 integer and 18 decimal digits"
TOO_LARGE = "a number has at most 18 integer and 18 decimal digits"


@pytest.mark.parametrize(
    "price",
    [
        pytest.param(FLAT_FEE, id="flat"),
        pytest.param(PACKAGE, id="package"),
        pytest.param(TIERED, id="tiered"),
        pytest.param(replace(TIERED, tiers=(Tier(None, ONE),)), id="one tier"),
        pytest.param(replace(FLAT_FEE, amount=Decimal(0)), id="free"),
        pytest.param(replace(FLAT_FEE, amount=Decimal("7.6234102728e-08")), id="a token of a language model"),
        pytest.param(
            replace(FLAT_FEE, amount=Decimal("999999999999.999999999999999999")), id="12 and 18 digits"
        ),
        pytest.param(
            replace(PACKAGE, transform_quantity=TransformQuantity(10**18 - 1)), id="18 digits a package"
        ),
        pytest.param(replace(TIERED, tiers=(Tier(10**18 - 1, ONE), Tier(None, ONE))), id="18 digits a tier"),
        pytest.param(replace(FLAT_FEE, currency="kwd"), id="three decimals"),
        pytest.param(replace(FLAT_FEE, currency="hrk"), id="withdrawn currency"),
    ],
)
def test_a_catalogue_may_hold(price: Price) -> None:
    assert check(price) == []
    assert check(price, currency=price.currency.upper()) == []


@pytest.mark.parametrize(
    ("price", "problems"),
    [
        pytest.param(
            replace(FLAT_FEE, amount=Decimal("-0.01")), [("amount", "must not be negative")], id="negative"
        ),
        pytest.param(
            replace(FLAT_FEE, amount=Decimal("NaN")), [("amount", "not a number of the form -12.5")], id="NaN"
        ),
        pytest.param(
            replace(FLAT_FEE, amount=Decimal("1E-19")), [("amount", TOO_MANY_DIGITS)], id="too fine"
        ),
        pytest.param(
            replace(FLAT_FEE, amount=Decimal("1E+12")), [("amount", TOO_MANY_DIGITS)], id="too dear"
        ),
        pytest.param(
            replace(FLAT_FEE, currency="xyz"), [("currency", "is not an ISO 4217 currency")], id="currency"
        ),
        pytest.param(
            replace(FLAT_FEE, currency="USD"), [("currency", "must be lower case")], id="upper case"
        ),
        pytest.param(
            replace(FLAT_FEE, billing_period_count=0),
            [("billing_period_count", "must be at least 1")],
            id="no billing period",
        ),
        pytest.param(
            replace(PACKAGE, transform_quantity=None),
            [("transform_quantity", "is required for a PACKAGE price")],
            id="no package size",
        ),
        pytest.param(
            replace(PACKAGE, transform_quantity=TransformQuantity(0)),
            [("transform_quantity.divide_by", "must be at least 1")],
            id="package of nothing",
        ),
        pytest.param(
            replace(PACKAGE, transform_quantity=TransformQuantity(10**18)),
            [("transform_quantity.divide_by", TOO_LARGE)],
            id="package too large",
        ),
        pytest.param(
            replace(TIERED, tier_mode=None),
            [("tier_mode", "is required for a TIERED price")],
            id="no tier mode",
        ),
        pytest.param(replace(TIERED, tiers=()), [("tiers", "is required for a TIERED price")], id="no tiers"),
        pytest.param(
            replace(TIERED, tiers=(*(Tier(each, ONE) for each in range(1, 51)), Tier(None, ONE))),
            [("tiers", "must be at most 50")],
            id="51 tiers",
        ),
        pytest.param(
            replace(TIERED, tiers=(Tier(10, ONE), Tier(20, ONE))),
            [("tiers[1].up_to", "must be null: the last tier is unbounded")],
            id="bounded last tier",
        ),
        pytest.param(
            replace(TIERED, tiers=(Tier(None, ONE), Tier(None, ONE))),
            [("tiers[0].up_to", "must not be null: only the last tier is unbounded")],
            id="unbounded first",
        ),
        pytest.param(
            replace(TIERED, tiers=(Tier(20, ONE), Tier(10, ONE), Tier(None, ONE))),
            [("tiers[1].up_to", "must be above the tier before, 20")],
            id="unsorted",
        ),
        pytest.param(
            replace(TIERED, tiers=(Tier(10, ONE), Tier(10, ONE), Tier(None, ONE))),
            [("tiers[1].up_to", "must be above the tier before, 10")],
            id="repeated",
        ),
        pytest.param(
            replace(TIERED, tiers=(Tier(0, ONE), Tier(None, ONE))),
            [("tiers[0].up_to", "must be at least 1")],
            id="empty tier",
        ),
        pytest.param(
            replace(TIERED, tiers=(Tier(10**18, ONE), Tier(None, ONE))),
            [("tiers[0].up_to", TOO_LARGE)],
            id="tier too large",
        ),
        pytest.param(
            replace(TIERED, currency="USD", tiers=(Tier(10, -ONE, -ONE), Tier(5, Decimal("Infinity")))),
            [
                ("tiers[0].unit_amount", "must not be negative"),
                ("tiers[0].flat_amount", "must not be negative"),
                ("tiers[1].unit_amount", "not a number of the form -12.5"),
                ("tiers[1].up_to", "must be null: the last tier is unbounded"),
                ("tiers[1].up_to", "must be above the tier before, 10"),
                ("currency", "must be lower case"),
            ],
            id="all at once",
        ),
    ],
)
def test_a_catalogue_refuses(price: Price, problems: list[tuple[str, str]]) -> None:
    assert check(price) == [PriceProblem(path, message) for path, message in problems]


def test_json_is_read_as_it_stands() -> None:
    text = """{
        "id": "price_1", "currency": "usd", "billing_model": "PACKAGE", "amount": "0.10", "type": "FIXED",
        "meter_id": "meter_1", "billing_period": "MONTHLY", "billing_period_count": 3,
        "tiers": [
            {"up_to": 10, "unit_amount": 1.10, "flat_amount": "2"},
            {"up_to": null, "unit_amount": "1"}
        ],
        "transform_quantity": {"divide_by": 100, "round": "down"},
        "details": {"display_name": "Calls", "metadata": {"team": "core"}, "parent_price_id": null,
                    "version": 2, "price_unit_tiers": [{"up_to": null, "unit_amount": "1"}]}
    }"""

    price = msgspec.json.decode(text, type=Price)

    assert price == Price(
        "price_1",
        "usd",
        BillingModel.PACKAGE,
        amount=Decimal("0.10"),
        type=PriceType.FIXED,
        meter_id="meter_1",
        tiers=(Tier(10, Decimal("1.1"), Decimal(2)), Tier(None, Decimal(1))),
        transform_quantity=TransformQuantity(100, RoundType.DOWN),
        billing_period="MONTHLY",
        billing_period_count=3,
        details={
            "display_name": "Calls",
            "metadata": {"team": "core"},
            "parent_price_id": None,
            "version": 2,
            "price_unit_tiers": [{"up_to": None, "unit_amount": "1"}],
        },
    )
    assert hash(price) == hash(msgspec.json.decode(msgspec.json.encode(price), type=Price))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("billing_model", "FREE"),
        ("tiers", [{"up_to": 1.5, "unit_amount": "1"}]),
        ("amount", "ten"),
        ("details", {"ratio": 1.5}),
    ],
)
def test_json_of_another_shape_is_refused(field: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"id": "p", "currency": "usd", "billing_model": "FLAT_FEE", field: value}, type=Price)

"""Charges in their order, a commitment, and the rows that come of it."""

from copy import replace
from decimal import Decimal

import pytest

from meterstone.pricing.commitment import Charge, ChargeRow, Commitment, CommitmentSplit, Settlement, apply
from meterstone.pricing.errors import UnknownCurrencyError
from meterstone.pricing.money import plain
from meterstone.pricing.price import BillingModel, Price

AMOUNT, WHOLE_UNITS = CommitmentSplit.AMOUNT, CommitmentSplit.WHOLE_UNITS
PACKAGE = Price("package", "usd", BillingModel.PACKAGE)

# quantity, rounded amount, price per unit (none: not a FLAT_FEE)
Usage = tuple[str, str, str | None]


def charges(*usages: Usage) -> list[Charge[str]]:
    return [
        Charge(
            name,
            Decimal(quantity),
            Decimal(amount),
            PACKAGE if unit is None else Price("flat", "usd", BillingModel.FLAT_FEE, amount=Decimal(unit)),
        )
        for name, (quantity, amount, unit) in zip("ABCDEFG", usages, strict=False)
    ]


def shown(row: ChargeRow[str]) -> str:
    return f"{row.source.key}: {plain(row.quantity)} for {row.amount}" + (" over" if row.is_overage else "")


def settle(
    split: CommitmentSplit, amount: str, factor: str, *usages: Usage, currency: str = "usd"
) -> Settlement[str]:
    return apply(Commitment(Decimal(amount), Decimal(factor), split), charges(*usages), currency)


@pytest.mark.parametrize(
    ("commitment", "active"),
    [
        (Commitment(Decimal("0.01"), Decimal("1.01")), True),
        (Commitment(Decimal(10), Decimal(1)), False),
        (Commitment(Decimal(10), Decimal("0.5")), False),
        (Commitment(Decimal(0), Decimal(2)), False),
        (Commitment(Decimal(-1), Decimal(2)), False),
    ],
)
@pytest.mark.parametrize("split", CommitmentSplit)
def test_active(commitment: Commitment, *, active: bool, split: CommitmentSplit) -> None:
    commitment = replace(commitment, split=split)
    settlement = apply(commitment, charges(("50", "50.00", "1")), "usd")

    assert commitment.active is active
    assert settlement.has_overage is active
    assert (settlement.commitment_utilized is not None) is active


@pytest.mark.parametrize("commitment", [None, Commitment(Decimal(10), Decimal(1))])
def test_without_a_commitment_charges_stay_as_they_are(commitment: Commitment | None) -> None:
    settlement = apply(
        commitment, charges(("2", "3.00", "1.5"), ("-1", "-1.50", "1.5"), ("0", "0.00", "1")), "usd"
    )

    assert [shown(row) for row in settlement.rows] == ["A: 2 for 3.00", "B: -1 for -1.50", "C: 0 for 0.00"]
    assert settlement.amount == Decimal("1.50")
    assert settlement.commitment_utilized is settlement.overage_amount is None
    assert not settlement.has_overage


def test_no_charges_use_nothing() -> None:
    settlement = settle(AMOUNT, "10", "2")

    assert settlement == Settlement((), commitment_utilized=Decimal(0), overage_amount=Decimal(0))
    assert settlement.amount == 0


@pytest.mark.parametrize(
    ("commitment", "factor", "usages", "rows", "utilized", "overage"),
    [
        pytest.param(
            "100",
            "1.5",
            [("4", "120.00", "30")],
            ["A: 3.3333333333333333 for 100.00", "A: 0.6666666666666667 for 30.00 over"],
            "100.00",
            "30.00",
            id="crossing",
        ),
        pytest.param("50", "2", [("50", "50.00", "1")], ["A: 50 for 50.00"], "50.00", "0", id="exact fit"),
        pytest.param(
            "50",
            "2",
            [("50", "50.00", "1"), ("1", "1.00", "1")],
            ["A: 50 for 50.00", "B: 1 for 2.00 over"],
            "50.00",
            "2.00",
            id="nothing left",
        ),
        pytest.param(
            "50",
            "2",
            [("50", "50.00", "1"), ("0", "0.00", "1")],
            ["A: 50 for 50.00", "B: 0 for 0.00"],
            "50.00",
            "0",
            id="zero is never overage",
        ),
        pytest.param(
            "10",
            "2",
            [("12", "12.00", "1"), ("-5", "-5.00", "1"), ("8", "8.00", "1")],
            ["A: 12 for 12.00", "B: -5 for -5.00", "C: 3 for 3.00", "C: 5 for 10.00 over"],
            "10.00",
            "10.00",
            id="what is given back comes first",
        ),
        pytest.param(
            "10", "2", [("-5", "-5.00", "1")], ["A: -5 for -5.00"], "-5.00", "0", id="only given back"
        ),
        pytest.param(
            "1",
            "1.5",
            [("1", "1.00", "1"), ("1", "0.01", "0.01"), ("1", "0.01", "0.01"), ("1", "0.01", "0.01")],
            ["A: 1 for 1.00", "B: 1 for 0.02 over", "C: 1 for 0.01 over", "D: 1 for 0.02 over"],
            "1.00",
            "0.05",
            id="overage is rounded in sum",
        ),
        pytest.param(
            "10.005",
            "1.5",
            [("20", "20.00", "1")],
            ["A: 10.005 for 10.01", "A: 9.995 for 14.99 over"],
            "10.01",
            "14.99",
            id="commitment finer than the currency",
        ),
        pytest.param(
            "0.004",
            "2",
            [("1", "1.00", "1")],
            ["A: 0.004 for 0.00", "A: 0.996 for 1.99 over"],
            "0.00",
            "1.99",
            id="commitment below the smallest unit",
        ),
        pytest.param(
            "1",
            "2",
            [("0", "3.00", None)],
            ["A: 0 for 1.00", "A: 0 for 4.00 over"],
            "1.00",
            "4.00",
            id="an amount without a quantity",
        ),
    ],
)
def test_split_amount(
    commitment: str, factor: str, usages: list[Usage], rows: list[str], utilized: str, overage: str
) -> None:
    settlement = settle(AMOUNT, commitment, factor, *usages)

    assert [shown(row) for row in settlement.rows] == rows
    assert settlement.commitment_utilized == Decimal(utilized)
    assert settlement.overage_amount == Decimal(overage)
    assert settlement.amount == Decimal(utilized) + Decimal(overage)


@pytest.mark.parametrize(
    ("commitment", "factor", "usages", "rows", "utilized", "overage"),
    [
        pytest.param(
            "100",
            "1.5",
            [("4", "120.00", "30"), ("8", "8.00", "1")],
            ["A: 3 for 90.00", "A: 1 for 45.00 over", "B: 8 for 8.00"],
            "98",
            "45",
            id="what remains is offered to the next",
        ),
        pytest.param(
            "50",
            "2",
            [("50", "50.00", "1"), ("3", "0.10", "0.0333")],
            ["A: 50 for 50.00", "B: 3 for 0.20 over"],
            "50",
            "0.2",
            id="nothing left: the rounded amount",
        ),
        pytest.param(
            "10", "2", [("2", "30.00", "15")], ["A: 2 for 60.00 over"], "0", "60", id="no unit fits"
        ),
        pytest.param(
            "10",
            "2",
            [("7", "30.00", None)],
            ["A: 2 for 8.57", "A: 5 for 42.86 over"],
            "8.5714285714285714",
            "42.857142857142857",
            id="a unit of a package",
        ),
        pytest.param(
            "10",
            "2",
            [("2.5", "25.00", "10")],
            ["A: 1 for 10.00", "A: 1.5 for 30.00 over"],
            "10",
            "30",
            id="a fractional quantity",
        ),
        pytest.param(
            "0.008",
            "2",
            [("1", "0.01", "0.005"), ("1", "0.01", "0.01")],
            ["A: 1 for 0.01", "B: 1 for 0.02 over"],
            "0.005",
            "0.02",
            id="every unit fits unrounded",
        ),
        pytest.param(
            "0.008",
            "2",
            [("0.9", "0.01", "0.006")],
            ["A: 0.9 for 0.01 over"],
            "0",
            "0.0108",
            id="less than a unit",
        ),
        pytest.param(
            "10",
            "2",
            [("0", "30.00", None), ("10", "10.00", "1")],
            ["A: 0 for 60.00 over", "B: 10 for 10.00"],
            "10",
            "60",
            id="an amount without a quantity",
        ),
        pytest.param(
            "10",
            "2",
            [("-2", "30.00", "1")],
            ["A: -2 for 60.00 over"],
            "0",
            "60",
            id="an amount for less than nothing",
        ),
        pytest.param(
            "0.01",
            "2",
            [("1E+18", "0.02", None)],
            ["A: 1000000000000000000 for 0.04 over"],
            "0",
            "0.04",
            id="a unit too cheap for 16 decimals",
        ),
        pytest.param(
            "10",
            "2",
            [("12", "12.00", "1"), ("-5", "-5.00", "1"), ("6", "6.00", "1")],
            [
                "A: 10 for 10.00",
                "A: 2 for 4.00 over",
                "B: -5 for -5.00",
                "C: 5 for 5.00",
                "C: 1 for 2.00 over",
            ],
            "10",
            "6",
            id="what is given back comes in its turn",
        ),
        pytest.param(
            "10",
            "2",
            [("0", "0.00", "1"), ("10", "10.00", "1"), ("0", "0.00", "1")],
            ["A: 0 for 0.00", "B: 10 for 10.00", "C: 0 for 0.00"],
            "10",
            "0",
            id="zero is never overage",
        ),
    ],
)
def test_split_whole_units(
    commitment: str, factor: str, usages: list[Usage], rows: list[str], utilized: str, overage: str
) -> None:
    settlement = settle(WHOLE_UNITS, commitment, factor, *usages)

    assert [shown(row) for row in settlement.rows] == rows
    assert settlement.commitment_utilized == Decimal(utilized)
    assert settlement.overage_amount == Decimal(overage)


@pytest.mark.parametrize("split", CommitmentSplit)
def test_rows_keep_their_charge_and_name_the_factor(split: CommitmentSplit) -> None:
    normal, over = settle(split, "2", "1.25", ("4", "4.00", "1")).rows

    assert normal.source is over.source
    assert (normal.overage_factor, over.overage_factor) == (None, Decimal("1.25"))


@pytest.mark.parametrize("split", CommitmentSplit)
def test_rows_have_the_currency_s_decimals(split: CommitmentSplit) -> None:
    settlement = settle(split, "1000", "1.5", ("99", "1040", "10.5"), currency="jpy")

    assert [str(row.amount) for row in settlement.rows] == (
        ["1000", "60"] if split is AMOUNT else ["998", "63"]
    )


@pytest.mark.parametrize("split", CommitmentSplit)
def test_an_unknown_currency_cannot_be_split(split: CommitmentSplit) -> None:
    with pytest.raises(UnknownCurrencyError):
        settle(split, "1", "2", ("4", "4.00", "1"), currency="xyz")

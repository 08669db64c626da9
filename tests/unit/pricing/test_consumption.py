"""What each row does to a commitment, as a price list, and that every row can be worked out from its step."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterstone.pricing.commitment import Charge, Commitment, CommitmentSplit, apply
from meterstone.pricing.consumption import Step, consumption, offered
from meterstone.pricing.money import round_money
from meterstone.pricing.price import BillingModel, Price

AMOUNT, WHOLE_UNITS = CommitmentSplit


def charge(name: str, quantity: str, unit_amount: str, currency: str = "usd") -> Charge[str]:
    price = Price(name, currency, BillingModel.FLAT_FEE, Decimal(unit_amount))
    amount = round_money(Decimal(quantity) * Decimal(unit_amount), currency)
    return Charge(name, Decimal(quantity), amount, price)


CALLS, SEATS, CREDIT = charge("calls", "4", "30"), charge("seats", "10", "1.5"), charge("credit", "-2", "10")
#: Its amount is rounded, from 1.005.
ROUNDED = charge("rounded", "1", "1.005")

#: Of each row: what it found left, took and left, what lies beyond, and the overage before.
STEPS = [
    ("within", AMOUNT, "200", [CALLS, SEATS], ["200 120 80 0 0", "80 15 65 0 0"]),
    ("split by amount", AMOUNT, "100", [CALLS, SEATS], ["100 100 0 0 0", "0 0 0 20 0", "0 0 0 15 20"]),
    ("nothing left", AMOUNT, "120", [CALLS, SEATS], ["120 120 0 0 0", "0 0 0 15 0"]),
    ("a credit reaches further", AMOUNT, "100", [CALLS, CREDIT], ["120 120 0 0 0", "0 0 0 0 0"]),
    (
        "split by whole units", WHOLE_UNITS, "100", [CALLS, SEATS],
        ["100 90 10 0 0", "10 0 10 30 0", "10 9 1 0 30", "1 0 1 6 30"],
    ),
    ("a credit comes in its turn", WHOLE_UNITS, "20", [CREDIT, SEATS], ["20 -20 40 0 0", "40 15 25 0 0"]),
    ("nothing left for units", WHOLE_UNITS, "120", [CALLS, ROUNDED], ["120 120 0 0 0", "0 0 0 1.01 0"]),
    ("no whole unit fits", WHOLE_UNITS, "20", [CALLS], ["20 0 20 120 0"]),
    ("a commitment of nothing", AMOUNT, "0", [CALLS], []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("split", "committed", "charges", "expected"), [row[1:] for row in STEPS], ids=[row[0] for row in STEPS]
)
def test_steps(
    split: CommitmentSplit, committed: str, charges: list[Charge[str]], expected: list[str]
) -> None:
    commitment = Commitment(Decimal(committed), Decimal(2), split)
    found = consumption(commitment, apply(commitment, charges, "usd"))
    assert [numbers(each) for each in found] == [[Decimal(text) for text in row.split()] for row in expected]


def numbers(step: Step[str]) -> list[Decimal]:
    return [step.left_before, step.taken, step.left_after, step.beyond, step.overage_before]


charges = st.lists(
    st.tuples(
        st.decimals(-50, 500, places=2).map(str),
        st.sampled_from(["0", "0.004", "0.333", "1", "1.005", "30"]),
    ),
    max_size=6,
).map(lambda rows: [charge(f"c{n}", *row) for n, row in enumerate(rows)])
commitments = st.builds(
    Commitment,
    st.decimals("0.01", 900, places=3),
    st.sampled_from([Decimal("1.5"), Decimal(2), Decimal("1.0001")]),
    st.sampled_from(CommitmentSplit),
)


@given(commitments, charges)
def test_every_row_can_be_worked_out_from_its_step(commitment: Commitment, given: list[Charge[str]]) -> None:
    settlement = apply(commitment, given, "usd")
    steps = consumption(commitment, settlement)
    assert tuple(each.row for each in steps) == settlement.rows
    left, overage, factor = offered(commitment, settlement), Decimal(0), commitment.overage_factor
    for step in steps:
        assert (step.left_before, step.overage_before) == (left, overage)
        left, overage = left - step.taken, overage + step.beyond
        assert step.left_after == left
        assert left >= 0
        if not step.row.is_overage:
            due = (
                step.taken
                if commitment.split is WHOLE_UNITS
                else step.taken or min(step.row.amount, Decimal(0))
            )
            assert step.row.amount == round_money(due, "usd")
        elif commitment.split is WHOLE_UNITS:
            assert step.row.amount == round_money(step.beyond * factor, "usd")
        else:
            before = round_money(step.overage_before * factor, "usd")
            assert step.row.amount == round_money(overage * factor, "usd") - before

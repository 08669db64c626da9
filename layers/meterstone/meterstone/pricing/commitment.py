"""Commitments: usage up to an agreed amount at its own price, and usage beyond it (overage) times a factor.

Charges consume a commitment in their order, by their rounded amounts. The charge that crosses the commitment can
be split in two ways (see `CommitmentSplit`). Flexprice's service splits it in the second way.
"""

from collections.abc import Hashable, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import assert_never

import msgspec

from meterstone.pricing.money import CONTEXT, ZERO, add, multiply, quotient, round_money, subtract, total
from meterstone.pricing.price import BillingModel, Price


class CommitmentSplit(StrEnum):
    """How the charge that crosses the commitment is split."""

    #: To the minor unit of the currency. The two rows may have fractional quantities.
    AMOUNT = "amount"
    #: Between two whole units. The rest of the commitment is offered to the next charge.
    WHOLE_UNITS = "whole_units"


class Commitment(msgspec.Struct, frozen=True):
    """The amount that a customer has agreed to spend in a billing period, in the subscription's currency."""

    amount: Decimal
    overage_factor: Decimal
    split: CommitmentSplit = CommitmentSplit.AMOUNT

    @property
    def active(self) -> bool:
        """Whether the commitment changes anything: it has an amount, and overage costs more than usage."""
        return self.amount > 0 and self.overage_factor > 1


class Charge[Key: Hashable](msgspec.Struct, frozen=True):
    """One line item's usage, before the commitment."""

    #: The caller's own reference. The rows made of this charge have it, too.
    key: Key
    quantity: Decimal
    #: Rounded to the currency's minor unit.
    amount: Decimal
    price: Price


class ChargeRow[Key: Hashable](msgspec.Struct, frozen=True):
    """A charge, or one of the two parts into which the commitment splits it."""

    source: Charge[Key]
    quantity: Decimal
    #: Rounded to the currency's minor unit, with the overage factor included.
    amount: Decimal
    is_overage: bool = False
    #: None if the row is no overage.
    overage_factor: Decimal | None = None


class Settlement[Key: Hashable](msgspec.Struct, frozen=True):
    """Charges after the commitment."""

    #: In the order of the charges. Of a split charge, the row of usage comes before the row of overage.
    rows: tuple[ChargeRow[Key], ...]
    #: How much of the commitment was used, and the overage's cost with the factor; None without a commitment.
    #: AMOUNT: both are rounded, and the rows add up to their sum. WHOLE_UNITS: unrounded, as in Flexprice.
    commitment_utilized: Decimal | None = None
    overage_amount: Decimal | None = None

    @property
    def amount(self) -> Decimal:
        """The sum of the rows."""
        return total(row.amount for row in self.rows)

    @property
    def has_overage(self) -> bool:
        """Whether any row is overage."""
        return any(row.is_overage for row in self.rows)


def apply[Key: Hashable](
    commitment: Commitment | None, charges: Sequence[Charge[Key]], currency: str
) -> Settlement[Key]:
    """Let charges consume a commitment in their order. Without an active commitment, charges do not change.

    Raises `UnknownCurrencyError` for a currency in which rows cannot be rounded.

    >>> price = Price("p", "usd", BillingModel.FLAT_FEE, amount=Decimal(30))
    >>> settlement = apply(
    ...     Commitment(Decimal(100), Decimal("1.5"), CommitmentSplit.WHOLE_UNITS),
    ...     [Charge("calls", quantity=Decimal(4), amount=Decimal("120.00"), price=price)],
    ...     "usd",
    ... )
    >>> [(str(row.quantity), str(row.amount), row.is_overage) for row in settlement.rows]
    [('3', '90.00', False), ('1', '45.00', True)]
    """
    if commitment is None or not commitment.active:
        return Settlement(tuple(_unchanged(charge) for charge in charges))
    match commitment.split:
        case CommitmentSplit.AMOUNT:
            return _split_amount(commitment, charges, currency)
        case CommitmentSplit.WHOLE_UNITS:
            return _split_whole_units(commitment, charges, currency)
        case _:
            assert_never(commitment.split)


def _split_amount[Key: Hashable](
    commitment: Commitment, charges: Sequence[Charge[Key]], currency: str
) -> Settlement[Key]:
    """Split the amount of the charge that crosses the commitment.

    In any order of the charges the rows add up to commitment_utilized + round((usage - commitment) * factor). For
    that, charges below zero are added to the commitment before anything is consumed, and an overage row shows by
    how much it raises the rounded overage. A commitment that is finer than the currency is used up to the nearest
    minor unit.
    """
    factor = commitment.overage_factor
    left = subtract(commitment.amount, total(charge.amount for charge in charges if charge.amount < 0))
    overage = shown = utilized = ZERO
    rows: list[ChargeRow[Key]] = []
    for charge in charges:
        if charge.amount <= left or charge.amount <= 0:
            rows.append(_unchanged(charge))
            utilized = add(utilized, charge.amount)
            left = subtract(left, max(charge.amount, ZERO))
            continue
        quantity = charge.quantity
        if left:
            normal_quantity = quotient(multiply(quantity, left), charge.amount)
            normal_amount = round_money(left, currency)
            rows.append(ChargeRow(charge, normal_quantity, normal_amount))
            utilized = add(utilized, normal_amount)
            quantity = subtract(quantity, normal_quantity)
        overage = add(overage, subtract(charge.amount, left))
        left = ZERO
        grown = round_money(multiply(overage, factor), currency)
        rows.append(
            ChargeRow(charge, quantity, subtract(grown, shown), is_overage=True, overage_factor=factor)
        )
        shown = grown
    return Settlement(tuple(rows), commitment_utilized=utilized, overage_amount=shown)


def _split_whole_units[Key: Hashable](
    commitment: Commitment, charges: Sequence[Charge[Key]], currency: str
) -> Settlement[Key]:
    """Split between whole units, as Flexprice does: 4 units at 30, commitment 100, factor 1.5: 90 and 45."""
    factor = commitment.overage_factor
    left = commitment.amount
    utilized = overage = ZERO
    rows: list[ChargeRow[Key]] = []
    for charge in charges:
        if charge.amount <= left:
            rows.append(_unchanged(charge))
            utilized = add(utilized, charge.amount)
            left = subtract(left, charge.amount)
            continue
        unit_amount = amount_of_a_unit(charge) if left else ZERO
        units, beyond = ZERO, charge.amount
        if unit_amount > 0:
            # A rounded charge may exceed what is left although all of its units fit.
            units = min(CONTEXT.divide_int(left, unit_amount), CONTEXT.divide_int(charge.quantity, 1))
            beyond = multiply(subtract(charge.quantity, units), unit_amount)
        if units:
            consumed = multiply(units, unit_amount)
            rows.append(ChargeRow(charge, units, round_money(consumed, currency)))
            utilized = add(utilized, consumed)
            left = subtract(left, consumed)
        if beyond:
            due = multiply(beyond, factor)
            quantity, amount = subtract(charge.quantity, units), round_money(due, currency)
            rows.append(ChargeRow(charge, quantity, amount, is_overage=True, overage_factor=factor))
            overage = add(overage, due)
    return Settlement(tuple(rows), commitment_utilized=utilized, overage_amount=overage)


def amount_of_a_unit(charge: Charge[Hashable]) -> Decimal:
    """Return the price of one unit; 0 for a charge that is never split, as no number of units makes its amount."""
    if charge.quantity <= 0:
        return ZERO
    match charge.price.billing_model:
        case BillingModel.FLAT_FEE:
            return charge.price.amount
        case BillingModel.PACKAGE | BillingModel.TIERED:
            return quotient(charge.amount, charge.quantity)
        case _:
            assert_never(charge.price.billing_model)


def _unchanged[Key: Hashable](charge: Charge[Key]) -> ChargeRow[Key]:
    return ChargeRow(charge, charge.quantity, charge.amount)

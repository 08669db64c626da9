"""How charges consumed a commitment, step by step: what each row found left, took, and went beyond.

`meterstone.pricing.commitment.apply` makes the rows. Here they are followed again, so that the amount of every row
can be worked out from the steps alone.
"""

from collections.abc import Hashable
from decimal import Decimal

import msgspec

from meterstone.pricing.commitment import (
    ChargeRow,
    Commitment,
    CommitmentSplit,
    Settlement,
    amount_of_a_unit,
)
from meterstone.pricing.money import ZERO, add, multiply, subtract, total


class Step[Key: Hashable](msgspec.Struct, frozen=True):
    """What one row did to the commitment. All amounts are unrounded, and without the overage factor.

    ``taken`` is what a row of usage takes from the commitment; it is 0 for overage. ``beyond`` is the part of the
    charge that a row of overage holds; it is 0 for usage. ``overage_before`` is the sum of ``beyond`` over the
    rows before. Where a commitment is split by amount, a row of overage costs what it adds to the rounded overage:
    ``round((overage_before + beyond) * factor) - round(overage_before * factor)``. Where it is split by whole
    units, such a row costs ``round(beyond * factor)``.
    """

    row: ChargeRow[Key]
    left_before: Decimal
    taken: Decimal
    left_after: Decimal
    beyond: Decimal
    overage_before: Decimal


def offered[Key: Hashable](commitment: Commitment, settlement: Settlement[Key]) -> Decimal:
    """Return what the first row finds left: the commitment and, if it is split by amount, all that is credited.

    Charges below zero are credits: with them, the commitment reaches further.
    """
    if commitment.split is CommitmentSplit.WHOLE_UNITS:
        return commitment.amount
    amounts = {row.source.key: row.source.amount for row in settlement.rows}
    return subtract(commitment.amount, total(amount for amount in amounts.values() if amount < 0))


def consumption[Key: Hashable](
    commitment: Commitment | None, settlement: Settlement[Key]
) -> tuple[Step[Key], ...]:
    """Return a step for each row of a settlement; none without an active commitment.

    >>> from meterstone.pricing.commitment import Charge, apply
    >>> from meterstone.pricing.price import BillingModel, Price
    >>> price = Price("p", "usd", BillingModel.FLAT_FEE, amount=Decimal(30))
    >>> agreed = Commitment(Decimal(100), Decimal("1.5"))
    >>> settled = apply(agreed, [Charge("calls", Decimal(4), Decimal(120), price)], "usd")
    >>> [(str(each.left_before), str(each.taken), str(each.beyond)) for each in consumption(agreed, settled)]
    [('100', '100', '0'), ('0', '0', '20')]
    """
    if commitment is None or not commitment.active:
        return ()
    by_amount = commitment.split is CommitmentSplit.AMOUNT
    split = {row.source.key for row in settlement.rows if row.is_overage}
    steps: list[Step[Key]] = []
    left, overage = offered(commitment, settlement), ZERO
    spent: dict[Key, Decimal] = {}
    for row in settlement.rows:
        charge, key = row.source, row.source.key
        taken = beyond = ZERO
        if row.is_overage:
            beyond = subtract(charge.amount, spent.get(key, ZERO))
            if not by_amount and (left or key in spent) and (unit := amount_of_a_unit(charge)) > 0:
                # Priced by its units, which may come to another amount than the rounded one of the charge.
                beyond = multiply(row.quantity, unit)
        elif by_amount:
            taken = left if key in split else max(charge.amount, ZERO)
        else:
            fits = charge.amount <= left
            taken = charge.amount if fits else multiply(row.quantity, amount_of_a_unit(charge))
        spent[key] = taken
        after = subtract(left, taken)
        steps.append(Step(row, left, taken, after, beyond, overage))
        left, overage = after, add(overage, beyond)
    return tuple(steps)

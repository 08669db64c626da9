"""Flexprice's own numbers. A case that is answered otherwise stands in DIFFERENCES, with what is expected."""

from copy import deepcopy
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from meterstone.pricing.commitment import Charge, Commitment, CommitmentSplit, Settlement, apply
from meterstone.pricing.cost import cost, cost_buckets
from meterstone.pricing.currency import symbol
from meterstone.pricing.lines import Cost
from meterstone.pricing.money import display_amount, plain, price_display_amount, round_money
from meterstone.pricing.price import Price, PriceProblem, check
from vectors.flexprice import Case, Difference, section

PRICE_COST = section("price_cost")
COMMITMENT = section("subscription_commitment")

# Case, then difference, then what is expected here: a path into the case's expected values, and the value.
DIFFERENCES: dict[str, dict[Difference, dict[str, str]]] = {
    "bucketed tiered: bucket value 0 still pays tier-1 flat_amount": {
        Difference.ZERO_BUCKETS: {"expected_amount": "8"},
    },
    "leftover after floor is used by the NEXT charge": {
        Difference.SYMBOLS: {"charges.0.display_amount": "$90"},
    },
    "ORDER B then A": {
        Difference.SYMBOLS: {"charges.0.display_amount": "$30"},
    },
    "display_amount of the normal split row has no currency symbol": {
        Difference.SYMBOLS: {"charges.0.display_amount": "$99.9"},
    },
    "sub-cent price: overage_amount and commitment_utilized are NOT rounded": {
        Difference.SYMBOLS: {"charges.0.display_amount": "$1"},
    },
    "no commitment: other direction": {
        Difference.TOTALS: {"amount": "0.03", "display_amount": "$0.03"},
    },
    "jpy commitment": {
        Difference.SYMBOLS: {"charges.0.display_amount": "¥998"},
    },
    "kwd 3 decimals": {
        Difference.SYMBOLS: {"charges.0.display_amount": "KD0.999"},
    },
    "bucketed slab split": {
        Difference.TOTALS: {"amount": "3.32", "display_amount": "$3.32"},
        Difference.SYMBOLS: {"charges.0.display_amount": "$0.99"},
    },
    "three charges, commitment runs out in the second": {
        Difference.SYMBOLS: {"charges.1.display_amount": "$27.5"},
    },
    "price currency differs from subscription currency": {
        Difference.ONE_CURRENCY: {
            "charges.0.currency": "usd",
            "charges.0.amount": "1.5",
            "charges.0.display_amount": "$1.5",
        },
    },
}


def named(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in cases])


def amounts(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "case", [pytest.param(case, id=f"{case['amount']} {case['currency'] or 'none'}") for case in cases]
    )


def expected(case: Case, values: dict[str, Any]) -> dict[str, Any]:
    """Return the case's values, changed as DIFFERENCES says; a change that changes nothing fails."""
    values = deepcopy(values)
    for changes in DIFFERENCES.get(case["name"], {}).values():
        for path, value in changes.items():
            *parents, leaf = path.split(".")
            holder: Any = values
            for step in parents:
                holder = holder[int(step) if step.isdecimal() else step]
            assert str(holder[leaf]) != value, f"{path} does not differ"
            holder[leaf] = value
    return values


def price(case: Case) -> Price:
    fields = case["price"]
    return msgspec.convert(
        {"id": "price", **fields, "tier_mode": fields.get("tier_mode") or None}, type=Price, strict=False
    )


def priced(case: Case) -> Cost:
    if "buckets" in case:
        return cost_buckets(price(case), [Decimal(bucket) for bucket in case["buckets"]])
    return cost(price(case), Decimal(case["quantity"]))


@named(PRICE_COST)
def test_price_cost(case: Case) -> None:
    amount = priced(case).amount
    if case.get("expected_is_rounded_to_currency"):
        amount = round_money(amount, case["price"]["currency"])

    assert amount == Decimal(expected(case, case)["expected_amount"])


def settle(case: Case) -> Settlement[str]:
    charges = []
    for charge in case["charges"]:
        charged = priced(charge)
        amount = round_money(charged.amount, case["currency"])
        charges.append(Charge(charge["subscription_line_item_id"], charged.quantity, amount, price(charge)))
    commitment = Commitment(
        Decimal(case["commitment_amount"] or 0),
        Decimal(case["overage_factor"] or 1),
        CommitmentSplit.WHOLE_UNITS,
    )
    return apply(commitment, charges, case["currency"])


def listed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # Flexprice lists rows by name; the order in which they consume the commitment is the case's own.
    return sorted(rows, key=lambda row: (row["subscription_line_item_id"], row["is_overage"]))


@named(COMMITMENT)
def test_commitment_rows(case: Case) -> None:
    currency = case["currency"]
    rows = [
        {
            "subscription_line_item_id": row.source.key,
            "is_overage": row.is_overage,
            "quantity": row.quantity,
            "amount": row.amount,
            "currency": currency,
            "display_amount": display_amount(row.amount, currency),
            "overage_factor": row.overage_factor,
        }
        for row in settle(case).rows
    ]

    assert listed(rows) == listed(
        [
            {
                "subscription_line_item_id": row["subscription_line_item_id"],
                "is_overage": row["is_overage"],
                "quantity": Decimal(row["quantity"]),
                "amount": Decimal(row["amount"]),
                "currency": row["currency"],
                "display_amount": row["display_amount"],
                "overage_factor": row.get("overage_factor"),
            }
            for row in expected(case, case["expected"])["charges"]
        ]
    )


@named(COMMITMENT)
def test_commitment_totals(case: Case) -> None:
    settlement = settle(case)
    values = expected(case, case["expected"])

    assert settlement.amount == Decimal(values["amount"])
    assert display_amount(settlement.amount, case["currency"]) == values["display_amount"]
    assert settlement.has_overage is values["has_overage"]
    if "commitment_utilized" in values:
        # Flexprice's totals are doubles, and left out where they are 0; these are exact, and 0.
        assert float(settlement.commitment_utilized or "nan") == float(values["commitment_utilized"])
        assert float(settlement.overage_amount or 0) == float(values.get("overage_amount", 0))
    else:
        assert settlement.commitment_utilized is settlement.overage_amount is None


def test_a_price_in_another_currency_is_refused() -> None:
    (case,) = [case for case in COMMITMENT if Difference.ONE_CURRENCY in DIFFERENCES.get(case["name"], {})]

    assert check(price(case["charges"][0]), currency=case["currency"]) == [
        PriceProblem("currency", "must be that of the subscription, usd")
    ]


@amounts(section("currency_rounding"))
def test_currency_rounding(case: Case) -> None:
    assert str(round_money(Decimal(case["amount"]), case["currency"])) == case["expected"]


@amounts(section("currency_display"))
def test_currency_display(case: Case) -> None:
    amount, currency = Decimal(case["amount"]), case["currency"]

    assert display_amount(amount, currency) == case["display_amount"]
    # The number alone is what Flexprice prints on the normal part of a split charge, and as the JSON number.
    number = display_amount(amount, currency).removeprefix(symbol(currency))
    assert number == case["normal_split_row_display_amount"] == plain(Decimal(case["amount_number"]))


@amounts(section("price_display"))
def test_price_display(case: Case) -> None:
    assert price_display_amount(Decimal(case["amount"]), case["currency"]) == case["price_display_amount"]


def test_every_difference_belongs_to_a_case() -> None:
    assert DIFFERENCES.keys() <= {case["name"] for case in [*PRICE_COST, *COMMITMENT]}

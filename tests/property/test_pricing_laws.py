"""Laws of pricing, over any price, any usage and any commitment."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterstone.pricing.commitment import Charge, Commitment, CommitmentSplit, Settlement, apply
from meterstone.pricing.cost import cost, cost_buckets
from meterstone.pricing.currency import precision, symbol
from meterstone.pricing.errors import NumberError
from meterstone.pricing.lines import Cost, merge, merge_all
from meterstone.pricing.money import (
    display_amount,
    minor_units,
    multiply,
    number,
    plain,
    quotient,
    round_money,
    subtract,
    total,
)
from meterstone.pricing.price import BillingModel, Price, RoundType, Tier, TierMode, TransformQuantity, check

FINEST = Decimal("1E-15")
ZERO = Decimal(0)


def decimals(least: int, most: int, places: int = 18) -> st.SearchStrategy[Decimal]:
    return st.decimals(least, most, allow_nan=False, places=places)


currencies = st.sampled_from(["usd", "jpy", "kwd", "clf", "huf"])
amounts = st.one_of(decimals(0, 1000, places=3), decimals(0, 10**12 - 1))
quantities = st.one_of(st.integers(0, 60).map(Decimal), decimals(0, 60, places=3), decimals(0, 10**18 - 1))
any_decimal = st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30, places=20
)


@st.composite
def tier_lists(draw: st.DrawFn, *, flat: bool = True) -> tuple[Tier, ...]:
    bounds = sorted(draw(st.sets(st.integers(1, 50), max_size=4)))
    flat_amounts = amounts if flat else st.just(ZERO)
    return tuple(Tier(bound, draw(amounts), draw(flat_amounts)) for bound in [*bounds, None])


def tiered(mode: TierMode, tiers: tuple[Tier, ...]) -> Price:
    return Price("tiered", "usd", BillingModel.TIERED, tier_mode=mode, tiers=tiers)


transforms = st.builds(TransformQuantity, st.integers(1, 100), st.sampled_from(RoundType))
flat_fees = st.builds(Price, st.just("flat"), currencies, st.just(BillingModel.FLAT_FEE), amounts)
packages = st.builds(
    lambda amount, transform: Price(
        "package", "usd", BillingModel.PACKAGE, amount, transform_quantity=transform
    ),
    amounts,
    transforms,
)
slabs = tier_lists().map(lambda tiers: tiered(TierMode.SLAB, tiers))
volumes = tier_lists().map(lambda tiers: tiered(TierMode.VOLUME, tiers))
prices = st.one_of(flat_fees, packages, slabs, volumes)
costs = st.builds(cost, prices, quantities)


@given(prices, quantities)
def test_every_line_explains_its_subtotal_and_the_lines_the_amount(price: Price, quantity: Decimal) -> None:
    priced = cost(price, quantity)

    for line in priced.lines:
        assert Fraction(line.subtotal) == Fraction(line.quantity) * Fraction(line.unit_amount) + Fraction(
            line.flat_amount
        )
    assert Fraction(priced.amount) == sum(Fraction(line.subtotal) for line in priced.lines)
    assert priced.quantity == quantity


@given(prices)
def test_a_catalogue_holds_these_prices_and_reads_them_back(price: Price) -> None:
    assert check(price) == []
    assert msgspec.json.decode(msgspec.json.encode(price), type=Price) == price


@given(prices, st.one_of(st.just(ZERO), decimals(-(10**6), 0)))
def test_only_a_flat_fee_gives_back(price: Price, quantity: Decimal) -> None:
    expected = multiply(price.amount, quantity) if price.billing_model is BillingModel.FLAT_FEE else 0

    assert cost(price, quantity).amount == expected


@given(st.one_of(slabs, flat_fees, packages), quantities, quantities)
def test_more_usage_never_costs_less(price: Price, a: Decimal, b: Decimal) -> None:
    assert cost(price, min(a, b)).amount <= cost(price, max(a, b)).amount


@given(slabs, quantities)
def test_slab_divides_all_usage_into_tiers(price: Price, quantity: Decimal) -> None:
    lines = cost(price, quantity).lines

    assert total(line.quantity for line in lines) == quantity
    assert all(before.to == line.from_ for before, line in pairwise(lines))
    for line in lines:
        assert 0 < line.quantity <= (quantity if line.to is None else line.to) - line.from_
    assert all(line.to is not None and line.quantity == line.to - line.from_ for line in lines[:-1])


@given(tier_lists(flat=False))
def test_slab_has_no_steps_without_flat_amounts(tiers: tuple[Tier, ...]) -> None:
    price = tiered(TierMode.SLAB, tiers)

    for tier, following in pairwise(tiers):
        assert tier.up_to is not None
        bound = Decimal(tier.up_to)
        step = subtract(cost(price, bound + FINEST).amount, cost(price, bound).amount)
        assert step == multiply(following.unit_amount, FINEST)


@given(volumes, quantities)
def test_volume_prices_all_usage_by_the_one_tier_that_holds_it(price: Price, quantity: Decimal) -> None:
    lines = cost(price, quantity).lines

    assert len(lines) == (1 if quantity else 0)
    for line in lines:
        assert line.quantity == quantity
        assert line.from_ < quantity
        assert line.to is None or quantity <= line.to


@given(packages, quantities)
def test_packages_are_whole_and_hold_the_usage(price: Price, quantity: Decimal) -> None:
    assert price.transform_quantity is not None
    size = price.transform_quantity.divide_by
    count = sum(Fraction(line.quantity) for line in cost(price, quantity).lines)

    assert count.denominator == 1
    if price.transform_quantity.round is RoundType.UP:
        assert (count - 1) * size < Fraction(quantity) <= count * size
    else:
        assert count * size <= Fraction(quantity) < (count + 1) * size


@given(st.permutations([TierMode.SLAB, TierMode.VOLUME]), tier_lists(), quantities, st.randoms())
def test_the_order_of_tiers_does_not_matter(
    modes: list[TierMode], tiers: tuple[Tier, ...], quantity: Decimal, random: Random
) -> None:
    shuffled = list(tiers)
    random.shuffle(shuffled)

    assert cost(tiered(modes[0], tuple(shuffled)), quantity) == cost(tiered(modes[0], tiers), quantity)


@given(costs, costs, costs)
def test_merging_has_no_order_and_no_grouping(a: Cost, b: Cost, c: Cost) -> None:
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c)) == merge_all([c, b, a])
    assert merge(a, Cost(ZERO, ())) == a
    assert merge(a, b).amount == total([a.amount, b.amount])


@given(prices, st.lists(quantities, max_size=6))
def test_buckets_add_up_in_at_most_a_line_a_tier(price: Price, buckets: list[Decimal]) -> None:
    priced = cost_buckets(price, buckets)

    assert priced.amount == total(cost(price, bucket).amount for bucket in buckets)
    assert priced.quantity == total(buckets)
    assert len(priced.lines) <= max(1, len(price.tiers))
    assert cost_buckets(price, reversed(buckets)) == priced


factors = decimals(1, 5, places=3).filter(lambda factor: factor > 1)
commitments = st.one_of(st.integers(1, 200).map(Decimal), decimals(0, 200, places=6)).filter(bool)


@st.composite
def charge_lists(draw: st.DrawFn, currency: str, *, least: int) -> list[Charge[int]]:
    """Draw charges as a reply has them: rounded amounts that may have little to do with their quantities."""
    usages = draw(
        st.lists(
            st.tuples(
                st.one_of(decimals(least, 100, places=4), st.integers(least, 20).map(Decimal)),
                decimals(least, 100, places=4),
                st.booleans(),
            ),
            max_size=6,
        )
    )
    return [
        Charge(
            index,
            quantity,
            round_money(quantity * unit_amount if flat else unit_amount, currency),
            Price("flat", currency, BillingModel.FLAT_FEE, unit_amount)
            if flat
            else Price("package", currency, BillingModel.PACKAGE),
        )
        for index, (quantity, unit_amount, flat) in enumerate(usages)
    ]


@st.composite
def settlements(
    draw: st.DrawFn, split: CommitmentSplit, least: int
) -> tuple[Commitment, list[Charge[int]], str, Settlement[int]]:
    currency = draw(currencies)
    charges = draw(charge_lists(currency, least=least))
    commitment = Commitment(draw(commitments), draw(factors), split)
    return commitment, charges, currency, apply(commitment, charges, currency)


Settled = tuple[Commitment, list[Charge[int]], str, Settlement[int]]


@given(settlements(CommitmentSplit.AMOUNT, least=-20), st.randoms())
def test_split_amount_charges_usage_and_overage_to_the_cent_in_any_order(
    settled: Settled, random: Random
) -> None:
    commitment, charges, currency, settlement = settled
    usage = total(charge.amount for charge in charges)
    beyond = max(subtract(usage, commitment.amount), ZERO)
    shuffled = list(charges)
    random.shuffle(shuffled)

    assert settlement.overage_amount == round_money(multiply(beyond, commitment.overage_factor), currency)
    assert settlement.commitment_utilized == round_money(min(usage, commitment.amount), currency)
    assert settlement.amount == total([settlement.commitment_utilized, settlement.overage_amount])
    assert settlement.has_overage is (beyond > 0)
    assert apply(commitment, shuffled, currency).amount == settlement.amount


@given(settlements(CommitmentSplit.AMOUNT, least=-20))
def test_split_amount_splits_one_charge_at_most(settled: Settled) -> None:
    _, charges, currency, settlement = settled
    keys = [row.source.key for row in settlement.rows]

    assert len(keys) - len(set(keys)) <= 1
    for row in settlement.rows:
        assert row.amount == round_money(row.amount, currency)
        assert row.source.amount > 0 or (row.amount, row.is_overage) == (row.source.amount, False)
        assert row.amount >= 0 or not row.is_overage
    assert [row.is_overage for row in settlement.rows if row.source.amount > 0] == sorted(
        row.is_overage for row in settlement.rows if row.source.amount > 0
    )
    assert keys == sorted(keys)
    assert set(keys) == {charge.key for charge in charges}


@pytest.mark.parametrize("split", CommitmentSplit)
@given(data=st.data())
def test_splitting_keeps_every_quantity(split: CommitmentSplit, data: st.DataObject) -> None:
    _, charges, _, settlement = data.draw(settlements(split, least=-20))

    for charge in charges:
        rows = [row for row in settlement.rows if row.source is charge]
        assert 1 <= len(rows) <= 2
        assert total(row.quantity for row in rows) == charge.quantity
        assert [row.is_overage for row in rows] in ([False], [True], [False, True])


@given(settlements(CommitmentSplit.WHOLE_UNITS, least=0))
def test_whole_units_are_whole_and_within_the_commitment(settled: Settled) -> None:
    commitment, _, currency, settlement = settled

    assert settlement.commitment_utilized is not None
    assert 0 <= settlement.commitment_utilized <= commitment.amount
    for row in settlement.rows:
        assert row.quantity >= 0
        assert row.amount >= 0
        assert row.amount == round_money(row.amount, currency)
        if not row.is_overage and row.quantity != row.source.quantity:
            assert row.quantity == int(row.quantity) > 0
            assert row.quantity < row.source.quantity


@given(settlements(CommitmentSplit.WHOLE_UNITS, least=0))
def test_whole_units_and_amount_agree_on_whether_usage_fits(settled: Settled) -> None:
    commitment, charges, currency, settlement = settled
    usage = total(charge.amount for charge in charges)

    if usage <= commitment.amount:
        by_amount = apply(Commitment(commitment.amount, commitment.overage_factor), charges, currency)
        assert settlement == by_amount
        assert settlement.amount == settlement.commitment_utilized == usage


@given(any_decimal, currencies)
def test_rounding_goes_to_the_nearest_unit_and_from_zero(amount: Decimal, currency: str) -> None:
    scaled = Fraction(amount) * 10 ** precision(currency)
    units = minor_units(amount, currency)

    assert abs(scaled - units) <= Fraction(1, 2)
    if abs(scaled - units) == Fraction(1, 2):
        assert abs(units) > abs(scaled)
    assert Fraction(round_money(amount, currency)) * 10 ** precision(currency) == units


@given(any_decimal, any_decimal.filter(bool))
def test_a_quotient_is_the_nearest_of_16_decimals(numerator: Decimal, denominator: Decimal) -> None:
    exact = Fraction(numerator) / Fraction(denominator)
    result = Fraction(quotient(numerator, denominator))

    assert (result * 10**16).denominator == 1
    assert abs(result - exact) <= Fraction(1, 2 * 10**16)
    if abs(result - exact) == Fraction(1, 2 * 10**16):
        assert abs(result) > abs(exact)


@given(any_decimal, currencies)
def test_a_displayed_amount_reads_back(amount: Decimal, currency: str) -> None:
    shown = display_amount(amount, currency)

    assert shown.startswith(symbol(currency))
    assert Decimal(shown.removeprefix(symbol(currency))) == round_money(amount, currency)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**60), max_value=10**60))
def test_plain_text_reads_back_and_is_the_shortest(value: Decimal) -> None:
    text = plain(value)

    assert Decimal(text) == value
    assert set(text) <= set("-.0123456789")
    assert text != "-0"
    assert "." not in text or text[-1] not in "0."


@given(decimals(-(10**12) + 1, 10**12 - 1))
def test_a_number_at_the_door_keeps_its_value(value: Decimal) -> None:
    assert number(plain(value)) == number(f"{value:f}") == number(value) == value


door_texts = st.one_of(
    st.text(),
    st.text("-+.0123456789eE_ \n\u0663", max_size=40),
    st.from_regex(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)


@given(st.one_of(door_texts, st.decimals(), st.integers(), st.floats(), st.none(), st.binary()))
def test_whatever_comes_to_the_door_is_a_small_number_or_refused(value: object) -> None:
    try:
        result = number(value)
    except NumberError:
        return
    assert abs(result) < 10**12
    assert (Fraction(result) * 10**18).denominator == 1
    assert isinstance(value, str | int | Decimal)
    assert Fraction(result) == Fraction(value)

"""Sentences as a price list: what a customer reads beside each amount."""

from copy import replace
from decimal import Decimal

import pytest

from meterstone.contracts.sentence import row_sentence, sentence
from meterstone.pricing.commitment import Charge, Commitment, CommitmentSplit, apply
from meterstone.pricing.consumption import consumption
from meterstone.pricing.cost import cost, cost_buckets
from meterstone.pricing.money import round_money
from meterstone.pricing.price import BillingModel, Price, RoundType, Tier, TierMode, TransformQuantity
from meterstone.usage.calendar import BucketSize
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.subscription import LineItem


def flat(amount: str, currency: str = "usd") -> Price:
    return Price("p", currency, BillingModel.FLAT_FEE, Decimal(amount))


def package(amount: str, size: int, way: RoundType) -> Price:
    return replace(
        flat(amount), billing_model=BillingModel.PACKAGE, transform_quantity=TransformQuantity(size, way)
    )


def tiered(mode: TierMode, *tiers: tuple[int | None, str, str]) -> Price:
    listed = tuple(Tier(up_to, Decimal(unit), Decimal(entered)) for up_to, unit, entered in tiers)
    return replace(flat("0"), billing_model=BillingModel.TIERED, tier_mode=mode, tiers=listed)


def meter(name: str, aggregation: Aggregation = Aggregation.SUM, **more: object) -> Meter:
    return replace(Meter("m", "m", name, aggregation, "e"), **more)  # type: ignore[arg-type]


CENT = flat("0.01")
SLAB = tiered(TierMode.SLAB, (100_000, "0.00001", "0"), (None, "0.000008", "0"))
ENTERED = tiered(TierMode.SLAB, (10, "1", "2"), (20, "0", "5"), (None, "0.5", "0"))
FREE = tiered(TierMode.SLAB, (100, "0", "0"), (None, "0.2", "0"))
VOLUME = tiered(TierMode.VOLUME, (100, "2", "0"), (None, "1", "0.25"))
UP, DOWN = package("0.5", 1000, RoundType.UP), package("0.5", 1000, RoundType.DOWN)
TOKENS, CALLS = meter("Tokens"), meter("API calls", Aggregation.COUNT)

SENTENCES = [
    (SLAB, TOKENS, "109783", "109,783 tokens: 100,000 at $0.00001 and 9,783 at $0.000008, together $1.08"),
    (SLAB, TOKENS, "100000", "100,000 tokens at $0.00001 each: $1.00"),
    (SLAB, TOKENS, "1", "1 token at $0.00001: rounded to $0.00"),
    (SLAB, TOKENS, "0", "Nothing was used: nothing to pay"),
    (SLAB, TOKENS, "-5", "-5 tokens: below zero, nothing to pay"),
    (ENTERED, TOKENS, "5", "5 tokens at $1.00 each plus a flat $2.00: $7.00"),
    (
        ENTERED,
        TOKENS,
        "12",
        "12 tokens: 10 at $1.00 plus a flat $2.00 and 2 for a flat $5.00, together $17.00",
    ),
    (
        ENTERED,
        TOKENS,
        "25",
        "25 tokens: 10 at $1.00 plus a flat $2.00, 10 for a flat $5.00 and 5 at $0.50, together $19.50",
    ),
    (FREE, TOKENS, "50", "50 tokens, free of charge: nothing to pay"),
    (FREE, TOKENS, "150", "150 tokens: 100 free and 50 at $0.20, together $10.00"),
    (VOLUME, TOKENS, "100", "100 tokens at $2.00 each: $200.00"),
    (
        VOLUME,
        TOKENS,
        "150",
        "150 tokens at $1.00 each plus a flat $0.25, as there are more than 100: $150.25",
    ),
    (flat("0.25"), CALLS, "2", "2 API calls at $0.25 each: $0.50"),
    (flat("0.25"), CALLS, "1", "1 API call at $0.25: $0.25"),
    (flat("0.25"), CALLS, "0", "Nothing was used: nothing to pay"),
    (flat("0.25"), TOKENS, "-5", "-5 tokens at $0.25 each: -$1.25"),
    (flat("0.25"), TOKENS, "0.5", "0.5 tokens at $0.25 each: $0.13"),
    (flat("0.25"), TOKENS, "3.00000001", "about 3 tokens at $0.25 each: $0.75"),
    (flat("0.25"), TOKENS, "0.00000001", "0.00000001 tokens at $0.25 each: rounded to $0.00"),
    (flat("0"), TOKENS, "5", "5 tokens, free of charge: nothing to pay"),
    (CENT, TOKENS, "9" * 40, f"{int('9' * 40):,} tokens at $0.01 each: ${10**38 - 1:,}.99"),
    (
        UP,
        TOKENS,
        "2500",
        "2,500 tokens, in 3 packages of 1,000 at $0.50 each, the last one begun and counted as whole: $1.50",
    ),
    (UP, TOKENS, "1", "1 token, in 1 package of 1,000 at $0.50, begun and counted as whole: $0.50"),
    (UP, TOKENS, "3000", "3,000 tokens, in 3 packages of 1,000 at $0.50 each: $1.50"),
    (UP, TOKENS, "-4", "-4 tokens: below zero, nothing to pay"),
    (
        DOWN,
        TOKENS,
        "2500",
        "2,500 tokens, in 2 packages of 1,000 at $0.50 each, 500 beyond them not charged: $1.00",
    ),
    (DOWN, TOKENS, "999", "999 tokens: less than one package of 1,000, nothing to pay"),
    (DOWN, TOKENS, "0", "Nothing was used: nothing to pay"),
    (flat("12.5", "jpy"), TOKENS, "3", "3 tokens at ¥12.5 each: ¥38"),
    (flat("12.5", "kwd"), TOKENS, "3", "3 tokens at KD 12.500 each: KD 37.500"),
    (flat("12.5", "aed"), TOKENS, "3", "3 tokens at AED 12.50 each: AED 37.50"),
    (flat("1250", "eur"), TOKENS, "-3", "-3 tokens at €1,250.00 each: -€3,750.00"),
    (CENT, None, "1", "1 unit at $0.01: $0.01"),
    (CENT, None, "0", "Nothing was used: nothing to pay"),
    (CENT, meter("Storage GB"), "1", "1 storage GB at $0.01: $0.01"),
    (CENT, meter("Queries"), "1", "1 query at $0.01: $0.01"),
    (CENT, meter("Open boxes"), "1", "1 open box at $0.01: $0.01"),
    (CENT, meter("Address"), "1", "1 address at $0.01: $0.01"),
    (CENT, meter("Ümsätze"), "2", "2 ümsätze at $0.01 each: $0.02"),
    (
        CENT,
        meter("Compute units", Aggregation.SUM_WITH_MULTIPLIER),
        "1",
        "1 compute unit at $0.01: $0.01",
    ),
    (CENT, meter("Seats", recurring=True), "12", "12 seats held at $0.01 each: $0.12"),
    (CENT, meter("Seats", recurring=True), "0", "Nothing was held: nothing to pay"),
    (
        CENT,
        meter("Models in use", Aggregation.COUNT_UNIQUE),
        "1",
        "1 different model in use at $0.01: $0.01",
    ),
    (
        CENT,
        meter("Users", Aggregation.COUNT_UNIQUE, recurring=True),
        "3",
        "3 different users so far at $0.01 each: $0.03",
    ),
    (
        CENT,
        meter("Stored tokens", Aggregation.WEIGHTED_SUM),
        "1234.5",
        "1,234.5 stored tokens on average over the time at $0.01 each: $12.35",
    ),
    (
        CENT,
        meter("Largest prompt", Aggregation.MAX),
        "4096",
        "“Largest prompt” has a highest value of 4,096, at $0.01 each: $40.96",
    ),
    (
        CENT,
        meter("Largest prompt", Aggregation.MAX),
        "0",
        "No value of “Largest prompt” above 0: nothing to pay",
    ),
    (
        FREE,
        meter("Latest prompt", Aggregation.LATEST),
        "150",
        "“Latest prompt” has a latest value of 150: 100 free and 50 at $0.20, together $10.00",
    ),
    (
        CENT,
        meter("Average prompt", Aggregation.AVG),
        "21.333333333333333333",
        "“Average prompt” has an average value of about 21.333333, at $0.01 each: $0.21",
    ),
]


@pytest.mark.parametrize(
    ("price", "of", "quantity", "expected"), SENTENCES, ids=[row[3] for row in SENTENCES]
)
def test_a_sentence(price: Price, of: Meter | None, quantity: str, expected: str) -> None:
    assert sentence(price, of, cost(price, Decimal(quantity)), price.currency) == expected


HOURLY = meter("Answers", bucket_size=BucketSize.HOUR)
BUCKETS = [
    (flat("0.25"), HOURLY, "40 answers, each hour priced by itself, at $0.25 each: $10.00"),
    (
        ENTERED,
        HOURLY,
        (
            "40 answers, each hour priced by itself: 23 at $1.00 plus a flat $6.00, 12 for a flat $10.00 "
            "and 5 at $0.50, together $41.50"
        ),
    ),
    (VOLUME, HOURLY, "40 answers, each hour priced by itself, at $2.00 each: $80.00"),
    (
        package("0.5", 10, RoundType.UP),
        HOURLY,
        (
            "40 answers, each hour priced by itself, in 6 packages of 10 at $0.50 each, each begun one counted as "
            "whole: $3.00"
        ),
    ),
    (
        package("0.5", 10, RoundType.DOWN),
        HOURLY,
        "40 answers, each hour priced by itself, in 3 packages of 10 at $0.50 each, only whole ones: $1.50",
    ),
    (
        CENT,
        meter("Answer peaks", Aggregation.MAX, bucket_size=BucketSize.FIFTEEN_MINUTES),
        (
            "The highest values of “Answer peaks” come to 40, each stretch of 15 minutes priced by itself, at "
            "$0.01 each: $0.40"
        ),
    ),
]


@pytest.mark.parametrize(("price", "of", "expected"), BUCKETS, ids=[row[2] for row in BUCKETS])
def test_a_sentence_about_buckets(price: Price, of: Meter, expected: str) -> None:
    """Three buckets, of 12, 25 and 3."""
    assert sentence(price, of, cost_buckets(price, map(Decimal, (12, 25, 3))), "usd") == expected


def rows(commitment: Commitment, *charges: tuple[Price, Meter, str]) -> list[str]:
    made = []
    for number, (price, of, quantity) in enumerate(charges):
        item = LineItem(f"item {number}", price, 0, meter=of)
        due = cost(price, Decimal(quantity))
        made.append(Charge(item, due.quantity, round_money(due.amount, "usd"), price))
    steps = consumption(commitment, apply(commitment, made, "usd"))
    return [
        row_sentence(each.row.source.key, cost(each.row.source.price, each.row.source.quantity), each, "usd")
        for each in steps
    ]


@pytest.mark.parametrize("split", CommitmentSplit)
def test_sentences_of_a_split(split: CommitmentSplit) -> None:
    """A commitment of $1.00 at 1.5 times: the first charge fits, the second is split, the third is all beyond."""
    tokens = (CENT, TOKENS, "60")
    calls = (CENT, CALLS, "100")
    largest = (CENT, meter("Largest prompt", Aggregation.MAX), "1")
    assert rows(Commitment(Decimal(1), Decimal("1.5"), split), tokens, calls, largest) == [
        "60 tokens at $0.01 each: $0.60",
        "40 of 100 API calls, within the commitment: $0.40",
        "60 of 100 API calls, beyond the commitment: $0.60 at 1.5 times the price, $0.90",
        (
            "“Largest prompt” has a highest value of 1, at $0.01: $0.01; all of it is beyond the commitment, at "
            "1.5 times the price: $0.02"
        ),
    ]


def test_a_part_of_a_value_that_is_no_count() -> None:
    largest = (CENT, meter("Largest prompt", Aggregation.MAX), "400")
    assert rows(Commitment(Decimal(1), Decimal(2)), largest) == [
        "100 of 400 of “Largest prompt”, within the commitment: $1.00",
        "300 of 400 of “Largest prompt”, beyond the commitment: $3.00 at 2 times the price, $6.00",
    ]


def test_without_a_commitment_a_row_is_its_charge() -> None:
    item = LineItem("item", CENT, 0, meter=TOKENS)
    assert row_sentence(item, cost(CENT, Decimal(2)), None, "usd") == "2 tokens at $0.01 each: $0.02"

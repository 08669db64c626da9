"""Numbers of events as they come: what a meter reads, what it rounds, and what it cannot read."""

from decimal import Decimal
from typing import Any

import pytest

from meterstone.pricing.money import plain
from meterstone.usage.aggregation import observe
from meterstone.usage.arrival import checked_properties, decode
from meterstone.usage.meter import Aggregation, Event, Filter, Meter, Observation, Uncounted
from meterstone.usage.state import merge_all_states, quantity, state_of
from support.one_subscription import meter_of

SUM, MULTIPLIED, UNIQUE = Aggregation.SUM, Aggregation.SUM_WITH_MULTIPLIER, Aggregation.COUNT_UNIQUE


def event(text: str, field: str = "value") -> Event:
    """Give a call whose property is a JSON value, as it comes."""
    return Event("e", "call", 5, checked_properties(decode(f'{{"{field}": {text}}}'), escaped=False))


def quantity_of(meter: Meter, *texts: str) -> str:
    """Give what events with such values come to."""
    seen = [observe(meter, event(text)) for text in texts]
    states = [state_of(meter, each) for each in seen if isinstance(each, Observation)]
    assert len(states) == len(texts), seen
    return plain(quantity(meter, merge_all_states(meter, states)))


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("0.028999999999999998", "0.028999999999999998"),
        ('"0.028999999999999998"', "0.028999999999999998"),
        ("1.5E-7", "0.00000015"),
        ('"1.5e-7"', "0.00000015"),
        ("1e1", "10"),
        ("0.0000000001396983861923", "0.000000000139698386"),
        ("42259901212262400", "42259901212262400"),
        ('"42259901212262400"', "42259901212262400"),
        ("999999999999999999", "999999999999999999"),
        ("-999999999999999999.999999999999999999", "-999999999999999999.999999999999999999"),
        ("0.0000000000000000005", "0.000000000000000001"),
        ("-0.0000000000000000005", "-0.000000000000000001"),
        ("0.00000000000000000049999", "0"),
        ("1e-100", "0"),
        ("2.50", "2.5"),
    ],
)
def test_what_a_sum_reads(text: str, units: str) -> None:
    assert quantity_of(meter_of(SUM), text) == units


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1000000000000000000", "a number that is metered has at most 18 integer digits"),
        ('"-1000000000000000000"', "a number that is metered has at most 18 integer digits"),
        ("1e18", "a number that is metered has at most 18 integer digits"),
        ("1234567890123456789", "a number that is metered has at most 18 integer digits"),
        ('"' + "1" * 101 + '"', "a number has at most 100 characters"),
        ('"1e101"', "the exponent of a number is at most 100"),
        ('"1e-101"', "the exponent of a number is at most 100"),
        ('"1,000"', "not a number of the form -12.5"),
        ('"+5"', "not a number of the form -12.5"),
        ('" 4"', "not a number of the form -12.5"),
        ('"NaN"', "not a number of the form -12.5"),
        ('"Infinity"', "not a number of the form -12.5"),
        ('"1e"', "not a number of the form -12.5"),
    ],
)
def test_what_a_sum_cannot_read(text: str, reason: str) -> None:
    assert observe(meter_of(SUM), event(text)) == Uncounted(f"property 'value': {reason}")


@pytest.mark.parametrize(
    ("multiplier", "texts", "units"),
    [
        pytest.param("0.000001", ["3000000", "1"], "3.000001", id="per million"),
        pytest.param("0.000000000333", ["0.0000000005"] * 6, "0.000000000000000001", id="rounded as the sum"),
        pytest.param("0.000000000333", ["0.0000000005"], "0", id="each alone would be nothing"),
        pytest.param("0.5", ["0.000000000000000001"], "0.000000000000000001", id="a half goes away from zero"),
        pytest.param("-0.5", ["0.000000000000000001"], "-0.000000000000000001", id="also below zero"),
        pytest.param("0.5", ["0.0000000000000000014"], "0.000000000000000001", id="of what the meter has read"),
        pytest.param("999999999999999999.999999999999999999", ["0.999999999999999999"],
                     "999999999999999998.999999999999999999", id="18 and 18 digits"),
    ],
)  # fmt: skip
def test_a_product_is_rounded_once(multiplier: str, texts: list[str], units: str) -> None:
    assert quantity_of(meter_of(MULTIPLIED, multiplier=Decimal(multiplier)), *texts) == units


@pytest.mark.parametrize(
    ("multiplier", "text", "counts"),
    [
        ("1000000000", "999999999", True),
        ("1000000000", "1000000000", False),
        ("999999999999999999", "1", True),
        ("999999999999999999", "-1.000000000000000001", True),
        ("999999999999999999", "-1.0000000000000001", False),
        ("1000000000", "0", True),
        ("999999999999999999", "2", False),
        ("0.1", "999999999999999999", True),
        ("999999999999999999.9", "999999999999999999.9", False),
    ],
)
def test_a_product_has_at_most_18_integer_digits(multiplier: str, text: str, *, counts: bool) -> None:
    seen = observe(meter_of(MULTIPLIED, multiplier=Decimal(multiplier)), event(text))
    assert isinstance(seen, Observation) is counts
    if isinstance(seen, Uncounted):
        assert seen.reason == "property 'value': its product has more than 18 integer digits"


@pytest.mark.parametrize(
    ("text", "compared"),
    [
        ("1234567890123456789", "1234567890123456789"),
        ("0.0000000000000000004", "0.0000000000000000004"),
        ("0.00000000013969838619230", "0.0000000001396983861923"),
        ("1E+20", "100000000000000000000"),
        ("1e100", "1" + "0" * 100),
        ("5.0", "5"),
        ('"5.0"', "5.0"),
        ('"1E+20"', "1E+20"),
        ("0." + "7" * 98, "0." + "7" * 98),
    ],
)
def test_filters_and_distinct_values_compare_what_came(text: str, compared: str) -> None:
    unique = Meter("m", "m", "", UNIQUE, "call", "value")
    assert observe(unique, event(text)) == Observation(5, "e", Decimal(0), compared)
    filtered = Meter("m", "m", "", Aggregation.COUNT, "call", filters=(Filter("value", (compared,)),))
    assert observe(filtered, event(text)) == Observation(5, "e", Decimal(1))
    other = Meter("m", "m", "", Aggregation.COUNT, "call", filters=(Filter("value", (compared + "1",)),))
    assert observe(other, event(text)) is None


@pytest.mark.parametrize("user_id", ["1234567890123456789", "0.12345678901234567890123", "1e99"])
def test_a_long_number_that_nobody_meters_is_in_nobody_s_way(user_id: str) -> None:
    text = '{"user_id": ' + user_id + ', "value": 3}'
    properties: Any = checked_properties(decode(text), escaped=False)
    assert observe(meter_of(SUM), Event("e", "call", 5, properties)) == Observation(5, "e", Decimal(3))
